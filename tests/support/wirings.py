"""What the tests of the wiring have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lbwatch.core.model import Container
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.settings import Settings
from lbwatch.wiring.access import NginxAccess

WEB = {"lbwatch.port": "80", "lbwatch.upstream": "web"}


OLD = "# of yesterday\n"


WAYS: dict[str, dict[str, Any]] = {
    "local": {},
    "exec": {"nginx_container": "nginx"},
    "signal": {"nginx_container": "nginx", "nginx_reload": "signal"},
    "commands": {"test_command": "true", "reload_command": "true"},
}


Made = Callable[..., Settings]


def access_of(settings: Settings, *containers: Container) -> NginxAccess:
    client = EngineClient(engine_address("unix:///none", environ={}))  # never asked
    return NginxAccess(settings, client=client, known=lambda: {each.id: each for each in containers})


def folder_in(path: Path, name: str = "scratch") -> Path:
    (path / name).mkdir()
    return path / name

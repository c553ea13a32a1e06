"""A site of an nginx, and settings for it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nginxcontainer import CONF, FolderEngine
from usersettings import settings_with
from wirings import WEB, Made

from lbwatch.engines.fake import FakeEngine
from lbwatch.settings import Settings
from lbwatch.wiring import access


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder that holds all that lbwatch could write to; the engine's socket is not in it."""
    (tmp_path / "site" / "out").mkdir(parents=True)
    return tmp_path / "site"


@pytest.fixture
def made(site: Path, tmp_path: Path) -> Made:
    """Makes settings of which each path leads to the site."""

    def make(**given: Any) -> Settings:
        facts: dict[str, Any] = {
            "docker_host": f"unix://{tmp_path}/none.sock",
            "output": site / "out" / "lbwatch.conf",
            "nginx_pidfile": site / "nginx.pid",
            "state_dir": site / "state",
            "control_socket": site / "control",
        }
        return settings_with(**(facts | given))

    return make


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine:
        engine.containers.run(name="web-1", labels=WEB)
        yield engine


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderEngine:
    """The engine that runs nginx's container, in the place of the one that is asked over a socket."""
    (tmp_path / "root/etc/nginx/conf.d").mkdir(parents=True)
    (tmp_path / "root/etc/nginx/nginx.conf").write_text(CONF)
    engine = FolderEngine(root=tmp_path / "root")
    monkeypatch.setattr(access, "ContainerExec", lambda client: engine)
    return engine

"""The parts that a daemon and a command that only looks have in common."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually
from wirings import WEB, Made

from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.fake import FakeEngine
from lbwatch.system import mounts
from lbwatch.wiring import parts
from lbwatch.wiring.parts import make_address, make_source


@pytest.mark.parametrize(
    ("given", "times"), [({}, 1), ({"networks": ("front",)}, 0), ({"nginx_container": "label=nginx=it"}, 0)]
)
async def test_the_drivers_of_networks_are_asked_for_only_where_nobody_says_what_nginx_reaches(
    made: Made, engine: FakeEngine, tmp_path: Path, given: dict[str, Any], times: int
) -> None:
    """Proxies are set up for what is asked: nothing may be asked for that is of no use."""
    engine.networks.create("front")
    engine.containers.run(name="web-2", labels=WEB, networks=("front", "bridge"))
    settings = made(docker_host=f"unix://{tmp_path}/docker.sock", **given)
    address = make_address(settings)
    client = EngineClient(address)
    source = make_source(client, settings=settings, address=address)
    following = asyncio.create_task(source.run(lambda *, heard_at=None: None))
    try:
        await eventually(source.snapshot)
    finally:
        following.cancel()
        await asyncio.wait([following])
        await client.close()
    assert engine.requests["GET /networks"] == times


def test_a_socket_that_was_mounted_where_nginx_proxy_has_it_is_found(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users change the image's name and nothing else; what anybody put there is nobody's engine."""
    usual, other, is_mounted = tmp_path / "usual.sock", tmp_path / "other.sock", True
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(parts, "DEFAULT_DOCKER_HOST", f"unix://{usual}")
    monkeypatch.setattr(parts, "MOUNTED_DOCKER_HOST", f"unix://{other}")
    monkeypatch.setattr(mounts, "is_mounted", lambda path: is_mounted and path == other)
    settings = made(docker_host="")
    assert make_address(settings).socket == str(other)
    assert make_address(made(docker_host="unix:///set.sock")).socket == "/set.sock"
    is_mounted = False
    assert make_address(settings).socket == str(usual)
    is_mounted = True
    usual.touch()
    assert make_address(settings).socket == str(usual)
    monkeypatch.setenv("DOCKER_HOST", "unix:///env.sock")
    assert make_address(settings).socket == "/env.sock"

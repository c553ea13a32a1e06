"""What the tests of the API stand on: the fake engine, a simulated nginx, and a daemon that takes requests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakedaemon import WEB, Client, DrainStage, drain_stage, served
from simulation import SimulatedNginx

from lbwatch.engines.fake import FakeEngine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine:
        yield engine


@pytest.fixture
def nginx(tmp_path: Path) -> SimulatedNginx:
    nginx = SimulatedNginx(tmp_path / "lbwatch.conf")
    nginx.start()
    return nginx


@pytest.fixture
async def stage(tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx) -> AsyncIterator[DrainStage]:
    """Two containers serve upstream web: web-1 at .2 and web-2 at .3."""
    for name in ("web-1", "web-2"):
        engine.containers.run(name=name, labels=WEB)
    async with drain_stage(tmp_path, engine, nginx) as stage:
        assert stage.servers() == ["172.17.0.2", "172.17.0.3"]
        yield stage


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Of a daemon that has something of everything to show."""
    async with served() as client:
        yield client

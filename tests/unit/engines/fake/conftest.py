"""An engine without lag, and a client of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakeclient import Docker

from lbwatch.engines.fake import FakeEngine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine:
        yield engine


@pytest.fixture
async def docker(engine: FakeEngine) -> AsyncIterator[Docker]:
    async with Docker(engine) as docker:
        yield docker

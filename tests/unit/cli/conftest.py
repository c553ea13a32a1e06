"""The engine of the commands' tests, and several of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fleets import Fleet, made_fleet

from lbwatch.engines.fake import FakeEngine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    """A fake engine whose list is never late: what a command answers is then no matter of when it is asked."""
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0) as engine:
        yield engine


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Two engines and a Swarm."""
    async with made_fleet(tmp_path) as fleet:
        yield fleet

"""The engine of the commands' tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lbwatch.engines.fake import FakeEngine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    """A fake engine whose list is never late: what a command answers is then no matter of when it is asked."""
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0) as engine:
        yield engine

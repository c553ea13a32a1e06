"""A fake engine whose lists lag for half a minute, so that only inspect can tell the truth in time, and its source."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sources import Follow, followed
from waiting import eventually

from lbwatch.engines.docker.source import DockerSource
from lbwatch.engines.fake import FakeEngine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=30.0) as engine:
        yield engine


@pytest.fixture
def follow(engine: FakeEngine) -> Follow:
    @asynccontextmanager
    async def following(
        *, expose_all: bool = False, resync_interval_s: float = 300.0, synced: bool = True
    ) -> AsyncIterator[DockerSource]:
        async with followed(engine, expose_all=expose_all, resync_interval_s=resync_interval_s) as source:
            if synced:
                await eventually(source.snapshot, what="the first full look")
            yield source

    return following

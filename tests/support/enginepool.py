"""All engines as one source, made of settings and run in whatever time the loop has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usersettings import settings_with

from lbwatch.core.model import Container, Snapshot
from lbwatch.engines.pool import EnginePool
from lbwatch.wiring.engines import make_pool


@dataclass(slots=True, kw_only=True)
class PoolStage:
    """A pool that runs, and what it says."""

    pool: EnginePool

    def snapshots(self) -> tuple[Snapshot, ...]:
        return self.pool.snapshots() or ()

    def all(self) -> dict[str, Container]:
        """Return every container by its name, each of which is there once."""
        found = [each for snapshot in self.snapshots() for each in snapshot.containers.values()]
        by_name = {each.name: each for each in found}
        assert len(by_name) == len(found), sorted(each.name for each in found)
        return by_name

    def leaving(self) -> set[str]:
        """Return the names of those that are about to be stopped."""
        return {each.containers[id].name for each in self.snapshots() for id in each.leaving}


@asynccontextmanager
async def pooled(folder: Path, *docker_host: str, **settings: Any) -> AsyncIterator[PoolStage]:
    """Follow these engines until the end of the context; what is kept of them is below *folder*."""
    given = settings_with(docker_host=docker_host, state_dir=folder / "state", **settings)
    async with AsyncExitStack() as stack:
        pool = make_pool(given, stack=stack, asks_identity=True, keeps=True)
        task = asyncio.create_task(pool.run(lambda *, heard_at=None: None))
        try:
            yield PoolStage(pool=pool)
        finally:
            task.cancel()
            await asyncio.wait([task])

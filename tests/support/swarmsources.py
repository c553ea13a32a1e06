"""A source that follows a Swarm, and what is asked of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from answers import connected
from swarmanswers import task_id
from swarmstand import ManagerStand
from waiting import eventually

from lbwatch.core.model import Container, Engine
from lbwatch.engines.swarm.doors import Door
from lbwatch.engines.swarm.source import SwarmSource


@asynccontextmanager
async def followed_swarm(
    *stands: ManagerStand,
    expose_all: bool = False,
    resync_interval_s: float = 300.0,
    changed: Callable[[], None] = lambda: None,
    synced: bool = True,
) -> AsyncIterator[SwarmSource]:
    """A source with a door to each manager, that runs until the end of the context."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(stand.url)) for stand in stands]
        doors = [Door(name=f"door{number}", client=client) for number, client in enumerate(clients)]
        source = SwarmSource(
            name="swarm",
            engine=Engine(name="swarm"),
            doors=lambda: doors,
            prefix="lbwatch",
            expose_all=expose_all,
            also_labels=frozenset(),
            resync_interval_s=resync_interval_s,
            random=lambda: 0.5,
        )

        def is_changed(*, heard_at: float | None = None) -> None:
            changed()

        task = asyncio.create_task(source.run(is_changed))
        try:
            if synced:
                await eventually(source.snapshot, what="the first full look")
                await eventually(lambda: all(stand.streams for stand in stands[:2]), what="the streams hold")
            yield source
        finally:
            task.cancel()
            await asyncio.wait([task])


def found(source: SwarmSource, name: str) -> Container | None:
    """The container of a task, by the test's name for it."""
    snapshot = source.snapshot()
    return snapshot.containers.get(task_id(name)) if snapshot else None


def is_leaving(source: SwarmSource, name: str) -> bool:
    snapshot = source.snapshot()
    return snapshot is not None and task_id(name) in snapshot.leaving


def states(source: SwarmSource) -> dict[str, str]:
    """What each task that is shown is, and should be, by name."""
    snapshot = source.snapshot()
    assert snapshot is not None
    return {each.name: f"{each.task.state}/{each.task.desired}" for each in snapshot.containers.values() if each.task}

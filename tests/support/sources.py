"""A source that follows an engine, and what is asked of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from waiting import eventually

from lbwatch.core.model import Container, ContainerStatus, Engine
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.source import DockerSource
from lbwatch.engines.fake import FakeEngine

INSPECT = "GET /containers/ID/json"
LIST = "GET /containers/json"
WEB = {"lbwatch.port": "80"}
DRAIN_S = 60.0

Follow = Callable[..., AbstractAsyncContextManager[DockerSource]]


@asynccontextmanager
async def followed(
    engine: FakeEngine,
    *,
    expose_all: bool = False,
    variables: frozenset[str] = frozenset(),
    resync_interval_s: float = 300.0,
    changed: Callable[[DockerSource], None] = lambda source: None,
) -> AsyncIterator[DockerSource]:
    """A source that runs until the end of the context; *changed* is given it whenever it tells something new."""
    client = EngineClient(engine_address(engine.url, environ={}))
    source = DockerSource(
        client,
        engine=Engine(name="engine"),
        prefix="lbwatch",
        expose_all=expose_all,
        variables=variables,
        resync_interval_s=resync_interval_s,
        drain_timeout_s=DRAIN_S,
        random=lambda: 0.5,
    )
    task = asyncio.create_task(source.run(lambda *, heard_at=None: changed(source)))
    try:
        yield source
    finally:
        task.cancel()
        await asyncio.wait([task])
        await client.close()


def container(source: DockerSource, name: str) -> Container | None:
    snapshot = source.snapshot()
    found = (each for each in snapshot.containers.values() if each.name == name) if snapshot else iter(())
    return next(found, None)


def is_running(source: DockerSource, name: str) -> bool:
    found = container(source, name)
    return (
        found is not None
        and found.status is ContainerStatus.RUNNING
        and bool(found.endpoints and found.endpoints[0].ipv4)
    )


def is_in(source: DockerSource, name: str, status: ContainerStatus) -> bool:
    found = container(source, name)
    return found is not None and found.status is status


async def quiet(engine: FakeEngine) -> None:
    """Wait until nothing was asked for a while: the replay of the engine's memory, at a connection, is dealt with."""
    asked, since = -1, 0.0
    clock = asyncio.get_running_loop().time

    def still() -> bool:
        nonlocal asked, since
        now = engine.requests.total()
        if now != asked:
            asked, since = now, clock()
        return clock() - since > 0.1

    await eventually(still, what="the engine is left in peace")


async def renew_stream(engine: FakeEngine, *, cleanly: bool = True) -> None:
    """
    End the stream of events, once there is one, and wait until the next one was asked for.

    A stream is asked for before it is subscribed: one that is cut in between goes on.
    """
    await eventually(lambda: engine.events.listeners, what="there is a stream")
    before = engine.requests["GET /events"]
    engine.cut_streams(cleanly=cleanly)
    await eventually(lambda: engine.requests["GET /events"] > before, what="another one is asked for")

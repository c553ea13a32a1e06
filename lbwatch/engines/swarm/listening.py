"""
The streams of events of a Swarm's managers: two of them, since each tells all, and either may go away.

What an event means is the source's.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from lbwatch.core.errors import DeadSocketError
from lbwatch.core.model import Event
from lbwatch.core.schedule import Backoff
from lbwatch.engines.docker.client import ASKED_OF_MANAGER
from lbwatch.engines.docker.stream import Connection, Stream, StreamKind
from lbwatch.engines.swarm.doors import Door
from lbwatch.engines.swarm.events import FILTERS, swarm_event_decoder

STREAMS = 2

LOOK_S = 1.0
"""How often it is made sure that they are those of managers."""

ALONE_S = 3.0
"""So long without any stream the Swarm is read all the same: a proxy may keep events to itself."""

DEAD_S = 10.0
"""How long a socket that is dead is left alone; whether the daemon should end is said by who follows that engine."""

_log = structlog.get_logger()


class Listeners:
    """
    The streams of a Swarm.

    Args:
        doors: Returns the managers, always in the same order.
        name: The Swarm's name in logs.
        backoff: Makes what counts the failures of one stream.
        begun: Called when events begin to come, or will not for now.
        handle_event: Called with each event, and with how many seconds ago it happened; `None`: it happens now.
    """

    def __init__(
        self,
        doors: Callable[[], Sequence[Door]],
        *,
        name: str,
        backoff: Callable[[], Backoff],
        begun: Callable[[], None],
        handle_event: Callable[[Event, float | None], None],
    ) -> None:
        self._doors = doors
        self._name = name
        self._new_backoff = backoff
        self._begun = begun
        self._handle_event = handle_event
        self._streams: dict[Door, Stream] = {}
        self._since = 0.0  # loop time since which no stream has held

    def connection(self) -> Connection:
        """Return how it stands with the best of the streams."""
        connections = [stream.connection for stream in self._streams.values()]
        held = [each for each in connections if each.connected]
        # Renewed, a stream does not hold for an instant: that is no failure.
        best = held or [each for each in connections if each.error is None] or connections
        return min(best, key=lambda each: each.since, default=Connection(since=self._since))

    async def run(self) -> None:
        """Keep the streams, for good."""
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        tasks: dict[Door, asyncio.Task[None]] = {}
        waits_until: float | None = loop.time() + ALONE_S
        async with asyncio.TaskGroup() as group:
            while True:
                wanted = tuple(self._doors())[:STREAMS]
                for door in [door for door in tasks if door not in wanted]:
                    tasks.pop(door).cancel()
                    del self._streams[door]
                for door in wanted:
                    if door not in tasks:
                        self._streams[door] = stream = self._stream(door)
                        tasks[door] = group.create_task(_keep(stream), name=f"{self._name} stream of {door.name}")
                if waits_until is not None and loop.time() >= waits_until:
                    waits_until = None
                    if not self.connection().connected:
                        self._begun()
                await asyncio.sleep(LOOK_S)

    def _stream(self, door: Door) -> Stream:
        return Stream(
            door.client,
            name=self._name,
            reach_back_s=0.0,
            connections=0,
            backoff=self._new_backoff(),
            begun=self._begun,
            verify=_nothing,
            handle_event=self._handle_event,
            kind=StreamKind(
                filters=FILTERS, decoder=swarm_event_decoder, needs=ASKED_OF_MANAGER, keys={"door": door.name}
            ),
        )


async def _keep(stream: Stream) -> None:
    while True:
        try:
            await stream.run()
        except DeadSocketError:
            await asyncio.sleep(DEAD_S)


async def _nothing() -> None:
    """Verify nothing: who the engine is, its own source finds out."""

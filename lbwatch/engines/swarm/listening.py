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

FAILS_S = 5.0
"""So long a stream fails before that of another manager is tried in its place."""

DEAD_S = 10.0
"""How long a socket that is dead is left alone; whether the daemon should end is said by who follows that engine."""

_log = structlog.get_logger()


class Listeners:
    """
    The streams of a Swarm.

    Args:
        doors: Returns the managers.
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
        self._streams: dict[Door, Stream] = {}  # of all doors, be they read or not: each knows how it failed
        self._tasks: dict[Door, asyncio.Task[None]] = {}  # of those that are read
        self._since = 0.0  # loop time at which it began

    def connection(self) -> Connection:
        """Return how it stands with the best of the streams."""
        connections = [self._streams[door].connection for door in self._tasks]
        held = [each for each in connections if each.connected]
        # Renewed, a stream does not hold for an instant: that is no failure.
        best = held or [each for each in connections if each.error is None] or connections
        return min(best, key=lambda each: each.since, default=Connection(since=self._since))

    async def run(self) -> None:
        """Keep the streams, for good."""
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        is_owed = True  # to whoever waits for a stream: that there is one, or that there is none
        async with asyncio.TaskGroup() as group:
            while True:
                self._choose(tuple(self._doors()), group=group, now=loop.time())
                is_owed = is_owed and not self.connection().connected
                if is_owed and loop.time() >= self._since + ALONE_S:
                    is_owed = False
                    self._begun()
                await asyncio.sleep(LOOK_S)

    def _choose(self, doors: tuple[Door, ...], *, group: asyncio.TaskGroup, now: float) -> None:
        """Read the streams of those that are there and do not fail, as far as there are enough of them."""
        for door in doors:
            self._streams.setdefault(door, self._stream(door))
        wanted = sorted(doors, key=lambda door: self._rank(door, now=now))[:STREAMS]
        for door in self._tasks.keys() - set(wanted):
            self._tasks.pop(door).cancel()
            self._streams[door].connection.close()
        for door in self._streams.keys() - set(doors):
            del self._streams[door]
        for door in wanted:
            if door not in self._tasks:
                name = f"{self._name} stream of {door.name}"
                self._tasks[door] = group.create_task(_keep(self._streams[door]), name=name)

    def _rank(self, door: Door, *, now: float) -> int:
        if door not in self._tasks:
            return 1
        connection = self._streams[door].connection
        return 2 if connection.error is not None and now - connection.since >= FAILS_S else 0

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

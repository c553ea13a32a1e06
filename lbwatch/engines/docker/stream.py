"""
Follows one engine's stream of events for good: it only reads and decodes, and awaits nothing but the next bytes.

Nobody else talks to the engine here; what an event means is the source's (facts, stream 1).
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import structlog

from lbwatch.core.errors import DeadSocketError, SourceError
from lbwatch.core.model import Event
from lbwatch.core.schedule import Backoff
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.decode import EventDecoder

MAX_STREAM_AGE_S = 300.0
"""A flow through NAT dies silently after 5 minutes or more (facts, stream 8); by our own clock."""

OVERLAP_S = 5.0
"""
How far a new subscription reaches back beyond the time for which a stop signal matters; `Date` headers are whole
seconds. The stream before it may have been deaf for a while, so that its end says nothing (facts, stream 8).
"""

REPLAY_S = 2.0
"""How long after its beginning a stream may tell what is old; later, an event that looks old shows a clock set back."""

SHORT_LIFE_S = 1.0

DEAD_PATIENCE_S = 10.0
"""How long a socket is dead before the daemon ends: whoever started it can start it anew, with the new socket."""

KEPT_EVENTS = 1000
"""So many of the latest are kept for `explain`, without their labels."""

_log = structlog.get_logger()


class Stream:
    """
    The stream of one engine.

    Args:
        client: The connection to the engine.
        name: The engine's name in logs.
        reach_back_s: So many seconds before its beginning a new subscription asks for again.
        connections: How many more of them are opened at its beginning.
        backoff: Between two tries.
        begun: Called when events begin to come.
        handle_event: Called with each event.

    Attributes:
        connected: Whether it holds; for an instant not while one that grew too old is renewed.
        since: Loop time since which it does, or does not; a renewal changes nothing.
        error: Why it does not hold, in words; `None` while it does, is renewed, or is tried for the first time.
        engine_pid: Of the engine's process, where that can be seen.
        counts: Events by action, since the beginning; one that is told again does not count again.
    """

    def __init__(
        self,
        client: EngineClient,
        *,
        name: str,
        reach_back_s: float,
        connections: int,
        backoff: Backoff,
        begun: Callable[[], None],
        handle_event: Callable[[Event], None],
    ) -> None:
        self.connected = False
        self.since = 0.0
        self.error: str | None = None
        self.engine_pid: int | None = None
        self.counts: Counter[str] = Counter()
        self._recent: dict[object, Event] = {}  # the latest, oldest first
        self._was_ever_connected = False
        self._client = client
        self._name = name
        self._reach_back_s = reach_back_s + OVERLAP_S
        self._connections = connections
        self._backoff = backoff
        self._begun = begun
        self._handle_event = handle_event
        self._engine_clock_s = 0.0  # what the engine's clock showed when the stream began, less the loop's
        self._replayed_until = 0.0  # loop time until which events may be old ones, told again

    async def run(self) -> None:
        """Read streams one after the other, for good; raises `DeadSocketError` after a while where that is no use."""
        loop = asyncio.get_running_loop()
        self.since = loop.time()
        while True:
            began, error = loop.time(), None
            try:
                await self._follow()
            except SourceError as failure:
                error = failure
            was_connected, self.connected = self.connected, False
            lived_s = loop.time() - began if was_connected else 0.0
            if lived_s >= SHORT_LIFE_S:
                self._backoff.reset()
                if error is None:  # a proxy's or our own limit of age: normal
                    _log.debug("source.reconnecting", source=self._name, lived_s=round(lived_s, 1))
                    continue
            if self.error is None:
                self.since = loop.time()
            self.error = str(error or "the engine ended the stream at once")
            if isinstance(error, DeadSocketError) and loop.time() - self.since >= DEAD_PATIENCE_S:
                _log.error("source.socket_dead", source=self._name, error=self.error)
                raise error
            wait_s = self._backoff.next_wait()
            _log.warning(
                "source.disconnected",
                source=self._name,
                error=self.error,
                attempt=self._backoff.attempt,
                retry_in_s=round(wait_s, 2),
            )
            await asyncio.sleep(wait_s)

    def age_s(self, event: Event) -> float | None:
        """Tell how many seconds ago an event of a replay happened; `None` for one that happens now."""
        now = asyncio.get_running_loop().time()
        if now >= self._replayed_until:
            return None
        return max(0.0, now + self._engine_clock_s - event.at_ns / 1e9)

    async def _follow(self) -> None:
        """Read one stream until it ends or is too old."""
        ping = await self._client.ping()
        self.engine_pid = ping.pid
        await self._client.warm(self._connections)
        clock = asyncio.get_running_loop().time
        self._engine_clock_s = (ping.clock_s or 0.0) - clock()
        since_s = None if ping.clock_s is None else ping.clock_s - self._reach_back_s
        decoder = EventDecoder()
        async with self._client.events(since_s=since_s) as chunks:
            if self.error is not None or not self._was_ever_connected:
                self.since = clock()
            self.connected, self.error, self._was_ever_connected = True, None, True
            self._replayed_until = clock() + REPLAY_S
            _log.info("source.connected", source=self._name, api=".".join(map(str, ping.api)))
            self._begun()
            with suppress(TimeoutError):
                async with asyncio.timeout(MAX_STREAM_AGE_S):
                    async for chunk in chunks:
                        for event in decoder.feed(chunk):
                            self._take(event)

    def recent(self) -> tuple[Event, ...]:
        """Give the latest events, oldest first and without their labels."""
        return tuple(self._recent.values())

    def _take(self, event: Event) -> None:
        known = (event.at_ns, event.container, event.action)
        if known not in self._recent or not event.at_ns:  # else it is told again by a new stream
            self.counts[event.action.partition(":")[0]] += 1
            self._recent[known] = replace(event, labels=None)
            if len(self._recent) > KEPT_EVENTS:
                del self._recent[next(iter(self._recent))]
        self._handle_event(event)

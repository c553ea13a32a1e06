"""
Follows one engine's stream of events for good: it only reads and decodes, and awaits nothing but the next bytes.

Nobody else talks to the engine here; what an event means is the source's (facts, stream 1).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from lbwatch.core.errors import DeadSocketError, SourceError
from lbwatch.core.model import Event
from lbwatch.core.repeats import Repeats
from lbwatch.core.schedule import Backoff
from lbwatch.engines.docker.client import ASKED, CONTAINER_EVENTS, EngineClient
from lbwatch.engines.docker.decode import EventDecoder
from lbwatch.engines.docker.replay import RecentEvents, ReplayClock

MAX_STREAM_AGE_S = 300.0
"""A flow through NAT dies silently after 5 minutes or more (facts, stream 8); by our own clock."""

OVERLAP_S = 5.0
"""
How far a new subscription reaches back beyond the time for which a stop signal matters; `Date` headers are whole
seconds. The stream before it may have been deaf for a while, so that its end says nothing (facts, stream 8).
"""

SHORT_LIFE_S = 1.0

SETTLES_S = 10.0
"""After so long without a stream another error is news: an engine's restart has two or three, all of them soon."""

DEAD_PATIENCE_S = 10.0
"""How long a socket is dead before the daemon ends: whoever started it can start it anew, with the new socket."""

_log = structlog.get_logger()


@dataclass(slots=True)
class Connection:
    """
    How it stands with one engine's stream.

    Attributes:
        connected: Whether it holds; for an instant not while one that grew too old is renewed.
        since: Loop time since which it does, or does not; a renewal changes nothing.
        error: Why it does not hold, in words; `None` while it does, is renewed, or is tried for the first time.
    """

    connected: bool = False
    since: float = 0.0
    error: str | None = None
    _was_ever_connected: bool = False

    def open(self, *, now: float) -> None:
        """Take the loop time at which events began to come."""
        if self.error is not None or not self._was_ever_connected:
            self.since = now
        self.connected, self.error, self._was_ever_connected = True, None, True

    def outage(self, *, now: float) -> dict[str, float]:
        """Return for how long it has not held, for the log; nothing where that has just begun, or it does."""
        lasts_s = round(now - self.since, 1)
        return {"outage_s": lasts_s} if self.error is not None and lasts_s else {}

    def close(self) -> bool:
        """Return whether it held until now, when it no longer does."""
        was_connected, self.connected = self.connected, False
        return was_connected

    def fail(self, error: str, *, now: float) -> None:
        """Take why no events come, in words, and the loop time."""
        if self.error is None:
            self.since = now
        self.error = error


class Outage:
    """
    Which interruptions of a stream are worth a line, beside debug: one for each, more while it lasts, none for a habit.

    A proxy that ends the stream every few seconds has the next one hold at once, so that the habit alone is news, once.
    An engine's restart has no next one at first, and is news each time. Until a stream has lived for a while it is
    still the same interruption, however often there is one.
    """

    def __init__(self) -> None:
        self._failures = Repeats(settles_s=SETTLES_S)  # in this interruption
        self._awaited = True  # whether its end is news
        self._habit: str | None = None  # the error by which streams that lived ended, as it was warned of last

    def is_news(self, error: str, *, lived: bool, now: float) -> bool:
        """
        Return whether to warn of an error, and if so take it as warned of.

        Args:
            error: In words.
            lived: Whether a stream that had lived for a while ended by it.
            now: Loop time.
        """
        if lived:
            self._failures.end(now=now)
            if error == self._habit:
                return False
            self._habit = error
        if is_news := self._failures.fails(error, now=now):
            self._awaited = True
        return is_news

    def ends(self) -> bool:
        """Return whether it is news that events come: for the first time, or after a warning."""
        is_news, self._awaited = self._awaited, False
        return is_news


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamKind:
    """
    What a stream is asked for.

    Attributes:
        filters: As the Engine API takes them.
        decoder: Makes what reads it.
        needs: What a proxy before the engine must allow for it.
        keys: Further keys of its lines in the log.
    """

    filters: Mapping[str, Sequence[str]] = field(default_factory=lambda: CONTAINER_EVENTS)
    decoder: Callable[[], EventDecoder] = EventDecoder
    needs: tuple[str, ...] = ASKED
    keys: Mapping[str, str] = field(default_factory=dict)


_OF_CONTAINERS = StreamKind()


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
        verify: Finds out, before that, whether it is still the same engine.
        handle_event: Called with each event, and with how many seconds ago it happened; `None`: it happens now.
        kind: Of what it tells.

    Attributes:
        connection: Whether it holds.
        recent: The latest events.
        engine_pid: Of the engine's process, where that can be seen.
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
        verify: Callable[[], Awaitable[None]],
        handle_event: Callable[[Event, float | None], None],
        kind: StreamKind = _OF_CONTAINERS,
    ) -> None:
        self.connection = Connection()
        self.recent = RecentEvents()
        self.engine_pid: int | None = None
        self._client = client
        self._name = name
        self._reach_back_s = reach_back_s + OVERLAP_S
        self._connections = connections
        self._backoff = backoff
        self._begun = begun
        self._verify = verify
        self._age: asyncio.Timeout | None = None  # of the stream that holds
        self._handle_event = handle_event
        self._replay = ReplayClock()
        self._outage = Outage()
        self._kind = kind

    async def run(self) -> None:
        """
        Read streams one after the other, for good.

        Raises:
            DeadSocketError: Nobody listens at the engine's socket, for so long that nobody ever will.
        """
        loop = asyncio.get_running_loop()
        self.connection.since = loop.time()
        while True:
            began, error = loop.time(), None
            try:
                await self._follow()
            except SourceError as failure:
                error = failure
            lived_s = loop.time() - began if self.connection.close() else 0.0
            # One that lived is no failure, but one that ends at once, cleanly or not, must not be tried in a tight
            # loop: a proxy cuts the stream every ten minutes, and some answer with an empty one (facts, stream 8).
            if lived := lived_s >= SHORT_LIFE_S:
                self._backoff.reset()
                if error is None:  # a proxy's or our own limit of age: normal
                    _log.debug("source.reconnecting", source=self._name, lived_s=round(lived_s, 1))
                    continue
            self.connection.fail(str(error or "the engine ended the stream at once"), now=loop.time())
            if isinstance(error, DeadSocketError) and loop.time() - self.connection.since >= DEAD_PATIENCE_S:
                _log.error("source.socket_dead", source=self._name, error=self.connection.error)
                raise error
            await asyncio.sleep(self._wait_s(lived=lived))

    def _wait_s(self, *, lived: bool) -> float:
        """Return in how many seconds the next stream is to be tried, and say why; *lived*: whether one just ended."""
        error, now = self.connection.error or "", asyncio.get_running_loop().time()
        wait_s = self._backoff.next_wait()
        log = _log.warning if self._outage.is_news(error, lived=lived, now=now) else _log.debug
        log(
            "source.disconnected",
            source=self._name,
            error=error,
            attempt=self._backoff.attempt,
            retry_in_s=round(wait_s, 2),
            **self._kind.keys,
            **self.connection.outage(now=now),
        )
        return wait_s

    def renew(self) -> None:
        """Have the stream that holds end, as if it were too old, and the next one begin."""
        if self._age is not None and not self._age.expired():
            self._age.reschedule(asyncio.get_running_loop().time())

    async def _follow(self) -> None:
        """Read one stream until it ends or is too old."""
        clock = asyncio.get_running_loop().time
        ping = await self._client.ping()
        await self._verify()
        self.engine_pid = ping.pid
        # An engine that is told to stop takes no new connection; 20.10 serves those that are open (facts, stream 15).
        await self._client.warm(self._connections)
        self._replay.synchronize(engine_s=ping.clock_s, now=clock())
        since_s = None if ping.clock_s is None else ping.clock_s - self._reach_back_s
        decoder, kind = self._kind.decoder(), self._kind
        async with self._client.events(since_s=since_s, filters=kind.filters, needs=kind.needs) as chunks:
            outage = self.connection.outage(now=clock())
            self.connection.open(now=clock())
            self._replay.begin(now=clock())
            log = _log.info if self._outage.ends() else _log.debug
            log("source.connected", source=self._name, api=".".join(map(str, ping.api)), **kind.keys, **outage)
            self._begun()
            try:
                async with asyncio.timeout(MAX_STREAM_AGE_S) as self._age:
                    async for chunk in chunks:
                        for event in decoder.feed(chunk):
                            self.recent.record(event)
                            self._handle_event(event, self._replay.age_s(event, now=clock()))
            except TimeoutError:
                return
            finally:
                self._age = None  # what has ended has no age to be changed

"""
How what happens reaches callers: events at once, late, twice or not at all, but in order, and a list that lags.

Wrong answers to single requests are in `faults`.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lbwatch.engines.fake.kinds import Kind
from lbwatch.engines.fake.requests import Filters, event_passes
from lbwatch.engines.fake.state import Container

RING_EVENTS = 256
CHANNEL_EVENTS = 1024
"""Both as in moby; the ring is all that `since` can reach."""


class StreamBrokenError(Exception):
    """A stream ends in the middle of an answer."""


@dataclass(slots=True, kw_only=True, eq=False)
class Subscription:
    """One open stream: what is replayed first, then the channel, in which an exception or `None` means the end."""

    filters: Filters
    kind: Kind
    replay: list[dict[str, Any]]
    channel: asyncio.Queue[dict[str, Any] | StreamBrokenError | None] = field(
        default_factory=lambda: asyncio.Queue(CHANNEL_EVENTS + 1)  # one place is the end's
    )

    async def next_event(self) -> dict[str, Any] | None:
        """Return what comes next; `None`: the end. Raises `StreamBrokenError`."""
        item = await self.channel.get()
        if isinstance(item, StreamBrokenError):
            raise item
        return item

    def offer(self, event: dict[str, Any]) -> None:
        """Put an event into the channel if it passes the filters and there is room."""
        # A full channel drops events without a sign (facts, stream 1). Of a burst that gives the loop no turn what is
        # beyond the channel's size is lost, however fast the reader is.
        if self.channel.qsize() < CHANNEL_EVENTS and event_passes(event, filters=self.filters, http=self.kind.http):
            self.channel.put_nowait(event)


class EventStream:
    """
    All open streams, and the ring of recent events.

    Args:
        kind: Which engine it is.

    Attributes:
        delivery: Given an event, returns after how many seconds copies of it are sent, beside what the engine itself
            takes: `()` loses it, also from the ring; `(0.0, 0.0)` doubles it, `(0.3,)` delays it behind what comes
            until then. `None`: each is sent once.
        subscribe_gap_s: Seconds between the header of `/events` and the subscription; what happens within is lost.
        muted: Whether the engine is down: nothing is sent and nothing is kept.
        watchers: Called with every event when it happens, whatever becomes of it: the engine's own part in a Swarm.
    """

    def __init__(self, kind: Kind) -> None:
        self.delivery: Callable[[dict[str, Any]], Sequence[float]] | None = None
        self.subscribe_gap_s = 0.0
        self.muted = False
        self.watchers: list[Callable[[dict[str, Any]], None]] = []
        self._kind = kind
        self._untold: deque[_Untold] = deque()  # what happened and is told later, in order
        self._next: asyncio.TimerHandle | None = None  # when the first of them is
        self._ring: deque[dict[str, Any]] = deque(maxlen=RING_EVENTS)
        self._subscriptions: list[Subscription] = []

    @property
    def listeners(self) -> int:
        """Return the number of subscriptions."""
        return len(self._subscriptions)

    @property
    def waiting(self) -> int:
        """Return the number of events that happened and are not told yet."""
        return len(self._untold)

    def publish(self, event: dict[str, Any], *, delay_s: float = 0.0) -> None:
        """
        Send an event to all subscriptions, and keep it in the ring, when the engine comes to tell it.

        Args:
            event: What happened now.
            delay_s: So many seconds later the engine tells it, and nothing that happens from now on before it.
        """
        for watcher in self.watchers:
            watcher(event)
        copies_s = (0.0,) if self.delivery is None else self.delivery(event)
        if self.muted or not copies_s:
            return
        polled_s = self._kind.events.polled_s
        if not (delay_s or polled_s or self._untold):
            self._tell(_Untold(at=0.0, event=event, copies_s=copies_s))
            return
        now = asyncio.get_running_loop().time()
        at = now + (polled_s - now % polled_s if polled_s else delay_s)
        self._untold.append(_Untold(at=at, event=event, copies_s=copies_s))
        if self._next is None:
            self._wait_for_next()

    def _wait_for_next(self) -> None:
        self._next = asyncio.get_running_loop().call_at(self._untold[0].at, self._tell_next)

    def _tell_next(self) -> None:
        """Tell all whose time has come; one that need not wait comes right after those that it must not overtake."""
        now, self._next = asyncio.get_running_loop().time(), None
        while self._untold and self._untold[0].at <= now:
            self._tell(self._untold.popleft())
        if self._untold:
            self._wait_for_next()

    def _tell(self, untold: "_Untold") -> None:
        self._ring.append(untold.event)
        for delay_s in untold.copies_s:
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._send, untold.event)
            else:
                self._send(untold.event)

    def _send(self, event: dict[str, Any]) -> None:
        for subscription in () if self.muted else self._subscriptions:
            subscription.offer(event)

    @contextmanager
    def subscribe(self, *, filters: Filters, since_ns: int, until_ns: int) -> Iterator[Subscription]:
        """
        Return a subscription, for as long as the context lasts.

        Args:
            filters: Which events it gets.
            since_ns: From when on events are replayed, in nanoseconds since the epoch; 0 for none.
            until_ns: Until when; alone it replays the whole ring; 0 for none.
        """
        replay = self._replay(filters, since_ns=since_ns, until_ns=until_ns)
        subscription = Subscription(filters=filters, kind=self._kind, replay=replay)
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

    def cut(self, *, cleanly: bool = True) -> None:
        """End every subscription, *cleanly* or not; what its channel holds is still read."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            subscription.channel.put_nowait(None if cleanly else StreamBrokenError())

    def forget(self) -> None:
        """Forget what the ring holds and what was not told yet, as an engine does that ends."""
        self._ring.clear()
        self._untold.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _replay(self, filters: Filters, *, since_ns: int, until_ns: int) -> list[dict[str, Any]]:
        if not since_ns and not until_ns:
            return []
        if until_ns and not self._kind.http.replays_until:
            return []
        found: list[dict[str, Any]] = []
        # The ring is not ordered by time, and moby stops at the first older entry going backwards, whatever lies
        # behind it: so `since` is no resume token (facts, stream 2).
        for event in reversed(self._ring):
            if event["timeNano"] < since_ns:
                break
            in_time = not until_ns or event["timeNano"] <= until_ns
            if in_time and event_passes(event, filters=filters, http=self._kind.http):
                found.append(event)
        return found[::-1]


@dataclass(slots=True, kw_only=True, frozen=True)
class _Untold:
    at: float  # loop time
    event: dict[str, Any]
    copies_s: Sequence[float]  # as `EventStream.delivery` returns them


@dataclass(slots=True, kw_only=True, frozen=True)
class _Change:
    at: float  # seconds of the monotonic clock
    lag_s: float  # as it was then
    container: Container | None  # None: removed


class Replica:
    """
    The copies that `GET /containers/json` is served from; they lag behind the containers themselves.

    Args:
        lag_s: Seconds until any change is seen; `None`: as long as this engine takes for that change.
        monotonic: Clock, in seconds.
    """

    def __init__(self, *, lag_s: float | None, monotonic: Callable[[], float]) -> None:
        self.lag_s = lag_s
        self._monotonic = monotonic
        self._visible: dict[str, Container] = {}
        self._pending: dict[str, deque[_Change]] = {}

    def record(self, container_id: str, container: Container | None, *, lag_s: float) -> None:
        """
        Record that a container changed.

        Args:
            container_id: Its id.
            container: A copy of it; `None` once it is removed.
            lag_s: How many seconds this engine takes to show that.
        """
        lag_s = lag_s if self.lag_s is None else self.lag_s
        change = _Change(at=self._monotonic(), lag_s=lag_s, container=container)
        self._pending.setdefault(container_id, deque()).append(change)

    def catch_up(self, container_id: str) -> None:
        """Make a container visible as it is now."""
        for change in self._pending.pop(container_id, ()):
            self._apply(container_id, change)

    def catch_up_removed(self, ref: str) -> None:
        """Hide the removed containers that had this id, beginning of an id, or name."""
        for container_id, changes in list(self._pending.items()):
            visible = self._visible.get(container_id)
            matches = container_id.startswith(ref) or (visible and visible.name == ref.removeprefix("/"))
            if matches and changes[-1].container is None:
                self.catch_up(container_id)

    def catch_up_all(self) -> None:
        """Make everything visible as it is now, as after a start of the engine."""
        for container_id in list(self._pending):
            self.catch_up(container_id)

    def containers(self) -> list[Container]:
        """Return what is visible now, the newest first."""
        now, most_s = self._monotonic(), math.inf if self.lag_s is None else self.lag_s
        for container_id, changes in list(self._pending.items()):
            # The lesser of the lag then and now: a greater lag set later hides nothing that was done before it.
            while changes and now - changes[0].at >= min(most_s, changes[0].lag_s):
                self._apply(container_id, changes.popleft())
            if not changes:
                del self._pending[container_id]
        return sorted(self._visible.values(), key=lambda container: -container.created_ns)

    def _apply(self, container_id: str, change: _Change) -> None:
        if change.container is None:
            self._visible.pop(container_id, None)
        else:
            self._visible[container_id] = change.container

"""
How what happens reaches callers: events at once, late, twice or not at all, and a list that lags.

Wrong answers to single requests are in `faults`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

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
        if self.channel.qsize() < CHANNEL_EVENTS and event_passes(event, filters=self.filters):
            self.channel.put_nowait(event)


class EventStream:
    """
    All open streams, and the ring of recent events.

    Attributes:
        delivery: Given an event, returns after how many seconds copies of it are sent: `()` loses it, also from the
            ring; `(0.0, 0.0)` doubles it, `(0.3,)` delays it behind what comes until then. `None`: each is sent once,
            at once.
        subscribe_gap_s: Seconds between the header of `/events` and the subscription; what happens within is lost.
        muted: Whether the engine is down: nothing is sent and nothing is kept.
    """

    def __init__(self) -> None:
        self.delivery: Callable[[dict[str, Any]], Sequence[float]] | None = None
        self.subscribe_gap_s = 0.0
        self.muted = False
        self._ring: deque[dict[str, Any]] = deque(maxlen=RING_EVENTS)
        self._subscriptions: list[Subscription] = []

    @property
    def listeners(self) -> int:
        """Return the number of subscriptions."""
        return len(self._subscriptions)

    def publish(self, event: dict[str, Any]) -> None:
        """Send an event to all subscriptions, and keep it in the ring."""
        delays_s = (0.0,) if self.delivery is None else self.delivery(event)
        if self.muted or not delays_s:
            return
        self._ring.append(event)
        for delay_s in delays_s:
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._send, event)
            else:
                self._send(event)

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
        subscription = Subscription(filters=filters, replay=replay)
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

    def clear_ring(self) -> None:
        """Empty the ring."""
        self._ring.clear()

    def _replay(self, filters: Filters, *, since_ns: int, until_ns: int) -> list[dict[str, Any]]:
        if not since_ns and not until_ns:
            return []
        found: list[dict[str, Any]] = []
        # The ring is not ordered by time, and moby stops at the first older entry going backwards, whatever lies
        # behind it: so `since` is no resume token (facts, stream 2).
        for event in reversed(self._ring):
            if event["timeNano"] < since_ns:
                break
            if (not until_ns or event["timeNano"] <= until_ns) and event_passes(event, filters=filters):
                found.append(event)
        return found[::-1]


@dataclass(slots=True, kw_only=True, frozen=True)
class _Change:
    at: float  # seconds of the monotonic clock
    lag_s: float  # as it was then
    container: Container | None  # None: removed


class Replica:
    """
    The copies that `GET /containers/json` is served from; they lag behind the containers themselves.

    Args:
        lag_s: Seconds until a change is seen.
        monotonic: Clock, in seconds.
    """

    def __init__(self, *, lag_s: float, monotonic: Callable[[], float]) -> None:
        self.lag_s = lag_s
        self._monotonic = monotonic
        self._visible: dict[str, Container] = {}
        self._pending: dict[str, deque[_Change]] = {}

    def record(self, container_id: str, container: Container | None) -> None:
        """Record a copy of a container that changed, or `None` once it is removed."""
        change = _Change(at=self._monotonic(), lag_s=self.lag_s, container=container)
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
        now = self._monotonic()
        for container_id, changes in list(self._pending.items()):
            # The lesser of the lag then and now: a greater lag set later hides nothing that was done before it.
            while changes and now - changes[0].at >= min(self.lag_s, changes[0].lag_s):
                self._apply(container_id, changes.popleft())
            if not changes:
                del self._pending[container_id]
        return sorted(self._visible.values(), key=lambda container: -container.created_ns)

    def _apply(self, container_id: str, change: _Change) -> None:
        if change.container is None:
            self._visible.pop(container_id, None)
        else:
            self._visible[container_id] = change.container

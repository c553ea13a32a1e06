"""
The events on their way to who listens: filters, the ring for `since`, and a channel for each subscriber.

What goes wrong with events on their way is `EventStream.fates`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Filters = Mapping[str, frozenset[str]]

RING_EVENTS = 256
CHANNEL_EVENTS = 1024
"""Both as in moby; the ring is all that `since` can reach."""

_KINDS = ("container", "network", "daemon", "plugin", "volume", "node", "service", "secret", "config")


@dataclass(slots=True, kw_only=True, eq=False)
class Subscription:
    """
    One open stream: what is replayed first, then the channel, where `None` means the end.

    Beyond its size the channel takes nothing and tells nobody. Of a burst made without giving the loop a turn
    what is beyond it is lost, however fast the reader is.
    """

    filters: Filters
    replay: list[dict[str, Any]]
    channel: asyncio.Queue[dict[str, Any] | None] = field(
        default_factory=lambda: asyncio.Queue(CHANNEL_EVENTS + 1)  # one place is the end's
    )

    def offer(self, event: dict[str, Any]) -> None:
        """Put an event into the channel if it passes the filters and there is room."""
        if passes(event, filters=self.filters) and self.channel.qsize() < CHANNEL_EVENTS:
            self.channel.put_nowait(event)


class EventStream:
    """
    All that listens, and the ring.

    Attributes:
        fates: Tells for each event after how many seconds copies of it are sent: `()` loses it, also from the ring;
            `(0.0, 0.0)` doubles it, `(0.3,)` delays it behind what comes until then. `None`: each is sent once, at
            once.
    """

    def __init__(self) -> None:
        self.fates: Callable[[dict[str, Any]], Sequence[float]] | None = None
        self.muted = False  # the engine is down: nobody hears and nothing is kept
        self._ring: deque[dict[str, Any]] = deque(maxlen=RING_EVENTS)
        self._subscriptions: list[Subscription] = []

    @property
    def listeners(self) -> int:
        """Count the subscriptions."""
        return len(self._subscriptions)

    def publish(self, event: dict[str, Any]) -> None:
        """Send an event to who listens, and keep it for a while."""
        delays_s = (0.0,) if self.fates is None else self.fates(event)
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
        """Listen; both times in nanoseconds since the epoch, 0 for none."""
        replay = self._replay(filters, since_ns=since_ns, until_ns=until_ns)
        subscription = Subscription(filters=filters, replay=replay)
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            self._forget(subscription)

    def cut(self) -> None:
        """End every subscription; what its channel holds is still read."""
        for subscription in list(self._subscriptions):
            self._forget(subscription)
            subscription.channel.put_nowait(None)

    def wipe(self) -> None:
        """Empty the ring."""
        self._ring.clear()

    def _forget(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def _replay(self, filters: Filters, *, since_ns: int, until_ns: int) -> list[dict[str, Any]]:
        """Go backwards through the ring and stop at the first older entry, whatever lies behind it."""
        if not since_ns and not until_ns:
            return []
        found: list[dict[str, Any]] = []
        for event in reversed(self._ring):
            if event["timeNano"] < since_ns:
                break
            if (not until_ns or event["timeNano"] <= until_ns) and passes(event, filters=filters):
                found.append(event)
        return found[::-1]


def passes(event: Mapping[str, Any], *, filters: Filters) -> bool:
    """
    Tell whether an event passes, as moby's `daemon/events/filter.go` does; unknown keys are not looked at.

    Values of one key are alternatives, except labels, which must all be there. A name or id matches from its
    beginning. A kind's key is held against every kind of event, so `container` leaves no network event.
    """
    actor, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
    named = (actor, attributes.get("name", ""))
    image = attributes.get("image", "")
    return (
        _action_passes(event["Action"], wanted=filters.get("event", frozenset()))
        and _equals_one(filters.get("type"), (event["Type"],))
        and _equals_one(filters.get("scope"), (event["scope"],))
        and all(_begins_with_one(filters.get(kind), named) for kind in _KINDS)
        and _equals_one(filters.get("image"), (actor, image, image.partition(":")[0]))
        and has_labels(attributes, wanted=filters.get("label", frozenset()))
    )


def has_labels(labels: Mapping[str, str], *, wanted: frozenset[str]) -> bool:
    """Tell whether every wanted `key` or `key=value` is there."""
    pairs = (label.partition("=") for label in wanted)
    return all(key in labels and (not equals or labels[key] == value) for key, equals, value in pairs)


def _action_passes(action: str, *, wanted: frozenset[str]) -> bool:
    """One value for health or exec turns every value into a beginning: `die` then takes `died` too."""
    if any(value == "health_status" or value.startswith("exec_") for value in wanted):
        return _begins_with_one(wanted, (action,))
    return _equals_one(wanted, (action,))


def _equals_one(wanted: frozenset[str] | None, found: tuple[str, ...]) -> bool:
    return not wanted or not wanted.isdisjoint(found)


def _begins_with_one(wanted: frozenset[str] | None, found: tuple[str, ...]) -> bool:
    return not wanted or any(text.startswith(value) for value in wanted for text in found)

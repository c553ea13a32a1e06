"""
What a new stream of events tells again: which events were heard already, and how old one is.

Streams overlap on purpose, since the one before may have been deaf (facts, stream 8). Loop times come in as arguments.
"""

from collections import Counter
from dataclasses import replace

from lbwatch.core.model import Event

REPLAY_S = 2.0
"""How long after its beginning a stream may tell what is old; later, an event that looks old shows a clock set back."""

KEPT_EVENTS = 1000
"""So many of the latest are kept for `explain`, without their labels."""

KEPT_ACTIONS = 100
"""So many actions have a count of their own, each a line of the metrics; engines have some forty."""

OTHER_ACTIONS = "other"


class RecentEvents:
    """
    The latest events of one engine, each once however often it is told.

    Attributes:
        counts: Events by action, since the beginning; one that is told again does not count again.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._latest: dict[object, Event] = {}  # oldest first

    def record(self, event: Event) -> bool:
        """Count and keep an event, and return `True`, unless it is kept already."""
        key = (event.at_ns, event.container, event.action)
        # Events without a time cannot be told from each other: rather one too many than one that is missing.
        if key in self._latest and event.at_ns:
            return False
        action = event.action.partition(":")[0]
        self.counts[action if action in self.counts or len(self.counts) < KEPT_ACTIONS else OTHER_ACTIONS] += 1
        self._latest[key] = replace(event, labels=None)
        if len(self._latest) > KEPT_EVENTS:
            del self._latest[next(iter(self._latest))]
        return True

    def latest(self) -> tuple[Event, ...]:
        """Return the events that are kept, oldest first and without their labels."""
        return tuple(self._latest.values())


class ReplayClock:
    """How the engine's clock, by which events are stamped, stands to the loop's; set at each stream's beginning."""

    def __init__(self) -> None:
        self._offset_s = 0.0  # the engine's clock less the loop's
        self._until = 0.0  # loop time until which events may be old

    def synchronize(self, *, engine_s: float | None, now: float) -> None:
        """
        Take what the engine's clock shows.

        Args:
            engine_s: Seconds since the epoch by the engine's clock; `None` where it does not say.
            now: Loop time, in seconds.
        """
        self._offset_s = (engine_s or 0.0) - now

    def begin(self, *, now: float) -> None:
        """Take the loop time at which a stream began."""
        self._until = now + REPLAY_S

    def age_s(self, event: Event, *, now: float) -> float | None:
        """Return how many seconds ago an event of a replay happened; `None` for one that happens at *now*."""
        # Not by the event's time alone: an engine's clock that was set back makes all that is new look old.
        if now >= self._until:
            return None
        return max(0.0, now + self._offset_s - event.at_ns / 1e9)

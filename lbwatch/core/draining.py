"""
Which containers drain: those that were sent a stop signal, or are about to be, or that an operator drains by hand.

Which signal a container was sent is in no state, so that here an event is believed. That a Swarm is about to stop a
task is in its state, seconds before the signal, and is never taken back. Plain arithmetic on the engine's times and on
seconds of the loop's clock; no clock is read here.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lbwatch.core.model import KILL, TERM, Container, Event, Snapshot

CLOCK_SET_BACK_NS = 5 * 10**9
"""A signal that comes now and is so much older than the start shows that the engine's clock was set back since."""

MAX_UNKNOWN = 10_000
"""Signals are kept of so many containers of which nothing else is known; the latest ones."""

BY_HAND = "it is drained by hand (lbwatch undrain ends that)"
TOLD_TO_STOP = "it got its stop signal"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """
    One signal to a container.

    Attributes:
        sent_ns: When it was sent by the engine's clock, as the event says.
        at_ns: The same, or just after the start where that clock was set back since.
        at: When it was sent by the loop's clock.
        life_ns: When the life began in which it was sent, as far as that was known, by the engine's clock; else 0.
    """

    sent_ns: int
    at_ns: int
    at: float
    life_ns: int


class StopSignals:
    """The signals that one engine's containers got lately, by its `kill` events."""

    def __init__(self) -> None:
        self._heard: dict[str, dict[int | None, _Heard]] = {}  # by id and number, the latest of each
        self._unknown: dict[str, None] = {}  # ids of those of which nothing else was known then, oldest first

    def record(self, event: Event, *, container: Container | None, now: float, age_s: float | None = None) -> None:
        """
        Keep the signal of an event, which may be of any kind and may come more than once.

        Args:
            event: As it was decoded.
            container: What its container was seen to be last; `None` if it was not seen yet.
            now: Loop time, in seconds.
            age_s: Of an event that comes after the fact (streams overlap), how many seconds ago it happened, as far
                as that is known; `None` for one that happens now.
        """
        if event.action != "kill" or event.container is None:
            return
        # Streams overlap: an event that was kept already must not begin its drain anew, nor an older one replace it.
        known = self._heard.get(event.container, {}).get(event.signal)
        if known is not None and (event.at_ns == known.sent_ns or (age_s is not None and event.at_ns < known.sent_ns)):
            return
        at_ns = event.at_ns
        # It happens now, so it is of this life, although a clock that was set back says that it came before the start.
        if age_s is None and container is not None and at_ns < container.started_ns - CLOCK_SET_BACK_NS:
            at_ns = container.started_ns + 1
        life_ns = container.started_ns if container is not None else 0
        heard = _Heard(sent_ns=event.at_ns, at_ns=at_ns, at=now - (age_s or 0.0), life_ns=life_ns)
        self._heard.setdefault(event.container, {})[event.signal] = heard
        if container is None:
            self._bound_unknown(event.container)

    def settle(self, id: str, container: Container | None) -> None:
        """
        Forget the signals of a former life.

        Args:
            id: Of a container.
            container: What was seen of it just now; `None`: there is none any more.
        """
        heard = self._heard.pop(id, {})
        self._unknown.pop(id, None)
        if container is None or not container.status.is_up:
            return
        since = {number: each for number, each in heard.items() if _is_since(each, container)}
        if since:
            self._heard[id] = since

    def _bound_unknown(self, id: str) -> None:
        """Note that nothing else is known of a container, and forget the oldest such one if there are too many."""
        self._unknown[id] = None
        if len(self._unknown) > MAX_UNKNOWN:
            oldest = next(iter(self._unknown))
            del self._unknown[oldest]
            self._heard.pop(oldest, None)

    def stopping(self, containers: Mapping[str, Container]) -> dict[str, float]:
        """Return which of *containers*, by id, were sent a stop signal since their latest start: its loop time."""
        times = {id: _told_at(heard, containers.get(id)) for id, heard in self._heard.items()}
        return {id: at for id, at in times.items() if at is not None}


def _told_at(heard: Mapping[int | None, _Heard], container: Container | None) -> float | None:
    if container is None:
        return None
    ending = (each for number, each in heard.items() if _ends(container, number))
    return max((each.at for each in ending if _is_since(each, container)), default=None)


def _is_since(heard: _Heard, container: Container) -> bool:
    """Return whether a signal came in this life, also where the clock was set back since the former life began."""
    # A start before the one that was known then: only the clock can have gone back, so what lies between is this life.
    if container.started_ns < heard.life_ns:
        return container.started_ns < heard.sent_ns < heard.life_ns
    return heard.at_ns > container.started_ns


def _ends(container: Container, number: int | None) -> bool:
    """Return whether a signal is there to end a container; one that cannot be read is taken for its stop signal."""
    return number is None or container.stop_signal is None or number in (container.stop_signal, TERM, KILL)


class Drains:
    """
    All containers that drain now; one for all sources.

    Args:
        timeout_s: Seconds after its stop signal at which a container that still lives takes traffic again.

    Attributes:
        outlived: Ids of those that did so, as of the latest answer.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self.outlived: frozenset[str] = frozenset()
        self._timeout_s = timeout_s
        self._ends: tuple[float, ...] = ()  # loop times at which those that were sent a stop signal are back

    def draining(self, snapshots: Iterable[Snapshot], *, by_hand: Collection[str], now: float) -> dict[str, str]:
        """
        Return which containers drain, by id, and why, in words.

        Args:
            snapshots: Of every engine.
            by_hand: Ids of those that an operator drains.
            now: Loop time, in seconds.
        """
        snapshots = tuple(snapshots)
        ends = {
            id: at + self._timeout_s
            for snapshot in snapshots
            for id, at in snapshot.stopping.items()
            if id not in snapshot.leaving
        }
        told = {id: at for id, at in ends.items() if now < at}
        self._ends = tuple(told.values())
        self.outlived = frozenset(ends.keys() - told.keys() if self._timeout_s else ())
        # Who is about to be stopped for good never takes traffic again, however long that takes: it drains without end.
        # By hand comes last: its words are the ones that help.
        leaving = {id: why for snapshot in snapshots for id, why in snapshot.leaving.items()}
        return dict.fromkeys(told, TOLD_TO_STOP) | leaving | dict.fromkeys(by_hand, BY_HAND)

    def changes_at(self) -> float | None:
        """Return the loop time at which the next one is back if nothing happens until then; `None`: none is."""
        return min(self._ends, default=None)

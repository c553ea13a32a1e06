"""
Who drains: containers that were told to stop, or that an operator drains by hand.

That a container was told to stop is in no state, so that here, and nowhere else, an event is believed. Plain arithmetic
on the engine's times and on seconds of the loop's clock; no clock is read here.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lbwatch.model import KILL, TERM, Backend, Event, Snapshot

BY_HAND = "it is drained by hand (lbwatch undrain ends that)"
TOLD_TO_STOP = "it was told to stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """One signal to a container: when it was sent by the engine's clock, and by the loop's."""

    at_ns: int
    at: float


class StopSignals:
    """The signals that one engine's containers got lately, by its `kill` events."""

    def __init__(self) -> None:
        self._heard: dict[str, dict[int | None, _Heard]] = {}  # by id and number, the latest of each

    def hear(self, event: Event, *, now: float, age_s: float = 0.0) -> None:
        """
        Take an event, of any kind and as often as it is told (streams overlap).

        Args:
            event: As it was decoded.
            now: Loop time, in seconds.
            age_s: How long ago it happened, in seconds, as far as that is known.
        """
        if event.action != "kill" or event.backend is None:
            return
        heard = self._heard.setdefault(event.backend, {})
        known = heard.get(event.signal)
        if known is None or known.at_ns < event.at_ns:
            heard[event.signal] = _Heard(at_ns=event.at_ns, at=now - age_s)

    def settle(self, id: str, backend: Backend | None) -> None:
        """Forget what no longer matters of a container, now that it was looked at; `None`: there is none any more."""
        heard = self._heard.pop(id, {})
        since = {number: each for number, each in heard.items() if backend and each.at_ns > backend.started_ns}
        if since:
            self._heard[id] = since

    def stopping(self, backends: Mapping[str, Backend]) -> dict[str, float]:
        """Tell which of *backends* were told to stop since their latest start, and when, in loop time."""
        times = {id: _told_at(heard, backends.get(id)) for id, heard in self._heard.items()}
        return {id: at for id, at in times.items() if at is not None}


def _told_at(heard: Mapping[int | None, _Heard], backend: Backend | None) -> float | None:
    if backend is None:
        return None
    ending = (each for number, each in heard.items() if _ends(backend, number))
    return max((each.at for each in ending if each.at_ns > backend.started_ns), default=None)


def _ends(backend: Backend, number: int | None) -> bool:
    """Tell whether a signal is there to end a container; one that cannot be read is taken for its stop signal."""
    return number is None or backend.stop_signal is None or number in (backend.stop_signal, TERM, KILL)


class Drains:
    """
    Everyone who drains now; one for all sources.

    Args:
        timeout_s: Seconds after its stop signal at which a container that still lives takes traffic again.
    """

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._ends: tuple[float, ...] = ()  # loop times at which those that were told to stop are back

    def draining(self, snapshots: Iterable[Snapshot], *, by_hand: Collection[str], now: float) -> dict[str, str]:
        """
        Tell who drains, and why, in words.

        Args:
            snapshots: Of every engine.
            by_hand: Ids of those that an operator drains.
            now: Loop time, in seconds.
        """
        told = {
            id: at + self._timeout_s
            for snapshot in snapshots
            for id, at in snapshot.stopping.items()
            if now < at + self._timeout_s
        }
        self._ends = tuple(told.values())
        return dict.fromkeys(told, TOLD_TO_STOP) | dict.fromkeys(by_hand, BY_HAND)

    def changes_at(self) -> float | None:
        """Tell when the next one is back if nothing happens until then, in loop time; `None`: nobody is due."""
        return min(self._ends, default=None)

"""
Which containers are taken for dead since an event said so, until inspect has answered. Pure.

At `die` an inspect waits for the container's lock, on Engine 20.10 for some 100 ms, and on newer ones with `docker
restart` until the next start is done (facts, stream 5). Each request until then is one to a dead server. So the event
is believed: for the worse, and for that moment only. An engine that is told to stop answers none (facts, stream 15).
"""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from lbwatch.core.draining import CLOCK_SET_BACK_NS
from lbwatch.core.model import Container, ContainerStatus, Event


class Deaths:
    """The deaths that one engine's events told of and that no look has settled yet."""

    def __init__(self) -> None:
        self._before: dict[str, Container] = {}  # the containers as they were, by id
        self._replayed: dict[str, Event] = {}  # deaths of those that are up, told by a new stream, until a look

    @property
    def ids(self) -> AbstractSet[str]:
        """Return the ids of the dead."""
        return self._before.keys()

    def believed(self, event: Event, *, known: Container | None, age_s: float | None) -> Container | None:
        """
        Return a container as dead, if an event is to be believed that says so; else `None`.

        Args:
            event: As it was decoded, of any kind.
            known: What its container was seen to be last; `None` if it was not seen yet.
            age_s: As in `StopSignals.record`.
        """
        if event.action == "start" and event.container is not None:
            self._replayed.pop(event.container, None)  # that life is over, and another one has begun since
        if event.action != "die" or known is None or not known.status.is_up:
            return None
        # One that is told again may be of a former life, by a clock that stands otherwise now: the look will tell.
        if age_s is not None:
            self._replayed[known.id] = event
            return None
        return self._dead(known) if _is_of_this_life(event, known) else None

    def unconfirmed(self, known: Container | None) -> Container | None:
        """
        Return a container as dead, of whose death a new stream told and at which no look succeeds; else `None`.

        What a stream tells in its first seconds may have happened before them, or just now: where the engine answers
        nobody any more, its word is all that there is.
        """
        if known is None or not known.status.is_up or not known.started_ns:
            return None
        event = self._replayed.get(known.id)
        if event is None or event.at_ns <= known.started_ns:
            return None
        return self._dead(known)

    def settled(self, id: str, found: Container | None, *, event_waits: bool) -> Container | None:
        """
        Return what an answer of inspect shows, with the death that is younger than it.

        Args:
            id: Of the container.
            found: What the answer says; `None`: there is none any more.
            event_waits: Whether an event asked for another look meanwhile, so that the answer may be older than it.
        """
        before = self._before.pop(id, None)
        if not event_waits:
            self._replayed.pop(id, None)
        if before is None or found is None or not event_waits:
            return found
        if not found.status.is_up or found.started_ns != before.started_ns:
            return found
        self._before[id] = before
        return replace(found, status=ContainerStatus.EXITED)

    def revoke(self, id: str) -> Container | None:
        """Return a container as it was before its death was believed; `None` where that is settled."""
        self._replayed.pop(id, None)
        return self._before.pop(id, None)

    def _dead(self, known: Container) -> Container:
        self._before[known.id] = known
        return replace(known, status=ContainerStatus.EXITED)


def _is_of_this_life(event: Event, known: Container) -> bool:
    """Return whether a death is newer than the start that is known, or comes by a clock that was set back since."""
    return event.at_ns > known.started_ns or event.at_ns < known.started_ns - CLOCK_SET_BACK_NS

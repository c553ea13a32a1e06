"""
Which containers are taken for dead since an event said so, until inspect has answered. Pure.

At `die` an inspect waits for the container's lock, on Engine 20.10 for some 100 ms, and with `docker restart` until the
next start is done. Each request until then is one to a dead server. So the event is believed: for the worse, and for
that moment only.
"""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from lbwatch.core.draining import CLOCK_SET_BACK_NS
from lbwatch.core.model import Container, ContainerStatus, Event


class Deaths:
    """The deaths that one engine's events told of and that no look has settled yet."""

    def __init__(self) -> None:
        self._before: dict[str, Container] = {}  # the containers as they were, by id

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
        if event.action != "die" or known is None or not known.status.is_up:
            return None
        # One that is told again may be of a former life, by a clock that stands otherwise now: the look will tell.
        if age_s is not None or not _is_of_this_life(event, known):
            return None
        self._before[known.id] = known
        return replace(known, status=ContainerStatus.EXITED)

    def settled(self, id: str, found: Container | None, *, event_waits: bool) -> Container | None:
        """
        Return what an answer of inspect shows, with the death that is younger than it.

        Args:
            id: Of the container.
            found: What the answer says; `None`: there is none any more.
            event_waits: Whether an event asked for another look meanwhile, so that the answer may be older than it.
        """
        before = self._before.pop(id, None)
        if before is None or found is None or not event_waits:
            return found
        if not found.status.is_up or found.started_ns != before.started_ns:
            return found
        self._before[id] = before
        return replace(found, status=ContainerStatus.EXITED)

    def revoke(self, id: str) -> Container | None:
        """Return a container as it was before its death was believed; `None` where that is settled."""
        return self._before.pop(id, None)


def _is_of_this_life(event: Event, known: Container) -> bool:
    """Return whether a death is newer than the start that is known, or comes by a clock that was set back since."""
    return event.at_ns > known.started_ns or event.at_ns < known.started_ns - CLOCK_SET_BACK_NS

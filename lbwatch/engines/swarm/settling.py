"""
When the tasks of a service are asked for again: a manager tells of services and nodes, and never of a task.

So an event is a reason to look for a while, until the service has settled. Pure: times are seconds of the loop's clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

HOLD_S = 2.0
"""A mark holds so long: what a node knows comes to `/tasks` up to half a second later, and a death then looks like
nothing at all."""

BRISK_PACE_S = 0.25
"""
A task with a port of its machine is told to stop 1.1 s before its signal; one on a network of the Swarm 3.1 s.
"""

BRISK_S = 5.0
"""So long after a difference the next one is likely."""

PACE_S = 1.0

LATE_PACE_S = 5.0
LATE_S = 60.0
"""So long after the latest difference a task that still has to come, or to end, takes its time: a grace of minutes."""

LEAST_GAP_S = 0.25
"""Between two looks, however many services move and however many events there are: managers have other work, too."""

TOGETHER_S = 0.1
"""Whoever is due so soon is looked at by the same request."""

LOOK_SHARE = 2.0
"""Likewise so many times as long as a look took."""

SLOW_PACE_S = 1.25
SLOW_SHARE = 20.0
"""How often all tasks are asked for: some deaths have no event, and at most a twentieth of a manager goes there."""

LEAST_WAIT_S = 0.001
"""A loop's timer may be early by less, and whoever waits for what is left of that would do so again and again."""

UPDATING = frozenset(("updating", "rollback_started"))
"""States of an update in which the next task may be told to stop at any time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrest:
    """
    Why a service has not settled; it has where none holds.

    Attributes:
        updating: It is being updated, or that is taken back.
        comes: A task of it is wanted and does not run yet.
        leaves: One is not wanted any more and still runs, on a machine that is there.
        brisk: A task of it is told to stop only a second before its signal.
    """

    updating: bool = False
    comes: bool = False
    leaves: bool = False
    brisk: bool = False

    @property
    def any(self) -> bool:
        """Return whether there is a reason to look again."""
        return self.updating or self.comes or self.leaves


@dataclass(slots=True, kw_only=True)
class _Watch:
    """One service that was marked; loop times in seconds."""

    marked_at: float
    looked_at: float = float("-inf")
    changed_at: float = float("-inf")
    unrest: Unrest = Unrest()

    def due_at(self, *, all_pace_s: float) -> float | None:
        """Return when it must be looked at; `None`: it need not be, until it is marked again."""
        if self.looked_at <= self.marked_at:
            return max(self.marked_at, self.looked_at + LEAST_GAP_S)
        if self.looked_at < max(self.marked_at + HOLD_S, self.changed_at + BRISK_S):
            return self.looked_at + BRISK_PACE_S
        pace_s = self._pace_s(all_pace_s=all_pace_s)
        return None if pace_s is None else self.looked_at + pace_s

    def _pace_s(self, *, all_pace_s: float) -> float | None:
        unrest = self.unrest
        late = self.looked_at >= max(self.marked_at, self.changed_at) + LATE_S
        if unrest.brisk and (unrest.updating or (unrest.leaves and not late)):
            return BRISK_PACE_S
        if unrest.leaves:
            return LATE_PACE_S if late else PACE_S
        # Who comes, and who is told to go, shows in the list of all that should run: where that is read as often
        # anyway, an update that pauses for ten minutes between two tasks costs nothing more.
        if all_pace_s <= SLOW_PACE_S or not (unrest.updating or (unrest.comes and not late)):
            return None
        return PACE_S


@dataclass(slots=True)
class Settling:
    """All services that were marked and have not settled."""

    _watches: dict[str, _Watch] = field(default_factory=dict)
    _not_before: float = 0.0

    def mark(self, id: str, *, now: float) -> None:
        """Note that something may have happened to a service."""
        watch = self._watches.get(id)
        if watch is None:
            self._watches[id] = _Watch(marked_at=now)
        else:
            watch.marked_at = now

    def is_marked(self, id: str) -> bool:
        """Return whether a service has not settled."""
        return id in self._watches

    def looked(self, id: str, *, began_at: float, changed: bool, unrest: Unrest) -> None:
        """
        Take what a look at a service found.

        Args:
            id: Of the service.
            began_at: Loop time at which it was asked for: what happened since may not be in it.
            changed: Whether it was not as it was before.
            unrest: Why it must be looked at again.
        """
        if (watch := self._watches.get(id)) is None:
            return
        watch.looked_at, watch.unrest = began_at, unrest
        if changed:
            watch.changed_at = began_at
        if not unrest.any and watch.due_at(all_pace_s=SLOW_PACE_S) is None:
            del self._watches[id]

    def spent(self, seconds: float, *, now: float) -> None:
        """Note how long a look took, which has just ended."""
        self._not_before = now + max(LEAST_GAP_S, LOOK_SHARE * seconds)

    def forget(self, ids: Iterable[str]) -> None:
        """Forget services that are gone."""
        for id in ids:
            self._watches.pop(id, None)

    def due(self, *, now: float, all_pace_s: float) -> tuple[str, ...]:
        """Return who must be looked at now, and who must be soon anyway, in turn. Nobody, if nobody must be now."""
        if (at := self.due_at(all_pace_s=all_pace_s)) is None or now < at:
            return ()
        times = ((watch.due_at(all_pace_s=all_pace_s), id) for id, watch in self._watches.items())
        return tuple(id for _, id in sorted((at, id) for at, id in times if at is not None and at <= now + TOGETHER_S))

    def due_at(self, *, all_pace_s: float) -> float | None:
        """
        Return the loop time of the next look; `None`: all have settled, or are seen by the list of all.

        Args:
            all_pace_s: How often all tasks that should run are asked for, in seconds.
        """
        times = (watch.due_at(all_pace_s=all_pace_s) for watch in self._watches.values())
        first = min((at for at in times if at is not None), default=None)
        return None if first is None else max(first, self._not_before)


def pace_of_all_s(took_s: float) -> float:
    """Return how many seconds lie between two looks at all tasks, the latest of which took so long."""
    return max(SLOW_PACE_S, SLOW_SHARE * took_s)

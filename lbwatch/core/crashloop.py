"""
Which containers are left out because the engine, or their Swarm, restarts them in a loop.

Each restart of such a container would cost two reloads and send requests to a server that is about to die. The count
of restarts is the engine's own and is reset by every start by hand (facts, stream 19), so that no event is needed and
none can be missed. A Swarm counts nothing: there a restart is another task in the place of one that ended by itself, so
that places are counted, not containers. Plain arithmetic on seconds of the loop's clock; no clock is read here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lbwatch.core.model import Container, ContainerStatus

LOOP_RESTARTS = 3
LOOP_WINDOW_S = 60.0
"""So many restarts within so many seconds are a loop."""

STAY_UP_FIRST_S = 5.0
STAY_UP_LIMIT_S = 60.0
"""How long a container must stay up to come back: doubled by each further restart, and never more than the limit."""


@dataclass(slots=True, kw_only=True)
class _Loop:
    """What is remembered of one container that was restarted."""

    restarted_at: tuple[float, ...] = ()  # loop time of the latest restarts, as far as they are within the window
    strikes: int = 0  # restarts since it counts as looping, that one included; none: it never did
    crash_looping: bool = False
    started_ns: int = 0  # of the start that it is up from, by the engine's clock; 0 while it is down
    up_since: float = 0.0  # loop time at which that start was seen first

    @property
    def stay_up_s(self) -> float:
        """Return how many seconds in a row it must stay up to be back."""
        return min(STAY_UP_LIMIT_S, STAY_UP_FIRST_S * 2.0 ** (min(self.strikes, 32) - 1))

    def restarted(self, times: int, *, now: float) -> None:
        """Count so many restarts, and whether they are a loop."""
        # Between two looks it may have restarted more than once: each counts, but no more of them than a loop has.
        recent = (at for at in self.restarted_at if now - at < LOOP_WINDOW_S)
        self.restarted_at = (*recent, *[now] * min(times, LOOP_RESTARTS))[-LOOP_RESTARTS:]
        if self.crash_looping or len(self.restarted_at) == LOOP_RESTARTS:
            self.crash_looping = True
            self.strikes += 1

    def seen(self, container: Container | None, *, now: float) -> None:
        """Note whether it is up, and end the loop once that lasted long enough; `None`: there is nothing."""
        if container is None or not container.status.is_up:
            self.started_ns = 0
        elif container.started_ns != self.started_ns:
            self.started_ns, self.up_since = container.started_ns, now
        # As `changes_at` adds it up: a difference may be rounded below it, and the loop would wake in vain.
        if self.started_ns and now >= self.up_since + self.stay_up_s:
            self.crash_looping = False

    def is_over(self, *, now: float) -> bool:
        """Return whether it was up for so long that its restarts can be forgotten."""
        return bool(self.started_ns) and now >= self.up_since + STAY_UP_LIMIT_S


_BY_ITSELF = ("complete", "failed")
"""States of a task that ended without being told to; in the Swarm's words."""

_RUNS = "running"
_STAYS = (_RUNS, "ready")
"""What a task should be as long as nothing is to take its place; `ready` while it waits to be started."""


class _Places:
    """Which tasks had which place in their service, and what is known of each: one takes over where another ended."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}  # the place of each task that is there, by its id
        self._tasks: dict[str, set[str]] = {}  # the ids of those, by place
        self._going_on: set[str] = set()  # ids of those that were seen to run, or to be about to, and never told to go

    def __contains__(self, place: str) -> bool:
        return place in self._tasks

    def note(self, id: str, container: Container | None) -> tuple[str, int | None]:
        """
        Take one task as it is now; `None`: it is gone.

        Returns:
            Its place, and by how much that one's restarts grew; `None`: what was counted there does not matter any
            more, since something else was put there on purpose, or nothing at all.
        """
        task = container.task if container else None
        if container is None or task is None:
            return self._forget(id)
        place = self._of[id] = f"{task.service_id}/{task.slot}"
        self._tasks.setdefault(place, set()).add(id)
        # Its node's engine may know that it ended before the managers do, who alone know how.
        if container.status is ContainerStatus.EXITED and task.state != _RUNS:
            ended = id in self._going_on and task.state in _BY_ITSELF
            self._going_on.discard(id)
            return place, int(ended)
        if task.desired in _STAYS:
            self._going_on.add(id)
            return place, 0
        was_told = id not in self._going_on
        self._going_on.discard(id)
        return place, 0 if was_told else None

    def _forget(self, id: str) -> tuple[str, int | None]:
        place = self._of.pop(id)
        self._going_on.discard(id)
        self._tasks[place].discard(id)
        if self._tasks[place]:
            return place, 0
        del self._tasks[place]
        return place, None

    def knows(self, id: str) -> bool:
        """Return whether a task of this id was there."""
        return id in self._of

    def present(self, place: str, containers: Mapping[str, Container]) -> list[Container]:
        """Return the tasks that have a place now, those that ended left out; the newest last."""
        tasks = (containers[id] for id in self._tasks[place])
        there = (task for task in tasks if task.status is not ContainerStatus.EXITED)
        return sorted(there, key=lambda task: (task.id in self._going_on, task.created_ns, task.id))


class CrashLoops:
    """The memory of restarts; one for all sources."""

    def __init__(self) -> None:
        self._restarts: dict[str, int] = {}  # by id, as seen last
        self._places = _Places()
        self._loops: dict[str, _Loop] = {}  # of those that were restarted lately, by id, or by the place of a task

    def crash_looping(
        self, containers: Mapping[str, Container], *, changed: Iterable[str], now: float
    ) -> Mapping[str, float]:
        """
        Return which containers are left out, by what is seen now.

        Args:
            containers: All that there are, by id. What a container did before it was seen first does not count.
            changed: Ids of those that changed, came or went since the call before; one that went is forgotten.
            now: Loop time, in seconds; never less than at the call before.

        Returns:
            By id, how many seconds in a row the container must stay up before it is back.
        """
        for id in changed:
            container = containers.get(id)
            if self._places.knows(id) or (container is not None and container.task is not None):
                self._count_task(id, container, now=now)
            else:
                self._count(id, container, now=now)
        left_out: dict[str, float] = {}
        for key, loop in tuple(self._loops.items()):
            present = self._places.present(key, containers) if key in self._places else [containers[key]]
            # Between two tasks there is nobody in the place.
            loop.seen(present[-1] if present else None, now=now)
            if loop.is_over(now=now):
                del self._loops[key]
            elif loop.crash_looping:
                left_out |= {each.id: loop.stay_up_s for each in present}
        return left_out

    def _count_task(self, id: str, container: Container | None, *, now: float) -> None:
        """Note whether a task ended by itself, so that another one takes its place; `None`: it is gone."""
        place, grown = self._places.note(id, container)
        if grown is None:
            self._loops.pop(place, None)
        elif grown:
            self._loops.setdefault(place, _Loop()).restarted(grown, now=now)

    def _count(self, id: str, container: Container | None, *, now: float) -> None:
        """Note how often a container was restarted; `None`: it is gone."""
        if container is None:
            self._restarts.pop(id, None)
            self._loops.pop(id, None)
            return
        grown = container.restarts - self._restarts.get(id, container.restarts)
        self._restarts[id] = container.restarts
        # The count falls at a start by hand alone (facts, stream 19), which forgives all.
        if grown < 0 or not container.restarts:
            self._loops.pop(id, None)
        elif grown:
            self._loops.setdefault(id, _Loop()).restarted(grown, now=now)

    def changes_at(self) -> float | None:
        """Return the loop time at which the next one comes back if nothing happens until then; `None`: none does."""
        due = (
            loop.up_since + loop.stay_up_s for loop in self._loops.values() if loop.crash_looping and loop.started_ns
        )
        return min(due, default=None)

"""
What is asked of a Swarm's managers next, and when. Pure: times are seconds of the loop's clock.

What is owed stays owed until it was read. Two things bound what the managers are asked for: how long an answer took,
and that nothing is asked twice a second while all is quiet.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from lbwatch.engines.swarm.settling import Settling, Unrest, pace_of_all_s

NODES_GAP_S = 1.0
"""Between two lists of the nodes: at a change of leaders each has an event, and two seconds later another."""

SERVICES_GAP_S = 0.5
"""Between two looks at services: when a stack is deployed each of them has events of its own."""

IDLE_S = 3600.0
"""Where nothing is known nothing is due."""


class Kind(StrEnum):
    """What can be read."""

    ALL = "all"
    SERVICES = "services"
    NODES = "nodes"
    TASKS = "tasks"
    WANTED = "wanted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be read, *ids* of services if some of them, and from which loop time on."""

    kind: Kind
    at: float
    ids: tuple[str, ...] = ()


class Agenda:
    """
    What is owed.

    Args:
        resync_interval_s: Seconds between two full looks.

    Attributes:
        looks: How often tasks were asked for.
        settling: The services that were marked.
    """

    def __init__(self, *, resync_interval_s: float) -> None:
        self.looks = 0
        self.settling = Settling()
        self._resync_interval_s = resync_interval_s
        self._all_at: float | None = None  # when all must be read; `None`: nobody asked for it yet
        self._all_not_before = 0.0
        self._synced = False
        self._services: dict[str, None] = {}  # ids that must be read anew, in the order in which that was found out
        self._services_not_before = 0.0
        self._nodes = False  # whether they must be
        self._nodes_not_before = 0.0
        self._wanted_at = 0.0
        self._pace_s = pace_of_all_s(0.0)
        self._took_s = inf  # the latest look at all that should run
        self._blocked: dict[Kind, float] = {}  # what failed: not before this loop time

    def want_all(self, *, now: float) -> None:
        """Have all read now."""
        self._all_at = now if self._all_at is None else min(self._all_at, now)

    def want_service(self, id: str) -> None:
        """Have a service read."""
        self._services[id] = None

    def want_nodes(self) -> None:
        """Have the nodes read."""
        self._nodes = True

    def mark(self, id: str, *, now: float) -> None:
        """Have the tasks of a service read until it has settled."""
        self.settling.mark(id, now=now)

    def next(self, *, now: float) -> Step:
        """Return what is to be read next; it may not be time for it yet."""
        steps = [each for each in self._steps(now=now) if each is not None]
        # Of what is due, what is named first says most; else what is due first.
        due = next((step for step in steps if step.at <= now), None)
        return due or min(steps, key=lambda step: step.at, default=Step(kind=Kind.ALL, at=now + IDLE_S))

    def _steps(self, *, now: float) -> list[Step | None]:
        all_at = None if self._all_at is None else max(self._all_at, self._all_not_before)
        if not self._synced:
            return [self._step(Kind.ALL, all_at)]
        tasks_at = self.settling.due_at(all_pace_s=self._pace_s)
        ids = self.settling.due(now=now, all_pace_s=self._pace_s)
        return [
            self._step(Kind.ALL, all_at),
            self._step(Kind.SERVICES, self._services_not_before if self._services else None, ids=tuple(self._services)),
            self._step(Kind.NODES, self._nodes_not_before if self._nodes else None),
            self._step(Kind.TASKS, tasks_at, ids=ids),
            self._step(Kind.WANTED, self._wanted_at),
        ]

    def _step(self, kind: Kind, at: float | None, *, ids: tuple[str, ...] = ()) -> Step | None:
        return None if at is None else Step(kind=kind, at=max(at, self._blocked.get(kind, 0.0)), ids=ids)

    def begin(self, step: Step) -> None:
        """Note that something is being asked for; who wants it from now on wants it once more."""
        self.looks += step.kind in (Kind.ALL, Kind.TASKS, Kind.WANTED)
        if step.kind is Kind.ALL:
            self._all_at = None
        elif step.kind is Kind.SERVICES:
            for id in step.ids:
                self._services.pop(id, None)
        elif step.kind is Kind.NODES:
            self._nodes = False

    def done(self, step: Step, *, took_s: float, now: float) -> None:
        """Note that something was read, and how long that took."""
        self._blocked.pop(step.kind, None)
        if step.kind is Kind.ALL:
            self._synced = True
            pace_s = pace_of_all_s(took_s)
            self._all_not_before = now + pace_s
            self.want_all(now=now + max(self._resync_interval_s, pace_s))
            self._wanted_at = max(self._wanted_at, now + self._pace_s)
        elif step.kind is Kind.WANTED:
            # One slow answer waited for a manager that was away; a list that is long is slow each time.
            self._pace_s = pace_of_all_s(min(self._took_s, took_s))
            self._took_s = took_s
            self._wanted_at = now + self._pace_s
        elif step.kind is Kind.TASKS:
            self.settling.spent(took_s, now=now)
        elif step.kind is Kind.SERVICES:
            self._services_not_before = now + SERVICES_GAP_S
        elif step.kind is Kind.NODES:
            self._nodes_not_before = now + NODES_GAP_S

    def failed(self, step: Step, *, now: float, wait_s: float) -> None:
        """Note that something could not be read; it is owed again, and waits for so long, which other things do not."""
        self._blocked[step.kind] = now + wait_s
        if step.kind is Kind.ALL:
            self.want_all(now=now)
        elif step.kind is Kind.SERVICES:
            self._services |= dict.fromkeys(step.ids)
        elif step.kind is Kind.NODES:
            self._nodes = True

    def looked(
        self, ids: Collection[str], *, began_at: float, changed: Collection[str], unrest: dict[str, Unrest]
    ) -> None:
        """Take what a look at the tasks of some services found."""
        for id in ids:
            self.settling.looked(id, began_at=began_at, changed=id in changed, unrest=unrest[id])

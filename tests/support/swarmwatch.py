"""
Watches what serves for a fake Swarm, at every moment, beside what is true of its tasks.

Whoever serves is told here by its address, as nginx would be; what is true is in the fake Swarm. The bounds are those
that the design of following a Swarm promises, and what is measured against them can be printed.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from lbwatch.engines.fake.manager.state import Service, Task
from lbwatch.engines.fake.swarm import FakeSwarm

PORT = 80
TICK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    Within how many seconds what must have happened, while nothing goes wrong.

    Attributes:
        settle: A task that managers know to run is in.
        leave: One that managers say should end is out, where others serve.
        death: One that died by itself is out, where others serve.
    """

    settle: float
    leave: float
    death: float


@dataclass(slots=True, kw_only=True)
class Figures:
    """What was seen, in seconds: from known to run until in, from known to end until out, from the death until out."""

    came: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    before_signal: list[float] = field(default_factory=list)
    died: list[float] = field(default_factory=list)


class Watch:
    """
    The invariants of one Swarm that is followed.

    Args:
        swarm: What is true.
        served: Returns the addresses with ports that get requests now.
        asks: Returns whether a service asks to be routed.
        network: Name of the one by which tasks are reached.
        bounds: See there.
        tick_s: Seconds between two looks.

    Attributes:
        stormy_until: Loop time until which nothing need be in time; whoever serves must still stay.
        broken: What was found to be wrong, in words.
    """

    def __init__(
        self,
        swarm: FakeSwarm,
        *,
        served: Callable[[], Collection[str]],
        asks: Callable[[Service], bool],
        network: str,
        bounds: Bounds,
        tick_s: float = TICK_S,
    ) -> None:
        self.stormy_until = 0.0
        self.broken: list[str] = []
        self.figures = Figures()
        self._swarm = swarm
        self._served = served
        self._asks = asks
        self._network = network
        self._bounds = bounds
        self._tick_s = tick_s
        self._in: dict[str, Task] = {}  # wanted ones that serve and are in: they have to stay
        self._asked: dict[str, float] = {}  # since when each service asks; loop times, as all below
        self._known: dict[str, float] = {}  # since when each task is known to run
        self._entered: set[str] = set()
        self._left: set[str] = set()
        self._signalled: set[str] = set()
        self._deaths: defaultdict[tuple[str, int | str], list[float]] = defaultdict(list)
        self._dead: set[str] = set()

    async def run(self) -> None:
        """Look, for good."""
        while True:
            self.look()
            await asyncio.sleep(self._tick_s)

    def expected(self) -> set[str]:
        """Return the addresses that have to serve once all has settled."""
        return {
            self._address(task)
            for service in self._swarm.services
            for task in self._firsts(service)
            if self._asks(service)
        }

    def look(self) -> None:
        """Compare once."""
        now, served = asyncio.get_running_loop().time(), set(self._served())
        for service in {id(task.service): task.service for task in self._swarm.tasks}.values():
            asks = self._asks(service) and not service.removed
            if asks:
                self._asked.setdefault(service.id, now)
            else:
                self._asked.pop(service.id, None)
            for task in [*service.tasks.values()]:
                self._look_at(task, served=served, now=now, asks=asks)

    def _look_at(self, task: Task, *, served: Collection[str], now: float, asks: bool) -> None:
        is_in = bool(task.attachments) and self._address(task) in served
        calm = now > self.stormy_until
        if task.state == "running":
            self._known.setdefault(task.id, now)
        self._note_death(task, now=now)
        if not asks and not task.service.removed:
            self._in.pop(task.id, None)
            return
        wanted = task.serves and not task.unwanted
        if is_in and wanted:
            if task.id not in self._entered and task.id in self._known and calm:
                self.figures.came.append(now - self._known[task.id])
            self._entered.add(task.id)
            self._in[task.id] = task
        elif self._in.pop(task.id, None) is not None and wanted and not self._may_be_out(task, now=now):
            self._break(task, "was in and serves, and is out", now=now)
        if task.unwanted or not task.up:
            self._look_at_end(task, is_in=is_in, now=now, calm=calm)
        elif calm and not is_in and task.state == "running" and wanted and not self._may_be_out(task, now=now):
            since = max(self._known[task.id], self._asked.get(task.service.id, now), self.stormy_until)
            if now - since > self._bounds.settle:
                self._break(task, f"is known to run for {now - since:.2f} s and is not in", now=now)

    def _look_at_end(self, task: Task, *, is_in: bool, now: float, calm: bool) -> None:
        if task.id in self._left or task.id not in self._entered:
            return
        alone = not any(
            other is not task and other.serves and now - self._known.get(other.id, now) > self._bounds.settle
            for other in self._wanted(task.service)
        )
        if not is_in:
            self._left.add(task.id)
            if calm and task.unwanted and task.up:
                self.figures.left.append(now - task.unwanted_at)
            elif calm and not task.up and not task.term_at:
                self.figures.died.append(now - task.ended_at)
            return
        if not calm or alone:
            return
        if task.unwanted_at and now - max(task.unwanted_at, self.stormy_until) > self._bounds.leave:
            self._break(task, f"should end since {now - task.unwanted_at:.2f} s and is in", now=now)
        if 0.0 < task.unwanted_at < task.term_at and task.term_at > self.stormy_until:
            self._break(task, "was told to stop while it is in", now=now)
        if not task.up and now - max(task.ended_at, self.stormy_until) > self._bounds.death:
            self._break(task, f"died {now - task.ended_at:.2f} s ago and is in", now=now)

    def _firsts(self, service: Service) -> list[Task]:
        """Return who serves of a service: those that should run, else those that still do."""
        running = [task for task in service.tasks.values() if task.state == "running"]
        return [task for task in running if not task.unwanted] or running

    def _wanted(self, service: Service) -> Iterator[Task]:
        return (task for task in service.tasks.values() if not task.unwanted)

    def _note_death(self, task: Task, *, now: float) -> None:
        if task.exit_code is not None and task.id not in self._dead:
            self._dead.add(task.id)
            if not task.unwanted or not task.term_at:
                self._deaths[task.service.id, task.slot].append(now)

    def _may_be_out(self, task: Task, *, now: float) -> bool:
        """Return whether a task's slot may be suspended: it failed again and again."""
        return sum(now - at < 130.0 for at in self._deaths[task.service.id, task.slot]) >= 3

    def _address(self, task: Task) -> str:
        return f"{task.address_on(self._network)}:{PORT}"

    def _break(self, task: Task, words: str, *, now: float) -> None:
        node = task.node.hostname if task.node else "no node"
        what = f"{now:.2f} {task.service.spec.name}.{task.slot} {task.id[:6]} on {node} ({task.state}/{task.desired})"
        if len(self.broken) < 20:
            self.broken.append(f"{what} {words}")


def swarm_requests(*counters: Counter[str]) -> int:
    """Return how many requests about a Swarm engines have answered, among all that they count."""
    asked = ("GET /tasks", "GET /services", "GET /nodes")
    return sum(count for each in counters for name, count in each.items() if name.startswith(asked))

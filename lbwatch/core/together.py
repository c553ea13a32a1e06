"""
What several engines and Swarms say, as one: whose word counts for a Swarm's task, and names that two engines have.

Pure. A task is the Swarm's to describe. Its container on a node that is followed, too, adds what the managers do not
say or say late, and is believed for the worse alone: that it died, is paused or unhealthy, or got its stop signal. And
what its image exposes, which no manager knows.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from lbwatch.core.model import TASK_ID_LABEL, Container, ContainerStatus, Health, Snapshot

_NODE_ID_LABEL = "com.docker.swarm.node.id"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmTruth:
    """
    What is known of one Swarm.

    Attributes:
        snapshot: Its tasks.
        nodes: The ids of its nodes.
    """

    snapshot: Snapshot
    nodes: Collection[str] = ()


class Together:
    """
    Puts snapshots together, pass by pass; what did not change is the very same object.

    Attributes:
        same: Pairs of names of engines that have the same containers: the first of the two is believed.
    """

    def __init__(self) -> None:
        self.same: frozenset[tuple[str, str]] = frozenset()
        self._given: tuple[Mapping[str, Container], ...] = ()
        self._nodes: tuple[Collection[str], ...] = ()
        self._made: list[Mapping[str, Container]] = []
        self._hinted: dict[str, tuple[Container, Container, Container]] = {}  # by task: both, and what came of it
        self._renamed: dict[str, tuple[Container, Container]] = {}  # by id: as its engine has it, and as it is shown
        self._tasks: dict[str, tuple[str, Container]] = {}  # by the container's id: its task's, and itself

    def of(self, engines: Iterable[Snapshot], swarms: Iterable[SwarmTruth]) -> tuple[Snapshot, ...]:
        """
        Return the snapshots in which each container stands once, by a name that no other has.

        Args:
            engines: Of each engine, in the order in which they are set.
            swarms: Of each Swarm that has a manager among them.
        """
        engines, swarms = tuple(engines), tuple(swarms)
        if not swarms and len(engines) == 1:
            return engines
        given = tuple(each.containers for each in (*engines, *(swarm.snapshot for swarm in swarms)))
        nodes = tuple(swarm.nodes for swarm in swarms)
        if nodes != self._nodes or not _are_same(given, self._given):
            self._given, self._nodes = given, nodes
            self._make(engines, swarms)
        stopping = {self._shown_id(id): at for each in engines for id, at in each.stopping.items()}
        both = (*engines, *(swarm.snapshot for swarm in swarms))
        made = zip(both, self._made, strict=True)
        return tuple(
            replace(
                each,
                containers=containers,
                stopping={id: at for id, at in stopping.items() if id in containers},
            )
            for each, containers in made
        )

    def _shown_id(self, id: str) -> str:
        """Return by which id a container is shown: by its task's, where it is of one."""
        return self._tasks[id][0] if id in self._tasks else id

    def _make(self, engines: Collection[Snapshot], swarms: Collection[SwarmTruth]) -> None:
        known = {id for swarm in swarms for id in swarm.snapshot.containers}
        nodes = {id for swarm in swarms for id in swarm.nodes}
        self._tasks = {
            each.id: (task, each)
            for engine in engines
            for each in (engine.containers.values() if swarms else ())
            if (task := _task_of(each, known=known, nodes=nodes)) is not None
        }
        hints = dict(self._tasks.values())
        own: list[dict[str, Container]] = []
        first: dict[str, str] = {}  # by id, the engine that is believed
        same: set[tuple[str, str]] = set()
        for one in engines:
            # An engine that is followed by two ways has each container once, by the first of them.
            same |= {(first[id], one.source) for id in first.keys() & one.containers.keys()}
            others = ((id, each) for id, each in one.containers.items() if id not in self._tasks)
            own.append({id: each for id, each in others if id not in first})
            first |= dict.fromkeys(one.containers.keys() - first.keys(), one.source)
        self.same = frozenset(same)
        tasks = [
            {id: self._with_hint(each, hints.get(id)) for id, each in swarm.snapshot.containers.items()}
            for swarm in swarms
        ]
        self._hinted = {id: each for id, each in self._hinted.items() if id in known}
        self._made = self._apart([*own, *tasks])

    def _with_hint(self, task: Container, container: Container | None) -> Container:
        before = self._hinted.get(task.id)
        # One that died may be removed before its Swarm knows; a task never has a second container.
        if container is None and before is not None and not before[1].status.is_up:
            container = before[1]
        if container is None:
            return task
        if before is not None and before[0] is task and before[1] is container:
            return before[2]
        known = with_exposed(worsened(task, container), container)
        self._hinted[task.id] = task, container, known
        return known

    def _apart(self, engines: list[dict[str, Container]]) -> list[Mapping[str, Container]]:
        """Return the containers, with names that tell those of two engines from each other."""
        # One engine may have a name twice for a moment, of which the older one is gone; that is no matter of engines.
        counts = Counter(name for each in engines for name in {one.name for one in each.values()})
        renamed: dict[str, tuple[Container, Container]] = {}
        for containers in engines:
            for id, each in containers.items():
                if counts[each.name] > 1:
                    before = self._renamed.get(id)
                    is_same = before is not None and before[0] is each
                    shown = before[1] if before is not None and is_same else _with_engine(each)
                    renamed[id] = each, shown
                    containers[id] = shown
        self._renamed = renamed
        return [*engines]


def worsened(task: Container, container: Container) -> Container:
    """
    Return a task as its Swarm has it, or worse, where its node's engine knows that already.

    Args:
        task: As its Swarm has it.
        container: Its container, as its node's engine has it.
    """
    if task.status is not ContainerStatus.RUNNING:
        return task
    if container.status is ContainerStatus.PAUSED or not container.status.is_up:
        # Created but not started is what the Swarm says of it later: it is no news of one that runs.
        if container.status is ContainerStatus.CREATED:
            return task
        return replace(task, status=container.status, exit_code=container.exit_code)
    return replace(task, health=Health.UNHEALTHY) if container.health is Health.UNHEALTHY else task


def with_exposed(task: Container, container: Container) -> Container:
    """Return a task with the ports that its *container* exposes, where its Swarm says none."""
    return replace(task, exposed=container.exposed) if container.exposed and not task.exposed else task


def _task_of(container: Container, *, known: Collection[str], nodes: Collection[str]) -> str | None:
    """Return the id of the task that a container is of, in a Swarm that is followed; `None`: of none."""
    task = container.label(TASK_ID_LABEL)
    return task if task and (task in known or container.label(_NODE_ID_LABEL) in nodes) else None


def _with_engine(container: Container) -> Container:
    return replace(container, name=f"{container.engine.name}/{container.name}")


def _are_same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))

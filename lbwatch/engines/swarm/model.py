"""
All that is known of a Swarm: services, nodes, and those of the tasks that matter, as containers. Pure.

A manager answers with a part (the tasks of some services, those that should run, some by their ids) or with all; each
is taken whole, and what it does not speak of stays as it was. What ended long ago is in most answers, and is not kept.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lbwatch.core.model import Container, Snapshot
from lbwatch.engines.docker.scope import Scope
from lbwatch.engines.swarm.answers import SwarmNode, SwarmService, SwarmTask
from lbwatch.engines.swarm.settling import UPDATING, Unrest
from lbwatch.engines.swarm.tasks import (
    BROKEN_DOWN,
    RUNNING,
    container_of,
    is_alive,
    is_wanted,
    leaving_words,
    slot_of,
)

ENDED_S = 60.0
"""So long a task is shown after it was seen to end: that it did is what a restart loop is known by."""

DOWN = "down"
"""The state of a node that the managers have lost: of its tasks none will be heard to end."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A container, and what it was made of."""

    task: SwarmTask
    service: SwarmService | None
    node: SwarmNode | None
    container: Container


class Swarm:
    """
    One Swarm, as its managers described it last.

    Args:
        scope: Which of its tasks ask to be routed, which labels are kept, and of which engine they are.

    Attributes:
        services: By id; those that were removed stay as long as a task of them runs.
        removed: The ids of those.
        nodes: By id.
    """

    def __init__(self, scope: Scope) -> None:
        self.services: dict[str, SwarmService] = {}
        self.removed: set[str] = set()
        self.nodes: dict[str, SwarmNode] = {}
        self._scope = scope
        self._tasks: dict[str, dict[str, SwarmTask]] = {}  # by service, then by id
        self._started_ns: dict[str, int] = {}  # of each that runs or ran: when that was seen first, by id
        self._ended_at: dict[str, float] = {}  # loop time at which each that is kept was seen to have ended, by id
        self._made: dict[str, _Made] = {}  # by id
        self._changed = False  # since the latest snapshot

    # -- what is known

    def containers(self) -> dict[str, Container]:
        """Return all tasks that are kept, by id."""
        return {id: made.container for id, made in self._made.items()}

    def take_change(self) -> bool:
        """Return whether any container is another one since this was asked last."""
        changed, self._changed = self._changed, False
        return changed

    def snapshot(self, source: str) -> Snapshot:
        """Return all of it; *source*: its name."""
        words = ((id, leaving_words(made.task)) for id, made in self._made.items())
        leaving = {id: why for id, why in words if why is not None}
        return Snapshot(source=source, containers=self.containers(), leaving=leaving)

    @property
    def alive(self) -> int:
        """Return how many tasks run, or may still."""
        return sum(is_alive(made.task) for made in self._made.values())

    def task(self, id: str) -> SwarmTask | None:
        """Return a task that is kept."""
        made = self._made.get(id)
        return None if made is None else made.task

    def asks(self, id: str) -> bool:
        """Return whether a service, or any of its tasks, asks to be routed."""
        if self._scope.expose_all:
            return True
        service = self.services.get(id)
        labels = [*service.labels, *service.container_labels] if service else []
        return self._scope.labelled(key for key, _ in labels) or any(
            self._scope.asks(self._made[task].container) for task in self._tasks.get(id, ()) if task in self._made
        )

    def alive_of(self, services: Iterable[str]) -> tuple[str, ...]:
        """Return the ids of the tasks of some services that run, or may still; sorted."""
        tasks = (task for id in services for task in self._tasks.get(id, {}).values())
        return tuple(sorted(task.id for task in tasks if is_alive(task)))

    def on_node(self, id: str) -> tuple[str, ...]:
        """Return the ids of the services that have a task on a node; sorted."""
        return tuple(
            sorted(
                service
                for service, tasks in self._tasks.items()
                if any(task.node_id == id and is_alive(task) for task in tasks.values())
            )
        )

    def unknown_services(self) -> tuple[str, ...]:
        """Return the ids of services that have tasks and of which nothing else is known; sorted."""
        return tuple(sorted(self._tasks.keys() - self.services.keys() - self.removed))

    def unknown_nodes(self) -> frozenset[str]:
        """Return the ids of machines that tasks are on and of which nothing else is known."""
        ids = {task.node_id for each in self._tasks.values() for task in each.values() if is_alive(task)}
        return frozenset(ids - self.nodes.keys() - {""})

    def unrest(self, id: str) -> Unrest:
        """Return why a service has not settled."""
        service, tasks = self.services.get(id), self._tasks.get(id, {}).values()
        return Unrest(
            updating=service is not None and service.update in UPDATING and id not in self.removed,
            comes=any(is_wanted(task) and task.state != RUNNING for task in tasks),
            leaves=any(not is_wanted(task) and is_alive(task) and not self._is_lost(task) for task in tasks),
            brisk=service is not None and service.has_host_ports,
        )

    def _is_lost(self, task: SwarmTask) -> bool:
        node = self.nodes.get(task.node_id)
        return node is not None and node.state == DOWN

    # -- what is answered

    def take_all(
        self, tasks: Iterable[SwarmTask], services: Iterable[SwarmService], nodes: Iterable[SwarmNode], *, now: float
    ) -> frozenset[str]:
        """Take all that there is; return the ids of the services whose tasks are others, but for those that ended."""
        return frozenset(id for id in self.taking_all(tasks, services, nodes, now=now) if id is not None)

    def taking_all(
        self, tasks: Iterable[SwarmTask], services: Iterable[SwarmService], nodes: Iterable[SwarmNode], *, now: float
    ) -> Iterator[str | None]:
        """Take all that there is, service by service, so that others may have the loop; `None`: it is as it was."""
        listed = {each.id: self._same(each) for each in services}
        kept = {id: service for id, service in self.services.items() if id not in listed}
        grouped = _by_service(tasks)
        self.services, self.removed = listed | kept, set(kept)
        self.nodes = self._nodes_of(nodes)
        for id in grouped.keys() | self._tasks.keys():
            yield id if self._replace(id, grouped.get(id, ()), now=now) else None
        self._drop_removed()

    def take_tasks(self, tasks: Iterable[SwarmTask], *, of: Collection[str], now: float) -> frozenset[str]:
        """Take all tasks *of* some services; return the ids of those that have others than before, likewise."""
        grouped = _by_service(tasks)
        changed = frozenset(id for id in of if self._replace(id, grouped.get(id, ()), now=now))
        self._drop_removed()
        return changed

    def take_wanted(self, tasks: Iterable[SwarmTask], *, now: float) -> frozenset[str]:
        """
        Take all tasks that should run, whatever they do; return the ids of the services that are not as they were.

        Those that are not among them any more are told to go, or are gone: which, only a look at their services says.
        """
        grouped, changed = _by_service(tasks), set[str]()
        for id in grouped.keys() | self._tasks.keys():
            before, listed = self._tasks.get(id, {}), {task.id: task for task in grouped.get(id, ())}
            others = {each.id: each for each in listed.values() if before.get(each.id) != each}
            if others:
                self._replace(id, (before | others).values(), now=now)
            # `running` is not all that a task should be that will run: one that waits to be started anew is `ready`.
            missing = any(task.desired == RUNNING and task.id not in listed for task in before.values())
            if others or missing:
                changed.add(id)
        return frozenset(changed)

    def take_known(self, tasks: Iterable[SwarmTask], *, on: Collection[str], now: float) -> frozenset[str]:
        """
        Take those of the tasks *on* some nodes that are known; return the ids of services that are not as they were.

        Nobody comes and nobody goes by it: the services of those that are new, or missing, must be looked at.
        """
        grouped, changed = _by_service(task for task in tasks if task.node_id in on), set[str]()
        for id in grouped.keys() | set(self._tasks):
            before, listed = self._tasks.get(id, {}), {task.id: task for task in grouped.get(id, ())}
            known = {task.id: task for task in listed.values() if task.id in before}
            is_changed = bool(known) and self._replace(id, (before | known).values(), now=now)
            comes = any(is_wanted(task) and task.id not in before for task in listed.values())
            missing = any(task.node_id in on and is_alive(task) and task.id not in listed for task in before.values())
            if is_changed or comes or missing:
                changed.add(id)
        return frozenset(changed)

    def take_named(self, tasks: Iterable[SwarmTask], *, ids: Collection[str], now: float) -> frozenset[str]:
        """Take some tasks by their *ids*; those that are not there are gone. Return the ids of changed services."""
        found = {task.id: task for task in tasks if task.id in ids}
        before = {id: dict(each) for id, each in self._tasks.items() if each.keys() & set(ids)}
        for task in found.values():
            before.setdefault(task.service_id, dict(self._tasks.get(task.service_id, {})))
        changed = set()
        for service, known in before.items():
            kept = {id: task for id, task in known.items() if id not in ids}
            kept |= {id: task for id, task in found.items() if task.service_id == service}
            if self._replace(service, kept.values(), now=now):
                changed.add(service)
        self._drop_removed()
        return frozenset(changed)

    def take_service(self, service: SwarmService) -> None:
        """Take one service as it is now."""
        self.services[service.id] = self._same(service)
        self.removed.discard(service.id)
        self._make(service.id)

    def drop_service(self, id: str) -> None:
        """Note that a service is gone; its tasks go on for a while."""
        self.removed.add(id)
        self._make(id)
        self._drop_removed()

    def take_nodes(self, nodes: Iterable[SwarmNode]) -> None:
        """Take all nodes as they are now."""
        self.nodes = self._nodes_of(nodes)
        for id in tuple(self._tasks):
            self._make(id)

    # -- how it is kept

    def _replace(self, service: str, tasks: Iterable[SwarmTask], *, now: float) -> bool:
        """Keep those of a service's *tasks* that matter; return whether they are others, but for the ended."""
        before = self._tasks.get(service, {})
        kept = {task.id: _same_task(task, before.get(task.id)) for task in self._kept(service, tasks, now=now)}
        for id in before.keys() - kept.keys():
            self._started_ns.pop(id, None)
            self._ended_at.pop(id, None)
            self._made.pop(id, None)
            self._changed = True
        if kept:
            self._tasks[service] = kept
        else:
            self._tasks.pop(service, None)
        self._make(service)
        return _in_force(before) != _in_force(kept)

    def _kept(self, service: str, tasks: Iterable[SwarmTask], *, now: float) -> Iterable[SwarmTask]:
        """Return those that run, or should, that ended just now, and of a place that nobody else has the latest."""
        taken, ended = set(), list[SwarmTask]()
        for task in tasks:
            if is_alive(task) or is_wanted(task):
                self._ended_at.pop(task.id, None)
                taken.add(slot_of(task))
                yield task
            else:
                ended.append(task)
        if service in self.removed:
            return
        known, latest = self._tasks.get(service, {}), dict[str, SwarmTask]()
        for task in ended:
            if task.id in known and now - self._ended_at.setdefault(task.id, now) < ENDED_S:
                yield task
            elif task.state in BROKEN_DOWN and slot_of(task) not in taken:
                slot = slot_of(task)
                latest[slot] = max(latest.get(slot, task), task, key=lambda each: (each.created_ns, each.id))
        yield from latest.values()

    def _make(self, service: str) -> None:
        """Make containers of a service's tasks, as far as anything that they are made of is another."""
        about = self.services.get(service)
        if about is None and service not in self.removed:
            return  # without its service's labels a task could be taken for one of another upstream
        for id, task in self._tasks.get(service, {}).items():
            node, made = self.nodes.get(task.node_id), self._made.get(id)
            if made is not None and made.task is task and made.service is about and made.node is node:
                continue
            if task.state == RUNNING:
                self._started_ns.setdefault(id, task.stamped_ns or task.created_ns)
            container = container_of(
                task,
                service=about,
                node=node,
                scope=self._scope,
                started_ns=self._started_ns.get(id, 0),
            )
            # What differs may be nothing that a container has: then it is the same one, which costs the plan nothing.
            if made is not None and made.container == container:
                container = made.container
            else:
                self._changed = True
            self._made[id] = _Made(task, about, node, container)

    def _drop_removed(self) -> None:
        """Forget services that are removed and have no task any more that could be shown."""
        for id in tuple(self.removed):
            if id not in self._tasks:
                self.removed.discard(id)
                self.services.pop(id, None)

    def _same(self, service: SwarmService) -> SwarmService:
        before = self.services.get(service.id)
        return before if before is not None and before == service else service

    def _nodes_of(self, listed: Iterable[SwarmNode]) -> dict[str, SwarmNode]:
        """Return the nodes of a list, and those that it lacks though a task runs there: that one is where it was."""
        used = {task.node_id for each in self._tasks.values() for task in each.values() if is_alive(task)}
        kept = {id: node for id, node in self.nodes.items() if id in used}
        return kept | {each.id: self._same_node(each) for each in listed}

    def _same_node(self, node: SwarmNode) -> SwarmNode:
        before = self.nodes.get(node.id)
        return before if before is not None and before == node else node


def _by_service(tasks: Iterable[SwarmTask]) -> Mapping[str, list[SwarmTask]]:
    grouped = defaultdict[str, list[SwarmTask]](list)
    for task in tasks:
        grouped[task.service_id].append(task)
    return grouped


def _same_task(task: SwarmTask, before: SwarmTask | None) -> SwarmTask:
    """Return the task as it was where it is equal: nothing need be made of it anew."""
    return before if before is not None and before == task else task


def _in_force(tasks: Mapping[str, SwarmTask]) -> dict[str, SwarmTask]:
    """Return those that run, or should."""
    return {id: task for id, task in tasks.items() if is_alive(task) or is_wanted(task)}

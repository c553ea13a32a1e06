"""
What users of a fake Swarm can do with services and nodes, and what can happen to a task on its node; no HTTP.

Every operation is accepted at once, and becomes true in the loop's time. What a manager would refuse raises a
`RefusedError`.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from lbwatch.engines.fake.manager.doors import NO_LEADER
from lbwatch.engines.fake.manager.state import Node, Service, Spec, SwarmState, Task
from lbwatch.engines.fake.state import ConflictError, FailedError, InvalidError
from lbwatch.engines.fake.swarm.agents import Pace
from lbwatch.engines.fake.swarm.leader import Leader
from lbwatch.engines.fake.swarm.machines import Machine

Tell = Callable[[Service, str, Mapping[str, str]], None]


class Services:
    """
    The services of one Swarm, and the operations on them.

    Args:
        state: Of the Swarm.
        leader: Decides what follows.
        tell: Takes what all managers tell.
        leads: Returns whether there is a leader: without one nothing can be changed.
    """

    def __init__(self, state: SwarmState, *, leader: Leader, tell: Tell, leads: Callable[[], bool]) -> None:
        self._state = state
        self._leader = leader
        self._tell = tell
        self._leads = leads
        self.find = state.find_service

    def __iter__(self) -> Iterator[Service]:
        return iter(tuple(self._state.services.values()))

    def create(self, name: str, **options: Any) -> str:
        """Return the id of a new service; the options are those of `manager.state.Spec`."""
        self._require_leader()
        state, spec = self._state, Spec(name=name, **options)
        _check(spec)
        if any(each.spec.name == name for each in state.services.values()):
            raise ConflictError(
                "rpc error: code = AlreadyExists desc = name conflicts with an existing object: "
                f"service {name} already exists"
            )
        networks = state.networks_of(spec)
        now_ns = state.clock_ns()
        service = Service(
            id=state.new_id(), spec=spec, version=state.next_index(), created_ns=now_ns, updated_ns=now_ns
        )
        state.services[service.id] = service
        self._tell(service, "create", {"name": name})
        state.choose_ports(service)
        if spec.endpoint_mode == "vip":
            service.virtual = {network.id: network.allocate() for network in networks}
        if service.virtual or service.ports:
            self._changed(service)
            self._tell(service, "update", {"name": name})
        self._leader.handle_service(service)
        return service.id

    def update(self, ref: str, **changes: Any) -> None:
        """Change a service: its tasks are replaced only where what they are made of changed."""
        self._require_leader()
        service = self.find(ref)
        spec = replace(service.spec, **changes)
        _check(spec)
        self._state.networks_of(spec)
        if service.update == "rollback_started":
            service.update = ""
        self._take(service, spec)

    def scale(self, ref: str, replicas: int) -> None:
        """Change how many tasks a replicated service has."""
        if self.find(ref).spec.replicas is None:
            raise InvalidError("scale can only be used with replicated or replicated-job mode")
        self.update(ref, replicas=replicas)

    def force_update(self, ref: str) -> None:
        """Replace all tasks by equal ones."""
        self.update(ref, force=self.find(ref).spec.force + 1)

    def rollback(self, ref: str) -> None:
        """Have a service be what it was before its latest change."""
        self._require_leader()
        service = self.find(ref)
        if service.previous is None:
            raise InvalidError("service does not have a previous spec")
        service.update = "rollback_started"
        self._take(service, service.previous)

    def remove(self, ref: str) -> None:
        """Remove a service at once; its tasks go on until they were told to stop and did."""
        self._require_leader()
        service = self.find(ref)
        del self._state.services[service.id]
        service.removed = True
        for id, address in service.virtual.items():
            self._state.find_network(id).release(address)
        self._tell(service, "remove", {"name": service.spec.name})
        self._leader.handle_removal(service)

    def _take(self, service: Service, spec: Spec) -> None:
        before, service.previous, service.spec = service.spec, service.spec, spec
        self._state.choose_ports(service)
        self._changed(service)
        attributes = {"name": spec.name}
        if before.replicas != spec.replicas:
            attributes |= {"replicas.old": str(before.replicas), "replicas.new": str(spec.replicas)}
        if before.image != spec.image:
            attributes |= {"image.old": before.image, "image.new": spec.image}
        self._tell(service, "update", attributes)
        self._leader.handle_service(service)

    def _changed(self, service: Service) -> None:
        service.version, service.updated_ns = self._state.next_index(), self._state.clock_ns()

    def _require_leader(self) -> None:
        if not self._leads():
            raise FailedError(NO_LEADER)


class Swarm(Protocol):
    """What operations on nodes need of the Swarm."""

    state: SwarmState
    pace: Pace

    def tell(self, kind: str, action: str, *, id: str, attributes: Mapping[str, str]) -> None:
        """Have every manager tell what happened."""

    def spawn(self, work: Any) -> Any:
        """Run something until the Swarm is closed."""


class Nodes:
    """
    The nodes of one Swarm, and the operations on them.

    Args:
        swarm: Which one.
        leader: Decides what follows.
    """

    def __init__(self, swarm: Swarm, *, leader: Leader) -> None:
        self._swarm = swarm
        self._state = swarm.state
        self._leader = leader
        self.find = swarm.state.find_node

    def __iter__(self) -> Iterator[Node]:
        return iter(tuple(self._state.nodes.values()))

    def set_availability(self, ref: str, availability: str) -> None:
        """Make a node `active`, `pause` it, or `drain` it: its tasks go elsewhere."""
        node = self.find(ref)
        if availability not in ("active", "pause", "drain"):
            raise InvalidError(f"invalid availability: {availability}")
        before, node.availability = node.availability, availability
        if before != availability:
            self._tell(node, {"availability.old": before, "availability.new": availability})
            self._leader.handle_node(node)

    def label(self, ref: str, **labels: str) -> None:
        """Label a node: of that managers tell no more than that something changed."""
        node = self.find(ref)
        node.labels |= labels
        self._tell(node, {})

    def set_state(self, node: Node, state: str) -> None:
        """Have the managers think otherwise of a node: `ready`, `down` or `unknown`."""
        before, node.state = node.state, state
        if before != state:
            self._tell(node, {"state.old": before, "state.new": state})
            self._leader.handle_node(node)

    def cut_off(self, ref: str) -> None:
        """Cut a node off: its tasks run on, and after 10 to 14 s the managers think that it is down."""
        node = self.find(ref)
        if node.linked.is_set():
            node.linked.clear()
            self._swarm.spawn(self._miss(node))

    def reconnect(self, ref: str) -> None:
        """Link it again: 2.9 s later it is ready, and hears what it should do no more."""
        node = self.find(ref)
        if not node.linked.is_set():
            node.linked.set()
            self._swarm.spawn(self._find_again(node))

    async def _miss(self, node: Node) -> None:
        await asyncio.sleep(self._state.random.uniform(*self._swarm.pace.down))
        if not node.linked.is_set():
            self.set_state(node, "down")

    async def _find_again(self, node: Node) -> None:
        await asyncio.sleep(self._state.random.uniform(*self._swarm.pace.back))
        for task in self._state.tasks.values():
            if task.node is node:
                task.changed.set()
        if node.linked.is_set():
            self.set_state(node, "ready")

    def _tell(self, node: Node, attributes: Mapping[str, str]) -> None:
        node.version = self._state.next_index()
        self._swarm.tell("node", "update", id=node.id, attributes={"name": node.hostname, **attributes})


class Tasks:
    """
    The tasks of one Swarm, and what happens to one without the managers' doing: on its node alone.

    Args:
        state: Of the Swarm.
        machines: Where tasks run, by the node's id.
    """

    def __init__(self, state: SwarmState, *, machines: Mapping[str, Machine]) -> None:
        self._state = state
        self._machines = machines
        self.find = state.find_task

    def __iter__(self) -> Iterator[Task]:
        return iter(tuple(self._state.tasks.values()))

    def die(self, ref: str, code: int = 137) -> None:
        """Have a task die by itself: managers know it 0.07 to 0.5 s later, and tell nothing."""
        task = self._running(ref)
        self._machine(task).end(task, code=code)

    def pause(self, ref: str, *, paused: bool = True) -> None:
        """Pause its container, or have it go on: managers never know."""
        task = self._running(ref)
        self._machine(task).pause(task, paused=paused)

    def probe(self, ref: str, *, healthy: bool) -> None:
        """Have its health check pass or fail: managers know no more than that it does not run yet, or that it ended."""
        task = self._running(ref)
        if task.spec.health is None:
            raise ConflictError(f"task {task.id} has no health check")
        self._machine(task).probe(task, healthy=healthy)

    def _running(self, ref: str) -> Task:
        task = self.find(ref)
        if not task.up:
            raise ConflictError(f"task {task.id} does not run")
        return task

    def _machine(self, task: Task) -> Machine:
        assert task.node is not None
        return self._machines[task.node.id]


def _check(spec: Spec) -> None:
    if spec.replicas is not None and spec.replicas < 0:
        raise InvalidError("invalid replicas")
    if spec.order not in ("start-first", "stop-first") or spec.endpoint_mode not in ("vip", "dnsrr"):
        raise InvalidError("invalid order or endpoint mode")
    if spec.endpoint_mode == "dnsrr" and any(port.mode == "ingress" for port in spec.ports):
        raise InvalidError("EndpointSpec: port published with ingress mode can't be used with dnsrr mode")

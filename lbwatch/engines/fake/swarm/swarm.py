"""
A fake Swarm: services, tasks and nodes that come and go in the loop's time, behind fake engines that are its managers.

It lies as real managers do: they tell no event of a task, say that one should stop seconds before it is told to, answer
from copies that lag, and fall silent where they lost their leader. Operations are in `swarm.operations`.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Self

from lbwatch.engines.fake.engine import FakeEngine
from lbwatch.engines.fake.manager.doors import Door, Trouble
from lbwatch.engines.fake.manager.state import Node, Overlay, Service, SwarmState, Task
from lbwatch.engines.fake.manager.tasks import TaskReplica
from lbwatch.engines.fake.swarm.agents import Agents, Pace
from lbwatch.engines.fake.swarm.leader import Leader
from lbwatch.engines.fake.swarm.machines import Machine
from lbwatch.engines.fake.swarm.operations import Nodes, Services, Tasks


class FakeSwarm:
    """
    A Swarm that runs nothing; to be used in an event loop, whose time is its own.

    Args:
        seed: Of all ids and of how long each step takes.
        clock_ns: The managers' clock, in nanoseconds since the epoch.
        pace: How long all takes.

    Attributes:
        state: What is true.
        services: The services, and the operations on them.
        nodes: The nodes, and the operations on them.
        tasks: The tasks, and what can happen to one on its node.
        replica: What managers answer of tasks; its `lag_s` can be changed.
        doors: The managers and workers that are engines, by the node's id.
    """

    def __init__(self, *, seed: int = 0, clock_ns: Callable[[], int] = time.time_ns, pace: Pace | None = None) -> None:
        self.pace = pace or Pace()
        self.state = SwarmState(seed=seed, clock_ns=clock_ns)
        self.replica = TaskReplica(self.state, monotonic=lambda: asyncio.get_running_loop().time())
        self.doors: dict[str, Door] = {}
        self._machines: dict[str, Machine] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._leading = asyncio.Event()
        self._leading.set()
        self._agents = Agents(
            state=self.state,
            pace=self.pace,
            machines=self._machines,
            leading=self._leading,
            record=self._record_report,
            tell_node=self._tell_node,
        )
        self._leader = Leader(
            state=self.state,
            pace=self.pace,
            leading=self._leading,
            record=self._record,
            drop=self._drop,
            tell_service=self._tell_service,
            live=self._agents.live,
            spawn=self.spawn,
        )
        self.services = Services(self.state, leader=self._leader, tell=self._tell_service, leads=self._leading.is_set)
        self.nodes = Nodes(self, leader=self._leader)
        self.tasks = Tasks(self.state, machines=self._machines)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let nothing go on."""
        work = [*self._work]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until `close`."""
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error  # to the loop's handler of exceptions: nothing here may fail

    def add_node(
        self,
        hostname: str,
        *,
        address: str = "",
        manager: bool = False,
        engine: FakeEngine | None = None,
        runs_containers: bool = True,
    ) -> Node:
        """
        Return a node that is new and ready.

        Args:
            hostname: Of the machine.
            address: Of the machine; empty: one of 10.77.0.0/16.
            manager: Whether it is a manager; else a worker.
            engine: Which engine it is; `None`: none that anybody can ask.
            runs_containers: Whether that engine has the containers of its tasks; else they are nowhere.
        """
        state, number = self.state, len(self.state.nodes) + 1
        node = Node(
            id=state.new_id(),
            hostname=hostname,
            address=address or f"10.77.{number // 256}.{number % 256}",
            manager=manager,
            version=state.next_index(),
            created_ns=state.clock_ns(),
        )
        node.linked.set()
        state.nodes[node.id] = node
        self._machines[node.id] = Machine(state, engine=engine if runs_containers else None)
        if engine is not None:
            door = Door(state=state, tasks=self.replica, node=node, events=engine.events)
            engine.swarm = self.doors[node.id] = door
        self.tell("node", "create", id=node.id, attributes={"name": hostname})
        self._leader.handle_node(node)
        return node

    def create_network(self, name: str, *, subnet: str = "") -> Overlay:
        """Return an overlay network that is new; *subnet* is its own /16 of 10.0.0.0/8 if empty."""
        network = self.state.add_network(name, subnet=subnet or f"10.{len(self.state.networks)}.0.0/16")
        self.tell("network", "create", id=network.id, attributes={"name": name})
        self.tell("network", "update", id=network.id, attributes={"name": name})
        return network

    def tell(self, kind: str, action: str, *, id: str, attributes: Mapping[str, str]) -> None:
        """Have every manager tell what happened, followers too."""
        for door in self.doors.values():
            door.tell(kind, action, id=id, attributes=attributes)

    # What goes wrong.

    async def lose_leader(self, seconds: float = 17.0) -> None:
        """Have no leader for a while: managers answer 500 at once, nothing is decided; then another one leads."""
        await self._lose(Trouble.LEADERLESS, seconds)
        await self.change_leader()

    async def lose_quorum(self, seconds: float = 60.0) -> None:
        """Have too few managers for a while: they do not answer at all, later 500."""
        await self._lose(Trouble.ALONE, seconds)
        await self.change_leader()

    async def _lose(self, trouble: Trouble, seconds: float) -> None:
        self._leading.clear()
        for door in self.doors.values():
            door.begin(trouble)
        try:
            await asyncio.sleep(seconds)
        finally:
            for door in self.doors.values():
                door.end()
            self._leading.set()

    async def isolate(self, node: str, seconds: float = 60.0) -> None:
        """Cut one manager off from the others for a while; those go on, and it hears all of it at once afterwards."""
        door = self.doors[self.state.find_node(node).id]
        door.begin(Trouble.ALONE)
        try:
            await asyncio.sleep(seconds)
        finally:
            door.end()

    async def change_leader(self) -> None:
        """Have another leader, which knows no node for 2 s: no reason to drop anything."""
        unknown = [node for node in self.state.nodes.values() if node.state == "ready"]
        for node in unknown:
            self.nodes.set_state(node, "unknown")
        for network in self.state.networks.values():
            self.tell("network", "update", id=network.id, attributes={"name": network.name})
        await asyncio.sleep(self._agents.draw(self.pace.unknown))
        for node in unknown:
            if node.state == "unknown":
                self.nodes.set_state(node, "ready")

    # What the rooms below report.

    def _record_report(self, task: Task) -> None:
        self._record(task)
        if task.over:
            self._leader.handle_end(task)

    def _record(self, task: Task) -> None:
        task.version, task.updated_ns = self.state.next_index(), self.state.clock_ns()
        self.replica.record(task)

    def _drop(self, task: Task) -> None:
        self.replica.drop(task)
        if task.node is not None:
            self._machines[task.node.id].remove(task)

    def _tell_service(self, service: Service, action: str, attributes: Mapping[str, str]) -> None:
        self.tell("service", action, id=service.id, attributes=attributes)

    def _tell_node(self, node: Node) -> None:
        node.version = self.state.next_index()
        self.tell("node", "update", id=node.id, attributes={"name": node.hostname})

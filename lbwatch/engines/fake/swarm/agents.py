"""
The life of a task of the fake Swarm: what its node does, and when the managers come to know it.

A node acts on what it heard and goes on while it is cut off; what it reports is known once a manager leads. All times
are measured (20.10.24 and 28.5.2), see `Pace`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from lbwatch.engines.fake.manager.state import Node, Port, SwarmState, Task, either
from lbwatch.engines.fake.swarm.machines import Machine
from lbwatch.engines.fake.swarm.scheduler import place


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """
    How long each step takes, in seconds; a pair is the least and the most.

    Attributes:
        step: From one state to the next, up to `starting`: an address is there 1 to 2 s before a task runs.
        start: From `starting` until its container runs.
        health: From there until its health check passes, where it does by itself.
        report: From its start until it is known as running: 16 to 120 ms; after a health check passed, 67.
        last_words: From the moment a task should run no more until its stop signal, on an overlay: 3.10 to 3.31 s, of
            which moby sleeps 2.
        last_words_alone: The same without an overlay: 1.13 to 1.23 s.
        unhealthy: From `unhealthy` until its stop signal.
        death: From its end until the managers know it: 0.07 to 0.5 s.
        reconcile: From a change of a service, or a node, until tasks are changed for it: 4 to 16 ms for nodes.
        down: From a lost link until the node is `down`: 10.0, 13.3 and 14.2 s were seen.
        back: From a link that is there again until it is `ready`.
        monitor: From the last task of an update until that is `completed`.
        unknown: How long nodes are `unknown` after a change of the leader.
    """

    step: tuple[float, float] = (0.1, 0.4)
    start: tuple[float, float] = (0.2, 0.5)
    health: tuple[float, float] = (0.5, 2.0)
    report: tuple[float, float] = (0.016, 0.12)
    last_words: tuple[float, float] = (3.1, 3.31)
    last_words_alone: tuple[float, float] = (1.13, 1.23)
    unhealthy: tuple[float, float] = (2.0, 2.0)
    death: tuple[float, float] = (0.07, 0.5)
    reconcile: tuple[float, float] = (0.004, 0.016)
    down: tuple[float, float] = (10.0, 14.2)
    back: tuple[float, float] = (2.9, 2.9)
    monitor: tuple[float, float] = (5.0, 5.0)
    unknown: tuple[float, float] = (2.0, 2.0)


class Agents:
    """
    What nodes do with their tasks.

    Args:
        state: Of the Swarm.
        pace: How long all takes.
        machines: Where tasks run, by the node's id.
        leading: Set while there is a leader: without one no manager takes down what is reported.
        record: Takes a task whose state the managers changed.
        tell_node: Takes a node of which every manager tells a `node update`.
    """

    def __init__(
        self,
        *,
        state: SwarmState,
        pace: Pace,
        machines: dict[str, Machine],
        leading: asyncio.Event,
        record: Callable[[Task], None],
        tell_node: Callable[[Node], None],
    ) -> None:
        self._state = state
        self._pace = pace
        self._machines = machines
        self._leading = leading
        self._record = record
        self._tell_node = tell_node

    def draw(self, span: tuple[float, float]) -> float:
        """Return how many seconds a step takes this time."""
        return self._state.random.uniform(*span)

    async def live(self, task: Task) -> None:
        """Live a task's whole life."""
        if await self._prepare(task):
            await self._run(task)
        end = "shutdown" if task.unwanted else "complete" if task.exit_code == 0 else "failed"
        if task.node is not None and task.up_at:
            span = self._pace.death if task.node.linked.is_set() else self._pace.report
            await asyncio.sleep(self.draw(span))
        await self._report(task, end)
        self._release(task)

    async def _prepare(self, task: Task) -> bool:
        """Return whether a task comes to run: it has an address, a node and a container then."""
        if await self._passes(task, self.draw(self._pace.step)):
            return False
        await self._leading.wait()
        networks = self._state.networks_of(task.spec)
        task.attachments = tuple((network, network.allocate()) for network in networks)
        await self._report(task, "pending")
        while task.node is None:
            if task.unwanted:
                return False
            task.node = place(self._state, task)
            if task.node is None:
                await either(self._state.nodes_changed, task.changed)
                task.changed.clear()
        self._count_networks(task, task.node, by=1)
        for state in ("assigned", "accepted", "preparing", "ready"):
            await self._report(task, state)
            if await self._passes(task, self.draw(self._pace.step)):
                return False
        # A stop-first update prepares the next task while the one before still runs.
        if not await self._until(task, lambda: self._heard_end(task) or task.desired == "running"):
            return False
        return not self._heard_end(task)

    async def _run(self, task: Task) -> None:
        """Run a task until its container ended."""
        assert task.node is not None
        machine, pace = self._machines[task.node.id], self._pace
        machine.create(task)
        task.ports = tuple(
            Port(target=port.target, published=task.node.next_port(), protocol=port.protocol, mode="host")
            for port in task.spec.ports
            if port.mode == "host"
        )
        await self._report(task, "starting")
        await self._until(task, lambda: self._heard_end(task), limit_s=self.draw(pace.start))
        if self._heard_end(task):
            task.exit_code = 0
            return
        machine.start(task)
        passes_after_s = self.draw(pace.health) if task.spec.health == "healthy" else None
        if passes_after_s and not await self._until(task, lambda: self._ending(task), limit_s=passes_after_s):
            machine.probe(task, healthy=True)
        if task.spec.health is not None:
            await self._until(task, lambda: self._ending(task) or task.healthy is True)
        if not await self._until(task, lambda: self._ending(task), limit_s=self.draw(pace.report)):
            await self._report(task, "running")
        await self._until(task, lambda: self._ending(task))
        if task.exit_code is None:
            await self._stop(task, machine)

    async def _stop(self, task: Task, machine: Machine) -> None:
        """Stop a task that should run no more, or whose health check fails: moby waits before its stop signal."""
        overlays, pace = bool(task.attachments), self._pace
        span = pace.last_words if overlays else pace.last_words_alone
        window = self.draw(span if task.unwanted else pace.unhealthy)

        def gone() -> bool:
            return task.exit_code is not None

        if await self._until(task, gone, limit_s=window):
            return
        machine.tell(task)
        if not await self._until(task, gone, limit_s=task.spec.stop_s):
            machine.end(task, code=0)

    async def _report(self, task: Task, state: str) -> None:
        """Have the managers know a task's state, once its node reaches them and one of them leads."""
        if task.node is not None:
            await task.node.linked.wait()
        await self._leading.wait()
        if task.over:
            return
        task.state, task.stated_ns = state, self._state.clock_ns()
        if state == "running":
            task.started.set()
        if task.over:
            task.started.set()
            task.ended.set()
        self._record(task)

    def _release(self, task: Task) -> None:
        for network, address in task.attachments:
            network.release(address)
        if task.node is not None:
            self._count_networks(task, task.node, by=-1)

    def _count_networks(self, task: Task, node: Node, *, by: int) -> None:
        """A node's first task on a network, and its last, are told as an update of the node."""
        changed = False
        for network, _ in task.attachments:
            before = node.networks[network.id]
            node.networks[network.id] = before + by
            changed = changed or 0 in (before, before + by)
        if changed:
            self._tell_node(node)

    def _heard_end(self, task: Task) -> bool:
        """Return whether a task's node knows that it should run no more."""
        return task.unwanted and (task.node is None or task.node.linked.is_set())

    def _ending(self, task: Task) -> bool:
        return task.exit_code is not None or task.healthy is False or self._heard_end(task)

    async def _passes(self, task: Task, seconds: float) -> bool:
        """Return whether a task is given up while so many seconds pass."""
        return await self._until(task, lambda: self._heard_end(task), limit_s=seconds)

    async def _until(self, task: Task, claim: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Return whether a claim about a task comes to hold within so many seconds."""
        try:
            async with asyncio.timeout(limit_s):
                while not claim():
                    task.changed.clear()
                    await task.changed.wait()
        except TimeoutError:
            return claim()
        return True

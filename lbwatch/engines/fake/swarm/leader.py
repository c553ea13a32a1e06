"""
What the leader of a fake Swarm decides: which tasks there should be, and where.

It does what swarmkit's orchestrators do (src, manager/orchestrator: replicated, global, restart, update), and waits
wherever there is no leader. What becomes of a task on its node is in `swarm.agents`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from lbwatch.engines.fake.manager.state import HISTORY, ORDER, Node, Service, SwarmState, Task, either
from lbwatch.engines.fake.swarm.agents import Pace
from lbwatch.engines.fake.swarm.scheduler import count

_READY = "ready"
_RUNNING = "running"

TellService = Callable[[Service, str, Mapping[str, str]], None]


class Leader:
    """
    The decisions about tasks.

    Args:
        state: Of the Swarm.
        pace: How long all takes.
        leading: Set while there is a leader.
        record: Takes each task that was changed.
        drop: Takes each that is in no answer any more.
        tell_service: Takes a service, an action and its attributes: all managers tell it.
        live: Returns the life of a task, to be run.
        spawn: Runs something beside all else.
    """

    def __init__(
        self,
        *,
        state: SwarmState,
        pace: Pace,
        leading: asyncio.Event,
        record: Callable[[Task], None],
        drop: Callable[[Task], None],
        tell_service: TellService,
        live: Callable[[Task], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._state = state
        self._pace = pace
        self._leading = leading
        self._record = record
        self._drop = drop
        self._tell_service = tell_service
        self._live = live
        self._spawn = spawn
        self._updates: dict[str, asyncio.Task[None]] = {}  # by the service's id

    def handle_service(self, service: Service) -> None:
        """Have a service that was made or changed get the tasks that it should have."""
        self._spawn(self._reconcile(service))

    def handle_node(self, node: Node) -> None:
        """Have tasks leave a node that takes none, and come to one that does."""
        self._spawn(self._reconcile_node(node))

    def handle_removal(self, service: Service) -> None:
        """Have all tasks of a service that is gone end."""
        self._cancel_update(service)
        self._spawn(self._remove_all(service))

    def handle_end(self, task: Task) -> None:
        """Replace a task that died although it should run, and forget what is too old."""
        service = task.service
        if task.desired == "remove" or service.removed:
            self._forget(task)
            return
        if not task.unwanted:
            self._replace(task, delay_s=service.spec.restart_delay_s, waits=False)
        dead = [each for each in service.tasks.values() if each.slot == task.slot and each.over and each.unwanted]
        for each in dead[:-HISTORY]:
            self._forget(each)

    async def _reconcile(self, service: Service) -> None:
        await self._decide()
        if service.removed:
            return
        slots = self._state.wanted(service)
        replicas = service.spec.replicas
        if replicas is None:
            wanted: set[int | str] = {node.id for node in self._state.nodes.values() if node.takes_tasks}
            for node in self._state.nodes.values():
                if node.id in slots and node.availability == "drain":
                    self._end_slot(slots.pop(node.id), desired="shutdown")
        else:
            wanted = self._wanted_slots(slots, replicas=replicas)
            for slot in [*slots]:
                if slot not in wanted:
                    self._end_slot(slots.pop(slot), desired="remove")
        for slot in sorted(wanted - slots.keys(), key=str if replicas is None else int):
            self._create(service, slot=slot, desired=_RUNNING)
        self._begin_update(service)

    def _wanted_slots(self, slots: Mapping[int | str, list[Task]], *, replicas: int) -> set[int | str]:
        """Return the slots that stay, of those that run the lowest, and the lowest free ones."""
        running = {slot for slot, tasks in slots.items() if any(task.state == _RUNNING for task in tasks)}
        kept = sorted(slots, key=lambda slot: (slot not in running, slot))[:replicas]
        free = (slot for slot in range(1, replicas + len(slots) + 1) if slot not in slots)
        return {*kept, *(next(free) for _ in range(replicas - len(kept)))}

    async def _reconcile_node(self, node: Node) -> None:
        await self._decide()
        self._state.pulse_nodes()
        if node.availability == "drain" or node.state == "down":
            for task in self._state.tasks_on(node):
                if task.unwanted:
                    continue
                if task.service.spec.replicas is None:
                    self._desire(task, "shutdown")
                else:
                    drained = node.availability == "drain"
                    delay_s = 0.0 if drained else task.service.spec.restart_delay_s
                    self._replace(task, delay_s=delay_s, waits=node.state != "down")
        if node.takes_tasks:
            for service in [*self._state.services.values()]:
                if service.spec.replicas is None:
                    self.handle_service(service)

    async def _remove_all(self, service: Service) -> None:
        await self._decide()
        self._end_slot([*service.tasks.values()], desired="remove")

    async def _decide(self) -> None:
        """Wait until a leader has come to look at what changed."""
        await asyncio.sleep(self._state.random.uniform(*self._pace.reconcile))
        await self._leading.wait()

    def _end_slot(self, tasks: list[Task], *, desired: str) -> None:
        for task in tasks:
            self._desire(task, desired)
            if task.over and desired == "remove":
                self._forget(task)

    def _create(self, service: Service, *, slot: int | str, desired: str) -> Task:
        now_ns = self._state.clock_ns()
        task = Task(
            id=self._state.new_id(),
            service=service,
            slot=slot,
            spec=service.spec,
            created_ns=now_ns,
            updated_ns=now_ns,
            stated_ns=now_ns,
            desired=desired,
        )
        self._state.tasks[task.id] = service.tasks[task.id] = task
        self._record(task)
        self._spawn(self._live(task))
        return task

    def _desire(self, task: Task, desired: str) -> None:
        """Have a task be something that is further on: never back."""
        if ORDER[desired] <= ORDER[task.desired] or task.id not in self._state.tasks:
            return
        was_unwanted, task.desired = task.unwanted, desired
        if task.unwanted and not was_unwanted:
            task.unwanted_at = asyncio.get_running_loop().time()
            if task.node is not None:
                count(task, task.node, by=-1)
        task.changed.set()
        self._record(task)

    def _forget(self, task: Task) -> None:
        self._desire(task, "shutdown")
        if self._state.tasks.pop(task.id, None) is not None:
            del task.service.tasks[task.id]
            self._drop(task)

    def _replace(self, old: Task, *, delay_s: float, waits: bool) -> None:
        """Have a task end, and another begin in its slot: after so many seconds, and if it *waits*, after the end."""
        self._desire(old, "shutdown")
        service = old.service
        if service.removed or self._state.wanted(service).get(old.slot):
            return
        if isinstance(old.slot, str) and not self._state.nodes[old.slot].takes_tasks:
            return
        new = self._create(service, slot=old.slot, desired=_READY)
        self._spawn(self._start_later(new, after=[old] if waits else [], delay_s=delay_s))

    async def _start_later(self, new: Task, *, after: Iterable[Task], delay_s: float) -> None:
        for old in after:
            await self._settles(old, old.ended.is_set)
        await asyncio.sleep(delay_s)
        await self._leading.wait()
        self._desire(new, _RUNNING)

    async def _settles(self, task: Task, claim: Callable[[], bool]) -> None:
        """Wait until a claim about a task holds, or its node is down and will not tell."""
        while not (claim() or (task.node is not None and task.node.state == "down")):
            await either(task.started if not task.started.is_set() else task.ended, self._state.nodes_changed)

    # Updates.

    def _begin_update(self, service: Service) -> None:
        """Begin to replace the tasks that are not as the service now wants them; an older update ends."""
        template = service.spec.template
        old = {
            slot: tasks
            for slot, tasks in self._state.wanted(service).items()
            if any(task.spec.template != template for task in tasks)
        }
        if not old and service.id not in self._updates:
            return
        self._cancel_update(service)
        if old or service.update in ("updating", "rollback_started"):
            self._updates[service.id] = self._spawn(self._update(service, deque(old)))

    def _cancel_update(self, service: Service) -> None:
        if (update := self._updates.pop(service.id, None)) is not None:
            update.cancel()

    async def _update(self, service: Service, slots: "deque[int | str]") -> None:
        rolling_back = service.update == "rollback_started"
        self._tell_update(service, "rollback_started" if rolling_back else "updating")
        count = service.spec.parallelism or len(slots)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(count, len(slots))):
                group.create_task(self._update_slots(service, slots))
        await asyncio.sleep(self._state.random.uniform(*self._pace.monitor))
        await self._leading.wait()
        self._updates.pop(service.id, None)
        self._tell_update(service, "rollback_completed" if rolling_back else "completed")

    async def _update_slots(self, service: Service, slots: "deque[int | str]") -> None:
        while slots:
            slot = slots.popleft()
            await self._leading.wait()
            if old := self._state.wanted(service).get(slot):
                await self._update_slot(service, slot, old)
            if slots:
                await asyncio.sleep(service.spec.delay_s)

    async def _update_slot(self, service: Service, slot: int | str, old: list[Task]) -> None:
        template = service.spec.template
        fresh = [task for task in old if task.spec.template == template]
        stale = [task for task in old if task.spec.template != template]
        starts_first = service.spec.order == "start-first"
        desired = _RUNNING if starts_first else _READY
        new = fresh[-1] if fresh else self._create(service, slot=slot, desired=desired)
        if not starts_first:
            self._end_slot(stale, desired="shutdown")
            # Beside this update, which may be given up: whoever waits would wait for ever.
            self._spawn(self._start_later(new, after=stale, delay_s=0.0))
        await self._settles(new, lambda: new.started.is_set() or new.unwanted)
        await self._leading.wait()
        if new.unwanted and not service.removed:
            # Its node was drained, or is gone, before it ran: whoever it should have replaced stays until the next one.
            self.handle_service(service)
            return
        self._end_slot(stale, desired="shutdown")

    def _tell_update(self, service: Service, update: str) -> None:
        before, service.update = service.update, update
        service.version = self._state.next_index()
        attributes = {"name": service.spec.name, "updatestate.new": update}
        if before and before != update:
            attributes["updatestate.old"] = before
        self._tell_service(service, "update", attributes)

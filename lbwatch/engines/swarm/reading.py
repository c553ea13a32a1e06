"""
Asks a Swarm's managers, and hands what they say to the model: whole or nothing.

An answer that lacks everything may be the truth, and may come from a manager that has only just begun to learn it: it
counts once it was given twice.
"""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from lbwatch.core.errors import SourceError
from lbwatch.engines.swarm.answers import (
    SwarmNode,
    SwarmService,
    SwarmTask,
    TaskReader,
    nodes_of,
    service_of,
    services_of,
    task_of,
)
from lbwatch.engines.swarm.doors import Doors, in_turns, is_answer
from lbwatch.engines.swarm.model import Swarm

_Later = list[tuple[Sequence[str], list[SwarmTask]]]
"""Nodes, and what was answered of the tasks there, in the order in which it was."""

AGAIN_S = 0.3
"""After so long an answer that lacks everything is asked for once more."""

BATCH = 200
"""Of so many tasks what they say is made before others have the loop: some 10 ms."""

MAX_IDS = 100
"""So many ids go into one request; for more of them all is asked for."""


class Reader:
    """
    What is asked of a Swarm.

    Args:
        doors: Whom to ask.
        swarm: What is known.
    """

    def __init__(self, doors: Doors, *, swarm: Swarm) -> None:
        self._doors = doors
        self._swarm = swarm
        self._all_tasks = TaskReader()
        self._wanted_tasks = TaskReader()
        # A look at nodes overtakes others: theirs was asked for before it, so it is taken once more after them.
        self._taking = asyncio.Lock()  # while something is taken nothing else is
        self._under_way: list[_Later] = []  # of each answer about tasks that has not come
        self._missing_nodes = frozenset[str]()  # ids that tasks have and no list of nodes had

    @property
    def owes_nodes(self) -> bool:
        """Return whether tasks are on nodes of which nothing is known, and which may be in the next list of nodes."""
        # A node that was removed may have left a task behind: it is asked for once.
        return not self._swarm.unknown_nodes() <= self._missing_nodes

    async def read_all(self) -> frozenset[str]:
        """
        Read all there is; return the ids of the services that have other tasks than before.

        Raises:
            SourceError: A part of it could not be read, and nothing is taken.
        """
        nodes = nodes_of(await self._doors.ask("/nodes"))
        with self._asking() as later:
            return await self._read_all(nodes, later=later)

    async def _read_all(self, nodes: Sequence[SwarmNode], *, later: _Later) -> frozenset[str]:
        tasks = await self._tasks(self._all_tasks, {}, known=self._swarm.alive)
        # After the tasks: each of them has its service in a list that was made later, or that is gone meanwhile.
        services = services_of(await self._doors.ask("/services"))
        if not services and self._swarm.services:
            await asyncio.sleep(AGAIN_S)
            services = services_of(await self._doors.ask("/services", next_door=True))
        changed = set[str]()
        async with self._taking:
            for id in self._swarm.taking_all(tasks, services, nodes, now=_now()):
                changed |= {id} if id is not None else set()
                await in_turns()
            self._take_later(later)
        await self._complete()
        return frozenset(changed)

    async def read_wanted(self) -> frozenset[str]:
        """Read the tasks that should run; return the ids of the services that are not as they were."""
        filters = {"desired-state": ["running"]}
        with self._asking() as later:
            tasks = await self._tasks(self._wanted_tasks, filters, known=self._swarm.alive)
            async with self._taking:
                changed = self._swarm.take_wanted(tasks, now=_now())
                self._take_later(later)
        await self._complete()
        return changed

    async def read_tasks(self, services: Sequence[str]) -> frozenset[str]:
        """
        Read the tasks of some services, also of such as are removed; return the ids of those that changed.

        Raises:
            SourceError: It failed; with status 404 one of them is removed, and it is not known which.
        """
        changed = frozenset[str]()
        removed = [id for id in services if id in self._swarm.removed]
        there = [id for id in services if id not in self._swarm.removed]
        if there:
            known = len(self._swarm.alive_of(there))
            reader, filters = self._all_tasks, dict[str, Sequence[str]]()
            if len(there) <= MAX_IDS:
                reader, filters = TaskReader(), {"service": there}
            with self._asking() as later:
                tasks = await self._tasks(reader, filters, known=known)
                async with self._taking:
                    changed |= self._swarm.take_tasks(tasks, of=there, now=_now())
                    self._take_later(later)
            await self._complete()
        if ids := self._swarm.alive_of(removed):
            changed |= await self._read_named(ids)
        return changed

    async def read_tasks_on(self, nodes: Sequence[str]) -> frozenset[str]:
        """
        Read the tasks on some nodes, whatever else is being read; return the ids of services that are not as they were.

        Raises:
            SourceError: It failed; with status 404 one of the nodes is gone.
        """
        async with self._taking:
            overtaken = tuple(self._under_way)  # what is asked for from now on is newer
            tasks = await _all_of(TaskReader(), await self._doors.ask("/tasks", query=_query({"node": nodes})))
            for later in overtaken:
                later.append((nodes, tasks))
            return self._swarm.take_known(tasks, on=nodes, now=_now())

    async def read_services(self, ids: Collection[str]) -> None:
        """Read some services anew, or note that they are gone."""
        if len(ids) == 1:
            (id,) = ids
            found = {id: await self._service(id)}
        else:
            filters = {"id": sorted(ids)} if len(ids) <= MAX_IDS else {}
            listed = services_of(await self._doors.ask("/services", query=_query(filters)))
            found = dict.fromkeys(ids) | {each.id: each for each in listed if each.id in ids}
        for id, service in found.items():
            if service is None:
                self._swarm.drop_service(id)
            else:
                self._swarm.take_service(service)

    async def read_nodes(self) -> None:
        """Read all nodes."""
        self._swarm.take_nodes(nodes_of(await self._doors.ask("/nodes")))
        self._missing_nodes = self._swarm.unknown_nodes()

    async def read_task(self, id: str) -> SwarmTask | None:
        """Return one task as it is now, and take it; `None`: there is none any more, or it is no container."""
        with self._asking() as later:
            task = await self._task(id)
            async with self._taking:
                self._swarm.take_named([task] if task else [], ids=(id,), now=_now())
                self._take_later(later)
        await self._complete()
        return task

    async def _task(self, id: str) -> SwarmTask | None:
        try:
            task = task_of(await self._doors.ask(f"/tasks/{id}"))
        except SourceError as error:
            if not (is_answer(error) and error.status == 404):
                raise
            task = None
        if task is not None and task.id != id:
            raise SourceError(f"/tasks/{id}: the manager answered with task {task.id!r}, which was not asked for")
        return task

    async def _read_named(self, ids: Sequence[str]) -> frozenset[str]:
        changed = frozenset[str]()
        for first in range(0, len(ids), MAX_IDS):
            some = ids[first : first + MAX_IDS]
            with self._asking() as later:
                tasks = await _all_of(TaskReader(), await self._doors.ask("/tasks", query=_query({"id": some})))
                async with self._taking:
                    changed |= self._swarm.take_named(tasks, ids=some, now=_now())
                    self._take_later(later)
        return changed

    @contextmanager
    def _asking(self) -> Iterator[_Later]:
        """Note that tasks are asked for; what is in the list at the end was asked for later, and is known already."""
        later: _Later = []
        self._under_way.append(later)
        try:
            yield later
        finally:
            self._under_way = [each for each in self._under_way if each is not later]

    def _take_later(self, later: _Later) -> None:
        for nodes, tasks in later:
            self._swarm.take_known(tasks, on=nodes, now=_now())

    async def _tasks(self, reader: TaskReader, filters: Mapping[str, Sequence[str]], *, known: int) -> list[SwarmTask]:
        """Return the tasks of a list; *known*: how many were known that should be in it."""
        began = _now()
        tasks = await _all_of(reader, await self._doors.ask("/tasks", query=_query(filters)))
        if not filters:
            self._doors.took(_now() - began)
        if tasks or not known:
            return tasks
        await asyncio.sleep(AGAIN_S)
        return await _all_of(reader, await self._doors.ask("/tasks", query=_query(filters), next_door=True))

    async def _complete(self) -> None:
        """Read what tasks speak of that is not known yet, their service and their node; what cannot be read is owed."""
        with suppress(SourceError):
            if unknown := self._swarm.unknown_services():
                await self.read_services(unknown)
            if self.owes_nodes:
                await self.read_nodes()

    async def _service(self, id: str) -> SwarmService | None:
        try:
            found = service_of(await self._doors.ask(f"/services/{id}"))
        except SourceError as error:
            if is_answer(error) and error.status == 404:
                return None
            raise
        if found.id != id:
            raise SourceError(
                f"/services/{id}: the manager answered with service {found.id!r}, which was not asked for"
            )
        return found


def _query(filters: Mapping[str, Sequence[str]]) -> dict[str, str] | None:
    return {"filters": json.dumps(filters, separators=(",", ":"))} if filters else None


async def _all_of(reader: TaskReader, body: bytes) -> list[SwarmTask]:
    """Return the tasks of an answer, with pauses in which others have the loop."""
    tasks = []
    for number, task in enumerate(reader.tasks_of(body), start=1):
        if task is not None:
            tasks.append(task)
        if not number % BATCH:
            await in_turns()
    return tasks


def _now() -> float:
    return asyncio.get_running_loop().time()

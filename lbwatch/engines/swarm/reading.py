"""
Asks a Swarm's managers, and hands what they say to the model: whole or nothing.

An answer that lacks everything may be the truth, and may come from a manager that has only just begun to learn it: it
counts once it was given twice.
"""

import asyncio
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from lbwatch.core.errors import SourceError
from lbwatch.engines.swarm.answers import (
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

AGAIN_S = 0.3
"""After so long an answer that lacks everything is asked for once more."""

BATCH = 200
"""Of so many tasks what they say is made before others have the loop: some 10 ms."""

MAX_IDS = 100
"""So many ids go into one request; for more of them all is asked for."""

FEW_SERVICES = 5
"""So many services are asked for one by one; for more of them the list is cheaper."""


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
        tasks = await self._tasks(self._all_tasks, {}, known=self._swarm.alive)
        # After the tasks: each of them has its service in a list that was made later, or that is gone meanwhile.
        services = services_of(await self._doors.ask("/services"))
        if not services and self._swarm.services:
            await asyncio.sleep(AGAIN_S)
            services = services_of(await self._doors.ask("/services", next_door=True))
        changed = self._swarm.take_all(tasks, services, nodes, now=_now())
        await self._complete()
        return changed

    async def read_wanted(self) -> frozenset[str]:
        """Read the tasks that should run; return the ids of the services that are not as they were."""
        filters = {"desired-state": ["running"]}
        tasks = await self._tasks(self._wanted_tasks, filters, known=self._swarm.alive)
        changed = self._swarm.take_wanted(tasks, now=_now())
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
        if len(there) > MAX_IDS:
            return await self.read_all()
        if there:
            known = len(self._swarm.alive_of(there))
            tasks = await self._tasks(TaskReader(), {"service": there}, known=known)
            changed |= self._swarm.take_tasks(tasks, of=there, now=_now())
            await self._complete()
        if ids := self._swarm.alive_of(removed):
            changed |= await self._read_named(ids)
        return changed

    async def read_services(self, ids: Collection[str]) -> None:
        """Read some services anew, or note that they are gone."""
        if len(ids) > FEW_SERVICES:
            listed = {each.id: each for each in services_of(await self._doors.ask("/services"))}
            self._take_services({id: listed.get(id) for id in ids}.items())
            return
        # All of them before any is taken: one that cannot be read spoils no other, and is asked for again.
        self._take_services([(id, await self._service(id)) for id in sorted(ids)])

    async def read_nodes(self) -> None:
        """Read all nodes."""
        self._swarm.take_nodes(nodes_of(await self._doors.ask("/nodes")))
        self._missing_nodes = self._swarm.unknown_nodes()

    async def read_task(self, id: str) -> SwarmTask | None:
        """Return one task as it is now, and take it; `None`: there is none any more, or it is no container."""
        try:
            task = task_of(await self._doors.ask(f"/tasks/{id}"))
        except SourceError as error:
            if not (is_answer(error) and error.status == 404):
                raise
            task = None
        if task is not None and task.id != id:
            raise SourceError(f"/tasks/{id}: the manager answered with task {task.id!r}, which was not asked for")
        self._swarm.take_named([task] if task else [], ids=(id,), now=_now())
        await self._complete()
        return task

    async def _read_named(self, ids: Sequence[str]) -> frozenset[str]:
        changed = frozenset[str]()
        for first in range(0, len(ids), MAX_IDS):
            some = ids[first : first + MAX_IDS]
            body = await self._doors.ask("/tasks", query=_query({"id": some}))
            changed |= self._swarm.take_named(await _all_of(TaskReader(), body), ids=some, now=_now())
        return changed

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

    def _take_services(self, services: Iterable[tuple[str, SwarmService | None]]) -> None:
        for id, service in services:
            if service is None:
                self._swarm.drop_service(id)
            else:
                self._swarm.take_service(service)


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

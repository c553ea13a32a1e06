"""What is asked of managers: whole or nothing, as little as will do, and nothing shrinks by one answer alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from answers import connected
from swarmanswers import API, MANAGER, WEB, WORKER, node, service, task, task_id
from swarmstand import NO_LEADER, ManagerStand, manager

from lbwatch.core.errors import SourceError
from lbwatch.engines.docker.scope import Scope
from lbwatch.engines.swarm import reading
from lbwatch.engines.swarm.doors import Door, Doors
from lbwatch.engines.swarm.model import Swarm
from lbwatch.engines.swarm.reading import Reader

NODES = (node(MANAGER, name="manager", address="10.77.0.1", manager="10.77.0.1:2377"), node(WORKER))
TWO = (service(), task("a", slot=1), task("b", slot=2), *NODES)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AGAIN_S", 0.0)


@asynccontextmanager
async def read(stand: ManagerStand) -> AsyncIterator[tuple[Reader, Swarm]]:
    """A reader of one manager, that has read all there is."""
    async with connected(stand.url) as client:
        swarm = Swarm(Scope(prefix="lbwatch", expose_all=False))
        reader = Reader(Doors(lambda: [Door(name="m", client=client)]), swarm=swarm)
        await reader.read_all()
        yield reader, swarm


def alive(swarm: Swarm, *services: str) -> set[str]:
    return {*swarm.alive_of(services or (WEB,))}


async def test_one_part_that_cannot_be_read_leaves_all_as_it_was() -> None:
    """Tasks that are new beside nodes that are old would have no address, and leave nginx."""
    async with manager(*TWO) as stand, read(stand) as (reader, swarm):
        stand.have(task("c", slot=3))
        del stand.tasks[task_id("a")]
        stand.fault = lambda path: (500, NO_LEADER) if path == "/nodes" else None
        with pytest.raises(SourceError, match="does not have a leader"):
            await reader.read_all()
        assert alive(swarm) == {task_id("a"), task_id("b")}
        stand.fault = lambda path: None
        await reader.read_all()
        assert alive(swarm) == {task_id("b"), task_id("c")}


async def test_an_answer_without_any_task_counts_once_it_was_given_twice() -> None:
    """A manager that has only just joined knows no task yet, and nginx would have no server."""
    async with manager(*TWO) as stand, read(stand) as (reader, swarm):
        kept, asked = dict(stand.tasks), stand.requests["/tasks"]
        stand.tasks.clear()

        def learns(path: str) -> None:
            if path == "/tasks" and stand.requests["/tasks"] == asked + 2:
                stand.tasks.update(kept)

        stand.fault = learns
        await reader.read_all()
        assert alive(swarm) == {task_id("a"), task_id("b")}
        stand.fault = lambda path: None
        stand.tasks.clear()
        await reader.read_all()
        assert alive(swarm) == set()


async def test_the_tasks_of_marked_services_alone_are_asked_for() -> None:
    """Of ten thousand tasks the manager would else be asked for all, several times in a second."""
    async with manager(*TWO, service(API, name="api"), task("z", service=API)) as stand, read(stand) as (reader, swarm):
        stand.queries.clear()
        stand.have(task("c", slot=3))
        assert await reader.read_tasks([WEB]) == {WEB}
        assert stand.queries == [{"service": [WEB]}]
        assert alive(swarm, WEB, API) == {task_id(name) for name in "abcz"}
        assert await reader.read_tasks([WEB]) == frozenset(), "nothing is new"


async def test_the_tasks_of_a_removed_service_are_asked_for_by_their_own_ids() -> None:
    """They run on for seconds, and a manager answers 404 where the service is named."""
    async with manager(*TWO) as stand, read(stand) as (reader, swarm):
        del stand.services[WEB]
        await reader.read_services([WEB])
        stand.have(task("a", slot=1, desired="remove", version=72))
        stand.queries.clear()
        assert await reader.read_tasks([WEB]) == {WEB}
        (query,) = stand.queries
        assert sorted(query["id"]) == sorted([task_id("a"), task_id("b")])
        assert alive(swarm) == {task_id("a"), task_id("b")}, "as long as they are there"


async def test_a_service_that_a_task_speaks_of_is_read_with_it() -> None:
    """Without its labels nobody knows whether the task is to be routed."""
    async with manager(*TWO) as stand, read(stand) as (reader, swarm):
        stand.have(service(API, name="api"), task("z", service=API))
        await reader.read_wanted()
        assert API in swarm.services


async def test_a_node_that_no_list_has_is_asked_for_once() -> None:
    """One that was removed may leave a task behind: each look would cost another request for good."""
    async with manager(*TWO) as stand, read(stand) as (reader, _):
        stand.have(task("c", slot=3, node="node00000000000000000gone"))
        before = stand.requests["/nodes"]
        for _ in range(3):
            await reader.read_tasks([WEB])
        assert stand.requests["/nodes"] == before + 1


async def test_another_thing_than_was_asked_for_is_an_error() -> None:
    """What stands before a manager may answer from a cache: the labels of one service would be another's."""
    async with manager(*TWO) as stand, read(stand) as (reader, swarm):
        stand.services[WEB] = service(API, name="api")
        with pytest.raises(SourceError, match="which was not asked for"):
            await reader.read_services([WEB])
        assert WEB in swarm.services
        stand.tasks[task_id("a")] = task("b", slot=2)
        with pytest.raises(SourceError, match="which was not asked for"):
            await reader.read_task(task_id("a"))


async def test_one_task_is_looked_at_alone_and_one_that_is_gone_is_none() -> None:
    """`lbwatch explain` asks for one; that it is gone is an answer, and that no manager has a leader is none."""
    async with manager(*TWO) as stand, read(stand) as (reader, swarm):
        found = await reader.read_task(task_id("a"))
        assert found is not None
        assert found.id == task_id("a")
        del stand.tasks[task_id("a")]
        assert await reader.read_task(task_id("a")) is None
        assert alive(swarm) == {task_id("b")}
        stand.fault = lambda path: (500, NO_LEADER)
        with pytest.raises(SourceError, match="does not have a leader"):
            await reader.read_task(task_id("b"))
        assert alive(swarm) == {task_id("b")}


async def test_many_services_are_read_by_one_request() -> None:
    """A stack of thirty is removed at once."""
    async with manager(*TWO) as stand, read(stand) as (reader, swarm):
        before = stand.requests.copy()
        await reader.read_services([WEB, *(f"service000000000000000{number:04}" for number in range(10))])
        assert stand.requests["/services"] == before["/services"] + 1
        assert stand.requests["/services/ID"] == before["/services/ID"]
        assert set(swarm.services) == {WEB}

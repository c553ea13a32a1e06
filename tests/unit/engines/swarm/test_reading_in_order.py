"""Answers are taken whole, in the order in which they were asked for, and others have the loop meanwhile."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

from swarmanswers import API, MANAGER, WEB, WORKER, node, service, task, task_id
from waiting import eventually

from lbwatch.engines.docker.scope import Scope
from lbwatch.engines.swarm.doors import Doors
from lbwatch.engines.swarm.model import Swarm
from lbwatch.engines.swarm.reading import Reader

TWO = (task("a", slot=1), task("b", slot=2), task("m", slot=3, node=MANAGER))
B_LEAVES = task("b", slot=2, desired="shutdown", version=72)


class HeldAnswers:
    """A manager whose answers the test gives, in whatever order; those about services and nodes are there at once."""

    def __init__(self, *services: dict[str, Any]) -> None:
        self.asked: list[tuple[str, asyncio.Future[bytes]]] = []  # the filters of each list of tasks
        self._services = services

    async def ask(self, path: str, *, query: dict[str, str] | None = None, next_door: bool = False) -> bytes:
        if path == "/services":
            return json.dumps(self._services).encode()
        if path == "/nodes":
            return json.dumps([node(WORKER), node(MANAGER)]).encode()
        answer = asyncio.get_running_loop().create_future()
        self.asked.append(((query or {}).get("filters", ""), answer))
        return await answer

    def took(self, seconds: float) -> None:
        """Take no notice."""

    async def give(self, number: int, *items: dict[str, Any]) -> None:
        """Answer the request of this *number*, once it was made."""
        await eventually(lambda: len(self.asked) > number)
        self.asked[number][1].set_result(json.dumps(items).encode())


async def begun(*items: dict[str, Any], services: Sequence[dict[str, Any]]) -> tuple[HeldAnswers, Swarm, Reader]:
    """A reader that has read all there is."""
    manager, swarm = HeldAnswers(*services), Swarm(Scope(prefix="lbwatch", expose_all=False))
    reader = Reader(cast("Doors", manager), swarm=swarm)
    first = asyncio.create_task(reader.read_all())
    await manager.give(0, *items)
    await first
    manager.asked.clear()
    return manager, swarm, reader


def leaving(swarm: Swarm) -> set[str]:
    return set(swarm.snapshot("swarm").leaving)


async def test_a_look_at_a_node_overtakes_a_long_list() -> None:
    """Who is told to stop there has three seconds, and all tasks of a big Swarm take a manager nearly as long."""
    manager, swarm, reader = await begun(*TWO, services=[service()])
    for read in (reader.read_all, reader.read_wanted, lambda: reader.read_tasks([WEB])):
        long = asyncio.create_task(read())
        await eventually(lambda: len(manager.asked) == 1)
        short = asyncio.create_task(reader.read_tasks_on([WORKER]))
        await manager.give(1, TWO[0], B_LEAVES)
        assert await short == {WEB}
        assert leaving(swarm) == {task_id("b")}
        await manager.give(0, *TWO)
        await long
        assert leaving(swarm) == {task_id("b")}, "what was asked for before is older"
        manager.asked.clear()
        last = asyncio.create_task(reader.read_all())
        await manager.give(0, *TWO)
        await last
        assert leaving(swarm) == set(), "and what was asked for after it is newer"
        manager.asked.clear()


async def test_what_is_asked_for_after_a_look_at_a_node_is_taken_after_it() -> None:
    """However long that look took to come."""
    manager, swarm, reader = await begun(*TWO, services=[service()])
    old = asyncio.create_task(reader.read_tasks_on([WORKER]))
    await eventually(lambda: len(manager.asked) == 1)
    new = asyncio.create_task(reader.read_tasks([WEB]))
    await manager.give(1, TWO[0], B_LEAVES, TWO[2])
    await manager.give(0, *TWO[:2])
    await asyncio.gather(old, new)
    assert leaving(swarm) == {task_id("b")}


async def test_what_is_said_of_one_node_takes_nobody_out() -> None:
    """Neither those on another one, of which it is no news, nor those that it lacks: a service's look says that."""
    manager, swarm, reader = await begun(*TWO, services=[service()])
    before = swarm.containers()
    for answer in ((), (TWO[0],), (task("m", slot=3, node=MANAGER, desired="shutdown", version=72),)):
        manager.asked.clear()
        look = asyncio.create_task(reader.read_tasks_on([WORKER]))
        await manager.give(0, *answer)
        assert await look == {WEB}, "it must be looked at"
        assert swarm.containers() == before
        assert leaving(swarm) == set()


async def test_who_is_new_on_a_node_is_its_service_s_news() -> None:
    """What else it is made of was not asked for."""
    manager, swarm, reader = await begun(*TWO, services=[service()])
    look = asyncio.create_task(reader.read_tasks_on([WORKER]))
    await manager.give(0, *TWO[:2], task("c", slot=4), task("x", slot=1, state="failed", desired="shutdown"))
    assert await look == {WEB}
    assert task_id("c") not in swarm.containers()
    manager.asked.clear()
    look = asyncio.create_task(reader.read_tasks_on([WORKER]))
    await manager.give(0, *TWO[:2], task("x", slot=1, state="failed", desired="shutdown"))
    assert await look == set(), "the dead are none"


async def test_others_have_the_loop_while_a_long_list_is_taken() -> None:
    """nginx's workers ask every 250 ms, and what they are told is never half of a list."""
    ids = [f"service{number:018d}" for number in range(50)]
    services = [service(id, name=f"s{number}") for number, id in enumerate(ids)]
    items = [task(f"t{number}", service=id) for number, id in enumerate(ids)]
    manager, swarm, reader = await begun(*items, services=services)
    other = [task(f"u{number}", service=id) for number, id in enumerate(ids)]
    long = asyncio.create_task(reader.read_all())
    await manager.give(0, *other)
    look: asyncio.Task[frozenset[str]] | None = None
    turns = 0
    while not long.done():
        await asyncio.sleep(0)
        kinds = {id[:5] for id in swarm.containers()}
        if kinds == {"taskt", "tasku"}:
            turns += 1
            look = look or asyncio.create_task(reader.read_tasks_on([WORKER]))
            assert len(manager.asked) == 1, "nothing else is taken meanwhile"
    assert turns > len(ids) // 2
    assert look is not None
    await manager.give(1)
    await look


async def test_what_fails_leaves_nothing_behind() -> None:
    """Answers that are waited for in vain are never given again."""
    manager, _, reader = await begun(*TWO, services=[service(), service(API, name="api")])
    look = asyncio.create_task(reader.read_wanted())
    await eventually(lambda: manager.asked)
    look.cancel()
    await asyncio.wait([look])
    assert reader._under_way == []

"""Which Swarms are followed: while one of their managers is, and for as long as that may still be one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from simulation import in_simulated_time

from lbwatch.core.model import Engine, EngineStatus, Snapshot
from lbwatch.engines.docker.identity import SwarmMembership
from lbwatch.engines.followed import FollowedEngine
from lbwatch.engines.swarms import LEAVES_S, NAME, Swarms, cluster_of
from lbwatch.system.enginememory import KeptSwarm

CLUSTER, OTHER = "c" * 25, "d" * 25
MANAGER = SwarmMembership(node_id="m" * 25, cluster=CLUSTER, is_manager=True)
WORKER = SwarmMembership(node_id="m" * 25)
LOCKED = SwarmMembership(node_id="", state="locked")


@dataclass
class Source:
    """Stands for an engine's source: what it is in a Swarm, and whether it answers."""

    membership: SwarmMembership | None = MANAGER
    connected: bool = True

    def status(self) -> EngineStatus:
        return EngineStatus(source="", connected=self.connected, since=0.0)


def engine(name: str, source: Source, *, order: int = 0) -> FollowedEngine:
    made: Any = source
    client: Any = None
    return FollowedEngine(engine=Engine(name=name, order=order), source=made, client=client, url="")


@dataclass
class Tasks:
    """Stands for the source of a Swarm."""

    name: str
    doors: Any
    heard: Any = None
    known: Snapshot | None = None
    runs: bool = False
    said: list[str] = field(default_factory=list)

    def snapshot(self) -> Snapshot | None:
        return self.known

    def containers(self) -> Any:
        return None if self.known is None else self.known.containers

    def nodes(self) -> Any:
        return {"n" * 25: SimpleNamespace(name="n", address="", state="ready")}

    def status(self) -> EngineStatus:
        return EngineStatus(source=self.name, connected=True, since=0.0, kind="swarm")

    async def run(self, changed: Any) -> None:
        self.runs = True
        try:
            await asyncio.Event().wait()
        finally:
            self.runs = False


@dataclass
class Stage:
    swarms: Swarms
    made: list[Tasks]
    group: asyncio.TaskGroup

    async def update(self) -> list[str]:
        """Return the names of the Swarms that are followed, now that engines may be something else."""
        self.swarms.update(self.group, changed=lambda *, heard_at=None: None)
        await asyncio.sleep(0.001)
        assert [each.name for each in self.made if each.runs] == [each.name for each in self.swarms]
        return [each.name for each in self.swarms]


@asynccontextmanager
async def staged(*engines: FollowedEngine) -> AsyncIterator[Stage]:
    made: list[Tasks] = []

    def new(*, engine: Engine, doors: Any) -> Any:
        made.append(Tasks(name=engine.name, doors=doors))
        return made[-1]

    swarms = Swarms(engines, new=new, hearing=lambda name: lambda event, *, matters: None)
    async with asyncio.TaskGroup() as group:
        yield Stage(swarms=swarms, made=made, group=group)
        for task in group._tasks:
            task.cancel()


def test_a_swarm_is_followed_once_by_all_its_managers() -> None:
    """Each of them says the same; the one that answers is asked first."""

    async def body() -> None:
        first, second = Source(), Source()
        async with staged(engine("m1", first), engine("m2", second, order=1), engine("w", Source(WORKER))) as stage:
            assert await stage.update() == [NAME]
            doors = stage.made[0].doors
            assert [each.name for each in doors()] == ["m1", "m2"]
            first.connected = False
            assert [each.name for each in doors()] == ["m2", "m1"]
            second.membership = WORKER
            assert [each.name for each in doors()] == ["m1"]

    in_simulated_time(body())


def test_two_swarms_have_names_of_their_own() -> None:
    """So does one beside an engine that has its name: log, page and metrics tell them apart by it."""

    async def body() -> None:
        other = SwarmMembership(node_id="o" * 25, cluster=OTHER, is_manager=True)
        async with staged(engine("m1", Source()), engine("o1", Source(other), order=1)) as stage:
            assert await stage.update() == [NAME, f"{NAME}-{OTHER[:8]}"]
        async with staged(engine(NAME, Source())) as stage:
            assert await stage.update() == [f"{NAME}-{CLUSTER[:8]}"]

    in_simulated_time(body())


@pytest.mark.parametrize(
    ("now", "connected", "stays"),
    [
        (WORKER, True, True),
        (LOCKED, True, True),
        (None, False, True),
        (None, True, False),
        (SwarmMembership(node_id="m" * 25, cluster=OTHER, is_manager=True), True, False),
    ],
    ids=["demoted", "locked", "away", "left", "in another"],
)
def test_a_swarm_ends_when_its_managers_are_in_it_no_more(
    now: SwarmMembership | None, connected: bool, stays: bool
) -> None:
    """Its tasks run on wherever nobody said otherwise; what has really gone must not be served for good."""

    async def body() -> None:
        source = Source()
        async with staged(engine("m1", source)) as stage:
            assert await stage.update() == [NAME]
            source.membership, source.connected = now, connected
            assert NAME in await stage.update(), "an engine that starts may not know yet"
            await asyncio.sleep(LEAVES_S + 1)
            assert (NAME in await stage.update()) is stays

    in_simulated_time(body())


def test_one_that_comes_back_in_time_has_never_left() -> None:
    """The count begins anew, or two restarts in a row would end what goes on."""

    async def body() -> None:
        source = Source()
        async with staged(engine("m1", source)) as stage:
            await stage.update()
            for membership in (None, MANAGER, None):
                source.membership = membership
                assert await stage.update() == [NAME]
                await asyncio.sleep(LEAVES_S - 1)
            assert await stage.update() == [NAME]

    in_simulated_time(body())


def test_what_was_kept_counts_until_a_swarm_was_read() -> None:
    """Also that of one whose managers do not even say that they are some, since none answers."""

    async def body() -> None:
        kept = {each: KeptSwarm(cluster=each, name=f"was-{each[0]}") for each in (CLUSTER, OTHER)}
        async with staged(engine("m1", Source())) as stage:
            await stage.update()
            assert [each.snapshot.source for each in stage.swarms.truths(kept)] == [NAME, "was-d"]
            assert [each.kept for each in stage.swarms.statuses(kept)] == [True]
            assert stage.swarms.unread() == {NAME}
            stage.made[0].known = Snapshot(source=NAME, containers={})
            (truth, _) = stage.swarms.truths(kept)
            assert truth.snapshot is stage.made[0].known
            assert [each.kept for each in stage.swarms.statuses(kept)] == [False]
            assert stage.swarms.unread() == frozenset()

    in_simulated_time(body())


@pytest.mark.parametrize(("membership", "found"), [(MANAGER, CLUSTER), (WORKER, ""), (LOCKED, ""), (None, "")])
def test_only_a_manager_answers_for_its_swarm(membership: SwarmMembership | None, found: str) -> None:
    """A worker knows nothing of tasks."""
    assert cluster_of(engine("m1", Source(membership))) == found

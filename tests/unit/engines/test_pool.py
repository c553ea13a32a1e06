"""Several engines, and Swarms, are one source: each by itself, none in the way of another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import structlog
from enginepool import PoolStage, pooled
from simulation import in_simulated_time
from swarmstage import Stage, swarm_stage
from waiting import eventually, never

from lbwatch.core.model import ContainerStatus, Health
from lbwatch.engines.docker import reachedat
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.keeping import KEEP_INTERVAL_S
from lbwatch.engines.pool import PATIENCE_S, RESOLVE_INTERVAL_S

WEB = {"lbwatch.port": "80"}


@asynccontextmanager
async def two_engines(folder: Path) -> AsyncIterator[tuple[FakeEngine, FakeEngine]]:
    clock = asyncio.get_running_loop().time
    one = FakeEngine(socket=folder / "a.sock", seed=1, monotonic=clock)
    other = FakeEngine(socket=folder / "b.sock", seed=2, monotonic=clock)
    async with one, other:
        yield one, other


def urls(folder: Path) -> tuple[str, str]:
    return f"a=unix://{folder}/a.sock", f"b=unix://{folder}/b.sock"


def test_containers_of_two_engines_stand_side_by_side(tmp_path: Path) -> None:
    """That is all that several Docker hosts are for."""

    async def body() -> None:
        async with two_engines(tmp_path) as (one, other), pooled(tmp_path, *urls(tmp_path)) as stage:
            one.containers.run(name="left", labels=WEB)
            other.containers.run(name="right", labels=WEB)
            await eventually(lambda: {"left", "right"} <= set(stage.all()))
            found = stage.all()
            assert (found["left"].engine.name, found["right"].engine.name) == ("a", "b")
            assert found["left"].engine.order < found["right"].engine.order

    in_simulated_time(body())


def test_a_name_that_two_engines_have_says_of_which_it_is(tmp_path: Path) -> None:
    """Else no log line, no row and no command could say which one it means."""

    async def body() -> None:
        async with two_engines(tmp_path) as (one, other), pooled(tmp_path, *urls(tmp_path)) as stage:
            for engine in (one, other):
                engine.containers.run(name="plain", labels=WEB)
            one.containers.run(name="alone", labels=WEB)
            await eventually(lambda: set(stage.all()) == {"a/plain", "b/plain", "alone"})
            assert stage.all()["a/plain"].own_name == "plain"
            before = stage.all()["b/plain"]
            one.containers.run(name="more", labels=WEB)
            await eventually(lambda: "more" in stage.all())
            assert stage.all()["b/plain"] is before  # else each change would be one of all that have such a name
            one.containers.remove("plain", force=True)
            await eventually(lambda: set(stage.all()) == {"plain", "alone", "more"})

    in_simulated_time(body())


def test_an_engine_that_is_followed_by_two_ways_is_told(tmp_path: Path) -> None:
    """Each container serves once; but it is one of the first way alone, and whoever set that should know."""

    async def body() -> None:
        async with FakeEngine(socket=tmp_path / "a.sock", monotonic=asyncio.get_running_loop().time) as one:
            (tmp_path / "b.sock").symlink_to(one.socket)
            with structlog.testing.capture_logs() as logs:
                async with pooled(tmp_path, *urls(tmp_path)) as stage:
                    for name in ("left", "right"):
                        one.containers.run(name=name, labels=WEB)
                        await eventually(lambda name=name: name in stage.all())  # type: ignore[misc]
                    await asyncio.sleep(10)
                    assert {each.engine.name for each in stage.all().values()} == {"a"}
            (line,) = [each for each in logs if each["event"] == "source.followed_twice"]
            assert (line["source"], "the same engine as a" in line["reason"]) == ("b", True)

    in_simulated_time(body())


def test_an_engine_that_goes_away_keeps_its_last_truth_and_the_other_goes_on(tmp_path: Path) -> None:
    """Its containers most likely run on: that it says nothing is no news of any of them."""

    async def body() -> None:
        async with two_engines(tmp_path) as (one, other), pooled(tmp_path, *urls(tmp_path)) as stage:
            one.containers.run(name="left", labels=WEB)
            other.containers.run(name="right", labels=WEB)
            await eventually(lambda: {"left", "right"} <= set(stage.all()))
            await other.go_down()
            one.containers.run(name="new", labels=WEB)
            await eventually(lambda: {"left", "new", "right"} <= set(stage.all()))
            await never(lambda: "right" not in stage.all(), during=300, what="an engine that is away lost a container")
            away = stage.pool.statuses()[1]
            assert (away.source, away.connected, bool(away.error)) == ("b", False, True)
            await other.come_back()
            other.containers.stop("right")
            await eventually(lambda: not stage.all()["right"].status.is_up)

    in_simulated_time(body())


def test_an_engine_that_is_away_at_a_start_is_waited_for_and_then_gone_on_without(tmp_path: Path) -> None:
    """One dead machine must not keep all others from being served."""

    async def body() -> None:
        (tmp_path / "b.sock").touch()
        clock = asyncio.get_running_loop().time
        async with FakeEngine(socket=tmp_path / "a.sock", monotonic=clock) as one:
            one.containers.run(name="left", labels=WEB)
            with structlog.testing.capture_logs() as logs:
                async with pooled(tmp_path, *urls(tmp_path)) as stage:
                    began = clock()
                    await eventually(lambda: stage.pool.snapshots() is not None, within=2 * PATIENCE_S)
                    assert PATIENCE_S <= clock() - began < PATIENCE_S + 1
                    assert set(stage.all()) == {"left"}
                    assert not stage.pool.knows_all()
            (line,) = [each for each in logs if each["event"] == "source.not_awaited"]
            assert line["source"] == "b"

    in_simulated_time(body())


def test_engines_that_come_back_together_long_after_a_start_are_all_waited_for(tmp_path: Path) -> None:
    """A machine whose network is up late: the first to answer would have all of the others' servers removed."""

    async def body() -> None:
        async with two_engines(tmp_path) as (one, other):
            one.containers.run(name="left", labels=WEB)
            other.containers.run(name="right", labels=WEB)
            for engine in (one, other):
                await engine.go_down()
            async with pooled(tmp_path, *urls(tmp_path)) as stage:
                await asyncio.sleep(6 * PATIENCE_S)
                await one.come_back()
                await never(lambda: stage.pool.snapshots() is not None, during=3, what="one was not waited for")
                await other.come_back()
                await eventually(lambda: set(stage.all()) == {"left", "right"}, within=5)

    in_simulated_time(body())


def test_what_was_kept_of_an_engine_serves_while_it_is_away_at_a_start(tmp_path: Path) -> None:
    """A restart of lbwatch during an outage must not end what goes on without it."""

    async def body() -> None:
        async with two_engines(tmp_path) as (one, other):
            one.containers.run(name="left", labels=WEB)
            right = other.containers.run(name="right", labels=WEB)
            other.containers.run(name="silent")
            async with pooled(tmp_path, *urls(tmp_path)) as stage:
                await eventually(lambda: {"left", "right"} <= set(stage.all()))
                seen = stage.all()["right"]
                await asyncio.sleep(2 * KEEP_INTERVAL_S)
            await other.go_down()
            async with pooled(tmp_path, *urls(tmp_path)) as stage:
                await eventually(lambda: stage.pool.snapshots() is not None, within=2 * PATIENCE_S)
                assert stage.all()["right"] == seen
                assert "silent" not in stage.all()
                assert [each.kept for each in stage.pool.statuses()] == [False, True]
                await other.come_back()
                other.containers.remove(right, force=True)
                await eventually(lambda: "right" not in stage.all())
                assert not any(each.kept for each in stage.pool.statuses())
                assert stage.pool.knows_all()

    in_simulated_time(body())


def test_what_was_kept_of_another_machine_is_not_that_of_its_name(tmp_path: Path) -> None:
    """Who moves a name to a new machine must not have the old one's containers served there."""

    async def body() -> None:
        async with two_engines(tmp_path) as (_, other):
            other.containers.run(name="right", labels=WEB)
            async with pooled(tmp_path, *urls(tmp_path)) as stage:
                await eventually(lambda: "right" in stage.all())
                await asyncio.sleep(2 * KEEP_INTERVAL_S)
            async with pooled(tmp_path, urls(tmp_path)[0], f"b=unix://{tmp_path}/moved.sock") as stage:
                await eventually(lambda: stage.pool.snapshots() is not None, within=2 * PATIENCE_S)
                assert stage.all() == {}

    in_simulated_time(body())


def test_an_address_that_no_name_server_knew_is_asked_for_again_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream may hold for days; and a start without a name server ended all of an engine's servers."""
    found: list[str] = []

    async def look_up(host: str) -> list[str]:
        if not found:
            raise OSError(0, f"nobody knows {host}")
        return [*found]

    monkeypatch.setattr(reachedat, "_look_up", look_up)
    named = {"engine_address": ("b=docker.example",)}

    async def body() -> None:
        async with two_engines(tmp_path), pooled(tmp_path, *urls(tmp_path), **named) as stage:
            await eventually(lambda: "b" in stage.pool.unresolved())
            assert stage.pool.addresses() == {}
            found.append("192.0.2.7")
            await eventually(lambda: stage.pool.addresses() == {"b": "192.0.2.7"}, within=2 * RESOLVE_INTERVAL_S)
            assert not stage.pool.unresolved()
            await asyncio.sleep(2 * KEEP_INTERVAL_S)
        found.clear()
        async with two_engines(tmp_path):
            with structlog.testing.capture_logs() as logs:
                async with pooled(tmp_path, *urls(tmp_path), **named) as stage:
                    await asyncio.sleep(60)
                    assert stage.pool.addresses() == {"b": "192.0.2.7"}
            (line,) = [each for each in logs if each["event"] == "source.unresolved"]
            assert (line["source"], "nobody knows docker.example" in line["reason"]) == ("b", True)
            async with pooled(tmp_path, *urls(tmp_path), engine_address=("b=other.example",)) as stage:
                await asyncio.sleep(60)
                assert stage.pool.addresses() == {}, "of another name nothing was known"

    in_simulated_time(body())


def test_where_no_engine_answers_at_a_start_nothing_is_said(tmp_path: Path) -> None:
    """What nginx has is as good as what was kept, and an empty world would be the end of all."""

    async def body() -> None:
        for name in ("a.sock", "b.sock"):
            (tmp_path / name).touch()
        async with pooled(tmp_path, *urls(tmp_path)) as stage:
            await never(lambda: stage.pool.snapshots() is not None, during=60, what="something was said of nobody")

    in_simulated_time(body())


# Swarms.


Body = Callable[[Stage, PoolStage], Awaitable[None]]


def in_a_swarm(folder: Path, body: Body, *hosts: str, managers: int = 1) -> None:
    """Follow these machines of a Swarm with two workers, each of which has an engine."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(swarm_stage(folder, managers=managers, engines_for_workers=True))
            given = (f"{host}=unix://{folder}/{host}.sock" for host in hosts)
            stage = await stack.enter_async_context(pooled(folder, *given))
            await body(world, stage)

    in_simulated_time(run())


def running(stage: PoolStage) -> set[str]:
    """Return the services' tasks that could serve, by the beginning of their names."""
    found = stage.all().items()
    return {
        name.rpartition(".")[0]
        for name, each in found
        if each.task is not None and each.status is ContainerStatus.RUNNING and each.health is not Health.UNHEALTHY
    }


def test_a_manager_gives_the_tasks_of_its_swarm_and_its_own_containers(tmp_path: Path) -> None:
    """What runs beside the Swarm's services on that machine was followed before, and still is."""

    async def body(world: Stage, stage: PoolStage) -> None:
        world.engines["m1"].containers.run(name="beside", labels=WEB)
        await world.serve("web", 3, labels=WEB, networks=("ov",))
        await eventually(lambda: running(stage) == {"web.1", "web.2", "web.3"})
        assert stage.all()["beside"].engine.name == "m1"
        assert {each.source: each.kind for each in stage.pool.statuses()} == {"m1": "engine", "swarm": "swarm"}

    in_a_swarm(tmp_path, body, "m1")


def test_a_task_is_one_container_however_many_of_its_machines_are_followed(tmp_path: Path) -> None:
    """Else each would serve twice, and a hint would be a server."""

    async def body(world: Stage, stage: PoolStage) -> None:
        await world.serve("web", 4, labels=WEB, container_labels=WEB, networks=("ov",))
        await eventually(lambda: len(running(stage)) == 4)
        await never(lambda: len(stage.all()) != 4, during=60, what="a task was there twice")
        assert {each.role for each in stage.pool.statuses()} == {"manager", "worker", ""}

    in_a_swarm(tmp_path, body, "m1", "m2", "w1", "w2", managers=2)


def test_a_task_that_should_stop_is_leaving_before_its_engine_stops_it(tmp_path: Path) -> None:
    """These seconds are what lets a deploy lose no request."""

    async def body(world: Stage, stage: PoolStage) -> None:
        await world.serve("web", 2, labels=WEB, networks=("ov",))
        await eventually(lambda: len(running(stage)) == 2)
        world.swarm.services.scale("web", 1)
        await eventually(stage.leaving)
        (name,) = stage.leaving()
        assert stage.all()[name].status is ContainerStatus.RUNNING

    in_a_swarm(tmp_path, body, "m1")


def test_a_death_that_no_manager_reports_is_known_at_once_where_its_node_is_followed(tmp_path: Path) -> None:
    """By the managers alone it takes a second, and requests go to nobody meanwhile."""

    async def body(world: Stage, stage: PoolStage) -> None:
        tasks = await world.serve("web", 4, labels=WEB, networks=("ov",))
        await eventually(lambda: len(running(stage)) == 4)
        await asyncio.sleep(10)
        began = world.now()
        world.swarm.tasks.die(tasks[0].id)
        await eventually(lambda: len(running(stage)) == 3, within=1)
        assert world.now() - began < 0.1
        await eventually(lambda: len(running(stage)) == 4, within=30)

    in_a_swarm(tmp_path, body, "m1", "w1", "w2")


def test_a_pause_that_no_manager_ever_reports_is_known_where_its_node_is_followed(tmp_path: Path) -> None:
    """Its requests would hang until they time out, for as long as it lasts."""

    async def body(world: Stage, stage: PoolStage) -> None:
        (task, _) = await world.serve("web", 2, labels=WEB, networks=("ov",))
        await eventually(lambda: len(running(stage)) == 2)
        world.swarm.tasks.pause(task.id)
        await eventually(lambda: len(running(stage)) == 1, within=1)
        await never(lambda: len(running(stage)) == 2, during=60, what="a paused task came back")
        world.swarm.tasks.pause(task.id, paused=False)
        await eventually(lambda: len(running(stage)) == 2, within=2)

    in_a_swarm(tmp_path, body, "m1", "w1", "w2")


def test_what_was_kept_of_a_swarm_serves_while_no_manager_answers_at_a_start(tmp_path: Path) -> None:
    """A manager that restarts says nothing for a while, and its workers serve on."""

    async def run() -> None:
        async with swarm_stage(tmp_path) as world:
            host = f"m1=unix://{tmp_path}/m1.sock"
            other = FakeEngine(socket=tmp_path / "b.sock", monotonic=world.now)
            await world.serve("web", 2, labels=WEB, networks=("ov",))
            async with other, pooled(tmp_path, host, urls(tmp_path)[1]) as stage:
                await eventually(lambda: len(running(stage)) == 2)
                await asyncio.sleep(2 * KEEP_INTERVAL_S)
            await world.engines["m1"].go_down()
            async with other, pooled(tmp_path, host, urls(tmp_path)[1]) as stage:
                await eventually(lambda: len(running(stage)) == 2, within=2 * PATIENCE_S)
                await world.engines["m1"].come_back()
                await never(lambda: len(running(stage)) != 2, during=30, what="its tasks went when it came back")
                assert not any(each.kept for each in stage.pool.statuses())

    in_simulated_time(run())


def test_a_swarm_that_is_not_to_be_followed_is_not(tmp_path: Path) -> None:
    """Who has another tool for it keeps what there was before."""

    async def run() -> None:
        async with swarm_stage(tmp_path) as world, pooled(tmp_path, f"unix://{tmp_path}/m1.sock", swarm="off") as stage:
            await world.serve("web", 2, labels=WEB, networks=("ov",))
            await eventually(lambda: stage.pool.snapshots() is not None)
            await never(lambda: running(stage), during=30, what="a task was followed")
            assert [each.kind for each in stage.pool.statuses()] == ["engine"]

    in_simulated_time(run())

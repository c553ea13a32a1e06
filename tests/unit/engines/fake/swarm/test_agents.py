"""A task lives as measured: it is told to stop seconds after it is known to be unwanted, and known to be dead late."""

import asyncio
from pathlib import Path

import pytest
from simulation import in_simulated_time
from swarmstage import swarm_stage


@pytest.mark.parametrize(("networks", "least_s", "most_s"), [(("ov",), 3.1, 3.31), ((), 1.13, 1.23)])
@pytest.mark.parametrize("how", ["update", "scale", "remove", "drain"])
def test_what_should_stop_is_known_seconds_before_its_stop_signal(
    how: str, networks: tuple[str, ...], least_s: float, most_s: float, tmp_path: Path
) -> None:
    # This is the window that lets a reader drain a task before anything dies.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            tasks = await stage.serve("web", 3, networks=networks)
            services, nodes = stage.swarm.services, stage.swarm.nodes
            if how == "update":
                services.force_update("web")
            elif how == "scale":
                services.scale("web", 0)
            elif how == "remove":
                services.remove("web")
            else:
                nodes.set_availability("w1", "drain")
            await stage.until(lambda: any(task.unwanted for task in tasks))
            leaving = next(task for task in tasks if task.unwanted)
            (answer,) = [each for each in await stage.tasks() if each["ID"] == leaving.id]
            desired = {"update": "shutdown", "scale": "remove", "remove": "remove", "drain": "shutdown"}[how]
            assert (answer["DesiredState"], answer["Status"]["State"]) == (desired, "running")
            await stage.until(lambda: leaving.term_at)
            assert least_s <= leaving.term_at - leaving.unwanted_at <= most_s + 0.01
            assert leaving.up

    in_simulated_time(body())


def test_an_address_is_there_a_second_before_a_task_runs(tmp_path: Path) -> None:
    # So a reader can know the server before it may be asked, and must not ask it.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            stage.swarm.services.create("web", networks=("ov",))
            await stage.until(lambda: [*stage.swarm.tasks])
            (task,) = stage.swarm.tasks
            at = await stage.until(lambda: task.attachments)
            (answer,) = await stage.tasks()
            assert answer["Status"]["State"] in ("pending", "assigned")
            assert answer["NetworksAttachments"][0]["Addresses"] == ["10.1.0.3/16"]  # the service has the first
            assert "ContainerStatus" not in answer["Status"]
            await stage.until(lambda: task.up)
            assert 0.5 < task.up_at - at < 3.0
            at = await stage.until(lambda: task.state == "running")
            assert 0.016 <= at - task.up_at <= 0.13

    in_simulated_time(body())


def test_a_death_is_known_late_and_told_by_nobody(tmp_path: Path) -> None:
    # The one hole: a task that dies beside another one of its node makes no event on any manager.
    async def body() -> None:
        async with swarm_stage(tmp_path, workers=0) as stage:
            first, second = await stage.serve("web", 2, networks=("ov",))
            began = stage.now()
            stage.swarm.tasks.die(first.id)
            assert first.state == "running"
            at = await stage.until(lambda: first.state == "failed")
            assert 0.07 <= at - began <= 0.51
            assert stage.words(since=began) == []
            assert second.serves
            new = await stage.until(lambda: len(stage.serving("web")) == 2)
            assert new - at > 5.0

    in_simulated_time(body())


def test_the_last_one_of_a_network_on_its_node_is_told_as_an_update_of_the_node(tmp_path: Path) -> None:
    # A side effect, and so no promise; a reader may use it, and must not need it.
    async def body() -> None:
        async with swarm_stage(tmp_path, workers=0) as stage:
            (task,) = await stage.serve("web", 1, networks=("ov",))
            began = stage.now()
            stage.swarm.tasks.die(task.id, 0)
            await stage.until(lambda: task.state == "complete")
            assert stage.words(since=began) == ["node update"]

    in_simulated_time(body())


def test_a_health_check_holds_a_task_at_starting(tmp_path: Path) -> None:
    # Its health is in no answer of a manager's: that is all there is to see.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            stage.swarm.services.create("web", health="starting")
            await stage.until(lambda: [*stage.swarm.tasks])
            (task,) = stage.swarm.tasks
            await stage.until(lambda: task.up)
            await asyncio.sleep(60.0)
            assert task.state == "starting"
            stage.swarm.tasks.probe(task.id, healthy=True)
            await stage.until(lambda: task.state == "running", within_s=0.2)
            began = stage.now()
            stage.swarm.tasks.probe(task.id, healthy=False)
            await stage.until(lambda: task.term_at)
            assert 2.0 <= task.term_at - began < 2.01
            assert (task.state, task.desired) == ("running", "running")
            at = await stage.until(lambda: task.state == "complete")
            assert 2.1 < at - began < 2.7

    in_simulated_time(body())


def test_a_pause_is_never_known(tmp_path: Path) -> None:
    # Only the node's own engine tells it.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            (task,) = await stage.serve("web", 1)
            began = stage.now()
            stage.swarm.tasks.pause(task.id)
            await asyncio.sleep(3.0)
            assert (await stage.tasks())[0]["Status"]["State"] == "running"
            assert stage.words(since=began) == []
            assert not task.serves
            stage.swarm.tasks.pause(task.id, paused=False)
            assert task.serves

    in_simulated_time(body())


def test_what_runs_on_a_node_that_is_cut_off_is_told_to_stop_after_it_is_back(tmp_path: Path) -> None:
    # Meanwhile it is served by nobody's will, and its successor is there: both answer.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            tasks = await stage.serve("web", 3, networks=("ov",))
            orphan = next(task for task in tasks if task.node is not None and task.node.hostname == "w1")
            began = stage.now()
            stage.swarm.nodes.cut_off("w1")
            at = await stage.until(lambda: orphan.unwanted)
            assert 10.0 <= at - began <= 14.3
            assert (orphan.state, orphan.up, stage.words(since=began)) == ("running", True, ["node update"])
            assert stage.heard[-1][2] == {"name": "w1", "state.old": "ready", "state.new": "down"}
            again = await stage.until(lambda: len(stage.serving("web")) == 3)
            assert 5.0 < again - at < 9.0
            assert orphan.up
            began = stage.now()
            stage.swarm.nodes.reconnect("w1")
            at = await stage.until(lambda: stage.swarm.nodes.find("w1").state == "ready")
            assert 2.9 <= at - began < 2.92
            await stage.until(lambda: orphan.term_at)
            assert 3.09 <= orphan.term_at - at <= 3.33

    in_simulated_time(body())

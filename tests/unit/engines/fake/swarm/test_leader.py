"""The leader comes to have as many tasks as are asked for, whatever happens on the way."""

import asyncio
import contextlib
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from simulation import in_simulated_time
from swarmstage import Stage, swarm_stage

from lbwatch.engines.fake.manager.state import Task
from lbwatch.engines.fake.state import RefusedError


def serving_over_time(stage: Stage, service: str, counts: list[int]) -> Any:
    """Return what notes for ever how many tasks of a service serve."""

    async def watch() -> None:
        while True:
            counts.append(sum(task.serves for task in stage.swarm.services.find(service).tasks.values()))
            await asyncio.sleep(0.02)

    return watch()


@pytest.mark.parametrize(("order", "least", "most"), [("start-first", 4, 6), ("stop-first", 3, 4)])
def test_an_update_replaces_one_after_the_other(order: str, least: int, most: int, tmp_path: Path) -> None:
    # Start-first nobody waits for the old one, which serves on until it is told to stop.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            old = await stage.serve("web", 4, networks=("ov",), order=order)
            counts: list[int] = []
            watching = asyncio.ensure_future(serving_over_time(stage, "web", counts))
            began = stage.now()
            stage.swarm.services.force_update("web")
            await stage.until(lambda: stage.swarm.services.find("web").update == "completed")
            watching.cancel()
            assert (min(counts), max(counts)) == (least, most)
            assert not [task for task in old if task.up]
            new = stage.serving("web")
            assert [task.slot for task in sorted(new, key=lambda task: int(task.slot))] == [1, 2, 3, 4]
            told = [(word, attributes) for at, word, attributes in stage.heard if at >= began]
            updates = [attributes.get("updatestate.new") for word, attributes in told if word == "service update"]
            assert updates == [None, "updating", "completed"]

    in_simulated_time(body())


def test_an_update_goes_by_its_parallelism_and_its_delay(tmp_path: Path) -> None:
    # Between two of them it waits for minutes, in which nothing happens and nothing is told.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            old = await stage.serve("web", 4, order="start-first", parallelism=2, delay_s=600.0)
            stage.swarm.services.force_update("web")
            await stage.until(lambda: stage.swarm.services.find("web").update == "completed", within_s=700.0)
            first, second, third, fourth = sorted(task.unwanted_at for task in old)
            assert (second - first < 2.0, fourth - third < 2.0) == (True, True)
            assert third - second > 600.0

    in_simulated_time(body())


def test_a_rollback_is_an_update_back(tmp_path: Path) -> None:
    # Its words are others, and both of its ends are told.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            await stage.serve("web", 2, image="app:1")
            stage.swarm.services.update("web", image="app:2")
            await stage.until(lambda: stage.swarm.services.find("web").update == "completed")
            assert {task.spec.image for task in stage.serving("web")} == {"app:2"}
            began = stage.now()
            stage.swarm.services.rollback("web")
            await stage.until(lambda: stage.swarm.services.find("web").update == "rollback_completed")
            assert {task.spec.image for task in stage.serving("web")} == {"app:1"}
            told = [attributes.get("updatestate.new") for at, _, attributes in stage.heard if at >= began]
            assert [word for word in told if word] == ["rollback_started", "rollback_completed"]

    in_simulated_time(body())


def test_a_label_of_the_service_replaces_nobody(tmp_path: Path) -> None:
    # One of the container does.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            tasks = await stage.serve("web", 2)
            began = stage.now()
            stage.swarm.services.update("web", labels={"lbwatch.weight": "3"})
            await asyncio.sleep(60.0)
            assert stage.serving("web") == tasks
            assert stage.words(since=began) == ["service update"]

    in_simulated_time(body())


def test_scaling_down_makes_tasks_vanish_and_up_takes_the_lowest_slots(tmp_path: Path) -> None:
    # A removed task is in no answer once it ended: who only looks at lists sees it go, and not why.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            await stage.serve("web", 5)
            stage.swarm.services.scale("web", 2)
            await stage.until(lambda: len(stage.swarm.services.find("web").tasks) == 2)
            assert len(await stage.tasks()) == 2
            stage.swarm.services.scale("web", 3)
            await stage.until(lambda: len(stage.serving("web")) == 3)
            assert {task.slot for task in stage.serving("web")} == {1, 2, 3}
            assert [found for _, _, found in stage.heard if "replicas.new" in found][-1] == {
                "name": "web",
                "replicas.old": "2",
                "replicas.new": "3",
            }

    in_simulated_time(body())


def test_a_global_service_has_a_task_on_each_node_that_takes_some(tmp_path: Path) -> None:
    # Its tasks are named by the node.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            tasks = await stage.serve("web", None)
            assert {task.name for task in tasks} == {f"web.{task.node.id}.{task.id}" for task in tasks if task.node}
            answers = await stage.tasks()
            assert not any("Slot" in answer for answer in answers)
            stage.swarm.nodes.set_availability("w1", "drain")
            await stage.until(lambda: len(stage.serving("web")) == 2)
            await asyncio.sleep(20.0)
            assert len(stage.serving("web")) == 2
            stage.swarm.nodes.set_availability("w1", "active")
            await stage.until(lambda: len(stage.serving("web")) == 3)
            stage.swarm.add_node("w9")
            await stage.until(lambda: len(stage.serving("web")) == 4)

    in_simulated_time(body())


def test_five_that_ended_stay_in_the_answer_for_each_slot(tmp_path: Path) -> None:
    # They are a big share of an unfiltered list.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            await stage.serve("web", 1, restart_delay_s=0.1)
            for _ in range(8):
                (task,) = stage.serving("web")
                stage.swarm.tasks.die(task.id)
                await stage.until(lambda dead=task: stage.serving("web") and stage.serving("web") != [dead])
            answers = await stage.tasks()
            assert sum(answer["DesiredState"] == "running" for answer in answers) == 1
            assert [answer["Status"]["State"] for answer in answers].count("failed") == 5

    in_simulated_time(body())


def test_what_no_node_takes_stays_pending_with_its_address(tmp_path: Path) -> None:
    # So any number of tasks can be had from a real one, too.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            stage.swarm.services.create("web", replicas=300, placeable=False, networks=("ov",))
            await asyncio.sleep(10.0)
            answers = await stage.tasks()
            assert {answer["Status"]["State"] for answer in answers} == {"pending"}
            addresses = {answer["NetworksAttachments"][0]["Addresses"][0] for answer in answers}
            assert len(addresses) == 300
            stage.swarm.services.scale("web", 0)
            await stage.until(lambda: not [*stage.swarm.tasks])

    in_simulated_time(body())


@pytest.mark.parametrize("seed", range(4))
def test_the_leader_comes_to_what_is_asked_for_whatever_happens(seed: int, tmp_path: Path) -> None:
    # What a reader is compared with must be right by itself.
    async def body() -> None:
        async with swarm_stage(tmp_path, workers=4, seed=seed) as stage:
            dice = random.Random(seed)
            for name in ("api", "web"):
                stage.swarm.services.create(
                    name, replicas=3, networks=("ov",), order=dice.choice(["start-first", "stop-first"])
                )
            stage.swarm.services.create("all", replicas=None)
            for _ in range(60):
                await asyncio.sleep(dice.choice([0.0, 0.05, 0.5, 4.0]))
                with contextlib.suppress(RefusedError):
                    _something(stage, dice)
            for node in stage.swarm.nodes:
                stage.swarm.nodes.reconnect(node.id)
                stage.swarm.nodes.set_availability(node.id, "active")
            await asyncio.sleep(180.0)
            for service in stage.swarm.services:
                tasks = stage.serving(service.spec.name)
                wanted = 5 if service.spec.replicas is None else service.spec.replicas
                assert len(tasks) == wanted, (seed, service.spec.name)
                assert all(task.spec.template == service.spec.template for task in tasks)
                assert not [task for task in service.tasks.values() if task.up and task.unwanted]
                _require_distinct([task for task in tasks if task.attachments])

    in_simulated_time(body())


def _something(stage: Stage, dice: random.Random) -> None:
    services, nodes, tasks = stage.swarm.services, stage.swarm.nodes, stage.swarm.tasks
    service, node = dice.choice(["api", "web", "all"]), dice.choice(["w1", "w2", "w3", "w4"])
    running = [task for task in tasks if task.up]
    deed = dice.choice(["scale", "force", "rollback", "drain", "active", "cut", "link", "die", "lead", "order"])
    if deed == "scale":
        services.scale(service, dice.randrange(6))
    elif deed == "force":
        services.force_update(service)
    elif deed == "order":
        services.update(service, order=dice.choice(["start-first", "stop-first"]))
    elif deed == "rollback":
        services.rollback(service)
    elif deed in ("drain", "active"):
        nodes.set_availability(node, deed)
    elif deed == "cut":
        nodes.cut_off(node)
    elif deed == "link":
        nodes.reconnect(node)
    elif deed == "lead":
        stage.swarm.spawn(stage.swarm.lose_leader(5.0))
    elif running:
        tasks.die(dice.choice(running).id)


def _require_distinct(tasks: list[Task]) -> None:
    addresses = sorted(task.address_on("ov") for task in tasks)
    assert all(one != other for one, other in pairwise(addresses))

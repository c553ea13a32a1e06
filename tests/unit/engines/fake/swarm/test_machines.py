"""A node that is a fake engine has the containers of its tasks, and what happens to them there becomes known."""

import asyncio
import json
from pathlib import Path

from fakeclient import Docker, words
from simulation import in_simulated_time
from swarmstage import swarm_stage


def test_a_nodes_engine_tells_what_managers_do_not(tmp_path: Path) -> None:
    # Its events come at once, and name the task; labels of the service are not there.
    async def body() -> None:
        async with (
            swarm_stage(tmp_path, workers=1, engines_for_workers=True) as stage,
            Docker(stage.engines["w1"]) as worker,
        ):
            labels = {"labels": {"lbwatch.weight": "2"}, "container_labels": {"lbwatch.enable": "true"}}
            tasks = await stage.serve("web", 2, networks=("ov",), **labels)
            (task,) = [each for each in tasks if each.node is stage.swarm.nodes.find("w1")]
            listed = await worker.listed()
            found = listed[task.name]
            assert found["Labels"] == {
                "com.docker.swarm.node.id": stage.swarm.nodes.find("w1").id,
                "com.docker.swarm.service.id": task.service.id,
                "com.docker.swarm.service.name": "web",
                "com.docker.swarm.task": "",
                "com.docker.swarm.task.id": task.id,
                "com.docker.swarm.task.name": task.name,
                "lbwatch.enable": "true",
            }
            assert found["Id"] == task.container
            assert found["NetworkSettings"]["Networks"]["ov"]["IPAddress"] == task.address_on("ov")
            overlay = stage.swarm.state.find_network("ov")
            assert found["NetworkSettings"]["Networks"]["ov"]["NetworkID"] == overlay.id
            async with worker.listen(filters=json.dumps({"type": ["container"]})) as stream:
                stage.engines["w1"].containers.pause(task.name)
                stage.engines["w1"].containers.unpause(task.name)
                stage.engines["w1"].containers.die(task.name)
                events = await stream.take(3)
                assert words(events) == ["pause", "unpause", "die"]
                assert events[2]["Actor"]["Attributes"]["com.docker.swarm.task.id"] == task.id
            began = stage.now()
            at = await stage.until(lambda: task.state == "failed")
            assert 0.07 <= at - began <= 0.52

    in_simulated_time(body())


def test_a_nodes_engine_tells_the_stop_signal_when_it_comes(tmp_path: Path) -> None:
    # Three seconds after the managers knew.
    async def body() -> None:
        async with (
            swarm_stage(tmp_path, workers=1, engines_for_workers=True) as stage,
            Docker(stage.engines["w1"]) as worker,
        ):
            tasks = await stage.serve("web", 2, networks=("ov",))
            (task,) = [each for each in tasks if each.node is stage.swarm.nodes.find("w1")]
            async with worker.listen(filters=json.dumps({"container": [task.container]})) as stream:
                stage.swarm.nodes.set_availability("w1", "drain")
                assert words(await stream.take(2)) == ["kill 15", "die"]
            assert 3.1 <= task.term_at - task.unwanted_at < 3.4
            await stage.until(lambda: task.over)
            assert task.state == "shutdown"

    in_simulated_time(body())


def test_health_is_told_by_the_nodes_engine_alone(tmp_path: Path) -> None:
    # Two seconds before the stop signal, and the manager says nothing at all.
    async def body() -> None:
        async with swarm_stage(tmp_path, workers=0) as stage:
            (task,) = await stage.serve("web", 1, networks=("ov",), health="healthy")
            async with stage.docker.listen(filters=json.dumps({"container": [task.container]})) as stream:
                began = stage.now()
                stage.swarm.tasks.probe(task.id, healthy=False)
                assert words(await stream.take(3)) == ["health_status: unhealthy", "kill 15", "die"]
                assert 2.0 <= task.term_at - began < 2.1
            await stage.until(lambda: task.over)
            assert task.state == "complete"

    in_simulated_time(body())


def test_containers_go_when_their_tasks_are_forgotten(tmp_path: Path) -> None:
    # Five of each slot stay, stopped.
    async def body() -> None:
        async with swarm_stage(tmp_path, workers=0) as stage:
            await stage.serve("web", 2, networks=("ov",))
            stage.swarm.services.force_update("web")
            await stage.until(lambda: stage.swarm.services.find("web").update == "completed")
            await asyncio.sleep(5.0)
            assert len(await stage.docker.listed()) == 4
            stage.swarm.services.remove("web")
            await stage.until(lambda: not [*stage.swarm.tasks])
            await asyncio.sleep(0.1)  # the list lags
            assert await stage.docker.listed() == {}

    in_simulated_time(body())

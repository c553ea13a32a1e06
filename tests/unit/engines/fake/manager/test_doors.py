"""Managers without a leader, or without the others, answer and fall silent as measured."""

import asyncio
import json
from pathlib import Path

from fakeclient import Docker
from simulation import in_simulated_time
from swarmstage import swarm_stage


def test_without_a_leader_all_is_500_but_who_it_is(tmp_path: Path) -> None:
    # No news: who took it for an empty Swarm would drop all there is.
    async def body() -> None:
        async with swarm_stage(tmp_path, managers=3) as stage, Docker(stage.engines["m2"]) as other:
            tasks = await stage.serve("web", 3)
            began = stage.now()
            losing = stage.swarm.spawn(stage.swarm.lose_leader(17.0))
            await asyncio.sleep(1.0)
            for docker in (stage.docker, other):
                for path in ("/tasks", "/services", "/nodes", "/tasks/x"):
                    status, answer = await docker.ask("GET", path)
                    assert (status, "does not have a leader" in answer["message"]) == (500, True)
                _, info = await docker.ask("GET", "/info")
                assert info["Swarm"]["ControlAvailable"] is True
                assert "does not have a leader" in info["Swarm"]["Error"]
                assert (await docker.ask("GET", "/containers/json"))[0] == 200
            stage.swarm.tasks.die(tasks[0].id)
            await asyncio.sleep(10.0)
            assert tasks[0].state == "running"  # nobody takes down that it ended
            assert stage.words(since=began) == []
            await stage.until(lambda: stage.words(since=began))
            assert stage.now() - began >= 17.0
            assert {node.state for node in stage.swarm.nodes} == {"unknown"}
            assert stage.words(since=began) == ["node update"] * 5 + ["network update"] * 2
            await stage.until(lambda: {node.state for node in stage.swarm.nodes} == {"ready"}, within_s=2.01)
            await losing
            await stage.until(lambda: tasks[0].state == "failed" and len(stage.serving("web")) == 3)
            assert not tasks[1].unwanted

    in_simulated_time(body())


def test_without_its_quorum_a_manager_hangs_and_later_refuses(tmp_path: Path) -> None:
    # Only a timeout of one's own ends that.
    async def body() -> None:
        async with swarm_stage(tmp_path, managers=3) as stage:
            await stage.serve("web", 2)
            stage.swarm.spawn(stage.swarm.lose_quorum(60.0))
            await asyncio.sleep(0.1)
            began = stage.now()
            status, _ = await stage.docker.ask("GET", "/tasks")
            assert (status, stage.now() - began > 12.0) == (500, True)
            began = stage.now()
            assert (await stage.docker.ask("GET", "/tasks"))[0] == 500
            assert stage.now() - began < 0.1
            assert (await stage.docker.ask("GET", "/info"))[0] == 200
            await asyncio.sleep(60.0)
            assert (await stage.docker.ask("GET", "/tasks"))[0] == 200

    in_simulated_time(body())


def test_a_manager_that_was_cut_off_hears_all_it_missed_in_a_moment(tmp_path: Path) -> None:
    # A burst, with times of now: whoever counts events by their age must not take them for new ones by number.
    async def body() -> None:
        async with swarm_stage(tmp_path, managers=3) as stage, Docker(stage.engines["m2"]) as other:
            await stage.serve("web", 2)
            stage.swarm.spawn(stage.swarm.isolate("m1", 40.0))
            await asyncio.sleep(0.1)
            began = stage.now()
            async with other.listen(filters=json.dumps({"type": ["service"]})) as stream:
                for count in range(3, 8):
                    stage.swarm.services.scale("web", count)
                heard = [event["Actor"]["Attributes"]["replicas.new"] for event in await stream.take(5)]
            assert heard == ["3", "4", "5", "6", "7"]
            assert (await other.ask("GET", "/tasks"))[0] == 200
            assert stage.words(since=began) == []
            await stage.until(lambda: stage.words(since=began))
            first = stage.now()
            await asyncio.sleep(0.01)
            assert stage.words(since=first - 0.01).count("service update") == 5

    in_simulated_time(body())


def test_an_answer_may_be_empty_once(tmp_path: Path) -> None:
    # It is valid, and a lie.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            await stage.serve("web", 2)
            node = stage.swarm.nodes.find("m1")
            stage.swarm.doors[node.id].empty_answers = 1
            assert await stage.tasks() == []
            assert len(await stage.tasks()) == 2

    in_simulated_time(body())


def test_events_of_the_swarm_pass_the_streams_own_filters(tmp_path: Path) -> None:
    # A reader asks for services and nodes alone.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            wanted = json.dumps({"type": ["service", "node"], "event": ["update", "remove"]})
            async with stage.docker.listen(filters=wanted) as stream:
                stage.swarm.services.create("web", endpoint_mode="dnsrr")
                stage.swarm.create_network("other")
                stage.engines["m1"].containers.run()
                stage.swarm.nodes.label("w1", zone="a")
                stage.swarm.services.remove("web")
                events = await stream.take(2)
            assert [(event["Type"], event["Action"], event["scope"]) for event in events] == [
                ("node", "update", "swarm"),
                ("service", "remove", "swarm"),
            ]
            assert events[0]["Actor"]["Attributes"] == {"name": "w1"}

    in_simulated_time(body())

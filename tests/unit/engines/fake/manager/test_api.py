"""Managers answer as measured: what is there, what is asked for wrongly, and what no worker says."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakeclient import Docker
from simulation import in_simulated_time
from swarmstage import swarm_stage

from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.manager.state import Port


def test_a_task_says_where_it_is_reached(tmp_path: Path) -> None:
    # All that a reader needs, and in no other place: address, container, node, published port.
    async def body() -> None:
        async with swarm_stage(tmp_path, workers=0) as stage:
            ports = (Port(target=80), Port(target=9000, mode="host"))
            labels = {"labels": {"a": "service"}, "container_labels": {"b": "container"}}
            (task,) = await stage.serve("web", 1, networks=("ov",), ports=ports, **labels)
            (answer,) = await stage.tasks(service=["web"])
            status, node = answer["Status"], next(iter(stage.swarm.nodes))
            assert (answer["Slot"], answer["NodeID"], answer["DesiredState"]) == (1, node.id, "running")
            assert (status["State"], status["ContainerStatus"]["ContainerID"]) == ("running", task.container)
            networks = {each["Network"]["Spec"]["Name"]: each["Addresses"] for each in answer["NetworksAttachments"]}
            assert networks == {"ingress": ["10.0.0.3/16"], "ov": ["10.1.0.3/16"]}
            published = {"Protocol": "tcp", "TargetPort": 9000, "PublishedPort": 32768, "PublishMode": "host"}
            assert status["PortStatus"]["Ports"] == [published, published]  # for IPv4 and IPv6
            assert answer["Spec"]["ContainerSpec"]["Labels"] == {"b": "container"}
            assert "service" not in json.dumps(answer["Spec"]["ContainerSpec"])
            _, service = await stage.docker.ask("GET", f"/services/{answer['ServiceID']}")
            assert service["Spec"]["Labels"] == {"a": "service"}
            assert [port.get("PublishedPort") for port in service["Endpoint"]["Ports"]] == [30000, None]
            assert [each["Addr"] for each in service["Endpoint"]["VirtualIPs"]] == ["10.0.0.2/16", "10.1.0.2/16"]
            _, alone = await stage.docker.ask("GET", f"/tasks/{task.id}")
            assert alone == answer
            assert 1000 < len(json.dumps(answer)) < 2500  # what a list of them costs

    in_simulated_time(body())


def test_host_ports_are_others_at_each_task(tmp_path: Path) -> None:
    # Whoever kept the former one would send requests to nobody.
    async def body() -> None:
        async with swarm_stage(tmp_path, workers=0) as stage:
            (old,) = await stage.serve("web", 1, ports=(Port(target=80, mode="host"),))
            stage.swarm.services.force_update("web")
            await stage.until(lambda: stage.serving("web") not in ([], [old]))
            (new,) = stage.serving("web")
            assert old.ports[0].published != new.ports[0].published

    in_simulated_time(body())


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 5),
        ({"service": ["web"]}, 3),
        ({"service": ["web", "api"]}, 5),
        ({"name": ["api"]}, 2),
        ({"desired-state": ["running"]}, 5),
        ({"desired-state": ["shutdown", "remove"]}, 0),
        ({"label": ["tier=front"]}, 3),
        ({"node": ["m1"], "service": ["api"]}, 2),
        ({"runtime": ["container"]}, 5),
    ],
)
def test_filters_of_tasks_are_those_of_moby(filters: dict[str, list[str]], count: int, tmp_path: Path) -> None:
    # One request for all services that are in motion.
    async def body() -> None:
        async with swarm_stage(tmp_path, workers=0) as stage:
            await stage.serve("web", 3, labels={"tier": "front"})
            await stage.serve("api", 2)
            answers = await stage.tasks(**filters)
            assert len(answers) == count
            assert answers == sorted(answers, key=lambda answer: str(answer["ID"]))

    in_simulated_time(body())


@pytest.mark.parametrize(
    ("path", "filters", "status", "words"),
    [
        ("/tasks", {"version": ["3"]}, 400, "Invalid filter 'version'"),
        ("/tasks", {"service": ["nobody"]}, 404, "service nobody not found"),
        ("/tasks", {"service": ["web", "nobody"]}, 404, "service nobody not found"),
        ("/tasks", {"node": ["nobody"]}, 404, "node nobody not found"),
        ("/tasks/nobody", {}, 404, "task nobody not found"),
        ("/services/nobody", {}, 404, "service nobody not found"),
        ("/services", {"network": ["ov"]}, 400, "Invalid filter 'network'"),
        ("/nodes/nobody", {}, 404, "node nobody not found"),
    ],
)
def test_what_is_not_there_is_refused(path: str, filters: Any, status: int, words: str, tmp_path: Path) -> None:
    # A service that is gone takes the tasks of the others that were asked for with it.
    async def body() -> None:
        async with swarm_stage(tmp_path, workers=0) as stage:
            await stage.serve("web", 1)
            answered, answer = await stage.docker.ask("GET", path, filters=json.dumps(filters))
            assert (answered, answer["message"]) == (status, words)

    in_simulated_time(body())


def test_nodes_say_where_they_are_and_what_they_take(tmp_path: Path) -> None:
    # A port on a node has no host address in its task.
    async def body() -> None:
        async with swarm_stage(tmp_path) as stage:
            stage.swarm.nodes.set_availability("w1", "drain")
            _, answers = await stage.docker.ask("GET", "/nodes")
            nodes = {answer["Description"]["Hostname"]: answer for answer in answers}
            assert nodes["w1"]["Status"] == {"State": "ready", "Addr": "10.77.0.2"}
            assert nodes["w1"]["Spec"]["Availability"] == "drain"
            assert ("ManagerStatus" in nodes["m1"], "ManagerStatus" in nodes["w1"]) == (True, False)
            _, answer = await stage.docker.ask("GET", f"/nodes/{nodes['w1']['ID']}")
            assert answer == nodes["w1"]

    in_simulated_time(body())


def test_a_worker_answers_nothing_of_the_swarm_but_who_it_is(tmp_path: Path) -> None:
    # So is an engine told apart that has nothing to say.
    async def body() -> None:
        async with (
            swarm_stage(tmp_path, workers=1, engines_for_workers=True) as stage,
            Docker(stage.engines["w1"]) as worker,
            FakeEngine(socket=tmp_path / "alone.sock") as alone,
            Docker(alone) as single,
        ):
            for path in ("/tasks", "/services", "/nodes"):
                status, answer = await worker.ask("GET", path)
                assert status == 503
                assert answer["message"].startswith("This node is not a swarm manager. Worker nodes can't")
                status, answer = await single.ask("GET", path)
                assert status == 503
                assert answer["message"].startswith("This node is not a swarm manager. Use ")
            manager = (await stage.docker.ask("GET", "/info"))[1]["Swarm"]
            member = (await worker.ask("GET", "/info"))[1]["Swarm"]
            nobody = (await single.ask("GET", "/info"))[1]["Swarm"]
            assert [each["ControlAvailable"] for each in (manager, member, nobody)] == [True, False, False]
            assert [each["LocalNodeState"] for each in (manager, member, nobody)] == ["active", "active", "inactive"]
            assert manager["Cluster"]["ID"] == stage.swarm.state.id
            assert (member["NodeID"], "Cluster" in member) == (stage.swarm.nodes.find("w1").id, False)
            assert [name for name, *_ in await networks_of(stage.docker)] == ["bridge", "host", "none", "ingress", "ov"]
            assert [name for name, *_ in await networks_of(worker)] == ["bridge", "host", "none"]

    in_simulated_time(body())


async def networks_of(docker: Docker) -> list[tuple[str, str]]:
    _, answers = await docker.ask("GET", "/networks")
    return [(answer["Name"], answer["Driver"]) for answer in answers]

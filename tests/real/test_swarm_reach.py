"""Where nginx reaches tasks of a real Swarm, what their labels are, and who counts twice."""

import time
from pathlib import Path

from daemon import wait_until
from swarmnginx import Place, SwarmStage, swarm_stage
from swarmnodes import HEALTH_CHECK, PORT, SwarmNodes
from swarmseen import TaskEvents, label_of


def explained(stage: SwarmStage) -> str:
    """Return what `explain` prints."""
    return stage.lbwatch.command("explain")[1]


def lines_of(stage: SwarmStage) -> list[str]:
    """Return the file's lines of servers, with their parameters."""
    return [line.strip() for line in stage.output.read_text().splitlines() if line.strip().startswith("server ")]


def test_a_task_of_the_mesh_is_reached_by_the_overlay_that_nginx_is_on(swarm: SwarmNodes, tmp_path: Path) -> None:
    """Its address on `ingress`, which is the first by name in /tasks, is one that nobody reaches."""
    with swarm_stage(swarm, tmp_path, place=Place.CONTAINER) as stage:
        options = ("--publish", f"published=8080,target={PORT}")
        swarm.create("web", *options, endpoint="vip", labels={"lbwatch.enable": "true"})
        (task,) = swarm.wait_running("web", 1)
        assert set(task.addresses) == {"ingress", "ov"}
        stage.wait_serving("web", [task])
        assert stage.history.spans(f"{task.addresses['ingress']}:{PORT}") == []


def test_a_task_that_nginx_cannot_reach_is_out_and_both_cures_are_named(swarm: SwarmNodes, tmp_path: Path) -> None:
    """A guess would be a server that is silent for every client."""
    with swarm_stage(swarm, tmp_path, place=Place.MACHINE) as stage:
        swarm.create("web", labels=label_of("web"))
        (task,) = swarm.wait_running("web", 1)
        line = stage.lbwatch.wait_for_log("container.not_routed", reason="no-network")
        assert line["container"] == f"web.1.{task.id}"
        assert "docker service update --publish-add mode=host,target=80 web" in line["detail"]
        assert "docker service update --network-add NETWORK web" in line["detail"]
        nobody = ["server 127.0.0.1:1 down;"]
        wait_until(lambda: lines_of(stage), within=10, holds=lambda lines: lines == nobody, what="it has nobody")
        assert "no-network" in explained(stage)


def test_the_labels_of_a_service_come_before_those_of_its_containers(swarm: SwarmNodes, tmp_path: Path) -> None:
    """Half of all who ask why nothing happens have set the other one; a change of the service's needs no new task."""
    with swarm_stage(swarm, tmp_path, reload_interval="200ms") as stage:
        inner = ("--container-label", "lbwatch.upstream=inner", "--container-label", f"lbwatch.port={PORT}")
        swarm.create("both", *inner, labels=label_of("outer"))
        swarm.create("contained", *inner)
        (both,), (contained,) = swarm.wait_running("both", 1), swarm.wait_running("contained", 1)
        stage.wait_serving("outer", [both])
        stage.wait_serving("inner", [contained])
        began = time.monotonic()
        swarm.update("both", "--label-add", "lbwatch.weight=3")
        wait_until(
            lambda: lines_of(stage),
            within=10,
            holds=lambda lines: f"server {stage.server(both)} weight=3;" in lines,
            what="its weight",
            notes=stage.notes,
        )
        took_s = time.monotonic() - began
        print(f"a label was in {took_s:.2f} s after its command began")
        assert took_s < 1.5
        assert [task.id for task in swarm.running("both")] == [both.id]


def test_labels_of_hostile_text_stay_text(swarm: SwarmNodes, tmp_path: Path) -> None:
    """Whoever may make a service must not be able to write nginx's configuration."""
    with swarm_stage(swarm, tmp_path) as stage:
        swarm.create("web", labels=label_of("web"))
        for number, text in enumerate(("x; } server { listen 1;", 'a"\n}\nevil', "{{ 7*7 }}", "../../etc/passwd")):
            swarm.create(f"bad{number}", labels={"lbwatch.upstream": text, "lbwatch.port": str(PORT)})
            swarm.create(f"worse{number}", "--container-label", f"lbwatch.port={text}")
        (task,) = swarm.wait_running("web", 1)
        stage.wait_serving("web", [task])
        for number in range(4):
            swarm.wait_running(f"bad{number}", 1)
            swarm.wait_running(f"worse{number}", 1)
        swarm.create("last", labels=label_of("last"))
        (last,) = swarm.wait_running("last", 1)
        stage.wait_serving("last", [last])
        assert sorted(lines_of(stage)) == sorted(f"server {stage.server(each)};" for each in (task, last))
        assert stage.lbwatch.logged("nginx.rejected") == []
        assert explained(stage).count("bad-label") == 8


def test_a_node_that_is_followed_too_counts_no_task_twice_and_is_believed_for_the_worse(
    swarm: SwarmNodes, tmp_path: Path
) -> None:
    """A manager hears of no pause and of no death; the engine of the node says both within a moment."""
    worker = swarm.workers[0]
    with swarm_stage(swarm, tmp_path, doors=[swarm.manager, worker]) as stage:
        options = ("--constraint", f"node.hostname=={worker.hostname}", *HEALTH_CHECK, "--env", "HEALTHY_S=0")
        swarm.create("web", *options, replicas=3, labels=label_of("web"))
        paused, sick, dead = tasks = swarm.wait_running("web", 3)
        stage.wait_serving("web", tasks)
        assert len(lines_of(stage)) == 3
        worker_own = worker.run("plain", "--network", "bridge", labels={"lbwatch.enable": "true"})
        try:
            events = TaskEvents(swarm.nodes)
            worker.docker("pause", paused.container)
            out = {"pause": _out_after(stage, events, "pause", paused.id, stage.server(paused))}
            worker.docker("unpause", paused.container)
            stage.wait_serving("web", tasks)
            worker.docker("exec", sick.container, "busybox", "rm", "/tmp/healthy")
            out["unhealthy"] = _out_after(stage, events, "health_status: unhealthy", sick.id, stage.server(sick))
            told = events.first("health_status: unhealthy", sick.id)
            killed = wait_until(lambda: events.first("kill", sick.id), within=10, what="the sick one is stopped")
            assert told is not None and killed is not None
            worker.kill_from_outside(dead.container)
            out["die"] = _out_after(stage, events, "die", dead.id, stage.server(dead))
        finally:
            worker.remove(worker_own)
        print(
            {why: f"{seconds:.2f} s" for why, seconds in out.items()}, f"stopped {killed - told:.2f} s after unhealthy"
        )
        assert max(out.values()) < 1
        assert out["unhealthy"] < killed - told - 1.5
        # Not those that its manager calls running just now: it hears of a death later than the node.
        wait_until(
            lambda: {stage.server(task) for task in swarm.running("web")},
            within=30,
            holds=lambda servers: len(servers) == 3 and servers == set(stage.servers("web")),
            what="three serve again",
            notes=stage.notes,
        )


def _out_after(stage: SwarmStage, events: TaskEvents, action: str, task: str, server: str) -> float:
    """Return how many seconds after an event of its node a server left the file."""
    said = wait_until(lambda: events.first(action, task), within=10, what=f"{action} of {task}")
    assert said is not None
    return (
        wait_until(
            lambda: stage.history.left(server, before=said),
            within=10,
            holds=lambda left: left < float("inf"),
            what=f"{server} is out after {action}",
            notes=stage.notes,
        )
        - said
    )

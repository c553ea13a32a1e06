"""The core of what is promised of a Swarm, on three real engines; all else is what `make test-swarm` runs."""

from pathlib import Path

from daemon import wait_until
from swarmnginx import Place, swarm_stage
from swarmnodes import HEALTH_CHECK, PORT, START_FIRST, SwarmNodes
from swarmseen import TaskEvents, TaskSights, label_of, lateness, server_of, under_load


def test_an_update_a_scale_and_a_drain_lose_no_request(swarm: SwarmNodes, tmp_path: Path) -> None:
    """The programs die with all that is inside them, and nginx tries no other server: whoever is late loses requests."""
    with swarm_stage(swarm, tmp_path) as stage:
        swarm.create("web", *START_FIRST, replicas=4, labels=label_of("web"))
        stage.wait_serving("web", swarm.wait_running("web", 4))
        events = TaskEvents(swarm.nodes)
        with under_load(stage.nginx, "web") as loaded, TaskSights(swarm) as sights:
            swarm.update("web", "--env-add", "NEW=1")
            swarm.wait_updated("web")
            for replicas in (8, 2):
                swarm.scale("web", replicas)
                stage.wait_serving("web", swarm.wait_running("web", replicas))
            node = next(node for node in swarm.workers if node.node_id in {task.node for task in swarm.running("web")})
            with swarm.drained(node):
                stage.wait_serving("web", swarm.wait_running("web", 2))
        late = lateness(stage.history, events, sights)
        print(
            loaded,
            f"{stage.reloads()} reloads, out before the stop signal: {sorted(f'{-s:.2f} s' for s in late.values())}",
        )
        assert loaded.failed.total() == 0, stage.notes()
        assert loaded.requests > 500
        assert len(late) >= 4 + 6 + 1
        assert max(late.values()) < -1


def test_a_task_that_dies_unheard_is_out_within_two_seconds(swarm: SwarmNodes, tmp_path: Path) -> None:
    """No event of any manager says so while another task of its network is on that node."""
    with swarm_stage(swarm, tmp_path) as stage:
        worker = swarm.workers[0]
        swarm.create("web", "--constraint", f"node.hostname=={worker.hostname}", replicas=2, labels=label_of("web"))
        victim, _ = tasks = swarm.wait_running("web", 2)
        stage.wait_serving("web", tasks)
        events = TaskEvents(swarm.nodes)
        worker.kill_from_outside(victim.container)
        wait_until(lambda: events.first("die", victim.id), within=5, what="its death", notes=stage.notes)
        left = wait_until(
            lambda: stage.history.spans(server_of(victim))[-1].ended,
            within=10,
            holds=lambda ended: ended < float("inf"),
            what="it left the file",
            notes=stage.notes,
        )
        died = events.first("die", victim.id)
        assert died is not None
        print(f"out after {left - died:.2f} s")
        assert left - died < 2
        stage.wait_serving("web", swarm.wait_running("web", 2))


def test_a_task_serves_once_its_health_check_has_passed(swarm: SwarmNodes, tmp_path: Path) -> None:
    """Its address is in /tasks all the while before."""
    with swarm_stage(swarm, tmp_path) as stage:
        events = TaskEvents(swarm.nodes)
        swarm.create("web", *HEALTH_CHECK, "--env", "HEALTHY_S=2", labels=label_of("web"))
        (task,) = swarm.wait_running("web", 1)
        stage.wait_serving("web", [task])
        healthy = events.first("health_status: healthy", task.id)
        assert healthy is not None
        came = stage.history.came(server_of(task), after=0)
        print(f"in {came - healthy:.2f} s after it was healthy")
        assert 0 <= came - healthy < 3


def test_from_outside_a_task_is_reached_at_its_node(swarm: SwarmNodes, tmp_path: Path) -> None:
    """An address of the overlay means nothing there, and the port that a node gives is another one for each task."""
    with swarm_stage(swarm, tmp_path, place=Place.OUTSIDE) as stage:
        options = (*START_FIRST, "--publish", f"mode=host,target={PORT}")
        swarm.create("web", *options, replicas=3, network=None, labels=label_of("web"))
        stage.wait_serving("web", swarm.wait_running("web", 3))
        with under_load(stage.nginx, "web") as loaded:
            swarm.update("web", "--env-add", "NEW=1")
            swarm.wait_updated("web")
            stage.wait_serving("web", swarm.wait_running("web", 3))
        print(loaded)
        assert loaded.failed.total() == 0, stage.notes()
        assert loaded.answered.keys() > {task.id for task in swarm.running("web")}

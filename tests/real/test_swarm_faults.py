"""What a real Swarm's managers and links do when they fail, and that nothing changes by it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon import wait_until
from swarmnginx import SwarmStage, pass_s, swarm_stage
from swarmnodes import START_FIRST, SwarmNode, SwarmNodes
from swarmseen import label_of


@pytest.fixture(scope="module")
def managers(swarm_programs: Path | None) -> Iterator[SwarmNodes]:
    """Three nodes that are all managers; node1 leads at the start."""
    with SwarmNodes(managers=3, programs=swarm_programs) as nodes:
        yield nodes.start()


@contextmanager
def cut(*nodes: SwarmNode) -> Iterator[None]:
    """Pull the cables of nodes."""
    for node in nodes:
        node.link("down")
    try:
        yield
    finally:
        for node in nodes:
            node.link("up")


def wait_listed(swarm: SwarmNodes, stage: SwarmStage, number: int) -> None:
    """Wait until the file has the tasks; the overlay itself may need minutes after its links were down (facts, Swarm)."""
    tasks = swarm.wait_running("web", number)
    stage.wait_servers("web", [stage.server(task) for task in tasks], within=30)


def test_a_node_that_is_cut_off_keeps_its_servers_until_its_manager_gives_it_up(
    swarm: SwarmNodes, tmp_path: Path
) -> None:
    """For the Swarm it is there for 10 s and more; afterwards its tasks are others, and their lines are not doubled."""
    worker = swarm.workers[1]
    with swarm_stage(swarm, tmp_path) as stage:
        swarm.create("web", replicas=3, labels=label_of("web"))
        tasks = swarm.wait_running("web", 3)
        stage.wait_serving("web", tasks)
        lost = [stage.server(task) for task in tasks if task.node == worker.node_id]
        assert lost
        with cut(worker):
            began = time.time()
            swarm.wait_nodes({worker.hostname: "down"}, within=40)
            down = time.time()
            left = wait_until(
                lambda: [stage.history.left(server, before=began) for server in lost],
                within=10,
                holds=lambda all_left: max(all_left) < float("inf"),
                what="its servers are out",
                notes=stage.notes,
            )
            print(f"down after {down - began:.1f} s, out {max(left) - down:+.2f} s after that")
            assert min(left) > began + 5
            stage.wait_serving("web", swarm.wait_running("web", 3, lost=worker), within=30)
        swarm.wait_nodes({worker.hostname: "ready"}, within=60)
        wait_listed(swarm, stage, 3)
        assert len(stage.output.read_text().split("server ")) - 1 == 3


def test_a_leader_that_is_cut_off_changes_nothing(managers: SwarmNodes, tmp_path: Path) -> None:
    """Managers give each other's nodes up for two seconds; and who can ask nobody keeps what there was."""
    with three_served(managers, tmp_path, doors=[managers.manager]) as stage:
        leader, *others = managers.nodes
        with stage.untouched(), cut(leader):
            wait_until(lambda: _has_leader(others[0]), within=60, what="another one leads")
            pass_s(10)
            assert not _answers(leader), "there is nobody to ask"
        managers.wait_nodes(dict.fromkeys(("node1", "node2", "node3"), "ready"))
        managers.scale("web", 4)
        wait_listed(managers, stage, 4)


def test_what_others_did_while_a_manager_had_no_leader_is_in_soon_after(managers: SwarmNodes, tmp_path: Path) -> None:
    """It hears the whole log that it missed, and all of it at once."""
    with three_served(managers, tmp_path, doors=[managers.nodes[0]]) as stage:
        first, second, _ = managers.nodes
        with stage.untouched(), cut(first):
            wait_until(lambda: _has_leader(second), within=60, what="the others have a leader")
            second.docker("service", "update", "--detach", "--label-add", "lbwatch.weight=7", "web")
        wait_until(lambda: _answers(first), within=60, what="it has a leader again")
        began = time.monotonic()
        wait_until(lambda: "weight=7" in stage.output.read_text(), within=20, what="the label", notes=stage.notes)
        print(f"in {time.monotonic() - began:.2f} s after its manager could answer")
        assert time.monotonic() - began < 3


def test_a_second_door_serves_where_the_first_has_no_leader(managers: SwarmNodes, tmp_path: Path) -> None:
    """Two managers of one Swarm are two ways to one truth, and one of them without a leader costs nothing."""
    with three_served(managers, tmp_path, doors=managers.nodes[:2]) as stage:
        first, second, _ = managers.nodes
        with cut(first):
            wait_until(lambda: _has_leader(second), within=60, what="the others have a leader")
            second.docker("service", "update", "--detach", "--label-add", "lbwatch.weight=5", "web")
            wait_until(lambda: "weight=5" in stage.output.read_text(), within=20, what="it", notes=stage.notes)
        managers.wait_nodes(dict.fromkeys(("node1", "node2", "node3"), "ready"))


def test_a_lost_quorum_changes_not_a_byte(managers: SwarmNodes, tmp_path: Path) -> None:
    """Tasks serve on whatever their managers know; requests to these hang without end."""
    with three_served(managers, tmp_path, doors=managers.nodes) as stage:
        with stage.untouched(), cut(*managers.nodes):
            wait_until(lambda: not _answers(managers.manager), within=60, what="nobody leads")
            pass_s(30)
        wait_until(lambda: _answers(managers.manager), within=90, what="somebody leads again")
        managers.wait_nodes(dict.fromkeys(("node1", "node2", "node3"), "ready"))
        managers.scale("web", 4)
        wait_listed(managers, stage, 4)


@contextmanager
def three_served(managers: SwarmNodes, folder: Path, *, doors: list[SwarmNode]) -> Iterator[SwarmStage]:
    """Have one task on each node, which are served."""
    managers.wait_nodes(dict.fromkeys(("node1", "node2", "node3"), "ready"), within=90)
    with swarm_stage(managers, folder, doors=doors, resync_interval="5s") as stage:
        managers.create("web", *START_FIRST, replicas=3, labels=label_of("web"))
        stage.wait_serving("web", managers.wait_running("web", 3))
        yield stage


def _has_leader(node: SwarmNode) -> bool:
    """Return whether a manager knows one that is reachable and leads."""
    try:
        status, answer = node.api("GET", "/nodes", timeout=3)
    except OSError:
        return False
    leaders = [each for each in answer if (each.get("ManagerStatus") or {}).get("Leader")] if status == 200 else []
    return any(each["ManagerStatus"]["Reachability"] == "reachable" for each in leaders)


def _answers(node: SwarmNode) -> bool:
    try:
        return node.api("GET", "/tasks", timeout=3)[0] == 200
    except OSError:
        return False

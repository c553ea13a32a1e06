"""What a Swarm's manager says and does not say, on which `engines/swarm` relies (facts, Swarm); lbwatch is not here."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from daemon import wait_until
from swarmnodes import HEALTH_CHECK, NETWORK, PORT, SwarmNode, SwarmNodes
from swarmseen import TaskEvents, TaskSights, listen


class ManagerEvents:
    """What a manager says of services, nodes and networks."""

    def __init__(self, node: SwarmNode) -> None:
        self.heard: list[tuple[str, str, dict[str, str]]] = []
        filters = quote(json.dumps({"type": ["service", "node", "network"]}))
        listen(node, f"/events?filters={filters}", self._take)

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("scope") == "swarm":
            self.heard.append((event["Type"], event["Action"], event["Actor"]["Attributes"]))


@pytest.fixture
def emptied(swarm: SwarmNodes) -> Iterator[SwarmNodes]:
    """The Swarm without a service, before and after."""
    swarm.remove_services()
    try:
        yield swarm
    finally:
        swarm.remove_services()


@contextmanager
def observed(swarm: SwarmNodes) -> Iterator[tuple[TaskSights, TaskEvents]]:
    """Look at /tasks and at the nodes' own events."""
    events = TaskEvents(swarm.nodes)
    with TaskSights(swarm) as sights:
        yield sights, events


@pytest.mark.parametrize(
    ("network", "options", "least_s"),
    [
        pytest.param(NETWORK, (), 2.0, id="on an overlay"),
        pytest.param(None, ("--publish", f"mode=host,target={PORT}"), 0.9, id="published by its node"),
    ],
)
def test_a_stop_is_told_before_it_is_sent(
    emptied: SwarmNodes, network: str | None, options: tuple[str, ...], least_s: float
) -> None:
    """A drain window that no plain engine gives; with less than a second of it nothing could be drained."""
    emptied.create("web", *options, replicas=4, network=network)
    tasks = emptied.wait_running("web", 4)
    with observed(emptied) as (sights, events):
        emptied.scale("web", 1)
        wait_until(
            lambda: sum(events.first("die", task.id) is not None for task in tasks) == 3, within=30, what="deaths"
        )
    windows = {
        task.id: at - sights.leaving(task.id) for task in tasks if (at := events.first("kill", task.id)) is not None
    }
    print("told before", sorted(f"{each:.2f}" for each in windows.values()))
    assert len(windows) == 3
    assert min(windows.values()) >= least_s


def test_a_manager_says_nothing_of_tasks(emptied: SwarmNodes) -> None:
    """Else nobody would have to read a service again until it has settled."""
    heard = ManagerEvents(emptied.manager)
    emptied.create("web", replicas=4)
    tasks = emptied.wait_running("web", 4)
    (first, *_), events = [task for task in tasks if task.node != emptied.manager.node_id], TaskEvents(emptied.nodes)
    wait_until(
        lambda: ("service", "create") in [each[:2] for each in heard.heard], within=10, what="the service's event"
    )
    before = len(heard.heard)
    emptied.node_of(first).kill_from_outside(first.container)
    wait_until(lambda: events.first("die", first.id), within=10, what="its node says so")
    wait_until(
        lambda: {each.id: each for each in emptied.tasks("web")}[first.id].state,
        within=5,
        holds=lambda state: state == "failed",
        what="/tasks says so",
    )
    assert [each for each in heard.heard[before:] if each[0] == "service"] == []
    emptied.wait_running("web", 4)


def test_a_service_that_is_removed_is_404_while_its_tasks_go_on(emptied: SwarmNodes) -> None:
    """What is asked for by service is gone at once; the tasks drain, and only the whole list and /tasks/ID have them."""
    emptied.create("web", replicas=2)
    tasks = emptied.wait_running("web", 2)
    emptied.docker("service", "rm", "web")
    service = quote(json.dumps({"service": {tasks[0].service: True}}))
    assert emptied.manager.api("GET", f"/tasks?filters={service}")[0] == 404
    assert emptied.manager.api("GET", f"/services/{tasks[0].service}")[0] == 404
    status, answer = emptied.manager.api("GET", f"/tasks/{tasks[0].id}")
    assert (status, answer["DesiredState"], answer["Status"]["State"]) == (200, "remove", "running")
    left = {task.id: task.desired for task in emptied.tasks()}
    assert left == {task.id: "remove" for task in tasks}


def test_a_health_check_keeps_a_task_starting(emptied: SwarmNodes) -> None:
    """Its address is known all the while, and it must not serve."""
    emptied.create("web", *HEALTH_CHECK, "--env", "HEALTHY_S=2")
    with observed(emptied) as (sights, events):
        (task,) = emptied.wait_running("web", 1)
    healthy = events.first("health_status: healthy", task.id)
    assert healthy is not None
    assert sights.first[task.id, "running", "starting"] < healthy - 1
    assert -0.05 < sights.first[task.id, "running", "running"] - healthy < 1


def test_a_worker_says_that_it_is_no_manager(swarm: SwarmNodes) -> None:
    """Which is no failure, but what `auto` is decided by."""
    status, answer = swarm.workers[0].api("GET", "/tasks")
    assert status == 503
    assert "This node is not a swarm manager" in answer["message"]
    assert swarm.workers[0].api("GET", "/info")[1]["Swarm"]["ControlAvailable"] is False


def test_a_port_of_the_mesh_gives_a_task_an_address_that_nobody_reaches(emptied: SwarmNodes) -> None:
    """`ingress` is a network like any other in /tasks, and by name it often comes first."""
    emptied.docker(
        *("service", "create", "--detach", "--quiet", "--no-resolve-image", "--name", "mesh", "--network", NETWORK),
        *("--publish", f"published=8080,target={PORT}", "127.0.0.1:1/web"),
    )
    (task,) = emptied.wait_running("mesh", 1)
    assert set(task.addresses) == {"ingress", NETWORK}
    assert task.published == {}
    service = emptied.manager.api("GET", "/services/mesh")[1]
    assert [port["TargetPort"] for port in service["Endpoint"]["Ports"]] == [PORT]


def test_a_port_that_a_task_publishes_by_itself_changes_with_each_task(emptied: SwarmNodes) -> None:
    """It is asked for at the node's address, which /tasks does not have and /nodes does."""
    options = ("--publish", f"mode=host,target={PORT}", "--update-order", "start-first")
    emptied.create("web", *options, network=None)
    (old,) = emptied.wait_running("web", 1)
    emptied.update("web", "--env-add", "NEW=1")
    emptied.wait_updated("web")
    (new,) = emptied.wait_running("web", 1)
    assert set(old.published) == set(new.published) == {PORT}
    assert (old.node, old.published) != (new.node, new.published)
    nodes = {each["ID"]: each["Status"]["Addr"] for each in emptied.manager.api("GET", "/nodes")[1]}
    assert nodes == {node.node_id: node.address for node in emptied.nodes}


def test_tasks_that_no_node_takes_have_addresses_and_do_not_run(emptied: SwarmNodes) -> None:
    """An address is no sign of life."""
    emptied.create("web", "--constraint", "node.labels.nowhere==1", replicas=3)
    tasks = wait_until(
        lambda: [each for each in emptied.tasks("web") if each.addresses],
        within=10,
        holds=lambda found: len(found) == 3,
        what="addresses",
    )
    assert {(task.state, task.desired) for task in tasks} == {("pending", "running")}


def test_a_paused_task_runs_for_its_manager(emptied: SwarmNodes) -> None:
    """Only its node's own engine can say that nobody answers there."""
    emptied.create("web")
    (task,) = emptied.wait_running("web", 1)
    heard, events, node = ManagerEvents(emptied.manager), TaskEvents(emptied.nodes), emptied.node_of(task)
    node.docker("pause", task.container)
    wait_until(lambda: events.first("pause", task.id), within=5, what="its node says so")
    emptied.docker("network", "create", "--driver", "overlay", "later")  # what is heard then came after
    wait_until(lambda: heard.heard, within=10, what="the network's event")
    emptied.docker("network", "rm", "later")
    assert [each for each in heard.heard if each[0] != "network"] == []
    assert [(each.state, each.desired) for each in emptied.tasks("web")] == [("running", "running")]
    node.docker("unpause", task.container)


def test_a_node_that_is_cut_off_takes_its_tasks_with_it_and_brings_them_back_to_end(emptied: SwarmNodes) -> None:
    """What is decided of them comes from the manager; the orphans serve until their node hears of it."""
    emptied.create("web", replicas=3)
    tasks, heard, cut = emptied.wait_running("web", 3), ManagerEvents(emptied.manager), emptied.workers[1]
    orphans = {task.id for task in tasks if task.node == cut.node_id}
    assert orphans, "the tasks are spread over the nodes"
    began = time.monotonic()
    cut.link("down")
    try:
        emptied.wait_nodes({cut.hostname: "down"}, within=40)
        print(f"down after {time.monotonic() - began:.1f} s")
        wait_until(
            lambda: {each.id: each.desired for each in emptied.tasks("web")},
            within=2,
            holds=lambda desired: all(desired[task] == "shutdown" for task in orphans),
            what="its tasks are to end",
        )
        events = TaskEvents([cut])
        assert [each for each in heard.heard if each[2].get("state.new") == "down"]
    finally:
        cut.link("up")
    emptied.wait_nodes({cut.hostname: "ready"}, within=40)
    wait_until(lambda: all(events.first("kill", task) for task in orphans), within=30, what="the orphans end")
    emptied.wait_running("web", 3)

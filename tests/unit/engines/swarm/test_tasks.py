"""What a task is as a container: its state, its labels, its ports."""

import json
from typing import Any

import pytest
from swarmanswers import INGRESS, MANAGER, OV, WORKER, attached, node, port, service, task, task_id

from lbwatch.core.model import SERVICE_LABEL, Container, ContainerStatus, Endpoint, Engine, Health, Published
from lbwatch.engines.docker.scope import Scope
from lbwatch.engines.swarm.answers import nodes_of, service_of, task_of
from lbwatch.engines.swarm.tasks import container_of, leaving_words

SWARM = Engine(name="swarm", order=1)
SCOPE = Scope(prefix="lbwatch", expose_all=False, engine=SWARM)


def made(of: dict[str, Any], *, service: dict[str, Any] | None = None, node: dict[str, Any] | None = None) -> Container:
    read = task_of(json.dumps(of).encode())
    assert read is not None
    about = service_of(json.dumps(service).encode()) if service else None
    nodes = nodes_of(json.dumps([node]).encode()) if node else (None,)
    return container_of(read, service=about, node=nodes[0], scope=SCOPE, started_ns=7)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        *((state, ContainerStatus.CREATED) for state in ("new", "allocated", "pending", "assigned", "accepted")),
        *((state, ContainerStatus.CREATED) for state in ("preparing", "ready", "starting")),
        ("running", ContainerStatus.RUNNING),
        *((state, ContainerStatus.EXITED) for state in ("complete", "shutdown", "failed", "rejected")),
        *((state, ContainerStatus.EXITED) for state in ("remove", "orphaned", "something_new")),
    ],
)
def test_only_a_task_that_runs_runs(state: str, status: ContainerStatus) -> None:
    """With a health check it is `starting` until that passed; a word that is new is nothing to send requests to."""
    container = made(task("a", state=state))
    assert container.status is status
    assert container.health is Health.NONE, "a manager says nothing of it"
    assert container.task is not None
    assert container.task.state == state


def test_a_task_has_its_service_and_its_machine() -> None:
    """`explain` and the page show them, and a published port is reached there."""
    container = made(task("a", slot=3), service=service(), node=node())
    assert container.name == f"web.3.{task_id('a')}"
    assert container.engine is SWARM
    assert container.machine == "10.77.0.2"
    assert container.started_ns == 7
    assert container.task is not None
    assert (container.task.service, container.task.slot) == ("web", "3")
    assert (container.task.node, container.task.node_id) == ("worker", WORKER)


def test_a_task_of_a_global_service_is_named_by_its_node() -> None:
    """As its container is, and as `docker service ps` shows it."""
    container = made(task("a", slot=None, node=MANAGER), service=service())
    assert container.name == f"web.{MANAGER}.{task_id('a')}"
    assert container.task is not None
    assert container.task.slot == MANAGER


def test_the_labels_of_the_service_win_and_those_of_the_container_count() -> None:
    """Half of all users write them at `deploy.labels`, half at `labels`: both are right."""
    own = {"lbwatch.port": "1", "lbwatch.weight": "2", "org.x": "y" * 1000, SERVICE_LABEL: "forged"}
    container = made(task("a", labels=own), service=service(labels={"lbwatch.port": "8080"}))
    assert dict(container.labels) == {"lbwatch.port": "8080", "lbwatch.weight": "2", SERVICE_LABEL: "web"}


def test_a_port_is_guessed_where_there_is_one_only() -> None:
    """No manager says what an image exposes."""
    mesh = service(ports=[port(8080, 80)])
    assert made(task("a"), service=mesh).exposed == (8080,)
    assert made(task("a"), service=service(ports=[port(8080, 80), port(9090, 90)])).exposed == ()
    assert made(task("a", ports=[port(7070, 32770, mode="host")]), service=mesh).exposed == (7070,)
    assert made(task("a")).exposed == ()


def test_what_is_its_service_s_own_is_with_the_task() -> None:
    """For those that ask for it by `lbwatch.reach=vip`."""
    networks = [attached("10.0.0.7/24", id=INGRESS, name="ingress", ingress=True), attached("10.0.1.64/24")]
    about = service(
        ports=[port(8080, 80), port(9000, 9000, mode="host")],
        virtual=[{"NetworkID": OV, "Addr": "10.0.1.5/24"}, {"NetworkID": "elsewhere", "Addr": "10.0.9.5/24"}],
    )
    container = made(task("a", networks=networks), service=about)
    assert container.task is not None
    assert container.task.virtual == (Endpoint(network="ov", ipv4="10.0.1.5", driver="overlay"),)
    assert container.task.mesh == (Published(port=8080, host_port=80),)


@pytest.mark.parametrize(
    ("state", "desired", "leaves"),
    [
        ("running", "running", False),
        ("running", "complete", False),  # a job's, which should run until it ends by itself
        ("running", "shutdown", True),
        ("running", "remove", True),
        ("starting", "shutdown", False),
        ("shutdown", "shutdown", False),
        ("failed", "shutdown", False),
    ],
)
def test_it_leaves_while_it_runs_and_should_not(state: str, desired: str, *, leaves: bool) -> None:
    """Whoever does not run yet, or not any more, has nothing to drain."""
    read = task_of(json.dumps(task("a", state=state, desired=desired)).encode())
    assert read is not None
    words = leaving_words(read)
    assert (words is not None) is leaves
    assert words is None or desired in words


def test_the_exit_code_is_of_what_ended() -> None:
    """One that runs has a zero there, which is none."""
    ended = task("a", state="failed", desired="shutdown")
    ended["Status"]["ContainerStatus"]["ExitCode"] = 137
    assert made(ended).exit_code == 137
    assert made(task("a")).exit_code is None

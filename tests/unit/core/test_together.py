"""What engines and Swarms say is put together, each container once and by a name of its own."""

from dataclasses import replace

import pytest

from lbwatch.core.draining import Drains
from lbwatch.core.model import TASK_ID_LABEL, Container, ContainerStatus, Engine, Health, Snapshot, Task
from lbwatch.core.together import SwarmTruth, Together, worsened

A, B, SWARM = Engine(name="a"), Engine(name="b", order=1), Engine(name="swarm")
NODE = "com.docker.swarm.node.id"
TASK = Container(
    id="t" * 25, name="web.1.t", engine=SWARM, task=Task(service="web", service_id="s" * 25, slot="1", node_id="n" * 25)
)


def container(id: str, *, name: str = "web", engine: Engine = A) -> Container:
    return Container(id=id * 64, name=name, engine=engine)


def of_task(*, task: str = TASK.id, node: str = "n" * 25) -> Container:
    labels = ((NODE, node), (TASK_ID_LABEL, task))
    return replace(container("c", name=f"web.1.{task}"), labels=labels)


def snapshot(*containers: Container, engine: Engine = A, stopping: tuple[Container, ...] = ()) -> Snapshot:
    return Snapshot(
        source=engine.name,
        containers={each.id: each for each in containers},
        stopping={each.id: 1.0 for each in stopping},
    )


def swarm(*tasks: Container) -> SwarmTruth:
    return SwarmTruth(snapshot=snapshot(*tasks, engine=SWARM), nodes=frozenset(("n" * 25,)))


def test_one_engine_is_handed_on_as_it_is() -> None:
    """Whoever has one pays nothing for others."""
    one = snapshot(container("1"))
    (found,) = Together().of([one], [])
    assert found is one


def test_what_did_not_change_is_the_same_object() -> None:
    """A pass looks at what is another object, and all of ten thousand would be."""
    together, left, right = Together(), container("1"), container("2", engine=B)
    first = together.of([snapshot(left), snapshot(right, engine=B)], [swarm(TASK)])
    second = together.of([snapshot(left), snapshot(right, container("3", name="x", engine=B), engine=B)], [swarm(TASK)])
    assert {each.name for each in first[0].containers.values()} == {"a/web"}
    for before, after in zip(first, second, strict=True):
        assert all(after.containers[id] is each for id, each in before.containers.items())


def test_a_container_that_two_ways_lead_to_is_the_first_ones() -> None:
    """An engine may be set by its socket and by its address: its containers are not twice as many."""
    one = container("1")
    first, second = Together().of([snapshot(one), snapshot(replace(one, engine=B), engine=B)], [])
    assert (dict(first.containers), dict(second.containers)) == ({one.id: one}, {})


@pytest.mark.parametrize(
    ("found", "stays"),
    [
        (of_task(), False),
        (of_task(task="u" * 25), False),
        (of_task(node="o" * 25), False),
        (of_task(task="u" * 25, node="o" * 25), True),
    ],
    ids=["a task of it", "one that is not listed yet", "a node that is not listed yet", "another Swarm's"],
)
def test_only_the_containers_of_a_swarm_that_is_followed_are_not_their_engines(found: Container, stays: bool) -> None:
    """Those of one whose managers are not followed have served by their own labels before, and still do."""
    own, _ = Together().of([snapshot(found)], [swarm(TASK)])
    assert (found.id in own.containers) is stays


def test_a_stop_signal_on_its_node_is_its_tasks() -> None:
    """The managers may not know yet that it is to stop, and those who sent it by hand never tell them."""
    beside = container("2", name="beside")
    own, tasks = Together().of([snapshot(of_task(), beside, stopping=(of_task(), beside))], [swarm(TASK)])
    assert (dict(own.stopping), dict(tasks.stopping)) == ({beside.id: 1.0}, {TASK.id: 1.0})


def test_a_task_that_outlives_a_signal_by_hand_serves_again() -> None:
    """As any container does: only a stop that its Swarm wants has no way back."""
    drains, given = Drains(timeout_s=60.0), [snapshot(of_task(), stopping=(of_task(),))]
    by_hand = Together().of(given, [swarm(TASK)])
    assert (TASK.id in drains.draining(by_hand, by_hand=(), now=2.0)) is True
    assert (TASK.id in drains.draining(by_hand, by_hand=(), now=62.0)) is False
    told = swarm(TASK)
    told = replace(told, snapshot=replace(told.snapshot, leaving={TASK.id: "its Swarm is about to stop it"}))
    assert TASK.id in drains.draining(Together().of(given, [told]), by_hand=(), now=62.0)


@pytest.mark.parametrize(
    ("hint", "status", "health"),
    [
        ({"status": ContainerStatus.EXITED}, ContainerStatus.EXITED, Health.NONE),
        ({"status": ContainerStatus.PAUSED}, ContainerStatus.PAUSED, Health.NONE),
        ({"health": Health.UNHEALTHY}, ContainerStatus.RUNNING, Health.UNHEALTHY),
        ({"health": Health.STARTING}, ContainerStatus.RUNNING, Health.NONE),
        ({"health": Health.HEALTHY}, ContainerStatus.RUNNING, Health.NONE),
        ({"status": ContainerStatus.CREATED}, ContainerStatus.RUNNING, Health.NONE),
    ],
)
def test_a_node_is_believed_for_the_worse(
    hint: dict[str, ContainerStatus | Health], status: ContainerStatus, health: Health
) -> None:
    """It knows of a death seconds before a manager does; what is better than that the Swarm decides."""
    found = worsened(TASK, replace(of_task(), **hint))
    assert (found.status, found.health) == (status, health)


def test_what_an_image_exposes_is_known_where_its_node_is_followed() -> None:
    """Whoever has one engine, and a Swarm on it, has never needed to say a port."""
    (_, tasks) = Together().of([snapshot(replace(of_task(), exposed=(80,)))], [swarm(TASK)])
    assert tasks.containers[TASK.id].exposed == (80,)
    (_, tasks) = Together().of([snapshot(replace(of_task(), exposed=(80,)))], [swarm(replace(TASK, exposed=(81,)))])
    assert tasks.containers[TASK.id].exposed == (81,), "what the Swarm publishes goes before"


def test_a_death_is_not_forgotten_when_the_container_is_removed() -> None:
    """`docker rm -f`, or a Swarm that cleans up: until its managers know, requests would go to nobody."""
    together, dead = Together(), replace(of_task(), status=ContainerStatus.EXITED)
    together.of([snapshot(dead)], [swarm(TASK)])
    _, tasks = together.of([snapshot()], [swarm(replace(TASK, created_ns=1))])
    assert tasks.containers[TASK.id].status is ContainerStatus.EXITED


def test_a_container_that_is_not_listed_says_nothing_of_its_task() -> None:
    """Its engine may have lost sight of it, and the Swarm says that it runs."""
    together, paused = Together(), replace(of_task(), status=ContainerStatus.PAUSED)
    together.of([snapshot(paused)], [swarm(TASK)])
    _, tasks = together.of([snapshot()], [swarm(TASK)])
    assert tasks.containers[TASK.id].status is ContainerStatus.RUNNING


@pytest.mark.parametrize("status", [each for each in ContainerStatus if each is not ContainerStatus.RUNNING])
def test_a_node_is_never_believed_for_the_better(status: ContainerStatus) -> None:
    """A container that runs may be one whose task is not to serve yet, or not any more."""
    assert worsened(replace(TASK, status=status), of_task()).status is status

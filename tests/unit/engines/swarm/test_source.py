"""A Swarm as a source: what is heard leads to a look, and nothing that goes wrong takes a task out."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from swarmanswers import API, MANAGER, WEB, WORKER, node, service, task, task_id
from swarmsources import followed_swarm, found, is_leaving
from swarmstand import NO_LEADER, ManagerStand, manager
from waiting import eventually, never

from lbwatch.core.errors import SourceError
from lbwatch.core.model import ContainerStatus

NODES = (node(MANAGER, name="manager", address="10.77.0.1", manager="10.77.0.1:2377"), node(WORKER))
TWO = (service(), task("a", slot=1), task("b", slot=2), *NODES)


def names(stand: ManagerStand) -> list[str]:
    return [path for path in stand.requests if stand.requests[path]]


async def settled(stand: ManagerStand) -> None:
    """Wait until only the slow look goes on, which asks once a second."""

    def brisk() -> int:
        return sum(1 for each in stand.queries if "service" in each)

    while True:
        before = brisk()
        await asyncio.sleep(1.2)
        if brisk() == before:
            return


# -- what is heard


async def test_all_tasks_are_there_after_one_look_at_each_list() -> None:
    """A start costs three requests, whatever the number of tasks."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        a = found(source, "a")
        assert a is not None
        assert (a.name, a.status, a.machine) == (f"web.1.{task_id('a')}", ContainerStatus.RUNNING, "10.77.0.2")
        assert stand.requests["/tasks"] <= 2
        assert (stand.requests["/services"], stand.requests["/nodes"]) == (1, 1)


async def test_a_new_task_is_seen_soon_after_the_event_of_its_service() -> None:
    """A manager never tells of a task: the service's event is all that there is."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        await settled(stand)
        stand.have(task("c", slot=3, state="preparing", desired="ready"))  # which no list of what should run has
        stand.tell("service", "update", WEB)
        await eventually(lambda: found(source, "c"), within=2.0)
        stand.have(task("c", slot=3, version=72))
        await eventually(
            lambda: (c := found(source, "c")) is not None and c.status is ContainerStatus.RUNNING, within=2.0
        )


async def test_what_an_update_changed_is_kept_with_the_event() -> None:
    """`explain` of a task shows the events of its service, and attributes are not kept: ten updates would look alike."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        stand.tell("service", "update", WEB, **{"replicas.old": "3", "replicas.new": "2"})
        await eventually(source.recent)
        (event,) = source.recent()
        assert (event.action, event.container) == ("service update: replicas 3 -> 2", WEB)
        assert source.status().events == {"service update": 1}, "a number in it is no action of its own"


async def test_a_task_that_is_about_to_be_stopped_leaves_while_it_still_runs() -> None:
    """Three seconds before its stop signal: nothing else gives a drain before the signal."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        stand.have(task("b", slot=2, desired="shutdown", version=72))
        stand.tell("service", "update", WEB)
        await eventually(lambda: is_leaving(source, "b"), within=2.0)
        b = found(source, "b")
        assert b is not None
        assert b.status is ContainerStatus.RUNNING
        assert not is_leaving(source, "a")


async def test_what_a_drained_node_has_leaves_although_the_list_of_its_services_does_not_come() -> None:
    """In a big Swarm that is most of all tasks, and takes longer than the three seconds before their signals."""

    def without_services(path: str) -> Any:
        return asyncio.sleep(30.0) if path == "/tasks" and "service" in str(stand.latest_query) else None

    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        await settled(stand)
        stand.fault = without_services
        stand.have(task("b", slot=2, desired="shutdown", version=72))
        stand.tell("node", "update", WORKER, **{"availability.old": "active", "availability.new": "drain"})
        await eventually(lambda: is_leaving(source, "b"), within=1.0)
        assert not is_leaving(source, "a")


async def test_a_death_without_any_event_is_seen_by_the_slow_look() -> None:
    """A task that is killed while its node keeps others makes no event on any manager."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        await settled(stand)
        stand.have(task("b", slot=2, state="failed", desired="shutdown", version=72))
        stand.have(task("c", slot=2, state="ready", desired="ready"))
        await eventually(
            lambda: (b := found(source, "b")) is not None and b.status is ContainerStatus.EXITED, within=3.0
        )


async def test_a_death_that_is_marked_from_outside_is_seen_although_the_manager_lags() -> None:
    """What a node's own engine tells reaches `/tasks` half a second later: one look at once would find nothing."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        await settled(stand)
        looks = len(stand.queries)
        source.mark(WEB)
        await eventually(lambda: len(stand.queries) > looks + 1)
        stand.have(task("b", slot=2, state="failed", desired="shutdown", version=72))
        await eventually(
            lambda: (b := found(source, "b")) is not None and b.status is ContainerStatus.EXITED, within=0.8
        )


async def test_a_service_that_asks_for_nothing_costs_one_request_an_event_and_no_look() -> None:
    """Ten others' rolling updates must not make ten times the requests: only that it may ask now has to be known."""
    items = (*TWO, service(API, name="api", labels=None), task("x", service=API, labels=None))
    async with manager(*items) as stand, followed_swarm(stand) as source:
        await settled(stand)
        stand.queries.clear()
        before = stand.requests.copy()
        stand.tell("service", "update", API)
        await eventually(lambda: stand.requests["/services/ID"] > before["/services/ID"])
        await asyncio.sleep(0.5)
        assert stand.requests["/services/ID"] - before["/services/ID"] == 1
        assert all("service" not in each for each in stand.queries)
        assert found(source, "x") is not None, "it is shown all the same"


async def test_a_label_that_is_added_to_a_service_is_seen_at_once() -> None:
    """`docker service update --label-add` restarts no task, so that there is nothing else to notice."""
    items = (*TWO, service(API, name="api", labels=None), task("x", service=API))
    async with manager(*items) as stand, followed_swarm(stand) as source:
        stand.have(service(API, name="api", labels={"lbwatch.weight": "3"}))
        stand.tell("service", "update", API)
        await eventually(
            lambda: (x := found(source, "x")) is not None and ("lbwatch.weight", "3") in x.labels, within=1.0
        )


async def test_the_same_event_by_two_managers_is_one() -> None:
    """Every manager tells every event: two streams must not make twice the requests."""
    async with manager(*TWO) as one, manager(*TWO) as two, followed_swarm(one, two) as source:
        await settled(one)
        before = one.requests["/services/ID"] + two.requests["/services/ID"]
        said = one.tell("service", "update", WEB)
        await eventually(lambda: one.requests["/services/ID"] + two.requests["/services/ID"] > before)
        two.tell("service", "update", WEB, at_ns=said["timeNano"])
        await asyncio.sleep(0.3)
        assert one.requests["/services/ID"] + two.requests["/services/ID"] == before + 1
        assert source.status().events == {"service update": 1}


# -- what it costs


async def test_a_quiet_swarm_costs_one_request_a_second() -> None:
    """It is asked all day long."""
    async with manager(*TWO) as stand, followed_swarm(stand):
        await settled(stand)
        before = stand.requests.total()
        await asyncio.sleep(3.0)
        assert stand.requests.total() - before <= 3


async def test_an_update_that_waits_costs_no_more_than_a_quiet_swarm() -> None:
    """With an update delay of ten minutes most of an update is waiting."""
    async with manager(service(update="updating"), *TWO[1:]) as stand, followed_swarm(stand):
        await settled(stand)
        before = stand.requests.total()
        await asyncio.sleep(3.0)
        assert stand.requests.total() - before <= 4


async def test_a_burst_of_old_events_costs_a_few_requests() -> None:
    """When a lost quorum is back the whole missed log is told in ten milliseconds."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        await settled(stand)
        before = stand.requests.total()
        for _ in range(500):
            stand.tell("service", "update", WEB)
            stand.tell("node", "update", WORKER, **{"state.new": "ready"})
        await eventually(lambda: source.status().events.get("node update") == 500)
        await asyncio.sleep(1.0)
        assert stand.requests.total() - before <= 20


async def test_several_services_are_read_by_one_request() -> None:
    """The events of a stack's deployment come all at once."""
    gone = "service0000000000000000go"
    items = (*TWO, service(gone, name="gone"), task("g", service=gone))
    async with manager(*items) as stand, followed_swarm(stand) as source:
        await settled(stand)
        del stand.services[gone], stand.tasks[task_id("g")]
        stand.have(service(labels={"lbwatch.port": "9"}), service(API, name="api"), task("n", service=API))
        before = stand.requests["/services"] + stand.requests["/services/ID"]
        for id in (WEB, API, gone):
            stand.tell("service", "update", id)
        await eventually(lambda: found(source, "n") and not found(source, "g"), within=5.0)
        assert dict((source.containers() or {})[task_id("a")].labels)["lbwatch.port"] == "9"
        assert stand.requests["/services"] + stand.requests["/services/ID"] - before <= 2


# -- what goes wrong


def hang() -> Coroutine[Any, Any, None]:
    return asyncio.sleep(3600.0)


@pytest.mark.parametrize(
    "fault",
    [
        lambda path: (500, NO_LEADER) if path != "/events" else None,
        lambda path: (503, "This node is not a swarm manager.") if path != "/events" else None,
        lambda path: hang() if path != "/events" else None,
        lambda path: (403, "") if path != "/events" else None,
    ],
    ids=["no leader", "no manager", "hangs", "refused"],
)
async def test_a_manager_that_does_not_answer_changes_nothing(fault: Any) -> None:
    """The leader is cut off, the quorum lost: the tasks go on, and so does nginx with them."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        before = source.snapshot()
        stand.fault = fault
        stand.tasks.clear()
        stand.tell("service", "update", WEB)
        await eventually(lambda: not source.status().connected, within=10.0, what="it is said")
        assert source.status().error
        assert source.snapshot() is before
        stand.fault = lambda path: None
        stand.have(*TWO)
        await eventually(lambda: source.status().connected, within=10.0, what="it is over")
        assert source.snapshot() is not None
        assert found(source, "a") is not None


@pytest.mark.parametrize("path", ["/nodes", "/services", "/services/ID"])
async def test_one_question_that_is_refused_holds_up_no_other(path: str) -> None:
    """A proxy may be set to refuse it from one day on: what dies must leave all the same."""
    other = "node00000000000000000000c"
    async with manager(*TWO) as stand, followed_swarm(stand, resync_interval_s=1.0) as source:
        stand.fault = lambda asked: (403, "forbidden") if asked == path else None
        for type, id in (("service", WEB), ("node", WORKER)):
            stand.tell(type, "update", id)
        await eventually(lambda: "refused" in (source.status().error or ""), within=5.0)
        stand.have(task("b", slot=2, state="failed", desired="shutdown", version=72), service(API, name="api"))
        stand.have(task("c", slot=2, node=other), task("n", service=API))
        await eventually(lambda: (b := found(source, "b")) and b.status is ContainerStatus.EXITED, within=5.0)
        await eventually(lambda: found(source, "c"), within=5.0)
        assert not source.status().connected
        assert all(dict(each.labels).get("lbwatch.port") for each in (source.containers() or {}).values())
        stand.fault = lambda asked: None
        await eventually(lambda: source.status().connected, within=5.0)
        await eventually(lambda: found(source, "n"), within=5.0)


async def test_a_list_without_any_node_is_no_answer() -> None:
    """A manager is one itself; without their machines tasks with published ports are nowhere."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        stand.nodes.clear()
        stand.tell("node", "update", WORKER)
        await eventually(lambda: "no node" in (source.status().error or ""), within=5.0)
        a = found(source, "a")
        assert a is not None
        assert a.machine == "10.77.0.2"


async def test_the_next_door_is_asked_when_one_does_not_answer() -> None:
    """Followers answer as well as the leader: one manager that hangs costs its patience, once."""
    async with manager(*TWO) as one, manager(*TWO) as two, followed_swarm(one, two) as source:
        one.fault = lambda path: hang() if path != "/events" else None
        two.have(task("c", slot=3))
        two.tell("service", "update", WEB)
        await eventually(lambda: found(source, "c"), within=8.0)
        assert source.status().doors[0] == "door1"
        asked = one.requests.total()
        two.have(task("d", slot=4))
        two.tell("service", "update", WEB)
        await eventually(lambda: found(source, "d"), within=2.0)
        assert one.requests.total() == asked


async def test_an_answer_without_any_task_counts_only_if_it_is_given_twice() -> None:
    """A manager that has only just begun to learn may answer 200 and have nothing."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        await settled(stand)
        tasks, stand.tasks = stand.tasks, {}
        asked = stand.requests["/tasks"]
        await eventually(lambda: stand.requests["/tasks"] > asked)
        stand.tasks = tasks
        await never(lambda: found(source, "a") is None, during=1.5, what="it is out")


async def test_a_service_that_is_removed_takes_its_tasks_with_it_as_they_end() -> None:
    """They run for three seconds more, when nothing but their ids leads to them."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        del stand.services[WEB]
        for name, slot in (("a", 1), ("b", 2)):
            stand.have(task(name, slot=slot, desired="remove", version=72))
        stand.tell("service", "remove", WEB)
        await eventually(lambda: is_leaving(source, "a") and is_leaving(source, "b"), within=2.0)
        a = found(source, "a")
        assert a is not None
        assert ("lbwatch.port", "8080") in a.labels, "its service's labels still count"
        stand.tasks.clear()
        await eventually(lambda: not source.containers(), within=4.0)
        assert source.status().services == 0


async def test_a_removed_service_spoils_no_look_at_another() -> None:
    """For one service that is not there a manager answers 404 for all that were asked for."""
    items = (*TWO, service(API, name="api"), task("x", service=API))
    async with manager(*items) as stand, followed_swarm(stand) as source:
        del stand.services[WEB]
        stand.tasks = {id: each for id, each in stand.tasks.items() if each["ServiceID"] == API}
        stand.have(task("y", service=API, slot=2))
        source.mark(WEB)
        source.mark(API)
        await eventually(lambda: found(source, "y") and not found(source, "a"), within=3.0)


async def test_a_service_that_came_and_went_unseen_is_asked_for_once() -> None:
    """Nothing is known of it but an event: it must not be asked for without end, nor keep others from being read."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        await settled(stand)
        stand.tell("service", "create", API)
        source.mark(API)
        source.mark(WEB)
        stand.have(task("c", slot=3))
        await eventually(lambda: found(source, "c"), within=2.0)
        await settled(stand)
        before = stand.requests.total()
        await asyncio.sleep(2.0)
        assert stand.requests.total() - before <= 2
        assert source.status().error is None


async def test_an_answer_that_cannot_be_read_changes_nothing() -> None:
    """Whole or nothing: one task without an id, and what else is said is not believed."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        before = source.snapshot()
        stand.tasks = {"?": task("c") | {"ID": "../../x"}}
        stand.tell("service", "update", WEB)
        await eventually(lambda: "no id" in (source.status().error or ""))
        assert source.snapshot() is before


async def test_one_task_can_be_looked_at_and_one_that_is_not_there_is_none() -> None:
    """`explain` wants to know it as it is now."""
    async with manager(*TWO) as stand, followed_swarm(stand) as source:
        stand.have(task("c", slot=3))
        seen = await source.look(task_id("c"))
        assert seen is not None
        assert seen.name.startswith("web.3.")
        del stand.tasks[task_id("c")]
        assert await source.look(task_id("c")) is None
        with pytest.raises(SourceError, match="no id of a task"):
            await source.look("../secrets")


async def test_events_that_cannot_be_had_cost_news_and_no_truth() -> None:
    """A proxy may allow all but the stream."""
    async with manager(*TWO) as stand:
        stand.fault = lambda path: (403, "") if path == "/events" else None
        async with followed_swarm(stand, synced=False) as source:
            await eventually(source.snapshot, within=8.0)
            assert not source.status().connected
            assert "GET /tasks" in (source.status().error or "")

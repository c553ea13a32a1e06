"""What is kept of a Swarm: parts are taken whole, and what an answer does not speak of stays as it was."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from swarmanswers import API, MANAGER, WANTED, WEB, WORKER, node, service, task, task_id

from lbwatch.core.model import ContainerStatus
from lbwatch.engines.docker.scope import Scope
from lbwatch.engines.swarm.answers import SwarmTask, nodes_of, service_of, task_of
from lbwatch.engines.swarm.model import ENDED_S, Swarm
from lbwatch.engines.swarm.settling import Unrest


def tasks(*items: dict[str, Any]) -> list[SwarmTask]:
    return [found for item in items if (found := task_of(json.dumps(item).encode())) is not None]


def services(*items: dict[str, Any]) -> list[Any]:
    return [service_of(json.dumps(item).encode()) for item in items]


def nodes(*items: dict[str, Any]) -> tuple[Any, ...]:
    return nodes_of(json.dumps(items).encode())


def swarm(*items: dict[str, Any], about: tuple[dict[str, Any], ...] = (), expose_all: bool = False) -> Swarm:
    known = Swarm(Scope(prefix="lbwatch", expose_all=expose_all))
    known.take_all(tasks(*items), services(*(about or (service(),))), nodes(node(), node(MANAGER)), now=0.0)
    return known


def shown(known: Swarm) -> dict[str, str]:
    """What each task is, by the test's name for it."""
    return {id.removeprefix("task").rstrip("0"): str(each.status) for id, each in known.containers().items()}


def dead(name: str, state: str = "failed", **more: Any) -> dict[str, Any]:
    return task(name, state=state, desired="shutdown", **more)


# -- what is shown


def test_what_ended_before_it_was_known_is_not_shown() -> None:
    """A Swarm remembers five dead tasks of each place: they would be five sixths of every list."""
    known = swarm(task("a", slot=1), dead("x", slot=1), dead("y", "shutdown", slot=1), task("b", slot=2))
    assert shown(known) == {"a": "running", "b": "running"}


def test_of_a_place_that_nobody_has_the_latest_that_broke_down_is_shown() -> None:
    """A service that gave up has nothing else that could say why it does not serve."""
    older = dead("x", slot=1, CreatedAt="2026-11-29T09:00:00Z")
    assert shown(swarm(older, dead("y", slot=1))) == {"y": "exited"}
    assert shown(swarm(dead("z", "shutdown", slot=1))) == {}, "that one was told to stop"


def test_who_ends_is_shown_for_a_minute() -> None:
    """A restart loop is known by it, and `explain` has the reason."""
    known = swarm(task("a", slot=1))
    fallen = tasks(dead("a", slot=1, version=72), task("b", slot=1))
    known.take_tasks(fallen, of=[WEB], now=10.0)
    assert shown(known) == {"a": "exited", "b": "running"}
    known.take_tasks(fallen, of=[WEB], now=10.0 + ENDED_S - 1)
    assert shown(known) == {"a": "exited", "b": "running"}
    known.take_tasks(fallen, of=[WEB], now=10.0 + ENDED_S)
    assert shown(known) == {"b": "running"}


def test_a_job_that_is_done_is_shown_for_a_minute() -> None:
    """A Swarm keeps all tasks of a job that are done, as its history."""
    known = swarm(task("a", slot=1, desired="complete"))
    assert not known.snapshot("swarm").leaving
    assert known.unrest(WEB) == Unrest()
    done = tasks(task("a", slot=1, state="complete", desired="complete"), task("b", slot=2, desired="complete"))
    known.take_tasks(done, of=[WEB], now=10.0)
    assert shown(known) == {"a": "exited", "b": "running"}
    assert known.unrest(WEB) == Unrest()


def test_a_task_is_shown_once_its_service_is_known() -> None:
    """Without its service's labels it could be taken for one of another upstream."""
    known = swarm(task("a"))
    known.take_wanted(tasks(task("a"), task("n", service=API)), now=1.0)
    assert (known.unknown_services(), shown(known)) == ((API,), {"a": "running"})
    known.take_service(*services(service(API, name="api")))
    assert shown(known) == {"a": "running", "n": "running"}
    gone = "service0000000000000000go"
    known.take_wanted(tasks(task("a"), task("n", service=API), task("g", service=gone)), now=2.0)
    known.drop_service(gone)
    assert shown(known)["g"] == "running"  # what is known of it is all that there will ever be


def test_a_node_that_no_list_has_any_more_is_where_it_was_while_a_task_runs_there() -> None:
    """Its tasks' published ports are reached there: the end of a task is its own news."""
    known = swarm(task("a"))
    known.take_nodes(nodes(node(MANAGER)))
    assert known.containers()[task_id("a")].machine == "10.77.0.2"
    known.take_all((), list(known.services.values()), known.nodes.values(), now=1.0)
    known.take_nodes(nodes(node(MANAGER)))
    assert set(known.nodes) == {MANAGER}


def test_who_is_wanted_is_shown_whatever_it_is() -> None:
    """One that waits for a node, and one that the Swarm has not yet noticed to be dead."""
    known = swarm(task("a", state="pending", node=""), task("b", slot=2, state="failed"))
    assert shown(known) == {"a": "created", "b": "exited"}


def test_it_started_when_it_was_seen_to_run_first() -> None:
    """Later reports of the same task have a later time, and would look like a restart."""
    known = swarm(task("a", at="2026-11-29T10:00:05Z"))
    (before,) = known.containers().values()
    known.take_tasks(tasks(task("a", version=72, at="2026-11-29T11:00:00Z")), of=[WEB], now=1.0)
    (after,) = known.containers().values()
    assert after is before, "nothing that matters is another"
    known.take_tasks(tasks(dead("a", version=73)), of=[WEB], now=2.0)
    (ended,) = known.containers().values()
    assert (ended.status, ended.started_ns) == (ContainerStatus.EXITED, before.started_ns)


# -- parts


def test_the_tasks_of_one_service_are_no_news_of_another() -> None:
    """Whoever was not asked for is not gone."""
    known = swarm(task("a"), task("x", service=API), about=(service(), service(API, name="api")))
    assert known.take_tasks([], of=[WEB], now=1.0) == {WEB}
    assert shown(known) == {"x": "running"}


def test_the_list_of_those_that_should_run_takes_nobody_out() -> None:
    """Who is not among them may still run, and is told to go: only a look at the service says which."""
    known = swarm(task("a", slot=1), task("b", slot=2))
    assert known.take_wanted(tasks(task("a", slot=1)), now=1.0) == {WEB}
    assert shown(known) == {"a": "running", "b": "running"}
    assert known.take_wanted(tasks(task("a", slot=1), task("b", slot=2)), now=2.0) == set()


def test_the_list_of_those_that_should_run_brings_in_who_is_new() -> None:
    """Where it was read first, there is no reason to wait for the look at the service."""
    known = swarm(task("a", slot=1))
    assert known.take_wanted(tasks(task("a", slot=1), task("b", slot=2)), now=1.0) == {WEB}
    assert shown(known) == {"a": "running", "b": "running"}


def test_who_waits_to_be_started_anew_is_not_missing() -> None:
    """It should be `ready` meanwhile, which is not what is asked for."""
    known = swarm(task("a", slot=1), task("b", slot=2, state="ready", desired="ready"))
    assert known.take_wanted(tasks(task("a", slot=1)), now=1.0) == set()


def test_who_leaves_is_not_missed_again_each_second() -> None:
    """Or each would be looked at once more by each list."""
    known = swarm(task("a", slot=1), task("b", slot=2, desired="shutdown"))
    assert known.take_wanted(tasks(task("a", slot=1)), now=1.0) == set()


def test_the_tasks_of_a_removed_service_keep_its_labels_until_they_end() -> None:
    """They serve for three seconds more, by those."""
    known = swarm(task("a", desired="remove"))
    known.drop_service(WEB)
    (container,) = known.containers().values()
    assert dict(container.labels)["lbwatch.port"] == "8080"
    assert known.alive_of([WEB]) == (task_id("a"),)
    known.take_named([], ids=[task_id("a")], now=1.0)
    assert shown(known) == {}
    assert not known.services
    assert not known.removed


def test_all_that_there_is_settles_what_was_removed() -> None:
    """Nobody may have told of it."""
    known = swarm(task("a"), task("x", service=API), about=(service(), service(API, name="api")))
    known.take_all(tasks(task("a", desired="remove")), services(), nodes(node()), now=1.0)
    assert known.removed == {WEB}
    assert shown(known) == {"a": "running"}
    known.take_all([], services(), nodes(node()), now=2.0)
    assert (shown(known), known.services) == ({}, {})


def test_a_label_of_the_service_or_a_node_s_address_makes_other_containers() -> None:
    """No task changes by it."""
    known = swarm(task("a"))
    known.take_change()
    known.take_service(services(service(labels=WANTED | {"lbwatch.weight": "3"}))[0])
    assert known.take_change()
    known.take_nodes(nodes(node(address="10.77.0.9"), node(MANAGER)))
    assert known.take_change()
    (container,) = known.containers().values()
    assert ("lbwatch.weight", "3") in container.labels
    assert container.machine == "10.77.0.9"
    known.take_nodes(nodes(node(address="10.77.0.9"), node(MANAGER)))
    assert not known.take_change(), "the same again is no change"


def test_a_node_that_is_not_known_to_be_well_changes_nothing() -> None:
    """For two seconds after each change of leaders all of them are `unknown`."""
    known = swarm(task("a"))
    known.take_change()
    known.take_nodes(nodes(node(state="unknown"), node(MANAGER, state="down")))
    assert not known.take_change()


def test_what_is_equal_stays_the_same() -> None:
    """Each list is read by itself, and of ten thousand tasks nothing need be made anew."""
    known = swarm(task("a"))
    (before,) = known._made.values()
    known.take_tasks(tasks(task("a")), of=[WEB], now=1.0)
    (after,) = known._made.values()
    assert after is before


# -- who asks, and why it is looked at again


def test_a_service_asks_by_its_own_labels_or_those_of_its_containers() -> None:
    """Users write them at either."""
    nothing, about = service(labels=None), service(labels=None, container_labels=WANTED)
    assert swarm(task("a")).asks(WEB)
    assert swarm(about=(about,)).asks(WEB), "its tasks are still to come"
    assert swarm(task("a", labels=WANTED), about=(nothing,)).asks(WEB), "its tasks are of before an update"
    assert not swarm(task("a"), about=(nothing,)).asks(WEB)
    assert swarm(task("a"), about=(nothing,), expose_all=True).asks(WEB)
    assert not swarm().asks("elsewhere")


def test_a_service_is_restless_while_anything_is_under_way() -> None:
    """And nothing else keeps it from being left alone."""
    assert swarm(task("a")).unrest(WEB) == Unrest()
    assert swarm(about=(service(update="updating"),)).unrest(WEB).updating
    assert not swarm(about=(service(update="paused"),)).unrest(WEB).any
    assert swarm(task("a", state="starting")).unrest(WEB).comes
    assert swarm(task("a", desired="shutdown")).unrest(WEB).leaves
    assert not swarm(task("a", state="shutdown", desired="shutdown")).unrest(WEB).any


def test_nobody_waits_for_the_end_of_what_is_on_a_lost_node() -> None:
    """It stays as it is for a day, and then is orphaned."""
    known = swarm(task("a", desired="shutdown"))
    known.take_nodes(nodes(node(state="down")))
    assert not known.unrest(WEB).leaves
    assert known.snapshot("swarm").leaving, "it drains all the same"


def test_the_services_on_a_node_are_those_of_what_runs_there() -> None:
    """A node's event marks them."""
    about = (service(), service(API, name="api"))
    known = swarm(task("a"), task("x", service=API, node=MANAGER), about=about)
    assert (known.on_node(WORKER), known.on_node(MANAGER)) == ((WEB,), (API,))


def test_what_tasks_speak_of_and_is_not_known_is_named() -> None:
    """It must be asked for before they can be judged."""
    known = swarm(task("a"), task("x", service=API, node="node00000000000000000000c"))
    assert known.unknown_services() == (API,)
    assert known.unknown_nodes() == {"node00000000000000000000c"}
    known.drop_service(API)
    assert known.unknown_services() == ()


_states = st.sampled_from(["pending", "running", "failed", "shutdown"])
_desired = st.sampled_from(["running", "ready", "shutdown", "remove"])
_worlds = st.lists(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([WEB, API]), _states, _desired), max_size=6),
    min_size=1,
    max_size=6,
)


@given(_worlds, st.data())
def test_after_the_same_answers_the_same_runs_whatever_was_before(worlds: Any, data: st.DataObject) -> None:
    """Parts in any order, then all: what runs, leaves or is wanted is what the last answer says."""
    about = services(service(), service(API, name="api"))
    known = swarm(about=(service(), service(API, name="api")))
    for number, world in enumerate(worlds):
        listed = tasks(
            *(
                task(f"{name}{'w' if of == WEB else 'x'}", service=of, state=state, desired=desired)
                for name, of, state, desired in {
                    (name, of): (name, of, state, desired) for name, of, state, desired in world
                }.values()
            )
        )
        now = float(number)
        match data.draw(st.sampled_from(["tasks", "wanted", "named", "all"])):
            case "tasks":
                known.take_tasks([each for each in listed if each.service_id == WEB], of=[WEB], now=now)
            case "wanted":
                known.take_wanted([each for each in listed if each.desired == "running"], now=now)
            case "named":
                known.take_named(listed[:1], ids=[each.id for each in listed[:2]], now=now)
            case "all":
                known.take_all(listed, about, nodes(node()), now=now)
    known.take_all(listed, about, nodes(node()), now=100.0)
    fresh = swarm(about=(service(), service(API, name="api")))
    fresh.take_all(listed, about, nodes(node()), now=100.0)
    for one, other in ((known, fresh), (fresh, known)):
        mine = one.containers()
        assert all(other.containers().get(id) is not None for id, each in mine.items() if each.status.is_up)
    assert known.snapshot("s").leaving == fresh.snapshot("s").leaving
    assert known.alive == fresh.alive
    assert set(known._made) == {id for each in known._tasks.values() for id in each}
    assert set(known._ended_at) <= set(known._made)
    assert set(known._started_ns) <= set(known._made)

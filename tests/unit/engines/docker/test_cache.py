"""The cache of containers alone: whatever comes in, in whatever order, what inspect said last is what is known."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.model import Container, ContainerStatus, Endpoint, Event, Health
from lbwatch.core.schedule import Backoff
from lbwatch.core.selector import Selector
from lbwatch.engines.docker import cache as cache_room
from lbwatch.engines.docker.cache import MAX_FAILED_LOOKS, MAX_NAMED, MAX_STALE_LOOKS, ContainerCache
from lbwatch.engines.docker.queue import Priority
from lbwatch.engines.docker.scope import Scope
from lbwatch.engines.docker.turns import MAX_LOOKS

OURS = {"lbwatch.port": "80"}
TERM = 15
LABELLED = ("a1", "a2", "a3")
PLAIN = ("p1", "p2")


def cache_of(
    *, expose_all: bool = False, follows: Selector | None = None, variables: frozenset[str] = frozenset()
) -> ContainerCache:
    return ContainerCache(
        Scope(prefix="lbwatch", expose_all=expose_all, follows=follows, variables=variables),
        backoff=lambda: Backoff(first=0.1, limit=2.0, random=lambda: 0.5),
    )


def labels_of(id: str) -> dict[str, str]:
    """Labels never change in a container's life, so that its id says whether it has ours."""
    return OURS if id in LABELLED else {}


def container(id: str, *, status: ContainerStatus = ContainerStatus.RUNNING, **given: Any) -> Container:
    labels = given.pop("labels", labels_of(id))
    return Container(id=id, labels=tuple(labels.items()), status=status, **{"name": id, "started_ns": 1} | given)


def event(id: str | None, action: str = "start", **given: Any) -> Event:
    labels = given.pop("labels", None if id is None else labels_of(id) | {"name": id})
    return Event(action=action, container=id, labels=labels, **given)


@dataclass
class Around:
    """What the source does around a cache: it keeps whom to look at, and takes events, lists and answers to it."""

    cache: ContainerCache = field(default_factory=cache_of)
    marked: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)  # ever
    lists: int = 0
    owed: set[str] = field(default_factory=set)
    now: float = 1.0

    def hear(self, event: Event, *, age_s: float | None = None) -> bool:
        matters = self.cache.matters(event)
        todo = self.cache.handle_event(event, matters=matters, now=self.now, age_s=age_s)
        self._mark(todo.inspect)
        self.lists += todo.list
        return todo.publish

    def list(self, *listed: Container) -> bool:
        todo = self.cache.handle_list(listed)
        self._mark(todo.inspect)
        return todo.publish

    def look(self, id: str, found: Container | None, *, priority: Priority = Priority.EVENT) -> Container | None:
        """An answer; gives what it shows to have drifted."""
        self.marked.discard(id)
        todo = self.cache.handle_inspect(id, found, priority=priority, event_waits=False, owed=id in self.owed)
        self.owed.discard(id)
        self._mark(todo.inspect)
        self.lists += todo.list
        return todo.drifted

    def fail(self, id: str) -> bool:
        """A look that fails; gives whether the others wait no more."""
        self.owed.add(id)
        retry = self.cache.handle_failure(id, "500", retry=True)
        assert retry is not None
        return retry.publish

    def known(self) -> dict[str, Container] | None:
        self.cache.publish(now=self.now)
        snapshot = self.cache.snapshot("engine")
        return None if snapshot is None else dict(snapshot.containers)

    def _mark(self, ids: Iterable[str]) -> None:
        self.marked.update(ids)
        self.asked.update(ids)


# -- properties

_statuses = st.sampled_from([ContainerStatus.RUNNING, ContainerStatus.EXITED, ContainerStatus.CREATED])
_starts = st.integers(0, 3)
_actions = st.sampled_from(["create", "start", "die", "kill", "destroy"])


@st.composite
def _containers(draw: st.DrawFn, ids: Iterable[str] = LABELLED + PLAIN) -> Container:
    return container(draw(st.sampled_from(sorted(ids))), status=draw(_statuses), started_ns=draw(_starts))


@st.composite
def _events(draw: st.DrawFn) -> Event:
    """Of networks, too, which carry no labels."""
    id, action = draw(st.sampled_from(LABELLED + PLAIN)), draw(_actions)
    return event(id, action, labels=None) if draw(st.booleans()) else event(id, action)


@st.composite
def _answers(draw: st.DrawFn) -> tuple[str, Container | None]:
    found = draw(_containers(LABELLED))
    return found.id, draw(st.sampled_from([found, found, None]))


_lists = st.lists(_containers(), max_size=5, unique_by=lambda each: each.id)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("event"), _events()),
        st.tuples(st.just("list"), _lists),
        st.tuples(st.just("answer"), _answers()),
        st.tuples(st.just("answer"), _answers()),
        st.tuples(st.just("failure"), st.sampled_from(LABELLED)),
    ),
    max_size=30,
)


def take(around: Around, kind: str, what: Any) -> None:
    around.now += 1.0
    if kind == "event":
        around.hear(what)
    elif kind == "list":
        around.list(*what)
    elif kind == "answer":
        around.look(*what)
    else:
        around.fail(what)


@given(_steps)
def test_what_is_published_is_what_inspect_said_last(steps: list[tuple[str, Any]]) -> None:
    """Events wake, lists propose: whoever believed them would route to yesterday."""
    around, truth = Around(), dict[str, Container | None]()
    for kind, what in steps:
        take(around, kind, what)
        if kind == "answer":
            id, found = what
            truth[id] = found
        elif kind == "failure":
            truth.pop(what, None)  # another test's
        known = around.known()
        if known is not None:
            assert {id: known.get(id) for id in truth} == truth


@given(_steps, _lists, _lists, st.data())
def test_once_all_was_looked_at_the_snapshot_is_what_the_engine_has(
    steps: list[tuple[str, Any]], had: list[Container], has: list[Container], data: st.DataObject
) -> None:
    """However wrong it went before, failed looks and a list that lags included."""
    around, world = Around(), {each.id: each for each in has}
    for kind, what in steps:
        take(around, kind, what)
    around.list(*had)
    for id in world.keys() - {each.id for each in had}:  # what the list lacks is new, and has its event
        around.hear(event(id))
    while around.marked:
        id = data.draw(st.sampled_from(sorted(around.marked)))
        around.look(id, world.get(id), priority=data.draw(st.sampled_from(Priority)))
    known = around.known()
    assert known is not None
    assert _labelled(known.values()) == _labelled(world.values())


def _labelled(containers: Iterable[Container]) -> dict[str, Container]:
    return {each.id: each for each in containers if each.id in LABELLED}


@given(_steps, _lists)
def test_nobody_is_known_before_all_of_a_list_was_looked_at(steps: list[tuple[str, Any]], had: list[Container]) -> None:
    """A snapshot of the few that events named first would take all others out of service."""
    around = Around()
    for kind, what in steps:
        if kind not in ("list", "failure"):
            take(around, kind, what)
            assert around.known() is None, "no list yet"
    around.list(*had)
    while around.marked & (unseen := set(around.cache._unseen)):
        assert unseen >= _labelled(had).keys() & around.marked
        assert around.known() is None
        around.look(min(unseen), None)
    assert around.known() is not None


@given(st.integers(1, MAX_STALE_LOOKS - 1), _containers(["a1"]), _lists)
def test_a_look_that_fails_keeps_the_last_truth(failures: int, seen: Container, listed: list[Container]) -> None:
    """An engine that is overloaded must not take its containers out of service, whatever its list says meanwhile."""
    around, truth = Around(), replace(seen, started_ns=5)
    around.list(truth)
    around.look("a1", truth)
    around.known()
    around.list(*listed)
    around.look("a3", container("a3"))  # the engine answers, but for this one
    for _ in range(failures):
        around.fail("a1")
        assert (around.known() or {})["a1"] == truth


@given(_steps)
def test_nothing_unlabelled_costs_an_inspect(steps: list[tuple[str, Any]]) -> None:
    """A CI host starts thousands of containers that are none of our business."""
    around = Around()
    for kind, what in steps:
        if kind != "event" or what.labels is not None:  # an event of a network tells nothing of who it is about
            take(around, kind, what)
    assert around.asked <= set(LABELLED)


# -- what must be looked at


def test_an_event_that_names_no_container_asks_for_a_list() -> None:
    """A line that could not be read may have been about any."""
    around = Around()
    around.hear(event(None, "unreadable"))
    assert (around.lists, around.marked) == (1, set())


def test_of_an_event_without_labels_decides_what_was_known() -> None:
    """Events of networks carry none; one of a stranger might be about a container of ours."""
    around = Around()
    around.hear(event("a1", "connect", labels=None))
    assert around.marked == {"a1"}
    around.hear(event("p1", "create"))
    around.hear(event("p1", "connect", labels=None))
    assert around.marked == {"a1"}
    around.list(container("p2"))
    around.hear(event("p2", "connect", labels=None))
    assert around.marked == {"a1"}


def test_with_expose_all_every_event_matters() -> None:
    """`expose=all` routes containers without labels."""
    around = Around(cache_of(expose_all=True))
    around.hear(event("p1"))
    around.list(container("p2"))
    assert around.marked == {"p1", "p2"}


def test_nginx_s_own_container_is_looked_at_although_it_asks_for_nothing() -> None:
    """Whether it runs, and where, decides how it is reloaded; a rename is told by its new name."""
    around = Around(cache_of(follows=Selector(named="edge")))
    around.hear(event("p1", labels={"name": "edge"}))
    assert around.marked == {"p1"}
    around.look("p1", container("p1", name="edge"))
    around.hear(event("p1", "rename", labels={"name": "other"}))
    assert around.marked == {"p1"}


def test_the_owner_of_a_network_is_looked_at_from_when_its_user_is_known() -> None:
    """When it dies, its user is unreachable, and that is the only event."""
    owner = "f" * 64
    around = Around()
    around.list(container(owner))
    assert around.marked == set()
    around.look("a1", container("a1", network_of=owner))
    assert around.marked == {owner}
    around.look(owner, container(owner))
    around.hear(event(owner, "die"))
    assert around.marked == {owner}
    around.look("a1", None)
    around.look(owner, container(owner))
    around.hear(event(owner, "die"))
    assert around.marked == set(), "and no longer than that"


def test_a_name_as_long_as_an_id_is_not_looked_at_as_one() -> None:
    """Nobody would ever answer: it was tried again for good."""
    around = Around()
    for owner in ("vpn-" * 16, "../../exec/x?".ljust(64, "x"), "A" * 64):
        around.look("a1", container("a1", network_of=owner))
        assert owner not in around.marked
        assert owner not in around.asked


def test_an_owner_that_is_known_by_its_name_alone_asks_for_a_list() -> None:
    """No look takes a name; only by events, lest each list ask for the next one."""
    around = Around()
    around.look("a1", container("a1", network_of="vpn"), priority=Priority.LISTED)
    assert around.lists == 0
    around.look("a1", container("a1", network_of="vpn"))
    assert (around.lists, around.marked) == (1, set())
    around.list(container("p1", name="vpn"), container("a1", network_of="vpn"))
    assert around.marked == {"p1", "a1"}


# -- lists


def test_a_list_that_holds_nothing_to_look_at_is_published_as_it_is() -> None:
    """A host without containers of ours is known, too."""
    around = Around()
    assert around.list(container("p1"))
    assert set(around.known() or ()) == {"p1"}


def test_what_a_list_lacks_is_looked_at_before_it_is_believed() -> None:
    """It may be a stale list, or a new container."""
    around = Around()
    around.list(container("a1"))
    around.look("a1", container("a1"))
    around.known()
    assert not around.list()
    assert around.marked == {"a1"}
    assert set(around.known() or ()) == {"a1"}
    around.look("a1", None)
    assert around.known() == {}


def test_unlabelled_containers_are_known_by_name_until_the_list_after_the_next() -> None:
    """`explain` looks for them by name; that they are gone only a list tells, and it lags."""
    around = Around()
    around.list()
    around.hear(event("p1", "create"))
    assert set(around.known() or ()) == {"p1"}
    around.list()
    assert set(around.known() or ()) == {"p1"}, "the list may be older than the event"
    around.list()
    assert around.known() == {}
    for word in ("destroy", "remove"):  # Docker's and Podman's
        around.hear(event("p2", "create"))
        assert set(around.known() or ()) == {"p2"}
        around.hear(event("p2", word))
        assert around.known() == {}


def test_only_so_many_unlabelled_containers_are_known_by_name() -> None:
    """A CI host makes thousands between two lists."""
    around = Around()
    around.list()
    for number in range(MAX_NAMED + 10):
        around.hear(event(f"p-{number}", "create"))
    assert len(around.known() or ()) == MAX_NAMED


def test_of_so_many_only_is_known_that_they_ask_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine may name any number between two lists; a network's event of one more costs a look."""
    monkeypatch.setattr(cache_room, "MAX_UNLABELLED", 3)
    monkeypatch.setattr(cache_room, "MAX_NAMED", 2)
    around = Around()
    around.list()
    for number in range(10):
        around.hear(event(f"p-{number}", "create"))
        around.hear(event(f"p-{number}", "connect", labels=None))
    assert around.marked == {f"p-{number}" for number in range(3, 10)}


# -- drift


def changed_at_a_resync(around: Around) -> Container | None:
    around.list(container("a1"))
    around.look("a1", container("a1"), priority=Priority.LISTED)
    around.list(container("a1"))
    return around.look("a1", container("a1", status=ContainerStatus.EXITED), priority=Priority.RESYNC)


def test_a_change_that_a_resync_found_is_drift_unless_an_event_comes_soon() -> None:
    """Events may only be late; an alarm that rings for nothing is switched off."""
    around = Around()
    assert changed_at_a_resync(around) is not None
    around.hear(event("a1", "die"))
    assert not around.cache.confirm_drift("a1")
    assert around.cache.drift == 0


def test_drift_is_counted_once() -> None:
    """It is the number of changes, not of times that anyone asked."""
    around = Around()
    assert changed_at_a_resync(around) is not None
    assert around.cache.confirm_drift("a1")
    assert not around.cache.confirm_drift("a1")
    assert around.cache.drift == 1


@pytest.mark.parametrize("priority", [Priority.EVENT, Priority.LISTED])
def test_what_an_event_or_a_connection_found_is_no_drift(priority: Priority) -> None:
    """An event did tell, or the gap is known."""
    around = Around()
    around.list(container("a1"))
    around.look("a1", container("a1"))
    assert around.look("a1", container("a1", status=ContainerStatus.EXITED), priority=priority) is None


@pytest.mark.parametrize("told", ["event_waits", "owed"])
def test_what_waits_for_its_look_is_no_drift(told: str) -> None:
    """Its event was heard: the resync was only faster."""
    cache = cache_of()
    cache.handle_inspect("a1", container("a1"), priority=Priority.EVENT, event_waits=False, owed=False)
    how = {"event_waits": False, "owed": False} | {told: True}
    todo = cache.handle_inspect("a1", container("a1", status=ContainerStatus.EXITED), priority=Priority.RESYNC, **how)
    assert todo.drifted is None


def test_changes_that_no_event_tells_are_no_drift() -> None:
    """While a container is down its address goes without a word."""
    around = Around()
    around.look("a1", container("a1", status=ContainerStatus.EXITED))
    found = container("a1", status=ContainerStatus.EXITED, started_ns=9)
    assert around.look("a1", found, priority=Priority.RESYNC) is None


def test_a_driver_that_is_known_at_last_is_no_drift() -> None:
    """A proxy that let the question through changed nothing of the container."""
    around = Around()
    ends = (Endpoint(network="front", ipv4="172.18.0.2"), Endpoint(network="vpn", ipv4="10.8.0.2"))
    around.look("a1", container("a1", endpoints=ends))
    known = tuple(replace(end, driver="bridge") for end in ends)
    assert around.look("a1", container("a1", endpoints=known), priority=Priority.RESYNC) is None
    moved = (replace(known[0], ipv4="172.18.0.3"), known[1])
    assert around.look("a1", container("a1", endpoints=moved), priority=Priority.RESYNC) is not None


def test_addresses_of_another_s_network_are_no_drift() -> None:
    """Podman shows the owner's as one's own, and only the owner's events tell of them."""
    around = Around()
    ends = (Endpoint(network="podman", ipv4="10.88.0.2"),)
    around.look("a1", container("a1", endpoints=ends, network_of="b" * 64))
    assert around.look("a1", container("a1", network_of="b" * 64), priority=Priority.RESYNC) is None
    around.look("a2", container("a2", endpoints=ends))
    assert around.look("a2", container("a2"), priority=Priority.RESYNC) is not None


# -- signals


def test_a_signal_is_published_before_any_look() -> None:
    """It is in no state, and the look may hang with the lock that the stop holds."""
    around = Around()
    around.list(container("a1"))
    around.look("a1", container("a1", started_ns=1, stop_signal=TERM))
    around.known()
    around.now = 50.0
    assert around.hear(event("a1", "kill", at_ns=2, signal=TERM))
    snapshot = around.cache.snapshot("engine")
    assert snapshot is not None
    assert snapshot.stopping == {"a1": 50.0}
    assert not around.hear(event("a1", "die"))


@pytest.mark.parametrize("event_waits", [True, False])
def test_a_signal_to_the_next_life_outlasts_an_answer_about_the_former(event_waits: bool) -> None:
    """The answer is older than the start of which an event waits: it says `exited`, and that life was told nothing."""
    around = Around()
    around.list(container("a1"))
    around.look("a1", container("a1", started_ns=1, stop_signal=TERM))
    around.known()
    around.hear(event("a1", "kill", at_ns=9, signal=TERM))
    around.cache.handle_inspect(
        "a1",
        container("a1", status=ContainerStatus.EXITED),
        priority=Priority.EVENT,
        event_waits=event_waits,
        owed=False,
    )
    around.look("a1", container("a1", started_ns=8, stop_signal=TERM))
    snapshot = around.cache.snapshot("engine")
    assert snapshot is not None
    assert bool(snapshot.stopping) is event_waits


# -- deaths


def died(around: Around, id: str, *, at_ns: int = 9, age_s: float | None = None) -> tuple[ContainerStatus, bool]:
    """What is known of a container after the event of its death, and whether that is published at once."""
    published = around.hear(event(id, "die", at_ns=at_ns), age_s=age_s)
    return (around.known() or {})[id].status, published


def test_a_death_is_published_before_any_look() -> None:
    """The look waits for the container's lock, and each request until then goes to nobody."""
    around = Around()
    around.list(container("a1"), container("a2"))
    around.look("a1", container("a1", started_ns=5))
    around.look("a2", container("a2", started_ns=5))
    assert died(around, "a1") == (ContainerStatus.EXITED, True)
    assert around.marked == {"a1"}, "and inspect settles it"
    assert died(around, "a2", at_ns=4) == (ContainerStatus.RUNNING, False), "of a life before this one"
    assert died(around, "a2", at_ns=9, age_s=1.0) == (ContainerStatus.RUNNING, False), "told again"


@pytest.mark.parametrize("retry", [True, False])
def test_a_death_that_a_new_stream_tells_counts_once_the_look_at_it_fails(retry: bool) -> None:
    """An engine that is told to stop serves the stream to its end, and from Engine 26 on no look."""
    around = Around()
    around.list(container("a1"))
    around.look("a1", alive := container("a1", started_ns=5))
    assert died(around, "a1", age_s=0.3) == (ContainerStatus.RUNNING, False)
    around.cache.handle_failure("a1", "away", retry=retry)
    assert (around.known() or {})["a1"].status is ContainerStatus.EXITED
    around.look("a1", alive)
    assert (around.known() or {})["a1"] == alive, "inspect has the last word"


@pytest.mark.parametrize("event_waits", [True, False])
def test_an_answer_from_before_a_death_does_not_bring_it_back(event_waits: bool) -> None:
    """A look that was on its way when the event came says `running`, and another one waits."""
    around = Around()
    around.list(container("a1"))
    around.look("a1", container("a1", started_ns=5))
    died(around, "a1")
    alive = container("a1", started_ns=5)
    around.cache.handle_inspect("a1", alive, priority=Priority.EVENT, event_waits=event_waits, owed=False)
    expected = ContainerStatus.EXITED if event_waits else ContainerStatus.RUNNING
    assert (around.known() or {})["a1"].status is expected
    around.look("a1", alive)
    assert (around.known() or {})["a1"] == alive, "inspect has the last word"
    assert not around.cache.dead


def test_a_death_that_no_look_settles_is_what_the_list_says_in_the_end() -> None:
    """Were it believed for good, a container whose inspect hangs would never come back after its restart."""
    around = Around()
    around.list(container("a1"), container("a3"))
    around.look("a3", container("a3"))
    around.look("a1", alive := container("a1", started_ns=5))
    died(around, "a1")
    for failures in range(1, MAX_STALE_LOOKS + 1):
        around.list(container("a1", started_ns=0), container("a3"))
        cannot_look_at(around, "a1", times=1)
        expected = ContainerStatus.EXITED if failures < MAX_STALE_LOOKS else ContainerStatus.RUNNING
        assert (around.known() or {})["a1"].status is expected
    assert (around.known() or {})["a1"] == alive


@given(_steps, _containers(["a1"]), st.integers(0, 9))
def test_whatever_dies_is_in_the_end_what_inspect_says(
    steps: list[tuple[str, Any]], found: Container, at_ns: int
) -> None:
    """A death is believed for a moment only, whatever came before it."""
    around = Around()
    around.list(container("a1"))
    for kind, what in steps:
        take(around, kind, what)
    around.hear(event("a1", "die", at_ns=at_ns))
    around.look("a1", found)
    around.known()
    assert around.cache._containers["a1"] == found
    assert "a1" not in around.cache.dead


# -- what the engine forgets


@pytest.mark.parametrize("before", [Health.HEALTHY, Health.UNHEALTHY])
def test_health_outlasts_an_engine_that_forgot_it(before: Health) -> None:
    """After a restart under live-restore it says `starting` of each, though nothing stopped."""
    around = Around()
    around.list(container("a1"))
    around.look("a1", container("a1", health=before))
    around.list(container("a1"))  # after the next connection
    around.look("a1", container("a1", health=Health.STARTING), priority=Priority.LISTED)
    assert (around.known() or {})["a1"].health is before
    around.look("a1", container("a1", health=Health.STARTING, started_ns=9))
    assert (around.known() or {})["a1"].health is Health.STARTING, "another life"


# -- what nothing is known of


def test_a_container_is_unknown_until_a_list_or_a_look_told_of_it() -> None:
    """What is known is looked at before what an event alone named; of that there may be any number."""
    around = Around()
    around.list(container("a2"))
    around.hear(event("a1"))
    assert [around.cache.knows(id) for id in ("a1", "a2")] == [False, True]
    around.look("a1", container("a1", name="web-1"))
    assert around.cache.knows("a1")
    assert [around.cache.name_of(id) for id in ("a1", "a2", "f" * 64)] == ["web-1", "a2", "f" * 12]


def test_what_a_list_alone_tells_of_is_looked_at_first() -> None:
    """It may be what a flood of events about others kept out."""
    around = Around()
    around.list(container("a1"), container("a2"))
    around.look("a1", container("a1"))
    around.look("a2", container("a2"))
    todo = around.cache.handle_list([container("a1"), container("a2"), container("a3")])
    assert todo.inspect[0] == "a3"


# -- publishing


def test_the_first_event_since_the_last_snapshot_is_what_it_is_about() -> None:
    """How long a change took to arrive at nginx counts from there."""
    around = Around()
    around.now = 3.0
    around.hear(event("a1"))
    around.now = 4.0
    around.hear(event("a1"))
    assert around.cache.publish(now=5.0) == 3.0
    assert around.cache.publish(now=6.0) is None


def test_when_all_was_looked_at_is_kept() -> None:
    """The status shows how old a full look is."""
    around = Around()
    around.list(container("a1"), container("a2"))
    around.look("a1", container("a1"))
    assert (around.known(), around.cache.looked_through) == (None, False)
    around.look("a2", container("a2"))
    assert around.cache.looked_through
    around.now = 7.0
    assert set(around.known() or ()) == {"a1", "a2"}
    around.now = 8.0
    around.known()
    assert around.cache.synced_at == 7.0


def test_labels_that_cannot_matter_are_not_kept() -> None:
    """They may be megabytes long."""
    around = Around()
    around.list(container("a1"), container("p1", labels={"readme": "x"}))
    around.look("a1", container("a1", labels=OURS | {"readme": "x"}))
    assert {id: dict(each.labels) for id, each in (around.known() or {}).items()} == {"a1": OURS, "p1": {}}


def test_an_equal_answer_keeps_the_container_that_was_known() -> None:
    """Whoever compares two snapshots compares identities first."""
    around = Around()
    around.list(container("a1"))
    around.look("a1", container("a1"))
    before = (around.known() or {})["a1"]
    around.look("a1", container("a1"))
    assert (around.known() or {})["a1"] is before


# -- failed looks


def cannot_look_at(around: Around, id: str, *, times: int) -> list[bool]:
    """Let another one answer, and this one fail so often."""
    around.look("a3", container("a3"))
    return [around.fail(id) for _ in range(times)]


def test_one_that_cannot_be_looked_at_does_not_hold_back_the_first_snapshot() -> None:
    """Else one sick container would keep every other one unrouted after a restart of lbwatch."""
    around = Around()
    around.list(container("a1", started_ns=0), container("a3"))
    assert cannot_look_at(around, "a1", times=MAX_FAILED_LOOKS) == [False] * (MAX_FAILED_LOOKS - 1) + [True]
    assert set(around.known() or ()) == {"a1", "a3"}


def test_where_no_look_succeeds_nobody_is_believed() -> None:
    """The engine is sick, and its list may be from before the crash."""
    around = Around()
    around.list(container("a1", started_ns=0))
    assert [around.fail("a1") for _ in range(10)] == [False] * 10
    assert around.known() is None
    assert around.cache.failed.error == "500"


def test_the_last_truth_goes_before_a_list_until_its_end_is_certain() -> None:
    """A list lags, but not for as long as so many looks take; and what it says of a start is never believed."""
    around = Around()
    around.list(container("a1"))
    around.look("a1", truth := container("a1", started_ns=5))
    around.list(container("a1", started_ns=0, status=ContainerStatus.EXITED), container("a3"))
    cannot_look_at(around, "a1", times=MAX_STALE_LOOKS - 1)
    assert (around.known() or {})["a1"] == truth
    around.list(container("a1", started_ns=0, status=ContainerStatus.EXITED), container("a3"))
    cannot_look_at(around, "a1", times=1)
    assert (around.known() or {})["a1"] == replace(truth, status=ContainerStatus.EXITED)
    around.list(container("a1", started_ns=0), container("a3"))
    cannot_look_at(around, "a1", times=1)
    assert (around.known() or {})["a1"].status is ContainerStatus.EXITED


def test_what_only_lists_told_of_is_as_the_latest_list_says() -> None:
    """First seen before its start it would stay out for as long as it cannot be looked at."""
    around = Around()
    around.list(container("a1", started_ns=0, status=ContainerStatus.CREATED), container("a3"))
    cannot_look_at(around, "a1", times=MAX_FAILED_LOOKS)
    around.list(container("a1", started_ns=0), container("a3"))
    cannot_look_at(around, "a1", times=1)
    assert (around.known() or {})["a1"].status is ContainerStatus.RUNNING


def test_a_failure_that_something_else_makes_up_for_plans_nothing() -> None:
    """Each resync would add one more try for ever."""
    cache = cache_of()
    assert cache.handle_failure("a1", "500", retry=False) is None
    assert cache.failed.error == "500"
    retry = cache.handle_failure("a1", "500", retry=True)
    assert retry is not None
    assert (retry.attempt, retry.publish) == (1, False)


def test_tries_grow_apart_and_start_over_after_a_success() -> None:
    """An engine with a broken container must not be asked for it ten times a second for ever."""
    cache = cache_of()
    waits = []
    for _ in range(3):
        retry = cache.handle_failure("a1", "500", retry=True)
        assert retry is not None
        waits.append(retry.wait_s)
    assert waits == pytest.approx([0.075, 0.15, 0.3])
    cache.handle_inspect("a1", container("a1"), priority=Priority.EVENT, event_waits=False, owed=True)
    retry = cache.handle_failure("a1", "500", retry=True)
    assert retry is not None
    assert retry.attempt == 1


def test_a_look_from_before_the_list_shows_nothing_of_the_engine_now() -> None:
    """It may have broken since: whether it answers must be seen anew before it is believed of one that it is the sick one."""
    around = Around()
    around.list(container("a1", started_ns=0), container("a3"))
    around.look("a3", container("a3"))
    around.list(container("a1", started_ns=0), container("a3"))
    assert [around.fail("a1") for _ in range(5)] == [False] * 5
    assert around.known() is None


def test_the_last_truth_goes_before_a_list_that_lags() -> None:
    """A name may have gone to another container since, and it is how the owner of a network may be known."""
    around = Around()
    around.list()
    around.hear(event("p1", "create", labels={"name": "vpn"}))
    around.list(container("p1", name="old"), container("a1", network_of="vpn"))
    assert around.marked == {"p1", "a1"}


def test_a_resync_of_thousands_looks_at_some_in_turn_and_a_new_stream_at_all() -> None:
    """Ten thousand looks cost five seconds of CPU, each half minute; after an outage nothing less will do."""
    cache = cache_of()
    many = [
        Container(id=f"{number:064x}", name=f"c{number}", labels=(("lbwatch.port", "80"),)) for number in range(1200)
    ]
    assert len(cache.handle_list(many).inspect) == 1200
    for each in many:
        cache.handle_inspect(each.id, each, priority=Priority.LISTED, event_waits=False, owed=False)
    cache.publish(now=1.0)
    again = cache.handle_list(many, heard_all=True)
    assert len(again.inspect) == MAX_LOOKS
    snapshot = cache.snapshot("engine")
    assert snapshot is not None
    assert len(snapshot.containers) == 1200
    assert len(cache.handle_list(many).inspect) == 1200


def test_whose_environment_is_known_is_forgotten_with_the_container() -> None:
    """A daemon runs for years; and a list that lagged costs one look more."""
    around = Around(cache=cache_of(variables=frozenset(("HOST",))))
    around.list(container("p1"), container("p2"))
    assert around.marked == {"p1", "p2"}
    for id in ("p1", "p2"):
        around.look(id, container(id), priority=Priority.LISTED)
    around.list(container("p1"))
    assert around.marked == set()
    around.list(container("p1"), container("p2"))
    assert around.marked == {"p2"}


@given(st.data())
def test_whatever_comes_in_who_has_a_variable_is_known_as_it_was_looked_at(data: st.DataObject) -> None:
    """No list and no event has the variable: neither may take it away, nor hide that nobody knows."""
    around = Around(cache=cache_of(variables=frozenset(("HOST",))))
    env = (("HOST", "foo.tld"),)
    around.list(*map(container, PLAIN))
    for _ in range(data.draw(st.integers(0, 12))):
        step = data.draw(st.sampled_from(["event", "list", "look"]))
        id = data.draw(st.sampled_from(PLAIN))
        if step == "event":
            around.hear(event(id, data.draw(st.sampled_from(["create", "start", "die", "kill"])), at_ns=7))
        elif step == "list":
            around.list(*map(container, PLAIN))
        elif id in around.marked:
            around.look(id, container(id, env=env), priority=Priority.LISTED)
        known = around.known()
        for each in () if known is None else PLAIN:
            assert (each in known and known[each].env == env) or each in around.marked, (
                "it is known, or about to be looked at"
            )

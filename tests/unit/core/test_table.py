"""What is decided pass by pass is what would be decided from nothing, and what did not change is the same object."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import UPSTREAMS, container, rules, snapshot
from worlds import any_world

from lbwatch.core.changes import changed_ids
from lbwatch.core.model import Container, ContainerStatus, Health, Plan, Reason, Suspended, Upstream
from lbwatch.core.plan import Rules, desired_state
from lbwatch.core.table import Table


class Passes:
    """A table with one engine's containers, pass by pass."""

    def __init__(self, rules_: Rules | None = None) -> None:
        self.rules = rules_ or Rules()
        self.containers: dict[str, Container] = {}
        self._table = Table()

    def plan(self, *containers: Container, suspended: Suspended | None = None) -> Plan:
        now = {each.id: each for each in containers}
        changed = changed_ids(self.containers, now)
        self.containers = now
        return self._table.plan(now, changed=changed, rules=self.rules, suspended=suspended or Suspended())


Step = tuple[str, int, int]
"""What happens to which container, and a number for how."""

steps = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("gone", "status", "health", "name", "unused", "start", "owner", "new"),
                *("looping", "draining", "declare", "paused", "kept"),
            )
        ),
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    max_size=12,
)


def _another(container: Container, what: str, number: int, *, world: list[Container]) -> Container:
    """Return a container after something happened to it."""
    other = world[number % len(world)]
    changes: dict[str, dict[str, Any]] = {
        "status": {"status": list(ContainerStatus)[number % len(ContainerStatus)]},
        "health": {"health": list(Health)[number % len(Health)]},
        "name": {"name": other.name},
        "unused": {"name": f"unused{number}"},
        "start": {"started_ns": container.started_ns + 1},
        "owner": {"network_of": (other.id, other.name, None)[number % 3]},
    }
    return replace(container, **changes[what])


@given(any_world, any_world, rules, steps)
def test_pass_by_pass_comes_to_the_same_as_from_nothing(
    world: tuple[Container, ...], later: tuple[Container, ...], rules_: Rules, taken_steps: list[Step]
) -> None:
    """Whatever is kept only saves time: a server that stays by mistake would get requests for ever."""
    passes = Passes(rules_)
    there = {each.id: each for each in world}
    looping, draining = dict[str, float](), dict[str, str]()
    paused, kept = frozenset[str](), dict[str, Upstream]()
    for what, which, number in [("status", 0, 1), *taken_steps]:
        ids = list(there)
        id = ids[which % len(ids)] if ids else ""
        if what == "new" and later:
            there |= {each.id: each for each in [later[which % len(later)]]}
        elif what == "declare":
            passes.rules = replace(rules_, declare=("later", f"more{number}")[: number % 3])
        elif what == "gone":
            there.pop(id, None)
        elif what == "looping":
            looping = {id: float(number)}
        elif what == "draining":
            draining = {id: f"reason {number}"}
        elif what == "paused":
            paused ^= {UPSTREAMS[number % len(UPSTREAMS)].lower()}
        elif what == "kept":
            names = UPSTREAMS[: number % 3]
            kept = {name.lower(): Upstream(name=name.lower(), hold_s=float(number), keepalive=which) for name in names}
        elif ids and what != "new":
            there[id] = _another(there[id], what, number, world=list(there.values()))
        suspended = Suspended(crash_looping=looping, draining=draining, paused=paused, kept=kept)
        plan = passes.plan(*there.values(), suspended=suspended)
        assert plan == desired_state([snapshot(tuple(there.values()))], rules=passes.rules, suspended=suspended)


def labelled(name: str, **more: Any) -> Container:
    return container(name, labels={"lbwatch.upstream": more.pop("upstream", name)}, **more)


def test_nothing_new_gives_the_very_same_plan() -> None:
    """A second of quiet must cost nothing, however many containers there are."""
    passes = Passes()
    world = [labelled("one"), labelled("two")]
    assert passes.plan(*world) is passes.plan(*world)


def test_who_is_not_concerned_keeps_the_very_same_upstream_and_routes() -> None:
    """What is the same object need not be compared, rendered or logged again."""
    passes = Passes()
    one, two = labelled("one"), labelled("two")
    before = passes.plan(one, two)
    after = passes.plan(one, replace(two, status=ContainerStatus.PAUSED))
    assert after.upstreams[0] is before.upstreams[0]
    assert after.routes[0] is before.routes[0]
    assert after.upstreams[1] != before.upstreams[1]


@pytest.mark.parametrize("new", ["a", "m", "z"])
@pytest.mark.parametrize("old", ["c", "x"])
def test_an_upstream_that_comes_when_another_goes_stands_in_its_own_place(old: str, new: str) -> None:
    """A renamed container's default upstream is another one: the old name must go, and nobody else's with it."""
    passes = Passes()
    stays, renamed = [container(name) for name in ("b", "n", "y")], container(old)
    passes.plan(*stays, renamed)
    now = (*stays, replace(renamed, name=new))
    plan = passes.plan(*now)
    assert [each.name for each in plan.upstreams] == sorted(["b", "n", "y", new])
    assert plan == desired_state([snapshot(now)], rules=passes.rules)


def test_an_upstream_that_comes_when_another_is_removed_stands_in_its_own_place() -> None:
    """So it is within one pass of a deploy by hand: one container is removed and another one started."""
    passes = Passes()
    first, middle = labelled("b"), labelled("y")
    passes.plan(first, labelled("c"), middle)
    now = (first, middle, labelled("z"))
    assert passes.plan(*now) == desired_state([snapshot(now)], rules=passes.rules)


def test_a_container_that_goes_leaves_nothing_behind() -> None:
    """Memory stays flat however many come and go."""
    passes = Passes()
    passes.plan(labelled("one"), container("side", network_of=labelled("one").id))
    assert passes.plan() == Plan()
    empty = vars(Table())
    left = {key for key, value in vars(passes._table).items() if key.startswith("_") and value != empty[key]}
    bookkeeping = {"_applications", "_addresses", "_upstreams", "_rows", "_hosts", "_streams"}
    assert left <= {"_rules", "_plan", "_suspended"} | bookkeeping
    assert not passes._table._streams._asked
    rows = passes._table._rows
    assert not (rows._rows or rows._named or rows._routes or rows._containers.names)
    assert not passes._table._applications._contests
    assert not passes._table._addresses._contests


def compose(project: str, service: str, *, created_ns: int, number: int = 1) -> Container:
    labels = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": service,
        "lbwatch.enable": "true",
    }
    return container(f"{project}.{service}.{number}", labels=labels, created_ns=created_ns)


def taken(plan: Plan) -> set[str]:
    return {each.container for each in plan.routes if each.reason is Reason.NAME_TAKEN}


def test_a_default_name_belongs_to_the_older_application() -> None:
    """Requests of one application must not go to another since project and service happen to read alike."""
    older = [compose("shop", "api-v2", created_ns=1, number=each) for each in (1, 2)]
    younger = compose("shop-api", "v2", created_ns=2)
    passes = Passes()
    plan = passes.plan(*older, younger)
    assert taken(plan) == {younger.name}
    assert {server.container for server in plan.upstreams[0].servers} == {each.name for each in older}
    (route,) = [each for each in plan.routes if each.container == younger.name]
    assert "service api-v2 of Compose project shop" in (route.detail or "")
    assert "lbwatch.upstream" in (route.detail or "")
    # It is theirs as long as one of them exists, running or not.
    last = replace(older[1], status=ContainerStatus.EXITED)
    assert taken(passes.plan(last, younger)) == {younger.name}
    assert taken(passes.plan(younger)) == set()


def test_names_that_differ_in_case_alone_are_one_default_name() -> None:
    """nginx does not tell Web from web."""
    older, younger = (container(name, labels={"lbwatch.enable": "true"}) for name in ("Web", "web"))
    assert taken(Passes().plan(older, replace(younger, created_ns=older.created_ns + 1))) == {"web"}


def test_whoever_names_the_upstream_joins_on_purpose() -> None:
    """A label is somebody's will; a default name is nobody's."""
    older = compose("shop", "web", created_ns=1)
    joins = container("other", labels={"lbwatch.upstream": "shop-web"}, created_ns=2)
    plan = Passes().plan(older, joins)
    assert taken(plan) == set()
    assert len(plan.upstreams[0].servers) == 2


def test_replicas_of_a_recreated_service_are_one_application() -> None:
    """Compose makes new containers at each deploy; they are the same service."""
    old, new = compose("shop", "web", created_ns=1), compose("shop", "web", created_ns=2, number=2)
    assert taken(Passes().plan(old, new)) == set()

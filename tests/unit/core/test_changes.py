"""What changed from pass to pass is found by identity; whatever it takes for the same must be the same."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from strategies import container

from lbwatch.core.changes import (
    RowChanges,
    changed_containers,
    changed_ids,
    changed_upstreams,
    routes_of,
    spliced,
    upstreams_of,
)
from lbwatch.core.model import Degraded, Level, Plan, Reason, Route, Server, ServerState, Upstream

ONE, TWO = container("one"), container("two")


def test_containers_that_changed_came_or_went_are_found() -> None:
    """One that is overlooked would stay as it was for ever."""
    before = {ONE.id: ONE, TWO.id: TWO}
    assert changed_ids(before, dict(before)) == []
    assert changed_ids(before, {ONE.id: ONE, TWO.id: replace(TWO)}) == [TWO.id]
    assert changed_ids(before, {ONE.id: ONE}) == [TWO.id]
    assert changed_ids({}, before) == [ONE.id, TWO.id]


names = st.lists(st.sampled_from([f"c{number:03}" for number in range(150)]), unique=True)


def table(names: list[str], *, replaced: list[str], known: dict[str, Route]) -> tuple[Route, ...]:
    """Make routes, two for each container; those that are known and not replaced are the same objects."""
    made = []
    for name in sorted(names):
        for upstream in ("a", "b"):
            key = f"{name}/{upstream}"
            if key not in known or name in replaced:
                known[key] = Route(container=name, upstream=upstream, reason=Reason.STARTING, detail="")
            made.append(known[key])
    return tuple(made)


@given(names, names, names)
def test_containers_whose_routes_are_others_are_found(before: list[str], after: list[str], replaced: list[str]) -> None:
    """In a few or in many, at the same places or elsewhere."""
    known: dict[str, Route] = {}
    old = table(before, replaced=[], known=known)
    new = table(after, replaced=replaced, known=known)
    both = set(before) & set(after)
    assert changed_containers(old, new) == (set(before) ^ set(after)) | (both & set(replaced))


@given(names, names, names)
def test_routes_are_found_and_replaced_by_their_containers(
    before: list[str], wanted: list[str], later: list[str]
) -> None:
    """As if all of them had been looked at."""
    routes = table(before, replaced=[], known={})
    assert routes_of(routes, wanted) == [each for each in routes if each.container in wanted]
    new = {name: table([name], replaced=[], known={}) if name in later else () for name in wanted}
    expected = sorted(
        [each for each in routes if each.container not in wanted] + [each for few in new.values() for each in few],
        key=lambda each: (each.container, each.upstream),
    )
    assert list(spliced(routes, new)) == expected


def upstream(name: str, *addresses: str) -> Upstream:
    return Upstream(name=name, servers=tuple(Server(address=each, port=80, container="c") for each in addresses))


def test_upstreams_that_changed_came_or_went_are_found() -> None:
    """Whether one took another's place or all stand elsewhere."""
    a, b, c = upstream("a"), upstream("b"), upstream("c")
    other = upstream("b", "10.0.0.1")
    assert changed_upstreams((a, b), (a, b)) == ()
    assert changed_upstreams((a, b), (a, other)) == ((b, other),)
    assert changed_upstreams((a, b), (a, c)) == ((b, None), (None, c))
    assert changed_upstreams((b,), (a, b)) == ((None, a),)
    assert changed_upstreams((a, b), (b,)) == ((a, None),)


@given(names, names)
def test_upstreams_are_found_by_their_names(there: list[str], wanted: list[str]) -> None:
    """Whether a few are looked for or many."""
    upstreams = tuple(upstream(name) for name in sorted(there))
    assert [each.name for each in upstreams_of(upstreams, wanted)] == sorted(set(there) & set(wanted))


def served(name: str, upstream: str) -> Route:
    return Route(container=name, upstream=upstream, state=ServerState.UP)


def test_rows_change_with_what_runs_too() -> None:
    """The plan may be the same for minutes while nginx refuses it."""
    a, b = upstream("a", "10.0.0.1"), upstream("b", "10.0.0.2")
    plan = Plan(upstreams=(a, b), routes=(served("one", "a"), served("two", "b")))
    rows = RowChanges()
    assert rows.containers(plan, in_force=(), degraded=()) == {"one", "two"}
    assert rows.containers(plan, in_force=(a,), degraded=()) == {"one", "two"}
    assert rows.containers(plan, in_force=plan.upstreams, degraded=()) == {"two"}
    assert rows.containers(plan, in_force=plan.upstreams, degraded=()) == set()
    assert rows.containers(plan, in_force=tuple(plan.upstreams), degraded=()) == set()
    bad = (Degraded(upstream="a", level=Level.PLAIN, error="no"),)
    assert rows.containers(plan, in_force=plan.upstreams, degraded=bad) == {"one"}
    assert rows.containers(plan, in_force=plan.upstreams, degraded=()) == {"one"}

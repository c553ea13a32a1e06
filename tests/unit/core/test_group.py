"""One upstream out of its candidates; what did not change is the same object. The rules are in test_plan."""

from dataclasses import replace

from strategies import container

from lbwatch.core.group import Group, grouped
from lbwatch.core.model import Container, Health, NoticeKind, Reason, ServerState, Sticky
from lbwatch.core.placement import Candidate, Rules, placement_of


def candidate(container: Container) -> Candidate:
    (only,) = placement_of(container, owner=container, rules=Rules()).candidates
    return only


ONE = candidate(container("one", labels={"lbwatch.upstream": "web"}))
TWO = candidate(container("two", labels={"lbwatch.upstream": "web"}))
SICK = candidate(container("sick", labels={"lbwatch.upstream": "web"}, health=Health.UNHEALTHY))


def web(
    *candidates: Candidate,
    draining: dict[str, str] | None = None,
    sticky_refusal: str | None = None,
    before: Group | None = None,
) -> Group:
    return grouped("web", list(candidates), draining=draining or {}, sticky_refusal=sticky_refusal, before=before)


def test_the_same_candidates_make_the_same_objects() -> None:
    """Whatever compares, renders or logs can tell by identity that nothing changed."""
    before = web(ONE, TWO, SICK)
    after = web(TWO, ONE, SICK, before=before)
    assert after.upstream is before.upstream
    served = [route for route in after.routes if route.server is not None]
    assert len(served) == 2
    assert all(any(route is old for old in before.routes) for route in served)


def test_a_route_of_before_is_not_used_for_another_state() -> None:
    """The same server, but all of them drain now."""
    before = web(ONE)
    after = web(ONE, draining={ONE.container.id: "why"}, before=before)
    assert [route.state for route in before.routes] == [ServerState.UP]
    assert [route.state for route in after.routes] == [ServerState.DRAINING]


def test_who_is_left_out_has_its_reason() -> None:
    """Each candidate has a row, whatever becomes of it."""
    reasons = {route.container: route.reason for route in web(ONE, SICK).routes}
    assert reasons == {"one": None, "sick": Reason.UNHEALTHY}
    out = replace(TWO, server=None, reason=Reason.PAUSED, detail="it is paused")
    assert [route.detail for route in web(out).routes] == ["it is paused"]


STICKY = candidate(container("st", labels={"lbwatch.upstream": "web", "lbwatch.sticky": "cookie sid"}))
DRAIN = {ONE.container.id: "why"}


def states(group: Group) -> dict[str, tuple[ServerState | None, bool]]:
    """The state of each container's server, and whether it is written as one that drains."""
    return {
        route.container: (route.state, route.server is not None and route.server.draining) for route in group.routes
    }


def kinds(group: Group) -> list[tuple[str, NoticeKind]]:
    return sorted((name, notice.kind) for name, notice in group.notices)


def test_who_drains_stays_for_its_clients_where_these_stay_with_their_servers() -> None:
    """A deploy would throw each of them out of its session otherwise."""
    group = web(ONE, TWO, STICKY, draining=DRAIN)
    assert group.upstream.sticky == Sticky(cookie="sid")
    assert [(each.container, each.draining) for each in group.upstream.servers] == [
        ("one", True),
        ("st", False),
        ("two", False),
    ]
    assert states(group) == {
        "one": (ServerState.DRAINING, True),
        "two": (ServerState.UP, False),
        "st": (ServerState.UP, False),
    }
    assert kinds(group) == [("one", NoticeKind.KEEPS_CLIENTS)]
    assert group.notices[0][1].detail.startswith("why: clients that it has in upstream web stay with it")


def test_without_sticky_who_drains_is_left_out() -> None:
    """As ever."""
    group = web(ONE, TWO, draining=DRAIN)
    assert [each.container for each in group.upstream.servers] == ["two"]
    assert kinds(group) == []


def test_a_last_resort_is_no_server_that_drains() -> None:
    """New clients need one, too."""
    group = web(ONE, STICKY, draining=DRAIN | {STICKY.container.id: "why"})
    assert {each.draining for each in group.upstream.servers} == {False}
    assert {state for state, _ in states(group).values()} == {ServerState.DRAINING}
    assert {kind for _, kind in kinds(group)} == {NoticeKind.SERVES_DRAINING}


def test_who_drains_and_is_sick_keeps_no_clients() -> None:
    """They are better off elsewhere."""
    group = web(SICK, STICKY, draining={SICK.container.id: "why"})
    assert [each.container for each in group.upstream.servers] == ["st"]
    assert {route.container: route.reason for route in group.routes} == {"sick": Reason.DRAINING, "st": None}


def test_a_load_balancer_that_cannot_do_it_drops_it_and_says_why() -> None:
    """To each who asked; the container serves all the same."""
    group = web(ONE, STICKY, draining=DRAIN, sticky_refusal="this one is old")
    assert (group.upstream.sticky, [each.container for each in group.upstream.servers]) == (None, ["st"])
    assert kinds(group) == [("st", NoticeKind.STICKY_DROPPED)]
    assert group.notices[0][1].detail == "sticky is not used: this one is old"


def test_of_two_cookies_the_oldest_containers_counts() -> None:
    """As for the method."""
    other = candidate(container("zz", labels={"lbwatch.upstream": "web", "lbwatch.sticky": "cookie other"}))
    group = web(other, STICKY)
    assert group.upstream.sticky == Sticky(cookie="sid")
    assert kinds(group) == [("zz", NoticeKind.STICKY_DIFFERS)]
    assert "upstream web has sticky cookie sid" in group.notices[0][1].detail


def test_what_drains_stays_the_same_objects_too() -> None:
    """Identity tells that nothing changed."""
    before = web(ONE, TWO, STICKY, draining=DRAIN)
    after = web(ONE, TWO, STICKY, draining=DRAIN, before=before)
    assert after.upstream is before.upstream
    assert all(any(route is old for old in before.routes) for route in after.routes)
    undrained = web(ONE, TWO, STICKY, before=after)
    assert {each.draining for each in undrained.upstream.servers} == {False}
    assert states(undrained)["one"] == (ServerState.UP, False)


def test_at_one_address_whoever_is_ready_serves() -> None:
    """A second line at the same place would double its weight, and one that drains would hide it."""
    same = replace(TWO, server=replace(ONE.server, container="two"), place=ONE.place)  # type: ignore[type-var]
    group = web(ONE, same, STICKY, draining=DRAIN)
    assert [(each.container, each.draining) for each in group.upstream.servers] == [("st", False), ("two", False)] or [
        (each.container, each.draining) for each in group.upstream.servers
    ] == [("two", False), ("st", False)]
    assert {route.container: route.reason for route in group.routes}["one"] is Reason.SAME_ADDRESS

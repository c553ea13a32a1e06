"""One upstream out of its candidates; what did not change is the same object. The rules are in test_plan."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import container

from lbwatch.core.group import Group, grouped
from lbwatch.core.model import (
    Container,
    ContainerStatus,
    Health,
    Notice,
    NoticeKind,
    Reason,
    ServerState,
    Sticky,
    Upstream,
)
from lbwatch.core.placement import Candidate, placement_of
from lbwatch.core.rules import Rules, takes_none


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
    hold_refusal: str | None = None,
    takes_reload: Callable[[Upstream], str | None] = takes_none,
    is_paused: bool = False,
    before: Group | None = None,
) -> Group:
    return grouped(
        "web",
        list(candidates),
        draining=draining or {},
        sticky_refusal=sticky_refusal,
        hold_refusal=hold_refusal,
        takes_reload=takes_reload,
        is_paused=is_paused,
        before=before,
    )


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


# -- requests that wait


def holding(name: str, hold: str | None = "15s", **facts: Any) -> Candidate:
    labels = {"lbwatch.upstream": "web"} | ({} if hold is None else {"lbwatch.hold": hold}) | facts.pop("labels", {})
    return candidate(container(name, labels=labels, **facts))


HOLDS = holding("ho")


def details(group: Group) -> dict[str, tuple[str, str]]:
    return {route.container: (str(route.reason), route.detail or "") for route in group.routes if route.reason}


def test_where_requests_wait_nobody_serves_as_a_last_resort() -> None:
    """A request that goes to one that was told to stop may be lost, and one that waits is not."""
    sick = holding("si", None, health=Health.UNHEALTHY)
    group = web(HOLDS, sick, draining={HOLDS.container.id: "it got its stop signal"})
    assert (group.upstream.servers, group.upstream.hold_s) == ((), 15.0)
    assert group.notices == []
    wait = "no server is ready, so that requests wait for one, for 15 s at most"
    assert details(group) == {
        "ho": ("draining", f"it got its stop signal; {wait}"),
        "si": ("unhealthy", f"its health check fails, {wait}: docker inspect si shows its output"),
    }


def test_where_one_is_ready_the_others_are_left_out_as_ever() -> None:
    """Nobody waits then, and no words should say so."""
    group = web(HOLDS, ONE, SICK, draining={HOLDS.container.id: "why"})
    assert [each.container for each in group.upstream.servers] == ["one"]
    assert details(group)["ho"] == ("draining", "why")
    assert "and others serve" in details(group)["sick"][1]


@pytest.mark.parametrize("hold", [None, "0s"])
def test_without_a_wait_the_last_resort_serves(hold: str | None) -> None:
    """A label of 0 s is as good as none."""
    one = holding("on", hold)
    group = web(one, draining={one.container.id: "why"})
    assert (len(group.upstream.servers), group.upstream.hold_s) == (1, 0.0)


def test_a_load_balancer_that_has_nobody_wait_goes_on_as_ever_and_says_why() -> None:
    """An upstream without a server, in which no request waits, would fail requests that somebody could answer."""
    group = web(HOLDS, ONE, draining={each.container.id: "why" for each in (HOLDS, ONE)}, hold_refusal="it has no Lua")
    assert (len(group.upstream.servers), group.upstream.hold_s) == (2, 0.0)
    assert ("ho", NoticeKind.HOLD_NOT_USED) in kinds(group)
    assert ("one", NoticeKind.HOLD_NOT_USED) not in kinds(group)
    assert "hold is not used: it has no Lua" in [notice.detail for _, notice in group.notices]
    assert kinds(web(holding("ze", "0s"), hold_refusal="it has no Lua")) == []


def test_whoever_serves_is_told_if_changes_of_its_upstream_take_a_reload() -> None:
    """Where all others' take none; where all do, nobody needs to hear it."""
    hashed = web(ONE, SICK, takes_reload=lambda _: "its method is ip_hash")
    assert [each for each in hashed.notices if each[1].kind is NoticeKind.TAKES_RELOAD] == [
        (
            "one",
            Notice(
                kind=NoticeKind.TAKES_RELOAD,
                detail="changes of the servers of upstream web take a reload: its method is ip_hash",
            ),
        )
    ]
    assert web(ONE, takes_reload=lambda _: "why", hold_refusal="no Lua").notices == []


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("labels", [{"lbwatch.method": "ip_hash"}, {"lbwatch.max_conns": "3"}])
def test_an_upstream_whose_servers_change_by_reloads_has_nobody_wait(labels: dict[str, str], *, runs: bool) -> None:
    """Workers are not told of its servers, and a reload ends those in which requests would wait."""

    def takes_reload(upstream: Upstream) -> str | None:
        odd = upstream.method is not None or any(server.max_conns for server in upstream.servers)
        return "of its method" if odd else None

    one = holding("ho", labels=labels, status=ContainerStatus.RUNNING if runs else ContainerStatus.EXITED)
    group = web(one, draining={one.container.id: "why"}, takes_reload=takes_reload)
    assert (len(group.upstream.servers), group.upstream.hold_s) == (int(runs), 0.0)
    if runs:
        words = "hold is not used: changes of its servers take a reload: of its method"
        assert words in [notice.detail for _, notice in group.notices]
    assert web(HOLDS, takes_reload=takes_reload).upstream.hold_s == 15.0


@pytest.mark.parametrize("status", [ContainerStatus.EXITED, ContainerStatus.PAUSED, ContainerStatus.RESTARTING])
def test_who_does_not_run_has_his_word_too(status: ContainerStatus) -> None:
    """It is just when nobody runs that requests should wait."""
    labels = {"lbwatch.method": "least_conn", "lbwatch.keepalive": "8"}
    runs, stopped = holding("ho", labels=labels), holding("ho", labels=labels, status=status)
    before, after = web(runs).upstream, web(stopped).upstream
    assert (after.servers, after.hold_s) == ((), 15.0)
    assert replace(before, servers=()) == after, "nothing but its servers is another, so that nothing is reloaded"
    plain = replace(stopped, labels=replace(stopped.labels, hold_s=None))
    assert (web(plain).upstream.method, web(plain).upstream.keepalive) == (None, None)


def test_whose_name_it_is_not_has_no_word() -> None:
    """A stranger whose default name is the same must not have others' requests wait."""
    stranger = replace(HOLDS, server=None, reason=Reason.NAME_TAKEN, detail="why")
    assert web(stranger, ONE).upstream.hold_s == 0.0


def test_of_two_holds_the_oldest_containers_counts_and_only_who_serves_is_told() -> None:
    """As of all that is an upstream's; of a stopped container nobody asks."""
    old, new = holding("aa", "15s"), holding("bb", "2.5s")
    gone = holding("cc", "1s", status=ContainerStatus.EXITED)
    group = web(new, gone, old)
    assert group.upstream.hold_s == 15.0
    assert kinds(group) == [("bb", NoticeKind.HOLD_DIFFERS)]
    assert group.notices[0][1].detail == (
        "upstream web has hold 15s, as its oldest container says; this one's label is not used"
    )


def test_a_check_that_flips_and_passes_just_now_is_better_than_a_wait() -> None:
    """It may flip for ever; while it fails requests wait, and then they go on."""
    passes = replace(holding("fl", health=Health.HEALTHY), flapping="its health check flips")
    group = web(passes)
    assert (states(group), kinds(group)) == (
        {"fl": (ServerState.UNHEALTHY, False)},
        [("fl", NoticeKind.SERVES_UNHEALTHY)],
    )
    fails = replace(holding("fl", health=Health.UNHEALTHY), flapping="its health check flips")
    group = web(fails)
    assert (group.upstream.servers, details(group)["fl"][0]) == ((), "flapping")
    assert "its health check flips, no server is ready" in details(group)["fl"][1]
    drains = web(passes, draining={passes.container.id: "why"})
    assert (drains.upstream.servers, details(drains)["fl"][0]) == ((), "draining")


def test_clients_of_one_that_drains_wait_too_where_nobody_is_ready() -> None:
    """It was told to stop: an upstream of nothing but servers that drain takes no new client."""
    sticks = holding("st", labels={"lbwatch.sticky": "cookie sid"})
    group = web(sticks, draining={sticks.container.id: "why"})
    assert (group.upstream.servers, kinds(group)) == ((), [])


@pytest.mark.parametrize("refusal", [None, "it has no Lua"])
def test_a_pause_changes_nothing_but_that_all_wait(refusal: str | None) -> None:
    """Who serves is as ever, so that a load balancer that cannot have them wait goes on."""
    plain, paused = web(ONE, SICK, hold_refusal=refusal), web(ONE, SICK, hold_refusal=refusal, is_paused=True)
    assert paused.upstream == replace(plain.upstream, paused=True, hold_s=60.0)
    assert (paused.routes, paused.notices, paused.hold_s) == (plain.routes, plain.notices, 0.0)
    assert web(HOLDS, is_paused=True).hold_s == (15.0)


members = st.lists(
    st.tuples(
        st.sampled_from([ContainerStatus.RUNNING] * 4 + [ContainerStatus.EXITED, ContainerStatus.PAUSED]),
        st.sampled_from(list(Health)),
        st.booleans(),  # whether it drains
        st.booleans(),  # whether its check flips
        st.sampled_from([None, "0s", "15s", "2s"]),
    ),
    max_size=5,
)


@given(members)
def test_who_may_have_requests_wait_never_serves_by_one_that_is_not_ready(drawn: list[Any]) -> None:
    """And never has them wait while one is ready: both halves of the promise, said a second time."""
    everyone, draining = [], {}
    for number, (status, health, drains, flips, hold) in enumerate(drawn):
        one = holding(f"c{number}", hold, status=status, health=health)
        everyone.append(replace(one, flapping="flips") if flips and one.server is not None else one)
        draining |= {one.container.id: "why"} if drains else {}
    held, plain = web(*everyone, draining=draining), web(*everyone, draining=draining, hold_refusal="no")
    words = [hold for *_, hold in drawn if hold is not None]
    assert held.upstream.hold_s == (float(words[0][:-1]) if words else 0.0)
    if not held.upstream.hold_s:
        assert held.upstream == plain.upstream
        return
    ready = [
        each.container.name
        for each in everyone
        if each.server and each.container.id not in draining and each.container.health is not Health.UNHEALTHY
    ]
    steady = [each.container.name for each in everyone if each.container.name in ready and each.flapping is None]
    assert [each.container for each in held.upstream.servers] == (steady or ready)
    assert {route.container for route in held.routes} == {each.container.name for each in everyone}


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({"lbwatch.port": "80"}, {"web": False}),
        ({"lbwatch.upstream": "web", "lbwatch.host": "shop.example.org", "lbwatch.port": "80"}, {"web": True}),
        (
            {
                "lbwatch.upstreams.web.port": "80",
                "lbwatch.upstreams.other.port": "80",
                "lbwatch.upstreams.other.host": "a.b",
            },
            {"web": True, "other": True},
        ),
    ],
)
def test_an_upstream_knows_whether_a_container_of_it_asks_for_a_host(
    labels: dict[str, str], found: dict[str, bool]
) -> None:
    """Its site may have a password, which nobody should come past by another upstream of the same container."""
    asking = container("web", labels=labels)
    placement = placement_of(asking, owner=asking, rules=Rules())
    candidates = {each.upstream or "": each for each in placement.candidates}
    assert {name: grouped(name, [each], draining={}).upstream.has_host for name, each in candidates.items()} == found
    other = candidate(container("other-1", labels={"lbwatch.upstream": "web"}))
    together = grouped("web", [other, candidates["web"]], draining={})
    assert together.upstream.has_host == found["web"]


def compat(name: str, **fields: Any) -> Candidate:
    """A container that nginx-proxy's variables route."""
    one = candidate(container(name, labels={"lbwatch.upstream": "web"}))
    return replace(one, labels=replace(one.labels, is_compat=True, **fields))


def test_nginx_proxys_containers_keep_twice_as_many_connections_as_there_are_servers() -> None:
    """So it is there, and whoever comes from there must not find every request with a connection of its own."""
    first, second = compat("one"), compat("two")
    assert web(first).upstream.idle_connections == 2
    assert web(first, second).upstream.idle_connections == 4
    assert web(first, replace(second, server=None, reason=Reason.PAUSED)).upstream.idle_connections == 2
    assert web(ONE, TWO).upstream.idle_connections is None


def test_a_server_more_or_less_leaves_it_the_same_upstream() -> None:
    """Else it would take a reload where servers alone take none."""
    first, second = compat("one"), compat("two")
    out = replace(first, server=None, reason=Reason.NOT_RUNNING, detail="it exited")
    made = [replace(group.upstream, servers=()) for group in (web(first), web(first, second), web(out))]
    assert made[0] == made[1] == made[2]


def test_a_word_of_nginx_proxys_containers_beats_the_number_of_their_servers() -> None:
    """`disabled` is a word, too: some programs cannot bear connections that are kept."""
    assert web(compat("one", keepalive=7), compat("two")).upstream.idle_connections == 7
    off = web(compat("one"), compat("two", keepalive=0)).upstream
    assert off.idle_connections == 0
    assert replace(off, keepalive=None).idle_connections is None  # as it is written for an nginx that refuses a 0


def test_a_pool_without_a_server_says_nothing_of_connections() -> None:
    """It has exactly one line."""
    out = replace(compat("one"), server=None, reason=Reason.NOT_RUNNING, detail="it exited")
    assert web(out).upstream.idle_connections is None

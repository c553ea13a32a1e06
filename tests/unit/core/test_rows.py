"""The table of routes: as planned, or as it runs, and what nginx refuses."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.model import (
    Degraded,
    Level,
    Notice,
    NoticeKind,
    Reason,
    Route,
    Server,
    ServerState,
    Upstream,
)
from lbwatch.core.rows import Running, degraded_words, stamped
from lbwatch.core.site import Location, Site, SitePath

CONTAINERS, UPSTREAMS = ("a", "b", "c"), ("api", "web")
REFUSAL = "invalid parameter in line 7"
MISSING = "nginx was not reloaded yet"
WRONG = Notice(kind=NoticeKind.UNKNOWN_LABEL, detail="label lbwatch.prot means nothing")


# -- laws

_routed = st.builds(
    lambda container, upstream, last, port, state: Route(
        container=container,
        upstream=upstream,
        server=Server(address=f"172.18.0.{last}", port=port, container=container),
        state=state,
        notices=(WRONG,),
    ),
    st.sampled_from(CONTAINERS),
    st.sampled_from(UPSTREAMS),
    st.integers(2, 4),
    st.sampled_from([80, 81]),
    st.sampled_from([ServerState.UP, ServerState.DRAINING, ServerState.UNHEALTHY]),
)
_unrouted = st.builds(
    lambda container, upstream, reason: Route(container=container, upstream=upstream, reason=reason, detail="in words"),
    st.sampled_from(CONTAINERS),
    st.sampled_from([None, *UPSTREAMS]),
    st.sampled_from([Reason.STARTING, Reason.NO_PORT]),
)
some_routes = st.lists(st.one_of(_routed, _routed, _unrouted), max_size=8)

some_degraded = st.dictionaries(st.sampled_from(UPSTREAMS), st.sampled_from([*Level][1:])).map(
    lambda levels: [Degraded(upstream=name, level=level, error=REFUSAL) for name, level in levels.items()]
)
some_since = st.dictionaries(
    st.tuples(st.sampled_from(CONTAINERS), st.sampled_from([None, *UPSTREAMS]), st.none()),
    st.floats(0, 1e9),
    max_size=6,
)


def running(routes: Iterable[Route]) -> Running:
    """Make a load balancer that runs the servers of these routes and nothing else."""
    servers: dict[str, list[Server]] = {}
    for each in routes:
        if each.server:
            servers.setdefault(each.upstream or "", []).append(each.server)
    upstreams = (Upstream(name=name, servers=tuple(some)) for name, some in sorted(servers.items()))
    return Running(upstreams=tuple(upstreams), missing=MISSING)


some_running = st.one_of(st.none(), some_routes.map(running))


def place_of(route: Route) -> tuple[str, str, str]:
    return route.container, route.upstream or "", route.address or ""


@given(some_routes)
def test_what_runs_as_planned_is_shown_as_planned(routes: list[Route]) -> None:
    """In step is the rule: nothing may be said then that the plan did not say."""
    as_planned = tuple(sorted(routes, key=place_of))
    assert stamped(routes) == as_planned
    assert stamped(routes, running=running(routes)) == as_planned


@given(some_routes, some_degraded, some_running, some_since)
def test_each_planned_route_comes_out_once_and_sorted(
    routes: list[Route], degraded: list[Degraded], runs: Running | None, since: dict[Any, float]
) -> None:
    """No container may vanish from the table or be counted twice, and the same world gives the same bytes."""
    table = stamped(routes, degraded=degraded, running=runs, since=since)
    assert Counter((each.container, each.upstream) for each in table) == Counter(
        (each.container, each.upstream) for each in routes
    )
    assert [place_of(each) for each in table] == sorted(place_of(each) for each in table)
    for each in table:
        assert (each.server is None) == (each.state is None) == (each.reason is not None) == bool(each.detail)


@given(_routed, some_degraded, some_running)
def test_a_route_is_refused_or_not_in_force_or_planned_in_that_order(
    route: Route, degraded: list[Degraded], runs: Running | None
) -> None:
    """To say of what is refused that nginx does not run it yet would promise that it will."""
    (level,) = [each.level for each in degraded if each.upstream == route.upstream] or [Level.FULL]
    is_missing = runs is not None and all(
        (each.name, server.host_port) != (route.upstream, route.address)
        for each in runs.upstreams
        for server in each.servers
    )
    (found,) = stamped([route], degraded=degraded, running=runs)
    if level in (Level.EMPTY, Level.OUT, Level.OLD):  # of an old one, no server is there unless it says so
        assert found.reason is Reason.UPSTREAM_REFUSED
        assert REFUSAL in (found.detail or "")
        assert found.notices == route.notices
    elif is_missing:
        assert found.reason is Reason.NOT_IN_FORCE
        assert MISSING in (found.detail or "")
        assert f"it would serve at {route.address}," in (found.detail or "")
        assert found.notices == route.notices
    else:
        assert replace(found, notices=()) == replace(route, notices=())
        assert found.notices[:1] == route.notices
        more = [(each.kind, REFUSAL in each.detail) for each in found.notices[1:]]
        assert more == ([(NoticeKind.DEGRADED, True)] if level is Level.PLAIN else [])


def test_who_drains_is_not_there_where_its_upstream_has_no_parameters() -> None:
    """Without `drain` it would get new clients: the line is left out, and a table that has it would be wrong."""
    stays = Server(address="172.18.0.2", port=80, container="stays")
    drains = Server(address="172.18.0.3", port=80, container="drains", draining=True)
    routes = [
        Route(container=each.container, upstream="web", server=each, state=state)
        for each, state in ((drains, ServerState.DRAINING), (stays, ServerState.UP))
    ]
    plain = Degraded(upstream="web", level=Level.PLAIN, error=REFUSAL)
    found = {each.container: each.reason for each in stamped(routes, degraded=[plain])}
    assert found == {"drains": Reason.UPSTREAM_REFUSED, "stays": None}


@given(_unrouted, some_degraded, some_running)
def test_what_was_not_planned_keeps_its_own_reason(
    route: Route, degraded: list[Degraded], runs: Running | None
) -> None:
    """What is in a container's way is its owner's to mend, whatever nginx runs or refuses."""
    assert stamped([route], degraded=degraded, running=runs) == (route,)


@given(some_routes, some_since, some_running)
def test_since_is_taken_by_container_upstream_and_site(
    routes: list[Route], since: dict[Any, float], runs: Running | None
) -> None:
    """A container in two upstreams is long in the one and new in the other; and nothing else changes by it."""
    table = stamped(routes, running=runs, since=since)
    assert [each.since for each in table] == [since.get((each.container, each.upstream, each.site)) for each in table]
    assert tuple(replace(each, since=None) for each in table) == stamped(routes, running=runs)


# -- examples


def test_the_same_server_in_another_upstream_or_at_another_port_is_not_this_one() -> None:
    """nginx may run the container's other port already."""
    route = Route(
        container="a", upstream="web", server=Server(address="10.0.0.2", port=80, container="a"), state=ServerState.UP
    )
    assert route.server is not None
    elsewhere = (
        Upstream(name="api", servers=(route.server,)),
        Upstream(name="web", servers=(replace(route.server, port=81), replace(route.server, address="10.0.0.3"))),
    )
    (found,) = stamped([route], running=Running(upstreams=elsewhere, missing=MISSING))
    assert found.detail == f"it would serve at 10.0.0.2:80, but nginx does not run that: {MISSING}"


def test_a_server_with_other_parameters_runs_all_the_same() -> None:
    """A weight that is not in force yet does not take the container out of traffic."""
    route = Route(
        container="a", upstream="web", server=Server(address="10.0.0.2", port=80, container="a"), state=ServerState.UP
    )
    assert route.server is not None
    old = Upstream(name="web", servers=(replace(route.server, weight=5, container="before"),))
    assert stamped([route], running=Running(upstreams=(old,), missing=MISSING)) == (route,)


@pytest.mark.parametrize(
    ("level", "kept", "words"),
    [
        (Level.PLAIN, False, "upstream web is written without its parameters: no"),
        (Level.EMPTY, False, "upstream web is left out: no"),
        (Level.OUT, False, "upstream web is left out: no"),
        (Level.OLD, False, "upstream web stays as it was, less what has gone: no"),
        (Level.EMPTY, True, "upstream web has no container any more and is kept"),
    ],
)
def test_a_degraded_upstream_is_told_with_the_refusal(level: Level, kept: bool, words: str) -> None:
    """The log, the page and `explain` have these words alike."""
    told = degraded_words(Degraded(upstream="web", level=level, error="no", kept=kept))
    assert told.startswith(words)
    assert told.endswith(": no")


@pytest.mark.parametrize(
    ("name", "level", "words"),
    [
        ("~host a.example", Level.PLAIN, "host a.example answers 503 to everyone: no"),
        ("~host a.example", Level.EMPTY, "host a.example answers 503 to everyone, without HTTPS: no"),
        ("~host a.example", Level.OLD, "host a.example stays as it was, less what has gone: no"),
        ("~port 53/udp", Level.OUT, "port 53/udp is left out: no"),
    ],
)
def test_a_site_and_a_port_that_are_refused_have_words_too(name: str, level: Level, words: str) -> None:
    """An operator has to know who is turned away, and by what."""
    assert degraded_words(Degraded(upstream=name, level=level, error="no")) == words


def test_whoever_asks_for_a_host_that_nginx_refuses_has_a_row_for_it() -> None:
    """Its server may serve another host all the same."""
    server = Server(address="172.17.0.2", port=80, container="web-1")
    routes = [Route(container="web-1", upstream="web", server=server, state=ServerState.UP)]
    sites = [
        Site(host="a.example", locations=(Location(path=SitePath(text="/x"), upstream="web"),)),
        Site(host="b.example", locations=(Location(path=SitePath(), upstream="web"),)),
    ]
    refused = Degraded(upstream="~host a.example", level=Level.PLAIN, error="no such directive")
    rows = stamped(routes, degraded=[refused], sites=sites)
    assert [(each.site, each.reason, each.server) for each in rows] == [
        ("a.example/x", Reason.HOST_REFUSED, None),
        (None, None, server),
    ]
    assert all("no such directive" in (each.detail or "") for each in rows if each.site)
    assert stamped(routes, sites=sites) == tuple(routes)

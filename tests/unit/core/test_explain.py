"""Why each container is or is not routed: the routes of a plan stamped with what runs, and the story of one container."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ANY_RULES, NOBODY, container, decide, on
from worlds import joined

from lbwatch.core.draining import BY_HAND
from lbwatch.core.explain import MAX_EVENTS, MAX_LABELS, Running, Story, degraded_words, stamp, stamped, story_of
from lbwatch.core.model import (
    Container,
    ContainerStatus,
    Degraded,
    Endpoint,
    Event,
    Health,
    Level,
    Notice,
    NoticeKind,
    Reason,
    Route,
    Server,
    ServerState,
    Suspended,
    Upstream,
)
from lbwatch.core.rules import Rules
from lbwatch.core.site import Location, Site, SitePath

CONTAINERS, UPSTREAMS = ("a", "b", "c"), ("api", "web")
REFUSAL = "invalid parameter in line 7"
MISSING = "nginx was not reloaded yet"
WRONG = Notice(kind=NoticeKind.UNKNOWN_LABEL, detail="label lbwatch.prot means nothing")


# -- stamped: laws

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
    st.tuples(st.sampled_from(CONTAINERS), st.sampled_from([None, *UPSTREAMS])), st.floats(0, 1e9), max_size=6
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
def test_since_is_taken_by_container_and_upstream(
    routes: list[Route], since: dict[Any, float], runs: Running | None
) -> None:
    """A container in two upstreams is long in the one and new in the other; and nothing else changes by it."""
    table = stamped(routes, running=runs, since=since)
    assert [each.since for each in table] == [since.get((each.container, each.upstream)) for each in table]
    assert tuple(replace(each, since=None) for each in table) == stamped(routes, running=runs)


# -- stamped: examples


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


def test_times_are_whole_seconds_in_utc() -> None:
    """They are compared with the log's, whatever the machine's own zone is."""
    assert stamp(1_700_000_000.9) == "2023-11-14T22:13:20+00:00"
    assert stamp(0.0) == "1970-01-01T00:00:00+00:00"
    assert stamp(None) is None


# -- the story of one container

BACK, FRONT = Endpoint(network="back", ipv4="172.19.0.2"), Endpoint(network="front", ipv4="172.18.0.2")


def told(
    one: Container,
    *others: Container,
    rules: Rules = ANY_RULES,
    suspended: Suspended = NOBODY,
    events: Iterable[Event] = (),
    text: str = "",
) -> Story:
    """Return the story of the first of the containers of an engine."""
    return story_of(
        one,
        rules=rules,
        containers={each.id: each for each in (one, *others)},
        suspended=suspended,
        events=events,
        routes=decide(one, *others).routes,
        text=text,
    )


def test_the_story_begins_with_the_engines_own_facts() -> None:
    """What lbwatch made of a container is no answer where the engine's view of it is wrong."""
    story = told(container(health=Health.STARTING, started_ns=1_700_000_000 * 10**9, restarts=3, exposed=(80, 81)))
    assert (story.container, story.id, story.status, story.health) == ("web", container().id, "running", "starting")
    assert (story.started, story.restarts, story.exposed) == ("2023-11-14T22:13:20+00:00", 3, (80, 81))
    never = told(container(status=ContainerStatus.CREATED, started_ns=0))
    assert (never.status, never.health, never.started) == ("created", "none", None)


def test_each_label_is_shown_with_its_meaning_and_cut() -> None:
    """Labels are foreign text on a terminal; what one means is asked with the settings' own prefix and dialect."""
    labels = {
        "edge.method": "hash $nope",
        "edge.port": "80",
        "edge.prot": "81",
        "lbwatch.port": "82",
        "other": "\x1b[2J" + "x" * 1000,
    }
    rules = Rules(prefix="edge", refuses_key=lambda key: f"nobody knows {key}")
    read = {each.key: each for each in told(container(labels=labels), rules=rules).labels}
    assert [*read] == [*labels]
    assert read["edge.method"].meaning.startswith("cannot be used: ")
    assert "nobody knows $nope" in read["edge.method"].meaning
    assert read["edge.port"].meaning == "read"
    assert read["edge.prot"].meaning == "means nothing: did you mean edge.port?"
    assert read["lbwatch.port"].meaning == read["other"].meaning == "not read"
    assert read["other"].value.isprintable()
    assert len(read["other"].value) == 256


def networks_of(story: Story) -> list[tuple[str, str, str]]:
    return [(each.network, each.address, each.verdict) for each in story.networks]


def test_of_thousands_of_labels_the_first_are_told_and_how_many_there_are() -> None:
    """To find out what each means would take seconds, and whoever looks at the page may ask again and again."""
    labels = {f"lbwatch.upstreams.u{number:05}.wieght": "1" for number in range(12_000)}
    story = told(container("many", labels=labels))
    assert len(story.labels) == MAX_LABELS
    assert story.more_labels == 12_000 - MAX_LABELS


def test_networks_are_weighed_with_the_settings() -> None:
    """The commonest question of all: why it is reached by that network, or by none."""
    web = container(endpoints=on(BACK, FRONT))
    assert networks_of(told(web)) == [
        ("back", "172.19.0.2", "used: a guess"),
        ("front", "172.18.0.2", "back comes first"),
    ]
    assert networks_of(told(web, rules=Rules(networks=("front",)))) == [
        ("back", "172.19.0.2", "nginx reaches front only"),
        ("front", "172.18.0.2", "used"),
    ]
    assert networks_of(told(container(endpoints=()))) == []


def test_a_network_that_one_of_its_upstreams_takes_is_taken() -> None:
    """Two upstreams may be reached by two networks; neither is then out of use because of the other."""
    labels = {
        "lbwatch.upstreams.admin.network": "back",
        "lbwatch.upstreams.api.network": "front",
        "lbwatch.upstreams.api.port": "81",
    }
    vpn = Endpoint(network="vpn", ipv4="172.20.0.2")
    assert networks_of(told(container(labels=labels, endpoints=on(BACK, FRONT, vpn)))) == [
        ("back", "172.19.0.2", "used"),
        ("front", "172.18.0.2", "used"),
        ("vpn", "172.20.0.2", "the label asks for back"),
    ]


def test_networks_of_another_are_said_to_be_its() -> None:
    """`docker inspect` of the container shows none; and once the other is gone there is none to show."""
    owner = container("gate", endpoints=(FRONT,))
    side = joined(owner)
    assert networks_of(told(side, owner)) == [("front (of gate, whose network it uses)", "172.18.0.2", "used")]
    assert networks_of(told(replace(side, endpoints=(BACK,)))) == []


def test_an_ipv6_network_has_its_address() -> None:
    """Where there is no other, that is the one."""
    assert networks_of(told(container(endpoints=(Endpoint(network="six", ipv6="fd00::2"),)))) == [
        ("six", "fd00::2", "used")
    ]


@pytest.mark.parametrize(
    ("facts", "advised"),
    [
        ({}, True),
        ({"labels": {"lbwatch.max_fails": "3"}}, True),
        ({"labels": {"lbwatch.max_fails": "0"}}, False),
        ({"labels": {"lbwatch.health": "connect"}}, False),
        ({"labels": {"lbwatch.port": "80", "lbwatch.upstreams.api.max_fails": "0"}}, True),
        ({"health": Health.HEALTHY}, False),
        ({"status": ContainerStatus.EXITED}, False),
        ({"labels": {}}, False),
    ],
)
def test_who_may_get_requests_before_its_program_listens_is_advised(facts: dict[str, Any], advised: bool) -> None:
    """nginx gives a server up for 10 s that refused one connection: of two that start together none serves then."""
    advice = told(container(**facts)).advice
    assert (advice is not None) == advised
    assert not advice or "a health check, or the label lbwatch.health=connect" in advice


def test_a_suspended_container_is_told_why() -> None:
    """No state of the engine's shows it; a loop of restarts is the graver of the two."""
    web, other = container(), container("other")
    assert told(web, suspended=Suspended(draining={other.id: BY_HAND}, crash_looping={other.id: 5.0})).suspended is None
    assert told(web, suspended=Suspended(draining={web.id: BY_HAND})).suspended == BY_HAND
    assert told(web, suspended=Suspended(former_names={web.id: "api"})).suspended == (
        "it was renamed just now: its default upstream is for a moment still that of api"
    )
    flaps = Suspended(flapping={web.id: 10.0})
    assert "until it passed for 10 s in a row" in (told(web, suspended=flaps).suspended or "")
    ignored = container("web", labels={"lbwatch.health": "ignore"})
    assert told(ignored, suspended=flaps).suspended is None
    both = Suspended(draining={web.id: BY_HAND}, crash_looping={web.id: 20.0})
    assert told(web, suspended=both).suspended == "it restarts in a loop: left out until it stayed up for 20 s"


def test_its_own_latest_events_are_told_oldest_first() -> None:
    """The engine's stream is everybody's; of a container that restarts for days a few events are enough."""
    web = container()
    events = [
        Event(action=f"start {number}", container=(web.id, "f" * 64, None)[number % 3], at_ns=number * 10**9)
        for number in range(3 * (MAX_EVENTS + 5))
    ]
    story = told(web, events=events)
    assert len(story.events) == MAX_EVENTS == 20
    assert [each.action for each in story.events] == [f"start {3 * number}" for number in range(5, MAX_EVENTS + 5)]
    assert story.events[0].at == "1970-01-01T00:00:15+00:00"


def test_an_events_action_is_foreign_text() -> None:
    """`exec_create: COMMAND` has whatever somebody typed."""
    web = container()
    (event,) = told(web, events=[Event(action="exec_create: \x1b[2J" + "x" * 1000, container=web.id)]).events
    assert event.action.isprintable()
    assert len(event.action) == 256


def test_lines_are_those_that_name_its_addresses() -> None:
    """A longer port or address that begins or ends alike is another server's."""
    text = """
upstream web {
    server 172.18.0.2:80 weight=5;
    server 172.18.0.2:8080;
    server 1172.18.0.2:80;
    server 172.18.0.2;
    server unix:/172.18.0.2:80.sock;
}
upstream api { server 172.18.0.2:80; }
proxy_pass http://172.18.0.2:80;
server 172.18.0.9:80;
"""
    web, other = container(endpoints=(FRONT,)), container("other", endpoints=(replace(FRONT, ipv4="172.18.0.9"),))
    assert told(web, other, text=text).lines == (
        "server 172.18.0.2:80 weight=5;",
        "upstream api { server 172.18.0.2:80; }",
        "proxy_pass http://172.18.0.2:80;",
    )
    assert told(replace(web, status=ContainerStatus.EXITED), text=text).lines == ()


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

"""Why each container is or is not routed: the routes of a plan stamped with what runs, and the story of one container."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from severalengines import BRIDGE, NEAR, OVERLAY, P80, on_b, task
from strategies import ANY_RULES, NOBODY, container, decide, on
from worlds import joined

from lbwatch.core.draining import BY_HAND
from lbwatch.core.explain import MAX_EVENTS, MAX_LABELS, Story, TaskStory, stamp, story_of
from lbwatch.core.model import (
    Container,
    ContainerStatus,
    Endpoint,
    Event,
    Health,
    Notice,
    NoticeKind,
    Suspended,
)
from lbwatch.core.rules import Rules

CONTAINERS, UPSTREAMS = ("a", "b", "c"), ("api", "web")
REFUSAL = "invalid parameter in line 7"
MISSING = "nginx was not reloaded yet"
WRONG = Notice(kind=NoticeKind.UNKNOWN_LABEL, detail="label lbwatch.prot means nothing")


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


# -- where it is from


def test_the_story_says_which_engine_and_what_that_calls_it_where_there_are_several() -> None:
    """`docker logs b/web` finds nothing."""
    story = told(replace(on_b(BRIDGE, published=(P80,)), name="b/web", labels=(("lbwatch.port", "80"),)), rules=NEAR)
    assert (story.engine, story.own_name, story.swarm) == ("b", "web", None)
    assert [each.way for each in story.ways] == ["network", "published port"]
    assert told(on_b(BRIDGE), rules=replace(NEAR, several_engines=False)).engine is None


def test_the_story_of_a_task_has_its_swarms_words_and_the_events_of_its_service() -> None:
    """A manager has no events of tasks: that its service was scaled down says what happened to it."""
    web = task(OVERLAY)
    assert web.task is not None
    web = replace(web, task=replace(web.task, state="running", desired="remove"))
    events = [
        Event(action="service update: replicas 3 -> 1", container="s" * 25, at_ns=1_700_000_000 * 10**9),
        Event(action="service update: replicas 1 -> 9", container="t" * 25, at_ns=1_700_000_001 * 10**9),
    ]
    story = told(web, rules=NEAR, events=events)
    assert story.engine == "swarm"
    assert story.swarm == TaskStory(service="shop", task="shop.1", node="n1", state="running", desired="remove")
    assert [each.action for each in story.events] == ["service update: replicas 3 -> 1"]
    lost = replace(web, task=replace(web.task or pytest.fail(), node="", node_id=""))
    assert (told(lost, rules=NEAR).swarm or pytest.fail()).node is None

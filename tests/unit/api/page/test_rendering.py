"""The page as it is written: what it says of made-up worlds, and that nothing which others name is ever markup."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from containerstories import explained, story, task_story
from pageoutline import Outline, html, outline, outlines, strings
from pageworlds import (
    AT,
    DIGEST,
    HOSTILE,
    NOW,
    WORLDS,
    crowd,
    first_minute,
    fleet,
    made_status,
    shop,
    skipped,
    troubled,
    verified,
)

from lbwatch.api.page import rendering as subject
from lbwatch.api.page.overview import OUTCOMES
from lbwatch.api.page.query import LISTS, Query
from lbwatch.api.report import Report, report_of, state_json
from lbwatch.core.explain import Story, Wait
from lbwatch.core.history import History
from lbwatch.core.model import BalancerStatus, Reason, Server, Upstream, Waiting
from lbwatch.core.status import Status


@pytest.mark.parametrize("world", WORLDS)
def test_everything_in_the_report_is_on_the_page_or_a_click_away(world: Callable[[], Status]) -> None:
    """Whoever looks at the page must not need the JSON too."""
    report = report_of(world())
    seen = outlines(report)
    text, values = " ".join(each.text for each in seen), {value for each in seen for value in each.values}
    for field, value in strings(msgspec.to_builtins(state_json(report))):
        if field in ("at", "since", "synced_at"):
            assert value in values, (field, value)
        elif field == "outcome":
            assert OUTCOMES[value] in text
        elif field == "difference":
            assert all(line in text for line in map(str.strip, value.split("\n")) if "  " not in line), value
        elif value:
            assert value in text, (field, value)


def test_the_numbers_of_the_report_are_on_the_page() -> None:
    """Counts and times are written in units that people read."""
    text = outline(shop()).text
    assert "2 serving, 0 retiring" in text
    assert "New workers after 13 ms, old ones retired after 118 ms; 134 ms from event to verified." in text
    assert "3 times" in text
    assert "Containers 21" in text
    text = outline(troubled()).text
    assert "1,200 times" in text
    assert "3 changes that no event reported" in text
    assert "2026-11-23 21:54:06" in text, "another day needs its date"


def test_weight_and_backup_of_each_server_are_on_the_page() -> None:
    """Why one gets more requests than another, or none, is asked before anything else."""
    servers = (Server(address="10.0.0.1", port=80, container="heavy", weight=7, backup=True),)
    text = outline(made_status(upstreams=[Upstream(name="web", servers=servers)])).text
    assert "heavy 10.0.0.1:80 7 up backup" in text


def test_what_is_not_in_step_stands_before_all_else() -> None:
    """At three in the morning the first line must say what is wrong."""
    report = report_of(troubled())
    seen = outline(report)
    assert not report.ready
    assert len(report.reasons) == 2
    assert "Not in step - lbwatch" in seen.texts
    assert max(seen.text.index(reason) for reason in report.reasons) < seen.text.index("Not routed")
    assert "In step - lbwatch" in outline(shop()).texts


def test_what_is_merely_believed_is_not_called_verified() -> None:
    """With `reload_command = "true"` nothing was reloaded, and the page said that nginx runs it, verified."""
    seen = outline(made_status(balancer=BalancerStatus(digest=DIGEST, believed=True)))
    assert "nginx is believed to run what the engine says" in seen.text
    assert "believed: no worker is seen" in seen.text
    assert "verified" not in seen.texts
    assert "verified" in outline(made_status()).texts


def test_the_version_of_nginx_is_there() -> None:
    """What its files may say depends on it."""
    assert "Version 1.26.3" in outline(made_status()).text
    assert "Version not known" in outline(made_status(balancer=BalancerStatus())).text


def test_what_was_pushed_is_told_apart_from_a_reload() -> None:
    """No worker ended for it."""
    history = History()
    history.changes.append(verified(AT, outcome="pushed", live_s=0.003, heard_s=0.009))
    text = outline(replace(made_status(), history=history)).text
    assert "In every worker after 3.0 ms, without a reload; 9.0 ms from event to verified." in text
    assert "New workers" not in text


def test_whether_changes_need_a_reload_is_there() -> None:
    """And why they do, where somebody asked for more."""
    assert "live of servers go out without a reload" in outline(made_status(balancer=BalancerStatus(live=True))).text
    slow = BalancerStatus(live=False, live_reason="nginx has no Lua")
    assert "go out by reloads: nginx has no Lua" in outline(made_status(balancer=slow)).text
    assert "Changes go out by reloads" in outline(made_status(balancer=BalancerStatus())).text


def test_requests_that_wait_and_a_pause_are_seen_at_a_glance() -> None:
    """Why nothing goes through, or why nothing fails, is what whoever looks wants to know first."""
    servers = (Server(address="10.0.0.1", port=80, container="web-1"),)
    upstreams = (
        Upstream(name="idle", hold_s=15.0, keepalive=8),
        Upstream(name="none"),
        Upstream(name="paused", hold_s=60.0, paused=True, servers=servers),
    )
    waiting = (Waiting(upstream="idle", requests=1, longest_s=0.4), Waiting(upstream="paused", requests=3, longest_s=2))
    seen = outline(made_status(upstreams=upstreams, balancer=BalancerStatus(waiting=waiting)))
    assert (
        "idle 0 servers, round_robin, keepalive 8, hold 15 s 1 request waiting no server: requests wait 15 s for one"
        in (seen.text)
    )
    assert "none 0 servers, round_robin no server: nginx answers 502" in seen.text
    assert "paused 1 server, round_robin, hold 60 s paused 3 requests waiting web-1" in seen.text
    assert "upstream idle has no ready server: 1 request waits, for 0.4 s" in seen.text
    assert "`lbwatch resume paused` ends that" in seen.text
    assert "none 0 servers" not in outline(made_status(upstreams=upstreams), filter="paused").text


# -- of several engines


def test_where_each_container_is_from_stands_below_its_name() -> None:
    """An upstream has servers on three machines, and one of those is to be switched off."""
    text = outline(fleet()).text
    assert "web.1.task000000000000000000001 task web.1 on node worker-1 10.0.1.4:8080" in text
    assert "web.3.task000000000000000000003 task web.3 on node worker-3 upstream web starting" in text
    assert "edge/plain 10.77.0.1:8080" in text, "a name that begins with its engine's says so already"
    lone = replace(fleet(), containers=[replace(each, name="lone") for each in fleet().containers[3:4]])
    served = made_status(
        upstreams=[Upstream(name="web", servers=(Server(address="10.77.0.1", port=80, container="lone"),))],
        engines=lone.engines,
        containers=lone.containers,
    )
    assert "lone engine edge 10.77.0.1:80" in outline(served).text


def test_each_engine_and_swarm_says_how_it_is() -> None:
    """Whoever is woken by one engine that is away must see which one, since when, and what is used meanwhile."""
    text = outline(fleet(2)).text
    assert "Engines 3 warehouse Events not connected" in text
    assert "Error connection refused" in text
    assert "kept what is known is from before the start" in text
    assert "edge Role manager Events connected" in text
    assert "Asked at tcp://10.77.0.1:2376 Ports at 10.77.0.1" in text
    assert "swarm Kind Swarm Managers edge Events connected" in text
    assert "Services 2 Tasks 4 Nodes 3" in text


@pytest.mark.parametrize(("engines", "folds"), [(2, 0), (3, 4), (6, 7)])
def test_of_many_engines_only_those_in_trouble_are_unfolded(engines: int, folds: int) -> None:
    """All that is known of ten would push nginx off the page."""
    page = html(fleet(engines))
    assert page.count('data-key="engine ') == engines + 1
    assert len(re.findall(r'<details id="engine-[^"]*-fold"', page)) == folds
    unfolded = re.findall(r'<details id="engine-([^"]*)-fold"[^>]* open>', page)
    assert unfolded == (["warehouse"] if folds else [])


def test_of_one_engine_the_page_says_what_it_always_said() -> None:
    """Nearly everybody has one, and no engine's name or address at each container then tells anybody anything."""
    (engine,) = shop().engines
    of_one = replace(shop(), containers=[replace(each, name="shop-web-1") for each in fleet().containers[3:4]])
    seen = outline(of_one)
    assert f"Engines {engine.source} Events connected Since" in seen.text
    assert "shop-web-1 172.18.0.2:8080" in seen.text
    for words in ("Asked at", "Ports at", "Role", "Kind", "engine edge"):
        assert words not in seen.text
    assert not any("details" in each and "engine" in str(each) for each in seen.elements)


# -- what to do, and what is text


def test_what_to_do_is_said_where_something_is_wrong_or_nothing_is_there() -> None:
    """Who has just started it must not have to find out what comes next."""
    assert "lbwatch check , run where lbwatch runs" in outline(troubled()).text
    assert "The servers of an engine that is away stay as they were" in outline(troubled()).text
    alone = replace(troubled(), engines=troubled().engines[:1])
    assert "What nginx serves stays as it was until the engine is back." in outline(alone).text
    assert "lbwatch check" not in outline(shop()).text
    assert "docker run -d --name hello -l lbwatch.enable=true nginx" in outline(made_status()).text
    idle = made_status(unrouted=[skipped("db", Reason.NOT_LABELLED, "it has no label")])
    assert "docker run -d --name hello -l lbwatch.enable=true nginx" in outline(idle).text
    asking = made_status(unrouted=[skipped("web", Reason.NO_PORT, "it exposes no port")])
    assert "docker run" not in outline(asking).text
    assert "The engine was not read yet" in outline(first_minute()).text


def test_nothing_that_anybody_names_makes_an_element() -> None:
    """The same page with an attack in each string of the report has the same elements and attributes."""
    known = {"at", "since", "synced_at", "kind", "reason", "outcome", "state", "difference"}
    tame = msgspec.to_builtins(report_of(troubled()))

    def attacked(value: object, *, at: str = "") -> object:
        if isinstance(value, dict):
            return {key: attacked(each, at=key) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [attacked(each, at=at) for each in value]
        if at == "difference" and isinstance(value, str):
            return value.replace("old", f"old{HOSTILE}")
        return f"{value}{HOSTILE}" if value and isinstance(value, str) and at not in known else value

    before, after = outlines(msgspec.convert(tame, Report)), outlines(msgspec.convert(attacked(tame), Report))
    assert [each.elements for each in after] == [each.elements for each in before]
    assert {each.raw["script"] for each in after} == {each.raw["script"] for each in before}
    assert sum(each.text.count(HOSTILE) for each in after) > 50


def test_nothing_that_a_reader_asks_for_makes_an_element() -> None:
    """An address with an attack in it may be sent to the operator."""
    for asked in ({"filter": HOSTILE}, {"upstream": HOSTILE}, {"filter": HOSTILE, "upstream": HOSTILE, "show": "idle"}):
        seen = outline(shop(), **asked)
        tame = outline(shop(), **{key: value if key == "show" else "zzz zzz" for key, value in asked.items()})
        assert seen.elements == tame.elements
        assert HOSTILE in [*seen.texts, *seen.values]


@pytest.mark.parametrize("story", [story, task_story])
def test_no_container_makes_an_element_on_its_page(story: Callable[..., Story]) -> None:
    """Its labels, networks and events are whatever its owner likes."""

    def page(text: str) -> Outline:
        known = explained("shop-web-1", shop())
        told = replace(
            known,
            source=f"local{text}",
            routes=(*known.routes, skipped("shop-web-1", Reason.BAD_LABEL, f"no{text}", f"up{text}")),
            story=story(f"name{text}", text=text),
        )
        picture = subject.picture_of(shop())
        return Outline(subject.container_html(picture, name=f"name{text}", explanation=told).decode())

    assert page(HOSTILE).elements == page("tame").elements
    assert page(HOSTILE).text.count(HOSTILE) > 9


def test_a_page_of_a_container_tells_its_story_but_no_value_for_templates() -> None:
    """What a label means for a user's own template is nobody's business who only reaches the port."""
    picture = subject.picture_of(shop())
    told = subject.container_html(picture, name="x", explanation=explained("shop-web-1", shop())).decode()
    text = Outline(told).text
    for words in (
        *("up serves at 172.18.0.2:8080 , weight 1", "lbwatch.upstream web read", "taken", "health_status: healthy"),
        *(
            "no health check",
            "8080, 9090",
            "server 172.18.0.2:3000;",
            "as soon as it runs",
            "0123456789ab",
            "nginx:1.22",
        ),
    ):
        assert words in text, words
    assert "lbwatch.vars.password" in text
    assert "LBWATCH.Vars.token" in text
    assert "open sesame" not in told
    assert "/home/ann" not in told, "what is not read is nobody's business either"


def test_a_page_of_a_task_says_what_its_swarm_says_and_by_which_way_it_is_reached() -> None:
    """Who reads it goes on with `docker service ps`, on that node."""
    told = replace(explained("shop-web-1", shop()), story=task_story("shop-web-1"))
    text = Outline(subject.container_html(subject.picture_of(shop()), name="x", explanation=told).decode()).text
    assert "Swarm swarm Service web Task web.1, running Desired state shutdown Node worker-1" in text
    assert "How it is reached" in text
    assert "network it is on front of node worker-1, where nginx is not" in text
    assert "published port of upstream api used: 10.77.0.7:32770" in text
    assert "Engine local" not in text


def test_a_page_of_a_container_names_its_engine_where_there_are_several() -> None:
    """All of their addresses in one line told nobody which one it was."""

    def text(engine: str | None) -> str:
        told = replace(explained("shop-web-1", shop()), story=replace(story("shop-web-1"), engine=engine))
        page = subject.container_html(subject.picture_of(shop()), name="x", explanation=told)
        return Outline(page.decode()).text

    assert "Engine warehouse" in text("warehouse")
    assert "Engine local" in text(None)
    assert "How it is reached" not in text(None)


def test_a_page_of_a_container_says_that_requests_of_its_upstream_wait() -> None:
    """Its owner wonders why it gets none, or why nobody gets an error."""
    waits = (Wait(upstream="api", hold_s=60.0, paused=True), Wait(upstream="web", hold_s=15.0, paused=False))
    told = replace(explained("shop-web-1", shop()), waits=waits)
    text = Outline(subject.container_html(subject.picture_of(shop()), name="x", explanation=told).decode()).text
    assert "paused Requests of upstream api wait 60.0 s at most." in text
    assert "hold Requests of upstream web wait 15.0 s at most, while it has no ready server." in text


def test_a_line_of_megabytes_is_cut() -> None:
    """A template of one's own may write labels, and whoever may start a container chooses how long they are."""
    told = explained("shop-web-1", shop())
    assert told.story is not None
    told = replace(told, story=replace(told.story, lines=("server 172.18.0.2:3000;" + "x" * 1_000_000,)))
    page = subject.container_html(subject.picture_of(shop()), name="x", explanation=told)
    assert len(page) < 50_000
    assert "server 172.18.0.2:3000;xxx" in Outline(page.decode()).text


def test_a_container_that_is_not_there_has_a_page_that_leads_on() -> None:
    """A bookmark outlives its container."""
    picture = subject.picture_of(shop())
    page = Outline(subject.container_html(picture, name="gone & lost", explanation="there is none").decode())
    assert "There is none." in page.text
    assert "./?q=gone+%26+lost" in page.values


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nul\0", "nul\u2400"),
        ("bell\a", "bell\u2407"),
        ("red\x1b[31m", "red\u241b[31m"),
        ("back\rwards", "back\u240dwards"),
        ("turned\u202egnp.exe", "turned\\u202egnp.exe"),
        ("no\u200bbody", "no\\u200bbody"),
        ("c1\x85", "c1\\x85"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(text: str, shown: str) -> None:
    """HTML forbids some of it, and some hides or turns around what stands beside it."""
    seen = outline(
        made_status(unrouted=[skipped(text, Reason.BAD_LABEL, text)], changes=[verified(AT, difference=f"+{text}\n")])
    )
    assert seen.text.count(shown) == 3
    assert text not in seen.text


def test_half_a_character_does_not_cost_the_page() -> None:
    """A program's output that is no UTF-8 may reach it as a lone surrogate, which cannot be sent as it is."""
    assert "half \\ud83d" in html(made_status(error="half \ud83d", behind_since=NOW))


def test_the_header_allows_this_script_and_this_style_alone() -> None:
    """A hash that does not fit is a page without style and script; one that is missing lets others in."""
    picture = subject.picture_of(shop())
    container = Outline(subject.container_html(picture, name="x", explanation="there is none").decode())
    for seen in (*(outline(world()) for world in WORLDS), container):
        for tag in ("script", "style"):
            digest = base64.b64encode(hashlib.sha256(seen.raw[tag].encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}';" in subject.POLICY
    assert subject.POLICY.startswith("default-src 'none';")
    assert "unsafe" not in subject.POLICY
    assert "http" not in subject.POLICY


def test_the_page_is_small_and_asks_for_nothing_else() -> None:
    """No build step and no resource of anybody's: it must work on a host that reaches nothing."""
    sources = [path.read_text() for path in subject.FOLDER.glob("*.j2")]
    assert len(sources) == 4
    assert sum(map(len, sources)) < 50_000
    for source in sources:
        shown = source.replace("proxy_pass http://hello;", "")  # which is text
        assert not re.search(
            r"https?:|//[a-z]|@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")|innerHTML|eval\(", shown
        )
        assert not re.search(r"\son[a-z]+=|\sstyle=", source), "the policy would block it"


def test_every_address_is_relative() -> None:
    """Behind a proxy the page may stand below a path of the proxy's own."""
    picture = subject.picture_of(shop())
    container = subject.container_html(picture, name="x", explanation=explained("shop-web-1", shop())).decode()
    for page in (html(crowd(500)), html(crowd(500), show="servers", page=2), container):
        targets = re.findall(r'(?:href|action)="([^"]*)"', page)
        assert len(targets) > 8
        assert [each for each in targets if each.startswith("/") or "//" in each] == []


# -- whether anything changed


def test_time_that_passes_alone_changes_no_tag() -> None:
    """Else the whole page would be sent each two seconds, since its ages grow."""
    world = shop()
    later = replace(world, now=world.now + 7, at=world.at + 7)
    one, other = subject.picture_of(world), subject.picture_of(later)
    assert subject.tag(one, query=Query()) == subject.tag(other, query=Query())
    tomorrow = replace(world, now=world.now + 86_400, at=world.at + 86_400)
    assert subject.tag(subject.picture_of(tomorrow), query=Query()) != subject.tag(one, query=Query()), "dates appear"


def test_whatever_the_page_shows_changes_its_tag() -> None:
    """A page that stays old and looks new is worse than none."""
    world = shop()
    changed = (
        replace(world, version="9"),
        replace(world, balancer=replace(world.balancer, workers=(2, 1))),
        replace(world, engines=(replace(world.engines[0], synced_at=NOW - 3),)),
        replace(world, applied=replace(world.applied, confirmed=False)),
        shop_with(weight=2),
        troubled(),
    )
    tags = {subject.tag(subject.picture_of(each), query=Query()) for each in (world, *changed)}
    assert len(tags) == len(changed) + 1
    picture = subject.picture_of(world)
    asked = [Query(), Query(filter="a"), Query(upstream="a"), Query(page=2), *(Query(show=each) for each in LISTS)]
    assert len({subject.tag(picture, query=each) for each in asked}) == len(asked)


def shop_with(*, weight: int) -> Status:
    world = shop()
    plan = world.applied.plan
    assert plan is not None
    upstreams = tuple(
        replace(each, servers=tuple(replace(one, weight=weight) for one in each.servers)) for each in plan.upstreams
    )
    return replace(world, applied=replace(world.applied, in_force=upstreams))

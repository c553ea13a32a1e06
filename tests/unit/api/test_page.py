"""
The page at `/`: what it says of made-up worlds, and how it behaves in a real browser on the real status server.

Time in the browser is simulated, so that an update comes when a test asks for it. `PYTHONPATH=tests/support python tests/unit/api/test_page.py` draws
docs/page.png, the screenshot in the README, anew.
"""

import asyncio
import base64
import hashlib
import itertools
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from browser import started_browser
from fakedaemon import served
from needs import need
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import Route as Call
from statuses import made_plan
from strategies import OwnersNotice, method_of

from lbwatch.api import application
from lbwatch.api import page as subject
from lbwatch.api.report import Report, report_of, state_json
from lbwatch.core.history import AppliedPlan, Change, History
from lbwatch.core.model import (
    BalancerStatus,
    Degraded,
    EngineStatus,
    Level,
    NoticeKind,
    Reason,
    Route,
    Server,
    ServerState,
    Upstream,
)
from lbwatch.core.status import Status

SCREENSHOT = Path(__file__).resolve().parents[3] / "docs" / "page.png"

NOW, AT = 5000.0, 1_795_560_846.0  # loop time, and 2026-11-24 22:54:06
ENGINE = "unix:///var/run/docker.sock"
CONTACT = EngineStatus(source=ENGINE, connected=True, since=NOW - 4 * 3600, synced_at=NOW - 12, containers=21)
DIGEST = "5f0c2a9be113"
IN_STEP = BalancerStatus(digest=DIGEST, workers=(2, 0))
POLL_MS = 2000
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`&lt;</td></table></details>{{ 7 * 7 }}"
LONG = "averylongnamewithoutaplacetobreakit" * 8


# -- worlds


def upstream(name: str, *servers: tuple[str, str], method: str | None = None, port: int = 8080) -> Upstream:
    """One whose servers are given by address and container."""
    lines = (Server(address=address, port=port, container=container) for address, container in servers)
    return Upstream(name=name, method=None if method is None else method_of(method), servers=tuple(lines))


def unrouted_of(status: Status) -> list[Route]:
    return [replace(route, notices=()) for route in status.routes if route.reason is not None]


def skipped(container: str, reason: Reason, detail: str, of: str | None = None) -> Route:
    return Route(container=container, reason=reason, detail=detail, upstream=of)


def verified(at: float, **values: Any) -> Change:
    """A change as most are."""
    usual = {"digest": DIGEST, "live_s": 0.0129, "verified_s": 0.118, "heard_s": 0.134, "difference": DIFFERENCE}
    return Change(**{"at": at, "outcome": "verified"} | usual | values)


DIFFERENCE = """\
@@ -24,7 +24,7 @@
 upstream web {
     server 172.18.0.2:3000;
     server 172.18.0.3:3000;
-    server 172.18.0.6:3000;
+    server 172.18.0.7:3000;
 }
"""


def made_status(
    *,
    upstreams: Iterable[Upstream] = (),
    unrouted: Iterable[Route] = (),
    notices: Iterable[OwnersNotice] = (),
    last_resort: Mapping[str, ServerState] | None = None,
    changes: Iterable[Change] = (),
    since: Mapping[tuple[str, str | None], float] | None = None,
    engines: Iterable[EngineStatus] = (CONTACT,),
    balancer: BalancerStatus = IN_STEP,
    version: str = "0.1.0",
    **progress: Any,
) -> Status:
    """A world in step, but for what is said."""
    plan = made_plan(
        sorted(upstreams, key=lambda each: each.name), unrouted=unrouted, notices=notices, last_resort=last_resort
    )
    usual = {"plan": plan, "in_force": plan.upstreams, "confirmed": True, "digest": DIGEST}
    history = History()
    history.changes.extend(changes)
    history.since = dict(since or {})
    return Status(
        version=version,
        now=NOW,
        at=AT,
        engines=tuple(engines),
        applied=AppliedPlan(**usual | {"applied_at": AT - 95} | progress),
        history=history,
        balancer=balancer,
        resync_interval_s=30,
        reload_interval_s=1,
    )


def shop() -> Status:
    """What an ordinary evening looks like."""
    chance = random.Random(7)
    unrouted = [
        skipped("billing-1", Reason.SEVERAL_PORTS, "it exposes 8080, 9090: add the label lbwatch.port", "billing"),
        skipped("shop-web-3", Reason.DRAINING, "it was told to stop: it gets no new request", "web"),
        skipped("shop-web-5", Reason.STARTING, "its health check has not passed yet", "web"),
        skipped("import-once", Reason.NOT_RUNNING, "it is exited"),
        skipped("billing-old", Reason.NOT_RUNNING, "it is exited", "billing"),
        *(
            skipped(name, Reason.NOT_LABELLED, "it has no lbwatch.* label: add lbwatch.enable=true")
            for name in ("backup", "node-exporter", "postgres", "redis", "registry")
        ),
    ]
    refusal = 'nginx: [emerg] host not found in upstream "legacy" in /etc/nginx/conf.d/site.conf:14'
    return made_status(
        upstreams=[
            upstream("billing"),
            upstream("mail", ("172.20.0.2", "mail-preview"), port=8025),
            upstream("api", ("172.18.0.4", "shop-api-1"), ("172.18.0.5", "shop-api-2"), method="least_conn"),
            upstream("web", ("172.18.0.2", "shop-web-1"), ("172.18.0.3", "shop-web-2"), ("172.18.0.7", "shop-web-4")),
            upstream("search", ("172.19.0.3", "search-1"), ("[fd00::4]", "search-2"), method="hash $request_uri"),
        ],
        unrouted=unrouted,
        since={(each.container, each.upstream): AT - 40 * (number + 1) ** 2 for number, each in enumerate(unrouted)},
        last_resort={"mail": ServerState.DRAINING},
        notices=[
            OwnersNotice(
                container="mail-preview",
                kind=NoticeKind.SERVES_DRAINING,
                detail="it was told to stop, and it serves upstream mail all the same: nobody is ready",
            ),
        ],
        changes=[
            *(
                verified(
                    AT - 5400 + 190 * number,
                    digest=f"{chance.randrange(16**12):012x}",
                    live_s=chance.uniform(0.011, 0.02),
                    verified_s=chance.uniform(0.115, 0.135) + (0.06 if number == 13 else 0),
                    heard_s=chance.uniform(0.14, 0.2),
                )
                for number in range(24)
            ),
            Change(at=AT - 700, outcome="nginx.rejected", error=refusal, times=3),
            verified(AT - 310, digest="c1d0aa34f7e2", live_s=0.0141, verified_s=0.121),
            verified(AT - 95),
        ],
    )


def troubled() -> Status:
    """A bad night: every part of the page that an ordinary evening does not show."""
    return made_status(
        upstreams=[
            upstream("plain", ("10.0.0.1", "one")),
            upstream("sick", ("10.0.0.2", "two")),
            upstream("well", ("10.0.0.3", "three")),
        ],
        last_resort={"sick": ServerState.UNHEALTHY},
        degraded=(
            Degraded(upstream="plain", level=Level.PLAIN, error="invalid parameter"),
            Degraded(upstream="gone", level=Level.OUT, error="no such method", kept=True),
        ),
        unrouted=[
            *(skipped(f"for-{reason}", reason, f"the detail of {reason}", "any") for reason in Reason),
            skipped("wrong", Reason.BAD_LABEL, "lbwatch.port is '<script>alert(1)</script>': it takes 1-65535"),
        ],
        engines=(
            EngineStatus(
                source="tcp://one:2376", connected=False, since=NOW - 100, error="it does not answer", drift=3
            ),
            CONTACT,
        ),
        balancer=BalancerStatus(
            digest="0123456789ab", workers=None, remarks=("the output was changed by somebody else",)
        ),
        error="nginx: [emerg] out of luck",
        behind_since=NOW - 42,
        changes=[
            verified(AT - 90000, heard_s=None, difference="@@ -1 +1 @@\n-old\n+new\n\\ No newline at end of file\n"),
            Change(at=AT - 1, outcome="nginx.reload_failed", error="no new workers came", times=1200),
        ],
    )


def first_minute() -> Status:
    """Nothing is known yet."""
    unknown = EngineStatus(source=ENGINE, connected=False, since=NOW - 3)
    return made_status(
        engines=(unknown,), balancer=BalancerStatus(), plan=None, in_force=None, confirmed=False, applied_at=None
    )


def hostile() -> Status:
    """Everything that somebody else may name is an attack."""
    return made_status(
        upstreams=[upstream("web", ("10.0.0.1", HOSTILE), ("10.0.0.2", LONG))],
        unrouted=[skipped(HOSTILE + reason, reason, HOSTILE + LONG, HOSTILE) for reason in Reason],
        notices=[OwnersNotice(container=HOSTILE, kind=NoticeKind.UNKNOWN_LABEL, detail=HOSTILE)],
        engines=(EngineStatus(source=LONG, connected=False, since=NOW - 9, error=HOSTILE),),
        balancer=BalancerStatus(digest=DIGEST, remarks=(HOSTILE + LONG,)),
        error=HOSTILE + LONG,
        behind_since=NOW - 1,
        changes=[
            verified(AT - 60, difference=f"@@ -1 +1 @@\n-{HOSTILE}\n+{HOSTILE}{LONG}\n"),
            Change(at=AT - 5, outcome="nginx.rejected", error=HOSTILE + LONG),
        ],
    )


def any_world(chance: random.Random) -> Status:
    """Some containers, each of them somewhere or nowhere; some changes."""
    names = [f"c{number}" for number in range(12)]
    homes = {name: chance.choice(("web", "api", "mail", "unrouted", "idle", "gone")) for name in names}
    reasons = {"unrouted": [*Reason][1:], "idle": [Reason.NOT_LABELLED]}
    troubles = [Change(at=AT - 9, outcome="nginx.rejected", error=f"trouble {chance.random()}")]
    return made_status(
        upstreams=[
            upstream(name, *((f"10.0.0.{each[1:]}", each) for each in names if homes[each] == name))
            for name in chance.sample(("web", "api", "mail"), chance.randrange(4))
        ],
        unrouted=[
            skipped(each, chance.choice(reasons[homes[each]]), f"detail {chance.randrange(3)}", None)
            for each in names
            if homes[each] in reasons
        ],
        notices=[
            OwnersNotice(container=each, kind=NoticeKind.RESTARTED, detail="it was restarted")
            for each in chance.sample(names, 2)
        ],
        changes=[
            *(verified(AT - 100 * n, digest=f"{n:012x}") for n in sorted(chance.sample(range(1, 9), 4), reverse=True)),
            *(troubles if chance.random() < 0.5 else ()),
        ],
        error=chance.choice((None, "nginx is not there")),
        balancer=chance.choice(
            (BalancerStatus(), BalancerStatus(digest=DIGEST, workers=(2, 1), remarks=("a remark",)))
        ),
    )


WORLDS = (shop, troubled, first_minute, hostile, made_status)


# -- reading it without a browser


class Outline(HTMLParser):
    """
    What a page consists of.

    Attributes:
        elements: Each with the names of its attributes, in order.
        texts: Of all elements but script and style.
        values: Of all attributes.
        raw: Of script and style.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self.raw: dict[str, str] = {}
        self._in = ""
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.values += [value or "" for _, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in in ("script", "style"):
            self.raw[self._in] = self.raw.get(self._in, "") + data
        else:
            self.texts.append(data)


def outline(world: Status | Report) -> Outline:
    return Outline(subject.written(world if isinstance(world, Report) else report_of(world)))


def strings(value: object, *, at: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a report, and the name of the field that it is in."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from strings(each, at=key)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each, at=at)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium", root=False)
    with started_browser() as browser:
        yield browser


@pytest.mark.parametrize("world", WORLDS)
def test_everything_in_the_report_is_on_the_page(world: Callable[[], Status]) -> None:
    """Whoever looks at the page must not need the JSON too."""
    report = report_of(world())
    seen = outline(report)
    for field, value in strings(msgspec.to_builtins(state_json(report))):
        if field in ("at", "since"):
            assert value in seen.values, (field, value)
        elif field == "outcome":
            assert subject.OUTCOMES[value] in seen.text
        elif field == "difference":
            assert all(line in seen.text for line in map(str.strip, value.split("\n")) if "  " not in line), value
        elif value:
            assert value in seen.text, (field, value)


def test_the_numbers_of_the_report_are_on_the_page() -> None:
    """Ages, counts and times are written in units that people read."""
    text = outline(shop()).text
    assert "connected for 4 h" in text
    assert "12 s ago" in text
    assert "2 serving, 0 retiring" in text
    assert "New workers after 13 ms, old ones retired after 118 ms; 134 ms from event to verified." in text
    assert "3 times" in text
    assert "Containers 21" in text
    text = outline(troubled()).text
    assert "1,200 times" in text
    assert "3 changes that no event told" in text
    assert "2026-11-23 21:54:06" in text, "another day needs its date"


def test_what_is_not_in_step_stands_before_all_else() -> None:
    """At three in the morning the first line must say what is wrong."""
    report = report_of(troubled())
    seen = outline(report)
    assert not report.ready
    assert len(report.reasons) == 2
    assert "Not in step - lbwatch" in seen.texts
    assert max(seen.text.index(reason) for reason in report.reasons) < seen.text.index("Not routed")
    assert "In step - lbwatch" in outline(shop()).texts


def test_trouble_stands_before_what_passes_and_what_was_never_meant() -> None:
    """A wrong label needs somebody; a container that starts, or one that asks for nothing, does not."""
    text = outline(troubled()).text
    at = {str(reason): text.index(f"the detail of {reason}") for reason in Reason}
    assert at["bad-label"] < at["starting"] < at["not-running"] < at["not-labelled"]
    assert at["restart-loop"] < at["draining"] < at["not-running"] < at["disabled"]
    names = [text.index(f" {name} 1 server, round_robin") for name in ("plain", "sick", "well")]
    assert names == sorted(names)
    assert text.index(" gone 0 servers") < names[2], "an upstream without a server is trouble too"


def test_an_upstream_that_stands_last_by_name_comes_first_if_it_is_in_trouble() -> None:
    """The cut of a big world must not hide what matters."""
    many = [upstream(f"a{number:04}", (f"10.0.{number // 250}.{number % 250}", f"c{number}")) for number in range(1000)]
    seen = outline(made_status(upstreams=[*many, upstream("zzz")]))
    assert "zzz" in seen.text


def test_a_big_world_is_cut_and_says_how_much_is_missing() -> None:
    """A browser is asked for it every two seconds, and nobody reads ten thousand rows."""
    world = made_status(
        upstreams=[
            upstream(f"up{number:04}", (f"10.0.{number // 250}.{number % 250}", f"c{number}"), ("10.9.9.9", "x"))
            for number in range(1000)
        ],
        unrouted=[skipped(f"u{number}", Reason.NO_PORT, "it exposes no TCP port") for number in range(3000)],
        notices=[
            OwnersNotice(container=f"c{n}", kind=NoticeKind.RESTARTED, detail="it was restarted") for n in range(700)
        ],
        changes=[verified(AT - n, digest=f"{n:012x}", difference="+line\n" * 201) for n in range(50)],
    )
    began = time.perf_counter()
    page = subject.html(world)
    took_s = time.perf_counter() - began
    text = Outline(page.decode()).text
    assert "1,500 more servers: lbwatch explain lists all." in text.replace(" :", ":")
    assert "2,500 more containers: lbwatch explain lists all." in text.replace(" :", ":")
    assert "200 more warnings: lbwatch explain lists all." in text.replace(" :", ":")
    assert page.count(b"<ins>") == subject.MAX_LINES
    assert text.count("201 more lines") == 47
    assert b"<dd>3,000</dd>" in page and b"<dd>2,000</dd>" in page
    assert len(page) < 500_000
    assert took_s < 2, "it is some 0.1 s"


def test_one_upstream_of_many_servers_is_cut_too() -> None:
    """The bound holds for rows, not for upstreams."""
    servers = [(f"10.0.{number // 250}.{number % 250}", f"c{number}") for number in range(1200)]
    seen = outline(made_status(upstreams=[upstream("huge", *servers), upstream("small", ("10.1.1.1", "s"))]))
    assert "1,200 servers" in seen.text
    assert "701 more servers" in seen.text


def test_nothing_that_anybody_names_makes_an_element() -> None:
    """The same page with an attack in each string of the report has the same elements and attributes."""
    known = {"at", "since", "kind", "reason", "outcome", "state", "difference"}
    tame = msgspec.to_builtins(report_of(troubled()))

    def attacked(value: object, *, at: str = "") -> object:
        if isinstance(value, dict):
            return {key: attacked(each, at=key) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [attacked(each, at=at) for each in value]
        if at == "difference" and isinstance(value, str):
            return value.replace("old", f"old{HOSTILE}")
        return f"{value}{HOSTILE}" if value and isinstance(value, str) and at not in known else value

    before = outline(msgspec.convert(tame, Report))
    after = outline(msgspec.convert(attacked(tame), Report))
    assert after.elements == before.elements
    assert after.raw == before.raw
    assert after.text.count(HOSTILE) > 50


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
    assert b"half \\ud83d" in subject.html(made_status(error="half \ud83d", behind_since=NOW))


def test_the_header_allows_this_script_and_this_style_alone() -> None:
    """A hash that does not fit is a page without style and script; one that is missing lets others in."""
    for world in WORLDS:
        raw = outline(world()).raw
        for tag in ("script", "style"):
            digest = base64.b64encode(hashlib.sha256(raw[tag].encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}';" in subject.POLICY
    assert subject.POLICY.startswith("default-src 'none';")
    assert "unsafe" not in subject.POLICY
    assert "http" not in subject.POLICY


def test_the_page_is_small_and_asks_for_nothing_else() -> None:
    """No build step and no resource of anybody's: it must work on a host that reaches nothing."""
    source = subject.FILE.read_text()
    assert len(source) < 27_000
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|<link(?! rel=\"icon\" href=\"data:,\")|innerHTML|eval\(", source
    )
    assert not re.search(r"\son[a-z]+=|\sstyle=", source), "the policy would block it"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 ms"),
        (0.00512, "5.1 ms"),
        (0.0129, "13 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (300, "300 s"),
    ],
)
def test_measured_times_have_their_unit(seconds: float, words: str) -> None:
    """13 and 0.013 are easily taken for one another."""
    assert subject._seconds(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_ages_are_rough(seconds: float, words: str) -> None:
    """They change seldom, so that the page is quiet."""
    assert subject._span(seconds) == words


# -- in a browser

COMPLAINTS = """() => {
    const all = (what) => [...document.querySelectorAll(what)], wrong = [];
    const claim = (holds, words, node) => holds || wrong.push(`${words}: ${node ? node.outerHTML.slice(0, 90) : ""}`);
    claim(document.documentElement.lang === "en", "language");
    claim(document.title, "title");
    claim(!/maximum|user-scalable/.test(document.querySelector("meta[name=viewport]").content), "no zoom");
    for (const one of ["h1", "main", "body > header", "body > footer"]) claim(all(one).length === 1, `one ${one}`);
    let level = 0;
    for (const each of all("h1, h2, h3, h4")) {
        claim(Number(each.tagName[1]) <= level + 1, "level skipped", each);
        level = Number(each.tagName[1]);
    }
    for (const each of all("section")) {
        const heading = document.getElementById(each.getAttribute("aria-labelledby"));
        claim(heading && each.contains(heading) && heading.textContent.trim(), "section without name", each);
    }
    for (const each of all("table")) {
        claim(each.caption && each.caption.textContent.trim(), "no caption", each);
        claim(each.tHead && each.querySelectorAll("thead th").length > 1, "no heads", each);
        const columns = each.querySelectorAll("thead th").length;
        for (const row of each.rows) {
            claim([...row.cells].reduce((sum, cell) => sum + cell.colSpan, 0) === columns, "cells missing", row);
        }
    }
    for (const each of all("th")) claim(each.scope && each.textContent.trim(), "th without scope or text", each);
    for (const each of all("input")) claim(each.labels.length && each.labels[0].textContent.trim(), "no label", each);
    for (const each of all("button, a, summary")) claim(each.textContent.trim(), "no name", each);
    for (const each of all("a")) claim(each.getAttribute("href"), "no target", each);
    for (const each of all("svg, img")) claim(each.role === "img" && each.ariaLabel, "no image name", each);
    for (const each of all("[tabindex]")) claim(each.tabIndex < 1, "order of its own", each);
    for (const each of all("[id]")) claim(all(`[id="${CSS.escape(each.id)}"]`).length === 1, "id twice", each);
    for (const each of all("ul, ol")) claim([...each.children].every((li) => li.tagName === "LI"), "list", each);
    for (const each of all("dl")) {
        const items = [...each.children].flatMap((item) => item.tagName === "DIV" ? [...item.children] : item);
        claim(items.every((item) => ["DT", "DD"].includes(item.tagName)), "definitions", each);
    }
    const heard = all("[aria-live], [role=alert], [role=status], output");
    claim(heard.every((each) => each.ariaLive === "polite"), "loud");
    claim(heard.every((each) => !each.querySelector("time, .age, li")), "what changes always must not be read out");
    claim(heard.length === 2, "live regions");
    return wrong;
}"""
"""What a listener would miss."""

UNFOLD = """() => {
    for (const each of document.querySelectorAll("details")) each.open = true;
    document.querySelector("#lost").textContent = "lbwatch is not reached since 22:22:22 UTC";
}"""

CONTRASTS = """() => {
    const parts = (color) => color.match(/[0-9.]+/g).map(Number);
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = (color) => {
        const [r, g, b] = parts(color).map((each) => linear(each / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (let each = node; each; each = each.parentElement) {
            const color = getComputedStyle(each).backgroundColor, alpha = parts(color)[3] ?? 1;
            if (alpha === 1) return color;
            if (alpha !== 0) throw new Error(`half transparent: ${color}`);
        }
    };
    const ratio = (one, other) => {
        const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const found = [];
    for (const node of document.body.querySelectorAll("*:not(script)")) {
        const own = [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
        if (!own || !node.checkVisibility()) continue;
        const style = getComputedStyle(node), color = node.closest("svg") ? style.fill : style.color;
        found.push([ratio(color, behind(node)), `${node.outerHTML.slice(0, 80)}: ${color} on ${behind(node)}`]);
    }
    const input = document.querySelector("input");
    found.push([ratio(getComputedStyle(input, "::placeholder").color, behind(input)), "placeholder"]);
    found.push([light(behind(document.body)), "body"]);
    return found;
}"""
"""Each text's contrast with what is behind it, and what it is; last how light the page is, from 0 to 1."""


class Site:
    """The status server in a thread of its own, on a world that the test exchanges; it can go and return."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.world = shop()
        self.looks = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def quick_status(self) -> Status:
        return self.world

    async def status(self) -> Status:
        self.looks += 1
        return self.world

    def start(self) -> None:
        up = threading.Event()

        async def serve() -> None:
            self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
            async with served(self, listen=f"127.0.0.1:{self.port}"):
                up.set()
                await self._stopped.wait()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()))
        self._thread.start()
        assert up.wait(5), "it does not listen"

    def stop(self) -> None:
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(5)
            assert not self._thread.is_alive()
            self._thread = None


@pytest.fixture(autouse=True)
def unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser's time is simulated: its next question may come within the same instant of ours."""
    monkeypatch.setattr(application, "SHARED_S", 0.0)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


class Visits:
    """
    Opens pages and notes what no page of ours may do.

    Attributes:
        wrong: What happened of that.
    """

    def __init__(self, browser: Browser, site: Site) -> None:
        self.wrong: list[str] = []
        self._browser = browser
        self._site = site
        self._contexts: list[Any] = []

    def __call__(self, *, width: int = 1280, height: int = 900, clock: bool = True, **options: Any) -> Page:
        context = self._browser.new_context(viewport={"width": width, "height": height}, **options)
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._asked(request.url))
        if clock:
            page.clock.install()
        page.goto(self._site.url)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "ERR_CONNECTION_REFUSED" not in text and "status of 503" not in text:
            self.wrong.append(f"{kind}: {text}")

    def _asked(self, url: str) -> None:
        if url not in (self._site.url, "data:,"):
            self.wrong.append(f"request: {url}")


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visits]:
    """See `Visits`; a violated policy, an error, a dialog or a request to elsewhere fails any test."""
    visits = Visits(browser, site)
    try:
        yield visits
        assert not visits.wrong
    finally:
        visits.close()


def update(page: Page, site: Site, world: Status | None = None) -> None:
    """Give the page the time to ask again, and wait until it has shown the answer."""
    if world is not None:
        site.world = world
    page.evaluate("window.asked = document.querySelector('#asof'); window.asked.dataset.old = ''")
    with page.expect_response(site.url):
        page.clock.run_for(POLL_MS + 100)
    expect(page.locator("#asof")).not_to_have_attribute("data-old", "")


TIDY = """(html) => {
    const page = html ? new DOMParser().parseFromString(html, "text/html") : document;
    const copy = page.body.cloneNode(true);
    for (const each of copy.querySelectorAll(".fresh")) {
        each.classList.remove("fresh");
        if (!each.className) each.removeAttribute("class");
    }
    return copy.innerHTML + page.title;
}"""
"""What is on this page, or would be on one of that text, without what is lit as new."""


def test_an_update_leaves_what_a_fresh_visit_would_show(visit: Visits, site: Site) -> None:
    """Whatever came, went or moved: the page that was open for days and a new one must not differ."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    site.world = any_world(chance)
    page = visit()
    for world in [*(any_world(chance) for _ in range(15)), hostile(), first_minute(), shop(), troubled()]:
        update(page, site, world)
        fresh = page.evaluate(TIDY, arg=subject.html(world).decode())
        assert page.evaluate(TIDY) == fresh, f"seed {seed}"


def test_an_update_touches_nothing_that_did_not_change(visit: Visits, site: Site) -> None:
    """Whoever reads, selects or has folded something out must not be disturbed by what happens elsewhere."""
    page = visit(height=500)
    page.locator("#idle summary").click()
    page.locator(".timeline details summary").nth(1).click()
    page.evaluate(
        """() => {
            const row = [...document.querySelectorAll("tr")].find((each) => each.textContent.includes("postgres"));
            window.kept = row;
            getSelection().selectAllChildren(row.querySelector("th"));
            document.querySelector(".timeline details[open] summary").focus();
            window.kept_focus = document.activeElement;
            scrollTo(0, 400);
        }"""
    )
    latest = verified(AT - 1, digest="0" * 12)
    others = [upstream("new", ("10.3.3.3", "new-1")), upstream("web", ("172.18.0.2", "shop-web-1"))]
    unrouted = [skipped("aaa", Reason.NO_PORT, "none"), *unrouted_of(shop())]
    update(page, site, made_status(upstreams=others, unrouted=unrouted, changes=[*shop().history.changes, latest]))
    expect(page.get_by_text("new-1")).to_be_visible()
    assert page.evaluate("window.kept.isConnected && String(getSelection()) === 'postgres'")
    assert page.evaluate("document.activeElement === window.kept_focus")
    expect(page.locator("#idle")).to_have_attribute("open", "")
    expect(page.locator(".timeline > li").nth(2).locator("details")).to_have_attribute("open", "")
    expect(page.locator(".timeline details[open]")).to_have_count(1)
    assert page.evaluate("scrollY") > 300


def test_what_is_new_comes_by_itself_and_what_is_over_goes(visit: Visits, site: Site) -> None:
    """The page is left open on a wall."""
    page = visit()
    page.evaluate("window.marker = 'the same page'")
    expect(page.locator("#state")).to_contain_text("In step.")
    update(page, site, troubled())
    expect(page.locator("#state")).to_contain_text("Not in step.")
    expect(page.locator("main")).not_to_contain_text("shop-web-1")
    expect(page).to_have_title("Not in step - lbwatch")
    update(page, site, shop())
    expect(page).to_have_title("In step - lbwatch")
    expect(page.locator("main")).to_contain_text("shop-web-1")
    assert page.evaluate("window.marker") == "the same page"


def test_hostile_names_stay_text_in_the_browser(visit: Visits, site: Site) -> None:
    """At the first load and by an update: the two ways into the document."""
    page = visit()
    update(page, site, hostile())
    for _ in range(2):
        assert page.locator("script").count() == 1
        assert page.locator("img").count() == 0
        assert page.locator("main tbody").first.inner_text().count("<script>alert(1)</script>") >= 2
        page.reload()


def test_a_lost_daemon_is_said_until_it_is_back(visit: Visits, site: Site) -> None:
    """An old page that looks like a new one is worse than none."""
    page = visit()
    lost = page.locator("#lost")
    expect(lost).to_be_empty()
    site.stop()
    page.clock.run_for(POLL_MS + 100)
    expect(lost).to_be_visible()
    expect(lost).to_have_text(re.compile(r"not reached since \d\d:\d\d:\d\d UTC: what is shown may be old"))
    before = lost.inner_text()
    expect(page.locator("main")).to_contain_text("shop-web-1")
    page.clock.run_for(POLL_MS + 100)
    expect(lost).to_have_text(before)  # since when, not how often
    site.start()
    update(page, site, troubled())
    expect(lost).to_be_empty()
    expect(page.locator("main")).to_contain_text("the detail of bad-label")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, subject.written(report_of(troubled()))),
        (200, "<html><title>Log in</title><main>Who are you?</main></html>"),
    ],
    ids=["refused", "another"],
)
def test_an_answer_that_is_not_the_page_is_not_shown(visit: Visits, site: Site, status: int, body: str) -> None:
    """A proxy in between answers for a daemon that is gone."""
    page = visit()

    def answer(route: Call) -> None:
        route.fulfill(status=status, body=body, content_type="text/html")

    page.route("**/*", answer)
    page.clock.run_for(POLL_MS + 100)
    expect(page.locator("#lost")).to_be_visible()
    expect(page.locator("main")).to_contain_text("shop-web-1")
    expect(page).to_have_title("In step - lbwatch")


def test_a_page_that_nobody_sees_asks_nothing(visit: Visits, site: Site) -> None:
    """A forgotten tab must not keep the daemon busy; when it is looked at again it is up to date at once."""
    page = visit()
    look = """(hidden) => {
        Object.defineProperty(document, "hidden", {get: () => hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(look, arg=True)
    looks = site.looks
    page.clock.run_for(10 * POLL_MS)
    assert site.looks == looks
    with page.expect_response(site.url):
        page.evaluate(look, arg=False)
    with page.expect_response(site.url):
        page.clock.run_for(2 * POLL_MS)


def test_a_paused_page_stands_still_until_it_may_go_on(visit: Visits, site: Site) -> None:
    """Nobody can read out a line to a colleague that moves away."""
    page = visit()
    button = page.get_by_role("button", name="Pause")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    looks = site.looks
    site.world = troubled()
    page.clock.run_for(10 * POLL_MS)
    assert site.looks == looks
    button.click()
    expect(page.locator("#state")).to_contain_text("Not in step.")


def test_another_lbwatch_brings_its_own_page(visit: Visits, site: Site) -> None:
    """After an update of lbwatch the old script would follow a page that it does not know."""
    page = visit()
    page.evaluate("window.marker = 1")
    site.world = made_status(version="9.9.9")
    with page.expect_navigation():
        page.clock.run_for(POLL_MS + 100)
    assert page.evaluate("window.marker") is None
    expect(page.locator("h1")).to_contain_text("9.9.9")


def test_without_javascript_all_can_be_read(visit: Visits, site: Site) -> None:
    """A text browser on the host itself has none, and a script may fail."""
    page = visit(java_script_enabled=False, clock=False)
    for text in ("In step.", "shop-web-1", "billing-1", "several-ports", "nginx refused it", DIGEST, "mail-preview"):
        expect(page.get_by_text(text).first).to_be_visible()
    expect(page.locator(".scripted").first).to_be_hidden()
    expect(page.get_by_text("Without JavaScript")).to_be_visible()
    page.locator("#idle summary").click()
    expect(page.get_by_text("postgres")).to_be_visible()
    page.locator(".timeline summary").first.click()
    expect(page.locator(".timeline ins").first).to_have_text("+    server 172.18.0.7:3000;\n", use_inner_text=False)


def test_the_filter_leaves_what_it_names_also_over_updates(visit: Visits, site: Site) -> None:
    """With a thousand upstreams nobody scrolls; what is folded in must be found too."""
    page = visit()
    row = page.locator("tr[data-key]")
    page.get_by_label("Filter").fill("POSTGRES")
    expect(row.filter(visible=True)).to_have_count(1)
    expect(page.get_by_text("postgres")).to_be_visible()
    update(page, site)
    expect(row.filter(visible=True)).to_have_count(1)
    page.get_by_label("Filter").fill("api")
    expect(page.get_by_text("shop-api-1")).to_be_visible()
    expect(page.get_by_text("shop-web-1")).to_be_hidden()
    page.get_by_label("Filter").fill("")
    expect(page.get_by_text("shop-web-1")).to_be_visible()
    expect(page.get_by_text("postgres")).to_be_hidden()


def test_a_keyboard_is_enough(visit: Visits, site: Site) -> None:
    """The first Tab offers the way past the header; what is folded opens by Enter, and stays open."""
    page = visit()
    focused = page.locator(":focus")
    page.keyboard.press("Tab")
    expect(focused).to_have_text("Skip to the content")
    expect(focused).to_be_in_viewport(ratio=1)
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(focused).to_contain_text("Not running")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_text("billing-old")).to_be_visible()
    update(page, site, shop())
    update(page, site, made_status(unrouted=unrouted_of(shop())[1:]))
    expect(page.get_by_text("billing-old")).to_be_visible()
    expect(focused).to_contain_text("Not running")


def test_every_text_stands_out_from_its_background(visit: Visits, site: Site) -> None:
    """WCAG asks for 4.5:1; both schemes are measured from what the browser computed."""
    page = visit(reduced_motion="reduce")
    for world, scheme in itertools.product((shop(), troubled(), first_minute()), ("light", "dark")):
        update(page, site, world)
        page.evaluate(UNFOLD)
        page.emulate_media(color_scheme=scheme)
        *pairs, (body, _) = page.evaluate(CONTRASTS)
        assert body > 0.8 if scheme == "light" else body < 0.02
        assert len(pairs) > 30
        assert [pair for pair in pairs if pair[0] < 4.5] == []


def test_no_width_makes_the_page_scroll_sideways(visit: Visits, site: Site) -> None:
    """Who is called at night has a telephone in the hand, and names of any length break."""
    page = visit()
    for world, width in itertools.product((shop(), troubled(), hostile()), (320, 360, 600, 1000, 1280)):
        if site.world != world:
            update(page, site, world)
            page.evaluate(UNFOLD)
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        beyond = page.evaluate(
            """(width) => [...document.querySelectorAll("header *, main *, footer *")]
                .filter((each) => each.checkVisibility() && each.getBoundingClientRect().right > width + 0.5)
                .map((each) => each.outerHTML.slice(0, 120))""",
            arg=width,
        )
        assert beyond == [], width


def test_nothing_moves_for_those_who_asked_for_that(visit: Visits, site: Site) -> None:
    """What is new is lit for a moment, for all others."""
    page = visit()
    update(page, site, made_status(upstreams=[upstream("new", ("10.3.3.3", "new-1"))]))
    row = page.locator("tbody", has_text="new-1")
    expect(row).to_have_css("animation-name", "fresh")
    page.emulate_media(reduced_motion="reduce")
    expect(row).to_have_css("animation-name", "none")


def test_screen_readers_find_their_way(visit: Visits, site: Site) -> None:
    """Whoever hears the page needs its headings, landmarks, captions and names."""
    page = visit()
    for world in WORLDS:
        update(page, site, world())
        assert page.evaluate(COMPLAINTS) == []


def test_states_and_differences_are_told_by_words_not_by_colour_alone(visit: Visits, site: Site) -> None:
    """One man in twelve does not tell red from green."""
    site.world = troubled()
    page = visit()
    tags = page.locator(".tag").all_text_contents()
    assert all(tags)
    assert {"up", "unhealthy", "down", "bad-label", "not connected"} <= set(tags)
    assert page.locator("ins").all_text_contents() == ["+new\n"]
    assert page.locator("del").all_text_contents() == ["-old\n"]


def test_the_chart_shows_each_verified_change_in_its_height(visit: Visits, site: Site) -> None:
    """Twice as long is twice as high; the longest reaches the line that its value is written at."""
    site.world = made_status(
        changes=[
            verified(AT - 40, live_s=0.1, verified_s=0.5, heard_s=1.5),
            Change(at=AT - 30, outcome="nginx.rejected", error="no"),
            verified(AT - 20, live_s=0.2, verified_s=1.0, heard_s=None),
        ]
    )
    page = visit()
    heights = [
        [float(page.locator(f"svg rect.{part}").nth(n).get_attribute("height") or 0) for n in (0, 1)]
        for part in ("live", "rest")
    ]
    full = heights[1][1]
    assert page.locator("svg rect.rest").count() == 2
    assert heights == [[pytest.approx(full / 10, abs=0.1), pytest.approx(full / 5, abs=0.1)], [full / 2, full]]
    assert page.locator("svg rect.rest").nth(1).get_attribute("y") == "14.0"
    assert page.locator("svg text").first.text_content() == "1.0 s"
    table = page.locator("table", has_text="Time until")
    rows = ["new workers 150 ms 200 ms", "old ones retired 750 ms 1.0 s", "event to verified 1.5 s 1.5 s"]
    assert [re.sub(r"\s+", " ", text) for text in table.locator("tbody tr").all_inner_texts()] == rows


def draw() -> None:
    """Write the screenshot of the README."""
    with Site() as site, started_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(site.url)
        page.screenshot(path=SCREENSHOT)


if __name__ == "__main__":
    draw()

"""
The page at `/`: what it says of made-up worlds, and how it behaves in a real browser on the real status server.

Time in the browser is simulated, so that an update comes when a test asks for it. `PYTHONPATH=tests/support python tests/unit/api/test_page.py` draws
docs/page.png, the screenshot in the README, anew.
"""

import asyncio
import itertools
import random
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

import pytest
from browser import started_browser
from containerstories import explained, story
from fakedaemon import FixedLoop, served, unasked
from needs import need
from pageoutline import html
from pageworlds import (
    AT,
    DIGEST,
    HOSTILE,
    LONG,
    WORLDS,
    any_world,
    crowd,
    first_minute,
    hostile,
    made_status,
    shop,
    skipped,
    troubled,
    unrouted_of,
    upstream,
    verified,
)
from playwright.sync_api import Browser, Page, Response, expect
from playwright.sync_api import Route as Call

from lbwatch.api import shared
from lbwatch.api.control import ControlService
from lbwatch.api.page.query import container_href
from lbwatch.core.explain import Explanation
from lbwatch.core.history import Change
from lbwatch.core.model import Reason
from lbwatch.core.status import Status
from lbwatch.system.state import State

SCREENSHOT = Path(__file__).resolve().parents[3] / "docs" / "page.png"

POLL_MS = 2000
TYPED_MS = 250


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium", root=False)
    with started_browser() as browser:
        yield browser


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
        const columns = [...each.tHead.rows[0].cells].reduce((sum, cell) => sum + cell.colSpan, 0);
        for (const row of each.rows) {
            claim([...row.cells].reduce((sum, cell) => sum + cell.colSpan, 0) === columns, "cells missing", row);
        }
    }
    for (const each of all("th")) claim(each.scope && each.textContent.trim(), "th without scope or text", each);
    for (const each of all("input:not([type=hidden])")) claim(each.labels.length && each.labels[0].textContent.trim(), "no label", each);
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


class Teller(ControlService):
    """A service that tells of the containers of a site's world."""

    def __init__(self, site: "Site") -> None:
        super().__init__(State(Path(tempfile.gettempdir())), loop=FixedLoop(), explain=unasked)
        self._site = site

    async def explain(self, ref: str) -> Explanation:
        known = explained(ref, self._site.world)
        return replace(known, story=story(ref, text=self._site.text))


class Site:
    """The status server in a thread of its own, on a world that the test exchanges; it can go and return."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.world = shop()
        self.looks = 0
        self.text = ""  # what the stories of containers have in all that others may choose
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
            async with served(self, listen=f"127.0.0.1:{self.port}", service=Teller(self)):
                up.set()
                await self._stopped.wait()
            # The browser may have connected just now: what asyncio makes of that is closed in the loop's next turns.
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.wait([*rest, asyncio.create_task(asyncio.sleep(0.01))])

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
    monkeypatch.setattr(shared, "SHARED_S", 0.0)


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

    def __call__(
        self, path: str = "", *, width: int = 1280, height: int = 900, clock: bool = True, **options: Any
    ) -> Page:
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
        page.goto(f"{self._site.url}{path}")
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _said(self, kind: str, text: str) -> None:
        if (
            kind in ("error", "warning")
            and "ERR_CONNECTION_REFUSED" not in text
            and not re.search("status of (503|404)", text)
        ):
            self.wrong.append(f"{kind}: {text}")

    def _asked(self, url: str) -> None:
        if url != "data:," and not re.fullmatch(rf"{self._site.url}(\?.*|container\?.*)?", url):
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


def update(page: Page, site: Site, world: Status | None = None) -> Response:
    """Give the page the time to ask again, and wait until it has shown the answer, which is returned."""
    if world is not None:
        site.world = world
    page.evaluate("document.querySelector('#asof').dataset.old = ''")
    with page.expect_response(lambda answer: answer.url.startswith(site.url)) as answer:
        page.clock.run_for(POLL_MS + 100)
    if answer.value.status != 304:
        expect(page.locator("#asof")).not_to_have_attribute("data-old", "")
    return answer.value


TIDY = """() => {
    const copy = document.body.cloneNode(true);
    for (const each of copy.querySelectorAll(".fresh")) {
        each.classList.remove("fresh");
        if (!each.className) each.removeAttribute("class");
    }
    return copy.innerHTML + document.title;
}"""
"""What is on a page, without what is lit as new."""


def test_an_update_leaves_what_a_fresh_visit_would_show(visit: Visits, site: Site) -> None:
    """Whatever came, went or moved: the page that was open for days and a new one must not differ."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    site.world = any_world(chance)
    page, other = visit(), visit()
    for world in [*(any_world(chance) for _ in range(8)), hostile(), first_minute(), shop(), troubled()]:
        update(page, site, world)
        other.goto(site.url)
        assert page.evaluate(TIDY) == other.evaluate(TIDY), f"seed {seed}"


def test_an_update_touches_nothing_that_did_not_change(visit: Visits, site: Site) -> None:
    """Whoever reads, selects or has folded something out must not be disturbed by what happens elsewhere."""
    page = visit(height=500)
    page.get_by_role("region", name="Do not ask").locator("summary").click()
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
    expect(page.locator("#idle-fold")).to_have_attribute("open", "")
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
    expect(lost).to_have_text(re.compile(r"not reached since \d\d:\d\d:\d\d: what is shown may be old"))
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
        (503, html(troubled())),
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
    page.get_by_role("region", name="Do not ask").locator("summary").click()
    expect(page.get_by_text("postgres")).to_be_visible()
    page.locator(".timeline summary").first.click()
    expect(page.locator(".timeline ins").first).to_have_text("+    server 172.18.0.7:3000;\n", use_inner_text=False)


def typed(page: Page, site: Site, text: str) -> None:
    """Type into the filter, and wait until what it finds is shown."""
    page.get_by_label("Filter").fill(text)
    with page.expect_response(lambda answer: answer.url.startswith(site.url)):
        page.clock.run_for(TYPED_MS)
    expect(page.locator("#counts")).to_contain_text(text)


def test_the_filter_finds_what_is_not_drawn_and_stays_over_updates(visit: Visits, site: Site) -> None:
    """With a thousand upstreams nobody scrolls; what is folded in or on another page must be found too."""
    site.world = crowd(2000)
    page = visit()
    expect(page.locator("main")).not_to_contain_text("idle399")
    page.get_by_label("Filter").focus()
    typed(page, site, "IDLE399")
    expect(page.get_by_role("row", name="idle399")).to_be_visible()
    expect(page.locator("tr[data-key]")).to_have_count(1)
    update(page, site, replace(crowd(2000), version="0.1.0", at=AT + 86_400))
    expect(page.get_by_label("Filter")).to_be_focused()
    expect(page.get_by_label("Filter")).to_have_value("IDLE399")
    page.reload()
    expect(page.get_by_label("Filter")).to_have_value("IDLE399")
    typed(page, site, "service0003 up")
    expect(page.locator(".servers tr[data-key]")).to_have_count(4)
    typed(page, site, "<script>alert(1)</script>")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    assert page.locator("script").count() == 1
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_role("region", name="Not routed")).to_be_visible()
    expect(page).to_have_url(site.url)


def test_every_counter_leads_to_its_list_and_that_has_all(visit: Visits, site: Site) -> None:
    """Also without a script: a number that nobody can follow is only alarming."""
    site.world = crowd(500)
    page = visit(java_script_enabled=False, clock=False)
    for name, shown in {
        "without a server": "tbody.servers",
        "not routed": "tr[data-key]",
        "warnings": "tr[data-key]",
        "upstreams": "tbody.servers",
        "servers": ".place",
        "changes": "li[data-key]",
    }.items():
        link = page.get_by_role("navigation", name="Lists").get_by_role("link", name=name)
        link.click()
        count = int(link.locator("b").inner_text().replace(",", ""))
        assert count > 6
        expect(page.locator("main").locator(shown)).to_have_count(min(count, 50))
        expect(link).to_have_attribute("aria-current", "page")
    page.goto(f"{site.url}?show=idle")
    seen = page.locator("main tr[data-key] th").all_inner_texts()
    page.get_by_role("link", name="Next").click()
    seen += page.locator("main tr[data-key] th").all_inner_texts()
    assert seen == [f"idle{number:03}" for number in range(100)]
    page.get_by_label("Filter").fill("idle007")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("main tr[data-key]")).to_have_count(1)


def test_a_container_has_a_page_that_follows_it_and_survives_its_end(visit: Visits, site: Site) -> None:
    """The second question, after "is it routed?", is "why not?"."""
    page = visit()
    page.get_by_role("region", name="Not routed").get_by_role("link", name="billing-1").click()
    expect(page.get_by_role("heading", name="billing-1")).to_be_visible()
    expect(page.locator("main")).to_contain_text("it exposes 8080, 9090: add the label lbwatch.port")
    expect(page.locator("main")).to_contain_text("health_status: healthy")
    page.evaluate("window.marker = 1")
    update(page, site, made_status(upstreams=[upstream("billing", ("172.18.0.9", "billing-1"))]))
    expect(page.locator("main")).to_contain_text("serves at 172.18.0.9:8080")
    assert update(page, site).status == 304
    update(page, site, made_status())
    expect(page.locator("main")).to_contain_text("The engine has no container 'billing-1'")
    assert page.evaluate("window.marker") == 1
    page.get_by_role("link", name="Look for a part of this name").click()
    expect(page.get_by_label("Filter")).to_have_value("billing-1")


def test_a_container_of_a_hostile_owner_stays_text_on_its_page(visit: Visits, site: Site) -> None:
    """Its labels, networks and events are whatever its owner likes."""
    site.world, site.text = made_status(upstreams=[upstream("web", ("10.0.0.1", HOSTILE))]), HOSTILE
    page = visit()
    page.locator("main").get_by_role("link", name=HOSTILE).click()
    for _ in range(2):
        expect(page.locator("main")).to_contain_text("health_status: healthy<script>alert(1)</script>")
        assert page.locator("script").count() == 1
        assert page.locator("img").count() == 0
        site.text = f"{HOSTILE} and more"
        update(page, site)


def test_nothing_is_sent_again_where_nothing_changed(visit: Visits, site: Site) -> None:
    """A page that is left open on a wall would cost a gigabyte a day; its ages grow all the same."""
    now = time.time()
    site.world = replace(shop(), at=now, applied=replace(shop().applied, applied_at=now - 95))
    page = visit(timezone_id="Asia/Kolkata")
    since = page.get_by_role("region", name="nginx").locator("dd", has_text="ago")
    there = datetime.fromtimestamp(now - 95, ZoneInfo("Asia/Kolkata"))
    expect(since).to_contain_text(re.compile(rf"{there:%H:%M:%S} (9\d|1\d\d) s ago"))
    answers = [update(page, site) for _ in range(3)]
    assert [answer.status for answer in answers] == [304] * 3
    page.evaluate("document.querySelector('#nginx ~ dl .age').textContent = ''")
    update(page, site)
    expect(since).to_contain_text(re.compile(r"(9\d|1\d\d) s ago"))
    assert update(page, site, troubled()).status == 200
    expect(page.locator("#state")).to_contain_text("Not in step.")


def test_folds_stay_as_they_were_left_also_on_the_way_back(visit: Visits, site: Site) -> None:
    """Who looks at five containers in turn must not unfold the list five times."""
    page = visit()
    page.get_by_role("region", name="Do not ask").locator("summary").click()
    page.get_by_role("region", name="Changes").locator("summary").first.click()
    page.get_by_role("link", name="postgres").click()
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("link", name="postgres")).to_be_visible()
    expect(page.locator(".timeline")).to_be_hidden()
    typed(page, site, "mail")
    page.get_by_label("Filter").fill("")
    with page.expect_response(lambda answer: answer.url.startswith(site.url)):
        page.clock.run_for(TYPED_MS)
    expect(page.get_by_role("link", name="postgres")).to_be_visible()
    update(page, site, made_status(unrouted=unrouted_of(shop()), changes=[verified(AT)]))
    expect(page.get_by_role("link", name="postgres")).to_be_visible()
    expect(page.locator(".timeline")).to_be_hidden()


def test_big_worlds_fit_a_few_screens(visit: Visits, site: Site) -> None:
    """20,000 pixels are not read by anyone: what is wrong stands on the first screen, and all else a click away."""
    page = visit()
    for count, width in itertools.product((500, 2000), (1280, 400)):
        page.set_viewport_size({"width": width, "height": 900})
        site.world = crowd(count)
        page.goto(site.url)
        assert page.evaluate("document.documentElement.scrollHeight") < (3200 if width == 1280 else 4600)
        expect(page.get_by_role("link", name="sick000")).to_be_in_viewport()
        page.goto(f"{site.url}?show=servers")
        assert page.evaluate("document.documentElement.scrollHeight") < 4600
        assert page.evaluate("document.querySelectorAll('*').length") < 1200


def test_a_keyboard_is_enough(visit: Visits, site: Site) -> None:
    """The first Tab offers the way past the header, `/` leads to the filter; what is folded opens by Enter, and stays."""
    page = visit()
    focused = page.locator(":focus")
    page.keyboard.press("Tab")
    expect(focused).to_have_text("Skip to the content")
    expect(focused).to_be_in_viewport(ratio=1)
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(focused).to_contain_text("Not routed")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("/")
    expect(page.get_by_label("Filter")).to_be_focused()
    page.keyboard.type("a/b")
    expect(page.get_by_label("Filter")).to_have_value("a/b")
    expect(page).to_have_url(re.compile("[?&]q="))
    page.get_by_label("Filter").fill("")
    expect(page).not_to_have_url(re.compile("[?&]q="))  # what was found for a/b has no part any more that could go
    page.get_by_role("region", name="Not running").locator("summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("billing-old")).to_be_visible()
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
    for path, scheme in itertools.product((container_href("shop-web-1"), "?show=down&q=e"), ("light", "dark")):
        site.world = shop()
        page.goto(f"{site.url}{path}")
        page.emulate_media(color_scheme=scheme)
        assert [pair for pair in page.evaluate(CONTRASTS)[:-1] if pair[0] < 4.5] == [], path


def test_no_width_makes_the_page_scroll_sideways(visit: Visits, site: Site) -> None:
    """Who is called at night has a telephone in the hand, and names of any length break."""
    page = visit()
    for world in (shop(), troubled(), hostile()):
        update(page, site, world)
        page.evaluate(UNFOLD)
        assert beyond(page, 320, 360, 600, 1000, 1280) == []
    site.text = f" {HOSTILE}{LONG}"
    for path in (container_href("shop-web-1"), "?show=servers&page=2", f"?q={LONG}"):
        site.world = shop() if "name" in path else crowd(500)
        page.goto(f"{site.url}{path}")
        assert beyond(page, 320, 400, 1280) == [], path


def beyond(page: Page, *widths: int) -> list[str]:
    """What stands beyond the right edge of a page in one of these widths."""
    found: list[str] = []
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found += page.evaluate(
            """(width) => [...document.querySelectorAll("header *, main *, footer *")]
                .filter((each) => each.checkVisibility() && each.getBoundingClientRect().right > width + 0.5)
                .map((each) => `${width}: ${each.outerHTML.slice(0, 120)}`)""",
            arg=width,
        )
    return found


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
    for world in (*WORLDS, lambda: crowd(500)):
        update(page, site, world())
        assert page.evaluate(COMPLAINTS) == []
    for path in (
        "?show=servers",
        "?show=idle&q=nonesuch",
        "?q=nonesuch",
        "container?name=sick000",
        "container?name=no",
    ):
        page.goto(f"{site.url}{path}")
        assert page.evaluate(COMPLAINTS) == [], path


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
        page = browser.new_page(viewport={"width": 1280, "height": 1300}, color_scheme="light", timezone_id="UTC")
        page.clock.install(time=AT)
        page.goto(site.url)
        page.screenshot(path=SCREENSHOT)


if __name__ == "__main__":
    draw()

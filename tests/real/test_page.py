"""
The page at `/` of a real lbwatch between a real engine and a real nginx, in headless Chromium in the same network.

Screenshots of it are left in $CI_ARTIFACTS, or in build/artifacts.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, started_browser
from daemon import Stage
from needs import SetStage, need
from playwright.sync_api import Browser, Page, expect
from realengine import RealEngine, in_namespace

WEB = {"lbwatch.upstream": "web"}
LISTEN = "127.0.0.1:9180"
URL = f"http://{LISTEN}/"
ARTIFACTS = Path(os.environ.get("CI_ARTIFACTS") or Path(__file__).resolve().parents[2] / "build" / "artifacts")
WITHIN_MS = 6000  # the page asks every two seconds


@pytest.fixture(scope="module")
def browser(real_engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One in the network of the session's engine, where lbwatch listens."""
    need("chromium", "nsenter")
    program = tmp_path_factory.mktemp("browser") / "chromium"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(in_namespace(real_engine.name, [CHROMIUM]))} "$@"\n')
    program.chmod(0o755)
    with started_browser(program) as browser:
        yield browser


def is_wrong(kind: str, text: str) -> bool:
    """Whether the console complains; that a container is not there any more is no complaint."""
    return kind in ("error", "warning") and "status of 404" not in text


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty one, 1280 by 900; what the console complains of fails the test."""
    wrong: list[str] = []
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text) if is_wrong(said.type, said.text) else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: None if request.url.startswith(URL) else wrong.append(request.url))
        yield page
    assert not wrong


@pytest.fixture
def stage(engine: RealEngine, set_stage: SetStage) -> Stage:
    return set_stage(engine, status_listen=LISTEN)


def open_page(page: Page, stage: Stage) -> None:
    """Once it is served."""
    stage.lbwatch.wait_for_log("status.listening")
    page.goto(URL)


def section(page: Page, name: str) -> str:
    """What a reader finds below a heading."""
    return page.get_by_role("region", name=name).inner_text()


def test_the_open_page_shows_a_container_that_starts_and_one_that_stops(
    stage: Stage, engine: RealEngine, page: Page
) -> None:
    """The whole way: from the engine's event over nginx to the eyes of whoever left the page open."""
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    open_page(page, stage)
    page.evaluate("window.marker = 'the same page'")
    upstreams = page.get_by_role("region", name="Upstreams")
    expect(upstreams).to_contain_text("web1")
    page.wait_for_event("response", lambda answer: answer.status == 304)  # while nothing changes
    expect(upstreams).not_to_contain_text("web2")
    engine.run("web2", labels=WEB)
    expect(upstreams).to_contain_text("web2", timeout=WITHIN_MS)
    address = engine.inspect("web2")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    row = upstreams.get_by_role("row").filter(has_text="web2")
    expect(row).to_contain_text(f"{address}:80")
    expect(row).to_contain_text("up")
    latest = page.locator(".timeline > li").first
    latest.locator("summary").click()
    expect(latest.locator("ins").filter(has_text=f"{address}:80")).to_be_visible()
    engine.docker("stop", "--time", "2", "web1")
    expect(upstreams).not_to_contain_text("web1", timeout=WITHIN_MS)
    stopped = page.get_by_role("region", name="Not running")
    stopped.locator("summary").click()
    expect(stopped).to_contain_text("web1")
    assert page.evaluate("window.marker") == "the same page"
    upstreams.get_by_role("link", name="web2").click()
    assert "start" in section(page, "Events")
    assert address in section(page, "Networks")
    assert "lbwatch.upstream" in section(page, "Labels")
    assert f"server {address}:80" in section(page, "In the file for nginx")
    engine.docker("rm", "--force", "web2")
    expect(page.locator("main")).to_contain_text("The engine has no container 'web2'", timeout=WITHIN_MS)


def test_a_label_that_holds_a_script_is_shown_as_text(stage: Stage, engine: RealEngine, page: Page) -> None:
    """Whoever may start a container must not get hold of the operator's browser."""
    attack = "<script>alert(1)</script>"
    open_page(page, stage)
    engine.run("attacker", labels=WEB | {"lbwatch.port": attack})
    unrouted = page.get_by_role("region", name="Not routed")
    expect(unrouted).to_contain_text("attacker", timeout=WITHIN_MS)
    for _ in range(2):
        expect(unrouted.get_by_role("row").filter(has_text="attacker")).to_contain_text(attack)
        expect(unrouted).to_contain_text("bad-label")
        expect(page.locator("script")).to_have_count(1)
        page.reload()


def test_the_page_of_a_real_evening_as_a_picture(stage: Stage, engine: RealEngine, page: Page) -> None:
    """For whoever looks at a change of the page: light and dark, of a world that nobody made up."""
    engine.docker("network", "create", "back")
    for number in (1, 2, 3):
        engine.run(f"web{number}", labels=WEB)
    engine.run("api1", "--network", "back", labels={"lbwatch.upstream": "api", "lbwatch.method": "least_conn"})
    engine.run("several", labels={"lbwatch.port": "http"})
    engine.run("database")
    engine.run("job", labels={"lbwatch.upstream": "job"})
    engine.docker("stop", "--time", "0", "job")  # its upstream's name lives on
    engine.run("typo", labels=WEB | {"lbwatch.wieght": "3"})
    engine.docker("pause", "web3")
    open_page(page, stage)
    expect(page.get_by_role("region", name="Upstreams")).to_contain_text("typo", timeout=WITHIN_MS)
    expect(page.get_by_role("region", name="Upstreams")).not_to_contain_text("web3", timeout=WITHIN_MS)
    expect(page.locator("#state")).to_contain_text("In step.", timeout=WITHIN_MS)
    assert "bad-label" in section(page, "Not routed")
    assert "paused" in section(page, "Not routed")
    assert "did you mean lbwatch.weight" in section(page, "Warnings")
    assert "127.0.0.1:1" in section(page, "Upstreams")
    assert "least_conn" in section(page, "Upstreams")
    assert engine.url in section(page, "Engines")
    assert "connected" in section(page, "Engines")
    assert "the same" in section(page, "nginx")
    assert "2 serving" in section(page, "nginx") or "1 serving" in section(page, "nginx")
    assert "Median" in section(page, "Reload times")
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        picture = ARTIFACTS / f"page-{scheme}.png"
        picture.unlink(missing_ok=True)
        page.screenshot(path=picture, full_page=True)
        assert picture.stat().st_size > 20_000
    reloads = page.locator("svg g").count()
    page.get_by_role("link", name=re.compile("All [0-9]+ changes")).click()
    expect(page.get_by_role("region", name="Changes").get_by_text("in force")).to_have_count(reloads)

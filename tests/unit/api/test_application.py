"""The application: what is answered, who may ask for what, and that nobody who asks holds up the daemon."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from fakedaemon import (
    ROUTES,
    Client,
    DrainStage,
    FixedLoop,
    FixedView,
    free_port,
    served,
    unasked,
)
from statuses import (
    DIGEST,
    IN_STEP,
    NOW,
    OUT_OF_STEP,
    applied_plan,
    crowd,
    engine_status,
    full_status,
    made_status,
    samples,
)
from waiting import longest_stall

from lbwatch.api import application as api
from lbwatch.api import shared
from lbwatch.api.control import ControlService
from lbwatch.api.metrics import exposition
from lbwatch.api.page import rendering as page
from lbwatch.api.report import report_of, state_json
from lbwatch.api.server import serving
from lbwatch.core.explain import Explanation
from lbwatch.core.hostwords import HostExplanation
from lbwatch.core.model import Plan
from lbwatch.core.sitestory import SiteStory
from lbwatch.core.status import Status
from lbwatch.system.state import State

# -- what is answered


async def test_each_route_of_the_contract_answers(client: Client) -> None:
    """Their names are in users' probes, scrapes and bookmarks."""
    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/readyz")).status == 200
    metrics = await client.get("/metrics")
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert samples(metrics.body) == samples(exposition(full_status()))
    state = await client.get("/api/state")
    assert state.headers["content-type"].startswith("application/json")
    at = "2023-11-14T22:13:20+00:00"
    assert state.json["applied"] == {"digest": DIGEST, "verified": True, "at": at, "believed": False}
    html = await client.get("/")
    assert (html.status, html.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert html.text.lower().startswith("<!doctype html>")


@pytest.mark.parametrize("path", ROUTES)
async def test_head_answers_as_get_does_but_for_the_body(client: Client, path: str) -> None:
    """Some probes ask so."""
    get, head = await client.get(path), await client.get(path, method="HEAD")
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.body))
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ROUTES)
async def test_nothing_can_be_changed_here(client: Client, path: str, method: str) -> None:
    """It is open to whoever reaches the port: read-only is what makes that bearable."""
    answer = await client.get(path, method=method)
    assert answer.status == 405
    assert set(answer.headers["allow"].split(",")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path", ["/nothing", "/metrics/", "/api", "/api/state/x", "//healthz", "/../etc/passwd", "/%00"]
)
async def test_what_is_not_there_is_not_found(client: Client, path: str) -> None:
    """And no traceback, no listing, no redirect."""
    answer = await client.get(path)
    assert answer.status == 404
    assert "Traceback" not in answer.text


async def test_a_query_is_of_no_account(client: Client) -> None:
    """A probe or a browser adds one against caches."""
    assert (await client.get("/readyz?x=1")).status == 200


@pytest.mark.parametrize(
    ("path", "method", "host"),
    [
        *((path, "GET", "127.0.0.1") for path in ROUTES),
        *((path, "HEAD", "127.0.0.1") for path in ROUTES),
        ("/nothing", "GET", "127.0.0.1"),
        ("/", "POST", "127.0.0.1"),
        ("/", "GET", "evil.example"),
    ],
)
async def test_each_answer_ends_its_connection_and_may_be_neither_kept_nor_guessed(
    client: Client, path: str, method: str, host: str
) -> None:
    """A kept connection is one that can be held; a kept answer lies about now; a guessed type runs as a script."""
    answer = await client.get(path, method=method, host=host)  # which reads to the end
    assert answer.headers["connection"] == "close"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_of_two_requests_on_one_connection_the_first_is_answered(client: Client) -> None:
    """One request for each connection is what its time limit is for."""
    said = await client.exchange(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n" * 2)
    assert said.count(b"HTTP/1.1 200 OK") == 1


async def test_the_page_may_run_its_own_script_and_reach_nothing_else(client: Client) -> None:
    """It shows names that others chose: should one ever get through the escaping, it can do nothing."""
    policy = (await client.get("/")).headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for what in ("frame-ancestors", "base-uri"):
        assert rules[what] == "'none'"
    for what in ("connect-src", "form-action"):
        assert rules[what] == "'self'"
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy
    text = (page.FOLDER / page.FRAME).read_text()
    for tag in ("script", "style"):
        wanted = {f"'sha256-{page._hash(part)}'" for part in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)}
        assert set(rules[f"{tag}-src"].split()) == wanted


# -- readiness


@pytest.mark.parametrize("case", OUT_OF_STEP)
async def test_out_of_step_is_not_ready_and_says_why(case: str) -> None:
    """A deploy script waits for it, and an operator reads it first of all."""
    given, reason = OUT_OF_STEP[case]
    look = made_status(**given)
    async with served(FixedView(look)) as client:
        answer = await client.get("/readyz")
        assert (answer.status, answer.json["ready"]) == (503, False)
        assert answer.headers["content-type"].startswith("application/json")
        (said,) = answer.json["reasons"]
        assert re.fullmatch(reason, said)
        state = (await client.get("/api/state")).json
        assert (state["ready"], state["reasons"]) == (False, [said]), "all say the same"
        assert samples((await client.get("/metrics")).body)["lbwatch_ready", ()] == 0


@pytest.mark.parametrize("case", IN_STEP)
async def test_in_step_is_ready_also_while_work_goes_on(case: str) -> None:
    """Else each deploy would make a balancer's probe, or a health check, flap."""
    look = made_status(**IN_STEP[case])
    async with served(FixedView(look)) as client:
        answer = await client.get("/readyz")
        assert (answer.status, answer.json) == (200, {"ready": True, "reasons": []})
        assert (await client.get("/api/state")).json["ready"] is True
        assert samples((await client.get("/metrics")).body)["lbwatch_ready", ()] == 1


async def test_all_reasons_are_given_at_once() -> None:
    """Whoever mends the first must not have to come back for the second."""
    look = made_status(
        engines=(
            engine_status(connected=False, error="refused"),
            engine_status(source="tcp://other:2376", synced_at=None),
        ),
        applied=applied_plan(error="[emerg] no", behind_since=NOW - 1),
    )
    async with served(FixedView(look)) as client:
        assert len((await client.get("/readyz")).json["reasons"]) == 3


@pytest.mark.parametrize(
    ("still_s", "applying", "healthy"),
    [(0, False, True), (119, False, True), (121, False, False), (299, True, True), (301, True, False)],
)
async def test_healthy_is_whose_loop_turns(*, still_s: float, applying: bool, healthy: bool) -> None:
    """A supervisor kills by it: an engine or an nginx that is away must not, nor a long apply."""
    state = applied_plan(
        Plan(), turned_at=NOW - still_s, applying=applying, step="verifying", error="nginx is away", behind_since=1.0
    )
    look = made_status(engines=(engine_status(connected=False, error="refused"),), applied=state)
    async with served(FixedView(look)) as client:
        answer = await client.get("/healthz")
        assert answer.status == (200 if healthy else 503)
        assert ("in verifying" in answer.text) == (applying and not healthy)
        assert (await client.get("/readyz")).status == 503


# -- who may ask


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:9180", "10.1.2.3", "192.0.2.7:80", "[::1]", "[::1]:9180", "[2001:db8::1]:9180"),
        *("localhost", "localhost:9180", "LOCALHOST", "LocalHost.:80", "localhost."),
        *("lb.example", "LB.Example", "lb.example:9180", "lb.example.", "Lb.example.:80", "upper.example"),
    ],
)
async def test_addresses_localhost_and_the_names_that_are_set_may_ask(host: str) -> None:
    """A name in DNS is what an attacker's page can turn to us; an address is not."""
    async with served(hosts=("lb.example", "UPPER.example")) as client:
        assert (await client.get("/healthz", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:9180", "lb.example.evil.example", "evil-lb.example", "localhost.evil.example"),
        *("xn--lcalhost-5ua", "127.0.0.1.evil.example", "127.0.0.1.nip.io", "lb", "example", ".lb.example"),
        *("127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3", "1.2.3.4.5", "256.0.0.1"),
        *("", ":", ":9180", ".", "*", "null", "[", "]", "[]", "[::1", "::1]", "[evil]", "[::1].evil.example", "a b"),
        *("evil.example@", "evil.example@127.0.0.1", "127.0.0.1@evil.example", "127.0.0.1/.evil.example", "[::1]x"),
        *("127.0.0.1#.evil.example", "127.0.0.1?.evil.example"),
        *("localhost,evil.example", "x" * 5000, "a;b", "<script>alert(1)</script>", "\xe9vil"),
    ],
)
async def test_other_names_may_not_and_are_told_what_to_do(host: str) -> None:
    """DNS rebinding: a page from anywhere would read which containers run here. An operator's own name looks the same."""
    async with served(hosts=("lb.example",)) as client:
        answer = await client.get("/api/state", host=host)
        assert answer.status in (403, 400), "400 is the HTTP parser's for what no header may hold"
        assert "web-1" not in answer.text
        if answer.status == 403:
            assert "add it to status_hosts" in answer.text
            assert answer.headers["content-type"].startswith("text/plain"), "the name is the asker's own text"
            assert len(answer.text) < 400
            assert len(answer.text.splitlines()) == 1


@pytest.mark.parametrize("host", ["evil.example", "xn--lcalhost-5ua", "127.1", "", "[]", "x" * 5000, "a b"])
async def test_the_refusal_of_a_name_is_a_403(client: Client, host: str) -> None:
    """And nothing that looks like a fault of ours."""
    assert (await client.get("/healthz", host=host)).status == 403


async def test_other_names_learn_nothing_of_what_is_here(client: Client) -> None:
    """Neither a route's existence nor its methods."""
    asked = (("/nothing", "GET"), ("/", "POST"), ("/metrics", "HEAD"))
    assert [(await client.get(path, method=verb, host="evil.example")).status for path, verb in asked] == [403] * 3


async def test_a_request_without_a_host_is_old_and_no_browser(client: Client) -> None:
    """HTTP/1.0 has none, and some probes speak it; a browser always sends one."""
    said = await client.exchange(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert said.startswith(b"HTTP/1.0 200 OK")


async def test_a_name_that_was_set_with_a_dot_at_its_end_is_the_same_name() -> None:
    """As it is in the header; the operator copied it from a zone file."""
    async with served(hosts=("lb.example.",)) as client:
        assert (await client.get("/healthz", host="lb.example")).status == 200
        assert (await client.get("/healthz", host="lb.example.")).status == 200


# -- the two ways in


class Recorded(ControlService):
    """A service that notes what is asked of it, and does nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(State(folder), loop=FixedLoop(), explain=unasked)
        self.asked: list[str] = []

    async def drain(self, ref: str) -> str:
        self.asked.append("/drain")
        return ref

    async def undrain(self, ref: str) -> str:
        self.asked.append("/undrain")
        return ref

    async def pause(self, ref: str) -> str:
        self.asked.append("/pause")
        return ref

    async def resume(self, ref: str) -> str:
        self.asked.append("/resume")
        return ref

    async def explain(self, ref: str) -> Explanation:
        self.asked.append("/explain")
        return Explanation(source=ref, routes=())

    async def explain_host(self, host: str) -> HostExplanation:
        self.asked.append("/explain-host")
        return HostExplanation(source="local", story=SiteStory(host=host), at=0.0)


def routes_of(application: web.Application) -> set[tuple[str, str]]:
    """The method and the path of each route that there is."""
    found = ((route.method, route.resource) for route in application.router.routes())
    return {(method, resource.canonical) for method, resource in found if resource is not None}


async def test_nothing_that_changes_anything_is_reached_by_tcp(tmp_path: Path) -> None:
    """Whoever reaches the port could take a site down; each route that there is, also one that comes later, is tried."""
    service = Recorded(tmp_path)
    application = api.make_application(FixedView(), service=service, hosts=())

    async def added(_: web.Request) -> web.Response:
        service.asked.append("added")
        return web.Response()

    application.router.add_post("/readyz", added)
    application.router.add_route("*", "/added", added)
    here, port = tmp_path / "s", free_port()
    routes = routes_of(application)
    closed = {route for route in routes if route[0] not in ("GET", "HEAD") or route[1] not in ROUTES}
    orders = {"/drain", "/undrain", "/pause", "/resume"}
    assert {
        ("GET", "/explain"),
        ("GET", "/explain-host"),
        ("GET", "/suspended"),
        *(("POST", each) for each in orders),
    } < closed
    assert {path for _, path in routes - closed} == set(ROUTES)
    async with serving(application, listen=f"127.0.0.1:{port}", control_socket=here):
        for method, path in closed:
            for verb in ("GET", "POST", "PUT", "DELETE") if method == "*" else (method, "POST"):
                answer = await Client(port=port).get(f"{path}?container=web-1", method=verb)
                assert answer.status == (405 if path in ROUTES else 404), (verb, path)
        assert service.asked == []
        for method, path in closed:
            answer = await Client(socket=here).get(f"{path}?container=web-1", method="PUT" if method == "*" else method)
            assert answer.status == 200, (method, path)
        assert set(service.asked) == orders | {"/explain", "/explain-host", "added"}, "the walk saw them"


@pytest.mark.parametrize("path", ROUTES)
async def test_the_unix_socket_answers_as_tcp_does_whatever_the_host(tmp_path: Path, path: str) -> None:
    """Who wants no open port can look there; no browser gets at it, so that any name will do."""
    async with served(control_socket=tmp_path / "s") as client:
        by_tcp = await client.get(path)
        by_socket = await Client(socket=tmp_path / "s").get(path, host="lbwatch")
    assert (by_socket.status, by_socket.body) == (by_tcp.status, by_tcp.body)
    assert by_socket.headers | {"date": ""} == by_tcp.headers | {"date": ""}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/drain", 405),
        ("GET", "/undrain", 405),
        ("GET", "/pause", 405),
        ("PUT", "/resume", 405),
        ("PUT", "/drain", 405),
        ("POST", "/", 405),
        ("POST", "/drain/web-1", 404),
        ("POST", "/drain", 409),
        ("POST", "/pause", 409),
    ],
)
async def test_only_the_four_orders_are_taken_and_only_by_post(
    stage: DrainStage, method: str, path: str, status: int
) -> None:
    """A look must be harmless, and an order without a container is none."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(stage.socket))) as session,
        session.request(
            method, f"http://lbwatch{path}", params={"container": "web-1", "upstream": "web"} if status != 409 else {}
        ) as said,
    ):
        assert said.status == status
    assert (stage.state.drained, stage.state.paused) == ({}, frozenset())


# -- the loop goes on


def fetched(client: Client, path: str) -> int:
    """Ask from another thread, so that the loop has nothing to do with it but to answer."""
    with socket.create_connection((client.host, client.port), timeout=30.0) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return sum(len(chunk) for chunk in iter(lambda: connection.recv(1 << 20), b""))


def took_s(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@pytest.mark.parametrize("path", ["/api/state", "/metrics"])
async def test_the_loop_is_not_held_up_by_a_big_picture(path: str) -> None:
    """
    Events, and the removal of a dead server, must not wait for somebody's browser.

    A ratio, as machines differ, and of the best tries, as others use this one too: a loop that writes by itself stands
    still for at least as long as the writing takes.
    """
    look = crowd(1_000, servers=10)
    make = {
        "/api/state": lambda: msgspec.json.encode(state_json(report_of(look))),
        "/metrics": lambda: exposition(look),
    }[path]
    writing_s = min(took_s(make) for _ in range(5))
    stalls_s: list[float] = []
    async with served(FixedView(look)) as client:
        while not stalls_s or (min(stalls_s) > 0.5 * writing_s and len(stalls_s) < 20):
            stalls_s.append(await longest_stall(asyncio.create_task(asyncio.to_thread(fetched, client, path))))
    assert min(stalls_s) <= 0.5 * writing_s


async def test_a_picture_is_written_in_another_thread() -> None:
    """What the ratio above is made of."""
    seen: list[int] = []

    class Watched(FixedView):
        async def status(self) -> Status:
            found = self.shown

            class Spied(tuple):  # noqa: SLOT001 - its iteration shows who iterates
                def __iter__(self) -> Any:
                    seen.append(threading.get_ident())
                    return super().__iter__()

            return replace(found, engines=Spied(found.engines))

    async with served(Watched()) as client:
        for path in ("/api/state", "/metrics", "/"):
            seen.clear()
            assert (await client.get(path)).status == 200
            assert seen, path
            assert threading.get_ident() not in seen, path


async def test_many_who_look_at_once_cost_as_much_as_one() -> None:
    """A page that is open on every screen of a team must not cost the daemon one report for each of them."""
    view, looks = FixedView(), 0

    async def status() -> Status:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.01)
        return view.shown

    view.status = status  # type: ignore[method-assign]
    async with served(view) as client:
        answers = await asyncio.gather(*(client.get("/api/state") for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert looks <= 3
        before = looks
        await asyncio.sleep(shared.SHARED_S)
        view.shown = replace(view.shown, version="another")
        assert (await client.get("/api/state")).json["version"] == "another", "an old answer is given for ever"
        assert looks == before + 1


async def test_a_picture_that_cannot_be_had_fails_for_those_who_ask_now_only() -> None:
    """A passing fault must not stick."""
    view, faults = FixedView(), [OSError("passing")]

    async def status() -> Status:
        if faults:
            raise faults.pop()
        return view.shown

    view.status = status  # type: ignore[method-assign]
    async with served(view) as client:
        assert (await client.get("/api/state")).status == 500
        assert (await client.get("/api/state")).status == 200


async def test_many_who_look_do_not_hold_up_the_work_of_the_daemon() -> None:
    """
    The daemon renders, writes and tests in threads of the same few: a crowd of browsers must not take all of them.

    A ratio, and of the best tries, as above: where the askers take all threads, work that takes no time waits for
    nearly as long as the last of them.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=4))
    ratios: list[float] = []
    async with served(FixedView(crowd(1_000))) as client:
        while not ratios or (min(ratios) > 0.3 and len(ratios) < 5):
            began = loop.time()
            async with asyncio.TaskGroup() as group:
                for _ in range(24):
                    group.create_task(client.get("/api/state"))
                await asyncio.sleep(0.05)  # they are all in by then
                asked = loop.time()
                await asyncio.to_thread(int)
                waited_s = loop.time() - asked
            ratios.append(waited_s / (loop.time() - began))
    assert min(ratios) <= 0.3

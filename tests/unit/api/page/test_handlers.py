"""The addresses of the page: what is answered, how much it costs, and that nobody is sent what he has."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from containerstories import explained
from fakedaemon import Answer, Client, FixedLoop, FixedView, served, unasked
from pageworlds import HOSTILE, crowd, made_status, shop, troubled
from waiting import eventually, longest_stall

from lbwatch.api import shared
from lbwatch.api.control import ControlService
from lbwatch.api.page import handlers, rendering
from lbwatch.core.explain import Explanation
from lbwatch.system.state import State

MOST_STALL_S = 0.05


class Teller(ControlService):
    """Tells of a view's containers, and counts for how many at once."""

    def __init__(self, folder: Path, *, view: FixedView) -> None:
        super().__init__(State(folder), loop=FixedLoop(), explain=unasked)
        self.view = view
        self.at_once = self.most_at_once = self.longest = 0

    async def explain(self, ref: str) -> Explanation:
        self.longest = max(len(ref), self.longest)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        return explained(ref, self.view.shown)


@pytest.fixture(autouse=True)
def unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks for himself."""
    monkeypatch.setattr(shared, "SHARED_S", 0.0)


async def asked(client: Client, path: str, *, tag: str) -> Answer:
    """Ask for a page as somebody who has one with that tag."""
    sent = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {tag}\r\n\r\n"
    head, _, body = (await client.exchange(sent.encode())).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(status=int(first.split()[1]), headers=headers, body=body)


@pytest.mark.parametrize("path", ["/", "/?q=web&show=servers", "/container?name=shop-web-1", "/container?name=no"])
async def test_who_has_the_page_already_is_sent_nothing_until_it_changes(tmp_path: Path, path: str) -> None:
    """Every open page asks every two seconds, for days."""
    view = FixedView(shop())
    async with served(view, service=Teller(tmp_path, view=view)) as client:
        first = await client.get(path)
        again = await asked(client, path, tag=first.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert first.headers["etag"].strip('"').encode() in first.body, "the script's first question has it"
        view.shown = troubled()
        changed = await asked(client, path, tag=first.headers["etag"])
        assert changed.status == (404 if "container" in path else 200)
        assert len(changed.body) > 5000
        for tag in ('"other"', "nonsense", '"a", "b"'):
            assert (await asked(client, path, tag=tag)).status == changed.status, tag
        listed = f'"a", {changed.headers["etag"]}'
        assert (await asked(client, path, tag=listed)).status == 304


async def test_a_container_that_is_not_there_is_not_found_and_named_safely(tmp_path: Path) -> None:
    """With a page that leads on; what was asked for is somebody's own text, of any length."""
    view = FixedView(shop())
    service = Teller(tmp_path, view=view)
    async with served(view, service=service) as client:
        assert (await client.get("/container?name=shop-web-1")).status == 200
        for query in ("", "?name=", "?name=%3Cscript%3E", f"?name={'x' * 5000}", "?name=%ff", "?other=1", "?name=%00"):
            answer = await client.get(f"/container{query}")
            assert answer.status == 404, query
            assert answer.headers["content-type"] == rendering.CONTENT_TYPE
            assert answer.headers["content-security-policy"] == rendering.POLICY
            assert "back to the overview" in answer.text
            assert "<script>" not in answer.text.replace('<script>\n"use strict"', "")
            assert len(answer.body) < 40_000
    assert service.longest < 300, "nobody is asked for what cannot be"


async def test_a_daemon_that_knows_nothing_yet_says_so(tmp_path: Path) -> None:
    """It then tells of all containers, that is of none: no page of one could be made of that."""
    view = FixedView(made_status())

    async def nothing(_: Any) -> Explanation:
        return Explanation(source="local", routes=())

    service = ControlService(State(tmp_path), loop=FixedLoop(), explain=nothing)
    service._loop.known = None  # type: ignore[attr-defined] - the engine was not read yet
    async with served(view, service=service) as client:
        answer = await client.get("/container?name=web")
        assert answer.status == 404
        assert "The engine was not read yet" in answer.text


async def test_the_engine_is_never_asked_for_two_containers_at_once(tmp_path: Path) -> None:
    """Whoever reaches the port may ask, and each question costs the engine an inspect."""
    view = FixedView(crowd(50))
    service = Teller(tmp_path, view=view)
    async with served(view, service=service) as client:
        answers = await asyncio.gather(*(client.get(f"/container?name=idle00{n}") for n in range(10)))
    assert {answer.status for answer in answers} == {200}
    assert service.most_at_once == 1


@pytest.mark.parametrize(
    "query",
    [f"q={'e+' * 1000}", f"q={HOSTILE[:9].replace('<', '%3C')}", "page=99999999999", "show=%3Cb%3E", "q=%00%ff"],
)
async def test_no_question_is_too_much(query: str) -> None:
    """An address is what anybody sends."""
    async with served(FixedView(crowd(500))) as client:
        answer = await client.get(f"/?{query}")
        assert answer.status == 200
        assert len(answer.body) < 60_000


async def test_a_page_is_written_once_for_all_who_look_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A team's screens must not cost the daemon a page each; and what is kept is bounded."""
    written: list[str] = []
    write = rendering.overview_html

    def counted(picture: rendering.Picture, *, query: Any) -> bytes:
        written.append(query.filter)
        return write(picture, query=query)

    monkeypatch.setattr(rendering, "overview_html", counted)
    async with served(FixedView(crowd(500))) as client:
        await asyncio.gather(*(client.get("/") for _ in range(20)))
        assert written == [""]
        for number in range(handlers.MAX_KEPT):
            await client.get(f"/?q={number}")
        await client.get("/")
        assert written.count("") == 2, "the oldest made room"


async def test_pages_of_who_has_hung_up_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a thousand lists and waits for none must not keep the thread, and the metrics, for a minute."""
    asked_for: list[str] = []
    written: list[str] = []
    goes_on = threading.Event()
    tag = rendering.tag

    def counted(picture: rendering.Picture, *, query: Any) -> str:
        asked_for.append(query.filter)
        return tag(picture, query=query)

    def slow(_: rendering.Picture, *, query: Any) -> bytes:
        written.append(query.filter)
        goes_on.wait(10)
        return b""

    monkeypatch.setattr(shared, "SHARED_S", 60.0)
    monkeypatch.setattr(rendering, "tag", counted)
    monkeypatch.setattr(rendering, "overview_html", slow)
    async with served(FixedView(shop())) as client:
        first = asyncio.create_task(client.get("/?q=first"))
        await eventually(lambda: written == ["first"])
        writers = [(await client.opened())[1] for _ in range(30)]
        for number, writer in enumerate(writers):
            writer.write(f"GET /?q={number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await eventually(lambda: len(asked_for) == 31)
        for writer in writers:
            writer.close()
        await client.get("/healthz")  # by then the server knows
        goes_on.set()
        await first
        await client.get("/?q=last")
    assert written == ["first", "last"]


async def test_two_thousand_containers_do_not_hold_up_the_loop() -> None:
    """
    Events, and the removal of a dead server, must not wait for somebody's browser.

    The best of some tries, as others use this machine too.
    """
    async with served(FixedView(crowd(2000))) as client:
        for path in ("/", "/?q=service", "/?show=servers&page=3"):
            stalls: list[float] = []
            while not stalls or (min(stalls) >= MOST_STALL_S and len(stalls) < 20):
                stalls.append(await longest_stall(asyncio.create_task(client.get(path))))
            assert min(stalls) < MOST_STALL_S, path
            assert len((await client.get(path)).body) < 60_000

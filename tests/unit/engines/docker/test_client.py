"""The client against the fake engine, and against servers that answer what no engine should."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web
from answers import Answer, connected, saying, serving

from lbwatch.core.errors import EngineAwayError, SourceError, SourceTimeoutError
from lbwatch.engines.docker import client as client_room
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.fake import FakeEngine, responses
from lbwatch.engines.fake.faults import disconnect, respond_with

ID = "f" * 64


@pytest.mark.parametrize(
    ("engine", "spoken"), [("1.24", (1, 24)), ("1.41", (1, 41)), ("1.44", (1, 44)), ("1.99", client_room.NEWEST_API)]
)
async def test_the_api_version_is_the_older_of_both(tmp_path: Path, engine: str, spoken: tuple[int, int]) -> None:
    """An engine refuses versions newer than its own; some refuse old ones, so none can be fixed."""
    async with (
        FakeEngine(socket=tmp_path / "s", api_version=engine, min_api_version=engine) as there,
        connected(there.url) as client,
    ):
        if spoken == client_room.NEWEST_API:
            there.min_api_version = "1.44"
        assert (await client.ping()).api == spoken
        there.containers.run(name="web-1")
        assert [container.name for container in await client.list_containers()] in ([], ["web-1"])  # the list may lag


async def test_an_engine_that_is_too_old_is_refused_in_words(tmp_path: Path) -> None:
    """Better said than guessed at."""
    async with FakeEngine(socket=tmp_path / "s", api_version="1.23") as engine, connected(engine.url) as client:
        with pytest.raises(SourceError, match=r"1\.23.*1\.24"):
            await client.ping()


async def test_what_is_no_engine_is_told_from_one() -> None:
    """A typing error in the port must not look like an empty engine."""

    async def other(_: web.Request) -> web.Response:
        return web.Response(text="OK")

    async with serving(other) as url, connected(url) as client:
        with pytest.raises(SourceError, match="no Docker Engine"):
            await client.ping()


@pytest.mark.parametrize(
    "answer",
    [
        saying(b'{"message":"server is sick"}', status=500),
        saying(b"<html>Bad Gateway</html>", status=502, kind="text/html"),
        saying(b"<html>hello</html>", kind="text/html"),
        saying(b"null"),
        saying(b"["),
        saying(b'{"Id": 5}'),
        saying(b""),
        saying(b"\xff\xfe"),
        saying(b"<html>no such page</html>", status=404, kind="text/html"),
        saying(b'{"message":"page not found"}', status=404),
        saying(b"[" * 200_000, status=500),
    ],
    ids=["500", "502", "html", "null", "cut", "wrong type", "empty", "no text", "a proxy's 404", "another 404", "deep"],
)
async def test_nonsense_is_an_error_and_never_an_absence(answer: Answer) -> None:
    """A failed read must not take a container, or all of them, out of service."""
    async with serving(answer) as url, connected(url) as client:
        with pytest.raises(SourceError):
            await client.inspect(ID)
        with pytest.raises(SourceError):
            await client.list_containers()


async def test_an_answer_about_another_container_is_no_answer(tmp_path: Path) -> None:
    """A proxy that mixes answers up would put one container's address under another's name."""
    async with FakeEngine(socket=tmp_path / "s") as engine:
        body = json.dumps(responses.inspect_answer(engine.containers.find(engine.containers.run()))).encode()
    async with serving(saying(body)) as url, connected(url) as client:
        with pytest.raises(SourceError, match="was not asked for"):
            await client.inspect(ID)


async def test_an_answer_that_breaks_off_is_an_error() -> None:
    """Half a list is not a list."""

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"[]")
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(half) as url, connected(url) as client:
        with pytest.raises(SourceError):
            await client.list_containers()


async def test_the_engine_s_own_404_is_an_absence(tmp_path: Path) -> None:
    """Only the engine knows that a container is gone."""
    async with FakeEngine(socket=tmp_path / "s") as engine, connected(engine.url) as client:
        assert await client.inspect(ID) is None


async def test_an_engine_that_accepts_and_says_nothing_is_not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash `connect` succeeded 10 s before the engine lived."""
    for name in ("PING_TIMEOUT_S", "LIST_TIMEOUT_S", "INSPECT_TIMEOUT_S"):
        monkeypatch.setattr(client_room, name, 0.1)

    async def silence(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(silence) as url, connected(url) as client:
        for call in (client.ping(), client.list_containers(), client.inspect(ID)):
            with pytest.raises(SourceTimeoutError, match="no answer within"):
                await call
        with pytest.raises(SourceTimeoutError):
            async with client.events(since_s=None):
                pass


async def test_a_missing_socket_is_named(tmp_path: Path) -> None:
    """The path is what the operator has to look at."""
    async with connected(f"unix://{tmp_path}/nowhere.sock") as client:
        with pytest.raises(SourceError, match=r"nowhere\.sock"):
            await client.ping()


@pytest.mark.parametrize("id", ["", "web", "../../exec/x?", "f" * 63, "f" * 64 + "?", "F" * 64, "f" * 64 + "/../x"])
async def test_what_is_no_id_never_goes_into_a_path(id: str) -> None:
    """It comes from an engine, and would have us ask for whatever that likes."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404)

    async with serving(answer) as url, connected(url) as client:
        with pytest.raises(SourceError, match="no id of a container"):
            await client.inspect(id)
    assert asked == []


@pytest.mark.parametrize(
    "version", ["1", "1.", ".41", "1.41.2", "\u00b9.41", "\u0661.41", "9" * 5000 + ".1", "1.99999"]
)
async def test_an_api_version_of_another_form_is_none(version: str) -> None:
    """It goes into each path."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Api-Version": version})

    async with serving(answer) as url, connected(url) as client:
        with pytest.raises(SourceError):
            await client.ping()


@pytest.mark.parametrize(
    ("headers", "podman"),
    [
        ({"Libpod-API-Version": "5.4.2", "Server": "Libpod/5.4.2 (linux)"}, "5.4.2"),
        ({"Libpod-API-Version": "x" * 5000}, "x" * 255 + "…"),
        ({"Server": "Docker/26.1.5 (linux)"}, None),
        ({}, None),
    ],
)
async def test_podman_is_told_from_docker(headers: dict[str, str], podman: str | None) -> None:
    """It has no stop signals and no probes of its own: what is missing there is not waited for."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Api-Version": "1.41"} | headers)

    async with serving(answer) as url, connected(url) as client:
        ping = await client.ping()
        assert (ping.podman, client.podman) == (podman, podman)


@pytest.mark.parametrize(("podman", "believed"), [("4.3.1", True), (None, False)])
async def test_podman_s_answers_are_read_as_podman_s(podman: str | None, believed: bool) -> None:
    """What it leaves open is filled in where it answers, and nowhere else."""
    found = {
        "Id": ID,
        "Name": "/web",
        "State": {"Status": "running", "Health": {"Status": "starting", "Log": None}},
        "Config": {},
    }
    networks = [{"Name": "front", "Id": "f" * 64, "Driver": "macvlan"}]

    async def answer(request: web.Request) -> web.Response:
        said = networks if request.path.endswith("/networks") else found
        headers = {"Api-Version": "1.41"} | ({} if podman is None else {"Libpod-API-Version": podman})
        return web.json_response(said, headers=headers)

    async with serving(answer) as url, connected(url) as client:
        await client.ping()
        container = await client.inspect(ID)
        assert container is not None
        assert container.unprobed is believed
        assert ("front" in await client.network_drivers()) is believed


async def test_an_engine_before_1970_is_asked_for_no_time_before_that(tmp_path: Path) -> None:
    """Its clock starts there where nothing keeps it, and engines refuse a negative `since`."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.query["since"])
        return web.Response()

    async with serving(answer) as url, connected(url) as client, client.events(since_s=-60.0):
        pass
    assert asked == ["0.000000000"]


async def test_podman_before_4_4_sends_a_death_too(tmp_path: Path) -> None:
    """It compares what is asked for with its own word for it: of a container that stopped nothing was heard."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.query["filters"])
        return web.Response()

    async with serving(answer) as url, connected(url) as client, client.events(since_s=None):
        pass
    assert {"die", "died", "destroy", "remove"} <= {*json.loads(asked[0])["event"]}


@pytest.mark.parametrize("status", [500, 403, 301])
async def test_an_error_of_the_stream_that_does_not_end_is_given_up(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a stream of events may take for ever."""
    monkeypatch.setattr(client_room, "LIST_TIMEOUT_S", 0.2)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        await response.write(b"x")
        await asyncio.Event().wait()
        return response

    async with serving(endless) as url, connected(url) as client:
        async with asyncio.timeout(10):
            with pytest.raises(SourceTimeoutError):
                async with client.events(since_s=None):
                    pass


async def test_any_other_call_that_answers_nonsense_is_an_error() -> None:
    """The demo makes containers by such calls."""
    for body in (b"[" * 200_000, b"{", b"\xff", b"9" * 5000):
        async with serving(saying(body)) as url, connected(url) as client:
            with pytest.raises(SourceError):
                await client.call("GET", "/images/json")


async def test_a_name_that_no_thread_looks_up_is_an_engine_that_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine at its limit of threads (pids.max) must not end the daemon: it is tried again."""

    def full(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", full)
    client = EngineClient(engine_address("tcp://engine.invalid:1", environ={}))
    try:
        with pytest.raises(EngineAwayError, match="can't start new thread"):
            await client.ping()
    finally:
        await client.close()


async def test_an_engine_that_is_away_is_told_from_one_that_answers_nonsense(tmp_path: Path) -> None:
    """While it goes away every call fails so, which is no news of any container."""
    async with FakeEngine(socket=tmp_path / "s") as engine:
        client = EngineClient(engine_address(engine.url, environ={}))
        try:
            await client.ping()
            id = engine.containers.run()
            engine.fault = lambda _: respond_with("nonsense")
            with pytest.raises(SourceError) as nonsense:
                await client.inspect(id)
            assert not isinstance(nonsense.value, EngineAwayError)
            engine.fault = lambda _: disconnect()
            with pytest.raises(EngineAwayError):
                await client.inspect(id)
            await engine.close()
            with pytest.raises(EngineAwayError):
                await client.inspect(id)
        finally:
            await client.close()

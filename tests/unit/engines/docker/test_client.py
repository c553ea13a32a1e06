"""The client against the fake engine, and against servers that answer what no engine should."""

import asyncio
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from answers import Answer, connected, saying, serving
from waiting import eventually

from lbwatch.core.errors import EngineAwayError, SourceError, SourceTimeoutError, ThreadError
from lbwatch.engines.docker import client as client_room
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.decode import EventDecoder
from lbwatch.engines.fake import FakeEngine, kinds, responses
from lbwatch.engines.fake.faults import disconnect, respond_with
from lbwatch.engines.fake.kinds import DOCKER_29, KINDS

ID = "f" * 64


@pytest.mark.parametrize("least", ["1.12", "1.24", "1.40", "1.44"])
@pytest.mark.parametrize(
    ("most", "spoken"), [("1.44", (1, 44)), ("1.51", (1, 51)), ("1.53", (1, 53)), ("1.99", client_room.NEWEST_API)]
)
async def test_the_api_version_is_the_newest_that_both_know(
    tmp_path: Path, most: str, least: str, spoken: tuple[int, int]
) -> None:
    """An engine refuses versions newer than its own, and older than its least, which grows: none can be fixed."""
    async with (
        FakeEngine(socket=tmp_path / "s", api_version=most, min_api_version=least, lag_s=0.0) as there,
        connected(there.url) as client,
    ):
        assert (await client.ping()).api == spoken
        await can_all_be_asked(there, client)


@pytest.mark.parametrize("only", ["1.24", "1.40", "1.44", ".".join(map(str, client_room.NEWEST_API))])
async def test_an_engine_that_speaks_one_version_alone_is_spoken_to_in_it(tmp_path: Path, only: str) -> None:
    """The oldest and the newest that lbwatch knows are no exception."""
    async with (
        FakeEngine(socket=tmp_path / "s", api_version=only, min_api_version=only, lag_s=0.0) as there,
        connected(there.url) as client,
    ):
        assert (await client.ping()).api == tuple(map(int, only.split(".")))
        await can_all_be_asked(there, client)


@pytest.mark.parametrize("kind", KINDS)
async def test_each_engine_that_people_run_can_be_asked(tmp_path: Path, kind: str) -> None:
    """Each has its own newest and oldest version, and its own way to refuse others."""
    async with (
        FakeEngine(socket=tmp_path / "s", kind=KINDS[kind], lag_s=0.0) as there,
        connected(there.url) as client,
    ):
        await client.ping()
        await can_all_be_asked(there, client)


async def can_all_be_asked(engine: FakeEngine, client: EngineClient) -> None:
    id = engine.containers.run(name="web-1")
    assert [container.name for container in await client.list_containers()] == ["web-1"]
    found = await client.inspect(id)
    assert found is not None
    assert await client.inspect(ID) is None
    async with asyncio.timeout(10.0), client.events(since_s=1.0) as chunks:
        assert b'"create"' in await anext(chunks)


async def test_an_engine_that_is_too_old_is_refused_in_words(tmp_path: Path) -> None:
    """Better said than guessed at."""
    async with FakeEngine(socket=tmp_path / "s", api_version="1.23") as engine, connected(engine.url) as client:
        with pytest.raises(SourceError, match=r"1\.23.*1\.24.*: update the engine"):
            await client.ping()


@pytest.mark.parametrize("kind", ["docker-26", "docker-28"])
async def test_an_engine_that_is_too_new_is_one_error_with_what_to_do(tmp_path: Path, kind: str) -> None:
    """Its own words ask for a newer client, as plain text or JSON; nobody knows that lbwatch is meant."""
    async with (
        FakeEngine(socket=tmp_path / "s", kind=KINDS[kind], api_version="1.99", min_api_version="1.60") as engine,
        connected(engine.url) as client,
    ):
        await client.ping()
        for ask in (client.list_containers, partial(client.inspect, ID), partial(anext_of, client)):
            with pytest.raises(SourceError) as raised:
                await ask()
            assert str(raised.value) == (
                "the engine takes API 1.60 or later, and this lbwatch speaks 1.53 at most: install a newer "
                "lbwatch, or set DOCKER_MIN_API_VERSION=1.53 in the engine's environment"
            )
            assert raised.value.status == 400


async def anext_of(client: EngineClient) -> bytes:
    async with asyncio.timeout(10.0), client.events(since_s=None) as chunks:
        return await anext(chunks)


OFFERS = {
    "up to 28": (),
    "29.0": (kinds.NDJSON, kinds.JSON_SEQ),
    "API 1.53": (kinds.JSONL, kinds.NDJSON, kinds.JSON_SEQ),
    "lines alone": (kinds.JSONL,),
    "sequences alone": (kinds.JSON_SEQ,),
}


@pytest.mark.parametrize("engine", OFFERS)
async def test_each_framing_of_events_is_asked_for_and_read(tmp_path: Path, engine: str) -> None:
    """What is accepted is what can be read, so that no engine has a reason to send anything else."""
    kind = replace(DOCKER_29, http=replace(DOCKER_29.http, stream_types=OFFERS[engine]))
    async with FakeEngine(socket=tmp_path / "s", kind=kind) as there, connected(there.url) as client:
        await client.ping()
        async with client.events(since_s=None) as chunks:
            await eventually(lambda: there.events.listeners)
            ids = [there.containers.create(labels={"text": "\x1e, \n"}) for _ in range(2)]
            there.cut_streams()
            received = b"".join([chunk async for chunk in chunks])
    assert received.startswith(b"\x1e") is (engine == "sequences alone")
    events = EventDecoder().feed(received)
    assert [event.container for event in events] == ids
    assert {(event.labels or {})["text"] for event in events} == {"\x1e, \n"}


async def test_only_what_can_be_read_is_accepted() -> None:
    """`*/*` would be answered with whatever an engine comes to like best."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers["Accept"])
        return web.Response()

    async with serving(answer) as url, connected(url) as client, client.events(since_s=None):
        pass
    (accepted,) = asked
    assert sorted(accepted.split(", ")) == sorted((kinds.JSONL, kinds.NDJSON, kinds.JSON_SEQ, "application/json"))


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


@pytest.mark.parametrize("error", [RuntimeError, ThreadError])
async def test_a_name_that_no_thread_looks_up_is_an_engine_that_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """A machine at its limit of threads (pids.max) must not end the daemon: it is tried again."""

    def full(*_: object) -> None:
        raise error("can't start new thread")

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

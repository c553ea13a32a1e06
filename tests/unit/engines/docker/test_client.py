"""The client against the fake engine, and against servers that answer what no engine should."""

import asyncio
import grp
import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from aiohttp import web
from answers import Answer, connected, serving
from certificates import Certificates
from needs import need

from lbwatch.core.errors import SettingsError, SourceError, SourceTimeoutError
from lbwatch.engines.docker import client as client_room
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.fake import FakeEngine, responses

ID = "f" * 64


def saying(body: bytes, *, status: int = 200, kind: str = "application/json") -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, content_type=kind, headers={"Api-Version": "1.41"})

    return answer


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


async def test_tls_with_the_right_certificates_connects_and_with_wrong_ones_never(tmp_path: Path) -> None:
    """A certificate that does not verify is an error, never a downgrade: the socket is root on that host."""
    need("openssl", root=False)
    right, wrong = Certificates(tmp_path / "right"), Certificates(tmp_path / "wrong")
    async with serving(saying(b"OK", kind="text/plain"), tls=right.server()) as url:
        async with connected(url, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(right.folder)) as client:
            assert (await client.ping()).api == (1, 41)
        shutil.copy(right.folder / "ca.pem", tmp_path / "right-ca.pem")
        async with connected(url, DOCKER_CERT_PATH=str(wrong.folder)) as client:
            with pytest.raises(SourceError, match=r"(?i)certificate"):
                await client.ping()
        async with connected(url) as client:  # without TLS settings it is plain HTTP, which that server refuses
            with pytest.raises(SourceError):
                await client.ping()


async def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    """Any certificate of the same authority would do otherwise."""
    need("openssl", root=False)
    certificates = Certificates(tmp_path / "tls")
    async with serving(saying(b"OK"), tls=certificates.server()) as url:
        other = url.replace("127.0.0.1", "127.0.0.2")
        context = certificates.server()
        async with (
            serving(saying(b"OK"), tls=context),
            connected(other, DOCKER_CERT_PATH=str(tmp_path / "tls")) as client,
        ):
            with pytest.raises(SourceError):
                await client.ping()


def test_missing_certificates_are_named(tmp_path: Path) -> None:
    """TLS that was asked for and cannot be had must not be left out in silence."""
    with pytest.raises(SettingsError, match=r"ca\.pem"):
        EngineClient(engine_address("tcp://127.0.0.1:1", environ={"DOCKER_CERT_PATH": str(tmp_path)}))


async def test_a_proxy_that_refuses_is_told_from_the_engine_and_what_it_must_allow(tmp_path: Path) -> None:
    """Socket proxies answer with a page, and nobody knows by heart what a tool asks for."""
    page = "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>"

    async def refuse(request: web.Request) -> web.Response:
        if request.path == "/_ping":
            return web.Response(text="OK", headers={"Api-Version": "1.41"})
        return web.Response(status=403, text=page, content_type="text/html")

    async with serving(refuse) as url, connected(url) as client:
        await client.ping()
        for asking, path in (
            (client.list_containers(), "/containers/json"),
            (client.inspect("a" * 64), "/containers/"),
        ):
            with pytest.raises(SourceError) as caught:
                await asking
            assert str(caught.value).startswith(path)
            assert "refused by what stands before the engine (403): it must allow GET /_ping, GET /events, " in str(
                caught.value
            )
            assert "GET /containers/ID/json" in str(caught.value)
            assert "html" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_a_socket_that_may_not_be_used_names_the_group_that_may() -> None:
    """The commonest mistake of whoever does not run as root."""
    folder = Path("/tmp") / f"lbw-{os.getpid()}-c"
    folder.mkdir(mode=0o755)
    path, group = folder / "docker.sock", grp.getgrnam("adm")
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            os.chown(path, 0, group.gr_gid)
            path.chmod(0o660)
            async with connected(f"unix://{path}") as client:
                os.seteuid(65534)
                try:
                    with pytest.raises(SourceError) as caught:
                        await client.ping()
                finally:
                    os.seteuid(0)
    finally:
        shutil.rmtree(folder)
    assert f"{path}: Permission denied: be root, or in group adm (gid {group.gr_gid})" in str(caught.value)

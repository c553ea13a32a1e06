"""What it means that an engine did not answer as it should, in words that say what to do."""

import grp
import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from aiohttp import web
from answers import connected, saying, serving
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.errors import NoContainerError, SourceError
from lbwatch.engines.docker.refusal import message, require_ok


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
    assert "`usermod -aG adm USER`" in str(caught.value)


@pytest.mark.parametrize("is_there", [False, True])
async def test_a_socket_without_an_engine_says_what_to_do(tmp_path: Path, is_there: bool) -> None:
    """Docker is not started, or another socket is meant: nothing else says so to a newcomer."""
    path = tmp_path / "docker.sock"
    if is_there:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    async with connected(f"unix://{path}") as client:
        with pytest.raises(SourceError, match="start the engine, or set docker_host to where its socket is"):
            await client.ping()


async def test_an_address_where_nobody_listens_is_named_with_what_to_do() -> None:
    """asyncio's own words have the address again, and no reason."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = "tcp://{}:{}".format(*unheard.getsockname())
        async with connected(url) as client:
            with pytest.raises(SourceError) as caught:
                await client.ping()
    refused = "Connection refused: start the engine, or set docker_host to where it listens"
    assert str(caught.value) == f"cannot connect to {url}: {refused}"


async def test_an_answer_that_breaks_off_is_reported_in_plain_words() -> None:
    """It is what an engine that is stopped does to its stream of events; nobody sees a transfer's encoding in that."""

    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"[")
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(break_off) as url, connected(url) as client:
        with pytest.raises(SourceError) as caught:
            await client.list_containers()
    assert str(caught.value).endswith("/containers/json: the engine, or a proxy before it, broke off its answer")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_a_redirect_is_not_followed_and_told_as_what_it_is(status: int) -> None:
    """Whoever answers so could have us ask any other host; no engine does."""
    asked: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="[]", headers={"Api-Version": "1.41"})

    async with serving(elsewhere) as other:
        there = other.replace("tcp", "http") + "/stolen"
        async with serving(saying(b"", status=status, Location=there)) as url, connected(url) as client:
            for call in (client.ping(), client.list_containers(), client.inspect("a" * 64)):
                with pytest.raises(SourceError, match=rf"answered with a redirect \({status} to 'http.*/stolen'\)"):
                    await call
            with pytest.raises(SourceError, match="redirect"):
                async with client.events(since_s=None):
                    pass
    assert asked == []


@given(st.integers(100, 999), st.binary(max_size=200), st.text(max_size=100))
def test_an_answer_of_any_status_and_bytes_is_a_success_or_one_short_line(
    status: int, body: bytes, location: str
) -> None:
    """It goes into the log."""
    try:
        require_ok(status, body, path="/x", needs=("GET /x",), location=location)
    except SourceError as error:
        assert len(str(error)) <= 256
        assert str(error).isprintable()
        assert error.status == status
    else:
        assert 200 <= status < 300


TOO_OLD = "client version 1.53 is too old. Minimum supported API version is 1.60, please upgrade your client"


@pytest.mark.parametrize(
    ("status", "body", "is_told"),
    [
        (400, json.dumps({"message": TOO_OLD}), True),
        (400, f"{TOO_OLD}\n", True),
        (500, f"{TOO_OLD}\n", False),
        (400, TOO_OLD.replace("too old. Minimum", "too new. Maximum"), False),
        (400, TOO_OLD.replace("1.60", "1." + "9" * 5000), True),
        (400, TOO_OLD.replace("1.53", "<b>"), False),
    ],
    ids=["JSON", "plain text", "another status", "too new", "no such number", "no number"],
)
def test_an_engine_that_left_our_versions_behind_is_told_as_that(status: int, body: str, is_told: bool) -> None:
    """Its own words speak of a client, and to upgrade that is right only for whoever knows which one is meant."""
    with pytest.raises(SourceError) as caught:
        require_ok(status, body.encode(), path="/x", needs=())
    assert str(caught.value).startswith("the engine takes API 1.") is is_told
    assert ("install a newer lbwatch" in str(caught.value)) is is_told
    assert len(str(caught.value)) <= 256
    assert caught.value.status == status


def test_only_the_engine_s_own_words_are_an_absence() -> None:
    """A proxy's 404 says nothing of containers."""
    with pytest.raises(NoContainerError):
        require_ok(404, b'{"message": "No such container: abc"}', path="/x", needs=())
    for status, body in ((404, b"No such container"), (500, b'{"message": "No such container"}'), (404, b"{}")):
        with pytest.raises(SourceError) as caught:
            require_ok(status, body, path="/x", needs=())
        assert not isinstance(caught.value, NoContainerError)


@given(st.binary(max_size=100))
def test_a_message_of_any_bytes_is_a_text(body: bytes) -> None:
    """Errors come from anyone."""
    assert isinstance(message(body), str)
    assert message(b'{"message":' + b"9" * 5000 + b"}") == ""


@pytest.mark.parametrize(
    ("status", "said", "is_gone"),
    [
        (404, "No such container: a1", True),
        (500, "container a1 does not exist in database: no such container container=r-5", True),
        (500, "no container with ID a1 found in database: no such container", True),
        (500, "cannot join network of a non running container: no such container", False),
        (500, "database is locked", False),
    ],
)
def test_a_container_that_is_removed_meanwhile_is_gone(status: int, said: str, is_gone: bool) -> None:
    """Podman answers 500 then, which was a warning for each container that a stack took away."""
    with pytest.raises(SourceError) as caught:
        require_ok(status, json.dumps({"message": said}).encode(), path="/containers/a1/json", needs=())
    assert isinstance(caught.value, NoContainerError) is is_gone

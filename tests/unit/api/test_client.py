"""The commands' side of the control socket: what it says where no daemon answers as it should."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
from fakedaemon import DrainStage, fixed_service, listening
from strategies import container
from waiting import eventually

from lbwatch.api.client import explanation, request, suspended
from lbwatch.core.draining import BY_HAND, TOLD_TO_STOP
from lbwatch.core.errors import NoDaemonError, RequestError
from lbwatch.engines.fake import FakeEngine
from lbwatch.system.state import State


async def test_without_a_daemon_it_is_said_what_to_look_at(tmp_path: Path) -> None:
    """Nothing there, nobody behind it, no socket at all: each is `no daemon` to an operator."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "dead", tmp_path / "file", tmp_path / "no" / "folder"):
        with pytest.raises(RequestError, match=r"no lbwatch answers at .* is `lbwatch run` running") as caught:
            await request(path, verb="drain", container="web-1")
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_another_user_is_told_that_it_is_not_theirs(tmp_path: Path) -> None:
    """And not asked whether lbwatch is running."""
    folder = Path("/tmp") / f"lbw-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        async with listening(folder / "s", service=fixed_service(State(tmp_path / "state"), container("web-1"))):
            os.seteuid(65534)
            try:
                with pytest.raises(
                    RequestError, match="may not be used by this user: be the one that lbwatch runs as, or root"
                ):
                    await request(folder / "s", verb="drain", container="web-1")
            finally:
                os.seteuid(0)
    finally:
        folder.rmdir()


async def test_who_is_held_back_can_be_asked_for(stage: DrainStage, engine: FakeEngine) -> None:
    """`explain` asks: the engine does not remember for long who was told to stop."""
    await stage.drain("web-1")
    engine.containers.send_stop_signal("web-2")
    ids = [engine.containers.find(name).id for name in ("web-1", "web-2")]

    async def told() -> bool:
        known = await suspended(stage.socket)
        return known is not None and known.draining == dict(zip(ids, (BY_HAND, TOLD_TO_STOP), strict=True))

    await eventually(lambda: stage.servers() == ["172.17.0.2", "172.17.0.3"], what="nobody is left but those two")
    assert await told()
    assert await suspended(stage.socket.with_name("none")) is None


async def test_a_path_too_long_for_a_socket_is_an_error_of_the_order(tmp_path: Path) -> None:
    """And no traceback: the kernel takes 107 bytes."""
    with pytest.raises(RequestError):
        await request(tmp_path / ("x" * 200), verb="drain", container="web-1")


async def test_a_daemon_that_hangs_up_or_says_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process (SIGSTOP) accepts by the kernel's hand and never answers."""
    monkeypatch.setattr("lbwatch.api.client.ANSWER_TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        with pytest.raises(RequestError, match=r"does not answer within 0\.1 s"):
            await request(tmp_path / "silent", verb="drain", container="web-1")

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(hang_up, tmp_path / "rude"):
        with pytest.raises(
            RequestError, match="ended before it answered: `lbwatch explain web-1` shows what came of it"
        ):
            await request(tmp_path / "rude", verb="drain", container="web-1")


async def test_explain_goes_on_without_a_daemon_that_says_nothing_or_hangs_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at the engine itself then, which it must know from this error; nothing was changed meanwhile."""
    monkeypatch.setattr("lbwatch.api.client.STATUS_TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        with pytest.raises(NoDaemonError, match=r"does not answer within 0\.1 s"):
            await explanation(tmp_path / "silent", container=None)
        assert await suspended(tmp_path / "silent") is None

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(hang_up, tmp_path / "rude"):
        with pytest.raises(NoDaemonError, match="no lbwatch answers at"):
            await explanation(tmp_path / "rude", container=None)
        assert await suspended(tmp_path / "rude") is None


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    ],
)
async def test_a_daemon_of_another_version_is_as_good_as_none(tmp_path: Path, said: bytes) -> None:
    """While lbwatch is updated, the command is newer than what runs."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "old"):
        with pytest.raises(NoDaemonError, match=r"the lbwatch at .* is of another version"):
            await explanation(tmp_path / "old", container=None)
        assert await suspended(tmp_path / "old") is None


async def test_a_daemon_that_fails_is_told_as_what_it_is(tmp_path: Path) -> None:
    """It is no other version: its log has the reason."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno")
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "sick"):
        with pytest.raises(NoDaemonError, match=r"the lbwatch at .*/sick failed to answer \(500\): its log says why"):
            await explanation(tmp_path / "sick", container=None)
        assert await suspended(tmp_path / "sick") is None


async def test_explain_of_an_unknown_container_is_the_daemon_s_own_error(stage: DrainStage) -> None:
    """And no reason to look at the engine without it."""
    with pytest.raises(RequestError, match="the engine has no container 'nobody'") as caught:
        await explanation(stage.socket, container="nobody")
    assert not isinstance(caught.value, NoDaemonError)
    assert [row.container for row in (await explanation(stage.socket, container="web-1")).routes] == ["web-1"]

"""`health`: a container's HEALTHCHECK."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import Certificates
from command import lbwatch, running
from usersettings import settings_with

from lbwatch.cli import health as health_room
from lbwatch.engines.fake import FakeEngine


async def test_health_answers_as_readyz_does(engine: FakeEngine, tmp_path: Path, free_port: int) -> None:
    """It is a container's HEALTHCHECK: only its exit code is read."""
    listen = f"127.0.0.1:{free_port}"
    async with running(engine, tmp_path, status_listen=listen):
        assert await lbwatch("health", status_listen=listen) == (0, "ready\n", "")
        assert await lbwatch("health", status_listen=f"0.0.0.0:{free_port}") == (0, "ready\n", "")
        await engine.close()
        for _ in range(20):
            code, out, _ = await lbwatch("health", status_listen=listen)
            if code:
                break
        assert code == 1
        assert "not ready: engine local: not followed for" in out
    code, out, _ = await lbwatch("health", status_listen=listen)
    refused = "Connection refused: is `lbwatch run` running?"
    assert (code, out) == (1, f"not ready: no lbwatch answers at http://{listen}/readyz: {refused}\n")


async def test_without_a_status_server_health_asks_the_control_socket(engine: FakeEngine, tmp_path: Path) -> None:
    """Who switched the page off still wants to know whether all is in step."""
    async with running(engine, tmp_path) as flags:
        asked = {"status_listen": "", "control_socket": flags["control_socket"]}
        assert await lbwatch("health", **asked) == (0, "ready\n", "")
    code, out, err = await lbwatch("health", **asked)
    assert (code, err) == (1, "")
    assert out.startswith(f"not ready: no lbwatch answers at {flags['control_socket']}: ")


async def test_of_a_protected_status_server_health_asks_the_control_socket(
    engine: FakeEngine, tmp_path: Path, free_port: int
) -> None:
    """A HEALTHCHECK has no password, and should say why it fails all the same."""
    (tmp_path / "password").write_text("battery staple\n")
    folder = Certificates(tmp_path / "tls").folder
    protected = {
        "status_listen": f"127.0.0.1:{free_port}",
        "status_password_file": tmp_path / "password",
        "status_cert": folder / "server.pem",
        "status_key": folder / "server-key.pem",
    }
    async with running(engine, tmp_path, **protected) as flags:
        asked = protected | {"control_socket": flags["control_socket"]}
        assert await lbwatch("health", **asked) == (0, "ready\n", "")
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        with suppress(ConnectionError):
            async with asyncio.timeout(20):
                assert not (await reader.read()).startswith(b"HTTP")
        writer.close()


async def test_a_password_that_cannot_be_read_ends_the_start(engine: FakeEngine, tmp_path: Path) -> None:
    """Never served without."""
    code, out, err = await lbwatch(
        "run",
        docker_host=engine.url,
        output=tmp_path / "out.conf",
        test_command="true",
        reload_command="true",
        state_dir=tmp_path / "state",
        control_socket=tmp_path / "control",
        status_listen="127.0.0.1:0",
        status_password_file=tmp_path / "none",
    )
    assert (code, out) == (2, "")
    assert "status_password_file: " in err


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def answering(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that answers so, at the address that it gives."""
    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield "{}:{}".format(*server.sockets[0].getsockname())
        await asyncio.gather(*(task for task in served if task is not None))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "no lbwatch answers at http://{at}/readyz: Server disconnected: is `lbwatch run` running?"),
        (b"nonsense", "what answers at http://{at}/readyz is no lbwatch"),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "what answers at http://{at}/readyz is no lbwatch"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"ready": true}', "what answers at http://{at}/readyz is no lbwatch"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000, "what answers at http://{at}/readyz is no lbwatch"),
        (
            b"HTTP/1.0 200 OK\r\n\r\n" + b" " * (2 * health_room.MAX_BYTES) + b'{"ready": true, "reasons": []}',
            "what answers at http://{at}/readyz is no lbwatch",
        ),
        (b'HTTP/1.0 503 No\r\n\r\n{"ready": false, "reasons": ["one", "two"]}', "one\nnot ready: two"),
    ],
)
async def test_what_answers_instead_is_told(said: bytes, words: str) -> None:
    """Another program may have the port, and a HEALTHCHECK must fail then with a line that helps."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with answering(answer) as at:
        assert await lbwatch("health", status_listen=at) == (1, f"not ready: {words.format(at=at)}\n", "")


async def test_an_answer_that_drips_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A limit for each read alone would never end it."""
    monkeypatch.setattr(health_room, "TIMEOUT_S", 0.3)

    async def drip(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with answering(drip) as at:
        assert await asyncio.to_thread(health_room.health, settings_with(status_listen=at)) == 1
        assert capsys.readouterr().out == f"not ready: lbwatch at http://{at}/readyz does not answer within 0.3 s\n"


async def test_a_name_that_is_none_is_told() -> None:
    """It was "Unknown error -2"."""
    _, out, _ = await lbwatch("health", status_listen="nowhere.invalid:9180")
    assert out.startswith("not ready: no lbwatch answers at http://nowhere.invalid:9180/readyz: ")
    assert "Unknown error" not in out

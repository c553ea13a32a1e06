"""Who may come in by page and control socket: few enough to leave routing its file descriptors."""

import asyncio
import json
import resource
import socket
from pathlib import Path

import pytest
import structlog
from command import DEADLINE_S, WEB, command, environment, upstreams
from fakedaemon import Client, ended, fixed_service, free_port, listening, served
from strategies import container
from waiting import eventually, never

from lbwatch.api import door, server
from lbwatch.api.client import request
from lbwatch.engines.fake import FakeEngine
from lbwatch.system.state import State


async def test_few_descriptors_and_many_connections_leave_routing_alone(tmp_path: Path) -> None:
    """Browsers and scanners must not keep a dead server in the file."""
    port, log, output = free_port(), tmp_path / "log", tmp_path / "out.conf"
    opened = []
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine:
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *command(
                    "run",
                    docker_host=engine.url,
                    output=output,
                    test_command="true",
                    reload_command="true",
                    nginx_pidfile=tmp_path / "none.pid",
                    control_socket=tmp_path / "control",
                    state_dir=tmp_path / "state",
                    status_listen=f"127.0.0.1:{port}",
                    log_format="json",
                ),
                env=environment(),
                stderr=file,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
            )
        try:
            await eventually(lambda: "source.synced" in log.read_text(), within=DEADLINE_S)
            for number in range(100):
                opened.append(socket.socket() if number % 2 else socket.socket(socket.AF_UNIX))
                opened[-1].setblocking(False)
                opened[-1].connect_ex(("127.0.0.1", port) if number % 2 else str(tmp_path / "control"))
            engine.containers.run(name="web-1", labels=WEB)
            await eventually(lambda: ":80;" in upstreams(output), within=DEADLINE_S)
            engine.containers.kill("web-1", "SIGKILL")
            await eventually(lambda: ":80;" not in upstreams(output), within=DEADLINE_S)
        finally:
            process.terminate()
            assert await process.wait() == 0
            for each in opened:
                each.close()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["event"] for line in lines if line["level"] in ("error", "warning")} <= {"http.not_accepted"}
    assert sum(line["event"] == "http.not_accepted" for line in lines) < 5


async def test_who_comes_to_a_full_unix_socket_waits_and_nobody_there_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain waits until it is in force, for minutes where `reload_interval` is long."""
    monkeypatch.setattr(server, "MAX_CONTROL_CONNECTIONS", 2)
    path = tmp_path / "s"
    async with listening(path, service=fixed_service(State(tmp_path / "state"), container("web-1"))):
        opened = [await Client(socket=path).opened() for _ in range(2)]
        drain = asyncio.create_task(request(path, verb="drain", container="web-1"))
        await never(drain.done, during=0.3, what="there was room")
        assert not any(reader.at_eof() for reader, _ in opened)
        opened[0][1].close()
        assert (await asyncio.wait_for(drain, DEADLINE_S)).startswith("web-1 is drained")
        opened[1][1].close()


async def test_even_at_the_unix_socket_nobody_stays_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that hangs, started again and again, would lock everyone out."""
    monkeypatch.setattr(server, "CONTROL_TIMEOUT_S", 0.2)
    path = tmp_path / "s"
    async with listening(path, service=fixed_service(State(tmp_path / "state"), container("web-1"))):
        reader, writer = await Client(socket=path).opened()
        assert await ended(reader) == b""
        writer.close()


async def test_a_failure_to_accept_is_one_line_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no descriptor is left there was a traceback for each try, hundreds a second."""
    tries, accept = [], door.accepted

    async def scarce(listener: socket.socket) -> socket.socket:
        tries.append(listener)
        if len(tries) <= 5:
            raise OSError(24, "Too many open files")
        return await accept(listener)

    monkeypatch.setattr(door, "accepted", scarce)
    monkeypatch.setattr(door, "PAUSE_S", 0.01)
    with structlog.testing.capture_logs() as logs:
        async with served() as client:
            assert (await client.get()).status == 200
    failed = [log for log in logs if log["event"] == "http.not_accepted"]
    assert [log["error"] for log in failed] == ["Too many open files"] * len(failed)
    assert 1 <= len(failed) <= 2, "one for each of the two doors"


@pytest.mark.parametrize("sent", ["GET / ", "GET /api/state ", "POST /drain?container=web-1 "])
async def test_whoever_does_not_read_its_answer_leaves_no_line_in_the_log_at_the_end(
    sent: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A stop is no error of anyone's."""
    path = tmp_path / "s"
    service = fixed_service(State(tmp_path / "state"), container("web-1"), settles=False)
    with structlog.testing.capture_logs() as logs:
        async with listening(path, service=service):
            opened = [await Client(socket=path).opened() for _ in range(30)]
            for _, writer in opened:
                writer.write(f"{sent}HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await asyncio.sleep(0.05)
    for _, writer in opened:
        writer.close()
    assert [log for log in logs if log["log_level"] in ("warning", "error") and log["event"].startswith("http")] == []
    assert [record.getMessage() for record in caplog.records] == []

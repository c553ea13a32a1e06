"""The daemon as a process: what ends it, what does not, and what it leaves as it was."""

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import structlog
from command import DEADLINE_S, WEB, Running, command, environment, upstreams
from needs import need
from realnginx import RealNginx
from waiting import eventually

from lbwatch import daemon as lbwatch_daemon
from lbwatch.core.errors import OutputError
from lbwatch.engines.fake import FakeEngine
from lbwatch.system.lock import FileLock
from lbwatch.system.state import State


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock") as engine:
        yield engine


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    started: list[Running] = []

    async def start(**settings: object) -> Running:
        log = tmp_path / f"log-{len(started)}"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(*command("run", **settings), env=environment(), stderr=file)
        started.append(Running(process, log))
        # On a busy machine Python alone may take seconds, which are not the daemon's to answer for.
        await eventually(lambda: started[-1].logged("daemon.started"), within=DEADLINE_S)
        return started[-1]

    yield start
    for each in started:
        if each.process.returncode is None:
            each.process.terminate()
            await each.ends()
        print(each.log.read_text())  # shown if the test fails


async def test_a_relative_output_is_tested_as_any_other(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path, run: Callable[..., Awaitable[Running]]
) -> None:
    """What nginx refuses must not be published, however the file is named."""
    (tmp_path / "bad.conf.j2").write_text("# bad\nnonsense on;\n")
    daemon = await run(
        docker_host=engine.url,
        output=os.path.relpath(real_nginx.output),
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
        template=tmp_path / "bad.conf.j2",
        log_format="json",
    )
    await eventually(lambda: daemon.logged("nginx.rejected"))
    assert not real_nginx.output.exists()


async def test_a_log_that_cannot_be_written_ends_nothing(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path
) -> None:
    """The disk with the log file is the one that fills up."""
    words = command(
        "run",
        docker_host=engine.url,
        output=real_nginx.output,
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
    )
    with open("/dev/full", "wb") as full:
        process = await asyncio.create_subprocess_exec(*words, env=environment(), stderr=full)
    try:
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: "server 172.17.0.2:80;" in upstreams(real_nginx.output), within=DEADLINE_S)
        process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_mounted_file_is_refused_at_the_start(tmp_path: Path, engine: FakeEngine) -> None:
    """It cannot be replaced in one step, and after a rename outside nginx would read the old one for ever."""
    need("mount", "unshare")
    (tmp_path / "real.conf").write_text("")
    output = tmp_path / "out.conf"
    output.write_text("")
    words = " ".join(command("run", docker_host=engine.url, output=output))
    script = f"mount --bind {tmp_path}/real.conf {output} && exec {words}"
    process = await asyncio.create_subprocess_exec(
        "unshare", "-m", "sh", "-c", script, stderr=asyncio.subprocess.PIPE, env=environment()
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert "mount its folder instead" in err.decode()


async def test_a_template_that_goes_wrong_later_is_logged_and_its_mending_seen(
    engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path, run: Callable[..., Awaitable[Running]]
) -> None:
    """The old config serves on; a daemon that dies of a typing error takes the next deploy with it."""
    template = tmp_path / "mine.conf.j2"
    good = (
        "# mine\n{% for upstream in upstreams %}upstream {{ upstream.name }} { server 127.0.0.1:1 down; }\n{% endfor %}"
    )
    template.write_text(good)
    engine.containers.run(name="web-1", labels=WEB)
    daemon = await run(
        docker_host=engine.url,
        output=real_nginx.output,
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
        template=template,
        log_format="json",
    )
    await eventually(lambda: "upstream web" in upstreams(real_nginx.output))
    before = real_nginx.output.read_text()
    template.write_text("{{ nonsense }}\n")
    daemon.process.send_signal(signal.SIGHUP)
    (error,) = await eventually(lambda: daemon.logged("template.failed"))
    assert str(template) in error["error"]
    assert "nonsense" in error["error"]
    assert real_nginx.output.read_text() == before
    template.write_text(good.replace("mine", "mended"))
    daemon.process.send_signal(signal.SIGHUP)
    await eventually(lambda: upstreams(real_nginx.output).startswith("# mended"))
    daemon.process.terminate()
    assert await daemon.ends() == 0


async def test_what_is_no_http_leaves_no_traceback_in_the_log(
    engine: FakeEngine, real_nginx: RealNginx, run: Callable[..., Awaitable[Running]]
) -> None:
    """Scanners come to every port; a log in JSON must stay one, and must not grow by their words."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon = await run(
        docker_host=engine.url,
        output=real_nginx.output,
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
        status_listen=f"127.0.0.1:{port}",
        log_format="json",
        log_level="debug",
    )
    await eventually(lambda: daemon.log.exists() and daemon.logged("nginx.reloaded"))
    for said in (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\x16\x03\x01\x00\xa5",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        writer.write_eof()
        await reader.read()
        writer.close()
    await eventually(lambda: daemon.logged("http.request_refused"))
    assert not daemon.logged("http.request_failed")
    assert "Traceback" not in daemon.log.read_text()


async def test_an_engine_that_is_not_there_leaves_the_file_alone(
    real_nginx: RealNginx, tmp_path: Path, run: Callable[..., Awaitable[Running]]
) -> None:
    """A host that boots starts lbwatch before its engine."""
    real_nginx.output.write_text("# of yesterday\n")
    daemon = await run(
        docker_host=f"unix://{tmp_path}/docker.sock",
        output=real_nginx.output,
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
        log_format="json",
        log_level="debug",
    )
    lines = await eventually(lambda: seen if len(seen := daemon.logged("source.disconnected")) >= 3 else None)
    assert all("docker.sock" in line["error"] and line["retry_in_s"] <= 2 for line in lines)
    assert real_nginx.output.read_text() == "# of yesterday\n"
    async with FakeEngine(socket=tmp_path / "docker.sock") as engine:
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: "server 172.17.0.2:80;" in upstreams(real_nginx.output))
        daemon.process.send_signal(signal.SIGINT)
        assert await daemon.ends() == 0


def test_a_state_that_cannot_be_kept_or_is_another_s_is_told_and_hinders_nothing(tmp_path: Path) -> None:
    """Routing needs no state: neither a full disk nor a second lbwatch may keep the daemon from its start."""

    class Full(FileLock):
        def acquire(self) -> bool:
            raise OutputError(tmp_path, error=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    state = State(tmp_path / "state")
    with (
        structlog.testing.capture_logs() as logs,
        FileLock(state.path) as first,
        FileLock(state.path) as second,
    ):
        lbwatch_daemon._keep_state(state, lock=first)
        assert logs == []
        lbwatch_daemon._keep_state(state, lock=second)
        lbwatch_daemon._keep_state(state, lock=Full(state.path))
    assert [log["event"] for log in logs] == ["state.not_kept"] * 2
    assert "give this one its own" in logs[0]["reason"]
    assert "No space left on device: drains and pauses by hand will not survive a restart" in logs[1]["reason"]

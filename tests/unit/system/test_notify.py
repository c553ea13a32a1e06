"""What the service manager is told: READY, WATCHDOG, STATUS, RELOADING, STOPPING, at a datagram socket of our own."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import structlog
from command import WEB, Running, command, environment, upstreams
from realnginx import RealNginx
from waiting import eventually, never

from lbwatch.engines.fake import FakeEngine
from lbwatch.system import notify
from lbwatch.system.notify import Notifier

SILENCE_S = 2.5  # more than twice as long as passes are apart


class Manager:
    """
    The other end of the protocol.

    Attributes:
        name: What NOTIFY_SOCKET says.
        address: Where it listens.
    """

    def __init__(self, folder: Path, *, abstract: bool = False) -> None:
        self.name = f"@lbwatch-{uuid.uuid4()}" if abstract else str(folder / "notify")
        self.address = "\0" + self.name[1:] if abstract else self.name
        self._lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)

    def told(self) -> list[str]:
        """Every line so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._lines += self._socket.recv(65536).decode().split("\n")
        return self._lines

    def count(self, line: str) -> int:
        return self.told().count(line)

    def status(self) -> str:
        """The latest."""
        return next((line for line in reversed(self.told()) if line.startswith("STATUS=")), "")

    def fill(self) -> None:
        """Have no room for one more message; each sender may only have so much under way."""
        while self._filled_by_another():
            pass

    def _filled_by_another(self) -> bool:
        sent = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(BlockingIOError):
            sender.setblocking(False)
            while True:
                sender.sendto(b"X=1", self.address)
                sent += 1
        return sent > 0

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with contextlib.closing(Manager(tmp_path)) as one:
        yield one


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock") as engine:
        yield engine


Run = Callable[..., Awaitable[Running]]


@pytest.fixture
async def run(tmp_path: Path, manager: Manager) -> AsyncIterator[Run]:
    """Starts `lbwatch run` under the manager; `environ` is more of its environment."""
    started: list[Running] = []

    async def start(*, environ: dict[str, str] | None = None, **settings: object) -> Running:
        log = tmp_path / f"log-{len(started)}"
        files = {"output": tmp_path / "out.conf", "state_dir": tmp_path, "control_socket": tmp_path / "control"}
        settings = {"docker_host": f"unix://{tmp_path}/docker.sock", "log_format": "json"} | files | settings
        given = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "60000000"} | (environ or {})
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *command("run", **settings), env=environment(**given), stderr=file
            )
        started.append(Running(process, log))
        return started[-1]

    yield start
    for each in started:
        if each.process.returncode is None:
            each.process.terminate()
            await each.ends()
        print(each.log.read_text())  # shown if the test fails


def of(nginx: RealNginx) -> dict[str, object]:
    return {"output": nginx.output, "nginx_pidfile": nginx.pidfile, "nginx_conf": nginx.conf}


# -- the daemon


async def test_it_is_ready_before_there_is_an_engine(run: Run, manager: Manager, tmp_path: Path) -> None:
    """A host that boots starts it first; units that come after it would wait for the engine else, and so would it."""
    daemon = await run()
    await eventually(lambda: manager.count("READY=1"), within=30)
    assert (tmp_path / "control").is_socket()
    await eventually(lambda: daemon.logged("daemon.started"))  # a thread writes it
    await eventually(lambda: "it was not read yet" in manager.status())
    await eventually(lambda: manager.count("WATCHDOG=1") > 1, what="passes without an engine")


async def test_a_start_that_fails_is_not_ready(run: Run, manager: Manager, tmp_path: Path) -> None:
    """`systemctl start` must say so, and what needs it must not start."""
    daemon = await run(output=tmp_path / "none" / "x.conf")
    assert await daemon.ends() == 2
    assert manager.told() == []


async def test_an_abstract_socket_is_as_good(run: Run, tmp_path: Path) -> None:
    """Some managers have one: it needs no file, and is seen in every root directory."""
    with contextlib.closing(Manager(tmp_path, abstract=True)) as manager:
        await run(environ={"NOTIFY_SOCKET": manager.name})
        await eventually(lambda: manager.count("READY=1"), within=30)


async def test_the_status_says_how_things_stand(
    run: Run, manager: Manager, engine: FakeEngine, real_nginx: RealNginx
) -> None:
    """`systemctl status` is where one looks first."""
    engine.containers.run(name="web-1", labels=WEB)
    await run(**of(real_nginx), declare="shop")
    await eventually(lambda: manager.status() == "STATUS=in step: 2 upstreams, 1 server", within=30)
    told = len(manager.told())
    await eventually(lambda: manager.told()[told:].count("WATCHDOG=1") >= 2)
    assert not [line for line in manager.told()[told:] if line.startswith("STATUS=")], "nothing changed"
    real_nginx.stop()
    await eventually(lambda: "nginx is not in step" in manager.status())


async def test_failures_that_are_handled_feed_the_watchdog(
    run: Run, manager: Manager, engine: FakeEngine, real_nginx: RealNginx
) -> None:
    """A restart mends neither an nginx nor an engine that is down, and would forget what is known."""
    engine.containers.run(name="web-1", labels=WEB)
    daemon = await run(**of(real_nginx))
    await eventually(lambda: manager.status().startswith("STATUS=in step"), within=30)
    real_nginx.stop()
    await eventually(lambda: daemon.logged("nginx.reload_failed"))
    fed = manager.count("WATCHDOG=1")
    await eventually(lambda: manager.count("WATCHDOG=1") >= fed + 3)
    await engine.close()
    await eventually(lambda: daemon.logged("source.disconnected"))
    fed = manager.count("WATCHDOG=1")
    await eventually(lambda: manager.count("WATCHDOG=1") >= fed + 3)


async def test_a_pass_that_hangs_feeds_nothing(run: Run, manager: Manager, engine: FakeEngine, tmp_path: Path) -> None:
    """The watchdog is for what nobody foresaw; a mere timer would go on."""
    program = tmp_path / "test"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\ntouch {tmp_path}/hangs\nexec sleep 1000\n")
    program.chmod(0o755)
    await run(test_command=program, reload_command="true")
    await eventually(lambda: manager.count("WATCHDOG=1"), within=30)
    engine.containers.run(name="web-1", labels=WEB)
    await eventually((tmp_path / "hangs").exists)
    fed = manager.count("WATCHDOG=1")
    await never(lambda: manager.count("WATCHDOG=1") > fed, during=SILENCE_S, what="a hung pass fed the watchdog")
    assert "NOTIFY_SOCKET" not in (tmp_path / "environment").read_text(), "what it starts could speak for it"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_is_announced(run: Run, manager: Manager, stop: signal.Signals) -> None:
    """Else the end of the process is all that is seen of it."""
    daemon = await run()
    await eventually(lambda: manager.count("READY=1"), within=30)
    daemon.process.send_signal(stop)
    assert await daemon.ends() == 0
    assert manager.count("STOPPING=1") == 1
    assert [line for line in manager.told() if "WATCHDOG" not in line][-1] == "STOPPING=1"


async def test_a_reload_begins_and_ends(run: Run, manager: Manager) -> None:
    """`Type=notify-reload` waits for the end; the time tells which reload it was."""
    daemon = await run()
    await eventually(lambda: manager.count("READY=1"), within=30)
    before_us = time.monotonic_ns() // 1000
    daemon.process.send_signal(signal.SIGHUP)
    await eventually(lambda: manager.count("READY=1") == 2)
    told = manager.told()
    begins = told.index("RELOADING=1")
    name, _, at_us = told[begins + 1].partition("=")
    assert name == "MONOTONIC_USEC"
    assert before_us <= int(at_us) <= time.monotonic_ns() // 1000
    assert "READY=1" in told[begins:]


async def test_a_socket_that_vanishes_harms_nothing(
    run: Run, manager: Manager, engine: FakeEngine, real_nginx: RealNginx
) -> None:
    """The manager may be restarted, or never have been there; that is not worth a line each second."""
    daemon = await run(**of(real_nginx))
    await eventually(lambda: manager.count("WATCHDOG=1"), within=30)
    os.unlink(manager.address)
    manager.close()
    await eventually(lambda: daemon.logged("notify.failed"))
    engine.containers.run(name="web-1", labels=WEB)
    await eventually(lambda: "server 172.17.0.2:80;" in upstreams(real_nginx.output))
    daemon.process.send_signal(signal.SIGHUP)
    await eventually(lambda: daemon.logged("template.loaded"))
    daemon.process.terminate()
    assert await daemon.ends() == 0
    assert len(daemon.logged("notify.failed")) == 1


# -- the protocol


def test_without_a_socket_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most are started by hand, or by a manager that speaks no such protocol."""
    monkeypatch.setattr(notify.socket, "socket", lambda *_: pytest.fail("a socket was opened"))
    for environ in ({}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "1"}):
        notifier = Notifier(environ, pid=1)
        notifier.ready()
        notifier.reloading(monotonic_ns=1)
        notifier.passed(lambda: "well")
        notifier.stopping()


@pytest.mark.parametrize(
    ("environ", "fed"),
    [
        ({}, False),
        ({"WATCHDOG_USEC": ""}, False),
        ({"WATCHDOG_USEC": "1000"}, True),
        ({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "7"}, True),
        ({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "8"}, False),
    ],
)
def test_only_who_is_watched_feeds_the_watchdog(manager: Manager, environ: dict[str, str], fed: bool) -> None:
    """The variables may be meant for the process that started this one; and a status is told all the same."""
    Notifier({"NOTIFY_SOCKET": manager.name} | environ, pid=7).passed(lambda: "well")
    assert manager.told() == (["WATCHDOG=1"] if fed else []) + ["STATUS=well"]


@pytest.mark.parametrize("name", ["/nowhere/notify", "nowhere", "/" + "x" * 200, "@" + "x" * 200, "vsock:2:1", "a\0b"])
def test_a_name_that_is_no_socket_is_told_once(name: str) -> None:
    """Whatever is in the environment, routing does not depend on it."""
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1"}, pid=7)
    with structlog.testing.capture_logs() as logs:
        notifier.ready()
        notifier.passed(lambda: "well")
        notifier.stopping()
    assert [log["event"] for log in logs] == ["notify.failed"]


def test_a_manager_that_does_not_read_holds_nothing_back(manager: Manager) -> None:
    """The first process of a machine under load may be late; nginx must follow all the same."""
    manager.fill()
    notifier = Notifier({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1"}, pid=7)
    began = time.monotonic()
    for _ in range(100):
        notifier.passed(lambda: "well")
    notifier.stopping()
    assert time.monotonic() - began < 1


def test_that_it_is_ready_waits_for_room(manager: Manager) -> None:
    """With that one message lost the start would never end, and be taken for one that failed."""
    manager.fill()
    telling = threading.Thread(target=Notifier({"NOTIFY_SOCKET": manager.name}, pid=7).ready)
    telling.start()
    telling.join(0.3)
    assert telling.is_alive(), "it gave up"
    while telling.is_alive():
        manager.told()
    assert manager.count("READY=1") == 1


def test_the_socket_is_for_this_process_alone(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx's test and the user's commands must not inherit it."""
    inherited = []
    send = socket.socket.send
    monkeypatch.setattr(
        notify.socket.socket, "send", lambda one, what: (inherited.append(one.get_inheritable()), send(one, what))
    )
    Notifier({"NOTIFY_SOCKET": manager.name}, pid=7).ready()
    assert inherited == [False]

"""The server: where it listens, and that nobody can hold it up; then the whole daemon, looked at by TCP."""

import asyncio
import contextlib
import os
import re
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from command import command, environment, lbwatch
from fakedaemon import (
    ROUTES,
    WEB,
    Client,
    FixedLoop,
    FixedView,
    asked_until,
    ended,
    fixed_service,
    free_port,
    is_ready,
    listening,
    running,
    served,
    unasked,
    warned,
)
from simulation import SimulatedNginx
from statuses import (
    PLAIN,
    STATE,
    crowd,
    samples,
    wrong_in,
)
from strategies import container
from waiting import eventually

from lbwatch.api import door
from lbwatch.api import server as api
from lbwatch.api.client import request
from lbwatch.api.control import ControlService
from lbwatch.api.page import rendering
from lbwatch.core.errors import DeadSocketError, SettingsError
from lbwatch.core.model import Route
from lbwatch.engines.docker import stream
from lbwatch.engines.fake import FakeEngine, responses
from lbwatch.settings import ApiSettings, listen_address
from lbwatch.system.state import State

# -- where to listen


async def test_nowhere_is_a_place_too() -> None:
    """`status_listen = ""` is for those who want no open port."""
    with structlog.testing.capture_logs() as logs:
        async with served(listen=""):
            assert not [log for log in logs if log["event"] == "status.listening"]


async def test_the_log_says_where_it_listens() -> None:
    """To be clicked on; with port 0 nobody knows it otherwise."""
    with structlog.testing.capture_logs() as logs:
        async with served(listen="127.0.0.1:0"):
            (url,) = [log["url"] for log in logs if log["event"] == "status.listening"]
            port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/", url)[1])
            assert (await Client(port=port).get()).status == 200


async def test_it_is_gone_at_the_end_also_with_a_connection_that_is_open() -> None:
    """A stop must not wait for a browser, and the next start needs the port."""
    async with served() as client:
        reader, writer = await client.opened()
        writer.write(b"GET / HTTP/1.1\r\n")
        await writer.drain()
        began = time.monotonic()
    assert time.monotonic() - began < 2.0
    await ended(reader)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await client.opened()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:9180", ("127.0.0.1", 9180)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:9180", ("::1", 9180)),
        ("[::]:9180", ("::", 9180)),
        ("localhost:1", ("localhost", 1)),
        ("lb.example:65535", ("lb.example", 65535)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
    ],
)
def test_host_and_port_are_read(text: str, wanted: tuple[str, int]) -> None:
    """The ways in which people write it."""
    assert listen_address(text) == wanted


WRONG_PLACES = [
    *("nonsense", "127.0.0.1", ":9180", "9180", "host:99999", "host:-1", "host:", "host:port", "[::1]", "::1:9180"),
    *("[::1:9180", "[nonsense]:9180", "a@b:80", "@b:80", "http://127.0.0.1:80", "//127.0.0.1:80", "127.0.0.1:80/"),
    *("127.0.0.1:80/metrics", "127.0.0.1:80?", "127.0.0.1:80#x", "127.0.0.1:80\n", " :80", "127.0.0.1:8 0"),
    *("unix:/run/x.sock", "127.0.0.1:９１８０", "a b:80", "a..b:80", f"{'x' * 64}:80", "a\0b:80", "127.0.0.1:+80"),
]


@pytest.mark.parametrize("text", WRONG_PLACES)
async def test_a_wrong_place_is_an_error_of_that_setting(text: str) -> None:
    """Exit code 2 and one line, whether it is found at once or when it is listened to; never a traceback."""
    with pytest.raises(SettingsError) as caught:
        ApiSettings(status_listen=text)
        async with served(listen=text):
            pass
    assert caught.value.setting == "status_listen"
    assert str(caught.value).startswith("status_listen: ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "nonsense", "127.0.0.1", ":9180", "host:99999", "[::1]", "a@b:80", "http://a:80"])
def test_what_is_no_host_and_port_says_what_is(text: str) -> None:
    """The value and what it takes, as for each setting."""
    with pytest.raises(SettingsError, match=r"it takes HOST:PORT, such as 127\.0\.0\.1:9180 or \[::1\]:9180") as caught:
        listen_address(text)
    assert repr(text) in str(caught.value)
    if text:  # which is nowhere
        with pytest.raises(SettingsError):
            ApiSettings(status_listen=text)


async def test_a_taken_port_is_said_with_the_setting_the_value_and_the_reason() -> None:
    """Two lbwatch on one machine: the second must say which setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError) as caught:
            async with served(listen=listen):
                pass
    assert str(caught.value) == (
        f"status_listen: {listen!r} cannot be used: "
        "another process listens there already: choose another port, or end that one"
    )


async def test_an_address_that_is_not_of_this_machine_is_said_too() -> None:
    """192.0.2.0/24 is nobody's."""
    with pytest.raises(SettingsError, match=r"status_listen: '192\.0\.2\.1:9180' cannot be used: it is not possible"):
        async with served(listen="192.0.2.1:9180"):
            pass


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_it_listens_by_ipv6_too() -> None:
    """And writes the address so that it can be clicked on."""
    with structlog.testing.capture_logs() as logs:
        async with served(listen="[::1]:0"):
            (url,) = [log["url"] for log in logs if log["event"] == "status.listening"]
            port = int(re.fullmatch(r"http://\[::1\]:(\d+)/", url)[1])
            assert (await Client(port=port, host="::1").get(host=f"[::1]:{port}")).status == 200


async def test_the_command_line_refuses_a_wrong_place_in_one_line(tmp_path: Path) -> None:
    """Exit code 2: systemd must not try it again for ever."""
    text = "host:99999"
    code, out, err = await lbwatch("run", docker_host=f"unix://{tmp_path}/s", output=tmp_path / "o", status_listen=text)
    assert (code, out) == (2, "")
    assert err.startswith(f"lbwatch: status_listen: {text!r} cannot be used: it takes HOST:PORT")
    assert len(err.splitlines()) == 1


async def test_the_command_line_refuses_a_taken_place_in_one_line(tmp_path: Path) -> None:
    """By flag or by environment: what is said is the same; and its socket and claims are put away."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = await lbwatch(
            "run",
            environ={"LBWATCH_STATUS_LISTEN": listen},
            docker_host=f"unix://{tmp_path}/s",
            output=tmp_path / "o",
            control_socket=tmp_path / "control",
            state_dir=tmp_path / "state",
        )
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"lbwatch: status_listen: {listen!r} cannot be used: another process listens there")
    assert "Traceback" not in err
    assert not (tmp_path / "control").exists()


# -- the unix socket


async def test_the_socket_is_its_owner_s_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    """Whoever may write there decides over traffic."""
    path = tmp_path / "run" / "lbwatch.sock"
    before = os.umask(0)
    try:
        async with listening(path, service=fixed_service(State(tmp_path / "state"), container("web-1"))):
            assert stat.S_ISSOCK(path.stat().st_mode)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
            assert [each.name for each in path.parent.iterdir()] == ["lbwatch.sock"]
    finally:
        os.umask(before)
    assert list(path.parent.iterdir()) == []


async def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    """After a kill -9 the file is still there, and nobody behind it."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    (tmp_path / f".s.{os.getpid()}").write_text("of a crash in between, by one of the same pid")
    with warned() as warnings:
        async with listening(path, service=fixed_service(State(tmp_path / "state"), container("web-1"))):
            assert (await request(path, verb="drain", container="web-1")).startswith("web-1 is drained")
    assert warnings == []
    assert not path.exists()


async def test_a_socket_at_which_another_one_answers_is_left_alone(tmp_path: Path) -> None:
    """Two daemons of one machine need two sockets; the second must not take the first one's requests away."""
    path, first, second = tmp_path / "s", State(tmp_path / "one"), State(tmp_path / "two")
    async with listening(path, service=fixed_service(first, container("web-1"))):
        with warned() as warnings:
            async with listening(path, service=fixed_service(second, container("web-1"))):
                await request(path, verb="drain", container="web-1")
        assert warnings == ["control.unavailable"]
        assert (first.drained != {}, second.drained != {}) == (True, False)
        assert await request(path, verb="undrain", container="web-1"), "after the second one's end too"


async def test_a_socket_that_another_one_put_there_meanwhile_is_not_removed(tmp_path: Path) -> None:
    """The next container of a deployment is up before this one is down."""
    path = tmp_path / "s"
    async with listening(path, service=fixed_service(State(tmp_path / "state"), container("web-1"))):
        path.rename(tmp_path / "moved")  # its inode must not be given out again
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.is_socket()


async def test_a_socket_that_is_gone_already_is_no_error_at_the_end(tmp_path: Path) -> None:
    """Somebody cleaned up /run."""
    async with listening(tmp_path / "s", service=fixed_service(State(tmp_path / "state"), container("web-1"))):
        (tmp_path / "s").unlink()


def _file(path: Path) -> None:
    path.write_text("precious")


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "precious").write_text("")


def _link(path: Path) -> None:
    (path.parent / "target").write_text("precious")
    path.symlink_to(path.parent / "target")


@pytest.mark.parametrize("put", [_file, _folder, _link, os.mkfifo])
async def test_what_is_no_socket_is_never_removed(tmp_path: Path, put: Callable[[Path], None]) -> None:
    """`control_socket = /etc/passwd` is a mistake that must cost nothing but the orders."""
    path = tmp_path / "s"
    put(path)
    before = path.lstat()
    with structlog.testing.capture_logs() as logs:
        async with listening(path, service=fixed_service(State(tmp_path / "state"), container("web-1"))):
            pass
    assert [(log["event"], log["control_socket"]) for log in logs] == [("control.unavailable", str(path))]
    assert "drain, undrain, pause and resume are not possible" in logs[0]["reason"]
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)


@pytest.mark.parametrize("where", ["no/such/folder/s", "file/s", "x" * 200])
async def test_where_no_socket_can_be_routing_goes_on_without(tmp_path: Path, where: str) -> None:
    """A read-only /run must not keep the daemon from its work."""
    (tmp_path / "file").write_text("")
    with warned() as warnings:
        async with listening(tmp_path / where, service=fixed_service(State(tmp_path / "state"), container("web-1"))):
            pass
    assert warnings == ["control.unavailable"]
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


# -- who takes too long


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """All times small, so that a test sees them pass."""
    monkeypatch.setattr(api, "CONNECTION_TIMEOUT_S", 1.0)
    monkeypatch.setattr(door, "SWEEP_S", 0.02)


@pytest.mark.usefixtures("impatient")
async def test_whoever_sends_half_a_request_is_cut_off_and_hinders_nobody(client: Client) -> None:
    """Slow loris: it costs nothing to send, and must cost nothing to bear."""
    began = time.monotonic()
    slow = [await client.opened() for _ in range(4)]
    for half, (_, writer) in zip(
        (b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: localho", b"GET / HTTP/1.1\r\n"), slow, strict=True
    ):
        writer.write(half)
    assert (await client.get()).status == 200
    assert time.monotonic() - began < 1.0, "it did not wait for the others"
    assert await asyncio.gather(*(ended(reader) for reader, _ in slow)) == [b""] * 4
    assert time.monotonic() - began >= 0.9, "nobody is cut off before the time"
    for _, writer in slow:
        writer.close()


@pytest.mark.usefixtures("impatient")
async def test_whoever_sends_byte_by_byte_is_cut_off_as_well(client: Client) -> None:
    """The time is that of the connection, whatever happens on it."""
    reader, writer = await client.opened()
    end = asyncio.create_task(ended(reader, within=10.0))
    for byte in b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 100_000:
        if end.done():
            break
        writer.write(bytes([byte]))
        await asyncio.sleep(0.005)
    assert await end == b""
    writer.close()


@pytest.mark.usefixtures("impatient")
async def test_whoever_never_reads_a_big_answer_is_cut_off_and_hinders_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written for it stays in memory as long as it is there; so much does not fit into the kernel's."""
    monkeypatch.setattr(rendering, "overview_html", lambda *_, **__: bytes(64 << 20))
    async with served() as client:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            await asyncio.get_running_loop().sock_connect(deaf, (client.host, client.port))
            await asyncio.get_running_loop().sock_sendall(deaf, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            asked = time.monotonic()
            assert (await client.get()).status == 200
            assert time.monotonic() - asked < 2.0

            def state() -> str:
                """Of the server's end, as in include/net/tcp_states.h."""
                lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
                ports = f":{client.port:04X}", f":{deaf.getsockname()[1]:04X}"
                return next((each[3] for each in lines if (each[1][-5:], each[2][-5:]) == ports), "gone")

            assert state() == "01", "established"
            await eventually(lambda: state() != "01", what="the server's end was given up")


async def test_an_answer_that_is_read_in_time_is_whole_however_big(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep must not cut what works."""
    monkeypatch.setattr(door, "SWEEP_S", 0.001)
    async with served(FixedView(crowd(2_000))) as client:
        answer = await client.get("/api/state")
        assert int(answer.headers["content-length"]) == len(answer.body)
        assert len(answer.json["upstreams"]) == 2_000


async def test_idle_connections_lock_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes for a newer one: the newest is who has just come to look."""
    monkeypatch.setattr(api, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(door, "SWEEP_S", 0.02)
    async with served() as client:
        opened = [await client.opened() for _ in range(8)]
        readers = [asyncio.create_task(ended(reader)) for reader, _ in opened]
        late = [await client.opened() for _ in range(3)]
        # One more than came late: room is made for the next one before that comes.
        await eventually(lambda: sum(task.done() for task in readers) == 4, what="the four oldest were cut off")
        assert [task.done() for task in readers] == [True] * 4 + [False] * 4, "by age"
        assert (await client.get()).status == 200
        for _, writer in opened + late:
            writer.close()
        await asyncio.gather(*readers)


async def test_as_many_idle_connections_as_there_may_be_lock_nobody_out(client: Client) -> None:
    """The same with the numbers as they are shipped, and twice as many."""
    opened = [await client.opened() for _ in range(2 * api.MAX_CONNECTIONS)]
    began = time.monotonic()
    for path in ROUTES:
        assert (await client.get(path)).status in (200, 404), path  # no container is named here
    assert time.monotonic() - began < 5.0
    for _, writer in opened:
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 100,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000,
    ],
    ids=["tls", "nonsense", "version", "zeros", "big header", "long path"],
)
async def test_what_is_no_request_is_refused_and_does_no_harm(client: Client, sent: bytes) -> None:
    """TLS to the wrong port, scanners, and worse."""
    reader, writer = await client.opened()
    writer.write(sent)
    writer.write_eof()
    said = await ended(reader)
    assert said == b"" or said.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400", b"HTTP/1.1 414", b"HTTP/1.1 431"))
    assert b"Traceback" not in said
    writer.close()
    assert (await client.get()).status == 200


@pytest.mark.usefixtures("impatient")
async def test_a_body_is_not_waited_for(client: Client) -> None:
    """Nobody has anything to say here: the answer comes at once, and the connection does not stay open for the rest."""
    reader, writer = await client.opened()
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
    async with asyncio.timeout(0.9):
        assert await reader.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    await ended(reader, within=5.0)
    writer.close()


ENDLESS = {
    "a body": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n", bytes(65536)),
    "a body in chunks": (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n" + bytes(65536) + b"\r\n",
    ),
    "a body to what is not there": (
        b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
        bytes(65536),
    ),
    "headers": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"".join(b"X-%d: y\r\n" % n for n in range(1000))),
    "a header": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", b"x" * 65536),
    "a path": (b"GET /", b"x" * 65536),
}


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("endless", ENDLESS.values(), ids=ENDLESS.keys())
async def test_whoever_sends_without_end_is_cut_off_at_once(
    endless: tuple[bytes, bytes], unix: bool, tmp_path: Path
) -> None:
    """At a gigabyte a second what reads it to its end has no time for anything else."""
    begin, more = endless
    async with served(control_socket=tmp_path / "s") as client:
        _, writer = await Client(port=client.port, socket=tmp_path / "s" if unix else None).opened()
        writer.write(begin)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20:
                writer.write(more)
                await writer.drain()
                sent += len(more)
        assert sent < 64 << 20
        writer.close()
        assert (await client.get()).status == 200


async def test_a_body_is_refused_in_words(client: Client) -> None:
    """Nothing here takes one, and a mistake should be seen as one."""
    answer = await client.exchange(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"no body is taken here\n")
    answer = await client.exchange(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_drain_may_take_longer_than_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for its turn and for nginx; what bounds strangers by TCP must not cut it off."""
    monkeypatch.setattr(api, "CONNECTION_TIMEOUT_S", 0.05)
    monkeypatch.setattr(api, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(door, "SWEEP_S", 0.01)
    gate = asyncio.Event()

    class Gated(FixedLoop):
        async def settled(self) -> tuple[Route, ...]:
            await gate.wait()
            return await super().settled()

    state = State(tmp_path / "state")
    service = ControlService(state, loop=Gated(container("web-1")), explain=unasked)
    async with served(service=service, control_socket=tmp_path / "s") as client:
        drain = asyncio.create_task(request(tmp_path / "s", verb="drain", container="web-1"))
        await eventually(lambda: state.drained, what="it is under way")
        for _ in range(10):  # each of which a sweep cut off
            reader, writer = await client.opened()
            assert await ended(reader) == b""
            writer.close()
        assert not drain.done()
        gate.set()
        assert (await drain).startswith("web-1 is drained")


# -- the whole daemon


async def test_a_daemon_is_ready_once_it_is_in_step_and_shows_what_nginx_runs(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx
) -> None:
    """The whole way: engine, decision, nginx, status."""
    for name in ("web-1", "web-2"):
        engine.containers.run(name=name, labels=WEB)
    engine.containers.run(name="off", labels=WEB)
    engine.containers.stop("off")
    engine.containers.run(name="plain")
    async with running(tmp_path, engine, nginx, declare=("later",)) as (client, _):
        await asked_until(client, "/readyz", is_ready)
        state = (await client.get("/api/state")).json
        assert wrong_in(state, STATE) == []
        assert state["workers"] == {"serving": 2, "retiring": 1}
        lines = {each["name"]: each["servers"] for each in state["upstreams"]}
        running_on = PLAIN | {"engine": "local"}
        assert lines == {
            "later": [{"address": "127.0.0.1", "port": 1, "container": None, "state": "down"} | PLAIN],
            "web": [
                {"address": "172.17.0.2", "port": 80, "container": "web-1", "state": "up"} | running_on,
                {"address": "172.17.0.3", "port": 80, "container": "web-2", "state": "up"} | running_on,
            ],
        }
        reasons = {each["container"]: each["reason"] for each in state["unrouted"]}
        assert reasons == {"off": "not-running", "plain": "not-labelled"}
        assert state["applied"]["verified"] is True
        assert state["applied"]["digest"] == state["disk"]
        (known,) = state["engines"]
        assert (known["name"], known["url"], known["connected"]) == ("local", engine.url, True)
        assert known["containers"] == 4
        metrics = samples((await client.get("/metrics")).body)
        assert metrics["lbwatch_servers", (("state", "up"), ("upstream", "web"))] == 2
        assert metrics["lbwatch_ready", ()] == 1
        assert metrics["lbwatch_source_containers", (("source", "local"),)] == 4


async def test_an_upstream_whose_servers_are_gone_shows_its_placeholder(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx
) -> None:
    """The stopped one keeps the name alive; the contract's `down`."""
    engine.containers.run(name="web-1", labels=WEB)
    async with running(tmp_path, engine, nginx) as (client, _):
        await asked_until(client, "/readyz", is_ready)
        engine.containers.stop("web-1")
        wanted = [{"address": "127.0.0.1", "port": 1, "container": None, "state": "down"} | PLAIN]
        answer = await asked_until(
            client, "/api/state", lambda each: [up["servers"] for up in each.json["upstreams"]] == [wanted]
        )
        assert [(each["container"], each["reason"]) for each in answer.json["unrouted"]] == [("web-1", "not-running")]
        await asked_until(client, "/readyz", is_ready)


async def test_a_lost_engine_a_refusing_and_a_restarted_nginx_are_not_ready_and_each_is_again(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx
) -> None:
    """The three things that go wrong, as they do."""
    engine.containers.run(name="web-1", labels=WEB)
    async with running(tmp_path, engine, nginx, resync_interval=1.0) as (client, _):

        async def not_ready(word: str) -> None:
            answer = await asked_until(client, "/readyz", lambda each: each.status == 503 and word in each.text)
            assert (await client.get("/healthz")).status == 200
            assert answer.json["ready"] is False

        await asked_until(client, "/readyz", is_ready)
        await engine.go_down()
        await not_ready("not followed for")
        assert [up["name"] for up in (await client.get("/api/state")).json["upstreams"]] == ["web"], "the old truth"
        await engine.come_back()
        await asked_until(client, "/readyz", is_ready)
        nginx.silent = True
        nginx.refused.add("api")
        nginx.refused.add("web")
        engine.containers.run(name="api-1", labels=WEB | {"lbwatch.upstream": "api"})
        await not_ready("nginx is not in step for")
        nginx.refused.clear()
        await asked_until(client, "/readyz", is_ready)
        nginx.stop()
        await not_ready("nginx is not in step for")
        nginx.start()
        await asked_until(client, "/readyz", is_ready)


async def test_neither_deploys_nor_the_renewal_of_the_stream_make_it_flap(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked all the time while containers come and go; a balancer in front would take the machine out."""
    monkeypatch.setattr(stream, "SHORT_LIFE_S", 0.0)  # so that streams end as those do that grew too old
    for number in range(3):
        engine.containers.run(name=f"web-{number}", labels=WEB)
    async with running(tmp_path, engine, nginx) as (client, _):
        await asked_until(client, "/readyz", is_ready)
        answers = []
        for number in range(3, 13):
            engine.containers.run(name=f"web-{number}", labels=WEB)
            engine.containers.stop(f"web-{number - 3}")
            engine.cut_streams()
            answers += [await client.get("/readyz") for _ in range(5)]
        assert {answer.text for answer in answers if answer.status != 200} == set()


async def test_no_environment_of_a_container_is_shown_anywhere(
    tmp_path: Path, engine: FakeEngine, nginx: SimulatedNginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold passwords, and the port is open to whoever reaches it."""
    secret = "correct-horse-battery-staple"
    given: list[str] = []
    plain = responses.inspect_answer

    def with_environment(*words: Any, **options: Any) -> Any:
        answer = plain(*words, **options)
        answer["Config"]["Env"] = [f"PASSWORD={secret}", f"{secret}=1"]
        given.append(secret)
        return answer

    monkeypatch.setattr(responses, "inspect_answer", with_environment)
    for name, labels in (("web-1", WEB), ("wrong", {"lbwatch.port": "many"}), ("plain", {})):
        engine.containers.run(name=name, labels=labels)
    async with running(tmp_path, engine, nginx, expose="all") as (client, _):
        await asked_until(client, "/readyz", is_ready)
        assert given, "the engine did tell it"
        for path in ROUTES:
            answer = await client.get(path)
            assert secret not in answer.text
            assert "PASSWORD" not in answer.text
        assert "web-1" in (await client.get("/api/state")).text


async def test_an_error_that_ends_what_goes_on_meanwhile_comes_out_as_it_is(tmp_path: Path) -> None:
    """By its type the daemon knows that only a new start can help; as part of a group it was a bug with a traceback."""
    with pytest.raises(DeadSocketError, match="dead"):
        async with api.serving(web.Application(), listen="127.0.0.1:0", control_socket=tmp_path / "socket"):
            raise DeadSocketError("dead")


async def test_the_program_serves_its_status_until_it_ends(tmp_path: Path, engine: FakeEngine) -> None:
    """`lbwatch run` as it is shipped, by its own port, with a name of its own."""
    engine.containers.run(name="web-1", labels=WEB)
    client, log_file = Client(port=free_port()), tmp_path / "log"
    words = command(
        "run",
        docker_host=engine.url,
        output=tmp_path / "out.conf",
        test_command="true",
        reload_command="true",
        nginx_pidfile=tmp_path / "none.pid",
        control_socket=tmp_path / "control",
        state_dir=tmp_path / "state",
        status_listen=f"127.0.0.1:{client.port}",
        status_hosts="lb.example,other.example",
        log_format="json",
    )
    with log_file.open("wb") as log:
        daemon = await asyncio.create_subprocess_exec(*words, env=environment(), stderr=log)
    try:
        await eventually(lambda: "status.listening" in log_file.read_text(), within=20.0)
        await asked_until(client, "/readyz", is_ready, within=20.0)
        assert (await client.get("/healthz")).text == "the loop turns\n"
        assert [up["name"] for up in (await client.get("/api/state", host="Other.Example:80")).json["upstreams"]] == [
            "web"
        ]
        assert (await client.get("/", host="evil.example")).status == 403
        reader, writer = await client.opened()  # and stays open over the end
        daemon.terminate()
        async with asyncio.timeout(10.0):
            assert await daemon.wait() == 0
        await ended(reader)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await client.opened()
        assert "Traceback" not in log_file.read_text()
    finally:
        if daemon.returncode is None:
            daemon.kill()
            await daemon.wait()

"""Who connects to ports that have to accept a connection first: real sockets, and a port that opens late."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from waiting import eventually

from lbwatch.core.probes import NotAccepted, PortProbe
from lbwatch.system import connecting
from lbwatch.system.connecting import LONGEST_WAIT_S, MAX_TRIES, PortTries, connect


class Ports:
    """Which ports are waited for, as a test sets it, and what came of them."""

    def __init__(self, *ports: int, address: str = "127.0.0.1") -> None:
        self.wanted = {
            PortProbe(id=str(port), started_ns=1, address=address, port=port, container="web"): None for port in ports
        }
        self.failures: list[NotAccepted | None] = []
        self.words: str | None = None
        self.news = 0

    @property
    def probes(self) -> tuple[PortProbe, ...]:
        return tuple(self.wanted)

    def tried(self, probe: PortProbe, failure: NotAccepted | None, *, now: float) -> str | None:
        assert now > 0
        self.failures.append(failure)
        if failure is None:
            self.wanted.pop(probe, None)
        words, self.words = self.words, None
        return words

    def told(self) -> None:
        self.news += 1


@asynccontextmanager
async def trying(ports: Ports) -> AsyncIterator[PortTries]:
    tries = PortTries(ports, news=ports.told)
    task = asyncio.create_task(tries.run())
    tries.look()
    try:
        yield tries
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture
def closed() -> int:
    """Return a port of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


async def test_a_port_that_accepts_is_tried_once_and_left_alone() -> None:
    """The program must not see a client that holds its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        ports = Ports(listener.getsockname()[1])
        async with trying(ports):
            await eventually(lambda: ports.failures == [None] and ports.news)
            accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
            with accepted:
                assert await asyncio.get_running_loop().sock_recv(accepted, 1) == b""
        assert ports.failures == [None]


async def test_a_port_that_opens_late_is_tried_until_it_does(closed: int) -> None:
    """Its container gets requests soon after that: within the longest wait."""
    ports = Ports(closed)
    async with trying(ports):
        await eventually(lambda: len(ports.failures) >= 3)
        assert all(each is not None and each.refused for each in ports.failures)
        assert ports.news == 1  # of the first try, and no more until something changes
        opened = asyncio.get_running_loop().time()
        with socket.create_server(("127.0.0.1", closed)):
            await eventually(lambda: not ports.wanted)
        assert asyncio.get_running_loop().time() - opened < LONGEST_WAIT_S + 5


async def test_one_that_nobody_waits_for_any_more_is_left_alone(closed: int) -> None:
    """A container that was removed must not be tried for ever."""
    ports = Ports(closed)
    async with trying(ports) as tries:
        await eventually(lambda: ports.failures)
        ports.wanted.clear()
        tries.look()
        await eventually(lambda: not tries._tasks)
    assert not tries._tasks


async def test_silence_is_waited_for_only_so_long_and_no_more_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of addresses that never answer must not cost a descriptor each."""
    now, most = 0, 0

    async def silent(address: str, port: int) -> NotAccepted:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return NotAccepted(error="no answer", refused=False)

    monkeypatch.setattr(connecting, "connect", silent)
    ports = Ports(*range(1, 4 * MAX_TRIES))
    async with trying(ports):
        await eventually(lambda: len(ports.failures) >= 4 * MAX_TRIES - 1)
    assert most == MAX_TRIES


async def test_what_takes_long_is_logged(closed: int) -> None:
    """`starting` alone is no news to the log: most containers start."""
    ports = Ports(closed)
    ports.words = "for 30 s nothing came of it"
    with structlog.testing.capture_logs() as logs:
        async with trying(ports):
            await eventually(lambda: logs)
    (line,) = logs
    assert (line["event"], line["log_level"], line["container"]) == ("container.port_closed", "warning", "web")
    assert (line["address"], line["detail"]) == (f"127.0.0.1:{closed}", "for 30 s nothing came of it")


async def test_why_a_port_does_not_accept_is_known(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is refused was reached; who is not reached needs another network."""
    assert await connect("127.0.0.1", closed) == NotAccepted(error="Connection refused", refused=True)
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        held = [socket.socket() for _ in range(4)]
        for each in held:  # more than its queue takes: the kernel drops what comes then
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        assert await connect(*full.getsockname()) == NotAccepted(error="no answer within 0.1 s", refused=False)
        for each in held:
            each.close()


async def test_no_descriptor_left_is_a_try_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again; an error here would end the daemon."""

    def none_left(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", none_left)
    assert await connect("127.0.0.1", 80) == NotAccepted(error="Too many open files", refused=False)


async def test_a_port_that_connects_to_itself_is_closed(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may choose that very port for our end, and TCP then opens it from both sides at once."""
    real = socket.socket.setblocking

    def bound(self: socket.socket, flag: bool) -> None:
        self.bind(("127.0.0.1", closed))
        real(self, flag)

    monkeypatch.setattr(socket.socket, "setblocking", bound)
    assert await connect("127.0.0.1", closed) == NotAccepted(error="it connected to itself", refused=True)

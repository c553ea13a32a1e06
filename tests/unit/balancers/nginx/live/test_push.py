"""Changes of servers that nginx's workers are told of, with workers that are simulated."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import eventually

from lbwatch.balancers.nginx.live import push as room
from lbwatch.balancers.nginx.live.lines import LiveLines
from lbwatch.balancers.nginx.live.push import Push
from lbwatch.core.model import Server, Upstream

ONE = Server(address="192.0.2.1", port=80, container="one", started_ns=1)
API, WEB = Upstream(name="api"), Upstream(name="web", servers=(ONE,))
NO_WEB = replace(WEB, servers=())


class Worker:
    """One of nginx's workers: it does as it is told, unless it hangs."""

    def __init__(self, path: Path, *, number: int, count: int, shape: str) -> None:
        self.hangs = asyncio.Event()
        self.lines: dict[str, str] = {}
        self.shape = shape
        self._path = path
        self._who = f"{number} {count}"
        self._version = "-"

    async def run(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_unix_connection(self._path)
            with contextlib.closing(writer):
                await self._follow(reader, writer)

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(f"have 1 {self.shape} {self._who} {self._version} -\n".encode())
            words = (await reader.readuntil()).decode().split()
            if self.hangs.is_set():
                await asyncio.Event().wait()
            if words[0] == "set":
                lines = [(await reader.readuntil()).decode().strip() for _ in range(int(words[3]))]
                self.lines = ({} if words[2] == "whole" else self.lines) | {each.split()[0]: each for each in lines}
                self._version = words[1]


class Nginx:
    """Its workers, and what tells them."""

    def __init__(self, folder: Path) -> None:
        async def folder_there() -> Path:
            return folder

        self.lines = LiveLines(program="p", folder_there=folder_there, required=False)
        self.push = Push(folder, lines=self.lines, pids=lambda: None, epoch="aa")
        self.workers: list[Worker] = []
        self._socket = folder / ".lbwatch" / "live.sock"
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *upstreams: Upstream, workers: int = 2) -> None:
        """Start it anew, with a file for these upstreams."""
        await self.kill()
        await eventually(self._socket.is_socket)
        shape = self.lines.shape(upstreams)
        self.workers = [Worker(self._socket, number=each, count=workers, shape=shape) for each in range(workers)]
        self._tasks = [asyncio.create_task(each.run()) for each in self.workers]

    async def kill(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        await eventually(lambda: not list(self.push._followers))

    def has(self, upstream: str, *words: str) -> list[bool]:
        """Which worker was told words of an upstream."""
        return [all(word in each.lines.get(upstream, "") for word in words) for each in self.workers]


@asynccontextmanager
async def nginxes(folder: Path) -> AsyncIterator[Nginx]:
    nginx = Nginx(folder)
    nginx.push.listen()
    following = asyncio.create_task(nginx.push.run())
    try:
        yield nginx
    finally:
        await nginx.kill()
        following.cancel()
        await asyncio.wait([following])


@pytest.fixture
async def nginx(tmp_path: Path) -> AsyncIterator[Nginx]:
    async with nginxes(tmp_path) as nginx:
        yield nginx


async def test_a_change_is_in_force_once_each_worker_says_so(nginx: Nginx) -> None:
    """The proof is their word and not that they were told."""
    await nginx.start(WEB)
    assert await nginx.push.follows((WEB,), within_s=12.0)
    assert not nginx.push.is_followed
    assert await nginx.push.push((WEB,))
    assert nginx.has("web", "192.0.2.1:80") == [True, True]
    assert nginx.push.holds()
    assert nginx.push.is_followed
    assert await nginx.push.push((NO_WEB,))
    assert nginx.has("web", "192.0.2.1:80") == [False, False]


@pytest.mark.parametrize("other", [(replace(WEB, keepalive=3),), (API, WEB), (API,)])
async def test_another_shape_is_not_followed(nginx: Nginx, other: tuple[Upstream, ...]) -> None:
    """What a worker has not read it cannot serve, whatever it says."""
    await nginx.start(WEB)
    assert await nginx.push.follows((WEB,), within_s=12.0)
    await nginx.push.push((WEB,))
    assert not nginx.push.takes(other)
    assert not await nginx.push.follows(other, within_s=0.01)
    assert nginx.push.takes((NO_WEB,))


async def test_a_name_without_a_server_may_go_and_come_back(nginx: Nginx) -> None:
    """nginx has its block until the next reload; one that it has not is no more than a promise."""
    await nginx.start(API, WEB)
    assert await nginx.push.follows((API, WEB), within_s=12.0)
    await nginx.push.push((API, WEB))
    assert nginx.push.takes((WEB,))
    assert await nginx.push.push((WEB,))
    assert nginx.push.takes(()), "they can be told that web has no server"
    assert nginx.push.takes((API, WEB)), "they have it still"
    await nginx.start(WEB)
    assert await nginx.push.follows((WEB,), within_s=12.0)
    assert not nginx.push.takes((API, WEB)), "they were started from the file without it"


async def test_a_worker_that_hangs_is_waited_for_and_holds_nobody_up(
    nginx: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others serve what is new; after some seconds a reload is owed."""
    monkeypatch.setattr(room, "PROOF_S", 0.2)
    await nginx.start(WEB)
    assert await nginx.push.follows((WEB,), within_s=12.0)
    await nginx.push.push((WEB,))
    nginx.workers[0].hangs.set()
    clock = asyncio.get_running_loop().time
    began = clock()
    assert not await nginx.push.push((NO_WEB,))
    assert clock() - began >= 0.2
    assert not nginx.push.holds()
    until = nginx.push.waited_for_until()
    assert until is not None
    assert began + room.LATE_S <= until <= clock() + room.LATE_S
    await eventually(lambda: nginx.has("web", "192.0.2.1:80") == [True, False])
    await asyncio.sleep(0.2)  # it is late from here on
    monkeypatch.setattr(room, "PROOF_S", 60.0)
    nginx.push._behind = {key: (since - 61.0, owed) for key, (since, owed) in nginx.push._behind.items()}
    assert not await asyncio.wait_for(nginx.push.push((WEB,)), 12.0), "nobody waits for the one that is late anyway"
    assert nginx.has("web", "192.0.2.1:80") == [True, True]


async def test_changes_in_a_row_do_not_put_off_the_end_of_the_wait(
    nginx: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where something changes each second a worker that hangs would serve what was long ago for ever."""
    monkeypatch.setattr(room, "PROOF_S", 0.01)
    await nginx.start(WEB)
    assert await nginx.push.follows((WEB,), within_s=12.0)
    await eventually_pushed(nginx, WEB)
    nginx.workers[0].hangs.set()
    await nginx.push.push((NO_WEB,))
    until = nginx.push.waited_for_until()
    assert until is not None
    for upstream in (WEB, NO_WEB, WEB):
        await nginx.push.push((upstream,))
        assert nginx.push.waited_for_until() == until
    await eventually(lambda: nginx.has("web", "192.0.2.1:80") == [True, True])
    assert nginx.push.waited_for_until() == until


async def eventually_pushed(nginx: Nginx, upstream: Upstream) -> None:
    await nginx.push.push((upstream,))
    await eventually(nginx.push.holds)
    assert nginx.push.waited_for_until() is None


async def test_new_workers_are_told_what_is_in_force_and_old_ones_nothing_new(nginx: Nginx) -> None:
    """A reload's new workers ask before it is seen to have happened."""
    await nginx.start(WEB)
    assert await nginx.push.follows((WEB,), within_s=12.0)
    await nginx.push.push((WEB,))
    await nginx.start(API, WEB)
    assert await nginx.push.follows((API, WEB), within_s=12.0)
    assert [each.lines for each in nginx.workers] == [{}, {}], "they have read a newer file than we know of"
    nginx.push.set((API, WEB), is_reload=True)
    await eventually(lambda: nginx.has("web", "192.0.2.1:80") == [True, True])
    await eventually(nginx.push.holds)


async def test_after_a_start_of_lbwatch_workers_that_serve_on_prove_what_they_are_told(tmp_path: Path) -> None:
    """No reload is needed for an upgrade of lbwatch."""
    async with nginxes(tmp_path) as before:
        await before.start(WEB)
        assert await before.push.follows((WEB,), within_s=12.0)
        await before.push.push((WEB,))
        version = before.workers[0]._version
    async with nginxes(tmp_path) as nginx:
        await nginx.start(WEB)
        for worker in nginx.workers:
            worker._version = version.replace("aa", "bb")
        assert await nginx.push.follows((NO_WEB,), within_s=12.0)
        assert await nginx.push.push((NO_WEB,))
        assert nginx.push.holds()


async def test_pushes_go_out_one_after_the_other(nginx: Nginx) -> None:
    """What comes together may go together."""
    await nginx.start(WEB)
    assert await nginx.push.follows((WEB,), within_s=12.0)
    now = asyncio.get_running_loop().time()
    assert nginx.push.due(now=now) == now
    await nginx.push.push((WEB,))
    assert nginx.push.due(now=now) >= now + room.PUSH_INTERVAL_S


async def test_what_workers_run_lies_where_they_find_it(nginx: Nginx, tmp_path: Path) -> None:
    """They are another user, and an older program may lie there."""
    program = tmp_path / ".lbwatch" / "follow.lua"
    for text in (None, "an older one"):
        if text:
            program.write_text(text)
        nginx.push.write_program()
        assert program.read_text() == "p"
        assert program.stat().st_mode & 0o777 == 0o644
        assert program.parent.stat().st_mode & 0o777 == 0o755

"""The socket at which nginx's workers ask."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from waiting import eventually

from lbwatch.balancers.nginx.live import followers
from lbwatch.balancers.nginx.live.followers import Followers
from lbwatch.balancers.nginx.live.protocol import Have

HAVE = b"have 1 0123456789ab 0 1 - -\n"


class Lbwatch:
    """What answers: a version, if there is one that a worker does not have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.news: bytes | None = None
        self.waits = False
        self.writers: list[asyncio.StreamWriter] = []
        self.followers = Followers(path, answer=self._answer, waits=lambda: self.waits)

    def _answer(self, have: Have) -> bytes | None:
        return None if have.version is not None else self.news

    async def worker(self, said: bytes = HAVE) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await eventually(self.path.is_socket)
        reader, writer = await asyncio.open_unix_connection(self.path)
        self.writers.append(writer)
        writer.write(said)
        return reader, writer


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[Lbwatch]:
    lbwatch = Lbwatch(path)
    lbwatch.followers.listen()
    running = asyncio.create_task(lbwatch.followers.run())
    try:
        yield lbwatch
    finally:
        for writer in lbwatch.writers:
            writer.close()
        running.cancel()
        await asyncio.wait([running])
        assert not path.exists(), "a socket that nobody listens at"


@pytest.fixture
async def lbwatch(tmp_path: Path) -> AsyncIterator[Lbwatch]:
    async with listening(tmp_path / ".lbwatch" / "live.sock") as lbwatch:
        yield lbwatch


async def line(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readline(), 12.0)


async def test_a_worker_is_answered_as_soon_as_something_is_new(lbwatch: Lbwatch) -> None:
    """A container that went must get no request for as long as a poll would last."""
    reader, writer = await lbwatch.worker()
    await eventually(lambda: list(lbwatch.followers))
    lbwatch.news = b"set aa.1 whole 0\n"
    lbwatch.followers.publish()
    assert await line(reader) == lbwatch.news
    heard = lbwatch.followers.next_heard()
    writer.write(b"have 1 0123456789ab 0 1 aa.1 -\n")
    await asyncio.wait_for(heard.wait(), 12.0)
    (worker,) = lbwatch.followers
    assert worker.have is not None
    assert worker.have.version == "aa.1"
    assert worker.pid > 0, "the kernel says whose connection it is"
    writer.close()
    await eventually(lambda: not list(lbwatch.followers))


@pytest.mark.parametrize("waits", [False, True])
async def test_without_news_it_is_answered_now_and_then(
    lbwatch: Lbwatch, monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    """So a worker that ends does not live on, and says how many requests wait in it."""
    monkeypatch.setattr(followers, "ANSWER_S", 600.0 if waits else 0.01)
    monkeypatch.setattr(followers, "ANSWER_WHILE_WAITING_S", 0.01)
    lbwatch.waits = waits
    reader, writer = await lbwatch.worker()
    for _ in range(3):
        assert await line(reader) == b"keep\n"
        writer.write(HAVE)
    writer.close()


async def test_any_user_may_connect_and_the_folder_may_be_entered(lbwatch: Lbwatch) -> None:
    """nginx's workers are another user, in another container of another number."""
    await lbwatch.worker()
    assert lbwatch.path.stat().st_mode & 0o777 == 0o666
    assert lbwatch.path.parent.stat().st_mode & 0o555 == 0o555


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n", b"have\n", b"\x00" * 300_000, HAVE[:-1]])
async def test_whoever_is_no_worker_is_cut_off_and_troubles_nobody(lbwatch: Lbwatch, said: bytes) -> None:
    """Whatever connects, and whatever it says."""
    good, kept = await lbwatch.worker()
    await eventually(lambda: list(lbwatch.followers))
    reader, writer = await lbwatch.worker(said)
    if said == HAVE[:-1]:
        writer.write_eof()
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 12.0) == b""
    lbwatch.news = b"set aa.1 whole 0\n"
    lbwatch.followers.publish()
    assert await line(good) == lbwatch.news
    kept.close()


async def test_one_that_takes_nothing_or_says_nothing_is_given_up(
    lbwatch: Lbwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits to be sent to it would be kept for ever."""
    monkeypatch.setattr(followers, "SILENCE_S", 0.2)
    lbwatch.news = b"x" * (8 << 20)
    for said in (HAVE, b"", HAVE * 10):
        await lbwatch.worker(said)
        await eventually(lambda: lbwatch.followers._present)
        await eventually(lambda: not lbwatch.followers._present, what="it is gone")


async def test_there_are_no_more_connections_than_there_may_be(
    lbwatch: Lbwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File descriptors are for routing first."""
    monkeypatch.setattr(followers, "MAX_CONNECTIONS", 2)
    kept = [await lbwatch.worker() for _ in range(2)]
    await eventually(lambda: len(list(lbwatch.followers)) == 2)
    reader, writer = await lbwatch.worker()
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 12.0) == b""
    for _, each in (*kept, (reader, writer)):
        each.close()


async def test_where_there_can_be_no_socket_that_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nginx is reloaded as ever then."""
    monkeypatch.setattr(followers, "RETRY_S", 0.01)
    path = tmp_path / "folder" / "live.sock"
    path.parent.write_text("no folder")
    lbwatch = Lbwatch(path)
    lbwatch.followers.listen()
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(lbwatch.followers.run())
        await eventually(lambda: lbwatch.followers.error)
        await eventually(_times(3), what="some tries")
        path.parent.unlink()
        await eventually(lambda: path.is_socket() and lbwatch.followers.error is None)
        running.cancel()
        await asyncio.wait([running])
    assert [log["event"] for log in logs] == ["live.unavailable"]


def _times(count: int) -> Callable[[], bool]:
    left = [count]

    def asked() -> bool:
        left[0] -= 1
        return left[0] < 0

    return asked


async def test_nothing_is_put_beside_the_output_of_an_nginx_that_does_not_ask(tmp_path: Path) -> None:
    """The folder is the user's, and most nginxes have no Lua."""
    lbwatch = Lbwatch(tmp_path / ".lbwatch" / "live.sock")
    running = asyncio.create_task(lbwatch.followers.run())
    await asyncio.sleep(0)
    assert list(tmp_path.iterdir()) == []
    lbwatch.followers.listen()
    await eventually(lbwatch.path.is_socket)
    running.cancel()
    await asyncio.wait([running])

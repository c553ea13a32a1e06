"""Answers that are made once for many."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from statuses import made_status

from lbwatch.api import shared as subject
from lbwatch.core.status import Status
from lbwatch.system.threads import Threads


class Maker:
    """Counts what it makes, and fails as often as it is set to."""

    def __init__(self) -> None:
        self.looks = 0
        self.failures = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def look(self) -> Status:
        self.looks += 1
        await self.go_on.wait()
        if self.failures:
            self.failures -= 1
            raise OSError("passing")
        return made_status()


@pytest.fixture
async def executor() -> AsyncIterator[Threads]:
    threads = Threads(1)
    yield threads
    threads.shutdown()


def answer_of(maker: Maker, executor: Threads) -> "subject.SharedAnswer[str]":
    return subject.SharedAnswer(maker.look, make=lambda status: status.version, executor=executor)


async def test_who_asks_while_it_is_made_or_just_after_gets_the_same(executor: Threads) -> None:
    """Open pages must not cost the daemon one report each."""
    maker = Maker()
    answer = answer_of(maker, executor)
    assert await asyncio.gather(*(answer.get() for _ in range(20))) == ["1.2.3"] * 20
    assert await answer.get() == "1.2.3"
    assert maker.looks == 1


async def test_an_old_answer_is_not_given_again(executor: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look like now."""
    monkeypatch.setattr(subject, "SHARED_S", 0.0)
    maker = Maker()
    answer = answer_of(maker, executor)
    assert [await answer.get(), await answer.get()] == ["1.2.3"] * 2
    assert maker.looks == 2


async def test_who_hangs_up_takes_the_answer_from_nobody(executor: Threads) -> None:
    """The first who asked may be the first who leaves."""
    maker = Maker()
    maker.go_on.clear()
    answer = answer_of(maker, executor)
    first, second = asyncio.create_task(answer.get()), asyncio.create_task(answer.get())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    maker.go_on.set()
    assert await second == "1.2.3"
    assert maker.looks == 1


async def test_a_failure_is_for_those_who_ask_now_only(executor: Threads) -> None:
    """A passing fault must not stick."""
    maker = Maker()
    maker.failures = 1
    answer = answer_of(maker, executor)
    with pytest.raises(OSError, match="passing"):
        await answer.get()
    assert await answer.get() == "1.2.3"


async def test_what_is_still_being_made_has_not_failed() -> None:
    """Else it would be made anew for each who asks."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    assert not subject.has_failed(future)
    future.set_exception(OSError())
    assert subject.has_failed(future)

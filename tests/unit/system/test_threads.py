"""The daemon's threads: few, reused, not waited for, and had later where they cannot be had now."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import structlog

from lbwatch.core.errors import ThreadError
from lbwatch.system.threads import MAX_THREADS, Threads, new_loop

DEADLINE_S = 20.0


@pytest.fixture
def hold() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def refuse(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_there_are_no_more_than_allowed_and_no_more_than_needed(hold: threading.Event) -> None:
    """What hangs must not take a thread each time it is tried again, for ever."""
    threads = Threads(3, name="few")
    for _ in range(5):
        assert threads.submit(threading.get_ident).result(DEADLINE_S) == threads.submit(threading.get_ident).result(1)
    for _ in range(10):
        threads.submit(hold.wait)
    assert sum(each.name.startswith("few-") for each in threading.enumerate()) == 3
    hold.set()
    assert threads.submit(int, "7").result(DEADLINE_S) == 7


def test_they_end_when_told_to_and_nobody_waits_for_one_that_hangs(hold: threading.Event) -> None:
    """A server that is closed leaves no thread behind."""
    threads = Threads(2, name="closed")
    threads.submit(hold.wait)
    threads.submit(int).result(DEADLINE_S)
    threads.shutdown()
    hold.set()
    deadline = time.monotonic() + DEADLINE_S
    while any(each.name.startswith("closed-") for each in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_an_error_is_for_who_asked() -> None:
    """And ends no thread."""
    threads = Threads(1)
    with pytest.raises(ValueError, match="seven"):
        threads.submit(int, "seven").result(DEADLINE_S)
    assert threads.submit(int, "7").result(DEADLINE_S) == 7


def test_what_was_cancelled_is_not_run(hold: threading.Event) -> None:
    """A pass that was given up must not replace a file at any later time."""
    threads, done = Threads(1), []
    threads.submit(hold.wait)
    waiting = threads.submit(done.append, 1)
    assert waiting.cancel()
    hold.set()
    threads.submit(int).result(DEADLINE_S)
    assert done == []


def test_where_no_thread_can_be_had_nothing_is_run_later_and_it_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own pool keeps in its queue what it says that it cannot run, and runs it at any later time."""
    threads, done = Threads(2), []
    with structlog.testing.capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(ThreadError, match=r"no thread can be started .*pids\.max"):
                threads.submit(done.append, 1)
    assert [log["event"] for log in logs] == ["thread.refused"]
    assert threads.submit(int, "7").result(DEADLINE_S) == 7
    assert done == []


def test_those_that_there_are_do_the_work_of_those_that_cannot_be_had(
    hold: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slower, and without an error."""
    threads = Threads(2)
    threads.submit(hold.wait)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        waiting = threads.submit(int, "7")
    hold.set()
    assert waiting.result(DEADLINE_S) == 7


def test_the_loop_s_own_work_is_done_by_them_and_programs_need_none() -> None:
    """Each of Python's would be one more that must be had."""

    async def work() -> tuple[str, int, set[str]]:
        name = await asyncio.to_thread(lambda: threading.current_thread().name)
        process = await asyncio.create_subprocess_exec("true")
        return name, await process.wait(), {each.name for each in threading.enumerate()}

    with asyncio.Runner(loop_factory=new_loop) as runner:
        name, code, names = runner.run(work())
    assert name == "work-0"
    assert code == 0
    assert not any(name.startswith(("waitpid", "asyncio")) for name in names)


def test_names_that_nobody_answers_hold_up_nothing_else(hold: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each engine that is known by name asks again and again while the name server hangs; nginx's file is not to wait."""

    def hangs(*_: object) -> list[object]:
        hold.wait()
        return []

    async def work() -> int:
        monkeypatch.setattr(socket, "getaddrinfo", hangs)
        asking = [
            asyncio.create_task(asyncio.get_running_loop().getaddrinfo("b", None)) for _ in range(2 * MAX_THREADS)
        ]
        await asyncio.sleep(0)  # all of them have begun
        done = await asyncio.to_thread(int, "7")
        hold.set()
        assert await asyncio.gather(*asking) == [[]] * len(asking)
        return done

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(asyncio.wait_for(work(), DEADLINE_S)) == 7


def test_one_that_hangs_does_not_keep_the_process() -> None:
    """Neither the loop's end nor Python's waits for it."""
    script = (
        "import asyncio, time\n"
        "from lbwatch.system.threads import new_loop\n"
        "async def run():\n"
        "    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)\n"
        "with asyncio.Runner(loop_factory=new_loop) as runner:\n"
        "    runner.run(run())\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=DEADLINE_S, check=False).returncode == 0

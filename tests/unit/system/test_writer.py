"""Lines for what may take none: they wait, are dropped and counted, and hold nobody up."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbwatch.system import writer as lines
from lbwatch.system.writer import Writer

DEADLINE_S = 20.0
LINE = "x" * 999 + "\n"


class Pipe:
    """A pipe of one page that nobody reads until asked to."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.pipe()
        fcntl.fcntl(self.theirs, fcntl.F_SETPIPE_SZ, 4096)
        self.read = b""

    def drain(self, until: Callable[[], bool]) -> None:
        os.set_blocking(self.ours, False)
        deadline = time.monotonic() + DEADLINE_S
        while not until():
            assert time.monotonic() < deadline, self.read[-200:]
            try:
                self.read += os.read(self.ours, 65536)
            except BlockingIOError:
                time.sleep(0.001)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.ours)  # which ends a write that waits


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_BYTES", 20_000)


@pytest.mark.usefixtures("small")
def test_nobody_waits_for_a_pipe_that_is_not_read_and_what_is_dropped_is_counted_and_reported(pipe: Pipe) -> None:
    """A log that stops the daemon costs more than the lines that it lacks."""
    reported: list[int] = []
    writer = Writer(pipe.theirs, on_dropped=lambda count: [reported.append(count), writer.write(f"less {count}\n")])
    began = time.monotonic()
    for number in range(100):
        writer.write(f"{number:03}{LINE}")
    writer.flush(timeout_s=0.2)
    assert time.monotonic() - began < 5.0
    assert 70 < writer.dropped < 90
    assert reported == []
    kept = 100 - writer.dropped
    pipe.drain(lambda: b"less" in pipe.read)
    assert reported == [writer.dropped]
    assert pipe.read.decode() == "".join(f"{number:03}{LINE}" for number in range(kept)) + f"less {writer.dropped}\n"
    writer.write("and on\n")
    pipe.drain(lambda: pipe.read.endswith(b"and on\n"))
    assert reported == [writer.dropped], "once"


def test_what_another_process_made_unblocking_is_written_whole(pipe: Pipe) -> None:
    """O_NONBLOCK is the file's and not ours: a shell's other job may have set it, and must not find it changed."""
    os.set_blocking(pipe.theirs, False)
    writer = Writer(pipe.theirs, on_dropped=lambda count: None)
    for number in range(50):
        writer.write(f"{number:03}{LINE}")
    pipe.drain(lambda: len(pipe.read) == 50 * (len(LINE) + 3))
    assert pipe.read.decode().splitlines() == [f"{number:03}{LINE.strip()}" for number in range(50)]
    assert writer.dropped == 0
    assert not os.get_blocking(pipe.theirs)


def test_a_full_disk_drops_and_reports_nothing_until_there_is_room(tmp_path: Path) -> None:
    """A report that is dropped itself would be reported for ever."""
    reported: list[int] = []
    full = os.open("/dev/full", os.O_WRONLY)
    writer = Writer(full, on_dropped=reported.append)
    for _ in range(3):
        writer.write(LINE)
    writer.flush(timeout_s=DEADLINE_S)
    assert (writer.dropped, reported) == (3, [])
    room = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(room, full)
    writer.write("room\n")
    writer.flush(timeout_s=DEADLINE_S)
    deadline = time.monotonic() + DEADLINE_S
    while not reported and time.monotonic() < deadline:
        time.sleep(0.001)
    assert reported == [3]
    assert (tmp_path / "log").read_text() == "room\n"


def test_without_a_thread_lines_wait_for_the_next_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be started no thread can; that passes."""
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    writer = Writer(log, on_dropped=lambda count: None)

    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        writer.write("one\n")
        writer.flush(timeout_s=DEADLINE_S)
    writer.write("two\n")
    writer.flush(timeout_s=DEADLINE_S)
    assert (tmp_path / "log").read_text() == "one\ntwo\n"

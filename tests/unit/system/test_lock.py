"""The sole right to write a file: held by one process, and by none that has ended."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from planted import OTHER_NAMES, Plant, assert_unharmed, victim_in

from lbwatch.core.errors import OutputError, OutputHeldError
from lbwatch.system import lock as lock_module
from lbwatch.system.files import lock_path
from lbwatch.system.lock import FileLock

OLD = "# old\n"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "lbwatch.conf"
    path.write_text(OLD)
    return path


def test_a_second_lock_is_refused_and_told_who_holds_the_first(output: Path) -> None:
    """Two that write one file undo each other's work, each reload a surprise to the other."""
    with FileLock(output) as first, FileLock(output) as second:
        assert first.acquire()
        with pytest.raises(OutputHeldError, match=f"process {os.getpid()} on {socket.gethostname()}"):
            second.acquire()
        first.close()
        assert second.acquire()


def test_a_lock_of_a_killed_process_holds_nobody_up(output: Path) -> None:
    """A crash must not need an operator to remove a lock."""
    code = "import sys, pathlib; from lbwatch.system.lock import FileLock; c = FileLock(pathlib.Path(sys.argv[1])); c.acquire()"
    code += "; print('taken', flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(output)], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        with FileLock(output) as lock:
            with pytest.raises(OutputHeldError, match=f"process {holder.pid} "):
                lock.acquire()
            holder.kill()
            holder.wait(10)
            assert lock.acquire()


def test_a_lock_follows_its_path_to_another_folder(tmp_path: Path) -> None:
    """Someone may put a new folder in the old one's place, and a second lbwatch in front of that."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    with FileLock(folder / "x.conf") as first, FileLock(folder / "x.conf") as second:
        first.acquire()
        folder.rename(tmp_path / "old")
        folder.mkdir()
        first.acquire()
        with pytest.raises(OutputHeldError):
            second.acquire()


def test_a_lock_holds_nothing_where_there_are_no_locks(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have none: lbwatch says so and goes on."""

    def no_locks(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock_module.fcntl, "flock", no_locks)
    with FileLock(output) as lock:
        assert [lock.acquire(), lock.acquire()] == [False, False]


def test_a_lock_follows_no_link_in_its_files_place(output: Path, tmp_path: Path) -> None:
    """Who may write the folder must not have any file of root's overwritten."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = output.with_name(f".{output.name}.lock")
    path.symlink_to(victim)
    with FileLock(output) as lock, pytest.raises(OutputError):
        lock.acquire()
    assert victim.read_text() == "mine"


def test_locks_of_two_files_are_apart(tmp_path: Path) -> None:
    """One folder may hold the files of several."""
    with FileLock(tmp_path / "a.conf") as first, FileLock(tmp_path / "b.conf") as second:
        assert first.acquire()
        assert second.acquire()


def test_a_lock_leaves_nothing_that_nginx_would_read(output: Path) -> None:
    """The folder is included by `*.conf`."""
    with FileLock(output) as lock:
        lock.acquire()
    assert [path.name for path in output.parent.glob("*.conf")] in ([], [output.name])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", OTHER_NAMES.values(), ids=OTHER_NAMES)
def test_what_may_be_somebody_elses_file_is_no_lock(output: Path, tmp_path: Path, plant: Plant) -> None:
    """It would be overwritten with our name, opened to all, or waited for."""
    victim = victim_in(tmp_path)
    plant(lock_path(output), victim)
    with FileLock(output) as lock:
        with pytest.raises(OutputError, match="remove it") as caught:
            lock.acquire()
        assert str(lock_path(output)) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert_unharmed(victim)
        place = lock_path(output)
        place.rename(tmp_path / "removed")
        assert lock.acquire(), "the next try finds it mended"


@pytest.mark.parametrize("plant", OTHER_NAMES.values(), ids=OTHER_NAMES)
def test_what_takes_the_locks_place_later_is_neither_written_nor_waited_for(
    output: Path, tmp_path: Path, plant: Plant
) -> None:
    """The folder may be open to others for as long as we run."""
    victim = victim_in(tmp_path)
    with FileLock(output) as lock:
        lock.acquire()
        lock_path(output).unlink()
        plant(lock_path(output), victim)
        with pytest.raises(OutputError):
            lock.acquire()
    assert_unharmed(victim)


def test_a_lock_that_is_swapped_for_another_file_is_not_written_to(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the lock and the name in it is a moment."""
    victim, flock = victim_in(tmp_path), lock_module.fcntl.flock

    def swapping(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        lock_path(output).unlink()
        lock_path(output).hardlink_to(victim)

    monkeypatch.setattr(lock_module.fcntl, "flock", swapping)
    with FileLock(output) as lock:
        lock.acquire()
    assert_unharmed(victim)


def test_a_lock_that_becomes_another_name_of_a_file_while_it_is_opened_is_refused(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at need not be what is opened."""
    victim, opened = victim_in(tmp_path), os.open

    def swapping(path: Path, flags: int, *more: int) -> int:
        if path == lock_path(output) and not path.exists():
            path.hardlink_to(victim)
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", swapping)
    with FileLock(output) as lock, pytest.raises(OutputError, match="it has 2 names"):
        lock.acquire()
    assert_unharmed(victim)


def test_what_a_holder_left_is_read_no_further_than_a_name_is_long(output: Path) -> None:
    """Anyone may have written to it."""
    with FileLock(output) as first, FileLock(output) as second:
        first.acquire()
        os.truncate(lock_path(output), 1 << 40)
        with pytest.raises(OutputHeldError) as caught:
            second.acquire()
        assert len(caught.value.holder) <= 256

"""Folders for a while: they go with their owner, however it ends."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lbwatch.system import temporary
from lbwatch.system.temporary import temporary_file, temporary_folder

HOLDER = """
import sys
from pathlib import Path
from lbwatch.system.temporary import temporary_folder
with temporary_folder(prefix="kind-", within=Path(sys.argv[1])) as folder:
    (folder / "secret").write_text("s")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_one_left_is_removed_by_the_next_and_what_is_used_stays(tmp_path: Path) -> None:
    """Copies of keys would lie there for ever; and two that run side by side must not undo each other."""
    argv, pipe = [sys.executable, "-c", HOLDER, str(tmp_path)], subprocess.PIPE
    (tmp_path / "other").mkdir()
    with (
        subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as one,
        subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as two,
    ):
        assert one.stdout is not None
        assert two.stdout is not None
        left, used = (Path(each.stdout.readline().strip()) for each in (one, two) if each.stdout is not None)
        one.send_signal(signal.SIGKILL)
        one.wait(10)
        assert (left / "secret").exists(), "a kill -9 leaves it: nothing is shown"
        with temporary_folder(prefix="kind-", within=tmp_path) as mine:
            assert not left.exists()
            assert (used / "secret").exists()
            assert mine.is_dir()
            assert mine.stat().st_mode & 0o777 == 0o700
        two.communicate(timeout=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_a_link_in_the_place_of_one_leads_nowhere(tmp_path: Path) -> None:
    """Anyone may write to /tmp."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    (tmp_path / "kind-link").symlink_to(victim)
    with temporary_folder(prefix="kind-", within=tmp_path, mode=0o755) as folder:
        assert folder.stat().st_mode & 0o777 == 0o755
        assert os.listdir(folder) == []
    assert (victim / "file").exists()


def test_a_file_for_a_while_goes_with_its_owner_and_what_a_killed_one_left_goes_too(tmp_path: Path) -> None:
    """A probe in nginx's folder that nobody removes is there for good."""
    code = HOLDER.replace("temporary_folder", "temporary_file").replace('(folder / "secret").write_text("s")', "pass")
    argv, pipe = [sys.executable, "-c", code, str(tmp_path)], subprocess.PIPE
    stays = {"kind-text": "text", "other": ""}
    for name, text in stays.items():
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "kind-pipe")
    with (
        subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as one,
        subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as two,
    ):
        left, used = (Path(each.stdout.readline().strip()) for each in (one, two) if each.stdout is not None)
        one.send_signal(signal.SIGKILL)
        one.wait(10)
        assert left.is_file(), "a kill -9 leaves it: nothing is shown"
        with temporary_file(prefix="kind-", within=tmp_path) as mine:
            assert not left.exists()
            assert used.is_file()
            assert mine.read_bytes() == b""
        two.communicate(timeout=10)
    assert {path.name for path in tmp_path.iterdir()} == {*stays, "kind-pipe"}


def test_those_that_begin_at_once_do_not_take_one_another_for_left_behind(tmp_path: Path) -> None:
    """Ten commands beside a daemon all make one, and each removes what nobody holds."""

    def use() -> None:
        for _ in range(50):
            with temporary_folder(prefix="kind-", within=tmp_path) as folder:
                (folder / "mine").touch(exist_ok=False)

    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(use) for _ in range(4)]:
            each.result()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_taken_for_left_behind_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever starts in that moment removes what nobody holds."""
    flock, taken = temporary.fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].rmdir()
        flock(descriptor, operation)

    monkeypatch.setattr(temporary.fcntl, "flock", late)
    with temporary_folder(prefix="kind-", within=tmp_path) as folder:
        (folder / "mine").touch()
        assert list(tmp_path.iterdir()) == [folder]
    assert len(taken) == 1
    assert list(tmp_path.iterdir()) == []


def test_one_that_was_killed_while_it_made_its_folder_leaves_nothing_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the folder and its lock is a moment."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as here, pytest.raises(KeyboardInterrupt):
        here.setattr(temporary.fcntl, "flock", killed)
        with temporary_folder(prefix="kind-", within=tmp_path):
            pass
    assert len(list(tmp_path.iterdir())) == 1
    with temporary_folder(prefix="kind-", within=tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]

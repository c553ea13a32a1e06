"""What changes in folders is heard of by the names that matter, whatever becomes of the folders."""

import errno
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lbwatch.system.inotify import Inotify
from lbwatch.system.sitefiles import watch as watching
from lbwatch.system.sitefiles.watch import Watch


@pytest.fixture
def watch():
    made = Watch("place")
    made.open()
    yield made
    made.close()


def test_only_names_that_matter_are_heard_of(tmp_path: Path, watch: Watch) -> None:
    """A log beside a link's target is no reason to look."""
    assert watch.update({str(tmp_path): frozenset({"a"})})
    assert not watch.update({str(tmp_path): frozenset({"a"})})
    (tmp_path / "log").write_text("x")
    assert not watch.heard()
    (tmp_path / "a").write_text("x")
    assert watch.heard()
    assert not watch.heard()
    assert not watch.update({str(tmp_path): None})
    (tmp_path / "log").write_text("x")
    assert watch.heard()


def test_another_folder_of_the_same_name_is_watched(tmp_path: Path, watch: Watch) -> None:
    """The kernel watches what was there, wherever it is moved to."""
    (tmp_path / "a").mkdir()
    watch.update({str(tmp_path / "a"): None})
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").mkdir()
    assert watch.heard()
    assert watch.update({str(tmp_path / "a"): None})
    watch.heard()
    (tmp_path / "b/x").write_text("x")
    assert not watch.heard()
    (tmp_path / "a/x").write_text("x")
    assert watch.heard()
    (tmp_path / "a/x").unlink()
    (tmp_path / "a").rmdir()
    assert watch.heard()
    assert not watch.update({str(tmp_path / "a"): None})


def test_one_folder_by_two_names_has_the_names_of_both(tmp_path: Path, watch: Watch) -> None:
    """The kernel has one watch for it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    watch.update({str(tmp_path / "a"): frozenset({"x"}), str(tmp_path / "b"): frozenset({"y"})})
    for name in ("x", "y"):
        (tmp_path / "a" / name).write_text("x")
        assert watch.heard()
    watch.update({str(tmp_path / "a"): frozenset({"x"}), str(tmp_path / "b"): None})
    (tmp_path / "a/z").write_text("x")
    assert watch.heard()


def test_the_limit_of_watches_is_said_once(tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not watched is found by the resync, so that nothing has to end."""

    def full(_self: Inotify, _folder: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Inotify, "add", full)
    with capture_logs() as logs:
        for _ in range(2):
            assert not watch.update({str(tmp_path): None})
    assert [each["event"] for each in logs] == ["files.not_watched"]


def test_there_is_a_limit_of_our_own(tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others on the machine need watches, too; the first are those of the place itself."""
    monkeypatch.setattr(watching, "MAX_FOLDERS", 1)
    with capture_logs() as logs:
        watch.update({str(tmp_path): None, "/": None})
    assert [each["error"] for each in logs] == ["more than 1 folders"]
    (tmp_path / "x").write_text("x")
    assert watch.heard()


def test_without_any_watch_nothing_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """max_user_instances is 128, and shared with all that runs as the same user."""

    def refuse(_self: Inotify) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Inotify, "__init__", refuse)
    with capture_logs() as logs:
        watch = Watch("place")
        for _ in range(2):
            watch.open()
    assert [each["event"] for each in logs] == ["files.not_watched"]
    assert watch.fileno() is None
    assert not watch.update({str(tmp_path): None})
    assert not watch.heard()
    watch.close()


def test_events_that_were_lost_may_have_been_of_anything(tmp_path: Path, watch: Watch) -> None:
    """A burst that the kernel could not keep must not end in an old certificate."""
    watch.update({str(tmp_path): frozenset({"a"})})
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    heard = []
    for number in range(limit // 4 + 1):
        (tmp_path / f"b{number}").write_text("x")
        (tmp_path / f"b{number}").unlink()
    for _ in range(limit):
        heard.append(watch.heard())
        if heard[-1]:
            break
    assert heard[-1]
    assert not any(heard[:-1]), "of the names alone nobody should hear"

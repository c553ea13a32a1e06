"""What files hold, by digests; what is the same is not read again."""

import os
import time
from pathlib import Path

import pytest

from lbwatch.system import reading
from lbwatch.system.sitefiles.contents import UNREADABLE, Contents, digest_of


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []
    of_user = reading.of_user

    def counted(path: Path, *, max_bytes: int) -> bytes:
        names.append(path.name)
        return of_user(path, max_bytes=max_bytes)

    monkeypatch.setattr(reading, "of_user", counted)
    return names


def test_a_file_is_read_again_only_if_it_may_be_another(tmp_path: Path, reads: list[str], monkeypatch) -> None:
    """One that was written a moment ago may be written again with the very same times."""
    path, contents = tmp_path / "a", Contents()
    path.write_text("x")
    for _ in range(2):
        assert contents.seen({str(path): 9})[str(path)].digest == digest_of(b"x")
    assert len(reads) == 2
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    for _ in range(3):
        contents.seen({str(path): 9})
    assert len(reads) == 3
    at = os.stat(path).st_mtime_ns
    path.write_text("y")  # as long as before, and with the same mtime: ctime tells
    os.utime(path, ns=(at, at))
    assert contents.seen({str(path): 9})[str(path)].digest == digest_of(b"y")
    contents.seen({})
    assert contents.seen({str(path): 9})[str(path)].digest == digest_of(b"y")
    assert len(reads) == 5


def test_another_target_of_a_link_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link may be the same, and the names of the targets, too."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "current").symlink_to("a")
    contents, later = Contents(), time.time_ns() + 10_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    path = str(tmp_path / "current/file")
    assert contents.seen({path: 9})[path].digest == digest_of(b"a")
    (tmp_path / "new").symlink_to("b")
    (tmp_path / "new").rename(tmp_path / "current")
    assert contents.seen({path: 9})[path].digest == digest_of(b"b")


def test_a_link_into_a_folder_that_is_closed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """certbot's own folders are root's alone; nginx's master gets in."""
    path = tmp_path / "link"
    path.symlink_to("closed/file")
    stat = os.stat

    def refuse(each, **kwargs):
        if str(each) == str(path):
            raise PermissionError(13, "Permission denied")
        return stat(each, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    seen = Contents().seen({str(path): 9})[str(path)]
    assert (seen.error, seen.is_readable) == (None, False)
    assert seen.digest is not None
    assert seen.digest.startswith(UNREADABLE)

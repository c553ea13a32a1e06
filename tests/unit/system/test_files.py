"""Replacing a file: whole old or whole new, whatever happens. Full disks and mounts are real ones (as root)."""

import fnmatch
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import NO_FILES, OTHER_NAMES, Plant, assert_unharmed, disk, immutable, mounted, victim_in

from lbwatch.core.errors import OutputError
from lbwatch.system import files

OLD = "# old\n"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "lbwatch.conf"
    path.write_text(OLD)
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB with the old file on it."""
    with disk(tmp_path / "disk") as folder:
        (folder / "lbwatch.conf").write_text(OLD)
        yield folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_what_is_read_is_what_was_written(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Equal or not decides about a reload: a changed line end would mean one at each pass, for ever."""
    path = tmp_path_factory.getbasetemp() / "round-trip.conf"
    files.replace(path, text=text)
    assert files.read(path) == text
    assert path.read_bytes() == text.encode()


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    """The first start has no old file."""
    path = tmp_path / "new.conf"
    assert files.read(path) is None
    files.replace(path, text="x\n")
    assert path.read_text() == "x\n"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("before", [0o600, 0o777])
def test_the_mode_is_0644_whatever_umask_and_old_file_say(output: Path, umask: int, before: int) -> None:
    """nginx's master may be another user; nobody else may write what it runs."""
    output.chmod(before)
    previous = os.umask(umask)
    try:
        files.replace(output, text="x\n")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(output.stat().st_mode) == 0o644


def test_nothing_is_left_beside_the_file(output: Path) -> None:
    """The folder is nginx's: whatever lies there may be included."""
    for number in range(3):
        files.replace(output, text=f"{number}\n")
    assert names(output.parent) == [output.name]


def test_the_scratch_file_is_beside_its_target_and_matches_no_include(output: Path) -> None:
    """A rename works within one disk only, and `include conf.d/*.conf` must not see half a file."""
    scratch = files.scratch_path(output)
    assert scratch.parent == output.parent
    assert scratch.name.startswith(".")
    assert not fnmatch.fnmatch(scratch.name, "*.conf")


def test_a_scratch_file_of_a_crash_is_no_obstacle(output: Path) -> None:
    """A process that was killed in the middle leaves one, with any mode and more text than the next."""
    scratch = files.scratch_path(output)
    scratch.write_text("half of a config" * 1000)
    scratch.chmod(0o600)
    files.replace(output, text="x\n")
    assert output.read_text() == "x\n"
    assert stat.S_IMODE(output.stat().st_mode) == 0o644
    assert names(output.parent) == [output.name]


def test_a_reader_finds_the_whole_old_or_the_whole_new_text(output: Path) -> None:
    """nginx may read it at any instant: a reload by hand falls where it falls."""
    texts = {letter * 100_000 + "\n" for letter in "ab"}
    files.replace(output, text=min(texts))
    found: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            found.add(output.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(60):
            for text in sorted(texts):
                files.replace(output, text=text)
    finally:
        stop.set()
        reader.join()
    assert found
    assert found <= texts


def test_a_reader_that_has_the_old_file_open_keeps_it_whole(output: Path) -> None:
    """A rename leaves the old inode alone; writing in place would pull it away under the reader."""
    with output.open() as reader:
        files.replace(output, text="new " * 1000)
        assert reader.read() == OLD


def assert_refused(output: Path, *, text: str) -> None:
    before = names(output.parent)
    with pytest.raises(OutputError) as caught:
        files.replace(output, text=text)
    assert str(output) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert output.read_text() == OLD
    assert names(output.parent) == before


def test_a_full_disk_leaves_the_old_file_whole(small_disk: Path) -> None:
    """An in-place write would leave half a config; a scratch file left behind would keep the disk full."""
    output = small_disk / "lbwatch.conf"
    assert_refused(output, text="x" * 200_000)
    files.replace(output, text="fits\n")
    assert output.read_text() == "fits\n"


def test_what_is_no_text_reads_as_nothing(output: Path) -> None:
    """Garbage in the output's place differs from anything rendered, and is replaced."""
    output.write_bytes(b"\xff\xfe\x00")
    assert files.read(output) is None


def test_a_stamp_tells_a_replaced_file_from_the_old_one(output: Path) -> None:
    """Somebody else's write, even of the same length, must be noticed."""
    before = files.stamp(output)
    assert before is not None
    assert files.stamp(output) == before
    files.replace(output, text=OLD)
    assert files.stamp(output) != before
    output.unlink()
    assert files.stamp(output) is None


def test_the_order_of_the_steps_is_the_one_that_survives_a_loss_of_power(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is renamed before it is on disk may be empty after it; a rename is lost with its folder's page."""
    steps: list[str] = []
    fsync, rename = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        what = Path(f"/proc/self/fd/{descriptor}").readlink()
        assert what in (output.parent, files.scratch_path(output))
        holds = "" if what.is_dir() else f" holding {what.read_text()!r}"
        steps.append(f"sync {'folder' if what.is_dir() else 'file'}{holds}")

    def noted_rename(source: Path, target: Path) -> None:
        rename(source, target)
        steps.append("rename")

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_rename)
    files.replace(output, text="# new\n")
    assert steps == ["sync file holding '# new\\n'", "rename", "sync folder"]


@pytest.mark.parametrize("old", [b"# old\n", b"\xff\xfe not text", None])
def test_a_backup_is_restored_byte_for_byte(output: Path, old: bytes | None) -> None:
    """Also that there was none."""
    output.unlink() if old is None else output.write_bytes(old)
    files.backup(output)
    assert files.has_backup(output)
    files.replace(output, text="# new\n")
    files.restore(output)
    assert (output.read_bytes() if output.exists() else None) == old
    assert not files.has_backup(output)


def test_a_backup_is_discarded_once(output: Path) -> None:
    """Twice is no error: nothing is there to discard most of the time."""
    files.backup(output)
    files.discard_backup(output)
    files.discard_backup(output)
    assert not files.has_backup(output)
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_a_read_only_folder_leaves_the_old_file_whole(small_disk: Path) -> None:
    """Said as one line with the path."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert_refused(small_disk / "lbwatch.conf", text="x\n")


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    """It is not made: a typing error in `output` must not create a tree somewhere."""
    output = tmp_path / "nowhere" / "lbwatch.conf"
    with pytest.raises(OutputError) as caught:
        files.replace(output, text="x\n")
    assert str(output) in str(caught.value)
    assert not output.parent.exists()


def test_a_bind_mounted_file_is_left_whole(tmp_path: Path) -> None:
    """A rename onto it fails, and one behind it leaves the container on the old inode."""
    source, output = tmp_path / "source", tmp_path / "lbwatch.conf"
    source.write_text(OLD)
    output.write_text("")
    with mounted(output, "--bind", str(source)):
        assert_refused(output, text="x\n")
    assert source.read_text() == OLD


# -- what others put there


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", OTHER_NAMES.values(), ids=OTHER_NAMES)
def test_whatever_lies_in_the_scratch_files_place_stops_nothing_and_leads_nowhere(
    output: Path, tmp_path: Path, plant: Plant
) -> None:
    """Whoever may write into the folder must choose neither which file root writes nor whether nginx is kept in step."""
    victim = victim_in(tmp_path)
    plant(files.scratch_path(output), victim)
    for text in ("one\n", "two\n"):
        files.replace(output, text=text)
        assert output.read_text() == text
        assert output.stat().st_nlink == 1
    assert_unharmed(victim)
    assert {each for each in names(tmp_path) if each.endswith(".tmp")} <= {files.scratch_path(output).name}


def test_a_scratch_file_that_nobody_may_remove_stops_nothing(output: Path) -> None:
    """Another name is taken."""
    scratch = files.scratch_path(output)
    scratch.write_text("stays")
    with immutable(scratch):
        files.replace(output, text="new\n")
    assert output.read_text() == "new\n"
    assert names(output.parent) == [scratch.name, output.name]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_in_the_files_place_is_told_and_neither_read_nor_written(tmp_path: Path, plant: Plant) -> None:
    """A pipe would be waited for, a device never ends, and a link's target may be anybody's."""
    output, victim = tmp_path / "lbwatch.conf", victim_in(tmp_path)
    plant(output, victim)
    before = names(tmp_path)
    for attempt in (files.read, files.backup):
        with pytest.raises(OutputError, match=r"it is a \w+.*, where lbwatch keeps a file: remove it") as caught:
            attempt(output)
        assert str(output) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == before
    assert_unharmed(victim)


def test_a_file_that_is_too_long_is_not_read_into_memory(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is none of ours; and a text that could not be read back would mean a reload at each pass."""
    os.truncate(output, 1 << 40)
    with pytest.raises(OutputError, match="longer than 65,536 KiB"):
        files.read(output)
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    files.replace(output, text="x" * 100)
    assert files.read(output) == "x" * 100
    with pytest.raises(OutputError, match="longer than"):
        files.replace(output, text="x" * 101)
    assert files.read(output) == "x" * 100


def test_what_killed_ones_left_is_removed_and_nothing_else(output: Path) -> None:
    """They would lie there for ever."""
    stay = [".lbwatch.conf.lock", ".lbwatch.conf.old", ".other.conf.tmp", "lbwatch.conf.tmp", ".lbwatch.conf"]
    for name in (*stay, ".lbwatch.conf.tmp", ".lbwatch.conf.0a1b2c3d.tmp", ".lbwatch.conf.0a1b2c3d.probe"):
        (output.parent / name).touch()
    (output.parent / ".lbwatch.conf.1a1b2c3d.probe").mkdir()
    files.remove_left_behind(output)
    assert names(output.parent) == sorted((*stay, output.name))
    files.remove_left_behind(output.parent / "nowhere" / "x.conf")


# -- the backup


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_in_the_backups_place_is_no_backup_and_stops_nothing(
    output: Path, tmp_path: Path, plant: Plant
) -> None:
    """It would be put before nginx as the last good file."""
    victim = victim_in(tmp_path)
    plant(files.backup_path(output), victim)
    assert not files.has_backup(output)
    files.discard_backup(output)
    files.backup(output)
    assert files.has_backup(output)
    files.replace(output, text="new\n")
    files.restore(output)
    assert output.read_text() == OLD
    assert_unharmed(victim)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o4755])
@pytest.mark.parametrize("links", [True, False])
def test_a_backup_is_for_nobody_who_may_not_read_the_file(
    output: Path, monkeypatch: pytest.MonkeyPatch, mode: int, links: bool
) -> None:
    """It may be an operator's with a password in it; where no links can be made it is a copy."""
    output.chmod(mode)
    if not links:

        def no_links(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
    if os.geteuid() == 0:
        os.chown(output, 12345, 54321)
    before = output.stat()
    files.backup(output)
    kept = files.backup_path(output).stat()
    assert stat.S_IMODE(kept.st_mode) == mode & (0o7777 if links else 0o777) & ~(0o6000 if os.geteuid() == 0 else 0)
    assert (kept.st_uid, kept.st_gid) == (before.st_uid, before.st_gid)


def test_a_backup_is_never_open_to_more_while_it_is_written(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens it in that moment keeps it open."""
    output.chmod(0o600)
    modes, fsync = [], os.fsync

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    def noted(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)  # what it was made with
    files.backup(output)
    assert modes[0] == 0o600

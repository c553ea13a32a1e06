"""Whether a file can be put in its place, tried on real disks, with real attributes and other users (as root)."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from needs import need
from planted import NO_FILES, OTHER_NAMES, Plant, assert_unharmed, disk, immutable, mounted, victim_in

from lbwatch.system import files, place

OLD = "# old\n"
NOBODY = 65534


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "lbwatch.conf"
    path.parent.mkdir()
    path.write_text(OLD)
    return path


def sight(folder: Path) -> dict[str, tuple[int, ...]]:
    """What would be seen of any change."""
    stats = {path.name: path.lstat() for path in folder.iterdir()}
    return {name: (each.st_ino, each.st_size, each.st_mtime_ns, each.st_mode) for name, each in stats.items()}


def test_a_usable_path_has_no_reason_and_is_left_alone(output: Path) -> None:
    """`check` and the start only look."""
    before = sight(output.parent)
    for reason in (place.unusable_reason, place.trial_error):
        assert reason(output) is None
        assert reason(output.with_name("new.conf")) is None
    assert place.refusal(output) is None
    assert sight(output.parent) == before


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_in_the_files_place_is_a_reason_in_one_line(tmp_path: Path, plant: Plant) -> None:
    """Docker makes a folder where a file was to be mounted and did not exist; a pipe would be waited for."""
    path, victim = tmp_path / "lbwatch.conf", victim_in(tmp_path)
    plant(path, victim)
    before = sight(tmp_path)
    reason = place.unusable_reason(path) or ""
    assert reason.startswith(str(path))
    assert "remove it" in reason or "name the file itself" in reason
    assert "\n" not in reason
    assert sight(tmp_path) == before
    assert_unharmed(victim)


@pytest.mark.parametrize("target", ["real.conf", "../other/real.conf"])
def test_an_output_that_is_a_link_on_purpose_is_told_with_what_to_set(output: Path, target: str) -> None:
    """The first replacement would put a file in the link's place, and sites-available never see another."""
    real = output.parent / target
    real.parent.mkdir(exist_ok=True)
    real.write_text(OLD)
    output.unlink()
    output.symlink_to(target)
    reason = place.unusable_reason(output) or ""
    assert f"{output} is a link to {target}" in reason
    assert "name the file itself" in reason
    assert place.unusable_reason(real) is None
    assert os.readlink(output) == target


def test_a_folder_that_is_named_for_the_file_may_be_nginxs_own(tmp_path: Path) -> None:
    """Who was advised to remove it alone might lose their configuration."""
    reason = place.unusable_reason(tmp_path) or ""
    assert reason == f"{tmp_path} is a folder: name a file in it, such as {tmp_path}/lbwatch.conf, or remove it"


def test_a_folder_that_is_a_link_is_as_good_as_any(output: Path) -> None:
    """/etc/nginx may lie anywhere; who owns the way to the folder owns all that is in it."""
    link = output.parent.with_name("link")
    link.symlink_to(output.parent)
    assert place.trial_error(link / output.name) is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("plant", OTHER_NAMES.values(), ids=OTHER_NAMES)
def test_what_lies_in_the_locks_place_is_a_reason(output: Path, tmp_path: Path, plant: Plant) -> None:
    """It is the one file that is never removed: two would hold it otherwise."""
    victim = victim_in(tmp_path)
    plant(files.lock_path(output), victim)
    reason = place.unusable_reason(output) or ""
    assert f"its lock {files.lock_path(output)}: it " in reason
    assert reason.endswith("remove it")
    assert_unharmed(victim)


@pytest.mark.parametrize("plant", OTHER_NAMES.values(), ids=OTHER_NAMES)
def test_what_lies_where_a_probe_once_was_leads_nowhere(output: Path, tmp_path: Path, plant: Plant) -> None:
    """A name that can be foreseen can be taken."""
    victim = victim_in(tmp_path)
    plant(output.with_name(f".{output.name}.probe"), victim)
    assert place.trial_error(output) is None
    assert_unharmed(victim)


@pytest.mark.parametrize("name", ["lbwatch.conf", "with a space.conf"])
def test_a_bind_mounted_file_is_told(tmp_path: Path, name: str) -> None:
    """A rename onto it fails, and one behind it leaves the container on the old inode: mount directories."""
    source, output = tmp_path / "source", tmp_path / name
    source.write_text(OLD)
    output.write_text("")
    with mounted(output, "--bind", str(source)):
        reason = place.unusable_reason(output) or ""
        assert str(output) in reason
        assert "mount its folder" in reason


def test_a_missing_or_read_only_folder_is_told(tmp_path: Path) -> None:
    """Its name is what is to be mended."""
    assert f"{tmp_path / 'nowhere'} does not exist" in (place.unusable_reason(tmp_path / "nowhere" / "x.conf") or "")
    (tmp_path / "loop").symlink_to("loop")
    assert "does not exist" in (place.unusable_reason(tmp_path / "loop" / "x.conf") or "")
    with disk(tmp_path / "disk") as folder:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        assert f"{folder} cannot be written: Read-only" in (place.unusable_reason(folder / "x.conf") or "")


def test_a_full_disk_is_no_mistake_of_a_setting_and_fails_a_trial(tmp_path: Path) -> None:
    """There will be room again; but whoever asks whether all is well is not told that it is."""
    with disk(tmp_path / "disk") as folder:
        output = folder / "lbwatch.conf"
        output.write_bytes(b"#" * 40_000)
        before = sight(folder)
        assert place.unusable_reason(output) is None
        assert "No space left on device" in (place.trial_error(output) or ""), "another of that size has no room"
        assert sight(folder) == before
        output.write_bytes(b"#" * 16_000)
        assert place.trial_error(output) is None
        output.unlink()
        (folder / "filler").write_bytes(bytes(65_536))
        assert "No space left on device" in (place.trial_error(output) or ""), "not even a first one has room"


def test_a_file_that_even_root_may_not_replace_is_told(output: Path) -> None:
    """`chattr +i` keeps an operator's file as it is, and looks like any other file."""
    with immutable(output):
        before = sight(output.parent)
        assert "cannot be replaced: Operation not permitted: it is immutable" in (place.unusable_reason(output) or "")
        assert place.refusal(output) is not None
        assert sight(output.parent) == before
    with immutable(output.parent):
        assert "cannot be written: Operation not permitted" in (place.unusable_reason(output) or "")
    assert place.unusable_reason(output) is None


def test_a_file_of_another_user_s_in_a_folder_for_all_is_told() -> None:
    """In /tmp and its like whoever may write the folder may still not replace the file."""
    need()
    with tempfile.TemporaryDirectory(prefix="lbw-", dir="/tmp") as name:
        output = Path(name) / "lbwatch.conf"
        output.write_text(OLD)
        output.parent.chmod(0o1777)
        assert is_told_to_nobody(output)


def test_a_folder_of_another_user_s_is_told_with_what_to_do() -> None:
    """It is what a first `lbwatch run` without root meets."""
    need()
    with tempfile.TemporaryDirectory(prefix="lbw-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        os.seteuid(NOBODY)
        try:
            reason = place.unusable_reason(Path(name) / "lbwatch.conf") or ""
        finally:
            os.seteuid(0)
    assert reason.endswith("cannot be written: Permission denied: be its owner or root, or set another file")


def is_told_to_nobody(output: Path) -> bool:
    child = os.fork()
    if child == 0:  # what a user is cannot be undone
        os.setuid(NOBODY)
        theirs, new = place.unusable_reason(output) or "", place.unusable_reason(output.with_name("new.conf"))
        os._exit(0 if "cannot be replaced: Operation not permitted" in theirs and new is None else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_file_that_is_removed_while_it_is_tried_leaves_nothing(output: Path) -> None:
    """A folder is renamed onto it, which must not stay where the file was."""
    output.unlink()
    assert place.refusal(output) is None
    assert sight(output.parent) == {}


def test_a_file_that_is_too_long_is_none_of_ours(output: Path) -> None:
    """It would not be read, so that nothing could ever be compared with it."""
    os.truncate(output, files.MAX_BYTES + 1)
    assert "longer than" in (place.unusable_reason(output) or "")

"""What anyone may put in the place of a file, each with a victim that must stay as it is; and disks of a test's own."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from needs import need

PRECIOUS = "precious\n"

Plant = Callable[[Path, Path], None]
"""Puts something in a place; the second path is the victim's, which holds `PRECIOUS` with mode 0600."""


def a_full_folder(place: Path) -> None:
    place.mkdir()
    (place / "file").touch()


NO_FILES: dict[str, Plant] = {
    "a link to a file": lambda place, victim: place.symlink_to(victim),
    "a link to nothing": lambda place, victim: place.symlink_to(victim.with_name("new")),
    "a link to itself": lambda place, victim: place.symlink_to(place.name),
    "a link to an endless device": lambda place, victim: place.symlink_to("/dev/zero"),
    "a pipe": lambda place, victim: os.mkfifo(place),
    "a socket": lambda place, victim: os.mknod(place, stat.S_IFSOCK | 0o600),
    "a folder": lambda place, victim: a_full_folder(place),
}
"""All that is no regular file and takes no root."""

OTHER_NAMES: dict[str, Plant] = NO_FILES | {"a hard link": lambda place, victim: place.hardlink_to(victim)}


def victim_in(folder: Path) -> Path:
    victim = folder / "victim"
    victim.write_text(PRECIOUS)
    victim.chmod(0o600)
    return victim


def assert_unharmed(victim: Path) -> None:
    assert victim.read_text() == PRECIOUS
    assert victim.stat().st_mode & 0o777 == 0o600
    assert not os.path.lexists(victim.with_name("new")), "a file was made by a link"


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Have a file that even root may not replace."""
    need("chattr")
    done = subprocess.run(["chattr", "+i", str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the file system of {path} has no such thing: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


@contextmanager
def mounted(at: Path, *options: str) -> Iterator[None]:
    """Mount something for a while; on CI it must be possible, elsewhere a test that needs it is skipped."""
    done = subprocess.run(["mount", *options, str(at)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        assert not os.environ.get("CI"), done.stderr
        pytest.skip(f"mounting needs root: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


@contextmanager
def disk(folder: Path, *, size: str = "64k") -> Iterator[Path]:
    """Have a small disk, which is empty, in a new folder."""
    folder.mkdir(exist_ok=True)
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield folder

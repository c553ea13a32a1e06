"""
Folders and files for a while, of which none outlives its owner for long: what a killed one leaves the next removes.

Whoever uses one holds a lock on it, which the kernel gives up with its owner: what is not locked is nobody's.
"""

import errno
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_TRIES = 100


@contextmanager
def temporary_folder(*, prefix: str, within: Path | None = None, mode: int = 0o700) -> Iterator[Path]:
    """
    Make an empty folder, which is removed at the end, and remove those of the same kind that nobody uses any more.

    Args:
        prefix: How the names of its kind begin.
        within: Where it is made; `None`: where the system has its temporary files.
        mode: What others may do with it.

    Raises:
        OSError: It cannot be made.
    """
    parent = Path(tempfile.gettempdir()) if within is None else within
    _remove_unused(parent, prefix=prefix)
    folder, descriptor = _made_and_locked(parent, prefix=prefix, make=_make_folder)
    try:
        os.fchmod(descriptor, mode)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def temporary_file(*, prefix: str, within: Path) -> Iterator[Path]:
    """
    Make an empty file, which is removed at the end, and remove those of the same kind that nobody uses any more.

    Args:
        prefix: How the names of its kind begin.
        within: Where it is made.

    Raises:
        OSError: It cannot be made.
    """
    _remove_unused(within, prefix=prefix)
    path, descriptor = _made_and_locked(within, prefix=prefix, make=_make_file)
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


@contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """Give the path of a file that is nowhere but in memory, for as long as it is needed."""
    made = os.memfd_create("lbwatch", os.MFD_CLOEXEC)
    try:
        with open(made, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{made}"
    finally:
        os.close(made)


def _make_folder(path: Path) -> int:
    os.mkdir(path, 0o700)
    return os.open(path, _FOLDER)


def _make_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)


def _made_and_locked(parent: Path, *, prefix: str, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Return something new that is locked, and its descriptor."""
    for _ in range(_MAX_TRIES):
        path = parent / f"{prefix}{secrets.token_hex(8)}"
        # Until it is locked, another one that starts just now may take it for left behind: then there is another try.
        with suppress(FileNotFoundError):
            descriptor = make(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                os.lstat(path)
            except OSError:
                os.close(descriptor)
                raise
            return path, descriptor
    raise FileNotFoundError(errno.ENOENT, "what is made there is removed at once", str(parent))


def _remove_unused(parent: Path, *, prefix: str) -> None:
    for left in parent.glob(f"{prefix}*"):
        with suppress(OSError):
            _remove_if_unused(left)


def _remove_if_unused(left: Path) -> None:
    descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if (found := os.fstat(descriptor)).st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(left, ignore_errors=True)
        elif stat.S_ISREG(found.st_mode) and not found.st_size:  # a file of ours is empty
            left.unlink()
    finally:
        os.close(descriptor)

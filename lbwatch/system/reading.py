"""
Opens files that anyone may have put there: without waiting, only regular ones, and no more of them than a bound.

What is the user's may be reached by links, what is ours may not. Whoever reads one that is neither below /proc nor
lbwatch's own program reads it here.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CHUNK_BYTES = 1 << 20

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnusableFileError(OSError):
    """What is there is no regular file, or longer than its bound; `strerror` says which, and what to do."""

    def __init__(self, reason: str, *, path: Path) -> None:
        super().__init__(errno.EINVAL, reason, str(path))

    def __str__(self) -> str:
        return str(self.strerror)


def of_ours(path: Path, *, max_bytes: int) -> bytes:
    """
    Return what a file holds that lbwatch keeps.

    Raises:
        UnusableFileError: It is a link, no regular file, or longer than *max_bytes*.
        OSError: It is not there, or may not be read.
    """
    with opened_ours(path) as file:
        return bounded(file, path=path, max_bytes=max_bytes)


def of_user(path: Path, *, max_bytes: int, pipes: bool = False) -> bytes:
    """
    Return what a file of the user's holds, perhaps by links.

    Args:
        path: Of the file.
        max_bytes: A longer one is an error.
        pipes: Whether it may be a pipe, which is waited for: of a command that the user waits for as well.

    Raises:
        UnusableFileError: What is there is no regular file, or longer than *max_bytes*.
        OSError: It is not there, or may not be read.
    """
    with _opened(path, follow=True, pipes=pipes) as file:
        return bounded(file, path=path, max_bytes=max_bytes)


@contextmanager
def opened_ours(path: Path) -> Iterator[FileIO]:
    """Open a file that lbwatch keeps, for reading; raises as `of_ours` does."""
    require_ours(path)
    with _opened(path, follow=False) as file:
        yield file


def bounded(file: FileIO, *, path: Path, max_bytes: int) -> bytes:
    """Return the rest of an open file; raises `UnusableFileError` if it is longer than *max_bytes*."""
    require_size(os.fstat(file.fileno()), path=path, max_bytes=max_bytes)
    chunks, left = [], max_bytes + 1  # a size may be wrong, or grow meanwhile
    while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
        chunks.append(chunk)
        left -= len(chunk)
    if not left:
        raise _too_long(path, max_bytes=max_bytes)
    return b"".join(chunks)


def require_ours(path: Path) -> os.stat_result | None:
    """Return what is known of a file that lbwatch keeps, `None` if there is none, or raise as `of_ours` does."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise UnusableFileError(f"it is {_described(path, found)}, where lbwatch keeps a file: remove it", path=path)
    return found


def require_size(found: os.stat_result, *, path: Path, max_bytes: int) -> None:
    """Make sure that a file is no longer than *max_bytes*, or raise `UnusableFileError`."""
    if found.st_size > max_bytes:
        raise _too_long(path, max_bytes=max_bytes)


@contextmanager
def _opened(path: Path, *, follow: bool, pipes: bool = False) -> Iterator[FileIO]:
    # Looked at before it is opened, since a device may do something already then; and once more afterwards.
    found = os.stat(path, follow_symlinks=follow)
    _require_kind(found, path=path, pipes=pipes)
    flags = _READ & ~os.O_NONBLOCK if stat.S_ISFIFO(found.st_mode) else _READ
    with open(os.open(path, flags if follow else flags | os.O_NOFOLLOW), "rb", buffering=0) as file:
        _require_kind(os.fstat(file.fileno()), path=path, pipes=pipes)
        yield file


def _require_kind(found: os.stat_result, *, path: Path, pipes: bool) -> None:
    if not (stat.S_ISREG(found.st_mode) or (pipes and stat.S_ISFIFO(found.st_mode))):
        raise UnusableFileError(f"it is {_described(path, found)}, not a file", path=path)


def _described(path: Path, found: os.stat_result) -> str:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
    if stat.S_ISLNK(found.st_mode):
        with suppress(OSError):
            return f"{kind} to {os.readlink(path)}"
    return kind


def _too_long(path: Path, *, max_bytes: int) -> UnusableFileError:
    return UnusableFileError(f"it is longer than {max_bytes >> 10:,} KiB, the most that is read of it", path=path)

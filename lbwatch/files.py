"""
Replaces a file so that every reader, at any instant, finds the whole old or the whole new one.

Touches the disk and knows no domain word.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from lbwatch.errors import OutputError, OutputHeldError, excerpt

_MODE = 0o644
_CAREFULLY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Others may write to the folder too: a link must not lead us elsewhere, and a pipe not hold us."""

_PASSING = (errno.ENOSPC, errno.EDQUOT)  # no mistake in a setting: there will be room again
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_DELETED = "//deleted"
_OCTAL = re.compile(r"\\([0-7]{3})")


def scratch_path(path: Path) -> Path:
    """Name the file in which a replacement is prepared: beside its target, hidden, and matched by no `*.conf`."""
    return path.with_name(f".{path.name}.tmp")


def replace(path: Path, *, text: str) -> None:
    """
    Put *text* in the place of *path*, mode 0644, on disk before it returns.

    The order is the one that survives a loss of power: write, fsync, rename, fsync of the folder.

    Raises:
        OutputError: The disk is full, the folder is gone or read-only, or the path is a bind mount; the old file
            is then still whole, or, where only the last step failed, the new one is.
    """
    _replace(path, content=text.encode())


def _replace(path: Path, *, content: bytes) -> None:
    scratch = scratch_path(path)
    try:
        _write(scratch, content=content)
        os.replace(scratch, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise OutputError(path, error=error) from error


def read(path: Path) -> str | None:
    """Read *path*; `None` if it is not there or is no text, so that it counts as different from anything rendered."""
    try:
        return path.read_bytes().decode("utf-8")  # read_text would turn a \r into a \n: never equal again
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    except OSError as error:
        raise OutputError(path, error=error) from error


@contextlib.contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Translate what the disk says into the error about *path*."""
    try:
        yield
    except OSError as error:
        raise OutputError(path, error=error) from error


def backup_path(path: Path) -> Path:
    """Name the file in which the last good one is kept while it is not known whether its replacement is good."""
    return path.with_name(f".{path.name}.old")


def has_backup(path: Path) -> bool:
    """Tell whether *path* has one set aside: its replacement is still on trial."""
    return stamp(backup_path(path)) is not None


def back_up(path: Path) -> None:
    """Keep the file of now, byte for byte; an empty one stands for none. Raises `OutputError`."""
    with _told_of(path):
        try:
            old = path.read_bytes()
        except FileNotFoundError:
            old = b""
    _replace(backup_path(path), content=old)


def restore(path: Path) -> None:
    """Have what was set aside in its place again. Raises `OutputError`."""
    aside = backup_path(path)
    with _told_of(path):
        if aside.stat().st_size:
            os.replace(aside, path)
        else:
            path.unlink(missing_ok=True)
            aside.unlink()
        _sync_folder(path.parent)


def discard_backup(path: Path) -> None:
    """The replacement is good: remove what was set aside, if anything was. Raises `OutputError`."""
    with _told_of(path):
        backup_path(path).unlink(missing_ok=True)


class FileLock:
    """
    The sole right to replace a file, held by a lock on a hidden file beside it until it is closed or its process ends.

    The lock is flock(2)'s: it needs no cleaning after a crash, and holds between containers of one machine.

    Args:
        path: The file that is claimed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_name(f".{path.name}.lock")
        self._descriptor: int | None = None
        self._locked = False  # whether the file system of the descriptor has locks

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def acquire(self) -> bool:
        """
        Take the right, or make sure that it is still ours: someone may have put another folder in the place.

        Returns:
            Whether it is held; not on a file system without locks.

        Raises:
            OutputHeldError: Another process holds it.
            OutputError: The folder cannot be written.
        """
        try:
            if not self._is_held():
                self.close()
                self._descriptor = os.open(self._lock, os.O_RDONLY | os.O_CREAT | _CAREFULLY, 0o644)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._locked = True
                self._write_holder()
        except BlockingIOError as error:
            holder = self._holder()
            self.close()
            raise OutputHeldError(self._path, holder=holder) from error
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                return False
            self.close()
            raise OutputError(self._path, error=error) from error
        return self._locked

    def close(self) -> None:
        """Give the right back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor, self._locked = None, False

    def _is_held(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), self._lock.lstat())
        return False

    def _write_holder(self) -> None:
        """Leave our name for others to read; by another descriptor, since one for writing keeps a disk writable."""
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            signed = os.open(self._lock, os.O_WRONLY | os.O_TRUNC | _CAREFULLY)
            with open(signed, "w", encoding="utf-8") as file:
                os.fchmod(signed, _MODE)  # the next lbwatch may be another user's
                file.write(f"process {os.getpid()} on {socket.gethostname()}")

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            return self._lock.read_text(encoding="utf-8", errors="replace")
        return ""


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Tell a file apart from any that replaced or changed it: inode, size, time of change in nanoseconds."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def unusable_reason(path: Path) -> str | None:
    """
    Tell why *path* cannot be replaced, or `None` if it can.

    A bind-mounted single file cannot: a rename onto it fails with EBUSY, and one behind it leaves the container on
    the old inode.
    """
    try:
        return _unusable_reason(path)
    except (OSError, ValueError) as error:  # too long a name, a NUL in it, a folder that may not be entered
        return f"{excerpt(str(error))}"


def _unusable_reason(path: Path) -> str | None:
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    if path.is_dir():
        return f"{path} is a folder"
    if str(path.resolve()) in _mounts():
        return f"{path} is a mounted file, which cannot be replaced: mount its folder instead"
    probe = folder / f".{path.name}.probe"
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        probe.unlink()
    except OSError as error:
        if error.errno not in _PASSING:
            return f"the folder {folder} cannot be written: {error.strerror}"
    return None


def _write(path: Path, *, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _CAREFULLY
    with open(os.open(path, flags, _MODE), "wb") as file:
        os.fchmod(file.fileno(), _MODE)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_detached(path: Path) -> bool:
    """Tell whether *path* is a file that was mounted by itself, and removed since from where it came from."""
    return _mounts().get(str(path.resolve()), "").endswith(_DELETED)


def mountinfo() -> str:
    """Read how this process sees what is mounted; raises `OSError`."""
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")


def mount_points(text: str) -> dict[str, str]:
    """
    Map mount points to what of its file system each of them is; of two at one place the later hides the other.

    Args:
        text: See `mountinfo`; proc(5): white space and backslashes are written as octal numbers.
    """
    fields = (line.split(" ")[3:5] for line in text.splitlines())
    unescaped = ([_OCTAL.sub(lambda match: chr(int(match[1], 8)), each) for each in pair] for pair in fields)
    return {pair[1]: pair[0] for pair in unescaped if len(pair) == 2}


def _mounts() -> dict[str, str]:
    try:
        return mount_points(mountinfo())
    except OSError:
        return {}

"""
Replaces a file so that every reader, at any instant, finds the whole old or the whole new one.

Touches the disk and knows no domain word.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from lbwatch.core.errors import OutputError, excerpt
from lbwatch.system.mounts import mounted

MODE = 0o644
CAREFULLY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""For opening a file where others may write too: a link must not lead us elsewhere, and a pipe not hold us."""

_PASSING = (errno.ENOSPC, errno.EDQUOT)  # no mistake in a setting: there will be room again


def scratch_path(path: Path) -> Path:
    """Return the file in which a replacement is prepared: beside its target, hidden, and matched by no `*.conf`."""
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
    """
    Return the text of *path*; `None` if it is not there or is no text: then it differs from anything rendered.

    Raises:
        OutputError: It is there and cannot be read.
    """
    with _output_errors(path):
        try:
            return path.read_bytes().decode("utf-8")  # read_text would turn a \r into a \n: never equal again
        except (FileNotFoundError, UnicodeDecodeError):
            return None


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    """Translate an `OSError` into the `OutputError` of *path*."""
    try:
        yield
    except OSError as error:
        raise OutputError(path, error=error) from error


def backup_path(path: Path) -> Path:
    """Return the file in which the last good one is kept while it is not known whether its replacement is good."""
    return path.with_name(f".{path.name}.old")


def has_backup(path: Path) -> bool:
    """Return whether *path* has a backup: its replacement is still on trial."""
    return stamp(backup_path(path)) is not None


def backup(path: Path) -> None:
    """Keep the file of now, byte for byte, as the backup; an empty one stands for none. Raises `OutputError`."""
    with _output_errors(path):
        try:
            old = path.read_bytes()
        except FileNotFoundError:
            old = b""
    _replace(backup_path(path), content=old)


def restore(path: Path) -> None:
    """Put the backup back in its place, and where there was no file, none. Raises `OutputError`."""
    kept = backup_path(path)
    with _output_errors(path):
        if kept.stat().st_size:
            os.replace(kept, path)
        else:
            path.unlink(missing_ok=True)
            kept.unlink()
        _sync_folder(path.parent)


def discard_backup(path: Path) -> None:
    """Remove the backup, if there is one: the replacement is good. Raises `OutputError`."""
    with _output_errors(path):
        backup_path(path).unlink(missing_ok=True)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what differs once a file was replaced or changed: inode, size, time of change in ns; `None`: no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def unusable_reason(path: Path) -> str | None:
    """
    Return why *path* cannot be replaced, or `None` if it can.

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
    if str(path.resolve()) in mounted():
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
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | CAREFULLY
    with open(os.open(path, flags, MODE), "wb") as file:
        os.fchmod(file.fileno(), MODE)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""
Replaces a file so that every reader, at any instant, finds the whole old or the whole new one.

Touches the disk and knows no domain word. Others may write to the same folder: whatever they put in the place of a file
of ours is never written to, read by a link, or waited for.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from lbwatch.core.errors import OutputError
from lbwatch.system import reading

MODE = 0o644
CAREFULLY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""For opening a file where others may write too: a link must not lead us elsewhere, and a pipe not hold us."""

MAX_BYTES = 64 << 20
"""Of a file that is replaced: 100,000 servers take 8 MiB, and the text is in memory several times at once."""

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""For making a file that was not there: nothing of anybody else's is opened."""

_LEFT_BEHIND = ("tmp", "*.tmp", "*.probe")


def lock_path(path: Path) -> Path:
    """Return the file whose lock is the right to replace a file."""
    return path.with_name(f".{path.name}.lock")


def scratch_path(path: Path) -> Path:
    """Return the file in which a replacement is prepared: beside its target, hidden, and matched by no `*.conf`."""
    return path.with_name(f".{path.name}.tmp")


def unused_path(path: Path, *, suffix: str) -> Path:
    """Return a path beside a file, hidden, that nobody can have foreseen."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{suffix}")


def replace(path: Path, *, text: str, mode: int = MODE) -> None:
    """
    Put *text* in the place of *path*, mode 0644 or as given, on disk before it returns.

    The order is the one that survives a loss of power: write, fsync, rename, fsync of the folder.

    Raises:
        OutputError: The disk is full, the folder is gone or read-only, the path is a bind mount, or the text is
            longer than `MAX_BYTES`; the old file is then still whole, or, where only the last step failed, the new one
            is.
    """
    _replace(path, content=text.encode(), mode=mode)


def _replace(path: Path, *, content: bytes, mode: int = MODE, like: os.stat_result | None = None) -> None:
    if len(content) > MAX_BYTES:
        too_long = OSError(errno.EFBIG, f"the text for it is longer than {MAX_BYTES >> 20} MiB")
        raise OutputError(path, error=too_long)
    scratch = None
    try:
        scratch, descriptor = _new_scratch(path)
        _write(descriptor, content=content, mode=mode, like=like)
        os.replace(scratch, path)
        _sync_folder(path.parent)
    except OSError as error:
        if scratch is not None:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
        raise OutputError(path, error=error) from error


def _new_scratch(path: Path) -> tuple[Path, int]:
    """Make the file for a replacement, which is for nobody else yet, and return its descriptor too."""
    scratch = scratch_path(path)
    # Not opened but removed: it may be another name of a file that is precious to somebody.
    with contextlib.suppress(OSError):
        scratch.unlink(missing_ok=True)
    try:
        return scratch, os.open(scratch, NEW, 0o600)
    except FileExistsError:  # a folder, or what even root may not remove
        scratch = unused_path(path, suffix="tmp")
        return scratch, os.open(scratch, NEW, 0o600)


def remove_left_behind(path: Path) -> None:
    """Remove what those left that were killed while they prepared a replacement, or tried whether they could."""
    with contextlib.suppress(OSError):
        for suffix in _LEFT_BEHIND:
            for left in path.parent.glob(f".{_literal(path.name)}.{suffix}"):
                with contextlib.suppress(OSError):
                    left.rmdir() if left.is_dir() and not left.is_symlink() else left.unlink()


def read(path: Path) -> str | None:
    """
    Return the text of *path*; `None` if it is not there or is no text: then it differs from anything rendered.

    Raises:
        OutputError: It is there and cannot be read: it is no regular file, say, or longer than `MAX_BYTES`.
    """
    with _output_errors(path):
        try:
            # Not read as text, which would turn a \r into a \n: never equal again.
            return reading.of_ours(path, max_bytes=MAX_BYTES).decode("utf-8")
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
    try:
        return stat.S_ISREG(backup_path(path).lstat().st_mode)  # anything else is not of ours
    except OSError:
        return False


def backup(path: Path) -> None:
    """Keep the file of now, as it is, as the backup; an empty one stands for none. Raises `OutputError`."""
    kept, like = backup_path(path), None
    with _output_errors(kept):
        _clear(kept, path=path)
    with _output_errors(path):
        try:
            reading.require_ours(path)
            os.link(path, kept, follow_symlinks=False)
            return
        except FileNotFoundError:
            old = b""
        except reading.UnusableFileError:
            raise
        except OSError:  # a file system without links, or a file of somebody else's (protected_hardlinks, proc(5))
            with reading.opened_ours(path) as file:
                old, like = reading.bounded(file, path=path, max_bytes=MAX_BYTES), os.fstat(file.fileno())
    _replace(kept, content=old, like=like)


def restore(path: Path) -> None:
    """Put the backup back in its place, and where there was no file, none. Raises `OutputError`."""
    kept = backup_path(path)
    with _output_errors(path):
        if kept.lstat().st_size:
            os.replace(kept, path)
        else:
            path.unlink(missing_ok=True)
        kept.unlink(missing_ok=True)  # rename(2) leaves both where they are one file
        _sync_folder(path.parent)


def discard_backup(path: Path) -> None:
    """Remove the backup, if there is one: the replacement is good. Raises `OutputError`."""
    if has_backup(path):
        with _output_errors(backup_path(path)):
            backup_path(path).unlink(missing_ok=True)


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what differs once a file was replaced or changed: inode, size, time of change in ns; `None`: no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _clear(kept: Path, *, path: Path) -> None:
    """Have nothing in the place of what is kept beside a file; a folder, which may hold anything, is moved away."""
    try:
        kept.unlink(missing_ok=True)
    except OSError:
        if not kept.is_dir():
            raise
        os.rename(kept, unused_path(path, suffix="aside"))


def _literal(name: str) -> str:
    """Return a pattern of glob that matches a name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _write(descriptor: int, *, content: bytes, mode: int, like: os.stat_result | None) -> None:
    """Write a file that was just made, and end with it; *like*: whose owner and mode it gets, else ours and *mode*."""
    with open(descriptor, "wb") as file:
        if like is not None:
            with contextlib.suppress(OSError):  # only root may; without it others see less, never more
                os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, mode if like is None else stat.S_IMODE(like.st_mode) & 0o777)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

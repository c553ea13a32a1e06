"""Knows what files hold by a digest, and reads none again that is the same as before."""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lbwatch.core.errors import excerpt
from lbwatch.system import reading

UNREADABLE = "unreadable:"
"""How the digest begins of a file that nginx may read and lbwatch not: it is one of size, times and inode."""

_SURE_NS = 2_000_000_000
"""A file that changed less than so long ago is read again: another change may leave the very same times."""

_Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFile:
    """
    A file at one time.

    Attributes:
        digest: Of what it holds; `None`: it cannot be used.
        error: Why not, in words.
        is_readable: Whether lbwatch may read it.
    """

    digest: str | None = None
    error: str | None = None
    is_readable: bool = True


class Contents:
    """What files held when they were looked at last."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Stamp, SeenFile]] = {}

    def seen(self, paths: Mapping[str, int], *, step: Callable[[], None] = lambda: None) -> dict[str, SeenFile]:
        """
        Return what each file is now, without those that are not there.

        Args:
            paths: Most bytes of each.
            step: Called at each of them.
        """
        now = time.time_ns()
        known, found = self._known, {}
        self._known = {}
        for path, max_bytes in paths.items():
            step()
            try:
                stamp = _stamp(os.stat(path))
            except OSError as error:
                if (seen := _missing(path, error)) is not None:
                    found[path] = seen
                continue
            before = known.get(path)
            found[path] = before[1] if before and before[0] == stamp else _read(path, stamp, max_bytes=max_bytes)
            if _is_sure(stamp, now=now):
                self._known[path] = stamp, found[path]
        return found


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_sure(stamp: _Stamp, *, now: int) -> bool:
    return all(abs(now - each) > _SURE_NS for each in stamp[-2:])


def _missing(path: str, error: OSError) -> SeenFile | None:
    if isinstance(error, PermissionError):  # a link into a folder that is closed to lbwatch, as certbot's own are
        with suppress(OSError):
            return _unreadable(_stamp(os.lstat(path)))
    if not isinstance(error, FileNotFoundError):
        return SeenFile(error=_words(error))
    with suppress(OSError):
        return SeenFile(error=f"it is a link to {excerpt(os.readlink(path))}, and nothing is there")
    return None


def _read(path: str, stamp: _Stamp, *, max_bytes: int) -> SeenFile:
    try:
        return SeenFile(digest=digest_of(reading.of_user(Path(path), max_bytes=max_bytes)))
    except PermissionError:
        return _unreadable(stamp)
    except OSError as error:
        return SeenFile(error=_words(error))


def _unreadable(stamp: _Stamp) -> SeenFile:
    # nginx may well read it: as root, or in a container of its own.
    return SeenFile(digest=UNREADABLE + digest_of(repr(stamp).encode()), is_readable=False)


def digest_of(content: bytes) -> str:
    """Return the digest of what a file holds."""
    return hashlib.sha256(content).hexdigest()


def _words(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "its links lead in a circle"
    return excerpt(str(error.strerror or error))

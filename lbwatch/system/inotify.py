"""
The kernel's inotify, as inotify(7) has it: who changed what in which folder, without looking.

Two calls and one layout of bytes, which are the kernel's promise. The libraries for it look for the C library by
running `ldconfig` and a compiler, which a slim image lacks and a daemon should not start.
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF = 0x400, 0x800
ONLYDIR = 0x0100_0000

FOLDER_CHANGES = (
    MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF | ONLYDIR
)
"""All that may make a file of a folder another one; to read one is none of it."""

OVERFLOW = -1
"""The watch of an event that says that events were lost."""

_READ_BYTES = 1 << 16
_HEAD = struct.Struct("iIII")  # struct inotify_event, whose name follows


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEvent:
    """
    Something changed.

    Attributes:
        watch: Of the folder, as `Inotify.add` returned it, or `OVERFLOW`.
        name: What in it; empty: the folder itself.
    """

    watch: int
    name: str


class Inotify:
    """
    Watches folders; any thread may add and remove some.

    Raises:
        OSError: There are too many of its kind (`fs.inotify.max_user_instances`).
    """

    def __init__(self) -> None:
        self._descriptor = _checked(_library().inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))

    def fileno(self) -> int:
        """Return its file descriptor, which can be read once there are events."""
        return self._descriptor

    def add(self, folder: str) -> int:
        """
        Watch a folder, and return the number of the watch: of a folder that is watched already the one that it has.

        Raises:
            OSError: It is no folder that may be read, or there are too many watches (ENOSPC).
        """
        return _checked(_library().inotify_add_watch(self._descriptor, os.fsencode(folder), FOLDER_CHANGES))

    def remove(self, watch: int) -> None:
        """End a watch; raises `OSError` if its folder is gone, which ended it."""
        _checked(_library().inotify_rm_watch(self._descriptor, watch))

    def events(self) -> Iterator[FileEvent]:
        """Return what has come, without waiting; there may be more."""
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, _, _, size = _HEAD.unpack_from(data, at)
            at += _HEAD.size + size
            yield FileEvent(watch=watch, name=os.fsdecode(data[at - size : at].rstrip(b"\0")))

    def close(self) -> None:
        """End all watches."""
        os.close(self._descriptor)


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
    return library


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer

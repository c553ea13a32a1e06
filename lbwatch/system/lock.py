"""The sole right to write a file, as a lock on a hidden file beside it."""

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import Self

from lbwatch.core.errors import OutputError, OutputHeldError
from lbwatch.system import reading
from lbwatch.system.files import CAREFULLY, MODE, lock_path
from lbwatch.system.place import require_single

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_HOLDER_BYTES = 256
"""Of the name that a holder leaves: "process 4194304 on " and a host's name of 64 bytes (hostname(7))."""


class FileLock:
    """
    The sole right to replace a file, held by a lock on a hidden file beside it until it is closed or its process ends.

    The lock is flock(2)'s: it needs no cleaning after a crash, and holds between containers of one machine.

    Args:
        path: The file that is locked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = lock_path(path)
        self._descriptor: int | None = None
        self._locked = False  # whether the file system of the descriptor has locks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def acquire(self) -> bool:
        """
        Return whether the lock is held, taken now or before; it is not on a file system without locks.

        Raises:
            OutputHeldError: Another process holds it.
            OutputError: The folder cannot be written, or what lies in the lock's place is not ours to write to.
        """
        # Someone may have put another folder in the place: ours is then the lock of a file that nobody reads.
        try:
            if not self._is_held():
                self.close()
                self._descriptor = self._opened()
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._locked = True
                self._write_holder()
        except BlockingIOError as error:
            holder = self._holder()
            self.close()
            raise OutputHeldError(self._path, holder=holder) from error
        except reading.UnusableFileError as error:
            self.close()
            raise OutputError(self._lock, error=error) from error
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                return False
            self.close()
            raise OutputError(self._path, error=error) from error
        return self._locked

    def close(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor, self._locked = None, False

    def _opened(self) -> int:
        """Open the lock's file, and make it if there is none; what may be somebody else's file is refused."""
        require_single(reading.require_ours(self._lock), path=self._lock)
        descriptor = os.open(self._lock, os.O_RDONLY | os.O_CREAT | CAREFULLY, MODE)
        try:
            self._require_still(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _require_still(self, descriptor: int) -> None:
        """Make sure that what was opened lies in the lock's place, and nowhere else; raises `OSError`."""
        found = reading.require_ours(self._lock)
        require_single(found, path=self._lock)
        if found is None or not os.path.samestat(found, os.fstat(descriptor)):
            raise OSError(errno.ESTALE, "the lock beside it was replaced just now")

    def _is_held(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), self._lock.lstat())
        return False

    def _write_holder(self) -> None:
        """Write who holds the lock, for others to read."""
        # By another descriptor: one for writing that stays open keeps a disk from being made read-only.
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            descriptor = os.open(self._lock, os.O_WRONLY | CAREFULLY)
            with open(descriptor, "w", encoding="utf-8") as file:
                if not self._is_held_by(descriptor):  # another file was put in its place just now
                    return
                os.ftruncate(descriptor, 0)
                os.fchmod(descriptor, MODE)  # the next lbwatch may be another user's
                file.write(f"process {os.getpid()} on {socket.gethostname()}")

    def _is_held_by(self, descriptor: int) -> bool:
        assert self._descriptor is not None
        return os.path.samestat(os.fstat(self._descriptor), os.fstat(descriptor))

    def _holder(self) -> str:
        assert self._descriptor is not None
        with contextlib.suppress(OSError):
            return os.pread(self._descriptor, _HOLDER_BYTES, 0).decode(errors="replace")
        return ""

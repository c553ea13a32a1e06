"""
What was verified last, kept for the next start of lbwatch: where it still stands no reload is needed.

A small file that may be lost at any time, which costs one reload. It is believed only as far as it is proof: the same
nginx process, of the same boot, and the same file, untouched since nginx was seen to run it.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import msgspec

from lbwatch.balancers.nginx.process import Process
from lbwatch.core.errors import ThreadError
from lbwatch.system import reading
from lbwatch.system.files import CAREFULLY, MODE

FILE = "verified.json"

TIMEOUT_S = 1.0
"""How long it is waited for at a start; without it nginx is reloaded."""

MAX_BYTES = 4096
"""Of the file; ours has some 400."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


class _Verified(msgspec.Struct, frozen=True):
    """
    What the file holds.

    Attributes:
        nginx: Which one it was, see `_identity`.
        output: Paths of the files that it reads, a line each.
        stamp: Device, inode, size, time of modification and of change in ns, of one after the other.
        digest: Of their text, SHA-256.
    """

    nginx: str
    output: str
    stamp: tuple[int, ...]
    digest: str


class Evidence:
    """
    The kept proof; whoever keeps or drops it does not wait for that.

    Args:
        path: Where it is kept; `None`: nowhere.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._writing: asyncio.Future[None] | None = None
        self._next: Callable[[], None] | None = None  # once that is done: of several only the latest

    def keep(self, text: str, *, running: object, outputs: tuple[Path, ...]) -> None:
        """Keep, if that is possible, that this nginx was verified to run *outputs* as they are now, with *text*."""
        stamp = _stamp(outputs)
        self._begin(lambda: self._write(_verified(text, running=running, outputs=outputs, stamp=stamp)))

    def drop(self) -> None:
        """Forget it: from here on nginx may run something else."""
        self._begin(lambda: self._write(None))

    async def holds(self, text: str, *, running: object, outputs: tuple[Path, ...]) -> bool:
        """Return whether this nginx is known to run *outputs* as they are now, with this *text*."""
        with suppress(TimeoutError, ThreadError):
            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.to_thread(self._holds, text, running=running, outputs=outputs)
        return False

    def _begin(self, step: Callable[[], None] | None) -> None:
        # One at a time: a disk that hangs must take one thread, and not one at each change.
        self._next = step
        if self._path is None or step is None or not (self._writing is None or self._writing.done()):
            return
        self._next = None
        with suppress(ThreadError):
            self._writing = asyncio.get_running_loop().run_in_executor(None, step)
            self._writing.add_done_callback(lambda _: self._begin(self._next))

    def _holds(self, text: str, *, running: object, outputs: tuple[Path, ...]) -> bool:
        with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            kept = self._read()
            return kept is not None and kept == _verified(text, running=running, outputs=outputs, stamp=_stamp(outputs))
        return False

    def _write(self, verified: _Verified | None) -> None:
        assert self._path is not None
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            if verified is None:
                return
            scratch = self._path.with_name(f".{FILE}.tmp")
            scratch.unlink(missing_ok=True)
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | CAREFULLY, MODE), "wb") as file:
                file.write(msgspec.json.encode(verified))
            os.replace(scratch, self._path)  # not synced: it does not hold beyond this boot

    def _read(self) -> _Verified | None:
        if self._path is None:
            return None
        return msgspec.json.decode(reading.of_ours(self._path, max_bytes=MAX_BYTES), type=_Verified)


def _stamp(outputs: tuple[Path, ...]) -> tuple[int, ...]:
    """Return what differs once a file was replaced, changed or put back; empty where one cannot be seen."""
    try:
        found = [each.stat() for each in outputs]
    except OSError:
        return ()
    # The time of change is what a rename or a link of the very same file moves on.
    stamps = ((now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns) for now in found)
    return tuple(chain.from_iterable(stamps))


def _verified(text: str, *, running: object, outputs: tuple[Path, ...], stamp: tuple[int, ...]) -> _Verified | None:
    """Return what there is to keep, or to compare with it; `None` where nginx cannot be told from a later one."""
    with suppress(OSError):
        nginx = _identity(running)
        if nginx is not None and stamp:
            return _Verified(
                nginx=f"{_BOOT.read_text().strip()} {nginx}",
                output="\n".join(str(each.resolve()) for each in outputs),
                stamp=stamp,
                digest=hashlib.sha256(text.encode()).hexdigest(),
            )
    return None


def _identity(running: object) -> str | None:
    """Return which nginx it is that runs, as a `Control` knows it; `None` where only a command's word stands for it."""
    match running:
        case Process(pid=pid, started=started):  # a pid means something in its own namespace alone
            return f"{os.readlink(_NAMESPACE)} {pid} {started}"
        case (str(container), int(started_ns)):
            return f"container {container} {started_ns}"
        case _:
            return None

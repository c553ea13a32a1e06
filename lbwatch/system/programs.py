"""Runs a program to its end, finds one by its name, and cuts a command into words."""

import asyncio
import os
import shlex
import shutil
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from typing import Self

MAX_PRINTED = 16 << 20
"""Bytes of a program's output that are kept: nginx's dump of all that a user configured is the longest."""

CUT = "\n...\n"
"""What stands where the rest was."""

_ABSENT = "No such file or directory: mend its path"

AFTERWARDS_S = 0.2
"""How long output is waited for after a program's end: another one that it started may never end, and has the pipe."""

_KILL_S = 1.0  # a process in a system call that does not end outlives its SIGKILL


async def run_program(command: tuple[str, ...], *, timeout_s: float, max_bytes: int = MAX_PRINTED) -> tuple[int, str]:
    """
    Return the exit code of a program and what it printed on both outputs, once it has ended.

    What it leaves running in the background goes on, unless it has to be killed itself.

    Args:
        command: Its words.
        timeout_s: How long it may take.
        max_bytes: So much of its output is kept: the first half, and the last half of what comes after that.

    Raises:
        TimeoutError: It took longer than *timeout_s*; it was killed, and all that it started with it.
        OSError: It cannot be started.
    """
    with _pipe() as (ours, theirs):
        # A session of its own: a Ctrl-C that is meant for us does not end it, and what it starts can be killed with it.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True
        )
        theirs.close()
        with _Printed(ours, max_bytes=max_bytes) as printed:
            try:
                async with asyncio.timeout(timeout_s):
                    code = await process.wait()
            finally:
                if process.returncode is None:
                    await _kill(process)
            with suppress(TimeoutError):
                async with asyncio.timeout(AFTERWARDS_S):
                    await printed.ended.wait()
            return code, printed.text()


class _Printed:
    """
    What comes from a pipe, as far as it is kept.

    Not by asyncio's own reader: with that a program counts as ended only when nobody has its output any more.

    Attributes:
        ended: Set once nobody can write any more.
    """

    def __init__(self, pipe: FileIO, *, max_bytes: int) -> None:
        self.ended = asyncio.Event()
        self._pipe = pipe
        self._half = max_bytes // 2
        self._loop = asyncio.get_running_loop()
        self._first = bytearray()
        self._last = bytearray()
        self._is_cut = False

    def __enter__(self) -> Self:
        self._loop.add_reader(self._pipe, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._pipe)

    def text(self) -> str:
        """Return it; bytes that are no UTF-8 are replaced."""
        between = CUT.encode() if self._is_cut else b""
        return (self._first + between + self._last).decode(errors="replace")

    def _read(self) -> None:
        if (part := self._pipe.read(65536)) is None:  # there is nothing yet
            return
        if not part:
            self._loop.remove_reader(self._pipe)
            self.ended.set()
        room = self._half - len(self._first)
        self._first += part[:room]
        self._last += part[room:]
        if len(self._last) > self._half:
            self._is_cut = True
            del self._last[: -self._half]


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Make a pipe: our end, which never blocks, and the program's; both are closed at the end."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    with open(ours, "rb", buffering=0) as reads, open(theirs, "wb", buffering=0) as writes:
        yield reads, writes


async def _kill(process: Process) -> None:
    """Kill a program and all of its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_KILL_S):
            await process.wait()


def find_program(name: str) -> str | None:
    """
    Return the path of a program, looked for also where Debian keeps nginx out of an ordinary user's PATH.

    Returns:
        `None` if it is nowhere; a path that is there but cannot be run is returned, so that running it says why.
    """
    if "/" in name:
        return name if os.path.exists(name) else None
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def unusable_reason(name: str) -> str | None:
    """Return why a program that the user named cannot be started by that name, and what to do; `None`: it can."""
    if shutil.which(name) is not None:
        return None
    if "/" not in name:
        return f"there is no program {name} here: mend its name, or give its whole path"
    return f"{name}: it may not be run: make it executable" if os.path.exists(name) else f"{name}: {_ABSENT}"


def start_error(name: str, error: OSError) -> str:
    """Return in words why a program that the user named was not started."""
    return unusable_reason(name) or f"{name}: {error.strerror or error}"


def split_command(text: str) -> tuple[str, ...]:
    """Return the words of a command, cut as a shell would; raises `ValueError` for an open quote or no word."""
    words = tuple(shlex.split(text))
    if not words:
        raise ValueError("the command is empty")
    return words

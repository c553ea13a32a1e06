"""
A program that runs beside lbwatch for long and never outlives it, however lbwatch ends.

A killed lbwatch cannot end anything: it is the kernel that then does (prctl(2), PR_SET_PDEATHSIG).
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from contextlib import suppress
from io import FileIO
from typing import Self

MAX_LINES = 40
"""Of what it printed last."""

MAX_LINE_BYTES = 512
END_S = 2.0
"""How long it may take to end by itself, before it is killed."""

_LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
"""
Asks the kernel for SIGTERM at its parent's end, and becomes the program.

Not by `preexec_fn`: between fork and exec nothing of Python may run where there are threads.
"""


class Child:
    """A program that was started, and what it prints on standard error; see `start`."""

    def __init__(self, process: Process, *, pipe: FileIO) -> None:
        self._process = process
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._lines: deque[tuple[float, str]] = deque(maxlen=MAX_LINES)  # and when they were read
        self._rest = b""  # of a line that has no end yet
        self._loop.add_reader(pipe, self._read)

    @classmethod
    async def start(cls, *command: str) -> Self:
        """
        Start a program; must be called by the thread that lives as long as lbwatch, since the kernel looks at that.

        Args:
            command: Its words.

        Raises:
            OSError: No program can be started.
        """
        pipe, theirs = _pipe()
        try:
            # A session of its own: a Ctrl-C that is meant for us does not end it before its users have.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command),
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=theirs,
                start_new_session=True,
            )
        except BaseException:
            pipe.close()
            raise
        finally:
            os.close(theirs)
        return cls(process, pipe=pipe)

    @property
    def pid(self) -> int:
        """Return its process."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Return whether it has not ended."""
        return self._process.returncode is None

    def lines(self, *, since: float = 0.0) -> list[str]:
        """Return the latest lines that it printed, of those that came since that loop time."""
        self._read()  # what it said of a connection may come with that one's end
        return [line for at, line in self._lines if at >= since]

    async def ended(self) -> int:
        """Wait for its end, and return its exit code."""
        return await self._process.wait()

    async def end(self) -> None:
        """End it, and all that it started, if need be by force."""
        try:
            self._send(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await self._process.wait()
        finally:
            self._send(signal.SIGKILL)
            self._read()
            self._close()
        await self._process.wait()

    def _send(self, number: int) -> None:
        if self.runs:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _read(self) -> None:
        if self._pipe.closed:
            return
        part = self._pipe.read(65536)
        if part is None:  # there is nothing yet
            return
        if not part:
            self._close()
        *lines, rest = (self._rest + (part or b"\n")).split(b"\n")
        self._rest = rest[:MAX_LINE_BYTES]
        for line in lines:
            if text := line[:MAX_LINE_BYTES].decode(errors="replace").strip():
                self._lines.append((self._loop.time(), text))

    def _close(self) -> None:
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe)
            self._pipe.close()


def _pipe() -> tuple[FileIO, int]:
    """Make a pipe: our end, which never blocks, and the program's."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    return os.fdopen(ours, "rb", buffering=0), theirs

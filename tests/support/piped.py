"""An lbwatch whose standard error is a pipe, as under a supervisor, which may stop reading it for a while."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from daemon import Lbwatch

PIPE_BYTES = 4096


class PipedLbwatch(Lbwatch):
    """
    Whole lines go from the pipe to the log; the half of one that a killed lbwatch left is nobody's.

    Attributes:
        read: Whether the pipe is read.
    """

    def __init__(self, *flags: str, folder: Path, namespace: str | None = None) -> None:
        super().__init__(*flags, folder=folder, namespace=namespace)
        self.read = Event()
        self.read.set()
        self._pump: Thread | None = None

    @contextmanager
    def opened_log(self) -> Iterator[int]:
        """Give the pipe's end that lbwatch writes to."""
        if self._pump is not None:
            self._pump.join()  # what the last one wrote comes first
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._pump = Thread(target=self._copy, args=(reading,), name="log pump", daemon=True)
        self._pump.start()
        try:
            yield writing
        finally:
            os.close(writing)

    @contextmanager
    def unread(self) -> Iterator[None]:
        """Have nobody read the pipe meanwhile."""
        self.read.clear()
        try:
            yield
        finally:
            self.read.set()

    def close(self) -> None:
        """End it, and whoever reads from it."""
        self.read.set()
        super().close()

    def _copy(self, reading: int) -> None:
        rest = b""
        with open(reading, "rb", buffering=0) as pipe, self.log.open("ab", buffering=0) as log:
            while self.read.wait() and (part := pipe.read(PIPE_BYTES)):
                *whole, rest = (rest + part).split(b"\n")
                with contextlib.suppress(OSError):
                    log.write(b"".join(line + b"\n" for line in whole))

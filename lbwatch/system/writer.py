"""
Lines for a file descriptor that may take none: a pipe that nobody reads, a terminal after Ctrl-S, a hanging disk.

A thread writes, since only that waits for nothing whatever it writes to: that a write would not block cannot be asked
of every kind of file, and O_NONBLOCK would be set for all processes that share this one.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

MAX_BYTES = 1 << 20
"""Of lines that wait; some 5,000, which a shell that is slow for a second may let pile up."""

_POLL_MS = 200


class Writer:
    """
    Takes lines at once, and writes them in their order when it can; what does not fit is dropped and counted.

    Args:
        descriptor: Where they go.
        on_dropped: Called with the number of lines that were dropped since the call before, once others are written
            again; by the thread that writes.

    Attributes:
        dropped: How many lines were dropped so far.
    """

    def __init__(self, descriptor: int, *, on_dropped: Callable[[int], None]) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._on_dropped = on_dropped
        self._reported = 0  # of those dropped
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0  # also of the line that is being written
        self._torn = False  # whether the latest line was cut by an error
        self._changed = threading.Condition()  # of an RLock: a signal's handler may write while a line is written
        self._thread: threading.Thread | None = None

    def write(self, text: str) -> None:
        """Have a text written; it has whole lines."""
        line = text.encode(errors="backslashreplace")
        with self._changed:
            if self._waiting_bytes + len(line) > MAX_BYTES:
                self.dropped += 1
            else:
                self._lines.append(line)
                self._waiting_bytes += len(line)
                self._changed.notify_all()
            if self._thread is None:
                self._begin()

    def flush(self, *, timeout_s: float) -> None:
        """Wait until all is written, but not for long."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._waiting_bytes and self._thread is not None and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(left_s)

    def _begin(self) -> None:
        """Start the thread; where none can be had the next line tries again, and those until then wait."""
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return
        self._thread = thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines:
                    self._changed.wait()
                line = self._lines.popleft()
            is_written = self._put(line)
            with self._changed:
                self._waiting_bytes -= len(line)
                self.dropped += not is_written
                missing = self.dropped - self._reported if is_written and not self._lines else 0
                self._reported += missing
                self._changed.notify_all()
            if missing:
                self._on_dropped(missing)

    def _put(self, line: bytes) -> bool:
        """Return whether a line was written; a full disk, or a pipe that nobody reads any more, takes none."""
        rest = b"\n" + line if self._torn else line
        self._torn = False
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another process that has this very file made it so
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll(_POLL_MS)
            except OSError:
                self._torn = 0 < len(rest) < len(line)
                return False
        return True

"""A watcher of the output file: what it held at each instant."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

WEB = {"lbwatch.upstream": "web"}


API = {"lbwatch.upstream": "api"}


RENEW = "# whatever an operator had there\n"


class Watcher:
    """
    Looks at a file every few milliseconds and keeps each different sight of it.

    Attributes:
        sights: Content, inode and time of change; the first is how it was at the beginning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sights = [self._look()]
        self.looks = 0
        self._over = Event()
        self._thread = Thread(target=self._watch, name="watcher")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look a last time."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self._take()
        self._take()

    def _take(self) -> None:
        self.looks += 1
        if (sight := self._look()) != self.sights[-1]:
            self.sights.append(sight)

    def _look(self) -> tuple[bytes, int, int] | None:
        try:
            with self.path.open("rb") as file:  # of one file, also when it is replaced meanwhile
                status = os.fstat(file.fileno())
                return file.read(), status.st_ino, status.st_mtime_ns
        except FileNotFoundError:
            return None


@contextmanager
def watched(path: Path) -> Iterator[Watcher]:
    """Watch a file meanwhile."""
    watcher = Watcher(path)
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Fail if a file was touched at any time in between: content, inode, time of change."""
    with watched(path) as watcher:
        yield
    assert watcher.looks > 0
    assert len(watcher.sights) == 1, f"{path} was touched: {watcher.sights}"

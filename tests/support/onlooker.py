"""Who looks at the output all the time, while anything happens: it must be whole, and nobody's server may be lost."""

import os
import stat
from pathlib import Path
from threading import Event, Thread

from oracle import file_blocks

Line = tuple[str, str]
"""An upstream's name and one line of its block."""


class Onlooker(Thread):
    """
    Looks at the file every few milliseconds: it must always be whole, and have the lines of whoever is left alone.

    Attributes:
        guard: The lines that must be there; `None`: the file may be anything. Replaced as a whole.
        found: What was wrong, in words.
    """

    def __init__(self, path: Path, *, copy: Path) -> None:
        super().__init__(name="watch")
        self.guard: frozenset[Line] | None = frozenset()
        self.found: list[str] = []
        self.over = Event()
        self._path, self._copy = path, copy
        self._seen: tuple[int, int, int] | None = None

    def run(self) -> None:
        """Look until it is over."""
        while not self.over.wait(0.004):
            self._look()

    def _look(self) -> None:
        before = self.guard
        try:
            seen, data = _sight(self._path)
        except FileNotFoundError:
            seen, data = None, b""
        after = self.guard  # who was touched since is excused
        if seen == self._seen or before is None or after is None:
            return
        self._seen = seen
        try:
            assert data.endswith(b"\n"), "it does not end with a line's end"
            self._copy.write_bytes(data)
            lines = lines_of(self._copy)
        except AssertionError as error:
            self.found.append(f"the file is not whole: {error}: {data!r}")
        else:
            gone = (before & after) - lines
            self.found += [f"{line} was left alone and is gone; the file: {sorted(lines)}" for line in gone]


def _sight(path: Path) -> tuple[tuple[int, int, int], bytes]:
    """Give what a file is and holds; whatever else lies there is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise FileNotFoundError(path) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    with open(descriptor, "rb") as file:
        return (status.st_ino, status.st_size, status.st_mtime_ns), file.read()


def lines_of(path: Path) -> set[Line]:
    """Return all lines of a rendered file."""
    return {(name, line) for name, block in file_blocks(path) for line in block}

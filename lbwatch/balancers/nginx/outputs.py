"""
The files that nginx reads of us: one for its `http {}`, and perhaps one for its `stream {}`.

Whoever renders, tests and compares knows one text; only at the edges it is taken apart. The two files are replaced
together and taken back together: while the first has a backup, both are on trial.
"""

from contextlib import suppress
from pathlib import Path
from typing import Protocol

from lbwatch.core.errors import OutputError
from lbwatch.system import files

SEPARATOR = "# lbwatch: all below is for stream {}, in a file of its own\n"
"""The line between the two parts of a text, which is in none of the files."""


def joined(http: str, stream: str) -> str:
    """
    Return both parts as one text.

    Raises:
        ValueError: One of them has the line that separates them, from a label's text in a template of the user's, say.
    """
    if SEPARATOR in http or SEPARATOR in stream:
        raise ValueError(f"the text has lbwatch's own line {SEPARATOR.strip()!r}")
    return f"{http}{SEPARATOR}{stream}"


def split(text: str) -> tuple[str, str | None]:
    """Return the parts of a text; the second is `None` where it is for `http {}` alone."""
    http, separator, stream = text.partition(SEPARATOR)
    return http, stream if separator else None


def first_stream_line(text: str) -> int:
    """Return how many lines of a text stand before its second part."""
    http, stream = split(text)
    return 0 if stream is None else http.count("\n") + 1


class Lock(Protocol):
    """The right to replace files."""

    def acquire(self) -> bool:
        """See `FileLock`."""


class Locks:
    """
    The right to replace several files, each of which has its lock.

    Args:
        locks: Of each.
    """

    def __init__(self, *locks: Lock) -> None:
        self._locks = locks

    def acquire(self) -> bool:
        """Return whether all of them are held; raises as `FileLock` does."""
        held = [each.acquire() for each in self._locks]
        return all(held)


class Outputs:
    """
    The files, as one.

    Args:
        http: For `http {}`.
        stream: For `stream {}`; `None`: there is none, and a text is for the first alone.
    """

    def __init__(self, http: Path, *, stream: Path | None = None) -> None:
        self.http = http
        self.stream = stream

    def read(self) -> str | None:
        """Return their text; `None` if there is no first one. Raises `OutputError`."""
        text = files.read(self.http)
        if text is None or self.stream is None:
            return text
        return f"{text}{SEPARATOR}{files.read(self.stream) or ''}"

    def stamp(self) -> object:
        """Return what differs once one of them was replaced or changed; `None`: there is no first one."""
        stamp = files.stamp(self.http)
        return stamp if stamp is None or self.stream is None else (stamp, files.stamp(self.stream))

    def replace(self, text: str) -> None:
        """Put a text in their place, the first one first. Raises `OutputError`: not all of them may hold it then."""
        for path, part in self.parts(text):
            if self.stream is None or not _holds(path, part):
                files.replace(path, text=part)

    def changes_both(self, text: str) -> bool:
        """Return whether a text is another one in both: whoever is killed in between leaves one of each."""
        return self.stream is not None and not any(_holds(path, part) for path, part in self.parts(text))

    def has_backup(self) -> bool:
        """Return whether there is a backup of them: what they hold is on trial."""
        return files.has_backup(self.http)

    def backup(self) -> None:
        """Keep them as they are. Raises `OutputError`."""
        # That of the first one is made last and goes first: it says that there is one of both.
        if self.stream is not None:
            files.backup(self.stream)
        files.backup(self.http)

    def restore(self) -> None:
        """Put the backup back in their place, as far as that was not done yet. Raises `OutputError`."""
        if self.stream is not None and files.has_backup(self.stream):
            files.restore(self.stream)
        files.restore(self.http)

    def discard_backup(self) -> None:
        """Remove the backup, if there is one: what they hold is good. Raises `OutputError`."""
        files.discard_backup(self.http)
        if self.stream is not None:
            files.discard_backup(self.stream)

    def remove_left_behind(self) -> None:
        """Remove what those left that were killed: see `files`, and a backup of the second that nothing is tried by."""
        for path in self.paths:
            files.remove_left_behind(path)
        if self.stream is not None and not self.has_backup():
            with suppress(OutputError):
                files.discard_backup(self.stream)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the path of each."""
        return (self.http,) if self.stream is None else (self.http, self.stream)

    def parts(self, text: str) -> tuple[tuple[Path, str], ...]:
        """Return what each of them should hold, with its path."""
        if self.stream is None:
            return ((self.http, text),)
        http, stream = split(text)
        return (self.http, http), (self.stream, stream or "")


def _holds(path: Path, text: str) -> bool:
    with suppress(OutputError):
        return files.read(path) == text
    return False

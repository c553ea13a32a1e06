"""Watches folders for names, whatever becomes of the folders; where that cannot be done it says so once."""

import errno
from collections.abc import Mapping
from contextlib import suppress

import structlog

from lbwatch.system.inotify import Inotify

MAX_FOLDERS = 4096
"""For one place: a link into a folder of its own for each of 1,000 certificates, with the folders of its target."""

_log = structlog.get_logger()


class Watch:
    """
    Watches the folders of one place.

    Args:
        place: Whose, for the log.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._inotify: Inotify | None = None
        self._names: dict[int, frozenset[str] | None] = {}  # by watch, `None`: all names matter
        self._limited = False

    def open(self) -> None:
        """Have it begin; again is no harm."""
        if self._inotify is not None:
            return
        try:
            self._inotify = Inotify()
        except OSError as error:
            self._report(error)

    def fileno(self) -> int | None:
        """Return what can be read once something changed; `None`: nobody tells."""
        return None if self._inotify is None else self._inotify.fileno()

    def update(self, watched: Mapping[str, frozenset[str] | None]) -> bool:
        """
        Watch these folders and no others, and return whether one of them was not watched yet.

        Asks the kernel for each folder anew, since another one may be there by its name.
        """
        if (inotify := self._inotify) is None:
            return False
        names: dict[int, frozenset[str] | None] = {}
        for count, (folder, wanted) in enumerate(watched.items()):
            if count == MAX_FOLDERS:
                self._report(OSError(errno.ENOSPC, f"more than {MAX_FOLDERS:,} folders"))
                break
            try:
                watch = inotify.add(folder)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    self._report(error)
                continue  # it is gone, or closed: the folder above it is watched, too
            names[watch] = _both(names[watch], wanted) if watch in names else wanted
        before, self._names = self._names, names
        for watch in before.keys() - names.keys():
            with suppress(OSError):
                inotify.remove(watch)
        return not names.keys() <= before.keys()

    def heard(self) -> bool:
        """Return whether something that matters changed, and forget it."""
        events = () if self._inotify is None else tuple(self._inotify.events())
        # A watch that is not known is `OVERFLOW`, which may have been anything, or one that is just being added.
        return any(
            not event.name or (names := self._names.get(event.watch)) is None or event.name in names for event in events
        )

    def close(self) -> None:
        """End it."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _report(self, error: OSError) -> None:
        if not self._limited:
            self._limited = True
            _log.warning("files.not_watched", place=self._place, error=str(error.strerror))


def _both(first: frozenset[str] | None, second: frozenset[str] | None) -> frozenset[str] | None:
    return None if first is None or second is None else first | second

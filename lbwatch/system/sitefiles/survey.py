"""
Finds the files that there are to be read, and the folders in which they may change.

Names are taken as sites ask for them; of others nothing is known, so that an editor's copies and hidden files count for
nothing.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from lbwatch.core.errors import excerpt
from lbwatch.system.sitefiles.links import walk

MAX_FILES = 20_000
"""In one folder; four files each of 5,000 hosts. A folder with more is most likely the wrong one."""

MAX_CERTIFICATE_BYTES = 64 << 10
"""Of a certificate with its chain, or of a key: a chain of ten takes 20 KiB."""

MAX_LIST_BYTES = 4 << 20
"""Of what may have many entries: passwords, authorities, revocation lists, snippets."""

_NAME = re.compile(r"[A-Za-z0-9_*\[-][A-Za-z0-9_*.:\[\]-]{0,254}")
_LISTS = (".ca.crt", ".crl.pem")
_PAIRS = (".crt", ".key", ".chain.pem", ".dhparam.pem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """
    What there is at one time.

    Attributes:
        paths: Of the files, each with the most bytes that are read of it.
        watched: Folders to be watched, each with the names in it that matter; `None`: all do.
        error: Why the files cannot be known, in words; `None`: they are.
        folder: Which folder it is, by device and inode; `None`: it is not there, or it is no folder that was looked at.
    """

    paths: Mapping[str, int] = field(default_factory=dict)
    watched: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    error: str | None = None
    folder: tuple[int, int] | None = None


def certificate_bytes(name: str) -> int | None:
    """Return the most bytes of a file in a folder of certificates, `None` if it is none of theirs."""
    if name == "ca.crt" or name.endswith(_LISTS):
        return MAX_LIST_BYTES
    return MAX_CERTIFICATE_BYTES if name.endswith(_PAIRS) else None


def list_bytes(name: str) -> int | None:  # noqa: ARG001 - all names are files there
    """Return the most bytes of a file in a folder of snippets, or of passwords."""
    return MAX_LIST_BYTES


def in_folder(folder: str, *, max_bytes: Callable[[str], int | None]) -> Survey:
    """
    Return the files of a folder; none of one that is not there.

    Args:
        folder: Absolute.
        max_bytes: Returns the most bytes of a file by its name, `None` if it does not matter.
    """
    found = walk(folder)
    watched = _Watched()
    watched.add(found.steps)
    if found.target is None:
        return Survey(watched=watched.names(), error=_error(folder))
    watched.add_whole(found.target)
    paths: dict[str, int] = {}
    try:
        stat = os.stat(found.target)
        with os.scandir(found.target) as entries:
            for count, entry in enumerate(entries):
                if count == MAX_FILES:
                    return Survey(watched=watched.names(), error=f"it has more than {MAX_FILES:,} files")
                limit = max_bytes(entry.name) if _NAME.fullmatch(entry.name) else None
                if limit is None:
                    continue
                paths[os.path.join(folder, entry.name)] = limit
                if entry.is_symlink():
                    watched.add(walk(entry.name, start=found.target).steps)
    except FileNotFoundError:  # just now
        return Survey(watched=watched.names())
    except OSError as error:
        return Survey(watched=watched.names(), error=excerpt(str(error.strerror)))
    return Survey(paths=paths, watched=watched.names(), folder=(stat.st_dev, stat.st_ino))


def of_paths(paths: Iterable[str]) -> Survey:
    """Return files that are known by their path, perhaps not there."""
    watched = _Watched()
    paths = tuple(paths)
    for path in paths:
        watched.add(walk(path).steps)
    return Survey(paths=dict.fromkeys(paths, MAX_LIST_BYTES), watched=watched.names())


class _Watched:
    """Collects what is to be watched."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = defaultdict(set)
        self._whole: set[str] = set()

    def add(self, steps: Iterable[tuple[str, str]]) -> None:
        for folder, name in steps:
            self._names[folder].add(name)

    def add_whole(self, folder: str) -> None:
        self._whole.add(folder)

    def names(self) -> dict[str, frozenset[str] | None]:
        # The whole folder first: where there are too many, it is the one that counts.
        whole: dict[str, frozenset[str] | None] = dict.fromkeys(sorted(self._whole))
        return whole | {folder: frozenset(names) for folder, names in self._names.items() if folder not in self._whole}


def _error(folder: str) -> str | None:
    try:
        os.stat(folder)
    except FileNotFoundError:
        with suppress(OSError):  # a link to a drive that is not mounted is no empty folder
            return f"it is a link to {excerpt(os.readlink(folder))}, and nothing is there"
        return None
    except OSError as error:
        return excerpt(str(error.strerror))
    return None  # it came just now: whoever looks again finds it

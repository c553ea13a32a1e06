"""
Reads the user's nginx configuration: the main file and all that it includes, and what of it a test must have otherwise.

Nothing is written here. Paths are as nginx sees them; where it has a file system of its own, the folder on this side
that holds what it sees as its root says how the two views go together.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lbwatch.balancers.nginx.config_test.grammar import TABLES, Directive, Edit, Word, directives, edited, quoted
from lbwatch.balancers.nginx.config_test.permissions import (
    NoCopyError,
    Permissions,
    forbidden_directives,
    permitted_edits,
)
from lbwatch.balancers.nginx.config_test.program import NOWHERE
from lbwatch.system import files, libc, reading

MAX_FILE_BYTES = 16 << 20
"""Of one file that is read for its includes; it takes some 4 s to read as many. A longer one is tested as it is."""

MAX_FILES = 4096

_MAX_NAME = 255  # bytes of a file's name (limits.h)
_TEST = ".lbwatch-test"  # where an nginx in a container is given what it tests

_MAGIC = re.compile(r"[*?[]")
"""What makes nginx take an include for a pattern of glob(3); a backslash alone does not (`ngx_conf_include`)."""

_CONCERNED = re.compile(rb"include|pid")
_CONCERNED_BY_RIGHTS = re.compile(rb"include|pid|log|ssl|path|listen|http")
_CONCERNED_IN_OURS = re.compile(rb"\b(?:listen|ssl_\w+|access_log|error_log|\w+_path) ")
"""A directive's name is written as it is: a file without any of these has nothing that a test must have otherwise."""


@dataclass(slots=True, kw_only=True)
class ConfigFile:
    """One file of the user's configuration that names other files, or that a test must have otherwise."""

    content: bytes
    directives: tuple[Directive, ...]


class IncludeTree:
    """
    The user's configuration as it was read when this was made.

    Args:
        main: The user's main file, such as /etc/nginx/nginx.conf.
        outputs: The files that the candidate stands for.
        root: The folder on this side that holds what nginx sees as its root; empty: both have one root.
        permissions: What this user may do with what is named there; `None`: whatever is asked.

    Attributes:
        files: Those that were read, by their paths without links.
        ways: Paths, perhaps by links, on which nginx comes to a file or to where an output is.
        outputs: The outputs' paths without links.

    Raises:
        NoCopyError: A file may not be read, or there are too many.
        OSError: The main file cannot be read, or is longer than `MAX_FILE_BYTES`.
    """

    def __init__(self, main: Path, *, outputs: tuple[Path, ...], root: str, permissions: Permissions | None) -> None:
        self.files: dict[str, ConfigFile] = {}
        self.ways: set[str] = {str(main), *map(str, outputs)}
        self._folder = str(main.parent)
        self._root = root
        self._permissions = permissions
        self._concerned = re.compile(b"") if root else _CONCERNED if permissions is None else _CONCERNED_BY_RIGHTS
        self.outputs = tuple(self.real(str(each)) for each in outputs)
        self._main = self.real(str(main))
        self._stamps: dict[str, object] = {}  # of what was looked at, by path without links
        self._matches: dict[str, tuple[str, ...]] = {}  # by pattern
        self._read_all(str(main))

    def is_outdated(self) -> bool:
        """Return whether the user's files, or what this user may do with them, are not what they were when read."""
        return (
            any(files.stamp(Path(self.here(path))) != stamp for path, stamp in self._stamps.items())
            or any(self._expand(pattern) != found for pattern, found in self._matches.items())
            or (self._permissions is not None and self._permissions.changed())
        )

    def included(self) -> frozenset[str]:
        """Return what is included, there or not: files, and the folders in which a pattern has more looked for."""
        matches = (match for found in self._matches.values() for match in found)
        return frozenset((*map(_named, self._matches), *matches))

    def here(self, path: str) -> str:
        """Return where on this side a file of nginx's is."""
        return self._root + path

    def link(self, path: str) -> str | None:
        """Return where a link of nginx's leads, as nginx sees it; `None` if it is none."""
        try:
            target = os.readlink(self.here(path))
        except OSError:
            return None
        # A copy's links lead to where they lead on this side.
        within = bool(self._root) and f"{target}/".startswith(f"{self._root}/")
        return (target.removeprefix(self._root) or "/") if within else target

    def real(self, path: str) -> str:
        """Return a path without links."""
        return "/" + os.path.realpath(self.here(path)).removeprefix(os.path.realpath(self._root or "/")).lstrip("/")

    def is_ours(self, path: str) -> bool:
        """Return whether a path is of what lbwatch keeps beside an output, which comes and goes."""
        folder, name = os.path.split(path)
        beside = (os.path.split(each) for each in self.outputs)
        return any(folder == place and name.startswith((f".{output}.", _TEST)) for place, output in beside)

    def replaced(self, *, top: str, stand_ins: str) -> dict[str, bytes]:
        """
        Return the files that a test must have otherwise, by their paths without links.

        Args:
            top: The folder, as nginx sees it, that is the root for the test.
            stand_ins: A folder, likewise, for what the test makes where this user may not make the user's own.
        """
        forbidden: set[bytes] = set()
        if self._permissions is not None:
            for path, file in self.files.items():
                forbidden.update(forbidden_directives(file.directives, path=path, permissions=self._permissions))
        made = {}
        for path, file in self.files.items():
            edits = list(self._edits(file, top=top))
            if self._permissions is not None:
                edits += permitted_edits(
                    file.directives, forbidden=forbidden, permissions=self._permissions, stand_ins=stand_ins
                )
            if edits:
                made[path] = edited(file.content, edits)
        return made

    def permitted(self, content: bytes, *, path: str, stand_ins: str) -> bytes:
        """
        Return a candidate as this user can have it tested; its lines keep their numbers.

        Args:
            content: The candidate.
            path: Of the output that it is for.
            stand_ins: See `replaced`.

        Raises:
            NoCopyError: He may not listen where it does.
        """
        if self._permissions is None or _CONCERNED_IN_OURS.search(content) is None:
            return content
        found = directives(content)
        forbidden = set(forbidden_directives(found, path=path, permissions=self._permissions))
        edits = permitted_edits(found, forbidden=forbidden, permissions=self._permissions, stand_ins=stand_ins)
        return edited(content, edits)

    def _edits(self, file: ConfigFile, *, top: str) -> Iterator[Edit]:
        for each in file.directives:
            if each.name == b"pid" and not each.within and each.args:
                yield Edit(each.args[0].start, each.args[0].end, NOWHERE.encode())
            # A relative one begins at the main file's folder, which is that of its copy in a test (facts, nginx 5).
            if each.name == b"include" and each.args and each.args[0].text.startswith(b"/"):
                word = each.args[0]
                yield Edit(word.start, word.end, quoted(os.fsencode(top) + word.text))

    @property
    def names_pid(self) -> bool:
        """Whether one of the files says where nginx's pid file is."""
        return any(each.name == b"pid" for file in self.files.values() for each in file.directives if not each.within)

    def _read_all(self, main: str) -> None:
        waiting = [main]
        while waiting:
            path = waiting.pop()
            real = self.real(path)
            if real in self.files or self._root:
                self.ways.add(path)
            if real in self._stamps or real in self.outputs:
                continue
            if len(self._stamps) >= MAX_FILES:
                raise NoCopyError(f"{self._main} includes more than {MAX_FILES} files")
            self._require_readable(path)
            self._stamps[real] = files.stamp(Path(self.here(real)))
            if (file := self._read(real)) is None:
                continue
            self.files[real] = file
            self.ways.add(path)
            for each in file.directives:
                self.ways.update(os.path.join(self._folder, way) for way in map(self._way, each.args) if way)
                if each.name == b"include" and each.args and not TABLES.intersection(each.within):
                    waiting += self._followed(os.path.join(self._folder, os.fsdecode(each.args[0].text)))

    def _read(self, real: str) -> ConfigFile | None:
        """Return a file, or `None` if it is none, or has nothing in it that matters here."""
        here = self.here(real)
        if real != self._main and (not os.path.isfile(here) or os.path.getsize(here) > MAX_FILE_BYTES):
            return None
        content = reading.of_user(Path(here), max_bytes=MAX_FILE_BYTES)
        if real != self._main and self._concerned.search(content) is None:
            return None
        return ConfigFile(content=content, directives=directives(content))

    def _followed(self, pattern: str) -> tuple[str, ...]:
        """Return the files that a pattern leads to, and note by which folders it may come to the output."""
        if "\0" in pattern:
            return ()
        self._require_readable(_named(pattern))
        self._matches[pattern] = found = self._expand(pattern)
        # Before the first update an output is not there, so that no pattern finds it yet.
        folders = frozenset(map(os.path.dirname, self.outputs))
        self.ways.update(each for each in self._glob(os.path.dirname(pattern)) if self.real(each) in folders)
        self.ways.update(each for each in found if self.real(each) in self.outputs)
        return found

    def _expand(self, pattern: str) -> tuple[str, ...]:
        # An output comes and goes, and is never read here.
        return tuple(each for each in self._glob(pattern) if not _MAGIC.search(pattern) or each not in self.outputs)

    def _glob(self, pattern: str) -> list[str]:
        """Return what nginx opens for an include: it asks the C library, and so do we."""
        if _MAGIC.search(pattern) is None:
            return [pattern]
        root = re.sub(r"([*?[\\])", r"\\\1", self._root)
        return [path.removeprefix(self._root) for path in libc.glob(root + pattern)]

    def _way(self, word: Word) -> str:
        """
        Return the first step of what may be a path relative to the main file's folder; empty: it needs no way.

        On this side all that is in a folder is reached anyway; of another file system not all is here.
        """
        steps = os.fsdecode(word.text).split("/")
        ups = next((number for number, step in enumerate(steps) if step != ".."), len(steps))
        may_be_path = ups > 0 or (self._root and steps[0] and (len(steps) > 1 or "." in steps[0]))
        if not may_be_path or b"\0" in word.text or len(steps[0]) > _MAX_NAME:
            return ""
        return "/".join(step for step in steps[: ups + 1] if not _MAGIC.search(step) and "$" not in step)

    def _require_readable(self, path: str) -> None:
        # A folder that is hidden from us would be taken for an empty one, and the candidate pass beside nothing.
        if self._permissions is not None and not self._permissions.reads(path):
            raise NoCopyError(f"{path}: this user may not read it, and a test takes all of nginx's files: allow it")


def _named(pattern: str) -> str:
    """Return the file that an include names, or the folder in which it has more looked for."""
    parts = _MAGIC.split(pattern, maxsplit=1)
    return os.path.dirname(parts[0]) if len(parts) > 1 else pattern

"""
Reads the user's nginx configuration: the main file and all that it includes, as far as the output's way into it goes.

Nothing is written here. Paths are as nginx sees them; where it has a file system of its own, the folder on this side
that holds what it sees as its root says how the two views go together.
"""

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import crossplane

from lbwatch.balancers.nginx.config_test.permissions import Block, Permissions, forbidden_directives, permitted_block
from lbwatch.core.errors import NotTestedError
from lbwatch.system import files

_MAX_DEPTH = 16
_MAGIC = re.compile(r"[*?[]")


@dataclass(slots=True, kw_only=True)
class ConfigFile:
    """
    One file of the user's configuration.

    Attributes:
        block: Its directives, as crossplane parses them.
        leads_to_output: Whether the output is included below it.
        needs_copy: Whether a copy must stand in its place: it leads to the output, or it or one that it includes has
            something in it that this user may not do.
    """

    block: Block
    leads_to_output: bool = False
    needs_copy: bool = False


class IncludeTree:
    """
    The user's configuration as it was read when this was made.

    Args:
        main: The user's main file, such as /etc/nginx/nginx.conf.
        output: The file that the candidate stands for.
        root: The folder on this side that holds what nginx sees as its root; empty: both have one root.
        permissions: What this user may do with what is named there; `None`: whatever is asked.
        stand_ins: A folder, as nginx sees it, for what a test makes where this user may not make the user's own.

    Attributes:
        files: By path, the main file first.

    Raises:
        NotTestedError: A file may not be read, cannot be parsed, or is included too deep.
        OSError: The main file's folder cannot be listed.
    """

    def __init__(
        self, main: Path, *, output: Path, root: str, permissions: Permissions | None, stand_ins: Path
    ) -> None:
        self.files: dict[str, ConfigFile] = {}
        self._main = main
        self._output = output
        self._root = root
        self._permissions = permissions
        self._matches: dict[str, tuple[str, ...]] = {}  # by pattern
        self._read_file(str(main), depth=0)
        for file in self.files.values():
            file.needs_copy = file.leads_to_output
        if permissions is not None:
            self._leave_out_forbidden(permissions, stand_ins=str(stand_ins))
        self._state = self._current_state()

    def is_outdated(self) -> bool:
        """Return whether the user's files, or what this user may do with them, are not what they were when read."""
        return self._state != self._current_state() or (self._permissions is not None and self._permissions.changed())

    def is_output(self, path: str) -> bool:
        """Return whether a path is the output's, by its name or by where links lead."""
        return path == str(self._output) or self._real(path) == self._real(str(self._output))

    def matches(self, pattern: str) -> tuple[str, ...]:
        """Return the files that an include names, as nginx does: sorted, relative to the main file's folder."""
        if pattern not in self._matches:
            self._matches[pattern] = self._expand(pattern)
        return self._matches[pattern]

    def included(self) -> frozenset[str]:
        """Return what is included, there or not: files, and the folders in which a pattern has more looked for."""
        paths = (os.path.join(self._main.parent, pattern) for pattern in self._matches)
        matches = (match for found in self._matches.values() for match in found)
        return frozenset((*map(_named, paths), *matches))

    def neighbours(self) -> list[str]:
        """Return the names of what else is in the main file's folder, sorted."""
        folder = self.here(str(self._main.parent))
        return sorted(name for name in os.listdir(folder) if name != self._main.name)

    def here(self, path: str) -> str:
        """Return where on this side a file of nginx's is."""
        return self._root + path

    def _read_file(self, path: str, *, depth: int) -> bool:
        """Return whether the output is included by a file or below it, all of which is read."""
        if path in self.files:
            return self.files[path].leads_to_output
        if depth > _MAX_DEPTH:
            raise NotTestedError(f"{path}: includes are nested more than {_MAX_DEPTH} deep")
        self._require_readable(path)
        file = self.files[path] = ConfigFile(block=_parsed(self.here(path), name=path))
        for pattern in _include_patterns(file.block):
            self._require_readable(_named(os.path.join(self._main.parent, pattern)))
            for match in self.matches(pattern):
                if self.is_output(match):
                    file.leads_to_output = True
                elif os.path.isfile(self.here(match)):
                    file.leads_to_output |= self._read_file(match, depth=depth + 1)
        return file.leads_to_output

    def _require_readable(self, path: str) -> None:
        # A folder that is hidden from us would be taken for an empty one, and the candidate pass beside nothing.
        if self._permissions is not None and not self._permissions.reads(path):
            raise NotTestedError(f"{path}: this user may not read it, and a test takes all of nginx's files: allow it")

    def _leave_out_forbidden(self, permissions: Permissions, *, stand_ins: str) -> None:
        """Leave out what this user cannot get through a test, and have copies of the files that it concerns."""
        forbidden = {
            name
            for path, file in self.files.items()
            for name in forbidden_directives(file.block, path=path, permissions=permissions)
        }
        for file in self.files.values():
            block = permitted_block(file.block, forbidden=forbidden, permissions=permissions, stand_ins=stand_ins)
            file.needs_copy |= block != file.block
            file.block = block
        # A file between the main one and a copy must name the copy, and so be one itself.
        while includers := [file for file in self.files.values() if not file.needs_copy and self._includes_copy(file)]:
            for file in includers:
                file.needs_copy = True

    def _includes_copy(self, file: ConfigFile) -> bool:
        found = (self.files.get(path) for pattern in _include_patterns(file.block) for path in self.matches(pattern))
        return any(each is not None and each.needs_copy for each in found)

    def _expand(self, pattern: str) -> tuple[str, ...]:
        path = os.path.join(self._main.parent, pattern)
        found = set(self._glob(path))
        # Before the first update the output does not exist, and the candidate must be tested where it will be.
        if self._globs_to_output(path) and not any(map(self.is_output, found)):
            found.add(str(self._output))
        return tuple(sorted(found))

    def _glob(self, pattern: str) -> list[str]:
        if not glob.has_magic(pattern):
            return [pattern]
        return [path.removeprefix(self._root) for path in glob.glob(glob.escape(self._root) + pattern)]

    def _globs_to_output(self, pattern: str) -> bool:
        folder, name = os.path.split(pattern)
        hidden = self._output.name.startswith(".") and not name.startswith(".")
        if hidden or not fnmatchcase(self._output.name, name):
            return False
        return self._real(str(self._output.parent)) in map(self._real, self._glob(folder))

    def _real(self, path: str) -> str:
        return os.path.realpath(self.here(path))

    def _current_state(self) -> object:
        """Return what would be different if the user had changed anything; the output is ours to change."""
        read = {match for found in self._matches.values() for match in found if not self.is_output(match)}
        stamps = [(path, files.stamp(Path(self.here(path)))) for path in sorted(read.union(self.files))]
        return stamps, [(pattern, self._expand(pattern)) for pattern in self._matches], self.neighbours()


def _named(pattern: str) -> str:
    """Return the file that an include names, or the folder in which it has more looked for."""
    return os.path.dirname(_MAGIC.split(pattern)[0]) if glob.has_magic(pattern) else pattern


def _parsed(path: str, *, name: str) -> Block:
    """Return the directives of a file that errors name *name*; those that crossplane does not know stay as they are."""
    answer = crossplane.parse(path, single=True, check_ctx=False, check_args=False, strict=False)
    if answer["errors"]:
        raise NotTestedError(f"{name}: {answer['errors'][0]['error']}".replace(path, name))
    block: Block = answer["config"][0]["parsed"]
    return block


def _include_patterns(block: Block) -> Iterator[str]:
    for directive in block:
        if directive["directive"] == "include" and directive["args"]:
            yield directive["args"][0]
        yield from _include_patterns(directive.get("block", ()))

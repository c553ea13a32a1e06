"""
Makes a copy of the user's nginx configuration in which the candidate stands where the output would be.

The live file and the pid file are not touched: the main file and the files that lead to the output are parsed and
written anew, without a pid file and an error log; all others are reached by links (facts, nginx 5). Logs that those
others name are opened, as by any `nginx -t`; where we are not root, what it could not open is left out (`permissions`).

Paths are as nginx sees them; where it has a file system of its own, the two arguments of `ConfigCopy` that begin with
`seen` tell how the two views go together.
"""

import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import crossplane

from lbwatch.balancers.nginx.config_test import scratch
from lbwatch.balancers.nginx.config_test.permissions import Permissions, readable, unreadable
from lbwatch.core.errors import NotTestedError
from lbwatch.system import files

_OWN = ".lbwatch"
_NOWHERE = "/dev/null"  # for the pid and the errors, which a test would write: nginx may be another user than we are
_LOGS = ("error_log", "access_log")  # opened by a test; the test has its own
_MAX_DEPTH = 16
_OWNERS, _OPEN, _ENTER = 0o600, 0o644, 0o111  # modes
_MAGIC = re.compile(r"[*?[]")

_Block = list[dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class _File:
    """
    One file of the user's configuration.

    Attributes:
        leads: Whether the output is included below it.
        copied: Whether a copy stands in its place: it leads, or it or one that it includes must be another one.
    """

    block: _Block
    leads: bool = False
    copied: bool = False


@dataclass(slots=True, kw_only=True)
class _Survey:
    """
    What was read of the user's configuration.

    Attributes:
        files: By path.
        matches: What each include matched.
        permissions: What this user may do with what is named there; `None`: whatever is asked.
    """

    permissions: Permissions | None
    files: dict[str, _File] = field(default_factory=dict)
    matches: dict[str, tuple[str, ...]] = field(default_factory=dict)


class ConfigCopy:
    """
    The copy, kept between tests and written anew when the user's files change.

    Args:
        folder: A folder for it, on this side.
        main: The user's main file, such as /etc/nginx/nginx.conf.
        output: The file that the candidate stands for.
        seen_at: Where nginx sees *folder*; `None`: where it is.
        seen_from: The folder on this side that holds what nginx sees as its root; `None`: there is one root for both.

    Attributes:
        main: What nginx is to be given as its main file.
        candidate: What stands in the place of *output*.
        includes_output: Whether the user's configuration includes the output at all.
    """

    __test__ = False  # pytest takes it for a test otherwise

    def __init__(
        self, folder: Path, *, main: Path, output: Path, seen_at: Path | None = None, seen_from: Path | None = None
    ) -> None:
        self._there = folder if seen_at is None else seen_at
        self._root = "" if seen_from is None else str(seen_from)
        self.candidate = self._there / _OWN / "candidate.conf"
        self.main = self._there / main.name
        self.includes_output = False
        self._folder = folder
        self._source = main
        self.output = output
        self._is_shared = seen_at is not None  # with an nginx that may be another user, whatever our umask is
        self._is_limited = os.geteuid() != 0 and seen_at is None and seen_from is None
        self._survey = _Survey(permissions=None)
        self._seen: object = None  # what the user's files looked like when the copy was made

    def write(self, text: str) -> None:
        """
        Put the candidate in place, and everything around it if the user's files have changed.

        Raises:
            NotTestedError: The user's own files cannot be read, or the copy cannot be written.
        """
        try:
            fresh = self._seen is None or not self._stands() or self._has_changed(self._survey)
            if fresh:
                self._survey = self._read()
                self._seen = self._look(self._survey)
            with self._opened() as (top, own):
                if fresh:
                    self._build(self._survey, top=top, own=own)
                scratch.put(self.candidate.name, text=text, within=own, mode=self._mode(None))
        except OSError as error:
            where = str(error.filename or self._folder).removeprefix(self._root)
            raise NotTestedError(f"the test's copy of {self._source}: {where}: {error.strerror}") from error
        except (ValueError, LookupError) as error:  # what neither a parser nor a file system takes, such as a NUL
            raise NotTestedError(f"the test's copy of {self._source} cannot be made: {error}") from error

    def clear(self) -> None:
        """Leave nothing behind: others see what nginx sees, and its files may be for nobody else."""
        self._seen = None
        with suppress(OSError):
            with self._opened() as (top, own):
                scratch.clear(own)
                os.rmdir(_OWN, dir_fd=top)
                scratch.clear(top)
            self._folder.rmdir()

    @contextmanager
    def _opened(self) -> Iterator[tuple[int, int]]:
        """Open the tree's folder, and the one in it that is all ours."""
        mode = _OPEN | _ENTER if self._is_shared else None
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch.opened(self._folder, mode=mode) as top, scratch.opened(_OWN, within=top, mode=mode) as own:
            yield top, own

    def included(self) -> frozenset[str]:
        """Give the files that are included, and the folders in which more are looked for by a pattern, there or not."""
        paths = (os.path.join(self._source.parent, pattern) for pattern in self._survey.matches)
        matches = (match for found in self._survey.matches.values() for match in found)
        return frozenset((*map(_place, paths), *matches))

    def _stands(self) -> bool:
        """Tell whether the copy is still there: cleaners of /tmp remove what is old."""
        return (self._folder / self.main.name).exists() and (self._folder / _OWN).is_dir()

    def _here(self, path: str) -> str:
        """Tell where on this side a file of nginx's is."""
        return self._root + path

    def _has_changed(self, survey: _Survey) -> bool:
        return self._seen != self._look(survey) or (survey.permissions is not None and survey.permissions.changed())

    def _read(self) -> _Survey:
        survey = _Survey(permissions=Permissions(str(self._source.parent)) if self._is_limited else None)
        self._read_file(str(self._source), survey=survey, depth=0)
        for file in survey.files.values():
            file.copied = file.leads
        if survey.permissions is not None:
            self._ease(survey, permissions=survey.permissions)
        return survey

    def _ease(self, survey: _Survey, *, permissions: Permissions) -> None:
        """Leave out what this user cannot get through a test, and have copies of the files that it concerns."""
        without = {
            name
            for path, file in survey.files.items()
            for name in unreadable(file.block, path=path, permissions=permissions)
        }
        for file in survey.files.values():
            block = readable(file.block, without=without, permissions=permissions, folder=str(self._there / _OWN))
            file.copied |= block != file.block
            file.block = block
        while includers := [file for file in survey.files.values() if not file.copied and _includes_copy(file, survey)]:
            for file in includers:
                file.copied = True

    def _read_file(self, path: str, *, survey: _Survey, depth: int) -> bool:
        """Read a file and what it includes; tell whether the output is among it."""
        if path in survey.files:
            return survey.files[path].leads
        if depth > _MAX_DEPTH:
            raise NotTestedError(f"{path}: includes are nested more than {_MAX_DEPTH} deep")
        self._require_read(path, survey=survey)
        file = survey.files[path] = _File(block=_parsed(self._here(path), name=path))
        for pattern in _includes(file.block):
            self._require_read(_place(os.path.join(self._source.parent, pattern)), survey=survey)
            for match in self._matches(pattern, survey=survey):
                if self._is_output(match):
                    file.leads = True
                elif os.path.isfile(self._here(match)):
                    file.leads |= self._read_file(match, survey=survey, depth=depth + 1)
        return file.leads

    def _require_read(self, path: str, *, survey: _Survey) -> None:
        """Refuse what is hidden from us: a folder would be taken for an empty one."""
        if survey.permissions is not None and not survey.permissions.reads(path):
            raise NotTestedError(f"{path}: this user may not read it, and a test takes all of nginx's files: allow it")

    def _matches(self, pattern: str, *, survey: _Survey) -> tuple[str, ...]:
        """List the files that an include names, as nginx does: sorted, relative to the main file's folder."""
        if pattern not in survey.matches:
            survey.matches[pattern] = self._expand(pattern)
        return survey.matches[pattern]

    def _expand(self, pattern: str) -> tuple[str, ...]:
        path = os.path.join(self._source.parent, pattern)
        found = set(self._glob(path))
        if self._globs_to_output(path) and not any(map(self._is_output, found)):
            found.add(str(self.output))  # it does not exist yet
        return tuple(sorted(found))

    def _glob(self, pattern: str) -> list[str]:
        if not glob.has_magic(pattern):
            return [pattern]
        return [path.removeprefix(self._root) for path in glob.glob(glob.escape(self._root) + pattern)]

    def _globs_to_output(self, pattern: str) -> bool:
        folder, name = os.path.split(pattern)
        hidden = self.output.name.startswith(".") and not name.startswith(".")
        if hidden or not fnmatchcase(self.output.name, name):
            return False
        return self._real(str(self.output.parent)) in map(self._real, self._glob(folder))

    def _is_output(self, path: str) -> bool:
        return path == str(self.output) or self._real(path) == self._real(str(self.output))

    def _real(self, path: str) -> str:
        return os.path.realpath(self._here(path))

    def _look(self, survey: _Survey) -> object:
        """Tell what would be different if the user had changed anything."""
        read = {match for found in survey.matches.values() for match in found if not self._is_output(match)}
        stats = [(path, files.stamp(Path(self._here(path)))) for path in sorted(read.union(survey.files))]
        return stats, [(pattern, self._expand(pattern)) for pattern in survey.matches], self._siblings()

    def _siblings(self) -> list[str]:
        folder = self._here(str(self._source.parent))
        return sorted(name for name in os.listdir(folder) if name != self._source.name)

    def _build(self, survey: _Survey, *, top: int, own: int) -> None:
        names = {path: f"{number}.conf" for number, path in enumerate(survey.files)}
        copies = {path: str(self.candidate.with_name(name)) for path, name in names.items()}
        main = str(self._source)
        for path, file in survey.files.items():
            if file.copied and path != main:
                block = self._rewritten(file.block, survey=survey, copies=copies)
                scratch.put(names[path], text=crossplane.build(block), within=own, mode=self._mode(path))
        block = self._rewritten(survey.files[main].block, survey=survey, copies=copies)
        block = [directive for directive in block if directive["directive"] != "pid"]
        block = [{"directive": each, "args": [_NOWHERE]} for each in ("error_log", "pid")] + block
        text = crossplane.build(block) + "\n"
        scratch.put(self.main.name, text=text, within=top, mode=self._mode(main))
        self.includes_output = survey.files[main].leads
        self._link(top)

    def _mode(self, path: str | None) -> int | None:
        """Let others read a copy if they may read what it is of, and the candidate; `None`: as our umask has it."""
        if not self._is_shared:
            return None
        return _OPEN if path is None else os.stat(self._here(path)).st_mode & _OPEN | _OWNERS

    def _link(self, top: int) -> None:
        """Reach the main file's neighbours by links, and nothing that is gone."""
        names = {name for name in self._siblings() if name not in (_OWN, self.main.name)}
        links = {entry.name for entry in os.scandir(top) if entry.is_symlink()}
        for name in links - names:
            os.unlink(name, dir_fd=top)
        for name in names - links:
            scratch.link(name, target=self._source.parent / name, within=top)

    def _rewritten(self, block: _Block, *, survey: _Survey, copies: dict[str, str]) -> _Block:
        """Copy a block without its logs, and with the includes of files that are copied pointing to the copies."""
        made: _Block = []
        for directive in block:
            if directive["directive"] in _LOGS and directive["args"] != ["off"]:
                continue
            if directive["directive"] == "include":
                made += self._rewritten_include(directive, survey=survey, copies=copies)
            elif "block" in directive:
                inner = self._rewritten(directive["block"], survey=survey, copies=copies)
                made.append(directive | {"block": inner})
            else:
                made.append(directive)
        return made

    def _rewritten_include(self, directive: dict[str, Any], *, survey: _Survey, copies: dict[str, str]) -> _Block:
        matches = self._matches(directive["args"][0], survey=survey) if directive["args"] else ()
        if not any(self._is_output(path) or _copied(survey, path) for path in matches):
            return [directive]
        targets = (
            str(self.candidate) if self._is_output(path) else copies[path] if _copied(survey, path) else path
            for path in matches
        )
        return [{"directive": "include", "args": [target]} for target in targets]


def _place(pattern: str) -> str:
    """Give the file that an include names, or the folder in which it has more looked for."""
    return os.path.dirname(_MAGIC.split(pattern)[0]) if glob.has_magic(pattern) else pattern


def _copied(survey: _Survey, path: str) -> bool:
    file = survey.files.get(path)
    return file is not None and file.copied


def _includes_copy(file: _File, survey: _Survey) -> bool:
    return any(_copied(survey, path) for pattern in _includes(file.block) for path in survey.matches[pattern])


def _parsed(path: str, *, name: str) -> _Block:
    """Parse one file of that *name*; what crossplane does not know of nginx's modules is passed on as it stands."""
    answer = crossplane.parse(path, single=True, check_ctx=False, check_args=False, strict=False)
    if answer["errors"]:
        raise NotTestedError(f"{name}: {answer['errors'][0]['error']}".replace(path, name))
    block: _Block = answer["config"][0]["parsed"]
    return block


def _includes(block: _Block) -> Iterator[str]:
    for directive in block:
        if directive["directive"] == "include" and directive["args"]:
            yield directive["args"][0]
        yield from _includes(directive.get("block", ()))

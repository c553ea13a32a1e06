"""
Makes a copy of the user's nginx configuration in which the candidate stands where the output would be.

The live file and the pid file are not touched: the main file and the files that lead to the output are parsed and
written anew, with a pid file and an error log of their own; all others are reached by links (facts, nginx 5). Logs that
those others name are opened, as by any `nginx -t`.
"""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import crossplane

from lbwatch import files
from lbwatch.errors import NotTestedError

_OWN = ".lbwatch"
_LOGS = ("error_log", "access_log")  # opened by a test; the test has its own
_MAX_DEPTH = 16

_Block = list[dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class _File:
    """One file of the user's configuration: its directives, and whether the output is included below it."""

    block: _Block
    leads: bool = False


@dataclass(slots=True, kw_only=True)
class _Survey:
    """What was read of the user's configuration: files by path, and what each include matched."""

    files: dict[str, _File] = field(default_factory=dict)
    matches: dict[str, tuple[str, ...]] = field(default_factory=dict)


class TestTree:
    """
    The copy, kept between tests and written anew when the user's files change.

    Args:
        folder: An empty folder for it.
        main: The user's main file, such as /etc/nginx/nginx.conf.
        output: The file that the candidate stands for.
    """

    __test__ = False  # pytest takes it for a test otherwise

    def __init__(self, folder: Path, *, main: Path, output: Path) -> None:
        self.candidate = folder / _OWN / "candidate.conf"
        self.main = folder / main.name
        self.includes_output = False  # whether the user's configuration includes the output at all
        self._folder = folder
        self._source = main
        self._output = output
        self._survey = _Survey()
        self._seen: object = None  # what the user's files looked like when the copy was made

    def write(self, text: str) -> None:
        """
        Put the candidate in place, and everything around it if the user's files have changed.

        Raises:
            NotTestedError: The user's own files cannot be read, or the copy cannot be written.
        """
        try:
            if self._seen is None or not self._stands() or self._seen != self._look(self._survey):
                self._survey = self._read()
                self._seen = self._look(self._survey)
                self._build(self._survey)
            self.candidate.write_text(text, encoding="utf-8")
        except OSError as error:
            where = error.filename or self.candidate
            raise NotTestedError(f"the test's copy of {self._source}: {where}: {error.strerror}") from error
        except (ValueError, LookupError) as error:  # what neither a parser nor a file system takes, such as a NUL
            raise NotTestedError(f"the test's copy of {self._source} cannot be made: {error}") from error

    def _stands(self) -> bool:
        """Tell whether the copy is still there: cleaners of /tmp remove what is old."""
        return self.main.exists() and self.candidate.parent.is_dir()

    def _read(self) -> _Survey:
        survey = _Survey()
        self._read_file(str(self._source), survey=survey, depth=0)
        return survey

    def _read_file(self, path: str, *, survey: _Survey, depth: int) -> bool:
        """Read a file and what it includes; tell whether the output is among it."""
        if path in survey.files:
            return survey.files[path].leads
        if depth > _MAX_DEPTH:
            raise NotTestedError(f"{path}: includes are nested more than {_MAX_DEPTH} deep")
        file = survey.files[path] = _File(block=_parsed(path))
        for pattern in _includes(file.block):
            for match in self._matches(pattern, survey=survey):
                if self._is_output(match):
                    file.leads = True
                elif os.path.isfile(match):
                    file.leads |= self._read_file(match, survey=survey, depth=depth + 1)
        return file.leads

    def _matches(self, pattern: str, *, survey: _Survey) -> tuple[str, ...]:
        """List the files that an include names, as nginx does: sorted, relative to the main file's folder."""
        if pattern not in survey.matches:
            survey.matches[pattern] = self._expand(pattern)
        return survey.matches[pattern]

    def _expand(self, pattern: str) -> tuple[str, ...]:
        path = os.path.join(self._source.parent, pattern)
        found = set(glob.glob(path)) if glob.has_magic(path) else {path}
        if self._globs_to_output(path) and not any(map(self._is_output, found)):
            found.add(str(self._output))  # it does not exist yet
        return tuple(sorted(found))

    def _globs_to_output(self, pattern: str) -> bool:
        folder, name = os.path.split(pattern)
        folders = glob.glob(folder) if glob.has_magic(folder) else [folder]
        hidden = self._output.name.startswith(".") and not name.startswith(".")
        here = os.path.realpath(self._output.parent)
        return not hidden and fnmatchcase(self._output.name, name) and here in map(os.path.realpath, folders)

    def _is_output(self, path: str) -> bool:
        return path == str(self._output) or os.path.realpath(path) == os.path.realpath(self._output)

    def _look(self, survey: _Survey) -> object:
        """Tell what would be different if the user had changed anything."""
        stats = [(path, files.stamp(Path(path))) for path in survey.files]
        return stats, [(pattern, self._expand(pattern)) for pattern in survey.matches], self._siblings()

    def _siblings(self) -> list[str]:
        return sorted(name for name in os.listdir(self._source.parent) if name != self._source.name)

    def _build(self, survey: _Survey) -> None:
        own = self._folder / _OWN
        own.mkdir(parents=True, exist_ok=True)
        copies = {path: str(own / f"{number}.conf") for number, path in enumerate(survey.files)}
        main = str(self._source)
        for path, file in survey.files.items():
            if file.leads and path != main:
                block = self._rewritten(file.block, survey=survey, copies=copies)
                Path(copies[path]).write_text(crossplane.build(block), encoding="utf-8")
        block = self._rewritten(survey.files[main].block, survey=survey, copies=copies)
        block = [{"directive": "pid", "args": [str(own / "pid")]}] + [
            directive for directive in block if directive["directive"] != "pid"
        ]
        block.insert(0, {"directive": "error_log", "args": [str(own / "error.log")]})
        self.main.write_text(crossplane.build(block) + "\n", encoding="utf-8")
        self.includes_output = survey.files[main].leads
        self._link()

    def _link(self) -> None:
        """Reach the main file's neighbours by links, and nothing that is gone."""
        names = {name for name in self._siblings() if name not in (_OWN, self.main.name)}
        links = {link.name for link in self._folder.iterdir() if link.is_symlink()}
        for name in links - names:
            (self._folder / name).unlink()
        for name in names - links:
            (self._folder / name).symlink_to(self._source.parent / name)

    def _rewritten(self, block: _Block, *, survey: _Survey, copies: dict[str, str]) -> _Block:
        """Copy a block without its logs, and with the includes that lead to the output pointing to the copies."""
        made: _Block = []
        for directive in block:
            if directive["directive"] in _LOGS:
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
        if not any(self._is_output(path) or _leads(survey, path) for path in matches):
            return [directive]
        targets = (
            str(self.candidate) if self._is_output(path) else copies[path] if _leads(survey, path) else path
            for path in matches
        )
        return [{"directive": "include", "args": [target]} for target in targets]


def _leads(survey: _Survey, path: str) -> bool:
    file = survey.files.get(path)
    return file is not None and file.leads


def _parsed(path: str) -> _Block:
    """Parse one file; what crossplane does not know of nginx's modules is passed on as it stands."""
    answer = crossplane.parse(path, single=True, check_ctx=False, check_args=False, strict=False)
    if answer["errors"]:
        raise NotTestedError(f"{path}: {answer['errors'][0]['error']}")
    block: _Block = answer["config"][0]["parsed"]
    return block


def _includes(block: _Block) -> Iterator[str]:
    for directive in block:
        if directive["directive"] == "include" and directive["args"]:
            yield directive["args"][0]
        yield from _includes(directive.get("block", ()))

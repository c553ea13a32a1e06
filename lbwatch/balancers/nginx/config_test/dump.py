"""
Reads what `nginx -T` prints: the configuration in the order in which nginx goes through it, each include in its place.

nginx prints each file once, wherever and how often it is included; where it belongs its own `include` lines say.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lbwatch.balancers.nginx.config_test.grammar import TABLES, Directive, directives
from lbwatch.system import libc

_FILE = re.compile(r"^# configuration file (.*):$\n", re.MULTILINE)
_PATTERN = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    A directive, or a block with what is in it.

    Attributes:
        path: Of the file that it stands in.
        number: Of its line in there, from 1.
        inner: What is in the block, includes among them already replaced by what they include.
    """

    name: str
    args: tuple[str, ...]
    path: str
    number: int
    inner: tuple["Line", ...]

    def blocks(self, name: str) -> Iterator["Line"]:
        """Return those of its inner lines that have a name."""
        return (each for each in self.inner if each.name == name)

    def all_inner(self) -> Iterator["Line"]:
        """Return what is in the block, and in all blocks within."""
        for each in self.inner:
            yield each
            yield from each.all_inner()


def configuration(printed: str) -> tuple[Line, ...]:
    """Return what stands at the top level of the main file, from all that `nginx -T` printed."""
    _, *parts = _FILE.split(printed)
    files = dict(zip(parts[::2], parts[1::2], strict=True))
    return () if not files else _Reader(files, folder=Path(parts[0]).parent).lines(parts[0], within=())


class _Reader:
    """
    Puts files together.

    Args:
        files: Their texts, by path.
        folder: Of the main file, at which relative includes begin.
    """

    def __init__(self, files: Mapping[str, str], *, folder: Path) -> None:
        self._files = files
        self._folder = folder

    def lines(self, path: str, *, within: tuple[str, ...]) -> tuple[Line, ...]:
        """Return a file's lines; *within*: the files that lead to it."""
        content = self._files[path].encode(errors="replace")
        ends = [found.start() for found in re.finditer(b"\n", content)]
        found = directives(content)
        at = 0

        def block(depth: int, *, has_lines: bool = True) -> tuple[Line, ...]:
            nonlocal at
            made: list[Line] = []
            while at < len(found) and len(found[at].within) == depth:
                each = found[at]
                at += 1
                inner = block(depth + 1, has_lines=each.name not in TABLES) if each.opens else ()
                if each.name == b"include" and each.args and has_lines:
                    made += self._included(_text(each.args[0].text), within=(*within, path))
                else:
                    made.append(_line(each, path=path, number=bisect_right(ends, each.start) + 1, inner=inner))
            return tuple(made)

        return block(0)

    def _included(self, pattern: str, *, within: tuple[str, ...]) -> Iterator[Line]:
        whole = os.path.join(self._folder, pattern)
        if _PATTERN.search(whole) is None:
            paths = [whole] if whole in self._files else []
        else:
            paths = sorted((each for each in self._files if libc.fits(each, pattern=whole)), key=os.fsencode)
        for path in paths:
            if path not in within:  # what nginx reads has an end, and so has what we take it for
                yield from self.lines(path, within=within)


def _line(directive: Directive, *, path: str, number: int, inner: tuple[Line, ...]) -> Line:
    args = tuple(_text(word.text) for word in directive.args)
    return Line(name=_text(directive.name), args=args, path=path, number=number, inner=inner)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")

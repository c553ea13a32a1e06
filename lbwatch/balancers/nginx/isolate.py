"""
Finds what can be written when nginx, or the template, refuses the whole: one bad part must not hold back the rest.

A part of a plan, an upstream or a site, that cannot be written as it should be is degraded to a lesser level (see
`Level`), and only as far as it must. Which ones are to blame is guessed from the message of the refusal, else found by
bisection; whatever was guessed, only what passed the test is ever returned.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from lbwatch.balancers.nginx.levels import at_level
from lbwatch.core.errors import ConfigRejectedError, NotTestedError, RenderError, UserConfigError
from lbwatch.core.model import STREAM_MARK, Degraded, Level, Part, Upstream
from lbwatch.core.parts import Parts, sites_in
from lbwatch.core.site import SITE_MARK

MAX_TRIES = 96
"""Renderings and tests of each way of searching; bisection finds one among thousands in fewer than 20."""

MAX_KEPT_SINGLY = 16
"""nginx names one missing upstream at a time: where a large stack went at once, all of it is kept after so many."""

TIME_LIMIT_S = 10.0
"""No new one begins later in a search."""

_LESSER = {Level.FULL: Level.PLAIN, Level.PLAIN: Level.EMPTY, Level.EMPTY: Level.OUT}
_DUPLICATE = "duplicate upstream"  # no form of it will do: the name itself is taken
_QUOTED = re.compile(r'"([^"]{1,255})"')
_MISSING = re.compile(r'(?:host not found|no port) in upstream "([A-Za-z0-9_.-]{1,255})"')
"""The former for `proxy_pass`, the latter for all others, such as `fastcgi_pass` and `grpc_pass`."""

_OPENS = re.compile(r'\s*upstream\s+["\']?([A-Za-z0-9_.-]+)["\']?\s*\{')
_BEGINS = re.compile(r"# (?:site(?P<host>$| .+)|stream (?P<port>.+))")
"""How the templates of sites and streams mark where the blocks of each begin, at the beginning of a line."""

_IN_FILE = re.compile(r" in (/.{1,4096}):[0-9]+$", re.MULTILINE)

Render = Callable[[Parts], str]
Test = Callable[[str], Awaitable[bool]]
Refusal = RenderError | ConfigRejectedError
Levels = Mapping[str, Level]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedConfig:
    """
    A text that may be put in force.

    Attributes:
        tested: Whether nginx judged it; not where nothing here can.
        degraded: By part; empty where all is as it should be.
        written: What it is the text of: the parts as far as they are not degraded.
    """

    text: str
    tested: bool
    degraded: tuple[Degraded, ...] = ()
    written: Parts = ()


async def accepted(
    parts: Parts,
    *,
    render: Render,
    test: Test,
    known: Sequence[Degraded] = (),
    before: Callable[[], Collection[str]] = tuple,
) -> AcceptedConfig:
    """
    Return the text of *parts* that passes, with as few of them degraded as can be, and those as little.

    Args:
        parts: What should be written.
        render: Returns a text, or raises `RenderError`; called in a thread.
        test: Returns whether a text could be tested; raises `ConfigRejectedError` if it was and is refused.
        known: What the search before this one came to: tried first.
        before: Returns the names of the upstreams that are in force. One of them that nginx's own files still use is
            kept, without a server: with it gone, nginx would refuse all others' changes, and not start any more.

    Raises:
        NotTestedError: No candidate can be tested now.
        UserConfigError: nginx refuses the user's own files, whatever is written.
        RenderError, ConfigRejectedError: The refusal of the whole, where it cannot be laid at single parts: most
            would have to go, and then the old file serves better.
    """
    search = _Search(parts, render=render, test=test, before=before)
    with suppress(_ExhaustedError):
        refusal = await search.attempt({})
        if refusal is None or await search.find_levels(refusal, known=known):
            return search.candidate
    assert search.refusal is not None
    raise search.refusal


class _ExhaustedError(Exception):
    """Too much was tried."""


class _Search:
    """
    One search.

    Attributes:
        candidate: The latest that passed.
        refusal: The first one, which is of the whole.
    """

    def __init__(self, parts: Parts, *, render: Render, test: Test, before: Callable[[], Collection[str]]) -> None:
        self.candidate = AcceptedConfig(text="", tested=False)
        self.refusal: Refusal | None = None
        self._whole = parts
        self._before = before
        self._render = render
        self._test = test
        self._tries_left = MAX_TRIES
        self._ends_at = asyncio.get_running_loop().time() + TIME_LIMIT_S
        self._text = ""  # the latest that was rendered
        self._errors: dict[str, str] = {}  # by part: the refusal that it was degraded for
        self._kept: dict[str, Degraded] = {}  # upstreams that are there for nginx's own files alone

    @cached_property
    def _parts(self) -> dict[str, Part]:
        return {part.name: part for part in self._whole}

    @cached_property
    def _names(self) -> list[str]:
        return [part.name for part in self._whole]

    @cached_property
    def _sites_by_file(self) -> Mapping[str, Sequence[str]]:
        """The names of the sites that a file is read for, by its path."""
        found: dict[str, list[str]] = defaultdict(list)
        for site in sites_in(self._whole):
            for path, _ in site.files:
                found[path].append(site.name)
        return found

    async def attempt(self, levels: Levels) -> Refusal | None:
        """Return why the parts are refused at these levels (`FULL` where none is named); `None`: they pass."""
        self._tries_left -= 1
        if self._tries_left < 0 or asyncio.get_running_loop().time() > self._ends_at:
            raise _ExhaustedError
        wanted = self._whole  # nearly always that is all there is to try, and there may be thousands
        if levels or self._kept:
            wanted = at_levels(tuple(self._parts.values()), levels)
        # A test that could not be run says nothing of any part: on a full disk each try would blame another one.
        try:
            self._text = await asyncio.to_thread(self._render, wanted)
            tested = await self._test(self._text)
        except NotTestedError:
            raise
        except (RenderError, ConfigRejectedError) as refusal:
            self.refusal = self.refusal or refusal
            if self._keep_missing(refusal):
                return await self.attempt(levels)
            # Nothing that is written here would help, unless it is the name of one that was left out just now.
            if isinstance(refusal, UserConfigError) and _missing_in(refusal) not in self._parts:
                raise
            return refusal
        degraded = {
            name: Degraded(upstream=name, level=level, error=self._errors.get(name, ""))
            for name, level in levels.items()
            if level is not Level.FULL
        }
        found = tuple(each for _, each in sorted((self._kept | degraded).items()))
        self.candidate = AcceptedConfig(text=self._text, tested=tested, degraded=found, written=wanted)
        return None

    def _keep_missing(self, refusal: Refusal) -> bool:
        """Return whether nginx misses an upstream that it had: it is kept from now on."""
        name = _missing_in(refusal)
        if not name or name in self._parts or name not in (before := self._before()):
            return False
        # nginx looks for names after it has read, and could have refused, all else: this is the only thing wrong now.
        all_gone = [each for each in before if each not in self._parts]
        gone = [name] if len(self._kept) < MAX_KEPT_SINGLY else all_gone
        self._kept |= {each: Degraded(upstream=each, level=Level.EMPTY, error=str(refusal), kept=True) for each in gone}
        kept: dict[str, Part] = {each: Upstream(name=each) for each in gone}
        self._parts = dict(sorted((self._parts | kept).items()))
        return True

    async def find_levels(self, refusal: Refusal, *, known: Sequence[Degraded]) -> bool:
        """
        Return whether there are levels that pass and serve, after all in full were refused; `candidate` is theirs then.

        Args:
            refusal: The one of all in full.
            known: What the search before this one came to.
        """
        before = {item.upstream: item.level for item in known if item.upstream in self._parts}
        self._errors = {item.upstream: item.error for item in known}
        if before and await self.attempt(before) is None:
            levels: Levels | None = before
        else:
            levels = await self._follow_messages(refusal) or await self._search_by_bisection(refusal)
        if levels is None:
            return False
        # The one that is degraded alone was refused in full a moment ago; of several, some may be innocent by now.
        levels = await self._raise_levels(levels, skip_full=levels is before and len(before) == 1)
        return self._most_serve(levels)

    def _most_serve(self, levels: Levels) -> bool:
        """Return whether at least half of the upstreams with servers keep them, but for those whose name is taken."""
        entitled = [
            name
            for name, part in self._parts.items()
            if isinstance(part, Upstream)
            and part.servers
            and f'{_DUPLICATE} "{name}"' not in self._errors.get(name, "").lower()
        ]
        kept = [name for name in entitled if levels.get(name, Level.FULL) in (Level.FULL, Level.PLAIN)]
        return 2 * len(kept) >= len(entitled)

    async def _follow_messages(self, refusal: Refusal) -> Levels | None:
        """Return levels that pass, found by degrading step by step what each refusal names; `None`: there are none."""
        self._tries_left = MAX_TRIES
        levels: dict[str, Level] = {}
        current: Refusal | None = refusal
        try:
            while current is not None:
                names = await self._named_in(current, levels)
                if not names:
                    return None
                for name in names:
                    taken = isinstance(current, ConfigRejectedError) and _DUPLICATE in current.stderr
                    levels[name] = Level.OUT if taken else _LESSER[levels.get(name, Level.FULL)]
                    self._errors[name] = str(current)
                current = await self.attempt(levels)
        except _ExhaustedError:
            return None
        return levels

    async def _named_in(self, refusal: Refusal, levels: Levels) -> list[str]:
        """Return the parts that a refusal is about; none if it names none that could be degraded further."""
        if isinstance(refusal, RenderError):
            return await asyncio.to_thread(self._not_renderable, levels)
        quoted = _QUOTED.findall(refusal.stderr)
        # Of a file that several sites are served with each is to blame, and each would be tried in vain.
        named = chain.from_iterable(
            self._sites_by_file.get(path, ()) for path in (*quoted, *_IN_FILE.findall(refusal.stderr))
        )
        if sites := [name for name in dict.fromkeys(named) if levels.get(name) in (None, Level.FULL, Level.PLAIN)]:
            return sites
        at_line = () if refusal.line is None else _part_at(self._text, refusal.line)
        guesses = (*at_line, *(word.lower() for word in quoted))
        return [name for name in guesses if name in self._parts and levels.get(name) is not Level.OUT][:1]

    def _not_renderable(self, levels: Levels) -> list[str]:
        """Return the names of the parts that the template fails on, each by itself."""
        failed = []
        for name, part in self._parts.items():
            if (written := at_level(part, levels.get(name, Level.FULL))) is None:
                continue
            try:
                self._render((written,))
            except RenderError:
                failed.append(name)
        return failed

    async def _search_by_bisection(self, refusal: Refusal) -> Levels | None:
        """Return levels that pass, found without names: degrade all as little as passes, then restore the innocent."""
        self._tries_left = MAX_TRIES
        self._errors = dict.fromkeys(self._names, str(refusal))
        for base in _LESSER.values():
            everyone = dict.fromkeys(self._names, base)
            if await self.attempt(everyone) is None:
                candidate = self.candidate
                with suppress(_ExhaustedError):
                    return await self._bisect(base=base)
                self.candidate = candidate  # too many culprits: all at this level are better than nothing
                return everyone
        return None

    async def _bisect(self, *, base: Level) -> Levels:
        """Return the parts that are refused in full, all of them at the level *base*, which passes for all."""
        levels: dict[str, Level] = {}
        # The first look is at all in full: a cause may have passed. Then each round finds the first culprit that is
        # left, by bisection over how many names can be in full while the rest is at *base*.
        while await self.attempt(levels) is not None:
            passes, refused = 0, len(self._names)
            while refused - passes > 1:
                middle = (passes + refused) // 2
                rest = dict.fromkeys(self._names[middle:], base)
                if await self.attempt(rest | levels) is None:
                    passes = middle
                else:
                    refused = middle
            levels[self._names[refused - 1]] = base
        return levels

    async def _raise_levels(self, levels: Levels, *, skip_full: bool) -> Levels:
        """Return the levels with each as high as passes: a guess may have been wrong, or a cause gone."""
        self._tries_left = MAX_TRIES
        best = dict(levels)
        kept = self.candidate
        try:
            for name, level in levels.items():
                higher = tuple(Level)[int(skip_full) : tuple(Level).index(level)]
                for one in higher:
                    if await self.attempt(best | {name: one}) is None:
                        best[name], kept = one, self.candidate
                        break
        except _ExhaustedError:
            pass  # what passed is good enough
        self.candidate = kept
        return best


def _missing_in(refusal: Refusal) -> str:
    """Return the name of the upstream that nginx misses; empty: it misses none."""
    missing = _MISSING.search(refusal.stderr) if isinstance(refusal, ConfigRejectedError) else None
    return missing[1].lower() if missing else ""


def at_levels(parts: Parts, levels: Levels) -> Parts:
    """Return what is written of parts at these levels, by name; those that are not named are whole."""
    written = (at_level(each, levels.get(each.name, Level.FULL)) for each in parts)
    return tuple(each for each in written if each is not None)


def names_in(text: str) -> frozenset[str]:
    """Return the names of a text's upstreams, as far as its template opens their blocks on lines of their own."""
    return frozenset(opened[1].lower() for line in text.split("\n") if (opened := _OPENS.match(line)))


def _part_at(text: str, line: int) -> tuple[str, ...]:
    """Return the name of the part whose block is around a line, counted from 1; none if another block ended before."""
    lines = text.split("\n")[:line]
    is_inside = True
    for number in range(len(lines) - 1, -1, -1):
        if (marked := _BEGINS.match(lines[number])) is not None:
            mark, of = (SITE_MARK, marked["host"]) if marked["port"] is None else (STREAM_MARK, marked["port"])
            return (f"{mark}{of.strip()}",)
        if (opened := _OPENS.match(lines[number])) is not None:
            return (opened[1].lower(),) if is_inside else ()
        # A site may have several blocks, and only a mark tells where they begin.
        is_inside = is_inside and (number == len(lines) - 1 or not lines[number].startswith("}"))
    return ()

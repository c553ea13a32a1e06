"""
Finds what can be written when nginx, or the template, refuses the whole: one bad upstream must not hold back the rest.

An upstream that cannot be written as it should be falls back to a lesser form (see `Form`), and only as far as it must.
Which ones are to blame is guessed from the words of the refusal, else found by halving; whatever was guessed, only what
passed the test is ever given back.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lbwatch.errors import ConfigRejectedError, RenderError
from lbwatch.model import Fallback, Form, Server, Upstream

MAX_TRIES = 96
"""Renderings and tests in one search; a single upstream among thousands is found in fewer than 20."""

TIME_LIMIT_S = 10.0
"""No new one begins later in a search."""

_LESSER = {Form.FULL: Form.PLAIN, Form.PLAIN: Form.EMPTY, Form.EMPTY: Form.OUT}
_QUOTED = re.compile(r'"([^"]{1,255})"')
_OPENS = re.compile(r'\s*upstream\s+["\']?([A-Za-z0-9_.-]+)["\']?\s*\{')

Refusal = RenderError | ConfigRejectedError
Forms = Mapping[str, Form]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """
    A text that may be put in force.

    Attributes:
        tested: Whether nginx judged it; not where nothing here can.
        fallbacks: By upstream; empty where all is as it should be.
    """

    text: str
    tested: bool
    fallbacks: tuple[Fallback, ...] = ()


class _ExhaustedError(Exception):
    """Too much was tried."""


async def accepted(
    upstreams: tuple[Upstream, ...],
    *,
    render: Callable[[tuple[Upstream, ...]], str],
    test: Callable[[str], Awaitable[bool]],
    known: Sequence[Fallback] = (),
) -> Candidate:
    """
    Give the text of *upstreams* that passes, with as few of them reduced as can be, and those as little.

    Args:
        upstreams: What should be written.
        render: Makes a text, or raises `RenderError`.
        test: Tells whether a text could be tested; raises `ConfigRejectedError` if it was and is refused.
        known: What the search before this one came to: tried first.

    Raises:
        RenderError, ConfigRejectedError: The refusal of the whole, where it cannot be laid at any upstream.
    """
    search = _Search(upstreams, render=render, test=test)
    refusal = await search.tried({})
    if refusal is None:
        return search.candidate
    try:
        forms = await search.found(refusal, known={item.upstream: item.form for item in known})
    except _ExhaustedError:
        forms = None
    if forms is None:
        raise refusal
    return search.candidate


class _Search:
    """
    One search.

    Attributes:
        candidate: The latest that passed.
    """

    def __init__(
        self,
        upstreams: tuple[Upstream, ...],
        *,
        render: Callable[[tuple[Upstream, ...]], str],
        test: Callable[[str], Awaitable[bool]],
    ) -> None:
        self.candidate = Candidate(text="", tested=False)
        self._upstreams = {upstream.name: upstream for upstream in upstreams}
        self._names = list(self._upstreams)
        self._render = render
        self._test = test
        self._tries = 0
        self._ends_at = asyncio.get_running_loop().time() + TIME_LIMIT_S
        self._text = ""  # the latest that was rendered
        self._errors: dict[str, str] = {}  # by upstream: the refusal that it was reduced for

    async def tried(self, forms: Forms) -> Refusal | None:
        """Render and test the upstreams in these forms (`FULL` where none is named), and give the refusal if any."""
        self._tries += 1
        if self._tries > MAX_TRIES or asyncio.get_running_loop().time() > self._ends_at:
            raise _ExhaustedError
        written = (_in_form(upstream, forms.get(name, Form.FULL)) for name, upstream in self._upstreams.items())
        try:
            self._text = self._render(tuple(upstream for upstream in written if upstream is not None))
            tested = await self._test(self._text)
        except (RenderError, ConfigRejectedError) as refusal:
            return refusal
        reduced = ((name, form) for name, form in sorted(forms.items()) if form is not Form.FULL)
        fallbacks = (Fallback(upstream=name, form=form, error=self._errors.get(name, "")) for name, form in reduced)
        self.candidate = Candidate(text=self._text, tested=tested, fallbacks=tuple(fallbacks))
        return None

    async def found(self, refusal: Refusal, *, known: Forms) -> Forms | None:
        """Find the forms that pass, after all in full were refused; `candidate` is theirs then."""
        known = {name: form for name, form in known.items() if name in self._upstreams}
        self._errors = dict.fromkeys(known, str(refusal))
        if known and await self.tried(known) is None:
            return await self._raised(known)
        forms = await self._by_words(refusal) or await self._by_halves(refusal)
        return None if forms is None else await self._raised(forms)

    async def _by_words(self, refusal: Refusal) -> Forms | None:
        """Reduce, step by step, whomever the refusal names."""
        forms: dict[str, Form] = {}
        current: Refusal | None = refusal
        while current is not None:
            name = self._blamed(current, forms)
            if name is None:
                return None
            forms[name] = _LESSER[forms.get(name, Form.FULL)]
            self._errors[name] = str(current)
            current = await self.tried(forms)
        return forms

    def _blamed(self, refusal: Refusal, forms: Forms) -> str | None:
        """Guess which upstream a refusal is about; `None` if it names none that could be reduced further."""
        guesses: Iterable[str] = (name for name in self._names if not self._can_be_rendered(name, forms))
        if isinstance(refusal, ConfigRejectedError):
            at_line = () if refusal.line is None else _upstream_at(self._text, refusal.line)
            guesses = (*at_line, *(word.lower() for word in _QUOTED.findall(refusal.stderr)))
        return next((name for name in guesses if name in self._upstreams and forms.get(name) is not Form.OUT), None)

    def _can_be_rendered(self, name: str, forms: Forms) -> bool:
        written = _in_form(self._upstreams[name], forms.get(name, Form.FULL))
        try:
            self._render(() if written is None else (written,))
        except RenderError:
            return False
        return True

    async def _by_halves(self, refusal: Refusal) -> Forms | None:
        """Find the culprits without a word: in the least reduction of all that passes, restore by halves."""
        for base in _LESSER.values():
            if await self.tried(dict.fromkeys(self._names, base)) is None:
                return await self._culprits(refusal, base=base)
        return None

    async def _culprits(self, refusal: Refusal, *, base: Form) -> Forms:
        forms: dict[str, Form] = {}
        while await self.tried(forms) is not None:
            passes, refused = 0, len(self._names)  # how many of the names can be in full beside the rest's *base*
            while refused - passes > 1:
                middle = (passes + refused) // 2
                rest = dict.fromkeys(self._names[middle:], base)
                passes, refused = (passes, middle) if await self.tried(rest | forms) is not None else (middle, refused)
            culprit = self._names[refused - 1]
            if culprit in forms:  # what passed does no longer: the user's files changed under the search
                raise _ExhaustedError
            forms[culprit] = base
            self._errors[culprit] = str(refusal)
        return forms

    async def _raised(self, forms: Forms) -> Forms:
        """Give each reduced upstream back as much as passes: a guess may have been wrong, or a cause gone."""
        best = dict(forms)
        kept = self.candidate
        try:
            for name, form in forms.items():
                for better in _better_than(form, alone=len(forms) == 1):
                    if await self.tried(best | {name: better}) is None:
                        best[name], kept = better, self.candidate
                        break
        except _ExhaustedError:
            pass  # what passed is good enough
        self.candidate = kept
        return best


def _better_than(form: Form, *, alone: bool) -> tuple[Form, ...]:
    """List the forms to try again, the best first; one that is reduced *alone* was refused in full already."""
    better = tuple(Form)[: tuple(Form).index(form)]
    return better[1:] if alone else better


def _in_form(upstream: Upstream, form: Form) -> Upstream | None:
    if form is Form.FULL:
        return upstream
    if form is Form.OUT:
        return None
    return Upstream(name=upstream.name, servers=_plain(upstream.servers) if form is Form.PLAIN else ())


def _plain(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    return tuple(Server(address=server.address, port=server.port, backend=server.backend) for server in servers)


def _upstream_at(text: str, line: int) -> tuple[str, ...]:
    """Name the `upstream` block around a line, counted from 1; nothing if another block ended in between."""
    lines = text.splitlines()[:line]
    for number in range(len(lines) - 1, -1, -1):
        if (opened := _OPENS.match(lines[number])) is not None:
            return (opened[1].lower(),)
        if lines[number].startswith("}") and number != len(lines) - 1:
            return ()
    return ()

"""What a check came to: one line of the answer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from lbwatch.core.errors import excerpt

MOST_LINES = 5
"""Of one kind: a thousand containers with one mistake are one mistake."""


class Verdict(StrEnum):
    """How a line begins; one that failed makes the exit code 1, and a warning does not."""

    OK = "ok"
    WARN = "warn"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One line: what it is about, how that is, and in words why, and what to do.

    Attributes:
        part: A word of at most eight letters.
    """

    part: str
    verdict: Verdict
    words: str


def ok(part: str, words: str, /) -> Finding:
    """Return that a part is as it should be."""
    return Finding(part=part, verdict=Verdict.OK, words=words)


def warn(part: str, words: str, /) -> Finding:
    """Return what of a part may be wrong, or could not be found out."""
    return Finding(part=part, verdict=Verdict.WARN, words=words)


def failed(part: str, words: str, /) -> Finding:
    """Return what of a part is wrong."""
    return Finding(part=part, verdict=Verdict.FAILED, words=words)


def closed_site_words(host: str, /, *, path: str = "", why: str) -> str:
    """Return that a host, or a path of it, is closed."""
    between = " " if path and not path.startswith("/") else ""  # before a modifier, as of a regexp
    host = f"host {excerpt(f'{host}{between}{path}')}"
    return why if why.startswith(f"{host} ") else f"{host} is closed to everyone: {why}"


def warnings(part: str, words: Iterable[str], /) -> Iterator[Finding]:
    """Return a warning for each of several like things; of many the first few, and how many more there are."""
    every = tuple(words)
    yield from (warn(part, each) for each in every[:MOST_LINES])
    if len(every) > MOST_LINES:
        yield warn(part, f"and {len(every) - MOST_LINES} more like these")

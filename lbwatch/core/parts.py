"""
The parts of a plan, which are written, tested and refused one by one: upstreams first, then sites, then streams.

Pure. They stand in the order of their names, in one tuple, which is the very same for as long as nothing changed.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection
from functools import wraps
from operator import attrgetter, is_
from typing import TypeVar

from lbwatch.core.changes import changed, named_in
from lbwatch.core.model import STREAM_MARK, Part, Plan, Stream, Upstream
from lbwatch.core.site import SITE_MARK, Site

T = TypeVar("T")
Parts = tuple[Part, ...]

_name_of = attrgetter("name")
_KEPT = 4  # answers: of what is wanted, written, tried and in force


def _kept(answer: Callable[[Parts], T]) -> Callable[[Parts], T]:
    """Have the latest answers kept, so that the same parts give the same object."""
    latest: list[tuple[Parts, T]] = []

    @wraps(answer)
    def found(parts: Parts) -> T:
        for known, its in latest:
            if known is parts:
                return its
        latest.insert(0, (parts, answer(parts)))
        del latest[_KEPT:]
        return latest[0][1]

    return found


def _others_at(parts: Parts) -> int:
    """Return where the upstreams end: no name of one begins with the mark of others, and all marks come behind."""
    return bisect_left(parts, SITE_MARK[0], key=_name_of)


@_kept
def _upstreams_in(parts: Parts) -> tuple[Upstream, ...]:
    return tuple(each for each in parts[: _others_at(parts)] if isinstance(each, Upstream))


@_kept
def _others_in(parts: Parts) -> tuple[Site | Stream, ...]:
    return tuple(each for each in parts[_others_at(parts) :] if not isinstance(each, Upstream))


def upstreams_in(parts: Parts) -> tuple[Upstream, ...]:
    """Return the upstreams among parts: the same object where there is nothing else."""
    if not parts or isinstance(parts[-1], Upstream):
        return parts  # type: ignore[return-value] # the last one is one, and all others come behind
    return _upstreams_in(parts)


def others_in(parts: Parts) -> tuple[Site | Stream, ...]:
    """Return the sites and streams among parts."""
    return _others_in(parts) if parts and not isinstance(parts[-1], Upstream) else ()


def sites_in(parts: Parts) -> tuple[Site, ...]:
    """Return the sites among parts."""
    return tuple(each for each in others_in(parts) if isinstance(each, Site))


def streams_in(parts: Parts) -> tuple[Stream, ...]:
    """Return the streams among parts."""
    return tuple(each for each in others_in(parts) if isinstance(each, Stream))


def parts_of(parts: Parts, names: Collection[str]) -> list[Part]:
    """Return the parts of these names, as far as they are there."""
    return named_in(parts, names)


def changed_parts(before: Parts, after: Parts) -> tuple[tuple[Part | None, Part | None], ...]:
    """Return the parts that are other objects, as they were and as they are; `None`: not there."""
    return () if before is after else changed(before, after)


def other_names(before: Parts, after: Parts) -> tuple[str, ...]:
    """Return the names of the sites and streams that are others than before, came or went."""
    changes = changed_parts(others_in(before), others_in(after))
    return tuple(each.name for old, new in changes if (each := new or old) is not None)


def kind_of(name: str) -> tuple[type[Part], str]:
    """Return what a part is, and what it is called by itself: the upstream's name, the host, or the port."""
    if name.startswith(STREAM_MARK):
        return Stream, name.removeprefix(STREAM_MARK)
    return (Site, name.removeprefix(SITE_MARK)) if name.startswith(SITE_MARK) else (Upstream, name)


def is_upstream(name: str) -> bool:
    """Return whether a part is an upstream, by its name."""
    return kind_of(name)[0] is Upstream


def part_words(name: str) -> str:
    """Return what a part is called in a sentence, by its name."""
    kind, own = kind_of(name)
    if kind is Site and not own:
        return "the site of unknown hosts"
    words: dict[type[Part], str] = {Site: "host", Stream: "port", Upstream: "upstream"}
    return f"{words[kind]} {own}"


class PlanParts:
    """Puts together the parts of one plan after the other: the same tuple for as long as all are the same."""

    def __init__(self) -> None:
        self._parts: Parts = ()

    def of(self, plan: Plan) -> Parts:
        """Return the parts of a plan."""
        parts = plan.parts
        is_same = len(parts) == len(self._parts) and all(map(is_, parts, self._parts))
        if not is_same or parts is plan.upstreams:  # then it is the plan's own tuple, by whose identity others go
            self._parts = parts
        return self._parts

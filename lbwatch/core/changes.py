"""
What changed from pass to pass: of thousands of containers, routes and upstreams a few.

Pure. What did not change is the same object (see `table`), so that identity tells, and most of the work is done by
Python's own loops in C.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from itertools import compress
from operator import attrgetter, is_not
from typing import Protocol, TypeVar

from lbwatch.core.model import Container, Degraded, Plan, Route, Upstream

T = TypeVar("T")
C = TypeVar("C")
N = TypeVar("N", bound="_Named")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_MANY = 100
"""So many names are looked for one by one; for more of them all routes are looked at."""

UpstreamChange = tuple[Upstream | None, Upstream | None]
"""An upstream as it was and as it is; `None`: it was, or is, not there."""

_container_of, _name_of, _servers_of = attrgetter("container"), attrgetter("name"), attrgetter("servers")


def _of_latest(
    compare: Callable[[tuple[T, ...], tuple[T, ...]], C],
) -> Callable[[tuple[T, ...], tuple[T, ...]], C]:
    """
    Have the answer kept for the two that were compared last, and none computed where both are the same object.

    They are compared by several who know nothing of each other. The two are kept too, so that their identity means
    something.
    """
    latest: list[tuple[tuple[T, ...], tuple[T, ...], C]] = []

    @wraps(compare)
    def compared(before: tuple[T, ...], after: tuple[T, ...]) -> C:
        if before is after:
            return compare((), ())
        if not latest or latest[0][0] is not before or latest[0][1] is not after:
            latest[:] = [(before, after, compare(before, after))]
        return latest[0][2]

    return compared


def changed_ids(before: Mapping[str, Container], now: Mapping[str, Container]) -> list[str]:
    """
    Return the ids of the containers that changed, came or went.

    A source keeps the very same object for a container that did not change, and publishes the very same mapping where
    none did.
    """
    if before is now:
        return []
    changed = list(compress(now, map(is_not, map(before.get, now), now.values())))
    gone = before.keys() - now.keys()
    return [*changed, *sorted(gone)] if gone else changed


@_of_latest
def changed_upstreams(before: tuple[Upstream, ...], after: tuple[Upstream, ...]) -> tuple[UpstreamChange, ...]:
    """Return the upstreams that are other objects; both are sorted by name."""
    return changed(before, after)


def changed(before: tuple[N, ...], after: tuple[N, ...]) -> tuple[tuple[N | None, N | None], ...]:
    """Return what has a name and is another object, as it was and as it is; both are sorted by name."""
    pairs = tuple(compress(zip(before, after, strict=False), map(is_not, before, after)))
    # Most often only their servers differ: then they stand in the same places.
    if len(before) == len(after) and all(old.name == new.name for old, new in pairs):
        return pairs
    was, now = ({each.name: each for each in named} for named in (before, after))
    names = sorted(name for name in was.keys() | now.keys() if was.get(name) is not now.get(name))
    return tuple((was.get(name), now.get(name)) for name in names)


def servers_in(upstreams: Iterable[Upstream]) -> int:
    """Return how many servers upstreams have together."""
    return sum(map(len, map(_servers_of, upstreams)))


@_of_latest
def changed_containers(before: tuple[Route, ...], after: tuple[Route, ...]) -> frozenset[str]:
    """Return the names of the containers whose routes may be others; both are sorted as a plan's are."""
    # Most often one route took another's place; where some came or went, all behind it stand elsewhere.
    if len(before) == len(after):
        others = list(map(is_not, before, after))
        before, after = tuple(compress(before, others)), tuple(compress(after, others))
    was, now = dict(zip(map(id, before), before, strict=True)), dict(zip(map(id, after), after, strict=True))
    return frozenset((was.get(key) or now[key]).container for key in was.keys() ^ now.keys())


def routes_of(routes: tuple[Route, ...], names: Collection[str]) -> list[Route]:
    """Return the routes of the containers of these names; they are sorted as a plan's are."""
    if len(names) > _MANY:
        return [each for each in routes if each.container in names]
    return [each for name in sorted(names) for each in routes[slice(*_span(routes, name))]]


def upstreams_of(upstreams: tuple[Upstream, ...], names: Collection[str]) -> list[Upstream]:
    """Return the upstreams of these names, as far as they are there; they are sorted by name."""
    return named_in(upstreams, names)


def named_in(named: tuple[N, ...], names: Collection[str]) -> list[N]:
    """Return what has one of these names, as far as it is there; all of it is sorted by name."""
    if len(names) > _MANY:
        return [each for each in named if each.name in names]
    places = ((bisect_left(named, name, key=_name_of), name) for name in sorted(names))
    return [named[at] for at, name in places if at < len(named) and named[at].name == name]


def spliced(routes: tuple[Route, ...], changed: Mapping[str, tuple[Route, ...]]) -> tuple[Route, ...]:
    """Return a plan's routes with those of the containers of some names in the place of what they were."""
    for name, new in changed.items():
        first, last = _span(routes, name)
        routes = routes[:first] + new + routes[last:]
    return routes


def _span(routes: tuple[Route, ...], name: str) -> tuple[int, int]:
    first = bisect_left(routes, name, key=_container_of)
    return first, bisect_right(routes, name, lo=first, key=_container_of)


class RowChanges:
    """Compares what becomes of containers from look to look, also by what nginx runs of it."""

    def __init__(self) -> None:
        self._routes: tuple[Route, ...] = ()
        self._special: frozenset[str] = frozenset()  # upstreams that were not in force as planned

    def containers(self, plan: Plan, *, in_force: tuple[Upstream, ...], degraded: Iterable[Degraded]) -> frozenset[str]:
        """
        Return the names of the containers whose rows may be others than at the call before.

        Args:
            plan: What is planned.
            in_force: What nginx runs.
            degraded: Which upstreams could not be written as they should be.
        """
        special = {each.upstream for each in degraded}
        if in_force is not plan.upstreams:
            special |= {new.name for old, new in changed_upstreams(in_force, plan.upstreams) if new and old != new}
        names = changed_containers(self._routes, plan.routes)
        if either := special | self._special:
            names |= {route.container for route in (*self._routes, *plan.routes) if route.upstream in either}
        self._routes, self._special = plan.routes, frozenset(special)
        return names

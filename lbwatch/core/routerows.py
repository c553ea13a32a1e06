"""
What is said of each container by its labels, its upstreams, hosts and ports, put together into its routes. Pure.

Each source says all that it has to say at once, in the place of what it said before; of the containers of which it
then says something else, and of no others, the routes are put together anew.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from lbwatch.core.changes import spliced
from lbwatch.core.model import Notice, Route

MANY = 100
"""For so many changes what was there before is patched; for more it is put together anew."""

Row = tuple[tuple[Route, ...], tuple[Notice, ...]]
"""What one source says of one container."""


@dataclass(slots=True)
class Names:
    """Names in order, each once."""

    names: list[str] = field(default_factory=list)

    def set(self, name: str, *, there: bool) -> bool:
        """Have a name among them, or not; return whether that is new."""
        at = bisect_left(self.names, name)
        is_there = at < len(self.names) and self.names[at] == name
        if there and not is_there:
            self.names.insert(at, name)
        elif is_there and not there:
            del self.names[at]
        return there != is_there


class RouteRows:
    """All that was said, and the routes that it came to."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Row]] = defaultdict(dict)  # by the container's name and by the source
        self._named: dict[str, tuple[str, ...]] = {}  # the containers of which a source says something
        self._touched: set[str] = set()  # those of which something else may be said since the latest `settle`
        self._routes: dict[str, tuple[Route, ...]] = {}  # by the container's name, the rows put together
        self._containers = Names()

    def say(self, source: str, rows: Mapping[str, Row]) -> None:
        """
        Take what a source says now, in the place of what it said before.

        Args:
            source: Its name, unlike any other's.
            rows: By the names of the containers of which it says something.
        """
        for name in self._named.pop(source, ()):
            self._rows[name].pop(source, None)
            self._touched.add(name)
        for name, row in rows.items():
            self._rows[name][source] = row
            self._touched.add(name)
        if rows:
            self._named[source] = tuple(rows)

    def settle(self) -> list[str]:
        """Return the names of the containers whose routes are others than at the call before."""
        touched, self._touched = self._touched, set()
        return [name for name in touched if self._put_together(name)]

    def all(self, before: tuple[Route, ...], *, changed: Collection[str], anew: bool) -> tuple[Route, ...]:
        """
        Return all routes, sorted as a plan's are.

        Args:
            before: Those of the plan before.
            changed: The names of the containers of which they are others since.
            anew: Whether nothing of that plan holds.
        """
        if anew or len(changed) > MANY:
            return tuple(chain.from_iterable(map(self._routes.__getitem__, self._containers.names)))
        return spliced(before, {name: self._routes.get(name, ()) for name in changed})

    def _put_together(self, name: str) -> bool:
        rows = self._rows.get(name)
        if not rows:
            self._rows.pop(name, None)
        # Notices stand in all routes of a container, whichever upstream they come from.
        notices = sorted(chain.from_iterable(each for _, each in (rows or {}).values()), key=_by_kind)
        routes = chain.from_iterable(each for each, _ in (rows or {}).values())
        noted = (replace(each, notices=tuple(notices)) for each in routes) if notices else routes
        together = tuple(sorted(noted, key=_by_container))
        before = self._routes.pop(name, ())
        if together:
            self._routes[name] = before if together == before else together
        self._containers.set(name, there=bool(together))
        return together != before


def _by_container(route: Route) -> tuple[str, str, str, int, str, str, str]:
    """Return what the routes of a plan are sorted by; for a moment two containers may have one name."""
    # Not by `route.address`, which writes a text: there may be thousands of routes in each pass.
    address, port = ("", 0) if route.server is None else (route.server.address, route.server.port)
    words = route.reason or "", route.detail or "", route.site or ""
    return route.container, route.upstream or "", address, port, *words


def _by_kind(notice: Notice) -> tuple[str, str]:
    return notice.kind, notice.detail

"""
The one table that everything shows: the routes of a plan, stamped with what runs of it.

Pure, and nothing is decided here.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType

from lbwatch.core.changes import upstreams_of
from lbwatch.core.model import (
    Degraded,
    Level,
    Notice,
    NoticeKind,
    Reason,
    Route,
    Stream,
    Upstream,
)
from lbwatch.core.parts import part_words
from lbwatch.core.site import SITE_MARK, Site
from lbwatch.core.streams import refused_ports

Since = Mapping[tuple[str, str | None, str | None], float]
"""Since when each route stands as it does, by container, upstream and site, in seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """
    What the load balancer runs of a plan.

    Attributes:
        upstreams: What it runs, sorted by name.
        missing: Why it does not run the rest, in words.
    """

    upstreams: tuple[Upstream, ...]
    missing: str


def stamped(
    routes: Iterable[Route],
    *,
    degraded: Iterable[Degraded] = (),
    running: Running | None = None,
    since: Since = MappingProxyType({}),
    streams: Iterable[Stream] = (),
    sites: Iterable[Site] = (),
) -> tuple[Route, ...]:
    """
    Return the routes of a plan as they are now, beside what was planned: the one table that everything shows.

    Args:
        routes: As planned.
        degraded: Which upstreams could not be written as they should be.
        running: What the load balancer runs; `None`: all of the plan, as far as this is asked.
        since: Since when each stands as it does.
        streams: The ports of the plan.
        sites: The hosts of the plan.
    """
    levels = {each.upstream: each for each in degraded}
    words = {name: degraded_words(each) for name, each in levels.items()}
    ports = refused_ports(streams, words=words)
    routes = tuple(routes)
    runs = None if running is None else _places(running.upstreams, of={each.upstream or "" for each in routes})

    def one(route: Route) -> Route:
        if route.server is not None:
            key = route.upstream or "", route.server.address, route.server.port
            missing = running.missing if running is not None and runs is not None and key not in runs else None
            route = _stamped(route, degraded=levels.get(route.upstream or ""), missing=missing)
            if notices := ports.get(route.upstream or ""):
                route = replace(route, notices=(*route.notices, *notices))
        at = since.get((route.container, route.upstream, route.site))
        return route if at is None else replace(route, since=at)

    rows = chain(map(one, routes), _refused_hosts(routes, sites=sites, words=words))
    return tuple(sorted(rows, key=lambda each: (each.container, each.upstream or "", each.address or "")))


def _refused_hosts(routes: Iterable[Route], *, sites: Iterable[Site], words: Mapping[str, str]) -> Iterable[Route]:
    """
    Return a row for each container and each path of a host that nginx refuses, which it does not get for that.

    Args:
        routes: As planned.
        sites: The hosts of the plan.
        words: What became of the parts that are not written as they should be, by name.
    """
    if not any(name.startswith(SITE_MARK) for name in words):  # the rule: nobody has to be looked for
        return
    containers: dict[str, dict[str, None]] = defaultdict(dict)
    for route in routes:
        if route.server is not None and route.upstream is not None:
            containers[route.upstream][route.container] = None
    for site in sites:
        for each in site.locations if site.name in words else ():
            row = Route(
                container="",
                upstream=each.upstream,
                site=f"{site.host}{each.path}",
                reason=Reason.HOST_REFUSED,
                detail=words[site.name],
            )
            yield from (replace(row, container=name) for name in containers[each.upstream])


def _places(upstreams: tuple[Upstream, ...], *, of: Collection[str]) -> set[tuple[str, str, int]]:
    """Return the servers of those upstreams that have one *of* these names."""
    return {(each.name, one.address, one.port) for each in upstreams_of(upstreams, of) for one in each.servers}


def _stamped(route: Route, *, degraded: Degraded | None, missing: str | None) -> Route:
    """Return the route of a planned server: as planned, or why it is not there."""
    # What cannot be written at all comes first: to say that nginx does not run it yet would promise that it will.
    if degraded is not None and not _is_written(route, degraded):
        reason, detail = Reason.UPSTREAM_REFUSED, degraded_words(degraded)
        return replace(route, server=None, state=None, reason=reason, detail=detail)
    if missing is not None:
        detail = f"it would serve at {route.address}, but nginx does not run that: {missing}"
        return replace(route, server=None, state=None, reason=Reason.NOT_IN_FORCE, detail=detail)
    if degraded is None:
        return route
    notice = Notice(kind=NoticeKind.DEGRADED, detail=degraded_words(degraded))
    return replace(route, notices=(*route.notices, notice))


def _is_written(route: Route, degraded: Degraded) -> bool:
    """Return whether the server of a route is there in spite of what its upstream lacks."""
    if degraded.level is Level.OLD:
        return route.server is not None and any(
            (each.address, each.port) == (route.server.address, route.server.port) for each in degraded.servers
        )
    # Without its parameters a server that drains would get new clients: it is left out there.
    return degraded.level is Level.PLAIN and not (route.server is not None and route.server.draining)


def degraded_words(degraded: Degraded) -> str:
    """Return what became of a part that is not written as it should be, in words."""
    if degraded.upstream.startswith(SITE_MARK) and degraded.level in (Level.PLAIN, Level.EMPTY):
        how = "answers 503 to everyone" + (", without HTTPS" if degraded.level is Level.EMPTY else "")
    elif degraded.kept:
        how = "has no container any more and is kept, without a server, for nginx's own files (declare keeps it always)"
    elif degraded.level is Level.PLAIN:
        how = "is written without its parameters"
    elif degraded.level is Level.OLD:
        how = "stays as it was, less what has gone"
    else:
        how = "is left out"
    return f"{part_words(degraded.upstream)} {how}: {degraded.error}"

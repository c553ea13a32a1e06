"""
Leaves of a report what a reader asks for; the server does it, since the browser has only the rows that are drawn.

Pure, and bounded: a container's labels may be megabytes long.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import astuple, replace
from itertools import islice

from lbwatch.api.page.query import Query
from lbwatch.api.report import ChangeReport, Report, ServerReport, UpstreamReport
from lbwatch.api.sites import LocationReport, SiteReport, StreamReport
from lbwatch.core.model import Container, Route
from lbwatch.core.origins import origin_of

MAX_LABELS = 64
MAX_CHARS = 256
"""Of a container's labels that are searched, and of each of them; more are no names."""

_NAMING = ("project", "service", "service.name", "namespace")
"""Ends of those labels of Compose and Swarm that name something; the others are hashes, paths and versions."""

Words = Mapping[str, str]
"""What more is found of each container than its rows have, by its name and in lower case."""


def words_of(containers: Iterable[Container], *, prefix: str) -> Words:
    """
    Return images, networks, engines and what a Swarm calls its tasks, and the labels that are shown.

    Args:
        containers: All of them.
        prefix: Of our labels, without the dot.
    """
    words: dict[str, list[str]] = defaultdict(list)
    for each in containers:
        labels = islice((pair for pair in each.labels if _is_searched(pair[0], prefix=prefix)), MAX_LABELS)
        networks = (one for place in each.endpoints for one in (place.network, place.ipv4, place.ipv6))
        origin = filter(None, astuple(origin_of(each)))
        words[each.name] += (each.image, *origin, *networks, *(f"{key}={value}"[:MAX_CHARS] for key, value in labels))
    return {name: " ".join(texts).lower() for name, texts in words.items()}


def _is_searched(key: str, *, prefix: str) -> bool:
    # What is not shown is not found either: a label for a template or for another program may hold a password, and who
    # searches for its first letters could guess it letter by letter.
    if key.startswith("com.docker."):
        return key.endswith(_NAMING)
    return key.lower().startswith(f"{prefix}.") and ".vars." not in key.lower()


def narrowed(report: Report, *, query: Query, words: Words) -> Report:
    """Return a report with those rows alone that are asked for; how things stand is as before."""
    if name := query.upstream:
        report = replace(
            report,
            upstreams=tuple(each for each in report.upstreams if each.name == name),
            sites=tuple(each for each in report.sites if any(one.upstream == name for one in each.locations)),
            streams=tuple(each for each in report.streams if each.upstream == name),
            routes=tuple(each for each in report.routes if each.upstream == name),
            changes=tuple(each for each in report.changes if name in each.difference),
        )
    if not (terms := query.terms):
        return report
    return replace(
        report,
        upstreams=tuple(_upstreams(report.upstreams, terms=terms, words=words)),
        sites=tuple(each for each in report.sites if _has(_site_text(each, words=words), terms)),
        streams=tuple(each for each in report.streams if _has(_stream_text(each), terms)),
        routes=tuple(each for each in report.routes if _has(_route_text(each, words=words), terms)),
        changes=tuple(each for each in report.changes if _has(_change_text(each), terms)),
    )


def _has(text: str, terms: tuple[str, ...]) -> bool:
    text = text.lower()
    return all(term in text for term in terms)


def _upstreams(
    upstreams: Iterable[UpstreamReport], *, terms: tuple[str, ...], words: Words
) -> Iterable[UpstreamReport]:
    """Return those of which something is found: all of one that is meant itself, else the servers that are."""
    for each in upstreams:
        paused = "paused" if each.paused else ""
        own = f"{each.name} {each.words} {each.note or ''} {paused}"
        if _has(own, terms):
            yield each
        elif servers := tuple(one for one in each.servers if _has(f"{own} {_server_text(one, words=words)}", terms)):
            yield replace(each, servers=servers)


def _server_text(server: ServerReport, *, words: Words) -> str:
    name = server.container or ""
    role = "backup" if server.backup else f"weight {server.weight}"
    return f"{server.address}:{server.port} {name} {server.state} {role} {words.get(name, '')}"


def _route_text(route: Route, *, words: Words) -> str:
    notices = " ".join(notice.detail for notice in route.notices)
    said = f"{route.container} {route.upstream or ''} {route.address or ''} {route.reason or ''} {route.detail or ''}"
    return f"{said} {notices} {words.get(route.container, '')}"


def _site_text(site: SiteReport, *, words: Words) -> str:
    certificate = "" if site.certificate is None else f"{site.certificate.name} {site.certificate.warning or ''}"
    state = f"{'closed' if site.is_closed else ''} {site.http} {site.closed or ''} {site.redirect_to or ''}"
    paths = " ".join(_location_text(each, words=words) for each in site.locations)
    return f"{site.host} {'https' if site.https else ''} {certificate} {state} {paths}"


def _location_text(location: LocationReport, *, words: Words) -> str:
    names = " ".join(f"{each} {words.get(each, '')}" for each in location.containers)
    return f"{location.path} {location.upstream} {location.closed or ''} {names}"


def _stream_text(stream: StreamReport) -> str:
    return f"{stream.port}/{stream.protocol} {stream.upstream} {stream.note or ''}"


def _change_text(change: ChangeReport) -> str:
    return f"{change.outcome} {change.digest} {change.error or ''} {change.difference}"

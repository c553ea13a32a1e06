"""
Which of nginx's server blocks pass to upstreams of ours, and whether another one takes their requests.

A request goes to the server block that has its host among its `server_name`s, else to the default one of the address
that it came to: the one that says `default_server`, or the first (https://nginx.org/en/docs/http/request_processing.html).
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from lbwatch.balancers.nginx.config_test.dump import Line, configuration

_PASSES = frozenset(f"{kind}_pass" for kind in ("proxy", "grpc", "fastcgi", "uwsgi", "scgi", "memcached"))
_DEFAULT = frozenset(("default_server", "default"))
_NO_NAMES = frozenset(("", "_"))
"""Names that no request has: people write them where they mean any."""

_EVERYWHERE = frozenset(("", "*", "0.0.0.0"))  # noqa: S104 - as nginx's files name it
_TARGET = re.compile(r"(?:[a-z]+://)?([^/:?]*)")
_PLACE = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>.+))?")
_PORTS = re.compile(r"\d+(?:-\d+)?")
_PORT = "80"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """
    A server block.

    Attributes:
        path: Of its file.
        line: Where it begins in there.
        listens: The addresses and ports that it listens at, and whether it says that it is the default there.
        names: Its `server_name`s that a request can have.
        upstreams: Where it passes requests to, as written in lower case.
        is_open: Whether it may pass them anywhere: a variable decides.
        redirects: Whether it sends all clients elsewhere.
    """

    path: str
    line: int
    listens: tuple[tuple[str, bool], ...]
    names: tuple[str, ...]
    upstreams: frozenset[str]
    is_open: bool
    redirects: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """
    A site of ours that no request reaches at some address.

    Attributes:
        site: Ours.
        place: The address and port.
        by: The server block that gets the requests.
        is_said: Whether that one says that it is the default; else it is the first.
    """

    site: Site
    place: str
    by: Site
    is_said: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """
    What nginx has for upstreams of ours.

    Attributes:
        ours: The server blocks that pass to one of them, or may.
        hidden: Those of them whose requests go elsewhere, once each.
    """

    ours: tuple[Site, ...]
    hidden: tuple[Hidden, ...]


def sites_in(printed: str, *, upstreams: Collection[str]) -> Sites:
    """
    Return what nginx has for upstreams of ours.

    Args:
        printed: All that `nginx -T` printed.
        upstreams: Their names.
    """
    https = (each for each in configuration(printed) if each.name == "http")
    sites = tuple(_site(block) for http in https for block in http.blocks("server"))
    ours = tuple(each for each in sites if each.is_open or not each.upstreams.isdisjoint(upstreams))
    found = {each.site: each for each in reversed(tuple(_hidden(sites, ours=ours)))}
    return Sites(ours=ours, hidden=tuple(found[site] for site in ours if site in found))


def _hidden(sites: Iterable[Site], *, ours: Collection[Site]) -> Iterator[Hidden]:
    defaults: dict[str, tuple[Site, bool]] = {}
    for site in sites:
        for place, is_said in site.listens:
            if place not in defaults or is_said:
                defaults[place] = site, is_said
    for site in ours:
        for place, _ in site.listens:
            by, is_said = defaults[place]
            if not (site.names or by in ours or by.redirects):
                yield Hidden(site=site, place=place, by=by, is_said=is_said)


def _site(block: Line) -> Site:
    inner = tuple(block.all_inner())
    targets = [_TARGET.match(each.args[0].lower()) for each in inner if each.name in _PASSES and each.args]
    hosts = frozenset(found[1] for found in targets if found is not None)
    return Site(
        path=block.path,
        line=block.number,
        listens=tuple(_listens(block)),
        names=tuple(name for each in block.blocks("server_name") for name in each.args if name not in _NO_NAMES),
        upstreams=hosts,
        is_open=any("$" in host for host in hosts),
        redirects=any(each.args[:1] and each.args[0].startswith("30") for each in block.blocks("return")),
    )


def _listens(block: Line) -> Iterator[tuple[str, bool]]:
    """Return where a server block listens; sockets of the file system are no address that a browser is given."""
    found = [each.args for each in block.blocks("listen") if each.args]
    for place, *options in found or [(_PORT,)]:
        if not place.startswith("unix:"):
            yield _normal(place), not _DEFAULT.isdisjoint(options)


def _normal(place: str) -> str:
    """Return an address as one word for all of its spellings: `port 80` for that of all addresses."""
    if _PORTS.fullmatch(place):
        return f"port {place}"
    match = _PLACE.fullmatch(place)
    host, port = (place, None) if match is None else (match["host"], match["port"])
    return f"port {port or _PORT}" if host in _EVERYWHERE else f"{host}:{port or _PORT}"

"""
Which of nginx's server blocks pass to upstreams of ours, and whether another one takes their requests.

A request goes to the server block that has its host among its `server_name`s, else to the default one of the address
that it came to: the one that says `default_server`, or the first (https://nginx.org/en/docs/http/request_processing.html).
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
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
        is_written: Whether it is in the file that lbwatch writes.
    """

    path: str
    line: int
    listens: tuple[tuple[str, bool], ...]
    names: tuple[str, ...]
    upstreams: frozenset[str]
    is_open: bool
    redirects: bool
    is_written: bool = False


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
class Clash:
    """
    A server block of the user's for the same requests as one that lbwatch writes.

    Attributes:
        theirs: The user's.
        name: Which both have; empty: it gets what nobody has the name of, in place of the one that lbwatch writes.
        places: The addresses and ports at which it is so.
        wins: Whether the user's gets the requests; else the other does.
        is_said: Whether it says that it is the default there; else it is the first.
    """

    theirs: Site
    name: str
    places: tuple[str, ...]
    wins: bool = True
    is_said: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """
    What nginx has for upstreams of ours.

    Attributes:
        ours: The server blocks that pass to one of them, or may.
        hidden: Those of them whose requests go elsewhere, once each.
        clashes: Between the user's server blocks and those that lbwatch writes.
    """

    ours: tuple[Site, ...]
    hidden: tuple[Hidden, ...]
    clashes: tuple[Clash, ...] = ()


def sites_in(printed: str, *, upstreams: Collection[str], is_output: Callable[[str], bool] = lambda _: False) -> Sites:
    """
    Return what nginx has for upstreams of ours.

    Args:
        printed: All that `nginx -T` printed.
        upstreams: Their names.
        is_output: Returns whether a path is that of the file that lbwatch writes.
    """
    https = (each for each in configuration(printed) if each.name == "http")
    sites = tuple(_site(block, is_output=is_output) for http in https for block in http.blocks("server"))
    ours = tuple(each for each in sites if each.is_open or not each.upstreams.isdisjoint(upstreams))
    found = {each.site: each for each in reversed(tuple(_hidden(sites, ours=ours)))}
    clashes = (*_unknown_clashes(sites), *_name_clashes(sites))
    return Sites(ours=ours, hidden=tuple(found[site] for site in ours if site in found), clashes=clashes)


def _unknown_clashes(sites: Collection[Site]) -> Iterator[Clash]:
    """Return those of the user's that get the requests for unknown hosts, of addresses where lbwatch has sites."""
    written = {place: None for site in sites if site.is_written for place, _ in site.listens}
    defaults = _defaults(sites)
    places: dict[tuple[Site, bool], list[str]] = {}
    for place in written:
        if not defaults[place][0].is_written:
            places.setdefault(defaults[place], []).append(place)
    for (theirs, is_said), at in places.items():
        yield Clash(theirs=theirs, name="", places=tuple(at), is_said=is_said)


def _name_clashes(sites: Iterable[Site]) -> Iterator[Clash]:
    """Return those of the user's that have a name of a site of lbwatch's at the same address: nginx takes the first."""
    first: dict[tuple[str, str], Site] = {}
    places: dict[tuple[Site, str, bool], list[str]] = {}
    for site in sites:
        for place, _ in site.listens:
            for name in site.names:
                winner = first.setdefault((place, name), site)
                if winner.is_written != site.is_written:
                    theirs = site if winner.is_written else winner
                    places.setdefault((theirs, name, theirs is winner), []).append(place)
    for (theirs, name, wins), at in places.items():
        yield Clash(theirs=theirs, name=name, places=tuple(dict.fromkeys(at)), wins=wins)


def _defaults(sites: Iterable[Site]) -> dict[str, tuple[Site, bool]]:
    """Return by address who gets the requests that nobody has the name of, and whether that one says so."""
    defaults: dict[str, tuple[Site, bool]] = {}
    for site in sites:
        for place, is_said in site.listens:
            if place not in defaults or is_said:
                defaults[place] = site, is_said
    return defaults


def _hidden(sites: Iterable[Site], *, ours: Collection[Site]) -> Iterator[Hidden]:
    defaults = _defaults(sites)
    for site in ours:
        for place, _ in site.listens:
            by, is_said = defaults[place]
            if not (site.names or by in ours or by.redirects):
                yield Hidden(site=site, place=place, by=by, is_said=is_said)


def _site(block: Line, *, is_output: Callable[[str], bool]) -> Site:
    inner = tuple(block.all_inner())
    targets = [_TARGET.match(each.args[0].lower()) for each in inner if each.name in _PASSES and each.args]
    hosts = frozenset(found[1] for found in targets if found is not None)
    return Site(
        path=block.path,
        line=block.number,
        listens=tuple(_listens(block)),
        names=tuple(dict.fromkeys(_names(block))),
        upstreams=hosts,
        is_open=any("$" in host for host in hosts),
        redirects=any(each.args[:1] and each.args[0].startswith("30") for each in block.blocks("return")),
        is_written=is_output(block.path),
    )


def _names(block: Line) -> Iterator[str]:
    """Return the names that a request can have, each as one word for all of its spellings."""
    for name in (name for each in block.blocks("server_name") for name in each.args if name not in _NO_NAMES):
        text = name if name.startswith("~") else name.lower()
        yield from (text[1:], f"*{text}") if text.startswith(".") else (text,)


def _listens(block: Line) -> Iterator[tuple[str, bool]]:
    """
    Return where a server block listens.

    Sockets of the file system are no address that a browser is given, and who speaks QUIC speaks TCP there, too.
    """
    found = [each.args for each in block.blocks("listen") if each.args]
    for place, *options in found or [(_PORT,)]:
        if not place.startswith("unix:") and "quic" not in options:
            yield _normal(place), not _DEFAULT.isdisjoint(options)


def _normal(place: str) -> str:
    """Return an address as one word for all of its spellings: `port 80` for that of all addresses."""
    if _PORTS.fullmatch(place):
        return f"port {place}"
    match = _PLACE.fullmatch(place)
    host, port = (place, None) if match is None else (match["host"], match["port"])
    return f"port {port or _PORT}" if host in _EVERYWHERE else f"{host}:{port or _PORT}"

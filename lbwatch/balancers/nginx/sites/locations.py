"""
The `location` blocks of a site. Pure.

Some paths become two: one that is stripped means itself and all that is below it, `/x` and `/x/`, but not `/xy`; and
one whose requests may wait for a server has a second place, where those come to that no server could be brought to.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import replace

from lbwatch.balancers.nginx.sites import words
from lbwatch.balancers.nginx.sites.blocks import LocationBlock
from lbwatch.core.site import Location, Match, Protocol, Site, SitePath

_SCHEMES = {
    Protocol.HTTP: ("proxy_pass", "http"),
    Protocol.HTTPS: ("proxy_pass", "https"),
    Protocol.GRPC: ("grpc_pass", "grpc"),
    Protocol.GRPCS: ("grpc_pass", "grpcs"),
}


def locations_of(site: Site, *, live: Collection[str]) -> tuple[LocationBlock, ...]:
    """
    Return the blocks of a site that serves.

    Args:
        site: Any one.
        live: Names of the upstreams of whose servers nginx's workers are told; requests can wait for these alone.
    """
    return tuple(_blocks(site, live=live))


def has_root(site: Site) -> bool:
    """Return whether some location of a site is for whatever no other one is for."""
    return any(
        each.path.text == "/" and each.path.match in (Match.PREFIX, Match.PREFIX_FIRST) for each in site.locations
    )


def is_writable(site: Site) -> bool:
    """Return whether nginx can be given every path of a file that a site's locations name."""
    named = (
        path
        for each in site.locations
        for path in (each.password_file, each.snippet, each.override, each.internal)
        if path is not None
    )
    return all(map(words.is_writable, named))


def _blocks(site: Site, *, live: Collection[str]) -> Iterator[LocationBlock]:
    taken = {each.path.compared for each in site.locations}
    number = 1
    for location in site.locations:
        # A file of the user's may say anything, such as which headers to send: what waits would go without.
        waits = location.upstream in live and site.snippet is None and location.snippet is None
        again = None
        if waits and location.closed is None and location.override is None and _is_repeatable(location):
            again = "@again" if number == 1 else f"@again_{number}"
            number += 1
        for path in _paths(location, taken=taken):
            yield _block(location, path=path, again=again)
        if again is not None:
            yield _again(location, name=again)


def _paths(location: Location, *, taken: Collection[tuple[Match, str]]) -> Iterator[SitePath]:
    """Return which locations of nginx's a path is."""
    path = location.path
    if not _is_stripped(location) or path.text.endswith("/") or path.match is Match.EXACT:
        yield path
        return
    # Where somebody else asks for just one of the two, it is theirs.
    for each in (replace(path, match=Match.EXACT), replace(path, text=f"{path.text}/")):
        if each.compared not in taken:
            yield each


def _is_stripped(location: Location) -> bool:
    wish = location.wish
    return wish.strips_path and not wish.dest and not location.path.match.is_regexp and location.path.text != "/"


def _dest(location: Location) -> str:
    """Return what the program sees in the place of the path; empty: the path as it came."""
    if location.path.match.is_regexp:
        return ""  # nginx takes none there
    return location.wish.dest or ("/" if _is_stripped(location) else "")


def _is_repeatable(location: Location) -> bool:
    """Return whether what the program sees can be said where nginx has no path to replace."""
    return "%" not in _dest(location)  # it would be escaped once more


def _match(path: SitePath) -> str:
    text = path.text if path.match.is_regexp else path.decoded
    written = words.word(text)
    return f"{path.match} {written}" if path.match else written


def _block(location: Location, *, path: SitePath, again: str | None) -> LocationBlock:
    wish = location.wish
    directive, scheme = _SCHEMES[wish.protocol]
    replaces = directive == "proxy_pass"  # `grpc_pass` takes no path
    return LocationBlock(
        match=_match(path),
        upstream=location.upstream,
        directive=directive,
        target=words.word(f"{scheme}://{location.upstream}{_dest(location) if replaces else ''}"),
        rewrite=None if replaces else _rewrite(location),
        hold=location.upstream,
        again=again,
        is_again=False,
        closed=location.closed is not None,
        # What is closed is so whatever a file of the user's says; and of a pipe nginx would never see the end.
        override=words.glob(location.override) if location.override is not None and location.closed is None else None,
        realm=words.realm(location.realm) if location.password_file is not None else None,
        password_file=None if location.password_file is None else words.path(location.password_file),
        allow=wish.allow,
        internal=None if location.internal is None else words.glob(location.internal),
        body_size=wish.body_size,
        read_timeout_s=wish.read_timeout_s,
        buffering=wish.buffering,
        keeps_connections=wish.keeps_connections,
        snippet=None if location.snippet is None else words.glob(location.snippet),
    )


def _again(location: Location, *, name: str) -> LocationBlock:
    """Return the block where requests wait that no server could be brought to: it is asked for the same."""
    first = _block(location, path=location.path, again=None)
    scheme = first.target.strip('"').partition("://")[0]
    return replace(
        first,
        match=name,
        target=f"{scheme}://{location.upstream}",
        rewrite=_rewrite(location),
        hold=f'"{location.upstream} again"',
        is_again=True,
    )


def _rewrite(location: Location) -> str | None:
    """Return what makes of a request's path the one that the program sees, as `proxy_pass` does with a path."""
    if not (dest := _dest(location)):
        return None
    path = location.path.decoded
    # The rest may have a line break, which a dot alone would not take, and the path would stay as it is.
    if _is_stripped(location):
        pattern, result = f"(?s)^{re.escape(path.rstrip('/'))}/?(.*)$", "/$1"
    elif location.path.match is Match.EXACT:
        pattern, result = "(?s)^.*$", dest
    else:
        pattern, result = f"(?s)^{re.escape(path)}(.*)$", f"{dest}$1"
    return f"{words.word(pattern)} {words.word(result)} break"

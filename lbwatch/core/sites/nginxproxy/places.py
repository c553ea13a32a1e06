"""Which paths of which hosts a container serves, by the plain variables: VIRTUAL_HOST and what stands beside it."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Reason
from lbwatch.core.site import ROOT, Protocol, SitePath
from lbwatch.core.sites import grammar
from lbwatch.core.sites.nginxproxy import names
from lbwatch.core.sites.nginxproxy.refusal import RefusedError, judged

_MODIFIED = re.compile(r"(=|\^~|~\*|~)(\s*)(\S.*)", re.DOTALL)
MAX_LINES: Final = 8
"""On one container's values of one kind."""

_OTHER_PROTOCOLS = ("uwsgi", "fastcgi")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    One path of one host, and what serves it.

    Attributes:
        host: As in `SiteWish`, likewise the next.
        path: Of that host.
        port: Of the container; `None`: the only one that it exposes, or 80.
        dest: See `LocationWish`.
        protocol: Likewise.
        http_port: Where the host listens; `None`: where all do.
        https_port: Likewise.
    """

    host: str
    path: SitePath = ROOT
    port: int | None = None
    dest: str | None = None
    protocol: Protocol = Protocol.HTTP
    http_port: int | None = None
    https_port: int | None = None


def places(said: Mapping[str, str]) -> tuple[Place, ...]:
    """Return what VIRTUAL_HOST and the variables beside it ask for; none where it names no host."""
    hosts = judged(names.HOST, said.get(names.HOST, ""), grammar.hosts)
    if not hosts:
        return ()
    path = _path(said.get(names.PATH, ""))
    port = said.get(names.PORT, "")
    dest = judged(names.DEST, said.get(names.DEST, ""), grammar.dest)
    proto = said.get(names.PROTO, "")
    if dest is not None and path.match.is_regexp:
        takes = f"it takes nothing beside a {names.PATH} that is a regexp"
        raise RefusedError(names.DEST, said[names.DEST], reason=Reason.BAD_PATH, takes=takes)
    common = Place(
        host="",
        path=path,
        port=judged(names.PORT, port, grammar.port) if port.strip() else None,
        dest=dest,
        protocol=judged(names.PROTO, proto, protocol) if proto.strip() else Protocol.HTTP,
    )
    return tuple(Place(host=host, path=path, port=common.port, dest=dest, protocol=common.protocol) for host in hosts)


def other_spellings(name: str, texts: Iterable[str], *, hosts: Collection[str]) -> tuple[str, ...]:
    """
    Return a line for each of the first hosts that are written otherwise than their files have to be named.

    nginx-proxy looks for files by a host as it is written. A password file that is not found closes nothing.

    Args:
        name: Of the variable that they stand in.
        texts: As they are written.
        hosts: What is made of them.
    """
    others = (text for each in texts if (text := each.strip()) and text not in hosts and text.lower() not in hosts)
    lines = (f"variable {name}: files of {excerpt(text)} are looked for as {grammar.host(text)}" for text in others)
    return tuple(islice(lines, MAX_LINES))


def _path(text: str) -> SitePath:
    if not text.strip():
        return ROOT
    return judged(names.PATH, text, _modified_path)


def _modified_path(text: str) -> SitePath:
    # nginx takes `~^/x` as it takes `~ ^/x`, and nginx-proxy's own examples are written so. Users' password files are
    # named by the digest of what is written: in another way than these two they would be missed.
    if (modified := _MODIFIED.fullmatch(text.strip())) is None:
        return grammar.site_path(text)
    if modified[2] not in ("", " "):
        raise grammar.GrammarError(Reason.BAD_PATH, "it takes one space at most behind =, ^~, ~ or ~*")
    return grammar.site_path(f"{modified[1]} {modified[3]}")


def protocol(text: str) -> Protocol:
    """Return what a program speaks, of nginx-proxy's words for it."""
    try:
        return grammar.protocol(text)
    except grammar.GrammarError as error:
        if text.strip().lower() not in _OTHER_PROTOCOLS:
            raise
        raise grammar.GrammarError(error.reason, f"{error.takes}; the others need a template of your own") from None

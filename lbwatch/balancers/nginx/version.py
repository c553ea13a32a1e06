"""
Which version of nginx there is, as nginx says it itself, and what it takes from which version on.

Pure. What is not known counts as old: it is written what every nginx takes.
"""

import re
from dataclasses import dataclass

STICKY_FROM = (1, 29, 6)
"""`sticky`, and `drain` of a server (nginx's change log)."""

KEEPALIVE_BY_DEFAULT_FROM = (1, 29, 7)
"""Connections to servers are kept in every upstream, and `keepalive 0` is taken, which keeps none (likewise)."""

HTTP2_ALONE_FROM = (1, 25, 1)
"""`http2 on`, of a server; before it is a word of `listen`, and from then on nginx warns of that (likewise)."""

MAX_LOOKED_AT = 4096
"""Characters of what a program printed: its version stands in one of the first lines."""

_PRINTED = re.compile(
    r"^(?:nginx|openresty) version: (?P<program>nginx|openresty)/"
    r"(?P<numbers>(?P<a>[0-9]{1,4})\.(?P<b>[0-9]{1,4})\.(?P<c>[0-9]{1,4})(?:\.[0-9]{1,4})?)(?![0-9.])",
    re.MULTILINE,
)
_NGINX = "nginx"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Version:
    """
    The version of an nginx.

    Attributes:
        numbers: Of nginx itself, also where it is part of another program.
        name: For people: `1.26.3`, or with the program's own name where that is another one, `openresty/1.25.3.1`.
    """

    numbers: tuple[int, int, int]
    name: str

    def __str__(self) -> str:
        return self.name


def version_in(printed: str) -> Version | None:
    """
    Return the version in what `nginx -v` or `-V` printed; `None`: there is none that says what it takes.

    The first three numbers of OpenResty's are those of the nginx in it. Other relatives (Angie, freenginx, Tengine)
    count by numbers of their own, which say nothing here.
    """
    if (match := _PRINTED.search(printed[:MAX_LOOKED_AT])) is None:
        return None
    numbers = int(match["a"]), int(match["b"]), int(match["c"])
    name = match["numbers"] if match["program"] == _NGINX else f"{match['program']}/{match['numbers']}"
    return Version(numbers=numbers, name=name)


def older(one: Version | None, other: Version | None) -> Version | None:
    """Return the older of two versions, of which either may not be known."""
    return min((each for each in (one, other) if each is not None), default=None)


def sticky_refusal(version: Version | None) -> str | None:
    """Return why an nginx keeps no client with its server, in words; `None`: it can."""
    if version is not None and version.numbers >= STICKY_FROM:
        return None
    first = ".".join(map(str, STICKY_FROM))
    which = "which nginx runs is not known" if version is None else f"this nginx is {version}"
    return f"it takes nginx {first} or newer, and {which}"


def takes_keepalive_off(version: Version | None) -> bool:
    """Return whether an nginx keeps connections by default, and takes `keepalive 0` against that."""
    return version is not None and version.numbers >= KEEPALIVE_BY_DEFAULT_FROM


def takes_http2_alone(version: Version | None) -> bool:
    """Return whether HTTP/2 is switched on by a directive of its own, server by server."""
    return version is not None and version.numbers >= HTTP2_ALONE_FROM

"""
Which ports nginx would listen on twice: for a port of ours in `stream {}`, and for something else.

Of another block nginx's own test says nothing, and then refuses the reload after 2.5 s, or does not start at all. Of
another server of `stream {}` that is so only until 1.25.5: since then only the first one is come to (facts, streams 1).
That another program has a port neither says: a reload is refused for it, and while nginx is down its next start.
"""

import errno
import re
import socket
from collections.abc import Iterator
from itertools import chain

from lbwatch.balancers.nginx.config_test.dump import Line, configuration

_LISTEN = re.compile(r"^\s*listen .*$", re.MULTILINE)
_OUR_LISTEN = re.compile(r"\s*listen (?:(?P<address>\d+\.\d+\.\d+\.\d+):)?(?P<port>\d{1,5})(?P<options>( [^;]*)?);")
_PORT = re.compile(r"(?:.*:)?(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?")
_DEFAULT = "80"  # where no server line says where it listens, nor any port
_BLOCKS = frozenset(("http", "mail", "stream"))
_DATAGRAMS = frozenset(("udp", "quic"))
_MOST = 65_536  # ports in a range

Port = tuple[int, str]


def listens_of(text: str) -> frozenset[str]:
    """Return the lines of a text that say where nginx listens, as a template writes them on lines of their own."""
    return frozenset(_LISTEN.findall(text))


def taken_port(printed: str, *, stream: str) -> str | None:
    """
    Return what is wrong with a port of a file for `stream {}`, as nginx would say it; `None`: nothing.

    Args:
        printed: All that `nginx -T` printed.
        stream: Path of the file.
    """
    servers = [
        (block.name, server)
        for block in configuration(printed)
        if block.name in _BLOCKS
        for server in block.blocks("server")
    ]
    ours = [each for name, each in servers if name == "stream" and each.path == stream]
    others = ((name, each) for name, each in servers if name != "stream" or each.path != stream)
    taken = {port: line for name, server in others for port, line in _ports(server, is_http=name == "http")}
    for (number, kind), line in chain.from_iterable(_ports(each, is_http=False) for each in ours):
        if (by := taken.get((number, kind))) is not None:
            where = f"{by.path}:{by.number}"
            return f"nginx: [emerg] port {number}/{kind} is taken already by {where} in {line.path}:{line.number}"
    return None


def held_port(text: str, *, stream: str) -> str | None:
    """
    Return what is wrong with a port of a file for `stream {}` while nginx is down, as it would say it; `None`: nothing.

    Args:
        text: Of the file, each `listen` on a line of its own.
        stream: Its path.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if (found := _OUR_LISTEN.match(line)) is None:
            continue
        kind = "tcp" if _DATAGRAMS.isdisjoint(found["options"].split()) else "udp"
        if _is_held(found["address"] or "0.0.0.0", int(found["port"]), kind=kind):  # noqa: S104 - as nginx does
            return f"nginx: [emerg] port {found['port']}/{kind} is taken by another program in {stream}:{number}"
    return None


def _is_held(address: str, port: int, *, kind: str) -> bool:
    with socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
        if kind == "tcp":  # as nginx does: connections that ended hold nothing
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            return isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    return False


def _ports(server: Line, *, is_http: bool) -> Iterator[tuple[Port, Line]]:
    """Return the ports that a server block listens on, each with the line that says so."""
    said = [each for each in server.blocks("listen") if each.args]
    if not said and is_http:
        yield (int(_DEFAULT), "tcp"), server
    for line in said:
        place, *options = line.args
        if place.startswith("unix:"):
            continue
        kind = "tcp" if _DATAGRAMS.isdisjoint(options) else "udp"
        for number in _numbers(place):
            yield (number, kind), line


def _numbers(place: str) -> range:
    # Of an address alone, [::1] say, the port is nginx's default.
    found = None if place.endswith("]") else _PORT.fullmatch(place)
    first, last = (_DEFAULT, None) if found is None else (found["first"], found["last"])
    return range(int(first), min(int(last or first), int(first) + _MOST) + 1)

"""
What lbwatch and nginx's workers say to each other, as lines of ASCII.

Pure. A worker says `have`, and what it has; lbwatch answers `keep`, or `set` with the upstreams that are others. The
worker's next `have` names the version that it was given: that is the proof.
"""

import re
from dataclasses import dataclass
from hashlib import sha256

from lbwatch.core.model import Server, Upstream, Waiting

PROTOCOL = "1"

MAX_LINE_BYTES = 256 * 1024
"""Of what a worker says: the names of up to 1,000 upstreams whose requests wait, 255 characters each."""

NOTHING = "-"

NO_SHAPE = "0"
"""What a worker says that ends and has requests waiting: it serves nobody new, and asks for these alone."""

KEEP = b"keep\n"

_HAVE = re.compile(
    rf"have {PROTOCOL} (?P<shape>[0-9a-f]{{1,64}}) (?P<worker>[0-9]{{1,5}}) (?P<workers>[0-9]{{1,5}}) "
    r"(?P<version>-|[0-9a-f]{1,32}\.[0-9]{1,18}) (?P<waiting>\S+)"
)
_WAITING = re.compile(r"(?P<upstream>[a-z0-9_.-]{1,255})=(?P<requests>[0-9]{1,6}):(?P<longest_ms>[0-9]{1,9})")

# What nginx takes where a server line says nothing: https://nginx.org/en/docs/http/ngx_http_upstream_module.html#server
_MAX_FAILS = 1
_FAIL_TIMEOUT_S = 10


class ProtocolError(ValueError):
    """A peer says what no worker of ours would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Have:
    """
    What a worker says that it has.

    Attributes:
        shape: The name of the shape of the file that it was started with.
        worker: Which one of nginx's workers it is, from 0.
        workers: How many there are.
        version: Which one was set last; `None`: none yet.
        waiting: The upstreams whose requests wait in it.
    """

    shape: str
    worker: int
    workers: int
    version: str | None
    waiting: tuple[Waiting, ...] = ()


def have_in(line: bytes) -> Have:
    """Return what a line says; raises `ProtocolError`."""
    found = _HAVE.fullmatch(line.decode("ascii", errors="replace").rstrip("\n"))
    if found is None:
        raise ProtocolError(f"it is no line of a worker: {line[:64]!r}")
    worker, workers = int(found["worker"]), int(found["workers"])
    if worker >= workers:
        raise ProtocolError(f"there is no worker {worker} of {workers}")
    return Have(
        shape=found["shape"],
        worker=worker,
        workers=workers,
        version=None if found["version"] == NOTHING else found["version"],
        waiting=() if found["waiting"] == NOTHING else tuple(map(_waiting_in, found["waiting"].split(","))),
    )


def _waiting_in(text: str) -> Waiting:
    found = _WAITING.fullmatch(text)
    if found is None:
        raise ProtocolError(f"nobody can wait like this: {text[:64]!r}")
    return Waiting(
        upstream=found["upstream"], requests=int(found["requests"]), longest_s=int(found["longest_ms"]) / 1000
    )


def line_of(upstream: Upstream) -> str:
    """Return an upstream as workers are told of it, without the end of the line."""
    method = "round_robin" if upstream.method is None else upstream.method.name
    values = (method, str(round(upstream.hold_s * 1000)), str(int(upstream.paused)), *map(_server, upstream.servers))
    said = " ".join(values)
    return f"{upstream.name} {sha256(said.encode()).hexdigest()[:12]} {said}"


def _server(server: Server) -> str:
    values = (
        server.host_port,
        server.weight,
        _MAX_FAILS if server.max_fails is None else server.max_fails,
        _FAIL_TIMEOUT_S if server.fail_timeout_s is None else server.fail_timeout_s,
        int(server.backup),
        server.started_ns,
    )
    return ",".join(map(str, values))


def set_of(lines: list[str], *, version: str, is_whole: bool) -> bytes:
    """
    Return what sets a version.

    Args:
        lines: See `line_of`.
        version: Its name.
        is_whole: Whether these are all upstreams, and not only those that changed.
    """
    head = f"set {version} {'whole' if is_whole else 'delta'} {len(lines)}"
    return "".join(f"{each}\n" for each in (head, *lines)).encode("ascii")

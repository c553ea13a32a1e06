"""
What stands in nginx's file so that its workers follow: a line in each upstream, and a few for all of http.

Pure. The *shape* of a file is all of it but the servers that workers are told of: while it stays the same, no reload is
needed. It has a name, which stands in the file too, and each worker says the one that it was started with.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

from lbwatch.core.model import Server, Upstream

FOLDER = ".lbwatch"
"""Beside the output; hidden, so that no `include` of nginx's takes it."""

PROGRAM = "follow.lua"
SOCKET = "live.sock"

MAX_SOCKET_PATH_BYTES = 107
"""Of the path of a unix socket, without the NUL at its end (unix(7))."""

_LINES_FOR_ALL_CHARS = 4000  # of what stands at the end of a text, with the longest path of a socket
_METHODS = frozenset({"least_conn", "random"})  # which workers know beside round robin
_CALL = "local live = package.loaded.lbwatch if live then live.{call} end"
_LINE = re.compile(
    r'balancer_by_lua_block \{ local live = package\.loaded\.lbwatch if live then live\.balance\("([^"]+)"'
)
_SHAPE = re.compile(r'^init_worker_by_lua_block \{ .*, "([0-9a-f]{12})"\) end \}$', re.MULTILINE)
_BLOCK = re.compile(r"^[ \t]*upstream \S+ \{\n(?:(?![ \t]*\}[ \t]*\n).*\n)*[ \t]*\}[ \t]*\n", re.MULTILINE)
# Of a second `..._by_lua_block` the module says that it "is duplicate", and not what.
_BLAMED = re.compile(
    r"\[emerg\] (?:\d+#\d+: )?is duplicate|_by_lua|lua_check_client_abort|resty\.core|lua_load_resty_core"
)


def reload_reason(upstream: Upstream) -> str | None:
    """Return why a change of this upstream's servers takes a reload, in words; `None`: it needs none."""
    if upstream.method is not None and upstream.method.name not in _METHODS:
        return f"its method is {upstream.method.name}"
    if upstream.sticky is not None:
        return "its clients stay with their servers"
    if any(server.max_conns for server in upstream.servers):
        return "max_conns holds for all workers together"
    return None


def line(upstream: Upstream) -> str | None:
    """Return the line in an upstream's block by which its workers follow; `None` where its changes take a reload."""
    if reload_reason(upstream) is not None:
        return None
    # nginx counts a request's tries by the servers that the block had when it was read; one that is down is none.
    call = _CALL.format(call=f'balance("{upstream.name}", {len(upstream.servers)})')
    return f"balancer_by_lua_block {{ {call} }}"


def names_with_line(text: str) -> frozenset[str]:
    """Return the names of the upstreams whose line stands in a text."""
    return frozenset(_LINE.findall(text))


def lines_for_all(shape: str, *, folder: str) -> str:
    """
    Return what stands once, for all of http.

    Args:
        shape: The name of the file's shape.
        folder: Where nginx sees what lbwatch put beside the output.
    """
    start = f'local start = loadfile("{folder}/{PROGRAM}") if start then start("{folder}/{SOCKET}", "{shape}") end'
    return f"""
# Its workers ask lbwatch for changes of servers, which so need no reload; without lbwatch they serve what stands above.
# A location whose requests may wait for a server says `set $lbwatch_hold NAME;`.
lua_check_client_abort on;
init_worker_by_lua_block {{ {start} }}
rewrite_by_lua_block {{ {_CALL.format(call="hold()")} }}
log_by_lua_block {{ {_CALL.format(call="done()")} }}
"""


def shape_in(text: str) -> str | None:
    """Return the name of a text's shape; `None`: nobody follows by it."""
    found = _SHAPE.search(text[-_LINES_FOR_ALL_CHARS:])
    return found[1] if found else None


def rest_of(text: str) -> list[str]:
    """
    Return the lines of a text of which workers are not told: all but the blocks with an upstream's line, and the shape.

    A template may write anything by who serves, a map of the upstreams that have a server, say.
    """
    without = _BLOCK.sub(lambda block: "" if _LINE.search(block[0]) else block[0], text)
    return [line for line in _SHAPE.sub("", without).split("\n") if line]


def is_blamed(stderr: str) -> bool:
    """Return whether what nginx printed is about these directives, or about what they need."""
    return _BLAMED.search(stderr) is not None


def shape_of(upstreams: Iterable[Upstream], *, program: str) -> str:
    """
    Return the name of the shape of these upstreams: 12 hex digits.

    Args:
        upstreams: Sorted by name.
        program: What the workers run, as text: another one is another shape.
    """
    shape = sha256(program.encode())
    for upstream in upstreams:
        shape.update(repr(without_servers(upstream)).encode())
    return shape.hexdigest()[:12]


def without_servers(upstream: Upstream) -> Upstream:
    """Return what of an upstream has to stand in the file before workers can be told of its servers."""
    servers = () if reload_reason(upstream) is None else _as_written(upstream.servers)
    return replace(upstream, servers=servers, hold_s=0.0, paused=False)


def _as_written(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    return tuple(replace(server, started_ns=0) for server in servers)


def is_told(upstream: Upstream) -> bool:
    """Return whether workers can be told that an upstream has no server any more, or it never had one."""
    return reload_reason(upstream) is None or not upstream.servers


def is_same_shape(before: Upstream, after: Upstream) -> bool:
    """Return whether workers that have one upstream can be told of the other in its place."""
    return without_servers(before) == without_servers(after)

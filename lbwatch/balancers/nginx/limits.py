"""
What nginx takes of an upstream, and how it is written: its dialect, its limits, and what each of them costs it.

Pure. The core says what is wanted in words that no load balancer owns; here it becomes what nginx will not refuse.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from lbwatch.balancers.nginx.live import directives
from lbwatch.balancers.nginx.quoting import hidden, quoted, raw
from lbwatch.balancers.nginx.version import Version, takes_keepalive_off
from lbwatch.core.changes import changed_upstreams
from lbwatch.core.model import Notice, NoticeKind, Plan, Server, Upstream, bracketed
from lbwatch.core.plan import noted

_ZONE_STEP_KIB = 64
_SERVERS_PER_STEP = 32  # enough for nginx 1.22 up to 2,000 servers at least: tests/unit/balancers/test_template.py

_MAX_CONSISTENT_WEIGHT = 2000
_MAX_CONSISTENT_WEIGHT_OF_ALL = 10_000
"""
Of the servers of one upstream, and of all upstreams, where the hash is consistent: nginx makes 160 points of each unit,
2.5 KB, and sorts them. The latter takes it 0.3 s and 53 MB (facts, nginx 9).
"""

_MAX_KEEPALIVE_OF_ALL = 50_000
"""Of all upstreams: nginx sets memory aside for each such connection, 1.4 KB, in every worker that is to be."""

_NO_BACKUP = frozenset({"hash", "ip_hash", "random"})  # with these nginx refuses the whole file (facts, nginx 9)

_MAX_KEY_CHARS = 255
_KEY_PART = re.compile(r"[A-Za-z0-9_.:/-]+|\$(?P<plain>[A-Za-z0-9_]+)|\$\{(?P<braced>[A-Za-z0-9_]+)\}")

# nginx's core variables, which every build knows: https://nginx.org/en/docs/http/ngx_http_core_module.html#variables
# An unknown one makes nginx refuse the whole file, and what a module brings a given nginx may lack.
_VARIABLES = frozenset(
    [
        "args",
        "binary_remote_addr",
        "connection",
        "connection_requests",
        "content_length",
        "content_type",
        "document_root",
        "document_uri",
        "host",
        "hostname",
        "https",
        "is_args",
        "msec",
        "nginx_version",
        "pid",
        "proxy_protocol_addr",
        "proxy_protocol_port",
        "query_string",
        "realpath_root",
        "remote_addr",
        "remote_port",
        "remote_user",
        "request",
        "request_filename",
        "request_id",
        "request_length",
        "request_method",
        "request_uri",
        "scheme",
        "server_addr",
        "server_name",
        "server_port",
        "server_protocol",
        "time_iso8601",
        "time_local",
        "uri",
    ]
)
_VARIABLE_FAMILIES = ("arg_", "cookie_", "http_")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLine:
    """
    One `server` line of nginx, as a template gets it.

    Attributes:
        address: An IP address; IPv6 stands in brackets, as nginx wants it.
        port: 1-65535.
        container: Name of the container behind it.
        weight: 1 is nginx's default and need not be written.
        max_fails: `None`, as for the next two, leaves nginx's default.
        fail_timeout_s: Seconds.
        max_conns: At most so many connections, of all workers together.
        backup: Whether it serves only where the others cannot.
        draining: Whether it gets the requests of clients that stay with it, see `sticky`, and no others.
        vars: Its `lbwatch.vars.*` labels, for the user's own template: any text, quoted where nginx needs it.
    """

    address: str
    port: int
    container: str
    weight: int = 1
    max_fails: int | None = None
    fail_timeout_s: int | None = None
    max_conns: int | None = None
    backup: bool = False
    draining: bool = False
    vars: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamBlock:
    """
    One `upstream` block of nginx, every value checked, as a template gets it.

    Attributes:
        name: Letters, digits and `_ . -`, in lower case.
        servers: Sorted by address and port; empty means that the block has only its placeholder.
        method: What nginx takes as the balancing directive, such as `least_conn` or `hash $remote_addr`; `None` is
            round robin, which has none.
        keepalive: Idle connections kept by each worker, `None`: nginx's default. 0, none at all, is given only where
            nginx takes it.
        sticky: What nginx takes behind `sticky`, which has a client stay with its server; `None` where no label asks
            for it, or nginx does not have it.
        zone_kib: Size of the shared memory that the block needs, in KiB, or `None` if it needs none.
        live: The directive by which nginx's workers are told of other servers without a reload; `None`: they are not.
        has_host: Whether a container of it asks for a host: then it should be reached by the site of that alone.
    """

    name: str
    servers: tuple[ServerLine, ...] = ()
    method: str | None = None
    keepalive: int | None = None
    sticky: str | None = None
    zone_kib: int | None = None
    live: str | None = None
    has_host: bool = False


def block(upstream: Upstream) -> UpstreamBlock:
    """Return an upstream as a template gets it."""
    return UpstreamBlock(
        name=upstream.name,
        servers=_lines(upstream.servers),
        method=None if upstream.method is None else str(upstream.method),
        keepalive=upstream.idle_connections,
        # One cookie for the whole site: without a path it would hold below the one that was asked for first.
        sticky=None if upstream.sticky is None else f"{upstream.sticky} path=/ httponly",
        zone_kib=_zone_kib(upstream.servers),
        has_host=upstream.has_host,
    )


def live_block(upstream: Upstream) -> UpstreamBlock:
    """Return the same for a file by which nginx's workers follow."""
    plain = block(upstream)
    if (line := directives.line(upstream)) is None:
        return plain
    # Of two that choose servers nginx takes the later one, with a warning: the workers know the method.
    return replace(plain, method=None, live=line)


def _lines(servers: tuple[Server, ...]) -> tuple[ServerLine, ...]:
    lines = tuple(_line(server) for server in servers)
    if len(lines) < 2 or sum(not line.draining for line in lines) != 1:
        return lines
    # An only server is never given up by nginx, but for one error it would be, for 10 s and with nobody in its place,
    # if there is another one, although that takes no new client.
    return tuple(line if line.draining else replace(line, max_fails=0) for line in lines)


def _line(server: Server) -> ServerLine:
    return ServerLine(
        address=bracketed(server.address),
        port=server.port,
        container=server.container,
        weight=server.weight,
        max_fails=server.max_fails,
        fail_timeout_s=server.fail_timeout_s,
        max_conns=server.max_conns,
        backup=server.backup,
        draining=server.draining,
        vars={hidden(key): hidden(value) for key, value in server.vars.items()} if server.vars else server.vars,
    )


def _zone_kib(servers: tuple[Server, ...]) -> int | None:
    """Return the size of the shared memory that `max_conns` needs, so that it holds for all workers together."""
    if not any(server.max_conns for server in servers):
        return None
    return _ZONE_STEP_KIB * (1 + len(servers) // _SERVERS_PER_STEP)


def parameters(server: ServerLine) -> str:
    """Return what follows the address on a `server` line, each with a space before it: a filter of the templates."""
    words = (
        "" if server.weight == 1 else f" weight={server.weight}",
        "" if server.max_fails is None else f" max_fails={server.max_fails}",
        "" if server.fail_timeout_s is None else f" fail_timeout={server.fail_timeout_s}s",
        "" if server.max_conns is None else f" max_conns={server.max_conns}",
        " backup" if server.backup else "",
        " drain" if server.draining else "",
    )
    return "".join(words)


FILTERS: Mapping[str, Callable[..., str]] = {"parameters": parameters, "quoted": quoted, "raw": raw}
"""What templates may write behind a `|`, by name."""


def hash_key_refusal(key: str) -> str | None:
    """Return why nginx cannot hash by a key, in words; `None` if every variable in it is one that nginx has."""
    # Taken apart as nginx would do it: an unknown variable makes it refuse the whole file.
    position = 0
    while position < len(key) <= _MAX_KEY_CHARS:
        part = _KEY_PART.match(key, position)
        if part is None:
            return "its KEY takes nginx's variables and letters, digits and _ . : / -"
        variable = part["plain"] or part["braced"]
        if variable and not _is_known_variable(variable.lower()):
            return f"${variable[:_MAX_KEY_CHARS]} is none of nginx's own variables"
        position = part.end()
    return f"its KEY takes at most {_MAX_KEY_CHARS} characters" if len(key) > _MAX_KEY_CHARS else None


def variables_in(key: str) -> tuple[str, ...]:
    """Return the names of the variables in a key that was not refused, in lower case."""
    return tuple(name.lower() for part in _KEY_PART.finditer(key) if (name := part["plain"] or part["braced"]))


def _is_known_variable(name: str) -> bool:
    return name in _VARIABLES or any(
        name.startswith(family) and len(name) > len(family) for family in _VARIABLE_FAMILIES
    )


class Limits:
    """Makes of one plan after the other what nginx takes, and can bear."""

    def __init__(self) -> None:
        self._wanted = self._limited = Plan()  # the latest, and what became of it
        self._version: Version | None = None  # of the nginx that this was for
        self._special: dict[str, Upstream] = {}  # those that could be too much; most ask for nothing of that kind
        self._changed: dict[str, Upstream] = {}  # what became of them, where it is another one

    def limited(self, plan: Plan, *, version: Version | None = None) -> Plan:
        """
        Return a plan as it can be written: what had to be changed for that is noted in its routes.

        Args:
            plan: What is wanted.
            version: Of the nginx that it is for; `None`: not known.
        """
        if version != self._version:
            self._wanted, self._version, self._special = Plan(), version, {}
        if plan is not self._wanted:
            for old, new in changed_upstreams(self._wanted.upstreams, plan.upstreams):
                self._note(old, new)
            self._wanted, self._limited = plan, self._limit(plan) if self._special else plan
        return self._limited

    def _note(self, old: Upstream | None, new: Upstream | None) -> None:
        if old is not None:
            self._special.pop(old.name, None)
        if new is not None and (
            new.method or new.keepalive is not None or any(server.backup for server in new.servers)
        ):
            self._special[new.name] = new

    def _limit(self, plan: Plan) -> Plan:
        notices: list[tuple[str, Notice]] = []
        special = [each for _, each in sorted(self._special.items())]
        taken = [_without_keepalive_off(_without_refused_backups(each, notices), self._version) for each in special]
        written = scaled_down(taken, notices)
        known = self._changed
        # One that becomes the same again stays the same object, so that nobody takes it for another one.
        self._changed = {
            new.name: known[new.name] if known.get(new.name) == new else new
            for old, new in zip(special, written, strict=True)
            if new is not old
        }
        upstreams = plan.upstreams
        if self._changed:
            upstreams = tuple([self._changed.get(each.name, each) for each in upstreams])
        return noted(replace(plan, upstreams=upstreams), notices)


def limited(plan: Plan, *, version: Version | None = None) -> Plan:
    """Return a single plan as it can be written, see `Limits`."""
    return Limits().limited(plan, version=version)


def _without_keepalive_off(upstream: Upstream, version: Version | None, /) -> Upstream:
    """Return the upstream, without a `keepalive 0` where nginx refuses that: such a one keeps no connection anyway."""
    if upstream.keepalive != 0 or takes_keepalive_off(version):
        return upstream
    return replace(upstream, keepalive=None)


def _without_refused_backups(upstream: Upstream, notices: list[tuple[str, Notice]]) -> Upstream:
    """Return the upstream, without any `backup` where nginx would refuse the whole file for it (facts, nginx 9)."""
    if not any(server.backup for server in upstream.servers):
        return upstream
    refusing = upstream.method is not None and upstream.method.name in _NO_BACKUP
    if not refusing and not all(server.backup for server in upstream.servers):
        return upstream
    why = f"nginx takes none with {upstream.method}" if refusing else "no other server is left"
    notice = Notice(kind=NoticeKind.BACKUP_DROPPED, detail=f"backup is not used: {why}")
    notices += [(server.container, notice) for server in upstream.servers if server.backup]
    return replace(upstream, servers=tuple(replace(server, backup=False) for server in upstream.servers))


def scaled_down(upstreams: Iterable[Upstream], notices: list[tuple[str, Notice]]) -> list[Upstream]:
    """Return the upstreams, with what would cost nginx seconds and hundreds of megabytes scaled down."""
    # First each by itself, then all: many that keep their own bound would still be too much together.
    every = list(upstreams)
    hashed = {upstream.name: _consistent_weight(upstream) for upstream in every}
    each = {name: min(1.0, _MAX_CONSISTENT_WEIGHT / weight) for name, weight in hashed.items() if weight}
    most = sum(weight * each[name] for name, weight in hashed.items() if weight)
    weight_scale = min(1.0, _MAX_CONSISTENT_WEIGHT_OF_ALL / most) if most else 1.0
    kept = sum(upstream.keepalive or 0 for upstream in every)
    keepalive_scale = min(1.0, _MAX_KEEPALIVE_OF_ALL / kept) if kept else 1.0
    bounded: list[Upstream] = []
    for upstream in every:
        smaller = _scaled(upstream, weights=each.get(upstream.name, 1.0) * weight_scale, keepalive=keepalive_scale)
        if smaller != upstream:
            detail = f"weights or keepalive of upstream {upstream.name} are scaled down: they would cost nginx too much"
            notice = Notice(kind=NoticeKind.SCALED_DOWN, detail=detail)
            notices += [(name, notice) for name in dict.fromkeys(server.container for server in upstream.servers)]
        bounded.append(smaller)
    return bounded


def _consistent_weight(upstream: Upstream) -> int:
    consistent = upstream.method is not None and upstream.method.consistent
    return sum(server.weight for server in upstream.servers) if consistent else 0


def _scaled(upstream: Upstream, *, weights: float, keepalive: float) -> Upstream:
    if _consistent_weight(upstream) and weights < 1.0:
        servers = tuple(replace(each, weight=max(1, int(each.weight * weights))) for each in upstream.servers)
        upstream = replace(upstream, servers=servers)
    if upstream.keepalive and keepalive < 1.0:
        upstream = replace(upstream, keepalive=max(1, int(upstream.keepalive * keepalive)))
    return upstream

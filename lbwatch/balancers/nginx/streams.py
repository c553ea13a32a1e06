"""
What nginx takes of a port that goes to an upstream as it is, in `stream {}`: its dialect there, and what it costs.

Pure, but for the template. What is known of requests there is neither a cookie nor a path: only who connects.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.limits import ServerLine
from lbwatch.balancers.nginx.outputs import joined
from lbwatch.balancers.template import Renderer
from lbwatch.core.errors import RenderError
from lbwatch.core.model import Method, Notice, NoticeKind, Part, Plan, Server, Stream, Upstream
from lbwatch.core.parts import Parts, streams_in
from lbwatch.core.plan import noted

_VARIABLES = frozenset(
    [
        "binary_remote_addr",
        "connection",
        "hostname",
        "msec",
        "nginx_version",
        "pid",
        "proxy_protocol_addr",
        "proxy_protocol_port",
        "remote_addr",
        "remote_port",
        "server_addr",
        "server_port",
        "time_iso8601",
        "time_local",
    ]
)
"""Of those that a key may have (`limits`) the ones that are there too: ngx_stream_core_module.html#variables."""

_BY_CLIENT = Method(name="hash", key="$remote_addr", consistent=True)
"""In the place of `ip_hash`, which is not there: clients stay as far as they can when servers come and go."""

_NO_BACKUP = frozenset({"hash", "random"})

_SAMPLE = Stream(
    port=5432,
    protocol="tcp",
    upstream=Upstream(name="sample", servers=(Server(address="192.0.2.1", port=80, container="sample", weight=2),)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBlock:
    """
    One port of nginx's, every value checked, as a template gets it.

    Attributes:
        port: 1-65535.
        protocol: `tcp` or `udp`.
        upstream: Name of the upstream that it goes to.
        name: What its `upstream` block is called: no other one of anybody's is.
        servers: Sorted by address and port; empty means that the block has only its placeholder.
        method: What nginx takes as the balancing directive, such as `least_conn`; `None` is round robin.
        zone_kib: Size of the shared memory that the block needs, in KiB, or `None` if it needs none.
    """

    port: int
    protocol: str
    upstream: str
    name: str
    servers: tuple[ServerLine, ...] = ()
    method: str | None = None
    zone_kib: int | None = None


def stream_block(stream: Stream) -> StreamBlock:
    """Return a port as a template gets it."""
    plain = limits.block(_taken(stream.upstream))
    return StreamBlock(
        port=stream.port,
        protocol=stream.protocol,
        upstream=stream.upstream.name,
        name=f"{stream.upstream.name}@{stream.port}-{stream.protocol}",
        servers=plain.servers,
        method=plain.method,
        zone_kib=plain.zone_kib,
    )


def _taken(upstream: Upstream) -> Upstream:
    """Return what is there for a stream of what is there for requests: no cookies, and nobody who drains by them."""
    servers = tuple(each for each in upstream.servers if not each.draining)
    return replace(upstream, servers=servers, keepalive=None, sticky=None)


class StreamLimits:
    """Makes of the ports of one plan after the other what nginx takes of them."""

    def __init__(self) -> None:
        self._wanted = self._limited = Plan()

    def limited(self, plan: Plan) -> Plan:
        """Return a plan whose ports can be written: what had to be changed for that is noted in its routes."""
        if not plan.streams:  # the rule
            return plan
        if plan is not self._wanted:
            self._wanted, self._limited = plan, self._limit(plan)
        return self._limited

    def _limit(self, plan: Plan) -> Plan:
        notices: list[tuple[str, Notice]] = []
        known = {each.name: each for each in self._limited.streams}
        taken = [_without_others_words(each, notices) for each in plan.streams]
        scaled = limits.scaled_down([each.upstream for each in taken], notices)
        written = (replace(each, upstream=upstream) for each, upstream in zip(taken, scaled, strict=True))
        # One that is the same as before is the same object, so that nobody takes it for another one.
        streams = tuple(known[each.name] if known.get(each.name) == each else each for each in written)
        return noted(replace(plan, streams=streams), notices)


def _without_others_words(stream: Stream, notices: list[tuple[str, Notice]]) -> Stream:
    """Return a stream without what nginx knows of requests alone."""
    upstream = _taken(stream.upstream)
    method, why = _method(upstream.method)
    if why is not None:
        detail = f"port {stream.port}/{stream.protocol} has no method {upstream.method}: {why}"
        notice = Notice(kind=NoticeKind.VALUE_NOT_USED, detail=detail)
        notices += [(name, notice) for name in dict.fromkeys(each.container for each in upstream.servers)]
    servers = upstream.servers
    if (method is not None and method.name in _NO_BACKUP) or all(each.backup for each in servers):
        servers = tuple(replace(each, backup=False) if each.backup else each for each in servers)
    return replace(stream, upstream=replace(upstream, method=method, servers=servers))


def _method(asked: Method | None) -> tuple[Method | None, str | None]:
    """Return how connections are spread, and why that is not as it was asked for, in words."""
    if asked is not None and asked.name == "ip_hash":
        return _BY_CLIENT, f"it has {_BY_CLIENT}"
    if asked is None or asked.key is None:
        return asked, None
    unknown = [name for name in limits.variables_in(asked.key) if name not in _VARIABLES]
    return (
        (None, f"there is no ${unknown[0]} of a connection, so that servers take turns") if unknown else (asked, None)
    )


class StreamRenderer(Renderer):
    """The template of ports, which gets them as `streams`."""

    def _sample(self, *, writes_sites: bool) -> Parts:  # noqa: ARG002 - as there
        return (replace(_SAMPLE, upstream=Upstream(name="empty"), protocol="udp"), _SAMPLE)

    def _context(self, parts: Parts, *, block: Callable[[Upstream], object]) -> Mapping[str, Any]:  # noqa: ARG002
        return {"streams": tuple(map(stream_block, streams_in(parts)))}


class BothRenderer(Renderer):
    """
    Two templates whose texts are one (see `outputs`): that of the base, and one for ports.

    Args:
        template: As for `Renderer`, like all others.
        stream: The one for ports; `None`: there is none.
    """

    def __init__(self, template: str, *, stream: StreamRenderer | None, **others: Any) -> None:
        super().__init__(template, **others)
        self._stream = stream

    def load(self) -> None:
        """See `Renderer`: both."""
        if self._stream is not None:
            self._stream.load()
        super().load()

    def text(self, parts: Parts, *, block: Callable[[Upstream], object] | None = None) -> str:
        """See `Renderer`: both."""
        http = super().text(parts, block=block)
        if self._stream is None:
            return http
        streams: tuple[Part, ...] = streams_in(parts)
        try:
            return joined(http, self._stream.text(streams))
        except ValueError as error:
            raise RenderError(str(error), path=self.name, line=None) from error

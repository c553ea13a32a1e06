"""
What there is to see, in the words of `/api/state`; page and metrics read the same.

Pure: nothing is found out or decided here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from lbwatch.api.enginereport import EngineReport, engine_reports
from lbwatch.api.sites import SiteReport, StreamReport, site_reports, stream_reports
from lbwatch.core.explain import Story, Wait, stamp
from lbwatch.core.history import AppliedPlan, Change
from lbwatch.core.model import Degraded, Level, Route, Server, ServerState, Upstream, bracketed
from lbwatch.core.origins import NOWHERE, Origin, origin_words, origins_of
from lbwatch.core.parts import is_upstream
from lbwatch.core.rows import degraded_words
from lbwatch.core.status import Status, unready

PLACEHOLDER = ("127.0.0.1", 1)
"""Address and port of the one `down` server of an upstream without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """
    One server line.

    Attributes:
        container: `None` for the placeholder, which alone is `down`.
        engine, service, task, node: Where that is from, see `Origin`.
    """

    address: str
    port: int
    container: str | None
    state: ServerState
    weight: int = 1
    backup: bool = False
    engine: str | None = None
    service: str | None = None
    task: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReport:
    """Requests that wait, and for how many seconds the first of them has."""

    requests: int
    longest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamReport:
    """
    One upstream as nginx runs it.

    Attributes:
        note: What of it could not be written as it should be.
        keepalive: Idle connections that are kept, 0: none; `None` is nginx's default.
        sticky: How clients stay with a server; `None`: they do not.
        hold_s: How many seconds a request waits at most, while there is no ready server or it is paused; 0: none waits.
        paused: Whether an operator has all new requests wait.
        waiting: Those that wait now; `None`: none does.
    """

    name: str
    method: str
    servers: tuple[ServerReport, ...]
    note: str | None
    keepalive: int | None = None
    sticky: str | None = None
    hold_s: float = 0.0
    paused: bool = False
    waiting: WaitingReport | None = None

    @property
    def words(self) -> str:
        """Return what it has beside its servers, in a line."""
        keepalive = None if self.keepalive is None else f"keepalive {self.keepalive}"
        sticky = None if self.sticky is None else f"sticky {self.sticky}"
        hold = f"hold {self.hold_s:g} s" if self.hold_s else None
        return ", ".join(filter(None, (self.method, keepalive, sticky, hold)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedReport:
    """
    What was verified last.

    Attributes:
        verified: False once that does not stand any more, or more is to be done.
        believed: Whether the exit code of `reload_command` is all that is known of it: no worker can be seen.
    """

    digest: str
    verified: bool
    at: str
    believed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeReport:
    """See `history.Change`."""

    at: str
    outcome: str
    digest: str
    error: str | None
    live_s: float
    verified_s: float
    heard_s: float | None
    difference: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersReport:
    """nginx's worker processes: those that accept connections, and old ones that only end theirs."""

    serving: int
    retiring: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxReport:
    """
    nginx itself.

    Attributes:
        version: `None` where it cannot be known.
        live: Whether changes of servers go out without a reload; `None`: nobody asked for that.
        live_reason: Why they do not; `None` where they do.
    """

    version: str | None
    live: bool | None = None
    live_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    What there is to see, in the words of `/api/state`.

    Attributes:
        reasons: Why it is not ready; empty if it is.
        remarks: What else the operator should know.
        upstreams: What nginx runs, by name.
        sites: The hosts that it serves, by name.
        streams: The ports that it passes on as they are, by number.
        routes: By container; of those that ask for nothing too.
        changes: The latest first.
        origins: Where each container is from, by its name.
        disk: Digest of the file as it is on disk now; `None` if there is none.
        nginx: What is known of the program.
        workers: `None` where they cannot be seen.
    """

    version: str
    at: str
    ready: bool
    reasons: tuple[str, ...]
    remarks: tuple[str, ...]
    engines: tuple[EngineReport, ...]
    upstreams: tuple[UpstreamReport, ...]
    sites: tuple[SiteReport, ...]
    streams: tuple[StreamReport, ...]
    routes: tuple[Route, ...]
    applied: AppliedReport | None
    disk: str | None
    nginx: NginxReport
    workers: WorkersReport | None
    changes: tuple[ChangeReport, ...]
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @property
    def several_engines(self) -> bool:
        """Return whether it matters which engine a container is of."""
        return len(self.engines) > 1

    def origin_words(self, container: str) -> str:
        """Return where a container is from, in words; empty where there is nothing to be said."""
        origin = self.origins.get(container, NOWHERE)
        return origin_words(origin, several_engines=self.several_engines, beside=container)

    @property
    def unrouted(self) -> tuple[Route, ...]:
        """Return the routes without a server."""
        return tuple(route for route in self.routes if route.reason is not None)

    @property
    def warnings(self) -> tuple[dict[str, str], ...]:
        """Return what the owners of containers should know, once for each container."""
        told = {(route.container, notice.detail): None for route in self.routes for notice in route.notices}
        return tuple({"container": container, "detail": detail} for container, detail in told)


def report_of(status: Status) -> Report:
    """Return a status in the words of `/api/state`."""
    reasons, workers = tuple(unready(status)), status.balancer.workers
    origins = origins_of(status.containers)
    upstreams = tuple(_waiting(_upstreams(status.applied, origins=origins), waits=status.waits))
    containers = {each.name: _containers(each) for each in upstreams}
    return Report(
        version=status.version,
        at=_time(status.at),
        ready=not reasons,
        reasons=reasons,
        remarks=status.remarks,
        engines=engine_reports(status),
        upstreams=upstreams,
        sites=tuple(site_reports(status.applied, containers=containers, at=status.at)),
        streams=tuple(stream_reports(status.applied)),
        routes=status.routes,
        applied=_applied(status.applied, believed=status.balancer.believed),
        disk=status.balancer.digest,
        nginx=NginxReport(
            version=status.balancer.version, live=status.balancer.live, live_reason=status.balancer.live_reason
        ),
        workers=None if workers is None else WorkersReport(serving=workers[0], retiring=workers[1]),
        changes=tuple(_change(change) for change in reversed(status.history.changes)),
        origins=origins,
    )


def state_json(report: Report) -> dict[str, Any]:
    """Return the answer of `/api/state`, its keys in the order of the contract."""
    # `unrouted` and `warnings` are views of the same routes: the contract has them, not the table.
    answer: dict[str, Any] = {}
    for name, value in ((name, getattr(report, name)) for name in Report.__dataclass_fields__):
        if name == "routes":
            answer["unrouted"] = [_unrouted(route, origins=report.origins) for route in report.unrouted]
            answer["warnings"] = report.warnings
        elif name != "origins":  # they stand with the containers
            answer[name] = value
    return answer


def _containers(upstream: UpstreamReport) -> tuple[str, ...]:
    names = dict.fromkeys(each.container for each in upstream.servers if each.container is not None)
    return tuple(names)


def _unrouted(route: Route, *, origins: Mapping[str, Origin]) -> dict[str, str | None]:
    return {
        "container": route.container,
        "reason": route.reason,
        "detail": route.detail or "",
        "upstream": route.upstream,
        "site": route.site,
        "since": stamp(route.since),
        **asdict(origins.get(route.container, NOWHERE)),
    }


def route_json(
    route: Route, *, wait: Wait | None = None, places: tuple[str, ...] = (), origin: Origin = NOWHERE
) -> dict[str, Any]:
    """
    Return a row of `explain --json`.

    Args:
        route: The row.
        wait: Of its upstream; `None` where no request waits.
        places: The hosts and ports that its upstream serves.
        origin: Where its container is from.
    """
    return {
        "container": route.container,
        "upstream": route.upstream,
        "address": route.address,
        "reason": route.reason,
        "detail": route.detail,
        "notices": [notice.detail for notice in route.notices],
        "state": route.state,
        "since": stamp(route.since),
        "hold_s": 0.0 if wait is None else wait.hold_s,
        "paused": wait is not None and wait.paused,
        "waiting": 0 if wait is None else wait.requests,
        "site": route.site,
        "serves": list(places) if route.server is not None else [],
        **asdict(origin),
    }


def story_json(story: Story) -> dict[str, Any]:
    """Return what `explain NAME --json` adds to a row."""
    return {"held" if name == "suspended" else name: value for name, value in asdict(story).items()}


def _upstreams(applied: AppliedPlan, *, origins: Mapping[str, Origin]) -> Iterable[UpstreamReport]:
    routes = applied.plan.routes if applied.plan is not None else ()
    states = {route.upstream: route.state for route in routes if route.state is not None and not _keeps(route)}
    notes = {degraded.upstream: degraded for degraded in applied.degraded if is_upstream(degraded.upstream)}
    for upstream in applied.in_force or ():
        state = states.get(upstream.name, ServerState.UP)
        # With nginx down none of its servers is reached: shown as if it had none, under its name.
        runs = upstream if applied.serves_old else replace(upstream, servers=())
        yield _upstream(runs, state=state, note=notes.pop(upstream.name, None), origins=origins)
    # What is kept for nginx's own files alone is in no plan, but nginx runs it.
    for kept in notes.values():
        yield _upstream(Upstream(name=kept.upstream), state=ServerState.UP, note=kept, origins=origins)


def _waiting(upstreams: Iterable[UpstreamReport], *, waits: Iterable[Wait]) -> Iterable[UpstreamReport]:
    """Return upstreams with the requests that wait in them."""
    known = {each.upstream: each for each in waits if each.requests}
    for each in upstreams:
        wait = known.get(each.name)
        if wait is not None:
            waiting = WaitingReport(requests=wait.requests, longest_s=round(wait.longest_s, 1))
            each = replace(each, waiting=waiting)  # noqa: PLW2901 - the same with more
        yield each


def _keeps(route: Route) -> bool:
    """Return whether a container drains, and keeps its clients, beside others that serve."""
    return route.server is not None and route.server.draining


def _upstream(
    upstream: Upstream, *, state: ServerState, note: Degraded | None, origins: Mapping[str, Origin]
) -> UpstreamReport:
    """
    Return one upstream.

    Args:
        upstream: As it was planned.
        state: Of its servers, but of those that drain beside others.
        note: What of it is not written.
        origins: Where containers are from, by name.
    """
    emptied = note is not None and note.level not in (Level.FULL, Level.PLAIN)
    plain = note is not None and note.level is Level.PLAIN
    written = () if emptied else (each for each in upstream.servers if not (plain and each.draining))
    servers = tuple(
        _server(
            each,
            state=ServerState.DRAINING if each.draining else state,
            plain=plain,
            origin=origins.get(each.container or "", NOWHERE),
        )
        for each in written
    )
    placeholder = ServerReport(address=PLACEHOLDER[0], port=PLACEHOLDER[1], container=None, state=ServerState.DOWN)
    return UpstreamReport(
        name=upstream.name,
        method=str(upstream.method or "round_robin"),
        servers=servers or (placeholder,),
        note=None if note is None else degraded_words(note),
        keepalive=upstream.idle_connections,
        sticky=None if upstream.sticky is None else str(upstream.sticky),
        hold_s=upstream.hold_s,
        paused=upstream.paused,
    )


def _server(server: Server, *, state: ServerState, plain: bool, origin: Origin) -> ServerReport:
    """Return a server line; a *plain* one is written without its parameters."""
    return ServerReport(
        address=bracketed(server.address),
        port=server.port,
        container=server.container,
        state=state,
        weight=1 if plain else server.weight,
        backup=server.backup and not plain,
        engine=origin.engine,
        service=origin.service,
        task=origin.task,
        node=origin.node,
    )


def _applied(applied: AppliedPlan, *, believed: bool) -> AppliedReport | None:
    if applied.applied_at is None:
        return None
    verified = applied.confirmed and applied.error is None
    at = _time(applied.applied_at)
    return AppliedReport(digest=applied.digest, verified=verified, at=at, believed=believed)


def _change(change: Change) -> ChangeReport:
    return ChangeReport(
        at=_time(change.at, timespec="milliseconds"),
        outcome=change.outcome,
        digest=change.digest,
        error=change.error,
        live_s=round(change.live_s, 4),
        verified_s=round(change.verified_s, 4),
        heard_s=None if change.heard_s is None else round(change.heard_s, 4),
        difference=change.difference,
        times=change.times,
    )


def _time(seconds: float, *, timespec: str = "seconds") -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec)

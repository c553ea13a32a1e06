"""
One picture of all that the daemon knows, for `/api/state`, the page and `/readyz`.

Pure: it only puts into other words what the other rooms found out. Its dataclasses are the JSON of `/api/state`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from lbwatch.core.errors import excerpt
from lbwatch.core.explain import Force, Row, degraded_words, explained
from lbwatch.core.history import AppliedPlan, Change, HistoryCopy
from lbwatch.core.model import BalancerStatus, Degraded, EngineStatus, ServerState, Upstream

PLACEHOLDER = ("127.0.0.1", 1)
"""Address and port of the one `down` line of an upstream without a server."""

STUCK_S = 15.0
"""A change that waits for longer than that, beyond `reload_interval`, is no ordinary wait."""

FORGOTTEN_RESYNCS = 3
"""An engine that had no full look for so many intervals is not in step, whatever its stream says."""

NOTHING_YET = "nothing was brought into force yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """
    What there is to see at one time.

    Attributes:
        now: Loop time, in seconds.
        at: The same instant, seconds since the epoch by our own clock.
        resync_interval_s, reload_interval_s: As set, in seconds.
    """

    version: str
    now: float
    at: float
    engines: tuple[EngineStatus, ...]
    progress: AppliedPlan
    work: HistoryCopy
    seen: BalancerStatus
    resync_interval_s: float
    reload_interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """
    One engine.

    Attributes:
        for_s: Seconds since which it is, or is not, connected.
        synced_s: Seconds since the latest full look ended; `None` before the first.
        containers: How many there are; `None` before that.
        drift: How many changes full looks found that no event told.
        error: Why it is not connected, in words.
    """

    name: str
    connected: bool
    for_s: float
    synced_s: float | None
    containers: int | None
    drift: int
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """One server line; *container* is `None` for the placeholder, which alone is `down`."""

    address: str
    port: int
    container: str | None
    state: ServerState


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamReport:
    """One upstream as nginx runs it; *note* says what of it could not be written as it should be."""

    name: str
    method: str
    servers: tuple[ServerReport, ...]
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrouted:
    """A container that is not routed (in one upstream, if it asked for several): see `explain.Row`."""

    container: str
    reason: str
    detail: str
    upstream: str | None
    since: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something that the owner of a container should know."""

    container: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedReport:
    """What was verified last; *verified* is false once that does not stand any more, or more is to be done."""

    digest: str
    verified: bool
    at: str


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
class Report:
    """
    The answer of `/api/state`.

    Attributes:
        reasons: Why it is not ready; empty if it is.
        remarks: What else the operator should know.
        upstreams: What nginx runs, by name.
        unrouted: By container; those that ask for nothing too.
        changes: The latest first.
        disk: Digest of the file as it is on disk now; `None` if there is none.
        workers: `None` where they cannot be seen.
    """

    version: str
    at: str
    ready: bool
    reasons: tuple[str, ...]
    remarks: tuple[str, ...]
    engines: tuple[EngineReport, ...]
    upstreams: tuple[UpstreamReport, ...]
    unrouted: tuple[Unrouted, ...]
    warnings: tuple[Warned, ...]
    applied: AppliedReport | None
    disk: str | None
    workers: WorkersReport | None
    changes: tuple[ChangeReport, ...]


def report_of(status: Status) -> Report:
    """Put a picture into the words of `/api/state`."""
    rows, reasons, progress = rows_of(status), tuple(unready(status)), status.progress
    workers = status.seen.workers
    return Report(
        version=status.version,
        at=_time(status.at),
        ready=not reasons,
        reasons=reasons,
        remarks=status.seen.remarks,
        engines=tuple(_engine(engine, now=status.now) for engine in status.engines),
        upstreams=tuple(_upstreams(status)),
        unrouted=tuple(
            Unrouted(
                container=row.container,
                reason=row.reason,
                detail=row.detail or "",
                upstream=row.upstream,
                since=row.since,
            )
            for row in rows
            if row.reason is not None
        ),
        warnings=tuple(_warnings(rows)),
        applied=_applied(progress),
        disk=status.seen.digest,
        workers=None if workers is None else WorkersReport(serving=workers[0], retiring=workers[1]),
        changes=tuple(_change(change) for change in reversed(status.work.changes)),
    )


def rows_of(status: Status) -> list[Row]:
    """Explain every container, in the light of what nginx runs."""
    progress = status.progress
    if progress.plan is None:
        return []
    runs = progress.in_force if progress.serves_old and progress.in_force is not None else ()
    missing = progress.error or (NOTHING_YET if progress.in_force is None else "its turn comes within reload_interval")
    force = Force(upstreams=runs, missing=missing)
    return explained(progress.plan, degraded=progress.degraded, force=force, since=status.work.since)


def standing(status: Status) -> str:
    """Tell in one line how things stand: the first reason why not all is in step, or how much of it there is."""
    if (reason := next(iter(unready(status)), None)) is not None:
        return excerpt(reason)
    upstreams = status.progress.in_force or ()
    return f"in step: {len(upstreams)} upstreams, {sum(len(upstream.servers) for upstream in upstreams)} servers"


def unready(status: Status) -> Iterable[str]:
    """Give the reasons why not every engine is in step, or the last apply is not verified."""
    for engine in status.engines:
        yield from _engine_unready(engine, status=status)
    progress = status.progress
    behind_s = 0.0 if progress.behind_since is None else status.now - progress.behind_since
    if progress.error is not None:
        yield f"nginx is not in step for {behind_s:.0f} s: {progress.error}"
    elif progress.in_force is None:
        yield NOTHING_YET
    elif not progress.confirmed and not progress.applying:
        yield "nginx was restarted, or the output was changed, since the last reload was verified"
    elif behind_s > STUCK_S + status.reload_interval_s:
        yield f"a change waits for {behind_s:.0f} s to be in force"


def _engine_unready(engine: EngineStatus, *, status: Status) -> Iterable[str]:
    for_s = status.now - engine.since
    if engine.synced_at is None:
        yield f"engine {engine.source}: it was not read yet" + (f": {engine.error}" if engine.error else "")
    elif engine.error is not None:
        how = "it cannot be read" if engine.connected else f"not followed for {for_s:.0f} s"
        yield f"engine {engine.source}: {how}: {engine.error}"
    elif status.now - engine.synced_at > FORGOTTEN_RESYNCS * status.resync_interval_s:
        yield f"engine {engine.source}: no full look at it ended for {status.now - engine.synced_at:.0f} s"


def _engine(engine: EngineStatus, *, now: float) -> EngineReport:
    return EngineReport(
        name=engine.source,
        connected=engine.connected,
        for_s=round(now - engine.since, 1),
        synced_s=None if engine.synced_at is None else round(now - engine.synced_at, 1),
        containers=engine.containers,
        drift=engine.drift,
        error=engine.error,
    )


def _upstreams(status: Status) -> Iterable[UpstreamReport]:
    progress = status.progress
    makeshifts = progress.plan.makeshifts if progress.plan is not None else {}
    notes = {degraded.upstream: degraded for degraded in progress.degraded}
    for upstream in progress.in_force or ():
        state = makeshifts.get(upstream.name, ServerState.UP)
        runs = upstream if progress.serves_old else replace(upstream, servers=())
        yield _upstream(runs, state=state, note=notes.pop(upstream.name, None))
    for kept in notes.values():
        yield _upstream(Upstream(name=kept.upstream), state=ServerState.UP, note=kept)


def _upstream(upstream: Upstream, *, state: ServerState, note: Degraded | None) -> UpstreamReport:
    emptied = note is not None and note.level not in ("full", "plain")
    servers = tuple(
        ServerReport(address=server.address, port=server.port, container=server.container, state=state)
        for server in upstream.servers
        if not emptied
    )
    placeholder = ServerReport(address=PLACEHOLDER[0], port=PLACEHOLDER[1], container=None, state=ServerState.DOWN)
    return UpstreamReport(
        name=upstream.name,
        method=upstream.method or "round_robin",
        servers=servers or (placeholder,),
        note=None if note is None else degraded_words(note),
    )


def _warnings(rows: Iterable[Row]) -> Iterable[Warned]:
    told = {(row.container, notice): None for row in rows for notice in row.notices}
    return (Warned(container=container, detail=notice) for container, notice in told)


def _applied(progress: AppliedPlan) -> AppliedReport | None:
    if progress.applied_at is None:
        return None
    verified = progress.confirmed and progress.error is None
    return AppliedReport(digest=progress.digest, verified=verified, at=_time(progress.applied_at))


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

"""
One picture of all that the daemon knows, for `/api/state`, the page and `/readyz`.

Pure: it only puts into other words what the other rooms found out. Its dataclasses are the JSON of `/api/state`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from lbwatch.errors import excerpt
from lbwatch.explain import Force, Row, explained, fallback_words
from lbwatch.journal import Change, Progress, Work
from lbwatch.model import Contact, Fallback, Seen, ServerState, Upstream

PLACEHOLDER = ("127.0.0.1", 1)
"""Address and port of the one `down` line of an upstream without a server."""

STUCK_S = 15.0
"""A change that waits for longer than that, beyond `reload_interval`, is no ordinary wait."""

FORGOTTEN_RESYNCS = 3
"""An engine that had no full look for so many intervals is not in step, whatever its stream says."""

NOTHING_YET = "nothing was brought into force yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
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
    contacts: tuple[Contact, ...]
    progress: Progress
    work: Work
    seen: Seen
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
    """See `journal.Change`."""

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


def report_of(picture: Picture) -> Report:
    """Put a picture into the words of `/api/state`."""
    rows, reasons, progress = rows_of(picture), tuple(unready(picture)), picture.progress
    workers = picture.seen.workers
    return Report(
        version=picture.version,
        at=_time(picture.at),
        ready=not reasons,
        reasons=reasons,
        remarks=picture.seen.remarks,
        engines=tuple(_engine(contact, now=picture.now) for contact in picture.contacts),
        upstreams=tuple(_upstreams(picture)),
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
        disk=picture.seen.digest,
        workers=None if workers is None else WorkersReport(serving=workers[0], retiring=workers[1]),
        changes=tuple(_change(change) for change in reversed(picture.work.changes)),
    )


def rows_of(picture: Picture) -> list[Row]:
    """Explain every container, in the light of what nginx runs."""
    progress = picture.progress
    if progress.desired is None:
        return []
    runs = progress.in_force if progress.serves_old and progress.in_force is not None else ()
    missing = progress.error or (NOTHING_YET if progress.in_force is None else "its turn comes within reload_interval")
    force = Force(upstreams=runs, missing=missing)
    return explained(progress.desired, fallbacks=progress.fallbacks, force=force, since=picture.work.since)


def standing(picture: Picture) -> str:
    """Tell in one line how things stand: the first reason why not all is in step, or how much of it there is."""
    if (reason := next(iter(unready(picture)), None)) is not None:
        return excerpt(reason)
    upstreams = picture.progress.in_force or ()
    return f"in step: {len(upstreams)} upstreams, {sum(len(upstream.servers) for upstream in upstreams)} servers"


def unready(picture: Picture) -> Iterable[str]:
    """Give the reasons why not every engine is in step, or the last apply is not verified."""
    for contact in picture.contacts:
        yield from _engine_unready(contact, picture=picture)
    progress = picture.progress
    behind_s = 0.0 if progress.behind_since is None else picture.now - progress.behind_since
    if progress.error is not None:
        yield f"nginx is not in step for {behind_s:.0f} s: {progress.error}"
    elif progress.in_force is None:
        yield NOTHING_YET
    elif not progress.confirmed and not progress.applying:
        yield "nginx was restarted, or the output was changed, since the last reload was verified"
    elif behind_s > STUCK_S + picture.reload_interval_s:
        yield f"a change waits for {behind_s:.0f} s to be in force"


def _engine_unready(contact: Contact, *, picture: Picture) -> Iterable[str]:
    for_s = picture.now - contact.since
    if contact.synced_at is None:
        yield f"engine {contact.source}: it was not read yet" + (f": {contact.error}" if contact.error else "")
    elif contact.error is not None:
        how = "it cannot be read" if contact.connected else f"not followed for {for_s:.0f} s"
        yield f"engine {contact.source}: {how}: {contact.error}"
    elif picture.now - contact.synced_at > FORGOTTEN_RESYNCS * picture.resync_interval_s:
        yield f"engine {contact.source}: no full look at it ended for {picture.now - contact.synced_at:.0f} s"


def _engine(contact: Contact, *, now: float) -> EngineReport:
    return EngineReport(
        name=contact.source,
        connected=contact.connected,
        for_s=round(now - contact.since, 1),
        synced_s=None if contact.synced_at is None else round(now - contact.synced_at, 1),
        containers=contact.backends,
        drift=contact.drift,
        error=contact.error,
    )


def _upstreams(picture: Picture) -> Iterable[UpstreamReport]:
    progress = picture.progress
    makeshifts = progress.desired.makeshifts if progress.desired is not None else {}
    notes = {fallback.upstream: fallback for fallback in progress.fallbacks}
    for upstream in progress.in_force or ():
        state = makeshifts.get(upstream.name, ServerState.UP)
        runs = upstream if progress.serves_old else replace(upstream, servers=())
        yield _upstream(runs, state=state, note=notes.pop(upstream.name, None))
    for kept in notes.values():
        yield _upstream(Upstream(name=kept.upstream), state=ServerState.UP, note=kept)


def _upstream(upstream: Upstream, *, state: ServerState, note: Fallback | None) -> UpstreamReport:
    emptied = note is not None and note.form not in ("full", "plain")
    servers = tuple(
        ServerReport(address=server.address, port=server.port, container=server.backend, state=state)
        for server in upstream.servers
        if not emptied
    )
    placeholder = ServerReport(address=PLACEHOLDER[0], port=PLACEHOLDER[1], container=None, state=ServerState.DOWN)
    return UpstreamReport(
        name=upstream.name,
        method=upstream.method or "round_robin",
        servers=servers or (placeholder,),
        note=None if note is None else fallback_words(note),
    )


def _warnings(rows: Iterable[Row]) -> Iterable[Warned]:
    told = {(row.container, notice): None for row in rows for notice in row.notices}
    return (Warned(container=container, detail=notice) for container, notice in told)


def _applied(progress: Progress) -> AppliedReport | None:
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

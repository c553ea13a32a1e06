"""
Why each container is or is not routed, in rows for people and scripts.

Nothing is decided here: rows say what `plan` decided, what of it could be written, and what of that nginx runs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

from lbwatch.core.model import Degraded, Level, Plan, Reason, Server, ServerState, Skipped, Upstream

Line = tuple[str, str, int]
"""A server line by its upstream's name, its address and its port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One answer of `explain`.

    Attributes:
        address: `ADDRESS:PORT` of the server line, or `None` where there is none.
        state: Of the server, as the status has it; `None` where there is none.
        reason: Why it is not routed, as a code; `None` if it is.
        detail: The reason in words.
        since: Since when it is so, as a time with its zone; `None` where nobody knows.
        notices: Warnings in words.
    """

    container: str
    upstream: str | None
    address: str | None
    reason: str | None
    detail: str | None
    notices: tuple[str, ...] = ()
    state: str | None = None
    since: str | None = None

    @property
    def outcome(self) -> str:
        """Say it in a line: the address, or the reason."""
        return self.address if self.address is not None else f"not routed ({self.reason}): {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Force:
    """
    What nginx runs of what was decided.

    Attributes:
        upstreams: What it runs.
        missing: Why it does not run the rest, in words.
    """

    upstreams: tuple[Upstream, ...]
    missing: str

    def lines(self) -> set[Line]:
        """Give every server line of it."""
        return {_line(server, upstream) for upstream in self.upstreams for server in upstream.servers}


def explained(
    plan: Plan,
    *,
    degraded: Iterable[Degraded] = (),
    force: Force | None = None,
    since: Mapping[tuple[str, str | None], float] = MappingProxyType({}),
) -> list[Row]:
    """
    List every container with each of its server lines and reasons, by name.

    Args:
        plan: What was decided.
        degraded: What of it could not be written as it should be.
        force: What of it nginx runs; `None`: all of it, as far as this is asked.
        since: Since when it is so, by container and upstream, in seconds since the epoch.
    """
    reduced = {degraded.upstream: degraded for degraded in degraded}
    runs = None if force is None else force.lines()
    rows = [_skipped(skip) for skip in plan.skipped]
    for upstream in plan.upstreams:
        state = plan.makeshifts.get(upstream.name, ServerState.UP)
        for server in upstream.servers:
            is_missing = runs is not None and _line(server, upstream) not in runs
            missing = force.missing if force is not None and is_missing else None
            rows.append(_routed(server, upstream, state=state, degraded=reduced.get(upstream.name), missing=missing))
    notices: dict[str, list[str]] = {}
    for notice in plan.notices:
        notices.setdefault(notice.container, []).append(notice.detail)
    dated = (
        replace(
            row,
            notices=(*notices.get(row.container, ()), *row.notices),
            since=stamp(since.get((row.container, row.upstream))),
        )
        for row in rows
    )
    return sorted(dated, key=lambda row: (row.container, row.upstream or "", row.address or ""))


def _line(server: Server, upstream: Upstream) -> Line:
    return upstream.name, server.address, server.port


def _skipped(skip: Skipped) -> Row:
    return Row(
        container=skip.container, upstream=skip.upstream, address=None, reason=str(skip.reason), detail=skip.detail
    )


def _routed(
    server: Server, upstream: Upstream, *, state: ServerState, degraded: Degraded | None, missing: str | None
) -> Row:
    """Explain a server line, or why an upstream that nginx refuses, or does not run yet, has none."""
    address = f"{server.address}:{server.port}"
    out = Row(container=server.container, upstream=upstream.name, address=None, reason=None, detail=None)
    if degraded is not None and degraded.level is not Level.PLAIN:
        return replace(out, reason=str(Reason.UPSTREAM_REFUSED), detail=degraded_words(degraded))
    if missing is not None:
        detail = f"it would serve at {address}, but nginx does not run that: {missing}"
        return replace(out, reason=str(Reason.NOT_IN_FORCE), detail=detail)
    notices = () if degraded is None else (degraded_words(degraded),)
    return replace(out, address=address, state=str(state), notices=notices)


def degraded_words(degraded: Degraded) -> str:
    """Say what became of an upstream that is not written as it should be."""
    if degraded.kept:
        how = "has no container any more and is kept, without a server, for nginx's own files (declare keeps it always)"
    elif degraded.level is Level.PLAIN:
        how = "is written without its parameters"
    else:
        how = "is left out"
    return f"upstream {degraded.upstream} {how}: {degraded.error}"


def stamp(seconds: float | None) -> str | None:
    """Write a time given in seconds since the epoch, to a second and in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

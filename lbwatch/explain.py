"""
Why each container is or is not routed, in rows for people and scripts.

Nothing is decided here: rows say what `desired` decided, what of it could be written, and what of that nginx runs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

from lbwatch.model import Desired, Fallback, Form, Reason, Server, ServerState, Skipped, Upstream

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
    desired: Desired,
    *,
    fallbacks: Iterable[Fallback] = (),
    force: Force | None = None,
    since: Mapping[tuple[str, str | None], float] = MappingProxyType({}),
) -> list[Row]:
    """
    List every container with each of its server lines and reasons, by name.

    Args:
        desired: What was decided.
        fallbacks: What of it could not be written as it should be.
        force: What of it nginx runs; `None`: all of it, as far as this is asked.
        since: Since when it is so, by container and upstream, in seconds since the epoch.
    """
    reduced = {fallback.upstream: fallback for fallback in fallbacks}
    runs = None if force is None else force.lines()
    rows = [_skipped(skip) for skip in desired.skipped]
    for upstream in desired.upstreams:
        state = desired.makeshifts.get(upstream.name, ServerState.UP)
        for server in upstream.servers:
            is_missing = runs is not None and _line(server, upstream) not in runs
            missing = force.missing if force is not None and is_missing else None
            rows.append(_routed(server, upstream, state=state, fallback=reduced.get(upstream.name), missing=missing))
    notices: dict[str, list[str]] = {}
    for notice in desired.notices:
        notices.setdefault(notice.backend, []).append(notice.detail)
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
        container=skip.backend, upstream=skip.upstream, address=None, reason=str(skip.reason), detail=skip.detail
    )


def _routed(
    server: Server, upstream: Upstream, *, state: ServerState, fallback: Fallback | None, missing: str | None
) -> Row:
    """Explain a server line, or why an upstream that nginx refuses, or does not run yet, has none."""
    address = f"{server.address}:{server.port}"
    out = Row(container=server.backend, upstream=upstream.name, address=None, reason=None, detail=None)
    if fallback is not None and fallback.form is not Form.PLAIN:
        return replace(out, reason=str(Reason.UPSTREAM_REFUSED), detail=fallback_words(fallback))
    if missing is not None:
        detail = f"it would serve at {address}, but nginx does not run that: {missing}"
        return replace(out, reason=str(Reason.NOT_IN_FORCE), detail=detail)
    notices = () if fallback is None else (fallback_words(fallback),)
    return replace(out, address=address, state=str(state), notices=notices)


def fallback_words(fallback: Fallback) -> str:
    """Say what became of an upstream that is not written as it should be."""
    if fallback.kept:
        how = "has no container any more and is kept, without a server, for nginx's own files (declare keeps it always)"
    elif fallback.form is Form.PLAIN:
        how = "is written without its parameters"
    else:
        how = "is left out"
    return f"upstream {fallback.upstream} {how}: {fallback.error}"


def stamp(seconds: float | None) -> str | None:
    """Write a time given in seconds since the epoch, to a second and in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

"""
Why each container is or is not routed, in rows for people and scripts.

Nothing is decided here: rows say what `desired` decided, what of it could be written, and what of that nginx runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from lbwatch.model import Desired, Fallback, Form, Reason, Server, ServerState, Upstream


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
    notices: tuple[str, ...]
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
    notices: dict[str, list[str]] = {}
    for notice in desired.notices:
        notices.setdefault(notice.backend, []).append(notice.detail)
    reduced = {fallback.upstream: fallback for fallback in fallbacks}
    runs = (
        None
        if force is None
        else {(each.name, line.address, line.port) for each in force.upstreams for line in each.servers}
    )
    rows = []
    for upstream in desired.upstreams:
        state = desired.makeshifts.get(upstream.name, ServerState.UP)
        for server in upstream.servers:
            missing = None
            if force is not None and runs is not None and (upstream.name, server.address, server.port) not in runs:
                missing = force.missing
            rows.append(
                _routed(
                    server,
                    upstream.name,
                    state=state,
                    notices=notices.get(server.backend, ()),
                    fallback=reduced.get(upstream.name),
                    missing=missing,
                    since=since.get((server.backend, upstream.name)),
                )
            )
    rows += [
        Row(
            container=skip.backend,
            upstream=skip.upstream,
            address=None,
            reason=str(skip.reason),
            detail=skip.detail,
            notices=tuple(notices.get(skip.backend, ())),
            since=stamp(since.get((skip.backend, skip.upstream))),
        )
        for skip in desired.skipped
    ]
    return sorted(rows, key=lambda row: (row.container, row.upstream or "", row.address or ""))


def _routed(
    server: Server,
    upstream: str,
    *,
    state: ServerState,
    notices: Sequence[str],
    fallback: Fallback | None,
    missing: str | None,
    since: float | None,
) -> Row:
    """Explain a server line, or why an upstream that nginx refuses, or does not run yet, has none."""
    address: str | None = f"{server.address}:{server.port}"
    reason = detail = None
    if fallback is not None and fallback.form is not Form.PLAIN:
        address, reason, detail = None, str(Reason.UPSTREAM_REFUSED), fallback_words(fallback)
    elif missing is not None:
        detail = f"it would serve at {address}, but nginx does not run that: {missing}"
        address, reason = None, str(Reason.NOT_IN_FORCE)
    elif fallback is not None:
        notices = (*notices, fallback_words(fallback))
    return Row(
        container=server.backend,
        upstream=upstream,
        address=address,
        state=None if address is None else str(state),
        reason=reason,
        detail=detail,
        since=stamp(since),
        notices=tuple(notices),
    )


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

"""
Why each container is or is not routed, in rows for people and scripts.

Nothing is decided here: rows say what `desired` decided and what of it could be written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lbwatch.model import Desired, Fallback, Form, Reason, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One answer of `explain`.

    Attributes:
        address: `ADDRESS:PORT` of the server line, or `None` where there is none.
        reason: Why it is not routed, as a code; `None` if it is.
        detail: The reason in words.
        notices: Warnings in words.
    """

    container: str
    upstream: str | None
    address: str | None
    reason: str | None
    detail: str | None
    notices: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """Say it in a line: the address, or the reason."""
        return self.address if self.address is not None else f"not routed ({self.reason}): {self.detail}"


def explained(desired: Desired, *, fallbacks: Iterable[Fallback] = ()) -> list[Row]:
    """List every container with each of its server lines and reasons, by name."""
    notices: dict[str, list[str]] = {}
    for notice in desired.notices:
        notices.setdefault(notice.backend, []).append(notice.detail)
    reduced = {fallback.upstream: fallback for fallback in fallbacks}
    rows = [
        _routed(server, upstream.name, notices=notices.get(server.backend, ()), fallback=reduced.get(upstream.name))
        for upstream in desired.upstreams
        for server in upstream.servers
    ]
    rows += [
        Row(
            container=skip.backend,
            upstream=skip.upstream,
            address=None,
            reason=str(skip.reason),
            detail=skip.detail,
            notices=tuple(notices.get(skip.backend, ())),
        )
        for skip in desired.skipped
    ]
    return sorted(rows, key=lambda row: (row.container, row.upstream or "", row.address or ""))


def _routed(server: Server, upstream: str, *, notices: Sequence[str], fallback: Fallback | None) -> Row:
    """Explain a server line, or why an upstream that nginx refuses has none."""
    address: str | None = f"{server.address}:{server.port}"
    reason = detail = None
    if fallback is not None and fallback.form is Form.PLAIN:
        notices = (*notices, fallback_words(fallback))
    elif fallback is not None:
        address, reason, detail = None, str(Reason.UPSTREAM_REFUSED), fallback_words(fallback)
    return Row(
        container=server.backend,
        upstream=upstream,
        address=address,
        reason=reason,
        detail=detail,
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

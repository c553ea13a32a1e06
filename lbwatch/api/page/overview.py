"""
Puts a report into the order of the page, trouble first, and bounds it.

Nobody reads ten thousand rows, and a browser should not be asked for them: of each list the overview has the head, and
whoever asks for the whole gets it page by page.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Generic, TypeVar

from lbwatch.api.enginereport import EngineReport
from lbwatch.api.page.chart import Chart, chart_of
from lbwatch.api.page.query import Query
from lbwatch.api.report import ChangeReport, Report, ServerReport, UpstreamReport
from lbwatch.api.sites import SiteReport, StreamReport
from lbwatch.core.history import PUSHED, VERIFIED
from lbwatch.core.model import Reason, Route, ServerState

PAGE_ROWS = 50
"""Of one list, where it is shown alone."""

HEADS = {
    "sites": 10,
    "streams": 10,
    "upstreams": 20,
    "unrouted": 8,
    "warnings": 5,
    "stopped": 10,
    "idle": 10,
    "changes": 3,
}
"""Rows of each list on the overview."""

UNFOLDED_SERVERS = 40
"""With so many servers in all, each upstream shows its own; of more, only those in trouble do."""

UNFOLDED_EACH = 5
"""Servers of each upstream in trouble where there are more than that in all."""

UNFOLDED_ENGINES = 3
"""Of more engines only those in trouble show all that is known of them."""

SITE_PATHS = 8
"""Of one host; MULTIPORTS may name hundreds."""

MAX_LINES = 600
"""Of all differences together; the latest come first."""

MAX_COLUMNS = 500
"""Of a line of the file: a user's own template may write labels of any length."""

IDLE = (Reason.NOT_LABELLED, Reason.DISABLED, Reason.ONE_OFF)
"""These were never meant to be routed."""

PASSING = (Reason.STARTING, Reason.DRAINING, Reason.PAUSED, Reason.NOT_IN_FORCE)
"""These mend themselves, or somebody wanted it so."""

OUTCOMES = {
    VERIFIED: "in force",
    PUSHED: "in force",
    "template.failed": "the template failed",
    "nginx.rejected": "nginx refused it",
    "nginx.config_broken": "nginx refuses your own files",
    "output.failed": "it could not be written",
    "nginx.reload_failed": "the reload failed",
    "reconcile.failed": "it failed",
}

Row = TypeVar("Row")
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[Row]):
    """
    What of a list is on the page.

    Attributes:
        rows: The rows.
        count: How many there are in all.
        first, last: The numbers of the first and the last of *rows* among all, from 1 on.
        page, pages: Which page this is, of how many.
    """

    rows: tuple[Row, ...]
    count: int
    first: int
    last: int
    page: int = 1
    pages: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """
    One upstream on the page.

    Attributes:
        words: What it has beside its servers: its method and so on.
        count: How many servers it has, the placeholder not counted.
        states: How many of its servers are in each state.
        servers: Those that are shown; none: it is folded.
        more: How many more there are of an upstream that is not folded.
        fate: What becomes of its requests where it has no server.
        paused: Whether an operator has all new requests wait.
        waiting: How many wait now.
    """

    name: str
    words: str
    note: str | None
    count: int
    states: tuple[tuple[ServerState, int], ...]
    servers: tuple[ServerReport, ...] = ()
    more: int = 0
    fate: str = ""
    paused: bool = False
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One change on the page.

    Attributes:
        words: Its outcome.
        lines: Those of its difference that are shown; there are *more*.
        added, removed: How many lines its difference adds and removes.
    """

    change: ChangeReport
    words: str
    lines: tuple[str, ...]
    more: int
    added: int
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """
    The page at `/`, in its order.

    Attributes:
        report: Of all.
        query: What its reader asked for.
        counts: How many rows each list has, as far as asked for.
        sites, streams, upstreams, unrouted, warnings, stopped, idle, changes: The lists.
        engines: Those in trouble first, then as they are set.
        chart: Of all verified changes.
        nobody_asks: Whether there is nothing to route: no container asks to be, and no upstream is there.
    """

    report: Report
    query: Query
    counts: dict[str, int]
    sites: Listing[SiteReport]
    streams: Listing[StreamReport]
    upstreams: Listing[Block]
    unrouted: Listing[Route]
    warnings: Listing[dict[str, str]]
    stopped: Listing[Route]
    idle: Listing[Route]
    changes: Listing[Entry]
    engines: tuple[EngineReport, ...]
    chart: Chart | None
    nobody_asks: bool

    @property
    def matches(self) -> bool:
        """Return whether there is anything of what was asked for."""
        return any(self.counts.values())


def overview_of(report: Report, *, found: Report, query: Query) -> Overview:
    """
    Return the page.

    Args:
        report: All that there is.
        found: What of it the reader asked for.
        query: How he did.
    """
    upstreams = sorted(found.upstreams, key=lambda each: (not _is_troubled(each), each.name))
    down = [each for each in upstreams if _is_down(each)]
    lists: dict[str, Sequence[Any]] = {
        **_by_kind(found.unrouted),
        "warnings": found.warnings,
        "sites": sorted(found.sites, key=lambda each: (not _is_site_troubled(each), each.host)),
        "streams": found.streams,
        "changes": found.changes,
    }
    listings = {name: _listing(name, rows, query=query) for name, rows in lists.items()}
    changes = listings.pop("changes")
    return Overview(
        report=report,
        query=query,
        counts={
            "upstreams": len(upstreams),
            "servers": sum(one.container is not None for each in upstreams for one in each.servers),
            "down": len(down),
            **{name: len(rows) for name, rows in lists.items()},
        },
        upstreams=_upstreams(down if query.show == "down" else upstreams, query=query),
        changes=_with(changes, _entries(changes.rows)),
        engines=tuple(sorted(report.engines, key=lambda each: not each.is_in_trouble)),
        chart=chart_of(report.changes),
        nobody_asks=not report.upstreams and all(each.reason in IDLE for each in report.routes),
        **listings,
    )


def _by_kind(unrouted: Iterable[Route]) -> dict[str, list[Route]]:
    """Return who is not routed by the list that he is on; what mends itself comes last."""
    kinds: dict[str, list[Route]] = {"unrouted": [], "stopped": [], "idle": []}
    for each in unrouted:
        kinds[_kind(each.reason)].append(each)
    kinds["unrouted"].sort(key=lambda each: each.reason in PASSING)
    return kinds


def _kind(reason: Reason | None) -> str:
    if reason is Reason.NOT_RUNNING:
        return "stopped"
    return "idle" if reason in IDLE else "unrouted"


def _listing(name: str, rows: Sequence[Row], *, query: Query) -> Listing[Row]:
    """Return the page of a list that is shown alone, else its head."""
    return _page(rows, query=query) if query.show == name else _head(rows, most=HEADS[name])


def _head(rows: Sequence[Row], *, most: int) -> Listing[Row]:
    return Listing(rows=tuple(rows[:most]), count=len(rows), first=1, last=min(most, len(rows)))


def _page(rows: Sequence[Row], *, query: Query) -> Listing[Row]:
    pages = max(1, -(-len(rows) // PAGE_ROWS))
    page = min(query.page, pages)  # the list may have become shorter since
    begin = (page - 1) * PAGE_ROWS
    shown = tuple(rows[begin : begin + PAGE_ROWS])
    return Listing(rows=shown, count=len(rows), first=begin + 1, last=begin + len(shown), page=page, pages=pages)


def _with(listing: Listing[Any], rows: Iterable[Other]) -> Listing[Other]:
    """Return a listing with other rows in the place of its own."""
    return Listing(**{**{name: getattr(listing, name) for name in Listing.__dataclass_fields__}, "rows": tuple(rows)})


# -- upstreams


def _is_down(upstream: UpstreamReport) -> bool:
    return any(server.state is ServerState.DOWN for server in upstream.servers)


def _is_site_troubled(site: SiteReport) -> bool:
    return site.is_closed or site.is_empty or (site.certificate is not None and site.certificate.warning is not None)


def _is_troubled(upstream: UpstreamReport) -> bool:
    if upstream.paused or upstream.waiting is not None:
        return True
    return upstream.note is not None or any(server.state is not ServerState.UP for server in upstream.servers)


def _upstreams(upstreams: Sequence[UpstreamReport], *, query: Query) -> Listing[Block]:
    if query.show == "servers":
        return _servers(upstreams, query=query)
    few = sum(len(each.servers) for each in upstreams) <= UNFOLDED_SERVERS
    if query.show in ("upstreams", "down"):
        listing = _page(upstreams, query=query)
    else:
        listing = _head(upstreams, most=len(upstreams) if few else HEADS["upstreams"])
    return _with(listing, _blocks(listing.rows, few=few))


def _blocks(upstreams: Iterable[UpstreamReport], *, few: bool) -> Iterable[Block]:
    """Return upstreams, unfolded where there are *few* servers in all, or where one is in trouble and there is room."""
    left = UNFOLDED_SERVERS
    for each in upstreams:
        unfolds = few or (_is_troubled(each) and not _is_down(each))  # of one that is down there is no more to see
        room = min(left, len(each.servers) if few else UNFOLDED_EACH) if unfolds else 0
        left -= min(room, len(each.servers))
        yield _block(each, servers=each.servers[:room])


def _block(upstream: UpstreamReport, *, servers: tuple[ServerReport, ...]) -> Block:
    states = Counter(server.state for server in upstream.servers)
    return Block(
        name=upstream.name,
        words=upstream.words,
        note=upstream.note,
        fate=f"requests wait {upstream.hold_s:g} s for one" if upstream.hold_s else "nginx answers 502",
        paused=upstream.paused,
        waiting=0 if upstream.waiting is None else upstream.waiting.requests,
        count=sum(server.container is not None for server in upstream.servers),
        states=tuple((state, states[state]) for state in ServerState if states[state]),
        servers=servers,
        more=len(upstream.servers) - len(servers) if servers else 0,
    )


def _servers(upstreams: Iterable[UpstreamReport], *, query: Query) -> Listing[Block]:
    """Return a page of all servers, below the upstreams that they are of."""
    pairs = [(upstream, server) for upstream in upstreams for server in upstream.servers]
    listing = _page(pairs, query=query)
    groups = [tuple(group) for _, group in groupby(listing.rows, key=lambda pair: pair[0].name)]
    blocks = (_block(group[0][0], servers=tuple(server for _, server in group)) for group in groups)
    return _with(listing, (replace(each, more=0) for each in blocks))  # they are on other pages


# -- changes


def _entries(changes: Iterable[ChangeReport]) -> Iterable[Entry]:
    left = MAX_LINES
    for change in changes:
        lines = change.difference.split("\n")[:-1]
        shown = tuple(line if len(line) <= MAX_COLUMNS else f"{line[:MAX_COLUMNS]}…" for line in lines[:left])
        left -= len(shown)
        yield Entry(
            change=change,
            words=OUTCOMES.get(change.outcome, change.outcome),
            lines=shown,
            more=len(lines) - len(shown),
            added=sum(line.startswith("+") for line in lines),
            removed=sum(line.startswith("-") for line in lines),
        )

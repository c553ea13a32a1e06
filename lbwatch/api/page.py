"""
The page for people: one HTML file with its own style and script, written on our side so that it needs no script.

The script only asks for the page again and exchanges what changed. What is here puts the report into the page's order,
trouble first, and bounds it: nobody reads ten thousand rows, and a browser should not be asked for them every two
seconds.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from statistics import median

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from lbwatch.api.report import ChangeReport, Report, ServerReport, report_of
from lbwatch.core.explain import stamp
from lbwatch.core.history import VERIFIED
from lbwatch.core.model import Reason, Route, ServerState
from lbwatch.core.status import Status

CONTENT_TYPE = "text/html; charset=utf-8"
FILE = Path(__file__).parent / "page.html.j2"

MAX_ROWS = 500
"""Of each table."""

MAX_LINES = 600
"""Of all differences together; the latest come first."""

MAX_COLUMNS = 500
"""Of a line of a difference: a user's own template may write labels of any length."""

IDLE = (Reason.NOT_LABELLED, Reason.DISABLED, Reason.ONE_OFF)
"""These were never meant to be routed."""

PASSING = (Reason.STARTING, Reason.DRAINING, Reason.PAUSED, Reason.NOT_IN_FORCE)
"""These mend themselves, or somebody wanted it so."""

OUTCOMES = {
    VERIFIED: "in force",
    "template.failed": "the template failed",
    "nginx.rejected": "nginx refused it",
    "output.failed": "it could not be written",
    "nginx.reload_failed": "the reload failed",
    "reconcile.failed": "it failed",
}

CHART_WIDTH, CHART_HEIGHT, CHART_TOP, MIN_BARS = 300.0, 88.0, 14.0, 12
"""In the units of the SVG; few bars stand at the right, as wide as *MIN_BARS* would be."""

_INVISIBLE = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: "\u2421",
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
    **{
        code: f"\\u{code:04x}"
        for code in (0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
    },
    0xFEFF: "\\ufeff",
}
"""What HTML forbids, and what hides or turns around the text beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """
    One upstream on the page.

    Attributes:
        count: How many servers it has, the placeholder not counted; *servers* may be cut.
    """

    name: str
    method: str
    note: str | None
    count: int
    servers: tuple[ServerReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Containers that are not routed for like reasons; *more* were left off."""

    rows: tuple[Route, ...]
    count: int

    @property
    def more(self) -> int:
        """Return how many were left off."""
        return self.count - len(self.rows)


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
class Bar:
    """A verified change in the chart; *live* and *verified* are heights above the base line."""

    x: float
    width: float
    live: float
    verified: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """
    Reload times.

    Attributes:
        longest_s: What the top line stands for.
        rows: What is measured in words, its median and its longest, in seconds; the first is of the new workers.
    """

    bars: tuple[Bar, ...]
    longest_s: float
    rows: tuple[tuple[str, float, float], ...]


def html(status: Status) -> bytes:
    """Return the page of a status."""
    return written(report_of(status)).encode(errors="backslashreplace")


def written(report: Report) -> str:
    """Return the page of a report."""
    blocks = tuple(_blocks(report))
    shown = sum(len(block.servers) for block in blocks)
    return _template().render(
        report=report,
        blocks=blocks,
        more_servers=sum(len(upstream.servers) for upstream in report.upstreams) - shown,
        counts=_counts(report),
        troubled=_fold(report, lambda reason: reason not in (*IDLE, Reason.NOT_RUNNING)),
        stopped=_fold(report, lambda reason: reason == Reason.NOT_RUNNING),
        idle=_fold(report, lambda reason: reason in IDLE),
        passing=PASSING,
        warnings=report.warnings[:MAX_ROWS],
        entries=tuple(_entries(report.changes)),
        chart=_chart(report.changes),
    )


def _counts(report: Report) -> dict[str, int]:
    states = [server.state for upstream in report.upstreams for server in upstream.servers]
    return {
        "upstreams": len(report.upstreams),
        "servers": sum(state is not ServerState.DOWN for state in states),
        "without a server": sum(state is ServerState.DOWN for state in states),
    }


def _blocks(report: Report) -> Iterable[Block]:
    """Return the upstreams, those in trouble first, until there are rows enough."""
    left = MAX_ROWS
    for upstream in sorted(report.upstreams, key=lambda each: (_well(each.servers) and each.note is None, each.name)):
        if left <= 0:
            return
        yield Block(
            name=upstream.name,
            method=upstream.method,
            note=upstream.note,
            count=sum(server.container is not None for server in upstream.servers),
            servers=upstream.servers[:left],
        )
        left -= len(upstream.servers)


def _well(servers: Iterable[ServerReport]) -> bool:
    return all(server.state is ServerState.UP for server in servers)


def _fold(report: Report, belongs: Callable[[Reason | None], bool]) -> Fold:
    rows = [each for each in report.unrouted if belongs(each.reason)]
    rows.sort(key=lambda each: each.reason in PASSING)
    return Fold(rows=tuple(rows[:MAX_ROWS]), count=len(rows))


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


def _chart(changes: Iterable[ChangeReport]) -> Chart | None:
    """Return the chart of the verified changes, oldest first; `None` if there is none."""
    drawn = [change for change in changes if change.outcome == VERIFIED][::-1]
    if not drawn:
        return None
    longest_s = max(max(change.verified_s, change.live_s) for change in drawn)
    step = CHART_WIDTH / max(len(drawn), MIN_BARS)
    offset = CHART_WIDTH - step * len(drawn)
    rows = {
        "new workers": [change.live_s for change in drawn],
        "old ones retired": [change.verified_s for change in drawn],
        "event to verified": [change.heard_s for change in drawn if change.heard_s is not None],
    }
    return Chart(
        bars=tuple(
            _bar(change, x=offset + step * number, width=step * 0.72, longest_s=longest_s)
            for number, change in enumerate(drawn)
        ),
        longest_s=longest_s,
        rows=tuple((words, median(values), max(values)) for words, values in rows.items() if values),
    )


def _bar(change: ChangeReport, *, x: float, width: float, longest_s: float) -> Bar:
    def height(seconds: float) -> float:
        return round(max(1.5, seconds / (longest_s or 1.0) * (CHART_HEIGHT - CHART_TOP)), 1)

    live = height(change.live_s)
    return Bar(
        x=round(x, 1),
        width=round(width, 1),
        live=live,
        verified=max(live, height(change.verified_s)),
        words=f"{_clock(change.at)}: new workers after {_seconds(change.live_s)}, "
        f"old ones retired after {_seconds(change.verified_s)}",
    )


def _clock(at: str, today: str = "") -> str:
    """Return the time of day, with the date in front where that is not *today*'s; both are ISO times in UTC."""
    date, time = at[:10], at[11:19]
    return time if date == (today or at)[:10] else f"{date} {time}"


def _ago(at: str, now: str) -> str:
    return _span(max(0.0, (datetime.fromisoformat(now) - datetime.fromisoformat(at)).total_seconds()))


def _span(seconds: float) -> str:
    """Return a length of time roughly, as people say it."""
    # From twice a unit on: "90 s" says more than "2 min".
    for unit, length_s, least in (("d", 86400, 2), ("h", 3600, 2), ("min", 60, 2)):
        if seconds >= length_s * least:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _seconds(seconds: float) -> str:
    """Return a measured time in three digits or so."""
    if seconds >= 0.9995:
        return f"{seconds:.{1 if seconds < 100 else 0}f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.{1 if milliseconds < 9.95 else 0}f} ms"


def _visible(value: object) -> object:
    """Return a value in which what cannot be seen, such as control characters, can be."""
    return value.translate(_INVISIBLE) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy() -> str:
    """Return a policy that allows the file's own script and style by their hashes, and requests to its own origin."""
    text = FILE.read_text(encoding="utf-8")
    hashes = {
        tag: " ".join(f"'sha256-{_hash(part)}'" for part in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL))
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _template() -> Template:
    # Names and labels are text that strangers chose. The policy is the second fence, should this one ever fail.
    environment = Environment(
        loader=FileSystemLoader(FILE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters |= {"clock": _clock, "ago": _ago, "span": _span, "seconds": _seconds, "stamp": stamp}
    return environment.get_template(FILE.name)


POLICY = _policy()

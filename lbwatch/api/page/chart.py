"""Reload times as a chart of bars, in the units of its SVG."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from lbwatch.api.page.words import clock, seconds
from lbwatch.api.report import ChangeReport
from lbwatch.core.history import VERIFIED

CHART_WIDTH, CHART_HEIGHT, CHART_TOP, MIN_BARS = 300.0, 88.0, 14.0, 12
"""Few bars stand at the right, as wide as *MIN_BARS* would be."""


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


def chart_of(changes: Iterable[ChangeReport]) -> Chart | None:
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
    def height(taken_s: float) -> float:
        return round(max(1.5, taken_s / (longest_s or 1.0) * (CHART_HEIGHT - CHART_TOP)), 1)

    live = height(change.live_s)
    return Bar(
        x=round(x, 1),
        width=round(width, 1),
        live=live,
        verified=max(live, height(change.verified_s)),
        words=f"{clock(change.at)} UTC: new workers after {seconds(change.live_s)}, "
        f"old ones retired after {seconds(change.verified_s)}",
    )

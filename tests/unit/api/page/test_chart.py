"""The chart of reload times; how it is drawn is looked at in a browser (test_page)."""

from dataclasses import replace

import pytest
from pageworlds import AT, made_status, verified

from lbwatch.api.page.chart import CHART_HEIGHT, CHART_TOP, CHART_WIDTH, chart_of
from lbwatch.api.report import report_of
from lbwatch.core.history import Change


def changes(*made: Change) -> tuple:  # type: ignore[type-arg] - of reports, which need no name here
    return report_of(made_status(changes=made)).changes


def test_bars_stand_in_the_order_of_time_and_are_as_high_as_they_took() -> None:
    """Twice as long is twice as high, the longest reaches the top line, the latest stands at the right."""
    one, other = verified(AT - 9, verified_s=0.5, live_s=0.1), verified(AT, verified_s=1.0, live_s=0.2)
    chart = chart_of(changes(one, other))
    assert chart is not None
    full = CHART_HEIGHT - CHART_TOP
    assert [bar.verified for bar in chart.bars] == [full / 2, full]
    assert [bar.live for bar in chart.bars] == [pytest.approx(full / 10), pytest.approx(full / 5)]
    last = chart.bars[-1]
    assert chart.bars[0].x < last.x < last.x + last.width <= CHART_WIDTH
    assert chart.longest_s == 1.0
    assert chart.rows[1] == ("old ones retired", 0.75, 1.0)


def test_what_failed_has_no_bar_and_nothing_has_no_chart() -> None:
    """It took the time of a refusal, which says nothing about reloads."""
    failed = Change(at=AT, outcome="nginx.rejected", error="no")
    assert chart_of(changes(failed)) is None
    chart = chart_of(changes(failed, verified(AT)))
    assert chart is not None
    assert len(chart.bars) == 1


def test_a_reload_that_took_no_time_divides_by_nothing() -> None:
    """A reload command that answers at once is measured as 0."""
    (change,) = changes(verified(AT))
    chart = chart_of([replace(change, live_s=0.0, verified_s=0.0, heard_s=None)])
    assert chart is not None
    assert chart.bars[0].verified > 0
    assert len(chart.rows) == 2

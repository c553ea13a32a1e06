"""Which repetitions of a failure are worth a line: enough to notice, never so many that they bury the rest."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.repeats import FIRST_S, LIMIT_S, Repeats

RETRY_S = 2.0

gaps = st.lists(st.floats(0.01, 20.0), min_size=1, max_size=300)
errors = st.sampled_from(["no pid file", "no such process", "refused"])


def lines(times: list[float], words: list[str], *, settles_s: float = 0.0) -> list[float]:
    """Return the times of the failures that get a line."""
    repeats = Repeats(settles_s=settles_s)
    return [now for now, error in zip(times, words, strict=True) if repeats.fails(error, now=now)]


def every(seconds: float, *, during: float) -> list[float]:
    return [100.0 + number * seconds for number in range(int(during / seconds) + 1)]


def test_what_fails_every_other_second_gets_a_line_at_growing_distances() -> None:
    """An operator who looks sees it, and sees other things too."""
    times = every(RETRY_S, during=400.0)
    distances = [now - 100.0 for now in lines(times, ["away"] * len(times))]
    assert distances == [0, 6, 16, 36, 76, 136, 196, 256, 316, 376]


@given(gaps, st.data())
def test_the_first_quarter_of_a_minute_has_five_lines_at_most_and_later_minutes_fewer(
    gaps: list[float], data: st.DataObject
) -> None:
    """Whatever the pace and the words are: each may be new, with a number in it."""
    times = list(accumulate(gaps))
    words = [data.draw(errors) if data.draw(st.booleans()) else f"try {number}" for number in range(len(times))]
    said = lines(times, words)
    assert said[0] == times[0]
    assert sum(now <= times[0] + 15.0 for now in said) <= 5
    later = [now for now in said if now >= times[0] + 160.0]
    assert all(sum(start <= now < start + 60.0 for now in later) <= 4 for start in later)


@given(gaps, st.data())
def test_there_is_always_a_line_within_a_minute_or_so(gaps: list[float], data: st.DataObject) -> None:
    """Who reads the end of a long log must see that it is not over."""
    times = list(accumulate(gaps))
    said = lines(times, [data.draw(errors) for _ in times])
    for now in times:
        assert now - max(each for each in said if each <= now) < LIMIT_S


def test_other_words_get_a_line_at_once_and_each_only_once() -> None:
    """They may be what helps; two that take turns are no news each time."""
    repeats = Repeats()
    words = ["no pid file", "no such process", "no pid file", "no such process", "refused"]
    assert [repeats.fails(error, now=float(now)) for now, error in enumerate(words)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert repeats.fails("refused", now=FIRST_S)
    assert not repeats.fails("no pid file", now=FIRST_S + 1), "it had a line before"


def test_words_that_never_repeat_cost_no_memory() -> None:
    """A process id in an error makes each another one."""
    repeats = Repeats()
    for number in range(1000):
        repeats.fails(f"process {number} is gone", now=float(number))
    assert len(repeats._known) <= 8


def test_what_goes_away_is_refused_in_several_ways_at_first() -> None:
    """An engine that restarts is one line, although its socket is first deaf and then gone."""
    repeats = Repeats(settles_s=3.0)
    assert repeats.fails("eof", now=0.0)
    assert not repeats.fails("refused", now=1.0)
    assert repeats.fails("no file", now=3.0)


def test_the_end_says_how_long_it_lasted_and_the_next_gets_a_line_at_once() -> None:
    """It is over only once, and what fails again is another trouble."""
    repeats = Repeats()
    assert repeats.end(now=1.0) is None
    repeats.fails("away", now=10.0)
    repeats.fails("away", now=11.0)
    assert repeats.lasts_s(now=12.0) == pytest.approx(2.0)
    assert repeats.end(now=52.0) == pytest.approx(42.0)
    assert repeats.end(now=53.0) is None
    assert repeats.lasts_s(now=54.0) == 0
    assert repeats.fails("away", now=55.0)
    assert repeats.end(now=55.0) == 0

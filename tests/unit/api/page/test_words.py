"""Times, counts and texts as the page writes them."""

import pytest
from markupsafe import Markup

from lbwatch.api.page import words as subject


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 ms"),
        (0.00512, "5.1 ms"),
        (0.0129, "13 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (300, "300 s"),
    ],
)
def test_measured_times_have_their_unit(seconds: float, text: str) -> None:
    """13 and 0.013 are easily taken for one another."""
    assert subject.seconds(seconds) == text


def test_a_time_has_its_date_where_that_is_another_than_todays() -> None:
    """At five past midnight "23:58" was yesterday."""
    assert subject.clock("2026-11-24T22:54:06+00:00", "2026-11-24T23:00:00+00:00") == "22:54:06"
    assert subject.clock("2026-11-24T22:54:06.123+00:00") == "22:54:06"
    assert subject.clock("2026-11-23T22:54:06+00:00", "2026-11-24T23:00:00+00:00") == "2026-11-23 22:54:06"


def test_counts_are_grouped_and_their_words_agree() -> None:
    """A count of "1 servers" looks like a mistake, and 12000 is easily read as 1200."""
    assert subject.plural(1, "server") == "1 server"
    assert subject.plural(0, "server") == "0 servers"
    assert subject.plural(12_000, "server") == "12,000 servers"


def test_what_hides_or_turns_text_around_is_written_out() -> None:
    """A name must not look like another; tabs and line ends, numbers and markup of our own are as they are."""
    assert subject.visible("a\u202eb\x1b[m\x85") == "a\\u202eb\u241b[m\\x85"
    assert subject.visible("a\tb\n") == "a\tb\n"
    assert subject.visible(Markup("a\x1b")) == "a\x1b"
    assert subject.visible(7) == 7

"""Differences of texts, as `patch` would take them."""

import difflib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patches import patched

from lbwatch.core.diff import MAX_COMPARED, unified

texts = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "}\n", "\n"]), max_size=30).map("".join)


@given(before=texts, after=texts)
def test_a_difference_turns_the_old_text_into_the_new_one(before: str, after: str) -> None:
    """It is shown as what happened to a live file."""
    assert patched(before, list(unified(before, after))) == after


@given(text=texts)
def test_equal_texts_have_no_difference(text: str) -> None:
    """An empty answer is what scripts ask for."""
    assert list(unified(text, text)) == []


def test_it_has_three_lines_of_context() -> None:
    """As everyone knows it from diff -u."""
    before = "".join(f"{number}\n" for number in range(1, 21))
    assert list(unified(before, before.replace("10\n", "ten\n"))) == [
        "@@ -7,7 +7,7 @@\n",
        *(" 7\n", " 8\n", " 9\n", "-10\n", "+ten\n", " 11\n", " 12\n", " 13\n"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("", "a\n", ["@@ -0,0 +1 @@\n", "+a\n"]),
        ("a\n", "", ["@@ -1 +0,0 @@\n", "-a\n"]),
        ("a", "a\n", ["@@ -1 +1 @@\n", "-a\n\\ No newline at end of file\n", "+a\n"]),
    ],
)
def test_the_ends_are_as_diff_writes_them(before: str, after: str, lines: list[str]) -> None:
    """A first file, a last container, a file that somebody else wrote."""
    assert list(unified(before, after)) == lines


def test_what_is_long_and_wholly_another_is_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison line by line of 10,000 takes minutes, beside a daemon that has work to do."""
    before = "".join(f"old {number}\n" for number in range(MAX_COMPARED))
    after = "".join(f"new {number % 7}\n" for number in range(MAX_COMPARED))

    def searched(*_: object, **__: object) -> Iterator[str]:
        raise AssertionError("it is searched for equal lines")

    monkeypatch.setattr(difflib, "unified_diff", searched)
    assert patched(before, list(unified(before, after))) == after


def test_one_line_of_a_long_text_is_found_at_once() -> None:
    """It is the ordinary case: one server of thousands."""
    before = "".join(f"line {number}\n" for number in range(50_000))
    after = before.replace("line 25000\n", "another\n")
    assert next(iter(unified(before, after))) == "@@ -24998,7 +24998,7 @@\n"

"""What differs between two texts, as a unified diff; quick where little does, however long the texts are."""

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import islice

CONTEXT = 3
MAX_COMPARED = 4000
"""Lines between the first and the last difference that are compared one by one, which takes their square in time."""

_BEGINNINGS = re.compile(r"(?<=[-+])\d+")
"""Where a hunk begins in either text, in its header."""


def unified(before: str, after: str, *, context: int = CONTEXT) -> Iterator[str]:
    """
    Return the lines of a unified diff, each with its newline, without the two that name the files.

    Args:
        before: The old text.
        after: The new one.
        context: So many equal lines stand around each difference.
    """
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    if head == len(old) == len(new):
        return
    # One server of thousands is the ordinary change: what is equal around it need not be compared again.
    start, end = max(0, head - context), max(0, tail - context)
    for line in _hunks(old[start : len(old) - end], new[start : len(new) - end], context=context):
        shown = _BEGINNINGS.sub(lambda at: str(int(at[0]) + start), line) if line.startswith("@@") else line
        # difflib runs the next line into one that has no newline; patch(1) wants to be told.
        yield shown if shown.endswith("\n") else f"{shown}\n\\ No newline at end of file\n"


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many lines two texts have in common at their beginning."""
    shorter = min(len(one), len(other))
    return next((number for number, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), shorter)


def _hunks(old: Sequence[str], new: Sequence[str], *, context: int) -> Iterator[str]:
    if len(old) + len(new) <= MAX_COMPARED:
        yield from islice(difflib.unified_diff(old, new, n=context), 2, None)
        return
    yield f"@@ -{min(1, len(old))},{len(old)} +{min(1, len(new))},{len(new)} @@\n"
    yield from (f"-{line}" for line in old)
    yield from (f"+{line}" for line in new)

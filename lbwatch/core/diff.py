"""What differs between two texts, as a unified diff; quick where little does, however long the texts are."""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
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
    if before == after:
        return
    # One server of thousands is the ordinary change: what is equal around it is neither cut into lines nor compared.
    start, end = _equal_lines(before, after, context=context)
    skipped = before.count("\n", 0, start)
    old = before[start : len(before) - end].splitlines(keepends=True)
    new = after[start : len(after) - end].splitlines(keepends=True)
    for line in _hunks(old, new, context=context):
        shown = _BEGINNINGS.sub(lambda at: str(int(at[0]) + skipped), line) if line.startswith("@@") else line
        # difflib runs the next line into one that has no newline; patch(1) wants to be told.
        yield shown if shown.endswith("\n") else f"{shown}\n\\ No newline at end of file\n"


def _equal_lines(before: str, after: str, *, context: int) -> tuple[int, int]:
    """Return how many characters at the beginning and at the end of two texts need not be looked at: whole lines."""
    shorter = min(len(before), len(after))
    head = _longest(shorter, lambda size: before.startswith(after[:size]))
    for _ in range(context + 1):  # the last line that begins alike is not a whole one
        head = max(0, before.rfind("\n", 0, max(0, head - 1)) + 1)
    tail = _longest(shorter - head, lambda size: size == 0 or before.endswith(after[-size:]))
    for _ in range(context + 1):
        at = before.find("\n", len(before) - tail)
        tail = 0 if at < 0 else len(before) - at - 1
    return head, tail


def _longest(limit: int, holds: Callable[[int], bool]) -> int:
    """Return the largest number up to a limit for which something holds that holds for all smaller ones."""
    low = 0
    while low < limit:
        middle = (low + limit + 1) // 2
        if holds(middle):
            low = middle
        else:
            limit = middle - 1
    return low


def _hunks(old: Sequence[str], new: Sequence[str], *, context: int) -> Iterator[str]:
    if len(old) + len(new) <= MAX_COMPARED:
        yield from islice(difflib.unified_diff(old, new, n=context), 2, None)
        return
    yield f"@@ -{min(1, len(old))},{len(old)} +{min(1, len(new))},{len(new)} @@\n"
    yield from (f"-{line}" for line in old)
    yield from (f"+{line}" for line in new)

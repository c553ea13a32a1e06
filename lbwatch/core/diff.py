"""What differs between two texts, as a unified diff; quick where little does, however long the texts are."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

CONTEXT = 3
MAX_COMPARED = 4000
"""Lines between the first and the last difference that are compared one by one, which takes their square in time."""

Opcode = tuple[str, int, int, int, int]


def unified(before: str, after: str, *, context: int = CONTEXT) -> Iterator[str]:
    """
    Give the lines of a unified diff, each with its newline, without the two that name the files.

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
    start = max(0, head - context)
    ends = len(old) - max(0, tail - context), len(new) - max(0, tail - context)
    for group in _grouped(old[start : ends[0]], new[start : ends[1]], context=context):
        yield from _hunk(group, old=old, new=new, start=start)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the lines that two texts have in common at their beginning."""
    return next((number for number, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), _shorter(one, other))


def _shorter(one: Sequence[str], other: Sequence[str]) -> int:
    return min(len(one), len(other))


def _grouped(old: Sequence[str], new: Sequence[str], *, context: int) -> list[list[Opcode]]:
    if len(old) + len(new) > MAX_COMPARED:
        return [[("replace", 0, len(old), 0, len(new))]]
    return list(SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(context))


def _hunk(group: list[Opcode], *, old: Sequence[str], new: Sequence[str], start: int) -> Iterator[str]:
    first, last = group[0], group[-1]
    yield f"@@ -{_range(first[1] + start, last[2] + start)} +{_range(first[3] + start, last[4] + start)} @@\n"
    for tag, old_from, old_to, new_from, new_to in group:
        if tag == "equal":
            yield from _marked(" ", old[start + old_from : start + old_to])
            continue
        yield from _marked("-", old[start + old_from : start + old_to])
        yield from _marked("+", new[start + new_from : start + new_to])


def _range(begin: int, end: int) -> str:
    """Write a range of lines as `diff -u` does: an empty one is named by the line before it."""
    length = end - begin
    return f"{begin + (length > 0)}" if length == 1 else f"{begin + (length > 0)},{length}"


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield f"{mark}{line}" if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"

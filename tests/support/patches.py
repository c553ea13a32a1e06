"""What `patch` makes of a difference."""

import re

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n")


def patched(before: str, lines: list[str]) -> str:
    """Apply a unified diff as patch(1) does, and fail where it does not fit."""
    old, new, at = before.splitlines(keepends=True), [], 0
    position = 0
    while position < len(lines):
        match = _HUNK.fullmatch(lines[position])
        assert match, lines[position]
        start, length = int(match[1]), int(match[2] or 1)
        new_start, new_length = int(match[3]), int(match[4] or 1)
        begin = start - 1 if length else start
        assert begin >= at, "hunks overlap or are out of order"
        new += old[at:begin]
        assert len(new) == (new_start - 1 if new_length else new_start), "the new position is wrong"
        position += 1
        taken: list[str] = []
        added: list[str] = []
        while position < len(lines) and not lines[position].startswith("@@"):
            mark, line = lines[position][0], lines[position][1:]
            if position + 1 < len(lines) and lines[position + 1].startswith("\\"):
                line = line.removesuffix("\n")
            if mark in " -":
                taken.append(line)
            if mark in " +":
                added.append(line)
            position += 1 + (position + 1 < len(lines) and lines[position + 1].startswith("\\"))
        assert (len(taken), len(added)) == (length, new_length)
        assert old[begin : begin + length] == taken
        new += added
        at = begin + length
    return "".join(new + old[at:])

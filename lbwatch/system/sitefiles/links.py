"""
Follows the links of a path by hand, so that it is known in which folders somebody could make it lead elsewhere.

certbot and acme-companion put links into nginx's folder, and change a link in another folder, or the file at its end.
"""

import errno
import os
from collections import deque
from dataclasses import dataclass

MAX_LINKS = 40
"""In one path, as the kernel has it: path_resolution(7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """
    Where a path leads.

    Attributes:
        target: The path without links; `None`: nothing is there, or it cannot be known.
        steps: Each folder on the way with the name that was looked up in it, the last one perhaps in vain.
    """

    target: str | None
    steps: tuple[tuple[str, str], ...]


def walk(path: str, *, start: str = "/") -> Walk:
    """
    Return where a path leads.

    Args:
        path: Absolute, or below *start*.
        start: A folder without links.
    """
    here, rest, steps, links = start, deque(path.split("/")), [], 0
    if path.startswith("/"):
        here = "/"
    while rest:
        name = rest.popleft()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        steps.append((here, name))
        full = os.path.join(here, name)
        try:
            target = os.readlink(full)
        except OSError as error:
            if error.errno != errno.EINVAL:
                return Walk(target=None, steps=tuple(steps))
            here = full  # it is there, and no link
            continue
        if (links := links + 1) > MAX_LINKS:
            return Walk(target=None, steps=tuple(steps))
        if target.startswith("/"):
            here = "/"
        rest.extendleft(reversed(target.split("/")))
    return Walk(target=here, steps=tuple(steps))

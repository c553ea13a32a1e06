"""What is mounted where, as this process sees it."""

import re
from pathlib import Path

_DELETED = "//deleted"
_OCTAL = re.compile(r"\\([0-7]{3})")


def is_detached(path: Path) -> bool:
    """Return whether *path* is a file that was mounted by itself, and removed since from where it came from."""
    return mounted().get(str(path.resolve()), "").endswith(_DELETED)


def mountinfo() -> str:
    """Return what is mounted as this process sees it, as proc(5) describes it; raises `OSError`."""
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")


def mount_points(text: str) -> dict[str, str]:
    """
    Return what each mount point shows of its file system; of two at one place the later hides the other.

    Args:
        text: See `mountinfo`; proc(5): white space and backslashes are written as octal numbers.
    """
    fields = (line.split(" ")[3:5] for line in text.splitlines())
    unescaped = ([_OCTAL.sub(lambda match: chr(int(match[1], 8)), each) for each in pair] for pair in fields)
    return {pair[1]: pair[0] for pair in unescaped if len(pair) == 2}


def mounted() -> dict[str, str]:
    """Return what is mounted now, as `mount_points` does; empty where that cannot be read."""
    try:
        return mount_points(mountinfo())
    except OSError:
        return {}

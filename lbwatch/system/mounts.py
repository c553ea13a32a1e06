"""What is mounted where, as this process sees it."""

import os
import re
from pathlib import Path

_DELETED = "//deleted"
_OF_CONTAINERS = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_CONTAINER = re.compile(r"/([0-9a-f]{64})/(?:userdata/)?[a-z.]+\Z")
_OCTAL = re.compile(r"\\([0-7]{3})")


def is_detached(path: Path) -> bool:
    """Return whether *path* is a file that was mounted by itself, and removed since from where it came from."""
    return mounted().get(os.path.realpath(path), "").endswith(_DELETED)


def is_mounted(path: Path) -> bool:
    """Return whether something was mounted at *path* itself, which takes root; a link to a mount is none."""
    return os.path.join(os.path.realpath(path.parent), path.name) in mounted()


def mountinfo(pid: int | None = None) -> str:
    """Return what is mounted as a process sees it, as proc(5) describes it; `None`: this one. Raises `OSError`."""
    path = Path("/proc", "self" if pid is None else str(pid), "mountinfo")
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def container_of(text: str) -> str | None:
    """
    Return the id of the container whose network a process is in, going by what is mounted there; `None`: in no one's.

    Engines mount files that go with a network from a folder which is named by the container's id (facts, stream 23).

    Args:
        text: See `mountinfo`.
    """
    points = mount_points(text)
    found = (_CONTAINER.search(points.get(point, "")) for point in _OF_CONTAINERS)
    return next((match[1] for match in found if match is not None), None)


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

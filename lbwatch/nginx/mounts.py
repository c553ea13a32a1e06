"""
Finds where a folder of ours lies in another container: by the mounts that both have of it.

Pure. The engine tells where on its host a container's mounts come from; our own kernel tells which folder of which
file system ours is. The two paths differ at their beginning (the file system may be mounted anywhere on that host, or
be a part of one), so that they are compared from their ends.
"""

from collections.abc import Iterable

from lbwatch.files import mount_points

Parts = tuple[str, ...]


def seen_at(folder: str, *, mountinfo: str, mounts: Iterable[tuple[str, str]]) -> str | None:
    """
    Tell where *folder* lies in another container.

    Args:
        folder: A path on this side, without links.
        mountinfo: Our own /proc/self/mountinfo: proc(5).
        mounts: The other's, as pairs of a path on the engine's host and where that is in the container.

    Returns:
        The path in the other container; `None` if no mount of it holds the folder, or several could.
    """
    ours = _parts(_within(folder, mountinfo=mountinfo))
    found: dict[tuple[bool, int], set[str]] = {}  # by whether the whole path agrees, and by how much of it does
    for source, destination in mounts:
        for length in range(len(ours) + 1 if source else 0):
            theirs = _parts(source)
            if (agrees := _agreement(ours[:length], theirs)) is not None:
                place = "/".join((destination.rstrip("/"), *ours[length:]))
                found.setdefault((ours[:length] == theirs, agrees), set()).add(place)
    best = found[max(found)] if found else set()
    return next(iter(best)) if len(best) == 1 else None


def _agreement(ours: Parts, theirs: Parts) -> int | None:
    """Tell in how many parts two paths agree, one of which is the end of the other; `None`: it is not."""
    length = min(len(ours), len(theirs))
    if length == 0:
        return 0 if len(ours) == len(theirs) else None  # both are the root
    return length if ours[-length:] == theirs[-length:] else None


def _within(folder: str, *, mountinfo: str) -> str:
    """Give the folder's path within its file system."""
    points = {"/": "/"} | mount_points(mountinfo)
    point = max((each for each in points if f"{folder}/".startswith(each.rstrip("/") + "/")), key=len)
    root = points[point]
    return root.rstrip("/") + "/" + folder[len(point) :].lstrip("/")


def _parts(path: str) -> Parts:
    return tuple(part for part in path.split("/") if part)

"""The folder that nginx's container shares with us, in which it is given what it tests: where that lies in there."""

from collections.abc import Callable, Iterable
from pathlib import Path

from lbwatch.balancers.nginx.engine import Engine
from lbwatch.core.errors import NotTestedError
from lbwatch.core.model import Container
from lbwatch.system import mounts

Parts = tuple[str, ...]


class SharedFolder:
    """
    The folder of the output, which nginx's container sees too, perhaps under another name.

    Args:
        engine: Runs the container.
        output: The file that nginx includes, on this side.
        output_there: Where the folder of the output lies in there; `None`: found from the mounts.
        mountinfo: Returns our own mounts, as /proc/self/mountinfo has them.
    """

    def __init__(
        self, engine: Engine, *, output: Path, output_there: Path | None, mountinfo: Callable[[], str]
    ) -> None:
        self._engine = engine
        self._output = output
        self._output_there = output_there
        self._mountinfo = mountinfo

    async def path_in(self, container: Container) -> Path:
        """
        Return where the folder lies in the container.

        Raises:
            NotTestedError: Neither mounts nor settings tell.
            SourceError: The engine does not say what is mounted.
        """
        if self._output_there is not None:
            return self._output_there
        container_config = await self._engine.container_config(container.id)
        folder = str(self._output.parent.resolve())
        try:
            found = path_in_container(folder, mountinfo=self._mountinfo(), theirs=container_config.mounts)
        except OSError as error:
            raise NotTestedError(f"our own mounts cannot be read: {error.strerror}; set nginx_output") from error
        if found is None:
            places = ", ".join(destination for _, destination in container_config.mounts) or "none"
            raise NotTestedError(
                f"nginx's container {container.name} shares no mount with {folder} (it has {places}): mount one folder "
                "in both, or set nginx_output to where it lies in there"
            )
        return Path(found)


def path_in_container(folder: str, *, mountinfo: str, theirs: Iterable[tuple[str, str]]) -> str | None:
    """
    Return where *folder* lies in another container: by the mounts that both have of it.

    The engine says where on its host a container's mounts come from; our own kernel says which folder of which file
    system ours is.

    Args:
        folder: A path on this side, without links.
        mountinfo: Our own /proc/self/mountinfo: proc(5).
        theirs: The other's mounts, as pairs of a path on the engine's host and where that is in the container.

    Returns:
        The path in the other container; `None` if no mount of it holds the folder, or several could.
    """
    ours = _parts(_path_in_file_system(folder, mountinfo=mountinfo))
    found: dict[tuple[bool, int], set[str]] = {}  # by whether the whole path agrees, and by how much of it does
    # The two paths differ at their beginnings (the file system may be mounted anywhere on that host, or be a part of
    # one), so that they are compared from their ends; of several that agree the one in full, then the longest, is it.
    for source, destination in theirs:
        for length in range(len(ours) + 1 if source else 0):
            whole = _parts(source)
            if (agreeing := _agreeing_parts(ours[:length], whole)) is not None:
                place = "/".join((destination.rstrip("/"), *ours[length:]))
                found.setdefault((ours[:length] == whole, agreeing), set()).add(place)
    best = found[max(found)] if found else set()
    return next(iter(best)) if len(best) == 1 else None


def _agreeing_parts(ours: Parts, theirs: Parts) -> int | None:
    """Return in how many parts two paths agree, one of which is the end of the other; `None`: it is not."""
    length = min(len(ours), len(theirs))
    if length == 0:
        return 0 if len(ours) == len(theirs) else None  # both are the root
    return length if ours[-length:] == theirs[-length:] else None


def _path_in_file_system(folder: str, *, mountinfo: str) -> str:
    points = {"/": "/"} | mounts.mount_points(mountinfo)
    point = max((each for each in points if f"{folder}/".startswith(each.rstrip("/") + "/")), key=len)
    root = points[point]
    return root.rstrip("/") + "/" + folder[len(point) :].lstrip("/")


def _parts(path: str) -> Parts:
    return tuple(part for part in path.split("/") if part)

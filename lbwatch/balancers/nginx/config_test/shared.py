"""The folder that nginx's container shares with us, in which it is given what it tests: where that lies in there."""

import os
import posixpath
from collections.abc import Callable, Iterable
from pathlib import Path

from lbwatch.balancers.nginx.engine import Engine
from lbwatch.core.errors import NotTestedError, SourceError
from lbwatch.core.model import Container
from lbwatch.system import mounts
from lbwatch.system.temporary import temporary_file

PROBE = ".lbwatch-test-"
"""How the name of a file begins that is there for a moment; hidden, so that no `include` takes it."""

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
        folder = str(self._real_folder())
        try:
            found = path_in_container(folder, mountinfo=self._mountinfo(), theirs=container_config.mounts)
        except OSError as error:
            raise NotTestedError(f"our own mounts cannot be read: {error.strerror}; set nginx_output") from error
        if found is None:
            found = await self._found_by_trial(container, [destination for _, destination in container_config.mounts])
        if found is None:
            places = ", ".join(destination for _, destination in container_config.mounts) or "none"
            raise NotTestedError(
                f"nginx's container {container.name} shares no mount with {folder} (it has {places}): mount one folder "
                "in both, or set nginx_output to where it lies in there"
            )
        return Path(found)

    def _real_folder(self) -> Path:
        return Path(os.path.realpath(self._output.parent))

    async def _found_by_trial(self, container: Container, places: list[str]) -> str | None:
        """
        Return where in the container a file is that is put into the folder for a moment; `None`: not in one place.

        The engine's name for a mount may be its own, as that of a volume that is a bind or lies on another machine.
        """
        folder = self._real_folder()
        try:
            with temporary_file(prefix=PROBE, within=folder) as probe:
                return await self._place_of(probe, container=container, places=places)
        except OSError as error:
            raise NotTestedError(f"{folder}: {error.strerror}") from error

    async def _place_of(self, probe: Path, *, container: Container, places: list[str]) -> str | None:
        """Return the one folder, at or below the places in a container, in which it has a file of ours."""
        steps = probe.parent.parts
        for parts in (steps[number:] for number in range(len(steps), max(0, len(steps) - 3), -1)):
            tried = [posixpath.join(place, *parts) for place in places]
            found = [each for each in tried if await self._holds(container, posixpath.join(each, probe.name))]
            if found:
                return found[0] if len(found) == 1 else None
        return None

    async def _holds(self, container: Container, path: str) -> bool:
        try:
            return await self._engine.archive(container.id, path) is not None
        except SourceError as error:
            if error.status is None:
                raise
            return False  # a mount that is a file, say


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

"""
Where nginx is: in which container, and what it reaches from there; where a folder of ours lies in that container.

The container may be restarted, recreated, renamed and connected to networks at any time: the engine's containers as
they were last seen tell. No engine is asked here.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lbwatch.balancers.nginx.process import find_master
from lbwatch.core.errors import ReloadError
from lbwatch.core.model import Container, ContainerStatus
from lbwatch.core.placement import network_owner
from lbwatch.core.selector import Selector, chosen
from lbwatch.system import mounts


class NginxContainer:
    """
    Which container nginx runs in now, and what it reaches from there.

    Args:
        selector: What the user said of it.
        known: Gives the engine's containers as they were last seen, by id; `None` before that.
    """

    def __init__(self, selector: Selector, *, known: Callable[[], Mapping[str, Container] | None]) -> None:
        self.selector = selector
        self._known = known
        self._networks: tuple[str, ...] = ()  # of the latest that ran

    def found(self) -> tuple[Container, ...]:
        """List the containers that are meant, best first."""
        return chosen((self._known() or {}).values(), self.selector)

    def container(self) -> Container:
        """Give the one that counts, or raise `ReloadError`."""
        if (known := self._known()) is None:
            raise ReloadError("the engine was not read yet, so that nginx's container is not known")
        found = chosen(known.values(), self.selector)
        if not found:
            raise ReloadError(
                f"nginx_container: the engine has no container {self.selector}: until it is there, the last "
                "configuration stays"
            )
        return found[0]

    def running(self) -> Container:
        """Give it if it runs, or raise `ReloadError`."""
        container = self.container()
        if container.status is not ContainerStatus.RUNNING:
            raise ReloadError(
                f"nginx's container {container.name} does not run ({container.status}): start it, or see its log"
            )
        return container

    def networks(self) -> tuple[str, ...]:
        """
        Name the networks that it reaches; those of the latest one that ran where none does now.

        Empty if there never was one, or if it is on the host's own network, from which all are reached.
        """
        owner, runs = self._owner()
        if owner is not None and (runs or not self._networks):
            if owner.host_network:
                self._networks = ()
            elif owner.endpoints:  # else it is on its way from one to another
                self._networks = tuple(each.network for each in owner.endpoints)
        return self._networks

    def on_host(self) -> bool:
        """Tell whether it shares the network of the engine's host."""
        owner, _ = self._owner()
        return owner is not None and owner.host_network

    def _owner(self) -> tuple[Container | None, bool]:
        """Give whose network it uses, most often its own, and tell whether it runs."""
        if (container := next(iter(self.found()), None)) is None:
            return None, False
        owner = network_owner(container, containers=self._known() or {})
        return owner, owner is not None and container.status is ContainerStatus.RUNNING

    def remark(self) -> str | None:
        """Say what is odd about it, if anything is."""
        running = [each.name for each in self.found() if each.status is ContainerStatus.RUNNING]
        if len(running) > 1:
            return f"{len(running)} containers are meant by nginx_container: only {running[0]}, the newest, is reloaded"
        return None


class HostNetwork:
    """
    Whether nginx shares the network of the engine's host.

    What was seen of a running nginx holds while it is down: its servers must not go when it is restarted.

    Args:
        pidfile: Names nginx's master.
    """

    def __init__(self, *, pidfile: Path) -> None:
        self._pidfile = pidfile
        self._seen: bool | None = None

    def shared(self, *, engine_pid: int | None) -> bool:
        """Tell by the network namespaces of the engine's process and of nginx."""
        try:
            self._seen = _same_network(engine_pid, find_master(self._pidfile).pid)
        except ReloadError:
            return _same_network(engine_pid, os.getpid()) if self._seen is None else self._seen
        return self._seen


def _same_network(one: int | None, other: int) -> bool:
    try:
        return os.readlink(f"/proc/{one}/ns/net") == os.readlink(f"/proc/{other}/ns/net")
    except OSError:  # not root, or another pid namespace
        return False


Parts = tuple[str, ...]


def seen_at(folder: str, *, mountinfo: str, theirs: Iterable[tuple[str, str]]) -> str | None:
    """
    Return where *folder* lies in another container: by the mounts that both have of it.

    The engine tells where on its host a container's mounts come from; our own kernel tells which folder of which file
    system ours is. The two paths differ at their beginning (the file system may be mounted anywhere on that host, or be
    a part of one), so that they are compared from their ends.

    Args:
        folder: A path on this side, without links.
        mountinfo: Our own /proc/self/mountinfo: proc(5).
        theirs: The other's mounts, as pairs of a path on the engine's host and where that is in the container.

    Returns:
        The path in the other container; `None` if no mount of it holds the folder, or several could.
    """
    ours = _parts(_within(folder, mountinfo=mountinfo))
    found: dict[tuple[bool, int], set[str]] = {}  # by whether the whole path agrees, and by how much of it does
    for source, destination in theirs:
        for length in range(len(ours) + 1 if source else 0):
            whole = _parts(source)
            if (agrees := _agreement(ours[:length], whole)) is not None:
                place = "/".join((destination.rstrip("/"), *ours[length:]))
                found.setdefault((ours[:length] == whole, agrees), set()).add(place)
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
    points = {"/": "/"} | mounts.mount_points(mountinfo)
    point = max((each for each in points if f"{folder}/".startswith(each.rstrip("/") + "/")), key=len)
    root = points[point]
    return root.rstrip("/") + "/" + folder[len(point) :].lstrip("/")


def _parts(path: str) -> Parts:
    return tuple(part for part in path.split("/") if part)

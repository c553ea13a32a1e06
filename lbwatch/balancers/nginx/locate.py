"""
Where nginx is: in which container, and what it reaches from there.

The container may be restarted, recreated, renamed and connected to networks at any time: the engine's containers as
they were last seen tell. No engine is asked here.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from lbwatch.balancers.nginx.process import find_master
from lbwatch.core.addresses import checked_address
from lbwatch.core.errors import ReloadError
from lbwatch.core.model import Container, ContainerStatus
from lbwatch.core.placement import network_owner
from lbwatch.core.selector import Selector, chosen

_CURES = {
    ContainerStatus.PAUSED: "docker unpause {name}",
    ContainerStatus.RESTARTING: "its log says why it ends",
}


class NginxContainer:
    """
    Which container nginx runs in now, and what it reaches from there.

    Args:
        selector: What the user said of it.
        known: Returns the engine's containers as they were last seen, by id; `None` before that.
    """

    def __init__(self, selector: Selector, *, known: Callable[[], Mapping[str, Container] | None]) -> None:
        self.selector = selector
        self._known = known
        self._networks: tuple[str, ...] = ()  # of the latest that ran
        self._gateway = ""  # likewise

    def found(self) -> tuple[Container, ...]:
        """Return the containers that are meant, best first."""
        return chosen((self._known() or {}).values(), self.selector)

    def container(self) -> Container:
        """Return the one that counts, or raise `ReloadError`."""
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
        """Return it if it runs, or raise `ReloadError`."""
        container = self.container()
        if container.status is not ContainerStatus.RUNNING:
            cure = _CURES.get(container.status, "start it, or see its log").format(name=container.name)
            raise ReloadError(f"nginx's container {container.name} is {container.status}: {cure}")
        return container

    def networks(self) -> tuple[str, ...]:
        """
        Return the names of the networks that it reaches; those of the latest one that ran where none does now.

        Empty if there never was one, or if it is on the host's own network, from which all are reached.
        """
        self._look()
        return self._networks

    def gateway(self) -> str:
        """
        Return the address of the engine's host on the first network that has one, by name: there its programs are.

        Empty if it has none; of the latest one that ran where none does now.
        """
        self._look()
        return self._gateway

    def _look(self) -> None:
        owner, runs = self._owner()
        # While it is down nothing changes for the containers that it reaches: it comes back to them.
        if owner is None or not (runs or not self._networks):
            return
        if owner.host_network:
            self._networks, self._gateway = (), ""
        elif owner.endpoints:  # else it is on its way from one to another
            self._networks = tuple(each.network for each in owner.endpoints)
            gateways = (checked_address(each.gateway) for each in owner.endpoints)
            self._gateway = next(filter(None, gateways), "")

    def on_host(self) -> bool:
        """Return whether it shares the network of the engine's host."""
        owner, _ = self._owner()
        return owner is not None and owner.host_network

    def _owner(self) -> tuple[Container | None, bool]:
        """Return the container whose network it uses, most often itself, and whether it runs."""
        if (container := next(iter(self.found()), None)) is None:
            return None, False
        owner = network_owner(container, containers=self._known() or {})
        return owner, owner is not None and container.status is ContainerStatus.RUNNING

    def remark(self) -> str | None:
        """Return what is odd about it; `None`: nothing."""
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
        """Return whether the engine's process and nginx share a network namespace; `False` if that cannot be seen."""
        try:
            self._seen = same_network(find_master(self._pidfile).pid, engine_pid)
        except ReloadError:
            return same_network(os.getpid(), engine_pid) if self._seen is None else self._seen
        return self._seen


def same_network(one: int, other: int | None) -> bool:
    """Return whether two processes are seen to use the same network; `False` if that of one cannot be seen."""
    try:
        return os.readlink(f"/proc/{one}/ns/net") == os.readlink(f"/proc/{other}/ns/net")
    except OSError:  # not root, or another pid namespace
        return False

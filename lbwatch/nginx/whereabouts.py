"""
Which container nginx runs in now, and what it reaches from there.

It may be restarted, recreated, renamed and connected to networks at any time: the engine's containers as they were last
seen tell. Nothing is asked here.
"""

from collections.abc import Callable, Mapping

from lbwatch.errors import ReloadError
from lbwatch.model import Container, ContainerStatus
from lbwatch.place import network_owner
from lbwatch.selector import Selector, chosen


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

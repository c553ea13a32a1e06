"""How states change in the fake engine, and the events of each change; the deeds are in `world`."""

import contextlib
import random
from collections.abc import Callable, Iterable
from typing import Any

from lbwatch.engines.fake.containers import Containers
from lbwatch.engines.fake.events import container_event, network_event
from lbwatch.engines.fake.model import ConflictError, Container, InvalidError, Link, Network, NotFoundError
from lbwatch.engines.fake.networks import Networks


class Ground:
    """
    The containers and networks of one engine, and the changes that every deed is made of.

    Args:
        seed: Of all ids, so that two runs give the same ones.
        clock_ns: The engine's clock, in nanoseconds since the epoch.
        publish: Takes each event, in the shape of the Engine API.
        changed: Takes the id of a container whose state changed and what it is now, `None` once it is gone.
    """

    def __init__(
        self,
        *,
        seed: int,
        clock_ns: Callable[[], int],
        publish: Callable[[dict[str, Any]], None],
        changed: Callable[[str, Container | None], None],
    ) -> None:
        self.clock_ns = clock_ns
        self.served = True  # while the engine is down no policy brings a container back
        self._random = random.Random(seed)
        self._publish = publish
        self._changed = changed
        self.containers = Containers(random=self._random)
        self.networks = Networks(new_id=self._new_id, clock_ns=clock_ns)

    def _bring_up(self, container: Container) -> None:
        owner = container.mode.partition("container:")[2]
        if owner and not self.containers.find(owner).running:
            raise ConflictError(f"cannot join network of a non running container: {owner}")
        for network in [self.networks.find(name) for name in container.links]:
            self._attach(container, network)
        container.begin(now_ns=self.clock_ns(), pid=self._random.randrange(1000, 4_000_000))
        self._note(container)
        self._event(container, "start")
        if container.check in ("healthy", "unhealthy"):
            self._probe(container, found=container.check)

    def _bring_down(self, container: Container, *, code: int) -> None:
        links = container.links
        container.end(now_ns=self.clock_ns(), code=code)
        self._note(container)
        self._event(container, "die", exitCode=str(code))
        for name, link in links.items():
            network = self.networks.find(name)
            network.free(link)
            self._network_event(network, "disconnect", container=container.id)

    def _end(self, container: Container, *, code: int) -> None:
        told = container.told_to_stop
        self._bring_down(container, code=code)
        if told:
            self._event(container, "stop")
        if self.served and container.returns_after(code):
            container.restarts += 1
            self._bring_up(container)

    def _probe(self, container: Container, *, found: str) -> None:
        changed, container.health = container.health != found, found
        self._note(container)
        if changed and found != "starting":
            self._event(container, f"health_status: {found}")

    def _attach(self, container: Container, network: Network) -> None:
        aliases = container.links[network.name].aliases
        container.links[network.name] = network.link(endpoint_id=self._new_id(), aliases=aliases)
        self._network_event(network, "connect", container=container.id)

    def _thaw(self, container: Container) -> None:
        """Unpause what is to end: a frozen container obeys no signal."""
        if container.paused:
            container.paused = False
            self._event(container, "unpause")

    def _new_link(self, container_id: str, *, network: str) -> Link:
        """Make a link without an address; only on networks of one's own there are aliases."""
        return Link(aliases=() if network in ("bridge", "host", "none") else (container_id[:12],))

    def _mode(self, mode: str | None, *, networks: Iterable[str]) -> tuple[str, tuple[str, ...]]:
        """Give the network mode as it is stored, and the names of the networks."""
        if mode and mode.startswith("container:"):
            with contextlib.suppress(NotFoundError):  # to be noticed at the start
                mode = f"container:{self.containers.find(mode.removeprefix('container:')).id}"
            return mode, ()
        if mode not in (None, "host", "none"):
            raise InvalidError(f"network_mode takes host, none or container:X, not {mode}")
        names = (mode,) if mode else tuple(dict.fromkeys(map(self.networks.name_of, networks))) or ("none",)
        return ("default" if names[0] == "bridge" else names[0]), names

    def _new_id(self) -> str:
        return f"{self._random.getrandbits(256):064x}"

    def _note(self, container: Container) -> None:
        self._changed(container.id, container.copy())

    def _event(self, container: Container, action: str, **said: str) -> None:
        self._publish(container_event(container, action, now_ns=self.clock_ns(), said=said))

    def _network_event(self, network: Network, action: str, **said: str) -> None:
        self._publish(network_event(network, action, now_ns=self.clock_ns(), said=said))

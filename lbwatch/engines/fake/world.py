"""
What can be done in the fake engine, and the events that each deed makes; no HTTP.

The events and their order are those of Engine 20.10 (facts of the stream, table). Every deed is done at once.
"""

import signal
from collections.abc import Iterable, Mapping
from typing import Any

from lbwatch.engines.fake.ground import Ground
from lbwatch.engines.fake.model import (
    ConflictError,
    Container,
    FailedError,
    ForbiddenError,
    InvalidError,
    restart_policy,
    signal_number,
)

_ENDING = {signal.SIGINT, signal.SIGQUIT, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM}
_PROBE = "/bin/sh -c probe"


class World(Ground):
    """
    The deeds.

    Containers are named by id, unique beginning of an id, or name; networks likewise. What the engine would
    refuse raises a `RefusedError`.
    """

    def create(
        self,
        *,
        name: str | None = None,
        image: str = "app",
        labels: Mapping[str, str] | None = None,
        networks: Iterable[str] = ("bridge",),
        exposed: Iterable[str] = ("80/tcp",),
        network_mode: str | None = None,
        health: str | None = None,
        stop_signal: str | None = None,
        restart: str | None = None,
    ) -> str:
        """
        Create a container and give its id.

        Args:
            name: Made up if `None`.
            image: Any; images are not looked up.
            labels: None if `None`.
            networks: Names or ids, the first being the network mode; missing ones are noticed at the start,
                as Docker does. Not read for `host`, `none` and `container:X`.
            exposed: Ports such as `80/tcp`.
            network_mode: `host`, `none` or `container:X`.
            health: Status of its health check at each start, commonly `starting`; `None` without a check,
                `none` with one that is switched off.
            stop_signal: Such as `SIGQUIT`; `None` for TERM.
            restart: As `docker run --restart` takes it.
        """
        name = self.containers.free_name(name) if name else self.containers.made_up_name()
        mode, links = self._mode(network_mode, networks=networks)
        policy, retries = restart_policy(restart)
        signal_number(stop_signal or "TERM")
        container_id = self._new_id()
        container = Container(
            id=container_id,
            name=name,
            image=image,
            labels=dict(labels or {}),
            exposed=tuple(exposed),
            mode=mode,
            links={network: self._new_link(container_id, network=network) for network in links},
            check=health,
            stop_signal=stop_signal,
            policy=policy,
            max_retries=retries,
            created_ns=self.clock_ns(),
        )
        self.containers.add(container)
        self._event(container, "create")
        self._note(container)
        return container.id

    def run(self, **options: Any) -> str:
        """Create a container and start it; the options are those of `create`."""
        container_id = self.create(**options)
        self.start(container_id)
        return container_id

    def start(self, ref: str) -> bool:
        """Start a container; `False` if it already runs."""
        container = self.containers.find(ref)
        if container.paused:
            raise ConflictError("cannot start a paused container, try unpause instead")
        if container.running:
            return False
        container.restarts = 0
        self._bring_up(container)
        return True

    def stop(self, ref: str) -> bool:
        """Stop a container by its own stop signal; `False` if it does not run."""
        container = self.containers.find(ref)
        if not container.running:
            return False
        late = container.told_to_stop
        if late:
            self._event(container, "kill", signal="9")
        else:
            self.tell_to_stop(container.id)
        self._thaw(container)
        self._end(container, code=137 if late else 0)
        return True

    def tell_to_stop(self, ref: str) -> None:
        """
        Do the first half of `stop`: send the own stop signal, which the container does not obey yet.

        It then runs until `stop` (grace is over: it is killed) or `die` (it ended in time).
        """
        container = self.containers.find(ref)
        container.must_run()
        self._event(container, "kill", signal=str(container.stop_number))
        container.told_to_stop = container.stopped_by_hand = container.ends_next = True

    def kill(self, ref: str, signal: str = "SIGKILL") -> None:
        """Send a signal by the API; INT, QUIT, ABRT, KILL, TERM and the own stop signal end the container."""
        container = self.containers.find(ref)
        number = signal_number(signal)
        if not container.running:
            raise ConflictError(f"Cannot kill container: {ref}: Container {container.id} is not running")
        container.stopped_by_hand = True
        if container.stop_signal is None or number in (container.stop_number, 9):
            container.ends_next = True
        self._event(container, "kill", signal=str(number))
        if container.ends_next:
            self._thaw(container)
        if number in _ENDING or number == container.stop_number:
            self._end(container, code=128 + number)

    def die(self, ref: str, code: int = 137, *, oom: bool = False) -> None:
        """Let a container die by itself, or killed from the host; its restart policy may bring it back."""
        container = self.containers.find(ref)
        container.must_run()
        container.oom_killed = oom
        if oom:
            self._event(container, "oom")
        self._end(container, code=code)

    def restart(self, ref: str) -> None:
        """Stop a container if it runs, and start it."""
        container = self.containers.find(ref)
        self.stop(container.id)
        container.restarts = 0
        self._bring_up(container)
        self._event(container, "restart")

    def pause(self, ref: str) -> None:
        """Freeze a container; with a health check it is `unhealthy` from then on, which no event says."""
        container = self.containers.find(ref)
        container.must_run()
        if container.paused:
            raise ConflictError(f"Container {container.id} is already paused")
        container.paused = True
        container.end_probes()
        self._note(container)
        self._event(container, "pause")

    def unpause(self, ref: str) -> None:
        """Go on with a container; its health stays as it is until the next probe (`set_health`)."""
        container = self.containers.find(ref)
        if not container.paused:
            raise FailedError(f"Container {container.id} is not paused")
        container.paused = False
        self._note(container)
        self._event(container, "unpause")

    def rename(self, ref: str, name: str) -> None:
        """Give a container another name."""
        container = self.containers.find(ref)
        old = container.name
        self.containers.rename(container, name=self.containers.free_name(name))
        self._note(container)
        self._event(container, "rename", oldName=f"/{old}")

    def update(self, ref: str, *, restart: str | None = None) -> None:
        """Change what `docker update` can change; of that only the restart policy matters here."""
        container = self.containers.find(ref)
        if restart is not None:
            container.policy, container.max_retries = restart_policy(restart)
        self._note(container)
        self._event(container, "update")

    def remove(self, ref: str, force: bool = False) -> None:  # noqa: FBT001, FBT002 - read as `rm -f`
        """Remove a container, a running one only with *force*."""
        container = self.containers.find(ref)
        if container.running and not force:
            raise ConflictError(
                f"You cannot remove a {container.status} container {container.id}. "
                "Stop the container before attempting removal or force remove"
            )
        if container.running:
            self._event(container, "kill", signal="9")
            self._thaw(container)
            self._bring_down(container, code=137)
        self.containers.remove(container)
        self._changed(container.id, None)
        self._event(container, "destroy")

    def set_health(self, ref: str, status: str) -> None:
        """Let the health check find `healthy`, `unhealthy` or `starting`; without a check it gets one."""
        container = self.containers.find(ref)
        container.must_run()
        if status not in {"starting", "healthy", "unhealthy"}:
            raise InvalidError(f"no such health status: {status}")
        if container.check in (None, "none"):
            container.check = "starting"
        self._probe(container, found=status)

    def exec_probe(self, ref: str) -> None:
        """Make the three events that each health probe makes."""
        container = self.containers.find(ref)
        exec_id = self._new_id()
        self._event(container, f"exec_create: {_PROBE}", execID=exec_id)
        self._event(container, f"exec_start: {_PROBE}", execID=exec_id)
        self._event(container, "exec_die", execID=exec_id, exitCode="0")

    # What can be done to networks, and between the two.

    def connect(self, ref: str, network: str) -> None:
        """Put a container on a network: at once if it runs, else at its next start, which no event says."""
        container, target = self.containers.find(ref), self.networks.find(network)
        if target.name in container.links:
            raise ForbiddenError(f"endpoint with name {container.name} already exists in network {target.name}")
        if container.mode == "host" or target.driver == "host" or container.mode.startswith("container:"):
            raise InvalidError("container sharing network namespace with another container or host")
        container.links[target.name] = self._new_link(container.id, network=target.name)
        if container.running:
            self._attach(container, target)
        self._note(container)

    def disconnect(self, ref: str, network: str) -> None:
        """Take a container off a network; a running one's makes two events, as up to Engine 27."""
        container, target = self.containers.find(ref), self.networks.find(network)
        link = container.links.pop(target.name, None)
        if link is None:
            raise FailedError(f"container {container.id} is not connected to network {target.name}")
        if container.running:
            target.free(link)
            self._network_event(target, "disconnect", container=container.id)
        self._note(container)
        self._network_event(target, "disconnect", container=container.id)

    def create_network(self, name: str, *, ipv4: bool = True, ipv6: bool = False) -> str:
        """Create a network and give its id."""
        network = self.networks.create(name, ipv4=ipv4, ipv6=ipv6)
        self._network_event(network, "create")
        return network.id

    def remove_network(self, ref: str) -> None:
        """Remove a network on which nothing runs; stopped containers keep its name."""
        network = self.networks.find(ref)
        if any(c.running and network.name in c.links for c in self.containers):
            raise ForbiddenError(
                f"error while removing network: network {network.name} id {network.id} has active endpoints"
            )
        self.networks.remove(network)
        self._network_event(network, "destroy")

    # What happens to the engine itself.

    def end_all(self) -> None:
        """Let every container exit with 0 and no policy bring it back."""
        for container in self.containers:
            if container.running:
                self._bring_down(container, code=0)

    def renew_bridge(self) -> None:
        """Give the default bridge another id; stopped containers keep the old one."""
        bridge = self.networks.renew_bridge()
        for container in self.containers:
            if container.running and bridge.name in container.links:
                container.links[bridge.name].network_id = bridge.id
                self._note(container)

"""
What happens to containers and networks in the fake engine, and the events of it in the engine's order.

Whether a caller may have it happen is decided in `operations`, which order an engine has in `kinds`. The state changes
at once; where an engine takes its time to tell, the events come later, with the time at which it happened.
"""

from collections.abc import Iterable

from lbwatch.engines.fake.delivery import EventStream, Replica
from lbwatch.engines.fake.ports import HostPorts
from lbwatch.engines.fake.responses import container_event, network_event
from lbwatch.engines.fake.state import ConflictError, Container, Endpoint, Network, State


class Transitions:
    """
    The steps that every operation is made of.

    Args:
        state: What they change.
        events: Where each event goes.
        replica: Where a copy of each changed container goes.
    """

    def __init__(self, *, state: State, events: EventStream, replica: Replica) -> None:
        self.state = state
        self.kind = state.kind
        self._ports = HostPorts(state)
        self._lag = state.kind.answers.list_lag
        self._events = events
        self._replica = replica

    def start(self, container: Container) -> None:
        """
        Attach a container to its networks and start it.

        Raises:
            ConflictError: The container whose network it uses does not run.
            NotFoundError: That container, or one of its networks, does not exist.
        """
        state, first = self.state, self.kind.events.begins_with
        owner = container.mode.partition("container:")[2]
        if owner and not state.find_container(owner).running:
            raise ConflictError(f"cannot join network of a non running container: {owner}")
        networks = [state.find_network(name) for name in container.endpoints]
        if container.mode not in ("host", "none") and not owner:  # else nothing is published
            self._ports.publish(container)
        for network in networks:
            self._allocate(container, network)
            if first == "connect":
                self._tell_network(network, first, container=container)
        container.mark_started(now_ns=state.clock_ns(), pid=state.random.randrange(1000, 4_000_000))
        self.record(container, lag_s=self._lag.start)
        if first != "connect":
            self.publish(container, first)
        self.publish(container, "start")
        if container.healthcheck in ("healthy", "unhealthy"):
            self.probe(container, health=container.healthcheck)

    def terminate(self, container: Container, *, code: int, words: Iterable[str] | None = None) -> None:
        """
        End a container's run with *code* and detach it from its networks; its restart policy is not asked.

        Args:
            container: One that runs.
            code: Its exit code.
            words: The events of it, in order; `None`: those of an end that is one of several steps.
        """
        endpoints, stop_requested = container.endpoints, container.stop_requested
        networks = [self.state.find_network(name) for name in endpoints]
        container.mark_exited(now_ns=self.state.clock_ns(), code=code)
        self.record(container, lag_s=self._lag.exit)
        for network, endpoint in zip(networks, endpoints.values(), strict=True):
            network.release(endpoint)
        later_s = 0.0
        for word in self.kind.events.short_exit if words is None else words:
            if word == "stop" and not stop_requested:
                continue
            if word == "disconnect":
                for network in networks:
                    self._tell_network(network, word, container=container, delay_s=later_s)
            else:
                code_said = {"exitCode": str(code)} if word == "die" else {}
                self.publish(container, word, delay_s=later_s, **code_said)
            later_s = self.kind.events.exit_takes_s

    def exit(self, container: Container, *, code: int) -> None:
        """End a container's run with *code*; its restart policy may bring it back."""
        # While the engine is down nobody is there to restart anything (live-restore).
        events, returns = self.kind.events, not self._events.muted and container.restarts_after(code)
        self.terminate(container, code=code, words=events.short_exit if returns else events.exit)
        if returns:
            container.restarts += 1
            if events.restart_first:
                self.publish(container, "restart")
            self.start(container)

    def probe(self, container: Container, *, health: str) -> None:
        """Replace a container's health; `starting` has no event, and with Docker only a change has one."""
        events, changed = self.kind.events, container.reported_health != health
        container.former_health = container.health or "starting"
        container.health, container.health_forgotten = health, False
        self.record(container)
        if health != "starting" and (changed or events.each_probe):
            self.publish(container, f"health_status: {health}" if events.health_in_action else "health_status")

    def unpause(self, container: Container) -> None:
        """Unpause a container that is to end, if it is paused: frozen it obeys no signal."""
        if container.paused:
            container.paused = False
            self.publish(container, "unpause")

    def attach(self, container: Container, network: Network) -> None:
        """Connect a container that runs to a network, which gives it an address."""
        gateway = _gateway_network(container)
        self._allocate(container, network)
        self._publish_anew(container, before=gateway)
        self._tell_network(network, "connect", container=container)
        self.record(container, lag_s=self._lag.connect)

    def attach_stopped(self, container: Container, network: Network) -> None:
        """Connect one that does not run: it gets its address at its next start."""
        container.endpoints[network.name] = Endpoint()
        if self.kind.events.tells_stopped:
            self._tell_network(network, "connect", container=container)
        self.record(container)

    def detach(self, container: Container, network: Network) -> None:
        """Disconnect a container from a network, which gets the address back if the container runs."""
        gateway = _gateway_network(container)
        network.release(container.endpoints.pop(network.name))
        self._publish_anew(container, before=gateway)
        for _ in range(self.kind.events.live_disconnects if container.running else 1):
            self._tell_network(network, "disconnect", container=container)
        self.record(container, lag_s=self._lag.connect)

    def record(self, container: Container, *, lag_s: float | None = None) -> None:
        """Send the list's replica a copy of a container that changed, which it shows after a while."""
        self._replica.record(container.id, container.copy(), lag_s=self._lag.other if lag_s is None else lag_s)

    def record_pause(self, container: Container) -> None:
        """Do the same for one that was paused or unpaused."""
        self.record(container, lag_s=self._lag.pause)

    def remove(self, container: Container) -> None:
        """Remove a container that does not run."""
        self.state.remove_container(container)
        self._replica.record(container.id, None, lag_s=self._lag.other)
        self.publish(container, self.kind.events.removal)

    def tell_signal(self, container: Container, number: int, *, by_kill: bool) -> None:
        """
        Publish that a container is sent a signal.

        Args:
            container: One that runs.
            number: The signal's.
            by_kill: Whether by `docker kill`; else in the course of a stop, a restart or a removal.
        """
        events = self.kind.events
        if not (by_kill or events.tells_stop_signal):
            return
        if events.names_signal:
            self.publish(container, "kill", signal=str(number))
        else:
            self.publish(container, "kill")

    def publish(self, container: Container, action: str, *, delay_s: float = 0.0, **attributes: str) -> None:
        """
        Publish an event of a container.

        Args:
            container: As it is now.
            action: Such as `die`.
            delay_s: How many seconds after it happened it is told, and nothing that happens later before it.
            attributes: What the event itself says.
        """
        event = container_event(
            container, action, now_ns=self.state.clock_ns(), attributes=attributes, manners=self.kind.events
        )
        self._events.publish(event, delay_s=delay_s)

    def publish_network(self, network: Network, action: str) -> None:
        """Publish an event of a network that concerns no container."""
        self._tell_network(network, action, container=None)

    def _publish_anew(self, container: Container, *, before: str | None) -> None:
        """Publish the ports of a container anew if it runs and another network leads out of it than *before*."""
        now = _gateway_network(container)
        if container.running and now is None:
            container.bindings = ()
        elif container.running and now != before:
            self._ports.publish(container)

    def _allocate(self, container: Container, network: Network) -> None:
        container.endpoints[network.name] = network.allocate(endpoint_id=self.state.new_id())

    def _tell_network(
        self, network: Network, action: str, *, container: Container | None, delay_s: float = 0.0
    ) -> None:
        if container is None and not self.kind.events.tells_networks:
            return
        event = network_event(network, action, now_ns=self.state.clock_ns(), container=container, kind=self.kind)
        self._events.publish(event, delay_s=delay_s)


def _gateway_network(container: Container) -> str | None:
    """Return the network that leads out of a container, the first by name; `None`: it is on none."""
    return min(container.endpoints, default=None)

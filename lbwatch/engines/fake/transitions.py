"""
What happens to containers and networks in the fake engine, and the events of it in the engine's order.

Whether a caller may have it happen is decided in `operations`. The order is that of Engine 20.10 (docs/facts.md, the
table of the stream).
"""

from lbwatch.engines.fake.delivery import EventStream, Replica
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
        self._events = events
        self._replica = replica

    def start(self, container: Container) -> None:
        """
        Attach a container to its networks and start it.

        Raises:
            ConflictError: The container whose network it uses does not run.
            NotFoundError: That container, or one of its networks, does not exist.
        """
        state = self.state
        owner = container.mode.partition("container:")[2]
        if owner and not state.find_container(owner).running:
            raise ConflictError(f"cannot join network of a non running container: {owner}")
        for network in [state.find_network(name) for name in container.endpoints]:
            self.attach(container, network)
        container.mark_started(now_ns=state.clock_ns(), pid=state.random.randrange(1000, 4_000_000))
        self.record(container)
        self.publish(container, "start")
        if container.healthcheck in ("healthy", "unhealthy"):
            self.probe(container, health=container.healthcheck)

    def terminate(self, container: Container, *, code: int) -> None:
        """End a container's run with *code* and detach it from its networks; its restart policy is not asked."""
        endpoints = container.endpoints
        container.mark_exited(now_ns=self.state.clock_ns(), code=code)
        self.record(container)
        self.publish(container, "die", exitCode=str(code))
        # Engine 20.10 disconnects after `die`, Engine 23 and later before it (docs/facts.md, table of the stream).
        for name, endpoint in endpoints.items():
            self.detach(container, self.state.find_network(name), endpoint)

    def exit(self, container: Container, *, code: int) -> None:
        """End a container's run with *code*; its restart policy may bring it back."""
        stop_requested = container.stop_requested
        self.terminate(container, code=code)
        if stop_requested:
            self.publish(container, "stop")
        # While the engine is down nobody is there to restart anything (live-restore).
        if not self._events.muted and container.restarts_after(code):
            container.restarts += 1
            self.start(container)

    def probe(self, container: Container, *, health: str) -> None:
        """Replace a container's health; only a change has an event, and never one to `starting`."""
        changed = container.reported_health != health
        container.health, container.health_forgotten = health, False
        self.record(container)
        if changed and health != "starting":
            self.publish(container, f"health_status: {health}")

    def unpause(self, container: Container) -> None:
        """Unpause a container that is to end, if it is paused: frozen it obeys no signal."""
        if container.paused:
            container.paused = False
            self.publish(container, "unpause")

    def attach(self, container: Container, network: Network) -> None:
        """Allocate a container's address on a network."""
        container.endpoints[network.name] = network.allocate(endpoint_id=self.state.new_id())
        self.publish_network(network, "connect", container=container.id)

    def detach(self, container: Container, network: Network, endpoint: Endpoint) -> None:
        """
        Release the address that a container had on a network.

        Args:
            container: Of which the event tells.
            network: Which gets the address back.
            endpoint: As it was: a container that exited has it no more.
        """
        network.release(endpoint)
        self.publish_network(network, "disconnect", container=container.id)

    def record(self, container: Container) -> None:
        """Send the list's replica a copy of a container that changed."""
        self._replica.record(container.id, container.copy())

    def remove(self, container: Container) -> None:
        """Remove a container that does not run."""
        self.state.remove_container(container)
        self._replica.record(container.id, None)
        self.publish(container, "destroy")

    def publish(self, container: Container, action: str, **attributes: str) -> None:
        """Publish an event of a container; *attributes* is what the event itself says."""
        self._events.publish(container_event(container, action, now_ns=self.state.clock_ns(), attributes=attributes))

    def publish_network(self, network: Network, action: str, **attributes: str) -> None:
        """Publish an event of a network; *attributes* may name the container concerned."""
        self._events.publish(network_event(network, action, now_ns=self.state.clock_ns(), attributes=attributes))

"""
What callers can do with containers and networks in the fake engine, and what Docker refuses; no HTTP.

Every operation is done at once. Containers are named by id, unique beginning of an id, or name; networks likewise.
What the engine would refuse raises a `RefusedError`.
"""

import contextlib
import signal
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any

from lbwatch.engines.fake.ports import binding
from lbwatch.engines.fake.state import (
    IMAGE_ENV,
    PREDEFINED_NETWORKS,
    Binding,
    ConflictError,
    Container,
    Endpoint,
    FailedError,
    ForbiddenError,
    InvalidError,
    Network,
    NotFoundError,
    State,
    restart_policy,
    signal_number,
)
from lbwatch.engines.fake.transitions import Transitions

_ENDING_SIGNALS = {signal.SIGINT, signal.SIGQUIT, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM}
_PROBE_COMMAND = "/bin/sh -c probe"


class Containers:
    """
    The containers of one engine, in the order of their creation, and the operations on them.

    Args:
        transitions: What each operation is made of.

    Attributes:
        find: See `State.find_container`.
    """

    def __init__(self, transitions: Transitions) -> None:
        self._transitions = transitions
        self._state = transitions.state
        self.find = self._state.find_container

    def __iter__(self) -> Iterator[Container]:
        return iter(tuple(self._state.containers.values()))

    def create(
        self,
        *,
        name: str | None = None,
        image: str = "app",
        labels: Mapping[str, str] | None = None,
        networks: Iterable[str] = ("bridge",),
        exposed: Iterable[str] = ("80/tcp",),
        publish: Iterable[str | Binding] = (),
        network_mode: str | None = None,
        health: str | None = None,
        stop_signal: str | None = None,
        restart: str | None = None,
        env: Iterable[str] = (),
    ) -> str:
        """
        Return the id of a new container, which is created but not started.

        Args:
            name: Made up if `None`.
            image: Any; images are not looked up.
            labels: None if `None`.
            networks: Names or ids, the first being the network mode; missing ones are noticed at the start,
                as Docker does. Not read for `host`, `none` and `container:X`.
            exposed: Ports such as `80/tcp`.
            publish: Ports as `docker run --publish` takes them, such as `8080:80`; they are exposed too.
            network_mode: `host`, `none` or `container:X`.
            health: Status of its health check at each start, commonly `starting`; `None` without a check,
                `none` with one that is switched off.
            stop_signal: Such as `SIGQUIT`; `None` for TERM.
            restart: As `docker run --restart` takes it.
            env: As `NAME=value`, beside what the image has.
        """
        name = self._state.free_name(name) if name else self._state.made_up_name()
        mode, on = _network_mode(self._state, network_mode, networks=networks)
        policy, max_retries = restart_policy(restart)
        signal_number(stop_signal or "TERM")
        id = self._state.new_id()
        bindings = tuple(each if isinstance(each, Binding) else binding(each) for each in publish)
        container = Container(
            id=id,
            name=name,
            image=image,
            labels=dict(labels or {}),
            exposed=tuple(dict.fromkeys((*exposed, *(each.port for each in bindings)))),
            publish=bindings,
            mode=mode,
            endpoints={network: Endpoint() for network in on},
            healthcheck=health,
            stop_signal=stop_signal,
            restart_policy=policy,
            max_retries=max_retries,
            env=(*IMAGE_ENV, *env),
            created_ns=self._state.clock_ns(),
        )
        self._state.add_container(container)
        self._transitions.publish(container, "create")
        self._transitions.record(container)
        return id

    def run(self, **options: Any) -> str:
        """Return the id of a new container, which is started; the options are those of `create`."""
        id = self.create(**options)
        self.start(id)
        return id

    def start(self, ref: str) -> bool:
        """Return whether a container is started now; `False` if it already runs."""
        container = self.find(ref)
        if container.paused:
            raise ConflictError("cannot start a paused container, try unpause instead")
        if container.running:
            return False
        container.restarts = 0
        self._transitions.start(container)
        return True

    def stop(self, ref: str) -> bool:
        """Return whether a container is stopped now, by its own stop signal; `False` if it does not run."""
        container = self.find(ref)
        if not container.running:
            return False
        code = self._send_last_signal(container)
        self._transitions.exit(container, code=code)
        return True

    def send_stop_signal(self, ref: str) -> None:
        """
        Do the first half of `stop`: send the own stop signal, which the container does not obey yet.

        It then runs until `stop` (grace is over: it is killed) or `die` (it ended in time).
        """
        container = self.find(ref)
        container.require_running()
        self._transitions.tell_signal(container, container.stop_signal_number, by_kill=False)
        container.stop_requested = container.manually_stopped = container.restart_disabled = True

    def kill(self, ref: str, signal: str = "SIGKILL") -> None:
        """Send a signal by the API; INT, QUIT, ABRT, KILL, TERM and the own stop signal end the container."""
        container = self.find(ref)
        number = signal_number(signal)
        if not container.running:
            raise ConflictError(f"Cannot kill container: {ref}: Container {container.id} is not running")
        # Any signal through the API counts as a manual stop, and without a stop signal of the image's own even HUP
        # disarms every restart policy (moby#41302).
        container.manually_stopped = True
        if container.stop_signal is None or number in (container.stop_signal_number, 9):
            container.restart_disabled = True
        self._transitions.tell_signal(container, number, by_kill=True)
        if container.restart_disabled:
            self._transitions.unpause(container)
        if number in _ENDING_SIGNALS or number == container.stop_signal_number:
            self._transitions.exit(container, code=128 + number)

    def die(self, ref: str, code: int = 137, *, oom: bool = False) -> None:
        """
        End a container by itself, or killed from the host; its restart policy may bring it back.

        Args:
            ref: The container.
            code: Its exit code.
            oom: Whether it is killed for want of memory.
        """
        container = self.find(ref)
        container.require_running()
        if oom:
            self._transitions.publish(container, "oom")
        self._transitions.exit(container, code=code)

    def restart(self, ref: str) -> None:
        """Stop a container if it runs, and start it."""
        container, told_first = self.find(ref), self._state.kind.events.restart_first
        if told_first:
            self._transitions.publish(container, "restart")
        if container.running:
            code = self._send_last_signal(container)
            self._transitions.terminate(container, code=code)
        container.restarts = 0
        self._transitions.start(container)
        if not told_first:
            self._transitions.publish(container, "restart")

    def pause(self, ref: str) -> None:
        """Pause a container; with a health check Docker's is `unhealthy` from then on, without an event of it."""
        container = self.find(ref)
        container.require_running()
        if container.paused:
            raise ConflictError(f"Container {container.id} is already paused")
        container.paused = True
        if self._state.kind.answers.pause_stops_probes:
            container.stop_probes()
        self._transitions.record_pause(container)
        self._transitions.publish(container, "pause")

    def unpause(self, ref: str) -> None:
        """Unpause a container; its health stays as it is until the next probe (`set_health`)."""
        container = self.find(ref)
        if not container.paused:
            raise FailedError(f"Container {container.id} is not paused")
        self._transitions.unpause(container)
        self._transitions.record_pause(container)

    def rename(self, ref: str, name: str) -> None:
        """Replace a container's name."""
        container = self.find(ref)
        old = container.name
        self._state.rename_container(container, name=self._state.free_name(name))
        self._transitions.record(container)
        self._transitions.publish(container, "rename", oldName=f"/{old}")

    def update(self, ref: str, *, restart: str | None = None) -> None:
        """Replace what `docker update` can replace; of that only the restart policy matters here."""
        container = self.find(ref)
        if restart is not None:
            container.restart_policy, container.max_retries = restart_policy(restart)
        self._transitions.record(container)
        self._transitions.publish(container, "update")

    def remove(self, ref: str, force: bool = False) -> None:  # noqa: FBT001, FBT002 - read as `rm -f`
        """Remove a container, a running one only with *force*."""
        container = self.find(ref)
        if container.running:
            if not force:
                raise ConflictError(
                    f"You cannot remove a {container.status} container {container.id}. "
                    "Stop the container before attempting removal or force remove"
                )
            self._transitions.tell_signal(container, 9, by_kill=False)
            self._transitions.unpause(container)
            self._transitions.terminate(container, code=137)
        self._transitions.remove(container)

    def set_health(self, ref: str, status: str) -> None:
        """Replace what the health check finds: `healthy`, `unhealthy` or `starting`; without a check add one."""
        container = self.find(ref)
        container.require_running()
        if status not in {"starting", "healthy", "unhealthy"}:
            raise InvalidError(f"no such health status: {status}")
        if container.healthcheck in (None, "none"):
            container.healthcheck = "starting"
        self._transitions.probe(container, health=status)

    def exec_probe(self, ref: str) -> None:
        """Publish what each health probe makes: Docker's three events of an exec, or Podman's of the health alone."""
        container = self.find(ref)
        if not self._state.kind.events.probes_are_execs:
            if container.running and container.health:
                self._transitions.probe(container, health=container.health)
            return
        exec_id = self._state.new_id()
        for action in ("exec_create", "exec_start"):
            self._transitions.publish(container, f"{action}: {_PROBE_COMMAND}", execID=exec_id)
        self._transitions.publish(container, "exec_die", execID=exec_id, exitCode="0")

    def _send_last_signal(self, container: Container) -> int:
        """Return the exit code of a container that is stopped now."""
        # The second half of a stop that was begun before: the grace period is over, so it is killed.
        overdue = container.stop_requested
        if overdue:
            self._transitions.tell_signal(container, 9, by_kill=False)
        else:
            self.send_stop_signal(container.id)
        self._transitions.unpause(container)
        return 137 if overdue else 0

    def forget_health(self) -> None:
        """Forget what the latest probe found of each container that runs, as an engine does that starts."""
        for container in self:
            container.health_forgotten = container.running and bool(container.health)
            self._transitions.record(container)

    def end_all(self) -> None:
        """End every container with 0, whatever its restart policy."""
        for container in self:
            if container.running:
                self._transitions.terminate(container, code=0)


class Networks:
    """
    The networks of one engine, and the operations on them.

    Args:
        transitions: What each operation is made of.

    Attributes:
        find: See `State.find_network`.
    """

    def __init__(self, transitions: Transitions) -> None:
        self._transitions = transitions
        self._state = transitions.state
        self.find = self._state.find_network

    def __iter__(self) -> Iterator[Network]:
        return iter(tuple(self._state.networks.values()))

    def create(self, name: str, *, ipv4: bool = True, ipv6: bool = False, internal: bool = False) -> str:
        """
        Return the id of a new network of the bridge driver.

        Args:
            name: Of the network.
            ipv4: Whether it has IPv4 addresses.
            ipv6: Whether it has IPv6 addresses.
            internal: Whether nothing leads out of it.
        """
        if not name:
            raise InvalidError("invalid network name")
        if name in self._state.networks:
            raise ConflictError(f"network with name {name} already exists")
        network = self._state.add_network(name, driver="bridge", ipv4=ipv4, ipv6=ipv6, internal=internal)
        self._transitions.publish_network(network, "create")
        return network.id

    def join_overlay(self, name: str, *, id: str, ipv4: IPv4Network) -> None:
        """Make an overlay network of the Swarm's known here, as an engine does that gets its first task on it."""
        if name not in self._state.networks:
            network = self._state.add_network(name, driver="overlay", ipv4=False, ipv6=False)
            network.id, network.ipv4 = id, ipv4
            self._transitions.publish_network(network, "create")

    def remove(self, ref: str) -> None:
        """Remove a network on which nothing runs; stopped containers keep its name."""
        network = self.find(ref)
        if any(each.running and network.name in each.endpoints for each in self._state.containers.values()):
            raise ForbiddenError(
                f"error while removing network: network {network.name} id {network.id} has active endpoints"
            )
        if network.name in PREDEFINED_NETWORKS:
            raise ForbiddenError(f"{network.name} is a pre-defined network and cannot be removed")
        del self._state.networks[network.name]
        self._transitions.publish_network(network, "destroy")

    def connect(self, ref: str, network: str) -> None:
        """Connect a container to a network: at once if it runs, else at its next start, which Docker does not tell."""
        container, target = self._state.find_container(ref), self.find(network)
        if target.name in container.endpoints:
            raise ForbiddenError(f"endpoint with name {container.name} already exists in network {target.name}")
        if container.mode == "host" or target.driver == "host" or container.mode.startswith("container:"):
            raise InvalidError("container sharing network namespace with another container or host")
        (self._transitions.attach if container.running else self._transitions.attach_stopped)(container, target)

    def disconnect(self, ref: str, network: str) -> None:
        """Disconnect a container from a network."""
        container, target = self._state.find_container(ref), self.find(network)
        if target.name not in container.endpoints:
            raise FailedError(f"container {container.id} is not connected to network {target.name}")
        self._transitions.detach(container, target)

    def renew_bridge(self) -> None:
        """Replace the default bridge's id, as each restart of the engine does; stopped containers keep the old one."""
        bridge = self.find("bridge")
        bridge.id = self._state.new_id()
        for container in self._state.containers.values():
            if container.running and bridge.name in container.endpoints:
                container.endpoints[bridge.name].network_id = bridge.id
                self._transitions.record(container)


def _network_mode(state: State, mode: str | None, *, networks: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Return the network mode as it is stored, and the names of the networks to attach to."""
    if mode and mode.startswith("container:"):
        with contextlib.suppress(NotFoundError):  # it is noticed at the start (facts, stream 20)
            mode = f"container:{state.find_container(mode.removeprefix('container:')).id}"
        return mode, ()
    if mode not in (None, "host", "none"):
        raise InvalidError(f"network_mode takes host, none or container:X, not {mode}")
    names = [mode] if mode else []
    for ref in () if mode else networks:
        try:
            names.append(state.find_network(ref).name)
        except NotFoundError:  # it is noticed at the start
            names.append(ref)
    on = tuple(dict.fromkeys(names)) or ("none",)
    return ("default" if on[0] == "bridge" else on[0]), on

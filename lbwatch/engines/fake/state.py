"""
What the fake engine holds: containers, networks, a container's endpoint on a network, and what may be refused.

Everything here is plain state: no events, no HTTP, no clock that is not passed in.
"""

import contextlib
import heapq
import random
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network

from lbwatch.engines.fake.kinds import Kind

PREDEFINED_NETWORKS = {"bridge": "bridge", "host": "host", "none": "null"}
"""Driver by name; these cannot be removed."""

ANYWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound here
"""What an engine says of a port that is published on all addresses."""

IMAGE_ENV = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
"""What most images bring."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ADJECTIVES = ("brisk", "calm", "dry", "eager", "fair", "keen", "mild", "plain", "quiet", "sunny")
_NOUNS = ("anvil", "buoy", "crane", "dynamo", "easel", "flint", "gable", "hinge", "inlet", "jetty")


class RefusedError(Exception):
    """The engine refuses a request; text and status are what Docker would answer."""

    status: int


class NotFoundError(RefusedError):
    """There is no such container or network."""

    status = 404


class ConflictError(RefusedError):
    """The state of the container, or a name already taken, forbids it."""

    status = 409


class ForbiddenError(RefusedError):
    """A network does not allow it."""

    status = 403


class InvalidError(RefusedError):
    """The request itself is wrong."""

    status = 400


class FailedError(RefusedError):
    """Docker has no better status for it."""

    status = 500


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """
    A container's place on a network; all but the network's id is empty while it does not run.

    The network's id is the one at the latest start: a stopped container keeps that of a network long gone. Where the
    network is internal there is no gateway (26.1); 20.10 names one all the same.
    """

    network_id: str = ""
    endpoint_id: str = ""
    number: int = 0  # of the address within its network; 0 if there is none
    ipv4: str = ""
    ipv6: str = ""
    gateway: str = ""
    ipv6_gateway: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A port of a container, such as `80/tcp`, on its machine: asked for, with port 0 where any will do, or given."""

    port: str
    address: str = ""
    host_port: int = 0


@dataclass(slots=True, kw_only=True)
class Network:
    """
    A network and the numbers of its addresses that are free; *driver* is `bridge`, `host`, `null` or `overlay`.

    The addresses of an overlay are given by the Swarm: *given* are those of the container that starts next.
    """

    id: str
    name: str
    driver: str
    subnet: int  # which of the engine's address ranges it took; -1 for none
    ipv4: IPv4Network | None
    ipv6: IPv6Network | None
    internal: bool = False
    given: str = ""
    _freed: list[int] = field(default_factory=list)
    _next: int = 2  # 1 is the gateway

    def allocate(self, *, endpoint_id: str) -> Endpoint:
        """Return an endpoint with the lowest free address, so that a freed one is soon another container's."""
        endpoint = Endpoint(network_id=self.id, endpoint_id=endpoint_id)
        if self.given:
            endpoint.ipv4, self.given = self.given, ""
            return endpoint
        if self.ipv4 is None and self.ipv6 is None:
            return endpoint
        if self._freed:
            endpoint.number = heapq.heappop(self._freed)
        else:
            endpoint.number, self._next = self._next, self._next + 1
        if self.ipv4 is not None:
            endpoint.ipv4 = str(self.ipv4[endpoint.number])
            endpoint.gateway = "" if self.internal else str(self.ipv4[1])
        if self.ipv6 is not None:
            endpoint.ipv6 = str(self.ipv6[endpoint.number])
            endpoint.ipv6_gateway = "" if self.internal else str(self.ipv6[1])
        return endpoint

    def release(self, endpoint: Endpoint) -> None:
        """Make an endpoint's address free again."""
        if endpoint.number:
            heapq.heappush(self._freed, endpoint.number)


@dataclass(slots=True, kw_only=True)
class Container:
    """One container; times are nanoseconds since the epoch, 0 for never."""

    id: str
    name: str
    image: str
    labels: dict[str, str]
    exposed: tuple[str, ...]
    mode: str  # `default`, a network's name, `host`, `none` or `container:ID`
    endpoints: dict[str, Endpoint]  # by the network's name
    healthcheck: str | None  # None: no health check; `none`: switched off; else its status at each start
    stop_signal: str | None
    restart_policy: str
    max_retries: int  # 0: no limit
    created_ns: int
    publish: tuple[Binding, ...] = ()  # as it was asked for
    bindings: tuple[Binding, ...] = ()  # as it has them while it runs
    env: tuple[str, ...] = ()  # in inspect alone: no list and no event has it
    started_ns: int = 0
    finished_ns: int = 0
    pid: int = 0
    running: bool = False
    paused: bool = False
    exit_code: int = 0
    restarts: int = 0
    health: str = ""  # empty before the first start and without a check
    former_health: str = ""  # what the probe before the latest found
    health_forgotten: bool = False  # the engine was restarted since the latest probe, and says `starting`
    stop_requested: bool = False  # by `docker stop`, and still running
    manually_stopped: bool = False  # `unless-stopped` then no longer restarts it (moby#41302)
    restart_disabled: bool = False  # no policy restarts it after this run

    @property
    def stop_signal_number(self) -> int:
        """Return the number of its own stop signal."""
        return signal_number(self.stop_signal or "TERM")

    @property
    def status(self) -> str:
        """Return the name of its state, as `State.Status` has it."""
        if self.running:
            return "paused" if self.paused else "running"
        return "exited" if self.started_ns else "created"

    @property
    def reported_health(self) -> str:
        """Return its health as the engine tells it, which may have forgotten what the latest probe found."""
        return "starting" if self.health and self.health_forgotten else self.health

    def copy(self) -> "Container":
        """Return a copy that later changes do not reach; labels never change, so they are shared."""
        return replace(self, endpoints={name: replace(endpoint) for name, endpoint in self.endpoints.items()})

    def require_running(self) -> None:
        """
        Check that it runs.

        Raises:
            ConflictError: It does not.
        """
        if not self.running:
            raise ConflictError(f"Container {self.id} is not running")

    def mark_started(self, *, now_ns: int, pid: int) -> None:
        """Make it run from *now_ns* on; the health check starts over, and earlier requests to stop are forgotten."""
        # Nothing starts twice in a nanosecond, but where time is simulated it stands still meanwhile.
        self.running, self.pid, self.started_ns = True, pid, now_ns + (now_ns == self.started_ns)
        self.exit_code = 0
        self.health_forgotten = False
        self.stop_requested = self.manually_stopped = self.restart_disabled = False
        if self.healthcheck not in (None, "none"):
            self.health = "starting"

    def mark_exited(self, *, now_ns: int, code: int) -> None:
        """Make it exited from *now_ns* on; of each endpoint only the network's id is left."""
        self.running = self.paused = self.stop_requested = False
        self.pid, self.exit_code, self.finished_ns = 0, code, now_ns
        self.bindings = ()
        self.endpoints = {name: Endpoint(network_id=endpoint.network_id) for name, endpoint in self.endpoints.items()}
        self.stop_probes()

    def stop_probes(self) -> None:
        """Make it `unhealthy` if there is a health check: no probe runs any more (moby, container/health.go)."""
        if self.health:
            self.health, self.health_forgotten = "unhealthy", False

    def restarts_after(self, code: int) -> bool:
        """Return whether the restart policy brings it back after an exit with *code*."""
        if self.restart_disabled:
            return False
        if self.restart_policy == "on-failure":
            return code != 0 and (self.max_retries == 0 or self.restarts < self.max_retries)
        return self.restart_policy == "always" or (
            self.restart_policy == "unless-stopped" and not self.manually_stopped
        )


class State:
    """
    The containers and networks of one engine, and their names, ids and address ranges.

    Args:
        seed: Of all ids, process ids and made-up names, so that two runs have the same ones.
        clock_ns: The engine's clock, in nanoseconds since the epoch.
        kind: Which engine it is.

    Attributes:
        containers: By id, in the order of their creation.
        networks: By name.
    """

    def __init__(self, *, seed: int, clock_ns: Callable[[], int], kind: Kind) -> None:
        self.clock_ns = clock_ns
        self.kind = kind
        self.random = random.Random(seed)
        self.containers: dict[str, Container] = {}
        self.networks: dict[str, Network] = {}
        self._ids: dict[str, str] = {}  # of containers, by name
        for name, driver in PREDEFINED_NETWORKS.items():
            self.add_network(name, driver=driver, ipv4=driver == "bridge", ipv6=False)
        if kind.answers.default_network_id:
            self.networks["bridge"].id = kind.answers.default_network_id

    def new_id(self) -> str:
        """Return an id that nothing has yet: 64 hex digits."""
        return f"{self.random.getrandbits(256):064x}"

    def find_container(self, ref: str) -> Container:
        """
        Return a container by id, name (a leading slash may be there), or unique beginning of an id.

        Raises:
            NotFoundError: There is none.
            InvalidError: Several ids begin so.
        """
        if found := self.containers.get(ref) or self.containers.get(self._ids.get(ref.removeprefix("/"), "")):
            return found
        matches = [id for id in self.containers if id.startswith(ref)] if ref else []
        if len(matches) > 1:
            raise InvalidError(f"Multiple IDs found with provided prefix: {ref}")
        if not matches:
            raise NotFoundError(self.kind.http.no_container.format(ref))
        return self.containers[matches[0]]

    def network_owner(self, container: Container) -> Container | None:
        """Return the container whose network one uses; `None`: it has its own, or that one is gone."""
        owner = container.mode.partition("container:")[2]
        with contextlib.suppress(NotFoundError):
            return self.find_container(owner) if owner else None
        return None

    def add_container(self, container: Container) -> None:
        """Add a container whose name is free."""
        self.containers[container.id] = container
        self._ids[container.name] = container.id

    def remove_container(self, container: Container) -> None:
        """Remove a container; its name is free again."""
        del self.containers[container.id]
        del self._ids[container.name]

    def rename_container(self, container: Container, *, name: str) -> None:
        """Replace a container's name by one that is free."""
        del self._ids[container.name]
        container.name = name
        self._ids[name] = container.id

    def free_name(self, name: str) -> str:
        """
        Return a name for a container without its slash.

        Raises:
            InvalidError: Docker takes no such name; one of a single character is too short.
            ConflictError: It is taken.
        """
        name = name.removeprefix("/")
        if not _NAME.fullmatch(name):
            raise InvalidError(f"Invalid container name ({name}), only {_NAME.pattern} are allowed")
        if owner := self._ids.get(name):
            raise ConflictError(
                f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
        return name

    def made_up_name(self) -> str:
        """Return a made-up name that is free."""
        while True:
            name = f"{self.random.choice(_ADJECTIVES)}_{self.random.choice(_NOUNS)}"
            if name in self._ids:
                name = f"{name}{self.random.randrange(10**6)}"
            if name not in self._ids:
                return name

    def find_network(self, ref: str) -> Network:
        """
        Return a network by name, id, or unique beginning of an id.

        Raises:
            NotFoundError: There is none, or there are several.
        """
        if found := self.networks.get(ref):
            return found
        matches = [network for network in self.networks.values() if ref and network.id.startswith(ref)]
        if len(matches) != 1:
            raise NotFoundError(f"network {ref} not found")
        return matches[0]

    def add_network(self, name: str, *, driver: str, ipv4: bool, ipv6: bool, internal: bool = False) -> Network:
        """
        Return a network that is new; its name must be free.

        Args:
            name: Of the network.
            driver: `bridge`, `host` or `null`; only the first one takes an address range.
            ipv4: Whether it has IPv4 addresses: 172.17.0.0/16 to 172.31.0.0/16, then 10.15.0.0/16 and on.
            ipv6: Whether it has IPv6 addresses.
            internal: Whether nothing leads out of it.
        """
        taken = {network.subnet for network in self.networks.values()}
        subnet = next(number for number in range(256) if number not in taken) if driver == "bridge" else -1
        ipv4_range = f"172.{17 + subnet}.0.0/16" if subnet < 15 else f"10.{subnet}.0.0/16"
        network = self.networks[name] = Network(
            id=self.new_id(),
            name=name,
            driver=driver,
            subnet=subnet,
            ipv4=IPv4Network(ipv4_range) if ipv4 else None,
            ipv6=IPv6Network(f"fd00:0:0:{subnet + 1:x}::/64") if ipv6 else None,
            internal=internal,
        )
        return network


def signal_number(text: str) -> int:
    """
    Return 1 for `SIGHUP`, `HUP`, `hup` or `1`, as moby's `signal.ParseSignal` does; `RTMIN+3` counts from either end.

    Raises:
        InvalidError: There is no such signal.
    """
    word = text.strip().upper().removeprefix("SIG")
    base, sign, offset = word.partition("+") if "+" in word else word.partition("-")
    try:
        number = int(word) if word.isdecimal() else int(signal.Signals[f"SIG{base}"])
        if sign:
            number += int(f"{sign}{offset}") if base in ("RTMIN", "RTMAX") else signal.NSIG
    except (KeyError, ValueError):
        number = 0
    if not 1 <= number <= signal.SIGRTMAX:
        raise InvalidError(f"Invalid signal: {text}")
    return number


def restart_policy(text: str | None) -> tuple[str, int]:
    """
    Return name and retries (0: no limit) of `on-failure:3`, as the command line of Docker reads it.

    Raises:
        InvalidError: There is no such policy.
    """
    name, _, retries = (text or "no").partition(":")
    if name not in {"no", "always", "unless-stopped", "on-failure"} or (retries and not retries.isdecimal()):
        raise InvalidError(f"invalid restart policy '{text}'")
    return name, int(retries or 0)

"""
What the fake Swarm holds: services, tasks, nodes and overlay networks, and how tasks are counted and numbered.

Plain state, as in `state`: no events, no HTTP, no clock that is not passed in. Words are those of the Engine API, in
lower case; the order of a task's states is moby's (api/types.proto, `TaskState`).
"""

import asyncio
import random
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from lbwatch.engines.fake.state import ConflictError, InvalidError, NotFoundError

STATES = (
    "new",
    "pending",
    "assigned",
    "accepted",
    "preparing",
    "ready",
    "starting",
    "running",
    "complete",
    "shutdown",
    "failed",
    "rejected",
    "remove",
    "orphaned",
)
"""A task goes from left to right, and never back; so does what it should be."""

ORDER = {state: place for place, state in enumerate(STATES)}
RUNNING = ORDER["running"]

HISTORY = 5
"""So many tasks that ended stay in the answers for each slot, unless `docker swarm update` says otherwise."""

INGRESS = "ingress"

_ID_LETTERS = string.digits + string.ascii_lowercase
_ID_LENGTH = 25
_FIRST_EPHEMERAL, _FIRST_MESH = 32768, 30000


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port that a service publishes; *mode* is `ingress` or `host`, *published* 0 lets the Swarm choose."""

    target: int
    published: int = 0
    protocol: str = "tcp"
    mode: str = INGRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """
    What a user asks for: `Spec` of a service.

    Attributes:
        name: Of the service.
        replicas: How many tasks; `None`: one on each node, it is global.
        labels: Of the service.
        container_labels: Of each task's container.
        image: Any.
        networks: Names of overlay networks.
        ports: Published ones.
        endpoint_mode: `vip` or `dnsrr`.
        health: Of each task's health check: `None`: there is none; `healthy`: it passes a while after the start;
            `starting`: it passes only when a test says so.
        order: Of an update: `stop-first` or `start-first`.
        parallelism: Of an update: so many at a time; 0: all.
        delay_s: Of an update: seconds between one task and the next.
        restart_delay_s: Seconds until a task that died has its successor started.
        stop_s: Seconds from the stop signal until the container ends.
        placeable: Whether any node meets its constraints; else its tasks stay `pending`, with addresses.
        force: Of `docker service update --force`, a number that grows.
    """

    name: str
    replicas: int | None = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    container_labels: Mapping[str, str] = field(default_factory=dict)
    image: str = "app"
    networks: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    endpoint_mode: str = "vip"
    health: str | None = None
    order: str = "stop-first"
    parallelism: int = 1
    delay_s: float = 0.0
    restart_delay_s: float = 5.0
    stop_s: float = 0.1
    placeable: bool = True
    force: int = 0

    @property
    def template(self) -> tuple[object, ...]:
        """Return what a task is made of: one with another template is replaced in an update."""
        labels = tuple(sorted(self.container_labels.items()))
        return (self.image, labels, self.networks, self.ports, self.health, self.placeable, self.stop_s, self.force)


@dataclass(slots=True, kw_only=True, eq=False)
class Overlay:
    """An overlay network; the whole Swarm numbers its addresses one after the other, and only then takes freed ones."""

    id: str
    name: str
    subnet: IPv4Network
    version: int
    created_ns: int
    _taken: set[int] = field(default_factory=set)
    _latest: int = 1  # the gateway's

    def allocate(self) -> str:
        """Return an address that is free."""
        most = self.subnet.num_addresses - 1
        for step in range(1, most):
            number = (self._latest + step - 2) % (most - 2) + 2
            if number not in self._taken:
                self._taken.add(number)
                self._latest = number
                return str(self.subnet[number])
        raise InvalidError("could not find an available IP")

    def release(self, address: str) -> None:
        """Make an address free again."""
        self._taken.discard(int.from_bytes(bytes(map(int, address.split(".")))) - int(self.subnet.network_address))


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """
    One machine of the Swarm.

    Attributes:
        state: What the managers think of it: `ready`, `down` or `unknown`.
        linked: Whether the managers and it can speak to each other.
        active: How many tasks should run on it, by service; *total* of all.
        networks: How many tasks have it on each overlay network, by the network's id.
    """

    id: str
    hostname: str
    address: str
    manager: bool
    version: int
    created_ns: int
    labels: dict[str, str] = field(default_factory=dict)
    availability: str = "active"
    state: str = "ready"
    linked: asyncio.Event = field(default_factory=asyncio.Event)
    active: Counter[str] = field(default_factory=Counter)
    total: int = 0
    networks: Counter[str] = field(default_factory=Counter)
    _next_port: int = _FIRST_EPHEMERAL

    @property
    def takes_tasks(self) -> bool:
        """Return whether new tasks go there."""
        return self.availability == "active" and self.state == "ready"

    def next_port(self) -> int:
        """Return a port of it that was never given before, until they are used up."""
        port, self._next_port = self._next_port, self._next_port + 1 if self._next_port < 60999 else _FIRST_EPHEMERAL
        return port


@dataclass(slots=True, kw_only=True, eq=False)
class Service:
    """One service; *virtual* are its addresses by network, *update* is the state of its latest update."""

    id: str
    spec: Spec
    version: int
    created_ns: int
    updated_ns: int
    previous: Spec | None = None
    virtual: dict[str, str] = field(default_factory=dict)  # by the network's id
    ports: tuple[Port, ...] = ()  # with what the Swarm chose
    update: str = ""
    removed: bool = False
    tasks: dict[str, "Task"] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True, eq=False)
class Task:
    """
    One task: what the managers know of it, and what is true on its node.

    Attributes:
        slot: Its number among the replicas; of a global service its node's id.
        desired: What it should be.
        state: What the managers know that it is.
        stated_ns: Since when, nanoseconds since the epoch.
        attachments: Its networks and addresses, `pending` and later.
        ports: Ports that its node publishes for it alone.
        up: Whether its container runs in truth.
        healthy: What its health check found last; `None`: nothing yet, or there is none.
        unwanted_at, up_at, term_at, ended_at: Loop times of what happened to it; 0: not yet.
        changed: Set by whoever changes one of these; its node waits for it.
        started, ended: Set when the managers know it as running, and as past that.
    """

    id: str
    service: Service
    slot: int | str
    spec: Spec
    created_ns: int
    desired: str
    node: Node | None = None
    state: str = "new"
    version: int = 0
    updated_ns: int = 0
    stated_ns: int = 0
    attachments: tuple[tuple[Overlay, str], ...] = ()
    ports: tuple[Port, ...] = ()
    container: str = ""
    exit_code: int | None = None
    up: bool = False
    paused: bool = False
    healthy: bool | None = None
    unwanted_at: float = 0.0
    up_at: float = 0.0
    term_at: float = 0.0
    ended_at: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        """Return the name of its container: `web.3.ID`, of a global service `web.NODE.ID`."""
        return f"{self.service.spec.name}.{self.slot}.{self.id}"

    @property
    def unwanted(self) -> bool:
        """Return whether it should run no more."""
        return ORDER[self.desired] > RUNNING

    @property
    def over(self) -> bool:
        """Return whether the managers know that it ended."""
        return ORDER[self.state] > RUNNING

    @property
    def serves(self) -> bool:
        """Return whether requests to it are answered."""
        return self.up and not self.paused and (self.spec.health is None or self.healthy is True)

    def address_on(self, network: str) -> str:
        """Return its address on a network; empty: it has none there."""
        return next((address for overlay, address in self.attachments if overlay.name == network), "")


class SwarmState:
    """
    The services, tasks, nodes and networks of one Swarm, and their ids.

    Args:
        seed: Of all ids, so that two runs have the same ones.
        clock_ns: The managers' clock, in nanoseconds since the epoch.

    Attributes:
        id: The cluster's.
        services, nodes, tasks: By id; of the services those that were not removed.
        networks: By name.
        nodes_changed: Set whenever a task that waits for a node should look again; replaced then.
    """

    def __init__(self, *, seed: int, clock_ns: Callable[[], int]) -> None:
        self.clock_ns = clock_ns
        self.random = random.Random(seed)
        self.index = 10
        self.id = self.new_id()
        self.services: dict[str, Service] = {}
        self.nodes: dict[str, Node] = {}
        self.tasks: dict[str, Task] = {}
        self.networks: dict[str, Overlay] = {}
        self.nodes_changed = asyncio.Event()
        self._mesh_ports: set[int] = set()
        self.add_network(INGRESS, subnet="10.0.0.0/16")

    def new_id(self) -> str:
        """Return an id: 25 digits and letters, as moby's `identity.NewID` makes them."""
        return "".join(self.random.choices(_ID_LETTERS, k=_ID_LENGTH))

    def next_index(self) -> int:
        """Return the version of what is changed now: it grows with each change of anything."""
        self.index += 1
        return self.index

    def find_service(self, ref: str) -> Service:
        """Return a service by id, name, or unique beginning of an id. Raises `NotFoundError`."""
        if found := self.services.get(ref):
            return found
        every = self.services.values()
        named = [each for each in every if each.spec.name == ref]
        matches = named or [each for each in every if ref and each.id.startswith(ref)]
        if len(matches) != 1:
            raise NotFoundError(f"service {ref} not found")
        return matches[0]

    def find_node(self, ref: str) -> Node:
        """Return a node by id, host name, or unique beginning of an id. Raises `NotFoundError`."""
        if found := self.nodes.get(ref):
            return found
        named = [each for each in self.nodes.values() if each.hostname == ref]
        matches = named or [each for each in self.nodes.values() if ref and each.id.startswith(ref)]
        if len(matches) != 1:
            raise NotFoundError(f"node {ref} not found")
        return matches[0]

    def find_task(self, ref: str) -> Task:
        """Return a task by id, or unique beginning of one. Raises `NotFoundError`."""
        if found := self.tasks.get(ref):
            return found
        matches = [each for id, each in self.tasks.items() if ref and id.startswith(ref)]
        if len(matches) != 1:
            raise NotFoundError(f"task {ref} not found")
        return matches[0]

    def find_network(self, ref: str) -> Overlay:
        """Return a network by name or id. Raises `NotFoundError`."""
        if found := self.networks.get(ref):
            return found
        for network in self.networks.values():
            if network.id == ref:
                return network
        raise NotFoundError(f"network {ref} not found")

    def add_network(self, name: str, *, subnet: str) -> Overlay:
        """Return an overlay network that is new. Raises `ConflictError`."""
        if name in self.networks:
            raise ConflictError(f"network with name {name} already exists")
        network = self.networks[name] = Overlay(
            id=self.new_id(),
            name=name,
            subnet=IPv4Network(subnet),
            version=self.next_index(),
            created_ns=self.clock_ns(),
        )
        return network

    def choose_ports(self, service: Service) -> None:
        """Give a service's ports of the mesh the numbers that the user left open, and keep those it has."""
        had = {(port.target, port.protocol): port.published for port in service.ports}
        chosen = []
        for port in service.spec.ports:
            published = port.published or (had.get((port.target, port.protocol), 0) if port.mode == INGRESS else 0)
            if not published and port.mode == INGRESS:
                published = next(each for each in range(_FIRST_MESH, 32767) if each not in self._mesh_ports)
                self._mesh_ports.add(published)
            chosen.append(Port(target=port.target, published=published, protocol=port.protocol, mode=port.mode))
        service.ports = tuple(chosen)

    def networks_of(self, spec: Spec) -> tuple[Overlay, ...]:
        """Return the networks that a task is on: the mesh's too if a port is published there."""
        mesh = (INGRESS,) if any(port.mode == INGRESS for port in spec.ports) else ()
        return tuple(self.find_network(name) for name in (*mesh, *spec.networks))

    def wanted(self, service: Service) -> dict[int | str, list[Task]]:
        """Return a service's tasks that should run, by slot, the oldest first."""
        slots: dict[int | str, list[Task]] = {}
        for task in service.tasks.values():
            if not task.unwanted:
                slots.setdefault(task.slot, []).append(task)
        return slots

    def tasks_on(self, node: Node) -> Iterator[Task]:
        """Return the tasks of a node that are not known to be over."""
        return iter([task for task in self.tasks.values() if task.node is node and not task.over])

    def pulse_nodes(self) -> None:
        """Have tasks that wait for a node look again."""
        self.nodes_changed.set()
        self.nodes_changed = asyncio.Event()


async def either(*events: asyncio.Event) -> None:
    """Wait until one of several events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()

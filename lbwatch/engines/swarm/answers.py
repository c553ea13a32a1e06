"""
A Swarm manager's answers about services, tasks and nodes, turned into words; no I/O.

Field names are those of the Engine API reference; only what is used is named, the rest is ignored. What a manager
answers is not trusted to be of the right shape: anything else is a `SourceError`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from lbwatch.core.errors import SourceError, excerpt
from lbwatch.core.model import TERM, Endpoint, Published
from lbwatch.engines.docker.answers import MAX_NETWORKS, decoded
from lbwatch.engines.docker.fields import (
    MAX_ADDRESS_CHARS,
    MAX_NAME_CHARS,
    is_swarm_id,
    nanoseconds,
    network_name,
    possible_ports,
    signal_number,
)
from lbwatch.engines.docker.networks import INGRESS
from lbwatch.engines.swarm.shapes import (
    NODE,
    RAW_LIST,
    SERVICE,
    TASK,
    Attachment,
    NodeAnswer,
    PortConfig,
    ServiceAnswer,
    TaskAnswer,
)

MAX_LIST_MEMBERS = 40_000_000
"""Of a list: 60,000 tasks, as 10,000 have with those that ended before them, each with some 100."""

MAX_COMMAS = 10_000_000
"""Likewise: what stands between two of them is kept as an object of its own until it is read."""

MAX_ITEM_MEMBERS = 200_000
"""Of one service, task or node: managers store nothing above 1.5 MiB, in which 175,000 labels have room."""

MAX_PORTS = 1000
"""Published ports of one service or task: each is a line of `explain`."""

_STATE = re.compile(r"[a-z_]{0,32}")
_ANY_ADDRESS = ("", "0.0.0.0", "::", "127.0.0.1", "::1")  # noqa: S104 - what a manager that is alone says of itself
_HOST_PORT = re.compile(r"\[?(?P<host>[^\[\]]{1,64}?)\]?:[0-9]{1,5}")
_HOST = "host"

Shape = TypeVar("Shape")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmNode:
    """
    A machine of the Swarm.

    Attributes:
        id: The Swarm's 25 characters for it.
        name: Of its host; its id where it has none.
        address: Where the managers know it; empty where they do not say.
        state: In the Swarm's word, such as `ready`; `unknown` for two seconds at each change of leaders.
    """

    id: str
    name: str
    address: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmService:
    """
    What the tasks of a service have in common.

    Attributes:
        id: The Swarm's 25 characters for it.
        name: As it was given.
        labels: Its own, those of `deploy.labels`; sorted by key.
        container_labels: Those that its next containers will have; likewise.
        virtual: Its addresses by the id of the network; there are none with the endpoint mode `dnsrr`.
        mesh: Ports that every node publishes.
        targets: All ports of its containers that it publishes in any way, ascending; TCP only.
        has_host_ports: Whether machines publish ports of their own tasks: such a task is told to stop a second before
            it gets its signal, others three.
        update: The state of its latest update, in the Swarm's word; empty where there was none.
    """

    id: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    container_labels: tuple[tuple[str, str], ...] = ()
    virtual: tuple[tuple[str, str], ...] = ()
    mesh: tuple[Published, ...] = ()
    targets: tuple[int, ...] = ()
    has_host_ports: bool = False
    update: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmTask:
    """
    One task, as a manager described it last; what it has of its service is that one's.

    Attributes:
        id: The Swarm's 25 characters for it.
        service_id: Those for its service.
        slot: Its number there; of a global service empty.
        node_id: Those for its machine; empty while it has none.
        state: What it is, in the Swarm's word.
        desired: What it should be, likewise.
        version: Grows with each change of it.
        created_ns: Creation, nanoseconds since the epoch by a manager's clock.
        stamped_ns: When a node said *state*, by that one's clock.
        exit_code: With which its container ended, as far as it did.
        labels: Of its container; sorted by key.
        image: What that is made of, without a digest.
        stop_signal: Number of the signal that it gets first.
        endpoints: Sorted by the network's name.
        host_network: Whether it uses its machine's own network.
        published: Its ports that its machine publishes, sorted by port and protocol.
    """

    id: str
    service_id: str
    slot: str = ""
    node_id: str = ""
    state: str = ""
    desired: str = ""
    version: int = 0
    created_ns: int = 0
    stamped_ns: int = 0
    exit_code: int | None = None
    labels: tuple[tuple[str, str], ...] = ()
    image: str = ""
    stop_signal: int = TERM
    endpoints: tuple[Endpoint, ...] = ()
    host_network: bool = False
    published: tuple[Published, ...] = ()


def items_of(body: bytes) -> tuple[msgspec.Raw, ...]:
    """
    Return the items of a list, not read yet: there may be so many that all of them at once would hold up the loop.

    Raises:
        SourceError: It is no list.
    """
    if body.count(b",") > MAX_COMMAS:
        raise SourceError(f"the manager's answer cannot be read: it has more than {MAX_COMMAS} commas")
    return decoded(body, RAW_LIST, most=MAX_LIST_MEMBERS) or ()


def services_of(body: bytes) -> tuple[SwarmService, ...]:
    """Return the services of `GET /services`; raises `SourceError`: it is no such list."""
    return tuple(service_of(item) for item in items_of(body))


def nodes_of(body: bytes) -> tuple[SwarmNode, ...]:
    """Return the nodes of `GET /nodes`; raises `SourceError`: it is no such list, in which the manager itself is."""
    if not (items := items_of(body)):
        raise SourceError("/nodes: the manager's answer cannot be read: it lists no node, and is one itself")
    return tuple(_node(_read(item, NODE)) for item in items)


def service_of(body: bytes | msgspec.Raw) -> SwarmService:
    """Return the service of `GET /services/ID`, or of one item; raises `SourceError`: it is none."""
    answer = _read(body, SERVICE)
    template = answer.spec.task_template
    container = template.container_spec if template else None
    endpoint = answer.endpoint
    ports = tuple((endpoint.ports if endpoint else None) or ())[:MAX_PORTS]
    return SwarmService(
        id=_swarm_id(answer.id),
        name=network_name(answer.spec.name) or answer.id,
        labels=_sorted_labels(answer.spec.labels),
        container_labels=_sorted_labels(container.labels if container else None),
        virtual=_virtual(answer),
        mesh=_published(ports, mode=INGRESS),
        targets=possible_ports(port.target_port for port in ports if port.protocol in ("", "tcp")),
        has_host_ports=any(port.publish_mode == _HOST for port in ports),
        update=_state(answer.update_status.state if answer.update_status else ""),
    )


def task_of(body: bytes | msgspec.Raw) -> SwarmTask | None:
    """
    Return the task of `GET /tasks/ID`, or of one item; `None`: it is no container of a service.

    A plugin is a task too, and so is a container that was run by hand on a network of the Swarm.

    Raises:
        SourceError: It is none.
    """
    answer = _read(body, TASK)
    id, spec = _swarm_id(answer.id), answer.spec.container_spec
    if spec is None or not answer.service_id or answer.spec.runtime not in ("", "container"):
        return None
    state = answer.status
    status = state.container_status
    return SwarmTask(
        id=id,
        service_id=_swarm_id(answer.service_id),
        slot=str(answer.slot) if answer.slot > 0 else "",
        node_id=_swarm_id(answer.node_id) if answer.node_id else "",
        state=_state(state.state),
        desired=_state(answer.desired_state),
        version=answer.version.index,
        created_ns=nanoseconds(answer.created_at),
        stamped_ns=nanoseconds(state.timestamp),
        exit_code=status.exit_code if status else None,
        labels=_sorted_labels(spec.labels),
        image=excerpt(spec.image.partition("@")[0]),
        stop_signal=signal_number(spec.stop_signal) or TERM,
        endpoints=tuple(sorted(_endpoints(answer), key=lambda end: (end.network, end.network_id))),
        host_network=any(_driver(each) == _HOST for each in answer.networks_attachments or ()),
        published=_published((state.port_status.ports if state.port_status else None) or ()),
    )


class TaskReader:
    """Reads lists of tasks, most of which are as they were in the list before: those are not read again."""

    def __init__(self) -> None:
        self._read: dict[int, SwarmTask | None] = {}  # by the hash of what the manager wrote, as of the latest list

    def tasks_of(self, body: bytes) -> Iterator[SwarmTask | None]:
        """
        Return the tasks of `GET /tasks` one by one, so that who has others to serve may pause in between.

        Of what is no container of a service it is `None`. Raises `SourceError`, at any of them: it is no such list.
        """
        read: dict[int, SwarmTask | None] = {}
        for item in items_of(body):
            key = hash(bytes(item))
            task = self._read[key] if key in self._read else task_of(item)
            read[key] = task
            yield task
        self._read = read


def _read(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Shape]) -> Shape:
    return decoded(bytes(body), decoder, most=MAX_ITEM_MEMBERS)


def _swarm_id(text: str) -> str:
    """Return an id; what has none is no manager's answer, and whatever else it says is not believed."""
    if not is_swarm_id(text):
        raise SourceError(f"the manager's answer cannot be read: {text[:64]!r} is no id of a Swarm's")
    return text


def _state(text: str) -> str:
    """Return a state in the Swarm's word: it goes on into sentences and labels of metrics."""
    if _STATE.fullmatch(text) is None:
        raise SourceError(f"the manager's answer cannot be read: it knows no state {text[:64]!r}")
    return text


def _sorted_labels(labels: dict[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((labels or {}).items()))


def _node(answer: NodeAnswer) -> SwarmNode:
    status, manager = answer.status, answer.manager_status
    id = _swarm_id(answer.id)
    name = network_name(answer.description.hostname if answer.description else "")
    address = status.addr if status else ""
    # A manager that is alone knows itself by where it listens, which may be everywhere.
    if address in _ANY_ADDRESS and manager is not None and (match := _HOST_PORT.fullmatch(manager.addr)):
        address = match["host"]
    return SwarmNode(
        id=id,
        name=name or id,
        address="" if address in _ANY_ADDRESS else network_name(address[:MAX_ADDRESS_CHARS]),
        state=_state(status.state if status else ""),
    )


def _virtual(answer: ServiceAnswer) -> tuple[tuple[str, str], ...]:
    ips = ((answer.endpoint.virtual_ips if answer.endpoint else None) or ())[:MAX_NETWORKS]
    return tuple(sorted((each.network_id[:MAX_NAME_CHARS], _bare(each.addr)) for each in ips if each.addr))


def _bare(address: str) -> str:
    """Return an address without the length of its net's prefix; one that is longer than any is cut, and is none."""
    return address.partition("/")[0][:MAX_ADDRESS_CHARS]


def _published(ports: Iterable[PortConfig], *, mode: str = "") -> tuple[Published, ...]:
    """Return published ports, each once; *mode*: only those that are published like this."""
    # A node says each port twice, once for IPv4 and once for IPv6, in the same words.
    found = {
        Published(
            port=port.target_port, protocol=network_name(port.protocol)[:8] or "tcp", host_port=port.published_port
        )
        for port, _ in zip(ports, range(MAX_PORTS), strict=False)
        if (not mode or port.publish_mode == mode) and _is_port(port.target_port) and _is_port(port.published_port)
    }
    return tuple(sorted(found, key=lambda each: (each.port, each.protocol, each.host_port)))


def _is_port(number: int) -> bool:
    return 1 <= number <= 65_535


def _endpoints(answer: TaskAnswer) -> Iterator[Endpoint]:
    for attachment in (answer.networks_attachments or ())[:MAX_NETWORKS]:
        driver = _driver(attachment)
        if driver == _HOST:
            continue
        addresses = [_bare(text) for text in attachment.addresses or ()]
        yield Endpoint(
            network=network_name(attachment.network.spec.name) or attachment.network.id[:MAX_NAME_CHARS],
            ipv4=_first(addresses, lambda text: ":" not in text),
            ipv6=_first(addresses, lambda text: ":" in text),
            network_id=attachment.network.id[:MAX_NAME_CHARS],
            driver=driver,
        )


def _driver(attachment: Attachment) -> str:
    """Return what makes a network; of the mesh's own `INGRESS`, as in all that is said of networks elsewhere."""
    spec, state = attachment.network.spec, attachment.network.driver_state
    if spec.ingress or spec.name == INGRESS:
        return INGRESS
    asked = spec.driver_configuration
    return network_name((state.name if state else "") or (asked.name if asked else ""))


def _first(texts: Iterable[str], is_wanted: Callable[[str], bool]) -> str:
    return next((text for text in texts if text and is_wanted(text)), "")

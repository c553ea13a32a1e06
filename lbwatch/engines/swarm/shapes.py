"""
The shapes of a Swarm manager's answers, as far as they are used; what is not named is ignored.

Field names are those of the Engine API reference. Nothing is made of them here.
"""

from typing import Annotated

import msgspec

from lbwatch.engines.docker.fields import MAX_INT64, MIN_INT64

_Int64 = Annotated[int, msgspec.Meta(ge=MIN_INT64, le=MAX_INT64)]
_Uint64 = Annotated[int, msgspec.Meta(ge=0)]


class _Struct(msgspec.Struct, rename="pascal", frozen=True, gc=False):
    """Go encodes an empty slice or map as `null`, so every collection below may be `None`."""


class Version(_Struct, frozen=True):
    """Grows with each change of what it is of."""

    index: _Uint64 = 0


class Driver(_Struct, frozen=True):
    """What makes a network."""

    name: str = ""


class NetworkSpec(_Struct, frozen=True):
    """How a network was asked for."""

    name: str = ""
    ingress: bool = False
    driver_configuration: Driver | None = None


class Network(_Struct, frozen=True):
    """A network of the whole Swarm, as it stands in a task."""

    id: str = msgspec.field(default="", name="ID")
    spec: NetworkSpec = NetworkSpec()
    driver_state: Driver | None = None


class Attachment(_Struct, frozen=True):
    """A task's addresses on one network, each with the length of its net's prefix, as `10.0.1.64/24`."""

    network: Network = Network()
    addresses: tuple[str, ...] | None = None


class PortConfig(_Struct, frozen=True):
    """A port that is published, by a task's own machine (`host`) or by every node (`ingress`)."""

    protocol: str = ""
    target_port: _Int64 = 0
    published_port: _Int64 = 0
    publish_mode: str = ""


class PortStatus(_Struct, frozen=True):
    """The ports that a task's machine publishes, each once for IPv4 and once for IPv6."""

    ports: tuple[PortConfig, ...] | None = None


class ContainerState(_Struct, frozen=True):
    """What a node said last of a task's container."""

    exit_code: _Int64 | None = None


class TaskStatus(_Struct, frozen=True):
    """What a node said last of a task."""

    state: str
    timestamp: str = ""
    container_status: ContainerState | None = None
    port_status: PortStatus | None = None


class ContainerSpec(_Struct, frozen=True):
    """What a task's container is made of."""

    image: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""


class TaskSpec(_Struct, frozen=True):
    """How a task was asked for; without a container's it is a plugin, or a container that only joins a network."""

    container_spec: ContainerSpec | None = None
    runtime: str = ""


class TaskAnswer(_Struct, frozen=True):
    """One of `GET /tasks`, or the answer of `GET /tasks/ID`."""

    id: str = msgspec.field(name="ID")
    status: TaskStatus
    desired_state: str
    version: Version = Version()
    created_at: str = ""
    spec: TaskSpec = TaskSpec()
    service_id: str = msgspec.field(default="", name="ServiceID")
    slot: _Int64 = 0
    node_id: str = msgspec.field(default="", name="NodeID")
    networks_attachments: tuple[Attachment, ...] | None = None


class ServiceTaskSpec(_Struct, frozen=True):
    """How the tasks of a service are asked for."""

    container_spec: ContainerSpec | None = None


class ServiceSpec(_Struct, frozen=True):
    """How a service was asked for."""

    name: str = ""
    labels: dict[str, str] | None = None
    task_template: ServiceTaskSpec | None = None


class VirtualIP(_Struct, frozen=True):
    """The address of a service on one network, with the length of its net's prefix; none with `dnsrr`."""

    network_id: str = msgspec.field(default="", name="NetworkID")
    addr: str = ""


class ServiceEndpoint(_Struct, frozen=True):
    """Where a service is reached as a whole."""

    ports: tuple[PortConfig, ...] | None = None
    virtual_ips: tuple[VirtualIP, ...] | None = msgspec.field(default=None, name="VirtualIPs")


class UpdateStatus(_Struct, frozen=True):
    """How far the latest update of a service is."""

    state: str = ""


class ServiceAnswer(_Struct, frozen=True):
    """One of `GET /services`, or the answer of `GET /services/ID`."""

    id: str = msgspec.field(name="ID")
    spec: ServiceSpec
    version: Version = Version()
    endpoint: ServiceEndpoint | None = None
    update_status: UpdateStatus | None = None


class NodeDescription(_Struct, frozen=True):
    """What a node says of itself."""

    hostname: str = ""


class NodeStatus(_Struct, frozen=True):
    """What the managers say of a node."""

    state: str = ""
    addr: str = ""


class ManagerStatus(_Struct, frozen=True):
    """Of a node that is a manager, where the others reach it, as `10.77.0.1:2377`."""

    addr: str = ""


class NodeAnswer(_Struct, frozen=True):
    """One of `GET /nodes`."""

    id: str = msgspec.field(name="ID")
    description: NodeDescription | None = None
    status: NodeStatus | None = None
    manager_status: ManagerStatus | None = None


RAW_LIST = msgspec.json.Decoder(tuple[msgspec.Raw, ...] | None)
TASK = msgspec.json.Decoder(TaskAnswer)
SERVICE = msgspec.json.Decoder(ServiceAnswer)
NODE = msgspec.json.Decoder(NodeAnswer)

"""
The shapes of the Engine API's answers about containers, as far as they are used; what is not named is ignored.

Field names are those of the Engine API reference. Nothing is made of them here.
"""

from typing import Annotated, Any

import msgspec

from lbwatch.engines.docker.fields import MAX_INT64, MIN_INT64

_Int64 = Annotated[int, msgspec.Meta(ge=MIN_INT64, le=MAX_INT64)]


class _Struct(msgspec.Struct, rename="pascal", frozen=True, gc=False):
    """Go encodes an empty slice or map as `null`, so every collection below may be `None`."""


class EngineEndpoint(_Struct, frozen=True):
    """A container's addresses on one network."""

    ip_address: str | None = msgspec.field(default=None, name="IPAddress")
    global_ipv6_address: str | None = msgspec.field(default=None, name="GlobalIPv6Address")
    network_id: str | None = msgspec.field(default=None, name="NetworkID")
    gateway: str | None = None
    ipv6_gateway: str | None = msgspec.field(default=None, name="IPv6Gateway")


class Binding(_Struct, frozen=True):
    """Where the engine's host publishes a port; numbers are texts here."""

    host_ip: str = ""
    host_port: str = ""


class Networks(_Struct, frozen=True):
    """`NetworkSettings`, in both answers; *ports* is in that of inspect alone, `None` where one is only exposed."""

    networks: dict[str, EngineEndpoint | None] | None = None
    ports: dict[str, tuple[Binding, ...] | None] | None = None


class HostConfig(_Struct, frozen=True):
    """What was asked of the host; in both answers."""

    network_mode: str = ""


class Port(_Struct, frozen=True):
    """A port of a list entry; one that is only exposed has no public one."""

    ip: str = msgspec.field(default="", name="IP")
    private_port: _Int64 = 0
    public_port: _Int64 = 0
    type: str = ""


class Entry(_Struct, frozen=True):
    """One entry of `GET /containers/json`."""

    id: str
    names: tuple[str, ...] | None = None
    image: str = ""
    created: _Int64 = 0
    labels: dict[str, str] | None = None
    state: str = ""
    status: str = ""
    ports: tuple[Port, ...] | None = None
    host_config: HostConfig = HostConfig()
    network_settings: Networks | None = None


class EngineHealth(_Struct, frozen=True):
    """`State.Health` of one with a health check; its log has the latest probes."""

    status: str = ""
    log: tuple[msgspec.Raw, ...] | None = None


class State(_Struct, frozen=True):
    """`State` of an inspect answer."""

    status: str
    started_at: str = ""
    exit_code: _Int64 | None = None
    health: EngineHealth | None = None


class Config(_Struct, frozen=True):
    """What the image and the user set."""

    labels: dict[str, str] | None = None
    exposed_ports: dict[str, msgspec.Raw] | None = None
    stop_signal: str = ""
    image: str = ""
    env: msgspec.Raw = msgspec.Raw()  # read by whoever asks for variables: of another shape it spoils no other look


class Inspect(_Struct, frozen=True):
    """The answer of `GET /containers/ID/json`."""

    id: str
    name: str
    state: State
    config: Config
    created: str = ""
    restart_count: _Int64 = 0
    host_config: HostConfig = HostConfig()
    network_settings: Networks | None = None


class Mount(_Struct, frozen=True):
    """A folder of the host in a container."""

    source: str = ""
    destination: str = ""


class RestartPolicy(_Struct, frozen=True):
    """How a container is kept running."""

    name: str = ""


class FullHostConfig(HostConfig, frozen=True):
    """The same, with how it is kept running."""

    restart_policy: RestartPolicy | None = None


class InspectConfig(_Struct, frozen=True):
    """
    The same answer, for how the one container that runs nginx is set up.

    Apart from `Inspect`, since an engine that leaves these out or shapes them otherwise must not spoil every look.
    """

    mounts: tuple[Mount, ...] | None = None
    host_config: FullHostConfig | None = None
    config: Config | None = None


class Cluster(_Struct, frozen=True):
    """The Swarm that an engine manages."""

    id: str = msgspec.field(default="", name="ID")


class SwarmInfo(_Struct, frozen=True):
    """What an engine is in a Swarm; only a manager knows which one that is."""

    node_id: str = msgspec.field(default="", name="NodeID")
    local_node_state: str = ""
    control_available: bool = False
    cluster: Cluster | None = None


class Info(msgspec.Struct, rename="pascal", frozen=True):
    """The answer of `GET /info`."""

    id: str = msgspec.field(default="", name="ID")
    name: str = ""
    swarm: SwarmInfo | None = None
    security_options: Any = None  # texts; of another shape it spoils nothing else


INFO = msgspec.json.Decoder(Info)
LIST = msgspec.json.Decoder(tuple[Entry, ...])
INSPECT = msgspec.json.Decoder(Inspect)
INSPECT_CONFIG = msgspec.json.Decoder(InspectConfig)
ENVIRONMENT = msgspec.json.Decoder(tuple[str, ...] | None)
RECORDING = msgspec.json.Decoder(tuple[Inspect, ...])

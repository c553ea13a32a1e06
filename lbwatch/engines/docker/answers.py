"""
The Engine API's answers about containers, a list or one of them, turned into words; no I/O.

Field names are those of the Engine API reference; only what is used is named, the rest is ignored. What an engine
answers is not trusted to be of the right shape: anything else is a `SourceError`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import msgspec

from lbwatch.core.errors import SourceError, excerpt
from lbwatch.core.model import TERM, Container, ContainerConfig, ContainerStatus, Endpoint, Health, Published
from lbwatch.engines.docker import environment
from lbwatch.engines.docker.fields import (
    MAX_ADDRESS_CHARS,
    MAX_NAME_CHARS,
    PODMAN_DEFAULT,
    PODMAN_DEFAULT_ALIAS,
    PODMAN_DEFAULT_ID,
    clamped_ns,
    container_name,
    is_container_id,
    is_swarm_id,
    nanoseconds,
    network_name,
    network_owner_ref,
    possible_ports,
    published,
    signal_number,
)
from lbwatch.engines.docker.identity import EngineInfo, SwarmMembership
from lbwatch.engines.docker.shapes import (
    ENVIRONMENT,
    INFO,
    INSPECT,
    INSPECT_CONFIG,
    LIST,
    RECORDING,
    Config,
    EngineEndpoint,
    Entry,
    Inspect,
    Networks,
    SwarmInfo,
)

MAX_MEMBERS = 4_000_000
"""
JSON objects and keys of one answer, counted before it is decoded: each may take 200 bytes then, twenty times as many
as in the answer. A list of 10,000 containers has a million.
"""

MAX_INSPECT_MEMBERS = 150_000
"""Likewise of one container, whose labels may be so many: more would hold up the loop for over 50 ms."""

MAX_NETWORKS = 1000
"""Networks of one container: no bridge takes more, and each costs a line of `explain`."""

MAX_MOUNTS = 1000
"""Mounts of one container, of which each is compared with nginx's own files."""

_EXPOSED_TCP = re.compile(r"([0-9]{1,5})(?:/tcp)?")  # OCI images may leave TCP out, as it is the default
_STATUSES = {str(status): status for status in ContainerStatus} | {
    "configured": ContainerStatus.CREATED,  # Podman's words, where its compat API lets them through
    "initialized": ContainerStatus.CREATED,
    "stopping": ContainerStatus.EXITED,
    "stopped": ContainerStatus.EXITED,
}
_PODMAN_DEFAULT = frozenset((PODMAN_DEFAULT, id) for id in (PODMAN_DEFAULT, PODMAN_DEFAULT_ID))
"""Podman's own network in inspect: its name, and its id, which before version 5 is the name again."""

_UNREADABLE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SIGNAL = "signal"  # a label by this name hides an attribute of events

Answer = TypeVar("Answer")


def decoded(body: bytes, decoder: msgspec.json.Decoder[Answer], *, most: int | None = None) -> Answer:
    """
    Return what an answer says, in the shape that a decoder wants.

    Args:
        body: The answer.
        decoder: Of the shape.
        most: So many members it may have; `None`: `MAX_MEMBERS`.

    Raises:
        SourceError: It has another shape, or more members than memory should be spent on.
    """
    most = MAX_MEMBERS if most is None else most
    if body.count(b"{") + body.count(b'":') > most:
        raise SourceError(f"the engine's answer cannot be read: it has more than {most} members")
    try:
        return decoder.decode(body)
    except _UNREADABLE_ERRORS as error:
        raise SourceError(f"the engine's answer cannot be read: {error}") from error


def containers_of_list(body: bytes) -> tuple[Container, ...]:
    """
    Return the containers of `GET /containers/json?all=1`.

    The engine serves it from a replica that lags: what it says of a container may be old, and its presence or
    absence too.

    Raises:
        SourceError: It is no such list.
    """
    return tuple(_container_of_entry(entry) for entry in decoded(body, LIST))


def container_of_inspect(body: bytes, *, by_podman: bool = False, variables: frozenset[str] = frozenset()) -> Container:
    """
    Return the container of `GET /containers/ID/json`.

    Args:
        body: The answer.
        by_podman: Whether Podman answered, which has systemd run the probes of a health check: without it none does.
        variables: Names of those that are kept of its environment.

    Raises:
        SourceError: It is no such answer.
    """
    answer = decoded(body, INSPECT, most=MAX_INSPECT_MEMBERS)
    container = _container(answer, variables=variables)
    if not by_podman or container.health is not Health.STARTING:
        return container
    return replace(container, unprobed=not (answer.state.health and answer.state.health.log))


def info_of(body: bytes) -> EngineInfo | None:
    """Return who an engine says that it is, out of `GET /info`; `None`: what it says cannot be read."""
    try:
        info = decoded(body, INFO)
    except SourceError:
        return None
    options = info.security_options
    return EngineInfo(
        id=info.id[:MAX_NAME_CHARS],
        name=info.name[:MAX_NAME_CHARS],
        swarm=_membership(info.swarm),
        is_rootless=isinstance(options, list) and _ROOTLESS in options,
    )


_ROOTLESS = "name=rootless"
"""Among an engine's security options where a user without rights runs it; Podman has it too."""

_IN_NONE = ("", "inactive")  # of the states of an engine in a Swarm; others may pass, as `pending` and `locked`


def _membership(swarm: SwarmInfo | None) -> SwarmMembership | None:
    """Return what an engine is in a Swarm; `None`: in none, or it does not say."""
    if swarm is None or swarm.local_node_state in _IN_NONE:
        return None
    node_id = swarm.node_id if is_swarm_id(swarm.node_id) else ""
    cluster = swarm.cluster.id if swarm.cluster is not None and is_swarm_id(swarm.cluster.id) else ""
    return SwarmMembership(
        node_id=node_id,
        state=swarm.local_node_state[:MAX_NAME_CHARS],
        cluster=cluster,
        is_manager=swarm.control_available and bool(cluster),
    )


def config_of_inspect(body: bytes) -> ContainerConfig:
    """
    Return how a container is set up, out of `GET /containers/ID/json`; what other engines leave out stays empty.

    Raises:
        SourceError: It is no such answer.
    """
    answer = decoded(body, INSPECT_CONFIG)
    policy = answer.host_config and answer.host_config.restart_policy
    return ContainerConfig(
        mounts=tuple((mount.source, mount.destination) for mount in islice(answer.mounts or (), MAX_MOUNTS)),
        restart_policy=policy.name if policy else "",
        stop_signal=answer.config.stop_signal if answer.config else "",
    )


def containers_of_recording(body: bytes, *, variables: frozenset[str] = frozenset()) -> tuple[Container, ...]:
    """
    Return the containers in the output of `docker inspect`, a list of inspect answers.

    Args:
        body: The output.
        variables: Names of those that are kept of their environments.

    Raises:
        SourceError: It is no such list.
    """
    try:
        return tuple(_container(answer, variables=variables) for answer in decoded(body, RECORDING))
    except SourceError as error:
        raise SourceError(f"it is no output of docker inspect: {error}") from error


def _container(answer: Inspect, *, variables: frozenset[str]) -> Container:
    mode, id = answer.host_config.network_mode, _whole_id(answer.id)
    status = _inspected_status(answer.state.status)
    return Container(
        id=id,
        name=container_name(answer.name, id=id),
        labels=_sorted_labels(answer.config.labels),
        status=status,
        health=_health(answer.state.health.status if answer.state.health else ""),
        created_ns=nanoseconds(answer.created),
        started_ns=nanoseconds(answer.state.started_at),
        exposed=_exposed(answer.config.exposed_ports),
        endpoints=_endpoints(answer.network_settings),
        network_of=network_owner_ref(mode),
        host_network=mode == "host",
        published=_published(answer.network_settings),
        restarts=max(0, answer.restart_count),
        stop_signal=_stop_signal(answer.config),
        exit_code=answer.state.exit_code if status is ContainerStatus.EXITED else None,
        image=excerpt(answer.config.image),
        env=_env(answer.config, variables=variables),
    )


def _env(config: Config, *, variables: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Return the variables that are asked for; where none is, the others are not even read."""
    if not variables or not bytes(config.env):
        return ()
    return environment.kept(decoded(bytes(config.env), ENVIRONMENT) or (), names=variables)


def _container_of_entry(entry: Entry) -> Container:
    mode, id = entry.host_config.network_mode, _whole_id(entry.id)
    return Container(
        id=id,
        name=_own_name(entry.names, id=id),
        labels=_sorted_labels(entry.labels),
        status=_listed_status(entry.state),
        health=_health_in(entry.status),
        created_ns=clamped_ns(entry.created * 10**9),
        exposed=possible_ports(port.private_port for port in entry.ports or () if port.type == "tcp"),
        endpoints=_endpoints(entry.network_settings),
        network_of=network_owner_ref(mode),
        host_network=mode == "host",
        published=published(
            (str(port.private_port), port.type, port.ip, str(port.public_port)) for port in entry.ports or ()
        ),
        image=excerpt(entry.image),
    )


def _whole_id(text: str) -> str:
    """Return an id; what has none is no engine's answer, and whatever else it says is not believed."""
    if not is_container_id(text):
        raise SourceError(f"the engine's answer cannot be read: {text[:64]!r} is no id of a container")
    return text


def _inspected_status(text: str) -> ContainerStatus:
    """Return a container's state; taken for `dead`, an unknown word would take out one that may well serve."""
    if (status := _STATUSES.get(text)) is None:
        raise SourceError(f"the engine's answer cannot be read: it knows no state {text[:64]!r}")
    return status


def _stop_signal(config: Config) -> int | None:
    """Return the number of the signal that stops a container; `None` where its events cannot tell which one came."""
    # Labels are merged over an event's attributes (facts, stream 10), so that one by this name hides the signal.
    return None if _SIGNAL in (config.labels or {}) else signal_number(config.stop_signal) or TERM


def _own_name(names: tuple[str, ...] | None, *, id: str) -> str:
    """Return a container's own name: legacy links add `/other/alias`, so the own one has a single slash."""
    own = sorted(name for name in names or () if name.count("/") == 1)
    return container_name(own[0], id=id) if own else ""


def _sorted_labels(labels: dict[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((labels or {}).items()))


def _listed_status(text: str) -> ContainerStatus:
    """Return a list entry's state; one unknown word must not spoil the list, and inspect has the say."""
    return _STATUSES.get(text, ContainerStatus.DEAD)


def _health(text: str) -> Health:
    try:
        return Health(text)
    except ValueError:
        return Health.NONE


def _health_in(status_text: str) -> Health:
    """Return the health out of a list entry's words, such as `Up 3 seconds (health: starting)`."""
    if "(health: starting)" in status_text:
        return Health.STARTING
    if "(unhealthy)" in status_text:
        return Health.UNHEALTHY
    return Health.HEALTHY if "(healthy)" in status_text else Health.NONE


def _exposed(ports: Iterable[str] | None) -> tuple[int, ...]:
    """Return the TCP ports of `{"80/tcp": {}, "53/udp": {}}`."""
    matches = (_EXPOSED_TCP.fullmatch(port) for port in ports or ())
    return possible_ports(int(match[1]) for match in matches if match)


def _published(settings: Networks | None) -> tuple[Published, ...]:
    """Return the published ports of `{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}], "443/tcp": null}`."""
    ports = (settings.ports if settings else None) or {}
    parts = ((name.partition("/"), bindings or ()) for name, bindings in ports.items())
    return published(
        (port, protocol or "tcp", each.host_ip, each.host_port)
        for (port, _, protocol), bindings in parts
        for each in bindings
    )


def _endpoints(settings: Networks | None) -> tuple[Endpoint, ...]:
    networks = sorted(((settings.networks if settings else None) or {}).items())
    return tuple(islice(_endpoints_of(networks), MAX_NETWORKS))


def _endpoints_of(networks: Iterable[tuple[str, EngineEndpoint | None]]) -> Iterator[Endpoint]:
    # An address that is longer than any is cut: it is refused as none, with what is left of it in the words.
    for name, end in networks:
        if end is not None:
            ipv4, ipv6 = (text or "" for text in (end.ip_address, end.global_ipv6_address))
            gateway = end.gateway or end.ipv6_gateway or ""
            yield Endpoint(
                network=network_name(name),
                ipv4=ipv4[:MAX_ADDRESS_CHARS],
                ipv6=ipv6[:MAX_ADDRESS_CHARS],
                network_id=(end.network_id or "")[:MAX_NAME_CHARS],
                gateway=gateway[:MAX_ADDRESS_CHARS],
                alias=PODMAN_DEFAULT_ALIAS if (name, end.network_id) in _PODMAN_DEFAULT else "",
            )

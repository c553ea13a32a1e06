"""
What the fake engine answers: inspect, lists and the events, as JSON values built from plain state.

Nothing is changed and nothing is sent here. Field names are those of the Engine API reference, version 1.41; fields
that lbwatch, the demo and the tests do not read are left out. What engines leave out, or call otherwise, is in `kinds`.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from lbwatch.engines.fake.kinds import DOCKER_20, Answers, Events, Kind, NetworkEvent
from lbwatch.engines.fake.state import ANYWHERE, PREDEFINED_NETWORKS, Container, Endpoint, Network

LEGACY_KEYS = frozenset({"status", "id", "from"})
"""Of an event; API 1.52 and later leave them out (version history of the Engine API)."""

_NEVER = "0001-01-01T00:00:00Z"
_BRIDGE = "bridge"
_ADDRESSLESS = frozenset(PREDEFINED_NETWORKS) - {_BRIDGE}


def inspect_answer(
    container: Container, *, answers: Answers = DOCKER_20.answers, owner: Container | None = None
) -> dict[str, Any]:
    """
    Return the answer of `GET /containers/ID/json`.

    Args:
        container: One.
        answers: The engine's manners.
        owner: Whose network it uses, if it is another's.
    """
    return {
        "Id": container.id,
        "Created": timestamp(container.created_ns),
        "State": _state(container),
        "Name": f"/{container.name}",
        "RestartCount": container.restarts,
        "HostConfig": {
            "NetworkMode": container.mode,
            "RestartPolicy": {"Name": container.restart_policy, "MaximumRetryCount": container.max_retries},
        },
        "Config": _config(container, answers=answers),
        "NetworkSettings": {
            "IPAddress": container.endpoints.get(_BRIDGE, Endpoint()).ipv4,
            "Networks": _networks(container, answers=answers, owner=owner),
            "Ports": _ports(container),
        },
    }


def list_entry(
    container: Container, *, now_ns: int, answers: Answers = DOCKER_20.answers, owner: Container | None = None
) -> dict[str, Any]:
    """
    Return one entry of `GET /containers/json`.

    Args:
        container: As the list sees it.
        now_ns: Nanoseconds since the epoch.
        answers: The engine's manners.
        owner: Whose network it uses, if it is another's.
    """
    mode = {"HostConfig": {"NetworkMode": container.mode}} if answers.lists_mode else {}
    return mode | {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": container.image,
        "Created": container.created_ns // 10**9,
        "Ports": [each for port in _open_ports(container) for each in _listed_port(container, port)],
        "Labels": container.labels,
        "State": container.status,
        "Status": _status_text(container, now_ns=now_ns, tells_health=answers.lists_health),
        "NetworkSettings": {"Networks": _networks(container, answers=answers, owner=owner)},
    }


def network_answer(network: Network, *, containers: Iterable[Container]) -> dict[str, Any]:
    """Return the answer of `GET /networks/ID`, or without *containers* one entry of `GET /networks`."""
    return {
        "Name": network.name,
        "Id": network.id,
        "Driver": network.driver,
        "EnableIPv6": network.ipv6 is not None,
        "Internal": network.internal,
        "Containers": {
            container.id: _member(container, network=network)
            for container in containers
            if container.running and network.name in container.endpoints
        },
    }


def image_answer(image: str, *, created_ns: int) -> dict[str, Any]:
    """Return one entry of `GET /images/json`; *created_ns* is in nanoseconds since the epoch."""
    return {"RepoTags": [image], "Created": created_ns // 10**9, "Size": 0}


def container_event(
    container: Container,
    action: str,
    *,
    now_ns: int,
    attributes: Mapping[str, str],
    manners: Events = DOCKER_20.events,
) -> dict[str, Any]:
    """
    Return the event of a container.

    Args:
        container: As it is now.
        action: Such as `die`.
        now_ns: Nanoseconds since the epoch.
        attributes: What the event itself says, such as `exitCode`.
        manners: The engine's.
    """
    # Labels overwrite the event's own attributes, image and name overwrite the labels (moby, daemon/events.go).
    merged = {**attributes, **container.labels, "image": container.image, "name": container.name}
    more = {"status": action, "id": container.id, "from": container.image}
    if manners.names_pod:
        merged["podId"] = ""
        if manners.exit_code_always or action in ("die", manners.removal):
            merged["containerExitCode"] = str(container.exit_code)
    if action == "health_status" and not manners.health_in_action:
        more["HealthStatus"] = container.former_health if manners.health_lags else container.reported_health
    return more | _event("container", action, id=container.id, attributes=merged, now_ns=now_ns)


def network_event(
    network: Network, action: str, *, now_ns: int, container: Container | None, kind: Kind = DOCKER_20
) -> dict[str, Any]:
    """
    Return the event of a network.

    Args:
        network: As it is now.
        action: Such as `connect`.
        now_ns: Nanoseconds since the epoch.
        container: The one that is concerned, if one is.
        kind: Which engine tells.
    """
    about, id = kind.events.network_event, network.id
    if about is NetworkEvent.OF_NETWORK:
        concerned = {} if container is None else {"container": container.id}
        attributes = concerned | {"name": network.name, "type": network.driver}
        return _event("network", action, id=id, attributes=attributes, now_ns=now_ns)
    attributes = {"image": "", "name": "", "podId": ""}
    if about is NetworkEvent.OF_CONTAINER:
        attributes["network"] = _network_name(network.name, answers=kind.answers)
    if kind.events.exit_code_always:
        attributes["containerExitCode"] = "0"
    if container is None:
        attributes["driver"] = network.driver
    else:
        attributes["name"], id = container.name, container.id
    legacy = {"status": action, "id": id}
    return legacy | _event("network", action, id=id, attributes=attributes, now_ns=now_ns)


def json_bytes(value: object) -> bytes:
    """Return JSON as the engine writes it: compact, a newline last."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def timestamp(nanoseconds: int) -> str:
    """Return a time as Go's RFC3339Nano writes it: no zeros at the end of the fraction; 0 is Go's zero time."""
    if not nanoseconds:
        return _NEVER
    seconds, rest = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{rest:09d}".rstrip("0").rstrip(".") + "Z"


def _state(container: Container) -> dict[str, Any]:
    state = {
        "Status": container.status,
        "Running": container.running,
        "Paused": container.paused,
        "Restarting": False,
        "Pid": container.pid,
        "ExitCode": container.exit_code,
        "StartedAt": timestamp(container.started_ns),
        "FinishedAt": timestamp(container.finished_ns),
    }
    if container.health:
        state["Health"] = {"Status": container.reported_health}
    return state


def _config(container: Container, *, answers: Answers) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Image": container.image,
        "Labels": container.labels,
        "ExposedPorts": {port: {} for port in container.exposed},
        "Env": list(container.env),
    }
    if answers.stop_signal_number:
        config["StopSignal"] = str(container.stop_signal_number)
    elif container.stop_signal is not None:
        config["StopSignal"] = container.stop_signal
    if container.healthcheck is not None:
        config["Healthcheck"] = {"Test": ["NONE"] if container.healthcheck == "none" else ["CMD", "probe"]}
    return config


def _network_name(name: str, *, answers: Answers) -> str:
    return answers.default_network if name == _BRIDGE else name


def _networks(container: Container, *, answers: Answers, owner: Container | None) -> dict[str, Any]:
    shown = owner if owner is not None and answers.shows_owner_networks else container
    endpoints = {
        _network_name(name, answers=answers): endpoint
        for name, endpoint in shown.endpoints.items()
        if answers.lists_no_network or name not in _ADDRESSLESS
    }
    return {
        name: {
            "NetworkID": name if answers.names_for_ids and endpoint.network_id else endpoint.network_id,
            "EndpointID": endpoint.endpoint_id,
            "IPAddress": endpoint.ipv4,
            "GlobalIPv6Address": endpoint.ipv6,
            "Gateway": endpoint.gateway,
            "IPv6Gateway": endpoint.ipv6_gateway,
        }
        for name, endpoint in sorted(endpoints.items())  # Go sorts its maps
    }


def _member(container: Container, *, network: Network) -> dict[str, str]:
    endpoint = container.endpoints[network.name]
    return {
        "Name": container.name,
        "IPv4Address": f"{endpoint.ipv4}/{network.ipv4.prefixlen}" if network.ipv4 else "",
        "IPv6Address": f"{endpoint.ipv6}/{network.ipv6.prefixlen}" if network.ipv6 else "",
    }


def _open_ports(container: Container) -> tuple[str, ...]:
    """Return the ports that the network settings hold: none unless it runs on a network of its own."""
    own = container.mode not in ("host", "none") and not container.mode.startswith("container:")
    return container.exposed if own and container.running else ()


def _ports(container: Container) -> dict[str, list[dict[str, str]] | None]:
    return {
        port: [{"HostIp": ip, "HostPort": str(number)} for ip, number in _published(container, port)] or None
        for port in sorted(_open_ports(container))
    }


def _listed_port(container: Container, port: str) -> list[dict[str, Any]]:
    number, _, kind = port.partition("/")
    own = {"PrivatePort": int(number), "Type": kind or "tcp"}
    published = [{"IP": ip, "PublicPort": public} | own for ip, public in _published(container, port)]
    return published or [own]


def _published(container: Container, port: str) -> Iterable[tuple[str, int]]:
    """Return where a port is published; on all addresses means once for each kind of them."""
    for each in (each for each in container.bindings if each.port == port):
        addresses = (ANYWHERE, "::") if each.address == ANYWHERE else (each.address,)
        yield from ((address, each.host_port) for address in addresses)


def _status_text(container: Container, *, now_ns: int, tells_health: bool) -> str:
    """Return the state in words, as `docker ps` has it; API 1.41 lists the health nowhere else."""
    if container.status == "created":
        return "Created"
    if not container.running:
        return f"Exited ({container.exit_code}) {(now_ns - container.finished_ns) // 10**9} seconds ago"
    text = f"Up {(now_ns - container.started_ns) // 10**9} seconds"
    if container.paused:
        return f"{text} (Paused)"
    if tells_health and (health := container.reported_health):
        return f"{text} ({'health: ' if health == 'starting' else ''}{health})"
    return text


def _event(kind: str, action: str, *, id: str, attributes: Mapping[str, str], now_ns: int) -> dict[str, Any]:
    return {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": id, "Attributes": attributes},
        "scope": "local",
        "time": now_ns // 10**9,
        "timeNano": now_ns,
    }

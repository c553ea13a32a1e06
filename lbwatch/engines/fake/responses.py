"""
What the fake engine answers: inspect, lists and the events, as JSON values built from plain state.

Nothing is changed and nothing is sent here. Field names are those of the Engine API reference, version 1.41.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from lbwatch.engines.fake.state import Container, Endpoint, Network

_NEVER = "0001-01-01T00:00:00Z"


def inspect_answer(container: Container) -> dict[str, Any]:
    """Return the answer of `GET /containers/ID/json`."""
    bridge = container.endpoints.get("bridge", Endpoint())
    return {
        "Id": container.id,
        "Created": timestamp(container.created_ns),
        "Path": "/app",
        "Args": [],
        "State": _state(container),
        "Image": image_id(container.image),
        "Name": f"/{container.name}",
        "RestartCount": container.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "Mounts": [],
        "HostConfig": {
            "NetworkMode": container.mode,
            "RestartPolicy": {"Name": container.restart_policy, "MaximumRetryCount": container.max_retries},
        },
        "Config": _config(container),
        "NetworkSettings": {
            "IPAddress": bridge.ipv4,
            "IPPrefixLen": bridge.ipv4_prefix,
            "Gateway": bridge.gateway,
            "MacAddress": bridge.mac,
            "Ports": dict.fromkeys(_open_ports(container)),
            "Networks": _networks(container),
        },
    }


def list_entry(container: Container, *, now_ns: int) -> dict[str, Any]:
    """Return one entry of `GET /containers/json`; *now_ns* is in nanoseconds since the epoch."""
    ports = (port.partition("/") for port in _open_ports(container))
    return {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": container.image,
        "ImageID": image_id(container.image),
        "Command": "/app",
        "Created": container.created_ns // 10**9,
        "Ports": [{"PrivatePort": int(number), "Type": kind or "tcp"} for number, _, kind in ports],
        "Labels": container.labels,
        "State": container.status,
        "Status": _status_text(container, now_ns=now_ns),
        "HostConfig": {"NetworkMode": container.mode},
        "NetworkSettings": {"Networks": _networks(container)},
        "Mounts": [],
    }


def network_answer(network: Network, *, containers: Iterable[Container]) -> dict[str, Any]:
    """Return the answer of `GET /networks/ID`, or without *containers* one entry of `GET /networks`."""
    ranges = [subnet for subnet in (network.ipv4, network.ipv6) if subnet is not None]
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": timestamp(network.created_ns),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv6": network.ipv6 is not None,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])} for subnet in ranges],
        },
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "Containers": {
            container.id: _member(container, endpoint=container.endpoints[network.name])
            for container in containers
            if container.running and network.name in container.endpoints
        },
        "Options": {},
        "Labels": {},
    }


def image_answer(image: str, *, created_ns: int) -> dict[str, Any]:
    """Return one entry of `GET /images/json`; *created_ns* is in nanoseconds since the epoch."""
    return {
        "Id": image_id(image),
        "ParentId": "",
        "RepoTags": [image],
        "RepoDigests": [],
        "Created": created_ns // 10**9,
        "Size": 0,
        "SharedSize": -1,
        "VirtualSize": 0,
        "Labels": None,
        "Containers": -1,
    }


def container_event(container: Container, action: str, *, now_ns: int, attributes: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the event of a container.

    Args:
        container: As it is now.
        action: Such as `die`.
        now_ns: Nanoseconds since the epoch.
        attributes: What the event itself says, such as `exitCode`.
    """
    # Labels overwrite the event's own attributes, image and name overwrite the labels (moby, daemon/events.go).
    merged = {**attributes, **container.labels, "image": container.image, "name": container.name}
    legacy = {"status": action, "id": container.id, "from": container.image}
    return legacy | _event("container", action, id=container.id, attributes=merged, now_ns=now_ns)


def network_event(network: Network, action: str, *, now_ns: int, attributes: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the event of a network.

    Args:
        network: As it is now.
        action: Such as `connect`.
        now_ns: Nanoseconds since the epoch.
        attributes: The container's id, if one is concerned.
    """
    merged = {**attributes, "name": network.name, "type": network.driver}
    return _event("network", action, id=network.id, attributes=merged, now_ns=now_ns)


def json_bytes(value: object) -> bytes:
    """Return JSON as the engine writes it: compact, a newline last."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def image_id(image: str) -> str:
    """Return the id of an image, made from its name."""
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


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
        "OOMKilled": container.oom_killed,
        "Dead": False,
        "Pid": container.pid,
        "ExitCode": container.exit_code,
        "Error": "",
        "StartedAt": timestamp(container.started_ns),
        "FinishedAt": timestamp(container.finished_ns),
    }
    if container.health:
        streak = int(container.health == "unhealthy")
        state["Health"] = {"Status": container.health, "FailingStreak": streak, "Log": []}
    return state


def _config(container: Container) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Hostname": container.id[:12],
        "Image": container.image,
        "Labels": container.labels,
        "ExposedPorts": {port: {} for port in container.exposed},
        "Env": [],
    }
    if container.stop_signal is not None:
        config["StopSignal"] = container.stop_signal
    if container.healthcheck is not None:
        config["Healthcheck"] = {"Test": ["NONE"] if container.healthcheck == "none" else ["CMD", "probe"]}
    return config


def _networks(container: Container) -> dict[str, Any]:
    return {
        name: {
            "IPAMConfig": None,
            "Links": None,
            "Aliases": list(endpoint.aliases) or None,
            "NetworkID": endpoint.network_id,
            "EndpointID": endpoint.endpoint_id,
            "Gateway": endpoint.gateway,
            "IPAddress": endpoint.ipv4,
            "IPPrefixLen": endpoint.ipv4_prefix,
            "IPv6Gateway": endpoint.ipv6_gateway,
            "GlobalIPv6Address": endpoint.ipv6,
            "GlobalIPv6PrefixLen": endpoint.ipv6_prefix,
            "MacAddress": endpoint.mac,
            "DriverOpts": None,
        }
        for name, endpoint in sorted(container.endpoints.items())  # Go sorts its maps
    }


def _member(container: Container, *, endpoint: Endpoint) -> dict[str, str]:
    return {
        "Name": container.name,
        "EndpointID": endpoint.endpoint_id,
        "MacAddress": endpoint.mac,
        "IPv4Address": f"{endpoint.ipv4}/{endpoint.ipv4_prefix}" if endpoint.ipv4 else "",
        "IPv6Address": f"{endpoint.ipv6}/{endpoint.ipv6_prefix}" if endpoint.ipv6 else "",
    }


def _open_ports(container: Container) -> tuple[str, ...]:
    """Return the ports that the network settings hold: none unless it runs on a network of its own."""
    own = container.mode not in ("host", "none") and not container.mode.startswith("container:")
    return container.exposed if own and container.running else ()


def _status_text(container: Container, *, now_ns: int) -> str:
    if container.status == "created":
        return "Created"
    if not container.running:
        return f"Exited ({container.exit_code}) {_duration(now_ns - container.finished_ns)} ago"
    text = f"Up {_duration(now_ns - container.started_ns)}"
    if container.paused:
        return f"{text} (Paused)"
    if container.health:
        return f"{text} ({'health: ' if container.health == 'starting' else ''}{container.health})"
    return text


def _duration(nanoseconds: int) -> str:
    """Return a time span about as roughly as `docker ps` writes it."""
    seconds = nanoseconds // 10**9
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds" if seconds >= 1 else "Less than a second"


def _event(kind: str, action: str, *, id: str, attributes: Mapping[str, str], now_ns: int) -> dict[str, Any]:
    return {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": id, "Attributes": attributes},
        "scope": "local",
        "time": now_ns // 10**9,
        "timeNano": now_ns,
    }

"""
The answers of the Engine API about containers and networks, as JSON values built from plain state.

Nothing is changed here. Field names are those of the Engine API reference, version 1.41.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from lbwatch.engines.fake.model import Container, Link, Network

_NEVER = "0001-01-01T00:00:00Z"


def inspect_answer(container: Container) -> dict[str, Any]:
    """Build `GET /containers/ID/json`."""
    bridge = container.links.get("bridge", Link())
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
            "RestartPolicy": {"Name": container.policy, "MaximumRetryCount": container.max_retries},
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
    """Build one entry of `GET /containers/json`."""
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
    """Build `GET /networks/ID`; in `GET /networks` no containers are named."""
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
            container.id: _member(container, link=container.links[network.name])
            for container in containers
            if container.running and network.name in container.links
        },
        "Options": {},
        "Labels": {},
    }


def image_answer(image: str, *, created_ns: int) -> dict[str, Any]:
    """Build one entry of `GET /images/json`."""
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


def image_id(image: str) -> str:
    """Make the id of an image from its name."""
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


def timestamp(nanoseconds: int) -> str:
    """Write a time as Go's RFC3339Nano does: no zeros at the end of the fraction; 0 is Go's zero time."""
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
    if container.check is not None:
        config["Healthcheck"] = {"Test": ["NONE"] if container.check == "none" else ["CMD", "probe"]}
    return config


def _networks(container: Container) -> dict[str, Any]:
    return {
        name: {
            "IPAMConfig": None,
            "Links": None,
            "Aliases": list(link.aliases) or None,
            "NetworkID": link.network_id,
            "EndpointID": link.endpoint_id,
            "Gateway": link.gateway,
            "IPAddress": link.ipv4,
            "IPPrefixLen": link.ipv4_prefix,
            "IPv6Gateway": link.ipv6_gateway,
            "GlobalIPv6Address": link.ipv6,
            "GlobalIPv6PrefixLen": link.ipv6_prefix,
            "MacAddress": link.mac,
            "DriverOpts": None,
        }
        for name, link in sorted(container.links.items())  # Go sorts its maps
    }


def _member(container: Container, *, link: Link) -> dict[str, str]:
    return {
        "Name": container.name,
        "EndpointID": link.endpoint_id,
        "MacAddress": link.mac,
        "IPv4Address": f"{link.ipv4}/{link.ipv4_prefix}" if link.ipv4 else "",
        "IPv6Address": f"{link.ipv6}/{link.ipv6_prefix}" if link.ipv6 else "",
    }


def _open_ports(container: Container) -> tuple[str, ...]:
    """Name the ports that the network settings hold: none unless it runs on a network of its own."""
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
    """Say how long, as roughly as `docker ps` does."""
    seconds = nanoseconds // 10**9
    minutes, hours = seconds // 60, seconds // 3600
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    return f"{hours // 24} days"

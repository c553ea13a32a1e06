"""What an event looks like: the JSON of `/events` about a container or a network; nothing is sent here."""

from typing import Any

from lbwatch.engines.fake.model import Container, Network


def container_event(container: Container, action: str, *, now_ns: int, said: dict[str, str]) -> dict[str, Any]:
    """
    Build the event of a container.

    Labels overwrite what the event says of itself (*said*), and image and name overwrite the labels (moby,
    daemon/events.go).
    """
    attributes = {**said, **container.labels, "image": container.image, "name": container.name}
    legacy = {"status": action, "id": container.id, "from": container.image}
    return legacy | _event("container", action, actor=container.id, attributes=attributes, now_ns=now_ns)


def network_event(network: Network, action: str, *, now_ns: int, said: dict[str, str]) -> dict[str, Any]:
    """Build the event of a network; *said* holds the container's id, if one is concerned."""
    attributes = {**said, "name": network.name, "type": network.driver}
    return _event("network", action, actor=network.id, attributes=attributes, now_ns=now_ns)


def _event(kind: str, action: str, *, actor: str, attributes: dict[str, str], now_ns: int) -> dict[str, Any]:
    return {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": actor, "Attributes": attributes},
        "scope": "local",
        "time": now_ns // 10**9,
        "timeNano": now_ns,
    }

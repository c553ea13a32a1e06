"""
The ports that a container's machine publishes for it: which of them can serve, and where nginx reaches that one.

Pure; what is published is as the engine said it.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from lbwatch.core.addresses import checked_address, loopback_address
from lbwatch.core.model import Published
from lbwatch.core.wishes import UpstreamLabels


def only_published(published: Iterable[Published], labels: UpstreamLabels) -> int | None:
    """Return the only port of a container that is published; `None`: there is none, or there are several."""
    found = in_order(published, labels)
    ports = {each.port for each in found if each.protocol == found[0].protocol}
    return ports.pop() if len(ports) == 1 else None


def in_order(published: Iterable[Published], labels: UpstreamLabels) -> list[Published]:
    """Return the bindings that can serve, those first of the protocol that is wanted more."""
    spoken = {protocol for _, protocol in labels.listen}
    # UDP is for whoever asks for a port of nginx's that has it, and TCP for all others.
    order = ("udp", "tcp") if spoken == {"udp"} else ("tcp", "udp") if "udp" in spoken else ("tcp",)
    return [each for protocol in order for each in published if each.protocol == protocol]


def bound_at(binding: Published, *, machine: str, reaches_loopback: bool) -> str:
    """
    Return the address at which nginx reaches a published port; empty: at none.

    Args:
        binding: The port.
        machine: Address of the machine that publishes it; empty: not known.
        reaches_loopback: Whether that machine's loopback is nginx's too.
    """
    bound = binding.host_address
    if not bound:
        return machine
    if bound == "::":  # published apart for IPv6, at a port of its own
        return machine if ":" in machine else ""
    if (own := loopback_address(bound)) is not None:
        return own if reaches_loopback else ""
    return checked_address(bound) or ""


def place_key(address: str, port: int, *, machine: str) -> tuple[bool, int, int, int]:
    """Return what puts the places first that are taken first: at the machine's own address, then by their numbers."""
    parsed = ip_address(address)
    return address != machine, parsed.version, int(parsed), port

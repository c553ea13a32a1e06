"""Published ports: which of them can serve, and at which address nginx reaches it."""

import pytest

from lbwatch.core.model import Published
from lbwatch.core.reach.bindings import bound_at, in_order, only_published, place_key
from lbwatch.core.wishes import UpstreamLabels

TCP = Published(port=53, host_port=5300)
UDP = Published(port=53, protocol="udp", host_port=5301)
SCTP = Published(port=53, protocol="sctp", host_port=5302)


@pytest.mark.parametrize(
    ("listen", "order"),
    [
        ((), [TCP]),
        (((5432, "tcp"),), [TCP]),
        (((53, "tcp"), (53, "udp")), [TCP, UDP]),
        (((53, "udp"),), [UDP, TCP]),
    ],
)
def test_udp_is_for_whoever_asks_for_it(listen: tuple[tuple[int, str], ...], order: list[Published]) -> None:
    """What speaks HTTP is never at a UDP port, and a name server may be at nothing else."""
    labels = UpstreamLabels(listen=listen)
    assert in_order((SCTP, UDP, TCP), labels) == order
    assert only_published((SCTP, UDP, TCP), labels) == 53
    assert only_published((SCTP,), labels) is None
    assert only_published((*order, Published(port=80, protocol=order[0].protocol, host_port=80)), labels) is None


@pytest.mark.parametrize(
    ("bound", "machine", "reaches_loopback", "address"),
    [
        ("", "10.1.0.2", False, "10.1.0.2"),
        ("", "", True, ""),
        ("10.77.0.2", "10.1.0.2", False, "10.77.0.2"),
        ("10.77.0.2", "", False, "10.77.0.2"),
        ("::", "10.1.0.2", False, ""),
        ("::", "fd00::2", False, "fd00::2"),
        ("127.0.0.1", "10.1.0.2", False, ""),
        ("127.0.0.1", "10.1.0.2", True, "127.0.0.1"),
        ("::1", "", True, "::1"),
        ("169.254.169.254", "10.1.0.2", True, ""),
        ("nonsense", "10.1.0.2", True, ""),
    ],
)
def test_a_port_is_reached_where_it_is_bound(bound: str, machine: str, reaches_loopback: bool, address: str) -> None:
    """Elsewhere nobody answers, or another program does."""
    binding = Published(port=80, host_address=bound, host_port=8080)
    assert bound_at(binding, machine=machine, reaches_loopback=reaches_loopback) == address


def test_the_machines_own_address_comes_first_and_then_the_lowest() -> None:
    """.9 before .10, and IPv4 before IPv6."""
    places = [("fd00::1", 1), ("10.0.0.10", 1), ("10.0.0.9", 2), ("10.0.0.9", 1), ("10.1.0.2", 9)]
    assert sorted(places, key=lambda place: place_key(*place, machine="10.1.0.2")) == places[::-1]

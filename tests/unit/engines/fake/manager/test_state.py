"""Ids, addresses and ports of a fake Swarm are given as a real one gives them."""

from ipaddress import IPv4Network

from lbwatch.engines.fake.manager.state import Overlay


def test_a_freed_address_is_given_again_only_after_all_others() -> None:
    # Else a task that is late in leaving would share its address with its successor.
    network = Overlay(id="n", name="ov", subnet=IPv4Network("10.1.0.0/29"), version=1, created_ns=1)
    first, second = network.allocate(), network.allocate()
    assert (first, second) == ("10.1.0.2", "10.1.0.3")
    network.release(first)
    rest = [network.allocate() for _ in range(4)]
    assert rest[-1] == first
    assert len({second, *rest}) == 5

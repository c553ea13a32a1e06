"""Which addresses a server can have."""

import pytest

from lbwatch.core.addresses import checked_address, loopback_address


@pytest.mark.parametrize(("text", "address"), [("172.18.0.2", "172.18.0.2"), ("FD00:0:0::0002", "fd00::2")])
def test_an_address_comes_out_in_its_shortest_form(text: str, address: str) -> None:
    """Two ways to write one address must not become two servers."""
    assert checked_address(text) == address
    assert loopback_address(text) is None


@pytest.mark.parametrize("text", ["127.0.0.1", "127.8.8.8", "::1", "0:0:0:0:0:0:0:1"])
def test_loopback_is_known_as_such(text: str) -> None:
    """It is right for an nginx on that very machine, and for nobody else."""
    assert checked_address(text) is None
    assert loopback_address(text) in ("127.0.0.1", "127.8.8.8", "::1")


@pytest.mark.parametrize(
    "text", ["", "web", "0.0.0.0", "::", "169.254.169.254", "224.0.0.1", "fe80::1", "fd00::1%eth0", "::ffff:127.0.0.1"]
)
def test_where_no_server_can_be_nothing_comes_out(text: str) -> None:
    """An engine that says so is broken or hostile."""
    assert checked_address(text) is None
    assert loopback_address(text) is None

"""What is an IP address, and which of them a server can have at all; pure."""

import ipaddress


def checked_address(text: str) -> str | None:
    """Return an engine's word for an address, in its shortest form; `None` for one where no server can be."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # Loopback is nginx's own machine, link-local a cloud's metadata: nginx's test takes them all (facts, nginx 3).
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    # A mapped one is an IPv4 address that went past the checks above; a scope means a link of this machine.
    return None if address.ipv4_mapped or address.scope_id else str(address)


def loopback_address(text: str) -> str | None:
    """Return an address of the machine's own loopback, in its shortest form; `None` for any other text."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return str(address) if address.is_loopback and not _is_mapped(address) else None


def _is_mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def is_address(text: str) -> bool:
    """Return whether a text is an IP address, of any kind."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

"""
Single fields of what an engine says, each with its bound: ids, names, numbers, times, signals, ports; no I/O.

An engine is written in Go: its integers have 64 bits, and its ids are made of letters and digits. What answers in its
place may say anything, and all of it goes on into paths, logs, files and dates.
"""

import re
import signal
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import islice

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Published

MAX_NS = 2**63 - 1
"""The latest time in nanoseconds since the epoch, in 2262: Go's own limit, and one that every date can show."""

MAX_INT64, MIN_INT64 = 2**63 - 1, -(2**63)

MAX_NAME_CHARS = 255
"""Of a container's or a network's name: engines set no limit, but no file, host or upstream bears a longer one."""

MAX_ADDRESS_CHARS = 64
"""The longest IP address has 45 characters."""

MAX_PORT = 65_535

MAX_PUBLISHED = 2000
"""Of one container's published ports: each takes a rule of iptables, so that a range of so many is slow to start."""

MAX_ACTION_CHARS = 256
"""Of an event's action: `exec_create: ...` carries a whole command line."""

PODMAN_DEFAULT = "podman"
"""What inspect and Podman's own commands call its default network."""

PODMAN_DEFAULT_ALIAS = "bridge"
"""What `GET /networks`, and so `docker network ls`, calls it."""

PODMAN_DEFAULT_ID = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9"
"""Its id on every machine: the SHA-256 of its name."""

_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_SWARM_ID = re.compile(r"[0-9a-z]{25}")
_CONTAINER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # what engines accept
_TIMESTAMP = re.compile(
    r"(?P<seconds>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)",
    re.ASCII,
)
_SIGNAL_TEXT = re.compile(r"(?P<number>[0-9]{1,2})|(SIG)?(?P<name>[A-Z]+[12]?)(?P<offset>[+-][0-9]{1,2})?")
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")
_SIGNAL_CHARS = 64
_PORT = re.compile(r"[0-9]{1,5}")
_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
_ANY_IPV4, _ANY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - compared with, and never bound
_DATE_CHARS = 64


def is_container_id(text: str) -> bool:
    """Return whether a text is the whole id of a container or of an exec: nothing else goes into a path."""
    return _CONTAINER_ID.fullmatch(text) is not None


def is_swarm_id(text: str) -> bool:
    """Return whether a text is the id of a Swarm, or of a node, service or task in it: 25 letters and digits."""
    return _SWARM_ID.fullmatch(text) is not None


def container_name(text: str, *, id: str) -> str:
    """
    Return a container's name, without its slash, at most `MAX_NAME_CHARS` long, and harmless to terminals and files.

    What is none ends in the id's first digits, so that two of them never become one; `~` is in no real name.
    """
    name = network_name(text.removeprefix("/"))
    return name if name == text.removeprefix("/") else f"{name[: MAX_NAME_CHARS - 13]}~{id[:12]}"


def network_name(text: str) -> str:
    """Return a network's name, at most `MAX_NAME_CHARS` long; what cannot be printed is replaced, as none types it."""
    letters = text[:MAX_NAME_CHARS]
    if letters.isprintable():
        return letters
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in letters)


def network_owner_ref(mode: str) -> str | None:
    """
    Return whose network a container with this `NetworkMode` uses; `None`: it has one of its own.

    An id or a name (facts, stream 20). What is neither names nobody, and is only cut for whoever shows it.
    """
    kind, separator, ref = mode.partition(":")
    if kind != "container" or not separator:
        return None
    return ref if _CONTAINER_NAME.fullmatch(ref) and len(ref) <= MAX_NAME_CHARS else f"({excerpt(ref)})"


def clamped_ns(nanoseconds: int) -> int:
    """Return a time that can be shown, in nanoseconds since the epoch; 0 for what is before that."""
    return min(max(0, nanoseconds), MAX_NS)


def nanoseconds(timestamp: str) -> int:
    """
    Return an RFC 3339 time with up to nine decimals as nanoseconds since the epoch, at most `MAX_NS`.

    It is 0 for Go's zero time (`0001-01-01T00:00:00Z`: never) and for what is no such time.
    """
    match = _TIMESTAMP.fullmatch(timestamp)
    if match is None:
        return 0
    try:
        seconds = int(datetime.fromisoformat(match["seconds"] + match["zone"]).timestamp())
    except (ValueError, OverflowError):
        return 0
    fraction = int((match["fraction"] or "").ljust(9, "0"))
    return clamped_ns(seconds * 10**9 + fraction)


def http_date_s(date: str | None) -> float | None:
    """Return what a `Date` header says, the engine's clock to a second; `None` if there is none that can be used."""
    if not date or len(date) > _DATE_CHARS:
        return None
    try:
        return clamped_ns(int(parsedate_to_datetime(date).timestamp()) * 10**9) / 1e9
    except (ValueError, OverflowError):
        return None


def signal_number(text: str) -> int | None:
    """Return the number of `SIGHUP`, `HUP`, `hup` or `1`, and `RTMIN+3` likewise; `None`: there is no such signal."""
    match = _SIGNAL_TEXT.fullmatch(text.strip().upper()) if len(text) <= _SIGNAL_CHARS else None
    if match is None or (match["offset"] and not match["name"].startswith("RT")):
        return None
    named = signal.Signals.__members__.get(f"SIG{match['name']}")
    number = int(match["number"] or 0) if named is None else named + int(match["offset"] or 0)
    return number if 1 <= number <= signal.SIGRTMAX else None


def published(bindings: Iterable[tuple[str, str, str, str]]) -> tuple[Published, ...]:
    """
    Return the ports that a machine publishes, sorted; what is none is left out.

    Args:
        bindings: Of each the container's port, its protocol, the machine's address, and the machine's port.
    """
    found = {each for each in map(_published, islice(bindings, MAX_PUBLISHED)) if each is not None}
    everywhere = {(each.port, each.protocol) for each in found if not each.host_address}
    for each in [each for each in found if each.host_address == _ANY_IPV6]:
        # :: is all of the machine too, but where the engine chose another port there than beside 0.0.0.0.
        anywhere = replace(each, host_address="")
        if anywhere in found or (each.port, each.protocol) not in everywhere:
            found.discard(each)
            found.add(anywhere)
    return tuple(sorted(found, key=_by_port))


def _published(binding: tuple[str, str, str, str]) -> Published | None:
    port, protocol, address, host_port = binding
    if protocol not in _PROTOCOLS or not (_PORT.fullmatch(port) and _PORT.fullmatch(host_port)):
        return None
    if not (1 <= int(port) <= MAX_PORT and 1 <= int(host_port) <= MAX_PORT):
        return None
    bound = "" if address == _ANY_IPV4 else address[:MAX_ADDRESS_CHARS]
    return Published(port=int(port), protocol=protocol, host_address=bound, host_port=int(host_port))


def _by_port(published: Published) -> tuple[int, str, str, int]:
    return published.port, published.protocol, published.host_address, published.host_port


def major_minor(version: str) -> tuple[int, int]:
    """Return the first two numbers of `5.4.2` or `4.9.0-dev`; (0, 0) for what has none."""
    match = _VERSION.match(version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def possible_ports(ports: Iterable[int]) -> tuple[int, ...]:
    """Return those that are ports: an image may claim to expose 0 or 99999, and nginx would refuse the whole file."""
    return tuple(sorted({port for port in ports if 1 <= port <= MAX_PORT}))

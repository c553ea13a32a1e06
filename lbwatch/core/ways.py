"""
By which way nginx reaches one container, and why not by the others: for whoever asks why, in words.

Pure, and nothing is decided here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from lbwatch.core.asked import Asked, asked_of, upstreams_of
from lbwatch.core.errors import excerpt
from lbwatch.core.labels import read_labels
from lbwatch.core.model import Container, Endpoint
from lbwatch.core.networks import USED, SkipError
from lbwatch.core.placement import network_owner
from lbwatch.core.reach import NETWORK_WAY, weighed_networks, weighed_ways
from lbwatch.core.rules import Rules

MAX_WEIGHED = 20
"""So many of a container's upstreams that ask for something else each are weighed; a label may name thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkVerdict:
    """A network that the container is on, its address there, and why its server is reached by it or not."""

    network: str
    address: str
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WayVerdict:
    """
    A way to the container, and why it is used or not.

    Attributes:
        way: `address`, `network`, `published port`, `host network` or `service`.
        verdict: Of the one that is used it begins with `networks.USED`.
        upstream: For which one of its upstreams; `None`: for all of them alike.
    """

    way: str
    verdict: str
    upstream: str | None = None


def networks_of(container: Container, *, rules: Rules, containers: Mapping[str, Container]) -> Iterable[NetworkVerdict]:
    """
    Return the networks that a container is on, by name.

    Args:
        container: Any one.
        rules: What holds for all.
        containers: All of them, by id.
    """
    owner = network_owner(container, containers=containers)
    if owner is None:
        return
    whose = "" if owner is container else f" (of {owner.name}, whose network it uses)"
    asked = read_labels(container.labels, prefix=rules.prefix, refuses_key=rules.refuses_key).upstreams
    verdicts: dict[Endpoint, list[str]] = {}
    for wanted in {(each.network, each.reach, each.address): each for each in asked}.values():
        for endpoint, verdict in weighed_networks(container, wanted, owner=owner, rules=rules):
            verdicts.setdefault(endpoint, []).append(verdict)
    # Its upstreams may name different networks: one that any of them is reached by counts as taken.
    for endpoint, said in verdicts.items():
        taken = next((verdict for verdict in said if verdict.startswith(USED)), said[0])
        address = endpoint.ipv4 or endpoint.ipv6
        yield NetworkVerdict(network=excerpt(endpoint.network) + whose, address=excerpt(address), verdict=taken)


def ways_of(container: Container, *, rules: Rules, containers: Mapping[str, Container]) -> tuple[WayVerdict, ...]:
    """
    Return the ways to a container in the order in which they are tried, up to the one that is used.

    There are none to one that is not up, or asks for no upstream. The arguments are those of `networks_of`.
    """
    if not container.status.is_up:
        return ()
    owner = network_owner(container, containers=containers)
    weighed = {
        each.name: tuple(weighed_ways(container, each.labels, owner=owner, rules=rules))
        for each in islice(_asked(container, rules=rules), MAX_WEIGHED)
    }
    alike = len(set(weighed.values())) == 1
    found = list(weighed.items())[:1] if alike else weighed.items()
    return tuple(
        WayVerdict(way=way, verdict=verdict, upstream=None if alike else upstream)
        for upstream, verdicts in found
        for way, verdict in verdicts
    )


def _asked(container: Container, *, rules: Rules) -> Iterable[Asked]:
    """Return the upstreams that a container asks for, of those that are reached alike the first."""
    labels = asked_of(container, rules=rules)
    if labels.enable is False or labels.refusal is not None or not (labels.asks or rules.expose_all):
        return ()
    try:
        asked = upstreams_of(container, labels, rules=rules)
    except SkipError:
        return ()
    # What else an upstream is called or is like has no say in how its server is reached.
    plain = {replace(each.labels, upstream=None, sites=(), weight=1): each for each in reversed(asked)}
    return reversed(plain.values())


def ways_tell_more(ways: Iterable[WayVerdict]) -> bool:
    """Return whether ways say more than the verdicts on the networks do."""
    return any(each.way != NETWORK_WAY for each in ways)

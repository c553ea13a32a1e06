"""Which hosts, paths and ports an upstream serves, as people read them. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Plan
from lbwatch.core.sites.merging import site_of

MAX_PLACES = 100
"""Of one upstream; a container may name thousands of hosts."""

MAX_SHOWN = 5
"""Of them in a sentence."""


def places_of(plan: Plan) -> Mapping[str, tuple[str, ...]]:
    """Return the hosts with their paths, and then the ports, of each upstream that has any, by its name."""
    found: dict[str, list[str]] = defaultdict(list)
    for site in plan.sites:
        for each in site.locations:
            if len(places := found[each.upstream]) < MAX_PLACES:
                places.append(excerpt(site_of(site.host, each.path)))
    for stream in plan.streams:
        if len(places := found[stream.upstream.name]) < MAX_PLACES:
            places.append(f"port {stream.port}/{stream.protocol}")
    return {name: tuple(places) for name, places in found.items()}


def place_words(places: Sequence[str]) -> str:
    """Return some of the places of an upstream in words; it has at least one."""
    more = len(places) - MAX_SHOWN
    return ", ".join(places[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")

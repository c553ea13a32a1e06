"""What one container asks for by nginx-proxy's variables and labels, as if lbwatch's own labels said it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from lbwatch.core.site import HostWish, LocationWish, SiteRules, SiteWish
from lbwatch.core.sites.nginxproxy.hostwide import host_wish, is_internal, keepalive, method
from lbwatch.core.sites.nginxproxy.multiports import multiports
from lbwatch.core.sites.nginxproxy.names import HOST, LABELS, MULTIPORTS, VARIABLES
from lbwatch.core.sites.nginxproxy.places import Place, other_spellings, places
from lbwatch.core.sites.nginxproxy.refusal import RefusedError
from lbwatch.core.sites.nginxproxy.values import Values
from lbwatch.core.sites.pools import pool_name
from lbwatch.core.wishes import ContainerLabels, HashKeyRefusal, UpstreamLabels, takes_any_key

ASSUMED_PORT: Final = 80

Pairs = Iterable[tuple[str, str]]


def asks(env: Pairs) -> bool:
    """Return whether a container's environment says that it wants to be served."""
    return any(name in (HOST, MULTIPORTS) and value.replace(",", " ").strip() for name, value in env)


def compat_labels(
    env: Pairs, labels: Pairs, *, rules: SiteRules, refuses_key: HashKeyRefusal = takes_any_key
) -> ContainerLabels | None:
    """
    Return what a container asks for, each path of each host as an upstream of its own; `None`: it asks for nothing.

    Nothing is raised, whatever the values are.

    Args:
        env: Of its environment at least what `VARIABLES` names; nothing else is looked at.
        labels: Likewise, with `LABELS`.
        rules: What holds for all sites.
        refuses_key: See `read_labels`.
    """
    variables = {name: value for name, value in env if name in VARIABLES}
    if not asks(variables.items()):
        return None
    values = Values(said=variables | {name: value for name, value in labels if name in LABELS})
    try:
        return _labels(values, rules=rules, refuses_key=refuses_key)
    except RefusedError as refusal:
        words, takes = str(refusal), refusal.takes
        return ContainerLabels(asks=True, refusal=words, takes=takes, reason=refusal.reason)


def _labels(values: Values, *, rules: SiteRules, refuses_key: HashKeyRefusal) -> ContainerLabels:
    found = _places(values)
    of_host = host_wish(values, rules=rules)
    idle, keeps_connections = keepalive(values)
    spread = method(values, refuses_key=refuses_key)
    inside = is_internal(values)
    upstreams = tuple(
        UpstreamLabels(
            upstream=pool_name(place.host, path=place.path),
            port=place.port,
            method=spread,
            keepalive=idle,
            sites=(_wish(place, of_host, is_internal=inside, keeps_connections=keeps_connections),),
            assumed_port=ASSUMED_PORT,
            is_compat=True,
        )
        for place in found
    )
    return ContainerLabels(asks=True, upstreams=upstreams, dropped=tuple(values.dropped))


def _places(values: Values) -> tuple[Place, ...]:
    # Set at all, it beats all of the others; nginx-proxy does not look at them then.
    if MULTIPORTS not in values.said:
        plain = places(values.said)
        hosts = {each.host for each in plain}
        values.dropped += other_spellings(HOST, values.said[HOST].split(","), hosts=hosts)
        return plain
    found = multiports(values.said[MULTIPORTS])
    values.dropped += found.remarks
    return found.places


def _wish(place: Place, of_host: HostWish, *, is_internal: bool, keeps_connections: bool) -> SiteWish:
    # Where several containers say which, the oldest one's word holds; within one, that of MULTIPORTS.
    ports = {name: port for name in ("http_port", "https_port") if (port := getattr(place, name)) is not None}
    return SiteWish(
        host=place.host,
        path=place.path,
        of_host=replace(of_host, **ports) if ports else of_host,
        of_location=LocationWish(
            protocol=place.protocol,
            dest=place.dest,
            is_internal=is_internal,
            keeps_connections=keeps_connections,
        ),
        is_compat=True,
    )

"""
The story of one host: who serves which path, at which port and why, by which certificate; or who else would get it.

Pure, and nothing is decided here: the plan has decided.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from lbwatch.core.asked import asked_of, upstreams_of
from lbwatch.core.errors import excerpt
from lbwatch.core.model import Container, Plan, Route
from lbwatch.core.networks import SkipError
from lbwatch.core.rules import Rules
from lbwatch.core.site import Certificate, Location, Site, SiteAsk
from lbwatch.core.sites import grammar
from lbwatch.core.sites.build import with_defaults
from lbwatch.core.sites.certificates import Choice, certificate_of, is_for
from lbwatch.core.sites.merging import merged
from lbwatch.core.wishes import UpstreamLabels

_MAX_NEAREST = 3
_MAX_MENTIONS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStory:
    """
    One container of a path.

    Attributes:
        route: What became of it in its upstream; where it has no server, why.
        port: Where it listens, and why there, in words.
    """

    name: str
    route: Route
    port: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationStory:
    """One path of a host, and the containers of its upstream."""

    location: Location
    containers: tuple[ContainerStory, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStory:
    """
    All that is known of one host.

    Attributes:
        host: That was asked for.
        site: The one that gets its requests; `None`: no site is served at all.
        how: Why that one, in words.
        locations: Its paths.
        choice: Which certificate it has, and which nearer ones are not taken, and why.
        certificate: What is wrong with the certificate for this host, in words; `None`: nothing.
        refused: The rows of containers that ask for the host, or a path of it, and do not get it.
        mentions: The rows of other containers whose labels or variables name the host, if nobody serves it.
        nearest: Hosts that are served and called nearly so, if nobody serves it.
        regexps: Hosts that are regexps, and may match it: they are nginx's to judge, and not tried here.
    """

    host: str
    site: Site | None = None
    how: str = ""
    locations: tuple[LocationStory, ...] = ()
    choice: Choice | None = None
    certificate: str | None = None
    refused: tuple[Route, ...] = ()
    mentions: tuple[Route, ...] = ()
    nearest: tuple[str, ...] = ()
    regexps: tuple[str, ...] = ()


def site_story(host: str, *, plan: Plan, rules: Rules, containers: Mapping[str, Container]) -> SiteStory:
    """
    Return all that is known of one host.

    Args:
        host: As somebody typed it, perhaps with a port.
        plan: What there should be.
        rules: What it was made by.
        containers: All of them, by id.
    """
    asked = _normal(host)
    if not plan.sites:
        return SiteStory(host=asked, how=rules.sites_refusal or "no host is served")
    site, how = _site_for(asked, plan.sites)
    regexps = tuple(each.host for each in plan.sites if each.host.startswith("~")) if site.host != asked else ()
    hosts = [each.host for each in plan.sites if each.host and not each.host.startswith("~")]
    is_served = bool(site.host)
    asks, asked_for = _asks(site, plan=plan, rules=rules, containers=containers)
    choice = _choice(site, asks, rules=rules) if is_served else None
    return SiteStory(
        host=asked,
        site=site,
        how=how,
        locations=tuple(_location(each, plan, asked_for) for each in site.locations),
        choice=choice,
        certificate=_certificate_words(site.certificate, asked if site.host != "" else None),
        refused=tuple(each for each in plan.routes if each.site is not None and _is_of(each.site, site.host)),
        mentions=() if is_served and site.host == asked else _mentions(asked, plan=plan, containers=containers),
        nearest=() if is_served else tuple(get_close_matches(asked, hosts, n=_MAX_NEAREST)),
        regexps=regexps,
    )


def _normal(host: str) -> str:
    text = host.strip().removeprefix("http://").removeprefix("https://")
    if not text.startswith("~"):
        text = text.partition("/")[0]
        name, colon, port = text.rpartition(":")
        text = name if colon and port.isdecimal() and (name.endswith("]") or ":" not in name) else text
    try:
        return grammar.host(text)
    except grammar.GrammarError:
        return excerpt(text.lower())


def _site_for(host: str, sites: tuple[Site, ...]) -> tuple[Site, str]:
    """Return the site that nginx takes for a host, but for regexps, and why: https://nginx.org/r/server_name."""
    by_host = {each.host: each for each in sites}
    if host and (site := by_host.get(host)) is not None:
        return site, "it is served by this name"
    labels = host.split(".")
    leading = (f"*.{'.'.join(labels[first:])}" for first in range(1, len(labels)))
    trailing = (f"{'.'.join(labels[:last])}.*" for last in range(len(labels) - 1, 0, -1))
    for name in (*leading, *trailing):
        if (site := by_host.get(name)) is not None:
            return site, f"nobody serves this name itself, and {name} matches it"
    if (site := next((each for each in sites if each.is_default), None)) is not None:
        return site, f"nobody serves it, and {excerpt(site.host)} is the default host"
    return sites[0], "nobody serves it: it gets 503"


def _asks(
    site: Site, *, plan: Plan, rules: Rules, containers: Mapping[str, Container]
) -> tuple[list[SiteAsk], Mapping[tuple[str, str], tuple[Container, UpstreamLabels]]]:
    """Return what is asked of a site, and what the containers of its upstreams ask for, by container and upstream."""
    upstreams = {each.upstream for each in site.locations}
    names = {each.container for each in plan.routes if each.upstream in upstreams}
    asks: list[SiteAsk] = []
    found: dict[tuple[str, str], tuple[Container, UpstreamLabels]] = {}
    for container in (each for each in containers.values() if each.name in names):
        try:
            wanted = upstreams_of(container, asked_of(container, rules=rules), rules=rules)
        except SkipError:
            continue
        for each in wanted:
            found[container.name, each.name] = container, each.labels
            for wish in (one for one in each.labels.sites if one.host == site.host):
                rank = *container.age, len(asks)
                asks.append(SiteAsk(container=container.name, rank=rank, upstream=each.name, wish=wish))
    return asks, found


def _choice(site: Site, asks: Iterable[SiteAsk], *, rules: Rules) -> Choice:
    wish = with_defaults(merged(site.host, asks).wish, rules.sites.of_host)
    return certificate_of(
        site.host,
        files=rules.site_files,
        wanted=wish.certificate if site.redirect_to is None else None,
        trusts_default=wish.trusts_default is not False,
    )


def _location(
    location: Location, plan: Plan, asked_for: Mapping[tuple[str, str], tuple[Container, UpstreamLabels]]
) -> LocationStory:
    rows = (each for each in plan.routes if each.upstream == location.upstream and each.site is None)
    stories = []
    for row in rows:
        container, labels = asked_for.get((row.container, location.upstream), (None, None))
        words = "" if container is None or labels is None else _port_words(container, labels, route=row)
        stories.append(ContainerStory(name=row.container, route=row, port=words))
    return LocationStory(location=location, containers=tuple(stories))


def _port_words(container: Container, labels: UpstreamLabels, *, route: Route) -> str:
    """Return at which port a container is reached, and why there."""
    words = _own_port_words(container, labels)
    at_host = {each.host_port for each in container.published if each.host_port != each.port}
    is_published = route.server is not None and route.server.port in at_host
    return f"{words}; published as {route.address}" if is_published else words


def _own_port_words(container: Container, labels: UpstreamLabels) -> str:
    exposed = ", ".join(map(str, container.exposed[:8])) or "no port"
    if labels.port is not None:
        says = "VIRTUAL_PORT or a label" if labels.is_compat else "a label"
        return f"{labels.port}, as {says} says; it exposes {exposed}"
    if len(container.exposed) == 1:
        return f"{exposed}, the only one that it exposes"
    if labels.assumed_port is not None:
        return f"it exposes {exposed}: took {labels.assumed_port}; VIRTUAL_PORT says otherwise"
    return f"it exposes {exposed}, and nothing says which one is meant"


def _certificate_words(certificate: Certificate | None, host: str | None) -> str | None:
    """Return what is wrong with a certificate for a host that asked for it; browsers refuse it then."""
    if certificate is None or host is None or not certificate.hosts or is_for(certificate, host):
        return None
    return f"certificate {certificate.name} is for {excerpt(', '.join(certificate.hosts))}, and not for {host}"


def _is_of(site: str, host: str) -> bool:
    return bool(host) and (site == host or site.startswith((f"{host}/", f"{host} ")))


def _mentions(host: str, *, plan: Plan, containers: Mapping[str, Container]) -> tuple[Route, ...]:
    """Return the rows of the containers whose labels or variables name a host, as if they served it."""
    if not host:
        return ()
    named = re.compile(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])")  # as a whole, and no part of a longer one
    names = {
        each.name
        for each in containers.values()
        if any(named.search(value.lower()) for key, value in (*each.labels, *each.env) if _may_name_hosts(key))
    }
    return tuple(each for each in plan.routes if each.container in names)[:_MAX_MENTIONS]


def _may_name_hosts(key: str) -> bool:
    return key.lower().endswith((".host", ".redirect_from")) or key.startswith("VIRTUAL_HOST")

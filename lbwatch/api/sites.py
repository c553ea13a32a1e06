"""
Hosts and ports of the load balancer, in the words of `/api/state`, and of `explain --host --json`.

Pure: nothing is found out or decided here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lbwatch.core.explain import stamp
from lbwatch.core.history import AppliedPlan
from lbwatch.core.hostwords import HostExplanation, closed_words
from lbwatch.core.model import Level, Route
from lbwatch.core.parts import sites_in, streams_in
from lbwatch.core.rows import degraded_words
from lbwatch.core.site import Certificate, Location, Site
from lbwatch.core.sites.expiry import expiry_words
from lbwatch.core.sitestory import LocationStory

MAX_HOSTS = 100
"""Of a certificate, which a thousand hosts may share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationReport:
    """One path of a host; *closed* says why everyone gets 503 there, `None`: nobody does."""

    path: str
    upstream: str
    containers: tuple[str, ...]
    closed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateReport:
    """
    A certificate that a site uses.

    Attributes:
        expires_at: In ISO 8601; `None`: that cannot be read.
        hosts: For whom it is, as it says; of many the first.
        warning: That it ends soon, or has ended; `None`: neither.
        expired: Whether it has.
    """

    name: str
    expires_at: str | None
    hosts: tuple[str, ...]
    warning: str | None = None
    expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteReport:
    """
    One host as nginx runs it.

    Attributes:
        http: What plain HTTP gets: `serves`, `redirects` to https, or `refuses`.
        https: Whether HTTPS is served.
        redirect_to: Host that all its requests are redirected to; `None`: it serves.
        closed: Why everyone gets 503, or worse, in words; `None`: nobody does.
        default: Whether it gets requests for hosts that nobody serves.
    """

    host: str
    locations: tuple[LocationReport, ...]
    http: str
    https: bool
    http_port: int
    https_port: int
    certificate: CertificateReport | None = None
    redirect_to: str | None = None
    closed: str | None = None
    default: bool = False

    @property
    def is_closed(self) -> bool:
        """Return whether all of it, or a path, is closed."""
        return self.closed is not None or any(each.closed is not None for each in self.locations)

    @property
    def is_empty(self) -> bool:
        """Return whether none of its paths has a server."""
        return bool(self.locations) and not any(each.containers for each in self.locations)

    @property
    def url(self) -> str | None:
        """Return where a browser finds it; `None` of regexps and wildcards, which are no name."""
        if self.host.startswith("~") or "*" in self.host:
            return None
        if self.https:
            return f"https://{self.host}" + ("" if self.https_port == 443 else f":{self.https_port}") + "/"
        return f"http://{self.host}" + ("" if self.http_port == 80 else f":{self.http_port}") + "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """One port whose connections, or datagrams, go to an upstream as they are; *note*: what nginx refused of it."""

    port: int
    protocol: str
    upstream: str
    note: str | None = None


def site_reports(applied: AppliedPlan, *, containers: Mapping[str, tuple[str, ...]], at: float) -> Iterable[SiteReport]:
    """
    Return the hosts that are in force, by name.

    Args:
        applied: What is in force.
        containers: Those that serve, by upstream.
        at: Now, seconds since the epoch.
    """
    levels = {each.upstream: each for each in applied.degraded}
    for site in sites_in(applied.parts or ()):
        if site.host:  # all others are nobody's, and no host
            degraded = levels.get(site.name)
            has_tls = site.certificate is not None and (degraded is None or degraded.level in (Level.PLAIN, Level.OLD))
            refused = None if degraded is None else degraded_words(degraded)
            yield _site(site, refused=refused, has_tls=has_tls, containers=containers, at=at)


def _site(
    site: Site, *, refused: str | None, has_tls: bool, containers: Mapping[str, tuple[str, ...]], at: float
) -> SiteReport:
    return SiteReport(
        host=site.host,
        locations=tuple(_location(each, containers=containers) for each in site.locations),
        http=str(site.on_http),
        https=has_tls,
        http_port=site.http_port,
        https_port=site.https_port,
        certificate=None if site.certificate is None else certificate_report(site.certificate, at=at),
        redirect_to=site.redirect_to,
        closed=closed_words(site, refused=refused),
        default=site.is_default,
    )


def _location(location: Location, *, containers: Mapping[str, tuple[str, ...]]) -> LocationReport:
    return LocationReport(
        path=str(location.path),
        upstream=location.upstream,
        containers=containers.get(location.upstream, ()),
        closed=location.closed,
    )


def certificate_report(certificate: Certificate, *, at: float) -> CertificateReport:
    """Return a certificate; *at*: now, seconds since the epoch."""
    return CertificateReport(
        name=certificate.name,
        expires_at=stamp(certificate.expires_at),
        hosts=certificate.hosts[:MAX_HOSTS],
        warning=expiry_words(certificate, at=at),
        expired=certificate.expires_at is not None and certificate.expires_at <= at,
    )


def stream_reports(applied: AppliedPlan) -> Iterable[StreamReport]:
    """Return the ports that are in force, sorted by number."""
    notes = {each.upstream: degraded_words(each) for each in applied.degraded}
    for each in sorted(streams_in(applied.parts or ()), key=lambda each: (each.port, each.protocol)):
        note = notes.get(each.name)
        yield StreamReport(port=each.port, protocol=each.protocol, upstream=each.upstream.name, note=note)


# -- explain --host --json


def host_json(told: HostExplanation) -> dict[str, Any]:
    """Return the answer of `explain --host --json`."""
    story, site, choice = told.story, told.story.site, told.story.choice
    certificate = None if site is None or site.certificate is None else site.certificate
    return {
        "host": story.host,
        "site": None if site is None else site.host,
        "how": story.how,
        "http": None if site is None else str(site.on_http),
        "https": certificate is not None,
        "http_port": None if site is None else site.http_port,
        "https_port": None if site is None else site.https_port,
        "redirect_to": None if site is None else site.redirect_to,
        "closed": None if site is None else closed_words(site, refused=told.refused),
        "certificate": None if certificate is None else _certificate_json(certificate, told=told),
        "passed_over": [{"name": name, "reason": why} for name, why in (choice.passed_over if choice else ())],
        "files": [] if site is None else [path for path, _ in site.files],
        "locations": [_location_json(each) for each in story.locations],
        "refused": [_row_json(each) for each in story.refused],
        "named_by": [_row_json(each) for each in story.mentions],
        "similar": list(story.nearest),
        "regexps": list(story.regexps),
        "unused_files": [{"path": each.path, "meant": each.meant} for each in told.unmatched],
    }


def _certificate_json(certificate: Certificate, *, told: HostExplanation) -> dict[str, Any]:
    warnings = (told.story.certificate, expiry_words(certificate, at=told.at))
    return {
        "name": certificate.name,
        "path": certificate.path,
        "expires_at": stamp(certificate.expires_at),
        "hosts": list(certificate.hosts),
        "warnings": [each for each in warnings if each is not None],
    }


def _location_json(story: LocationStory) -> dict[str, Any]:
    location = story.location
    return {
        "path": str(location.path),
        "upstream": location.upstream,
        "protocol": str(location.wish.protocol),
        "closed": location.closed,
        "password_file": location.password_file,
        "internal": location.internal,
        "allow": list(location.wish.allow),
        "snippet": location.snippet,
        "override": location.override,
        "containers": [_row_json(each.route) | {"port": each.port} for each in story.containers],
    }


def _row_json(route: Route) -> dict[str, Any]:
    return {
        "container": route.container,
        "upstream": route.upstream,
        "address": route.address,
        "state": route.state,
        "site": route.site,
        "reason": route.reason,
        "detail": route.detail,
        "notices": [notice.detail for notice in route.notices],
    }

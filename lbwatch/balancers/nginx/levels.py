"""
What is written of a part of a plan at each level, less and less. Pure.

What was closed is never opened by it: a site that nginx refuses answers 503 to everyone.
"""

from dataclasses import replace

from lbwatch.core.model import Level, Part, Server, Stream, Upstream
from lbwatch.core.site import OnHttp, Site

REFUSED = "nginx refuses it as it should be"
"""Why such a site is closed; the words of nginx stand beside it, in `Degraded`."""


def at_level(part: Part, level: Level) -> Part | None:
    """Return what is written of a part at a level; `None`: nothing."""
    if level is Level.FULL:
        return part
    if level is Level.OUT:
        return None
    if isinstance(part, Site):
        return _closed(part, keeps_certificate=level is Level.PLAIN)
    if isinstance(part, Stream):
        return replace(part, upstream=_less(part.upstream, level))
    return _less(part, level)


def _less(upstream: Upstream, level: Level) -> Upstream:
    servers = _plain(upstream.servers) if level is Level.PLAIN else ()
    # Whoever is reached by the site of a host alone, which may ask for a password, is not opened to other ways.
    return Upstream(name=upstream.name, servers=servers, has_host=upstream.has_host)


def _plain(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    # Whoever drains takes no new client, and cannot be told so without a parameter.
    stay = (server for server in servers if not server.draining)
    return tuple(Server(address=server.address, port=server.port, container=server.container) for server in stay)


def _closed(site: Site, *, keeps_certificate: bool) -> Site:
    """Return a site that is there, so that no other one gets its requests, and answers 503 to all of them."""
    certificate = site.certificate if keeps_certificate else None
    of_certificate = () if certificate is None else (certificate.path, certificate.key, certificate.chain)
    return Site(
        host=site.host,
        on_http=OnHttp.SERVES,
        certificate=certificate,
        is_default=site.is_default,
        http_port=site.http_port,
        https_port=site.https_port,
        http2=site.http2,
        acme=site.acme,
        closed=site.closed or REFUSED,
        files=tuple(each for each in site.files if each[0] in of_certificate),
    )

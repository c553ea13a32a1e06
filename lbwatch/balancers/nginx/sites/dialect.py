"""
From sites to what a template gets of them: which `server` blocks there are, and what each of them listens on. Pure.

Whoever asks for a host, a port or a protocol that no block is for gets the catch-all: it stands first, so that nginx
takes it for all that fits nowhere, without the word `default_server`, of which the user's own files may have one.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from lbwatch.balancers.nginx.quoting import hidden
from lbwatch.balancers.nginx.sites import words
from lbwatch.balancers.nginx.sites.blocks import LocationBlock, ProxyBlock, ServerBlock, SiteBlock, SiteBlocks, TlsBlock
from lbwatch.balancers.nginx.sites.locations import has_root, is_writable, locations_of
from lbwatch.balancers.nginx.sites.policies import policy
from lbwatch.balancers.nginx.version import Version, takes_http2_alone
from lbwatch.core.site import Certificate, OnHttp, Site, SiteRules

_EVERYWHERE = ("0.0.0.0/0", "::/0")
_HTTPS_PORT = 443
_ACME = "/.well-known/acme-challenge/"

# A name takes two more bytes than it has, in a bucket with two pointers besides (ngx_hash.h); nginx's own bucket is 64.
_BUCKET_OVERHEAD = 18
_DEFAULT_BUCKET = 64

_MAX_FORMAT_BYTES = 4_000  # of one argument; nginx refuses the whole file for a longer one

_SITE, _REDIRECT, _CLOSED = "site", "redirect", "closed"


class SiteDialect:
    """
    Makes of sites what a template gets.

    Args:
        rules: What holds for all of them.

    Raises:
        words.UnwritableError: A folder or a file of them is none that nginx can be given.
    """

    def __init__(self, rules: SiteRules) -> None:
        self._rules = rules
        words.path(rules.acme_root)
        for each in (rules.error_page, rules.proxy_conf, rules.network_internal):
            words.path(each)
        self._default_root = None if rules.default_root is None else words.answer(rules.default_root)
        self._around: _Around | None = None  # of the latest call
        self._known: dict[str, tuple[Site, SiteBlock]] = {}  # by host, likewise

    def blocks(
        self, sites: tuple[Site, ...], *, version: Version | None = None, live: Collection[str] = frozenset()
    ) -> SiteBlocks:
        """
        Return what a template gets.

        Args:
            sites: The first is the catch-all.
            version: Of nginx; `None`: not known.
            live: Names of the upstreams of whose servers nginx's workers are told, so that requests can wait for them.
        """
        around = _Around(sites, rules=self._rules, version=version, live=live, default_root=self._default_root)
        known = self._known if self._around is not None and around.is_like(self._around) else {}
        blocks = {}
        for site in sites:
            before = known.get(site.host)
            # What depends on other sites is made each time: the catch-all, and who leads to another one.
            is_same = before is not None and before[0] is site and site.host and site.redirect_to is None
            blocks[site.host] = before if before is not None and is_same else (site, around.block(site))
        self._around, self._known = around, blocks
        return SiteBlocks(proxy=self._proxy(sites), sites=tuple([block for _, block in blocks.values()]))

    def _proxy(self, sites: Sequence[Site]) -> ProxyBlock:
        rules, tls = self._rules, policy(self._rules.ssl_policy)
        header = "proxy_protocol" if rules.proxy_protocol else "X-Forwarded-For" if rules.trusted_proxies else None
        everywhere = rules.proxy_protocol and not rules.trusted_proxies
        return ProxyBlock(
            compat=rules.compat,
            names_hash=_bucket_size(sites),
            trusts_all=rules.trusts_downstream,
            trusted=rules.trusted_proxies,
            # Where the client is who the header says, the one who connects has another name.
            peer="$realip_remote_addr" if header == "X-Forwarded-For" else "$remote_addr",
            real_ip_header=header,
            # Each connection says by the protocol whose it is; whom nginx does not believe it takes for the client.
            real_ip_from=_EVERYWHERE if everywhere else rules.trusted_proxies,
            headers=words.glob(rules.proxy_conf) if _has_file(sites, rules.proxy_conf) else None,
            acme_root=words.path(rules.acme_root),
            log_format=_log_format(rules),
            access_log=rules.access_log,
            tls_protocols=tls.protocols,
            tls_ciphers=tls.ciphers,
            prefers_server_ciphers=tls.prefers_server_ciphers,
        )


class _Around:
    """What a site's blocks depend on beside the site itself."""

    def __init__(
        self,
        sites: Sequence[Site],
        *,
        rules: SiteRules,
        version: Version | None,
        live: Collection[str],
        default_root: str | None,
    ) -> None:
        self.rules = rules
        self.live = frozenset(live)
        self.default_root = default_root
        self.http2_alone = takes_http2_alone(version)
        self.by_host = {site.host: site for site in sites}
        self.default = next((site for site in sites if site.is_default), None)
        self.catch_all = self.by_host.get("")
        self.pattern_ports = frozenset(
            site.https_port for site in sites if _is_pattern(site) and site.certificate is not None
        )
        self.error_page = rules.error_page if _has_file(sites, rules.error_page) else None

    def is_like(self, other: "_Around") -> bool:
        """Return whether the blocks of a site that is the same are, too."""
        mine, others = (
            (each.live, each.http2_alone, each.default, each.catch_all, each.pattern_ports) for each in (self, other)
        )
        return mine == others

    def block(self, site: Site) -> SiteBlock:
        """Return what a template gets of one site."""
        if not _is_writable(site):
            # Without what it names it might be open.
            site = replace(
                site, certificate=None, clients=None, snippet=None, closed="a path that nginx cannot be given"
            )
        servers = self._catch_all(site) if not site.host else self._servers(site)
        return SiteBlock(host=hidden(site.host) if site.host else "", servers=tuple(servers))

    # -- server blocks

    def _servers(self, site: Site) -> Iterator[ServerBlock]:
        if site.closed is not None or site.redirect_to is not None:
            yield from self._answers(site)
        else:
            yield from self._serves(site)
        yield from self._refuses(site)

    def _serves(self, site: Site) -> Iterator[ServerBlock]:
        has_http, has_https = site.on_http is OnHttp.SERVES, site.certificate is not None
        if site.on_http is OnHttp.REDIRECTS:
            yield replace(self._http(site, kind=_REDIRECT), redirect=_own_https(site), redirect_code=site.redirect_code)
        if not has_http and not has_https:
            return
        locations = locations_of(site, live=self.live)
        yield ServerBlock(
            kind=_SITE,
            name=words.word(site.host),
            listens=(
                *(self._listens(site.http_port, is_default=site.is_default) if has_http else ()),
                *(self._https_listens(site, is_default=site.is_default) if has_https else ()),
            ),
            tls=self._tls(site, site.certificate) if has_https else None,
            acme=site.acme and has_http and not _claims_acme(locations),
            hsts=None if has_http or site.hsts is None else words.word(site.hsts),
            server_tokens=site.server_tokens,
            locations=locations,
            default_root=None if has_root(site) else self.default_root,
            snippet=None if site.snippet is None else words.glob(site.snippet),
        )

    def _answers(self, site: Site) -> Iterator[ServerBlock]:
        """Return the blocks of a host that serves nothing itself: it is closed, or leads to another one."""
        leads = None if site.closed is not None else self._leads_to(site)
        kind = _CLOSED if leads is None else _REDIRECT
        # The path of ACME challenges stays: it may be the way to the certificate that is missing.
        if site.on_http is not OnHttp.REFUSES:
            yield replace(self._http(site, kind=kind), redirect=leads, redirect_code=site.redirect_code)
        if site.certificate is not None:
            https = self._https(site, kind=kind)
            hsts = None if site.hsts is None or site.on_http is OnHttp.SERVES else words.word(site.hsts)
            yield replace(https, redirect=leads, redirect_code=site.redirect_code, hsts=hsts)

    def _leads_to(self, site: Site) -> str | None:
        """Return where a host redirects to; `None`: to none that has an address."""
        target = self.by_host.get(site.redirect_to or "")
        if target is None or not target.host or target.host.startswith("~") or "*" in target.host:
            return None
        if target.certificate is None:
            return f"http://{target.host}{_port_words(target.http_port, usual=80)}"
        return f"https://{target.host}{_port_words(target.https_port, usual=_HTTPS_PORT)}"

    def _refuses(self, site: Site) -> Iterator[ServerBlock]:
        """Return blocks for what a host refuses, where else another host might get it."""
        default = self.default
        if site.on_http is OnHttp.REFUSES:
            yield replace(
                self._http(site, kind=_CLOSED), listens=self._listens(site.http_port), acme=self.rules.acme_unknown
            )
        is_taken = default is not None and default is not site and default.certificate is not None
        is_taken = is_taken and default is not None and default.https_port == site.https_port
        # A pattern may fit its name, too, and has HTTPS.
        is_taken = is_taken or (not _is_pattern(site) and site.https_port in self.pattern_ports)
        if is_taken and site.certificate is None:
            certificate = None if self.catch_all is None else self.catch_all.certificate
            yield ServerBlock(
                kind=_CLOSED,
                name=words.word(site.host),
                listens=self._https_listens(site),
                tls=self._tls(site, certificate),
                server_tokens=site.server_tokens,
            )

    def _catch_all(self, site: Site) -> Iterator[ServerBlock]:
        """Return the blocks for whatever nobody serves, on each port that anybody listens on."""
        every = (site, *self.by_host.values())
        page = None if self.error_page is None else _page(self.error_page)
        http = tuple(each for port in sorted({each.http_port for each in every}) for each in self._listens(port))
        https = tuple(
            each
            for port in sorted({each.https_port for each in every})
            for each in self._listens(port, parameters=self._tls_parameters(http2=_speaks_http2(self.rules)))
        )
        plain = ServerBlock(kind=_CLOSED, name="_", listens=http, server_tokens="off", error_page=page)
        yield replace(plain, acme=self.rules.acme_unknown)
        yield replace(plain, listens=https, tls=self._tls(site, site.certificate))

    # -- their parts

    def _http(self, site: Site, *, kind: str) -> ServerBlock:
        return ServerBlock(
            kind=kind,
            name=words.word(site.host),
            listens=self._listens(site.http_port, is_default=site.is_default),
            acme=site.acme,
            server_tokens=site.server_tokens,
        )

    def _https(self, site: Site, *, kind: str) -> ServerBlock:
        return ServerBlock(
            kind=kind,
            name=words.word(site.host),
            listens=self._https_listens(site, is_default=site.is_default),
            tls=self._tls(site, site.certificate),
            server_tokens=site.server_tokens,
        )

    def _https_listens(self, site: Site, *, is_default: bool = False) -> tuple[str, ...]:
        parameters = self._tls_parameters(http2=site.http2)
        return self._listens(site.https_port, parameters=parameters, is_default=is_default)

    def _tls_parameters(self, *, http2: bool) -> str:
        return " ssl http2" if http2 and not self.http2_alone else " ssl"

    def _listens(self, port: int, *, parameters: str = "", is_default: bool = False) -> tuple[str, ...]:
        after = f"{parameters}{' default_server' if is_default else ''}"
        after += " proxy_protocol" if self.rules.proxy_protocol else ""
        return (f"{port}{after}", f"[::]:{port}{after}") if self.rules.ipv6 else (f"{port}{after}",)

    def _tls(self, site: Site, certificate: Certificate | None) -> TlsBlock:
        http2 = self.http2_alone and (site.http2 if site.host else _speaks_http2(self.rules))
        if certificate is None:
            return TlsBlock()
        # Of what is closed nobody gets anything, with a certificate or without; and the CA may be why it is closed.
        clients = site.clients if site.closed is None else None
        return TlsBlock(
            certificate=words.path(certificate.path),
            key=words.path(certificate.key),
            chain=None if certificate.chain is None else words.path(certificate.chain),
            dhparam=None if certificate.dhparam is None else words.path(certificate.dhparam),
            client_ca=None if clients is None else words.path(clients.ca),
            client_crl=None if clients is None or clients.crl is None else words.path(clients.crl),
            verify_client="off" if clients is None else clients.verify,
            http2=http2,
        )


def _is_pattern(site: Site) -> bool:
    return site.host.startswith("~") or "*" in site.host


def _speaks_http2(rules: SiteRules) -> bool:
    return rules.of_host.http2 is not False


def _own_https(site: Site) -> str:
    return f"https://$host{_port_words(site.https_port, usual=_HTTPS_PORT)}"


def _port_words(port: int, *, usual: int) -> str:
    return "" if port == usual else f":{port}"


def _claims_acme(locations: Iterable[LocationBlock]) -> bool:
    """Return whether a container serves the path of ACME challenges itself."""
    # As it is written, since a path that is stripped has another one below it.
    return any(each.match in (_ACME, f"^~ {_ACME}") for each in locations)


def _is_writable(site: Site) -> bool:
    certificate, clients = site.certificate, site.clients
    named: list[str | None] = [site.snippet]
    if certificate is not None:
        named += [certificate.path, certificate.key, certificate.chain, certificate.dhparam]
    if clients is not None:
        named += [clients.ca, clients.crl]
    return all(words.is_writable(path) for path in named if path is not None) and is_writable(site)


def _has_file(sites: Sequence[Site], path: str) -> bool:
    return any(path == named for site in sites if not site.host for named, _ in site.files)


def _page(path: str) -> tuple[str, str]:
    folder, name = os.path.split(path)
    return words.path(folder or "/"), words.word(f"/{name}")


def _bucket_size(sites: Sequence[Site]) -> int | None:
    """Return how large the buckets of nginx's table of names must be for the longest; `None`: as by default."""
    longest = max((len(site.host) for site in sites if not site.host.startswith("~")), default=0)
    size = _DEFAULT_BUCKET
    while longest + _BUCKET_OVERHEAD > size:
        size *= 2
    return size if size > _DEFAULT_BUCKET else None


def _log_format(rules: SiteRules) -> str | None:
    """Return what `log_format vhost` takes; `None`: nothing of the operator's, or more than nginx takes."""
    if rules.log_format is None or len((written := words.word(rules.log_format)).encode()) > _MAX_FORMAT_BYTES:
        return None
    return f"escape={rules.log_escape} {written}" if rules.log_escape != "default" else written

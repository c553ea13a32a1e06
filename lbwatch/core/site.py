"""
The words of sites, as frozen values: which host is served how, by which paths, with which files.

A `SiteWish` is what one container asks for; a `Site` is what should be served, with every certificate, snippet and
password file chosen already: whoever writes it for a load balancer looks at no disk. Nothing here decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote

SITE_MARK = "~host "
"""How the name of a site begins among the parts of a plan; no upstream's name has such a character."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Https(StrEnum):
    """
    What plain HTTP and HTTPS get.

    `AUTO` is `REDIRECT` where the host has a certificate, and HTTP alone where it has none. `BOTH` serves both, `ONLY`
    has plain HTTP refused, `OFF` has no HTTPS.
    """

    AUTO = "auto"
    REDIRECT = "redirect"
    BOTH = "both"
    ONLY = "only"
    OFF = "off"


class OnHttp(StrEnum):
    """What a request over plain HTTP gets."""

    SERVES = "serves"
    REDIRECTS = "redirects"
    REFUSES = "refuses"


class Protocol(StrEnum):
    """What a site's program speaks; its certificate is not verified."""

    HTTP = "http"
    HTTPS = "https"
    GRPC = "grpc"
    GRPCS = "grpcs"


class Match(StrEnum):
    """How a path is compared, by the modifier of nginx's `location`: https://nginx.org/r/location."""

    PREFIX = ""
    PREFIX_FIRST = "^~"
    EXACT = "="
    REGEXP = "~"
    REGEXP_ANY_CASE = "~*"

    @property
    def is_regexp(self) -> bool:
        """Whether its text is a regular expression, and no path."""
        return self in (Match.REGEXP, Match.REGEXP_ANY_CASE)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SitePath:
    """
    Which requests of a host are meant.

    Attributes:
        text: A path, which begins with a slash, or of a regexp its text, without the modifier; checked.
        match: How it is compared.
    """

    text: str = "/"
    match: Match = Match.PREFIX

    def __str__(self) -> str:
        return f"{self.match} {self.text}".strip()

    @property
    def spellings(self) -> tuple[str, ...]:
        """
        Return the ways in which nginx takes it, the usual one first: behind a modifier there need be no space.

        The names of users' files are made of one of them, and a password file must not be missed.
        """
        return (str(self), f"{self.match}{self.text}") if self.match else (self.text,)

    @property
    def compared(self) -> tuple[Match, str]:
        """
        Return what two paths have in common that are one to nginx, which refuses the second of them.

        `^~ /x` is `/x` to it, and so is `/%78`, since what is asked for is compared without characters as numbers.
        """
        if self.match.is_regexp:
            return self.match, self.text
        return Match.PREFIX if self.match is Match.PREFIX_FIRST else self.match, self.decoded

    @property
    def decoded(self) -> str:
        """Return a path with no character written by its number, if that is a text without control characters."""
        try:
            plain = unquote(self.text, errors="strict")
        except UnicodeDecodeError:
            return self.text
        return self.text if _CONTROL.search(plain) else plain


ROOT = SitePath()
"""All of a host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWish:
    """
    What a container asks of a whole host; `None` everywhere: no opinion, so that the proxy's own default holds.

    Attributes:
        https: What plain HTTP and HTTPS get.
        is_lenient: Whether `REDIRECT` and `ONLY` serve plain HTTP where there is no certificate, as nginx-proxy does.
        certificate: Name of the one to take; it is no fallback, but the only one.
        trusts_default: Whether the default certificate may be taken.
        redirect_from: Hosts whose requests are all redirected to this one.
        hsts: The value of Strict-Transport-Security; empty: none is sent.
        redirect_code: Of a redirect to https of a request that is neither GET nor HEAD.
        http_port: Port that its plain HTTP listens on.
        https_port: Likewise.
        server_tokens: What nginx's `server_tokens` takes.
        verifies_client: What nginx's `ssl_verify_client` takes, where there is a CA's certificate for the host.
        http2: Whether HTTP/2 is spoken.
        acme: Whether the path of ACME challenges is served over plain HTTP.
    """

    https: Https | None = None
    is_lenient: bool | None = None
    certificate: str | None = None
    trusts_default: bool | None = None
    redirect_from: tuple[str, ...] = ()
    hsts: str | None = None
    redirect_code: int | None = None
    http_port: int | None = None
    https_port: int | None = None
    server_tokens: str | None = None
    verifies_client: str | None = None
    http2: bool | None = None
    acme: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationWish:
    """
    What a container asks of one path of a host.

    Attributes:
        protocol: What it speaks.
        dest: What the program sees in the place of the path; `None`: the path as it came.
        strips_path: Whether the program sees the rest of the path only, as if the path were its root.
        auth: Name of a password file; `None`: the one named as the host and path, or the host, if there is one.
        allow: CIDRs that are let in; empty: all are.
        is_internal: Whether only the networks of nginx's own list are let in (NETWORK_ACCESS=internal).
        body_size: The largest body, as nginx writes sizes; `None`: nginx's default, 0: any.
        read_timeout_s: Seconds without a byte from the program until nginx gives up; `None`: nginx's default.
        buffering: Whether nginx collects what comes from both sides before it passes it on; `None`: its default.
        keeps_connections: Whether connections to the program are kept; else it is told `Connection: close`.
    """

    protocol: Protocol = Protocol.HTTP
    dest: str | None = None
    strips_path: bool = False
    auth: str | None = None
    allow: tuple[str, ...] = ()
    is_internal: bool = False
    body_size: str | None = None
    read_timeout_s: int | None = None
    buffering: bool | None = None
    keeps_connections: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteWish:
    """
    What one container asks for at one path of one host.

    Attributes:
        host: In lower case: a name, `*.name`, `name.*`, `~regexp`, an IPv4 address, or `[IPv6]`; checked.
        of_host: What it asks of all of the host.
        of_location: What it asks of the path.
        is_compat: Whether nginx-proxy's variables ask for it: then it shares its pool with whoever asks for the same.
    """

    host: str
    path: SitePath = ROOT
    of_host: HostWish = field(default_factory=HostWish)
    of_location: LocationWish = field(default_factory=LocationWish)
    is_compat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteAsk:
    """
    A wish, who has it, and which upstream would serve it.

    Attributes:
        container: Name of the container.
        rank: Its engine's order, its creation, its id, and the place of the wish among its own: of those that differ
            the lowest one counts.
        upstream: Name of the upstream.
    """

    container: str
    rank: tuple[int, int, str, int]
    upstream: str
    wish: SiteWish

    @property
    def id(self) -> str:
        """Return the container's id."""
        return self.rank[2]

    @property
    def age(self) -> tuple[int, int, str]:
        """Return what puts the oldest container first, see `Container.age`."""
        return self.rank[:3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """
    A certificate with its key, as files that nginx can be given.

    Attributes:
        name: Of its files, without `.crt`.
        path: Of the certificate, with the chain behind it.
        key: Path of its key.
        chain: Path of the chain for OCSP; `None`: there is none.
        dhparam: Path of its Diffie-Hellman parameters, likewise.
        hosts: For whom it is, as it says: DNS names and addresses.
        expires_at: Until when, seconds since the epoch; `None`: that cannot be read.
        error: Why nginx could not use it, in words: the key is another one's, say; `None`: it can.
    """

    name: str
    path: str
    key: str
    chain: str | None = None
    dhparam: str | None = None
    hosts: tuple[str, ...] = ()
    expires_at: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificates:
    """
    Which certificates clients have to show.

    Attributes:
        ca: Path of the certificates that sign theirs.
        crl: Path of the list of those that are revoked; `None`: there is none.
        verify: What nginx's `ssl_verify_client` takes.
    """

    ca: str
    crl: str | None = None
    verify: str = "on"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFiles:
    """
    The files that sites are made with, as they are on disk now.

    Attributes:
        certificates: By name; those without a key are not among them.
        lone: Names of certificates whose key is missing, and of keys whose certificate is.
        snippets: Digests of the files in `vhost_dir`, by their name.
        passwords: Likewise of `htpasswd_dir`.
        others: Digests by path of further files that blocks name: CAs' and revocation lists in `cert_dir`, and what
            nginx-proxy knows by its path (/etc/nginx/proxy.conf, /etc/nginx/network_internal.conf, its 50x page).
        digests: By path, of all of the above, certificates and keys included.
        errors: By path, why what is there cannot be used, in words: no regular file, too large, a link to nowhere. Of a
            folder: why its files cannot be known now.
        unknown: Folders, and paths that are known by themselves, of which nothing was ever known; `errors` says why.
            That a file is not among those of such a folder does not mean that it is not there.
        spelled: Paths of files, and names of certificates, that are written with capitals, by the same in lower case,
            where nothing is called that.
    """

    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    lone: tuple[str, ...] = ()
    snippets: Mapping[str, str] = field(default_factory=dict)
    passwords: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    spelled: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRules:
    """
    What settings say about all sites, and with `compat` the proxy's own environment.

    Attributes:
        compat: Whether nginx-proxy's variables and labels are understood.
        cert_dir: Folder of certificates, as nginx sees it; likewise the next two.
        vhost_dir: Folder of snippets.
        htpasswd_dir: Folder of password files.
        default_host: Who gets requests for hosts that nobody serves; `None`: they get 503.
        default_root: What a host without a location for `/` answers there, as nginx's `return` takes it; `None`: what
            nginx itself would.
        of_host: What holds for a host whose containers say nothing else.
        http_port: Port for plain HTTP.
        https_port: Likewise.
        ipv6: Whether nginx listens on IPv6 too.
        prefers_ipv6: Whether a program is reached by IPv6 where it has both.
        acme_unknown: Whether the path of ACME challenges is served for hosts that nobody serves.
        trusts_downstream: Whether forwarded headers of any client are passed on, as nginx-proxy does.
        trusted_proxies: CIDRs of the proxies before nginx whose forwarded headers are passed on.
        proxy_protocol: Whether who connects sends the PROXY protocol first.
        ssl_policy: `modern`, `intermediate` or `old`, as Mozilla has them.
        acme_root: Folder that ACME challenges are served from.
        error_page: Path of the page for 5xx of hosts that nobody serves; used if it is there.
        proxy_conf: Path of the file that replaces all headers to programs; used if it is there.
        network_internal: Path of the file that says which networks are internal.
        access_log: Whether requests are logged; `log_format` is its format, `None`: nginx-proxy's.
        log_escape: How nginx escapes what it logs: `default`, `json` or `none`.
    """

    compat: bool = False
    cert_dir: str = "/etc/nginx/certs"
    vhost_dir: str = "/etc/nginx/vhost.d"
    htpasswd_dir: str = "/etc/nginx/htpasswd"
    default_host: str | None = None
    default_root: str | None = "404"
    of_host: HostWish = field(default_factory=HostWish)
    http_port: int = 80
    https_port: int = 443
    ipv6: bool = False
    prefers_ipv6: bool = False
    acme_unknown: bool = True
    trusts_downstream: bool = False
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False
    ssl_policy: str = "intermediate"
    acme_root: str = "/usr/share/nginx/html"
    error_page: str = "/usr/share/nginx/html/errors/50x.html"
    proxy_conf: str = "/etc/nginx/proxy.conf"
    network_internal: str = "/etc/nginx/network_internal.conf"
    access_log: bool = True
    log_format: str | None = None
    log_escape: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """
    One path of a host, as it should be served.

    Attributes:
        path: Which requests.
        upstream: Name of the one that they go to.
        wish: How they are passed on.
        password_file: Path of the file with who may come in; `None`: anyone.
        realm: What the browser shows then.
        snippet: Path of a file that nginx reads at the end of the location; `None`: none.
        override: Path of a file that nginx reads instead of the location.
        internal: Path of the file that says which networks are let in; `None`: all are.
        closed: Why everyone gets 503 here, in words; `None`: nobody does. What was closed is not opened because a part
            of it fails.
    """

    path: SitePath
    upstream: str
    wish: LocationWish = field(default_factory=LocationWish)
    password_file: str | None = None
    realm: str = ""
    snippet: str | None = None
    override: str | None = None
    internal: str | None = None
    closed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """
    One host, as it should be served.

    Attributes:
        host: See `SiteWish`; empty: all that nobody serves, which get 503.
        locations: Sorted by path; at most one each. None of a host that only redirects.
        on_http: What plain HTTP gets.
        certificate: Of its HTTPS; `None`: it has none, and the handshake is refused.
        is_default: Whether it gets requests for unknown hosts too.
        redirect_to: Host that all its requests are redirected to; `None`: it serves.
        http_port: Port for plain HTTP.
        https_port: Likewise.
        hsts: The value of Strict-Transport-Security; `None`: it is not sent.
        redirect_code: Of a redirect to https of a request that is neither GET nor HEAD.
        http2: Whether HTTP/2 is spoken.
        server_tokens: What nginx's directive takes; `None`: nginx's default.
        acme: Whether the path of ACME challenges is served over plain HTTP.
        clients: Which certificates clients have to show; `None`: none.
        snippet: Path of a file that nginx reads at the end of its server blocks; `None`: none.
        closed: Why all of it answers 503, in words; `None`: it does not.
        files: Path and digest of every file that its blocks name, sorted: it is another site once one of them changes.
    """

    host: str
    locations: tuple[Location, ...] = ()
    on_http: OnHttp = OnHttp.SERVES
    certificate: Certificate | None = None
    is_default: bool = False
    redirect_to: str | None = None
    http_port: int = 80
    https_port: int = 443
    hsts: str | None = None
    redirect_code: int = 301
    http2: bool = True
    server_tokens: str | None = None
    acme: bool = True
    clients: ClientCertificates | None = None
    snippet: str | None = None
    closed: str | None = None
    files: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Return its name among the parts of a plan, by which it is told from an upstream."""
        return f"{SITE_MARK}{self.host}"

"""
What a template gets of sites, as frozen values.

Texts are nginx's words as they are, checked, and in quotes where nginx needs them: a template writes them, it does not
change them. Nothing here decides.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationBlock:
    """
    One `location` block.

    Attributes:
        match: What stands behind `location`: a path, with its modifier, or a name such as `@again`.
        upstream: Who gets the requests; of a name, the upstream's.
        directive: `proxy_pass` or `grpc_pass`.
        target: What it takes: `http://web`, or with a path where the program sees another one.
        rewrite: What `rewrite` takes before; `None`: nothing is rewritten.
        hold: What `$lbwatch_hold` is set to, so that requests can wait (docs/live.md).
        again: Name of the location where a request that no server could be brought to waits; `None`: it does not.
        is_again: Whether this is such a location.
        closed: Whether everyone gets 503.
        override: A file that is read in its place, for `include`; `None`: there is none.
        realm: What the browser shows where a password is needed; `None`: none is.
        password_file: The file with who may come in.
        allow: Networks that are let in; empty: all are.
        internal: A file that says which networks are let in, for `include`; `None`: there is none.
        body_size: The largest body; `None`: nginx's default, as for the next two.
        read_timeout_s: Seconds without a byte from the program.
        buffering: Whether nginx collects what comes from both sides.
        keeps_connections: Whether connections to the program are kept.
        snippet: A file of the user's at the end of the block, for `include`; `None`: there is none.
    """

    match: str
    upstream: str
    directive: str
    target: str
    rewrite: str | None
    hold: str
    again: str | None
    is_again: bool
    closed: bool
    override: str | None
    realm: str | None
    password_file: str | None
    allow: tuple[str, ...]
    internal: str | None
    body_size: str | None
    read_timeout_s: int | None
    buffering: bool | None
    keeps_connections: bool
    snippet: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsBlock:
    """
    What a `server` block has for TLS.

    Attributes:
        certificate: Path of the certificate; `None`: handshakes are refused.
        key: Path of its key.
        chain: Path of the chain for OCSP; `None`: there is none, as for the next.
        dhparam: Path of Diffie-Hellman parameters.
        client_ca: Path of the certificates that sign those of clients; `None`: clients need none.
        client_crl: Path of the list of those that are revoked; `None`: there is none.
        verify_client: What `ssl_verify_client` takes.
        http2: Whether HTTP/2 is switched on by a line of its own; older nginx have it in `listen`.
    """

    certificate: str | None = None
    key: str | None = None
    chain: str | None = None
    dhparam: str | None = None
    client_ca: str | None = None
    client_crl: str | None = None
    verify_client: str = "off"
    http2: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBlock:
    """
    One `server` block of a site.

    Attributes:
        kind: `site` serves, `redirect` redirects all requests, `closed` answers all of them with 503.
        name: What `server_name` takes.
        listens: What each `listen` takes.
        tls: `None`: it is for plain HTTP alone.
        acme: Whether the path of ACME challenges is served.
        redirect: Where a `redirect` leads, without the path: `https://$host`.
        redirect_code: Of its answer to a request that is neither GET nor HEAD.
        hsts: The value of Strict-Transport-Security; `None`: it is not sent.
        server_tokens: What nginx's directive takes; `None`: nginx's default.
        locations: Of a `site`.
        default_root: What `return` takes for what no location is for; `None`: nothing is written.
        error_page: Folder and path of the page for 5xx; `None`: nginx's own.
        snippet: A file of the user's at the end of the block, for `include`; `None`: there is none.
    """

    kind: str
    name: str
    listens: tuple[str, ...]
    tls: TlsBlock | None = None
    acme: bool = False
    redirect: str | None = None
    redirect_code: int = 301
    hsts: str | None = None
    server_tokens: str | None = None
    locations: tuple[LocationBlock, ...] = ()
    default_root: str | None = None
    error_page: tuple[str, str] | None = None
    snippet: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteBlock:
    """
    One host, with all of its `server` blocks.

    Attributes:
        host: As its containers say it: of a regular expression the text, quoted where nginx needs it; empty: whatever
            nobody serves, which comes first.
        servers: Its blocks.
    """

    host: str
    servers: tuple[ServerBlock, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyBlock:
    """
    What holds for all sites.

    Attributes:
        compat: Whether nginx-proxy's names are needed, which files of its users may lean on.
        names_hash: What `server_names_hash_bucket_size` takes; `None`: nginx's default is enough.
        trusts_all: Whether forwarded headers of any client are passed on.
        trusted: Networks whose forwarded headers are passed on.
        peer: nginx's variable with the address of who connects, or is said to by the PROXY protocol.
        real_ip_header: What `real_ip_header` takes; `None`: the client is who connects.
        real_ip_from: Networks that are believed who the client is.
        headers: A file that replaces all headers to programs, for `include`; `None`: there is none.
        acme_root: Folder that ACME challenges are served from.
        log_format: What `log_format vhost` takes; `None`: nginx-proxy's.
        access_log: Whether requests are logged; without `compat`, as your own lines for all of http say.
        tls_protocols: What `ssl_protocols` takes.
        tls_ciphers: What `ssl_ciphers` takes; `None`: the library's own.
        prefers_server_ciphers: Whether its order counts, and not the client's.
    """

    compat: bool = False
    names_hash: int | None = None
    trusts_all: bool = False
    trusted: tuple[str, ...] = ()
    peer: str = "$remote_addr"
    real_ip_header: str | None = None
    real_ip_from: tuple[str, ...] = ()
    headers: str | None = None
    acme_root: str = ""
    log_format: str | None = None
    access_log: bool = True
    tls_protocols: str = ""
    tls_ciphers: str | None = None
    prefers_server_ciphers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteBlocks:
    """
    All that a template gets of sites.

    Attributes:
        proxy: What holds for all.
        sites: By host; the first is for what nobody serves.
    """

    proxy: ProxyBlock
    sites: tuple[SiteBlock, ...] = field(default=())

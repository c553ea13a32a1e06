"""
From what is asked of one host to the site that should be served, with every file chosen.

Never weaker: what a file should close, and the file cannot be used, is closed for everyone.
"""

from dataclasses import dataclass, replace

from lbwatch.core.model import Notice, Route
from lbwatch.core.site import (
    Certificate,
    ClientCertificates,
    HostWish,
    Https,
    Location,
    OnHttp,
    Site,
    SiteFiles,
    SitePath,
    SiteRules,
)
from lbwatch.core.sites import shelf
from lbwatch.core.sites.certificates import DEFAULT, Choice, certificate_of
from lbwatch.core.sites.merging import Claimed, Merged
from lbwatch.core.sites.report import reported
from lbwatch.core.sites.shelf import Shelf


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """
    One host, as it was built last.

    Attributes:
        site: As it should be served.
        wish: What is asked of it, with what holds where nobody has an opinion.
        choice: Which certificate it has, and why.
        routes: Of the containers that do not get it, or a path of it.
        notices: Each with the name of the container that it is for.
    """

    site: Site
    wish: HostWish
    choice: Choice
    routes: tuple[Route, ...] = ()
    notices: tuple[tuple[str, Notice], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where a host listens, and which of its wishes for that are not used, in words."""

    http: int
    https: int
    dropped: tuple[str, ...] = ()


def with_defaults(wish: HostWish, default: HostWish) -> HostWish:
    """Return a wish with what holds where nobody has an opinion."""
    mine = {name: value for name in HostWish.__slots__ if (value := getattr(wish, name)) not in (None, ())}
    return replace(default, **mine)


def served(merged: Merged, *, rules: SiteRules, files: SiteFiles, ports: Ports) -> Served:
    """
    Return the site of one host, and what its containers should know of it.

    Args:
        merged: What they ask of it.
        rules: What holds for all sites.
        files: What there is.
        ports: Where it listens.
    """
    host, wish = merged.host, with_defaults(merged.wish, rules.of_host)
    shelf_ = Shelf(files)
    choice = certificate_of(host, files=files, wanted=wish.certificate, trusts_default=wish.trusts_default is not False)
    https = wish.https or Https.AUTO
    tls = None if https is Https.OFF else choice.usable
    on_http = _on_http(https, has_certificate=tls is not None, is_lenient=bool(wish.is_lenient))
    clients, closed = _clients(host, wish, rules=rules, shelf_=shelf_, has_certificate=tls is not None, https=https)
    snippet = shelf_.first(rules.vhost_dir, shelf.snippet_names(host), known=files.snippets)
    if choice.certificate is not None and https is not Https.OFF and choice.usable is None:
        closed = f"certificate {choice.certificate.name} cannot be used: {choice.certificate.error}"
    # Without its certificate, its clients' or its snippet it would be open to whom these keep out.
    closed = closed or shelf_.trouble(snippet) or shelf_.unseen(rules.vhost_dir)
    closed = closed or (None if https is Https.OFF else shelf_.unseen(rules.cert_dir))
    # It says which headers programs get, and they may believe them.
    closed = closed or shelf_.trouble(rules.proxy_conf)
    if tls is not None:
        shelf_.take_certificate(tls)
    locations = tuple(_location(host, each, rules=rules, files=files, shelf_=shelf_) for each in merged.paths)
    site = Site(
        host=host,
        locations=locations,
        on_http=OnHttp.SERVES if closed else on_http,
        certificate=tls,
        is_default=rules.default_host == host,
        http_port=ports.http,
        https_port=ports.https,
        hsts=(wish.hsts or None) if tls is not None and on_http is not OnHttp.SERVES else None,
        redirect_code=wish.redirect_code or 301,
        http2=wish.http2 is not False,
        server_tokens=wish.server_tokens,
        acme=wish.acme is not False,
        clients=clients if tls is not None else None,
        snippet=snippet,
        closed=closed,
        files=shelf_.files,
    )
    routes, notices = reported(merged, site, choice=choice, https=https, dropped=ports.dropped, files=files)
    return Served(site=site, wish=wish, choice=choice, routes=routes, notices=notices)


def _on_http(https: Https, *, has_certificate: bool, is_lenient: bool) -> OnHttp:
    """Return what plain HTTP gets, by the table of sites."""
    if https in (Https.BOTH, Https.OFF):
        return OnHttp.SERVES
    if not has_certificate and (https is Https.AUTO or is_lenient):
        return OnHttp.SERVES
    return OnHttp.REFUSES if https is Https.ONLY else OnHttp.REDIRECTS


def _clients(
    host: str, wish: HostWish, *, rules: SiteRules, shelf_: Shelf, has_certificate: bool, https: Https
) -> tuple[ClientCertificates | None, str | None]:
    """Return which certificates clients have to show, and why the host is closed for want of that, in words."""
    if wish.verifies_client == "off" or https is Https.OFF:
        return None, None
    name = shelf.file_host(host)
    own, everyones = f"{rules.cert_dir}/{name}.ca.crt", f"{rules.cert_dir}/{shelf.GLOBAL_CA}"
    ca = shelf_.other(own, is_exact=False)
    is_own = ca is not None
    ca = ca or shelf_.other(everyones)
    must_show = wish.verifies_client == "on" or is_own
    if ca is None:
        missing = f"its clients have to show certificates, and neither {own} nor {everyones} is there"
        return None, missing if must_show else None
    crl = shelf_.other(f"{rules.cert_dir}/{f'{name}.crl.pem' if is_own else shelf.GLOBAL_CRL}", is_exact=not is_own)
    trouble = shelf_.trouble(ca) or shelf_.trouble(crl)
    # Plain HTTP in its place would let in everyone; who asks for both has said so.
    if trouble is None and must_show and not has_certificate and https is not Https.BOTH:
        trouble = "its clients have to show certificates, which takes HTTPS, and it has no certificate of its own"
    return ClientCertificates(ca=ca, crl=crl, verify=wish.verifies_client or "on"), trouble


def _location(host: str, claimed: Claimed, *, rules: SiteRules, files: SiteFiles, shelf_: Shelf) -> Location:
    """Return one path of a host, closed if a file that it needs is missing."""
    path, wish = claimed.path, claimed.wish
    names = (wish.auth,) if wish.auth is not None else shelf.password_names(host, path)
    passwords = shelf_.first(rules.htpasswd_dir, names, known=files.passwords, is_exact=wish.auth is not None)
    snippet = shelf_.first(rules.vhost_dir, shelf.location_names(host, path), known=files.snippets)
    override = shelf_.first(rules.vhost_dir, shelf.override_names(host, path), known=files.snippets)
    internal = shelf_.other(rules.network_internal) if wish.is_internal else None
    missing = None
    if wish.auth is not None and passwords is None:
        missing = f"its password file {rules.htpasswd_dir}/{wish.auth} is not there"
    elif wish.is_internal and internal is None:
        missing = f"it is for internal networks alone, and {rules.network_internal}, which lists them, is not there"
    return Location(
        path=path,
        upstream=claimed.upstream,
        wish=wish,
        password_file=passwords,
        realm="" if passwords is None else _realm(host, path, passwords, named=wish.auth is not None),
        snippet=snippet,
        override=override,
        internal=internal,
        closed=shelf_.unseen(rules.htpasswd_dir)
        or missing
        or next(filter(None, map(shelf_.trouble, (passwords, internal, snippet, override))), None),
    )


def _realm(host: str, path: SitePath, passwords: str, *, named: bool) -> str:
    """Return what the browser shows that asks for a password."""
    if host.startswith("~"):
        return "Restricted access"
    is_hosts = passwords.lower().endswith(f"/{shelf.file_host(host)}")
    of_path = not named and not is_hosts and not path.match.is_regexp
    return f"Restricted {host}{path}" if of_path else f"Restricted {host}"


def redirect(host: str, *, to: Served, rules: SiteRules, files: SiteFiles) -> Site:
    """
    Return the site of a host whose requests are all redirected.

    Args:
        host: That they come for.
        to: Where they go.
        rules: What holds for all sites.
        files: What there is.
    """
    shelf_ = Shelf(files)
    wish, target = to.wish, to.site
    tls: Certificate | None = None
    if wish.https is not Https.OFF:
        also = to.choice.usable
        trusts = wish.trusts_default is not False
        tls = certificate_of(host, files=files, trusts_default=trusts, also=also).usable
    if tls is not None:
        shelf_.take_certificate(tls)
    return Site(
        host=host,
        redirect_to=target.host,
        on_http=target.on_http,
        certificate=tls,
        is_default=rules.default_host == host,
        http_port=target.http_port,
        https_port=target.https_port,
        hsts=target.hsts if tls is not None else None,
        redirect_code=target.redirect_code,
        http2=target.http2,
        server_tokens=target.server_tokens,
        acme=target.acme,
        files=shelf_.files,
    )


def catch_all(*, rules: SiteRules, files: SiteFiles) -> Site:
    """Return what answers for all hosts that nobody serves, and names the files that hold for all sites."""
    shelf_ = Shelf(files)
    found = files.certificates.get(DEFAULT)
    tls = None if found is None or found.error is not None else found
    if tls is not None:
        shelf_.take_certificate(tls)
    for path in (rules.proxy_conf, rules.error_page):
        if path in files.others:
            shelf_.other(path)
    return Site(
        host="",
        certificate=tls,
        http_port=rules.http_port,
        https_port=rules.https_port,
        http2=rules.of_host.http2 is not False,
        server_tokens="off",
        acme=rules.acme_unknown,
        files=shelf_.files,
    )

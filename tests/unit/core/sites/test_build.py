"""From what is asked of one host to its site: HTTPS by the table, and every file chosen, or the host closed."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from siteworlds import CERTS, PASSWORDS, VHOSTS, certificate, files, hosting, location, served, site, without_sites
from strategies import decide, notices

from lbwatch.core.model import Plan, Reason
from lbwatch.core.site import (
    Certificate,
    ClientCertificates,
    HostWish,
    Https,
    OnHttp,
    SiteAsk,
    SiteFiles,
    SiteRules,
    SiteWish,
)
from lbwatch.core.sites.build import Ports, Served
from lbwatch.core.sites.build import served as built
from lbwatch.core.sites.merging import merged


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def planned(site_files: SiteFiles | None = None, rules: SiteRules | None = None, **labels: str) -> Plan:
    host = labels.pop("host", "a.example")
    return decide(hosting("web", host, **labels), **served(rules, site_files or SiteFiles()))


def wished(wish: HostWish, site_files: SiteFiles | None = None, rules: SiteRules | None = None) -> Served:
    ask = SiteAsk(container="web", rank=(0, 0, "id", 0), upstream="web", wish=SiteWish(host="a.example", of_host=wish))
    ports = Ports(http=80, https=443)
    return built(merged("a.example", [ask]), rules=rules or SiteRules(), files=site_files or SiteFiles(), ports=ports)


def reasons(plan: Plan) -> list[tuple[str, Reason | None]]:
    return [(each.site or "", each.reason) for each in without_sites(plan)]


# -- HTTPS


@pytest.mark.parametrize(
    ("https", "on_http", "has_tls"),
    [
        ("auto", OnHttp.REDIRECTS, True),
        ("redirect", OnHttp.REDIRECTS, True),
        ("both", OnHttp.SERVES, True),
        ("only", OnHttp.REFUSES, True),
        ("off", OnHttp.SERVES, False),
    ],
)
def test_with_a_certificate(https: str, on_http: OnHttp, has_tls: bool) -> None:
    """Each row of the table, as its owner asks."""
    found = site(planned(files("a.example"), https=https), "a.example")
    assert (found.on_http, found.certificate is not None) == (on_http, has_tls)
    assert found.closed is None


@pytest.mark.parametrize(
    ("https", "lenient", "on_http"),
    [
        (Https.AUTO, False, OnHttp.SERVES),
        (Https.BOTH, False, OnHttp.SERVES),
        (Https.OFF, False, OnHttp.SERVES),
        (Https.REDIRECT, False, OnHttp.REDIRECTS),
        (Https.ONLY, False, OnHttp.REFUSES),
        (Https.REDIRECT, True, OnHttp.SERVES),
        (Https.ONLY, True, OnHttp.SERVES),
    ],
)
def test_without_a_certificate(https: Https, lenient: bool, on_http: OnHttp) -> None:
    """Who asks for HTTPS is not served without it, but for nginx-proxy's rule, which is another one."""
    found = wished(HostWish(https=https, is_lenient=lenient)).site
    assert (found.on_http, found.certificate, found.closed) == (on_http, None, None)


@pytest.mark.parametrize("https", ["redirect", "only"])
def test_who_asks_for_https_and_has_no_certificate_learns_it(https: str) -> None:
    """Nobody is served, and the container looks well."""
    plan = planned(files(lone=("a.example",)), https=https)
    assert reasons(plan) == [("a.example/", Reason.NO_CERTIFICATE)]
    assert "a.example.crt" in (without_sites(plan)[0].detail or "")
    assert "its key is missing" in (without_sites(plan)[0].detail or "")


def test_plain_http_is_worth_a_word_only_where_somebody_has_a_certificate() -> None:
    """A warning for each host of whoever has no TLS at all would be noise."""
    assert notices(planned()) == ()
    assert [each.kind for each in notices(planned(files("b.example")))] == ["no-certificate"]
    assert [each.kind for each in notices(planned(https="both"))] == ["no-certificate"]
    assert [each.kind for each in notices(planned(cert="shared"))] == ["no-certificate"]
    assert notices(planned(files("a.example"))) == ()
    assert notices(planned(files("b.example"), https="off")) == ()


def test_a_certificate_that_vanished_is_served_over_http_where_nginx_proxy_would_and_said_loudly() -> None:
    lenient = SiteRules(of_host=HostWish(https=Https.REDIRECT, is_lenient=True))
    plan = planned(rules=lenient)
    assert site(plan, "a.example").on_http is OnHttp.SERVES
    assert [each.kind for each in notices(plan)] == ["no-certificate"]
    # By label it stays closed, whatever the proxy's default is.
    assert site(planned(rules=lenient, https="redirect"), "a.example").on_http is OnHttp.REDIRECTS


@pytest.mark.parametrize("https", ["auto", "redirect", "both", "only"])
def test_a_certificate_that_cannot_be_used_closes_its_host(https: str) -> None:
    """Without it the host would be served in plain text."""
    broken = files(certificate("a.example", error="its key is another one's"), "default")
    plan = planned(broken, https=https)
    found = site(plan, "a.example")
    assert found.certificate is None
    assert found.on_http is OnHttp.SERVES
    assert "its key is another one's" in (found.closed or "")
    assert reasons(plan) == [("a.example/", Reason.NO_CERTIFICATE)]


def test_a_certificate_that_is_not_asked_for_closes_nothing() -> None:
    broken = files(certificate("a.example", error="it is empty"))
    assert site(planned(broken, https="off"), "a.example").closed is None


@pytest.mark.parametrize(
    ("wish", "rules", "hsts"),
    [
        (HostWish(), SiteRules(), None),
        (HostWish(hsts="max-age=1"), SiteRules(), "max-age=1"),
        (HostWish(hsts="max-age=1", https=Https.BOTH), SiteRules(), None),
        (HostWish(hsts="max-age=1", https=Https.OFF), SiteRules(), None),
        (HostWish(), SiteRules(of_host=HostWish(hsts="max-age=2")), "max-age=2"),
        (HostWish(hsts=""), SiteRules(of_host=HostWish(hsts="max-age=2")), None),
    ],
)
def test_hsts_is_sent_where_https_is_the_only_way(wish: HostWish, rules: SiteRules, hsts: str | None) -> None:
    """A browser that has seen it never comes back over plain HTTP."""
    assert wished(wish, files("a.example"), rules).site.hsts == hsts
    assert wished(wish, rules=rules).site.hsts is None


def test_what_a_host_asks_for_beats_what_holds_for_all() -> None:
    rules = SiteRules(of_host=HostWish(redirect_code=308, server_tokens="off", http2=False, acme=False))
    found = wished(HostWish(redirect_code=307, acme=True), files("a.example"), rules).site
    assert (found.redirect_code, found.server_tokens, found.http2, found.acme) == (307, "off", False, True)


def test_the_default_host_is_marked() -> None:
    plan = decide(
        hosting("web", "a.example", redirect_from="b.example"),
        hosting("c", "c.example"),
        **served(SiteRules(default_host="a.example")),
    )
    assert [each.host for each in plan.sites if each.is_default] == ["a.example"]


# -- files


def test_the_snippets_of_a_host_come_before_those_of_all() -> None:
    """By nginx-proxy's names."""
    every = ("a.example", "default", f"a.example_{sha1('/')}_location", "a.example_location", "default_location")
    for number, name in enumerate(every):
        plan = planned(files(snippets=every[number:]))
        found = location(plan, "a.example").snippet if "location" in name else site(plan, "a.example").snippet
        assert found == f"{VHOSTS}/{name}"
        assert (f"{VHOSTS}/{name}", f"{VHOSTS}/{name}"[::-1]) in site(plan, "a.example").files


@pytest.mark.parametrize(
    ("path", "name", "is_read"),
    [
        ("/", "a.example_location_override", True),
        ("/", f"a.example_{sha1('/')}_location_override", True),
        ("/x", f"a.example_{sha1('/x')}_location_override", True),
        ("~ ^/x", f"a.example_{sha1('~ ^/x')}_location_override", True),
        ("/x", "a.example_location_override", False),
        ("/", f"a.example_{sha1('/x')}_location_override", False),
        ("/", "default_location_override", False),
    ],
)
def test_a_location_is_overridden_by_a_file_of_its_own(path: str, name: str, is_read: bool) -> None:
    plan = planned(files(snippets=(name,)), path=path)
    assert location(plan, "a.example", path).override == (f"{VHOSTS}/{name}" if is_read else None)


def test_files_of_a_regexp_are_named_by_its_digest() -> None:
    """A regexp may hold a slash, which no file's name can."""
    host = "~^re/"
    plan = planned(files(snippets=(sha1(host),), passwords=(sha1(host),)), host=host)
    assert site(plan, host).snippet == f"{VHOSTS}/{sha1(host)}"
    found = location(plan, host)
    assert (found.password_file, found.realm) == (f"{PASSWORDS}/{sha1(host)}", "Restricted access")


@pytest.mark.parametrize(
    ("names", "auth", "taken", "realm"),
    [
        ((f"a.example_{sha1('/x')}", "a.example"), None, f"a.example_{sha1('/x')}", "Restricted a.example/x"),
        (("a.example",), None, "a.example", "Restricted a.example"),
        (("staff", "a.example"), "staff", "staff", "Restricted a.example"),
    ],
)
def test_the_nearest_password_file_is_taken(names: tuple[str, ...], auth: str | None, taken: str, realm: str) -> None:
    labels = {"path": "/x"} | ({} if auth is None else {"auth": auth})
    found = location(planned(files(passwords=names), **labels), "a.example", "/x")
    assert (found.password_file, found.realm, found.closed) == (f"{PASSWORDS}/{taken}", realm, None)


def test_a_password_file_that_is_named_and_missing_closes_its_path_alone() -> None:
    """Never without; and no fallback to the host's own, which lets in others."""
    plan = decide(
        hosting("web", "a.example"),
        hosting("api", "a.example", path="/api/", auth="staff"),
        **served(site_files=files(passwords=("other",))),
    )
    assert location(plan, "a.example").closed is None
    assert "staff" in (location(plan, "a.example", "/api/").closed or "")
    assert reasons(plan) == [("a.example/api/", Reason.HOST_REFUSED)]


@pytest.mark.parametrize(
    ("path", "whole"),
    [(f"{VHOSTS}/a.example", True), (f"{VHOSTS}/a.example_location", False), (f"{PASSWORDS}/a.example", False)],
)
def test_a_file_that_cannot_be_used_closes_what_it_is_for(path: str, whole: bool) -> None:
    """It may be just the one that says who is kept out."""
    plan = planned(files(errors={path: "it cannot be read"}))
    closed = site(plan, "a.example").closed if whole else location(plan, "a.example").closed
    assert closed == f"{path} cannot be used: it cannot be read"
    assert reasons(plan) == [("a.example/", Reason.HOST_REFUSED)]


def test_a_file_of_headers_that_cannot_be_used_closes_every_host() -> None:
    """Programs believe what they are told of their clients."""
    path = SiteRules().proxy_conf
    broken = files(errors={path: "it cannot be read"})
    assert site(planned(broken), "a.example").closed == f"{path} cannot be used: it cannot be read"


def internal(site_files: SiteFiles) -> Any:
    wish = SiteWish(host="a.example")
    wish = replace(wish, of_location=replace(wish.of_location, is_internal=True))
    ask = SiteAsk(container="web", rank=(0, 0, "id", 0), upstream="web", wish=wish)
    found = built(merged("a.example", [ask]), rules=SiteRules(), files=site_files, ports=Ports(http=80, https=443))
    return found.site.locations[0]


def test_who_is_for_internal_networks_alone_is_closed_without_their_list() -> None:
    path = SiteRules().network_internal
    assert path in internal(files()).closed
    assert (internal(files(others=(path,))).closed, internal(files(others=(path,))).internal) == (None, path)
    assert "cannot be read" in internal(files(others=(path,), errors={path: "it cannot be read"})).closed


OWN, EVERYONES = f"{CERTS}/a.example.ca.crt", f"{CERTS}/ca.crt"


@pytest.mark.parametrize(
    ("verify", "others", "ca", "crl"),
    [
        (None, (), None, None),
        (None, (OWN, EVERYONES), OWN, None),
        (None, (OWN, f"{CERTS}/a.example.crl.pem"), OWN, f"{CERTS}/a.example.crl.pem"),
        (None, (EVERYONES, f"{CERTS}/ca.crl.pem"), EVERYONES, f"{CERTS}/ca.crl.pem"),
        ("optional", (OWN,), OWN, None),
        ("off", (OWN,), None, None),
    ],
)
def test_clients_show_certificates_where_there_is_a_ca(
    verify: str | None, others: tuple[str, ...], ca: str | None, crl: str | None
) -> None:
    found = wished(HostWish(verifies_client=verify), files("a.example", others=others)).site
    expected = None if ca is None else ClientCertificates(ca=ca, crl=crl, verify=verify or "on")
    assert (found.clients, found.closed) == (expected, None)


@pytest.mark.parametrize(
    ("wish", "site_files", "words"),
    [
        (HostWish(verifies_client="on"), files("a.example"), "neither"),
        (HostWish(), files("a.example", others=(OWN,), errors={OWN: "it is empty"}), "it is empty"),
        (HostWish(), files(others=(OWN,)), "takes HTTPS"),
        (HostWish(https=Https.ONLY, is_lenient=True), files(others=(OWN,)), "takes HTTPS"),
    ],
)
def test_clients_that_should_show_certificates_are_not_let_in_without(
    wish: HostWish, site_files: SiteFiles, words: str
) -> None:
    """Over plain HTTP, or by a CA that cannot be read, anyone would come in."""
    assert words in (wished(wish, site_files).site.closed or "")


def test_all_files_that_its_blocks_name_make_a_site_another_one() -> None:
    """Or a renewed certificate would never be loaded."""
    chained = replace(certificate("a.example"), chain=f"{CERTS}/a.example.chain.pem", dhparam=f"{CERTS}/dh.pem")
    found = files(chained, snippets=("a.example", "default"), passwords=("a.example",), others=(OWN,))
    names = [path for path, digest in site(planned(found), "a.example").files if digest == path[::-1]]
    assert names == sorted(
        [
            *(f"{CERTS}/a.example.{ending}" for ending in ("ca.crt", "chain.pem", "crt", "key")),
            f"{CERTS}/dh.pem",
            f"{PASSWORDS}/a.example",
            f"{VHOSTS}/a.example",
        ]
    )


# -- redirects, and hosts that nobody serves


def test_a_redirect_has_a_certificate_of_its_own() -> None:
    """A browser asks for it before it is redirected."""
    covers = certificate("a.example", hosts=("a.example", "*.b.example"))
    for host, site_files, taken in (
        ("www.a.example", files("www.a.example", "a.example"), "www.a.example"),
        ("www.a.example", files("a.example"), "a.example"),
        ("x.b.example", files(covers), "a.example"),
        ("y.x.b.example", files(covers), None),
        ("x.b.example", files(covers, "b.example"), "b.example"),
        ("c.example", files("a.example", "default"), "default"),
        ("c.example", files("a.example"), None),
    ):
        found = site(planned(site_files, redirect_from=host), host)
        chosen: Certificate | None = found.certificate
        assert (chosen.name if chosen else None) == taken
        assert (found.redirect_to, found.locations, found.closed) == ("a.example", (), None)


def test_a_redirect_goes_as_its_host_does() -> None:
    found = site(planned(files("a.example"), redirect_from="b.example", https="off"), "b.example")
    assert (found.on_http, found.certificate) == (OnHttp.SERVES, None)
    found = site(planned(files("a.example"), redirect_from="b.example"), "b.example")
    assert found.on_http is OnHttp.REDIRECTS


def test_hosts_that_nobody_serves_have_the_default_certificate_if_it_can_be_used() -> None:
    rules = SiteRules(http_port=8080, https_port=8443, acme_unknown=False)
    first = decide(**served(rules, files("default", others=(rules.proxy_conf, rules.error_page)))).sites[0]
    assert (first.host, first.http_port, first.https_port, first.acme) == ("", 8080, 8443, False)
    assert first.certificate == certificate("default")
    assert {rules.proxy_conf, rules.error_page} <= {path for path, _ in first.files}
    broken = files(certificate("default", error="it is empty"))
    assert decide(**served(site_files=broken)).sites[0].certificate is None


@pytest.mark.parametrize("folder", [CERTS, VHOSTS, PASSWORDS])
def test_a_folder_that_nobody_could_look_into_closes_what_it_may_have_a_file_for(folder: str) -> None:
    """At a start a network drive may not answer; what is behind a password must not be open until it does."""
    unseen = replace(files(), errors={folder: "it does not answer"}, unknown=frozenset({folder}))
    plan = planned(unseen)
    closed = site(plan, "a.example").closed or location(plan, "a.example").closed
    assert closed == f"{folder} may have a file for it, and cannot be looked into: it does not answer"
    seen = replace(unseen, unknown=frozenset())  # it was known until then
    plan = planned(seen)
    assert (site(plan, "a.example").closed, location(plan, "a.example").closed) == (None, None)


def test_without_https_no_certificate_is_missed() -> None:
    unseen = replace(files(), errors={CERTS: "Permission denied"}, unknown=frozenset({CERTS}))
    assert site(planned(unseen, https="off"), "a.example").closed is None


def test_files_may_be_written_as_a_host_was_with_capitals() -> None:
    """nginx-proxy looks for them as its variable is written: a password, or a CA, must not be missed for that."""
    upper = f"{CERTS}/A.Example.ca.crt"
    found = replace(
        files("A.Example", passwords=("A.Example", "Team"), snippets=("A.Example", "default"), others=(upper,)),
        spelled={
            "A.Example".lower(): "A.Example",
            f"{CERTS}/a.example.ca.crt": upper,
            f"{PASSWORDS}/a.example": f"{PASSWORDS}/A.Example",
            f"{PASSWORDS}/team": f"{PASSWORDS}/Team",
            f"{VHOSTS}/a.example": f"{VHOSTS}/A.Example",
        },
    )
    made = site(planned(found), "a.example")
    assert made.certificate is not None
    assert made.certificate.name == "A.Example"
    assert made.clients == ClientCertificates(ca=upper)
    assert made.snippet == f"{VHOSTS}/A.Example"
    (only,) = made.locations
    assert (only.password_file, only.realm) == (f"{PASSWORDS}/A.Example", "Restricted a.example")
    # One that is named is that one, and nobody of another list comes in.
    (only,) = site(planned(found, auth="team"), "a.example").locations
    assert only.closed is not None

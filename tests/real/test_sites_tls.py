"""What nginx answers by TLS: which certificate, what plain HTTP gets, redirects, HSTS, and certificates of clients."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from needs import NGINX_NEEDS, need, obtained
from realengine import in_namespace
from sitestage import NEEDS, SiteStage, certificate, location, site, site_stage
from versions import NGINXES, nginx_program

from lbwatch.core.site import Certificate, ClientCertificates, OnHttp, Site, SiteRules

ACME = "/.well-known/acme-challenge/token"
HSTS = "max-age=31536000"
REFUSED = ("HTTP/1.1 400", "HTTP/1.1 421", "")


@pytest.fixture(scope="module", params=list(NGINXES))
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteStage]:
    """Each version of nginx in turn, with its programs."""
    need(*NGINX_NEEDS, *NEEDS)
    program = obtained(nginx_program, request.param)
    with site_stage(tmp_path_factory.mktemp("s"), program=program) as stage:
        stage.write("acme" + ACME, "proof")
        yield stage


@pytest.fixture(scope="module")
def own(stage: SiteStage) -> Certificate:
    """A certificate for a.test."""
    return stage.certificate("a.test")


@pytest.fixture(scope="module")
def default(stage: SiteStage) -> Certificate:
    """The one for whatever has none."""
    return stage.certificate("default.test")


@pytest.fixture(scope="module")
def rules(stage: SiteStage) -> SiteRules:
    """Challenges are in a folder of the stage's, and none is served for unknown hosts."""
    return SiteRules(acme_root=f"{stage.folder}/files/acme", acme_unknown=False)


def shown(stage: SiteStage, name: str, *words: str) -> str:
    """Return whom the certificate is for that nginx shows for a name, or why it shows none."""
    argv = ["openssl", "s_client", "-connect", "127.0.0.1:443", "-servername", name, *words]
    done = subprocess.run(
        in_namespace(stage.namespace, argv), check=False, capture_output=True, text=True, input="", timeout=20
    )
    if "BEGIN CERTIFICATE" not in done.stdout:
        return "unrecognized" if "unrecognized name" in done.stderr else done.stderr
    read = ["openssl", "x509", "-noout", "-ext", "subjectAltName"]
    return (
        subprocess.run(read, check=True, capture_output=True, text=True, input=done.stdout, timeout=20)
        .stdout.splitlines()[1]
        .strip()
    )


def test_each_host_has_its_own_certificate(stage: SiteStage, own: Certificate, default: Certificate) -> None:
    """And unknown ones get the default one with 503, or are refused."""
    other = stage.certificate("b.test")
    sites = (site("a.test", certificate=own), site("b.test", location("shop"), certificate=other), site("c.test"))
    stage.serve(*sites)
    assert [shown(stage, f"{each}.test") for each in "abcx"] == ["DNS:a.test", "DNS:b.test", *["unrecognized"] * 2]
    assert [stage.ask(f"{each}.test", tls=True).said["name"] for each in "ab"] == ["web", "shop"]
    stage.serve(Site(host="", certificate=default), *sites)
    assert [shown(stage, f"{each}.test") for each in "acx"] == ["DNS:a.test", *["DNS:default.test"] * 2]
    for host in ("c.test", "x.test"):
        answer = stage.ask(host, tls=True, more=("--insecure",))
        assert (answer.status, answer.headers["server"]) == (503, "nginx")
    assert stage.warnings == []


def test_a_host_cannot_be_had_by_anothers_certificate_name(stage: SiteStage, own: Certificate) -> None:
    """By the name of one and the Host of another, which has no TLS, nobody gets there."""
    stage.serve(site("a.test", certificate=own), site("c.test", location("shop")))
    assert stage.ask("a.test", tls=True, headers={"Host": "c.test"}).status == 503


# -- plain HTTP: the table of nginx-proxy's HTTPS_METHOD


def test_plain_http_is_redirected(stage: SiteStage, own: Certificate, rules: SiteRules) -> None:
    """But for the path of ACME challenges."""
    stage.serve(site("a.test", certificate=own, on_http=OnHttp.REDIRECTS, hsts=HSTS), rules=rules)
    answer = stage.ask("a.test", "/p%20q?x=y")
    assert (answer.status, answer.headers["location"]) == (301, "https://a.test/p%20q?x=y")
    assert "strict-transport-security" not in answer.headers
    assert stage.ask("a.test", ACME).body == "proof"
    assert stage.ask("a.test", tls=True).headers["strict-transport-security"] == HSTS
    assert stage.ask("a.test", ACME, tls=True).said["path"] == ACME


def test_both_are_served(stage: SiteStage, own: Certificate, rules: SiteRules) -> None:
    """Without HSTS, which would be the end of plain HTTP."""
    stage.serve(site("a.test", certificate=own, hsts=HSTS), rules=rules)
    assert stage.ask("a.test").said["name"] == "web"
    assert stage.ask("a.test", ACME).body == "proof"
    answer = stage.ask("a.test", tls=True)
    assert (answer.said["name"], "strict-transport-security" in answer.headers) == ("web", False)


@pytest.mark.parametrize("is_default", [False, True])
def test_plain_http_is_refused(stage: SiteStage, own: Certificate, rules: SiteRules, is_default: bool) -> None:
    """As unknown hosts are, whoever gets those."""
    other = site("d.test", location("shop"), is_default=is_default)
    stage.serve(site("a.test", certificate=own, on_http=OnHttp.REFUSES, hsts=HSTS), other, rules=rules)
    assert [stage.ask("a.test", path).status for path in ("/", ACME)] == [503, 503]
    assert stage.ask("a.test", tls=True).headers["strict-transport-security"] == HSTS
    stage.serve(site("a.test", certificate=own, on_http=OnHttp.REFUSES), rules=replace(rules, acme_unknown=True))
    assert stage.ask("a.test", ACME).body == "proof", "as for hosts that nobody serves"


@pytest.mark.parametrize("is_default", [False, True])
def test_https_is_not_served(
    stage: SiteStage, default: Certificate, own: Certificate, rules: SiteRules, is_default: bool
) -> None:
    """As for unknown hosts, also where a default host would get those."""
    other = site("d.test", location("shop"), certificate=own, is_default=is_default)
    stage.serve(site("c.test", acme=False), other, rules=rules)
    assert stage.ask("c.test", ACME).said["path"] == ACME, "it is the site's own"
    assert shown(stage, "c.test") == "unrecognized"
    stage.serve(Site(host="", certificate=default), site("c.test"), other, rules=rules)
    assert shown(stage, "c.test") == "DNS:default.test"
    assert stage.ask("c.test", tls=True, more=("--insecure",)).status == 503


def test_without_a_certificate_plain_http_leads_nowhere(stage: SiteStage, rules: SiteRules) -> None:
    """ENABLE_HTTP_ON_MISSING_CERT=false: never in plain text what was to be secret."""
    stage.serve(site("a.test", on_http=OnHttp.REDIRECTS), site("b.test", on_http=OnHttp.REFUSES), rules=rules)
    assert [stage.ask(host).status for host in ("a.test", "b.test")] == [301, 503]
    assert [shown(stage, host) for host in ("a.test", "b.test")] == ["unrecognized"] * 2


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_have_codes_by_their_method(stage: SiteStage, own: Certificate, code: int) -> None:
    """A POST that became a GET would be lost."""
    stage.serve(site("a.test", certificate=own, on_http=OnHttp.REDIRECTS, redirect_code=code))
    found = {each: stage.ask("a.test", method=each).status for each in ("GET", "HEAD")}
    assert found == {"GET": 301, "HEAD": 301}
    for method in ("OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
        answer = stage.ask("a.test", "/x?y", method=method)
        assert (answer.status, answer.headers["location"]) == (code, "https://a.test/x?y"), method
    assert [stage.ask("a.test", method=each).status for each in ("TRACE",)] == [405]
    assert stage.raw(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n")[:12] in ("HTTP/1.1 400", "HTTP/1.1 405")


def test_redirects_know_other_ports(stage: SiteStage, own: Certificate) -> None:
    """And HSTS comes on errors, too."""
    one = site(
        "a.test", location("gone"), certificate=own, on_http=OnHttp.REDIRECTS, hsts=HSTS, http_port=81, https_port=444
    )
    stage.serve(one)
    assert stage.ask("a.test", "/x", port=81).headers["location"] == "https://a.test:444/x"
    answer = stage.ask("a.test", port=444, tls=True)
    assert (answer.status, answer.headers["strict-transport-security"]) == (502, HSTS)


def test_a_host_can_lead_to_another_one(stage: SiteStage, own: Certificate, rules: SiteRules) -> None:
    """www to apex, by its own certificate, and to where that is served."""
    www = stage.certificate("www.a.test")
    leads = Site(host="www.a.test", redirect_to="a.test", certificate=www, on_http=OnHttp.REDIRECTS, redirect_code=308)
    stage.serve(leads, site("a.test", certificate=own, on_http=OnHttp.REDIRECTS), rules=rules)
    for tls in (False, True):
        answer = stage.ask("www.a.test", "/p?q", tls=tls)
        assert (answer.status, answer.headers["location"]) == (301, "https://a.test/p?q")
        assert stage.ask("www.a.test", tls=tls, method="POST").status == 308
    assert stage.ask("www.a.test", ACME).body == "proof"
    plain = Site(host="www.a.test", redirect_to="a.test")
    stage.serve(plain, site("a.test", http_port=8080), rules=rules)
    assert stage.ask("www.a.test", "/p").headers["location"] == "http://a.test:8080/p"
    stage.serve(plain, rules=rules)
    assert stage.ask("www.a.test").status == 503, "to nobody"


# -- TLS itself


def test_a_closed_site_answers_under_its_certificate(stage: SiteStage, own: Certificate, rules: SiteRules) -> None:
    """Without one it shows none, and no other's."""
    stage.serve(site("a.test", certificate=own, closed="why", on_http=OnHttp.REDIRECTS, snippet="/none"), rules=rules)
    assert [stage.ask("a.test", tls=tls).status for tls in (False, True)] == [503, 503]
    assert stage.ask("a.test", ACME).body == "proof"
    stage.serve(site("a.test", closed="why"), site("d.test", certificate=own, is_default=True), rules=rules)
    assert (stage.ask("a.test").status, shown(stage, "a.test")) == (503, "unrecognized")


def test_http2_is_spoken_unless_it_is_switched_off(stage: SiteStage, own: Certificate) -> None:
    """For one host alone from nginx 1.25.1 on."""
    other = stage.certificate("b.test")
    assert stage.version is not None
    is_alone = stage.version.numbers >= (1, 25, 1)
    stage.serve(site("a.test", certificate=own), site("b.test", certificate=other, http2=not is_alone))
    asked = {host: stage.ask(host, tls=True, more=("--http2",)).version for host in ("a.test", "b.test")}
    assert asked == {"a.test": "2", "b.test": "1.1" if is_alone else "2"}
    assert stage.warnings == []
    no = SiteRules()
    no = replace(no, of_host=replace(no.of_host, http2=False))
    stage.serve(site("a.test", certificate=own, http2=False), rules=no)
    assert stage.ask("a.test", tls=True, more=("--http2",)).version == "1.1"


@pytest.mark.parametrize(
    ("name", "taken"),
    [("modern", {"1.3"}), ("intermediate", {"1.2", "1.3"}), ("old", {"1.0", "1.1", "1.2", "1.3"})],
)
def test_the_policy_says_which_tls_is_spoken(stage: SiteStage, own: Certificate, name: str, taken: set[str]) -> None:
    """For known hosts and for all others."""
    stage.serve(site("a.test", certificate=own), rules=SiteRules(ssl_policy=name))
    words = {"1.0": "-tls1", "1.1": "-tls1_1", "1.2": "-tls1_2", "1.3": "-tls1_3"}
    low = ("-cipher", "DEFAULT:@SECLEVEL=0")
    assert {each for each, word in words.items() if shown(stage, "a.test", word, *low) == "DNS:a.test"} == taken


@pytest.fixture(scope="module")
def clients(stage: SiteStage) -> Path:
    """A folder with an authority of clients, one of theirs (`good`), one that was revoked (`bad`), and the list of those."""
    folder = stage.folder / "clients"
    folder.mkdir()

    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)

    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=clients -keyout ca-key.pem -out ca.pem"
    )
    for name in ("good", "bad"):
        certificate(folder, f"{name}.client", name=name)
    (folder / "index.txt").write_text("")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=2\ncertificate=ca.pem\nprivate_key=ca-key.pem\n"
    )
    openssl("ca -config ca.cnf -revoke bad.crt")
    openssl("ca -config ca.cnf -gencrl -out ca.crl.pem")
    return folder


def test_certificates_of_clients_are_checked(stage: SiteStage, own: Certificate, clients: Path) -> None:
    """None 400, one that was revoked 400, a good one 200; also by another host's name."""
    other = stage.certificate("b.test")
    required = ClientCertificates(ca=str(clients / "ca.pem"), crl=str(clients / "ca.crl.pem"))
    stage.serve(
        site("a.test", certificate=own, clients=required, on_http=OnHttp.REDIRECTS), site("b.test", certificate=other)
    )

    def by(name: str) -> tuple[str, ...]:
        return ("--cert", str(clients / f"{name}.crt"), "--key", str(clients / f"{name}.key"))

    assert stage.ask("a.test", tls=True).status == 400
    assert stage.ask("a.test", tls=True, more=by("bad")).status == 400
    assert stage.ask("a.test", tls=True, more=by("good")).said["name"] == "web"
    assert stage.ask("b.test", tls=True).status == 200
    assert stage.ask("b.test", tls=True, headers={"Host": "a.test"}).status == 421
    optional = replace(required, verify="optional")
    stage.serve(site("a.test", certificate=own, clients=optional))
    assert stage.ask("a.test", tls=True).status == 200
    assert stage.ask("a.test", tls=True, more=by("bad")).status == 400


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_with_one_host_opens_no_other(
    stage: SiteStage, own: Certificate, clients: Path, version: str, tmp_path: Path
) -> None:
    """Whoever has no certificate, or one of another authority, is not let in by what was agreed with somebody else."""
    free, other = stage.certificate("free.test"), stage.certificate("other.test")
    authority = ClientCertificates(ca=str(clients / "ca.pem"))
    stage.serve(
        site("a.test", certificate=own, clients=authority),
        site("free.test", certificate=free),
        site("other.test", certificate=other, clients=ClientCertificates(ca=str(stage.authority / "ca.pem"))),
    )
    session = tmp_path / "session"
    theirs = ("-cert", str(clients / "good.crt"), "-key", str(clients / "good.key"))

    def said(host: str, *words: str) -> str:
        argv = ["openssl", "s_client", "-quiet", "-connect", "127.0.0.1:443", "-servername", host, version, *words]
        done = subprocess.run(
            in_namespace(stage.namespace, argv),
            check=False,
            capture_output=True,
            text=True,
            input=f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
            timeout=20,
        )
        return done.stdout[:12]

    for first, words in (("free.test", ()), ("a.test", theirs)):
        assert said(first, "-sess_out", str(session), *words) == "HTTP/1.1 200"
        assert session.exists()
        assert said(first, "-sess_in", str(session), *words) == "HTTP/1.1 200"
        for second in {"a.test", "other.test"} - {first}:
            assert said(second, "-sess_in", str(session)) in REFUSED, f"{first}, then {second}"
        session.unlink()


def test_files_beside_a_certificate_are_used(stage: SiteStage, own: Certificate) -> None:
    """The chain for stapling, and Diffie-Hellman parameters; what nginx cannot use of them it only warns of."""
    folder = Path(own.path).parent
    subprocess.run(
        [
            "openssl",
            "genpkey",
            "-genparam",
            "-algorithm",
            "DH",
            "-pkeyopt",
            "group:ffdhe2048",
            "-out",
            folder / "dh.pem",
        ],
        check=True,
        capture_output=True,
    )
    with_files = replace(own, chain=str(folder / "ca.pem"), dhparam=str(folder / "dh.pem"))
    text = stage.serve(site("a.test", certificate=with_files))
    assert "ssl_dhparam" in text
    assert "ssl_stapling on;" in text
    assert stage.ask("a.test", tls=True).status == 200

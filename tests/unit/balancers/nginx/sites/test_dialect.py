"""From sites to server blocks, and what any text of theirs can do to the file: nothing."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crossplane
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sitestage import location, site
from sitetext import rendered

from lbwatch.balancers.nginx.sites.blocks import ServerBlock
from lbwatch.balancers.nginx.sites.dialect import SiteDialect
from lbwatch.balancers.nginx.sites.words import UnwritableError
from lbwatch.balancers.nginx.version import Version
from lbwatch.core.model import Upstream
from lbwatch.core.site import (
    Certificate,
    ClientCertificates,
    Location,
    Match,
    OnHttp,
    Site,
    SitePath,
    SiteRules,
)
from lbwatch.core.sites import grammar

OWN = Certificate(name="a", path="/c/a.crt", key="/c/a.key")
NEW = Version(numbers=(1, 25, 1), name="1.25.1")
OLD = Version(numbers=(1, 25, 0), name="1.25.0")
CATCH_ALL = Site(host="")


def servers(*sites: Site, rules: SiteRules | None = None, **more: Any) -> dict[str, tuple[ServerBlock, ...]]:
    """The server blocks of each host."""
    blocks = SiteDialect(rules or SiteRules()).blocks((CATCH_ALL, *sites), **more)
    return {str(each.host): each.servers for each in blocks.sites}


def kinds(found: tuple[ServerBlock, ...]) -> list[tuple[str, tuple[str, ...], bool]]:
    return [(each.kind, each.listens, each.tls is not None) for each in found]


# -- which blocks there are


def test_the_catch_all_listens_wherever_somebody_does() -> None:
    """And is no default server by that word: the first block of a port is it anyway."""
    plain, tls = servers(site("a.test", http_port=8080), site("b.test", https_port=8443, certificate=OWN), version=NEW)[
        ""
    ]
    assert (plain.listens, tls.listens) == (("80", "8080"), ("443 ssl", "8443 ssl"))
    assert plain.name == tls.name == "_"
    assert (plain.server_tokens, plain.kind, tls.kind) == ("off", "closed", "closed")
    assert tls.tls is not None
    assert tls.tls.certificate is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, [("site", ("80",), False)]),
        ({"certificate": OWN}, [("site", ("80", "443 ssl"), True)]),
        (
            {"certificate": OWN, "on_http": OnHttp.REDIRECTS},
            [("redirect", ("80",), False), ("site", ("443 ssl",), True)],
        ),
        ({"certificate": OWN, "on_http": OnHttp.REFUSES}, [("site", ("443 ssl",), True), ("closed", ("80",), False)]),
        ({"on_http": OnHttp.REFUSES}, [("closed", ("80",), False)]),
        ({"on_http": OnHttp.REDIRECTS}, [("redirect", ("80",), False)]),
        ({"closed": "why"}, [("closed", ("80",), False)]),
        ({"closed": "why", "certificate": OWN}, [("closed", ("80",), False), ("closed", ("443 ssl",), True)]),
        ({"redirect_to": "b.test"}, [("redirect", ("80",), False)]),
        ({"redirect_to": "nobody.test"}, [("closed", ("80",), False)]),
    ],
)
def test_a_site_has_a_block_for_each_way_in(given: dict[str, Any], wanted: object) -> None:
    """What nginx makes of them is tests/real/test_sites_tls.py's matter."""
    assert kinds(servers(site("a.test", **given), site("b.test"), version=NEW)["a.test"]) == wanted


@pytest.mark.parametrize("host", ["*.b.test", "b.*", "~^b", "", "none.test"])
def test_nobody_is_led_to_what_is_no_name(host: str) -> None:
    """A pattern has no address."""
    (block,) = servers(site("a.test", redirect_to=host), site("*.b.test"), site("b.*"), site("~^b"))["a.test"]
    assert (block.kind, block.redirect) == ("closed", None)


@pytest.mark.parametrize(("version", "listen", "alone"), [(NEW, "443 ssl", True), (OLD, "443 ssl http2", False), (None, "443 ssl http2", False)])  # fmt: skip
def test_http2_is_written_as_each_nginx_takes_it(version: Version | None, listen: str, alone: bool) -> None:
    """A newer one warns of the old way, an older one refuses the new one."""
    (block,) = servers(site("a.test", certificate=OWN, on_http=OnHttp.REFUSES), version=version)["a.test"][:1]
    assert block.listens == (listen,)
    assert block.tls is not None
    assert block.tls.http2 is alone


def test_every_listen_has_what_holds_for_all() -> None:
    """IPv6, the PROXY protocol and the default host."""
    rules = SiteRules(ipv6=True, proxy_protocol=True)
    found = servers(site("a.test", is_default=True, certificate=OWN), rules=rules, version=NEW)
    assert found["a.test"][0].listens == (
        *("80 default_server proxy_protocol", "[::]:80 default_server proxy_protocol"),
        *("443 ssl default_server proxy_protocol", "[::]:443 ssl default_server proxy_protocol"),
    )
    assert found[""][0].listens == ("80 proxy_protocol", "[::]:80 proxy_protocol")


@pytest.mark.parametrize(("chars", "size"), [(46, None), (47, 128), (110, 128), (111, 256), (238, 256), (253, 512)])
def test_the_table_of_names_is_as_large_as_the_longest_needs(chars: int, size: int | None) -> None:
    """A regular expression does not stand in it."""
    blocks = SiteDialect(SiteRules()).blocks((CATCH_ALL, site("x" * chars), site("~" + "y" * 500)))
    assert blocks.proxy.names_hash == size


@pytest.mark.parametrize(
    "given",
    [
        {"certificate": Certificate(name="a", path="/c/$a.crt", key="/c/a.key")},
        {"certificate": Certificate(name="a", path="/c/a.crt", key="/c/a\n.key")},
        {"clients": ClientCertificates(ca="/c/$.ca.crt"), "certificate": OWN},
        {"snippet": "/v/$host"},
        {"locations": (location(password_file="/h/$host"),)},
        {"locations": (location(), location("web", "/x", internal="relative"))},
    ],
)
def test_a_site_with_a_file_that_nginx_cannot_be_given_is_closed(given: dict[str, Any]) -> None:
    """Never without that file."""
    found = servers(Site(host="a.test", **({"locations": (location(),)} | given)))["a.test"]
    assert [(each.kind, each.tls, each.locations, each.snippet) for each in found] == [("closed", None, (), None)]


@pytest.mark.parametrize("name", ["acme_root", "error_page", "proxy_conf", "network_internal"])
def test_a_path_of_the_settings_that_nginx_cannot_be_given_is_refused_at_once(name: str) -> None:
    """And named."""
    with pytest.raises(UnwritableError, match=r"/a/\$b"):
        SiteDialect(SiteRules(**{name: "/a/$b"}))


def test_a_site_that_is_the_same_is_made_once() -> None:
    """Of thousands one changes; but what is around it may, too."""
    dialect, sites = SiteDialect(SiteRules()), (CATCH_ALL, site("a.test"), site("b.test"))
    first = dialect.blocks(sites).sites
    again = dialect.blocks((CATCH_ALL, sites[1], site("b.test", acme=False))).sites
    assert again[1] is first[1]
    assert again[2] is not first[2]
    assert [each.host for each in dialect.blocks(sites[:2]).sites] == ["", "a.test"]
    waiting = dialect.blocks(sites, live={"web"}).sites
    assert waiting[1].servers[0].locations[0].again == "@again"
    newer = dialect.blocks((CATCH_ALL, site("a.test", certificate=OWN)), version=NEW).sites
    assert newer[1].servers[0].listens == ("80", "443 ssl")
    leads = (CATCH_ALL, site("a.test"), Site(host="www.a.test", redirect_to="a.test"))
    assert dialect.blocks(leads).sites[2].servers[0].redirect == "http://a.test"
    assert dialect.blocks((*leads[:1], site("a.test", http_port=81), leads[2])).sites[2].servers[0].redirect == "http://a.test:81"  # fmt: skip


# -- the text


def skeleton(text: str, folder: Path) -> list[Any]:
    """Which directives there are in which blocks, with how many arguments."""
    file = folder / "rendered.conf"
    file.write_text(text)
    answer = crossplane.parse(str(file), single=True, check_ctx=False, check_args=False)
    assert answer["status"] == "ok", answer["errors"]

    def of(block: list[dict[str, Any]]) -> Iterator[Any]:
        for each in block:
            if each["directive"] != "#":
                yield each["directive"], len(each["args"]), list(of(each.get("block", ())))

    return list(of(answer["config"][0]["parsed"]))


PRINTABLE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn", "Co", "Cf", "Zl", "Zp", "Zs")) | st.just(" "), min_size=1, max_size=60)  # fmt: skip
PATHS = st.from_regex(r"\A/(?:[A-Za-z0-9._~!&'()*+,=:@/-]|%[2-7][0-9A-E]){0,40}\Z")
FILES = PRINTABLE.map(lambda text: "/" + text.replace("$", ""))


@st.composite
def hostile(draw: st.DrawFn) -> tuple[Site, Site]:
    """A site with any text that the grammar takes, and one of the same shape with harmless ones."""
    regexp, path = draw(PRINTABLE), draw(PATHS.filter(lambda text: not text.startswith("/x")))
    files = {name: draw(FILES) for name in ("password_file", "snippet", "internal")}
    whole = {"hsts": grammar.hsts("max-age=1; a"), "on_http": OnHttp.REDIRECTS}

    def made(host: str, paths: tuple[SitePath, SitePath], named: dict[str, str], file: str, dest: str) -> Site:
        locations: tuple[Location, ...] = (
            location("web", paths[0], realm=file, **named),
            location("web", paths[1], dest=dest),
            location("web", "/o", override=file),
        )
        certificate = Certificate(name="x", path=file, key=file, chain=file, dhparam=file)
        clients = ClientCertificates(ca=file, crl=file)
        return Site(host=host, locations=locations, certificate=certificate, clients=clients, snippet=file, **whole)

    try:
        host = grammar.host(f"~{regexp}")
        paths = grammar.site_path(f"~ {regexp}"), SitePath(text=path, match=Match.PREFIX)
    except grammar.GrammarError:
        host, paths = "~.", (SitePath(text=".", match=Match.REGEXP), SitePath(text=path))
    plain = SitePath(text="^/x", match=Match.REGEXP), SitePath(text="/x")
    return (
        made(host, paths, files, draw(FILES), "/d" + path),
        made("~^x", plain, dict.fromkeys(files, "/f"), "/f", "/d"),
    )


@settings(deadline=None)
@given(hostile())
def test_no_text_of_a_site_is_more_than_the_word_that_it_is(
    tmp_path_factory: pytest.TempPathFactory, both: tuple[Site, Site]
) -> None:
    """Whoever may start a container must not write nginx's configuration by its name."""
    folder = tmp_path_factory.getbasetemp()
    rules = SiteRules(default_root=None)
    nasty, harmless = (skeleton(rendered((CATCH_ALL, each), rules=rules), folder) for each in both)
    assert nasty == harmless


def test_each_site_begins_with_its_mark() -> None:
    """By which an error's line tells whose it is."""
    lines = rendered((CATCH_ALL, site("a.test"), site(r"~^x\d\"$"), site("[fd00::1]"))).splitlines()
    marks = [line for line in lines if line.startswith("# site")]
    assert marks == ["# site", "# site [fd00::1]", "# site a.test", r"# site ~^x\d\"$"]
    assert lines.index("    server_name a.test;") > lines.index("# site a.test")
    assert [line for line in lines if "default_server" in line] == []


def test_the_same_sites_have_the_same_text() -> None:
    """Whatever their order was."""
    sites = (CATCH_ALL, site("a.test"), site("b.test", certificate=OWN))
    assert rendered(sites) == rendered(sites[::-1])


def test_a_thousand_sites_are_rendered_well_below_a_second() -> None:
    """At each change of any of them."""
    sites = (CATCH_ALL, *(site(f"h{number}.test", certificate=OWN, on_http=OnHttp.REDIRECTS) for number in range(1000)))
    upstreams = (Upstream(name="web"),)
    rendered(sites[:2], upstreams=upstreams)
    began = time.process_time()
    rendered(sites, upstreams=upstreams)
    assert time.process_time() - began < 1.0  # 0.3 s on this machine, with what is made once


@pytest.mark.parametrize(
    ("path", "strips", "is_ours"),
    [
        ("/", False, True),
        ("/.well-known/acme-challenge/", False, False),
        ("/.well-known/acme%2Dchallenge/", False, False),
        ("/.well-known/acme-challenge", True, False),
        ("/.well-known/acme-challenge", False, True),
    ],
)
def test_whoever_serves_the_path_of_acme_challenges_has_it_alone(path: str, strips: bool, is_ours: bool) -> None:
    """nginx refuses the same location twice, and with it the host."""
    (server,) = servers(site("a.test", location("web", path, strips_path=strips)))["a.test"]
    assert server.acme is is_ours


def test_what_is_closed_names_no_file_that_it_may_be_closed_for() -> None:
    """Of a CA that is a pipe nginx would never see the end, and no host at all would change any more."""
    clients = ClientCertificates(ca="/c/a.ca.crt", crl="/c/a.crl.pem")
    closed = site("a.test", location("web"), certificate=OWN, clients=clients, snippet="/v/a.test", closed="a pipe")
    for server in servers(closed)["a.test"]:
        assert (server.kind, server.snippet, server.locations) == ("closed", None, ())
        assert server.tls is None or server.tls.client_ca is server.tls.client_crl is None


@pytest.mark.parametrize("pattern", ["*.test", "~^a"])
def test_a_host_without_https_is_no_patterns_over_https(pattern: str) -> None:
    """Its clients would see another site, under a certificate that may even be for its name."""
    other = site(pattern, location("web"), certificate=OWN)
    plain, tls = servers(site("a.test", location("web")), other)["a.test"]
    assert (plain.kind, plain.tls) == ("site", None)
    assert (tls.kind, tls.name, tls.tls is not None and tls.tls.certificate) == ("closed", "a.test", None)
    assert len(servers(site("a.test", location("web")), site(pattern, location("web")))["a.test"]) == 1


def test_a_host_is_written_anew_once_a_pattern_has_https() -> None:
    """Though nothing of its own is another."""
    dialect, mine = SiteDialect(SiteRules()), site("a.test", location("web"))
    before = dialect.blocks((CATCH_ALL, site("*.test"), mine)).sites[-1]
    after = dialect.blocks((CATCH_ALL, site("*.test", certificate=OWN), mine)).sites[-1]
    assert (len(before.servers), len(after.servers)) == (1, 2)

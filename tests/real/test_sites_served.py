"""What nginx answers by hosts that are served: where a request goes, with which headers, and who is let in."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import wait_until
from needs import NGINX_NEEDS, need, obtained
from sitestage import NEEDS, SiteStage, location, site, site_stage, upstreams
from versions import NGINXES, nginx_program

from lbwatch.core.model import Server, Upstream
from lbwatch.core.site import Match, Protocol, Site, SitePath, SiteRules

ACME = "/.well-known/acme-challenge"


@pytest.fixture(scope="module", params=list(NGINXES))
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteStage]:
    """Each version of nginx in turn, with its programs."""
    need(*NGINX_NEEDS, *NEEDS)
    program = obtained(nginx_program, request.param)
    with site_stage(tmp_path_factory.mktemp("s"), program=program) as stage:
        yield stage


# -- hosts


def test_a_host_is_served_and_unknown_ones_get_503(stage: SiteStage) -> None:
    """Never another site, and never a welcome page."""
    stage.serve(site("a.test"), site("b.test", location("shop")))
    assert stage.ask("a.test").said["name"] == "web"
    assert stage.ask("b.test").said["name"] == "shop"
    assert stage.ask("A.Test").said["name"] == "web"
    for unknown in ("c.test", "x.a.test", "127.0.0.1", "a.test.evil"):
        answer = stage.ask(unknown)
        assert (answer.status, answer.headers["server"]) == (503, "nginx")
    assert stage.raw(b"GET / HTTP/1.0\r\n\r\n").startswith("HTTP/1.1 503 "), "no host at all"
    assert stage.warnings == []


def test_without_any_host_both_ports_answer_so(stage: SiteStage) -> None:
    """A client must be told something else than that nobody listens."""
    stage.serve()
    assert stage.ask("a.test").status == 503
    refused = stage.ask("a.test", tls=True)
    assert (refused.status, "unrecognized name" in refused.error) == (0, True), refused


def test_wildcards_and_regexps_are_hosts_of_lesser_rank(stage: SiteStage) -> None:
    """An exact name comes first, then the longest wildcard, then regexps."""
    stage.serve(
        site("a.test", location("web")),
        site("*.a.test", location("shop")),
        site("b.*", location("api")),
        site(r"~^(x|y)\d{2}\.a\.test$", location("web")),
        site(r"~^r\d{2}[.]\"q\"$|^r\d\.other$", location("api")),
    )
    found = {host: stage.ask(host).said["name"] for host in ("a.test", "x.a.test", "x12.a.test", "b.org", "r1.other")}
    assert found == {"a.test": "web", "x.a.test": "shop", "x12.a.test": "shop", "b.org": "api", "r1.other": "api"}
    assert stage.ask("r1other").status == 503, "the dot of a regexp stays one"


def test_addresses_are_hosts_too(stage: SiteStage) -> None:
    """People try a site by its address."""
    stage.serve(site("172.20.0.1"), site("[fd00::1]", location("shop")))
    assert stage.ask("172.20.0.1").said["name"] == "web"
    assert stage.ask("[fd00::1]").said["name"] == "shop"


def test_the_longest_name_that_there_can_be_is_served(stage: SiteStage) -> None:
    """For a longer one than its table takes nginx refuses the whole file."""
    name = ".".join(["x" * 61] * 4)
    assert len(name) == 247
    for host in (name, f"*.{name}", "y" * 47, "y" * 63 + ".test"):
        text = stage.serve(site(host))
        assert stage.ask(host.replace("*", "z")).status == 200
        assert "server_names_hash_bucket_size" in text
    assert "server_names_hash" not in stage.serve(site("y" * 46)), "nobody's own line is refused for nothing"
    assert stage.ask("y" * 46).status == 200


def test_the_default_host_gets_what_nobody_serves(stage: SiteStage) -> None:
    """But only by the protocol that it has."""
    certificate = stage.certificate("d.test")
    stage.serve(site("d.test", is_default=True), site("a.test", location("shop")))
    assert [stage.ask(host).said["name"] for host in ("d.test", "a.test", "any.test")] == ["web", "shop", "web"]
    assert stage.ask("any.test", tls=True).status == 0
    stage.serve(site("d.test", is_default=True, certificate=certificate), site("a.test", location("shop")))
    assert stage.ask("any.test", tls=True, more=("--insecure",)).said["name"] == "web"
    assert stage.ask("a.test", tls=True, more=("--insecure",)).status == 0, "a host without TLS is nobody else's"


def test_ports_other_than_the_usual_are_listened_on(stage: SiteStage) -> None:
    """And known to the program."""
    certificate = stage.certificate("a.test", "b.test")
    stage.serve(
        site("a.test", http_port=8080, https_port=8443, certificate=certificate),
        site("b.test", certificate=certificate),
    )
    assert stage.ask("a.test", port=8080).seen["host"] == "a.test:8080"
    answer = stage.ask("a.test", port=8443, tls=True)
    assert (answer.seen["host"], answer.seen["x-forwarded-port"]) == ("a.test:8443", "8443")
    assert stage.ask("a.test").status == 503
    assert stage.ask("b.test", port=8080).status == 503, "unknown there"
    assert stage.ask("b.test", tls=True).seen["host"] == "b.test"


def test_ipv6_is_listened_on_where_it_is_asked_for(stage: SiteStage) -> None:
    """Docker hosts without it would not start nginx."""
    stage.serve(site("a.test"), rules=SiteRules(ipv6=True))
    assert stage.ask("a.test", address="::1").seen["x-real-ip"] == "::1"
    stage.serve(site("a.test"))
    assert stage.ask("a.test", address="::1").status == 0


# -- paths


def test_each_path_goes_to_its_own_program(stage: SiteStage) -> None:
    """The longest prefix wins, as nginx has it, and what nobody has is 404."""
    stage.serve(
        site(
            "a.test",
            location("web", "/app/"),
            location("shop", "/app/shop/"),
            location("api", SitePath(text="/exact", match=Match.EXACT)),
            location("api", SitePath(text=r"^/(one|two)/\d{2}$", match=Match.REGEXP)),
            location("shop", SitePath(text=r"\.PNG$", match=Match.REGEXP_ANY_CASE)),
        )
    )
    ways = {"/app/x": "web", "/app/shop/x": "shop", "/exact": "api", "/one/12": "api", "/app/a.png": "shop"}
    assert {path: stage.ask("a.test", path).said["name"] for path in ways} == ways
    assert all(stage.ask("a.test", path).said["path"] == path for path in ways), "as it came"
    assert [stage.ask("a.test", path).status for path in ("/", "/exact/", "/one/1")] == [404, 404, 404]


def test_a_path_can_be_another_one_for_the_program(stage: SiteStage) -> None:
    """As nginx's proxy_pass replaces what fits."""
    stage.serve(
        site(
            "a.test",
            location("web", "/web1/", dest="/"),
            location("web", "/web2", dest="/deep/er"),
            location("web", SitePath(text="/web3", match=Match.EXACT), dest="/three"),
            location("web", "/a%20b/", dest="/"),
        )
    )
    ways = {"/web1/port?q=1": "/port?q=1", "/web2/x": "/deep/er/x", "/web3": "/three", "/a%20b/c": "/c"}
    assert {path: stage.ask("a.test", path).said["path"] for path in ways} == ways


def test_a_stripped_path_is_itself_and_what_is_below_it(stage: SiteStage) -> None:
    """`/x` is not `/xy`, and the program's root is `/x`."""
    stage.serve(
        site("a.test", location("web", "/x", strips_path=True), location("shop", "/"), location("api", "/y/", strips_path=True)),
        site("b.test", location("web", "/x", strips_path=True), location("api", "/x/")),
        site("c.test", location("web", "/", strips_path=True)),
    )  # fmt: skip
    ways = {
        "/x": ("web", "/"), "/x/": ("web", "/"), "/x/a/b?c=d": ("web", "/a/b?c=d"), "/x?c": ("web", "/?c"), "/xy": ("shop", "/xy"),
        "/": ("shop", "/"), "/y/z": ("api", "/z"), "/x/%2e%20%41": ("web", "/.%20A"),
    }  # fmt: skip
    for path, wanted in ways.items():
        said = stage.ask("a.test", path).said
        assert (said["name"], said["path"]) == wanted, path
    said = stage.ask("b.test", "/x/a").said
    assert (said["name"], said["path"]) == ("api", "/x/a"), "who asks for just that has it"
    assert stage.ask("b.test", "/x").said["name"] == "web"
    assert stage.ask("c.test", "/x").said["path"] == "/x"


@pytest.mark.parametrize(
    ("root", "status", "where"),
    [
        ("404", 404, None),
        ("418", 418, None),
        ("301 http://$host/web1$request_uri", 301, "http://a.test/web1/x?y"),
        (None, 404, None),
    ],
)
def test_what_no_path_is_for_gets_the_default_root(
    stage: SiteStage, root: str | None, status: int, where: str | None
) -> None:
    """As nginx-proxy's DEFAULT_ROOT says."""
    text = stage.serve(site("a.test", location("web", "/app/")), rules=SiteRules(default_root=root))
    answer = stage.ask("a.test", "/x?y")
    assert (answer.status, answer.headers.get("location")) == (status, where)
    assert ("location / {\n        return 404;" in text) == (root == "404")
    assert stage.ask("a.test", "/app/").status == 200


def test_an_upstream_without_a_server_is_502_by_its_own_host(stage: SiteStage) -> None:
    """Its other paths go on, and no other site is shown."""
    stage.serve(site("a.test", location("gone"), location("web", "/app/")))
    assert [stage.ask("a.test", path).status for path in ("/", "/app/")] == [502, 200]


def test_a_closed_location_and_a_closed_site_answer_503(stage: SiteStage) -> None:
    """Whatever method and path, and nobody else's requests with it."""
    root = stage.write("acme/.well-known/acme-challenge/token", "proof").removesuffix(f"{ACME}/token")
    rules = SiteRules(acme_root=root)
    stage.serve(
        site("a.test", location("web"), location("shop", "/in/", closed="why", strips_path=True)),
        site("b.test", closed="why"),
        rules=rules,
    )
    assert [stage.ask("a.test", path).status for path in ("/", "/in/", "/in/x")] == [200, 503, 503]
    assert [stage.ask("b.test", method=method).status for method in ("GET", "POST", "HEAD")] == [503] * 3
    assert stage.ask("b.test", f"{ACME}/token").body == "proof", "it may be what it is closed for the lack of"


# -- headers


def test_the_program_is_told_who_asked_for_what(stage: SiteStage) -> None:
    """It sees nginx as its client, else."""
    certificate = stage.certificate("a.test")
    stage.serve(site("a.test", certificate=certificate))
    forged = {
        "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil", "X-Forwarded-Port": "1",
        "X-Forwarded-Ssl": "on", "X-Real-IP": "6.6.6.6", "X-Original-URI": "/evil", "Proxy": "http://evil",
    }  # fmt: skip
    seen = stage.ask("a.test", "/p%20q?x", headers=forged).seen
    assert seen == seen | {
        "host": "a.test", "x-real-ip": "127.0.0.1", "x-forwarded-for": "127.0.0.1", "x-forwarded-host": "a.test",
        "x-forwarded-proto": "http", "x-forwarded-ssl": "off", "x-forwarded-port": "80", "x-original-uri": "/p%20q?x",
    }  # fmt: skip
    assert "proxy" not in seen
    assert "connection" not in seen
    seen = stage.ask("a.test", tls=True).seen
    assert (seen["x-forwarded-proto"], seen["x-forwarded-ssl"], seen["x-forwarded-port"]) == ("https", "on", "443")


def test_lines_for_all_of_http_neither_clash_nor_count(stage: SiteStage) -> None:
    """People have these there: Debian's own nginx.conf, deploy/nginx/nginx.conf and many others."""
    http = """
        ssl_protocols TLSv1.2; ssl_prefer_server_ciphers on; ssl_session_cache shared:SSL:10m; ssl_session_tickets on;
        proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        map $http_upgrade $lbwatch_upgrade { default ""; } map $http_upgrade $connection_upgrade { default upgrade; }
        log_format vhost "$host"; real_ip_header X-Real-IP; set_real_ip_from 127.0.0.1; add_header X-All 1; server_tokens off;
        proxy_buffering off; client_max_body_size 5m; auth_basic off; error_page 404 /404.html;
    """
    stage.serve(site("a.test", certificate=stage.certificate("a.test")), http=http)
    for tls in (False, True):
        answer = stage.ask("a.test", tls=tls, headers={"X-Forwarded-For": "6.6.6.6"})
        assert (answer.seen["host"], answer.seen["x-forwarded-for"]) == ("a.test", "127.0.0.1")
        assert answer.headers["x-all"] == "1"
    assert stage.ask("unknown.test").status == 503
    assert stage.warnings == []


def test_headers_of_any_client_pass_where_nginx_proxy_is_followed(stage: SiteStage) -> None:
    """TRUST_DOWNSTREAM_PROXY is true unless somebody says otherwise."""
    said = {
        "X-Forwarded-For": "9.9.9.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "h",
        "X-Forwarded-Port": "7",
    }
    rules = SiteRules(compat=True, trusts_downstream=True)
    stage.serve(site("a.test"), rules=rules)
    seen = stage.ask("a.test", headers=said | {"X-Forwarded-Ssl": "off"}).seen
    assert seen["x-forwarded-for"] == "9.9.9.9, 127.0.0.1"
    wanted = {"x-forwarded-proto": "https", "x-forwarded-host": "h", "x-forwarded-port": "7", "x-forwarded-ssl": "on"}
    assert seen == seen | wanted
    seen = stage.ask("a.test").seen
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "http")
    stage.serve(site("a.test"), rules=SiteRules(compat=True))
    assert stage.ask("a.test", headers=said).seen["x-forwarded-for"] == "127.0.0.1"


def test_headers_of_a_trusted_proxy_pass_and_no_others(stage: SiteStage) -> None:
    """Who the client is decides about `allow`, so a forged one must not count."""
    said = {"X-Forwarded-For": "6.6.6.6, 9.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "h"}
    closed = site("a.test", location("web", allow=("9.9.9.9/32",)))
    stage.serve(closed, rules=SiteRules(trusted_proxies=("127.0.0.0/8",)))
    seen = stage.ask("a.test", headers=said).seen
    assert seen["x-forwarded-for"] == "6.6.6.6, 9.9.9.9, 127.0.0.1"
    assert (seen["x-real-ip"], seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("9.9.9.9", "https", "h")
    assert stage.ask("a.test").status == 403
    stage.serve(closed, rules=SiteRules(trusted_proxies=("192.0.2.0/24", "2001:db8::/32")))
    assert stage.ask("a.test", headers=said).status == 403
    stage.serve(site("a.test"), rules=SiteRules(trusted_proxies=("192.0.2.0/24",)))
    seen = stage.ask("a.test", headers=said).seen
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("127.0.0.1", "http")


def test_the_proxy_protocol_says_who_the_client_is(stage: SiteStage) -> None:
    """And a request without it is none."""
    stage.serve(site("a.test", location("web", allow=("203.0.113.7/32",))), rules=SiteRules(proxy_protocol=True))
    request = b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n"
    answer = stage.raw(b"PROXY TCP4 203.0.113.7 192.0.2.1 5000 8080\r\n" + request)
    assert '["X-Forwarded-Port", "8080"]' in answer
    assert '["X-Real-IP", "203.0.113.7"]' in answer
    assert '["X-Forwarded-For", "203.0.113.7"]' in answer
    assert stage.raw(b"PROXY TCP4 203.0.113.8 192.0.2.1 5000 80\r\n" + request).startswith("HTTP/1.1 403")
    assert stage.raw(request) == ""
    stage.serve(site("a.test"), rules=SiteRules(proxy_protocol=True))
    assert '["X-Forwarded-Port", "80"]' in stage.raw(b"PROXY UNKNOWN\r\n" + request)


def test_websockets_pass_and_h2c_does_not(stage: SiteStage) -> None:
    """Whoever speaks h2c with a program could be asked past the locations."""
    upgrade = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    for rules, passing, stopped in (
        (SiteRules(), [b"websocket", b"WebSocket"], [b"h2c", b"foo"]),
        (SiteRules(compat=True), [b"websocket", b"foo"], [b"h2c", b"x, H2C"]),
    ):
        stage.serve(site("a.test"), rules=rules)
        for protocol in passing:
            assert stage.raw((upgrade % protocol) + b"hello").endswith("\r\n\r\nhello"), protocol
        for protocol in stopped:
            answer = stage.raw(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, close\r\nUpgrade: %b\r\n\r\n" % protocol)  # fmt: skip
            assert answer.startswith("HTTP/1.1 200"), protocol


def test_connections_can_be_closed_for_each_request(stage: SiteStage) -> None:
    """The label keepalive=disabled; all other headers remain."""
    stage.serve(site("a.test", location("web"), location("web", "/off/", keeps_connections=False)))
    assert "connection" not in stage.ask("a.test").seen
    seen = stage.ask("a.test", "/off/").seen
    assert (seen["connection"], seen["host"], seen["x-real-ip"]) == ("close", "a.test", "127.0.0.1")


def test_a_file_can_replace_all_headers(stage: SiteStage) -> None:
    """/etc/nginx/proxy.conf of nginx-proxy's users, where it is there."""
    conf = stage.write("proxy.conf", "proxy_set_header X-Mine yes;\n")
    rules = SiteRules(proxy_conf=conf)
    stage.serve(Site(host="", files=((conf, "d"),)), site("a.test"), rules=rules)
    seen = stage.ask("a.test").seen
    assert (seen["x-mine"], "x-forwarded-for" in seen, seen["host"]) == ("yes", False, "web")
    stage.serve(site("a.test"), rules=rules)
    assert "x-mine" not in stage.ask("a.test").seen


# -- who is let in, and how much


def test_a_password_is_asked_for(stage: SiteStage) -> None:
    """By the realm that browsers keep it for, whatever stands in the path."""
    passwords = stage.write("ht pass/wd", "u:{PLAIN}p\n")
    closed = {"password_file": passwords, "realm": 'Restricted a.test/"in$x\\'}
    stage.serve(site("a.test", location("web"), location("shop", "/in/", **closed)))
    assert stage.ask("a.test").status == 200
    refused = stage.ask("a.test", "/in/")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="Restricted a.test/inx"')
    assert stage.ask("a.test", "/in/", more=("--user", "u:p")).status == 200
    assert stage.ask("a.test", "/in/", more=("--user", "u:wrong")).status == 401


def test_a_password_file_that_vanished_lets_nobody_in(stage: SiteStage) -> None:
    """Between two looks at the disk it may be gone."""
    passwords = stage.write("vanishing", "u:{PLAIN}p\n")
    stage.serve(site("a.test", location("web", password_file=passwords)))
    Path(passwords).unlink()
    assert stage.ask("a.test", more=("--user", "u:p")).status in (403, 500)


def test_only_some_networks_are_let_in(stage: SiteStage) -> None:
    """Others get 403."""
    listed = stage.write("network internal.conf", "allow 10.0.0.0/8;\ndeny all;\n")
    stage.serve(
        site(
            "a.test",
            location("web", "/in/", allow=("127.0.0.0/8", "2001:db8::/32")),
            location("web", "/out/", allow=("10.0.0.0/8",)),
            location("web", "/internal/", internal=listed),
        )
    )
    assert [stage.ask("a.test", path).status for path in ("/in/", "/out/", "/internal/")] == [200, 403, 403]


def test_bodies_times_and_buffers_can_be_set(stage: SiteStage) -> None:
    """Uploads, slow answers and streams of events."""
    text = stage.serve(
        site(
            "a.test",
            location("web", "/small/", body_size="1k"),
            location("web", "/any/", body_size="0"),
            location("web", "/slow", read_timeout_s=1),
            location("web", "/stream/", buffering=False),
        )
    )
    size = "x" * 3000
    assert stage.ask("a.test", "/small/", method="POST", more=("--data", size)).status == 413
    assert stage.ask("a.test", "/any/", method="POST", more=("--data", size)).said["body"] == size
    assert stage.ask("a.test", "/slow").status == 504
    assert "proxy_buffering off;" in text
    assert "proxy_request_buffering off;" in text
    assert stage.ask("a.test", "/stream/").status == 200


# -- protocols and files


def test_programs_may_speak_https(stage: SiteStage) -> None:
    """Whatever their certificate says."""
    stage.serve(site("a.test", location("secure", protocol=Protocol.HTTPS)))
    assert stage.ask("a.test").said["name"] == "secure"


def test_programs_may_speak_grpc(stage: SiteStage) -> None:
    """Another nginx stands for one: it takes nothing but HTTP/2."""
    certificate = stage.certificate("a.test")
    listen = "9500;\nhttp2 on" if stage.version and stage.version.numbers >= (1, 25, 1) else "9500 http2"
    program = f"""server {{ listen {listen}; location / {{
        add_header x-seen "$server_protocol $uri $http_host $http_x_forwarded_proto" always; return 200 grpc; }} }}"""
    grpc = Upstream(name="grpc", servers=(Server(address="127.0.0.1", port=9500, container="grpc"),))
    stage.serve(
        site(
            "a.test",
            location("grpc", protocol=Protocol.GRPC),
            location("grpc", "/x", protocol=Protocol.GRPC, strips_path=True),
            certificate=certificate,
        ),
        http=program,
        upstreams=upstreams(grpc),
    )
    answer = stage.ask("a.test", "/s/m", tls=True, more=("--http2",))
    assert (answer.status, answer.version, answer.headers["x-seen"]) == (200, "2", "HTTP/2.0 /s/m a.test https")
    assert stage.ask("a.test", "/x/s/m", tls=True, more=("--http2",)).headers["x-seen"].split()[1] == "/s/m"


def test_files_of_the_operator_are_read_at_the_end(stage: SiteStage) -> None:
    """Lines that nobody has to ask lbwatch for, also where a file is named with what `include` takes for a pattern."""
    server = stage.write("*.a [x].test", "add_header X-Server yes always;\nlocation /own { return 204; }\n")
    stage.write("b.a [x].test", "nonsense;\n")
    place = stage.write("a.test_location", "add_header X-Location yes;\n")
    override = stage.write("override", "location /o/ { return 202; }\n")
    stage.serve(
        site(
            "a.test",
            location("web"),
            location("shop", "/l/", snippet=place),
            location("api", "/o/", override=override),
            snippet=server,
        )
    )
    assert stage.ask("a.test").headers["x-server"] == "yes"
    assert stage.ask("a.test", "/own").status == 204
    assert stage.ask("a.test", "/l/").headers["x-location"] == "yes"
    assert stage.ask("a.test", "/o/").status == 202


def test_names_that_files_of_nginx_proxys_users_lean_on_are_there(stage: SiteStage) -> None:
    """By reading them; log_format vhost as well."""
    names = ("for", "proto", "host", "port", "ssl")
    lines = [f"add_header v-{each} $proxy_x_forwarded_{each} always;" for each in names]
    lines += ['add_header v-more "$proxy_connection|$upstream_keepalive|$host_port" always;']
    lines += [f"access_log {stage.folder}/own.log vhost;"]
    snippet = stage.write("names", "\n".join(lines))
    stage.serve(site("a.test", snippet=snippet, http_port=81), rules=SiteRules(compat=True))
    headers = stage.ask("a.test", port=81).headers
    assert [headers[f"v-{each}"] for each in names] == ["127.0.0.1", "http", "a.test", "81", "off"]
    assert headers["v-more"] == "|true|:81"
    # nginx writes a line after the answer.
    line = wait_until(Path(f"{stage.folder}/own.log").read_text, within=10, what="the request is logged")
    assert re.match(r"a\.test 127\.0\.0\.1 - - \[", line)


def test_requests_are_logged_as_nginx_proxy_does_or_not_at_all(stage: SiteStage) -> None:
    """Without `compat` as the operator's own lines say."""
    log = stage.folder / "access.log"
    log.write_text("")
    stage.serve(site("a.test"), rules=SiteRules(compat=True, log_format="$host=$status"))
    stage.ask("a.test")
    assert wait_until(log.read_text, within=10, what="the request is logged") == "a.test=200\n"
    stage.serve(site("a.test"), rules=SiteRules(compat=True, access_log=False))
    stage.ask("a.test")
    assert stage.nginx is not None
    stage.nginx.close()  # whatever it had to write is written then
    assert log.read_text() == "a.test=200\n"
    assert "access_log" not in stage.serve(site("a.test"))


def test_the_server_says_its_version_or_not(stage: SiteStage) -> None:
    """SERVER_TOKENS=off, for one host."""
    stage.serve(site("a.test", server_tokens="off"), site("b.test"))
    assert stage.ask("a.test").headers["server"] == "nginx"
    assert re.fullmatch(r"nginx/1\.[0-9.]+", stage.ask("b.test").headers["server"])


def test_the_path_of_acme_challenges_is_served_to_everyone(stage: SiteStage) -> None:
    """Before any password, and for hosts that are not there yet."""
    root = stage.write("acme/.well-known/acme-challenge/token", "proof").removesuffix(f"{ACME}/token")
    passwords = stage.write("passwords", "u:{PLAIN}p\n")
    sites = (
        site("a.test", location("web", password_file=passwords)),
        site("b.test", acme=False),
        site("c.test", location("web", f"{ACME}/")),
    )
    stage.serve(*sites, rules=SiteRules(acme_root=root))
    for host in ("a.test", "unknown.test"):
        assert [stage.ask(host, f"{ACME}/{name}").status for name in ("token", "none")] == [200, 404]
    assert stage.ask("b.test", f"{ACME}/token").said["name"] == "web"
    assert stage.ask("c.test", f"{ACME}/token").said["name"] == "web", "whoever does it by himself"
    stage.serve(*sites, rules=SiteRules(acme_root=root, acme_unknown=False))
    assert stage.ask("unknown.test", f"{ACME}/token").status == 503


def test_the_page_for_unknown_hosts_can_be_the_operators(stage: SiteStage) -> None:
    """nginx-proxy's 50x.html, by any path."""
    page = stage.write("errors/50x.html", "sorry")
    catch_all = Site(host="", files=((page, "d"),))
    stage.serve(catch_all, site("a.test", location("gone")), rules=SiteRules(error_page=page))
    for path in ("/", "/50x.html", "/x/y"):
        answer = stage.ask("unknown.test", path)
        assert (answer.status, answer.body) == (503, "sorry")
    assert stage.ask("a.test").status == 502

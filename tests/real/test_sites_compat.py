"""What clients get of containers that have nginx-proxy's variables: from an environment to an answer of the real nginx."""

import asyncio
import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import crossplane
import pytest
from needs import NGINX_NEEDS, need, obtained
from realengine import in_namespace
from sitestage import NEEDS, PROGRAMS, SECURE, Answer, SiteStage, site_stage
from strategies import container
from versions import NGINXES, nginx_program
from waiting import eventually

from lbwatch.balancers.nginx.limits import hash_key_refusal, limited
from lbwatch.core.model import Container, Plan, Snapshot
from lbwatch.core.plan import Rules, desired_state
from lbwatch.core.site import SiteFiles, SiteRules
from lbwatch.core.sites.nginxproxy import proxy_rules
from lbwatch.system.sitefiles.folders import SiteFolders

_FIRST, *_, _LAST = NGINXES
VERSIONS = (_FIRST, _LAST)
BELOW = "com.github.nginx-proxy.nginx-proxy."


@pytest.fixture(scope="module", params=VERSIONS)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteStage]:
    """The oldest nginx and the newest, with programs that containers on the host's network stand for."""
    need(*NGINX_NEEDS, *NEEDS)
    program = obtained(nginx_program, request.param)
    with site_stage(tmp_path_factory.mktemp("c"), program=program) as stage:
        yield stage


class Stack:
    """One stack of a user's: files, the proxy's environment and containers."""

    def __init__(self, stage: SiteStage, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        for name in ("certs", "vhost.d", "htpasswd", "html"):
            (folder / name).mkdir()
        self.text = ""

    @property
    def own(self) -> SiteRules:
        """What lbwatch's own settings say."""
        return SiteRules(
            compat=True,
            cert_dir=str(self.folder / "certs"),
            vhost_dir=str(self.folder / "vhost.d"),
            htpasswd_dir=str(self.folder / "htpasswd"),
            acme_root=str(self.folder / "html"),
            error_page=str(self.folder / "html/errors/50x.html"),
            proxy_conf=str(self.folder / "proxy.conf"),
            network_internal=str(self.folder / "network_internal.conf"),
        )

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def certificate(self, name: str, *hosts: str) -> None:
        """Put a pair where nginx-proxy looks for it."""
        made = self.stage.certificate(*hosts, name=f"{self.folder.name}-{name}")
        for ending, path in (("crt", made.path), ("key", made.key)):
            (self.folder / "certs" / f"{name}.{ending}").write_bytes(Path(path).read_bytes())

    def up(self, *containers: Container, **environ: str) -> Plan:
        """Have nginx serve these containers behind a proxy with this environment."""
        rules, self.unused = proxy_rules(environ, own=self.own)
        files = asyncio.run(self._files(rules))
        routing = Rules(
            host_shared=True, refuses_key=hash_key_refusal, sites=rules, site_files=files, sites_refusal=None
        )
        snapshot = Snapshot(source="engine", containers={each.id: each for each in containers})
        plan = limited(desired_state([snapshot], rules=routing))
        self.text = self.stage.serve(*plan.sites, rules=rules, upstreams=plan.upstreams)
        return plan

    async def _files(self, rules: SiteRules) -> SiteFiles:
        async with SiteFolders(rules, changed=lambda: None, resync_interval_s=60) as folders:
            await folders.start()
            return folders.files()

    def ask(self, host: str, path: str = "/", **given: Any) -> Answer:
        return self.stage.ask(host, path, **given)


@pytest.fixture
def stack(stage: SiteStage, tmp_path: Path) -> Stack:
    return Stack(stage, tmp_path)


def app(name: str, program: str = "web", labels: Mapping[str, str] | None = None, **env: str) -> Container:
    """A container on the host's network whose program listens at one of the stage's ports."""
    port = dict([*PROGRAMS.items(), SECURE])[program]
    said = {"VIRTUAL_PORT": str(port)} | env
    named = {f"{BELOW}{key}": value for key, value in (labels or {}).items()}
    return container(
        name, labels=named, env=tuple(sorted(said.items())), host_network=True, endpoints=(), exposed=(port,)
    )


def test_hosts_are_served_and_all_others_are_not(stack: Stack) -> None:
    """Lists, blanks, wildcards and regexps, and the only exposed port."""
    plan = stack.up(
        app("a", VIRTUAL_HOST="a.test, b.test,", VIRTUAL_PORT=""),
        app("s", "shop", VIRTUAL_HOST="*.a.test"),
        app("r", "api", VIRTUAL_HOST=r"~^r\d{2}\.test$"),
        app("n", VIRTUAL_HOST=" , "),
    )
    asked = {host: stack.ask(host).said["name"] for host in ("a.test", "b.test", "x.a.test", "r12.test")}
    assert asked == {"a.test": "web", "b.test": "web", "x.a.test": "shop", "r12.test": "api"}
    assert [stack.ask(host).status for host in ("c.test", "r1.test", "127.0.0.1")] == [503] * 3
    assert "unrecognized name" in stack.ask("a.test", tls=True).error
    assert [route.container for route in plan.routes if route.reason is not None] == ["n"]


def test_paths_lead_elsewhere_and_may_be_cut(stack: Stack) -> None:
    """VIRTUAL_PATH with VIRTUAL_DEST and without, as regexp, and what no path is for."""
    containers = (
        app("a", VIRTUAL_HOST="a.test", VIRTUAL_PATH="/web/", VIRTUAL_DEST="/"),
        app("s", "shop", VIRTUAL_HOST="a.test", VIRTUAL_PATH="/shop"),
        app("r", "api", VIRTUAL_HOST="a.test", VIRTUAL_PATH="~^/(x|y)/"),
    )
    stack.up(*containers)
    asked = [stack.ask("a.test", path).said for path in ("/web/1", "/shop/1", "/y/1")]
    assert [(said["name"], said["path"]) for said in asked] == [("web", "/1"), ("shop", "/shop/1"), ("api", "/y/1")]
    assert stack.ask("a.test", "/z").status == 404
    stack.up(*containers, DEFAULT_ROOT="418")
    assert stack.ask("a.test", "/z").status == 418
    stack.up(*containers, DEFAULT_ROOT="302 http://$host/web$request_uri")
    assert stack.ask("a.test", "/z?q").headers["location"] == "http://a.test/web/z?q"


def test_one_container_serves_several_ports(stack: Stack) -> None:
    """And shares a path with one that says it by the plain variables."""
    ports = {"a.test": {"/": {"port": PROGRAMS["web"]}, "/api/": {"port": PROGRAMS["api"], "dest": "/"}}}
    plan = stack.up(
        app("m", VIRTUAL_HOST_MULTIPORTS=json.dumps(ports), VIRTUAL_HOST="c.test"),
        app("s", "shop", VIRTUAL_HOST="a.test"),
    )
    assert {stack.ask("a.test").said["name"] for _ in range(8)} == {"web", "shop"}
    assert stack.ask("a.test", "/api/v1").said["path"] == "/v1"
    assert stack.ask("c.test").status == 503
    assert {each.name: len(each.servers) for each in plan.upstreams}["a.test"] == 2


def test_each_https_method_does_what_its_name_says(stack: Stack) -> None:
    """With a certificate of the host's own, and without one."""
    methods = ("redirect", "noredirect", "nohttp", "nohttps")
    hosts = {method: f"{method}.test" for method in methods}
    for host in hosts.values():
        stack.certificate(host, host)
    apps = [
        app(f"c{n}", VIRTUAL_HOST=f"{each}.test,bare-{each}.test", HTTPS_METHOD=each) for n, each in enumerate(methods)
    ]
    stack.up(*apps)
    assert {each: stack.ask(host).status for each, host in hosts.items()} == {
        "redirect": 301,
        "noredirect": 200,
        "nohttp": 503,
        "nohttps": 200,
    }
    over_tls = {each: stack.ask(host, tls=True) for each, host in hosts.items()}
    assert {each: answer.status for each, answer in over_tls.items()} == {
        "redirect": 200,
        "noredirect": 200,
        "nohttp": 200,
        "nohttps": 0,
    }
    assert over_tls["redirect"].headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in over_tls["noredirect"].headers
    assert [stack.ask(f"bare-{each}.test").status for each in methods] == [200] * 4
    stack.up(*apps, ENABLE_HTTP_ON_MISSING_CERT="false")
    assert [stack.ask(f"bare-{each}.test").status for each in methods] == [301, 200, 503, 200]


def test_certificates_are_chosen_by_name(stack: Stack) -> None:
    """CERT_NAME, the parent's, the default one, and whether that is trusted."""
    stack.certificate("shared", "a.test")
    stack.certificate("b.test", "*.b.test")
    stack.certificate("default", "c.test", "d.test")
    plan = stack.up(
        app("a", VIRTUAL_HOST="a.test", CERT_NAME="shared"),
        app("b", VIRTUAL_HOST="x.b.test"),
        app("c", VIRTUAL_HOST="c.test", HSTS="off"),
        app("d", labels={"trust-default-cert": "false"}, VIRTUAL_HOST="d.test"),
        app("e", VIRTUAL_HOST="e.test", CERT_NAME="missing"),
    )
    asked = {host: stack.ask(host, tls=True) for host in ("a.test", "x.b.test", "c.test")}
    assert {host: answer.status for host, answer in asked.items()} == dict.fromkeys(asked, 200)
    assert "strict-transport-security" not in asked["c.test"].headers
    assert [stack.ask(host).status for host in ("d.test", "e.test")] == [200, 200]
    certificates = {each.host: each.certificate and each.certificate.name for each in plan.sites}
    assert (certificates["d.test"], certificates["e.test"]) == (None, None)


def test_redirects_have_the_codes_and_ports_that_are_asked_for(stack: Stack) -> None:
    """Both proxy-wide and of a host alone."""
    stack.certificate("a.test", "a.test")
    stack.certificate("b.test", "b.test")
    stack.up(
        app("a", labels={"non-get-redirect": "308"}, VIRTUAL_HOST="a.test", EXTERNAL_HTTPS_PORT="8443"),
        app("b", VIRTUAL_HOST="b.test"),
        HTTP_PORT="8080",
        NON_GET_REDIRECT="307",
    )
    got = stack.ask("a.test", "/x", port=8080)
    assert (got.status, got.headers["location"]) == (301, "https://a.test:8443/x")
    assert stack.ask("a.test", port=8080, method="POST").status == 308
    assert stack.ask("b.test", port=8080, method="POST").status == 307
    said = stack.ask("a.test", tls=True, port=8443)
    assert said.seen["host"] == "a.test:8443"


def test_what_protects_a_path_is_found_by_nginx_proxys_names(stack: Stack) -> None:
    """By the digest of what is written, and closed where the list of networks is missing."""
    digest = hashlib.sha1(b"~^/(x|y)/").hexdigest()
    stack.write(f"htpasswd/a.test_{digest}", "u:{PLAIN}p\n")
    secret = app("s", VIRTUAL_HOST="a.test", VIRTUAL_PATH="~^/(x|y)/")
    inside = app("i", VIRTUAL_HOST="b.test", NETWORK_ACCESS="internal")
    stack.up(secret, inside)
    assert stack.ask("a.test", "/x/").status == 401
    assert stack.ask("a.test", "/x/", more=("--user", "u:p")).status == 200
    assert stack.ask("b.test").status == 503
    stack.write("network_internal.conf", "deny all;\n")
    stack.up(inside)
    assert stack.ask("b.test").status == 403
    stack.write("network_internal.conf", "allow 127.0.0.0/8;\ndeny all;\n")
    stack.up(inside)
    assert stack.ask("b.test").status == 200


def test_an_unknown_host_goes_to_the_default_one(stack: Stack) -> None:
    """DEFAULT_HOST, over both protocols as far as it has them."""
    stack.up(app("a", VIRTUAL_HOST="a.test"), app("s", "shop", VIRTUAL_HOST="s.test"), DEFAULT_HOST="s.test")
    assert stack.ask("nobody.test").said["name"] == "shop"
    assert stack.ask("a.test").said["name"] == "web"


def test_programs_see_what_the_proxy_is_asked_to_pass_on(stack: Stack) -> None:
    """TRUST_DOWNSTREAM_PROXY, kept connections, a program that speaks TLS, and no version of nginx."""
    apps = (
        app("a", labels={"keepalive": "disabled"}, VIRTUAL_HOST="a.test", SERVER_TOKENS="off"),
        app("t", "secure", VIRTUAL_HOST="t.test", VIRTUAL_PROTO="https"),
    )
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    stack.up(*apps)
    answer = stack.ask("a.test", headers=forged)
    assert (answer.seen["x-forwarded-proto"], answer.seen["x-forwarded-for"]) == ("https", "192.0.2.7, 127.0.0.1")
    assert (answer.seen["connection"], answer.headers["server"]) == ("close", "nginx")
    assert stack.ask("t.test").said["name"] == "secure"
    assert stack.ask("t.test").seen.get("connection") != "close"
    stack.up(*apps, TRUST_DOWNSTREAM_PROXY="false")
    seen = stack.ask("a.test", headers=forged).seen
    assert (seen["x-forwarded-proto"], seen["x-forwarded-for"]) == ("http", "127.0.0.1")


def test_requests_are_logged_as_asked(stack: Stack) -> None:
    """As JSON, in a format of the operator's, or not at all."""
    log = stack.stage.folder / "access.log"
    one = app("a", VIRTUAL_HOST="a.test")

    def line(**environ: str) -> str:
        log.unlink(missing_ok=True)
        stack.up(one, **environ)
        assert stack.ask("a.test", '/"x').status == 200
        return asyncio.run(eventually(lambda: log.exists() and log.read_text(), what="a line of the log"))

    said = json.loads(line(LOG_JSON="true"))
    assert (said["request"], said["status"], said["upstream_addr"]) == ('GET /"x HTTP/1.1', "200", "127.0.0.1:9001")
    assert line(LOG_FORMAT='it\'s "$host" ${status}; {\\}') == 'it\'s "a.test" 200; {\\}\n'
    log.unlink()
    stack.up(one, DISABLE_ACCESS_LOGS="1")
    assert stack.ask("a.test").status == 200
    assert not log.exists()


# -- whatever they hold

_VALUES = (
    "a.test; } server { root /etc",
    "/; root /etc; #",
    "80; } server { listen 81; root /",
    "http://127.0.0.1:1/; root /etc;",
    'x" "y',
    "x\n}\nserver {",
    "$document_root",
    "~(?<host>.*)",
    '~^x$"; root /etc; "',
    "~^x\\\\$",
    "~ ^/x$ { root /etc; }",
    "~ ^/[;{}]\"'$1#\\\\",
    "{{ 7 * 7 }}{% raw %}",
    "../../etc/passwd",
    "off;load_module x",
    "301 http://evil.test/; root /etc",
    "max-age=1; root /etc; ",
    "x" * 5000,
)
_NAMES = (
    *("VIRTUAL_HOST", "VIRTUAL_PATH", "VIRTUAL_DEST", "VIRTUAL_PORT", "VIRTUAL_PROTO", "VIRTUAL_HOST_MULTIPORTS"),
    *("CERT_NAME", "HTTPS_METHOD", "HSTS", "NETWORK_ACCESS", "SERVER_TOKENS", "EXTERNAL_HTTP_PORT"),
    *("ACME_HTTP_CHALLENGE_LOCATION", "ENABLE_HTTP_ON_MISSING_CERT"),
)
_LABELS = ("loadbalance", "keepalive", "ssl_verify_client", "non-get-redirect", "trust-default-cert", "http2.enable")


def directives(text: str, folder: Path) -> set[tuple[str, ...]]:
    """Each directive with those that it lies in, as crossplane reads nginx's files."""
    path = folder / "parsed.conf"
    path.write_text(text)
    payload = crossplane.parse(str(path), check_ctx=False, single=True, strict=False)
    assert payload["status"] == "ok", payload["errors"]
    found: set[tuple[str, ...]] = set()

    def walk(block: list[dict[str, Any]], within: tuple[str, ...]) -> None:
        for each in block:
            found.add((*within, each["directive"]))
            walk(each.get("block", []), (*within, each["directive"]))

    walk(payload["config"][0]["parsed"], ())
    return found


def test_whatever_variables_hold_nginx_takes_it_and_nobody_else_suffers(stack: Stack, tmp_path: Path) -> None:
    """Hundreds of values that carry directives, each on a container of its own, beside one that is asked meanwhile."""
    good = app("good", "shop", VIRTUAL_HOST="good.test")
    plain = app("plain", VIRTUAL_HOST="plain.test,~^p$", VIRTUAL_PATH="/x/", VIRTUAL_DEST="/", HSTS="off")
    methods = [
        app(f"m{number}", labels={"loadbalance": each, "keepalive": "7"}, VIRTUAL_HOST=f"m{number}.test")
        for number, each in enumerate(("hash $uri;", "least_conn;", "ip_hash;"))
    ]
    tokens = app("tokens", VIRTUAL_HOST="t.test", SERVER_TOKENS="off", EXTERNAL_HTTP_PORT="8080")
    internal = app("inside", labels={"keepalive": "disabled"}, VIRTUAL_HOST="i.test", NETWORK_ACCESS="internal")
    stack.up(good, plain, *methods, tokens, internal)
    harmless = directives(stack.text, tmp_path)

    hostile = []
    for number, (name, value) in enumerate((name, value) for name in (*_NAMES, *_LABELS) for value in _VALUES):
        env = {"VIRTUAL_HOST": f"h{number}.test"} | ({name: value} if name in _NAMES else {})
        labels = {name: value} if name in _LABELS else {}
        hostile.append(app(f"x{number:03}", labels=labels, **env))
    plan = stack.up(good, *hostile)
    assert len(hostile) == 360
    assert directives(stack.text, tmp_path) <= harmless
    assert stack.ask("good.test").said["name"] == "shop"
    for path in ("/passwd", "/etc/passwd", "/x/passwd"):
        for host in ("h18.test", "h20.test", "h40.test", "nobody.test"):
            assert "root:" not in stack.ask(host, path).body
    refused = {route.container for route in plan.routes if route.reason is not None}
    assert len(refused) > 100
    assert "good" not in refused
    listening = subprocess.run(
        in_namespace(stack.stage.namespace, ["ss", "-Hltn"]), check=True, capture_output=True, text=True
    ).stdout
    assert ":81 " not in listening

"""
The image `proxy` in the place of nginx-proxy's: a user's stack, taken over by changing the name of one image.

The stack is deploy/compose.nginx-proxy.yaml, asked over HTTP and TLS; its acme-companion is played by tests/support/companionapp.py.
"""

import base64
import contextlib
import hashlib
import json
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import compose
import images
import pytest
from certificates import Certificates
from daemon import wait_until
from needs import ENGINE_NEEDS, need
from realengine import RealEngine, in_namespace

pytestmark = pytest.mark.timeout(600)  # the first test may wait for all images

STACK = images.REPOSITORY / "deploy" / "compose.nginx-proxy.yaml"
COMPANION = "nginxproxy/acme-companion"
BEFORE = "nginxproxy/nginx-proxy"
"""Here it serves nothing: it is but the container whose place is taken."""
_AS_COMPANION = f'FROM {images.PYTHON}\nCOPY companionapp.py /\nENTRYPOINT ["python3", "/companionapp.py"]\n'
LEFT = """\
nothing_that_nginx_knows on;
upstream old.example.org { server 192.0.2.9:80; }
ssl_dhparam /etc/nginx/dhparam/dhparam.pem;
server { listen 80; server_name old.example.org; location / { proxy_pass http://old.example.org; } }
"""
"""As docker-gen left it in the volume: of a host that is gone, with lines that only its nginx takes."""
PASSWORD = "secure:{SHA}" + base64.b64encode(hashlib.sha1(b"secret").digest()).decode() + "\n"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What curl was answered: an empty status where there was no connection, or no TLS."""

    status: str = ""
    body: str = ""
    headers: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A user's stack, as its containers and its clients see it."""

    engine: RealEngine
    file: Path
    folder: Path

    def compose(self, *words: str) -> str:
        return self.engine.docker("compose", "--file", str(self.file), "--project-name", "user", *words, within=110)

    def id(self, service: str) -> str:
        """Return what the only container of a service answers: the beginning of its id."""
        return self.compose("ps", "--all", "--quiet", service)[:12]

    def ask(self, url: str, *options: str, port: int = 0) -> Answer:
        """Ask this machine, whatever the URL's host is."""
        host = url.split("/")[2]
        port = port or (443 if url.startswith("https:") else 80)
        argv = ["curl", "-sS", "-i", "-m", "5", "--http1.1", "--resolve", f"{host}:{port}:127.0.0.1", *options, url]
        said = subprocess.run(
            in_namespace(self.engine.name, argv), check=False, capture_output=True, text=True, timeout=20
        ).stdout
        head, _, body = said.partition("\n\n")
        return Answer(status=head.split(" ")[1], body=body.strip(), headers=head.lower()) if head else Answer()

    def wait(self, url: str, status: str, body: str | None = None, *options: str) -> Answer:
        """Wait until a URL is answered so."""
        return wait_until(
            lambda: self.ask(url, *options),
            holds=lambda said: said.status == status and body in (None, said.body),
            within=30,
            what=f"{url} is answered {status} {body or ''}",
            notes=self.notes,
        )

    def notes(self) -> str:
        return self.engine.log_of("nginx-proxy")[-6000:]

    def companion(self, *words: str) -> str:
        return self.engine.docker("exec", "acme-companion", "python3", "/companionapp.py", *words)

    def install(self, host: str, certificates: Certificates) -> None:
        """Have acme-companion install what was issued."""
        issued = self.folder / "issued"
        shutil.rmtree(issued, ignore_errors=True)
        issued.mkdir()
        shutil.copy(certificates.folder / "server.pem", issued / "fullchain.pem")
        shutil.copy(certificates.folder / "server-key.pem", issued / "key.pem")
        self.engine.docker("cp", str(issued), "acme-companion:/")
        self.companion("install", host, "/issued")

    def applied(self) -> dict[str, Any]:
        """Return what the daemon says of the file that nginx should run."""
        program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9180/api/state').read().decode())"
        applied: dict[str, Any] = json.loads(self.engine.docker("exec", "nginx-proxy", "python3", "-c", program))[
            "applied"
        ]
        return applied

    def served(self, host: str) -> bytes:
        """Return the certificate that a host has in its handshakes, empty where there is none."""
        argv = ["openssl", "s_client", "-connect", "127.0.0.1:443", "-servername", host]
        said = subprocess.run(
            in_namespace(self.engine.name, argv), check=False, capture_output=True, input="", text=True, timeout=20
        ).stdout
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        if begin not in said:
            return b""
        return ssl.PEM_cert_to_DER_cert(said[said.index(begin) : said.index(end) + len(end)] + "\n")

    def put(self, volume: str, name: str, text: str) -> None:
        """Put a file into a volume of the stack that its proxy mounts."""
        (self.folder / name).write_text(text)
        self.engine.docker("cp", str(self.folder / name), f"nginx-proxy:{volume}/{name}")


@pytest.fixture(scope="module")
def stocked(real_engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> RealEngine:
    """An engine that has all images, acme-companion's stand-in among them, and nothing else."""
    need(*ENGINE_NEEDS, *images.NEEDS, *compose.NEEDS, "curl", "openssl")
    engine = real_engine
    images.load(engine, images.shared_folder(tmp_path_factory.getbasetemp()))
    compose.add_plugin(engine)
    context = tmp_path_factory.mktemp("companion")
    (context / "Dockerfile").write_text(_AS_COMPANION)
    shutil.copy(images.REPOSITORY / "tests/support/companionapp.py", context)
    engine.docker("build", "--quiet", "--tag", COMPANION, str(context), within=120)
    engine.docker("tag", images.APP, BEFORE)
    engine.clear()
    return engine


@pytest.fixture(scope="module")
def stack(stocked: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, up, in the place of one that had nginx-proxy, by another name of one image."""
    folder = tmp_path_factory.mktemp("stack")
    file = folder / "compose.yaml"
    text = STACK.read_text().replace("- /var/run/docker.sock:", f"- {stocked.socket}:")
    assert text.count("image: lbwatch:proxy") == 1
    file.write_text(text.replace("image: lbwatch:proxy", f"image: {BEFORE}"))
    stack = Stack(engine=stocked, file=file, folder=folder)
    try:
        stack.compose("up", "--detach", "nginx-proxy", "one", "two", "secure", "many")
        before = {service: stack.id(service) for service in ("one", "two", "secure", "many")}
        stack.put("/etc/nginx/conf.d", "default.conf", LEFT)
        stack.put("/etc/nginx/conf.d", "mine.conf", "proxy_connect_timeout 2s; client_max_body_size 100m;\n")
        stack.put("/etc/nginx/htpasswd", "secure.example.org", PASSWORD)
        file.write_text(text)
        stack.compose("up", "--detach")
        stack.wait("http://two.example.org/", "200")
        assert before == {service: stack.id(service) for service in before}, "the apps are not made anew"
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "2")
        stocked.clear()


@pytest.fixture
def issue(tmp_path: Path) -> Callable[..., Certificates]:
    """Issues a certificate by an authority of its own, or by that of another one."""

    def issuing(name: str, *, host: str, like: Certificates | None = None) -> Certificates:
        return Certificates(tmp_path / name, names=f"DNS:{host}", like=like)

    return issuing


def test_hosts_and_paths_are_served_by_their_variables_and_nothing_else_is(stack: Stack) -> None:
    """It is what all of nginx-proxy's users have; another's site for a host that nobody has is what none of them wants."""
    assert "container_name: nginx-proxy" in STACK.read_text()
    one = stack.id("one")
    for host in ("one.example.org", "www.one.example.org"):
        assert stack.ask(f"http://{host}/").body == one
    assert stack.ask("http://two.example.org/").body == stack.id("two")
    assert stack.ask("http://one.example.org/api/").body == stack.id("api")
    assert stack.ask("http://one.example.org/other").status == "404", "its own, not the site of another"
    for host in ("old.example.org", "example.org", "two", "two.example.org.example.com"):
        assert stack.ask(f"http://{host}/").status == "503"
        assert stack.ask(f"https://{host}/", "--insecure") == Answer(), "no certificate is there for it"
    unknown = stack.ask("http://unknown.example.org/").headers.splitlines()
    assert "server: nginx" in [line.strip() for line in unknown]


def test_a_container_with_several_ports_has_a_host_for_each(stack: Stack) -> None:
    """By nginx-proxy's mapping, in YAML as people write it into their Compose files."""
    many = stack.id("many")
    program = "mkdir -p /admin && echo admin > /admin/index.html && exec busybox httpd -p 9000 -h /admin"
    stack.engine.docker("exec", many, "sh", "-c", program)
    stack.wait("http://admin.example.org/", "200", "admin")
    assert stack.ask("http://many.example.org/").body == many


def test_the_line_that_scripts_wait_for_is_in_its_log_once(stack: Stack) -> None:
    """People's health scripts look for it."""
    wait_until(
        lambda: stack.engine.log_of("nginx-proxy").count("Watching docker events"),
        holds=lambda count: count == 1,
        within=20,
        what="it says so",
        notes=stack.notes,
    )


def test_what_a_user_sets_in_conf_d_holds_and_stops_nothing(stack: Stack) -> None:
    """nginx refuses a directive that is there twice, and ours are in nobody's documentation of nginx-proxy."""
    dump = stack.engine.docker("exec", "nginx-proxy", "nginx", "-T")
    assert [line for line in dump.splitlines() if "proxy_connect_timeout" in line] == [
        "proxy_connect_timeout 2s; client_max_body_size 100m;"
    ]


def test_a_certificate_that_companion_brings_is_served_and_a_renewed_one_too(
    stack: Stack, issue: Callable[..., Certificates]
) -> None:
    """Most of those who have TLS have it from there; an expired certificate is what the world sees of a fault."""
    host, who = "secure.example.org", stack.id("secure")
    url = f"http://{host}/"
    login = ("--user", "secure:secret")
    assert stack.ask(url).status == "401"
    assert stack.ask(url, *login).body == who
    stack.companion("challenge", "first")
    challenge = f"http://{host}/.well-known/acme-challenge/first"
    assert stack.ask(challenge).body == "first.proof", "without a password"

    first = issue("first", host=host)
    stack.install(host, first)
    trusted = ("--cacert", str(first.folder / "ca.pem"))
    stack.wait(f"https://{host}/", "200", who, *login, *trusted)
    assert stack.ask(f"https://{host}/", *trusted).status == "401"
    redirect = stack.wait(url, "301")
    assert f"location: https://{host}/" in redirect.headers
    assert stack.ask(challenge).body == "first.proof", "beside the redirect"

    wait_until(
        stack.applied, holds=lambda it: it["verified"] is True, within=20, what="it is verified", notes=stack.notes
    )
    text = stack.applied()["digest"]
    second = issue("second", host=host, like=first)
    stack.install(host, second)
    renewed = ssl.PEM_cert_to_DER_cert((second.folder / "server.pem").read_text())
    wait_until(lambda: stack.served(host), holds=lambda der: der == renewed, within=20, what="the new one is served")
    assert stack.ask(f"https://{host}/", *login, *trusted).body == who
    wait_until(
        stack.applied,
        holds=lambda applied: applied["verified"] is True and applied["digest"] != text,
        within=20,
        what="lbwatch has verified a reload with the new one",
        notes=stack.notes,
    )


def test_what_companion_calls_has_lbwatch_look_at_all_anew(stack: Stack) -> None:
    """Users run it by hand, too, whatever else they changed."""
    before = stack.engine.log_of("nginx-proxy").count("template.loaded")
    stack.companion("reload")
    wait_until(
        lambda: stack.engine.log_of("nginx-proxy").count("template.loaded"),
        holds=lambda count: count > before,
        within=20,
        what="it read its template anew",
        notes=stack.notes,
    )


def test_a_host_of_no_container_answers_challenges_as_companion_wants_it(stack: Stack) -> None:
    """It writes a server block of its own into conf.d, with a log format that it expects there."""
    stack.companion("standalone", "alone.example.org", "second")
    stack.wait("http://alone.example.org/.well-known/acme-challenge/second", "200", "second.proof")
    assert "second" in stack.engine.log_of("nginx-proxy"), "its requests are logged"
    stack.engine.docker("exec", "acme-companion", "rm", "/etc/nginx/conf.d/standalone-cert-alone.example.org.conf")
    stack.companion("reload")
    stack.wait("http://alone.example.org/", "503")


def test_a_hangup_of_the_container_has_all_looked_at_anew(stack: Stack) -> None:
    """By the engine, as acme-companion and others send it to a docker-gen of its own."""
    stack.put(
        "/etc/nginx/conf.d", "late.conf", 'server { listen 80; server_name late.example.org; return 200 "late"; }'
    )
    assert stack.ask("http://late.example.org/").status == "503"
    stack.engine.docker("kill", "--signal", "HUP", "nginx-proxy")
    stack.wait("http://late.example.org/", "200", "late")
    assert stack.engine.inspect("nginx-proxy")["State"]["Running"]


def test_a_host_outlives_its_container_and_its_paths_come_and_go_alone(stack: Stack) -> None:
    """nginx-proxy drops host and certificate with the last container, and clients see another site."""
    stack.compose("stop", "--timeout", "1", "two")
    stack.wait("http://two.example.org/", "502")
    stack.compose("start", "two")
    stack.wait("http://two.example.org/", "200", stack.id("two"))
    stack.compose("rm", "--stop", "--force", "api")
    stack.wait("http://one.example.org/api/", "404")
    assert stack.ask("http://one.example.org/").body == stack.id("one")
    stack.compose("up", "--detach", "api")
    stack.wait("http://one.example.org/api/", "200", stack.id("api"))


def test_a_socket_that_died_with_the_engine_ends_the_container_which_is_started_anew(
    stocked: RealEngine, new_engine: Callable[..., RealEngine], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where containers outlive the engine nobody else would mount the new socket, and it would serve the old for ever."""
    engine = new_engine(live_restore=True).start()
    images.load(engine, images.shared_folder(tmp_path_factory.getbasetemp()))
    socket = f"{engine.socket}:/tmp/docker.sock:ro"
    engine.docker("run", "--detach", "--name", "proxy", "--restart", "on-failure", "--volume", socket, images.PROXY)
    engine.run("before", "--env", "VIRTUAL_HOST=before.example.org")
    wait_answer(engine, "before.example.org", "before")
    began = engine.inspect("proxy")["State"]["StartedAt"]
    engine.restart()
    engine.run("after", "--env", "VIRTUAL_HOST=after.example.org")
    wait_answer(engine, "before.example.org", "before")
    wait_answer(engine, "after.example.org", "after", within=60)
    assert engine.inspect("proxy")["State"]["StartedAt"] != began
    assert engine.inspect("proxy")["RestartCount"] == 1
    engine.docker("stop", "proxy")
    assert engine.inspect("proxy")["State"]["ExitCode"] == 0


def wait_answer(engine: RealEngine, host: str, who: str, *, within: float = 20) -> None:
    def asked() -> str:
        with contextlib.suppress(KeyError):
            address = engine.inspect("proxy")["NetworkSettings"]["IPAddress"]
            argv = ["curl", "-s", "-m", "3", "-H", f"Host: {host}", f"http://{address}/"]
            return subprocess.run(
                in_namespace(engine.name, argv), check=False, capture_output=True, text=True, timeout=20
            ).stdout.strip()
        return ""

    wait_until(
        asked, holds=lambda said: said == who, within=within, what=f"{host} is answered by {who}",
        notes=lambda: engine.log_of("proxy")[-4000:],
    )  # fmt: skip

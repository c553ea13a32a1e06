"""
nginx and lbwatch in one container, from the image `proxy`: what the README has to paste, and what may happen to it.

One such container, started as the README says, lives through most of it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import images
import pytest
import readme
import realengine
from compose import NEEDS as COMPOSE_NEEDS
from compose import compose
from daemon import wait_until
from needs import ENGINE_NEEDS, need
from pasting import pasted
from realengine import RealEngine, in_namespace

pytestmark = pytest.mark.timeout(600)  # the first test may wait for all images

BUILD = "docker build --target proxy --tag lbwatch:proxy .\n"  # it is there, built without an index to ask
README = readme.REPOSITORY / "README.md"
NOBODY = "503"
WAITING = """\
import json, urllib.request
state = json.load(urllib.request.urlopen("http://127.0.0.1:9180/api/state"))
print([each["waiting"] for each in state["upstreams"]])
"""
PORT = {"lbwatch.port": "80"}


class Proxy:
    """The container; `id` is its own."""

    def __init__(self, engine: RealEngine, id: str) -> None:
        self.engine = engine
        self.id = id

    def ask(self, host: str, *, within: float = 5) -> str:
        """Return the body of a 200, else the status."""
        argv = ["curl", "-sS", "-m", str(within), "-H", f"Host: {host}", "-w", "\n%{http_code}", "http://127.0.0.1/"]
        done = subprocess.run(
            in_namespace(self.engine.name, argv), check=False, capture_output=True, text=True, timeout=within + 15
        )
        body, _, status = done.stdout.rpartition("\n")
        return body.strip() if status == "200" else status

    def wait(self, host: str, *answers: str) -> None:
        """Wait until a host is answered so, by all of them and nobody else."""
        wait_until(
            lambda: {self.ask(host) for _ in range(4 * len(answers) - 3)},
            holds=lambda said: said == {*answers},
            within=20,
            what=f"{host} is answered by {answers}",
            notes=lambda: self.engine.log_of(self.id)[-4000:],
        )

    def wait_retired(self) -> None:
        """Wait until nobody is answered as before the latest change: old workers take connections for some 0.1 s more."""
        argv = ["docker", "--host", self.engine.url, "exec", self.id, "lbwatch", "health"]
        wait_until(
            lambda: subprocess.run(argv, check=False, capture_output=True, text=True, timeout=20).stdout,
            holds=lambda said: said == "ready\n",
            within=20,
            what="lbwatch is ready",
            notes=lambda: self.engine.log_of(self.id)[-4000:],
        )

    def waiting(self) -> str:
        """Return what the daemon knows of requests that wait, as Python writes it."""
        return self.engine.docker("exec", self.id, "python3", "-c", WAITING)

    def process(self, title: str) -> int:
        """Return the pid of the first of its processes with such a title, as this machine sees it."""
        rows = self.engine.docker("top", self.id, "-eo", "pid,args").splitlines()[1:]
        return next(int(row.split()[0]) for row in rows if title in row)

    def workers(self) -> set[int]:
        """Return the pids of nginx's workers that serve."""
        rows = self.engine.docker("top", self.id, "-eo", "pid,args").splitlines()[1:]
        return {int(row.split()[0]) for row in rows if row.endswith("nginx: worker process")}


@pytest.fixture(scope="module")
def stocked(real_engine: RealEngine, tmp_path_factory: pytest.TempPathFactory) -> RealEngine:
    """An engine that has all images, and nothing else."""
    need(*ENGINE_NEEDS, *images.NEEDS, *COMPOSE_NEEDS, "curl")
    images.load(real_engine, images.shared_folder(tmp_path_factory.getbasetemp()))
    real_engine.clear()
    return real_engine


@pytest.fixture(scope="module")
def started(stocked: RealEngine) -> Iterator[Proxy]:
    """The proxy, by the README's line."""
    install, _, _ = readme.under("One line")
    assert install.splitlines()[1] == "docker run -d -p 80:80 -v /var/run:/host/run:ro lbwatch:proxy"
    try:
        yield Proxy(stocked, pasted(stocked, install.removeprefix(BUILD), folder=stocked.folder).strip())
    finally:
        stocked.clear()


@pytest.fixture
def proxy(started: Proxy) -> Iterator[Proxy]:
    """The same, alone before and after."""
    engine = started.engine
    try:
        yield started
    finally:
        engine.remove(*(each["Id"] for each in engine.inspect_all() if each["Id"] != started.id))


def test_the_image_is_as_small_as_its_parts_and_says_whether_it_is_well(stocked: RealEngine) -> None:
    """What the engine shows of its health is all that most people look at."""
    images_there = {name: stocked.api("GET", f"/images/{name}/json")[1] for name in (images.NGINX, images.PROXY)}
    assert images_there[images.PROXY]["Size"] - images_there[images.NGINX]["Size"] < 80_000_000
    config = images_there[images.PROXY]["Config"]
    assert config["Healthcheck"]["Test"] == ["CMD", "lbwatch", "health"]
    assert config["StopSignal"] == "SIGTERM"


def test_the_readmes_line_and_a_first_container_answer_as_it_says(proxy: Proxy) -> None:
    """What is pasted from a README that is wrong costs an evening, and the user."""
    proxy.wait("hello.localhost", NOBODY)
    _, first, _ = readme.under("One line")
    ran, host = pasted(proxy.engine, first, folder=proxy.engine.folder).split()
    assert host == ran[:12]
    proxy.engine.docker("rm", "--force", "hello")
    proxy.wait("hello.localhost", NOBODY)


def test_containers_come_and_go_by_host(proxy: Proxy) -> None:
    """The only upstream has every host; with a second one each has its own, and nothing else is connected to."""
    engine = proxy.engine
    engine.run("web-1", labels=PORT | {"lbwatch.upstream": "web"})
    proxy.wait("whatever.example.org", "web-1")
    engine.run("api", labels=PORT)
    proxy.wait("api.example.org", "api")
    proxy.wait_retired()
    assert proxy.ask("web") == "web-1"
    address = engine.inspect("api")["NetworkSettings"]["IPAddress"]
    assert {proxy.ask(host) for host in ("whatever.example.org", "docker", "localhost", address)} == {NOBODY}
    engine.run("web-2", labels=PORT | {"lbwatch.upstream": "web"})
    proxy.wait("web", "web-1", "web-2")
    engine.remove("web-1")
    proxy.wait("web", "web-2")
    engine.docker("stop", "--time", "1", "api")
    proxy.wait("api", NOBODY)
    assert proxy.ask("whatever.example.org") == NOBODY, "it may come back"
    engine.remove("api")
    proxy.wait("whatever.example.org", "web-2")
    proxy.wait_retired()
    name = engine.inspect(proxy.id)["Name"].removeprefix("/")
    assert f"upstream {name} " not in engine.docker("exec", proxy.id, "lbwatch", "render", "--expose", "all")
    assert "FAILED" not in engine.docker("exec", proxy.id, "lbwatch", "check")


def test_a_port_goes_to_the_container_that_asks_for_it_as_the_documents_line_says(proxy: Proxy) -> None:
    """Its nginx has what that takes, and nothing has to be set."""
    engine = proxy.engine
    engine.docker("commit", "--change", "ENV PORT=5432 WHO=db", engine.docker("create", realengine.IMAGE), "postgres")
    (line,) = readme.under("Ports of TCP and UDP", document="docs/streams.md")
    pasted(engine, line, folder=engine.folder)
    address = engine.inspect(proxy.id)["NetworkSettings"]["IPAddress"]
    argv = in_namespace(engine.name, ["curl", "-s", "-m", "5", f"http://{address}:5432/"])
    wait_until(
        lambda: subprocess.run(argv, check=False, capture_output=True, text=True, timeout=20).stdout,
        holds=lambda said: said.strip() == "db",
        within=20,
        what="the port is its",
        notes=lambda: engine.log_of(proxy.id)[-4000:],
    )


def test_servers_come_and_go_without_a_reload(proxy: Proxy) -> None:
    """It has all that this takes, and nobody should have to ask for it; names alone are new to nginx."""
    engine = proxy.engine
    engine.run("web-1", labels=PORT | {"lbwatch.upstream": "web"})
    proxy.wait("web", "web-1")
    proxy.wait_retired()
    workers = proxy.workers()
    engine.run("web-2", labels=PORT | {"lbwatch.upstream": "web"})
    proxy.wait("whatever.example.org", "web-1", "web-2")
    engine.docker("stop", "--time", "1", "web-1", "web-2")
    proxy.wait("web", NOBODY)
    engine.docker("start", "web-2")
    proxy.wait("web", "web-2")
    assert proxy.workers() == workers


def test_requests_wait_for_a_container_that_is_made_anew_if_its_label_says_so(proxy: Proxy) -> None:
    """Between the old one's stop and the new one's start nobody serves, and most people have but one."""
    engine = proxy.engine
    labels = PORT | {"lbwatch.upstream": "web", "lbwatch.hold": "20s"}
    engine.run("old", labels=labels)
    proxy.wait("web", "old")
    engine.remove("old")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(proxy.ask, "web", within=30)
        wait_until(proxy.waiting, holds=lambda said: "'requests': 1" in said, within=10, what="it waits")
        engine.run("new", labels=labels)
        assert waiting.result(30) == "new"


def test_what_dies_in_it_is_started_again(proxy: Proxy) -> None:
    """A container with two programs has to look after both, and a killed master's workers hold the port."""
    engine = proxy.engine
    engine.run("before", labels=PORT)
    proxy.wait("before", "before")
    master = proxy.process("nginx: master")
    os.kill(master, signal.SIGKILL)
    wait_until(lambda: is_another(proxy, "nginx: master", former=master), within=10, what="another master is there")
    proxy.wait("before", "before")
    lbwatch = proxy.process("lbwatch run")
    os.kill(lbwatch, signal.SIGKILL)
    wait_until(lambda: is_another(proxy, "lbwatch run", former=lbwatch), within=10, what="another lbwatch is there")
    engine.run("after", labels=PORT)
    proxy.wait("after", "after")
    assert proxy.ask("before") == "before"


def is_another(proxy: Proxy, title: str, *, former: int) -> bool:
    try:
        return proxy.process(title) != former
    except StopIteration:
        return False


def test_its_own_networks_count_and_one_that_it_is_connected_to_later(proxy: Proxy) -> None:
    """Nothing is set; an address that nginx cannot reach would be a timeout for each request."""
    engine = proxy.engine
    engine.docker("network", "create", "late")
    engine.run("far", "--network", "late", labels=PORT)
    engine.run("near", labels=PORT)
    proxy.wait("near", "near")
    proxy.wait("far", NOBODY)
    assert "it is on late; nginx is on bridge" in engine.docker("exec", proxy.id, "lbwatch", "explain", "far")
    engine.docker("network", "connect", "late", proxy.id)
    proxy.wait("far", "far")
    engine.docker("network", "disconnect", "late", proxy.id)
    proxy.wait("far", NOBODY)
    engine.remove("far")
    engine.docker("network", "rm", "late")


HOLD = """\
import socket
peer = socket.create_connection(("127.0.0.1", 80), 20)
peer.sendall(b"GET / HTTP/1.1\\r\\nHost: web\\r\\nContent-Length: 1\\r\\nExpect: 100-continue\\r\\n\\r\\n")
print(peer.recv(100).decode().split()[1], flush=True)
input()
peer.sendall(b"1")
print(peer.makefile().read().split()[1])
"""


def test_a_stop_ends_what_is_being_answered_and_then_nginx(proxy: Proxy) -> None:
    """An upgrade of the proxy must not cut requests, nor take so long that the engine kills it."""
    engine = proxy.engine
    engine.run("web", labels=PORT)
    proxy.wait("web", "web")
    proxy.wait_retired()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with engine.popen([sys.executable, "-c", HOLD], text=True, **pipes) as client, ThreadPoolExecutor() as pool:
        assert client.stdout is not None
        assert client.stdout.readline() == "100\n"
        began = time.monotonic()
        stop = pool.submit(engine.docker, "stop", proxy.id)
        proxy.wait("web", "000")  # it listens no more
        assert not stop.done()
        assert client.communicate("\n", timeout=20)[0] == "200\n"
        stop.result(20)
        assert time.monotonic() - began < 10
    assert engine.inspect(proxy.id)["State"]["ExitCode"] == 0
    assert "daemon.stopped" in engine.log_of(proxy.id)
    engine.docker("start", proxy.id)
    proxy.wait("web", "web")


def test_what_names_its_host_is_served_there_and_by_no_other_name(proxy: Proxy) -> None:
    """Its site may have a password; by its upstream's name one would come past that, as the only one it had all others."""
    engine = proxy.engine
    engine.run("shop", labels=PORT | {"lbwatch.host": "www.example.org"})
    proxy.wait("www.example.org", "shop")
    proxy.wait_retired()
    assert {proxy.ask(host) for host in ("shop", "shop.example.org", "whatever.example.org")} == {NOBODY}
    engine.run("web", labels=PORT)
    proxy.wait("web.example.org", "web")
    assert (proxy.ask("www.example.org"), proxy.ask("shop")) == ("shop", NOBODY)


def test_on_the_hosts_network_it_reaches_all_others_and_has_its_users_sites(
    stocked: RealEngine, tmp_path: Path
) -> None:
    """Whatever the host is named: it is not by its name that it finds itself."""
    engine = stocked
    engine.clear()
    (tmp_path / "own.conf").write_text('server { listen 80; server_name own.example.org; return 200 "mine"; }')
    mounts = ("-v", f"{engine.folder}:/host/run:ro", "-v", f"{tmp_path}:/etc/nginx/sites-enabled:ro")
    proxy = Proxy(engine, engine.docker("run", "-d", "--network", "host", "--hostname", "odd", *mounts, images.PROXY))
    try:
        engine.docker("network", "create", "own")
        engine.run("far", "--network", "own", labels=PORT)
        engine.run("here", "--network", "host", port=8080, labels={"lbwatch.port": "8080"})
        proxy.wait("far", "far")
        proxy.wait("here", "here")
        assert proxy.ask("own.example.org") == "mine"
    finally:
        engine.clear()


@pytest.mark.parametrize("version", ["1", "2"])
def test_the_readmes_compose_file_answers_as_it_says(stocked: RealEngine, tmp_path: Path, version: str) -> None:
    """Twelve lines are what a user of Compose reads."""
    (text,) = (text for heading, language, text in readme.fenced(README) if (heading, language) == ("One line", "yaml"))
    assert len(text.splitlines()) == 12
    (tmp_path / "compose.yaml").write_text(text.replace("/var/run:", f"{stocked.folder}:"))
    _, _, up = readme.under("One line")
    kind = compose(version)
    stocked.clear()
    try:
        said = pasted(stocked, up, folder=tmp_path, instead=kind.instead, environment=kind.environment)
        apps = {each["Id"][:12] for each in stocked.inspect_all() if each["Config"]["Image"] == images.APP}
        assert len(apps) == 3
        assert said.split()[-1] in apps
    finally:
        stocked.clear()

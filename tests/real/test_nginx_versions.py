"""
The core of what lbwatch does, with each nginx that people run: from Debian 12's to the newest.

On a real engine, but for what only needs servers: those are of the tests, on loopback.
"""

import contextlib
import http.server
import itertools
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from daemon import Stage, ending, flags_of, wait_until
from debian import NEEDS
from localnginx import balancer
from needs import ENGINE_NEEDS, NGINX_NEEDS, need, obtained
from realengine import RealEngine
from realnginx import RealNginx
from strategies import METHODS, container, make_renderer, planned, snapshot
from versions import NGINXES, nginx_program

from lbwatch.balancers.nginx.process import find_master, workers_of
from lbwatch.balancers.nginx.version import version_in
from lbwatch.core.model import Container, Endpoint, Level, Plan, Server, Sticky, Suspended, Upstream

WEB = {"lbwatch.upstream": "web"}
STICKY = WEB | {"lbwatch.sticky": "cookie sid"}
WITH_STICKY = ("1.30",)
KEEPS_BY_DEFAULT = ("1.30",)


@pytest.fixture(params=list(NGINXES))
def version(request: pytest.FixtureRequest) -> str:
    """Each of them in turn."""
    return str(request.param)


@pytest.fixture
def program(version: str) -> str:
    """The program of that version."""
    need(*NGINX_NEEDS, *NEEDS)
    return obtained(nginx_program, version)


@pytest.fixture
def nginx(program: str, tmp_path: Path) -> Iterator[RealNginx]:
    """One of it in the machine's own network, running."""
    with RealNginx(tmp_path / "nginx", program=program) as nginx:
        yield nginx.start()


@pytest.fixture
def stage(program: str, engine: RealEngine, tmp_path: Path) -> Iterator[Stage]:
    """One of it in the engine's network, and lbwatch between the two."""
    need(*ENGINE_NEEDS)
    engine.prepare()
    nginx = RealNginx(tmp_path / "nginx", engine.name, program=program)
    stage = Stage(engine, nginx, folder=tmp_path, settings=flags_of({"nginx_command": program}))
    with ending([stage]):
        nginx.start()
        stage.lbwatch.start()
        yield stage


# -- containers


def test_containers_come_and_go_and_nginx_may_crash(stage: Stage, engine: RealEngine, version: str) -> None:
    """What all else rests on: verified by new workers, and owed to an nginx that comes back."""
    engine.run("web1", labels=WEB)
    engine.run("web2", labels=WEB)
    stage.wait_in_step({"web": {"web1", "web2"}})
    engine.remove("web1")
    stage.wait_in_step({"web": {"web2"}})
    stage.lbwatch.wait_for_log("nginx.reloaded", count=2)
    code, said, _ = stage.lbwatch.command("check")
    (line,) = [line for line in said.splitlines() if re.match(r"ok +nginx ", line)]
    assert re.search(rf"nginx +{re.escape(version)}\.\d+, master {stage.nginx.master_pid} with 2 workers", line), said
    assert code == 0, said
    stage.nginx.kill9()
    engine.run("web3", labels=WEB)
    stage.lbwatch.wait_for_log("nginx.reload_failed")
    stage.nginx.start()
    stage.wait_in_step({"web": {"web2", "web3"}})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Who answered, and the cookie that came with it."""

    who: str
    cookie: str | None


def ask(nginx: RealNginx, *, cookie: str | None = None) -> Answer:
    """Ask upstream web, with a cookie of nginx's or as a new client."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(nginx.socket))
        given = "" if cookie is None else f"Cookie: other=1; sid={cookie}\r\n"
        connection.sendall(f"GET /web/ HTTP/1.0\r\nHost: lbwatch.test\r\n{given}\r\n".encode())
        received = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = received.partition("\r\n\r\n")
    found = re.search(r"^Set-Cookie: sid=([0-9a-f]+); httponly; path=/\r?$", head, re.MULTILINE)
    return Answer(who=body.strip() if " 200 " in head.split("\r\n")[0] else head, cookie=found and found[1])


def asked(nginx: RealNginx, *, cookie: str | None = None, times: int = 24) -> set[str]:
    return {ask(nginx, cookie=cookie).who for _ in range(times)}


def cookie_of(nginx: RealNginx, name: str) -> str:
    """Come as a new client until that container answers, and return its cookie."""
    found = wait_until(lambda: ask(nginx), holds=lambda one: one.who == name, within=10, what=f"{name} answers")
    assert found.cookie is not None
    return found.cookie


def wait_lines(stage: Stage, holds: Callable[[list[str]], bool], *, what: str) -> None:
    """Wait until the servers in the file are so, and nginx was seen to run it, its old workers retired."""
    wait_until(lambda: server_lines(stage), holds=holds, within=12, what=what, notes=stage.notes)
    digest = sha256(stage.output.read_bytes()).hexdigest()[:12]
    stage.lbwatch.wait_for_log("nginx.reloaded", digest=digest)


def server_lines(stage: Stage) -> list[str]:
    text = stage.output.read_text() if stage.output.exists() else ""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("server ")]


def test_sessions_stay_with_a_container_that_drains(stage: Stage, engine: RealEngine, version: str) -> None:
    """And new clients do not come to it; where nginx has no such thing, all is as without the label."""
    for name in ("web1", "web2", "web3"):
        engine.run(name, labels=STICKY, deaf=True)
    wait_lines(stage, lambda lines: len(lines) == 3, what="all are there")
    everyone = {"web1", "web2", "web3"}
    assert asked(stage.nginx) == everyone
    if version not in WITH_STICKY:
        assert "sticky" not in stage.output.read_text()
        _, said, _ = stage.lbwatch.command("explain", "web1")
        assert "sticky is not used: it takes nginx 1.29.6 or newer, and this nginx is " + version in said
        engine.docker("kill", "--signal", "TERM", "web1")
        wait_lines(stage, lambda lines: len(lines) == 2, what="it is out")
        assert asked(stage.nginx) == everyone - {"web1"}
        return
    assert "    sticky cookie sid path=/ httponly;\n" in stage.output.read_text()
    mine, others = cookie_of(stage.nginx, "web1"), cookie_of(stage.nginx, "web2")
    assert asked(stage.nginx, cookie=mine) == {"web1"}
    engine.docker("kill", "--signal", "TERM", "web1")
    wait_lines(stage, lambda lines: sum(line.endswith(" drain;") for line in lines) == 1, what="it drains")
    assert asked(stage.nginx, cookie=mine) == {"web1"}, "its session stays"
    assert asked(stage.nginx) == everyone - {"web1"}, "new clients go to others"
    assert asked(stage.nginx, cookie="of-nobody") == everyone - {"web1"}
    _, said, _ = stage.lbwatch.command("explain", "web1")
    assert "it got its stop signal: clients that it has in upstream web stay with it" in said
    code, said, _ = stage.lbwatch.command("drain", "web2")
    assert code == 0
    assert "web2 is drained: clients that it has stay with it, new ones go to others" in said
    assert asked(stage.nginx, cookie=others) == {"web2"}
    assert asked(stage.nginx) == {"web3"}
    engine.remove("web1")
    wait_lines(stage, lambda lines: len(lines) == 2, what="it is gone with its death")
    moved = ask(stage.nginx, cookie=mine)
    assert (moved.who, moved.cookie not in (None, mine)) == ("web3", True)
    assert asked(stage.nginx, cookie=moved.cookie) == {"web3"}
    stage.lbwatch.command("undrain", "web2")
    wait_lines(stage, lambda lines: not any(" drain" in line for line in lines), what="nobody drains")
    assert asked(stage.nginx, cookie=mine) <= {"web2", "web3"}
    assert asked(stage.nginx) == {"web2", "web3"}


# -- words


@pytest.mark.parametrize("keepalive", ["0", "8"])
def test_nginx_takes_every_combination_of_labels(program: str, version: str, keepalive: str, tmp_path: Path) -> None:
    """One that it refuses would cost the whole file, but for the search for the one to blame."""
    every: list[Container] = []
    wishes = itertools.product(METHODS, ({}, {"lbwatch.max_conns": "5"}), ((), ("one",), ("two",), ("one", "three")))
    for number, (method, more, backups) in enumerate(wishes):
        for name in ("one", "two", "three"):
            labels = {"lbwatch.upstream": f"u{number}", "lbwatch.method": method, "lbwatch.keepalive": keepalive}
            labels |= more | {"lbwatch.sticky": "cookie sid.a-b", "lbwatch.weight": "3"}
            labels |= {"lbwatch.backup": "true"} if name in backups else {}
            every.append(
                container(f"{name}-{number}", labels=labels, id=f"{len(every):064x}", endpoints=at(len(every)))
            )
    drains = Suspended(draining={each.id: "why" for each in every if each.name.startswith("two-")})
    printed = subprocess.run([program, "-v"], check=True, capture_output=True, text=True, timeout=10).stderr
    plan = planned([snapshot(every)], suspended=drains, version=version_in(printed))
    text = make_renderer().text(plan.upstreams)
    assert (" drain;" in text) == ("sticky cookie" in text) == (version in WITH_STICKY)
    assert ("keepalive 0;" in text) == (keepalive == "0" and version in KEEPS_BY_DEFAULT)
    nginx = RealNginx(tmp_path / "nginx", program=program)
    nginx.output.write_text(text)
    done = subprocess.run(
        [program, "-t", "-c", str(nginx.conf)], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr, "such as a method that is redefined by what came before it"


def at(number: int) -> tuple[Endpoint, ...]:
    return (Endpoint(network="front", ipv4=f"172.18.{number >> 8}.{number & 255 or 255}"),)


# -- servers


class Counting(http.server.ThreadingHTTPServer):
    """A server that keeps connections open, and counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Quiet)
        self.connections = 0

    def get_request(self) -> tuple[socket.socket, object]:
        self.connections += 1
        return super().get_request()


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"server {self.server.server_address[1]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def counting() -> Iterator[tuple[Counting, Server]]:
    """One that runs, and where it is."""
    with Counting() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        port = server.server_address[1]
        try:
            yield server, Server(address="127.0.0.1", port=port, container=f"c{port}")
        finally:
            server.shutdown()
            thread.join()


async def test_kept_connections_can_be_switched_off(
    nginx: RealNginx, program: str, version: str, tmp_path: Path
) -> None:
    """From 1.29.7 on nginx keeps them by itself, and older ones refuse the whole file for a `keepalive 0`."""
    one = balancer(nginx, tmp_path, program=program)
    await one.prepare()
    assert str(one.version).startswith(f"{version}.")
    for keepalive in (None, 0):
        with counting() as (server, where):
            plan = one.limited(Plan(upstreams=(Upstream(name="web", servers=(where,), keepalive=keepalive),)))
            applied = await one.apply(plan.upstreams)
            assert (applied.reloaded, applied.degraded) == (True, ())
            for _ in range(12):
                assert nginx.ask("/web/") == f"server {where.port}"
            keeps = keepalive is None and version in KEEPS_BY_DEFAULT
            assert (server.connections < 12) == keeps, f"{server.connections} connections for 12 requests"
    assert ("keepalive 0;" in nginx.output.read_text()) == (version in KEEPS_BY_DEFAULT)


async def test_an_upgraded_program_counts_once_nginx_runs_from_it(tmp_path: Path) -> None:
    """A package's upgrade may leave the old one running for weeks, and that is who reads the file."""
    need(*NGINX_NEEDS, *NEEDS)
    old, new = (obtained(nginx_program, each) for each in ("1.26", "1.30"))
    program = tmp_path / "sbin" / "nginx"
    program.parent.mkdir()
    shutil.copy(old, program)
    with RealNginx(tmp_path / "nginx", program=str(program)) as nginx:
        nginx.start()
        one = balancer(nginx, tmp_path, program=str(program))
        await one.prepare()
        assert str(one.version).startswith("1.26.")
        shutil.copy(new, program.with_name("new"))
        program.with_name("new").replace(program)
        for each in (one, balancer(nginx, tmp_path, program=str(program))):
            await each.prepare()
            assert str(each.version).startswith("1.26."), "it runs on, also where lbwatch was started anew"
        nginx.stop()
        await one.prepare()
        assert str(one.version).startswith("1.26.")
        nginx.start()
        await one.prepare()
        assert str(one.version).startswith("1.30.")


async def test_what_nginx_refuses_is_isolated_and_all_else_verified(
    nginx: RealNginx, program: str, version: str, tmp_path: Path
) -> None:
    """The words of a refusal, by which it is laid at an upstream, are nginx's, and so are the signs of a reload."""
    one = balancer(nginx, tmp_path, program=program)
    await one.prepare()
    with counting() as (_, where):
        good = Upstream(name="web", servers=(where,), sticky=Sticky(cookie="sid") if version in WITH_STICKY else None)
        bad = Upstream(name="bad", servers=(Server(address="not an address", port=80, container="x", weight=3),))
        wait_until(nginx.worker_pids, holds=lambda pids: len(pids) == 2, within=10, what="it has its workers")
        before = nginx.worker_pids()
        applied = await one.apply((bad, good))
        assert [(each.upstream, each.level) for each in applied.degraded] == [("bad", Level.EMPTY)]
        assert applied.reloaded
        serving = {worker.pid for worker in workers_of(find_master(nginx.pidfile)).serving}
        assert len(serving) == 2
        assert not serving & before
        assert one.confirmed()
        assert nginx.ask("/web/") == f"server {where.port}"
        assert nginx.ask("/bad/") == "status 502"


@pytest.mark.parametrize(
    "method", ["", "least_conn;", "ip_hash;", "random;", "hash $request_uri;", "hash $request_uri consistent;"]
)
@pytest.mark.parametrize("version", WITH_STICKY, indirect=False)
def test_sessions_stay_with_any_method(program: str, method: str, tmp_path: Path) -> None:
    """None is excluded by nginx, and so by none is the label dropped."""
    with contextlib.ExitStack() as stack, RealNginx(tmp_path / "nginx", program=program) as nginx:
        places = [stack.enter_context(counting())[1] for _ in range(3)]

        def write(drains: str | None) -> None:
            lines = (f"server {each.host_port}{' drain' if each.container == drains else ''};" for each in places)
            nginx.output.write_text(
                f"upstream web {{ {method} {' '.join(lines)} sticky cookie sid path=/ httponly; }}\n"
            )

        write(None)
        nginx.start()
        first = ask(nginx)
        assert asked(nginx, cookie=first.cookie) == {first.who}
        write(f"c{first.who.removeprefix('server ')}")
        old = nginx.worker_pids()
        nginx.reload()
        wait_until(
            nginx.worker_pids, holds=lambda now: len(now) == 2 and not now & old, within=10, what="the old ones retire"
        )
        assert asked(nginx, cookie=first.cookie) == {first.who}
        assert first.who not in asked(nginx)

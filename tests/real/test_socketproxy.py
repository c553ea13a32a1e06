"""
Behind a socket proxy that allows four requests and nothing else, beside an nginx whose program is not on this side.

That is how lbwatch runs without any write access to the engine: HUP by pid, proof by /proc, and the old file back if no
new workers come.
"""

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from urllib.parse import quote

import pytest
from daemon import Stage, wait_until
from faultproxy import Canned, FaultProxy, Injected
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need
from realengine import RealEngine

WEB = {"lbwatch.upstream": "web"}
ALLOWED = r"(/v[0-9.]+)?/(_ping|events|containers/json|containers/[0-9a-f]{64}/json)$"
FORBIDDEN = Canned(status=403, body="<html><body><h1>403 Forbidden</h1></body></html>", type="text/html")


@pytest.fixture
def proxy(real_engine: RealEngine) -> Iterator[FaultProxy]:
    need(*ENGINE_NEEDS, *NGINX_NEEDS)
    with FaultProxy(real_engine.socket, real_engine.folder / "allow.sock") as proxy:
        yield proxy


@pytest.fixture
def refused(proxy: FaultProxy) -> Injected:
    """Counts what was asked for and is not allowed."""
    return proxy.inject(FORBIDDEN, on=f"^(?!{ALLOWED})")


@pytest.fixture
def stage(engine: RealEngine, proxy: FaultProxy, refused: Injected, set_stage: SetStage) -> Stage:
    return set_stage(engine, docker_host=proxy.url, nginx_command="/nowhere/nginx", resync_interval="1s")


def test_four_requests_to_the_engine_are_enough(
    stage: Stage, engine: RealEngine, proxy: FaultProxy, refused: Injected
) -> None:
    """Whoever may start a container on an engine is root there; a load balancer needs no such right."""
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    engine.run("web2", labels=WEB)
    engine.run(
        "shared", "--network", "container:web1", labels={"lbwatch.upstream": "api", "lbwatch.port": "81"}, port=81
    )
    stage.wait_in_step({"web": {"web1", "web2"}, "api": {"shared"}})
    engine.docker("pause", "web2")
    stage.wait_in_step({"web": {"web1"}, "api": {"shared"}})
    engine.docker("unpause", "web2")
    engine.docker("rename", "web2", "web3")
    stage.wait_in_step({"web": {"web1", "web2"}, "api": {"shared"}})  # it answers what it was started as
    assert stage.lbwatch.command("drain", "web3")[0] == 0
    stage.wait_in_step({"web": {"web1"}, "api": {"shared"}}, draining={"web3"})
    engine.remove("web3")
    stage.wait_in_step({"web": {"web1"}, "api": {"shared"}})
    for words in (("check",), ("explain", "web1"), ("render",)):
        stage.lbwatch.command(*words)
    assert refused.strikes == 4, "who it is, and what in a Swarm: once by the daemon, and by each command"
    assert "403 Forbidden" in docker(proxy, "stop", "web1"), "the proxy lets everything through"
    wait_until(lambda: refused.strikes > 1, within=10, what="it was the proxy that refused")
    assert stage.nginx.answers("web") == {"web1"}


def docker(proxy: FaultProxy, *words: str) -> str:
    """What the docker command line says through the proxy."""
    done = subprocess.run(
        ["docker", "--host", proxy.url, *words], check=False, capture_output=True, text=True, timeout=30
    )
    return done.stdout + done.stderr


def test_without_a_test_the_old_file_comes_back_where_nginx_does_not_take_the_new_one(
    stage: Stage, engine: RealEngine, refused: Injected
) -> None:
    """Nothing can test there: the reload is the trial."""
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    suspended = stage.output.read_text()
    (stage.output.parent / "taken.conf").write_text("upstream taken { server 192.0.2.9:80; }\n")
    engine.run("bad", labels={"lbwatch.upstream": "taken"})
    stage.lbwatch.wait_for_log("upstream.degraded", upstream="taken", within=15)
    wait_until(lambda: stage.output.read_text() == suspended, within=15, what="the old file is back")
    assert stage.nginx.answers("web") == {"web1"}
    assert refused.strikes == 1, "who it is, once"


@pytest.mark.parametrize(
    ("path", "asked"),
    [("/events$", "/events"), ("/containers/json$", "/containers/json"), ("/containers/[0-9a-f]{64}/json$", "/json")],
)
def test_a_proxy_that_refuses_too_much_is_told_what_to_allow(
    engine: RealEngine, proxy: FaultProxy, set_stage: SetStage, path: str, asked: str
) -> None:
    """Its operator has a list of switches before him, and must know which."""
    engine.run("web1", labels=WEB)
    refused = proxy.inject(FORBIDDEN, on=path)
    stage = set_stage(engine, docker_host=proxy.url)
    wait_until(lambda: refused.strikes, within=10, what="it is refused")

    def told() -> list[str]:
        errors = [str(line.get("error", "")) for line in stage.lbwatch.lines()]
        return [error for error in errors if f"{asked}: refused by what stands before the engine (403)" in error]

    (error, *_) = wait_until(told, within=10, what="it is logged", notes=stage.notes)
    assert "GET /_ping, GET /events, GET /containers/json, GET /containers/ID/json" in error
    assert "403 Forbidden" not in json.dumps(error), "a page was logged"
    for words in (("explain",), ("explain", "--json")):
        code, _, err = stage.lbwatch.command(*words)
        assert code == 1
        assert f"{asked}: refused by what stands before the engine" in err, err
    stage.lbwatch.terminate()
    strikes = refused.strikes
    code, out, err = stage.lbwatch.command("explain", "web1", within=100)
    if asked != "/events":
        assert (code, out) == (1, "")
        assert f"{asked}: refused by what stands before the engine" in err, err
        assert refused.strikes == strikes + 1, "it was tried again and again"


def test_check_names_what_is_asked_of_the_engine(engine: RealEngine, set_stage: SetStage, tmp_path: Path) -> None:
    """Whoever writes the proxy's rules should not have to read the code."""
    stage = set_stage(engine, lbwatch_runs=False)
    _, out, _ = stage.lbwatch.command("check")
    (line,) = [line for line in out.splitlines() if "engine" in line.split()[:2]]
    assert "asked for GET /_ping, GET /events, GET /containers/json, GET /containers/ID/json" in line


# -- the proxy that ships

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "socket-proxy"
ENGINE, MANAGER = "nginx.conf", "manager.conf"
ID = "0123456789abcdef" * 4
SWARM_ID = "0123456789klmnopqrstuvwxy"


class Recorder:
    """In the place of an engine: answers each request alike, and keeps its bytes."""

    def __init__(self, path: Path) -> None:
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                request = b""
                while b"\r\n\r\n" not in request and (part := connection.recv(65536)):
                    request += part
                connection.settimeout(0.1)
                with suppress(TimeoutError):
                    request += connection.recv(65536)  # a body, if one is passed on
                self.requests.append(request)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")


@contextmanager
def shipped_proxy(folder: Path, *, config: str) -> Iterator[tuple[Recorder, Path]]:
    """The proxy as it ships, but for its paths; gives what stands behind it, and its socket."""
    recorder, front = Recorder(folder / "docker.sock"), folder / "front.sock"
    text = (SHIPPED / config).read_text()
    for ours, theirs in (
        (" /tmp/", f" {folder}/"),  # first: the folder is below /tmp itself
        ("listen 2375;", f"listen unix:{front};"),
        ("unix:/host/run/docker.sock", f"unix:{folder}/docker.sock"),
        ("/dev/stderr", f"{folder}/error.log"),
    ):
        assert ours in text
        text = text.replace(ours, theirs)
    (folder / "nginx.conf").write_text(text)
    nginx = subprocess.Popen(
        ["nginx", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(front.exists, within=10, what="the proxy listens")
        yield recorder, front
    finally:
        nginx.terminate()
        nginx.wait(timeout=10)
        recorder.close()


def asked(front: Path, request: bytes) -> int:
    """The status of the answer to a request of any bytes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(front))
        client.sendall(request)
        answer = b""
        while b"\r\n" not in answer and (part := client.recv(65536)):
            answer += part
    return int(answer.split()[1])


PASSES = (
    "/_ping",
    "/events?filters=%7B%7D&since=1.000000000",
    "/v1.41/containers/json?all=1",
    f"/v1.41/containers/{ID}/json",
    f"//v1.41/./containers/x/../{ID}/json",  # as nginx understands it, and passed on so
)

MANAGER_PASSES = (
    "/info",
    "/v1.41/networks",
    "/v1.41/nodes",
    "/v1.41/services?status=true",
    f"/v1.41/services/{SWARM_ID}",
    "/v1.41/tasks?filters=%7B%22desired-state%22%3A%5B%22running%22%5D%7D",
    f"/v1.41/tasks/{SWARM_ID}",
    "/v1.41/tasks?filters=" + quote(json.dumps({"service": [SWARM_ID] * 100})),  # as many as are asked for at once
)

REFUSED_PATHS = (
    "/containers/json%0a",
    "/containers/json%0a?x",
    f"/containers/{ID}/json%0A?x=1",
    "/_ping%0a",
    "/v1.41%0a/_ping",
    "/%0a/_ping",
    "/containers/json%0d%0a",
    "/containers/json/",
    "/containers/json;x",
    "/containers/json%3fx",
    "/containers/json%23",
    f"/containers/{ID}/json/../archive?path=/etc",
    f"/containers/{ID}/exec",
    f"/containers/{ID}/json%2f..%2f..%2fx",
    f"/containers/{ID.upper()}/json",
    f"/containers/{ID}0/json",
    "/containers/web/json",
    "/",
    "/v1.41/v1.41/_ping",
    "/exec/x",
    "/swarm",
    "/swarm/unlockkey",
    "/secrets",
    "/configs",
    "/services/create",
    "/services/web",
    f"/services/{SWARM_ID}/logs?stdout=1",
    f"/services/{SWARM_ID}/update",
    f"/services/{SWARM_ID.upper()}",
    f"/services/{SWARM_ID}0",
    f"/services/{SWARM_ID}%0a",
    "/tasks/",
    f"/tasks/{SWARM_ID}/logs",
    f"/nodes/{SWARM_ID}",
    "/networks/create",
    f"/networks/{ID}",
    "/infos",
)


@pytest.mark.parametrize("config", [ENGINE, MANAGER])
def test_the_shipped_proxy_passes_what_is_asked_and_nothing_that_looks_like_it(tmp_path: Path, config: str) -> None:
    """A path that ends in a newline is another one; and whatever a client sends beside it is not the engine's."""
    need(*NGINX_NEEDS)
    passes = PASSES if config == ENGINE else (*MANAGER_PASSES, *PASSES)
    refused = REFUSED_PATHS if config == MANAGER else (*REFUSED_PATHS, *MANAGER_PASSES)
    with shipped_proxy(tmp_path, config=config) as (engine, front):
        for path in passes:
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\n"
            for rest in (
                "\r\n",
                "Content-Length: 5\r\n\r\nhello",
                "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "Upgrade: tcp\r\nConnection: Upgrade\r\nX-Registry-Auth: x\r\nCookie: x\r\n\r\n",
            ):
                assert asked(front, (head + rest).encode()) == 200, (path, rest)
        assert len(engine.requests) == 4 * len(passes)
        for request in engine.requests:
            line, *headers = request.decode().removesuffix("\r\n\r\n").split("\r\n")
            assert line.startswith("GET /")
            assert headers == ["Host: docker"], request
        assert f"GET /v1.41/containers/{ID}/json HTTP/1.1" in engine.requests[-1].decode()
        before = len(engine.requests)
        for path in refused:
            assert asked(front, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) in (400, 403, 404), path
        for method, path in product(("POST", "PUT", "DELETE", "PATCH", "OPTIONS"), passes):
            request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
            assert asked(front, request.encode()) in (403, 405), (method, path)
        assert asked(front, b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000) == 413
        assert len(engine.requests) == before

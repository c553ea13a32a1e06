"""
Behind a socket proxy that allows four requests and nothing else, beside an nginx whose program is not on this side.

That is how lbwatch runs without any write access to the engine: HUP by pid, proof by /proc, and the old file back if no
new workers come.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

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
    assert refused.strikes == 0
    assert "403 Forbidden" in docker(proxy, "stop", "web1"), "the proxy lets everything through"
    assert refused.strikes > 0
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
    stage.lbwatch.wait_for_log("nginx.rejected", within=15)
    assert stage.output.read_text() == suspended
    assert stage.nginx.answers("web") == {"web1"}
    assert refused.strikes == 0


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
    began = time.monotonic()
    code, out, err = stage.lbwatch.command("explain", "web1")
    if asked != "/events":
        assert (code, out) == (1, "")
        assert f"{asked}: refused by what stands before the engine" in err, err
        assert time.monotonic() - began < 10, "it was tried again and again"


def test_check_names_what_is_asked_of_the_engine(engine: RealEngine, set_stage: SetStage, tmp_path: Path) -> None:
    """Whoever writes the proxy's rules should not have to read the code."""
    stage = set_stage(engine, lbwatch_runs=False)
    _, out, _ = stage.lbwatch.command("check")
    (line,) = [line for line in out.splitlines() if "engine" in line.split()[:2]]
    assert "asked for GET /_ping, GET /events, GET /containers/json, GET /containers/ID/json" in line

"""An nginx on a machine of its own: it reaches what engines publish, and nothing else of theirs."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import Stage, ending, wait_until
from needs import ENGINE_NEEDS, NGINX_NEEDS, need
from oracle import file_blocks
from realengine import in_namespace
from realnginx import RealNginx
from sidecar import row_of
from swarmnodes import LinkedEngines, SwarmNode

WEB = {"lbwatch.upstream": "web"}
FOLLOWED_S = 1.0
"""Within so long after its start a port that changed must be in the file."""


@pytest.fixture(scope="module")
def machines() -> Iterator[LinkedEngines]:
    """One engine, and a namespace without any from which it is reached."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS)
    with LinkedEngines(["b"]) as machines:
        yield machines.start()


@pytest.fixture
def node(machines: LinkedEngines) -> Iterator[SwarmNode]:
    """The engine, empty."""
    (node,) = machines.nodes
    node.clear()
    yield node


@pytest.fixture
def stage(machines: LinkedEngines, node: SwarmNode, tmp_path: Path) -> Iterator[Stage]:
    """The engine here, nginx there, and lbwatch that is told so."""
    nginx = RealNginx(tmp_path / "nginx", machines.switch)
    flags = {"docker-host": f"b={node.url}", "nginx-engine": "none", "engine-address": f"b={node.address}"}
    stage = Stage(node, nginx, folder=tmp_path, settings=flags)
    with ending([stage]):
        nginx.start()
        stage.lbwatch.start()
        yield stage


def published(node: SwarmNode, name: str) -> str:
    """Return where its port 80 is reached, by the engine's own word."""
    bindings = node.inspect(name)["NetworkSettings"]["Ports"]["80/tcp"]
    return f"server {node.address}:{bindings[0]['HostPort']}"


def wait_written(stage: Stage, lines: list[str], *, within: float) -> None:
    """Wait until the file has these servers in upstream web, and no other upstream."""
    wait_until(
        lambda: [(name, sorted(each)) for name, each in file_blocks(stage.output)] if stage.output.exists() else [],
        holds=lambda found: found == [("web", sorted(lines))],
        within=within,
        what=f"the file has {lines}",
        notes=stage.notes,
    )


def wait_answered(stage: Stage, upstream: str, *who: str) -> None:
    wait_until(
        lambda: stage.nginx.answers(upstream),
        holds=lambda found: found == {*who},
        within=12,
        what=f"{who} answer for {upstream}",
        notes=stage.notes,
    )


def test_a_port_of_the_engines_choice_is_followed_through_restarts(stage: Stage, node: SwarmNode) -> None:
    """Each `docker restart` gives another one; whoever keeps the old one sends requests to nobody."""
    both = ("one", "two")
    for name in both:
        node.run(name, "--publish", "80", labels=WEB)
    stage.lbwatch.wait_started()
    wait_written(stage, [published(node, name) for name in both], within=12)
    wait_answered(stage, "web", *both)
    for _ in range(3):
        before = published(node, "one")
        node.docker("restart", "--time", "1", "one")
        restarted = time.monotonic()
        assert published(node, "one") != before, "else this shows nothing"
        wait_written(stage, [published(node, name) for name in both], within=FOLLOWED_S)
        print(f"in the file {time.monotonic() - restarted:.2f} s after `docker restart` had ended")
        wait_answered(stage, "web", *both)


def test_what_is_not_published_where_nginx_is_reads_what_to_do(stage: Stage, node: SwarmNode) -> None:
    """The address of its bridge would be routed to nobody, or on nginx's machine to another container."""
    node.run("near", "--publish", "127.0.0.1:8080:80", labels={"lbwatch.upstream": "near"})
    node.run("none", labels={"lbwatch.upstream": "none"})
    both = ("--publish", f"{node.address}:8081:80", "--publish", "81")
    node.run("bound", *both, labels={"lbwatch.upstream": "bound", "lbwatch.port": "80"})
    node.run(
        "beside", "--network", "container:bound", port=81, labels={"lbwatch.upstream": "beside", "lbwatch.port": "81"}
    )
    node.run("host", "--network", "host", port=8082, labels={"lbwatch.upstream": "host", "lbwatch.port": "8082"})
    for name in ("bound", "beside", "host"):
        wait_answered(stage, name, name)
    near, none = (row_of(stage.lbwatch, name) for name in ("near", "none"))
    assert "its port 80 is published on 127.0.0.1 alone, where nginx is not" in near["detail"]
    assert "it publishes no port: docker run --publish 80 does it" in none["detail"]


def test_from_there_no_bridge_is_reached(machines: LinkedEngines, node: SwarmNode) -> None:
    """What the rule is made for: with an address of the bridge all requests would fail."""
    node.run("web", labels=WEB)
    address = node.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    connect = ["bash", "-c", f"exec 3<>/dev/tcp/{address}/80"]
    done = subprocess.run(in_namespace(machines.switch, connect), check=False, capture_output=True, timeout=10)
    assert done.returncode != 0

"""Two plain engines on two machines behind one nginx; both gave their containers the same private addresses."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import wait_until
from needs import ENGINE_NEEDS, NGINX_NEEDS, need
from readiness import readyz
from swarmnginx import Place, SwarmStage
from swarmnodes import LinkedEngines, SwarmNode

WEB = {"lbwatch.upstream": "web"}
PUBLISHED = ("--publish", "80")


@pytest.fixture(scope="module")
def engines(swarm_programs: Path | None) -> Iterator[LinkedEngines]:
    """Two that reach each other and are in no Swarm."""
    with LinkedEngines(["a", "b"], programs=swarm_programs) as linked:
        yield linked.start()


@pytest.fixture
def stage(engines: LinkedEngines, tmp_path: Path) -> Iterator[SwarmStage]:
    """Nginx where only published ports are reached; the engines have nothing but one container each of one name."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS)
    addresses = ",".join(f"{node.hostname}={node.address}" for node in engines.nodes)
    for node in engines.nodes:
        node.run("web", *PUBLISHED, labels=WEB, who=node.hostname)
    stage = SwarmStage(
        engines,
        doors=engines.nodes,
        folder=tmp_path,
        place=Place.OUTSIDE,
        engine_address=addresses,
        reload_interval="200ms",
    )
    try:
        yield stage.start()
    finally:
        stage.close()
        for node in engines.nodes:
            node.clear()


def private(node: SwarmNode) -> str:
    return str(node.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def published(node: SwarmNode) -> str:
    """Return where the container is reached, as the engine says it now."""
    return f"{node.address}:{node.inspect('web')['NetworkSettings']['Ports']['80/tcp'][0]['HostPort']}"


def wait_both(stage: SwarmStage, *, within: float = 15) -> None:
    """Wait until both containers stand in the file as their engines have them, and answer."""
    nodes = stage.engines.nodes
    stage.wait_servers("web", [published(node) for node in nodes], within=within)
    wait_until(
        lambda: stage.nginx.answers("web"),
        within=within,
        holds=lambda found: found == {node.hostname for node in nodes},
        what="both answer",
        notes=stage.notes,
    )


def test_two_engines_with_equal_addresses_are_one_upstream(stage: SwarmStage) -> None:
    """One of them was silently left out, since its address was another's too; and a port is another one after a restart."""
    a, b = stage.engines.nodes
    wait_both(stage)
    assert private(a) == private(b)
    assert {line.split(":")[1] for line in stage.servers("web")} == {published(b).split(":")[1]}, "of equal ports too"
    before = published(b)
    b.docker("restart", "--time", "1", "web")
    began = time.monotonic()
    assert published(b) != before
    wait_both(stage)
    print(f"its new port was in and answered {time.monotonic() - began:.2f} s after the restart")
    state = stage.lbwatch.command("explain")[1]
    assert "a/web" in state and "b/web" in state


def test_an_engine_that_died_changes_nothing_and_is_named(stage: SwarmStage) -> None:
    """Its containers live and serve on; an engine that is away is no reason to take them out, nor is our own restart."""
    a, b = stage.engines.nodes
    wait_both(stage)
    mine = stage.servers("web")
    with stage.untouched():
        b.kill9()
        wait_until(
            lambda: readyz(stage.lbwatch.control_socket),
            within=20,
            holds=lambda answer: " 503 " in answer and '"b' in answer.replace("engine b", '"b'),
            what="it is not ready, and names the engine",
            notes=stage.notes,
        )
        began = time.monotonic()
        a.create("other")  # so that something happens meanwhile
        wait_until(lambda: time.monotonic() - began > 5, within=10, what="some time of it")
    stage.lbwatch.terminate()
    bytes_before = stage.output.read_bytes()
    stage.lbwatch.start()
    stage.lbwatch.wait_started()
    mark = stage.lbwatch.mark()
    a.run("later", *PUBLISHED, labels={"lbwatch.upstream": "later"})
    wait_until(lambda: stage.servers("later"), within=30, what="the other engine is followed", notes=stage.notes)
    assert stage.servers("web") == mine, stage.notes()
    assert len(bytes_before) < len(stage.output.read_bytes())
    assert stage.reloads(since=mark) <= 2
    b.start()
    b.docker("start", "web")
    wait_both(stage, within=30)

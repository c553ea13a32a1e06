"""By which network a container is reached, on a real engine with networks of every driver that it has."""

import json
import subprocess
from collections.abc import Callable

import pytest
from daemon import Stage, wait_until
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need
from oracle import Reach
from realengine import RealEngine

WEB = {"lbwatch.upstream": "web"}


@pytest.fixture(autouse=True)
def _needed() -> None:
    need(*ENGINE_NEEDS, *NGINX_NEEDS)


def address_of(engine: RealEngine, name: str, network: str) -> str:
    return str(engine.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"])


def row_of(stage: Stage, name: str) -> dict[str, object]:
    code, out, err = stage.lbwatch.command("explain", "--json", name)
    assert code == 0, err
    row: dict[str, object] = json.loads(out)[0]
    return row


def wait_rendered(stage: Stage, server: str) -> None:
    def text() -> str:
        return stage.output.read_text() if stage.output.exists() else ""

    wait_until(
        lambda: f"server {server};" in text(),
        within=15,
        what=f"{server} is rendered",
        notes=lambda: f"{text()}\n{stage.lbwatch.tail()}",
    )


@pytest.fixture
def macvlan(engine: RealEngine) -> str:
    """Make a network of that driver, whose parent is an interface of the engine's own namespace."""
    engine.prepare()
    link = ("ip", "-n", engine.name, "link")
    shown = subprocess.run([*link, "show", "lbwparent"], check=False, capture_output=True)
    if shown.returncode:
        subprocess.run([*link, "add", "lbwparent", "type", "veth", "peer", "name", "lbwpeer"], check=True)
        subprocess.run([*link, "set", "lbwparent", "up"], check=True)
    tried = [*link, "add", "link", "lbwparent", "lbwtried", "type", "macvlan"]
    if subprocess.run(tried, check=False, capture_output=True).returncode:
        pytest.skip("the kernel has no macvlan")
    subprocess.run([*link, "delete", "lbwtried"], check=True)
    engine.docker(
        *("network", "create", "--driver", "macvlan", "--opt", "parent=lbwparent"),
        *("--subnet", "10.77.0.0/24", "alan"),
    )
    return "alan"


def test_a_bridge_comes_before_a_macvlan_and_the_guess_is_told(
    engine: RealEngine, set_stage: SetStage, macvlan: str
) -> None:
    """By name alone the macvlan was taken, which its own host cannot reach: 502 for ever, with all lights green."""
    engine.docker("network", "create", "zbridge")
    stage = set_stage(engine)
    engine.run("web1", "--network", macvlan, labels=WEB)
    engine.docker("network", "connect", "zbridge", "web1")
    wait_until(lambda: stage.nginx.answers("web") == {"web1"}, within=15, what="it serves", notes=stage.notes)
    assert f"server {address_of(engine, 'web1', 'zbridge')}:80;" in stage.output.read_text()
    told = stage.lbwatch.wait_for_log("container.noticed", container="web1", notice="network-guessed")
    assert "alan, zbridge, and zbridge was taken" in told["detail"]
    _, plain, _ = stage.lbwatch.command("explain", "web1")
    assert "(macvlan, which its own host cannot reach, comes last)" in plain
    assert "(used: a guess)" in plain


def test_a_container_without_any_network_reads_the_commands_that_help(engine: RealEngine, set_stage: SetStage) -> None:
    """Those in the row, word for word: to wait or to restart it helps for no time at all."""
    stage = set_stage(engine, reach=Reach(networks=("bridge",)))
    engine.run("web1", "--network", "none", labels=WEB)
    row = wait_until(
        lambda: row_of(stage, "web1"),
        holds=lambda row: row["reason"] == "no-network",
        within=15,
        what="it is explained",
    )
    for command in str(row["detail"]).partition(": ")[2].split(", then "):
        engine.docker(*command.split()[1:])
    wait_until(lambda: stage.nginx.answers("web") == {"web1"}, within=15, what="it serves", notes=stage.notes)


def test_a_task_of_a_swarm_is_never_reached_by_the_network_of_its_mesh(
    new_engine: Callable[..., RealEngine], set_stage: SetStage
) -> None:
    """Each task with a published port is on it, with an address that only the mesh can reach."""
    engine = new_engine().start()
    engine.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    engine.docker("network", "create", "--driver", "overlay", "ov")
    stage = set_stage(engine, networks="ov")  # which no nginx on the engine's host reaches, so that it is said
    service = ("service", "create", "--detach", "--container-label", "lbwatch.enable=true", "--publish", "8080:80")
    engine.docker(*service, "--name", "both", "--network", "ov", "app")
    engine.docker(*service[:-2], "--publish", "8081:80", "--name", "alone", "app")

    def task(service: str) -> str:
        return engine.docker("ps", "--quiet", "--filter", f"label=com.docker.swarm.service.name={service}")

    for name in ("both", "alone"):
        wait_until(lambda name=name: task(name), within=30, what=f"a task of {name} runs")
    both, alone = (engine.inspect(task(name)) for name in ("both", "alone"))
    assert sorted(both["NetworkSettings"]["Networks"]) == ["ingress", "ov"], "else this shows nothing"
    wait_rendered(stage, f"{both['NetworkSettings']['Networks']['ov']['IPAddress']}:80")
    row = row_of(stage, alone["Name"].removeprefix("/"))
    assert row["reason"] == "no-network"
    assert "docker service update --network-add ov alone" in str(row["detail"])
    assert all(
        each["NetworkSettings"]["Networks"]["ingress"]["IPAddress"] not in stage.output.read_text()
        for each in (both, alone)
    )

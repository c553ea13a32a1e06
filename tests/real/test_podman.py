"""
The main job on real Podmans, 4.3 and 5.4: what they tell otherwise than Docker is heard, and what they never tell is told.

The resync is set so far apart that events alone must do. Nothing probes health here, since no systemd runs.
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import versions
from containernginx import ContainerNginx
from daemon import Stage, ending, wait_until
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need, obtained
from oracle import PLACEHOLDER, Reach, file_blocks
from pasting import tried
from readme import under
from realengine import IMAGE, RealEngine
from realnginx import RealNginx
from realpodman import RealPodman
from sidecar import SetSidecar

WEB = {"lbwatch.upstream": "web"}
API = {"lbwatch.upstream": "api"}
CHECK = ("--health-cmd", "busybox test -f /well", "--health-interval", "1h", "--health-retries", "1")
IN_PODMAN_S = Reach(networks=("podman",), host_shared=False)


@pytest.fixture(scope="module", params=versions.PODMANS)
def podman(request: pytest.FixtureRequest) -> Iterator[RealPodman]:
    """Each in turn, for all tests of this file."""
    need(*ENGINE_NEEDS)
    with obtained(RealPodman, request.param) as engine:
        yield engine.start()


@pytest.fixture
def engine(podman: RealPodman) -> Iterator[RealPodman]:
    """It, empty before and after."""
    try:
        yield podman
    finally:
        podman.clear()


@pytest.fixture(scope="module")
def running(podman: RealPodman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An nginx and an lbwatch, for all tests that need no settings of their own: starting them takes longest."""
    need(*NGINX_NEEDS)
    folder = tmp_path_factory.mktemp("stage")
    nginx = RealNginx(folder / "nginx", podman.name)
    with ending([stage := Stage(podman, nginx, folder=folder)]):
        nginx.start()
        stage.lbwatch.start()
        yield stage


@pytest.fixture
def stage(engine: RealPodman, running: Stage) -> Stage:
    """It, with an engine that is empty."""
    running.wait_in_step({})
    return running


def rows(stage: Stage) -> dict[str, dict[str, Any]]:
    """What `explain` says of each container, by its name."""
    code, out, err = stage.lbwatch.command("explain", "--json")
    assert code == 0, err
    return {row["container"]: row for row in json.loads(out)}


def servers(stage: Stage, upstream: str) -> list[str] | None:
    return dict(file_blocks(stage.output)).get(upstream)


def address_of(engine: RealEngine, name: str, network: str) -> str:
    return str(engine.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"])


def test_a_container_serves_from_its_start_to_its_end(stage: Stage, engine: RealPodman) -> None:
    """However it ends: stopped, killed, crashed, restarted or removed. 4.3 tells of no death that is asked for as `die`."""
    for name in ("one", "two", "phoenix"):
        engine.run(name, *(("--restart", "always") if name == "phoenix" else ()), labels=WEB)
    stage.wait_in_step({"web": {"one", "two", "phoenix"}})
    engine.docker("stop", "--time", "2", "one")
    stage.wait_in_step({"web": {"two", "phoenix"}})
    engine.docker("start", "one")
    stage.wait_in_step({"web": {"one", "two", "phoenix"}})
    engine.docker("restart", "--time", "2", "one")
    stage.wait_heard()
    stage.wait_in_step({"web": {"one", "two", "phoenix"}})
    engine.kill_from_outside("two")
    stage.wait_in_step({"web": {"one", "phoenix"}})
    former = engine.host_pid("phoenix")
    engine.kill_from_outside("phoenix")
    wait_until(lambda: engine.inspect("phoenix")["State"]["Pid"] not in (0, former), within=10, what="it is back")
    stage.wait_heard()
    stage.wait_in_step({"web": {"one", "phoenix"}})
    engine.docker("pause", "one")
    stage.wait_in_step({"web": {"phoenix"}})
    engine.docker("rm", "--force", "phoenix")
    stage.wait_in_step({"web": ()})
    engine.docker("unpause", "one")
    stage.wait_in_step({"web": {"one"}})
    engine.docker("rm", "--force", "one", "two")
    stage.wait_in_step({"web": ()})
    assert servers(stage, "web") is None
    assert not stage.lbwatch.logged("source.drifted")


def test_what_is_removed_is_gone_from_explain(stage: Stage, engine: RealPodman) -> None:
    """Podman has a word of its own for that, also of what asks for nothing."""
    engine.run("plain")
    stage.wait_heard()
    assert rows(stage)["plain"]["reason"] == "not-labelled"
    engine.docker("rm", "--force", "plain")
    wait_until(lambda: "plain" not in rows(stage), within=10, what="it is gone")


def test_a_container_moves_between_networks(engine: RealPodman, set_stage: SetStage) -> None:
    """4.3 names neither the network nor, but as the actor, the container."""
    for network in ("front", "back"):
        engine.docker("network", "create", network)
    stage = set_stage(engine, reach=Reach(networks=("front", "back")))
    engine.run("mover", "--network", "back", labels=WEB)
    engine.run("other", "--network", "front", labels=WEB)
    stage.wait_in_step({"web": {"mover", "other"}})
    engine.docker("network", "connect", "front", "mover")
    stage.wait_in_step({"web": {"mover", "other"}})
    assert f"server {address_of(engine, 'mover', 'front')}:80" in (servers(stage, "web") or ())
    engine.docker("network", "disconnect", "front", "mover")
    stage.wait_in_step({"web": {"mover", "other"}})
    assert f"server {address_of(engine, 'mover', 'back')}:80" in (servers(stage, "web") or ())
    engine.docker("network", "disconnect", "back", "mover")
    stage.wait_in_step({"web": {"other"}})


def test_the_default_network_is_known_by_docker_s_name(engine: RealPodman, set_stage: SetStage) -> None:
    """Docker's command line calls it so, which is what people copy from; inspect has Podman's own name."""
    engine.docker("network", "create", "aback")
    stage = set_stage(engine, reach=Reach(networks=("podman",)), networks="bridge")
    engine.create("both", "--network", "podman", labels=WEB)
    engine.docker("network", "connect", "aback", "both")
    engine.docker("start", "both")
    stage.wait_in_step({"web": {"both"}})
    assert servers(stage, "web") == [f"server {address_of(engine, 'both', 'podman')}:80"]
    _, out, _ = stage.lbwatch.command("check")
    assert "the engine has bridge" in out
    warning = next(line for line in out.splitlines() if "which reports no stop signal" in line)
    assert f"this is Podman {engine.version.removeprefix('podman-')}" in warning


def test_a_container_on_the_network_of_another_is_served_there(stage: Stage, engine: RealPodman) -> None:
    """Lists do not say whose network a container uses, and its networks are shown as the other's."""
    engine.run("owner")
    engine.run("guest", "--network", "container:owner", labels=WEB | {"lbwatch.port": "8080"}, port=8080)
    stage.wait_in_step({"web": {"guest"}})
    assert servers(stage, "web") == [f"server {address_of(engine, 'owner', 'podman')}:8080"]
    engine.kill_from_outside("owner")
    stage.wait_in_step({"web": ()})


def test_a_one_off_of_podman_compose_is_not_routed(stage: Stage, engine: RealPodman) -> None:
    """It has the labels of its service, and no other of its own."""
    labels = WEB | {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
    engine.run("shop_web_1", labels=labels)
    stage.wait_in_step({"web": {"shop_web_1"}})
    before = file_blocks(stage.output)
    engine.run("shop_web_tmp4711", labels=labels)
    wait_until(lambda: rows(stage).get("shop_web_tmp4711"), within=10, what="it is known")
    assert rows(stage)["shop_web_tmp4711"]["reason"] == "one-off"
    assert file_blocks(stage.output) == before


def pasted(text: str, stage: Stage, engine: RealPodman, *, folder: Path) -> str:
    """What a block of docs/podman.md prints, with the image of these tests; it must not fail."""
    engine.put_command(folder)
    text = f"set -eu; PATH={folder}:$PATH\n{text.replace('IMAGE', IMAGE)}\necho all done"
    printed = tried(stage, text, folder=folder, within=60)
    assert printed.endswith("all done\n"), printed
    return printed


@contextmanager
def asking(stage: Stage) -> Iterator[list[str]]:
    """Ask for web all the time, one request after the other; gives the answers."""
    answers: list[str] = []
    over = Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(stage.nginx.ask("/web/"))

    client = Thread(target=ask, name="client")
    client.start()
    try:
        yield answers
    finally:
        over.set()
        client.join()


def test_a_deploy_that_drains_by_hand_fails_no_request(stage: Stage, engine: RealPodman, tmp_path: Path) -> None:
    """Podman's stop tells of no signal, so that nothing but the deploy itself can say what comes."""
    start, restart = under("No drain by itself", document="docs/podman.md")
    engine.run("web-1", labels=WEB)
    stage.wait_in_step({"web": {"web-1"}})
    with asking(stage) as answers:
        pasted(start, stage, engine, folder=tmp_path)
        new = {stage.nginx.ask("/web/")}
    assert new.isdisjoint({"web-1"})
    assert {*answers} == {"web-1"} | new, "each was answered, by the old or the new one"
    assert [each["Name"] for each in engine.inspect_all()] == ["/web-2"]
    engine.run("other", labels=WEB)
    stage.wait_heard()
    with asking(stage) as answers:
        pasted(restart, stage, engine, folder=tmp_path)
    assert {*answers} <= {"other"} | new
    stage.wait_in_step({"web": {"other"} | new})


def test_each_kill_counts_as_the_stop_signal(stage: Stage, engine: RealPodman) -> None:
    """As the docs say: its event is there, without the signal, so that HUP drains as well."""
    engine.run("old", deaf=True, labels=WEB)
    engine.run("new", labels=WEB)
    stage.wait_in_step({"web": {"old", "new"}})
    engine.podman("kill", "--signal", "TERM", "old")
    stage.wait_in_step({"web": {"new"}}, draining={"old"})
    assert engine.inspect("old")["State"]["Running"], "it is deaf"
    engine.podman("kill", "--signal", "HUP", "new")
    wait_until(
        lambda: rows(stage)["new"]["state"], holds=lambda state: state == "draining", within=10, what="it drains"
    )


def test_a_health_check_that_nothing_runs_is_told_with_what_to_do(
    stage: Stage, engine: RealPodman, tmp_path: Path
) -> None:
    """Podman has systemd run the probes: without it the container is `starting` for ever, and nothing else says why."""
    engine.run("web-2", *CHECK, labels=WEB)
    engine.run("asked", *CHECK, labels=API | {"lbwatch.health": "ignore"})
    wait_until(
        lambda: servers(stage, "api"), holds=lambda found: found not in (None, PLACEHOLDER), within=10, what="api"
    )
    row = rows(stage)["web-2"]
    assert row["reason"] == "starting"
    assert "no probe has run" in row["detail"]
    assert "the label lbwatch.health=ignore" in row["detail"]
    engine.docker("exec", "web-2", "busybox", "touch", "/well")
    (probe,) = under("Health checks", document="docs/podman.md")
    pasted(probe, stage, engine, folder=tmp_path)
    wait_until(
        lambda: servers(stage, "web"), holds=lambda found: found not in (None, PLACEHOLDER), within=10, what="web"
    )
    engine.docker("exec", "web-2", "busybox", "rm", "/well")
    with pytest.raises(RuntimeError):
        engine.podman("healthcheck", "run", "web-2")
    wait_until(
        lambda: rows(stage)["web-2"]["state"], holds=lambda state: state == "unhealthy", within=10, what="it is ill"
    )


def test_the_service_may_be_killed_and_started_again(stage: Stage, engine: RealPodman) -> None:
    """There is no daemon: containers live on, and what happened meanwhile is found by the first list."""
    engine.run("one", labels=WEB)
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    doomed = engine.host_pid("two")
    engine.kill9()
    stage.lbwatch.wait_for_log("source.disconnected")
    os.kill(doomed, signal.SIGKILL)
    engine.start()
    stage.wait_in_step({"web": {"one"}})


# -- nginx in a container


def test_an_nginx_in_a_container_is_tested_and_reloaded_by_two_programs(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealPodman
) -> None:
    """Each leaves two processes behind for five minutes, so that no more may be run; the reload is verified all the same."""
    nginx.start()
    engine.run("web1", labels=WEB)
    engine.run("web2", labels=WEB)
    stage = set_sidecar(nginx)
    stage.reach = IN_PODMAN_S
    stage.wait_in_step({"web": {"web1", "web2"}})
    stage.lbwatch.wait_for_log("nginx.reloaded")
    for deed, serve in (("pause", {"web1"}), ("unpause", {"web1", "web2"})):
        since, before = stage.lbwatch.mark(), engine.conmons()
        engine.docker(deed, "web2")
        stage.wait_for_reload(since=since)
        stage.wait_in_step({"web": serve})
        assert engine.conmons() - before == 4
    assert not stage.lbwatch.logged("nginx.reload_failed")


def test_what_nginx_refuses_in_its_container_is_left_out(
    nginx: ContainerNginx, set_sidecar: SetSidecar, engine: RealPodman
) -> None:
    """One container's upstream that the user's files have already must not hold up the others."""
    (nginx.output.parent / "own.conf").write_text("upstream taken { server 127.0.0.1:1; }\n")
    nginx.start()
    stage = set_sidecar(nginx)
    stage.reach = IN_PODMAN_S
    engine.run("taken1", labels={"lbwatch.upstream": "taken"})
    engine.run("web1", labels=WEB)
    wait_until(lambda: nginx.answers("web") == {"web1"}, within=20, what="web is served", notes=stage.notes)
    wait_until(lambda: rows(stage)["taken1"]["reason"] == "upstream-refused", within=20, what="it is told")

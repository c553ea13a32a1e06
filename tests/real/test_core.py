"""
What any engine must pass, with any nginx: a short check of each thing that lbwatch is there for.

It is asked by docker's command line alone, and what differs between engines stands in one place each. `make test` runs
it on the engines that all other tests are not run on, `make test-engines` on every engine with every nginx.
"""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import compose
import pytest
import versions
from containernginx import ContainerNginx
from daemon import Stage, ending, wait_until
from needs import ENGINE_NEEDS, NGINX_NEEDS, need, obtained
from oracle import Reach, file_blocks
from realengine import RealEngine
from realnginx import RealNginx
from realpodman import RealPodman
from sidecar import SetSidecar

pytestmark = [
    pytest.mark.parametrize(("core_engine", "program"), versions.CORE, indirect=True, scope="module"),
    pytest.mark.timeout(300),  # an engine may have to be fetched
]

WEB = {"lbwatch.upstream": "web"}

TAKEN = "upstream taken { server 192.0.2.9:80; }"
"""What the user has too."""

STACK = """\
services:
  web:
    image: app
    stop_grace_period: 1s
    labels:
      lbwatch.enable: "true"
"""

DEFAULT_NETWORK = Reach(networks=("bridge", "podman"), host_shared=False)
"""By its names on Docker and on Podman."""

SLOWLY_S = 30
"""Deadlines: some engines tell late, and an exec may take a second there."""


@pytest.fixture(scope="module")
def core_engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    """One of a version, started."""
    need(*ENGINE_NEEDS)
    with obtained(engine_of, request.param) as engine:
        yield engine.start()


def engine_of(version: str) -> RealEngine:
    """Return one that is not started. Raises `debian.UnavailableError`."""
    if version in versions.PODMANS:
        return RealPodman(version)
    return RealEngine(programs=versions.engine_programs(version))


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest) -> str:
    """What starts an nginx of a version."""
    need(*NGINX_NEEDS)
    return obtained(versions.nginx_program, request.param)


@pytest.fixture(autouse=True)
def _found(core_engine: RealEngine, program: str, record_property: Callable[[str, object], None]) -> None:
    """For the table of `make test-engines`: what it really is."""
    _, answer = core_engine.api("GET", "/version")
    version = answer["Version"].partition("+")[0]
    record_property("engine", f"{'Podman' if is_podman(core_engine) else 'Docker'} {version}")
    printed = subprocess.run([program, "-v"], check=True, capture_output=True, text=True, timeout=10).stderr
    record_property("nginx", printed.strip().rpartition("/")[2])


def is_podman(engine: RealEngine) -> bool:
    """Return whether it is no Docker, by its own word."""
    _, answer = engine.api("GET", "/version")
    return any(each["Name"].startswith("Podman") for each in answer.get("Components", ()))


@pytest.fixture
def empty(core_engine: RealEngine) -> Iterator[RealEngine]:
    """The engine, with no container and no network of the test before."""
    core_engine.clear()
    yield core_engine


@pytest.fixture
def stage(empty: RealEngine, program: str, tmp_path: Path) -> Iterator[Stage]:
    """The engine, an nginx in its network, and lbwatch, all running."""
    nginx = RealNginx(tmp_path / "nginx", empty.name, program=program)
    stage = Stage(empty, nginx, folder=tmp_path, settings={"nginx-command": program})
    with ending([stage]):
        nginx.start()
        stage.lbwatch.start()
        yield stage


def wait_started_anew(engine: RealEngine, name: str, *, since: str) -> None:
    """Wait until a container runs that was started at another time before."""
    wait_until(
        lambda: engine.inspect(name)["State"],
        holds=lambda state: state["Running"] and state["StartedAt"] != since,
        within=SLOWLY_S,
        what=f"{name} was started anew",
    )


def started_at(engine: RealEngine, name: str) -> str:
    return str(engine.inspect(name)["State"]["StartedAt"])


def test_containers_come_and_go(stage: Stage) -> None:
    """The one thing that all others rest on."""
    engine = stage.engine
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    engine.docker("rm", "--force", "one")
    stage.wait_in_step({"web": {"two"}})
    engine.docker("stop", "--time", "1", "two")
    stage.wait_in_step({"web": ()})
    assert [name for name, _ in file_blocks(stage.output)] == ["web"], "it may come back"
    engine.docker("start", "two")
    stage.wait_in_step({"web": {"two"}})
    engine.remove("two")
    stage.wait_in_step({"web": ()})
    assert file_blocks(stage.output) == []


def test_one_that_was_asked_to_stop_gets_nothing_new(stage: Stage) -> None:
    """What a deploy costs hangs on it."""
    engine = stage.engine
    engine.run("one", deaf=True, labels=WEB)
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    if is_podman(engine):  # it sends no word of a stop before the death
        code, _, error = stage.lbwatch.command("drain", "one")
        assert code == 0, error
        stage.wait_in_step({"web": {"two"}}, draining={"one"})
        engine.docker("stop", "--time", "1", "one")
    else:
        with ThreadPoolExecutor() as pool:
            stopped = pool.submit(engine.docker, "stop", "--time", "60", "one", within=90)
            try:
                stage.wait_in_step({"web": {"two"}}, draining={"one"})
                assert not stopped.done()
            finally:
                engine.docker("kill", "one")
            stopped.result()
    stage.wait_in_step({"web": {"two"}})


def test_health_decides(stage: Stage) -> None:
    """A program that is there is not one that can answer."""
    engine = stage.engine
    engine.run("one", labels=WEB)
    check = ("--health-cmd", "test -e /tmp/well", "--health-interval", "1s", "--health-retries", "1")
    engine.run("two", *check, labels=WEB)
    with probed(engine, "two"):
        wait_health(engine, "two", "unhealthy")
        stage.wait_in_step({"web": {"one"}})
        for command, health, serving in (("touch", "healthy", {"one", "two"}), ("rm", "unhealthy", {"one"})):
            engine.docker("exec", "two", "busybox", command, "/tmp/well")
            wait_health(engine, "two", health)
            stage.wait_in_step({"web": serving})


@contextmanager
def probed(engine: RealEngine, name: str) -> Iterator[None]:
    """
    Have a health check run again and again; with Podman that is the work of systemd's timers, which are not here.

    Not only until it has its effect: Podman 4.3 tells of a probe before inspect knows what it found.
    """
    over = Event()

    def probe() -> None:
        while not over.wait(0.5):
            engine.api("GET", f"/v4.0.0/libpod/containers/{name}/healthcheck")

    with ThreadPoolExecutor() as pool:
        probing = pool.submit(probe) if is_podman(engine) else None
        try:
            yield
        finally:
            over.set()
    if probing is not None:
        probing.result()


def wait_health(engine: RealEngine, name: str, health: str) -> None:
    wait_until(
        lambda: engine.inspect(name)["State"]["Health"]["Status"],
        holds=lambda seen: seen == health,
        within=SLOWLY_S,
        what=f"{name} is {health}",
    )


def test_a_container_is_reached_by_the_network_that_it_is_on_now(stage: Stage) -> None:
    """An address that is gone is silent: each request to it waits."""
    engine = stage.engine
    for network in ("first", "second"):
        engine.docker("network", "create", network)
    engine.run("one", "--network", "second", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    before = file_blocks(stage.output)
    engine.docker("network", "connect", "first", "one")
    stage.wait_in_step({"web": {"one"}})
    assert file_blocks(stage.output) != before, "by name the first comes first"
    engine.docker("network", "disconnect", "first", "one")
    stage.wait_in_step({"web": {"one"}})
    assert file_blocks(stage.output) == before


def test_one_that_crashes_is_back_once_its_restart_policy_started_it(stage: Stage) -> None:
    """Nobody asked for it, so nobody said that it would go."""
    engine = stage.engine
    engine.run("one", "--restart", "always", labels=WEB)
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    before = started_at(engine, "one")
    engine.kill_from_outside("one")
    wait_started_anew(engine, "one", since=before)
    stage.wait_in_step({"web": {"one", "two"}})


def test_one_that_is_restarted_is_back(stage: Stage) -> None:
    """Its address may be another one then."""
    engine = stage.engine
    for name in ("one", "two"):
        engine.run(name, labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    engine.docker("stop", "--time", "1", "one")
    engine.run("three", labels=WEB)  # has its address now
    engine.docker("start", "one")
    engine.docker("restart", "--time", "1", "two")
    stage.wait_in_step({"web": {"one", "two", "three"}})


def test_one_that_is_paused_is_left_out(stage: Stage) -> None:
    """It takes connections and answers none."""
    engine = stage.engine
    for name in ("one", "two"):
        engine.run(name, labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    engine.docker("pause", "one")
    stage.wait_in_step({"web": {"two"}})
    engine.docker("unpause", "one")
    stage.wait_in_step({"web": {"one", "two"}})


def test_an_engine_that_crashes_or_is_restarted_is_followed_again(stage: Stage) -> None:
    """Meanwhile nginx goes on with what it has, and afterwards the engine may have started everything anew."""
    engine = stage.engine
    engine.run("one", "--restart", "always", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    engine.kill9()
    assert stage.nginx.answers("web") == {"one"}, "its containers live on"
    engine.start()
    stage.wait_in_step({"web": {"one"}}, within=SLOWLY_S)
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    engine.restart()
    engine.docker("start", "two")
    stage.wait_in_step({"web": {"one", "two"}}, within=SLOWLY_S)


def test_an_nginx_in_a_container_is_tested_and_reloaded_there(
    empty: RealEngine, program: str, tmp_path: Path, set_sidecar: SetSidecar
) -> None:
    """By exec, of which each engine has its own notion."""
    engine = empty
    with ContainerNginx(tmp_path / "nginx", engine, program=program) as nginx:
        nginx.rewrite(http=TAKEN)
        nginx.start()
        stage = set_sidecar(nginx)
        stage.reach = DEFAULT_NETWORK
        engine.run("one", labels=WEB)
        stage.wait_in_step({"web": {"one"}}, within=SLOWLY_S)
        engine.run("bad", labels={"lbwatch.upstream": "taken"})
        refused = stage.lbwatch.wait_for_log("upstream.degraded", upstream="taken", within=SLOWLY_S)
        assert 'duplicate upstream "taken"' in refused["error"]
        engine.remove("bad", "one")
        stage.wait_in_step({"web": ()}, within=SLOWLY_S)
        engine.docker("restart", "--time", "1", nginx.container)
        engine.run("two", labels=WEB)
        stage.wait_in_step({"web": {"two"}}, within=SLOWLY_S)


def test_a_service_of_compose_comes_scales_and_goes(stage: Stage, tmp_path: Path) -> None:
    """Its containers have no name that anyone gave them."""
    engine = stage.engine
    compose.add_plugin(engine)
    (tmp_path / "compose.yaml").write_text(STACK)
    project = ("compose", "--project-name", "demo", "--file", str(tmp_path / "compose.yaml"))
    for replicas in (1, 3):
        engine.docker(*project, "up", "--detach", "--scale", f"web={replicas}")
        containers = {each[:12] for each in engine.docker(*project, "ps", "--quiet", "web").split()}
        assert len(containers) == replicas
        stage.wait_in_step({"demo-web": containers})
    engine.docker(*project, "down")
    stage.wait_in_step({"demo-web": ()})

"""
Who drains, who is healthy and who replaces whom, on a real engine and a real nginx.

A container that was told to stop looks like any other to `docker inspect`, so the oracle is told who drains.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from daemon import Stage, wait_until
from needs import SetStage
from oracle import PLACEHOLDER, file_blocks
from realengine import RealEngine

WEB = {"lbwatch.upstream": "web"}
API = {"lbwatch.upstream": "api"}
CHECK = ("--health-cmd", "busybox test -f /well", "--health-interval", "200ms", "--health-retries", "1")
DEAF = ("--env", "DEAF=1")  # it lives on after its stop signal


def health(engine: RealEngine, name: str) -> str:
    return str(engine.inspect(name)["State"]["Health"]["Status"])


def wait_health(engine: RealEngine, name: str, wanted: str) -> None:
    wait_until(lambda: health(engine, name), holds=lambda found: found == wanted, within=15, what=f"{name} is {wanted}")


def servers(stage: Stage, upstream: str) -> list[str] | None:
    return dict(file_blocks(stage.output)).get(upstream)


# -- told to stop


@pytest.mark.parametrize(
    ("signal", "options"), [("TERM", ()), ("QUIT", ("--stop-signal", "SIGQUIT")), ("TERM", ("--stop-signal", "QUIT"))]
)
def test_a_container_told_to_stop_gets_no_new_request_while_it_lives(
    stage: Stage, engine: RealEngine, signal: str, options: tuple[str, ...]
) -> None:
    """Clients of all other tools get errors here: those wait for the death."""
    engine.run("old", *options, labels=WEB, deaf=True)
    engine.run("other", labels=WEB)
    stage.wait_in_step({"web": {"old", "other"}})
    engine.docker("kill", "--signal", signal, "old")
    stage.wait_in_step({"web": {"other"}}, draining={"old"})
    assert engine.inspect("old")["State"]["Running"]
    code, said, _ = stage.lbwatch.command("explain", "old")
    assert code == 0
    assert "not routed (draining): it got its stop signal" in said


def test_a_signal_that_ends_nothing_changes_nothing(stage: Stage, engine: RealEngine) -> None:
    """Programs rotate logs and reload by such signals all day."""
    engine.run("web1", labels=WEB, deaf=True)
    engine.run("web2", labels=WEB)
    stage.wait_in_step({"web": {"web1", "web2"}})
    mark = stage.lbwatch.mark()
    for signal in ("HUP", "USR1", "QUIT", "WINCH"):
        engine.docker("kill", "--signal", signal, "web1")
    stage.lbwatch.wait_for_log("event.handled", since=mark, count=4, action="kill")
    stage.wait_heard()
    assert not stage.differences({"web": {"web1", "web2"}})
    assert len(stage.lbwatch.logged("nginx.reloaded", since=mark)) <= 3, "the marker's own"


def test_docker_stop_drains_from_its_first_moment(stage: Stage, engine: RealEngine) -> None:
    """The real thing, and not a signal by hand: the reload is there long before the death."""
    engine.run("old", labels=WEB, deaf=True)
    engine.run("other", labels=WEB)
    stage.wait_in_step({"web": {"old", "other"}})
    stop = subprocess.Popen(["docker", "--host", engine.url, "stop", "--time", "5", "old"], stdout=subprocess.DEVNULL)
    try:
        stage.wait_in_step({"web": {"other"}}, draining={"old"}, within=4)
        assert engine.inspect("old")["State"]["Running"]
    finally:
        assert stop.wait(15) == 0
    stage.wait_in_step({"web": {"other"}})


def test_a_container_that_survives_its_stop_signal_comes_back(engine: RealEngine, set_stage: SetStage) -> None:
    """Somebody sent a TERM that the program takes for something else: its capacity must not be lost for ever."""
    stage = set_stage(engine, drain_timeout="2s")
    engine.run("deaf", labels=WEB, deaf=True)
    engine.run("other", labels=WEB)
    stage.wait_in_step({"web": {"deaf", "other"}})
    engine.docker("kill", "--signal", "TERM", "deaf")
    stage.wait_in_step({"web": {"other"}}, draining={"deaf"})
    stage.wait_in_step({"web": {"deaf", "other"}})


def test_a_drain_never_empties_an_upstream(stage: Stage, engine: RealEngine) -> None:
    """All are told to stop at once, as by `docker compose down`: they serve until they die."""
    for name in ("one", "two"):
        engine.run(name, labels=WEB, deaf=True)
    stage.wait_in_step({"web": {"one", "two"}})
    for name in ("one", "two"):
        engine.docker("kill", "--signal", "TERM", name)
    stage.wait_in_step({"web": {"one", "two"}}, draining={"one", "two"})
    stage.lbwatch.wait_for_log("container.noticed", container="two", notice="serves-draining")
    engine.docker("kill", "one")
    stage.wait_in_step({"web": {"two"}}, draining={"two"})
    engine.docker("kill", "two")
    stage.wait_in_step({"web": ()})
    assert servers(stage, "web") == PLACEHOLDER


def test_a_stop_signal_of_a_former_life_says_nothing(stage: Stage, engine: RealEngine) -> None:
    """Streams overlap: a new one tells of the last seconds once more."""
    engine.run("web1", labels=WEB)
    engine.run("web2", labels=WEB)
    stage.wait_in_step({"web": {"web1", "web2"}})
    engine.docker("restart", "--time", "2", "web1")
    stage.lbwatch.kill9()
    stage.lbwatch.start()
    stage.lbwatch.wait_for_log("event.handled", action="kill", within=10)
    stage.wait_in_step({"web": {"web1", "web2"}})
    stage.wait_heard()
    assert not stage.differences({"web": {"web1", "web2"}})


def test_a_drain_that_began_before_lbwatch_is_known_to_it(stage: Stage, engine: RealEngine) -> None:
    """A restart of lbwatch in the middle of a deploy must not send requests to what is about to end."""
    engine.run("old", labels=WEB, deaf=True)
    engine.run("other", labels=WEB)
    stage.wait_in_step({"web": {"old", "other"}})
    stage.lbwatch.terminate()
    engine.docker("kill", "--signal", "TERM", "old")
    stage.lbwatch.start()
    stage.wait_in_step({"web": {"other"}}, draining={"old"})


def test_a_label_that_hides_the_signal_drains_at_any(stage: Stage, engine: RealEngine) -> None:
    """The engine merges labels over an event's own words: `signal=1` would make each stop look like a HUP."""
    engine.run("odd", labels={**WEB, "signal": "1"}, deaf=True)
    engine.run("other", labels=WEB)
    stage.wait_in_step({"web": {"odd", "other"}})
    stage.lbwatch.wait_for_log("container.noticed", container="odd", notice="signal-hidden")
    engine.docker("kill", "--signal", "TERM", "odd")
    stage.wait_in_step({"web": {"other"}}, draining={"odd"})


def test_without_a_drain_timeout_containers_leave_when_they_die(engine: RealEngine, set_stage: SetStage) -> None:
    """The way to switch it off."""
    stage = set_stage(engine, drain_timeout="0s")
    engine.run("deaf", labels=WEB, deaf=True)
    engine.run("other", labels=WEB)
    stage.wait_in_step({"web": {"deaf", "other"}})
    engine.docker("kill", "--signal", "TERM", "deaf")
    stage.wait_heard()
    assert not stage.differences({"web": {"deaf", "other"}})


# -- by hand


def test_a_drain_by_hand_lasts_until_it_is_undone_and_survives_restarts(stage: Stage, engine: RealEngine) -> None:
    """For a look at a container that is to be left alone; neither its own restart nor lbwatch's may undo it."""
    engine.run("web1", labels=WEB)
    engine.run("web2", labels=WEB)
    stage.wait_in_step({"web": {"web1", "web2"}})
    code, said, _ = stage.lbwatch.command("drain", "web1")
    assert (code, said.split(";")[0]) == (0, "web1 is drained")
    assert not stage.differences({"web": {"web2"}}, draining={"web1"}), "it is in force when the command ends"
    engine.docker("restart", "--time", "2", "web1")
    stage.wait_heard(draining={"web1"})
    assert not stage.differences({"web": {"web2"}}, draining={"web1"})
    stage.lbwatch.kill9()
    stage.lbwatch.start()
    stage.wait_heard(draining={"web1"})
    assert not stage.differences({"web": {"web2"}}, draining={"web1"})
    assert "not routed (draining)" in stage.lbwatch.command("explain", "web1")[1]
    assert stage.lbwatch.command("render", "--diff")[:2] == (0, "")
    code, said, _ = stage.lbwatch.command("undrain", engine.inspect("web1")["Id"][:12])
    assert code == 0
    assert "web1 is not drained any more; it serves upstream web at 1" in said
    assert not stage.differences({"web": {"web1", "web2"}})


def test_the_last_container_drained_by_hand_serves_on_and_that_is_said(stage: Stage, engine: RealEngine) -> None:
    """Whoever drains the wrong one reads at once that it still gets requests."""
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    code, said, _ = stage.lbwatch.command("drain", "web1")
    assert code == 0
    assert "serves upstream web at" in said
    assert "no other server is ready" in said
    assert not stage.differences({"web": {"web1"}}, draining={"web1"})
    engine.run("web2", labels=WEB)
    stage.wait_in_step({"web": {"web2"}}, draining={"web1"})


def test_a_drain_of_nobody_and_a_drain_without_a_daemon_fail_with_a_reason(stage: Stage, engine: RealEngine) -> None:
    """A script must not go on, and a person must know why."""
    engine.run("web1", labels=WEB)
    stage.wait_in_step({"web": {"web1"}})
    assert stage.lbwatch.command("drain", "nobody") == (1, "", "lbwatch: the engine has no container 'nobody'\n")
    stage.lbwatch.terminate()
    code, said, complaint = stage.lbwatch.command("drain", "web1")
    assert (code, said) == (1, "")
    assert f"no lbwatch answers at {stage.lbwatch.control_socket}" in complaint


# -- health


def test_only_what_is_healthy_serves_and_the_sick_only_where_nobody_is(stage: Stage, engine: RealEngine) -> None:
    """Through all states: starting, healthy, unhealthy beside others, unhealthy alone."""
    engine.run("web1", *CHECK, "--health-start-period", "1m", labels=WEB)
    stage.wait_in_step({"web": ()})
    assert health(engine, "web1") == "starting"
    engine.docker("exec", "web1", "busybox", "touch", "/well")
    stage.wait_in_step({"web": {"web1"}})
    engine.run("web2", labels=WEB)
    stage.wait_in_step({"web": {"web1", "web2"}})
    engine.docker("exec", "web1", "busybox", "rm", "/well")
    wait_health(engine, "web1", "unhealthy")
    stage.wait_in_step({"web": {"web2"}})
    engine.remove("web2")
    stage.wait_in_step({"web": {"web1"}})
    stage.lbwatch.wait_for_log("container.noticed", container="web1", notice="serves-unhealthy")


def test_a_draining_container_serves_before_an_unhealthy_one(stage: Stage, engine: RealEngine) -> None:
    """What was told to stop still works; what is unhealthy may not."""
    engine.run("sick", *CHECK, labels=WEB)
    engine.run("old", labels=WEB, deaf=True)
    wait_health(engine, "sick", "unhealthy")
    stage.wait_in_step({"web": {"old"}})
    engine.docker("kill", "--signal", "TERM", "old")
    stage.wait_heard(draining={"old"})
    assert not stage.differences({"web": {"old"}}, draining={"old"})
    engine.docker("kill", "old")
    stage.wait_in_step({"web": {"sick"}})


def test_a_health_check_can_be_ignored(stage: Stage, engine: RealEngine) -> None:
    """Some checks are about other things than requests."""
    engine.run("web1", *CHECK, "--health-start-period", "1m", labels={"lbwatch.upstream": "web", "lbwatch.port": "80"})
    stage.wait_in_step({"web": ()})
    engine.run("web2", *CHECK, labels={**API, "lbwatch.health": "ignore"})
    stage.lbwatch.wait_for_log("nginx.reloaded", joined="web2")  # and no worker of before takes requests any more
    wait_health(engine, "web2", "unhealthy")
    assert stage.nginx.answers("api") == {"web2"}


def test_a_paused_container_with_a_health_check_is_back_once_it_is_healthy(stage: Stage, engine: RealEngine) -> None:
    """Pausing makes it unhealthy without an event, and the engine's list says nothing of its health meanwhile."""
    engine.run("web1", *CHECK, labels=WEB)
    engine.run("web2", labels=WEB)
    engine.docker("exec", "web1", "busybox", "touch", "/well")
    stage.wait_in_step({"web": {"web1", "web2"}})
    engine.docker("pause", "web1")
    stage.wait_in_step({"web": {"web2"}})
    engine.docker("unpause", "web1")
    wait_health(engine, "web1", "healthy")
    stage.wait_in_step({"web": {"web1", "web2"}})


# -- differing words


def test_where_methods_differ_the_oldest_wins_also_while_it_drains_and_explain_warns(
    stage: Stage, engine: RealEngine
) -> None:
    """A deploy that changes the method must not flap, and whoever wonders why theirs is not used is told."""
    engine.run("old", labels={**WEB, "lbwatch.method": "least_conn"}, deaf=True)
    engine.run("new", labels={**WEB, "lbwatch.method": "ip_hash"})

    def written() -> str:
        first, *others = servers(stage, "web") or [""]
        return f"{first}, {len(others)}"

    wait_until(written, holds=lambda found: found == "least_conn, 2", within=5, what="the older one's method")
    said = stage.lbwatch.command("explain")[1].splitlines()
    warned = next(line for line in said if line.strip().startswith("warning: upstream web has method least_conn"))
    assert said.index(warned) == 1, "below the new one's row, which comes first"
    engine.docker("kill", "--signal", "TERM", "old")
    wait_until(written, holds=lambda found: found == "least_conn, 1", within=5, what="it drains")
    engine.docker("kill", "old")
    wait_until(written, holds=lambda found: found == "ip_hash, 1", within=5, what="it is gone")


# -- nothing vanishes


def test_an_upstream_that_nginxs_own_files_use_outlives_its_last_container(
    engine: RealEngine, set_stage: SetStage
) -> None:
    """Without it nginx would refuse every change from then on, whoever's it is, and not start any more."""
    stage = set_stage(engine, nginx_runs=False)
    engine.run("shop1", labels={"lbwatch.upstream": "shop"})
    wait_until(lambda: servers(stage, "shop"), within=10, what="the file")
    site = f"server {{ listen unix:{stage.nginx.folder}/shop.sock; location / {{ proxy_pass http://shop; }} }}"
    stage.nginx.rewrite(http=site)
    stage.nginx.start()
    stage.wait_in_step({"shop": {"shop1"}})
    engine.remove("shop1")
    stage.lbwatch.wait_for_log("upstream.kept", upstream="shop")
    engine.run("web1", labels=WEB)
    wait_until(lambda: stage.nginx.answers("web"), holds=lambda found: found == {"web1"}, within=5, what="web1 serves")
    assert servers(stage, "shop") == PLACEHOLDER
    assert stage.nginx.answers("shop") == {"status 502"}
    stage.nginx.stop()
    stage.nginx.start()
    engine.run("shop2", labels={"lbwatch.upstream": "shop"})
    stage.wait_in_step({"shop": {"shop2"}, "web": {"web1"}})
    stage.lbwatch.wait_for_log("upstream.restored", upstream="shop")


def test_a_declared_upstream_is_there_before_and_after_its_containers(engine: RealEngine, set_stage: SetStage) -> None:
    """So that nginx can be started first, and answers 502 instead of falling to another site."""
    stage = set_stage(engine, nginx_runs=False, declare="Shop")
    wait_until(lambda: servers(stage, "shop"), holds=lambda found: found == PLACEHOLDER, within=10, what="the file")
    site = f"server {{ listen unix:{stage.nginx.folder}/shop.sock; location / {{ proxy_pass http://shop; }} }}"
    stage.nginx.rewrite(http=site)
    stage.nginx.start()
    assert stage.nginx.answers("shop") == {"status 502"}
    engine.run("shop1", labels={"lbwatch.upstream": "shop"})
    stage.wait_in_step({"shop": {"shop1"}})
    engine.remove("shop1")
    wait_until(lambda: servers(stage, "shop"), holds=lambda found: found == PLACEHOLDER, within=5, what="it is kept")


# -- order


@contextmanager
def every_version(stage: Stage) -> Iterator[list[dict[str, list[str]]]]:
    """Watch the file: each content that it ever had, as upstreams with their lines."""
    versions: list[dict[str, list[str]]] = []
    over, last = Event(), 0

    def watch() -> None:
        nonlocal last
        while not over.is_set():
            if (inode := stage.output.stat().st_ino) != last:
                last = inode
                versions.append(dict(file_blocks(stage.output)))
            over.wait(0.001)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield versions
    finally:
        over.set()
        thread.join()


def line_of(engine: RealEngine, name: str) -> str:
    return f"server {engine.inspect(name)['NetworkSettings']['IPAddress']}:80"


def test_what_replaces_a_container_is_in_force_before_that_one_leaves_in_one_reload(
    engine: RealEngine, set_stage: SetStage
) -> None:
    """A deploy script starts the new one and stops the old one at once; additions have to wait, and must not here."""
    stage = set_stage(engine, reload_interval="20s")
    engine.run("old", labels=WEB)
    stage.wait_in_step({"web": {"old"}})
    old = line_of(engine, "old")
    with every_version(stage) as versions:
        engine.run("new", labels=WEB)
        new = line_of(engine, "new")
        engine.docker("stop", "--time", "5", "old")
        stage.wait_in_step({"web": {"new"}})
    assert [version["web"] for version in versions] == [[old], [new]]


def test_an_address_that_is_given_out_again_never_stands_at_the_wrong_upstream(
    stage: Stage, engine: RealEngine
) -> None:
    """The engine gives the lowest free one: two sites that are restarted together swap theirs, and their users."""
    engine.run("web1", labels=WEB)
    engine.run("api1", labels=API)
    stage.wait_in_step({"web": {"web1"}, "api": {"api1"}})
    swaps = 0
    with every_version(stage) as versions:
        for _ in range(5):
            before = line_of(engine, "web1"), line_of(engine, "api1")
            engine.docker("stop", "--time", "1", "web1", "api1")
            first, second = ("api1", "web1") if before[0] < before[1] else ("web1", "api1")
            engine.docker("start", first, second)
            swaps += (line_of(engine, "web1"), line_of(engine, "api1")) == before[::-1]
            stage.wait_in_step({"web": {"web1"}, "api": {"api1"}})
    assert swaps >= 3, "the engine was meant to give the addresses out again"
    for version in versions:
        lines = [line for block in version.values() for line in block if line not in PLACEHOLDER]
        assert len(lines) == len(set(lines)), version

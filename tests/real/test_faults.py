"""
What breaks around lbwatch: the engine, nginx, the order of starts, a port that cannot be bound.

Two promises are kept whatever happens: while the truth cannot be known the file stays as it is, and within 5 s of the
return of what was away everything is in step again.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from daemon import IN_STEP_S, Stage, ending, wait_until
from needs import ENGINE_NEEDS, NGINX_NEEDS, SetStage, need
from oracle import PLACEHOLDER, file_blocks
from realengine import RealEngine
from upgradednginx import UpgradedNginx
from watcher import API, RENEW, WEB, unchanged, watched

NewEngine = Callable[..., RealEngine]


def addresses(engine: RealEngine, *names: str) -> list[str]:
    """Of containers on the default network."""
    return [str(engine.inspect(name)["NetworkSettings"]["IPAddress"]) for name in names]


def wait_for_outage(stage: Stage, *, since: int, attempts: int = 3) -> None:
    """Wait until lbwatch tried in vain to connect again, several times."""
    stage.lbwatch.wait_for_log("source.disconnected", since=since, count=attempts, within=15)


def start_in_vain(stage: Stage) -> None:
    """Start lbwatch where no engine is: the file must stay as it is through several tries."""
    stage.output.write_text(RENEW)
    with unchanged(stage.output):
        stage.lbwatch.start()
        wait_for_outage(stage, since=0, attempts=4)


# -- the engine


def test_a_killed_engine_leaves_the_file_alone(new_engine: NewEngine, set_stage: SetStage) -> None:
    """Containers live on when dockerd crashes: an empty file would take down what works."""
    engine = new_engine(live_restore=True).start()
    stage = set_stage(engine)
    engine.run("one", labels=WEB)
    engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    lines = [f"server {address}:80;".encode() for address in addresses(engine, "one", "two")]
    with unchanged(stage.output):
        mark = stage.lbwatch.mark()
        engine.kill9()
        wait_for_outage(stage, since=mark)
        assert stage.nginx.answers("web") == {"one", "two"}
        back = stage.lbwatch.mark()
        engine.start()
        stage.lbwatch.wait_for_log("source.connected", since=back)
        assert not stage.differences({"web": {"one", "two"}})
    with watched(stage.output) as watcher:
        engine.run("three", labels=WEB)
        stage.wait_in_step({"web": {"one", "two", "three"}})
    assert all(sight and line in sight[0] for sight in watcher.sights for line in lines), watcher.sights


def test_a_death_during_the_engines_outage_is_found_at_its_return(new_engine: NewEngine, set_stage: SetStage) -> None:
    """Such a death has no event at all, and until the engine is back nobody can know of it."""
    engine = new_engine(live_restore=True).start()
    stage = set_stage(engine)
    engine.run("victim", labels=WEB)
    engine.run("other", labels=WEB)
    engine.run("lonely", labels=API)
    stage.wait_in_step({"web": {"victim", "other"}, "api": {"lonely"}})
    pids = [engine.host_pid("victim"), engine.host_pid("lonely")]
    mark = stage.lbwatch.mark()
    with unchanged(stage.output):
        engine.kill9()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for_outage(stage, since=mark)
    engine.start()
    stage.wait_in_step({"web": {"other"}, "api": ()})
    assert dict(file_blocks(stage.output))["api"] == PLACEHOLDER


def test_a_stopped_engine_takes_its_containers_out_and_brings_them_back(
    new_engine: NewEngine, set_stage: SetStage
) -> None:
    """`systemctl stop docker` ends every container before the stream: the file must say so, and recover."""
    engine = new_engine().start()
    stage = set_stage(engine)
    engine.run("one", labels=WEB)
    engine.run("two", labels=WEB)
    engine.run("three", labels=API)
    engine.run("always", "--restart", "always", labels={"lbwatch.upstream": "auto"})
    stage.wait_in_step({"web": {"one", "two"}, "api": {"three"}, "auto": {"always"}})
    mark = stage.lbwatch.mark()
    engine.terminate()
    wait_for_outage(stage, since=mark)
    assert file_blocks(stage.output) == [(name, PLACEHOLDER) for name in ("api", "auto", "web")], stage.notes()
    assert stage.nginx.answers("web") == {"status 502"}
    engine.start()
    engine.docker("start", "one", "three")
    stage.wait_in_step({"web": {"one"}, "api": {"three"}, "auto": {"always"}})


def test_a_stopped_engine_that_waits_for_a_slow_container_is_heard_to_its_end(
    new_engine: NewEngine, set_stage: SetStage
) -> None:
    """While it shuts down the engine takes no new connection: what is open must last to the last death."""
    engine = new_engine().start()
    stage = set_stage(engine)
    engine.run("quick", labels=WEB)
    engine.run("deaf", "--stop-timeout", "3", labels=API, deaf=True)
    stage.wait_in_step({"web": {"quick"}, "api": {"deaf"}})
    mark = stage.lbwatch.mark()
    engine.terminate()
    wait_for_outage(stage, since=mark)
    assert file_blocks(stage.output) == [("api", PLACEHOLDER), ("web", PLACEHOLDER)], stage.notes()


def test_a_stopped_engine_is_heard_to_its_end_with_many_containers(new_engine: NewEngine, set_stage: SetStage) -> None:
    """All of them die within a second, and each look that asks for a connection of its own is refused."""
    engine = new_engine().start()
    serves_kept_connections = engine.api("GET", "/version")[1]["Version"].startswith("20.")  # facts, stream 15
    stage = set_stage(engine)
    names = [f"many{number:02}" for number in range(20)]
    for name in names:  # one by one, so that each look finds the connection of the one before
        engine.run(name, labels={"lbwatch.upstream": f"web{name[-1]}"})
    stage.wait_in_step({f"web{digit}": {f"many0{digit}", f"many1{digit}"} for digit in range(10)})
    mark = stage.lbwatch.mark()
    engine.terminate()
    wait_for_outage(stage, since=mark)
    assert file_blocks(stage.output) == [(f"web{digit}", PLACEHOLDER) for digit in range(10)], stage.notes()
    refused = [line["error"] for line in stage.lbwatch.logged("source.look_failed", since=mark)]
    had_none = [error for error in refused if "No such file" in error]
    assert not had_none or not serves_kept_connections, "a look had no open connection to go by"


def test_an_engine_that_hangs_leaves_the_file_alone(new_engine: NewEngine, set_stage: SetStage) -> None:
    """It accepts connections and says nothing: that is neither a sign of life nor of death."""
    engine = new_engine().start()
    stage = set_stage(engine, resync_interval="1s")
    engine.run("victim", labels=WEB)
    engine.run("other", labels=WEB)
    stage.wait_in_step({"web": {"victim", "other"}})
    mark = stage.lbwatch.mark()
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        with unchanged(stage.output):
            stage.lbwatch.wait_for_log("source.list_failed", since=mark, within=20)
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    engine.kill_from_outside("victim")
    stage.wait_in_step({"web": {"other"}})


def test_an_engine_that_hangs_at_the_start_is_no_engine_yet(new_engine: NewEngine, set_stage: SetStage) -> None:
    """After a crash the socket accepts long before the engine answers: connecting proves nothing."""
    engine = new_engine().start()
    engine.run("one", labels=WEB)
    stage = set_stage(engine, lbwatch_runs=False)
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        stage.output.write_text(RENEW)
        with unchanged(stage.output):
            stage.lbwatch.start()
            wait_for_outage(stage, since=0, attempts=1)
        assert not stage.lbwatch.logged("source.connected")
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    stage.wait_in_step({"web": {"one"}})


# -- the order of starts


def test_lbwatch_waits_for_the_engine(new_engine: NewEngine, set_stage: SetStage) -> None:
    """After a boot it may be up first: it says so at each try, touches nothing, and is there when the engine is."""
    engine = new_engine()
    stage = set_stage(engine, lbwatch_runs=False)
    start_in_vain(stage)
    tries = stage.lbwatch.logged("source.disconnected")
    assert [line["attempt"] for line in tries] == list(range(1, len(tries) + 1)), "one line for each try"
    assert all(0 < line["retry_in_s"] <= 2 for line in tries)
    engine.start()
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})


def test_lbwatch_waits_for_nginx(engine: RealEngine, set_stage: SetStage) -> None:
    """A stack's containers start in any order; when nginx comes it must run what is true then, not a stale file."""
    engine.run("one", labels=WEB)
    stage = set_stage(engine, nginx_runs=False)
    stage.lbwatch.wait_for_log("source.connected")
    engine.run("two", labels=WEB)
    stage.lbwatch.wait_for_log("nginx.reload_failed")
    stage.nginx.start()
    stage.wait_in_step({"web": {"one", "two"}})
    engine.remove("one")
    stage.wait_in_step({"web": {"two"}})


@pytest.mark.parametrize("first", ["engine", "nginx"])
def test_lbwatch_waits_for_engine_and_nginx(new_engine: NewEngine, set_stage: SetStage, first: str) -> None:
    """The worst boot: it is alone at first, and the others come in either order."""
    engine = new_engine()
    stage = set_stage(engine, nginx_runs=False, lbwatch_runs=False)
    start_in_vain(stage)
    if first == "nginx":
        stage.nginx.start()
    engine.start()
    engine.run("one", labels=WEB)
    if first == "engine":
        stage.lbwatch.wait_for_log("source.connected")
        stage.nginx.start()
    stage.wait_in_step({"web": {"one"}})


# -- nginx


def test_an_nginx_restarted_by_hand_is_followed(stage: Stage, engine: RealEngine) -> None:
    """It read the file at its start, maybe before the latest change: the new master must be given it again."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    stage.nginx.stop()
    engine.run("two", labels=WEB)
    mark = stage.lbwatch.mark()
    stage.nginx.start()
    stage.wait_in_step({"web": {"one", "two"}})
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark)
    engine.remove("one")
    stage.wait_in_step({"web": {"two"}})


def test_a_restart_of_nginx_alone_is_made_sure_of(stage: Stage, engine: RealEngine) -> None:
    """Nothing changed meanwhile, but what the new master read is not known until it is verified."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    stage.lbwatch.wait_for_log("nginx.reloaded")
    mark = stage.lbwatch.mark()
    stage.nginx.stop()
    stage.nginx.start()
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark)
    assert not stage.differences({"web": {"one"}})


def test_a_killed_nginx_is_not_missed_for_long(stage: Stage, engine: RealEngine) -> None:
    """Its pid file stays and names a pid that is nobody or somebody else: no signal may go there."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    mark = stage.lbwatch.mark()
    stage.nginx.kill9()
    unlabelled = subprocess.Popen(["sleep", "60"])
    try:
        stage.nginx.pidfile.write_text(f"{unlabelled.pid}\n")
        engine.run("two", labels=WEB)
        stage.lbwatch.wait_for_log("nginx.reload_failed", since=mark)
        assert unlabelled.poll() is None, "a process that is no nginx got a signal"
        stage.nginx.start()
        stage.wait_in_step({"web": {"one", "two"}})
        assert unlabelled.poll() is None, "a process that is no nginx got a signal"
    finally:
        unlabelled.kill()
        unlabelled.wait(10)


def test_an_nginx_that_hangs_is_waited_for_and_has_it_all_afterwards(stage: Stage, engine: RealEngine) -> None:
    """A master in a debugger, or swapped out: it takes signals, does nothing, and must not be left with old servers."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    mark, master = stage.lbwatch.mark(), stage.nginx.master_pid
    os.kill(master, signal.SIGSTOP)
    try:
        engine.run("two", labels=WEB)
        stage.lbwatch.wait_for_log("nginx.reload_failed", since=mark, count=2, within=20)
    finally:
        os.kill(master, signal.SIGCONT)
    stage.wait_in_step({"web": {"one", "two"}})
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark)


def test_an_output_that_someone_else_changed_is_mended(stage: Stage, engine: RealEngine) -> None:
    """A deployment that copies its own idea of the file over ours must not last."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    stage.output.write_text("upstream stranger { server 127.0.0.1:9; }\n")
    stage.nginx.reload()
    stage.wait_in_step({"web": {"one"}, "stranger": ()})


def test_a_reload_that_nginx_takes_back_is_seen_and_tried_again(stage: Stage, engine: RealEngine) -> None:
    """`nginx -t` and the signal both succeed while the port cannot be bound and the old config goes on."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    stage.lbwatch.wait_for_log("nginx.reloaded", joined="one")
    hold = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    occupant = engine.popen(
        [sys.executable, "-c", f"{hold}; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert occupant.stdout is not None
        port = int(occupant.stdout.readline())
        stage.nginx.rewrite(http=f"server {{ listen 127.0.0.1:{port}; return 200 late; }}")
        mark, workers = stage.lbwatch.mark(), stage.nginx.worker_pids()
        engine.run("two", labels=WEB)
        stage.lbwatch.wait_for_log("nginx.reload_failed", since=mark, within=15)
        assert not stage.lbwatch.logged("nginx.reloaded", since=mark)
        assert stage.nginx.answers("web") == {"one"}, "the old configuration goes on"
        assert stage.nginx.worker_pids() == workers
    finally:
        occupant.communicate(timeout=10)
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark, within=10)
    stage.wait_in_step({"web": {"one", "two"}})


def test_a_configuration_that_nginx_refuses_keeps_the_old_one(stage: Stage, engine: RealEngine) -> None:
    """An operator's own mistake elsewhere must be said, and must not end in a file that stops the next start."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    stage.nginx.rewrite(http="no_such_directive on;")
    mark = stage.lbwatch.mark()
    with unchanged(stage.output):
        engine.run("two", labels=WEB)
        told = stage.lbwatch.wait_for_log("nginx.config_broken", since=mark, count=2)
        assert f"in {stage.nginx.conf}:" in told["error"]
        assert stage.nginx.answers("web") == {"one"}
    stage.nginx.rewrite()
    stage.wait_in_step({"web": {"one", "two"}}, within=10)


def test_an_nginx_that_is_upgraded_in_place_is_not_ready_before_its_old_master_is_gone(
    engine: RealEngine, tmp_path: Path
) -> None:
    """Both masters serve on the same sockets, and the old one sends requests to servers that are gone."""
    need(*ENGINE_NEEDS, *NGINX_NEEDS)
    engine.run("one", labels=WEB)
    engine.run("two", labels=WEB)
    nginx = UpgradedNginx(tmp_path / "nginx", engine.name)
    stage = Stage(engine, nginx, folder=tmp_path, settings={"status-listen": "127.0.0.1:9180"})
    with ending([stage]):
        nginx.start()
        stage.lbwatch.start()
        stage.wait_in_step({"web": {"one", "two"}})
        old, new = nginx.upgrade()
        engine.remove("one")
        stage.lbwatch.wait_for_log("nginx.upgrade_unfinished")
        wait_until(lambda: stage.nginx.answers("web") >= {"two"}, within=IN_STEP_S, what="the new master is in step")
        code, out, error = stage.lbwatch.command("health")
        assert code == 1
        assert f"its old master {old} serves beside the new one {new}" in out + error
        assert f"`kill -QUIT {old}`" in stage.lbwatch.command("explain")[2]
        assert "one" not in stage.output.read_text()
        nginx.send(signal.SIGQUIT, old)
        stage.wait_in_step({"web": {"two"}})
        wait_until(
            lambda: stage.lbwatch.command("health")[0] == 0, within=IN_STEP_S, what="it is ready", notes=stage.notes
        )
        assert len(stage.lbwatch.logged("nginx.upgrade_unfinished")) == 1
        stage.lbwatch.wait_for_log("nginx.upgrade_finished")


# -- lbwatch's own end


def test_sigterm_ends_it_at_once_in_the_middle_of_a_reload_that_fails(stage: Stage, engine: RealEngine) -> None:
    """A stop that waits for nginx's 2.5 s of bind retries and more would be a kill -9 under many supervisors."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    os.kill(stage.nginx.master_pid, signal.SIGSTOP)
    try:
        engine.run("two", labels=WEB)
        wait_until(
            lambda: len(dict(file_blocks(stage.output))["web"]) == 2, within=IN_STEP_S, what="the file is written"
        )
        stage.lbwatch.terminate()
    finally:
        os.kill(stage.nginx.master_pid, signal.SIGCONT)


def test_sigterm_ends_it_while_the_engine_is_away(new_engine: NewEngine, set_stage: SetStage) -> None:
    """It may be waiting for the next try just then."""
    stage = set_stage(new_engine(), lbwatch_runs=False)
    start_in_vain(stage)
    stage.lbwatch.terminate()
    assert stage.output.read_text() == RENEW


def test_sigterm_ends_it_while_the_engine_hangs(new_engine: NewEngine, set_stage: SetStage) -> None:
    """Every call waits for an answer then, and each has a time limit far above two seconds."""
    engine = new_engine().start()
    stage = set_stage(engine, resync_interval="1s")
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        stage.lbwatch.terminate()
    finally:
        os.kill(engine.pid, signal.SIGCONT)

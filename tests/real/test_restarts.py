"""Containers that restart, and an engine that does, on a real one with a real nginx: nobody is out for longer than that."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from daemon import Stage, wait_until
from needs import SetStage
from oracle import file_blocks
from realengine import RealEngine
from watcher import unchanged

NewEngine = Callable[..., RealEngine]

WEB = {"lbwatch.upstream": "web"}

ROUNDS, ASKERS = 3, 4

BACK_S = 4.0
"""So soon after they run again they answer again, also under load; nginx itself would give them up for 10 s."""


def ask_until(over: Callable[[], bool], stage: Stage) -> None:
    while not over():
        stage.nginx.ask("/web/")


def test_two_that_restart_at_once_are_asked_again_at_once(engine: RealEngine, set_stage: SetStage) -> None:
    """A moment's errors count for `fail_timeout` with nginx, also against what was started anew since."""
    stage = set_stage(engine, reload_interval="1s")
    names = ("one", "two")
    for name in names:
        engine.run(name, labels=WEB)
    stage.wait_in_step({"web": names})
    for round_ in range(ROUNDS):
        with ThreadPoolExecutor(ASKERS + len(names)) as pool:
            restarts = [pool.submit(engine.docker, "restart", "--time", "0", name) for name in names]
            for _ in range(ASKERS):  # what nginx marks them failed for
                pool.submit(ask_until, lambda restarts=restarts: all(each.done() for each in restarts), stage)
        wait_until(
            lambda: stage.nginx.answers("web"),
            holds=lambda answers: answers == {*names},
            within=BACK_S,
            what=f"both answer again, round {round_}",
            notes=stage.notes,
        )


def test_errors_of_a_life_that_is_over_are_forgotten(engine: RealEngine, set_stage: SetStage) -> None:
    """lbwatch sees both again as they were, so that the file stays: only a reload has nginx ask them again."""
    stage = set_stage(engine)
    for name in ("one", "two"):
        engine.run(name, labels=WEB)
    stage.wait_in_step({"web": ("one", "two")})
    text = stage.output.read_bytes()
    mark = stage.lbwatch.mark()
    os.kill(stage.lbwatch.process.pid, signal.SIGSTOP)  # a machine that is short of time for a moment
    try:
        engine.docker("stop", "--time", "0", "one", "two")
        wait_until(
            lambda: time_of(lambda: stage.nginx.ask("/web/")),
            holds=lambda seconds: seconds < 0.1,  # no live upstreams: it does not even try
            within=20,
            what="nginx has given both up",
        )
        engine.docker("start", "one", "two")
    finally:
        os.kill(stage.lbwatch.process.pid, signal.SIGCONT)
    wait_until(
        lambda: stage.nginx.answers("web"),
        holds=lambda answers: answers == {"one", "two"},
        within=BACK_S,
        what="both answer again",
        notes=stage.notes,
    )
    assert stage.output.read_bytes() == text
    assert len(stage.lbwatch.logged("nginx.reloaded", since=mark)) <= 3


def time_of(step: Callable[[], object]) -> float:
    """How many seconds it takes."""
    began = time.monotonic()
    step()
    return time.monotonic() - began


def test_a_container_that_comes_and_goes_alone_is_one_reload_in_and_one_out(stage: Stage, engine: RealEngine) -> None:
    """Its death, and its removal a moment later, are one thing to whoever watches nginx."""
    engine.run("other", labels={"lbwatch.upstream": "other"})
    stage.wait_in_step({"other": {"other"}})
    stage.lbwatch.wait_for_log("nginx.reloaded", joined="other")  # nginx serves before that is verified
    mark = stage.lbwatch.mark()
    engine.run("job", labels=WEB)
    stage.wait_in_step({"web": {"job"}})
    engine.docker("rm", "--force", "job")
    stage.wait_in_step({"web": (), "other": {"other"}})
    assert [name for name, _ in file_blocks(stage.output)] == ["other"]
    assert len(stage.lbwatch.logged("nginx.reloaded", since=mark)) == 2
    stage.wait_heard()
    stage.wait_in_step({"other": {"other"}})


def test_an_engine_s_restart_is_one_line_and_touches_nothing(new_engine: NewEngine, set_stage: SetStage) -> None:
    """Under live-restore nothing stops, whatever the engine forgets: Engine 26 says `starting` of each with a check."""
    engine = new_engine(live_restore=True).start()
    stage = set_stage(engine, lbwatch_runs=False)
    names = ("one", "two", "three")
    for name in names:
        engine.run(name, "--health-cmd", "true", "--health-interval", "1s", labels=WEB)
    stage.lbwatch.start()
    stage.wait_in_step({"web": names}, within=30)
    with unchanged(stage.output):
        mark = stage.lbwatch.mark()
        engine.restart()
        stage.lbwatch.wait_for_log("source.connected", since=mark, within=60)
        assert stage.nginx.answers("web") == {*names}
    engine.kill_from_outside("one")
    stage.wait_in_step({"web": ("two", "three")})
    told = [line for line in stage.lbwatch.lines()[mark:] if line["event"].startswith("source.")]
    loud = [(line["event"], line["level"]) for line in told if line["level"] != "debug"]
    assert loud == [("source.disconnected", "warning"), ("source.connected", "info")]

"""
What nginx refuses is not left on disk, whoever judged it before, and holds up nobody else.

Three ways for a bad file to come before nginx: nothing here can test, what tests is wrong, and what it refuses is not in
the file but around it. Each is tried with several kinds of mistakes.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon import IN_STEP_S, Stage, wait_until
from needs import SetStage
from oracle import file_blocks
from realengine import RealEngine
from realnginx import RealNginx
from watcher import WEB, watched

THEIRS = {"lbwatch.upstream": "theirs"}
SETTLED_S = 40.0

MISTAKES = {
    "an upstream of the user's own": "upstream theirs { server 127.0.0.1:9; }",
    "its name in other letters": "upstream Theirs { server 127.0.0.1:9; }",
    "a longer list of names that ends with it": (
        "upstream their { server 127.0.0.1:9; } upstream theirs2 { server 127.0.0.1:9; } "
        "upstream theirs { server 127.0.0.1:9; }"
    ),
}
"""What the user's main file has, so that nginx refuses an upstream `theirs`."""

YES = "#!/bin/sh\ncase \" $* \" in *' -V '*) exec nginx -V;; esac\nexit 0\n"
"""An nginx program that takes whatever it is given."""


@pytest.fixture(params=["nothing tests", "what tests is wrong"])
def misled(request: pytest.FixtureRequest, engine: RealEngine, set_stage: SetStage, tmp_path: Path) -> Stage:
    """An lbwatch, not started yet, that learns only from a reload what nginx refuses."""
    program = tmp_path / "yes"
    program.write_text(YES)
    program.chmod(0o755)
    command = str(program) if request.param == "what tests is wrong" else "/nowhere/nginx"
    stage = set_stage(engine, lbwatch_runs=False, nginx_command=command)
    engine.run("one", labels=WEB)
    return stage


def assert_startable(nginx: RealNginx) -> None:
    """What lies on disk is what nginx could start from."""
    argv = ["nginx", "-t", "-q", "-c", str(nginx.conf), "-p", str(nginx.folder)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{done.stderr}\n{nginx.output.read_text()}"


@contextmanager
def seldom_bad(stage: Stage, *, times: int) -> Iterator[None]:
    """Fail if the upstream that nginx refuses was on disk more often than so many times."""
    with watched(stage.output) as watcher:
        yield
    blocks = [b"upstream theirs " in (sight[0] if sight else b"") for sight in watcher.sights]
    begun = sum(now and not before for before, now in zip([False, *blocks], blocks, strict=False))
    assert begun <= times, f"it was there {begun} times"


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_what_nginx_takes_back_is_put_back_and_the_others_go_on(
    misled: Stage, engine: RealEngine, mistake: str
) -> None:
    """A file that nginx cannot start from ends the site at the next reboot; a dead server costs seconds each time."""
    stage = misled
    stage.nginx.rewrite(http=mistake)
    stage.nginx.reload()
    stage.lbwatch.start()
    stage.wait_in_step({"web": {"one"}})
    with seldom_bad(stage, times=1):
        engine.run("bad", labels=THEIRS)
        stage.lbwatch.wait_for_log("upstream.degraded", upstream="theirs", within=SETTLED_S)
        wait_until(lambda: b"theirs" not in stage.output.read_bytes(), within=SETTLED_S, what="it is off the disk")
        assert_startable(stage.nginx)
        engine.run("two", labels=WEB)
        engine.remove("one")
        wait_until(lambda: stage.nginx.answers("web") == {"two"}, within=SETTLED_S, what="the others go on")
        assert_startable(stage.nginx)
        assert [name for name, _ in file_blocks(stage.output)] == ["web"]
    engine.remove("bad")
    stage.nginx.rewrite()
    engine.run("three", labels=WEB)
    stage.wait_in_step({"web": {"two", "three"}}, within=SETTLED_S)


def test_of_many_that_come_at_once_just_the_bad_one_is_left_out(misled: Stage, engine: RealEngine) -> None:
    """A stack comes up, and one of its names is taken: nobody but nginx can tell which."""
    stage = misled
    stage.nginx.rewrite(http=MISTAKES["an upstream of the user's own"])
    stage.nginx.reload()
    stage.lbwatch.start()
    stage.wait_in_step({"web": {"one"}})
    names = [f"u{number}" for number in range(4)]
    stage.lbwatch.process.send_signal(signal.SIGSTOP)  # so that all are seen at once
    for name in (*names, "theirs"):
        engine.run(name, labels={"lbwatch.upstream": name})
    with seldom_bad(stage, times=4):
        stage.lbwatch.process.send_signal(signal.SIGCONT)
        wait_until(
            lambda: [name for name, _ in file_blocks(stage.output)] == [*names, "web"],
            within=2 * SETTLED_S,
            what="all others are there",
            notes=stage.notes,
        )
        wait_until(lambda: stage.nginx.answers("u3") == {"u3"}, within=SETTLED_S, what="they serve")
    assert_startable(stage.nginx)


def test_a_restart_begins_with_the_file_that_nginx_can_start_from(misled: Stage, engine: RealEngine) -> None:
    """lbwatch was killed while the bad file was on trial, and nginx may be started at any time."""
    stage = misled
    stage.nginx.rewrite(http=MISTAKES["an upstream of the user's own"])
    stage.nginx.reload()
    stage.lbwatch.start()
    stage.wait_in_step({"web": {"one"}})
    good = stage.output.read_bytes()
    engine.run("bad", labels=THEIRS)
    wait_until(lambda: b"theirs" in stage.output.read_bytes(), within=IN_STEP_S, what="it is on trial")
    stage.lbwatch.kill9()
    assert b"theirs" in stage.output.read_bytes(), "it was taken back before the kill: nothing is shown"
    engine.remove("bad")
    stage.lbwatch.start()
    wait_until(lambda: stage.output.read_bytes() == good, within=IN_STEP_S, what="the good file is back")
    stage.lbwatch.wait_for_log("output.restored")
    stage.wait_in_step({"web": {"one"}})
    assert_startable(stage.nginx)


def test_an_nginx_that_hangs_blames_nobody(stage: Stage, engine: RealEngine) -> None:
    """It takes no reload of any file then; once it goes on, all that came is there."""
    engine.run("one", labels=WEB)
    stage.wait_in_step({"web": {"one"}})
    os.kill(stage.nginx.master_pid, signal.SIGSTOP)
    try:
        mark = stage.lbwatch.mark()
        engine.run("two", labels={"lbwatch.upstream": "api"})
        stage.lbwatch.wait_for_log("nginx.reload_failed", since=mark, within=SETTLED_S)
        assert b"upstream api" not in stage.output.read_bytes(), "it was not taken, and is on disk"
    finally:
        os.kill(stage.nginx.master_pid, signal.SIGCONT)
    stage.wait_in_step({"web": {"one"}, "api": {"two"}}, within=SETTLED_S)


def test_a_pattern_of_the_user_s_is_read_as_nginx_reads_it(engine: RealEngine, set_stage: SetStage) -> None:
    """`[^.]` is glob(3)'s; read otherwise, the user's own upstream is not seen, and one of its name goes live."""
    stage = set_stage(engine, lbwatch_runs=False)
    conf = stage.nginx.conf.read_text()
    assert "conf.d/*.conf" in conf
    stage.nginx.conf.write_text(conf.replace("conf.d/*.conf", "conf.d/[^.#]*.conf"))
    (stage.output.parent / "site.conf").write_text("upstream theirs { server 127.0.0.1:9; }\n")
    stage.nginx.reload()
    engine.run("one", labels=WEB)
    stage.lbwatch.start()
    stage.wait_in_step({"web": {"one"}})
    assert not stage.lbwatch.logged("nginx.not_included")
    with seldom_bad(stage, times=0):
        engine.run("bad", labels=THEIRS)
        engine.run("two", labels=WEB)
        degraded = stage.lbwatch.wait_for_log("upstream.degraded", upstream="theirs")
        assert 'duplicate upstream "theirs"' in degraded["error"]
        wait_until(lambda: stage.nginx.answers("web") == {"one", "two"}, within=SETTLED_S, what="the others go on")

"""
lbwatch ended at each step of an update, from render to verify: by SIGKILL, and by SIGTERM.

Whatever the step, nginx can start from the file, and the next lbwatch brings everything in step. The steps are built
into the doomed one by `killed.py`.
"""

import os
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pytest
from daemon import IN_STEP_S, Lbwatch, Stage, wait_until
from needs import SetStage
from oracle import expected_blocks, file_blocks
from realengine import RealEngine
from realnginx import RealNginx

WEB = {"lbwatch.upstream": "web"}

BEFORE_RENAME = (
    "render.after",
    "test.before",
    "test.after",
    "fsync.before",
    "fsync.after",
    "rename.before",
)
AFTER_RENAME = ("rename.after", "folder.before", "folder.after", "signal.before")
AFTER_SIGNAL = ("signal.after", "live.before", "live.after", "retired.before", "retired.after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wreck:
    """
    What an lbwatch left that was ended during an update.

    Attributes:
        code: Its exit code.
        before, after: Who serves `web`: what nginx was last verified with, and what the engine has now.
        is_new: Whether the file is the one for `after`.
        reloaded: Whether nginx has other workers than before the update.
    """

    code: int
    before: Collection[str]
    after: Collection[str]
    is_new: bool
    reloaded: bool


@pytest.fixture
def stage(engine: RealEngine, set_stage: SetStage) -> Stage:
    """An engine and an nginx; lbwatch is not started yet."""
    return set_stage(engine, lbwatch_runs=False)


def wrecked(stage: Stage, *, step: str, signal: str, folder: Path, adds: bool = True, nginx_runs: bool = True) -> Wreck:
    """
    Have lbwatch ended at a step of an update.

    Args:
        folder: For files of this function's own.
        adds: The update is for a second container, else for the end of one of two.
        nginx_runs: Whether nginx is there at the update.
    """
    before, after = ({"one"}, {"one", "two"}) if adds else ({"one", "two"}, {"one"})
    for name in before:
        stage.engine.run(name, labels=WEB)
    armed, own = folder / "armed", folder / "doomed"
    own.mkdir()
    program = ("-m", "tests.support.killed", step, signal, str(armed))
    with Lbwatch(*stage.lbwatch.flags, folder=own, namespace=stage.engine.name, program=program) as doomed:
        doomed.start()
        stage.wait_in_step({"web": before})
        doomed.wait_for_log("nginx.reloaded")
        was, was_blocks = stage.output.read_bytes(), file_blocks(stage.output)
        workers = stage.nginx.worker_pids()
        if not nginx_runs:
            stage.nginx.stop()
        armed.touch()
        if adds:
            stage.engine.run("two", labels=WEB)
        else:
            stage.engine.remove("two")
        wait_until(lambda: not armed.exists(), within=IN_STEP_S, what=f"it comes to {step}", notes=doomed.tail)
        try:
            code = doomed.process.wait(2)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not ended within 2 s of {signal} at {step}\n{doomed.tail()}") from None
        doomed.lines()  # fails for a traceback
        notes = doomed.tail()
    reloaded = stage.nginx.worker_pids() != workers
    is_new = stage.output.read_bytes() != was
    expected = expected_blocks(stage.engine.inspect_all()) if is_new else was_blocks
    assert file_blocks(stage.output) == expected, f"neither the old nor the new file\n{notes}"
    return Wreck(code=code, before=before, after=after, is_new=is_new, reloaded=reloaded)


def assert_nginx_can_start(nginx: RealNginx) -> None:
    """With the user's real configuration, on the file that is there."""
    argv = ["nginx", "-t", "-c", str(nginx.conf), "-p", str(nginx.folder)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr
    assert visible(nginx) == ["lbwatch.conf"], "half a file where nginx would find it"


def visible(nginx: RealNginx) -> list[str]:
    """Files beside the output that nginx would read, or that nobody knows to be lbwatch's own."""
    names = sorted(os.listdir(nginx.output.parent))
    return [name for name in names if name.endswith(".conf") or not name.startswith(".lbwatch.conf.")]


def wait_until_served(stage: Stage, wreck: Wreck) -> None:
    """Wait until nginx runs the file that is there."""
    wait_until(
        lambda: stage.nginx.answers("web"),
        holds=lambda seen: seen == (wreck.after if wreck.is_new else wreck.before),
        within=IN_STEP_S,
        what="nginx runs the file that is there",
        notes=stage.notes,
    )


def assert_mended(stage: Stage, wreck: Wreck) -> None:
    """The next lbwatch owes nothing and leaves nothing."""
    suspended = stage.output.read_bytes()
    stage.lbwatch.start()
    stage.wait_in_step({"web": wreck.after})
    stage.lbwatch.wait_for_log("nginx.reloaded")
    assert not wreck.is_new or stage.output.read_bytes() == suspended, "the same world, other bytes"
    left = set(os.listdir(stage.output.parent)) - {".lbwatch.conf.lock"}
    assert left == {"lbwatch.conf"}, left


# -- killed


@pytest.mark.parametrize("step", ["fsync.half", *BEFORE_RENAME])
def test_a_kill_before_the_rename_leaves_the_old_file(stage: Stage, tmp_path: Path, step: str) -> None:
    """nginx may be restarted before lbwatch is: it must find a file that it can start from, and no half one."""
    wreck = wrecked(stage, step=step, signal="SIGKILL", folder=tmp_path)
    assert wreck.code == -9
    assert not wreck.is_new
    assert_nginx_can_start(stage.nginx)
    assert not wreck.reloaded
    assert_mended(stage, wreck)


@pytest.mark.parametrize("step", AFTER_RENAME)
def test_a_reload_lost_by_a_kill_is_made_up_by_the_next_start(stage: Stage, tmp_path: Path, step: str) -> None:
    """The file is right and nginx runs the old one: who only compares files would leave it so for ever."""
    wreck = wrecked(stage, step=step, signal="SIGKILL", folder=tmp_path)
    assert wreck.code == -9
    assert wreck.is_new
    assert_nginx_can_start(stage.nginx)
    assert not wreck.reloaded, "somebody reloaded nginx, so that this test shows nothing"
    assert_mended(stage, wreck)


@pytest.mark.parametrize("step", AFTER_SIGNAL)
def test_a_kill_after_the_signal_costs_nothing(stage: Stage, tmp_path: Path, step: str) -> None:
    """nginx has what it needs; the next lbwatch cannot know that and must make sure."""
    wreck = wrecked(stage, step=step, signal="SIGKILL", folder=tmp_path)
    assert wreck.code == -9
    assert wreck.is_new
    assert_nginx_can_start(stage.nginx)
    wait_until_served(stage, wreck)
    assert_mended(stage, wreck)


@pytest.mark.parametrize("step", ["rename.before", "signal.before"])
def test_a_removal_lost_by_a_kill_is_made_up_by_the_next_start(stage: Stage, tmp_path: Path, step: str) -> None:
    """Until then nginx sends requests to a server that is gone."""
    wreck = wrecked(stage, step=step, signal="SIGKILL", folder=tmp_path, adds=False)
    assert wreck.code == -9
    assert_nginx_can_start(stage.nginx)
    assert not wreck.reloaded, "somebody reloaded nginx, so that this test shows nothing"
    assert_mended(stage, wreck)


@pytest.mark.parametrize("step", ["fsync.half", "rename.before", "rename.after", "signal.before"])
def test_nginx_starts_from_what_a_killed_one_left(stage: Stage, tmp_path: Path, step: str) -> None:
    """A machine that lost its power starts nginx first, and `nginx -t` is not yet a start."""
    wreck = wrecked(stage, step=step, signal="SIGKILL", folder=tmp_path)
    stage.nginx.stop()
    stage.nginx.start()
    assert stage.nginx.answers("web") == (wreck.after if wreck.is_new else wreck.before)
    assert_mended(stage, wreck)


# -- told to end


@pytest.mark.parametrize("step", [*BEFORE_RENAME, *AFTER_RENAME, *AFTER_SIGNAL])
def test_sigterm_at_any_step_leaves_nginx_running_the_file_that_is_there(
    stage: Stage, tmp_path: Path, step: str
) -> None:
    """An update of lbwatch itself may take minutes: what was begun is brought to its end, or was not begun."""
    wreck = wrecked(stage, step=step, signal="SIGTERM", folder=tmp_path)
    assert wreck.code == 0
    if step in ("render.after", "test.before"):
        assert not wreck.is_new, "it went on after it was told to end"
    if step in (*AFTER_RENAME, *AFTER_SIGNAL):
        assert wreck.is_new, "it took back what was right"
    assert_nginx_can_start(stage.nginx)
    wait_until_served(stage, wreck)
    assert_mended(stage, wreck)


@pytest.mark.parametrize("step", ["fsync.before", "rename.after"])
def test_sigterm_while_nginx_is_away_owes_the_reload_to_the_next_start(stage: Stage, tmp_path: Path, step: str) -> None:
    """Nobody can be told; the file must be whole for an nginx that comes before the next lbwatch."""
    wreck = wrecked(stage, step=step, signal="SIGTERM", folder=tmp_path, nginx_runs=False)
    assert wreck.code == 0
    assert wreck.is_new
    stage.nginx.start()
    assert_nginx_can_start(stage.nginx)
    assert_mended(stage, wreck)


# -- where nothing can test

THEIRS = "upstream theirs { server 127.0.0.1:9; }"


@pytest.fixture
def untested(engine: RealEngine, set_stage: SetStage) -> Stage:
    """An lbwatch without an nginx program, not started yet, and an nginx that refuses an upstream `theirs`."""
    stage = set_stage(engine, lbwatch_runs=False, nginx_command="/nowhere/nginx")
    stage.nginx.rewrite(http=THEIRS)
    stage.nginx.reload()
    engine.run("one", labels=WEB)
    return stage


def test_a_kill_before_an_untested_file_is_taken_back_is_mended_by_the_next_start(
    untested: Stage, tmp_path: Path
) -> None:
    """Where nothing can test, a file that nginx refuses lies there for seconds: a crash must not leave it for ever."""
    armed = tmp_path / "armed"
    program = ("-m", "tests.support.killed", "live.before", "SIGKILL", str(armed))
    with Lbwatch(*untested.lbwatch.flags, folder=tmp_path, namespace=untested.engine.name, program=program) as doomed:
        doomed.start()
        untested.wait_in_step({"web": {"one"}})
        doomed.wait_for_log("nginx.reloaded")
        old = untested.output.read_bytes()
        armed.touch()
        untested.engine.run("two", labels={"lbwatch.upstream": "theirs"})
        wait_until(lambda: not doomed.runs, within=IN_STEP_S, what="it is killed", notes=doomed.tail)
    assert untested.output.read_bytes() != old
    untested.lbwatch.start()
    wait_until(
        lambda: untested.output.read_bytes() == old, within=15, what="the old file is back", notes=untested.notes
    )
    untested.lbwatch.wait_started()
    assert untested.lbwatch.logged("output.restored"), "it was there for as long as a trial takes"


def test_a_file_that_was_taken_back_is_seldom_tried_again_unless_something_changes(untested: Stage) -> None:
    """Each try leaves nginx unable to start for four seconds, and nothing has changed since it refused."""
    untested.lbwatch.start()
    untested.wait_in_step({"web": {"one"}})
    untested.engine.run("two", labels={"lbwatch.upstream": "theirs"})
    untested.lbwatch.wait_for_log("upstream.degraded", upstream="theirs", within=15)
    assert visible(untested.nginx) == ["lbwatch.conf"]
    refused = untested.nginx.error_log.read_text().count("[emerg]")
    untested.engine.run("three", labels=WEB)
    untested.engine.remove("one")
    wait_until(lambda: untested.nginx.answers("web") == {"three"}, within=IN_STEP_S, what="others come and go")
    assert untested.nginx.error_log.read_text().count("[emerg]") == refused, "it was before nginx again"
    untested.engine.remove("two")
    untested.wait_in_step({"web": {"three"}})

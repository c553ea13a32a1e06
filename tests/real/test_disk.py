"""
What breaks around the output: its disk is full or read-only, its folder is replaced or gone, someone removes it.

The old file stays whole, the log says why, and lbwatch is in step again by itself once it can be. The disk is a tmpfs of
64 KiB on nginx's conf.d.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon import Stage
from needs import SetStage
from realengine import RealEngine
from watcher import watched

WEB = {"lbwatch.upstream": "web"}
RESYNC_S = 2
BACK_S = RESYNC_S + 3.0
"""The wait after a failure grows up to the resync interval."""

BYTES = 64 * 1024
PADDING = ("# " + "x" * 97 + "\n") * 120
"""12,000 bytes for each server: a file for two does not fit beside one for one on a disk that is nearly full."""

_TEMPLATE = Path(__file__).resolve().parents[2] / "templates" / "nginx" / "upstreams.conf.j2"
_SERVERS = "{% for server in upstream.servers %}\n"


@pytest.fixture
def stage(engine: RealEngine, set_stage: SetStage, tmp_path: Path) -> Stage:
    """An engine, an nginx, and an lbwatch, not started yet, whose files are large."""
    template = tmp_path / "large.conf.j2"
    text = _TEMPLATE.read_text()
    assert _SERVERS in text
    template.write_text(text.replace(_SERVERS, _SERVERS + PADDING))
    return set_stage(engine, lbwatch_runs=False, resync_interval=f"{RESYNC_S}s", template=str(template))


@contextmanager
def mounted(*argv: str, on: Path) -> Iterator[None]:
    """Mount something meanwhile; whoever has files open there does not hinder the end."""
    subprocess.run(["mount", *argv, str(on)], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(on)], check=True, timeout=10)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Have a disk of `BYTES` there."""
    with mounted("-t", "tmpfs", "-o", f"size={BYTES},mode=755", "tmpfs", on=folder):
        yield


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Turn a disk read-only, which cannot be while anybody has a file of it open for writing."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True, timeout=10)


@contextmanager
def filled(folder: Path, *, leave: int) -> Iterator[None]:
    """Leave so many bytes of a disk meanwhile."""
    filler = folder / "filler"
    free = os.statvfs(folder)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - leave))
    try:
        yield
    finally:
        filler.unlink()


def begin(stage: Stage) -> int:
    """Bring one container into force, and mark the log."""
    stage.engine.run("one", labels=WEB)
    stage.lbwatch.start()
    stage.wait_in_step({"web": {"one"}})
    stage.lbwatch.wait_for_log("nginx.reloaded")
    return stage.lbwatch.mark()


def assert_failed(stage: Stage, reason: str, *, since: int, attempts: int = 3) -> None:
    """It said why, at each try for whoever looks closer, and the old state serves."""
    line = stage.lbwatch.wait_for_log("output.failed", since=since, count=attempts, within=3 * attempts)
    assert reason in line["error"]
    assert stage.lbwatch.logged("output.failed", since=since)[0]["level"] == "error"
    assert stage.nginx.answers("web") == {"one"}


# -- the disk


@pytest.mark.parametrize(("leave", "attempts"), [(0, 3), (8192, 7)])
def test_a_full_disk_leaves_the_old_file_whole_until_there_is_room(stage: Stage, leave: int, attempts: int) -> None:
    """Half a file would stop the next start of nginx; and no one restarts lbwatch when the log was rotated away."""
    folder = stage.output.parent
    with small_disk(folder):
        mark = begin(stage)
        with watched(stage.output) as watcher:
            with filled(folder, leave=leave):
                stage.engine.run("two", labels=WEB)
                assert_failed(stage, "No space left on device", since=mark, attempts=attempts)
                assert set(os.listdir(folder)) == {"lbwatch.conf", ".lbwatch.conf.lock", "filler"}
                assert len(watcher.sights) == 1, "the old file was touched"
            stage.wait_in_step({"web": {"one", "two"}}, within=BACK_S)
        assert len(watcher.sights) == 2, "something between the old and the new file was seen"


def test_an_lbwatch_that_starts_on_a_full_disk_waits_for_room(stage: Stage) -> None:
    """Logs fill disks, and a supervisor restarts lbwatch then: it must be in step when there is room, as always."""
    folder = stage.output.parent
    with small_disk(folder):
        stage.engine.run("one", labels=WEB)
        with filled(folder, leave=0):
            stage.lbwatch.start()
            stage.lbwatch.wait_for_log("output.failed")
        stage.wait_in_step({"web": {"one"}}, within=BACK_S)


def test_a_disk_that_turned_read_only_is_written_again_once_it_can_be(stage: Stage) -> None:
    """Linux does that to a disk after an error, and an operator brings it back without a thought of lbwatch."""
    folder = stage.output.parent
    with small_disk(folder):
        mark = begin(stage)
        with watched(stage.output) as watcher:
            with read_only(folder):
                stage.engine.run("two", labels=WEB)
                assert_failed(stage, "Read-only file system", since=mark)
                assert len(watcher.sights) == 1, "the old file was touched"
            stage.wait_in_step({"web": {"one", "two"}}, within=BACK_S)
        assert len(watcher.sights) == 2, "something between the old and the new file was seen"


# -- the folder


@pytest.mark.parametrize("theirs", [None, "upstream theirs { server 127.0.0.1:9; }\n"], ids=["empty", "occupied"])
def test_another_folder_in_the_place_of_the_old_one_gets_the_file(stage: Stage, theirs: str | None) -> None:
    """A deployment that swaps whole folders must not end in an nginx without upstreams at its next start."""
    mark = begin(stage)
    folder, old = stage.output.parent, stage.output.parent.with_name("conf.d.old")
    suspended = stage.output.read_bytes()
    folder.rename(old)
    folder.mkdir()
    if theirs is not None:
        (folder / "theirs.conf").write_text(theirs)
    stage.wait_in_step({"web": {"one"}})
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark)
    stage.engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    assert (old / "lbwatch.conf").read_bytes() == suspended, "it wrote to the old folder"
    others = {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(".")}
    del others["lbwatch.conf"]
    assert others == ({} if theirs is None else {"theirs.conf": theirs})


@pytest.mark.parametrize("back", ["anew", "as it was"])
def test_a_folder_that_is_gone_for_a_while_is_missed_and_found_again(stage: Stage, back: str) -> None:
    """A volume that is mounted late or away for a repair: nginx serves on, and nobody thinks of lbwatch."""
    mark = begin(stage)
    folder, away = stage.output.parent, stage.output.parent.with_name("away")
    folder.rename(away)
    stage.engine.run("two", labels=WEB)
    assert_failed(stage, "No such file or directory", since=mark)
    if back == "anew":
        shutil.rmtree(away)
        folder.mkdir()
    else:
        away.rename(folder)
    stage.wait_in_step({"web": {"one", "two"}}, within=BACK_S)


def test_an_output_that_someone_removed_comes_back(stage: Stage) -> None:
    """An nginx that was reloaded meanwhile knows no upstream any more."""
    mark = begin(stage)
    stage.output.unlink()
    stage.nginx.reload()
    stage.wait_in_step({"web": {"one"}})
    stage.lbwatch.wait_for_log("nginx.reloaded", since=mark)
    assert stage.nginx.answers("web") == {"one"}

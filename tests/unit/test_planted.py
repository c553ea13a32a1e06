"""The daemon as a process, before what others put into its folders: told in one line, and nothing waits for it."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command import DEADLINE_S, WEB, Running, command, environment, lbwatch, upstreams
from planted import NO_FILES, Plant, assert_unharmed, victim_in
from realnginx import RealNginx
from waiting import eventually

from lbwatch.engines.fake import FakeEngine
from lbwatch.system import files


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    async with FakeEngine(socket=tmp_path / "docker.sock") as engine:
        yield engine


@pytest.fixture
async def daemon(engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path) -> AsyncIterator[Running]:
    """In step with one container."""
    words = command(
        "run",
        docker_host=engine.url,
        output=real_nginx.output,
        nginx_pidfile=real_nginx.pidfile,
        nginx_conf=real_nginx.conf,
        control_socket=tmp_path / "control",
        state_dir=tmp_path / "state",
        resync_interval="2s",
        reload_interval="100ms",
        log_format="json",
    )
    engine.containers.run(name="web-1", labels=WEB)
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*words, env=environment(), stderr=log)
    running = Running(process, tmp_path / "log")
    try:
        await eventually(lambda: running.logged("nginx.reloaded"), within=DEADLINE_S)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def shows(real_nginx: RealNginx, count: int) -> bool:
    return real_nginx.output.is_file() and upstreams(real_nginx.output).count("server 172.17.") == count


@pytest.mark.parametrize("kind", ["a link to itself", "a pipe"])
async def test_a_start_before_no_file_is_one_line_and_exit_code_2(tmp_path: Path, kind: str) -> None:
    """The one was a traceback, the other a start that never ended."""
    NO_FILES[kind](tmp_path / "out.conf", victim_in(tmp_path))
    code, out, err = await lbwatch("run", output=tmp_path / "out.conf", docker_host=f"unix://{tmp_path}/none")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("lbwatch: output: ")
    assert "remove it" in line or "name the file itself" in line


@pytest.mark.parametrize(
    "plant", [NO_FILES["a pipe"], NO_FILES["a link to an endless device"]], ids=["a pipe", "an endless device"]
)
async def test_what_takes_the_output_s_place_is_told_and_ends_with_its_removal(
    daemon: Running, engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path, plant: Plant
) -> None:
    """A pass hung there while all was said to be ready, or filled the memory, and SIGTERM was in vain."""
    victim = victim_in(tmp_path)
    real_nginx.output.unlink()
    plant(real_nginx.output, victim)
    engine.containers.run(name="web-2", labels=WEB)
    (failed, *_) = await eventually(lambda: daemon.logged("output.failed"), within=DEADLINE_S)
    assert f"{real_nginx.output}: it is a" in failed["error"]
    assert "remove it" in failed["error"]
    real_nginx.output.rename(tmp_path / "removed")
    done = len(daemon.logged("nginx.reloaded"))
    await eventually(lambda: len(daemon.logged("nginx.reloaded")) > done, within=DEADLINE_S)  # nginx has read it
    assert shows(real_nginx, 2)
    real_nginx.output.unlink()
    plant(real_nginx.output, victim)
    count = len(daemon.logged("output.failed"))
    await eventually(lambda: len(daemon.logged("output.failed")) > count, within=DEADLINE_S)
    daemon.process.terminate()
    assert await daemon.ends() == 0
    assert_unharmed(victim)


async def test_what_lies_beside_the_output_stops_nothing(
    daemon: Running, engine: FakeEngine, real_nginx: RealNginx, tmp_path: Path
) -> None:
    """Links to files of root's, pipes and folders, each in a place that lbwatch would write to."""
    victim, output = victim_in(tmp_path), real_nginx.output
    NO_FILES["a pipe"](output.with_name(f".{output.name}.probe"), victim)
    files.scratch_path(output).hardlink_to(victim)
    NO_FILES["a folder"](files.backup_path(output), victim)
    engine.containers.run(name="web-2", labels=WEB)
    await eventually(lambda: shows(real_nginx, 2), within=DEADLINE_S)
    NO_FILES["a folder"](files.scratch_path(output), victim)
    engine.containers.run(name="web-3", labels=WEB)
    await eventually(lambda: shows(real_nginx, 3), within=DEADLINE_S)
    assert not daemon.logged("output.failed")
    files.lock_path(output).unlink()
    os.link(victim, files.lock_path(output))
    engine.containers.run(name="web-4", labels=WEB)
    (failed, *_) = await eventually(lambda: daemon.logged("output.failed"), within=DEADLINE_S)
    assert f"{files.lock_path(output)}: it has 2 names (hard links): remove it" in failed["error"]
    files.lock_path(output).unlink()
    await eventually(lambda: shows(real_nginx, 4), within=DEADLINE_S)
    daemon.process.terminate()
    assert await daemon.ends() == 0
    assert_unharmed(victim)


async def test_a_render_beside_what_is_no_file_ends(tmp_path: Path, engine: FakeEngine) -> None:
    """A command that only looks reads the output too."""
    os.mkfifo(tmp_path / "out.conf")
    settings = {"docker_host": engine.url, "output": tmp_path / "out.conf", "test_command": "true"}
    code, out, _ = await lbwatch("render", **settings)
    assert (code, bool(out)) == (0, True)
    code, _, err = await lbwatch("render", "--diff", **settings)
    assert code == 1
    assert "it is a pipe, where lbwatch keeps a file: remove it" in err

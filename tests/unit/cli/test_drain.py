"""`lbwatch drain` and `lbwatch undrain` as they are typed, on the fake engine."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from command import command, environment, lbwatch
from fakedaemon import WEB, DrainStage, drain_stage
from simulation import SimulatedNginx
from waiting import eventually

from lbwatch.engines.fake import FakeEngine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    """With two containers of upstream web, at .2 and .3."""
    async with FakeEngine(socket=tmp_path / "docker.sock", lag_s=0.0) as engine:
        for name in ("web-1", "web-2"):
            engine.containers.run(name=name, labels=WEB)
        yield engine


@pytest.fixture
async def stage(tmp_path: Path, engine: FakeEngine) -> AsyncIterator[DrainStage]:
    nginx = SimulatedNginx(tmp_path / "lbwatch.conf")
    nginx.start()
    async with drain_stage(tmp_path, engine, nginx) as stage:
        yield stage


@pytest.mark.parametrize("verb", ["drain", "undrain"])
async def test_the_command_without_a_daemon_exits_1_with_one_line(tmp_path: Path, verb: str) -> None:
    """A script goes by the code, its owner by the line."""
    code, out, err = await lbwatch(verb, "nobody", control_socket=tmp_path / "none")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"lbwatch: no lbwatch answers at {tmp_path}/none (No such file or directory): is")


async def test_the_command_without_a_container_is_a_wrong_call(tmp_path: Path) -> None:
    """It must never mean all."""
    code, out, err = await lbwatch("drain", control_socket=tmp_path / "none")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


async def test_the_commands_print_what_came_of_it(stage: DrainStage) -> None:
    """Standard output is for the answer, standard error for what went wrong."""
    code, out, err = await lbwatch("drain", "web-1", control_socket=stage.socket)
    assert (code, err) == (0, "")
    assert out == "web-1 is drained; `lbwatch undrain web-1` ends that\n"
    assert len(out.splitlines()) == 1
    assert stage.servers() == ["172.17.0.3"]
    code, out, err = await lbwatch("drain", "nobody", control_socket=stage.socket)
    assert (code, out, err) == (1, "", "lbwatch: the engine has no container 'nobody'\n")
    code, out, err = await lbwatch("undrain", "web-1", control_socket=stage.socket)
    assert (code, out, err) == (0, "web-1 is not drained any more; it serves upstream web at 172.17.0.2:80\n", "")


async def test_the_whole_daemon_takes_orders_keeps_them_and_removes_its_socket(
    tmp_path: Path, engine: FakeEngine
) -> None:
    """What `daemon.run` puts together: the socket, the state and the loop, over a restart."""
    output, path, log_file = tmp_path / "out.conf", tmp_path / "control.sock", tmp_path / "log"
    words = command(
        "run",
        docker_host=engine.url,
        output=output,
        test_command="true",
        reload_command="true",
        nginx_pidfile=tmp_path / "none.pid",
        control_socket=path,
        state_dir=tmp_path / "state",
        log_format="json",
    )

    def servers() -> list[str]:
        return re.findall(r"server ([0-9.]+):", output.read_text() if output.exists() else "")

    async def while_it_runs(deed: Callable[[], Awaitable[None]]) -> None:
        with log_file.open("wb") as log:
            daemon = await asyncio.create_subprocess_exec(*words, env=environment(), stderr=log)
        try:
            await eventually(lambda: "source.synced" in log_file.read_text(), within=20.0, what="orders are taken")
            await deed()
            daemon.terminate()
            async with asyncio.timeout(20.0):
                assert await daemon.wait() == 0
        finally:
            if daemon.returncode is None:
                daemon.kill()
                await daemon.wait()
        assert not path.exists()

    async def drain_one() -> None:
        await eventually(lambda: servers() == ["172.17.0.2", "172.17.0.3"])
        code, _, err = await lbwatch("drain", "web-1", control_socket=path)
        assert code == 0, err
        assert servers() == ["172.17.0.3"]

    async def undrain_it() -> None:
        code, out, err = await lbwatch("undrain", "web-1", control_socket=path)
        assert (code, err) == (0, "")
        assert out.startswith("web-1 is not drained any more"), "the new daemon knew of the drain"
        assert servers() == ["172.17.0.2", "172.17.0.3"]

    await while_it_runs(drain_one)
    assert servers() == ["172.17.0.3"]
    await while_it_runs(undrain_it)

"""What engines and Swarms say is kept: soon, once, each by itself, and nothing that another one says better."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from enginepool import pooled
from simulation import in_simulated_time
from swarmstage import swarm_stage
from waiting import eventually

from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.keeping import KEEP_INTERVAL_S

WEB = {"lbwatch.port": "80"}
SOON_S = 2 * KEEP_INTERVAL_S


def url(folder: Path, name: str) -> str:
    return f"{name}=unix://{folder}/{name}.sock"


def engine_at(folder: Path, name: str) -> FakeEngine:
    """An engine whose containers have ids of their own."""
    return FakeEngine(socket=folder / f"{name}.sock", seed=ord(name), monotonic=asyncio.get_running_loop().time)


def kept(folder: Path, name: str) -> list[str]:
    """The names of the containers that are kept of an engine."""
    file = json.loads((folder / "state" / f"engine-{name}.json").read_text())
    return [each["name"] for each in file["containers"]]


def test_a_change_is_on_the_disk_soon_and_what_stays_is_written_once(tmp_path: Path) -> None:
    """Whoever restarts lbwatch has what was known; and a disk is not worn out by what does not change."""

    async def body() -> None:
        async with engine_at(tmp_path, "a") as one, engine_at(tmp_path, "b"):
            one.containers.run(name="web-1", labels=WEB)
            async with pooled(tmp_path, url(tmp_path, "a"), url(tmp_path, "b"), resync_interval=1.0) as stage:
                await eventually(lambda: "web-1" in stage.all())
                await asyncio.sleep(SOON_S)
                assert (kept(tmp_path, "a"), kept(tmp_path, "b")) == (["web-1"], [])
                before = (tmp_path / "state" / "engine-a.json").stat()
                await asyncio.sleep(100)
                assert (tmp_path / "state" / "engine-a.json").stat() == before
                one.containers.run(name="web-2", labels=WEB)
                await asyncio.sleep(SOON_S)
                assert sorted(kept(tmp_path, "a")) == ["web-1", "web-2"]

    in_simulated_time(body())


def test_of_a_single_engine_nothing_is_kept(tmp_path: Path) -> None:
    """Without it nothing is known at all, and what nginx has is as good."""

    async def body() -> None:
        async with engine_at(tmp_path, "a") as one:
            one.containers.run(name="web-1", labels=WEB)
            async with pooled(tmp_path, url(tmp_path, "a")) as stage:
                await eventually(lambda: "web-1" in stage.all())
                await asyncio.sleep(SOON_S)
        assert not (tmp_path / "state").exists()

    in_simulated_time(body())


def test_an_engine_that_cannot_be_kept_is_told_once_and_keeps_no_other_from_that(tmp_path: Path) -> None:
    """Whatever lies in its file's place, the next one is as safe as before; and once it is gone, so is this one."""

    async def body() -> None:
        there = tmp_path / "state" / "engine-a.json"
        async with engine_at(tmp_path, "a") as one, engine_at(tmp_path, "b") as other:
            one.containers.run(name="web-a", labels=WEB)
            other.containers.run(name="web-b", labels=WEB)
            with structlog.testing.capture_logs() as logged:
                async with pooled(tmp_path, url(tmp_path, "a"), url(tmp_path, "b")) as stage:
                    there.mkdir(parents=True)
                    await eventually(lambda: {"web-a", "web-b"} <= set(stage.all()))
                    await asyncio.sleep(3 * SOON_S)
                    assert kept(tmp_path, "b") == ["web-b"]
                    there.rmdir()
                    await asyncio.sleep(SOON_S)
                    assert kept(tmp_path, "a") == ["web-a"]
            (line,) = [each for each in logged if each["event"] == "state.failed"]
            assert str(there) in line["error"]

    in_simulated_time(body())


def test_a_swarm_s_tasks_are_kept_as_the_swarm_s_and_not_as_containers_of_its_manager(tmp_path: Path) -> None:
    """Else each would serve twice after a start without that manager."""

    async def body() -> None:
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(swarm_stage(tmp_path, managers=1, engines_for_workers=True))
            world.engines["m1"].containers.run(name="beside", labels=WEB)
            await world.serve("web", 3, labels=WEB, networks=("ov",))
            stage = await stack.enter_async_context(pooled(tmp_path, url(tmp_path, "m1")))
            await eventually(lambda: len([each for each in stage.all().values() if each.task]) == 3)
            await asyncio.sleep(SOON_S)
            assert kept(tmp_path, "m1") == ["beside"]
            swarm = json.loads((tmp_path / "state" / "engine-m1.json").read_text())["swarm"]
            assert sorted(each["task"]["slot"] for each in swarm["tasks"]) == ["1", "2", "3"]
            assert len(swarm["nodes"]) == len(list(world.swarm.nodes)) == 3

    in_simulated_time(body())

"""What engines say is kept where there is a use for it, where it changed, and for as long as it can be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from enginepool import PoolStage, pooled
from simulation import in_simulated_time
from waiting import eventually

from lbwatch.core.model import Container, Engine
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.keeping import KEEP_INTERVAL_S
from lbwatch.system.enginememory import EngineMemory, Kept, KeptSwarm

WEB = {"lbwatch.port": "80"}


@asynccontextmanager
async def engines(
    folder: Path, *names: str, swarm: dict[str, Any] | None = None
) -> AsyncIterator[tuple[PoolStage, list[FakeEngine]]]:
    """Follow new engines of these names; *swarm*: what the first one says that it is in a Swarm."""
    clock = asyncio.get_running_loop().time
    made = [FakeEngine(socket=folder / f"{name}.sock", seed=n, monotonic=clock) for n, name in enumerate(names)]
    if swarm is not None:
        made[0].swarm = cast("Any", SimpleNamespace(info=lambda: {"ControlAvailable": False, **swarm}))
    for each in made:
        await each.start()
    try:
        async with pooled(folder, *(f"{name}=unix://{folder}/{name}.sock" for name in names)) as stage:
            await eventually(lambda: stage.pool.snapshots() is not None)
            yield stage, made
    finally:
        for each in made:
            await each.close()


def kept(folder: Path, name: str) -> set[str]:
    """Return the names of the containers that would count at the next start."""
    found = EngineMemory(folder / "state", engine=Engine(name=name)).load()
    return set() if found is None else {each.name for each in found.containers}


def test_what_asks_is_kept_and_what_is_none_of_our_business_is_not(tmp_path: Path) -> None:
    """A file of all containers of a machine would hold what nobody wants in it."""

    async def body() -> None:
        async with engines(tmp_path, "a", "b") as (stage, (one, _)):
            one.containers.run(name="silent")
            one.containers.run(name="owner")
            one.containers.run(name="web", labels=WEB)
            one.containers.run(name="user", labels=WEB, network_mode="container:owner")
            await eventually(lambda: {"silent", "owner", "web", "user"} <= set(stage.all()))
            await asyncio.sleep(2 * KEEP_INTERVAL_S)
            assert kept(tmp_path, "a") == {"owner", "web", "user"}

    in_simulated_time(body())


def test_of_a_single_engine_nothing_is_kept(tmp_path: Path) -> None:
    """While it is away nothing is decided at all, so that there is no use for it."""

    async def body() -> None:
        async with engines(tmp_path, "a") as (stage, (one,)):
            one.containers.run(name="web", labels=WEB)
            await eventually(lambda: "web" in stage.all())
            await asyncio.sleep(2 * KEEP_INTERVAL_S)
            assert not (tmp_path / "state").exists()

    in_simulated_time(body())


def test_what_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    """Ten thousand containers are megabytes, each five seconds."""

    def written() -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in sorted((tmp_path / "state").glob("*.json"))}

    async def body() -> None:
        async with engines(tmp_path, "a", "b") as (stage, (one, _)):
            await asyncio.sleep(2 * KEEP_INTERVAL_S)
            before = written()
            assert [*before] == ["engine-a.json", "engine-b.json"]
            await asyncio.sleep(100 * KEEP_INTERVAL_S)
            assert written() == before
            one.containers.run(name="web", labels=WEB)
            await eventually(lambda: "web" in stage.all())
            await asyncio.sleep(2 * KEEP_INTERVAL_S)
            after = written()
            assert (after["engine-a.json"] == before["engine-a.json"], after["engine-b.json"]) == (
                False,
                before["engine-b.json"],
            )

    in_simulated_time(body())


def test_what_cannot_be_kept_is_logged_once_and_kept_as_soon_as_it_can_be(tmp_path: Path) -> None:
    """A full disk is no reason to stop, and none to say so each five seconds."""

    async def body() -> None:
        (tmp_path / "state").write_text("in the way")
        with structlog.testing.capture_logs() as logs:
            async with engines(tmp_path, "a", "b") as (stage, (one, _)):
                one.containers.run(name="web", labels=WEB)
                await eventually(lambda: "web" in stage.all())
                await asyncio.sleep(10 * KEEP_INTERVAL_S)
                failed = [str(each["error"]) for each in logs if each["event"] == "state.failed"]
                assert {each.partition("/state/")[2][:13] for each in failed} == {"engine-a.json", "engine-b.json"}
                assert len(failed) == len(set(failed))
                (tmp_path / "state").unlink()
                await asyncio.sleep(2 * KEEP_INTERVAL_S)
                assert kept(tmp_path, "a") == {"web"}

    in_simulated_time(body())


@pytest.mark.parametrize("state", ["locked", "pending"])
def test_what_was_kept_of_a_swarm_counts_until_its_engine_says_in_which_one_it_is(tmp_path: Path, state: str) -> None:
    """After a reboot a manager answers before it is in its Swarm again, for good where it waits to be unlocked."""

    async def body() -> None:
        memory = EngineMemory(tmp_path / "state", engine=Engine(name="a"))
        swarm = KeptSwarm(cluster="c" * 25, name="swarm", tasks=(Container(id="t" * 25, name="web.1.t"),))
        memory.save(Kept(containers=(), swarm=swarm, url=f"unix://{tmp_path}/a.sock"))
        async with engines(tmp_path, "a", "b", swarm={"LocalNodeState": state, "NodeID": ""}) as (stage, (one, _)):
            assert "web.1.t" in stage.all()
            one.containers.run(name="web", labels=WEB)
            await asyncio.sleep(2 * KEEP_INTERVAL_S)
            assert kept(tmp_path, "a") == {"web"}
            assert {"web", "web.1.t"} <= set(stage.all())
        found = memory.load()
        assert found is not None
        assert found.swarm is not None
        assert (found.swarm.cluster, [each.name for each in found.swarm.tasks]) == ("c" * 25, ["web.1.t"])

    in_simulated_time(body())


def test_what_was_kept_of_a_swarm_is_forgotten_once_its_engine_is_in_none(tmp_path: Path) -> None:
    """The engine answers: what it was once is no truth any more."""

    async def body() -> None:
        memory = EngineMemory(tmp_path / "state", engine=Engine(name="a"))
        task = Container(id="t" * 25, name="web.1.t")
        swarm = KeptSwarm(cluster="c" * 25, name="swarm", tasks=(task,))
        memory.save(Kept(containers=(), swarm=swarm, url=f"unix://{tmp_path}/a.sock"))
        async with engines(tmp_path, "a", "b") as (stage, _):
            assert "web.1.t" not in stage.all()

    in_simulated_time(body())

"""Which engines are followed, and what is asked of them, as settings have it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from sources import WEB
from waiting import eventually
from wirings import Made

from lbwatch.engines import keeping
from lbwatch.engines import pool as pool_module
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.pool import EnginePool
from lbwatch.settings import Settings
from lbwatch.wiring.engines import make_pool


@pytest.mark.parametrize(
    ("given", "times"), [({}, 1), ({"networks": ("front",)}, 0), ({"nginx_container": "label=nginx=it"}, 0)]
)
async def test_the_drivers_of_networks_are_asked_for_only_where_nobody_says_what_nginx_reaches(
    made: Made, engine: FakeEngine, tmp_path: Path, given: dict[str, Any], times: int
) -> None:
    """Proxies are set up for what is asked: nothing may be asked for that is of no use."""
    engine.networks.create("front")
    engine.containers.run(name="web-2", labels=WEB, networks=("front", "bridge"))
    settings = made(docker_host=f"unix://{tmp_path}/docker.sock", **given)
    async with AsyncExitStack() as stack:
        pool = make_pool(settings, stack=stack)
        following = asyncio.create_task(pool.run(lambda *, heard_at=None: None))
        try:
            await eventually(pool.snapshots)
        finally:
            following.cancel()
            await asyncio.wait([following])
    assert engine.requests["GET /networks"] == times


async def test_an_engine_that_is_away_at_a_start_has_the_containers_that_it_had(
    made: Made, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine may serve all the while; whoever restarts lbwatch just then must not take its servers out."""
    monkeypatch.setattr(pool_module, "PATIENCE_S", 0.2)
    monkeypatch.setattr(keeping, "KEEP_INTERVAL_S", 0.02)
    engine.containers.run(name="web-a", labels=WEB)
    state, away = tmp_path / "state", tmp_path / "b.sock"
    settings = made(docker_host=(f"a=unix://{tmp_path}/docker.sock", f"b=unix://{away}"), state_dir=state)
    async with FakeEngine(socket=away) as other:
        other.containers.run(name="web-b", labels=WEB)
        async with _followed(settings) as pool:
            await eventually(
                lambda: sorted(each.name for each in state.glob("*")) == ["engine-a.json", "engine-b.json"]
            )
            known = pool.containers()
    (state / "engine-c.json").write_text("{}")  # of one that was followed once
    async with _followed(settings) as pool:
        found = await eventually(pool.containers)
        assert found == known
        assert [(each.source, each.kept) for each in pool.statuses()] == [("a", False), ("b", True)]
    assert not (state / "engine-c.json").exists()


async def test_a_command_that_looks_keeps_and_forgets_nothing(
    made: Made, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have other settings than the daemon whose memory that is."""
    monkeypatch.setattr(pool_module, "PATIENCE_S", 0.2)
    monkeypatch.setattr(keeping, "KEEP_INTERVAL_S", 0.0)
    engine.containers.run(name="web-a", labels=WEB)
    (tmp_path / "state").mkdir()
    other = tmp_path / "state" / "engine-other.json"
    other.write_text("{}")
    docker_host = (f"a=unix://{tmp_path}/docker.sock", f"b=unix://{tmp_path}/away.sock")
    settings = made(docker_host=docker_host, state_dir=other.parent)
    async with _followed(settings, keeps=False) as pool:
        await eventually(pool.snapshots)
    assert list(other.parent.iterdir()) == [other]


async def test_what_was_kept_and_cannot_be_read_is_told_and_counts_as_nothing(
    made: Made, engine: FakeEngine, tmp_path: Path
) -> None:
    """Somebody else's file must not keep lbwatch from its start."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "engine-local.json").write_text("[]")
    settings = made(docker_host=(f"unix://{tmp_path}/docker.sock",), state_dir=tmp_path / "state")
    with structlog.testing.capture_logs() as logged:
        async with _followed(settings) as pool:
            await eventually(pool.snapshots)
    (line,) = [each for each in logged if each["event"] == "state.failed"]
    assert "engine-local.json" in line["error"]
    assert [each.kept for each in pool.engines] == [None]


@asynccontextmanager
async def _followed(settings: Settings, *, keeps: bool = True) -> AsyncIterator[EnginePool]:
    """The pool of these settings, which follows its engines."""
    async with AsyncExitStack() as stack:
        pool = make_pool(settings, stack=stack, keeps=keeps)
        following = asyncio.create_task(pool.run(lambda *, heard_at=None: None))
        try:
            yield pool
        finally:
            following.cancel()
            await asyncio.wait([following])

"""Whom to ask, and how long to wait: a manager that is slow is waited for, one that hangs is not."""

import asyncio
from typing import Any

import pytest
from answers import connected
from swarmanswers import task
from swarmstand import ManagerStand, manager

from lbwatch.core.errors import SourceError
from lbwatch.engines.swarm import doors
from lbwatch.engines.swarm.doors import Door, Doors


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "PATIENCE_S", 0.1)


async def ask_in_vain(stand: ManagerStand, *, times: int) -> None:
    """Ask one manager for all its tasks, so often."""
    async with connected(stand.url) as client:
        found = Doors(lambda: [Door(name="m", client=client)])
        for _ in range(times):
            with pytest.raises(SourceError):
                await found.ask("/tasks")


async def test_a_list_that_is_only_slow_gets_more_time() -> None:
    """Ten thousand tasks take a manager longer than its patience is at first."""

    def slow(path: str) -> Any:
        return asyncio.sleep(0.35) if path == "/tasks" else None

    async with manager(task("a")) as stand:
        stand.fault = slow
        async with connected(stand.url) as client:
            patient = Doors(lambda: [Door(name="m", client=client)])
            for _ in range(2):
                with pytest.raises(SourceError, match="no answer"):
                    await patient.ask("/tasks")
            assert b"taska" in await patient.ask("/tasks")


async def test_a_manager_that_hangs_gets_no_more_time() -> None:
    """Its quorum is lost for minutes: when that is over nobody may still wait for what was asked before."""
    async with manager(task("a")) as stand:
        stand.fault = lambda path: asyncio.sleep(3600.0)
        began = asyncio.get_running_loop().time()
        await ask_in_vain(stand, times=6)
        assert asyncio.get_running_loop().time() - began < 6 * 0.2 + 1.0

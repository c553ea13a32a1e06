"""Two streams of any number of managers: which ones, and what is said while there is none."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from swarmanswers import WEB, node
from swarmsources import followed_swarm
from swarmstand import ManagerStand, manager
from waiting import eventually

from lbwatch.engines.swarm import listening


@pytest.fixture
async def three(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[ManagerStand, ...]]:
    """Three managers, and no patience with one whose stream fails."""
    monkeypatch.setattr(listening, "FAILS_S", 0.2)
    monkeypatch.setattr(listening, "LOOK_S", 0.05)
    async with AsyncExitStack() as stack:
        yield tuple([await stack.enter_async_context(manager(node())) for _ in range(3)])


def listened(stands: tuple[ManagerStand, ...]) -> list[int]:
    return [len(stand.streams) for stand in stands]


async def test_two_managers_are_listened_to(three: tuple[ManagerStand, ...]) -> None:
    """Each tells all: one would be enough, and two let one go away without a gap."""
    async with followed_swarm(*three) as source:
        assert listened(three) == [1, 1, 0]
        three[1].tell("service", "update", WEB)
        await eventually(lambda: source.status().events)


async def test_another_manager_takes_the_place_of_one_that_is_away(three: tuple[ManagerStand, ...]) -> None:
    """Two of three may be away for good: the third must be heard."""
    async with followed_swarm(*three) as source:
        for stand in three[:2]:
            stand.fault = lambda path: (500, "away") if path == "/events" else None
            stand.end_streams()
        await eventually(lambda: three[2].streams, what="the third one is listened to")
        assert source.status().connected
        three[2].tell("service", "update", WEB)
        await eventually(lambda: source.status().events)


async def test_it_is_not_connected_while_no_manager_tells_events(three: tuple[ManagerStand, ...]) -> None:
    """The page and the metrics say since when."""
    async with followed_swarm(*three) as source:
        since = source.status().since
        for stand in three:
            stand.fault = lambda path: (500, "away") if path == "/events" else None
            stand.end_streams()
        await eventually(lambda: not source.status().connected)
        assert source.status().since > since
        await eventually(lambda: "away" in (source.status().error or ""))
        assert source.snapshot() is not None

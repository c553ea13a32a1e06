"""Nodes of which something was heard are looked at at once, a few at a time, and for as long as a mark holds."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
from simulation import in_simulated_time

from lbwatch.core.errors import SourceError
from lbwatch.core.model import Event
from lbwatch.core.schedule import Backoff
from lbwatch.engines.swarm.nodelooks import NODES_TOGETHER, NodeLooks, may_empty
from lbwatch.engines.swarm.reading import Reader
from lbwatch.engines.swarm.settling import BRISK_S, HOLD_S


class CountingReader:
    """Answers each look after some time, or fails."""

    def __init__(self, *, takes_s: float = 0.03) -> None:
        self.looks: list[tuple[float, tuple[str, ...]]] = []
        self.errors: list[SourceError] = []
        self.changed = frozenset[str]()
        self._takes_s = takes_s

    async def read_tasks_on(self, nodes: Sequence[str]) -> frozenset[str]:
        self.looks.append((asyncio.get_running_loop().time(), tuple(nodes)))
        await asyncio.sleep(self._takes_s)
        if self.errors:
            raise self.errors.pop(0)
        return self.changed


@asynccontextmanager
async def looking(reader: CountingReader) -> AsyncIterator[NodeLooks]:
    backoff = Backoff(first=0.5, limit=5.0, random=lambda: 0.5)
    looks = NodeLooks(cast("Reader", reader), backoff=backoff, looked=lambda changed: None)
    running = asyncio.create_task(looks.run())
    await asyncio.sleep(0.0)
    try:
        yield looks
    finally:
        running.cancel()
        await asyncio.wait([running])


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_node_is_looked_at_at_once_and_until_nothing_can_come_any_more() -> None:
    """Its tasks are told to stop some milliseconds after its event, and managers may lag by half a second."""

    async def body() -> None:
        reader = CountingReader()
        async with looking(reader) as looks:
            began = now()
            looks.mark("a", now=began)
            await asyncio.sleep(60.0)
            times = [at - began for at, _ in reader.looks]
            assert times[0] < 0.01
            assert sum(at < 1.0 for at in times) >= 4
            assert HOLD_S <= times[-1] < BRISK_S

    in_simulated_time(body())


def test_many_nodes_are_looked_at_in_turn_and_leave_a_manager_time() -> None:
    """A new network has an event for each of a hundred nodes."""

    async def body() -> None:
        reader = CountingReader(takes_s=0.125)
        async with looking(reader) as looks:
            ids = [f"n{number:02}" for number in range(100)]
            for id in ids:
                looks.mark(id, now=now())
            await asyncio.sleep(60.0)
            assert max(len(nodes) for _, nodes in reader.looks) == NODES_TOGETHER
            first = [id for _, nodes in reader.looks[: len(ids) // NODES_TOGETHER] for id in nodes]
            assert sorted(first) == ids, "nobody twice before each was looked at once"
            assert len(reader.looks) < 2 * len(ids) // NODES_TOGETHER

    in_simulated_time(body())


@pytest.mark.parametrize("gone", [False, True])
def test_a_node_that_is_gone_is_not_asked_for_again_and_one_that_failed_is(gone: bool) -> None:
    """A manager that is away is so for others, too; a node that was removed comes never again."""

    async def body() -> None:
        reader = CountingReader()
        message = "node a not found" if gone else "no leader"
        reader.errors.append(SourceError("no", status=404 if gone else 500, engine_message=message))
        async with looking(reader) as looks:
            looks.mark("a", now=now())
            await asyncio.sleep(30.0)
            assert (len(reader.looks) == 1) is gone

    in_simulated_time(body())


@pytest.mark.parametrize(
    ("action", "words", "expected"),
    [
        ("node update", {"availability.old": "active", "availability.new": "drain"}, True),
        ("node update", {"state.old": "ready", "state.new": "down"}, True),
        ("node update", {}, True),  # a label, on which a constraint may stand
        ("node update", {"state.old": "ready", "state.new": "unknown"}, False),
        ("node update", {"state.old": "unknown", "state.new": "ready"}, False),
        ("node remove", {}, False),
    ],
)
def test_a_change_of_leaders_is_no_reason_to_look_at_each_node(
    action: str, words: dict[str, str], expected: bool
) -> None:
    """It has two events for each, and nobody has to leave."""
    assert may_empty(Event(action=action, container="a", labels=words, at_ns=1)) is expected

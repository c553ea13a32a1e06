"""Waits inside an event loop: for a condition, with a deadline, and says what it saw last."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def eventually(condition: Callable[[], T], *, within: float = 20.0, what: str = "") -> T:
    """Return what a condition gives, once that is something true."""
    deadline = asyncio.get_running_loop().time() + within
    while not (seen := condition()):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {within} s: {what or condition}; last seen: {seen!r}")
        await asyncio.sleep(0.005)
    return seen


async def never(condition: Callable[[], object], *, during: float, what: str) -> None:
    """Make sure that a condition does not come true for a while."""
    deadline = asyncio.get_running_loop().time() + during
    while asyncio.get_running_loop().time() < deadline:
        assert not condition(), what
        await asyncio.sleep(0.005)


async def longest_stall(until: "asyncio.Task[Any]") -> float:
    """How long the loop did not turn at most while a task ran, in seconds."""
    longest, clock = 0.0, time.perf_counter
    before = clock()
    while not until.done():
        await asyncio.sleep(0)
        longest, before = max(longest, clock() - before), clock()
    return longest

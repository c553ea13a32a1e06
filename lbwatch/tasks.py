"""Keeps the tasks of a daemon, or of a command that looks, until what it waits for has ended."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from lbwatch.core.errors import LbwatchError
from lbwatch.reconciler import Changed, Reconciler, Source

Answer = TypeVar("Answer")
Failure = TypeVar("Failure", bound=BaseException)


class Parts(Protocol):
    """What is kept going."""

    @property
    def source(self) -> Source:
        """Return what says what runs."""

    @property
    def reconciler(self) -> Reconciler:
        """Return the loop that follows it."""


async def run_until(
    parts: Parts,
    *,
    until: Coroutine[Any, Any, Answer],
    changed: Changed | None = None,
    passed: Callable[[], None] = lambda: None,
    chores: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] = MappingProxyType({}),
) -> Answer:
    """
    Return the answer of *until*, with the tasks of a daemon, or of a command that looks, kept going until then.

    A task that ends by itself is a bug and ends everything.

    Args:
        parts: Whose source and loop.
        until: What is waited for.
        changed: What the source calls whenever its snapshot may be another one; `None`: it wakes the loop.
        passed: Called at the end of each pass.
        chores: What else goes on beside them, by the names of its tasks.

    Raises:
        LbwatchError: A task, or *until*, ended by it; of a dead socket only a new start can help.
        BrokenPipeError: Likewise: what *passed* prints is not read any more.
    """
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(parts.source.run(changed or parts.reconciler.wake), name="source"),
                group.create_task(parts.reconciler.run(passed=passed), name="reconcile"),
                *(group.create_task(chore(), name=name) for name, chore in chores.items()),
            ]
            end = group.create_task(until, name="end")
            done, _ = await asyncio.wait([end, *tasks], return_when=asyncio.FIRST_COMPLETED)
            # One that failed ends the group by its error; one that only returned would leave a daemon that looks alive.
            if end not in done and all(task.exception() is None for task in done):
                raise RuntimeError(f"task {done.pop().get_name()} ended, which it never should")
            for task in (*tasks, end):
                task.cancel()
    except* (LbwatchError, BrokenPipeError) as errors:
        failure = first_error(errors)
    if failure is not None:
        raise failure
    return end.result()


def first_error(group: BaseExceptionGroup[Failure]) -> Failure:
    """Return the first error of a group, out of the groups in it: a task group may run others."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error

"""Answers that many ask for at once and that are made once: browsers must not cost the daemon one report each."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, Generic, TypeVar

from lbwatch.core.status import Status

SHARED_S = 0.5
"""For so long one answer serves all who ask for the same: many open pages cost the daemon no more than one."""

Made = TypeVar("Made")


class SharedAnswer(Generic[Made]):
    """
    An answer that all get who ask for it at about the same time.

    Args:
        look: Returns the status that it is made of.
        make: Makes it, in a thread.
        executor: The thread.
    """

    def __init__(
        self, look: Callable[[], Awaitable[Status]], *, make: Callable[[Status], Made], executor: Executor
    ) -> None:
        self._look = look
        self._make = make
        self._executor = executor
        self._asked_at = 0.0  # loop time of who asked for the latest one first
        self._answer: asyncio.Task[Made] | None = None

    async def get(self) -> Made:
        """Return it, at most `SHARED_S` old, or as old as its making takes."""
        now = asyncio.get_running_loop().time()
        answer = self._answer
        if answer is None or (answer.done() and (now - self._asked_at >= SHARED_S or has_failed(answer))):
            self._asked_at = now
            answer = self._answer = asyncio.create_task(self._made(), name="status answer")
        # Whoever hangs up is cancelled here; the others still wait for the same task.
        return await asyncio.shield(answer)

    async def _made(self) -> Made:
        status = await self._look()
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._make, status)


def has_failed(answer: "asyncio.Future[Any]") -> bool:
    """Return whether an answer was cancelled or ended in an error; one that is still being made has not."""
    return answer.done() and (answer.cancelled() or answer.exception() is not None)

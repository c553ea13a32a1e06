"""Only new workers prove a reload (facts, nginx 1): waits for them, and for the end of the old ones."""

import asyncio
from collections.abc import Awaitable, Callable

from lbwatch.balancers.nginx.process import Process, Workers
from lbwatch.core.errors import ReloadRefusedError

VERIFY_TIMEOUT_S = 4.0
"""nginx tries to bind a port 5 times, 0.5 s apart, before it takes a reload back (facts, nginx 1)."""

_SLOW_POLL_S = 0.01
_FAST_POLLS = 50


class ReloadVerifier:
    """
    That one reload happened.

    Args:
        before: The workers just before it.
        look: Lists those of now, or raises `ReloadError`.
        poll_s: The least time between two looks.
    """

    def __init__(self, before: Workers, *, look: Callable[[], Awaitable[Workers]], poll_s: float) -> None:
        self._old = before.serving
        self._look = look
        self._poll_s = poll_s

    async def live(self) -> None:
        """
        Wait for as many new workers as there were before, or for some and the end of the old ones.

        nginx retires old workers only after it started all new ones, so the second proves as much; it is what is
        seen when the user lowered `worker_processes`.

        Raises:
            ReloadRefusedError: They did not come in time.
        """
        wanted = max(1, len(self._old))
        await self._wait(lambda now: len(now - self._old) >= wanted or (bool(now) and not now & self._old))

    async def retired(self) -> None:
        """Wait until the old workers are gone or say that they shut down."""
        await self._wait(lambda now: not now & self._old)

    async def _wait(self, reached: Callable[[frozenset[Process]], bool]) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + VERIFY_TIMEOUT_S
        polls = 0
        while not reached(serving := (await self._look()).serving):
            if clock() > deadline:
                raise ReloadRefusedError(
                    f"nginx took the reload back: {len(serving - self._old)} new workers after "
                    f"{VERIFY_TIMEOUT_S:g} s, {max(1, len(self._old))} wanted; its error log says why"
                )
            polls += 1
            await asyncio.sleep(self._poll_s if polls < _FAST_POLLS else max(self._poll_s, _SLOW_POLL_S))


class ProvenControl:
    """What each control that looks for workers has in common."""

    def __init__(self) -> None:
        self._verifier: ReloadVerifier | None = None  # of the latest reload; none where there is nothing to see

    async def wait_live(self) -> None:
        """Wait for new workers; where there is nothing to see the command is believed."""
        if self._verifier is not None:
            await self._verifier.live()

    async def wait_retired(self) -> None:
        """Wait for the end of the old ones, likewise."""
        if self._verifier is not None:
            await self._verifier.retired()

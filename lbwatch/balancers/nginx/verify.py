"""Verifies that a reload happened: only new workers prove it (facts, nginx 1)."""

import asyncio
from collections.abc import Awaitable, Callable

from lbwatch.balancers.nginx.process import Process, Workers
from lbwatch.core.errors import ReloadRefusedError

RELOAD_COMMAND_TIMEOUT_S = 30.0

VERIFY_TIMEOUT_S = 4.0
"""nginx tries to bind a port 5 times, 0.5 s apart, before it takes a reload back (facts, nginx 1)."""

_SLOW_POLL_S = 0.01
_FAST_POLLS = 50


class ReloadVerifier:
    """
    Verifies the latest reload of one nginx by its workers; without any to compare with, the reload is believed.

    Args:
        poll_s: The least time between two looks at the workers.
    """

    def __init__(self, *, poll_s: float) -> None:
        self._poll_s = poll_s
        self._old: frozenset[Process] = frozenset()  # those that served before the reload
        self._look: Callable[[], Awaitable[Workers]] | None = None  # none where no worker can be seen

    def begin(self, before: Workers, *, look: Callable[[], Awaitable[Workers]]) -> None:
        """
        Begin with a reload that is about to be asked for.

        Args:
            before: The workers just before it.
            look: Returns those of now, or raises `ReloadError`.
        """
        self._old, self._look = before.serving, look

    def believe(self) -> None:
        """Begin with a reload of an nginx whose workers cannot be seen."""
        self._look = None

    async def wait_live(self) -> None:
        """
        Wait for as many new workers as there were before, or for some and the end of the old ones.

        Raises:
            ReloadRefusedError: They did not come in time.
        """
        wanted = max(1, len(self._old))
        # nginx retires old workers only after it started all new ones, so that their end proves as much as the number
        # does; it is what is seen when the user lowered `worker_processes`.
        await self._wait(lambda now: len(now - self._old) >= wanted or (bool(now) and not now & self._old))

    async def wait_retired(self) -> None:
        """Wait until the old workers are gone or shut down; raises `ReloadRefusedError` likewise."""
        await self._wait(lambda now: not now & self._old)

    async def _wait(self, reached: Callable[[frozenset[Process]], bool]) -> None:
        if self._look is None:
            return
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
            # New workers are there within milliseconds (facts, nginx 7); what is not there by then takes long.
            await asyncio.sleep(self._poll_s if polls < _FAST_POLLS else max(self._poll_s, _SLOW_POLL_S))

"""Verifies that a reload happened: only new workers prove it (facts, nginx 1)."""

import asyncio
from collections.abc import Awaitable, Callable

from lbwatch.balancers.nginx.process import Process, Workers
from lbwatch.core.errors import ReloadRefusedError

RELOAD_COMMAND_TIMEOUT_S = 30.0

VERIFY_TIMEOUT_S = 4.0
"""nginx tries to bind a port 5 times, 0.5 s apart, before it takes a reload back (facts, nginx 1)."""

RETIREMENT_S = 0.1
"""So long a master waits once new workers are there before it retires the old ones (facts, nginx 2)."""

_POLL_SHARE = 0.2
"""Of the time that was waited already: each look costs CPU, and a fifth later is not late."""


class ReloadVerifier:
    """
    Verifies the latest reload of one nginx by its workers; without any to compare with, the reload is believed.

    Attributes:
        seen: The workers at the latest look since the reload; `None`: there was none yet.

    Args:
        poll_s: The least time between two looks at the workers.
        first_s: When the first look is, in seconds from the reload: later where a look is dear.
    """

    def __init__(self, *, poll_s: float, first_s: float = 0.0) -> None:
        self._poll_s = poll_s
        self._first_s = first_s
        self.seen: Workers | None = None  # at the latest look since the reload
        self._old: frozenset[Process] = frozenset()  # those that served before the reload
        self._look: Callable[[], Awaitable[Workers]] | None = None  # none where no worker can be seen

    def begin(self, before: Workers, *, look: Callable[[], Awaitable[Workers]]) -> None:
        """
        Begin with a reload that is about to be asked for.

        Args:
            before: The workers just before it.
            look: Returns those of now, or raises `ReloadError`.
        """
        self._old, self._look, self.seen = before.serving, look, None

    def believe(self) -> None:
        """Begin with a reload of an nginx whose workers cannot be seen."""
        self._look = self.seen = None

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
        await self._wait(lambda now: not now & self._old, not_before_s=RETIREMENT_S)

    async def _wait(self, reached: Callable[[frozenset[Process]], bool], *, not_before_s: float = 0.0) -> None:
        """
        Look at the workers until that is reached.

        Args:
            reached: Judges those that serve.
            not_before_s: Unless it is so already, it is not within so many seconds, and need not be looked for.
        """
        if self._look is None:
            return
        clock = asyncio.get_running_loop().time
        began = clock()
        if self.seen is None:
            await asyncio.sleep(self._first_s)
            self.seen = await self._look()
        while not reached(serving := self.seen.serving):
            if (waited_s := clock() - began) > VERIFY_TIMEOUT_S:
                raise ReloadRefusedError(
                    f"nginx took the reload back: {len(serving - self._old)} new workers after "
                    f"{VERIFY_TIMEOUT_S:g} s, {max(1, len(self._old))} wanted; its error log says why"
                )
            # New workers are there within milliseconds (facts, nginx 7); what is not there by then takes long.
            await asyncio.sleep(max(self._poll_s, not_before_s - waited_s, _POLL_SHARE * waited_s))
            self.seen = await self._look()

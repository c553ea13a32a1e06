"""
Asks one engine for the list of its containers: at each connection, on request, and once in a while.

What a list means is the cache's.
"""

import asyncio
from collections.abc import Callable

import structlog

from lbwatch.core.errors import SourceError
from lbwatch.core.model import Container
from lbwatch.core.schedule import Backoff
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.queue import Priority

LIST_PATIENCE_S = 3.0
"""How long a list may take that was asked for before the stream broke; slow ones must not be given up for ever."""

_log = structlog.get_logger()


class Lister:
    """
    The lists of one engine.

    Args:
        client: The connection to the engine.
        name: The engine's name in logs.
        resync_interval_s: Seconds without a list after which one is asked for.
        backoff: Between two tries.
        connected: Returns whether the stream of events holds.
        synced: Returns whether all was looked at once.
        handle_list: Called with each list, and with why its containers must be looked at.

    Attributes:
        error: Why the latest list could not be read, in words; `None` if it could.
    """

    def __init__(
        self,
        client: EngineClient,
        *,
        name: str,
        resync_interval_s: float,
        backoff: Backoff,
        connected: Callable[[], bool],
        synced: Callable[[], bool],
        handle_list: Callable[[tuple[Container, ...], Priority], None],
    ) -> None:
        self.error: str | None = None
        self._client = client
        self._name = name
        self._resync_interval_s = resync_interval_s
        self._backoff = backoff
        self._connected = connected
        self._synced = synced
        self._handle_list = handle_list
        self._requested = asyncio.Event()
        self._began_at = 0.0  # loop time at which the latest list was asked for
        self._timeout: asyncio.Timeout | None = None  # of the list that is being asked for, without an end at first

    def request(self) -> None:
        """Have a list asked for."""
        self._requested.set()

    def request_anew(self) -> None:
        """Have a list asked for that begins now: one from before the stream may hang, or miss what came."""
        self._requested.set()
        # Only the first of several new streams sets the end: an engine that is slow must be able to answer at all.
        if self._timeout is not None:
            self._timeout.reschedule(self._began_at + LIST_PATIENCE_S)
            self._timeout = None

    async def run(self) -> None:
        """Ask for lists for good."""
        while True:
            priority = await self._next()
            try:
                self._handle_list(await self._list(), priority)
                self.error = None
                self._backoff.reset()
            except TimeoutError:  # another one is wanted already
                continue
            except SourceError as error:
                self.error = str(error)
                wait_s = self._backoff.next_wait()
                log = _log.warning if self._connected() else _log.debug  # no stream: the reason was logged already
                log("source.list_failed", source=self._name, error=str(error), retry_in_s=round(wait_s, 2))
                await asyncio.sleep(wait_s)
                self._requested.set()

    async def _list(self) -> tuple[Container, ...]:
        self._began_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None) as self._timeout:
                return await self._client.list_containers()
        finally:
            self._timeout = None

    async def _next(self) -> Priority:
        """Return why a list must be asked for, once it must."""
        connected = self._connected()
        try:
            async with asyncio.timeout(self._resync_interval_s):
                await self._requested.wait()
            priority = Priority.LISTED
        except TimeoutError:
            # Only where the stream held all the time should events have told what this list may find.
            heard_all = connected and self._connected() and self._synced()
            priority = Priority.RESYNC if heard_all else Priority.LISTED
        self._requested.clear()
        return priority

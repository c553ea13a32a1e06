"""
Asks one engine for the list of its containers: at each connection, on request, and once in a while.

What a list means is the cache's.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from lbwatch.core.errors import EngineAwayError, EngineChangedError, SourceError
from lbwatch.core.model import Container
from lbwatch.core.repeats import Repeats
from lbwatch.core.schedule import Backoff
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.queue import Priority

LIST_PATIENCE_S = 3.0
"""How long a list may take that was asked for before the stream broke; slow ones must not be given up for ever."""

AWAY_TRIES = 4
"""So often, for about a second, an engine may answer no list before that is news: it may only be going away."""

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
        verify: Finds out whether it is still the same engine, of a list that came while no stream holds.

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
        verify: Callable[[], Awaitable[None]],
    ) -> None:
        self.error: str | None = None
        self._client = client
        self._name = name
        self._resync_interval_s = resync_interval_s
        self._backoff = backoff
        self._failures = Repeats()  # of lists, where they are worth a line
        self._connected = connected
        self._synced = synced
        self._handle_list = handle_list
        self._verify = verify
        self._requested = asyncio.Event()
        self._began_at = 0.0  # loop time at which the latest list was asked for
        self._timeout: asyncio.Timeout | None = None  # of the list that is being asked for, without an end at first

    @property
    def began_at(self) -> float:
        """Return the loop time at which the latest list was asked for."""
        return self._began_at

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
                listed = await self._list()
                if not self._connected():
                    await self._verify()
                self._handle_list(listed, priority)
                self._succeed(len(listed))
            except TimeoutError:  # another one is wanted already
                continue
            except SourceError as error:
                await asyncio.sleep(self._fail(error))
                self._requested.set()

    def _succeed(self, containers: int) -> None:
        """Note a list of so many containers."""
        outage_s = self._failures.end(now=asyncio.get_running_loop().time())
        if outage_s is not None:
            _log.info("source.listed", source=self._name, containers=containers, outage_s=round(outage_s, 1))
        self.error = None
        self._backoff.reset()

    def _fail(self, error: SourceError) -> float:
        """Return how many seconds to wait after a list that failed, and say why it did."""
        self.error = str(error)
        wait_s, now = self._backoff.next_wait(), asyncio.get_running_loop().time()
        log = _log.warning if self._is_news(error, now=now) else _log.debug
        outage_s = round(self._failures.lasts_s(now=now), 1)
        values = {"outage_s": outage_s} if outage_s else {}
        log("source.list_failed", source=self._name, error=str(error), retry_in_s=round(wait_s, 2), **values)
        return wait_s

    def _is_news(self, error: SourceError, *, now: float) -> bool:
        """Return whether to warn of a list that failed: not where the reason was logged already."""
        if isinstance(error, EngineChangedError) or not self._connected():
            return False
        if isinstance(error, EngineAwayError) and self._backoff.attempt < AWAY_TRIES:
            return False
        return self._failures.fails(str(error), now=now)

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

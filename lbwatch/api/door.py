"""
Accepts connections, no more than there may be and none for longer: file descriptors are for routing first.

asyncio's own server accepts whatever comes, and where no descriptor is left it tries again a hundred times at once.
"""

import asyncio
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from lbwatch.core.errors import excerpt
from lbwatch.system.listening import accepted

PAUSE_S = 0.5
"""Until it is tried again to accept where that failed, for want of a descriptor as a rule."""

SWEEP_S = 0.1

HANDSHAKE_TIMEOUT_S = 5.0
"""Of TLS; who has not shaken hands counts as a connection all the same."""

_DESCRIPTORS_EACH = 8  # of which one may be a connection of one door

_log = structlog.get_logger()


class Door:
    """
    What lets connections in by one or several sockets, and ends those that last too long.

    Args:
        server: Answers.
        ours: Whether a connection came by this door.
        most: How many there may be; fewer where the process may open few files.
        timeout_s: How long one may last.
        cuts_oldest: Whether the oldest is cut off for one more; else that one waits for room.
        tls: Returns with which TLS a new connection is to be had; `None`: without.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        ours: Callable[[asyncio.BaseTransport | None], bool],
        most: int,
        timeout_s: float,
        cuts_oldest: bool,
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
    ) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        few = most if limit == resource.RLIM_INFINITY else max(2, limit // _DESCRIPTORS_EACH)
        self._server = server
        self._ours = ours
        self._most = min(most, few)
        self._timeout_s = timeout_s
        self._cuts_oldest = cuts_oldest
        self._tls = tls
        self._handshakes: dict[asyncio.Task[None], None] = {}  # which are not over, oldest first
        self._opened: dict[RequestHandler, float] = {}  # loop time at which each connection was first seen
        self._has_failed = False  # to accept, at the latest try
        self._arrived = asyncio.Event()  # a connection, since the latest sweep

    async def accept(self, listener: socket.socket) -> None:
        """Let connections in for good; *listener* listens, and does not block."""
        async with asyncio.TaskGroup() as handshakes:
            await self._accept(listener, handshakes=handshakes)

    async def _accept(self, listener: socket.socket, *, handshakes: asyncio.TaskGroup) -> None:
        while True:
            await self._room()
            try:
                connection = await accepted(listener)
                self._has_failed = False
                if (tls := self._tls()) is None:
                    await self._serve(connection)
                else:
                    # Whoever does not shake hands must not keep the next one out.
                    task = handshakes.create_task(self._shake_hands(connection, tls=tls), name="handshake")
                    self._handshakes[task] = None
                    task.add_done_callback(lambda done: self._handshakes.pop(done, None))
            except OSError as error:
                if not self._has_failed:
                    words = excerpt(error.strerror or str(error))
                    _log.warning("http.not_accepted", error=words, retry_in_s=PAUSE_S)
                self._has_failed = True
                await asyncio.sleep(PAUSE_S)

    async def _serve(self, connection: socket.socket, **tls: Any) -> None:
        """Have the server answer by a connection; *tls*: how, see `asyncio.loop.connect_accepted_socket`."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._server, connection, **tls)
        except BaseException:  # a stop just now: nobody else would close it
            connection.close()
            raise
        self._arrived.set()

    async def _shake_hands(self, connection: socket.socket, *, tls: ssl.SSLContext) -> None:
        with suppress(OSError):  # it is no TLS, or the client does not trust us: its own affair
            await self._serve(connection, ssl=tls, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S)

    async def sweep(self) -> None:
        """End whatever lasts too long, for good."""
        while True:
            self._arrived.clear()
            if self._cut(to=self._most):
                await asyncio.sleep(SWEEP_S)
            else:
                await self._arrived.wait()

    async def _room(self) -> None:
        """Return once there may be one more."""
        to = self._most - 1 if self._cuts_oldest else self._most
        while self._cut(to=to) >= self._most:  # noqa: ASYNC110 - nobody is told that a connection ended
            await asyncio.sleep(SWEEP_S)

    def _cut(self, *, to: int) -> int:
        """Cut off what is too old, and the oldest until there are so many; return how many there are then."""
        now = asyncio.get_running_loop().time()
        present = [each for each in self._server.connections if self._ours(each.transport)]
        self._opened = {each: self._opened.get(each, now) for each in present}
        by_age = sorted(present, key=lambda each: self._opened[each])
        surplus = len(present) + len(self._handshakes) - to if self._cuts_oldest else 0
        # Who has shaken hands asks for something; who has not may never do so.
        for task in list(self._handshakes)[: max(0, surplus)]:
            del self._handshakes[task]
            task.cancel()
            surplus -= 1
        left = len(self._handshakes)
        for number, connection in enumerate(by_age):
            if number >= surplus and now - self._opened[connection] < self._timeout_s:
                left += 1
            elif connection.transport is not None:
                # Not closed but aborted: what waits to be sent to a client that never reads would be kept.
                connection.transport.abort()
        return left

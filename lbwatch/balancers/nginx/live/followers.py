"""
The unix socket at which nginx's workers ask: each has one connection, and is answered at a change.

Whoever connects is told the servers, which is no secret to a user of this machine, and can change nothing by what it
says: what counts is for `workers` to judge.
"""

import asyncio
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from lbwatch.balancers.nginx.live.protocol import KEEP, MAX_LINE_BYTES, Have, have_in
from lbwatch.core.errors import ThreadError, excerpt
from lbwatch.system import listening

ANSWER_S = 2.0
"""A worker is answered so often although nothing is new: one that ends notices it then, and lives for no longer."""

ANSWER_WHILE_WAITING_S = 0.25
"""Likewise while requests may wait: it says then how many."""

SILENCE_S = 10.0
"""Within which a worker that was answered has to say something, or take what it was sent."""

MAX_CONNECTIONS = 1024
"""More than any nginx has workers, with the old ones of a reload beside the new ones."""

MAX_OF_A_PROCESS = 4
"""A worker has one, and two while it connects anew; descriptors are for the engine and the output first."""

_SHARE = 2  # of the descriptors that the process may open, these connections take one in so many

MODE = 0o666
"""Workers are another user, and in another container one of another number; see above for who else may connect."""

RETRY_S = 30.0
"""Until it is tried again to make the socket."""

PAUSE_S = 0.5
"""Until it is tried again to accept where that failed."""

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)

_log = structlog.get_logger()


class Follower:
    """
    One connection.

    Attributes:
        pid: Of its process, in our own pid namespace; 0: it is in none that we see.
        have: What it said last; `None`: nothing yet.
        heard_at: When that was, in loop time.
    """

    __slots__ = ("have", "heard_at", "pid")

    def __init__(self, *, pid: int) -> None:
        self.pid = pid
        self.have: Have | None = None
        self.heard_at = 0.0


class Followers:
    """
    All of them.

    Args:
        path: Of the socket.
        answer: Returns what is new for one; `None`: nothing.
        waits: Returns whether requests may wait in nginx now.

    Attributes:
        error: Why there is no socket, in words; `None`: there is one, or it is about to be made.
    """

    def __init__(self, path: Path, *, answer: Callable[[Have], bytes | None], waits: Callable[[], bool]) -> None:
        self.error: str | None = None
        self._path = path
        self._answer = answer
        self._waits = waits
        self._present: set[Follower] = set()
        self._news = asyncio.Event()  # something is to be said
        self._heard = asyncio.Event()  # somebody said something, came or went

    def __iter__(self) -> Iterator[Follower]:
        """Return those that said something, in no order."""
        return (each for each in self._present if each.have is not None)

    def publish(self) -> None:
        """Have each of them answered for whom something is new."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def next_heard(self) -> asyncio.Event:
        """Return what is set as soon as one of them says something, comes or goes from now on."""
        return self._heard

    async def run(self) -> None:
        """Listen for good; where there can be no socket that is logged once, and tried again."""
        while True:
            try:
                listener, inode = await asyncio.to_thread(listening.bound_unix, self._path, mode=MODE)
            except (OSError, ThreadError) as error:
                self._note(error)
                await asyncio.sleep(RETRY_S)
                continue
            self.error = None
            with listener:
                try:
                    await self._accept(listener)
                finally:
                    listening.unlink(self._path, inode=inode)

    def _note(self, error: OSError | ThreadError) -> None:
        why = excerpt(getattr(error, "strerror", None) or str(error))
        words = f"there is no socket for nginx's workers: {why}"
        if words != self.error:
            _log.warning("live.unavailable", path=str(self._path), reason=words)
        self.error = words

    async def _accept(self, listener: socket.socket) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    connection = await listening.accepted(listener)
                except OSError:  # for want of a descriptor, as a rule
                    await asyncio.sleep(PAUSE_S)
                    continue
                follower = Follower(pid=_pid_of(connection))
                if self._is_full(follower.pid):
                    connection.close()
                    continue
                self._present.add(follower)
                group.create_task(self._follow(connection, follower), name="live worker")

    def _is_full(self, pid: int) -> bool:
        """Return whether there are as many as there may be, of all or of one process; those unseen are all pid 0."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MAX_CONNECTIONS if limit == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, limit // _SHARE)
        return len(self._present) >= most or (
            pid != 0 and sum(each.pid == pid for each in self._present) >= MAX_OF_A_PROCESS
        )

    async def _follow(self, connection: socket.socket, follower: Follower) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=MAX_LINE_BYTES)
        try:
            with suppress(OSError, TimeoutError):
                await self._serve(follower, reader, writer)
        except ValueError as error:  # what no worker would say, or too long a line
            _log.debug("live.not_understood", pid=follower.pid, error=excerpt(str(error)))
        finally:
            self._present.discard(follower)
            self._notice()
            writer.transport.abort()

    async def _serve(self, follower: Follower, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            async with asyncio.timeout(SILENCE_S):
                line = await reader.readline()
            if not line.endswith(b"\n"):
                return
            follower.have, follower.heard_at = have_in(line), clock()
            self._notice()
            writer.write(await self._next_answer(follower.have))
            async with asyncio.timeout(SILENCE_S):
                await writer.drain()

    async def _next_answer(self, have: Have) -> bytes:
        clock = asyncio.get_running_loop().time
        began = clock()
        while True:
            news = self._news  # of before the look: what is published during it counts
            if (answer := self._answer(have)) is not None:
                return answer
            left_s = began + (ANSWER_WHILE_WAITING_S if self._waits() else ANSWER_S) - clock()
            try:
                async with asyncio.timeout(left_s):
                    await news.wait()
            except TimeoutError:
                return KEEP

    def _notice(self) -> None:
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()


def _pid_of(connection: socket.socket) -> int:
    with suppress(OSError):
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid: int = _CREDENTIALS.unpack(credentials)[0]
        return pid
    return 0

"""
Connects to ports that have to accept a connection before their container serves (`health=connect`).

Nothing is said: a port that accepts is closed again at once. So many are tried at a time, each again and again, and
nobody waits for any of it.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Protocol

import structlog

from lbwatch.core.probes import LATE_S, NotAccepted, PortProbe

CONNECT_TIMEOUT_S = 1.0
"""Of one try; on a network of containers an answer takes less than a millisecond."""

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0
"""Between two tries at one port: doubled each time, and never more than the limit."""

MAX_TRIES = 48
MAX_LATE_TRIES = 16
"""At one time, of ports that wait for less than `LATE_S` and of others: those may be many, and never answer."""

_log = structlog.get_logger()


class Ports(Protocol):
    """Knows which ports are to be tried."""

    @property
    def probes(self) -> tuple[PortProbe, ...]:
        """Return them as they are now."""

    def tried(self, probe: PortProbe, failure: NotAccepted | None, *, now: float) -> str | None:
        """Note what came of a try, and return what the port's owner should know, in words, if there is news."""


class PortTries:
    """
    Tries ports until they have accepted a connection, or nobody waits for it any more.

    Args:
        ports: Knows which, and is told what came of it.
        news: Called when something came of a try that may make another plan.
    """

    def __init__(self, ports: Ports, *, news: Callable[[], None]) -> None:
        self._ports = ports
        self._news = news
        self._looked = asyncio.Event()
        self._tasks: dict[PortProbe, asyncio.Task[None]] = {}
        self._early = asyncio.Semaphore(MAX_TRIES)
        self._late = asyncio.Semaphore(MAX_LATE_TRIES)

    def look(self) -> None:
        """Have it look which ports are to be tried now: they may be others."""
        self._looked.set()

    async def run(self) -> None:
        """Try them, for good."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._looked.wait()
                self._looked.clear()
                wanted = set(self._ports.probes)
                for probe in self._tasks.keys() - wanted:
                    self._tasks.pop(probe).cancel()
                for probe in wanted - self._tasks.keys():
                    self._tasks[probe] = group.create_task(self._try(probe), name="port")

    async def _try(self, probe: PortProbe) -> None:
        """Try one port until it has accepted."""
        clock = asyncio.get_running_loop().time
        began, wait_s, is_first = clock(), FIRST_WAIT_S, True
        while True:
            async with self._early if clock() - began < LATE_S else self._late:
                failure = await connect(probe.address, probe.port)
            words = self._ports.tried(probe, failure, now=clock())
            if words is not None:
                _log.warning("container.port_closed", container=probe.container, address=probe.host_port, detail=words)
            if failure is None or words is not None or is_first:
                self._news()
            if failure is None:
                return
            is_first = False
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


async def connect(address: str, port: int) -> NotAccepted | None:
    """Return why a TCP port does not accept a connection; `None`: it does, and that one is closed already."""
    loop = asyncio.get_running_loop()
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)  # noqa: FBT003 - the only way to say it
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.sock_connect(connection, (address, port))
            # On this machine a port that nobody listens on may be the very one that the kernel chose for this end.
            if connection.getsockname() == connection.getpeername():
                return NotAccepted(error="it connected to itself", refused=True)
    except TimeoutError:
        return NotAccepted(error=f"no answer within {CONNECT_TIMEOUT_S:g} s", refused=False)
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else str(error)
        return NotAccepted(error=words, refused=isinstance(error, ConnectionRefusedError))
    return None

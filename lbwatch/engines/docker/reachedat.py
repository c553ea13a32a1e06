"""Where an engine's published ports are reached, as an IP: nginx looks a server's name up once, at its reload."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from lbwatch.core.addresses import is_address
from lbwatch.core.errors import excerpt

RESOLVE_TIMEOUT_S = 3.0
"""So long a stream's begin waits for a name server."""


class ReachedAt:
    """
    The IP of a host that is given by name or IP.

    Args:
        host: The name or IP; empty: there is none, now or ever.
        known: Its IP as it was known before this start, for as long as no name server answers; empty: it was not.

    Attributes:
        host: As given.
        address: The IP; empty until it is known. The last answer stays while there is no other.
        error: Why the latest look-up found nothing, in words; `None`: it did, or none was needed.
    """

    def __init__(self, host: str, *, known: str = "") -> None:
        self.host: Final = host
        self.address = host if is_address(host) else known
        self.error: str | None = None
        self._asked: asyncio.Task[Sequence[str]] | None = None  # while its answer is waited for, or was not taken

    async def resolve(self) -> None:
        """Look the name up; does not raise, and takes `RESOLVE_TIMEOUT_S` at most."""
        if not self.host or is_address(self.host):
            return
        # A look-up that hangs keeps its thread, of which there are a few: there is never a second one.
        if self._asked is None:
            self._asked = asyncio.create_task(_look_up(self.host), name=f"resolve {self.host}")
        asked = self._asked
        await asyncio.wait({asked}, timeout=RESOLVE_TIMEOUT_S)
        if not asked.done():
            self.error = f"{self.host}: no name server answered within {RESOLVE_TIMEOUT_S:g} s"
        elif asked is self._asked:  # else another one that waited has the answer already
            self._asked = None
            self._take(asked)

    def _take(self, asked: asyncio.Task[Sequence[str]]) -> None:
        """Take an answer, or why there is none."""
        if asked.cancelled():
            return
        if (failure := asked.exception()) is not None:
            words = failure.strerror if isinstance(failure, OSError) else None
            self.error = excerpt(f"{self.host}: {words or failure}")
            return
        self.error = None
        # What is answered in turn is another one each time, and would be a reload.
        if self.address not in asked.result():
            self.address = asked.result()[0]


async def _look_up(host: str) -> Sequence[str]:
    """Return all IPs of a host, best first: IPv4, which every published port has, and none of this machine's alone."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    every = dict.fromkeys(str(address[0]) for *_, address in found)
    if not every:
        raise OSError(0, "it has no address")
    return sorted(every, key=lambda each: (ip_address(each).is_loopback, ":" in each))

"""
A load on kept connections, as browsers and other proxies make it, in a process of its own.

    keptload.py SOCKET CONNECTIONS RATE RESULT

RATE is that of all connections together, in requests a second; 0: each asks again as soon as it was answered. What comes
by standard input, and is answered by a line:

    websocket  opens one more; `ok`
    echoing    how many of those that were opened still echo
    count      how many requests were answered so far
    end        ends all, once RESULT has what came of it (`Kept`, as JSON)

No request is sent twice. A connection that nginx has closed is opened again, which is counted; a request that was on its
way on one just then has failed.
"""

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import time
from typing import NamedTuple

_GIVE_UP_S = 30.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"
_UPGRADE = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

OK = "ok"


class Answer(NamedTuple):
    """What came of a request: *began* and *ended* by the wall clock; *who* answered, by which *worker* of nginx's."""

    began: float
    ended: float
    who: str
    worker: str
    outcome: str  # OK, or the kind of failure


@dataclass(slots=True)
class Kept:
    """What came of a load; *closed*: how often nginx closed a connection that was to be kept."""

    answers: list[Answer] = field(default_factory=list)
    closed: int = 0

    @classmethod
    def read(cls, path: Path) -> "Kept":
        """Return what was written at the end."""
        found = json.loads(path.read_text())
        return cls(answers=[Answer(*each) for each in found["answers"]], closed=found["closed"])


class BrokenOffError(Exception):
    """Nginx closed the connection in the place of an answer."""


class Connection:
    """One kept connection."""

    def __init__(self, socket: str, *, kept: Kept) -> None:
        self.socket = socket
        self.kept = kept
        self.ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> None:
        """Ask once and note what came of it."""
        if self.ends is not None and self.ends[0].at_eof():
            self.close()
        began, who, worker = time(), "", ""
        try:
            async with asyncio.timeout(_GIVE_UP_S):
                outcome, who, worker = await self._asked()
        except TimeoutError:
            outcome = "no answer in time"
        except (OSError, BrokenOffError, asyncio.IncompleteReadError) as error:
            outcome = f"broken off ({type(error).__name__})"
            self.close()
        self.kept.answers.append(Answer(began, time(), who, worker, outcome))

    def close(self) -> None:
        """Give up a connection that nginx has closed, or said that it will."""
        if self.ends is not None:
            self.ends[1].close()
            self.ends = None
            self.kept.closed += 1

    async def _asked(self) -> tuple[str, str, str]:
        if self.ends is None:
            self.ends = await asyncio.open_unix_connection(self.socket)
        reader, writer = self.ends
        writer.write(_REQUEST)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        status = first.split(" ")[1]
        if status != "200":
            return f"status {status}", "", headers.get("x-worker", "")
        return OK, body.decode().strip(), headers.get("x-worker", "")


class Load:
    """All connections, and the websockets beside them."""

    def __init__(self, socket: str, *, connections: int, rate: float) -> None:
        self.socket = socket
        self.kept = Kept()
        self.period_s = connections / rate if rate else 0.0
        self.connections = [Connection(socket, kept=self.kept) for _ in range(connections)]
        self.websockets: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.ends = False

    async def run(self) -> None:
        await asyncio.gather(*(self._run(number) for number in range(len(self.connections))))

    async def _run(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + self.period_s * number / len(self.connections)
        while not self.ends:
            await asyncio.sleep(max(0.0, at - loop.time()))
            await self.connections[number].ask()
            at = max(loop.time(), at + self.period_s)

    async def open_websocket(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        writer.write(_UPGRADE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head, head
        self.websockets.append((reader, writer))

    async def echoing(self) -> int:
        return sum(await asyncio.gather(*(self._echoes(*ends) for ends in self.websockets)))

    async def _echoes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                writer.write(b"hello\n")
                return await reader.readline() == b"hello\n"
        return False


async def main(socket: str, connections: int, rate: float, result: Path) -> None:
    load, reader = Load(socket, connections=connections, rate=rate), asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running = asyncio.create_task(load.run())
    while (command := (await reader.readline()).decode().strip()) != "end":
        if command == "websocket":
            await load.open_websocket()
            print("ok", flush=True)
        elif command == "echoing":
            print(await load.echoing(), flush=True)
        else:
            assert command == "count", command
            print(len(load.kept.answers), flush=True)
    load.ends = True
    await running
    result.write_text(json.dumps(asdict(load.kept)))
    print("ok", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])))

"""
The program of the deploy tests' containers: a small HTTP server. It runs inside them, so it needs Python's library alone.

    GET, POST /         answers WHO after WORK_S
    GET /slow           the same, after SLOW_S
    POST /sicken        from now on its health check fails, and 2 s later its requests do, until POST /cure
    Upgrade: websocket  echoes lines until the client leaves; any other one is answered with 426

READY_S after its start it is ready: until then it answers 503 and its health check (`test -e /tmp/healthy`) fails. On
TERM it either dies at once (ON_TERM=die), or takes connections for LINGER_S more and then until none came for QUIET_S,
ends what is open, and exits. With QUIET_S a busy machine may be late; one that never stops sending is killed all the same.
"""

import asyncio
import os
import signal
import time
from pathlib import Path

WHO = os.environ["WHO"]
READY_S = float(os.environ.get("READY_S", "0"))
WORK_S = float(os.environ.get("WORK_S", "0.02"))
SLOW_S = float(os.environ.get("SLOW_S", "5"))
LINGER_S = float(os.environ.get("LINGER_S", "0.5"))
QUIET_S = float(os.environ.get("QUIET_S", "0"))
DIES = os.environ.get("ON_TERM") == "die"

HEALTHY = Path("/tmp/healthy")
SICK_S = 2.0


class Server:
    def __init__(self) -> None:
        self.ready = False
        self.broken = False
        self.open: set[asyncio.Task[None]] = set()
        self.connected_at = 0.0  # loop time of the latest connection

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, die if DIES else told.set)
        listener = await asyncio.start_server(self.connected, "0.0.0.0", 80, backlog=512)
        loop.call_later(READY_S, self.become_ready)
        await told.wait()
        await asyncio.sleep(LINGER_S)
        while (left_s := self.connected_at + QUIET_S - loop.time()) > 0:
            await asyncio.sleep(left_s)
        listener.close()
        while self.open:
            await asyncio.wait(self.open)

    def become_ready(self) -> None:
        self.ready = True
        HEALTHY.touch()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        self.connected_at = asyncio.get_running_loop().time()
        try:
            await self.answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            self.open.discard(task)
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on each connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, path, _ = first.split()
        if headers.get("upgrade") == "websocket":
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
            while line := await reader.readline():
                writer.write(line)
            return
        await reader.readexactly(int(headers.get("content-length", "0")))
        status = "200 OK"
        if (method, path) == ("POST", "/sicken"):
            HEALTHY.unlink(missing_ok=True)
            asyncio.get_running_loop().call_later(SICK_S, self.break_down)
        elif (method, path) == ("POST", "/cure"):
            self.broken = False
            HEALTHY.touch()
        elif "upgrade" in headers:
            status = "426 Upgrade Required"
        elif not self.ready or self.broken:
            status = "503 Service Unavailable"
        else:
            await asyncio.sleep(SLOW_S if path == "/slow" else WORK_S)
        body = f"{WHO}\n"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()

    def break_down(self) -> None:
        self.broken = True


def die() -> None:
    """With everything that is inside, as a program does that does not know of TERM."""
    Path(f"/out/{WHO}.died").write_text(str(time.time()))
    os._exit(143)


if __name__ == "__main__":
    asyncio.run(Server().serve())

"""
The program of `make bench-hold`'s container: a small HTTP server that needs Python's library alone.

    GET, POST /NUMBER  answers 200 after WORK_S; the number of a POST is noted in /out/posted first, once its body is there

READY_S after its start it listens, and its health check (`test -e /tmp/healthy`) succeeds. On TERM it does one of these
(ON_TERM), and notes in /out/ended when that was:

    linger  takes requests for half a second more, and ends when all are answered
    end     answers what it has, those that were not accepted yet among them, takes no other, and ends
    die     ends, with whatever it has
"""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

READY_S = float(os.environ.get("READY_S", "1"))
WORK_S = float(os.environ.get("WORK_S", "0.02"))
ON_TERM = os.environ.get("ON_TERM", "end")
LINGER_S = 0.5
PORT = 80


class Server:
    def __init__(self) -> None:
        self.posted = os.open("/out/posted", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self.listener = socket.socket()
        self.open: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()

        def on_term() -> None:
            Path("/out/ended").write_text(str(time.time()))
            if ON_TERM == "die":
                os._exit(143)
            told.set()

        loop.add_signal_handler(signal.SIGTERM, on_term)
        await asyncio.sleep(READY_S)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("0.0.0.0", PORT))
        self.listener.listen(512)
        self.listener.setblocking(False)
        loop.add_reader(self.listener, self.accept)
        Path("/tmp/healthy").touch()
        await told.wait()
        if ON_TERM == "linger":
            await asyncio.sleep(LINGER_S)
        self.accept()
        loop.remove_reader(self.listener)
        self.listener.close()
        while self.open:
            await asyncio.wait(self.open)

    def accept(self) -> None:
        """Take all connections that wait."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                return
            task = asyncio.get_running_loop().create_task(self.answer(connection))
            self.open.add(task)
            task.add_done_callback(self.open.discard)

    async def answer(self, connection: socket.socket) -> None:
        """One request on each connection."""
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            method, path, _ = first.split()
            await reader.readexactly(int(headers.get("content-length", "0")))
            if method == "POST":
                os.write(self.posted, f"{path.removeprefix('/')}\n".encode())
            await asyncio.sleep(WORK_S)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()


if __name__ == "__main__":
    asyncio.run(Server().serve())

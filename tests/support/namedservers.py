"""
The servers of `make bench-live`: a program that answers at every address of its network namespace, with that address.

So each container of a fake engine has a server that names itself, if the engine's addresses are the loopback's there. It
needs Python's library alone.

    any request         answers the address that was asked; the connection is kept
    Upgrade: websocket  echoes bytes until the client leaves
"""

import asyncio
import sys
from typing import cast


class Server(asyncio.Protocol):
    """One connection of nginx's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        body = transport.get_extra_info("sockname")[0].encode() + b"\n"
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        self.received = b""
        self.echoes = False

    def data_received(self, data: bytes) -> None:
        if self.echoes:
            self.transport.write(data)
            return
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head, self.received = self.received[:end].lower(), self.received[end + 4 :]
            if b"\r\nupgrade: websocket" in head:
                self.transport.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
                )
                self.echoes = True
                return
            self.transport.write(self.answer)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Server, "0.0.0.0", port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

"""
The programs behind the sites of tests: servers that answer with what they were asked, in Python's library alone.

    siteprogram.py NAME=PORT ...

    any request         answers as JSON: who it is, the method, the path as it came, the headers in order, the body
    /status/NNN         answers with that status
    /slow               answers after a second and a half
    Upgrade             answers 101 and echoes bytes until the client leaves

NAME=PORT+CERTIFICATE,KEY speaks TLS. What it prints first says that all of them listen.
"""

import asyncio
import json
import ssl
import sys
from contextlib import suppress
from functools import partial

SLOW_S = 1.5


async def serve(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer on one connection."""
    with suppress(OSError, asyncio.IncompleteReadError):
        while await _answer(name, reader, writer):
            pass
    writer.close()


async def _answer(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = [tuple(line.split(": ", 1)) if ": " in line else (line.rstrip(":"), "") for line in lines]
    named = {each[0].lower(): each[1] for each in headers}
    if "upgrade" in named.get("connection", "").lower():
        upgrade = named.get("upgrade", "")
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\n".encode())
        while read := await reader.read(4096):
            writer.write(read)
            await writer.drain()
        return False
    body = await reader.readexactly(int(named.get("content-length") or 0))
    if path.startswith("/slow"):
        await asyncio.sleep(SLOW_S)
    status = path.removeprefix("/status/") if path.startswith("/status/") else "200"
    said = json.dumps(
        {"name": name, "method": method, "path": path, "headers": headers, "body": body.decode("latin-1")}
    )
    answer = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(said)}\r\nContent-Type: application/json\r\n\r\n{said}"
    writer.write(answer.encode())
    await writer.drain()
    return named.get("connection", "").lower() != "close"


async def main(wanted: list[str]) -> None:
    """Listen, and go on."""
    servers = []
    for each in wanted:
        name, _, where = each.partition("=")
        port, _, files = where.partition("+")
        tls = None
        if files:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*files.split(","))
        servers.append(await asyncio.start_server(partial(serve, name), "127.0.0.1", int(port), ssl=tls))
    print("listening", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1:]))

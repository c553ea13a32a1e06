"""A unix socket before another that can be changed at any time, as a virtual address moves between two hosts."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Self


class Relay:
    """
    Passes bytes on.

    Args:
        path: Where it listens.
        target: The socket behind it; whoever changes it calls `cut` too, or the connections that are there stay.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.close()

    def move(self, target: Path) -> None:
        """Have another one answer from now on."""
        self.target = target
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind_reader, behind_writer = await asyncio.open_unix_connection(self.target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, behind_writer}
        await asyncio.gather(_pass(reader, behind_writer), _pass(behind_reader, writer))
        self._writers -= {writer, behind_writer}


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    writer.close()

"""
How answers of the fake engine go wrong, as those of a sick engine or of a proxy before it do.

What goes wrong with events is `EventStream.fates`, with lists `Replica.lag_s`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import hdrs, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(Protocol):
    """Answers in the place of a handler."""

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give the wrong answer, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Something else is answered: an error, a proxy's page, nonsense."""

    body: str
    status: int = 200
    content_type: str = "application/json"

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG002 - a port
        """See `Fault`."""
        return web.Response(text=self.body, status=self.status, content_type=self.content_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The true answer breaks off after some bytes of its body."""

    after_bytes: int

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """See `Fault`."""
        whole = await handler(request)
        body = whole.body if isinstance(whole, web.Response) else b""
        assert isinstance(body, bytes)
        part = web.StreamResponse(headers={hdrs.CONTENT_LENGTH: str(len(body) + 1)})
        await part.prepare(request)
        await part.write(body[: self.after_bytes])
        if request.transport is not None:
            request.transport.close()
        return part


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """Nothing is answered until it is *over*, then the truth; with *header*, a 200 at once, and no more after it."""

    over: asyncio.Event
    header: bool = False

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """See `Fault`."""
        if not self.header:
            await self.over.wait()
            return await handler(request)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await self.over.wait()
        return response

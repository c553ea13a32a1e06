"""
Wrong answers of the fake engine, as a sick engine or a proxy before it gives them.

What goes wrong with events is `EventStream.delivery`, with lists `Replica.lag_s`.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Fault = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
"""Answers a request in the place of its handler."""


def respond_with(body: str, *, status: int = 200, content_type: str = "application/json") -> Fault:
    """
    Return a fault that answers something else: an error, a proxy's page, nonsense.

    Args:
        body: The whole text.
        status: Of HTTP.
        content_type: Without a charset.
    """

    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001 - see `Fault`
        return web.Response(text=body, status=status, content_type=content_type)

    return answer


def truncate(*, after_bytes: int) -> Fault:
    """Return a fault that breaks the true answer off after some bytes of its body."""

    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        body = response.body if isinstance(response, web.Response) else b""
        assert isinstance(body, bytes)
        part = web.StreamResponse(headers={hdrs.CONTENT_LENGTH: str(len(body) + 1)})
        await part.prepare(request)
        await part.write(body[:after_bytes])
        if request.transport is not None:
            request.transport.close()
        return part

    return answer


def stall(over: asyncio.Event, *, header: bool = False) -> Fault:
    """Return a fault that answers nothing until *over*, then the truth; with *header* a 200 at once and no more."""

    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not header:
            await over.wait()
            return await handler(request)
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await over.wait()
        return response

    return answer


def disconnect() -> Fault:
    """Return a fault that closes the connection without an answer, as an engine does that is told to stop."""

    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001 - see `Fault`
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return answer

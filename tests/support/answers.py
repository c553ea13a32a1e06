"""A client of an engine that answers what a test wants."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve one answer for everything on a free loopback port; gives the `tcp://` URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"tcp://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(url: str, **environ: str) -> AsyncIterator[EngineClient]:
    client = EngineClient(engine_address(url, environ=environ))
    try:
        yield client
    finally:
        await client.close()


def saying(body: bytes, *, status: int = 200, kind: str = "application/json", **headers: str) -> Answer:
    """An answer of these bytes; in a header's name `_` stands for `-`."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, content_type=kind, headers={"Api-Version": "1.41"} | more)

    return answer

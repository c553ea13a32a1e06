"""
The HTTP side of the status: who may ask, what for, and for how long.

Nobody here is waited for: an answer is made at once, each connection carries one request, and one that is not done in
time is cut off.
"""

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Protocol

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from lbwatch.api import page
from lbwatch.api.metrics import CONTENT_TYPE, exposition
from lbwatch.core.errors import SettingsError, excerpt
from lbwatch.core.status import Status, report_of, unready
from lbwatch.settings import listen_address

CONNECTION_TIMEOUT_S = 10.0
"""How long a connection may last, whatever its client does; each has one request."""

MAX_CONNECTIONS = 64
"""The oldest is cut off for a newer one."""

STILL_S = 120.0
"""A pass takes at most about 80 s (a search for what nginx refuses, and a verification), and there is one a second."""

SHARED_S = 0.5
"""For so long one answer serves all who ask for the same: many open pages cost the daemon no more than one."""

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_SWEEP_S = 0.1
_JSON = "application/json"

_log = structlog.get_logger()


class View(Protocol):
    """What there is to see."""

    def quick_status(self) -> Status:
        """Give the picture of this instant, without what must be read from disk for it."""

    async def look(self) -> Status:
        """Give all of it."""


@asynccontextmanager
async def serving(listen: str, *, hosts: Collection[str], view: View) -> AsyncIterator[None]:
    """
    Serve until the end of the context.

    Args:
        listen: `HOST:PORT`; empty: nowhere.
        hosts: Names accepted in the Host header, beside addresses and localhost.
        view: What there is to see.

    Raises:
        SettingsError: It cannot listen there.
    """
    if not listen:
        yield
        return
    host, port = listen_address(listen)
    # A thread of its own: those of the loop are for the daemon's work.
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="status")
    application = _application(hosts=hosts, view=view, executor=executor)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except (OSError, ValueError) as error:  # the latter for what can be no name of a host
            raise SettingsError("status_listen", value=listen, takes=_refusal(error)) from error
        addresses = [f"http://{_written(*address[:2])}/" for address in runner.addresses]
        _log.info("status.listening", url=addresses[0] if addresses else listen)
        async with asyncio.TaskGroup() as group:  # a sweep that ends is a bug, and ends everything
            sweeping = group.create_task(_sweep(runner), name="status connections")
            try:
                yield
            finally:
                sweeping.cancel()
    finally:
        await runner.cleanup()
        executor.shutdown(wait=False, cancel_futures=True)


def _application(*, hosts: Collection[str], view: View, executor: Executor) -> web.Application:
    application = web.Application(
        middlewares=[_guard(frozenset(name.lower().rstrip(".") for name in (*hosts, "localhost")))], client_max_size=0
    )
    for path, handler in _handlers(view, executor=executor).items():
        application.router.add_get(path, handler)
    return application


def _handlers(view: View, *, executor: Executor) -> dict[str, Handler]:
    async def healthz(_: web.Request) -> web.Response:
        still_s = (status := view.quick_status()).now - status.progress.turned_at
        if still_s < STILL_S or status.progress.applying:
            return web.Response(text="the loop turns\n")
        return web.Response(status=503, text=f"the loop has not turned for {still_s:.0f} s\n")

    async def readyz(_: web.Request) -> web.Response:
        reasons = tuple(unready(view.quick_status()))
        body = msgspec.json.encode({"ready": not reasons, "reasons": reasons})
        return web.Response(status=503 if reasons else 200, body=body, content_type=_JSON)

    def made(make: Callable[[Status], bytes], **headers: str) -> Handler:
        body = _Shared(view.look, make=make, executor=executor)

        async def handle(_: web.Request) -> web.Response:
            return web.Response(body=await body.get(), headers=headers)

        return handle

    return {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": made(exposition, **{hdrs.CONTENT_TYPE: CONTENT_TYPE}),
        "/api/state": made(lambda status: msgspec.json.encode(report_of(status)), **{hdrs.CONTENT_TYPE: _JSON}),
        "/": made(page.html, **{hdrs.CONTENT_TYPE: page.CONTENT_TYPE, "Content-Security-Policy": page.POLICY}),
    }


class _Shared:
    """
    An answer that all get who ask for it at about the same time.

    Args:
        look: Gives the picture that it is made of.
        make: Makes it, in a thread.
        executor: The thread.
    """

    def __init__(
        self, look: Callable[[], Awaitable[Status]], *, make: Callable[[Status], bytes], executor: Executor
    ) -> None:
        self._look = look
        self._make = make
        self._executor = executor
        self._asked_at = 0.0
        self._answer: asyncio.Task[bytes] | None = None

    async def get(self) -> bytes:
        """Give it, at most `SHARED_S` old, or as old as its making takes."""
        now = asyncio.get_running_loop().time()
        answer = self._answer
        if answer is None or (answer.done() and (now - self._asked_at >= SHARED_S or _failed(answer))):
            self._asked_at = now
            answer = self._answer = asyncio.create_task(self._made(), name="status answer")
        return await asyncio.shield(answer)  # one who goes away takes it from nobody

    async def _made(self) -> bytes:
        status = await self._look()
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._make, status)


def _failed(answer: asyncio.Task[bytes]) -> bool:
    return answer.cancelled() or answer.exception() is not None


def _guard(names: frozenset[str]) -> Middleware:
    """Refuse names that are not ours: a page elsewhere may have its own name rebound to our address."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = request.headers.get(hdrs.HOST)
        if asked is not None and not _is_ours(asked, names=names):
            text = f"host {excerpt(asked)!r} is not accepted here: add it to status_hosts\n"
            answer: web.StreamResponse = web.Response(status=403, text=text)
        else:
            try:
                answer = await handler(request)
            except web.HTTPException as error:  # no such path, no such method
                allowed = {name: value for name, value in error.headers.items() if name == hdrs.ALLOW}
                answer = web.Response(status=error.status, text=f"{error.reason}\n", headers=allowed)
        answer.force_close()
        answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers.setdefault("X-Content-Type-Options", "nosniff")
        return answer

    return guard


def _is_ours(asked: str, *, names: frozenset[str]) -> bool:
    """Tell whether a Host header has an address, `localhost` or one of these names, with or without a port."""
    match = _HOST.fullmatch(asked)
    if match is None:
        return False
    if match["v6"] is None and match["name"].lower().rstrip(".") in names:
        return True
    with suppress(ValueError):
        return ip_address(match["v6"] or match["name"]).version == (6 if match["v6"] else 4)
    return False


async def _sweep(runner: web.AppRunner) -> None:
    """Cut off whoever takes too long, for good."""
    opened: dict[object, float] = {}
    while True:
        _cut(runner, older_than_s=CONNECTION_TIMEOUT_S, opened=opened)
        await asyncio.sleep(_SWEEP_S)


def _cut(runner: web.AppRunner, *, older_than_s: float, opened: dict[object, float]) -> None:
    """Cut off connections of that age, and the oldest of too many; *opened* holds when each was first seen."""
    now = asyncio.get_running_loop().time()
    present = list(runner.server.connections) if runner.server is not None else []
    for gone in opened.keys() - set(present):
        del opened[gone]
    by_age = sorted(present, key=lambda each: opened.setdefault(each, now))
    surplus = max(0, len(by_age) - MAX_CONNECTIONS)
    for number, connection in enumerate(by_age):
        if (number < surplus or now - opened[connection] >= older_than_s) and connection.transport is not None:
            connection.transport.abort()


def _refusal(error: OSError | ValueError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return "another process listens there already: choose another port, or end that one"
    if number == errno.EACCES:
        return "this user may not listen there: choose a port above 1023"
    return f"it is not possible to listen there ({excerpt(getattr(error, 'strerror', None) or str(error))})"


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

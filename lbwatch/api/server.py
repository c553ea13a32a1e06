"""
The daemon's API: one HTTP application, reached in two ways.

By TCP (`status_listen`) whoever reaches the port may look at health, metrics, the state as JSON and the page, and
change nothing. The unix socket (`control_socket`), which only our own user may use, answers the same and what the
commands ask for besides: `explain`, which shows labels, and `drain` and `undrain`, which alone change anything.

Nobody here is waited for: by TCP each connection carries one request, and one that is not done in time is cut off.
"""

import asyncio
import errno
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from lbwatch.api import page
from lbwatch.api.control import ControlService
from lbwatch.api.metrics import CONTENT_TYPE, exposition
from lbwatch.core.errors import RequestError, SettingsError, excerpt
from lbwatch.core.status import Status, report_of, unready
from lbwatch.settings import listen_address

CONNECTION_TIMEOUT_S = 10.0
"""How long a TCP connection may last, whatever its client does; each has one request."""

MAX_CONNECTIONS = 64
"""By TCP; the oldest is cut off for a newer one."""

STILL_S = 120.0
"""A pass takes at most about 80 s (a search for what nginx refuses, and a verification), and there is one a second."""

SHARED_S = 0.5
"""For so long one answer serves all who ask for the same: many open pages cost the daemon no more than one."""

_READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_SOCKET_MODE = 0o600
_SWEEP_S = 0.1
_JSON = "application/json"

_log = structlog.get_logger()


class View(Protocol):
    """What there is to see of the daemon."""

    def quick_status(self) -> Status:
        """Return the status of this instant, without what must be read from disk for it."""

    async def look(self) -> Status:
        """Return the whole status."""


@asynccontextmanager
async def serving(application: web.Application, *, listen: str, control_socket: Path) -> AsyncIterator[None]:
    """
    Serve by TCP and by a unix socket until the end of the context.

    Routing does not wait for the unix socket: where it cannot be made, that is logged once, and commands cannot ask.

    Args:
        application: As `make_application` returns it.
        listen: `HOST:PORT`; empty: not by TCP.
        control_socket: Path of the unix socket, which gets mode 0600.

    Raises:
        SettingsError: It cannot listen at *listen*.
    """
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await _listen_unix(runner, path=control_socket, stack=stack)
        if listen:
            await stack.enter_async_context(_tcp(runner, listen=listen))
        yield


# -- the application


def make_application(view: View, *, service: ControlService, hosts: Collection[str]) -> web.Application:
    """
    Return the application with all its routes.

    Args:
        view: What there is to see.
        service: What carries out the requests of the commands.
        hosts: Names accepted in the Host header of what comes by TCP, beside addresses and localhost.
    """
    # A thread of its own: those of the loop are for the daemon's work, and a crowd of browsers would take all of them.
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="status")

    async def close(_: web.Application) -> None:
        executor.shutdown(wait=False, cancel_futures=True)

    public = _public_handlers(view, executor=executor)
    names = frozenset(name.lower().rstrip(".") for name in (*hosts, "localhost"))
    application = web.Application(middlewares=[_guard(names=names, public=frozenset(public))], client_max_size=0)
    application.add_routes(web.get(path, handler) for path, handler in public.items())
    application.add_routes(_control_routes(service))
    application.on_cleanup.append(close)
    return application


def _public_handlers(view: View, *, executor: Executor) -> dict[str, Handler]:
    """Return what is answered by TCP too, by path."""

    async def healthz(_: web.Request) -> web.Response:
        still_s = (status := view.quick_status()).now - status.progress.turned_at
        if still_s < STILL_S or status.progress.applying:
            return web.Response(text="the loop turns\n")
        return web.Response(status=503, text=f"the loop has not turned for {still_s:.0f} s\n")

    async def readyz(_: web.Request) -> web.Response:
        reasons = tuple(unready(view.quick_status()))
        body = msgspec.json.encode({"ready": not reasons, "reasons": reasons})
        return web.Response(status=503 if reasons else 200, body=body, content_type=_JSON)

    def shared(make: Callable[[Status], bytes], **headers: str) -> Handler:
        answer = _SharedAnswer(view.look, make=make, executor=executor)

        async def handle(_: web.Request) -> web.Response:
            return web.Response(body=await answer.get(), headers=headers)

        return handle

    return {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": shared(exposition, **{hdrs.CONTENT_TYPE: CONTENT_TYPE}),
        "/api/state": shared(lambda status: msgspec.json.encode(report_of(status)), **{hdrs.CONTENT_TYPE: _JSON}),
        "/": shared(page.html, **{hdrs.CONTENT_TYPE: page.CONTENT_TYPE, "Content-Security-Policy": page.POLICY}),
    }


def _control_routes(service: ControlService) -> list[web.RouteDef]:
    """Return what is answered by the unix socket alone."""

    async def explain(request: web.Request) -> web.Response:
        explanation = await service.explain(request.query.get("container", ""))
        return web.Response(body=await asyncio.to_thread(msgspec.json.encode, explanation), content_type=_JSON)

    async def suspended(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(service.suspended), content_type=_JSON)

    async def drain(request: web.Request) -> web.Response:
        return web.Response(text=await service.drain(request.query.get("container", "")))

    async def undrain(request: web.Request) -> web.Response:
        return web.Response(text=await service.undrain(request.query.get("container", "")))

    return [
        web.get("/explain", explain),
        web.get("/suspended", suspended),
        web.post("/drain", drain),
        web.post("/undrain", undrain),
    ]


class _SharedAnswer:
    """
    An answer that all get who ask for it at about the same time.

    Args:
        look: Returns the status that it is made of.
        make: Makes it, in a thread.
        executor: The thread.
    """

    def __init__(
        self, look: Callable[[], Awaitable[Status]], *, make: Callable[[Status], bytes], executor: Executor
    ) -> None:
        self._look = look
        self._make = make
        self._executor = executor
        self._asked_at = 0.0  # loop time of who asked for the latest one first
        self._answer: asyncio.Task[bytes] | None = None

    async def get(self) -> bytes:
        """Return it, at most `SHARED_S` old, or as old as its making takes."""
        now = asyncio.get_running_loop().time()
        answer = self._answer
        if answer is None or (answer.done() and (now - self._asked_at >= SHARED_S or _has_failed(answer))):
            self._asked_at = now
            answer = self._answer = asyncio.create_task(self._made(), name="status answer")
        # Whoever hangs up is cancelled here; the others still wait for the same task.
        return await asyncio.shield(answer)

    async def _made(self) -> bytes:
        status = await self._look()
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._make, status)


def _has_failed(answer: asyncio.Task[bytes]) -> bool:
    return answer.cancelled() or answer.exception() is not None


# -- what may come in


def _guard(*, names: frozenset[str], public: frozenset[str]) -> Middleware:
    """
    Return the middleware that all requests and answers go through.

    Args:
        names: Those accepted in the Host header of what comes by TCP, in lower case.
        public: Paths that are answered by TCP.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer: web.StreamResponse | None = None
        if not _is_unix(request.transport):
            answer = _tcp_refusal(request, names=names, public=public)
        if answer is None:
            try:
                answer = await handler(request)
            except web.HTTPException as error:  # no such path, no such method
                allowed = {name: value for name, value in error.headers.items() if name == hdrs.ALLOW}
                answer = web.Response(status=error.status, text=f"{error.reason}\n", headers=allowed)
            except RequestError as error:
                answer = web.Response(status=409, text=str(error))
        # A kept connection is one that can be held, and the time limit is for one request each.
        answer.force_close()
        answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers.setdefault("X-Content-Type-Options", "nosniff")
        return answer

    return guard


def _tcp_refusal(request: web.Request, *, names: frozenset[str], public: frozenset[str]) -> web.Response | None:
    """
    Return the answer to what may not come by TCP, else `None`.

    Args:
        request: Any one.
        names: Those accepted in the Host header.
        public: Paths that are answered.
    """
    # A page elsewhere may have its own name rebound to our address; only its browser's Host header shows that. Of the
    # rest such a page learns nothing, so that this comes first.
    host = request.headers.get(hdrs.HOST)
    if host is not None and not _is_ours(host, names=names):
        text = f"host {excerpt(host)!r} is not accepted here: add it to status_hosts\n"
        return web.Response(status=403, text=text)
    # What is allowed is listed, and not what is forbidden: a route that somebody adds is closed until it is public.
    if request.path not in public:
        return web.Response(status=404, text="Not Found\n")
    if request.method not in _READING:
        return web.Response(status=405, text="Method Not Allowed\n", headers={hdrs.ALLOW: ",".join(sorted(_READING))})
    return None


def _is_ours(host: str, *, names: frozenset[str]) -> bool:
    """Return whether a Host header has an address, `localhost` or one of these names, with or without a port."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    if match["v6"] is None and match["name"].lower().rstrip(".") in names:
        return True
    with suppress(ValueError):
        return ip_address(match["v6"] or match["name"]).version == (6 if match["v6"] else 4)
    return False


def _is_unix(transport: asyncio.BaseTransport | None) -> bool:
    """Return whether a connection came by the unix socket; one that is gone already counts as TCP."""
    ours = transport.get_extra_info("socket") if transport is not None else None
    return ours is not None and ours.family == socket.AF_UNIX


# -- TCP


@asynccontextmanager
async def _tcp(runner: web.AppRunner, *, listen: str) -> AsyncIterator[None]:
    """
    Listen at `HOST:PORT`, and bound the connections there until the end of the context.

    Raises:
        SettingsError: It cannot listen there.
    """
    host, port = listen_address(listen)
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, ValueError) as error:  # the latter for what can be no name of a host
        raise SettingsError("status_listen", value=listen, takes=_listen_refusal(error)) from error
    # With port 0 the kernel chooses, and only the socket knows; the unix socket's address is a path.
    addresses = [address[:2] for address in runner.addresses if isinstance(address, tuple)]
    _log.info("status.listening", url=f"http://{_written(*addresses[0])}/" if addresses else listen)
    async with asyncio.TaskGroup() as group:  # a sweep that ends is a bug, and ends everything
        sweeping = group.create_task(_sweep(runner), name="status connections")
        try:
            yield
        finally:
            sweeping.cancel()


async def _sweep(runner: web.AppRunner) -> None:
    """Cut off whoever takes too long by TCP, for good."""
    opened: dict[object, float] = {}
    while True:
        _cut(runner, older_than_s=CONNECTION_TIMEOUT_S, opened=opened)
        await asyncio.sleep(_SWEEP_S)


def _cut(runner: web.AppRunner, *, older_than_s: float, opened: dict[object, float]) -> None:
    """
    Cut off TCP connections of that age, and the oldest of too many.

    Args:
        runner: Whose connections they are. Those of the unix socket are our own user's, and a drain may take long.
        older_than_s: Seconds.
        opened: Loop time at which each connection was first seen; it is kept up here.
    """
    now = asyncio.get_running_loop().time()
    connections = runner.server.connections if runner.server is not None else []
    present = [each for each in connections if not _is_unix(each.transport)]
    for gone in opened.keys() - set(present):
        del opened[gone]
    by_age = sorted(present, key=lambda each: opened.setdefault(each, now))
    surplus = max(0, len(by_age) - MAX_CONNECTIONS)
    for number, connection in enumerate(by_age):
        if (number < surplus or now - opened[connection] >= older_than_s) and connection.transport is not None:
            # Not closed but aborted: what waits to be sent to a client that never reads would be kept.
            connection.transport.abort()


def _listen_refusal(error: OSError | ValueError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return "another process listens there already: choose another port, or end that one"
    if number == errno.EACCES:
        return "this user may not listen there: choose a port above 1023"
    return f"it is not possible to listen there ({excerpt(getattr(error, 'strerror', None) or str(error))})"


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# -- the unix socket


async def _listen_unix(runner: web.AppRunner, *, path: Path, stack: AsyncExitStack) -> None:
    """
    Listen at a unix socket if that is possible.

    Args:
        runner: What serves.
        path: Where the socket will be.
        stack: At whose end it is removed.
    """
    try:
        listener, inode = await asyncio.to_thread(_bound, path)
    except OSError as error:
        reason = f"{error.strerror or error}: drain and undrain are not possible"
        _log.warning("control.unavailable", control_socket=str(path), reason=reason)
    else:
        stack.callback(_unlink, path, inode=inode)
        await web.SockSite(runner, listener).start()


def _bound(path: Path) -> tuple[socket.socket, int]:
    """
    Return a socket that listens at a path, and the inode of its file.

    It takes the place of a socket that a dead process left there; at no instant may others use it.

    Raises:
        OSError: It cannot be made, or what is there must stay.
    """
    path.parent.mkdir(mode=0o755, exist_ok=True)
    if _is_answered(path):
        raise OSError(f"another lbwatch takes orders at {path}")
    if path.exists() and not path.is_socket():
        raise OSError(f"{path} is no socket")
    # The mode is set under another name, where nobody looks for it: between bind and chmod any user could connect.
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(fresh))
        fresh.chmod(_SOCKET_MODE)  # nobody can connect before it listens
        listener.listen()
        os.replace(fresh, path)
    except OSError:
        listener.close()
        with suppress(OSError):
            fresh.unlink()
        raise
    return listener, path.stat().st_ino


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # noqa: FBT003 - whoever has a full queue and hangs is there all the same
        return probe.connect_ex(str(path)) in (0, errno.EAGAIN)


def _unlink(path: Path, *, inode: int) -> None:
    with suppress(OSError):  # another lbwatch may have put its own there
        if path.stat().st_ino == inode:
            path.unlink()

"""
Where the API listens: by TCP (`status_listen`) for whoever looks, at a unix socket (`control_socket`) for our own user.

Nobody is waited for by TCP: each connection carries one request, and one that is not done in time is cut off.
"""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import structlog
from aiohttp import web

from lbwatch.api.application import is_unix
from lbwatch.core.errors import SettingsError, excerpt
from lbwatch.settings import listen_address

CONNECTION_TIMEOUT_S = 10.0
"""How long a TCP connection may last, whatever its client does; each has one request."""

MAX_CONNECTIONS = 64
"""By TCP; the oldest is cut off for a newer one."""

_SOCKET_MODE = 0o600
_SWEEP_S = 0.1

_log = structlog.get_logger()


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
    present = [each for each in connections if not is_unix(each.transport)]
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

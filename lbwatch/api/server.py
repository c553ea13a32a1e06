"""
Where the API listens: by TCP (`status_listen`) for whoever looks, at a unix socket (`control_socket`) for our own user.

Nobody is waited for by TCP: each connection carries one request, and one that is not done in time is cut off.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from lbwatch.api.application import is_unix
from lbwatch.api.door import Door
from lbwatch.api.protection import Protection
from lbwatch.core.errors import LbwatchError, SettingsError, ThreadError, excerpt
from lbwatch.settings import ApiSettings, listen_address
from lbwatch.system.listening import BACKLOG, bound_unix, unlink

CONNECTION_TIMEOUT_S = 10.0
"""How long a TCP connection may last, whatever its client does; each has one request."""

MAX_CONNECTIONS = 64
"""By TCP; the oldest is cut off for a newer one."""

CONTROL_TIMEOUT_S = 600.0
"""How long one to the unix socket may last: a drain waits until it is in force, and no client waits for longer."""

MAX_CONTROL_CONNECTIONS = 32
"""To the unix socket; more of them wait, since whoever waits for a drain must not be cut off."""

_SOCKET_MODE = 0o600

_log = structlog.get_logger()


@asynccontextmanager
async def serving(
    application: web.Application, *, listen: str, control_socket: Path, protection: Protection | None = None
) -> AsyncIterator[None]:
    """
    Serve by TCP and by a unix socket until the end of the context.

    Routing does not wait for the unix socket: where it cannot be made, that is logged once, and commands cannot ask.

    Args:
        application: As `make_application` returns it.
        listen: `HOST:PORT`; empty: not by TCP.
        control_socket: Path of the unix socket, which gets mode 0600.
        protection: Of what is served by TCP, its files read already; `None`: there is none.

    Raises:
        SettingsError: It cannot listen at *listen*.
        LbwatchError: The context ended by it.
    """
    protection = protection or Protection(ApiSettings())
    async with AsyncExitStack() as stack:
        # What is left of a body is not read to its end: nothing here takes one, and it may be without end.
        runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1, lingering_time=0.0
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None
        control, public = _doors(runner.server, protection=protection)
        unix = await _listen_unix(control_socket, stack=stack)
        tcp = await _listen_tcp(listen, stack=stack)
        if tcp:
            _log_listening(tcp, protection=protection)
        failure: LbwatchError | None = None
        async with asyncio.TaskGroup() as group:  # one that ends is a bug, and ends everything
            doors = (control.sweep(), public.sweep(), *map(control.accept, unix), *map(public.accept, tcp))
            tasks = (protection.keep_fresh(), *doors)
            running = [group.create_task(each, name="http") for each in tasks]
            try:
                yield
            except LbwatchError as error:  # of what goes on meanwhile: whoever waits for it knows it by its type alone
                failure = error
            finally:
                for task in running:
                    task.cancel()
        if failure is not None:
            raise failure


def _doors(server: web.Server, *, protection: Protection) -> tuple[Door, Door]:
    """Return what lets in whoever comes by the unix socket, who is our own user, and whoever comes by TCP."""
    control = Door(server, ours=is_unix, most=MAX_CONTROL_CONNECTIONS, timeout_s=CONTROL_TIMEOUT_S, cuts_oldest=False)
    public = Door(
        server,
        ours=lambda transport: not is_unix(transport),
        most=MAX_CONNECTIONS,
        timeout_s=CONNECTION_TIMEOUT_S,
        cuts_oldest=True,
        tls=protection.context,
    )
    return control, public


# -- TCP


async def _listen_tcp(listen: str, *, stack: AsyncExitStack) -> list[socket.socket]:
    """
    Return what listens at `HOST:PORT`, which may be several addresses, until the end of the stack.

    Raises:
        SettingsError: It cannot listen there.
    """
    if not listen:
        return []
    host, port = listen_address(listen)
    try:
        listeners = [stack.enter_context(_bound_tcp(*each)) for each in await _addresses(host, port)]
    except (OSError, ValueError) as error:  # the latter for what can be no name of a host
        raise SettingsError("status_listen", value=listen, takes=_listen_refusal(error)) from error
    return listeners


def _log_listening(listeners: list[socket.socket], *, protection: Protection) -> None:
    """Log where it listens, and whether more may look than should."""
    # With port 0 the kernel chooses, and only the socket knows.
    addresses = [listener.getsockname()[:2] for listener in listeners]
    url = f"{'https' if protection.has_tls else 'http'}://{_written(*addresses[0])}/"
    _log.info("status.listening", url=url)
    if all(ip_address(host.partition("%")[0]).is_loopback for host, _ in addresses):
        return
    if not protection.password.is_set:
        warning = "whoever reaches it sees the names of containers: status_password_file asks for a password"
        _log.warning("status.unprotected", url=url, warning=warning)
    elif not protection.has_tls:
        warning = "the password can be read on its way: status_cert and status_key have it come by TLS"
        _log.warning("status.unprotected", url=url, warning=warning)


async def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Return where to listen, each with its family; raises `OSError` or `ValueError`."""
    try:  # which needs no thread
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound_tcp(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)  # noqa: FBT003 - the only way to say it
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


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


async def _listen_unix(path: Path, *, stack: AsyncExitStack) -> list[socket.socket]:
    """
    Return what listens at a unix socket until the end of the stack, or nothing where none can be made.

    Args:
        path: Where the socket will be.
        stack: At whose end it is removed.
    """
    try:
        listener, inode = await asyncio.to_thread(bound_unix, path, mode=_SOCKET_MODE)
    except (OSError, ThreadError) as error:
        reason = f"{getattr(error, 'strerror', None) or error}: drain, undrain, pause and resume are not possible"
        _log.warning("control.unavailable", control_socket=str(path), reason=reason)
        return []
    stack.enter_context(listener)
    stack.callback(unlink, path, inode=inode)
    return [listener]

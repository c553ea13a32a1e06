"""
What an operator tells the running daemon: `drain` and `undrain`, by HTTP over a unix socket that only its user may use.

Both ends are here: the daemon's, which waits until what was asked for is in force, and the command line's.
"""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import aiohttp
import structlog
from aiohttp import web

from lbwatch.errors import OrderError, StateError, excerpt
from lbwatch.model import Backend, Desired
from lbwatch.state import State

IN_FORCE_TIMEOUT_S = 15.0
"""
How long an order waits for nginx once it is its turn: a test, a reload and its verification take 0.1 s, and 4 s where
one is refused.
"""

ANSWER_TIMEOUT_S = 600.0
"""Longer than any daemon that lives takes, with the `reload_interval` that people set."""

SHORTEST_ID = 4
"""Characters of an id that name a container, as long as it is the only one."""

_MODE = 0o600
_TEXT = "text/plain"

_log = structlog.get_logger()


class Balance(Protocol):
    """What is told to follow an order."""

    def backends(self) -> Iterable[Backend] | None:
        """Give all containers; `None` if they are not known yet."""

    async def settled(self) -> Desired:
        """Decide anew, and give what was decided once it is in force."""


class Desk:
    """
    Carries out orders.

    Args:
        state: Where drains by hand are kept.
        balance: What follows them.
        reload_interval_s: Seconds that a container which comes back may have to wait for its turn.
    """

    def __init__(self, state: State, *, balance: Balance, reload_interval_s: float = 0.0) -> None:
        self._state = state
        self._reload_interval_s = reload_interval_s
        self._balance = balance
        self._one_at_a_time = asyncio.Lock()

    async def drain(self, ref: str) -> str:
        """
        Take a container out of its upstreams, and say what came of it once it is in force.

        Raises:
            OrderError: There is no such container, or it takes too long.
        """
        return await self._carry_out(ref, begin=self._drain)

    async def undrain(self, ref: str) -> str:
        """Undo that; raises as `drain` does."""
        return await self._carry_out(ref, begin=self._undrain)

    async def _carry_out(self, ref: str, *, begin: Callable[[Backend], Awaitable[str]]) -> str:
        backends = self._balance.backends()
        if backends is None:
            raise OrderError("lbwatch has not read the engine yet: try again once its log says source.synced")
        backend = found(ref, backends=backends)
        async with self._one_at_a_time:
            self._state.retain({each.id for each in backends})
            try:
                said = await begin(backend)
            except StateError as error:
                _log.warning(error.event, error=str(error))
                said = f"{backend.name} is changed, but not beyond a restart of lbwatch: {error}"
        patience_s = IN_FORCE_TIMEOUT_S + self._reload_interval_s
        try:
            async with asyncio.timeout(patience_s):
                desired = await self._balance.settled()
        except TimeoutError:
            late = f"nginx does not run that after {patience_s:g} s: the daemon's log says why"
            raise OrderError(f"{said}; {late}") from None
        return f"{said}; {place_in(desired, backend.name)}"

    async def _drain(self, backend: Backend) -> str:
        again = backend.id in self._state.drained
        await asyncio.to_thread(self._state.drain, backend.id, backend.name)
        _log.info("backend.drained", backend=backend.name)
        return f"{backend.name} is drained{' already' if again else ''}"

    async def _undrain(self, backend: Backend) -> str:
        was = backend.id in self._state.drained
        await asyncio.to_thread(self._state.undrain, backend.id)
        if not was:
            return f"{backend.name} was not drained by hand"
        _log.info("backend.undrained", backend=backend.name)
        return f"{backend.name} is not drained any more"


def found(ref: str, *, backends: Iterable[Backend]) -> Backend:
    """
    Find a container by its name, or by the beginning of its id.

    Raises:
        OrderError: There is none, or more than one.
    """
    everyone = tuple(backends)
    named = [each for each in everyone if each.name == ref.removeprefix("/")]
    named = named or [each for each in everyone if len(ref) >= SHORTEST_ID and each.id.startswith(ref)]
    if not named:
        raise OrderError(f"the engine has no container {excerpt(ref)!r}")
    if len(named) > 1:
        raise OrderError(f"{excerpt(ref)!r} is the beginning of {len(named)} ids: give more of it")
    return named[0]


def place_in(desired: Desired, name: str) -> str:
    """Say where a container is routed, or why it is not."""
    lines = (
        f"it serves upstream {upstream.name} at {server.address}:{server.port}"
        for upstream in desired.upstreams
        for server in upstream.servers
        if server.backend == name
    )
    skips = (f"it is not routed ({skip.reason}): {skip.detail}" for skip in desired.skipped if skip.backend == name)
    notices = (f"note that {notice.detail}" for notice in desired.notices if notice.backend == name)
    return "; ".join(dict.fromkeys([*lines, *skips, *notices]))


@asynccontextmanager
async def listening(path: Path, *, desk: Desk) -> AsyncIterator[None]:
    """
    Take orders at a unix socket, mode 0600, until the end of the context.

    Routing does not wait for it: where the socket cannot be made, that is logged once, and no orders are taken.
    """
    async with AsyncExitStack() as stack:
        try:
            listener, inode = await asyncio.to_thread(_bound, path)
        except OSError as error:
            reason = f"{error.strerror or error}: drain and undrain are not possible"
            _log.warning("control.unavailable", control_socket=str(path), reason=reason)
        else:
            stack.callback(_unlink, path, inode=inode)
            runner = web.AppRunner(_application(desk), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.SockSite(runner, listener).start()
        yield


def _unlink(path: Path, *, inode: int) -> None:
    with suppress(OSError):  # another lbwatch may have put its own there
        if path.stat().st_ino == inode:
            path.unlink()


def _application(desk: Desk) -> web.Application:
    def taking(order: Callable[[str], Awaitable[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                return web.Response(text=await order(request.query.get("container", "")), content_type=_TEXT)
            except OrderError as error:
                return web.Response(status=409, text=str(error), content_type=_TEXT)

        return handle

    application = web.Application()
    application.router.add_post("/drain", taking(desk.drain))
    application.router.add_post("/undrain", taking(desk.undrain))
    return application


def _bound(path: Path) -> tuple[socket.socket, int]:
    """
    Listen at a path, in the place of a socket that a dead process left there; at no instant may others use it.

    Returns:
        The socket, and the inode of its file.
    """
    path.parent.mkdir(mode=0o755, exist_ok=True)
    if _answers(path):
        raise OSError(f"another lbwatch takes orders at {path}")
    if path.exists() and not path.is_socket():
        raise OSError(f"{path} is no socket")
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(fresh))
        fresh.chmod(_MODE)  # nobody can connect before it listens
        listener.listen()
        os.replace(fresh, path)
    except OSError:
        listener.close()
        with suppress(OSError):
            fresh.unlink()
        raise
    return listener, path.stat().st_ino


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # noqa: FBT003 - whoever has a full queue and hangs is there all the same
        return probe.connect_ex(str(path)) in (0, errno.EAGAIN)


async def order(path: Path, *, verb: str, container: str) -> str:
    """
    Have the daemon at *path* carry out `drain` or `undrain`, and give what it says.

    Raises:
        OrderError: It refuses, or there is no daemon, in words that say what to do.
    """
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(path)), timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
            ) as session,
            session.post(f"http://lbwatch/{verb}", params={"container": container}) as answer,
        ):
            said = await answer.text()
    except TimeoutError as error:
        raise OrderError(f"lbwatch at {path} does not answer within {ANSWER_TIMEOUT_S:g} s") from error
    except PermissionError as error:
        raise OrderError(f"{path} may not be used by this user: be the one that lbwatch runs as, or root") from error
    except (OSError, aiohttp.ClientError) as error:
        raise OrderError(
            f"no lbwatch takes orders at {path} ({excerpt(_cause(error))}): is `lbwatch run` running, and with this "
            "control_socket?"
        ) from error
    if answer.status != web.HTTPOk.status_code:
        raise OrderError(said)
    return said


def _cause(error: Exception) -> str:
    cause = getattr(error, "os_error", error)
    return getattr(cause, "strerror", None) or str(cause)

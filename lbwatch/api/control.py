"""
What an operator tells and asks the running daemon, by HTTP over a unix socket that only its user may use.

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

import msgspec
import structlog
from aiohttp import web

from lbwatch.core.errors import RequestError, StateError, excerpt
from lbwatch.core.explain import Row, explained
from lbwatch.core.model import Container, SettledPlan, Suspended
from lbwatch.core.story import Explanation
from lbwatch.system.state import State

IN_FORCE_TIMEOUT_S = 15.0
"""
How long an order waits for nginx once it is its turn: a test, a reload and its verification take 0.1 s, and 4 s where
one is refused.
"""

ANSWER_TIMEOUT_S = 600.0
"""Longer than any daemon that lives takes, with the `reload_interval` that people set."""

HELD_TIMEOUT_S = 2.0
SHORTEST_ID = 4
"""Characters of an id that name a container, as long as it is the only one."""

_MODE = 0o600
_TEXT = "text/plain"
_BROKEN_OFF = (errno.ECONNRESET, errno.EPIPE)
_URL = "http://lbwatch"  # the host is a mere name

_log = structlog.get_logger()


class Loop(Protocol):
    """What is told to follow an order."""

    suspended: Suspended

    def containers(self) -> Iterable[Container] | None:
        """Give all containers; `None` if they are not known yet."""

    async def settled(self) -> SettledPlan:
        """Decide anew, and give what was decided once it is in force."""


class ControlService:
    """
    Carries out orders.

    Args:
        state: Where drains by hand are kept.
        loop: What follows them.
        explain: Tells why all containers, or one, are or are not routed.
        reload_interval_s: Seconds that a container which comes back may have to wait for its turn.
    """

    def __init__(
        self,
        state: State,
        *,
        loop: Loop,
        explain: Callable[[Container | None], Awaitable[Explanation]],
        reload_interval_s: float = 0.0,
    ) -> None:
        self._state = state
        self._balance = loop
        self._explain = explain
        self._reload_interval_s = reload_interval_s
        self._one_at_a_time = asyncio.Lock()

    @property
    def suspended(self) -> Suspended:
        """Who is held back now."""
        return self._balance.suspended

    async def explain(self, ref: str) -> Explanation:
        """
        Tell why a container, or every one if *ref* is empty, is or is not routed.

        Raises:
            RequestError: There is no such container.
        """
        containers = self._balance.containers()
        if not ref or containers is None:  # none is known yet: the answer says why
            return await self._explain(None)
        try:
            return await self._explain(find_container(ref, containers=containers))
        except RequestError as error:
            reasons = (await self._explain(None)).reasons
            raise RequestError(
                "; ".join((f"{error}, as far as is known", *reasons)) if reasons else str(error)
            ) from error

    async def drain(self, ref: str) -> str:
        """
        Take a container out of its upstreams, and say what came of it once it is in force.

        Raises:
            RequestError: There is no such container, or it takes too long.
        """
        container, known = self._find(ref)
        again = " already" if container.id in self._state.drained else ""
        said = f"{container.name} is drained{again}"
        _log.info("container.drained", container=container.name)
        kept = await self._change(self._state.drain, container.id, container.name, known=known)
        rows = await self._rows(container, said=said)
        serves = ", but still gets requests, since nobody else is ready" if any(row.address for row in rows) else ""
        return "; ".join((f"{said}{serves}{kept}", *map(words, rows)))

    async def undrain(self, ref: str) -> str:
        """Undo that; raises as `drain` does."""
        container, known = self._find(ref)
        was = container.id in self._state.drained
        said = f"{container.name} is not drained any more" if was else f"{container.name} was not drained by hand"
        if was:
            _log.info("container.undrained", container=container.name)
        kept = await self._change(self._state.undrain, container.id, known=known)
        return "; ".join((f"{said}{kept}", *map(words, await self._rows(container, said=said))))

    def _find(self, ref: str) -> tuple[Container, set[str]]:
        """Find a container, and give the ids of all."""
        containers = self._balance.containers()
        if containers is None:
            raise RequestError("lbwatch has not read the engine yet: try again once its log says source.synced")
        everyone = tuple(containers)
        return find_container(ref, containers=everyone), {each.id for each in everyone}

    async def _change(self, change: Callable[..., None], *args: str, known: set[str]) -> str:
        """Change the state, and say if that will not survive."""
        async with self._one_at_a_time:
            self._state.retain(known)
            try:
                await asyncio.to_thread(change, *args)
            except StateError as error:
                _log.warning(error.event, error=str(error))
                return f" (but a restart of lbwatch undoes that: {error})"
        return ""

    async def _rows(self, container: Container, *, said: str) -> list[Row]:
        """Wait until it is in force, and explain where the container is routed, or why not."""
        patience_s = IN_FORCE_TIMEOUT_S + self._reload_interval_s
        try:
            async with asyncio.timeout(patience_s):
                standing = await self._balance.settled()
        except TimeoutError:
            late = f"nginx does not run that after {patience_s:g} s: the daemon's log says why"
            raise RequestError(f"{said}; {late}") from None
        name = next((each.name for each in self._balance.containers() or () if each.id == container.id), None)
        return [row for row in explained(standing.plan, degraded=standing.degraded) if row.container == name]


def find_container(ref: str, *, containers: Iterable[Container]) -> Container:
    """
    Find a container by its name, or by the beginning of its id.

    Of several with one name all but the newest are gone, which is not known yet: of those that ask for nothing a
    resync tells.

    Raises:
        RequestError: There is none, or there are several such ids.
    """
    everyone = tuple(containers)
    named = [each for each in everyone if each.name == ref.removeprefix("/")]
    if named:
        return max(named, key=lambda each: each.created_ns)
    begun = [each for each in everyone if len(ref) >= SHORTEST_ID and each.id.startswith(ref)]
    if not begun:
        raise RequestError(f"the engine has no container {excerpt(ref)!r}")
    if len(begun) > 1:
        raise RequestError(f"{excerpt(ref)!r} is the beginning of {len(begun)} ids: give more of it")
    return begun[0]


def words(row: Row) -> str:
    """Say where a container is routed, or why it is not, and what there is to note."""
    routed = f"it serves upstream {row.upstream} at {row.address}" if row.address else f"it is {row.outcome}"
    return "; ".join((routed, *(f"note that {notice}" for notice in row.notices)))


@asynccontextmanager
async def listening(path: Path, *, service: ControlService) -> AsyncIterator[None]:
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
            runner = web.AppRunner(
                _application(service), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.SockSite(runner, listener).start()
        yield


def _unlink(path: Path, *, inode: int) -> None:
    with suppress(OSError):  # another lbwatch may have put its own there
        if path.stat().st_ino == inode:
            path.unlink()


def _application(service: ControlService) -> web.Application:
    def taking(change: Callable[[str], Awaitable[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                return web.Response(text=await change(request.query.get("container", "")), content_type=_TEXT)
            except RequestError as error:
                return web.Response(status=409, text=str(error), content_type=_TEXT)

        return handle

    async def tell_held(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(service.suspended), content_type="application/json")

    async def explain(request: web.Request) -> web.Response:
        try:
            told = await service.explain(request.query.get("container", ""))
        except RequestError as error:
            return web.Response(status=409, text=str(error), content_type=_TEXT)
        return web.Response(body=await asyncio.to_thread(msgspec.json.encode, told), content_type="application/json")

    application = web.Application()
    application.router.add_get("/explain", explain)
    application.router.add_post("/drain", taking(service.drain))
    application.router.add_post("/undrain", taking(service.undrain))
    application.router.add_get("/held", tell_held)
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

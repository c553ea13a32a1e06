"""
What an operator asks of the running daemon: to drain a container, to undrain it, and why one is or is not routed.

How requests come in is `server`'s.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import structlog

from lbwatch.core.errors import RequestError, StateError, excerpt
from lbwatch.core.explain import Explanation
from lbwatch.core.model import Container, NoticeKind, Reason, Route, Suspended
from lbwatch.core.plan import Planner
from lbwatch.system.state import State

IN_FORCE_TIMEOUT_S = 15.0
"""
How long a request waits for nginx once it is its turn: a test, a reload and its verification take 0.1 s, and 4 s where
one is refused.
"""

SHORTEST_ID = 4
"""Characters of an id that name a container, as long as it is the only one."""

_log = structlog.get_logger()


class Loop(Protocol):
    """What brings a drain into force."""

    planner: Planner

    def containers(self) -> Iterable[Container] | None:
        """Return all containers; `None` if they are not known yet."""

    async def settled(self) -> tuple[Route, ...]:
        """Decide anew, and return what was decided once it is in force."""


class ControlService:
    """
    Carries out what operators ask for.

    Args:
        state: Where drains by hand are kept.
        loop: What brings them into force.
        explain: Returns why all containers, or one, are or are not routed.
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
        self._loop = loop
        self._explain = explain
        self._reload_interval_s = reload_interval_s
        self._one_at_a_time = asyncio.Lock()

    @property
    def suspended(self) -> Suspended:
        """Who is suspended now."""
        return self._loop.planner.suspended

    async def explain(self, ref: str) -> Explanation:
        """
        Return why a container, or every one if *ref* is empty, is or is not routed.

        Raises:
            RequestError: There is no such container.
        """
        containers = self._loop.containers()
        if not ref or containers is None:  # none is known yet: the answer says why
            return await self._explain(None)
        try:
            return await self._explain(find_container(ref, containers=containers))
        except RequestError as error:
            # A daemon that lost its engine may not know it yet: "there is none" alone would send the operator away.
            reasons = (await self._explain(None)).reasons
            raise RequestError(
                "; ".join((f"{error}, as far as is known", *reasons)) if reasons else str(error)
            ) from error

    async def drain(self, ref: str) -> str:
        """
        Take a container out of its upstreams, and return what came of it, in words, once it is in force.

        Raises:
            RequestError: There is no such container, or it takes too long.
        """
        container, known = self._find(ref)
        again = " already" if container.id in self._state.drained else ""
        outcome = f"{container.name} is drained{again}"
        _log.info("container.drained", container=container.name)
        unkept = await self._change(self._state.drain, container.id, container.name, known=known)
        rows = await self._rows(container, outcome=outcome)
        if any(row.server is not None and row.server.draining for row in rows):
            outcome += ": clients that it has stay with it, new ones go to others"
        elif any(row.address for row in rows):
            outcome += ", but still gets requests, since no other server is ready"
        # That it is drained is not worth saying again; a row that has another reason is.
        others = [words(row) for row in rows if row.reason is not Reason.DRAINING]
        return "; ".join((f"{outcome}{unkept}", *others, f"`lbwatch undrain {container.name}` ends that"))

    async def undrain(self, ref: str) -> str:
        """Undo that; returns and raises as `drain` does."""
        container, known = self._find(ref)
        was = container.id in self._state.drained
        outcome = f"{container.name} is not drained any more" if was else f"{container.name} was not drained by hand"
        if was:
            _log.info("container.undrained", container=container.name)
        unkept = await self._change(self._state.undrain, container.id, known=known)
        return "; ".join((f"{outcome}{unkept}", *map(words, await self._rows(container, outcome=outcome))))

    def _find(self, ref: str) -> tuple[Container, set[str]]:
        """Return a container, and the ids of all."""
        containers = self._loop.containers()
        if containers is None:
            raise RequestError("lbwatch has not read the engine yet: try again once its log says source.synced")
        there = tuple(containers)
        return find_container(ref, containers=there), {each.id for each in there}

    async def _change(self, change: Callable[..., None], *args: str, known: set[str]) -> str:
        """
        Return what is to be said if a change of the state will not survive; else nothing.

        Args:
            change: Does it, and blocks.
            args: Its arguments.
            known: Ids of all containers; drains of others are forgotten, or the file would grow with each deploy.
        """
        # Two at once would write one scratch file in two threads, and the drains of both would be gone.
        async with self._one_at_a_time:
            self._state.retain(known)
            try:
                await asyncio.to_thread(change, *args)
            except StateError as error:
                _log.warning(error.event, error=str(error))
                return f" (but a restart of lbwatch undoes that: {error})"
        return ""

    async def _rows(self, container: Container, *, outcome: str) -> list[Route]:
        """Return where the container is routed, or why not, once that is in force."""
        patience_s = IN_FORCE_TIMEOUT_S + self._reload_interval_s
        try:
            async with asyncio.timeout(patience_s):
                routes = await self._loop.settled()
        except TimeoutError:
            late = f"nginx does not run that after {patience_s:g} s: the daemon's log says why"
            raise RequestError(f"{outcome}; {late}") from None
        # Rows are by name, and it may have been renamed meanwhile.
        name = next((each.name for each in self._loop.containers() or () if each.id == container.id), None)
        return [route for route in routes if route.container == name]


def find_container(ref: str, *, containers: Iterable[Container]) -> Container:
    """
    Return a container by its name, or by the beginning of its id.

    Raises:
        RequestError: There is none, or there are several such ids.
    """
    there = tuple(containers)
    named = [each for each in there if each.name == ref.removeprefix("/")]
    if named:
        # Of several with one name all but the newest are gone, which is not known yet: those that ask for nothing are
        # looked at by the next resync only.
        return max(named, key=lambda each: each.created_ns)
    begun = [each for each in there if len(ref) >= SHORTEST_ID and each.id.startswith(ref)]
    if not begun:
        raise RequestError(f"the engine has no container {excerpt(ref)!r}")
    if len(begun) > 1:
        raise RequestError(f"{excerpt(ref)!r} is the beginning of {len(begun)} ids: give more of it")
    return begun[0]


_OF_A_DRAIN = (NoticeKind.SERVES_DRAINING, NoticeKind.KEEPS_CLIENTS)
"""What whoever drains or undrains is answered anyway."""


def words(route: Route) -> str:
    """Return where a container is routed, or why it is not, and what there is to note, in a line."""
    routed = f"it serves upstream {route.upstream} at {route.address}" if route.address else f"it is {route.outcome}"
    return "; ".join((routed, *(f"note that {each.detail}" for each in route.notices if each.kind not in _OF_A_DRAIN)))

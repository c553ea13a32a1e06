"""
What an operator asks of the running daemon: to drain a container, to pause an upstream, and why one is not routed.

How requests come in is `server`'s.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from difflib import get_close_matches
from typing import Protocol

import structlog

from lbwatch.core.changes import upstreams_of
from lbwatch.core.errors import RequestError, SourceError, StateError, excerpt
from lbwatch.core.explain import Explanation
from lbwatch.core.fields import MAX_HOLD_S
from lbwatch.core.history import AppliedPlan
from lbwatch.core.hostwords import HostExplanation
from lbwatch.core.model import Container, NoticeKind, Plan, Reason, Route, Suspended, Upstream
from lbwatch.core.plan import Planner
from lbwatch.core.rules import takes_none
from lbwatch.core.status import counted
from lbwatch.system.state import State

LOOK_TIMEOUT_S = 1.0
"""Of a look at a container before it is undrained: an engine may hang just then."""

IN_FORCE_TIMEOUT_S = 15.0
"""
How long a request waits for nginx once it is its turn: a test, a reload and its verification take 0.1 s, and 4 s where
one is refused.
"""

NOT_READ = "lbwatch has not read the engine yet: try again once its log says source.synced"

SHORTEST_ID = 4
"""Characters of an id that name a container, as long as it is the only one."""

MAX_HOST_CHARS = 1024
"""Of a host that somebody asks about; a regexp has half of them at most."""

MAX_NAMED = 8
"""So many upstreams are named to whoever names none of them."""

_MAX_COMPARED = 1000
_MAX_WORD_CHARS = 64
"""Of names, and of their letters, for what may have been meant: to compare two takes the square of their length."""

_log = structlog.get_logger()


class Loop(Protocol):
    """What brings a drain or a pause into force."""

    planner: Planner

    def applied(self) -> AppliedPlan:
        """Return what was planned last."""

    def containers(self) -> Iterable[Container] | None:
        """Return all containers; `None` if they are not known yet."""

    async def settled(self) -> tuple[Route, ...]:
        """Decide anew, and return what was decided once it is in force."""


class ControlService:
    """
    Carries out what operators ask for.

    Args:
        state: Where drains and pauses by hand are kept.
        loop: What brings them into force.
        explain: Returns why all containers, or one, are or are not routed.
        explain_host: Returns what becomes of the requests for a host.
        reload_interval_s: Seconds that a container which comes back may have to wait for its turn.
        takes_reload: Returns why the requests of an upstream cannot wait, see `Rules`.
        refresh: Looks at a container by its id, or raises `SourceError`.
        knows_all: Returns whether every engine was read: what is missing of one that was not is no news.
    """

    def __init__(
        self,
        state: State,
        *,
        loop: Loop,
        explain: Callable[[Container | None], Awaitable[Explanation]],
        explain_host: Callable[[str], Awaitable[HostExplanation]] | None = None,
        reload_interval_s: float = 0.0,
        takes_reload: Callable[[Upstream], str | None] = takes_none,
        refresh: Callable[[str], Awaitable[None]] | None = None,
        knows_all: Callable[[], bool] = lambda: True,
    ) -> None:
        self._state = state
        self._loop = loop
        self._explain = explain
        self._explain_host = explain_host
        self._reload_interval_s = reload_interval_s
        self._takes_reload = takes_reload
        self._refresh = refresh
        self._knows_all = knows_all
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

    async def explain_host(self, host: str) -> HostExplanation:
        """
        Return what becomes of the requests for a host.

        Raises:
            RequestError: Nobody knows that yet.
        """
        if self._explain_host is None or self._loop.applied().plan is None:
            raise RequestError(NOT_READ)
        return await self._explain_host(host[:MAX_HOST_CHARS])

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
        elif (wait_s := self._longest_wait_s(each.upstream for each in rows if each.upstream is not None)) > 0:
            outcome += f", and no other server is ready: requests wait for one, for {wait_s:g} s at most"
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
        # It may have been restarted meanwhile, and an engine may have told of its new address too early or not at all.
        if self._refresh is not None:
            with suppress(SourceError, TimeoutError):  # then what is known has to do
                async with asyncio.timeout(LOOK_TIMEOUT_S):
                    await self._refresh(container.id)
        unkept = await self._change(self._state.undrain, container.id, known=known)
        return "; ".join((f"{outcome}{unkept}", *map(words, await self._rows(container, outcome=outcome))))

    async def pause(self, ref: str) -> str:
        """
        Have all new requests of an upstream wait, and return what came of it, in words, once it is in force.

        Raises:
            RequestError: There is no such upstream, no request can wait, or it takes too long.
        """
        upstream = self._upstream(ref)
        name = upstream.name
        refusal = self.suspended.hold_refusal
        if refusal is None and (reason := self._takes_reload(upstream)) is not None:
            refusal = f"changes of its servers take a reload: {reason}"
        if refusal is not None:
            raise RequestError(f"upstream {name} cannot be paused: {refusal}")
        outcome = f"upstream {name} is paused" + (" already" if name in self._state.paused else "")
        _log.info("upstream.paused", upstream=name)
        unkept = await self._change(self._state.pause, name, known=self._known())
        await self._settled(outcome)
        # Which of nginx's locations have their requests wait is the user's, and is not seen from here.
        where = f"where nginx's location has `set $lbwatch_hold {name};`"
        waits = f"new requests wait {where}, for {MAX_HOLD_S:g} s at most each, and then fail"
        return f"{outcome}{unkept}: {waits}; `lbwatch resume {name}` ends that"

    async def resume(self, ref: str) -> str:
        """Undo that; returns and raises as `pause` does."""
        name = self._upstream(ref).name
        was = name in self._state.paused
        outcome = f"upstream {name} is not paused any more" if was else f"upstream {name} was not paused"
        if was:
            _log.info("upstream.resumed", upstream=name)
        unkept = await self._change(self._state.resume, name, known=self._known())
        await self._settled(outcome)
        return f"{outcome}{unkept}; {self._serving_words(name)}"

    def _upstream(self, ref: str) -> Upstream:
        """Return an upstream that is there, by how an operator wrote its name."""
        if (plan := self._loop.applied().plan) is None:
            raise RequestError(NOT_READ)
        name = ref.strip().lower()
        if found := upstreams_of(plan.upstreams, {name}):
            return found[0]
        raise RequestError(_no_upstream(ref, plan=plan))

    def _known(self) -> set[str]:
        """Return the ids of all containers."""
        return {each.id for each in self._loop.containers() or ()}

    def _longest_wait_s(self, names: Iterable[str]) -> float:
        """Return for how many seconds requests wait in those of these upstreams that have no server; 0: none does."""
        plan = self._loop.applied().plan
        found = () if plan is None else upstreams_of(plan.upstreams, set(names))
        return max((each.hold_s for each in found if not each.servers), default=0.0)

    def _serving_words(self, name: str) -> str:
        plan = self._loop.applied().plan
        for each in upstreams_of(plan.upstreams, {name}) if plan is not None else ():
            if each.servers:
                return f"it has {counted(len(each.servers), what='server')}"
            return "it has no server" + (f": requests wait {each.hold_s:g} s for one" if each.hold_s else "")
        return "it has no container, and is gone"

    def _find(self, ref: str) -> tuple[Container, set[str]]:
        """Return a container, and the ids of all."""
        containers = self._loop.containers()
        if containers is None:
            raise RequestError(NOT_READ)
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
            if self._knows_all():
                self._state.retain(known)
            try:
                await asyncio.to_thread(change, *args)
            except StateError as error:
                _log.warning(error.event, error=str(error))
                return f" (but a restart of lbwatch undoes that: {error})"
        return ""

    async def _rows(self, container: Container, *, outcome: str) -> list[Route]:
        """Return where the container is routed, or why not, once that is in force."""
        routes = await self._settled(outcome)
        # Rows are by name, and it may have been renamed meanwhile.
        name = next((each.name for each in self._loop.containers() or () if each.id == container.id), None)
        return [route for route in routes if route.container == name]

    async def _settled(self, outcome: str) -> tuple[Route, ...]:
        """Return all routes once *outcome* is in force."""
        patience_s = IN_FORCE_TIMEOUT_S + self._reload_interval_s
        try:
            async with asyncio.timeout(patience_s):
                return await self._loop.settled()
        except TimeoutError:
            late = f"nginx does not run that after {patience_s:g} s: the daemon's log says why"
            raise RequestError(f"{outcome}; {late}") from None


def find_container(ref: str, *, containers: Iterable[Container]) -> Container:
    """
    Return a container by its name, with its engine's before it or not, as `SERVICE.SLOT`, or by an id's beginning.

    Raises:
        RequestError: There is none, or several may be meant.
    """
    there, name = tuple(containers), ref.removeprefix("/")
    # Of several with one name, of one engine, all but the newest are gone, which is not known yet: those that ask for
    # nothing are looked at by the next resync only.
    if named := [each for each in there if name in (each.name, f"{each.engine.name}/{each.own_name}")]:
        return max(named, key=lambda each: each.created_ns)
    if alike := sorted({each.name for each in there if each.own_name == name}):
        raise RequestError(f"{len(alike)} engines have a container {excerpt(ref)!r}: name one of {_listed(alike)}")
    # Its former task may be there for a while, too: what is asked about is the one that has its place now.
    if tasks := [each for each in there if each.task is not None and name == f"{each.task.service}.{each.task.slot}"]:
        return max(tasks, key=lambda each: each.created_ns)
    begun = [each for each in there if len(ref) >= SHORTEST_ID and each.id.startswith(ref)]
    if not begun:
        who = "no engine has a" if len({each.engine for each in there}) > 1 else "the engine has no"
        raise RequestError(f"{who} container {excerpt(ref)!r}")
    if len(begun) > 1:
        raise RequestError(f"{excerpt(ref)!r} is the beginning of {len(begun)} ids: give more of it")
    return begun[0]


def _no_upstream(ref: str, *, plan: Plan) -> str:
    """Return that there is no such upstream, what may have been meant, and which there are."""
    names = [each.name for each in plan.upstreams]
    words = f"there is no upstream {excerpt(ref)!r}"
    own = sorted({each.upstream for each in plan.routes if each.container == ref and each.upstream is not None})
    if own:
        return f"{words}: the container of that name is in {_listed(own)}"
    near = get_close_matches(ref.lower(), names[:_MAX_COMPARED], n=1) if len(ref) <= _MAX_WORD_CHARS else []
    if near:
        words += f": did you mean {near[0]}?"
    return f"{words} (there are: {_listed(names)})" if names else f"{words}, and no other"


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


_OF_A_DRAIN = (NoticeKind.SERVES_DRAINING, NoticeKind.KEEPS_CLIENTS)
"""What whoever drains or undrains is answered anyway."""


def words(route: Route) -> str:
    """Return where a container is routed, or why it is not, and what there is to note, in a line."""
    routed = f"it serves upstream {route.upstream} at {route.address}" if route.address else f"it is {route.outcome}"
    return "; ".join((routed, *(f"note that {each.detail}" for each in route.notices if each.kind not in _OF_A_DRAIN)))

"""
The loop: whenever something may have changed, plan what the load balancer should have and bring it into force.

It knows two ports and nothing behind them: a `Source` says what is, a `LoadBalancer` takes what should be.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from lbwatch.core.changes import RowChanges, routes_of
from lbwatch.core.errors import LbwatchError, ReloadError
from lbwatch.core.history import AppliedPlan, History
from lbwatch.core.model import Applied, Container, Plan, Route, Snapshot
from lbwatch.core.parts import Parts, PlanParts
from lbwatch.core.plan import Planner
from lbwatch.core.rows import Running, stamped
from lbwatch.core.schedule import RETRY_LIMIT_S, EventTimes, Retry
from lbwatch.journal import PassLog, RouteLog

CONFIRM_INTERVAL_S = 1.0
"""How often it is made sure that the nginx that was reloaded is still the one that runs."""


class Changed(Protocol):
    """Is called when a snapshot may be another one."""

    def __call__(self, *, heard_at: float | None = None) -> None:
        """Take note of a change; *heard_at*: loop time of its first event, `None` if no event was the cause."""


class Source(Protocol):
    """Says what runs."""

    def snapshots(self) -> tuple[Snapshot, ...] | None:
        """Return the last whole truth of each engine, or `None` before there is enough to go by."""

    async def run(self, changed: Changed) -> None:
        """Follow what runs for good, calling *changed* whenever `snapshots` may be others."""


class LoadBalancer(Protocol):
    """Takes what should be, at its own pace."""

    async def prepare(self) -> None:
        """Find out what a plan depends on, before each: at once where that is known, and never for long."""

    def limited(self, plan: Plan) -> Plan:
        """Return the plan as it can be written: what had to be changed for that is noted in its routes."""

    def due(self, parts: Parts, *, now: float, at_once: bool) -> float:
        """
        Return the loop time at which `apply` may be called, never before *now*.

        Args:
            parts: What it would be called with.
            now: Loop time, in seconds.
            at_once: Whether it should be as early as it can be, whatever the pace.
        """

    async def apply(self, parts: Parts) -> Applied:
        """Return what came of bringing the parts of a plan into force, or raise an `LbwatchError`."""

    def confirmed(self) -> bool:
        """Return whether the latest verified `apply` still stands."""

    def runs(self) -> bool:
        """Return whether it runs at all, as far as can be seen."""

    def restarted(self) -> bool:
        """Return whether another one runs since the latest `apply` failed: it may take what that one refused."""

    @property
    def step(self) -> str:
        """Return what `apply` does just now, in words."""


class Reconciler:
    """
    The loop over one source and one load balancer.

    Args:
        source: Nothing is applied before it has snapshots.
        balancer: What is kept in step.
        planner: Makes the plans.
        retry_limit_s: Longest wait before what failed is tried again, in seconds.
        random: Returns a number in [0, 1), for jitter.
        wall: Returns the time, in seconds since the epoch, for the history.
        logs_routes: Whether it logs what becomes of containers; a command answers instead.

    Attributes:
        planner: As given.
        history: What was done, for the status.
    """

    def __init__(
        self,
        source: Source,
        *,
        balancer: LoadBalancer,
        planner: Planner,
        random: Callable[[], float],
        wall: Callable[[], float],
        retry_limit_s: float = RETRY_LIMIT_S,
        logs_routes: bool = True,
    ) -> None:
        self.planner = planner
        self.history = History()
        self._source = source
        self._balancer = balancer
        self._wall = wall
        self._retry = Retry(limit_s=min(RETRY_LIMIT_S, retry_limit_s), random=random)
        self._events = EventTimes()
        self._pass_log = PassLog()
        self._route_log = RouteLog() if logs_routes else None
        self._applied = AppliedPlan()
        self._parts = PlanParts()
        self._rows = RowChanges()
        self._error: LbwatchError | None = None  # of the latest apply
        self._woken = asyncio.Event()
        self._waiting: list[asyncio.Future[tuple[Route, ...]]] = []  # for what is planned from now on to be in force

    def wake(self, *, heard_at: float | None = None) -> None:
        """Have the next pass begin now; *heard_at*: loop time of the first event that it is about, if there was one."""
        self._events.heard(heard_at)
        self._woken.set()

    def renew(self) -> None:
        """Have the next pass apply whatever is in force already: the template may be another one."""
        self._retry.renew()
        self.wake()

    def containers(self) -> tuple[Container, ...] | None:
        """Return all containers, as they were last seen; `None` before there is enough to go by."""
        snapshots = self._source.snapshots()
        return None if snapshots is None else tuple(each for one in snapshots for each in one.containers.values())

    def applied(self) -> AppliedPlan:
        """Return what was planned last, and how much of it is in force now."""
        confirmed = self._applied.in_force is not None and self._balancer.confirmed()
        step = self._balancer.step
        return replace(self._applied, confirmed=confirmed, serves_old=self._serves_old(), step=step)

    async def settled(self) -> tuple[Route, ...]:
        """Return the routes of a new plan once they are in force; for as long as it takes."""
        waiter: asyncio.Future[tuple[Route, ...]] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.wake()
        return await waiter

    async def run(self, *, passed: Callable[[], None] = lambda: None) -> None:
        """Make passes for good, one a second at least, and call *passed* at the end of each, failed ones included."""
        loop = asyncio.get_running_loop()
        while True:
            # No event says that nginx was restarted or the file was changed by hand: that must be asked for.
            again_at = min(await self._pass(now=loop.time()), loop.time() + CONFIRM_INTERVAL_S)
            passed()
            try:
                async with asyncio.timeout(max(0.0, again_at - loop.time())):
                    await self._woken.wait()
            except TimeoutError:
                continue
            finally:
                self._woken.clear()

    async def _pass(self, *, now: float) -> float:
        """Return when to look again, in loop time, after bringing the load balancer in step if it is time."""
        self._applied = replace(self._applied, turned_at=now)
        if (snapshots := self._source.snapshots()) is None:
            return now + CONFIRM_INTERVAL_S
        await self._balancer.prepare()
        # A request that comes from here on wants a plan that was made after it: it waits for the next pass.
        waiting = tuple(self._waiting)
        plan = self._balancer.limited(self.planner.plan(snapshots, now=now))
        self._show_otherwise(self.planner.shown_otherwise)
        parts = self._parts.of(plan)
        self._applied = replace(self._applied, plan=plan)
        if now < (firm_at := self.planner.firm_at(now=now)):
            return firm_at
        self._events.planned()
        if self._route_log is not None:
            self._route_log.outlived(self.planner.outlived_drain, snapshots=snapshots)
            self._route_log.routes(plan.routes)
            self._route_log.paused(self.planner.suspended)
        if self._holds(parts, now=now):
            self._pass_log.settled(digest=self._applied.digest, now=now)
            self._settle()
            self._answer(waiting, plan)
            changes_at = self.planner.changes_at()
            return now + CONFIRM_INTERVAL_S if changes_at is None else min(changes_at, now + CONFIRM_INTERVAL_S)
        # Counted from when it was planned, not from when it may go out: a wait for the pace is a wait too.
        if self._applied.behind_since is None:
            self._applied = replace(self._applied, behind_since=now)
        if now < (due := self._due(parts, now=now)):
            return due
        again_at = await self._apply(plan, parts=parts, now=now)
        if self._applied.parts is parts:
            self._answer(waiting, plan)
        return again_at

    def _show_otherwise(self, names: Mapping[str, str]) -> None:
        """Take what is remembered by containers' names along to what these are shown as now."""
        self.history.show_otherwise(names)
        if self._route_log is not None:
            self._route_log.show_otherwise(names)

    def _holds(self, parts: Parts, *, now: float) -> bool:
        """Return whether nothing is to be done: this is in force, whole or as far as it can be until the next try."""
        whole = not self._applied.degraded and self._applied.unstartable is None
        settled = whole or now < self._retry.at
        in_force = parts == self._applied.parts
        return in_force and settled and not self._retry.renewed and self._balancer.confirmed()

    def _due(self, parts: Parts, *, now: float) -> float:
        if parts == self._retry.failed and not self._balancer.restarted():
            return max(now, self._retry.at)
        return self._balancer.due(parts, now=now, at_once=self._retry.renewed)

    async def _apply(self, plan: Plan, *, parts: Parts, now: float) -> float:
        # Put back if this fails, never cleared afterwards: a template that is loaded meanwhile needs another apply.
        renewed, self._retry.renewed = self._retry.renewed, False
        self._applied = replace(self._applied, applying=True)
        try:
            applied = await self._balancer.apply(parts)
        except LbwatchError as error:
            self._retry.renewed |= renewed
            return self._fail(error, parts=parts, took_s=self._clock() - now)
        finally:
            self._applied = replace(self._applied, applying=False)
        self._succeed(applied, plan=plan, parts=parts, took_s=self._clock() - now)
        return now

    def _fail(self, error: LbwatchError, *, parts: Parts, took_s: float) -> float:
        """Return the loop time of the next try of what failed."""
        now = self._clock()
        wait_s = self._retry.fail(error, parts=parts, now=now)
        self._pass_log.failed(error, attempt=self._retry.attempt, retry_in_s=wait_s, now=now)
        self._error, self._applied = error, replace(self._applied, error=str(error))
        self.history.failed(error.event, error=str(error), at=self._wall(), took_s=took_s)
        self._note()
        return self._retry.at

    def _succeed(self, applied: Applied, *, plan: Plan, parts: Parts, took_s: float) -> None:
        self._retry.succeed(now=self._clock(), again_s=applied.again_s)
        # Where the same text was in force already nothing was verified anew: the old time stays.
        verified_at = self._applied.applied_at
        if applied.event or verified_at is None:
            verified_at = self._wall()
        self._applied = replace(
            self._applied,
            in_force=plan.upstreams,
            parts=parts,
            degraded=applied.degraded,
            digest=applied.digest,
            applied_at=verified_at,
            unstartable=applied.unstartable,
        )
        self.history.applied(applied, at=self._wall(), took_s=took_s, heard_s=self._events.due_for_s(now=self._clock()))
        self._settle()
        self._pass_log.succeeded(applied, plan=plan, took_s=took_s, now=self._clock())

    def _settle(self) -> None:
        """Note that the plan is in force, whatever failed in between."""
        self._events.in_force()
        self._error, self._applied = None, replace(self._applied, behind_since=None, error=None)
        self._note()

    def _note(self) -> None:
        """Keep since when each container is routed, or not, as it is now."""
        if (plan := self._applied.plan) is None:
            return
        in_force = self._applied.in_force or () if self._serves_old() else ()
        degraded = self._applied.degraded
        if names := self._rows.containers(plan, in_force=in_force, degraded=degraded):
            rows, running = routes_of(plan.routes, names), Running(upstreams=in_force, missing="")
            self.history.noted(stamped(rows, degraded=degraded, running=running), at=self._wall(), of=names)

    def _serves_old(self) -> bool:
        """Return whether what is in force serves on in spite of an error."""
        return not isinstance(self._error, ReloadError) or self._balancer.runs()

    def _answer(self, waiting: Sequence[asyncio.Future[tuple[Route, ...]]], plan: Plan) -> None:
        """Answer the requests that waited when the plan was made; those that came since wait for the next pass."""
        routes = stamped(plan.routes, degraded=self._applied.degraded) if waiting else ()
        for waiter in waiting:
            self._waiting.remove(waiter)
            if not waiter.done():
                waiter.set_result(routes)

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()

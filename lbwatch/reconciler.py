"""
The loop: whenever something may have changed, decide what nginx should have and bring it into force.

It knows two ports and nothing behind them: a `Source` tells what is, a `LoadBalancer` takes what should be.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import structlog

from lbwatch.core.crashloop import CrashLoops
from lbwatch.core.draining import Drains
from lbwatch.core.errors import LbwatchError, ReloadError, TakenBackError
from lbwatch.core.history import AppliedPlan, History
from lbwatch.core.model import (
    Applied,
    Container,
    Degraded,
    Notice,
    NoticeKind,
    Plan,
    Reason,
    SettledPlan,
    Skipped,
    Snapshot,
    Suspended,
    Upstream,
)
from lbwatch.core.plan import Memory, Rules, desired_state
from lbwatch.core.schedule import Backoff, reload_at

CONFIRM_INTERVAL_S = 1.0
"""How often it is made sure that the nginx that was reloaded is still the one that runs."""

RETRY_FIRST_S = 0.1
RETRY_LIMIT_S = 30.0
"""For what a person must mend: each try costs a test by nginx."""

OWED_LIMIT_S = 2.0
"""For a reload that nginx owes: it must be in step within 5 s of its return."""

_log = structlog.get_logger()


class Source(Protocol):
    """Tells what runs."""

    name: str

    def snapshot(self) -> Snapshot | None:
        """Give the last whole truth, or `None` before there is one."""


class LoadBalancer(Protocol):
    """Takes what should be."""

    async def apply(self, upstreams: tuple[Upstream, ...]) -> Applied:
        """Bring upstreams into force, or raise an `LbwatchError`."""

    def confirmed(self) -> bool:
        """Tell whether the latest verified `apply` still stands."""

    def runs(self) -> bool:
        """Tell whether it runs at all, as far as can be seen."""


class Reconciler:
    """
    The loop over all sources and one load balancer.

    Args:
        sources: Nothing is applied before each has a snapshot.
        balancer: What is kept in step.
        rules: Tells what holds about routing now.
        drains: Tells who drains.
        drained_by_hand: Tells the ids of those that an operator drains now.
        reload_interval_s: Least seconds between two applies that add or change servers; what takes one away with it
            does not wait for that.
        retry_limit_s: Longest wait before what failed is tried again, in seconds.
        random: Gives a number in [0, 1), for jitter.
        wall: Gives the time, in seconds since the epoch, for the journal.

    Attributes:
        suspended: Who was held back in the latest pass.
        history: What was done, for the status.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        balancer: LoadBalancer,
        rules: Callable[[], Rules],
        drains: Drains,
        drained_by_hand: Callable[[], Collection[str]],
        reload_interval_s: float,
        random: Callable[[], float],
        wall: Callable[[], float],
        retry_limit_s: float = RETRY_LIMIT_S,
    ) -> None:
        self.suspended = Suspended()
        self.history = History()
        self._sources = tuple(sources)
        self._balancer = balancer
        self._rules = rules
        self._drains = drains
        self._drained_by_hand = drained_by_hand
        self._reload_interval_s = reload_interval_s
        self._retry_limit_s = min(RETRY_LIMIT_S, retry_limit_s)
        self._wall = wall
        self._backoff = Backoff(first=RETRY_FIRST_S, limit=self._retry_limit_s, random=random)
        self._woken = asyncio.Event()
        self._memory = Memory()
        self._crash_loops = CrashLoops()
        self._desired: Plan | None = None  # by the latest pass
        self._in_force: tuple[Upstream, ...] | None = None  # verified
        self._applied: Applied | None = None  # what came of the latest apply that did not fail
        self._verified_at: float | None = None  # when something was verified last, by the wall clock
        self._error: LbwatchError | None = None  # of the latest apply
        self._applying = False
        self._behind_since: float | None = None  # loop time since which what was decided is not in force
        self._heard_at: float | None = None  # loop time of the first event since the latest pass began
        self._due_since: float | None = None  # likewise, of those that what is not in force yet is about
        self._turned_at = 0.0  # loop time at which the latest pass began
        self._degraded: tuple[Degraded, ...] = ()  # what of it could not be written as it should be
        self._renewed = False  # whether the latest apply may have been by an old template
        self._failed: tuple[Upstream, ...] | None = None  # what the latest failed apply was for
        self._applied_at: float | None = None  # loop time of the latest apply
        self._added_at: float | None = None  # of the latest one that added or changed a server
        self._retry_at = 0.0  # loop time before which what failed, or fell back, is not tried again
        self._told: frozenset[Skipped | Notice] = frozenset()  # logged already
        self._outlived: frozenset[str] = frozenset()  # logged already, by id
        self._waiting: list[asyncio.Future[SettledPlan]] = []  # for what is decided from now on to be in force

    def wake(self, *, heard_at: float | None = None) -> None:
        """Have the next pass begin now; *heard_at*: loop time of the first event that it is about, if any told."""
        if heard_at is not None and self._heard_at is None:
            self._heard_at = heard_at
        self._woken.set()

    def renew(self) -> None:
        """Have the next pass apply whatever is in force already: the template may be another one."""
        self._renewed = True
        self._retry_at = 0.0
        self.wake()

    def containers(self) -> tuple[Container, ...] | None:
        """Give all containers, as they were last seen; `None` before each engine was read."""
        snapshots = self._snapshots()
        return None if snapshots is None else tuple(each for one in snapshots for each in one.containers.values())

    def progress(self) -> AppliedPlan:
        """Tell how far it has come."""
        return AppliedPlan(
            plan=self._desired,
            in_force=self._in_force,
            degraded=self._degraded,
            confirmed=self._in_force is not None and self._balancer.confirmed(),
            applying=self._applying,
            error=None if self._error is None else str(self._error),
            serves_old=self._serves_old(),
            behind_since=self._behind_since,
            turned_at=self._turned_at,
            digest=self._applied.digest if self._applied else "",
            applied_at=self._verified_at,
        )

    async def settled(self) -> SettledPlan:
        """Decide anew, and give what was decided once it is in force; for as long as it takes."""
        waiter: asyncio.Future[SettledPlan] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.wake()
        return await waiter

    async def run(self, *, passed: Callable[[], None] = lambda: None) -> None:
        """Make passes for good, one a second at least, and call *passed* at the end of each, failed ones included."""
        loop = asyncio.get_running_loop()
        while True:
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
        """Bring nginx in step if it is time, and tell when to look again, in loop time."""
        self._turned_at = now
        if (snapshots := self._snapshots()) is None:
            return now + CONFIRM_INTERVAL_S
        plan, waiting = self._decide(snapshots, now=now), tuple(self._waiting)
        self._desired = plan
        self._due_since, self._heard_at = self._due_since or self._heard_at, None
        self._tell(plan)
        if self._holds(plan.upstreams, now=now):
            self._settle()
            self._answer(waiting, plan)
            return min(at for at in (now + CONFIRM_INTERVAL_S, *self._changes_at()) if at is not None)
        self._behind_since = now if self._behind_since is None else self._behind_since
        if now < (due := self._due(plan.upstreams, now=now)):
            return due
        again_at = await self._apply(plan.upstreams, now=now)
        if self._in_force is plan.upstreams:
            self._answer(waiting, plan)
        return again_at

    def _snapshots(self) -> tuple[Snapshot, ...] | None:
        snapshots = tuple(snapshot for source in self._sources if (snapshot := source.snapshot()) is not None)
        return snapshots if len(snapshots) == len(self._sources) else None

    def _decide(self, snapshots: tuple[Snapshot, ...], *, now: float) -> Plan:
        everyone = [container for snapshot in snapshots for container in snapshot.containers.values()]
        crash_looping = self._crash_loops.crash_looping(everyone, now=now)
        draining = self._drains.draining(snapshots, by_hand=self._drained_by_hand(), now=now)
        self.suspended = Suspended(crash_looping=crash_looping, draining=draining)
        self._tell_outlived(snapshots)
        return desired_state(
            snapshots, rules=self._rules(), crash_looping=crash_looping, draining=draining, memory=self._memory
        )

    def _changes_at(self) -> tuple[float | None, float | None]:
        """Tell when what is left out for a while is due to be back, in loop time."""
        return self._crash_loops.changes_at(), self._drains.changes_at()

    def _settle(self) -> None:
        """Note that what was decided is in force, whatever failed in between."""
        self._behind_since = self._due_since = self._error = None
        self._note()

    def _note(self) -> None:
        """Keep since when each container is routed, or not, as it is now."""
        if self._desired is not None:
            runs = self._in_force or () if self._serves_old() else ()
            self.history.decided(self._desired, degraded=self._degraded, runs=runs, at=self._wall())

    def _serves_old(self) -> bool:
        """Tell whether what is in force serves on in spite of an error."""
        return not isinstance(self._error, ReloadError) or self._balancer.runs()

    def _answer(self, waiting: Iterable[asyncio.Future[SettledPlan]], plan: Plan) -> None:
        """Tell those who waited when it was decided; whoever came since waits for the next pass."""
        for waiter in waiting:
            self._waiting.remove(waiter)
            if not waiter.done():
                waiter.set_result(SettledPlan(plan=plan, degraded=self._degraded))

    def _holds(self, upstreams: tuple[Upstream, ...], *, now: float) -> bool:
        """Tell whether nothing is to be done: this is in force, whole or as far as it can be until the next try."""
        settled = not self._degraded or now < self._retry_at
        return upstreams == self._in_force and settled and not self._renewed and self._balancer.confirmed()

    def _due(self, upstreams: tuple[Upstream, ...], *, now: float) -> float:
        if upstreams == self._failed:
            return max(now, self._retry_at)
        removes = self._in_force is None or self._renewed or removes_servers(self._in_force, upstreams)
        return reload_at(
            now, last=self._applied_at, last_added=self._added_at, removes=removes, interval=self._reload_interval_s
        )

    async def _apply(self, upstreams: tuple[Upstream, ...], *, now: float) -> float:
        self._applied_at = now
        if self._in_force is None or adds_servers(self._in_force, upstreams):
            self._added_at = now
        renewed, self._renewed = self._renewed, False
        self._applying = True
        try:
            applied = await self._balancer.apply(upstreams)
        except LbwatchError as error:
            self._renewed |= renewed
            return self._fail(error, upstreams=upstreams, took_s=self._clock() - now)
        finally:
            self._applying = False
        self._succeed(applied, upstreams=upstreams, took_s=self._clock() - now)
        return now

    def _fail(self, error: LbwatchError, *, upstreams: tuple[Upstream, ...], took_s: float) -> float:
        """Plan the next try of what failed, and tell when it is, in loop time."""
        limit_s = OWED_LIMIT_S if isinstance(error, ReloadError) else self._retry_limit_s
        wait_s = limit_s if isinstance(error, TakenBackError) else min(limit_s, self._backoff.next_wait())
        _log.error(error.event, error=str(error), attempt=self._backoff.attempt, retry_in_s=round(wait_s, 2))
        self._failed, self._error = upstreams, error
        self._retry_at = self._clock() + wait_s
        self.history.failed(error.event, error=str(error), at=self._wall(), took_s=took_s)
        self._note()
        return self._retry_at

    def _succeed(self, applied: Applied, *, upstreams: tuple[Upstream, ...], took_s: float) -> None:
        self._backoff.reset()
        self._in_force, self._failed, self._degraded = upstreams, None, applied.degraded
        self._applied = applied
        self._retry_at = self._clock() + self._retry_limit_s  # of what fell back
        if applied.reloaded or self._verified_at is None:
            self._verified_at = self._wall()
        heard_s = None if self._due_since is None else self._clock() - self._due_since
        self.history.applied(applied, at=self._wall(), took_s=took_s, heard_s=heard_s)
        self._settle()
        say = _log.info if applied.reloaded else _log.debug
        say(
            "reconcile.finished",
            digest=applied.digest,
            upstreams=len(upstreams),
            servers=sum(len(upstream.servers) for upstream in upstreams),
            duration_s=round(took_s, 4),
        )

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()

    def _tell_outlived(self, snapshots: tuple[Snapshot, ...]) -> None:
        """Log who takes traffic again since it did not end, once for each time."""
        outlived = self._drains.outlived
        names = {id: each.containers[id].name for each in snapshots for id in outlived & each.containers.keys()}
        for id in sorted(outlived - self._outlived):
            detail = "it still runs drain_timeout after its stop signal, and takes traffic again"
            _log.warning("container.outlived_drain", container=names[id], detail=detail)
        self._outlived = outlived

    def _tell(self, plan: Plan) -> None:
        """Log each skipped container and each notice once, for as long as it lasts."""
        skipped = (skip for skip in plan.skipped if skip.reason is not Reason.NOT_LABELLED)
        current: frozenset[Skipped | Notice] = frozenset(skipped) | frozenset(plan.notices)
        for item in sorted(current - self._told, key=str):
            if isinstance(item, Notice):
                say = _log.info if item.kind is NoticeKind.SERVES_DRAINING else _log.warning  # it is what a stop does
                say("container.noticed", container=item.container, notice=str(item.kind), detail=item.detail)
            else:
                say = _log.warning if item.reason in _MISTAKES else _log.info
                say("container.not_routed", container=item.container, reason=str(item.reason), detail=item.detail)
        self._told = current


_MISTAKES = frozenset(Reason) - {
    Reason.NOT_LABELLED,
    Reason.DISABLED,
    Reason.ONE_OFF,
    Reason.NOT_RUNNING,
    Reason.PAUSED,
    Reason.STARTING,
    Reason.DRAINING,
}


def removes_servers(before: tuple[Upstream, ...], after: tuple[Upstream, ...]) -> bool:
    """Tell whether a server of *before* is missing in *after*: sending to it costs requests, so it cannot wait."""
    return not _places(before) <= _places(after)


def adds_servers(before: tuple[Upstream, ...], after: tuple[Upstream, ...]) -> bool:
    """Tell whether anything in *after* is new or another than in *before*: more than that servers went."""
    known = {upstream.name: upstream for upstream in before}
    return any(_adds(known.get(upstream.name), upstream) for upstream in after)


def _adds(before: Upstream | None, after: Upstream) -> bool:
    if before is None or (before.method, before.keepalive) != (after.method, after.keepalive):
        return True
    servers = {(server.address, server.port): server for server in before.servers}
    return any(servers.get((server.address, server.port)) != server for server in after.servers)


def _places(upstreams: tuple[Upstream, ...]) -> set[tuple[str, str, int]]:
    return {(upstream.name, server.address, server.port) for upstream in upstreams for server in upstream.servers}

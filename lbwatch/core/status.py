"""
All that the daemon knows at one time, and whether that is as it should be: for API, page, metrics and `/readyz`.

Pure: it only joins what the other modules found out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lbwatch.core.changes import servers_in
from lbwatch.core.errors import excerpt
from lbwatch.core.explain import Wait, wait_words
from lbwatch.core.history import AppliedPlan, History
from lbwatch.core.model import BalancerStatus, Container, EngineStatus, Route
from lbwatch.core.parts import sites_in
from lbwatch.core.rows import Running, degraded_words, stamped
from lbwatch.core.site import SITE_MARK
from lbwatch.core.sites.expiry import expiry_remarks
from lbwatch.core.sites.unmatched import UnmatchedFile, file_remarks

STUCK_S = 15.0
"""A change that waits for longer than that, beyond `reload_interval`, is no ordinary wait, and no pass takes so long
unless it has to search for what nginx refuses."""

FORGOTTEN_RESYNCS = 3
"""An engine that had no full look for so many intervals is not in step, whatever its stream says."""

MAX_WAITS = 8
"""So many upstreams whose requests wait are remarked on, each with a sentence."""

NOTHING_YET = "nothing was brought into force yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """
    What there is to see at one time.

    Attributes:
        now: Loop time, in seconds.
        at: The same instant, seconds since the epoch by our own clock.
        resync_interval_s, reload_interval_s: As set, in seconds.
        containers: All that there are, as the engines described them last; none where nobody asked for them.
        label_prefix: As set.
        log_dropped: How many lines of the log were dropped, since standard error took none.
        hold_refusal: Why no request waits, see `Rules`.
        wrong_passwords: How many the status server was shown.
        unmatched: Files in the folders of sites that no site takes, and that somebody may have meant to be used.
    """

    version: str
    now: float
    at: float
    engines: tuple[EngineStatus, ...]
    applied: AppliedPlan
    history: History
    balancer: BalancerStatus
    resync_interval_s: float
    reload_interval_s: float
    containers: tuple[Container, ...] = ()
    label_prefix: str = "lbwatch"
    log_dropped: int = 0
    hold_refusal: str | None = None
    wrong_passwords: int = 0
    unmatched: tuple[UnmatchedFile, ...] = ()

    @property
    def several_engines(self) -> bool:
        """Return whether more than one thing is followed, so that it matters which one a container is of."""
        return len(self.engines) > 1

    @property
    def routes(self) -> tuple[Route, ...]:
        """Return every route as it is; none before each engine was read."""
        applied = self.applied
        if applied.plan is None:
            return ()
        runs = applied.in_force if applied.serves_old and applied.in_force is not None else ()
        not_yet = NOTHING_YET if applied.in_force is None else "its turn comes within reload_interval"
        running = Running(upstreams=runs, missing=applied.error or not_yet)
        return stamped(
            applied.plan.routes,
            degraded=applied.degraded,
            running=running,
            since=self.history.since,
            streams=applied.plan.streams,
            sites=applied.plan.sites,
        )

    @property
    def waits(self) -> tuple[Wait, ...]:
        """Return the upstreams in force whose requests may wait, by name."""
        waiting = {each.upstream: each for each in self.balancer.waiting}
        return tuple(
            Wait(
                upstream=each.name,
                hold_s=each.hold_s,
                paused=each.paused,
                requests=0 if (now := waiting.get(each.name)) is None else now.requests,
                longest_s=0.0 if now is None else now.longest_s,
            )
            for each in self.applied.in_force or ()
            if each.hold_s or each.name in waiting
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what its operator should know, although all is in step."""
        words = [each for wait in self.waits if (each := wait_words(wait, refusal=self.hold_refusal)) is not None]
        more = [f"so it is with {len(words) - MAX_WAITS} more upstreams"] if len(words) > MAX_WAITS else []
        everyones = (degraded_words(each) for each in self.applied.degraded if each.upstream == SITE_MARK)
        expiring = expiry_remarks(sites_in(self.applied.parts or ()), at=self.at)
        return (
            *self.balancer.remarks,
            *words[:MAX_WAITS],
            *more,
            *everyones,
            *expiring,
            *file_remarks(self.unmatched),
        )


def summary(status: Status) -> str:
    """Return in one line how things stand: the first reason why not all is in step, or how much of it there is."""
    if reasons := tuple(unready(status)):
        more = f" (and {counted(len(reasons) - 1, what='more reason')})" if len(reasons) > 1 else ""
        return f"{excerpt(reasons[0])}{more}"
    upstreams = status.applied.in_force or ()
    counts = f"{counted(len(upstreams), what='upstream')}, {counted(servers_in(upstreams), what='server')}"
    return f"in step: {counts}{_engine_count(status.engines)}"


def _engine_count(engines: tuple[EngineStatus, ...]) -> str:
    """Return of how many engines and Swarms that is; empty where there is one engine."""
    swarms = sum(each.kind == "swarm" for each in engines)
    if len(engines) <= 1 and not swarms:
        return ""
    # A Swarm is no engine; where nothing else is followed beside its managers they still are engines of their own.
    words = [counted(len(engines) - swarms, what="engine")] + ([counted(swarms, what="Swarm")] if swarms else [])
    return f" of {' and '.join(words)}"


def counted(count: int, *, what: str) -> str:
    """Return so many of a thing, in words; *what*: one of it."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def unready(status: Status) -> Iterable[str]:
    """Return the reasons why not every engine is in step, or the last apply is not verified."""
    for engine in status.engines:
        yield from _engine_unready(engine, status=status)
    applied = status.applied
    behind_s = 0.0 if applied.behind_since is None else status.now - applied.behind_since
    if applied.applying and (running_s := status.now - applied.turned_at) > STUCK_S:
        yield f"a pass has been running for {running_s:.0f} s: in {applied.step}"
    elif applied.error is not None:
        yield f"nginx is not in step for {behind_s:.0f} s: {applied.error}"
    elif applied.in_force is None:
        yield NOTHING_YET
    # While something is being applied nothing is confirmed, and that is as it should be.
    elif not applied.confirmed and not applied.applying:
        yield "nginx was restarted, or the output was changed, since the last reload was verified"
    elif applied.unstartable is not None:
        yield f"nginx serves, but could not start now: {applied.unstartable}"
    elif behind_s > STUCK_S + status.reload_interval_s:
        yield f"a change waits for {behind_s:.0f} s to be in force"


def _engine_unready(engine: EngineStatus, *, status: Status) -> Iterable[str]:
    what, why = _named(engine), engine.error or "no whole answer yet"
    for_s = status.now - engine.since
    if engine.kept:
        start = f"it has not answered since lbwatch started, {for_s:.0f} s ago"
        yield f"{what}: {start}: {why}; what was known of it before that start is used"
    elif engine.synced_at is None:
        yield f"{what}: it was not read yet" + (f": {engine.error}" if engine.error else "")
    elif engine.error is not None:
        yield f"{what}: {_how_unread(engine, now=status.now)}: {engine.error}"
    elif status.now - engine.synced_at > FORGOTTEN_RESYNCS * status.resync_interval_s:
        yield f"{what}: no full look at it ended for {status.now - engine.synced_at:.0f} s"


def _named(engine: EngineStatus) -> str:
    """Return what it is and its name, as a sentence about it begins; a Swarm with the managers that were asked."""
    if engine.kind == "engine":
        return f"engine {engine.source}"
    doors = f" (asked: {', '.join(engine.doors)})" if engine.doors else " (no manager is followed)"
    return f"Swarm {engine.source}{doors}"


def _how_unread(engine: EngineStatus, *, now: float) -> str:
    if not engine.connected:
        return f"not followed for {now - engine.since:.0f} s"
    if engine.kind == "swarm" and engine.synced_at is not None:
        # Its managers' streams hold while it has no leader: since when that is so the last answer alone tells.
        return f"its tasks cannot be read, for {now - engine.synced_at:.0f} s"
    return "it cannot be read"


def stale_s(engine: EngineStatus, *, now: float) -> float | None:
    """
    Return for how many seconds nothing new is known of an engine; 0: all is followed; `None`: nothing was ever known.

    Of what is known from before the latest start it is the time since that: how old it was by then nobody can tell, as
    nothing may have changed meanwhile.

    Args:
        engine: How well it is known.
        now: Loop time.
    """
    if engine.kept:
        return now - engine.since
    if engine.synced_at is None:
        return None
    if engine.error is None:
        return 0.0
    return now - (engine.synced_at if engine.connected else max(engine.since, engine.synced_at))

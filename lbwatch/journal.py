"""
What is logged of passes: a line for each change, and each trouble once, and then ever more seldom, until it is over.

The loop says what happened; what is worth a line is known here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import structlog

from lbwatch.core.changes import changed_containers, routes_of
from lbwatch.core.errors import LbwatchError, excerpt
from lbwatch.core.model import (
    Applied,
    BalancerStatus,
    Level,
    Notice,
    NoticeKind,
    Plan,
    Reason,
    Route,
    Snapshot,
    Suspended,
)
from lbwatch.core.moves import Move, MoveKind, moves, reasoned
from lbwatch.core.repeats import Repeats

MAX_NAMED = 8
"""So many containers are named in a line of the log,"""

MAX_MOVES = 20
"""and so many moves are listed: a start has thousands."""

_EXPECTED = frozenset(
    {
        Reason.DISABLED,
        Reason.ONE_OFF,
        Reason.NOT_RUNNING,
        Reason.PAUSED,
        Reason.STARTING,
        Reason.DRAINING,
        NoticeKind.SERVES_DRAINING,
        NoticeKind.KEEPS_CLIENTS,
        NoticeKind.TAKES_RELOAD,
    }
)
"""
What somebody wanted, or what passes by itself; all else is a mistake. `explain` has all of it; the log says who came
and who left.
"""

_log = structlog.get_logger()


class PassLog:
    """Logs how passes end: what came of each that changed something, and what fails for as long as it does."""

    def __init__(self) -> None:
        self._failures = Repeats()

    def failed(self, error: LbwatchError, *, attempt: int, retry_in_s: float, now: float) -> None:
        """
        Log that a pass failed.

        Args:
            error: Why.
            attempt: How many failed in a row.
            retry_in_s: Seconds until the next.
            now: Loop time.
        """
        is_news = self._failures.fails(f"{error.event}: {error}", now=now)
        outage = _outage(self._failures.lasts_s(now=now) or None)
        log = _log.error if is_news and not error.is_logged else _log.debug
        log(error.event, error=str(error), attempt=attempt, retry_in_s=round(retry_in_s, 2), **outage)

    def succeeded(self, applied: Applied, *, plan: Plan, took_s: float, now: float) -> None:
        """
        Log what came of a pass that did not fail.

        Args:
            applied: What the load balancer says of it.
            plan: What it was for.
            took_s: Seconds that it took.
            now: Loop time.
        """
        outage = _outage(self._failures.end(now=now))
        if applied.reloaded or applied.pushed:
            times = {"live_s": round(applied.live_s, 4)}
            if applied.reloaded:  # by what was pushed no worker is retired
                times["verified_s"] = round(applied.verified_s, 4)
            values = _moved(applied, routes=plan.routes) | _others(applied)
            _log.info(applied.event, digest=applied.digest, changed=applied.changed, **values, **times, **outage)
            outage = {}
        values = {"upstreams": len(plan.upstreams), "duration_s": round(took_s, 4)}
        log = _log.info if outage else _log.debug
        log("reconcile.finished", digest=applied.digest, **values, **outage)

    def settled(self, *, digest: str, now: float) -> None:
        """Log, if passes failed before, that nothing is left to be done: what runs is what is wanted again."""
        if outage := _outage(self._failures.end(now=now)):
            _log.info("reconcile.finished", digest=digest, **outage)


def _outage(seconds: float | None) -> dict[str, float]:
    return {} if seconds is None else {"outage_s": round(seconds, 1)}


def _moved(applied: Applied, *, routes: tuple[Route, ...]) -> dict[str, object]:
    """Return who came and who left as values for the log, as many as a line can bear; no key where nobody did."""
    unwritten = {each.upstream for each in applied.degraded if each.level in (Level.EMPTY, Level.OUT)}
    moved = [move for move in moves(applied.upstreams) if move.upstream not in unwritten]
    values: dict[str, object] = {}
    for kind in (MoveKind.JOINED, MoveKind.LEFT):
        if names := {move.container for move in moved if move.change is kind and move.container is not None}:
            values[str(kind)] = _names(names)
    if moved:
        values["moves"] = [_values(move) for move in reasoned(moved[:MAX_MOVES], routes=routes)]
    if len(moved) > MAX_MOVES:
        values["moves_in_all"] = Counter(str(move.change) for move in moved)
    return values


def _others(applied: Applied) -> dict[str, object]:
    """Return which sites and ports are others as a value for the log; no key where none is."""
    if not applied.others:
        return {}
    more = len(applied.others) - MAX_NAMED
    return {"sites": ", ".join(map(excerpt, applied.others[:MAX_NAMED])) + (f" and {more} more" if more > 0 else "")}


def _values(move: Move) -> dict[str, str]:
    return {key: excerpt(value) for key, value in asdict(move).items() if value is not None}


def _names(containers: set[str]) -> str:
    few = sorted(containers)[:MAX_NAMED]
    more = len(containers) - len(few)
    return ", ".join(map(excerpt, few)) + (f" and {more} more" if more else "")


class BalancerLog:
    """Logs what passes do not say of a load balancer: whether its changes need a reload, and whose requests wait."""

    def __init__(self) -> None:
        self._live: tuple[bool | None, str | None] = None, None
        self._waiting: dict[str, _Waited] = {}  # by upstream

    def seen(self, status: BalancerStatus, *, now: float) -> None:
        """
        Log what is another than at the call before.

        Args:
            status: Of the load balancer, as far as it can be seen at once.
            now: Loop time, in seconds.
        """
        live = status.live, status.live_reason
        if live != self._live and status.live is not None:
            _log_live(status, was=self._live[0])
        self._live = live
        waiting = {each.upstream: each for each in status.waiting if each.requests}
        for name in sorted(self._waiting.keys() - waiting.keys()):
            waited = self._waiting.pop(name)
            _log.info("upstream.waited", upstream=name, requests=waited.most, waited_s=round(now - waited.since, 1))
        for name, each in sorted(waiting.items()):
            if name not in self._waiting:
                self._waiting[name] = _Waited(since=now - each.longest_s)
                _log.info("upstream.waiting", upstream=name, requests=each.requests)
            self._waiting[name].most = max(self._waiting[name].most, each.requests)


@dataclass(slots=True, kw_only=True)
class _Waited:
    """Since which loop time requests of an upstream wait, and how many did at most at one time."""

    since: float
    most: int = 0


def _log_live(status: BalancerStatus, *, was: bool | None) -> None:
    if status.live:
        _log.info("nginx.live", live=True)
        return
    # That there never were any is how most nginx are; that there are none any more is somebody's mistake.
    log = _log.warning if was else _log.info
    log("nginx.live", live=False, reason=status.live_reason or "")


class RouteLog:
    """Logs what becomes of containers, each thing once for as long as it lasts."""

    def __init__(self) -> None:
        self._routes: tuple[Route, ...] = ()
        self._logged: dict[str, frozenset[tuple[Reason | Notice, str]]] = {}  # by container
        self._outlived: frozenset[str] = frozenset()  # by id
        self._unpaused: tuple[frozenset[str], str | None] = frozenset(), None  # by name, and why

    def routes(self, routes: tuple[Route, ...]) -> None:
        """Log each container that is not routed, and each notice, unless it was so at the call before."""
        names = changed_containers(self._routes, routes)
        current: dict[str, set[tuple[Reason | Notice, str]]] = {name: set() for name in names}
        for route in routes_of(routes, names):
            current[route.container].update(_remarkable(route))
        for name in sorted(names):
            for what, detail in sorted(current[name] - self._logged.pop(name, frozenset()), key=str):
                _log_route(name, what, detail)
            if current[name]:
                self._logged[name] = frozenset(current[name])
        self._routes = routes

    def show_otherwise(self, names: Mapping[str, str]) -> None:
        """Log nothing again of containers that have another name now; *names*: the new by the former."""
        self._logged |= {now: self._logged.pop(was) for was, now in names.items() if was in self._logged}

    def outlived(self, ids: frozenset[str], *, snapshots: Iterable[Snapshot]) -> None:
        """Log which containers take traffic again since they did not end; *ids*: of all that do, in *snapshots*."""
        names = {id: each.containers[id].name for each in snapshots for id in ids & each.containers.keys()}
        for id in sorted(ids - self._outlived):
            detail = "it still runs drain_timeout after its stop signal, and takes traffic again"
            _log.warning("container.outlived_drain", container=names[id], detail=detail)
        self._outlived = ids

    def paused(self, suspended: Suspended) -> None:
        """Log which upstreams are paused by hand, as was kept over a restart, say, although no request can wait."""
        refusal = suspended.hold_refusal
        unpaused = (frozenset[str](), None) if refusal is None else (suspended.paused, refusal)
        if unpaused != self._unpaused:
            for name in sorted(unpaused[0]):
                _log.warning("upstream.not_paused", upstream=name, reason=refusal)
        self._unpaused = unpaused


def _remarkable(route: Route) -> Iterable[tuple[Reason | Notice, str]]:
    yield from ((notice, notice.detail) for notice in route.notices)
    if route.reason is not None and route.reason is not Reason.NOT_LABELLED:
        yield route.reason, route.detail or ""


def _log_route(container: str, what: Reason | Notice, detail: str) -> None:
    if isinstance(what, Notice):
        say = _log.debug if what.kind in _EXPECTED else _log.warning
        say("container.noticed", container=container, notice=str(what.kind), detail=detail)
    else:
        say = _log.debug if what in _EXPECTED else _log.warning
        say("container.not_routed", container=container, reason=str(what), detail=detail)

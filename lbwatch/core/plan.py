"""
From what engines say to what the load balancer should have: a pure function of its arguments.

Every container gets a `Route` for each upstream that it asks for, with a server or with the reason why it has none; one
container never harms another.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from enum import IntEnum, auto
from functools import lru_cache
from typing import Literal

from lbwatch.core.crashloop import CrashLoops
from lbwatch.core.draining import Drains
from lbwatch.core.model import (
    Container,
    Health,
    Method,
    Notice,
    NoticeKind,
    Plan,
    Reason,
    Route,
    Server,
    ServerState,
    Snapshot,
    Suspended,
    Upstream,
)
from lbwatch.core.placement import Candidate, Placement, Rules, network_owner, placement_of

__all__ = ["Memory", "Planner", "Rules", "desired_state", "noted"]

_SICK = "its health check fails"
_ROUND_ROBIN = "round_robin"  # a method that has no directive anywhere


class Memory:
    """What a pass decided of each container alone, for the next one: of thousands it finds one changed."""

    def __init__(self) -> None:
        self.placements: dict[str, Placement] = {}  # by the container's id; of the latest pass only


class Planner:
    """
    Plans one pass after the other, and remembers between them what is in no engine's state.

    Args:
        rules: Returns what holds about routing now.
        drains: Knows which containers drain.
        drained_by_hand: Returns the ids of those that an operator drains now.
        known: Which are suspended, as a running daemon knows it; `None`: it is found out here.

    Attributes:
        suspended: Which containers were suspended in the latest plan.
    """

    def __init__(
        self,
        *,
        rules: Callable[[], Rules],
        drains: Drains,
        drained_by_hand: Callable[[], Collection[str]],
        known: Suspended | None = None,
    ) -> None:
        self.suspended = Suspended()
        self._known = known
        self._rules = rules
        self._drains = drains
        self._drained_by_hand = drained_by_hand
        self._crash_loops = CrashLoops()
        self._memory = Memory()

    @property
    def outlived_drain(self) -> frozenset[str]:
        """Return the ids of those that still run although their time to drain is over, as of the latest plan."""
        return self._drains.outlived

    def plan(self, snapshots: tuple[Snapshot, ...], *, now: float) -> Plan:
        """
        Return the plan for what there is now.

        Args:
            snapshots: Of every engine.
            now: Loop time, in seconds; never less than at the call before.
        """
        everyone = [container for snapshot in snapshots for container in snapshot.containers.values()]
        self.suspended = self._known or Suspended(
            crash_looping=self._crash_loops.crash_looping(everyone, now=now),
            draining=self._drains.draining(snapshots, by_hand=self._drained_by_hand(), now=now),
        )
        return desired_state(snapshots, rules=self._rules(), suspended=self.suspended, memory=self._memory)

    def changes_at(self) -> float | None:
        """Return the loop time at which the plan changes although nothing happens; `None`: it does not."""
        due = (self._crash_loops.changes_at(), self._drains.changes_at())
        return min((at for at in due if at is not None), default=None)


def desired_state(
    snapshots: Iterable[Snapshot],
    *,
    rules: Rules,
    suspended: Suspended = Suspended(),  # noqa: B008 - frozen, and empty
    memory: Memory | None = None,
) -> Plan:
    """
    Return the upstreams, and a route for every container in each upstream that it asks for.

    The same arguments give the same result, whatever the order of anything in them and whatever *memory* holds; that
    one only saves time.

    Args:
        snapshots: Of every engine.
        rules: What holds for all.
        suspended: Which containers are left out although they run, or serve only as a last resort.
        memory: Of the pass before; it is brought up to date.
    """
    containers: dict[str, Container] = {}
    for snapshot in snapshots:
        containers |= snapshot.containers
    placements = _placements(containers, rules=rules, known=memory.placements if memory else {})
    if memory:
        memory.placements = placements
    candidates = [candidate for placement in placements.values() for candidate in placement.candidates]
    # Loops first: a container that is left out claims no address, so one that took it over meanwhile keeps it.
    candidates = _without_conflicts(_without_crash_loops(candidates, crash_looping=suspended.crash_looping))
    notices = [(each.container.name, notice) for each in placements.values() for notice in each.notices]
    routes = [_unrouted(each, each.reason, each.detail) for each in candidates if each.upstream is None and each.reason]
    upstreams = []
    for name, group in _grouped(candidates, declared=rules.declare):
        upstream, its_routes, its_notices = _upstream(name, group, draining=suspended.draining)
        upstreams.append(upstream)
        routes += its_routes
        notices += its_notices
    return noted(Plan(upstreams=tuple(upstreams), routes=tuple(sorted(routes, key=_by_container))), notices)


def noted(plan: Plan, notices: Collection[tuple[str, Notice]]) -> Plan:
    """
    Return a plan with more notices, and with the servers that its upstreams have now.

    Args:
        plan: Any one; its upstreams may have been changed since its routes were made.
        notices: Each with the name of the container that it is for; it then stands in all routes of that one.
    """
    if not notices:  # the rule: thousands of routes need not be looked at
        return plan
    told: dict[str, list[Notice]] = defaultdict(list)
    for container, notice in notices:
        told[container].append(notice)
    servers = {(each.name, server.address, server.port): server for each in plan.upstreams for server in each.servers}

    def renewed(route: Route) -> Route:
        more = told.get(route.container)
        old = route.server
        server = None if old is None else servers.get((route.upstream or "", old.address, old.port), old)
        if not more and server is old:
            return route
        together = route.notices if not more else sorted((*route.notices, *more), key=_by_kind)
        return replace(route, notices=tuple(together), server=server)

    return replace(plan, routes=tuple(map(renewed, plan.routes)))


def _placements(
    containers: Mapping[str, Container], *, rules: Rules, known: Mapping[str, Placement]
) -> dict[str, Placement]:
    """Return what is decided of each container alone, by id and in the order of names."""
    placements: dict[str, Placement] = {}
    for container in sorted(containers.values(), key=lambda container: (container.name, container.id)):
        owner = network_owner(container, containers=containers)
        placement = known.get(container.id)
        # What was decided before holds as long as nothing changed that it was decided from. The source keeps the very
        # same object for a container that did not change, so that identity is enough and comparing costs nothing.
        if (
            placement is None
            or placement.container is not container
            or placement.owner is not owner
            or placement.rules != rules
        ):
            placement = placement_of(container, owner=owner, rules=rules)
        placements[container.id] = placement
    return placements


def _without_crash_loops(candidates: list[Candidate], *, crash_looping: Mapping[str, float]) -> list[Candidate]:
    """Return the candidates, those whose container restarts in a loop without a server, up or down just now."""
    return [
        _crash_looping(candidate, stay_up_s=crash_looping[candidate.container.id])
        if candidate.upstream is not None and candidate.container.id in crash_looping
        else candidate
        for candidate in candidates
    ]


def _crash_looping(candidate: Candidate, *, stay_up_s: float) -> Candidate:
    until = f"it is left out until it stayed up for {stay_up_s:g} s, or is started by hand"
    detail = f"it restarts in a loop: {until}; docker logs {candidate.container.name} may tell why"
    return replace(candidate, server=None, reason=Reason.RESTART_LOOP, detail=detail)


def _without_conflicts(candidates: list[Candidate]) -> list[Candidate]:
    """
    Return the candidates, with an address that containers of separate networks claim left to the newest start.

    The engine gives a freed address out again, so the older claim is a leftover. Containers that share one network
    share its addresses too, and that is no conflict.
    """
    claims: dict[str, dict[str, Container]] = defaultdict(dict)
    for candidate in candidates:
        # Everything on the host's network is at one address, by its nature.
        if candidate.server is not None and candidate.owner is not None and not candidate.owner.host_network:
            claims[candidate.server.address][candidate.owner.id] = candidate.owner
    winners = {
        address: max(owners.values(), key=lambda owner: (owner.started_ns, owner.id))
        for address, owners in claims.items()
        if len(owners) > 1
    }
    return [_settled(candidate, winners=winners) for candidate in candidates] if winners else candidates


def _settled(candidate: Candidate, *, winners: Mapping[str, Container]) -> Candidate:
    winner = winners.get(candidate.server.address) if candidate.server else None
    if winner is None or candidate.owner is None or candidate.owner.id == winner.id:
        return candidate
    detail = f"{winner.name}, which was started later, has its address too"
    return replace(candidate, server=None, reason=Reason.ADDRESS_CONFLICT, detail=detail)


def _grouped(candidates: list[Candidate], *, declared: tuple[str, ...]) -> list[tuple[str, list[Candidate]]]:
    """Return the candidates of each upstream by name, the oldest container first: its word counts where they differ."""
    groups: dict[str, list[Candidate]] = {name.lower(): [] for name in declared}
    for candidate in candidates:
        if candidate.upstream is not None:
            groups.setdefault(candidate.upstream, []).append(candidate)
    # By age, not by name: a container that comes cannot change the method of those that serve already.
    for group in groups.values():
        group.sort(key=lambda each: (each.container.created_ns, each.container.id, each.labels.port or 0))
    return sorted(groups.items())


def _upstream(
    name: str, group: list[Candidate], *, draining: Mapping[str, str]
) -> tuple[Upstream, list[Route], list[tuple[str, Notice]]]:
    """Return one upstream, the routes of its candidates, and what their owners should know."""
    routable = [candidate for candidate in group if candidate.server is not None]
    serving, state = _serving(routable, draining=draining)
    servers = _servers(serving)
    method, method_notices = _oldest_word(name, routable, "method", NoticeKind.METHOD_DIFFERS)
    keepalive, keepalive_notices = _oldest_word(name, routable, "keepalive", NoticeKind.KEEPALIVE_DIFFERS)
    upstream = Upstream(
        name=name,
        servers=tuple(sorted(servers.values(), key=lambda server: (_by_address(server.address), server.port))),
        method=method if isinstance(method, Method) and method.name != _ROUND_ROBIN else None,
        keepalive=keepalive if isinstance(keepalive, int) else None,
    )
    serves = {id(candidate) for candidate in serving}
    routes = [
        _served(candidate, state=state, by=servers) if id(candidate) in serves else _left_out(candidate, draining)
        for candidate in group
    ]
    last_resort = _last_resort(name, serving, state=state, draining=draining)
    return upstream, routes, method_notices + keepalive_notices + last_resort


class _Class(IntEnum):
    """What a candidate with a server is good for; the first class that anyone is in serves."""

    READY = auto()
    DRAINING = auto()
    UNHEALTHY = auto()


_STATES = {
    _Class.READY: ServerState.UP,
    _Class.DRAINING: ServerState.DRAINING,
    _Class.UNHEALTHY: ServerState.UNHEALTHY,
}


def _class_of(candidate: Candidate, *, draining: Mapping[str, str]) -> _Class:
    if candidate.container.id in draining:
        return _Class.DRAINING
    unhealthy = candidate.container.health is Health.UNHEALTHY and not candidate.labels.health_ignored
    return _Class.UNHEALTHY if unhealthy else _Class.READY


def _serving(routable: list[Candidate], *, draining: Mapping[str, str]) -> tuple[list[Candidate], ServerState]:
    """Return the first class of candidates that is not empty, and its state: an unhealthy server beats none at all."""
    classes: dict[_Class, list[Candidate]] = defaultdict(list)
    for candidate in routable:
        classes[_class_of(candidate, draining=draining)].append(candidate)
    if not classes:
        return [], ServerState.UP
    return classes[min(classes)], _STATES[min(classes)]


def _last_resort(
    name: str, serving: list[Candidate], *, state: ServerState, draining: Mapping[str, str]
) -> list[tuple[str, Notice]]:
    """Return a notice for each that serves only because no other can."""
    if state is ServerState.UP:
        return []
    kind = NoticeKind.SERVES_DRAINING if state is ServerState.DRAINING else NoticeKind.SERVES_UNHEALTHY
    notices = []
    for each in serving:
        why = draining.get(each.container.id, _SICK)
        detail = f"{why}, and it serves upstream {name} all the same: nobody is ready"
        notices.append((each.container.name, Notice(kind=kind, detail=detail)))
    return notices


def _servers(serving: list[Candidate]) -> dict[tuple[str, int], Server]:
    """Return an equal address and port once (a second one would double its weight): the oldest container's."""
    servers: dict[tuple[str, int], Server] = {}
    for candidate in serving:
        if candidate.server is not None:
            servers.setdefault((candidate.server.address, candidate.server.port), candidate.server)
    return servers


def _served(candidate: Candidate, *, state: ServerState, by: Mapping[tuple[str, int], Server]) -> Route:
    """Return the route of one whose class serves: by its own server, or by an equal one of an older container."""
    assert candidate.server is not None
    server = by[candidate.server.address, candidate.server.port]
    if server is candidate.server:
        return Route(container=candidate.container.name, upstream=candidate.upstream, server=server, state=state)
    detail = f"the line of {server.container}, at the same address and port, serves it too"
    return _unrouted(candidate, Reason.SAME_ADDRESS, detail)


def _left_out(candidate: Candidate, draining: Mapping[str, str]) -> Route:
    """Return the route of one that has no server, or is of a lesser class than those that serve."""
    if candidate.reason is not None:
        return _unrouted(candidate, candidate.reason, candidate.detail)
    if (drained := draining.get(candidate.container.id)) is not None:
        return _unrouted(candidate, Reason.DRAINING, drained)
    detail = f"{_SICK}, and others serve: docker inspect {candidate.container.name} shows what it said"
    return _unrouted(candidate, Reason.UNHEALTHY, detail)


def _unrouted(candidate: Candidate, reason: Reason, detail: str | None) -> Route:
    return Route(container=candidate.container.name, upstream=candidate.upstream, reason=reason, detail=detail)


def _oldest_word(
    name: str, group: list[Candidate], word: Literal["method", "keepalive"], kind: NoticeKind
) -> tuple[Method | int | None, list[tuple[str, Notice]]]:
    """Return what the oldest candidate with an opinion says, and a notice for each that says otherwise."""
    said = [(candidate, value) for candidate in group if (value := getattr(candidate.labels, word)) is not None]
    if not said:
        return None, []
    chosen: Method | int = said[0][1]
    detail = f"upstream {name} has {word} {chosen}, as its oldest container says; this one's label is not used"
    notice = Notice(kind=kind, detail=detail)
    return chosen, [(candidate.container.name, notice) for candidate, value in said if value != chosen]


@lru_cache(maxsize=4096)
def _by_address(address: str) -> tuple[int, int]:
    """Return what addresses are sorted by: version and number, so that .9 stands before .10."""
    number = ipaddress.ip_address(address)
    return number.version, int(number)


def _by_container(route: Route) -> tuple[str, str, str, int, str]:
    # Not by `route.address`, which writes a text: there may be thousands of routes in each pass.
    address, port = ("", 0) if route.server is None else (route.server.address, route.server.port)
    return route.container, route.upstream or "", address, port, route.reason or ""


def _by_kind(notice: Notice) -> tuple[str, str]:
    return notice.kind, notice.detail

"""
The heart: from what engines say to what nginx should have. A pure function of its arguments.

Every container either has a server line or a `Skipped` with its reason; one container never harms another.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import IntEnum, auto
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from lbwatch.core.labels import ROUND_ROBIN
from lbwatch.core.model import (
    Container,
    Health,
    Notice,
    NoticeKind,
    Plan,
    Reason,
    Server,
    ServerState,
    Skipped,
    Snapshot,
    Upstream,
)
from lbwatch.core.placement import Candidate, Placement, Rules, network_owner, placement_of

__all__ = ["Memory", "Rules", "desired_state"]

_ZONE_STEP_KIB = 64
_SERVERS_PER_STEP = 32  # enough for nginx 1.22 up to 2,000 servers at least: tests/test_render.py
_MAX_CONSISTENT_WEIGHT = 2000
_MAX_CONSISTENT_WEIGHT_OF_ALL = 10_000
"""
Of the servers of one upstream, and of all upstreams, where the hash is consistent: nginx makes 160 points of each unit,
2.5 KB, and sorts them. The latter takes it 0.3 s and 53 MB (facts, nginx 9).
"""

_MAX_KEEPALIVE_OF_ALL = 50_000
"""Of all upstreams: nginx sets memory aside for each such connection, 1.4 KB, in every worker that is to be."""

_SICK = "its health check fails"
_MAKESHIFTS = {
    NoticeKind.SERVES_DRAINING: ServerState.DRAINING,
    NoticeKind.SERVES_UNHEALTHY: ServerState.UNHEALTHY,
}
_NO_BACKUP_METHODS = ("hash ", "ip_hash", "random")  # nginx refuses the whole file (facts, nginx 9)


class Memory:
    """What a pass decided of each container alone, for the next one: of thousands it finds one changed."""

    def __init__(self) -> None:
        self.placements: dict[str, Placement] = {}  # by the container's id; of the latest pass only


def desired_state(
    snapshots: Iterable[Snapshot],
    *,
    rules: Rules,
    crash_looping: Mapping[str, float] = MappingProxyType({}),
    draining: Mapping[str, str] = MappingProxyType({}),
    memory: Memory | None = None,
) -> Plan:
    """
    Decide the upstreams, and for every container without a server line the reason.

    The same arguments give the same result, whatever the order of anything in them and whatever *memory* holds; that
    one only saves time.

    Args:
        snapshots: Of every engine.
        rules: What holds for all.
        crash_looping: Ids of those that are left out since they restart in a loop, with the seconds they must stay up.
        draining: Ids of those that serve only where nobody is ready, with the reason in words.
        memory: Of the pass before.
    """
    containers: dict[str, Container] = {}
    for snapshot in snapshots:
        containers |= snapshot.containers
    placements = _placements(containers, rules=rules, known=memory.placements if memory else {})
    if memory:
        memory.placements = placements
    candidates = [candidate for placement in placements.values() for candidate in placement.candidates]
    skipped = [skip for placement in placements.values() for skip in placement.skipped]
    notices = [notice for placement in placements.values() for notice in placement.notices]
    if crash_looping:
        candidates = [
            _unless_crash_looping(candidate, stay_up_s=crash_looping.get(candidate.container.id))
            for candidate in candidates
        ]
    candidates = _without_conflicts(candidates)
    upstreams = []
    makeshifts: dict[str, ServerState] = {}
    for name, group in _grouped(candidates, declared=rules.declare):
        upstream, said, left_out = _upstream(name, group, draining=draining)
        upstreams.append(upstream)
        makeshifts.update((name, _MAKESHIFTS[each.kind]) for each in said if each.kind in _MAKESHIFTS)
        notices += said
        skipped += left_out
    upstreams, said = _bounded(upstreams)
    notices += said
    return Plan(
        upstreams=tuple(upstreams),
        skipped=tuple(sorted(skipped, key=lambda skip: (skip.container, skip.upstream or "", skip.reason))),
        notices=tuple(sorted(notices, key=lambda notice: (notice.container, notice.kind, notice.detail))),
        makeshifts=makeshifts,
    )


def _placements(
    containers: Mapping[str, Container], *, rules: Rules, known: Mapping[str, Placement]
) -> dict[str, Placement]:
    """Decide each container alone, by name; what was decided before holds for as long as nothing of it changed."""
    placements: dict[str, Placement] = {}
    for container in sorted(containers.values(), key=lambda container: (container.name, container.id)):
        owner = network_owner(container, containers=containers)
        placement = known.get(container.id)
        if (
            placement is None
            or placement.container is not container
            or placement.owner is not owner
            or placement.rules != rules
        ):
            placement = placement_of(container, owner=owner, rules=rules)
        placements[container.id] = placement
    return placements


def _unless_crash_looping(candidate: Candidate, *, stay_up_s: float | None) -> Candidate:
    """Leave a member out whose container restarts in a loop, up or down just now."""
    if stay_up_s is None:
        return candidate
    until = f"it is left out until it stayed up for {stay_up_s:g} s, or is started by hand"
    detail = f"it restarts in a loop: {until}; docker logs {candidate.container.name} may tell why"
    return replace(candidate, server=None, skipped=(Reason.RESTART_LOOP, detail))


def _without_conflicts(candidates: list[Candidate]) -> list[Candidate]:
    """
    Settle addresses that containers of separate networks claim at once: the newer start has it.

    The engine gives a freed address out again, so the older claim is a leftover. Containers that share one network
    share its addresses too, and that is no conflict.
    """
    claims: dict[str, dict[str, Container]] = defaultdict(dict)
    for candidate in candidates:
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
    return replace(candidate, server=None, skipped=(Reason.ADDRESS_CONFLICT, detail))


def _grouped(candidates: list[Candidate], *, declared: tuple[str, ...]) -> list[tuple[str, list[Candidate]]]:
    """Gather the members of each upstream, the oldest container first: its word counts where they differ."""
    groups: dict[str, list[Candidate]] = {name.lower(): [] for name in declared}
    for candidate in candidates:
        groups.setdefault(candidate.upstream, []).append(candidate)
    for group in groups.values():
        group.sort(
            key=lambda candidate: (candidate.container.created_ns, candidate.container.id, candidate.labels.port or 0)
        )
    return sorted(groups.items())


def _upstream(
    name: str, group: list[Candidate], *, draining: Mapping[str, str]
) -> tuple[Upstream, list[Notice], list[Skipped]]:
    routable = [candidate for candidate in group if candidate.server is not None]
    serving = _serving(routable, draining=draining)
    lines = _lines(serving)
    method, method_notices = _oldest_word(name, routable, "method", NoticeKind.METHOD_DIFFERS)
    keepalive, keepalive_notices = _oldest_word(name, routable, "keepalive", NoticeKind.KEEPALIVE_DIFFERS)
    method = None if method == ROUND_ROBIN else method
    servers, dropped = _with_backups(list(lines.values()), method=method)
    upstream = Upstream(
        name=name,
        servers=tuple(sorted(servers, key=lambda server: (_by_address(server.address), server.port))),
        method=method,
        keepalive=keepalive,
        zone_kib=_zone_kib(servers),
    )
    said = method_notices + keepalive_notices + dropped + _makeshifts(name, serving, draining=draining)
    return upstream, said, _left_out(group, serving=serving, lines=lines, draining=draining)


class _Class(IntEnum):
    """What a member that could serve is good for; the first class that anyone is in serves."""

    READY = auto()
    DRAINING = auto()
    UNHEALTHY = auto()


def _class_of(candidate: Candidate, *, draining: Mapping[str, str]) -> _Class:
    if candidate.container.id in draining:
        return _Class.DRAINING
    unhealthy = candidate.container.health is Health.UNHEALTHY and not candidate.labels.health_ignored
    return _Class.UNHEALTHY if unhealthy else _Class.READY


def _serving(routable: list[Candidate], *, draining: Mapping[str, str]) -> list[Candidate]:
    """Take the first class of members that is not empty: sending to a sick one beats sending to none."""
    classes: dict[_Class, list[Candidate]] = defaultdict(list)
    for candidate in routable:
        classes[_class_of(candidate, draining=draining)].append(candidate)
    return classes[min(classes)] if classes else []


def _makeshifts(name: str, serving: list[Candidate], *, draining: Mapping[str, str]) -> list[Notice]:
    """Say who serves although they should not: nobody is ready."""
    notices = []
    for candidate in serving:
        if (rank := _class_of(candidate, draining=draining)) is _Class.READY:
            continue
        kind = NoticeKind.SERVES_DRAINING if rank is _Class.DRAINING else NoticeKind.SERVES_UNHEALTHY
        why = draining.get(candidate.container.id, _SICK)
        detail = f"{why}, and it serves upstream {name} all the same: nobody is ready"
        notices.append(Notice(container=candidate.container.name, kind=kind, detail=detail))
    return notices


def _lines(serving: list[Candidate]) -> dict[tuple[str, int], Server]:
    """Write an equal address and port once (a second line would double its weight): the oldest's."""
    lines: dict[tuple[str, int], Server] = {}
    for candidate in serving:
        if candidate.server is not None:
            lines.setdefault((candidate.server.address, candidate.server.port), candidate.server)
    return lines


def _left_out(
    group: list[Candidate],
    *,
    serving: list[Candidate],
    lines: Mapping[tuple[str, int], Server],
    draining: Mapping[str, str],
) -> list[Skipped]:
    """Say why members have no line: not routable, of a lesser class than others, or written already."""
    serves = {id(candidate) for candidate in serving}
    skipped: list[Skipped] = []
    for candidate in group:
        why = candidate.skipped
        if candidate.server is not None and id(candidate) not in serves:
            drained = draining.get(candidate.container.id)
            why = (Reason.UNHEALTHY, _sick_words(candidate)) if drained is None else (Reason.DRAINING, drained)
        elif candidate.server is not None:
            line = lines[(candidate.server.address, candidate.server.port)]
            if line is not candidate.server:
                why = Reason.SAME_ADDRESS, f"the line of {line.container}, at the same address and port, serves it too"
        if why is not None:
            skipped.append(
                Skipped(container=candidate.container.name, reason=why[0], detail=why[1], upstream=candidate.upstream)
            )
    return skipped


def _sick_words(candidate: Candidate) -> str:
    return f"{_SICK}, and others serve: docker inspect {candidate.container.name} shows what it said"


def _oldest_word(
    name: str, group: list[Candidate], word: Literal["method", "keepalive"], kind: NoticeKind
) -> tuple[Any, list[Notice]]:
    """Give what the oldest member with an opinion says, and a notice for each who says otherwise."""
    said = [(candidate, value) for candidate in group if (value := getattr(candidate.labels, word)) is not None]
    if not said:
        return None, []
    chosen = said[0][1]
    detail = f"upstream {name} has {word} {chosen}, as its oldest container says; this one's label is not used"
    differing = [candidate.container.name for candidate, value in said if value != chosen]
    return chosen, [Notice(container=container, kind=kind, detail=detail) for container in differing]


def _with_backups(servers: list[Server], *, method: str | None) -> tuple[list[Server], list[Notice]]:
    """Drop `backup` where nginx would refuse the whole file for it."""
    if not any(server.backup for server in servers):
        return servers, []
    refusing = method is not None and method.startswith(_NO_BACKUP_METHODS)
    if not refusing and not all(server.backup for server in servers):
        return servers, []
    why = f"nginx takes none with {method}" if refusing else "no other server is left"
    notices = [
        Notice(container=server.container, kind=NoticeKind.BACKUP_DROPPED, detail=f"backup is not used: {why}")
        for server in servers
        if server.backup
    ]
    return [replace(server, backup=False) for server in servers], notices


def _bounded(upstreams: list[Upstream]) -> tuple[list[Upstream], list[Notice]]:
    """Scale down what would cost nginx seconds and hundreds of megabytes, first of each upstream, then of all."""
    hashed = {upstream.name: _consistent_weight(upstream) for upstream in upstreams}
    each = {name: min(1.0, _MAX_CONSISTENT_WEIGHT / weight) for name, weight in hashed.items() if weight}
    most = sum(weight * each[name] for name, weight in hashed.items() if weight)
    weight_scale = min(1.0, _MAX_CONSISTENT_WEIGHT_OF_ALL / most) if most else 1.0
    kept = sum(upstream.keepalive or 0 for upstream in upstreams)
    keepalive_scale = min(1.0, _MAX_KEEPALIVE_OF_ALL / kept) if kept else 1.0
    bounded: list[Upstream] = []
    notices: list[Notice] = []
    for upstream in upstreams:
        smaller = _scaled(upstream, weights=each.get(upstream.name, 1.0) * weight_scale, keepalive=keepalive_scale)
        if smaller != upstream:
            detail = f"weights or keepalive of upstream {upstream.name} are scaled down: they would cost nginx too much"
            said = {server.container for server in upstream.servers}
            notices += [Notice(container=name, kind=NoticeKind.SCALED_DOWN, detail=detail) for name in said]
        bounded.append(smaller)
    return bounded, notices


def _consistent_weight(upstream: Upstream) -> int:
    consistent = upstream.method is not None and upstream.method.endswith(" consistent")
    return sum(server.weight for server in upstream.servers) if consistent else 0


def _scaled(upstream: Upstream, *, weights: float, keepalive: float) -> Upstream:
    if _consistent_weight(upstream) and weights < 1.0:
        servers = tuple(replace(each, weight=max(1, int(each.weight * weights))) for each in upstream.servers)
        upstream = replace(upstream, servers=servers)
    if upstream.keepalive and keepalive < 1.0:
        upstream = replace(upstream, keepalive=max(1, int(upstream.keepalive * keepalive)))
    return upstream


def _zone_kib(servers: list[Server]) -> int | None:
    """Size the shared memory that `max_conns` needs, so that the limit holds for all workers together."""
    if not any(server.max_conns for server in servers):
        return None
    return _ZONE_STEP_KIB * (1 + len(servers) // _SERVERS_PER_STEP)


@lru_cache(maxsize=4096)
def _by_address(address: str) -> tuple[int, int]:
    """Order addresses by version and number, so that .9 stands before .10."""
    number = ipaddress.ip_address(address.strip("[]"))
    return number.version, int(number)

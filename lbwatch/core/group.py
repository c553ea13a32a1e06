"""
What the candidates of one upstream make of it: who serves, by which method, and what their owners should know.

Pure. Which candidates there are is `plan`'s.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, auto
from typing import Literal

from lbwatch.core.fields import MAX_HOLD_S
from lbwatch.core.model import (
    Health,
    Method,
    Notice,
    NoticeKind,
    Reason,
    Route,
    Server,
    ServerState,
    Sticky,
    Upstream,
)
from lbwatch.core.origins import at_hand
from lbwatch.core.placement import Candidate
from lbwatch.core.rules import takes_none

_SICK = "its health check fails"
_ROUND_ROBIN = "round_robin"  # a method that has no directive anywhere
_PER_SERVER = 2  # idle connections, as nginx-proxy keeps them unless it is told otherwise


@dataclass(slots=True, kw_only=True)
class Group:
    """
    One upstream, as it was made last.

    Attributes:
        upstream: The upstream.
        routes: One for each candidate.
        notices: Each with the name of the container that it is for.
        served: The routes of those that serve, by the identity of their candidate: of thousands most stay as they are.
        hold_s: How long requests wait for a server, as its containers say; 0: not at all.
    """

    upstream: Upstream
    routes: list[Route] = field(default_factory=list)
    notices: list[tuple[str, Notice]] = field(default_factory=list)
    served: dict[int, Route] = field(default_factory=dict)
    hold_s: float = 0.0


def grouped(
    name: str,
    candidates: list[Candidate],
    *,
    draining: Mapping[str, str],
    sticky_refusal: str | None = None,
    hold_refusal: str | None = None,
    takes_reload: Callable[[Upstream], str | None] = takes_none,
    is_paused: bool = False,
    before: Group | None = None,
) -> Group:
    """
    Return an upstream, and what became of its candidates.

    Args:
        name: Of the upstream.
        candidates: In any order.
        draining: Which containers drain, by id, and why.
        sticky_refusal: See `Rules`.
        hold_refusal: Likewise.
        takes_reload: Likewise.
        is_paused: Whether an operator has all new requests wait.
        before: As it was made last: what did not change stays the same object, so that nobody has to compare it.
    """
    # By age, not by name: a container that comes cannot change the method of those that serve already.
    candidates = sorted(candidates, key=_by_age)
    routable = [candidate for candidate in candidates if candidate.server is not None]
    refusal = hold_refusal or _refused_by(takes_reload, name, candidates)
    hold_s, hold_notices = _hold(name, candidates, refusal=refusal)
    serving, state = _serving(routable, draining=draining, holds=hold_s > 0)
    # While requests wait for the next server it is the same upstream, with a server or without one.
    speaking = routable or (_members(candidates) if hold_s else [])
    method, method_notices = _oldest_word(name, speaking, "method", NoticeKind.METHOD_DIFFERS)
    keepalive, keepalive_notices = _oldest_word(name, speaking, "keepalive", NoticeKind.KEEPALIVE_DIFFERS)
    sticky, sticky_notices = _sticky(name, routable, sticky_refusal=sticky_refusal)
    known = {} if before is None else before.served
    keeps_any = sticky is not None and state is ServerState.UP and bool(serving)
    keeping = _keeping(routable, draining=draining) if keeps_any else ()
    states = {id(each): state for each in serving} | {id(each): ServerState.DRAINING for each in keeping}
    by_place = _by_place((*serving, *keeping))
    keeps = {id(each) for each in keeping}
    servers = {
        place: _server(each, keeps=id(each) in keeps, known=known.get(id(each))) for place, each in by_place.items()
    }
    upstream = Upstream(
        name=name,
        servers=tuple(servers[place] for place in sorted(servers)),
        method=method if isinstance(method, Method) and method.name != _ROUND_ROBIN else None,
        keepalive=keepalive if isinstance(keepalive, int) else None,
        keepalive_per_server=0 if keepalive is not None else _per_server(candidates),
        sticky=sticky,
        hold_s=MAX_HOLD_S if is_paused else hold_s,
        paused=is_paused,
        has_host=any(each.has_host for each in candidates),
    )
    if before is not None and upstream == before.upstream:
        upstream = before.upstream
    group = Group(upstream=upstream, hold_s=hold_s)
    group.notices += method_notices + keepalive_notices + sticky_notices + hold_notices
    group.notices += _last_resort(name, serving, state=state, draining=draining)
    group.notices += [_keeps_clients(each, why=draining[each.container.id]) for each in keeping]
    if hold_refusal is None and (reason := takes_reload(upstream)) is not None:
        group.notices += [_takes_reload(each, why=reason) for each in serving]
    for candidate in candidates:
        if (its := states.get(id(candidate))) is None:
            group.routes.append(_left_out(candidate, draining, waits_s=0.0 if serving else hold_s))
            continue
        place = candidate.place
        route = _served(candidate, server=servers[place], by=by_place[place], state=its, known=known.get(id(candidate)))
        group.served[id(candidate)] = route
        group.routes.append(route)
    return group


def unrouted(candidate: Candidate, reason: Reason, detail: str | None) -> Route:
    """Return the route of a candidate that has no server."""
    return Route(container=candidate.container.name, upstream=candidate.upstream, reason=reason, detail=detail)


def _by_age(candidate: Candidate) -> tuple[tuple[int, int, str], int]:
    return candidate.container.age, candidate.labels.port or 0


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
    return _Class.UNHEALTHY if _is_sick(candidate) else _Class.READY


def _is_sick(candidate: Candidate) -> bool:
    return _fails(candidate) or candidate.flapping is not None


def _fails(candidate: Candidate) -> bool:
    return candidate.container.health is Health.UNHEALTHY and not candidate.labels.health_ignored


def _serving(
    routable: list[Candidate], *, draining: Mapping[str, str], holds: bool
) -> tuple[list[Candidate], ServerState]:
    """
    Return the first class of candidates that is not empty, and its state: an unhealthy server beats none at all.

    Args:
        routable: Those with a server.
        draining: Which containers drain, by id, and why.
        holds: Whether requests wait for a server that is ready: then one that drains or fails its check gets none. One
            whose check flips, and passes just now, is better than a wait that nobody knows the end of.
    """
    classes: dict[_Class, list[Candidate]] = defaultdict(list)
    for candidate in routable:
        if not holds or not (candidate.container.id in draining or _fails(candidate)):
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
        why = draining.get(each.container.id) or each.flapping or _SICK
        detail = f"{why}, but it still serves upstream {name}: no other server is ready"
        notices.append((each.container.name, Notice(kind=kind, detail=detail)))
    return notices


def _keeps_clients(candidate: Candidate, *, why: str) -> tuple[str, Notice]:
    """Return a notice for one that drains and has clients that stay with it."""
    detail = f"{why}: clients that it has in upstream {candidate.upstream} stay with it, new ones go to others"
    return candidate.container.name, Notice(kind=NoticeKind.KEEPS_CLIENTS, detail=detail)


def _takes_reload(candidate: Candidate, *, why: str) -> tuple[str, Notice]:
    """Return a notice for one of an upstream whose servers do not change as others' do."""
    detail = f"changes of the servers of upstream {candidate.upstream} take a reload: {why}"
    return candidate.container.name, Notice(kind=NoticeKind.TAKES_RELOAD, detail=detail)


def _by_place(serving: Iterable[Candidate]) -> dict[tuple[int, int, int], Candidate]:
    """Return an equal address and port once (a second one would double its weight): the first of its candidates."""
    places: dict[tuple[int, int, int], Candidate] = {}
    for candidate in serving:
        places.setdefault(candidate.place, candidate)
    return places


def _keeping(routable: list[Candidate], *, draining: Mapping[str, str]) -> tuple[Candidate, ...]:
    """Return those that drain, and can go on to serve the clients that they have."""
    return tuple(each for each in routable if each.container.id in draining and not _is_sick(each))


def _server(candidate: Candidate, *, keeps: bool, known: Route | None) -> Server:
    """
    Return the server of one that serves.

    Args:
        candidate: Any such one.
        keeps: Whether it drains, and keeps its clients.
        known: Its route of before.
    """
    server = candidate.server
    assert server is not None
    if not keeps:
        return server
    server = replace(server, draining=True)
    return known.server if known is not None and known.server is not None and known.server == server else server


def _served(candidate: Candidate, *, server: Server, by: Candidate, state: ServerState, known: Route | None) -> Route:
    """
    Return the route of one that serves: by its own server, or by an equal one of an older container.

    Args:
        candidate: Any such one.
        server: The one at its place.
        by: Whose that is.
        state: Of the candidate.
        known: Its route of before.
    """
    if by is not candidate:
        detail = f"the line of {server.container}, at the same address and port, serves it too"
        return unrouted(candidate, Reason.SAME_ADDRESS, detail)
    if known is not None and known.server is server and known.state is state:
        return known
    return Route(container=candidate.container.name, upstream=candidate.upstream, server=server, state=state)


def _left_out(candidate: Candidate, draining: Mapping[str, str], *, waits_s: float) -> Route:
    """
    Return the route of one that has no server, or is of a lesser class than those that serve.

    Args:
        candidate: Any such one.
        draining: Which containers drain, by id, and why.
        waits_s: How many seconds requests wait for one that is ready, since none is; 0: others serve.
    """
    if candidate.reason is not None:
        return unrouted(candidate, candidate.reason, candidate.detail)
    wait = f"no server is ready, so that requests wait for one, for {waits_s:g} s at most"
    if (drained := draining.get(candidate.container.id)) is not None:
        return unrouted(candidate, Reason.DRAINING, f"{drained}; {wait}" if waits_s else drained)
    whole = wait if waits_s else "and others serve"
    shows = f"docker inspect {at_hand(candidate.container)} shows its output"
    if candidate.flapping:
        return unrouted(candidate, Reason.FLAPPING, f"{candidate.flapping}, {whole}: {shows}")
    return unrouted(candidate, Reason.UNHEALTHY, f"{_SICK}, {whole}: {shows}")


def _sticky(
    name: str, routable: list[Candidate], *, sticky_refusal: str | None
) -> tuple[Sticky | None, list[tuple[str, Notice]]]:
    """Return how clients stay with a server of an upstream, and notices for those that ask for it otherwise."""
    sticky, notices = _oldest_word(name, routable, "sticky", NoticeKind.STICKY_DIFFERS)
    if not isinstance(sticky, Sticky):
        return None, []
    if sticky_refusal is None:
        return sticky, notices
    dropped = Notice(kind=NoticeKind.STICKY_DROPPED, detail=f"sticky is not used: {sticky_refusal}")
    return None, [(each.container.name, dropped) for each in routable if each.labels.sticky is not None]


def _per_server(candidates: Iterable[Candidate]) -> int:
    """Return how many idle connections are kept for each server where nobody says; also stopped containers ask."""
    return _PER_SERVER if any(each.labels.is_compat for each in candidates) else 0


def _members(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return those whose upstream it is, with a server or without one."""
    return [each for each in candidates if each.reason is not Reason.NAME_TAKEN]


def _refused_by(
    takes_reload: Callable[[Upstream], str | None], name: str, candidates: Iterable[Candidate]
) -> str | None:
    """Return why requests of an upstream cannot wait, by what all its containers ask for, stopped ones too."""
    members = _members(candidates)
    if not any(each.labels.hold_s for each in members):
        return None
    method, _ = _oldest_word(name, members, "method", NoticeKind.METHOD_DIFFERS)
    sticky, _ = _oldest_word(name, members, "sticky", NoticeKind.STICKY_DIFFERS)
    servers = [
        each.server or Server(address="", port=0, container="", max_conns=each.labels.max_conns) for each in members
    ]
    whole = Upstream(
        name=name,
        servers=tuple(servers),
        method=method if isinstance(method, Method) and method.name != _ROUND_ROBIN else None,
        sticky=sticky if isinstance(sticky, Sticky) else None,
    )
    reason = takes_reload(whole)
    return None if reason is None else f"changes of its servers take a reload: {reason}"


def _hold(name: str, candidates: Iterable[Candidate], *, refusal: str | None) -> tuple[float, list[tuple[str, Notice]]]:
    """
    Return for how many seconds requests of an upstream wait for a server, and notices for those that say otherwise.

    Stopped containers have their word too: it is just when none runs that requests should wait.

    Args:
        name: Of the upstream.
        candidates: By age.
        refusal: Why requests cannot wait, in words.
    """
    said = [(each, each.labels.hold_s) for each in _members(candidates) if each.labels.hold_s is not None]
    if not said:
        return 0.0, []
    if refusal is not None:
        unused = Notice(kind=NoticeKind.HOLD_NOT_USED, detail=f"hold is not used: {refusal}")
        return 0.0, [(each.container.name, unused) for each, hold_s in said if hold_s and each.server is not None]
    chosen_s = said[0][1]
    detail = f"upstream {name} has hold {chosen_s:g}s, as its oldest container says; this one's label is not used"
    differs = Notice(kind=NoticeKind.HOLD_DIFFERS, detail=detail)
    others = [(each.container.name, differs) for each, hold_s in said if hold_s != chosen_s and each.server is not None]
    return chosen_s, others


def _oldest_word(
    name: str, group: list[Candidate], word: Literal["method", "keepalive", "sticky"], kind: NoticeKind
) -> tuple[Method | Sticky | int | None, list[tuple[str, Notice]]]:
    """Return what the oldest candidate with an opinion says, and a notice for each that says otherwise."""
    said = [(candidate, value) for candidate in group if (value := getattr(candidate.labels, word)) is not None]
    if not said:
        return None, []
    chosen: Method | Sticky | int = said[0][1]
    detail = f"upstream {name} has {word} {chosen}, as its oldest container says; this one's label is not used"
    notice = Notice(kind=kind, detail=detail)
    others = (each for each, value in said if value != chosen and each.server is not None)
    return chosen, [(each.container.name, notice) for each in others]

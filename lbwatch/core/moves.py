"""What became of each server between two states of upstreams: what an operator reads of a change. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain

from lbwatch.core.changes import UpstreamChange, routes_of
from lbwatch.core.model import Route, Server, ServerState, Upstream


class MoveKind(StrEnum):
    """
    What became of a server, or of an upstream as a whole.

    `RESTARTED` is in another life at its place; `EMPTY` is an upstream that has no server, as it had or was not there;
    `PAUSED` and `RESUMED` are upstreams, by hand.
    """

    JOINED = "joined"
    LEFT = "left"
    MOVED = "moved"
    RESTARTED = "restarted"
    CHANGED = "changed"
    EMPTY = "empty"
    PAUSED = "paused"
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """
    What became of one server, or of an upstream as a whole.

    Attributes:
        upstream: Its name.
        change: What became of it.
        container: Behind the server; `None` where it is about the upstream.
        server: Its `ADDRESS:PORT`, the last one where it left.
        was: The one before, where it moved.
        reason: Why it left, or the state that it serves in where that is no good one, as a code; `None`: its container
            is gone, or all is well.
    """

    upstream: str
    change: MoveKind
    container: str | None = None
    server: str | None = None
    was: str | None = None
    reason: str | None = None


def moves(changes: Iterable[UpstreamChange]) -> tuple[Move, ...]:
    """Return what became of the servers of upstreams, without reasons, in their order; those that left come last."""
    return tuple(move for old, new in changes for move in _moves(old, new))


def reasoned(moved: Sequence[Move], *, routes: tuple[Route, ...]) -> tuple[Move, ...]:
    """Return moves with their reasons; *routes*: of the plan that they are part of."""
    names = {move.container for move in moved if move.container is not None}
    found = {(route.container, route.upstream): route for route in routes_of(routes, names)}
    return tuple(
        replace(move, reason=_reason(found.get((name, move.upstream)) or found.get((name, None))))
        if (name := move.container) is not None
        else move
        for move in moved
    )


def _reason(route: Route | None) -> str | None:
    if route is None or route.state is ServerState.UP:
        return None
    return str(route.reason or route.state)


def _moves(old: Upstream | None, new: Upstream | None) -> Iterator[Move]:
    name = new.name if new is not None else old.name if old is not None else ""
    had, has = (() if each is None else each.servers for each in (old, new))
    was_paused, is_paused = (each is not None and each.paused for each in (old, new))
    was, now = _by_place(had, besides=has), _by_place(has, besides=had)
    # Where only its name is shown otherwise nothing became of it.
    was = {
        place: replace(each, container=now[place].container) if place in now else each for place, each in was.items()
    }
    gone: dict[str, list[Server]] = {}  # by container
    for place in was.keys() - now.keys():
        gone.setdefault(was[place].container, []).append(was[place])
    for place, server in now.items():
        if place not in was:
            yield _came(name, server, before=gone.get(server.container))
        elif server != was[place]:
            yield _stayed(name, server, before=was[place])
    for server in sorted(chain.from_iterable(gone.values()), key=lambda each: (each.container, each.host_port)):
        yield Move(upstream=name, change=MoveKind.LEFT, container=server.container, server=server.host_port)
    if is_paused != was_paused:  # which changes how long requests wait, too
        yield Move(upstream=name, change=MoveKind.PAUSED if is_paused else MoveKind.RESUMED)
        old, new = (each and replace(each, hold_s=0.0) for each in (old, new))
    if new is not None and not has and (old is None or had):
        yield Move(upstream=name, change=MoveKind.EMPTY)
    elif old is not None and new is not None and _own_words(old) != _own_words(new):
        yield Move(upstream=name, change=MoveKind.CHANGED)


def _own_words(upstream: Upstream) -> tuple[object, ...]:
    """Return what an upstream has beside its servers."""
    return upstream.method, upstream.keepalive, upstream.keepalive_per_server, upstream.sticky, upstream.hold_s


def _by_place(servers: tuple[Server, ...], *, besides: tuple[Server, ...]) -> dict[tuple[str, str, int], Server]:
    """Return those servers that others do not have as the very same object, which most are."""
    same = set(map(id, besides))
    others = (each for each in servers if id(each) not in same)
    return {(each.container.rpartition("/")[2], each.address, each.port): each for each in others}


def _came(upstream: str, server: Server, *, before: list[Server] | None) -> Move:
    """Return the move of a server that was not there; *before*: the ones of its container that are not there now."""
    return Move(
        upstream=upstream,
        change=MoveKind.MOVED if before else MoveKind.JOINED,
        container=server.container,
        server=server.host_port,
        was=before.pop().host_port if before else None,
    )


def _stayed(upstream: str, server: Server, *, before: Server) -> Move:
    is_same = replace(before, started_ns=server.started_ns) == server
    kind = MoveKind.RESTARTED if is_same else MoveKind.CHANGED
    return Move(upstream=upstream, change=kind, container=server.container, server=server.host_port)

"""
The heart: from what engines say to what nginx should have. A pure function of its arguments.

Every backend either has a server line or a `Skipped` with its reason; one backend never harms another.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from lbwatch.errors import excerpt
from lbwatch.labels import ROUND_ROBIN, Membership, Wishes, wishes
from lbwatch.model import (
    UPSTREAM_NAME,
    Backend,
    Desired,
    Endpoint,
    Health,
    Notice,
    NoticeKind,
    Reason,
    Server,
    Skipped,
    Snapshot,
    Status,
    Upstream,
)

HOST_ADDRESS = "127.0.0.1"
"""Where a `--network host` container is, for an nginx that shares the host's network."""

_SWARM_SERVICE = "com.docker.swarm.service.name"
_COMPOSE_PROJECT = "com.docker.compose.project"
_COMPOSE_SERVICE = "com.docker.compose.service"
_COMPOSE_ONE_OFF = "com.docker.compose.oneoff"

_ZONE_STEP_KIB = 64
_SERVERS_PER_STEP = 32  # nginx 1.22 took 64k for up to 61 servers with parameters; half of that leaves room
_NO_BACKUP_METHODS = ("hash ", "ip_hash", "random")  # nginx refuses the whole file (facts, nginx 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """
    What settings say about routing.

    Attributes:
        prefix: What the labels begin with, without the dot.
        expose_all: Whether containers without a label are routed too.
        networks: Those that nginx reaches, in order of preference; empty: all.
        declare: Upstreams that exist even with no container.
        host_shared: Whether nginx shares the network of the engine's host.
    """

    prefix: str = "lbwatch"
    expose_all: bool = False
    networks: tuple[str, ...] = ()
    declare: tuple[str, ...] = ()
    host_shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A backend's place in one upstream, so far as it has one: with a server, or with the reason why not."""

    upstream: str
    backend: Backend
    membership: Membership
    owner: Backend | None = None  # whose network the server's address is on
    server: Server | None = None
    skipped: tuple[Reason, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What is decided of one backend alone, and from what."""

    backend: Backend
    owner: Backend | None
    rules: Rules
    members: tuple[_Member, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notices: tuple[Notice, ...] = ()


class _SkipError(Exception):
    """A backend is not routed, for this reason and in these words."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Memory:
    """What a pass decided of each backend alone, for the next one: of thousands it finds one changed."""

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}  # by the backend's id; of the latest pass only


def desired_state(snapshots: Iterable[Snapshot], *, rules: Rules, memory: Memory | None = None) -> Desired:
    """
    Decide the upstreams, and for every backend without a server line the reason.

    The same snapshots give the same result, whatever the order of anything in them and whatever *memory* holds; that
    one only saves time.
    """
    known = memory.places if memory else {}
    places: dict[str, _Place] = {}
    backends: dict[str, Backend] = {}
    for snapshot in snapshots:
        backends |= snapshot.backends
    members: list[_Member] = []
    skipped: list[Skipped] = []
    notices: list[Notice] = []
    for backend in sorted(backends.values(), key=lambda backend: (backend.name, backend.id)):
        owner = _network_owner(backend, backends=backends)
        place = known.get(backend.id)
        if place is None or place.backend is not backend or place.owner is not owner or place.rules != rules:
            place = _place(backend, owner=owner, rules=rules)
        places[backend.id] = place
        members += place.members
        skipped += place.skipped
        notices += place.notices
    if memory:
        memory.places = places
    members = _without_conflicts(members)
    upstreams = []
    for name, group in _grouped(members, declared=rules.declare):
        upstream, said, left_out = _upstream(name, group)
        upstreams.append(upstream)
        notices += said
        skipped += left_out
    return Desired(
        upstreams=tuple(upstreams),
        skipped=tuple(sorted(skipped, key=lambda skip: (skip.backend, skip.upstream or "", skip.reason))),
        notices=tuple(sorted(notices, key=lambda notice: (notice.backend, notice.kind, notice.detail))),
    )


def _place(backend: Backend, *, owner: Backend | None, rules: Rules) -> _Place:
    """
    Decide all that can be decided of one backend alone.

    Args:
        backend: Any one.
        owner: Whose network it uses, most often its own; `None` if that one is gone.
        rules: What holds for all.
    """
    wish = wishes(backend.labels, prefix=rules.prefix)
    notices = tuple(_unknown_label(backend, key) for key in wish.unknown)
    try:
        members = tuple(_members(backend, wish, owner=owner, rules=rules))
        return _Place(backend=backend, owner=owner, rules=rules, members=members, notices=notices)
    except _SkipError as skip:
        skipped = Skipped(backend=backend.name, reason=skip.reason, detail=skip.detail)
        return _Place(backend=backend, owner=owner, rules=rules, skipped=(skipped,), notices=notices)


def _unknown_label(backend: Backend, key: str) -> Notice:
    return Notice(backend=backend.name, kind=NoticeKind.UNKNOWN_LABEL, detail=f"label {key} means nothing to lbwatch")


def _members(backend: Backend, wish: Wishes, *, owner: Backend | None, rules: Rules) -> Iterator[_Member]:
    """Give a backend's place in each upstream that it asks for; a reason that holds for all of it is raised."""
    _check_wanted(backend, wish, rules=rules)
    for membership in wish.memberships:
        name = membership.upstream or _default_upstream(backend)
        try:
            _check_state(backend, ignore_health=membership.health_ignored)
            server = _server(backend, membership, owner=owner, variables=wish.vars, rules=rules)
        except _SkipError as skip:
            why = skip.reason, skip.detail
            yield _Member(upstream=name, backend=backend, membership=membership, skipped=why)
        else:
            yield _Member(upstream=name, backend=backend, membership=membership, owner=owner, server=server)


def _check_wanted(backend: Backend, wish: Wishes, *, rules: Rules) -> None:
    if wish.enable is False:
        raise _SkipError(Reason.DISABLED, f"label {rules.prefix}.enable is false")
    if not wish.asks and not rules.expose_all:
        raise _SkipError(Reason.NOT_LABELLED, f"it has no {rules.prefix}.* label: add {rules.prefix}.enable=true")
    if wish.refusal is not None:
        raise _SkipError(Reason.BAD_LABEL, wish.refusal)
    if _label(backend, _COMPOSE_ONE_OFF).lower() == "true":
        raise _SkipError(Reason.ONE_OFF, "it is a one-off of `docker compose run`")
    if backend.status is Status.CREATED:
        raise _SkipError(Reason.NOT_RUNNING, "it was created but never started")


def _check_state(backend: Backend, *, ignore_health: bool) -> None:
    if backend.status is Status.PAUSED:
        raise _SkipError(Reason.PAUSED, "it is paused")
    if backend.status is not Status.RUNNING:
        raise _SkipError(Reason.NOT_RUNNING, f"it is {backend.status}")
    if backend.health is Health.STARTING and not ignore_health:
        raise _SkipError(Reason.STARTING, "its health check has not passed yet")


def _default_upstream(backend: Backend) -> str:
    project, service = _label(backend, _COMPOSE_PROJECT), _label(backend, _COMPOSE_SERVICE)
    name = _label(backend, _SWARM_SERVICE) or (f"{project}-{service}" if project and service else backend.name)
    if UPSTREAM_NAME.fullmatch(name) is None:
        raise _SkipError(Reason.BAD_NAME, f"{name[:64]!r} cannot name an upstream: add the label upstream")
    return name.lower()


def _label(backend: Backend, key: str) -> str:
    return next((value for label, value in backend.labels if label == key), "")


def _server(
    backend: Backend,
    membership: Membership,
    *,
    owner: Backend | None,
    variables: Mapping[str, str],
    rules: Rules,
) -> Server:
    port = _port(backend, membership.port, prefix=rules.prefix)
    owner = _check_owner(backend, owner)
    if owner.host_network:
        address = _host_address(rules=rules)
    else:
        address = _address(_endpoint(owner, membership.network, networks=rules.networks))
    return Server(
        address=address,
        port=port,
        backend=backend.name,
        weight=membership.weight,
        max_fails=membership.max_fails,
        fail_timeout_s=membership.fail_timeout,
        max_conns=membership.max_conns,
        backup=membership.backup,
        vars=variables,
    )


def _port(backend: Backend, asked: int | None, *, prefix: str) -> int:
    if asked is not None:
        return asked
    if not backend.exposed:
        raise _SkipError(Reason.NO_PORT, f"it exposes no TCP port: add the label {prefix}.port")
    if len(backend.exposed) > 1:
        ports = ", ".join(map(str, backend.exposed[:8]))
        raise _SkipError(Reason.SEVERAL_PORTS, f"it exposes {ports}: add the label {prefix}.port")
    return backend.exposed[0]


def _network_owner(backend: Backend, *, backends: Mapping[str, Backend]) -> Backend | None:
    """Find whose network a backend uses: its own, or that of the container it was attached to, if that still is."""
    return backend if backend.network_of is None else backends.get(backend.network_of)


def _check_owner(backend: Backend, owner: Backend | None) -> Backend:
    """
    Make sure that a backend's network is alive.

    An owner that was started anew got a new network namespace; what was attached to it stays in the old, dead one
    until it is restarted itself.
    """
    if owner is None or (owner is not backend and owner.status not in (Status.RUNNING, Status.PAUSED)):
        name = owner.name if owner else "removed"
        raise _SkipError(Reason.OWNER_GONE, f"the container whose network it uses ({name}) is not up")
    if owner.started_ns > backend.started_ns > 0:
        raise _SkipError(Reason.OWNER_GONE, f"{owner.name}, whose network it uses, was restarted: restart this too")
    return owner


def _host_address(*, rules: Rules) -> str:
    if not rules.host_shared:
        raise _SkipError(Reason.HOST_NETWORK, "it is on the host's network, which nginx does not share")
    return HOST_ADDRESS


def _endpoint(owner: Backend, wanted: str | None, *, networks: tuple[str, ...]) -> Endpoint:
    """Choose the network: the label's, else the first of the reachable ones, else the first by name."""
    by_name = {endpoint.network: endpoint for endpoint in owner.endpoints}
    names = networks or tuple(by_name)
    if wanted is not None:
        names = (wanted, f"{_label(owner, _COMPOSE_PROJECT)}_{wanted}")
    found = [by_name[name] for name in names if name in by_name]
    if not found:
        raise _SkipError(Reason.NO_NETWORK, _network_hint(by_name, wanted, networks=networks))
    return next((endpoint for endpoint in found if endpoint.ipv4 or endpoint.ipv6), found[0])


def _network_hint(joined: Iterable[str], wanted: str | None, *, networks: tuple[str, ...]) -> str:
    where = excerpt(", ".join(sorted(joined))) or "none"
    if wanted is not None:
        return f"it is not on network {excerpt(wanted)}, but on {where}"
    if networks:
        return f"it is on {where}; nginx is on {', '.join(networks)}: connect one to the other"
    return "it is on no network"


def _address(endpoint: Endpoint) -> str:
    text = endpoint.ipv4 or endpoint.ipv6
    if not text:
        raise _SkipError(Reason.NO_ADDRESS, f"the engine gave it no address on network {endpoint.network}")
    address = _checked_address(text)
    if address is None:
        raise _SkipError(Reason.BAD_ADDRESS, f"the engine gave it {text[:64]!r}, where no server can be")
    return address


@lru_cache(maxsize=4096)
def _checked_address(text: str) -> str | None:
    """Write an address as nginx takes it; `None` for one where no other container can be."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return None if address.ipv4_mapped or address.scope_id else f"[{address}]"


def _without_conflicts(members: list[_Member]) -> list[_Member]:
    """
    Settle addresses that containers of separate networks claim at once: the newer start has it.

    The engine gives a freed address out again, so the older claim is a leftover. Containers that share one network
    share its addresses too, and that is no conflict.
    """
    claims: dict[str, dict[str, Backend]] = defaultdict(dict)
    for member in members:
        if member.server is not None and member.owner is not None and not member.owner.host_network:
            claims[member.server.address][member.owner.id] = member.owner
    winners = {
        address: max(owners.values(), key=lambda owner: (owner.started_ns, owner.id))
        for address, owners in claims.items()
        if len(owners) > 1
    }
    return [_settled(member, winners=winners) for member in members] if winners else members


def _settled(member: _Member, *, winners: Mapping[str, Backend]) -> _Member:
    winner = winners.get(member.server.address) if member.server else None
    if winner is None or member.owner is None or member.owner.id == winner.id:
        return member
    detail = f"{winner.name}, which was started later, has its address too"
    return replace(member, server=None, skipped=(Reason.ADDRESS_CONFLICT, detail))


def _grouped(members: list[_Member], *, declared: tuple[str, ...]) -> list[tuple[str, list[_Member]]]:
    """Gather the members of each upstream, the oldest container first: its word counts where they differ."""
    groups: dict[str, list[_Member]] = {name.lower(): [] for name in declared}
    for member in members:
        groups.setdefault(member.upstream, []).append(member)
    for group in groups.values():
        group.sort(key=lambda member: (member.backend.created_ns, member.backend.id, member.membership.port or 0))
    return sorted(groups.items())


def _upstream(name: str, group: list[_Member]) -> tuple[Upstream, list[Notice], list[Skipped]]:
    routable = [member for member in group if member.server is not None]
    serving = _serving(routable)
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
    return upstream, method_notices + keepalive_notices + dropped, _left_out(group, serving=serving, lines=lines)


def _serving(routable: list[_Member]) -> list[_Member]:
    """Take the first class of members that is not empty: the ready ones, else the unhealthy ones."""
    return [member for member in routable if _is_ready(member)] or routable


def _is_ready(member: _Member) -> bool:
    return member.membership.health_ignored or member.backend.health is not Health.UNHEALTHY


def _lines(serving: list[_Member]) -> dict[tuple[str, int], Server]:
    """Write an equal address and port once (a second line would double its weight): the oldest's."""
    lines: dict[tuple[str, int], Server] = {}
    for member in serving:
        if member.server is not None:
            lines.setdefault((member.server.address, member.server.port), member.server)
    return lines


def _left_out(
    group: list[_Member], *, serving: list[_Member], lines: Mapping[tuple[str, int], Server]
) -> list[Skipped]:
    """Say why members have no line: not routable, unhealthy beside ready ones, or written already."""
    serves = {id(member) for member in serving}
    skipped: list[Skipped] = []
    for member in group:
        why = member.skipped
        if member.server is not None and id(member) not in serves:
            why = Reason.UNHEALTHY, "its health check fails, and others are ready"
        elif member.server is not None:
            line = lines[(member.server.address, member.server.port)]
            if line is not member.server:
                why = Reason.SAME_ADDRESS, f"the line of {line.backend}, at the same address and port, serves it too"
        if why is not None:
            skipped.append(Skipped(backend=member.backend.name, reason=why[0], detail=why[1], upstream=member.upstream))
    return skipped


def _oldest_word(
    name: str, group: list[_Member], word: Literal["method", "keepalive"], kind: NoticeKind
) -> tuple[Any, list[Notice]]:
    """Give what the oldest member with an opinion says, and a notice for each who says otherwise."""
    said = [(member, value) for member in group if (value := getattr(member.membership, word)) is not None]
    if not said:
        return None, []
    chosen = said[0][1]
    detail = f"upstream {name} has {word} {chosen}, as its oldest container says; this one's label is not used"
    differing = [member.backend.name for member, value in said if value != chosen]
    return chosen, [Notice(backend=backend, kind=kind, detail=detail) for backend in differing]


def _with_backups(servers: list[Server], *, method: str | None) -> tuple[list[Server], list[Notice]]:
    """Drop `backup` where nginx would refuse the whole file for it."""
    if not any(server.backup for server in servers):
        return servers, []
    refusing = method is not None and method.startswith(_NO_BACKUP_METHODS)
    if not refusing and not all(server.backup for server in servers):
        return servers, []
    why = f"nginx takes none with {method}" if refusing else "no other server is left"
    notices = [
        Notice(backend=server.backend, kind=NoticeKind.BACKUP_DROPPED, detail=f"backup is not used: {why}")
        for server in servers
        if server.backup
    ]
    return [replace(server, backup=False) for server in servers], notices


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

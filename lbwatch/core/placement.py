"""
What can be decided of one container alone: which upstreams it asks for, at which address, or why it is not routed.

What several containers make of an upstream, and of an address that two of them claim, is `plan`'s.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from lbwatch.core.errors import excerpt
from lbwatch.core.labels import (
    ContainerLabels,
    HashKeyRefusal,
    UpstreamLabels,
    nearest,
    read_labels,
    slip,
    takes_any_key,
)
from lbwatch.core.model import (
    UPSTREAM_NAME,
    Container,
    ContainerStatus,
    Endpoint,
    Health,
    Notice,
    NoticeKind,
    Reason,
    Server,
)

HOST_ADDRESS = "127.0.0.1"
"""Where a `--network host` container is, for an nginx that shares the host's network."""

TAKEN = "taken"
"""How the verdict on a network begins by which a server is reached."""

_SWARM_SERVICE = "com.docker.swarm.service.name"
_COMPOSE_PROJECT = "com.docker.compose.project"
_COMPOSE_SERVICE = "com.docker.compose.service"
_COMPOSE_ONE_OFF = "com.docker.compose.oneoff"


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
        refuses_key: Judges the KEY of a `hash` for the load balancer.
    """

    prefix: str = "lbwatch"
    expose_all: bool = False
    networks: tuple[str, ...] = ()
    declare: tuple[str, ...] = ()
    host_shared: bool = False
    refuses_key: HashKeyRefusal = takes_any_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """
    A container that could serve one upstream: with a server, or with the reason why it cannot.

    Attributes:
        upstream: `None` where the reason holds for all of the container.
        labels: What it asks of that upstream.
        owner: Whose network the server's address is on.
    """

    container: Container
    upstream: str | None = None
    labels: UpstreamLabels = field(default_factory=UpstreamLabels)
    owner: Container | None = None
    server: Server | None = None
    reason: Reason | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What is decided of one container alone, and from what."""

    container: Container
    owner: Container | None
    rules: Rules
    candidates: tuple[Candidate, ...] = ()
    notices: tuple[Notice, ...] = ()


class _SkipError(Exception):
    """A container is not routed, for this reason and in these words."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def placement_of(container: Container, *, owner: Container | None, rules: Rules) -> Placement:
    """
    Return all that can be decided of one container alone.

    Args:
        container: Any one.
        owner: Whose network it uses, most often its own; `None` if that one is gone.
        rules: What holds for all containers.
    """
    labels = read_labels(container.labels, prefix=rules.prefix, refuses_key=rules.refuses_key)
    notices = (*_unknown_labels(labels, prefix=rules.prefix), *_hidden_signal(container))
    try:
        candidates = tuple(_candidates(container, labels, owner=owner, rules=rules))
    except _SkipError as skip:
        candidates = (Candidate(container=container, reason=skip.reason, detail=skip.detail),)
    return Placement(container=container, owner=owner, rules=rules, candidates=candidates, notices=notices)


def _unknown_labels(labels: ContainerLabels, *, prefix: str) -> Iterator[Notice]:
    details = []
    for key in labels.unknown:
        meant = nearest(key, prefix=prefix)
        details.append(f"label {key} means nothing to lbwatch" + (f": did you mean {meant}?" if meant else ""))
    if labels.more_unknown:
        details.append(f"{labels.more_unknown} more labels mean nothing to lbwatch")
    return (Notice(kind=NoticeKind.UNKNOWN_LABEL, detail=detail) for detail in details)


def _hidden_signal(container: Container) -> Iterator[Notice]:
    if container.stop_signal is None:
        detail = "its label signal hides which signal it gets, so that any one, such as HUP, drains it for a while"
        yield Notice(kind=NoticeKind.SIGNAL_HIDDEN, detail=detail)


def _candidates(
    container: Container, labels: ContainerLabels, *, owner: Container | None, rules: Rules
) -> Iterator[Candidate]:
    """Return a candidate for each upstream that a container asks for; a reason that holds for all of it is raised."""
    _check_wanted(container, labels, rules=rules)
    for wanted in labels.upstreams:
        name = wanted.upstream or _default_upstream(container, prefix=rules.prefix)
        try:
            _check_state(container, ignore_health=wanted.health_ignored)
            server = _server(container, wanted, owner=owner, variables=labels.vars, rules=rules)
        except _SkipError as skip:
            yield Candidate(upstream=name, container=container, labels=wanted, reason=skip.reason, detail=skip.detail)
        else:
            yield Candidate(upstream=name, container=container, labels=wanted, owner=owner, server=server)


def _check_wanted(container: Container, labels: ContainerLabels, *, rules: Rules) -> None:
    # The order decides which reason is shown where several hold: first what its owner wanted, then what is wrong with
    # the labels, and only then what passes by itself.
    if labels.enable is False:
        raise _SkipError(Reason.DISABLED, f"label {rules.prefix}.enable is false")
    if not labels.asks and not rules.expose_all:
        raise _SkipError(Reason.NOT_LABELLED, _unlabelled_words(container, prefix=rules.prefix))
    if labels.refusal is not None:
        raise _SkipError(Reason.BAD_LABEL, labels.refusal)
    if _label(container, _COMPOSE_ONE_OFF).lower() == "true":
        raise _SkipError(Reason.ONE_OFF, "it is a one-off of `docker compose run`")
    if container.status is ContainerStatus.CREATED:
        raise _SkipError(Reason.NOT_RUNNING, "it was created but never started")


def _unlabelled_words(container: Container, *, prefix: str) -> str:
    key = slip(container.labels, prefix=prefix)
    if key is None:
        return f"it has no {prefix}.* label: add {prefix}.enable=true"
    meant = f"{prefix}.{key.partition('.')[2]}"
    return f"it has no {prefix}.* label, but {excerpt(key)}: did you mean {excerpt(meant)}?"


def _check_state(container: Container, *, ignore_health: bool) -> None:
    if container.status is ContainerStatus.PAUSED:
        raise _SkipError(Reason.PAUSED, f"it is paused: docker unpause {container.name} lets it serve")
    if container.status is not ContainerStatus.RUNNING:
        raise _SkipError(Reason.NOT_RUNNING, f"it is {container.status}")
    if container.health is Health.STARTING and not ignore_health:
        raise _SkipError(Reason.STARTING, "its health check has not passed yet")


def _default_upstream(container: Container, *, prefix: str) -> str:
    project, service = _label(container, _COMPOSE_PROJECT), _label(container, _COMPOSE_SERVICE)
    name = _label(container, _SWARM_SERVICE) or (f"{project}-{service}" if project and service else container.name)
    if UPSTREAM_NAME.fullmatch(name) is None:
        raise _SkipError(Reason.BAD_NAME, f"{excerpt(name)!r} cannot name an upstream: add the label {prefix}.upstream")
    return name.lower()


def _label(container: Container, key: str) -> str:
    return next((value for label, value in container.labels if label == key), "")


def _server(
    container: Container,
    labels: UpstreamLabels,
    *,
    owner: Container | None,
    variables: Mapping[str, str],
    rules: Rules,
) -> Server:
    port = _port(container, labels.port, prefix=rules.prefix)
    owner = _check_owner(container, owner)
    if owner.host_network:
        address = _host_address(rules=rules)
    else:
        address = _address(_endpoint(owner, labels.network, networks=rules.networks))
    return Server(
        address=address,
        port=port,
        container=container.name,
        weight=labels.weight,
        max_fails=labels.max_fails,
        fail_timeout_s=labels.fail_timeout,
        max_conns=labels.max_conns,
        backup=labels.backup,
        vars=variables,
    )


def _port(container: Container, asked: int | None, *, prefix: str) -> int:
    if asked is not None:
        return asked
    if not container.exposed:
        raise _SkipError(Reason.NO_PORT, f"it exposes no TCP port: add the label {prefix}.port")
    if len(container.exposed) > 1:
        ports = ", ".join(map(str, container.exposed[:8]))
        raise _SkipError(Reason.SEVERAL_PORTS, f"it exposes {ports}: add the label {prefix}.port")
    return container.exposed[0]


def network_owner(container: Container, *, containers: Mapping[str, Container]) -> Container | None:
    """Return whose network a container uses: most often itself; `None` if the one that it was attached to is gone."""
    if container.network_of is None:
        return container
    # Most often an id; a name where there was no such container when this one was created (facts, stream 20).
    by_name = (other for other in containers.values() if other.name == container.network_of)
    return containers.get(container.network_of) or next(by_name, None)


def _check_owner(container: Container, owner: Container | None) -> Container:
    """
    Return whose network a container uses, as long as that network is alive.

    An owner that was started anew got a new network namespace; what was attached to it stays in the old, dead one
    until it is restarted itself (facts, stream 16).
    """
    if owner is None or (
        owner is not container and owner.status not in (ContainerStatus.RUNNING, ContainerStatus.PAUSED)
    ):
        name = owner.name if owner else "removed"
        raise _SkipError(Reason.OWNER_GONE, f"the container whose network it uses ({name}) is not up")
    if owner.started_ns > container.started_ns > 0:
        raise _SkipError(Reason.OWNER_GONE, f"{owner.name}, whose network it uses, was restarted: restart this too")
    return owner


def _host_address(*, rules: Rules) -> str:
    if not rules.host_shared:
        detail = "it is on the host's network, which nginx does not share (if it does, set host_network to true)"
        raise _SkipError(Reason.HOST_NETWORK, detail)
    return HOST_ADDRESS


def _endpoint(owner: Container, wanted: str | None, *, networks: tuple[str, ...]) -> Endpoint:
    """Return the endpoint on the network that is used: the label's, else the first reachable one, else the first."""
    by_name = {endpoint.network: endpoint for endpoint in owner.endpoints}
    names = networks or tuple(by_name)
    if wanted is not None:
        # A Compose file has a network's short name, the engine the one with the project before it.
        names = (wanted, f"{_label(owner, _COMPOSE_PROJECT)}_{wanted}")
    found = [by_name[name] for name in names if name in by_name]
    if not found:
        raise _SkipError(Reason.NO_NETWORK, _network_hint(by_name, wanted, networks=networks))
    # A network without an address, such as `none`, is no reason to give up while another one has some.
    return next((endpoint for endpoint in found if endpoint.ipv4 or endpoint.ipv6), found[0])


def _network_hint(joined: Iterable[str], wanted: str | None, *, networks: tuple[str, ...]) -> str:
    where = excerpt(", ".join(sorted(joined))) or "none"
    if wanted is not None:
        return f"it is not on network {excerpt(wanted)}, but on {where}"
    if networks:
        return f"it is on {where}; nginx is on {', '.join(networks)}: connect one to the other"
    return "it is on no network"


def weighed(owner: Container, wanted: str | None, *, networks: tuple[str, ...]) -> list[tuple[Endpoint, str]]:
    """
    Return for each network that a container is on why it is, or is not, the one that its server is reached by.

    Args:
        owner: Whose networks they are.
        wanted: What the label says.
        networks: Those that nginx reaches; empty: all.
    """
    try:
        chosen = _endpoint(owner, wanted, networks=networks)
    except _SkipError:
        chosen = None
    return [(each, _verdict(each, chosen=chosen, wanted=wanted, networks=networks)) for each in owner.endpoints]


def _verdict(endpoint: Endpoint, *, chosen: Endpoint | None, wanted: str | None, networks: tuple[str, ...]) -> str:
    if endpoint is chosen:
        return TAKEN if endpoint.ipv4 or endpoint.ipv6 else f"{TAKEN}, but it has no address there"
    if wanted is not None:
        return f"the label asks for {excerpt(wanted)}"
    if networks and endpoint.network not in networks:
        return f"nginx reaches {', '.join(networks)} only"
    return f"{chosen.network} comes first" if chosen is not None else "not taken"


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
    """Return an address in its shortest form; `None` for one where no other container can be."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # Loopback is nginx's own machine, link-local a cloud's metadata: nginx's test takes them all (facts, nginx 3).
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    # A mapped one is an IPv4 address that went past the checks above; a scope means a link of this machine.
    return None if address.ipv4_mapped or address.scope_id else str(address)

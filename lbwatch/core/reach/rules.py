"""
Where nginx reaches a container: the first of a few rules that holds, and why the others do not.

In their order: the address that its label says; a network that nginx is on; a port that its machine publishes; its
machine itself, for one on the host's network; and only where its label asks for that, the virtual address or the mesh
port of its Swarm service. A network is its engine's alone, unless it is an overlay. Pure; nothing is guessed without a
notice.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from lbwatch.core.addresses import is_address
from lbwatch.core.errors import excerpt
from lbwatch.core.model import Container, Endpoint, Notice, Reason, bracketed
from lbwatch.core.networks import USED, SkipError, address_on, endpoint_of, guess_of, weighed
from lbwatch.core.reach.bindings import bound_at, in_order, only_published, place_key
from lbwatch.core.reach.target import HOST_ADDRESS, Target, place_of, target_of
from lbwatch.core.reach.words import address_cure, shared_cure, unmeshed_words, unpublished_words, unshared_words
from lbwatch.core.rules import Rules
from lbwatch.core.wishes import Reach, UpstreamLabels

NETWORK_WAY = "network"
"""What the way by a network is called, of which the verdicts on the networks say more."""

_OVERLAY = "overlay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """
    Where nginx reaches a container.

    Attributes:
        address: An IP address, without brackets.
        claim: What only one container may have, as the key of a claim; empty: nothing, as what it shares by its nature.
        notices: What its owner should know of how that was found.
        endpoint: Its place on the network by which it is reached; `None`: not by one that it is on.
        words: Where that is, for `explain`.
    """

    address: str
    port: int
    claim: str = ""
    notices: tuple[Notice, ...] = ()
    endpoint: Endpoint | None = None
    words: str = ""


class _MissError(SkipError):
    """One rule does not hold, for this reason and in these words; the next one may."""


_Rule = Callable[[Target], Reached]


def reached(container: Container, labels: UpstreamLabels, *, owner: Container | None, rules: Rules) -> Reached:
    """
    Return where nginx reaches a container.

    Args:
        container: Any one that runs.
        labels: What it asks of one upstream.
        owner: Whose network it uses, most often its own; `None` if that one is gone.
        rules: What holds for all containers.

    Raises:
        SkipError: It reaches it nowhere.
    """
    target = target_of(container, labels, owner=owner, rules=rules)
    misses: dict[str, SkipError] = {}
    for name, rule in _rules_for(target):
        try:
            return rule(target)
        except _MissError as miss:
            misses[name] = miss
    raise _nowhere(target, misses)


def weighed_ways(
    container: Container, labels: UpstreamLabels, *, owner: Container | None, rules: Rules
) -> list[tuple[str, str]]:
    """
    Return for each way to a container, in the order in which they are tried, its name and why it is used or not.

    The arguments are those of `reached`. The verdict on the one that is used begins with `networks.USED`; those after
    it are left out, as nothing was asked of them. None at all is there where not even that came about, as without a
    port that is known.
    """
    try:
        target = target_of(container, labels, owner=owner, rules=rules)
    except SkipError:
        return []
    verdicts: list[tuple[str, str]] = []
    for name, rule in _rules_for(target):
        try:
            found = rule(target)
        except SkipError as skip:
            verdicts.append((name, skip.detail))
            if not isinstance(skip, _MissError):
                return verdicts
        else:
            return [*verdicts, (name, f"{USED}: {found.words}")]
    return verdicts


def weighed_networks(
    container: Container, labels: UpstreamLabels, *, owner: Container, rules: Rules
) -> list[tuple[Endpoint, str]]:
    """
    Return for each network that a container is on why it is, or is not, the one that its server is reached by.

    Args:
        container: Any one.
        labels: What it asks of one upstream.
        owner: Whose network it uses.
        rules: What holds for all containers.
    """
    is_local = rules.nginx_engine == owner.engine.name
    if is_local and labels.address is None and labels.reach in (None, Reach.NETWORK):
        return weighed(owner, labels.network, networks=rules.networks)
    try:
        taken = reached(container, labels, owner=owner, rules=rules)
    except SkipError:
        taken = None
    used = None if taken is None else taken.endpoint
    why = _not_by_network(labels, owner, rules=rules, taken=used)
    return [(each, USED if each is used else why) for each in owner.endpoints]


def _not_by_network(labels: UpstreamLabels, owner: Container, *, rules: Rules, taken: Endpoint | None) -> str:
    """Return why a server is not reached by a network that its container is on."""
    if labels.address is not None:
        return "the label says an address"
    if labels.reach not in (None, Reach.NETWORK):
        return f"the label asks for {labels.reach}"
    if taken is not None:
        return f"{excerpt(taken.network)} comes first"
    return f"it is one of {place_of(owner, rules=rules)}, where nginx is not"


# -- the rules


def _by_label(target: Target) -> Reached:
    if target.labels.address is None:
        raise _MissError(Reason.NO_ADDRESS, "no label says one")
    return _at(target.labels.address, target.decided_port(), notices=target.notices(), why="as its label says")


def _by_network(target: Target) -> Reached:
    if target.owner.host_network:
        raise _MissError(Reason.HOST_NETWORK, "it is on the host's network")
    endpoint, guess = (_own_endpoint if target.is_local else _overlay_endpoint)(target)
    labels, rules = target.labels, target.rules
    port = target.decided_port()
    address = address_on(endpoint, prefers_ipv6=labels.is_compat and rules.sites.prefers_ipv6)
    return Reached(
        address=address,
        port=port,
        claim=f"{_domain(target.owner, endpoint)} {address}",
        notices=target.notices(guess),
        endpoint=endpoint,
        words=excerpt(endpoint.network) + (", a guess" if guess else ""),
    )


def _own_endpoint(target: Target) -> tuple[Endpoint, Notice | None]:
    """Return where a container of nginx's own engine is, and the notice that it was a guess."""
    owner, wanted, networks = target.owner, target.labels.network, target.rules.networks
    try:
        endpoint = endpoint_of(owner, wanted, networks=networks)
    except SkipError as skip:
        if wanted is not None:  # a slip of its owner's, which must not lead to somewhere else
            raise
        raise _MissError(skip.reason, skip.detail) from None
    return endpoint, guess_of(owner, wanted, networks=networks, prefix=target.rules.prefix)


def _overlay_endpoint(target: Target) -> tuple[Endpoint, Notice | None]:
    """Return where a container of another engine is on a network that nginx is on, or else routed to."""
    owner, wanted, rules = target.owner, target.labels.network, target.rules
    shared = replace(owner, endpoints=tuple(each for each in owner.endpoints if each.driver == _OVERLAY))
    # Where neither a label nor the settings say on which one nginx is, none is taken: it may be on no engine at all.
    if wanted is not None or rules.networks:
        with suppress(SkipError):
            return endpoint_of(shared, wanted, networks=rules.networks), None
    if target.labels.reach is not Reach.NETWORK:
        raise _MissError(Reason.NO_NETWORK, unshared_words(target))
    # Its owner's word that nginx is routed there, as to a macvlan or to another subnet.
    named = {name for each in owner.endpoints for name in (each.network, each.alias)} & {*rules.networks}
    networks = rules.networks if wanted is None and named else ()
    endpoint = endpoint_of(owner, wanted, networks=networks)
    return endpoint, guess_of(owner, wanted, networks=networks, prefix=rules.prefix)


def _by_published_port(target: Target) -> Reached:
    if target.owner.host_network:
        raise _MissError(Reason.HOST_NETWORK, "it is on the host's network")
    labels, owner = target.labels, target.owner
    wanted = _published_port(target)
    bindings = [each for each in in_order(owner.published, labels) if each.port == wanted]
    bindings = [each for each in bindings if each.protocol == bindings[0].protocol]
    machine, loopback = target.machine, target.reaches_loopback
    reachable = ((bound_at(each, machine=machine, reaches_loopback=loopback), each.host_port) for each in bindings)
    places = [place for place in reachable if place[0]]
    if not places:
        raise _MissError(Reason.NO_NETWORK, unpublished_words(target, wanted, bindings=bindings))
    address, port = min(places, key=lambda place: place_key(*place, machine=machine))
    notices = target.notices() if wanted == target.port else ()
    found = _at(address, port, notices=notices, why=f"where its port {wanted} is published")
    return replace(found, claim=f"port {_host_port(address, port)}")


def _published_port(target: Target) -> int:
    """Return the container's own port that is to be published; raises `SkipError` where nothing says which."""
    if target.port is None or target.assumed is not None:
        # Of all that it exposes it is the one that somebody wants to be reached.
        only = only_published(target.owner.published, target.labels)
        if only is not None:
            return only
    return target.decided_port()


def _by_host(target: Target) -> Reached:
    if not target.owner.host_network:
        raise _MissError(Reason.NO_NETWORK, "it is not on the host's network")
    return _at(_host_address(target), target.decided_port(), notices=target.notices(), why="on the host's network")


def _host_address(target: Target) -> str:
    rules, is_compat = target.rules, target.labels.is_compat
    if target.shares_host:
        return HOST_ADDRESS
    if target.is_local and is_compat and is_address(rules.gateway):
        return rules.gateway
    if target.machine:
        return target.machine
    if not target.is_local:
        detail = f"it is on the host's network of {place_of(target.owner, rules=rules)}, whose address is not known"
        raise SkipError(Reason.HOST_NETWORK, f"{detail}: {address_cure(target)}")
    detail = "it is on the host's network, which nginx does not share (if it does, set host_network to true)"
    if is_compat:
        detail = f"{detail}; nor is the gateway known by which nginx would reach the host"
    raise SkipError(Reason.HOST_NETWORK, detail)


def _by_service(target: Target) -> Reached:
    task, rules, labels = target.owner.task, target.rules, target.labels
    if task is None:
        detail = f"the label {rules.prefix}.reach asks for the address of a Swarm service, and it is no task of one"
        raise SkipError(Reason.NO_NETWORK, detail)
    if labels.network is not None or rules.networks:
        with suppress(SkipError):
            service = replace(target.owner, endpoints=task.virtual)
            endpoint = endpoint_of(service, labels.network, networks=rules.networks)
            why = f"the address of service {excerpt(task.service)} on {excerpt(endpoint.network)}"
            return _at(address_on(endpoint), target.decided_port(), notices=target.notices(), why=why)
    ports = in_order(task.mesh, labels)
    wanted = only_published(task.mesh, labels) if target.port is None else target.port
    port = next((each.host_port for each in ports if each.port == wanted), None)
    if port is None:
        raise SkipError(Reason.NO_NETWORK, unmeshed_words(target, task))
    if not target.machine:
        raise SkipError(Reason.NO_ADDRESS, f"the address of its node is not known: {address_cure(target)}")
    return _at(target.machine, port, why=f"the mesh port of service {excerpt(task.service)}")


_ADDRESS: tuple[str, _Rule] = ("address", _by_label)
_NETWORK: tuple[str, _Rule] = (NETWORK_WAY, _by_network)
_PORT: tuple[str, _Rule] = ("published port", _by_published_port)
_HOST: tuple[str, _Rule] = ("host network", _by_host)
_SERVICE: tuple[str, _Rule] = ("service", _by_service)

_RULES: Mapping[Reach | None, tuple[tuple[str, _Rule], ...]] = {
    None: (_NETWORK, _PORT, _HOST),
    Reach.NETWORK: (_NETWORK,),
    Reach.PORT: (_PORT, _HOST),
    Reach.VIP: (_SERVICE,),
}


def _rules_for(target: Target) -> tuple[tuple[str, _Rule], ...]:
    """Return the rules that are tried for a container, in their order."""
    return (_ADDRESS,) if target.labels.address is not None else _RULES[target.labels.reach]


# -- what is said


def _nowhere(target: Target, misses: Mapping[str, SkipError]) -> SkipError:
    """Return why nginx reaches a container nowhere, and what to do."""
    network, port = misses.get(_NETWORK[0]), misses.get(_PORT[0])
    if target.owner.host_network:
        asks = f"the label {target.rules.prefix}.reach asks for a network"
        return misses.get(_HOST[0]) or SkipError(Reason.HOST_NETWORK, f"it is on the host's network, and {asks}")
    if network is None or port is None:
        return network or port or SkipError(Reason.NO_NETWORK, "it is reached nowhere")
    if target.is_local:
        # Most containers publish nothing, and a network is what connects them.
        return SkipError(network.reason, f"{network.detail}; {port.detail}") if target.owner.published else network
    return SkipError(Reason.NO_NETWORK, f"{network.detail}, and {port.detail}; {shared_cure(target)}")


# -- small words


def _domain(owner: Container, endpoint: Endpoint) -> str:
    """Return within which addresses of a network are told apart: an overlay is one on all engines."""
    is_shared = endpoint.driver == _OVERLAY and endpoint.network_id
    return f"overlay/{endpoint.network_id}" if is_shared else f"engine/{owner.engine.name}"


def _at(address: str, port: int, *, notices: tuple[Notice, ...] = (), why: str) -> Reached:
    return Reached(address=address, port=port, notices=notices, words=f"{_host_port(address, port)}, {why}")


def _host_port(address: str, port: int) -> str:
    return f"{bracketed(address)}:{port}"

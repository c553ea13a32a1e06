"""
By which of its networks a container's server is reached, and why not by the others.

Where neither the settings nor nginx's own container say which networks nginx is on, it is a guess, and reported as one.
"""

from collections.abc import Iterable, Iterator

from lbwatch.core.addresses import checked_address
from lbwatch.core.errors import excerpt
from lbwatch.core.model import SERVICE_LABEL, Container, Endpoint, Notice, NoticeKind, Reason

USED = "used"
"""How the verdict on a network begins by which a server is reached."""

_INGRESS = "ingress"
"""The network of the Swarm's mesh, by its name unless somebody made another, and its driver here."""

_MESH_ALONE = "only the Swarm's mesh reaches"

_NONE = "none"
"""What inspect calls the network of a container that was started with `--network none`."""

_BRIDGE = "bridge"
_OF_ITS_OWN_LINK = ("macvlan", "ipvlan")
"""Drivers whose containers the engine's host cannot reach, by the kernel's design."""

_COMPOSE_PROJECT = "com.docker.compose.project"
_STACK = "com.docker.stack.namespace"


class SkipError(Exception):
    """A container is not routed, for this reason and in these words."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def endpoint_of(owner: Container, wanted: str | None, *, networks: tuple[str, ...]) -> Endpoint:
    """
    Return the endpoint by which a server is reached: the label's, else the first reachable one, else the likeliest.

    Args:
        owner: Whose networks they are.
        wanted: What the label says.
        networks: Those that nginx reaches, in order of preference; empty: not known.

    Raises:
        SkipError: There is none.
    """
    likely = _likeliest_first(owner)
    usable = {endpoint.network: endpoint for endpoint in likely}
    if wanted is not None:
        # A Compose file has a network's short name, the engine the one with the project before it.
        names: Iterable[str] = (wanted, *(f"{owner.label(key)}_{wanted}" for key in (_COMPOSE_PROJECT, _STACK)))
    else:
        names = networks or tuple(usable)
    named = {endpoint.alias: endpoint for endpoint in likely if endpoint.alias} | usable
    found = [named[name] for name in names if name in named]
    if not found:
        raise SkipError(Reason.NO_NETWORK, _hint(owner, wanted, usable=tuple(usable), networks=networks))
    # A network without an address is no reason to give up while another one has some.
    return next(_with_address(found), found[0])


def _likeliest_first(owner: Container) -> list[Endpoint]:
    """Return the endpoints where a server can be at all, those first that nginx is likely to reach."""
    return sorted(filter(is_usable, owner.endpoints), key=lambda endpoint: (_likelihood(endpoint), endpoint.network))


def is_usable(endpoint: Endpoint) -> bool:
    """Return whether a server can be there at all."""
    # An address on the mesh's network is reached by the mesh alone; on `none` there is never one.
    return endpoint.network not in (_INGRESS, _NONE) and endpoint.driver != _INGRESS


def _likelihood(endpoint: Endpoint) -> int:
    # The network named bridge is the engine's own, whether or not its driver is known.
    if _BRIDGE in (endpoint.driver, endpoint.network, endpoint.alias):
        return 0
    return 2 if endpoint.driver in _OF_ITS_OWN_LINK else 1


def _with_address(endpoints: Iterable[Endpoint]) -> Iterator[Endpoint]:
    return (endpoint for endpoint in endpoints if endpoint.ipv4 or endpoint.ipv6)


def _hint(owner: Container, wanted: str | None, *, usable: tuple[str, ...], networks: tuple[str, ...]) -> str:
    """Return why there is no endpoint, and what to do."""
    if not usable:
        names = (name for name in (wanted, *networks) if name not in (None, _INGRESS, _NONE))
        return _hint_of_nothing(owner, network=excerpt(next(names, None) or "NETWORK"))
    where = excerpt(", ".join(sorted(usable)))
    if wanted == _INGRESS:
        return f"the label asks for ingress, which {_MESH_ALONE}: it is on {where} too, name that"
    if wanted is not None:
        return f"it is not on network {excerpt(wanted)}, but on {where}"
    connect = f"docker network connect {excerpt(networks[0])} {owner.own_name}"
    return f"it is on {where}; nginx is on {', '.join(networks)}: {connect}"


def _hint_of_nothing(owner: Container, *, network: str) -> str:
    joined = {endpoint.network for endpoint in owner.endpoints}
    if joined - {_NONE}:
        service = excerpt(owner.label(SERVICE_LABEL)) or "SERVICE"
        attach = f"docker service update --network-add {network} {service}"
        return f"it is only on ingress, which {_MESH_ALONE}: {attach} attaches it to another"
    connect = f"docker network connect {network} {owner.own_name}"
    if _NONE in joined:
        # The engine refuses to connect it to any other before.
        return f"it was started with --network none: docker network disconnect none {owner.own_name}, then {connect}"
    return f"it is on no network: {connect}"


def guess_of(owner: Container, wanted: str | None, *, networks: tuple[str, ...], prefix: str) -> Notice | None:
    """
    Return the notice that a server's network was guessed; `None` where it is known, or there was no choice.

    Args:
        owner: Whose networks they are.
        wanted: What the label says.
        networks: Those that nginx reaches; empty: not known.
        prefix: What labels begin with, without the dot.
    """
    among = _guessed_among(owner, wanted, networks=networks)
    if not among:
        return None
    names = excerpt(", ".join(sorted(each.network for each in among)))
    cure = f"the setting networks, or the label {prefix}.network, ends the guess"
    detail = f"it is on {names}, and {excerpt(among[0].network)} was taken as the one that nginx reaches: {cure}"
    return Notice(kind=NoticeKind.NETWORK_GUESSED, detail=detail)


def _guessed_among(owner: Container, wanted: str | None, *, networks: tuple[str, ...]) -> list[Endpoint]:
    """Return the endpoints of which the first was taken by a guess; none where it is no guess."""
    if wanted is not None or networks or len(owner.endpoints) < 2:
        return []
    among = list(_with_address(_likeliest_first(owner)))
    return among if len(among) > 1 else []


def weighed(owner: Container, wanted: str | None, *, networks: tuple[str, ...]) -> list[tuple[Endpoint, str]]:
    """
    Return for each network that a container is on why it is, or is not, the one that its server is reached by.

    Args:
        owner: Whose networks they are.
        wanted: What the label says.
        networks: Those that nginx reaches; empty: not known.
    """
    try:
        chosen = endpoint_of(owner, wanted, networks=networks)
    except SkipError:
        chosen = None
    guessed = bool(_guessed_among(owner, wanted, networks=networks))
    return [
        (each, _verdict(each, chosen=chosen, guessed=guessed, wanted=wanted, networks=networks))
        for each in owner.endpoints
    ]


def _verdict(
    endpoint: Endpoint, *, chosen: Endpoint | None, guessed: bool, wanted: str | None, networks: tuple[str, ...]
) -> str:
    if endpoint is chosen:
        return _used(endpoint, guessed=guessed)
    if not is_usable(endpoint):
        return "no server can be there" if endpoint.network == _NONE else f"{_MESH_ALONE} it"
    if wanted is not None:
        return f"the label asks for {excerpt(wanted)}"
    if networks and not {endpoint.network, endpoint.alias} & {*networks}:
        return f"nginx reaches {', '.join(networks)} only"
    return "not used" if chosen is None else _second(endpoint, chosen, networks=networks)


def _used(endpoint: Endpoint, *, guessed: bool) -> str:
    if not (endpoint.ipv4 or endpoint.ipv6):
        return f"{USED}, but it has no address there"
    return f"{USED}: a guess" if guessed else USED


def _second(endpoint: Endpoint, chosen: Endpoint, *, networks: tuple[str, ...]) -> str:
    if not networks and _likelihood(chosen) < _likelihood(endpoint) and endpoint.driver in _OF_ITS_OWN_LINK:
        return f"{endpoint.driver}, which its own host cannot reach, comes last"
    return f"{chosen.network} comes first"


def address_on(endpoint: Endpoint, *, prefers_ipv6: bool = False) -> str:
    """
    Return the address of a server on a network, in its shortest form.

    Args:
        endpoint: Where it is on that network.
        prefers_ipv6: Whether its IPv6 address is taken where it has both.

    Raises:
        SkipError: There is none, or one where no server can be.
    """
    text = (endpoint.ipv6 or endpoint.ipv4) if prefers_ipv6 else (endpoint.ipv4 or endpoint.ipv6)
    if not text:
        raise SkipError(Reason.NO_ADDRESS, f"the engine gave it no address on network {endpoint.network}")
    address = checked_address(text)
    if address is None:
        raise SkipError(Reason.BAD_ADDRESS, f"the engine gave it {text[:64]!r}, where no server can be")
    return address

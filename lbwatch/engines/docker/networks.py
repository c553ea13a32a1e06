"""
Which driver makes a network: asked of the engine where the choice of an address hangs on it, and nowhere else.

It is in no answer about a container, in which a macvlan looks like a bridge (facts, stream 22). A socket proxy may
refuse `GET /networks`; then the drivers stay unknown, and the choice is reported as a guess as it is with them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import msgspec

from lbwatch.core.errors import SourceError
from lbwatch.core.model import TASK_ID_LABEL, Container
from lbwatch.engines.docker.fields import PODMAN_DEFAULT, PODMAN_DEFAULT_ID, is_container_id

INGRESS = "ingress"
"""What stands for the driver of the network of a Swarm's mesh, whatever its name is."""

MAX_NETWORKS = 10_000
"""So many of one engine's networks are remembered, in some 2 MB; a bridge takes some 0.3 s to make."""


class _Network(msgspec.Struct, rename="pascal", frozen=True, gc=False):
    """One entry of `GET /networks`."""

    id: str
    name: str = ""
    driver: str = ""
    ingress: bool = False


_NETWORKS = msgspec.json.Decoder(tuple[_Network, ...] | None)


def drivers_of_list(body: bytes, *, by_podman: bool = False) -> Mapping[str, str]:
    """
    Return the drivers in the answer of `GET /networks`, by the network's id.

    Args:
        body: The answer.
        by_podman: Whether Podman answered: before version 5 it says a network's name of a container where its id
            should be, so that they are told by name as well.

    Raises:
        SourceError: It is no such list.
    """
    listed = _listed(body)
    drivers = {each.id: INGRESS if each.ingress else each.driver for each in listed}
    named = {name: drivers[each.id] for each in listed for name in _names(each)} if by_podman else {}
    return named | drivers


def names_of_list(body: bytes, *, driver: str | None = None) -> frozenset[str]:
    """Return the names of the networks in the same answer, or of those of a driver; raises likewise."""
    return frozenset(name for each in _listed(body) if driver in (None, each.driver) for name in _names(each))


def _names(network: _Network) -> tuple[str, ...]:
    """Return what a network is called: Podman's default one has two names."""
    return (network.name, PODMAN_DEFAULT) if network.id == PODMAN_DEFAULT_ID else (network.name,)


def _listed(body: bytes) -> tuple[_Network, ...]:
    try:
        networks = _NETWORKS.decode(body) or ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(f"the engine's list of networks cannot be read: {error}") from error
    return networks[:MAX_NETWORKS]


class NetworkDrivers:
    """
    The drivers of one engine's networks.

    Args:
        ask: Asks the engine for all of them, by id; raises `SourceError`.
        always: Whether they matter also where a container is on one network alone: of an engine that nginx is not on
            nothing but an overlay's address is reached.
    """

    def __init__(self, ask: Callable[[], Awaitable[Mapping[str, str]]], *, always: bool = False) -> None:
        self._ask = ask
        self._always = always
        self._asking = asyncio.Lock()  # who finds one asking waits for that answer
        self._drivers: Mapping[str, str] = {}  # by the id, which is never another network's, or a name
        self._missing: set[str] = set()  # ids that no answer had, until asking is worth another try
        self._doubtful: set[str] = set()  # names whose drivers are known, which may be another network's by now

    def forget_failures(self) -> None:
        """Let what could not be had be asked for once more, and what is known by a name: that may be another's now."""
        self._missing.clear()
        self._doubtful = {id for id in self._drivers if not _is_network_id(id)}

    async def completed(self, container: Container) -> Container:
        """Return a container with the drivers of its networks, as far as its address may hang on them."""
        if not (_has_choice(container) or (self._always and container.status.is_up and container.endpoints)):
            return container
        ids = {endpoint.network_id for endpoint in container.endpoints if endpoint.network_id}
        if self._unknown(ids):
            await self._learn(ids)
        drivers = self._drivers
        endpoints = tuple(replace(each, driver=drivers.get(each.network_id, "")) for each in container.endpoints)
        return replace(container, endpoints=endpoints)

    async def _learn(self, ids: set[str]) -> None:
        async with self._asking:
            if not self._unknown(ids):
                return  # somebody else asked meanwhile
            with suppress(SourceError):  # then what was known stays
                self._drivers = await self._ask()
            # Until the next list what is not known is a guess: a proxy that refuses must not be asked at each event.
            self._missing |= ids - self._drivers.keys()
            self._doubtful.clear()

    def _unknown(self, ids: set[str]) -> set[str]:
        """Return those of the networks for whose drivers the engine must be asked."""
        return (ids - self._drivers.keys() - self._missing) | (ids & self._doubtful)


def _is_network_id(text: str) -> bool:
    return is_container_id(text)  # which look alike


def _has_choice(container: Container) -> bool:
    # A task of a Swarm may be on the mesh's network alone, and only the engine says which one that is.
    is_task = bool(container.label(TASK_ID_LABEL))
    return container.status.is_up and len(container.endpoints) > (0 if is_task else 1)

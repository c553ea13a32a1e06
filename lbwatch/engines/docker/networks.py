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
from lbwatch.core.model import Container

INGRESS = "ingress"
"""What stands for the driver of the network of a Swarm's mesh, whatever its name is."""

MAX_NETWORKS = 10_000
"""So many of one engine's networks are remembered, in some 2 MB; a bridge takes some 0.3 s to make."""

_SWARM_TASK = "com.docker.swarm.task.id"


class _Network(msgspec.Struct, rename="pascal", frozen=True, gc=False):
    """One entry of `GET /networks`."""

    id: str
    name: str = ""
    driver: str = ""
    ingress: bool = False


_NETWORKS = msgspec.json.Decoder(tuple[_Network, ...] | None)


def drivers_of_list(body: bytes) -> Mapping[str, str]:
    """
    Return the drivers in the answer of `GET /networks`, by the network's id.

    Raises:
        SourceError: It is no such list.
    """
    return {each.id: INGRESS if each.ingress else each.driver for each in _listed(body)}


def names_of_list(body: bytes) -> frozenset[str]:
    """Return the names of the networks in the same answer; raises likewise."""
    return frozenset(each.name for each in _listed(body))


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
    """

    def __init__(self, ask: Callable[[], Awaitable[Mapping[str, str]]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()  # who finds one asking waits for that answer
        self._drivers: Mapping[str, str] = {}  # by the id, which is never another network's
        self._missing: set[str] = set()  # ids that no answer had, until asking is worth another try

    def forget_failures(self) -> None:
        """Let what could not be had be asked for once more."""
        self._missing.clear()

    async def completed(self, container: Container) -> Container:
        """Return a container with the drivers of its networks, as far as its address may hang on them."""
        if not _has_choice(container):
            return container
        ids = {endpoint.network_id for endpoint in container.endpoints if endpoint.network_id}
        if ids - self._drivers.keys() - self._missing:
            await self._learn(ids)
        drivers = self._drivers
        endpoints = tuple(replace(each, driver=drivers.get(each.network_id, "")) for each in container.endpoints)
        return replace(container, endpoints=endpoints)

    async def _learn(self, ids: set[str]) -> None:
        async with self._asking:
            if not ids - self._drivers.keys() - self._missing:
                return  # somebody else asked meanwhile
            with suppress(SourceError):  # then what was known stays
                self._drivers = await self._ask()
            # Until the next list what is not known is a guess: a proxy that refuses must not be asked at each event.
            self._missing |= ids - self._drivers.keys()


def _has_choice(container: Container) -> bool:
    # A task of a Swarm may be on the mesh's network alone, and only the engine says which one that is.
    is_task = any(key == _SWARM_TASK for key, _ in container.labels)
    return container.status.is_up and len(container.endpoints) > (0 if is_task else 1)

"""Asks each engine once what the daemon will ask of it, all at once: one that is away holds up no other."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from lbwatch.core.errors import SourceError
from lbwatch.engines.docker.address import EngineAddress
from lbwatch.engines.docker.client import ASKED_OF_MANAGER, EngineClient, Ping
from lbwatch.engines.docker.identity import EngineInfo
from lbwatch.engines.docker.reachedat import ReachedAt
from lbwatch.settings import Settings
from lbwatch.wiring.parts import make_addresses, nginx_address

OF_MANAGER = ("/services", "/tasks", "/nodes")
"""Lists that managers alone have."""

MANAGER_TIMEOUT_S = 3.0
"""Of each; one whose Swarm has lost most of its managers never answers."""

_NONE_OF_THEM = json.dumps({"id": ["0" * 25]})
"""A filter that nothing passes: whether an answer comes is all that matters, and a Swarm may have 10,000 tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLook:
    """
    What one engine answered.

    Attributes:
        address: Where it is.
        ping: Its sign of life; `None`: it is away, or refuses something that is needed.
        containers: The ids of those that it has.
        info: Who it says that it is; `None`: it does not, or what stands before it keeps that to itself.
        error: Why there is nothing of all that.
        swarm_error: Why its Swarm's tasks cannot be asked for; `None`: they can, or nobody will.
        reach_error: Why the name by which its published ports are reached leads nowhere, in words.
    """

    address: EngineAddress
    ping: Ping | None = None
    containers: frozenset[str] = frozenset()
    info: EngineInfo | None = None
    error: SourceError | None = None
    swarm_error: SourceError | None = None
    reach_error: str | None = None

    @property
    def name(self) -> str:
        """Return what the engine is called."""
        return self.address.engine.name


def asks_swarm(look: EngineLook, *, settings: Settings) -> bool:
    """Return whether an engine is asked for the tasks of its Swarm."""
    swarm = None if look.info is None else look.info.swarm
    return settings.engine.swarm != "off" and swarm is not None and swarm.is_manager


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[EngineClient]:
    """Give a client of the engine on whose machine nginx runs, and close it; nothing is asked yet."""
    async with connected_to(nginx_address(settings)) as client:
        yield client


@asynccontextmanager
async def connected_to(address: EngineAddress) -> AsyncIterator[EngineClient]:
    """Give a client of an engine, likewise."""
    client = EngineClient(address)
    try:
        yield client
    finally:
        await client.close()


async def engine_looks(settings: Settings) -> tuple[EngineLook, ...]:
    """Ask all engines, as they are set; one that is away takes the others no time."""
    looks = (_engine_look(each, settings=settings) for each in make_addresses(settings))
    return tuple(await asyncio.gather(*looks))


async def _engine_look(address: EngineAddress, *, settings: Settings) -> EngineLook:
    reached = ReachedAt(address.reached_at)
    async with connected_to(address) as client:
        found, _ = await asyncio.gather(_answers(client, address=address, settings=settings), reached.resolve())
    return found if reached.error is None else replace(found, reach_error=reached.error)


async def _answers(client: EngineClient, *, address: EngineAddress, settings: Settings) -> EngineLook:
    try:
        ping = await client.ping()
        containers = frozenset(each.id for each in await client.list_containers())
        info = await client.info()
    except SourceError as error:
        return EngineLook(address=address, error=error)
    found = EngineLook(address=address, ping=ping, containers=containers, info=info)
    if not asks_swarm(found, settings=settings):
        return found
    return replace(found, swarm_error=await _swarm_error(client))


async def _swarm_error(client: EngineClient) -> SourceError | None:
    """Return why a manager does not answer what it will be asked for; `None`: it does."""
    asked = (
        client.ask("GET", path, timeout_s=MANAGER_TIMEOUT_S, needs=ASKED_OF_MANAGER, query={"filters": _NONE_OF_THEM})
        for path in OF_MANAGER
    )
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, SourceError):
            raise answer
    return next((each for each in answers if isinstance(each, SourceError)), None)

"""The engines that are followed, as settings have them, and what of them holds about routing."""

import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import structlog

from lbwatch.core.errors import StateError
from lbwatch.core.model import Engine
from lbwatch.core.rules import Rules
from lbwatch.engines.docker.address import EngineAddress, nginx_engine_of
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.reachedat import ReachedAt
from lbwatch.engines.docker.source import DockerSource
from lbwatch.engines.followed import FollowedEngine, NewSwarm
from lbwatch.engines.pool import EnginePool
from lbwatch.engines.swarm.doors import Door
from lbwatch.engines.swarm.source import SwarmSource
from lbwatch.settings import Settings
from lbwatch.system.enginememory import EngineMemory, Kept, forget_others
from lbwatch.wiring.access import followed
from lbwatch.wiring.parts import make_addresses
from lbwatch.wiring.sites import read_beside

_log = structlog.get_logger()


def make_pool(
    settings: Settings, *, stack: AsyncExitStack, asks_identity: bool = False, keeps: bool = False
) -> EnginePool:
    """
    Return the engines that are followed; their connections go with the stack.

    Args:
        settings: What the user set.
        stack: Closes the connections.
        asks_identity: Whether each engine is asked who it is, beside what it has.
        keeps: Whether it is a daemon's: what engines say is kept for a start at which one is away, what was kept of
            others is forgotten, and it is logged which engine anyone may command. What was kept of these counts in any
            case.

    Raises:
        SettingsError: An engine cannot be reached as it is set.
    """
    addresses = make_addresses(settings)
    nginx_engine = nginx_engine_of(settings.engine, addresses)
    engines: list[FollowedEngine] = []
    for address in addresses:
        if address.warning and keeps:  # a command that only looks has `check` for that
            _log.warning("source.unprotected", warning=address.warning)
        client = EngineClient(address)
        stack.push_async_callback(client.close)
        memory = EngineMemory(settings.routing.state_dir, engine=address.engine)
        kept = _kept(memory, url=address.name)
        known = kept.address if kept is not None and kept.host == address.reached_at else ""
        at = ReachedAt(address.reached_at, known=known)
        source = _source(
            client,
            at=at,
            settings=settings,
            address=address,
            runs_nginx=address.engine.name == nginx_engine,
            is_only=len(addresses) == 1,
            asks_identity=asks_identity,
        )
        engines.append(
            FollowedEngine(
                engine=address.engine,
                source=source,
                client=client,
                url=address.name,
                at=at,
                kept=kept,
                memory=memory if keeps else None,
            )
        )
    if keeps:
        forget_others(settings.routing.state_dir, names=[each.name for each in engines])
    return EnginePool(
        engines,
        nginx_engine=nginx_engine,
        new_swarm=_new_swarm(settings),
        resync_interval_s=settings.routing.resync_interval,
    )


def _kept(memory: EngineMemory, *, url: str) -> Kept | None:
    """Return what was kept of an engine there; what cannot be read is logged, and counts as nothing."""
    try:
        kept = memory.load()
    except StateError as error:
        _log.warning(error.event, error=str(error))
        return None
    return kept if kept is not None and kept.url == url else None


def _new_swarm(settings: Settings) -> NewSwarm | None:
    """Return what makes the source of a Swarm; `None`: none is followed."""
    if settings.engine.swarm == "off":
        return None

    def new(*, engine: Engine, doors: Callable[[], Sequence[FollowedEngine]]) -> SwarmSource:
        return SwarmSource(
            name=engine.name,
            engine=engine,
            doors=lambda: [Door(name=each.name, client=each.client) for each in doors()],
            prefix=settings.routing.label_prefix,
            expose_all=settings.routing.expose == "all",
            also_labels=read_beside(settings)[1],
            resync_interval_s=settings.routing.resync_interval,
            random=random.random,
        )

    return new


def _source(
    client: EngineClient,
    *,
    at: ReachedAt,
    settings: Settings,
    address: EngineAddress,
    runs_nginx: bool,
    is_only: bool,
    asks_identity: bool,
) -> DockerSource:
    """
    Return the source of one engine.

    Args:
        client: The connection to it.
        at: Where its published ports are reached; looked up when a stream begins.
        settings: What the user set.
        address: Where it is.
        runs_nginx: Whether nginx runs on its machine.
        is_only: Whether there is no other.
        asks_identity: Whether it is asked who it is.
    """
    variables, also_labels = read_beside(settings)
    # Where it is known what nginx reaches no driver matters, unless an overlay of another machine's is to be known.
    is_alone = is_only and runs_nginx
    is_known = bool(settings.routing.networks or settings.nginx.nginx_container)
    follows_swarm = settings.engine.swarm == "auto"
    return DockerSource(
        client,
        engine=address.engine,
        prefix=settings.routing.label_prefix,
        expose_all=settings.routing.expose == "all",
        resync_interval_s=settings.routing.resync_interval,
        drain_timeout_s=settings.routing.drain_timeout,
        random=random.random,
        variables=variables,
        also_labels=also_labels,
        follows=followed(settings) if runs_nginx else None,
        asks_networks=not (is_known and is_alone),
        asks_all_networks=not is_alone,
        asks_identity=asks_identity or follows_swarm,
        connecting=at.resolve,
    )


def with_engines(rules: Rules, *, pool: EnginePool) -> Rules:
    """Return the rules of routing with where the engines are, and which is nginx's."""
    return replace(
        rules,
        nginx_engine=pool.nginx_engine,
        addresses=pool.addresses(),
        unresolved=pool.unresolved(),
        several_engines=len(pool.engines) > 1,
    )

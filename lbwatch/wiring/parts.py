"""The parts that a daemon and a command that only looks have in common, each made of settings."""

import os
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import structlog

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.config_test.container import TEST_FOLDER
from lbwatch.balancers.nginx.quoting import settled
from lbwatch.balancers.nginx.streams import BothRenderer, StreamRenderer
from lbwatch.balancers.nginx.version import Version
from lbwatch.balancers.template import Renderer, shipped_templates
from lbwatch.core.draining import Drains
from lbwatch.core.errors import OutputError, StateError
from lbwatch.core.model import Suspended
from lbwatch.core.plan import Planner, Rules
from lbwatch.core.site import SiteRules
from lbwatch.engines.docker.address import EngineAddress, engine_addresses, nginx_engine_of
from lbwatch.reconciler import LoadBalancer, Reconciler, Source
from lbwatch.settings import DEFAULT_DOCKER_HOST, MOUNTED_DOCKER_HOST, USER_TEMPLATES, Settings
from lbwatch.system import mounts
from lbwatch.system.state import State
from lbwatch.system.temporary import temporary_folder
from lbwatch.wiring.sites import of_sites

_log = structlog.get_logger()


def written_files(settings: Settings) -> dict[str, Path]:
    """Return the files that are written, by the settings that name them."""
    stream = settings.sites.stream_output
    return {"output": settings.nginx.output} | ({} if stream is None else {"stream_output": stream})


def make_addresses(settings: Settings) -> tuple[EngineAddress, ...]:
    """Return where the engines are, from settings and the docker client's own variables; raises `SettingsError`."""
    return engine_addresses(settings.engine, environ=os.environ, default=_default_docker_host())


def make_address(settings: Settings) -> EngineAddress:
    """Return where the first engine is, likewise."""
    return make_addresses(settings)[0]


def nginx_address(settings: Settings) -> EngineAddress:
    """Return where the engine is on whose machine nginx runs, likewise; the first where it runs on none of them."""
    addresses = make_addresses(settings)
    name = nginx_engine_of(settings.engine, addresses)
    return next((each for each in addresses if each.engine.name == name), addresses[0])


def _default_docker_host() -> str:
    """
    Return where the engine is if nobody says so.

    In /tmp anyone can put a socket, which would be believed: a mount there is root's word.
    """
    usual, other = (Path(each.removeprefix("unix://")) for each in (DEFAULT_DOCKER_HOST, MOUNTED_DOCKER_HOST))
    return MOUNTED_DOCKER_HOST if not usual.exists() and mounts.is_mounted(other) else DEFAULT_DOCKER_HOST


def make_renderer(
    settings: Settings, *, sites: SiteRules, version: Callable[[], Version | None] = lambda: None
) -> Renderer:
    """
    Return the renderer of the template that is set, and of that for ports; it is not loaded yet.

    Args:
        settings: What the user set.
        sites: What holds for all sites.
        version: Returns that of nginx; `None`: not known.
    """
    folders = [USER_TEMPLATES, shipped_templates()]
    stream = None
    if settings.sites.stream_output is not None:
        name = settings.sites.stream_template
        stream = StreamRenderer(name, folders=folders, block=limits.block, filters=limits.FILTERS, settled=settled)
    return BothRenderer(
        settings.nginx.template,
        stream=stream,
        folders=folders,
        block=limits.block,
        filters=limits.FILTERS,
        settled=settled,
        of_sites=of_sites(sites, version=version),
    )


def make_state(settings: Settings) -> State:
    """Return what survived the latest restart; what cannot be read is logged, and counts as nothing."""
    state = State(settings.routing.state_dir)
    try:
        state.load()
    except StateError as error:
        _log.warning(error.event, error=str(error))
    return state


def make_reconciler(
    settings: Settings,
    *,
    source: Source,
    balancer: LoadBalancer,
    rules: Callable[[], Rules],
    state: State,
    known: Suspended | None = None,
    logs_routes: bool = True,
    tries_ports: bool = False,
) -> Reconciler:
    """
    Return the loop of a daemon, or of a command that looks.

    Args:
        settings: What the user set.
        source: The engines.
        balancer: What is kept in step.
        rules: Returns what holds about routing now.
        state: Knows the drains and pauses by hand.
        known: Who is suspended, as a running daemon said; `None`: it is found out here.
        logs_routes: Whether it logs what becomes of containers.
        tries_ports: Whether somebody tries ports that are waited for.
    """
    planner = Planner(
        rules=rules,
        drains=Drains(timeout_s=settings.routing.drain_timeout),
        drained_by_hand=lambda: state.drained,
        paused_by_hand=lambda: state.paused,
        known=known,
        tries_ports=tries_ports,
    )
    return Reconciler(
        source,
        balancer=balancer,
        planner=planner,
        retry_limit_s=settings.routing.resync_interval,
        random=random.random,
        wall=time.time,
        logs_routes=logs_routes,
    )


def scratch_folder(stack: AsyncExitStack, *, output: Path) -> Path:
    """
    Return an empty folder for a test, which goes with the stack: hidden beside the output where there is no other room.

    Raises:
        OutputError: There is no room there either.
    """
    with suppress(OSError):
        return stack.enter_context(temporary_folder(prefix="lbwatch-scratch-"))
    try:
        return stack.enter_context(temporary_folder(prefix=f"{TEST_FOLDER}-", within=output.parent))
    except OSError as error:
        raise OutputError(output.parent, error=error) from error

"""Builds the parts of a daemon, and what they have in common with those of a command that only looks."""

import asyncio
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from lbwatch import __version__
from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.balancer import Nginx, Tester
from lbwatch.balancers.nginx.config_test.container import TEST_FOLDER
from lbwatch.balancers.nginx.evidence import FILE
from lbwatch.balancers.nginx.live.push import Push
from lbwatch.balancers.nginx.livefile import Control
from lbwatch.balancers.nginx.outputs import Locks
from lbwatch.balancers.nginx.quoting import settled
from lbwatch.balancers.nginx.streams import BothRenderer, StreamRenderer
from lbwatch.balancers.nginx.version import Version
from lbwatch.balancers.template import Renderer, shipped_templates
from lbwatch.core.draining import Drains
from lbwatch.core.errors import OutputError, OutputHeldError, SettingsError, SourceError, StateError
from lbwatch.core.explain import Explanation, story_of
from lbwatch.core.hostwords import HostExplanation, host_of
from lbwatch.core.model import BalancerStatus, Container, Suspended
from lbwatch.core.plan import Planner, Rules
from lbwatch.core.schedule import ReloadPace
from lbwatch.core.serving import places_of
from lbwatch.core.site import SiteRules
from lbwatch.core.status import Status, unready
from lbwatch.engines.docker.address import EngineAddress, engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.source import DockerSource
from lbwatch.engines.recorded import RecordedSource
from lbwatch.reconciler import LoadBalancer, Reconciler
from lbwatch.settings import DEFAULT_DOCKER_HOST, MOUNTED_DOCKER_HOST, USER_TEMPLATES, Settings
from lbwatch.system import logs, mounts, place
from lbwatch.system.connecting import PortTries
from lbwatch.system.lock import FileLock
from lbwatch.system.sitefiles.folders import SiteFolders
from lbwatch.system.state import State
from lbwatch.system.temporary import temporary_folder
from lbwatch.wiring.access import NOT_LIVE, NginxAccess, followed, not_live
from lbwatch.wiring.filenames import FileNames
from lbwatch.wiring.sites import of_sites, read_beside, site_rules, with_sites

LOOK_TIMEOUT_S = 1.0
"""Of a look at a container that somebody asks about: a command waits for 2 s, and an engine may hang just then."""

_EPOCH_BYTES = 4  # tell one run of lbwatch from another, to nginx's workers

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What `run` keeps going, built and not yet started."""

    source: DockerSource
    reconciler: Reconciler
    ports: PortTries
    folders: SiteFolders
    names: FileNames
    renderer: Renderer
    state: State
    nginx: Nginx
    rules: Callable[[], Rules]
    settings: Settings

    def quick_status(self) -> Status:
        """Return the status of this instant, without what must be read from disk for it."""
        return Status(
            version=__version__,
            now=asyncio.get_running_loop().time(),
            at=time.time(),
            engines=(self.source.status(),),
            applied=self.reconciler.applied(),
            history=self.reconciler.history.copy(),
            balancer=BalancerStatus(),
            resync_interval_s=self.settings.routing.resync_interval,
            reload_interval_s=self.settings.nginx.reload_interval,
            label_prefix=self.settings.routing.label_prefix,
            log_dropped=logs.dropped(),
            hold_refusal=self.reconciler.planner.suspended.hold_refusal,
        )

    async def status(self) -> Status:
        """Return all of it."""
        balancer = await self.nginx.status()
        believed = self.settings.nginx.reload_command is not None and balancer.workers is None
        return replace(
            self.quick_status(),
            balancer=replace(balancer, believed=believed),
            containers=self.reconciler.containers() or (),
            unmatched=self.names.unmatched,
        )

    async def explain_host(self, host: str) -> HostExplanation:
        """Return what becomes of the requests for a host."""
        status = await self.status()
        # In a thread: whoever wrote its labels, and how many containers serve it, has a say in how long it takes.
        return await asyncio.to_thread(host_of, status, host, rules=self.rules())

    async def explain(self, container: Container | None) -> Explanation:
        """Return why each container, or one of them, is or is not routed."""
        status = await self.status()
        # In a thread, as the story below: whoever looks at a page may ask, of ten thousand containers, and the owner of
        # one may have given it 12,000 labels.
        routes = await asyncio.to_thread(lambda: status.routes)
        routes = tuple(each for each in routes if container is None or each.container == container.name)
        upstreams = {each.upstream for each in routes}
        places = {} if (plan := status.applied.plan) is None else places_of(plan)
        explanation = Explanation(
            source=self.source.name,
            routes=routes,
            reasons=tuple(unready(status)),
            remarks=status.remarks,
            waits=tuple(each for each in status.waits if each.upstream in upstreams),
            places={name: each for name, each in places.items() if name in upstreams},
        )
        if container is None:
            return explanation
        with suppress(SourceError, TimeoutError):  # then what is known has to do
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                container = await self.source.look(container.id) or container
        story = await asyncio.to_thread(
            story_of,
            container,
            rules=self.rules(),
            containers={each.id: each for each in self.reconciler.containers() or ()},
            suspended=self.reconciler.planner.suspended,
            events=self.source.recent(),
            routes=plan.routes if plan else (),
            text=await asyncio.to_thread(self.nginx.text),
        )
        return replace(explanation, story=story)


@asynccontextmanager
async def build_daemon(
    settings: Settings,
    *,
    tester: Tester | None = None,
    control: Control | None = None,
    watch: Callable[[LoadBalancer], LoadBalancer] = lambda balancer: balancer,
    hold_refusal: Callable[[], str | None] = lambda: NOT_LIVE,
) -> AsyncIterator[Daemon]:
    """
    Make all parts of a daemon and their connections; everything is put away at the end.

    Args:
        settings: What the user set.
        tester: In the place of the one that settings ask for.
        control: Likewise.
        watch: Given the load balancer; what it returns is used instead.
        hold_refusal: Returns why no request waits for a server now, see `Rules`.
    """
    outputs = written_files(settings)
    for name, path in outputs.items():
        if (reason := place.unusable_reason(path)) is not None:
            raise SettingsError(name, value=path, takes=reason)
    sites = site_rules(settings, environ=os.environ)
    found: list[Nginx] = []  # which is made of the renderer, and knows the version that this writes for
    renderer = make_renderer(settings, sites=sites, version=lambda: found[0].version if found else None)
    renderer.load()
    address = make_address(settings)
    if address.warning:
        _log.warning("source.unprotected", warning=address.warning)
    async with AsyncExitStack() as stack:
        locks = {name: stack.enter_context(FileLock(path)) for name, path in outputs.items()}
        for name, lock in locks.items():
            _acquire(lock, setting=name, output=outputs[name])
        client = EngineClient(address)
        stack.push_async_callback(client.close)
        source = make_source(client, settings=settings, address=address, asks_identity=True)
        access = NginxAccess(settings, client=client, known=source.containers)
        # What stands in for nginx has no workers that could follow.
        lines = access.live_lines() if tester is None else None
        control = control or access.control()
        push = None
        if lines is not None:
            epoch = secrets.token_hex(_EPOCH_BYTES)
            push = Push(settings.nginx.output.parent, lines=lines, pids=control.serving_pids, epoch=epoch)
        balancer = Nginx(
            renderer,
            output=settings.nginx.output,
            tester=tester or access.tester(folder=scratch_folder(stack, output=settings.nginx.output)),
            control=control,
            lock=Locks(*locks.values()),
            pace=ReloadPace(interval_s=settings.nginx.reload_interval),
            evidence=settings.routing.state_dir / FILE,
            stream=settings.sites.stream_output,
            lines=lines,
            push=push,
            retest_s=access.retest_s(),
        )
        found.append(balancer)
        _restore(balancer)
        state = make_state(settings)

        def files_changed() -> None:
            reconciler.wake()

        folders = SiteFolders(sites, changed=files_changed, resync_interval_s=settings.routing.resync_interval)
        await stack.enter_async_context(folders)
        if renderer.writes_sites:
            await folders.start()

        def rules() -> Rules:
            refusal = hold_refusal() if push is None else not_live(balancer.live_refusal)
            rules = access.rules(engine_pid=source.engine_pid, version=balancer.version, hold_refusal=refusal)
            files, writes_sites = folders.files(), renderer.writes_sites
            return with_sites(rules, settings=settings, sites=sites, files=files, writes_sites=writes_sites)

        reconciler = make_reconciler(
            settings, source=source, balancer=watch(balancer), rules=rules, state=state, tries_ports=True
        )
        yield Daemon(
            source=source,
            reconciler=reconciler,
            ports=PortTries(reconciler.planner, news=reconciler.wake),
            folders=folders,
            names=FileNames(plan=lambda: reconciler.applied().plan, rules=rules),
            renderer=renderer,
            state=state,
            nginx=balancer,
            rules=rules,
            settings=settings,
        )


def make_reconciler(
    settings: Settings,
    *,
    source: DockerSource | RecordedSource,
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
        source: The engine.
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
        [source],
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


def written_files(settings: Settings) -> dict[str, Path]:
    """Return the files that are written, by the settings that name them."""
    stream = settings.sites.stream_output
    return {"output": settings.nginx.output} | ({} if stream is None else {"stream_output": stream})


def _acquire(lock: FileLock, *, setting: str, output: Path) -> None:
    """Make sure that no other lbwatch writes the output: the two would undo each other's work for ever."""
    try:
        if not lock.acquire():
            _log.warning("output.not_locked", output=str(output), reason="its file system has no locks")
    except OutputHeldError as error:
        raise SettingsError(
            setting,
            value=output,
            takes=f"another lbwatch, {error.holder}, writes it: end that one first, or set another file",
        ) from error
    except OutputError as error:  # a full disk, say: it is locked before the first replacement
        _log.error(error.event, error=str(error))


def _restore(balancer: Nginx) -> None:
    """Begin with a file that nginx can start from, before anything else is tried."""
    try:
        balancer.file.restore()
    except OutputError as error:  # a full disk, say: it is tried again with the first replacement
        _log.error(error.event, error=str(error))


def make_address(settings: Settings) -> EngineAddress:
    """Return where the engine is, from settings and the docker client's own variables."""
    return engine_address(settings.engine.docker_host, environ=os.environ, default=_default_docker_host())


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


def make_source(
    client: EngineClient, *, settings: Settings, address: EngineAddress, asks_identity: bool = False
) -> DockerSource:
    """
    Return the source of one engine.

    Args:
        client: The connection to it.
        settings: What the user set.
        address: Where it is.
        asks_identity: Whether the engine is asked who it is, beside what it has.
    """
    variables, also_labels = read_beside(settings)
    return DockerSource(
        client,
        name=address.name,
        prefix=settings.routing.label_prefix,
        expose_all=settings.routing.expose == "all",
        resync_interval_s=settings.routing.resync_interval,
        drain_timeout_s=settings.routing.drain_timeout,
        random=random.random,
        variables=variables,
        also_labels=also_labels,
        follows=followed(settings),
        # Where it is known what nginx reaches no driver matters.
        asks_networks=not (settings.routing.networks or settings.nginx.nginx_container),
        asks_identity=asks_identity,
    )

"""Builds a daemon of its parts."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from lbwatch import __version__
from lbwatch.balancers.nginx.balancer import Nginx, Tester
from lbwatch.balancers.nginx.evidence import FILE
from lbwatch.balancers.nginx.live.push import Push
from lbwatch.balancers.nginx.livefile import Control
from lbwatch.balancers.nginx.outputs import Locks
from lbwatch.balancers.template import Renderer
from lbwatch.core.errors import OutputError, OutputHeldError, SettingsError, SourceError
from lbwatch.core.explain import Explanation, story_of
from lbwatch.core.hostwords import HostExplanation, host_of
from lbwatch.core.model import BalancerStatus, Container
from lbwatch.core.origins import origins_of
from lbwatch.core.plan import Rules
from lbwatch.core.schedule import ReloadPace
from lbwatch.core.serving import places_of
from lbwatch.core.status import Status, unready
from lbwatch.engines.pool import EnginePool
from lbwatch.reconciler import LoadBalancer, Reconciler
from lbwatch.settings import Settings
from lbwatch.system import logs, place
from lbwatch.system.connecting import PortTries
from lbwatch.system.lock import FileLock
from lbwatch.system.sitefiles.folders import SiteFolders
from lbwatch.system.state import State
from lbwatch.wiring.access import NOT_LIVE, NginxAccess, not_live
from lbwatch.wiring.engines import make_pool, with_engines
from lbwatch.wiring.filenames import FileNames
from lbwatch.wiring.parts import (
    make_reconciler,
    make_renderer,
    make_state,
    scratch_folder,
    written_files,
)
from lbwatch.wiring.sites import site_folders, site_rules, with_sites

LOOK_TIMEOUT_S = 1.0
"""Of a look at a container that somebody asks about: a command waits for 2 s, and an engine may hang just then."""

_EPOCH_BYTES = 4  # tell one run of lbwatch from another, to nginx's workers

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What `run` keeps going, built and not yet started."""

    source: EnginePool
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
            engines=self.source.statuses(),
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
        return await asyncio.to_thread(host_of, status, host, source=self.source.described, rules=self.rules())

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
            source=self.source.described,
            routes=routes,
            reasons=tuple(unready(status)),
            remarks=status.remarks,
            waits=tuple(each for each in status.waits if each.upstream in upstreams),
            places={name: each for name, each in places.items() if name in upstreams},
            origins=origins_of(status.containers if container is None else (container,)),
            several_engines=status.several_engines,
        )
        if container is None:
            return explanation
        with suppress(SourceError, TimeoutError):  # then what is known has to do
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                container = await self.source.look(container) or container
        story = await asyncio.to_thread(
            story_of,
            container,
            rules=self.rules(),
            containers={each.id: each for each in self.reconciler.containers() or ()},
            suspended=self.reconciler.planner.suspended,
            events=self.source.recent(container),
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
    async with AsyncExitStack() as stack:
        locks = {name: stack.enter_context(FileLock(path)) for name, path in outputs.items()}
        for name, lock in locks.items():
            _acquire(lock, setting=name, output=outputs[name])
        source = make_pool(settings, stack=stack, asks_identity=True, keeps=True)
        beside = source.beside_nginx()
        access = NginxAccess(settings, client=beside.client, known=beside.source.containers)
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

        folders = await site_folders(
            stack, settings=settings, sites=sites, writes_sites=renderer.writes_sites, changed=files_changed
        )

        def rules() -> Rules:
            refusal = hold_refusal() if push is None else not_live(balancer.live_refusal)
            rules = access.rules(engine_pid=beside.source.engine_pid, version=balancer.version, hold_refusal=refusal)
            rules = with_engines(rules, pool=source)
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

"""Builds the daemon from `Settings` and runs it: the only place that knows all rooms."""

import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from lbwatch import __version__, files
from lbwatch.desired import Rules
from lbwatch.docker.client import EngineClient
from lbwatch.docker.source import DockerSource
from lbwatch.draining import Drains
from lbwatch.errors import (
    DeadSocketError,
    OutputError,
    OutputHeldError,
    RenderError,
    SettingsError,
    SourceError,
    StateError,
)
from lbwatch.model import BalancerStatus, Container
from lbwatch.nginx.apply import Nginx
from lbwatch.nginx.control import Control, Tester
from lbwatch.notify import Notifier
from lbwatch.reach import Reach, selector
from lbwatch.reconcile import LoadBalancer, Reconciler
from lbwatch.remote import ControlService, listening
from lbwatch.render import Renderer, shipped_templates
from lbwatch.report import Status, rows_of, standing, unready
from lbwatch.settings import USER_TEMPLATES, EngineAddress, Settings, engine_address
from lbwatch.state import State
from lbwatch.status.server import serving
from lbwatch.story import Explanation, addresses_of, story_of

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What `run` keeps going, built and not yet started."""

    source: DockerSource
    reconciler: Reconciler
    renderer: Renderer
    state: State
    nginx: Nginx
    rules: Callable[[], Rules]
    settings: Settings

    def quick_status(self) -> Status:
        """Give the picture of this instant, without what must be read from disk for it."""
        return Status(
            version=__version__,
            now=asyncio.get_running_loop().time(),
            at=time.time(),
            engines=(self.source.status(),),
            progress=self.reconciler.progress(),
            work=self.reconciler.history.copy(),
            seen=BalancerStatus(),
            resync_interval_s=self.settings.resync_interval,
            reload_interval_s=self.settings.reload_interval,
        )

    async def look(self) -> Status:
        """Give all of it."""
        seen = await self.nginx.seen()
        return replace(self.quick_status(), seen=seen)

    async def explain(self, container: Container | None) -> Explanation:
        """Tell why each container, or one of them, is or is not routed."""
        status = await self.look()
        rows = [row for row in rows_of(status) if container is None or row.container == container.name]
        told = Explanation(
            source=self.source.name, rows=tuple(rows), reasons=tuple(unready(status)), remarks=status.seen.remarks
        )
        if container is None:
            return told
        with suppress(SourceError):  # then what is known has to do
            container = await self.source.look(container.id) or container
        story = story_of(
            container,
            rules=self.rules(),
            containers={each.id: each for each in self.reconciler.containers() or ()},
            suspended=self.reconciler.suspended,
            events=self.source.recent(),
            places=addresses_of(container.name, status.progress.plan),
            text=await asyncio.to_thread(self.nginx.text),
        )
        return replace(told, story=story)


async def run(settings: Settings) -> int:
    """
    Follow the engine until SIGTERM or SIGINT.

    Returns:
        The exit code: 1 where only a new start can help, which was logged.

    Raises:
        SettingsError, RenderError: It cannot start like this.
    """
    notifier = Notifier(os.environ, pid=os.getpid())
    os.environ.pop("NOTIFY_SOCKET", None)  # nginx and the user's commands, which inherit it, do not speak for us
    stopped = asyncio.Event()
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(build(settings))
        _keep_state(daemon.state, lock=stack.enter_context(files.FileLock(daemon.state.path)))
        service = ControlService(
            daemon.state,
            loop=daemon.reconciler,
            explain=daemon.explain,
            reload_interval_s=settings.reload_interval,
        )
        await stack.enter_async_context(listening(settings.control_socket, service=service))
        await stack.enter_async_context(serving(settings.status_listen, hosts=settings.status_hosts, view=daemon))
        _listen(stopped, daemon=daemon, notifier=notifier)
        _log.info("daemon.started", version=__version__, source=daemon.source.name, output=str(settings.output))
        notifier.ready()  # the engine may be late
        try:
            await keep_going(daemon, until=stopped, passed=lambda: notifier.passed(standing(daemon.quick_status())))
        except DeadSocketError:
            return 1
    _log.info("daemon.stopped")
    return 0


@asynccontextmanager
async def build(
    settings: Settings,
    *,
    tester: Tester | None = None,
    control: Control | None = None,
    watch: Callable[[LoadBalancer], LoadBalancer] = lambda balancer: balancer,
) -> AsyncIterator[Daemon]:
    """
    Make all rooms and their connections; everything is put away at the end.

    Args:
        settings: What the user set.
        tester: In the place of the one that settings ask for.
        control: Likewise.
        watch: Given the load balancer; what it returns is used instead.
    """
    if (reason := files.unusable_reason(settings.output)) is not None:
        raise SettingsError("output", value=settings.output, takes=reason)
    renderer = make_renderer(settings)
    renderer.load()
    address = make_address(settings)
    if address.warning:
        _log.warning("source.unprotected", warning=address.warning)
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(files.FileLock(settings.output))
        _take(lock, output=settings.output)
        client = EngineClient(address)
        stack.push_async_callback(client.close)
        source = make_source(client, settings=settings, address=address)
        reach = Reach(settings, client=client, known=source.containers)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbwatch-")))
        balancer = Nginx(
            renderer,
            output=settings.output,
            tester=tester or reach.tester(folder=folder),
            control=control or reach.control(),
            lock=lock,
        )
        state = make_state(settings)

        def rules() -> Rules:
            return reach.rules(engine_pid=source.engine_pid)

        reconciler = Reconciler(
            [source],
            balancer=watch(balancer),
            rules=rules,
            drains=Drains(timeout_s=settings.drain_timeout),
            drained_by_hand=lambda: state.drained,
            reload_interval_s=settings.reload_interval,
            retry_limit_s=settings.resync_interval,
            random=random.random,
            wall=time.time,
        )
        yield Daemon(
            source=source,
            reconciler=reconciler,
            renderer=renderer,
            state=state,
            nginx=balancer,
            rules=rules,
            settings=settings,
        )


def _take(lock: files.FileLock, *, output: Path) -> None:
    """Make sure that no other lbwatch writes the output: the two would undo each other's work for ever."""
    try:
        if not lock.acquire():
            _log.warning("output.not_locked", output=str(output), reason="its file system has no locks")
    except OutputHeldError as error:
        raise SettingsError("output", value=output, takes=f"another lbwatch, {error.holder}, writes it") from error
    except OutputError as error:  # a full disk, say: it is taken before the first replacement
        _log.error(error.event, error=str(error))


def _keep_state(state: State, *, lock: files.FileLock) -> None:
    """Say, once and before it matters, if what is changed by hand will not survive."""
    try:
        state.check()
        lock.acquire()
    except OutputHeldError as error:
        reason = (
            f"state_dir: {error.holder} keeps its drains there too, and each undoes the other's: give this one its own"
        )
        _log.warning("state.not_kept", reason=reason)
    except (StateError, OutputError) as error:  # a full disk, say: routing does not need it
        _log.warning("state.not_kept", reason=f"{error}: drains by hand will not survive a restart")


async def keep_going(daemon: Daemon, *, until: asyncio.Event, passed: Callable[[], None] = lambda: None) -> None:
    """
    Run all tasks of a daemon until the event is set; a task that ends by itself is a bug and ends everything.

    Raises:
        DeadSocketError: Only a new start can help.
    """
    dead: Exception | None = None
    try:
        await _kept_going(daemon, until=until, passed=passed)
    except* DeadSocketError as group:
        dead = group.exceptions[0]
    if dead is not None:
        raise dead


async def _kept_going(daemon: Daemon, *, until: asyncio.Event, passed: Callable[[], None]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(daemon.source.run(daemon.reconciler.wake), name="source"),
            group.create_task(daemon.reconciler.run(passed=passed), name="reconcile"),
        ]
        stop = group.create_task(until.wait(), name="stop")
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if stop not in done and all(task.exception() is None for task in done):
            raise RuntimeError(f"task {done.pop().get_name()} ended, which it never should")
        for task in tasks:
            task.cancel()
        stop.cancel()


def make_address(settings: Settings) -> EngineAddress:
    """Tell where the engine is, from settings and the docker client's own variables."""
    return engine_address(settings.docker_host, environ=os.environ)


def make_renderer(settings: Settings) -> Renderer:
    """Make the renderer of the template that is set; it is not loaded yet."""
    return Renderer(settings.template, folders=[USER_TEMPLATES, shipped_templates()])


def make_state(settings: Settings) -> State:
    """Read what survived the latest restart; what cannot be read is told, and counts as nothing."""
    state = State(settings.state_dir)
    try:
        state.load()
    except StateError as error:
        _log.warning(error.event, error=str(error))
    return state


def make_source(client: EngineClient, *, settings: Settings, address: EngineAddress) -> DockerSource:
    """Make the source of one engine."""
    return DockerSource(
        client,
        name=address.name,
        prefix=settings.label_prefix,
        expose_all=settings.expose == "all",
        resync_interval_s=settings.resync_interval,
        drain_timeout_s=settings.drain_timeout,
        random=random.random,
        follows=selector(settings),
    )


def _listen(stopped: asyncio.Event, *, daemon: Daemon, notifier: Notifier) -> None:
    def stop() -> None:
        notifier.stopping()
        stopped.set()

    def reload() -> None:
        notifier.reloading(monotonic_ns=time.monotonic_ns())
        _reload(daemon)
        notifier.reloaded()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)


def _reload(daemon: Daemon) -> None:
    """Read the template again (a wrong one is logged, the old one stays) and do a full pass."""
    try:
        daemon.renderer.load()
    except RenderError as error:
        _log.error(error.event, error=str(error), path=error.path, line=error.line)
    else:
        _log.info("template.loaded", path=daemon.renderer.name)
    daemon.source.resync()
    daemon.reconciler.renew()

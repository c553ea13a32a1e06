"""Builds the daemon from `Settings` and runs it: the only place that knows all rooms."""

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from lbwatch import __version__, files
from lbwatch.desired import Rules, desired_state
from lbwatch.docker.client import EngineClient
from lbwatch.docker.source import DockerSource
from lbwatch.draining import Drains
from lbwatch.errors import (
    OutputError,
    OutputHeldError,
    ReloadError,
    RenderError,
    SettingsError,
    SourceError,
    StateError,
)
from lbwatch.model import Desired, Held, Snapshot
from lbwatch.nginx.apply import Nginx
from lbwatch.nginx.control import CommandTester, Control, LocalControl, Tester, TreeTester, split_command
from lbwatch.nginx.process import find_master
from lbwatch.reconcile import LoadBalancer, Reconciler
from lbwatch.remote import Desk, listening
from lbwatch.render import Renderer, shipped_templates
from lbwatch.settings import USER_TEMPLATES, EngineAddress, Settings, engine_address
from lbwatch.state import State

FIRST_LOOK_TIMEOUT_S = 20.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What `run` keeps going, built and not yet started."""

    source: DockerSource
    reconciler: Reconciler
    renderer: Renderer
    state: State


async def run(settings: Settings) -> None:
    """
    Follow the engine until SIGTERM or SIGINT.

    Raises:
        SettingsError, RenderError: It cannot start like this.
    """
    stopped = asyncio.Event()
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(build(settings))
        _keep_state(daemon.state, claim=stack.enter_context(files.Claim(daemon.state.path)))
        desk = Desk(daemon.state, balance=daemon.reconciler, reload_interval_s=settings.reload_interval)
        await stack.enter_async_context(listening(settings.control_socket, desk=desk))
        _listen(stopped, reload=lambda: _reload(daemon))
        _log.info("daemon.started", version=__version__, source=daemon.source.name, output=str(settings.output))
        await keep_going(daemon, until=stopped)
    _log.info("daemon.stopped")


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
        claim = stack.enter_context(files.Claim(settings.output))
        _take(claim, output=settings.output)
        client = EngineClient(address)
        stack.push_async_callback(client.close)
        source = make_source(client, settings=settings, address=address)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbwatch-")))
        balancer = Nginx(
            renderer,
            output=settings.output,
            tester=tester or make_tester(settings, folder=folder),
            control=control or make_control(settings),
            claim=claim,
        )
        host = HostNetwork(settings)
        state = make_state(settings)
        reconciler = Reconciler(
            [source],
            balancer=watch(balancer),
            rules=lambda: make_rules(settings, host_shared=host.shared(engine_pid=source.engine_pid)),
            drains=Drains(timeout_s=settings.drain_timeout),
            drained_by_hand=lambda: state.drained,
            reload_interval_s=settings.reload_interval,
            retry_limit_s=settings.resync_interval,
            random=random.random,
        )
        yield Daemon(source=source, reconciler=reconciler, renderer=renderer, state=state)


def _take(claim: files.Claim, *, output: Path) -> None:
    """Make sure that no other lbwatch writes the output: the two would undo each other's work for ever."""
    try:
        if not claim.take():
            _log.warning("output.unclaimed", output=str(output), reason="its file system has no locks")
    except OutputHeldError as error:
        raise SettingsError("output", value=output, takes=f"another lbwatch, {error.holder}, writes it") from error
    except OutputError as error:  # a full disk, say: it is taken before the first replacement
        _log.error(error.event, error=str(error))


def _keep_state(state: State, *, claim: files.Claim) -> None:
    """Say, once and before it matters, if what is changed by hand will not survive."""
    try:
        state.check()
        claim.take()
    except OutputHeldError as error:
        reason = (
            f"state_dir: {error.holder} keeps its drains there too, and each undoes the other's: give this one its own"
        )
        _log.warning("state.not_kept", reason=reason)
    except (StateError, OutputError) as error:  # a full disk, say: routing does not need it
        _log.warning("state.not_kept", reason=f"{error}: drains by hand will not survive a restart")


async def keep_going(daemon: Daemon, *, until: asyncio.Event) -> None:
    """Run all tasks of a daemon until the event is set; a task that ends by itself is a bug and ends everything."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(daemon.source.run(daemon.reconciler.wake), name="source"),
            group.create_task(daemon.reconciler.run(), name="reconcile"),
        ]
        stop = group.create_task(until.wait(), name="stop")
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if stop not in done:
            raise RuntimeError(f"task {done.pop().get_name()} ended, which it never should")
        for task in tasks:
            task.cancel()


async def first_look(
    settings: Settings, *, address: EngineAddress, held: Held | None = None
) -> tuple[Snapshot, Desired]:
    """
    Read the engine once and decide, for the commands that only look.

    Args:
        settings: What the user set.
        address: Of the engine.
        held: What the running daemon said of who is held back. `None`: nothing is known of loops of restarts then, and
            of those that were told to stop as much as the engine still tells.

    Raises:
        SourceError: It cannot be read.
    """
    client = EngineClient(address)
    source = make_source(client, settings=settings, address=address)
    try:
        await client.ping()
        async with asyncio.timeout(FIRST_LOOK_TIMEOUT_S):
            snapshot = await _first_snapshot(source)
    except TimeoutError as error:
        raise SourceError(f"{address.name}: no whole answer within {FIRST_LOOK_TIMEOUT_S:g} s") from error
    finally:
        await client.close()
    shared = HostNetwork(settings).shared(engine_pid=source.engine_pid)
    rules = make_rules(settings, host_shared=shared)
    if held is None:
        now, drains = asyncio.get_running_loop().time(), Drains(timeout_s=settings.drain_timeout)
        held = Held(draining=drains.draining([snapshot], by_hand=make_state(settings).drained, now=now))
    return snapshot, desired_state([snapshot], rules=rules, damped=held.damped, draining=held.draining)


async def _first_snapshot(source: DockerSource) -> Snapshot:
    whole = asyncio.Event()
    following = asyncio.create_task(
        source.run(lambda: whole.set() if source.snapshot() is not None else None), name="first look"
    )
    waiting = asyncio.create_task(whole.wait(), name="first snapshot")
    try:
        await asyncio.wait([following, waiting], return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()
        snapshot = source.snapshot()
        assert snapshot is not None
        return snapshot
    finally:
        following.cancel()
        waiting.cancel()
        await asyncio.gather(following, waiting, return_exceptions=True)


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
    )


def make_tester(settings: Settings, *, folder: Path, quiet: bool = False) -> Tester:
    """Choose how a candidate is tested: the user's command comes first. *quiet*: see `TreeTester`."""
    if settings.test_command is not None:
        return CommandTester(_words("test_command", settings.test_command), folder=folder)
    command = _words("nginx_command", settings.nginx_command)
    return TreeTester(command, main=settings.nginx_conf, output=settings.output, folder=folder, quiet=quiet)


def make_control(settings: Settings) -> LocalControl:
    """Choose how nginx is reloaded: the user's command comes first."""
    command = settings.reload_command
    return LocalControl(
        pidfile=settings.nginx_pidfile, command=None if command is None else _words("reload_command", command)
    )


def make_rules(settings: Settings, *, host_shared: bool) -> Rules:
    """Gather what holds about routing now."""
    return Rules(
        prefix=settings.label_prefix,
        expose_all=settings.expose == "all",
        networks=settings.networks,
        declare=settings.declare,
        host_shared=host_shared,
    )


class HostNetwork:
    """
    Whether nginx shares the network of the engine's host.

    What was seen of a running nginx holds while it is down: its servers must not go when it is restarted.
    """

    def __init__(self, settings: Settings) -> None:
        self._setting = settings.host_network
        self._pidfile = settings.nginx_pidfile
        self._seen: bool | None = None

    def shared(self, *, engine_pid: int | None) -> bool:
        """Tell by the setting, else by the network namespaces of the engine's process and of nginx."""
        if self._setting != "auto":
            return self._setting == "true"
        try:
            self._seen = _same_network(engine_pid, find_master(self._pidfile).pid)
        except ReloadError:
            return _same_network(engine_pid, os.getpid()) if self._seen is None else self._seen
        return self._seen


def _same_network(one: int | None, other: int) -> bool:
    try:
        return os.readlink(f"/proc/{one}/ns/net") == os.readlink(f"/proc/{other}/ns/net")
    except OSError:  # not root, or another pid namespace
        return False


def _words(setting: str, text: str) -> tuple[str, ...]:
    try:
        return split_command(text)
    except ValueError as error:
        raise SettingsError(setting, value=text, takes=f"it takes a command ({error})") from error


def _listen(stopped: asyncio.Event, *, reload: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
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

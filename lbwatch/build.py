"""Builds all parts from `Settings`: the only place that knows every room."""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from lbwatch import __version__
from lbwatch.balancers.nginx.balancer import Control, Nginx, Tester
from lbwatch.balancers.nginx.config_test.container import TEST_FOLDER, ContainerRequiredTester, ContainerTester
from lbwatch.balancers.nginx.config_test.local import CommandTester, CopyTester
from lbwatch.balancers.nginx.container import ContainerControl
from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.nginx.locate import HostNetwork, NginxContainer
from lbwatch.balancers.template import Renderer, shipped_templates
from lbwatch.core.draining import Drains
from lbwatch.core.errors import OutputError, OutputHeldError, SettingsError, SourceError, StateError
from lbwatch.core.model import BalancerStatus, Container
from lbwatch.core.plan import Rules
from lbwatch.core.selector import Selector, selected
from lbwatch.core.status import Status, rows_of, unready
from lbwatch.core.story import Explanation, addresses_of, story_of
from lbwatch.engines.docker.address import EngineAddress, engine_address
from lbwatch.engines.docker.client import ASKED, EngineClient
from lbwatch.engines.docker.exec import EXEC_ASKED, SIGNAL_ASKED, ContainerExec
from lbwatch.engines.docker.source import DockerSource
from lbwatch.reconciler import LoadBalancer, Reconciler
from lbwatch.settings import USER_TEMPLATES, Settings
from lbwatch.system import files, mounts
from lbwatch.system.lock import FileLock
from lbwatch.system.programs import split_command
from lbwatch.system.state import State

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


@asynccontextmanager
async def build_daemon(
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
        lock = stack.enter_context(FileLock(settings.output))
        _take(lock, output=settings.output)
        client = EngineClient(address)
        stack.push_async_callback(client.close)
        source = make_source(client, settings=settings, address=address)
        reach = NginxAccess(settings, client=client, known=source.containers)
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


def _take(lock: FileLock, *, output: Path) -> None:
    """Make sure that no other lbwatch writes the output: the two would undo each other's work for ever."""
    try:
        if not lock.acquire():
            _log.warning("output.not_locked", output=str(output), reason="its file system has no locks")
    except OutputHeldError as error:
        raise SettingsError("output", value=output, takes=f"another lbwatch, {error.holder}, writes it") from error
    except OutputError as error:  # a full disk, say: it is taken before the first replacement
        _log.error(error.event, error=str(error))


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


class NginxAccess:
    """
    All that settings say of one nginx.

    Args:
        settings: What the user set.
        client: The connection to the engine that runs nginx's container, if it is in one.
        known: Gives that engine's containers as they were last seen; `None` before that.

    Attributes:
        nginx_container: Of nginx's container; `None` if it is in none.
    """

    def __init__(
        self, settings: Settings, *, client: EngineClient, known: Callable[[], Mapping[str, Container] | None]
    ) -> None:
        self.nginx_container = nginx_container(settings, known=known)
        self._settings = settings
        self._exec = ContainerExec(client)
        self._host = HostNetwork(pidfile=settings.nginx_pidfile)

    def tester(self, *, folder: Path, copy: Path | None = None, quiet: bool = False) -> Tester:
        """
        Choose how a candidate is tested.

        Args:
            folder: An empty folder for whatever that takes.
            copy: A folder that nginx's container sees too, for the same; `None`: the daemon's.
            quiet: Whether warnings are not logged, see `CopyTester`.
        """
        settings = self._settings
        if settings.test_command is not None:
            tester = CommandTester(_words("test_command", settings.test_command), folder=folder)
            return (
                tester if self.nginx_container is None else ContainerRequiredTester(self.nginx_container, tester=tester)
            )
        command = _words("nginx_command", settings.nginx_command)
        if self.nginx_container is None:
            return CopyTester(
                command, main=settings.nginx_conf, output=settings.output, folder=folder, log_warnings=not quiet
            )
        if settings.nginx_reload == "signal":
            return ContainerRequiredTester(self.nginx_container, tester=None)
        return ContainerTester(
            self._exec,
            nginx_container=self.nginx_container,
            command=command,
            main=settings.nginx_conf,
            output=settings.output,
            output_there=settings.nginx_output,
            folder=folder,
            copy=copy or settings.output.parent / TEST_FOLDER,
            mountinfo=mounts.mountinfo,
        )

    def control(self) -> Control:
        """Choose how nginx is reloaded."""
        settings = self._settings
        if settings.reload_command is not None:
            words = _words("reload_command", settings.reload_command)
            return LocalControl(pidfile=settings.nginx_pidfile, command=words)
        if self.nginx_container is None:
            return LocalControl(pidfile=settings.nginx_pidfile, command=None)
        main = () if settings.nginx_conf is None else ("-c", str(settings.nginx_conf))
        words = (*_words("nginx_command", settings.nginx_command), *main, "-s", "reload")
        by_exec = settings.nginx_reload == "exec"
        return ContainerControl(self._exec, nginx_container=self.nginx_container, command=words if by_exec else None)

    def rules(self, *, engine_pid: int | None) -> Rules:
        """Gather what holds about routing now."""
        return rules(self._settings, self.nginx_container, host_shared=lambda: self._host.shared(engine_pid=engine_pid))

    def asked(self) -> tuple[str, ...]:
        """List what is asked of the engine, for whoever must allow it."""
        if self.nginx_container is None:
            return ASKED
        return (*ASKED, *(EXEC_ASKED if self._settings.nginx_reload == "exec" else SIGNAL_ASKED))


def selector(settings: Settings) -> Selector | None:
    """Tell which container is nginx's; `None` if it is in none."""
    text = settings.nginx_container
    return None if text is None else selected(text, setting="nginx_container")


def nginx_container(
    settings: Settings, *, known: Callable[[], Mapping[str, Container] | None]
) -> NginxContainer | None:
    """Follow nginx's container among those that are known; `None` if it is in none."""
    followed = selector(settings)
    return None if followed is None else NginxContainer(followed, known=known)


def rules(settings: Settings, found: NginxContainer | None, *, host_shared: Callable[[], bool]) -> Rules:
    """
    Gather what holds about routing.

    Args:
        settings: What the user set.
        found: Nginx's container, if it is in one.
        host_shared: Tells, where that is `auto` and nginx is in none, whether it shares the host's network.
    """
    stated = {"true": True, "false": False}.get(settings.host_network)
    auto = host_shared if found is None else found.on_host
    return Rules(
        prefix=settings.label_prefix,
        expose_all=settings.expose == "all",
        networks=settings.networks or (() if found is None else found.networks()),
        declare=settings.declare,
        host_shared=auto() if stated is None else stated,
    )


def _words(setting: str, text: str) -> tuple[str, ...]:
    try:
        return split_command(text)
    except ValueError as error:
        raise SettingsError(setting, value=text, takes=f"it takes a command ({error})") from error

"""Builds all parts from `Settings`: the only place that knows every room."""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from lbwatch import __version__
from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.balancer import Control, Nginx, Tester
from lbwatch.balancers.nginx.config_test.container import TEST_FOLDER, ContainerRequiredTester, ContainerTester
from lbwatch.balancers.nginx.config_test.local import CommandTester, CopyTester
from lbwatch.balancers.nginx.container import ContainerControl
from lbwatch.balancers.nginx.dry_run import DryRun
from lbwatch.balancers.nginx.isolate import names_in
from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.nginx.locate import HostNetwork, NginxContainer
from lbwatch.balancers.template import Renderer, shipped_templates
from lbwatch.core.draining import Drains
from lbwatch.core.errors import OutputError, OutputHeldError, SettingsError, SourceError, StateError
from lbwatch.core.explain import Explanation, story_of
from lbwatch.core.model import BalancerStatus, Container, Suspended
from lbwatch.core.plan import Planner, Rules
from lbwatch.core.schedule import ReloadPace
from lbwatch.core.selector import Selector, selected
from lbwatch.core.status import Status, unready
from lbwatch.engines.docker.address import EngineAddress, engine_address
from lbwatch.engines.docker.client import ASKED, EngineClient
from lbwatch.engines.docker.exec import EXEC_ASKED, SIGNAL_ASKED, ContainerExec
from lbwatch.engines.docker.source import DockerSource
from lbwatch.engines.recorded import RecordedSource
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
        )

    async def status(self) -> Status:
        """Return all of it."""
        balancer = await self.nginx.status()
        return replace(self.quick_status(), balancer=balancer)

    async def explain(self, container: Container | None) -> Explanation:
        """Return why each container, or one of them, is or is not routed."""
        status = await self.status()
        explanation = Explanation(
            source=self.source.name,
            routes=tuple(each for each in status.routes if container is None or each.container == container.name),
            reasons=tuple(unready(status)),
            remarks=status.balancer.remarks,
        )
        if container is None:
            return explanation
        with suppress(SourceError):  # then what is known has to do
            container = await self.source.look(container.id) or container
        story = story_of(
            container,
            rules=self.rules(),
            containers={each.id: each for each in self.reconciler.containers() or ()},
            suspended=self.reconciler.planner.suspended,
            events=self.source.recent(),
            routes=status.applied.plan.routes if status.applied.plan else (),
            text=await asyncio.to_thread(self.nginx.text),
        )
        return replace(explanation, story=story)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    What a command that only looks keeps going: the daemon's own loop, with a load balancer that touches nothing.

    Attributes:
        tester: Tests what would be written; `None` where nothing is tested.
        suspended: Who is suspended, as a running daemon said; `None`: none did.
    """

    source: DockerSource | RecordedSource
    reconciler: Reconciler
    renderer: Renderer
    balancer: DryRun
    tester: Tester | None
    rules: Callable[[], Rules]
    suspended: Suspended | None


@asynccontextmanager
async def build_daemon(
    settings: Settings,
    *,
    tester: Tester | None = None,
    control: Control | None = None,
    watch: Callable[[LoadBalancer], LoadBalancer] = lambda balancer: balancer,
) -> AsyncIterator[Daemon]:
    """
    Make all parts of a daemon and their connections; everything is put away at the end.

    Args:
        settings: What the user set.
        tester: In the place of the one that settings ask for.
        control: Likewise.
        watch: Given the load balancer; what it returns is used instead.
    """
    if (reason := files.unusable_reason(settings.nginx.output)) is not None:
        raise SettingsError("output", value=settings.nginx.output, takes=reason)
    renderer = make_renderer(settings)
    renderer.load()
    address = make_address(settings)
    if address.warning:
        _log.warning("source.unprotected", warning=address.warning)
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(FileLock(settings.nginx.output))
        _acquire(lock, output=settings.nginx.output)
        client = EngineClient(address)
        stack.push_async_callback(client.close)
        source = make_source(client, settings=settings, address=address)
        access = NginxAccess(settings, client=client, known=source.containers)
        balancer = Nginx(
            renderer,
            output=settings.nginx.output,
            tester=tester or access.tester(folder=_scratch(stack)),
            control=control or access.control(),
            lock=lock,
            pace=ReloadPace(interval_s=settings.nginx.reload_interval),
        )
        state = make_state(settings)

        def rules() -> Rules:
            return access.rules(engine_pid=source.engine_pid)

        yield Daemon(
            source=source,
            reconciler=_reconciler(settings, source=source, balancer=watch(balancer), rules=rules, state=state),
            renderer=renderer,
            state=state,
            nginx=balancer,
            rules=rules,
            settings=settings,
        )


@asynccontextmanager
async def build_look(
    settings: Settings,
    *,
    recorded: Path | None = None,
    suspended: Suspended | None = None,
    tests: bool = True,
) -> AsyncIterator[Look]:
    """
    Make all parts of a command that only looks; there is no lock and nothing is kept.

    Args:
        settings: What the user set.
        recorded: A file with the output of `docker inspect`, to be read in the engine's place.
        suspended: What a running daemon knows of who is suspended; `None`: it is found out here.
        tests: Whether what would be written is rendered and tested.

    Raises:
        SourceError: The engine, or the recorded one, cannot be read.
        OutputError: Nothing can be put where nginx's container would see it.
    """
    renderer = make_renderer(settings)
    if tests:
        renderer.load()
    async with AsyncExitStack() as stack:
        address = make_address(settings)
        client = EngineClient(address)
        stack.push_async_callback(client.close)
        source: DockerSource | RecordedSource
        if recorded is None:
            source = make_source(client, settings=settings, address=address)
            await _require_answers(client)
        else:
            source = recorded_source(recorded, settings=settings)
        access = NginxAccess(settings, client=client, known=source.containers)
        tester = _look_tester(access, settings=settings, stack=stack, recorded=recorded is not None) if tests else None
        balancer = DryRun(renderer, tester=tester, names_in_force=lambda: _names_in_force(settings))

        def rules() -> Rules:
            if isinstance(source, DockerSource):
                return access.rules(engine_pid=source.engine_pid)
            return access.rules(engine_pid=None, host_shared=False)

        yield Look(
            source=source,
            reconciler=_reconciler(
                settings,
                source=source,
                balancer=balancer,
                rules=rules,
                state=make_state(settings),
                known=suspended,
                logs_routes=False,
            ),
            renderer=renderer,
            balancer=balancer,
            tester=tester,
            rules=rules,
            suspended=suspended,
        )


@asynccontextmanager
async def build_tester(settings: Settings) -> AsyncIterator[Tester]:
    """Make what tests a candidate, for whoever cannot know what should be written."""
    async with AsyncExitStack() as stack:
        client = EngineClient(make_address(settings))
        stack.push_async_callback(client.close)
        access = NginxAccess(settings, client=client, known=dict)
        yield _look_tester(access, settings=settings, stack=stack, recorded=False)


def _reconciler(
    settings: Settings,
    *,
    source: DockerSource | RecordedSource,
    balancer: LoadBalancer,
    rules: Callable[[], Rules],
    state: State,
    known: Suspended | None = None,
    logs_routes: bool = True,
) -> Reconciler:
    planner = Planner(
        rules=rules,
        drains=Drains(timeout_s=settings.routing.drain_timeout),
        drained_by_hand=lambda: state.drained,
        known=known,
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


async def _require_answers(client: EngineClient) -> None:
    """Ask once for all that a source needs: what is refused is said at once then, and not tried again."""
    await client.ping()
    for container in (await client.list_containers())[:1]:
        await client.inspect(container.id)


def _look_tester(access: "NginxAccess", *, settings: Settings, stack: AsyncExitStack, recorded: bool) -> Tester:
    """Return what tests a candidate as the daemon does, beside a daemon that may be doing so just now."""
    container, copy = access.nginx_container, None
    if container is not None and settings.nginx.test_command is None and settings.nginx.nginx_reload == "exec":
        if recorded:  # its containers are not there
            return ContainerRequiredTester(container, tester=None)
        copy = stack.enter_context(_beside(settings.nginx.output))
    return access.tester(folder=_scratch(stack), copy=copy, quiet=True)


def _scratch(stack: AsyncExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbwatch-")))


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """Make a folder that is seen wherever the output is, by anyone."""
    try:
        with tempfile.TemporaryDirectory(prefix=f"{TEST_FOLDER}-", dir=output.parent) as folder:
            os.chmod(folder, 0o755)  # noqa: S103 - nginx may be another user; there is no secret in it
            yield Path(folder)
    except OSError as error:
        raise OutputError(output.parent, error=error) from error


def _names_in_force(settings: Settings) -> frozenset[str]:
    try:
        return names_in(files.read(settings.nginx.output) or "")
    except OutputError:
        return frozenset()


def _acquire(lock: FileLock, *, output: Path) -> None:
    """Make sure that no other lbwatch writes the output: the two would undo each other's work for ever."""
    try:
        if not lock.acquire():
            _log.warning("output.not_locked", output=str(output), reason="its file system has no locks")
    except OutputHeldError as error:
        raise SettingsError("output", value=output, takes=f"another lbwatch, {error.holder}, writes it") from error
    except OutputError as error:  # a full disk, say: it is locked before the first replacement
        _log.error(error.event, error=str(error))


def make_address(settings: Settings) -> EngineAddress:
    """Return where the engine is, from settings and the docker client's own variables."""
    return engine_address(settings.engine.docker_host, environ=os.environ)


def make_renderer(settings: Settings) -> Renderer:
    """Return the renderer of the template that is set; it is not loaded yet."""
    return Renderer(
        settings.nginx.template,
        folders=[USER_TEMPLATES, shipped_templates()],
        block=limits.block,
        filters={"parameters": limits.parameters},
    )


def make_state(settings: Settings) -> State:
    """Return what survived the latest restart; what cannot be read is logged, and counts as nothing."""
    state = State(settings.routing.state_dir)
    try:
        state.load()
    except StateError as error:
        _log.warning(error.event, error=str(error))
    return state


def make_source(client: EngineClient, *, settings: Settings, address: EngineAddress) -> DockerSource:
    """
    Return the source of one engine.

    Args:
        client: The connection to it.
        settings: What the user set.
        address: Where it is.
    """
    return DockerSource(
        client,
        name=address.name,
        prefix=settings.routing.label_prefix,
        expose_all=settings.routing.expose == "all",
        resync_interval_s=settings.routing.resync_interval,
        drain_timeout_s=settings.routing.drain_timeout,
        random=random.random,
        follows=selector(settings),
    )


def recorded_source(path: Path, *, settings: Settings) -> RecordedSource:
    """Return the source of a recorded engine; raises as `RecordedSource` does."""
    followed = selector(settings)
    return RecordedSource(path, prefix=settings.routing.label_prefix, also=() if followed is None else (followed.key,))


class NginxAccess:
    """
    How nginx is reached, as settings have it: who tests, who reloads, and what nginx reaches from where it is.

    The user's own commands come first, then an nginx in a container, then one on this side.

    Args:
        settings: What the user set.
        client: The connection to the engine that runs nginx's container, if it is in one.
        known: Returns that engine's containers as they were last seen; `None` before that.

    Attributes:
        nginx_container: `None` if nginx is in none.
    """

    def __init__(
        self, settings: Settings, *, client: EngineClient, known: Callable[[], Mapping[str, Container] | None]
    ) -> None:
        followed = selector(settings)
        self.nginx_container = None if followed is None else NginxContainer(followed, known=known)
        self._settings = settings
        self._exec = ContainerExec(client)
        self._host = HostNetwork(pidfile=settings.nginx.nginx_pidfile)

    def tester(self, *, folder: Path, copy: Path | None = None, quiet: bool = False) -> Tester:
        """
        Return what tests a candidate.

        Args:
            folder: An empty folder for whatever that takes.
            copy: A folder that nginx's container sees too, for the same; `None`: the daemon's.
            quiet: Whether warnings are not logged, see `CopyTester`.
        """
        nginx = self._settings.nginx
        if nginx.test_command is not None:
            tester = CommandTester(_words("test_command", nginx.test_command), folder=folder)
            return (
                tester if self.nginx_container is None else ContainerRequiredTester(self.nginx_container, tester=tester)
            )
        command = _words("nginx_command", nginx.nginx_command)
        if self.nginx_container is None:
            return CopyTester(
                command, main=nginx.nginx_conf, output=nginx.output, folder=folder, log_warnings=not quiet
            )
        if nginx.nginx_reload == "signal":
            return ContainerRequiredTester(self.nginx_container, tester=None)
        return ContainerTester(
            self._exec,
            nginx_container=self.nginx_container,
            command=command,
            main=nginx.nginx_conf,
            output=nginx.output,
            output_there=nginx.nginx_output,
            folder=folder,
            copy=copy or nginx.output.parent / TEST_FOLDER,
            mountinfo=mounts.mountinfo,
        )

    def control(self) -> Control:
        """Return what reloads nginx."""
        nginx = self._settings.nginx
        if nginx.reload_command is not None:
            words = _words("reload_command", nginx.reload_command)
            return LocalControl(pidfile=nginx.nginx_pidfile, command=words)
        if self.nginx_container is None:
            return LocalControl(pidfile=nginx.nginx_pidfile, command=None)
        main = () if nginx.nginx_conf is None else ("-c", str(nginx.nginx_conf))
        words = (*_words("nginx_command", nginx.nginx_command), *main, "-s", "reload")
        by_exec = nginx.nginx_reload == "exec"
        return ContainerControl(self._exec, nginx_container=self.nginx_container, command=words if by_exec else None)

    def rules(self, *, engine_pid: int | None, host_shared: bool | None = None) -> Rules:
        """
        Return what holds about routing now.

        Args:
            engine_pid: Of the engine's process, where that can be seen.
            host_shared: Whether nginx shares the network of the engine's host; `None`: it is found out.
        """
        routing, container = self._settings.routing, self.nginx_container
        stated = {"true": True, "false": False}.get(routing.host_network)
        if stated is None and container is not None:
            stated = container.on_host()
        if stated is None:
            stated = self._host.shared(engine_pid=engine_pid) if host_shared is None else host_shared
        return Rules(
            prefix=routing.label_prefix,
            expose_all=routing.expose == "all",
            networks=routing.networks or (() if container is None else container.networks()),
            declare=routing.declare,
            host_shared=stated,
            refuses_key=limits.hash_key_refusal,
        )

    def asked(self) -> tuple[str, ...]:
        """Return what is asked of the engine, for whoever must allow it."""
        if self.nginx_container is None:
            return ASKED
        return (*ASKED, *(EXEC_ASKED if self._settings.nginx.nginx_reload == "exec" else SIGNAL_ASKED))


def selector(settings: Settings) -> Selector | None:
    """Return which container is nginx's; `None` if it is in none."""
    text = settings.nginx.nginx_container
    return None if text is None else selected(text, setting="nginx_container")


def _words(setting: str, text: str) -> tuple[str, ...]:
    try:
        return split_command(text)
    except ValueError as error:
        raise SettingsError(setting, value=text, takes=f"it takes a command ({error})") from error

"""What the commands that only look have in common: read an engine, or a recorded one, and work out what would be."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lbwatch import build
from lbwatch.api import client as daemon_client
from lbwatch.balancers.nginx.balancer import Tester
from lbwatch.balancers.nginx.config_test.container import TEST_FOLDER, ContainerRequiredTester
from lbwatch.balancers.nginx.isolate import AcceptedConfig, accepted, names_in
from lbwatch.build import NginxAccess
from lbwatch.core.draining import Drains
from lbwatch.core.errors import ConfigRejectedError, OutputError, ReloadError, RenderError, SettingsError, SourceError
from lbwatch.core.explain import degraded_words
from lbwatch.core.labels import relevant
from lbwatch.core.model import Container, Plan, Snapshot, Suspended
from lbwatch.core.plan import Rules, desired_state
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.decode import containers_of_recording
from lbwatch.engines.docker.source import DockerSource
from lbwatch.settings import Settings
from lbwatch.system import files

FIRST_LOOK_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLook:
    """
    What a command that only looks found.

    Attributes:
        suspended: Who is held back, as far as that is known.
        known_by_daemon: Whether a running daemon said so.
        recorded: Whether it is of a recorded engine.
    """

    snapshot: Snapshot
    rules: Rules
    suspended: Suspended
    known_by_daemon: bool
    plan: Plan
    recorded: bool = False


async def looked(settings: Settings, *, recorded: Path | None) -> FirstLook:
    """
    Look at the engine once and decide, and ask the running daemon, if there is one, for what it alone knows.

    Without one nothing is known of loops of restarts, and of those that were told to stop as much as the engine still
    tells.

    Args:
        settings: What the user set.
        recorded: A file with the answer of `docker inspect`, to be read in the engine's place.

    Raises:
        SourceError: The engine, or the recorded one, cannot be read.
    """
    if recorded is not None:
        return _recorded_look(settings, body=_read(recorded), name=str(recorded))
    suspended = await daemon_client.suspended(settings.control_socket)
    address = build.make_address(settings)
    client = EngineClient(address)
    source = build.make_source(client, settings=settings, address=address)
    try:
        await client.ping()
        for container in (await client.list_containers())[:1]:  # what is refused is said at once, and not tried again
            await client.inspect(container.id)
        async with asyncio.timeout(FIRST_LOOK_TIMEOUT_S):
            snapshot = await _first_snapshot(source)
    except TimeoutError as error:
        why = source.status().error or "no whole answer"
        raise SourceError(f"{address.name}: {why} (for {FIRST_LOOK_TIMEOUT_S:g} s)") from error
    finally:
        await client.close()
    rules = NginxAccess(settings, client=client, known=lambda: snapshot.containers).rules(engine_pid=source.engine_pid)
    now, drains = asyncio.get_running_loop().time(), Drains(timeout_s=settings.drain_timeout)
    known = suspended or Suspended(
        draining=drains.draining([snapshot], by_hand=build.make_state(settings).drained, now=now)
    )
    return _decided(snapshot, rules=rules, suspended=known, known_by_daemon=suspended is not None)


async def closely(settings: Settings, container: Container) -> Container:
    """Look at one container again: of one that asks for nothing little was read."""
    address = build.make_address(settings)
    client = EngineClient(address)
    try:
        await client.ping()
        return await build.make_source(client, settings=settings, address=address).look(container.id) or container
    except SourceError:
        return container
    finally:
        await client.close()


def _recorded_look(settings: Settings, *, body: bytes, name: str) -> FirstLook:
    """
    Decide on a recorded engine: the output of `docker inspect`, in a file of that *name*.

    Raises:
        SourceError: It is none.
    """
    try:
        found = containers_of_recording(body)
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error
    prefix = settings.label_prefix
    followed = build.selector(settings)
    also = () if followed is None else (followed.key,)
    containers = {each.id: replace(each, labels=relevant(each.labels, prefix=prefix, also=also)) for each in found}
    snapshot = Snapshot(source=name, containers=containers)
    rules = build.rules(settings, build.nginx_container(settings, known=lambda: containers), host_shared=lambda: False)
    return replace(_decided(snapshot, rules=rules, suspended=Suspended(), known_by_daemon=False), recorded=True)


def _decided(snapshot: Snapshot, *, rules: Rules, suspended: Suspended, known_by_daemon: bool) -> FirstLook:
    plan = desired_state([snapshot], rules=rules, crash_looping=suspended.crash_looping, draining=suspended.draining)
    return FirstLook(snapshot=snapshot, rules=rules, suspended=suspended, known_by_daemon=known_by_daemon, plan=plan)


async def _first_snapshot(source: DockerSource) -> Snapshot:
    whole = asyncio.Event()

    def changed(*, heard_at: float | None = None) -> None:  # noqa: ARG001 - no event is waited for
        if source.snapshot() is not None:
            whole.set()

    following = asyncio.create_task(source.run(changed), name="first look")
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


def _read(recorded: Path) -> bytes:
    try:
        return recorded.read_bytes()
    except OSError as error:
        takes = f"it takes a file with the output of docker inspect ({error.strerror})"
        raise SettingsError("engine_from", value=recorded, takes=takes) from error


async def candidate(settings: Settings, look: FirstLook) -> AcceptedConfig | None:
    """Work out what would be written, as the daemon does, and say what is wrong; `None`: nothing would be written."""
    renderer = build.make_renderer(settings)
    renderer.load()
    try:
        async with trial(settings, known=look.snapshot.containers, recorded=look.recorded) as tester:
            found = await accepted(
                look.plan.upstreams,
                render=renderer.text,
                test=tester.test,
                before=_names_in_force(settings),
            )
    except (RenderError, ConfigRejectedError, ReloadError) as error:
        print(f"lbwatch: nothing would be written now: {error}", file=sys.stderr)
        return None
    for degraded in found.degraded:
        print(f"lbwatch: {degraded_words(degraded)}", file=sys.stderr)
    return found


@asynccontextmanager
async def trial(settings: Settings, *, known: Mapping[str, Container], recorded: bool = False) -> AsyncIterator[Tester]:
    """
    Give what tests a candidate as the daemon does, beside a daemon that may be doing so just now.

    Args:
        settings: What the user set.
        known: The engine's containers, by id.
        recorded: Whether those are not there: then no container can test.

    Raises:
        OutputError: Nothing can be put where nginx's container would see it.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbwatch-")))
        client = EngineClient(build.make_address(settings))
        stack.push_async_callback(client.close)
        nginx, copy = NginxAccess(settings, client=client, known=lambda: known), None
        if nginx.nginx_container is not None and settings.test_command is None and settings.nginx_reload == "exec":
            if recorded:
                yield ContainerRequiredTester(nginx.nginx_container, tester=None)
                return
            await client.ping()
            copy = stack.enter_context(_beside(settings.output))
        yield nginx.tester(folder=folder, copy=copy, quiet=True)


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """Make a folder that is seen wherever the output is, by anyone."""
    try:
        with tempfile.TemporaryDirectory(prefix=f"{TEST_FOLDER}-", dir=output.parent) as copy:
            os.chmod(copy, 0o755)  # noqa: S103 - nginx may be another user; there is no secret in it
            yield Path(copy)
    except OSError as error:
        raise OutputError(output.parent, error=error) from error


def _names_in_force(settings: Settings) -> frozenset[str]:
    try:
        return names_in(files.read(settings.output) or "")
    except OutputError:
        return frozenset()

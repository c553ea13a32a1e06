"""Builds the parts of a command that only looks."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from lbwatch.balancers.nginx.balancer import Tester
from lbwatch.balancers.nginx.config_test.container import TEST_FOLDER, ContainerRequiredTester
from lbwatch.balancers.nginx.dry_run import DryRun
from lbwatch.balancers.nginx.isolate import names_in
from lbwatch.balancers.nginx.watch import VersionWatch
from lbwatch.balancers.template import Renderer
from lbwatch.core.errors import EngineAwayError, OutputError, RenderError, SourceError
from lbwatch.core.model import Suspended
from lbwatch.core.plan import Rules
from lbwatch.engines.followed import FollowedEngine
from lbwatch.engines.pool import PATIENCE_S, EnginePool
from lbwatch.engines.recorded import RecordedSource
from lbwatch.reconciler import Reconciler
from lbwatch.settings import Settings
from lbwatch.system import files
from lbwatch.system.temporary import temporary_folder
from lbwatch.wiring.access import NOT_LIVE, NginxAccess, selector
from lbwatch.wiring.engines import make_pool, with_engines
from lbwatch.wiring.parts import make_reconciler, make_renderer, make_state, scratch_folder
from lbwatch.wiring.sites import read_beside, site_folders, site_rules, with_sites


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    What a command that only looks keeps going: the daemon's own loop, with a load balancer that touches nothing.

    Attributes:
        tester: Tests what would be written; `None` where nothing is tested.
        suspended: Who is suspended, as a running daemon said; `None`: none did.
    """

    source: EnginePool | RecordedSource
    reconciler: Reconciler
    renderer: Renderer
    balancer: DryRun
    tester: Tester | None
    rules: Callable[[], Rules]
    suspended: Suspended | None


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
    sites = site_rules(settings, environ=os.environ)
    found: list[DryRun] = []
    renderer = make_renderer(settings, sites=sites, version=lambda: found[0].version if found else None)
    with nullcontext() if tests else suppress(RenderError):  # plans alone need none
        renderer.load()
    async with AsyncExitStack() as stack:
        pool = make_pool(settings, stack=stack)
        beside = pool.beside_nginx()
        source: EnginePool | RecordedSource = pool
        if recorded is None:
            await _require_answers(pool)
        else:
            source = recorded_source(recorded, settings=settings)
        known = beside.source.containers if recorded is None else source.containers
        access = NginxAccess(settings, client=beside.client, known=known)
        tester = _look_tester(access, settings=settings, stack=stack, recorded=recorded is not None) if tests else None
        watch = None if tester is None else VersionWatch(tester=tester, control=access.control())
        balancer = DryRun(
            renderer,
            tester=tester,
            names_in_force=lambda: _names_in_force(settings),
            watch=watch,
            lines=access.live_lines() if tests else None,
        )

        found.append(balancer)
        folders = await site_folders(
            stack, settings=settings, sites=sites, writes_sites=renderer.writes_sites, keeps=False
        )

        # Without a daemon nobody has requests wait; one that runs says whether they do.
        hold_refusal = NOT_LIVE if suspended is None else suspended.hold_refusal

        def rules() -> Rules:
            pid, shared = (beside.source.engine_pid, None) if recorded is None else (None, False)
            rules = access.rules(
                engine_pid=pid, host_shared=shared, version=balancer.version, hold_refusal=hold_refusal
            )
            if recorded is None:
                rules = with_engines(rules, pool=pool)
            files, writes_sites = folders.files(), renderer.writes_sites
            return with_sites(rules, settings=settings, sites=sites, files=files, writes_sites=writes_sites)

        yield Look(
            source=source,
            reconciler=make_reconciler(
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
        beside = make_pool(settings, stack=stack).beside_nginx()
        access = NginxAccess(settings, client=beside.client, known=dict)
        yield _look_tester(access, settings=settings, stack=stack, recorded=False)


async def _require_answers(pool: EnginePool) -> None:
    """
    Ask once for all that a source needs: what is refused is said at once then, and not tried again.

    Of several engines those that are away are done without, as the daemon does, as long as one answers.

    Raises:
        SourceError: None answers, or the only one refuses something.
    """
    is_only = len(pool.engines) == 1
    refusals = await asyncio.gather(*(_refusal(each, is_only=is_only) for each in pool.engines))
    away = {each.name: why for each, why in zip(pool.engines, refusals, strict=True) if why is not None}
    if len(away) == len(pool.engines):
        raise away[pool.engines[0].name]
    for name, why in away.items():
        pool.give_up(name, why=str(why))


async def _refusal(engine: FollowedEngine, *, is_only: bool) -> SourceError | None:
    """Return why an engine does not answer; of several none is waited for longer than the daemon does."""
    try:
        async with asyncio.timeout(None if is_only else PATIENCE_S):
            await engine.client.ping()
            for container in (await engine.client.list_containers())[:1]:
                await engine.client.inspect(container.id)
    except SourceError as error:
        return error
    except TimeoutError:
        return EngineAwayError(f"{engine.url}: no whole answer within {PATIENCE_S:g} s")
    return None


def _look_tester(access: NginxAccess, *, settings: Settings, stack: AsyncExitStack, recorded: bool) -> Tester:
    """Return what tests a candidate as the daemon does, beside a daemon that may be doing so just now."""
    container, copy = access.nginx_container, None
    if container is not None and settings.nginx.test_command is None and settings.nginx.nginx_reload == "exec":
        if recorded:  # its containers are not there
            return ContainerRequiredTester(container, tester=None)
        copy = stack.enter_context(_beside(settings.nginx.output))
    return access.tester(folder=scratch_folder(stack, output=settings.nginx.output), copy=copy, quiet=True)


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """Make a folder that is seen wherever the output is, by anyone."""
    try:
        # nginx may be another user; there is no secret in it.
        with temporary_folder(prefix=f"{TEST_FOLDER}-", within=output.parent, mode=0o755) as folder:
            yield folder
    except OSError as error:
        raise OutputError(output.parent, error=error) from error


def _names_in_force(settings: Settings) -> frozenset[str]:
    try:
        return names_in(files.read(settings.nginx.output) or "")
    except OutputError:
        return frozenset()


def recorded_source(path: Path, *, settings: Settings) -> RecordedSource:
    """Return the source of a recorded engine; raises as `RecordedSource` does."""
    followed = selector(settings)
    variables, also = read_beside(settings)
    also |= frozenset() if followed is None else {followed.key}
    return RecordedSource(path, prefix=settings.routing.label_prefix, also=also, variables=variables)

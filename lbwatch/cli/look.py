"""One look at the engine by the daemon's own loop, for the commands that only tell what would be."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from lbwatch.api import client as daemon_client
from lbwatch.core.errors import LbwatchError, NoDaemonError, RenderError, SourceError
from lbwatch.core.rows import degraded_words
from lbwatch.engines.pool import EnginePool, described
from lbwatch.settings import Settings
from lbwatch.tasks import run_until
from lbwatch.wiring.look import Look, build_look
from lbwatch.wiring.parts import make_addresses

FIRST_LOOK_TIMEOUT_S = 20.0


class _OfSource(Protocol):
    @property
    def source(self) -> str: ...


Answer = TypeVar("Answer", bound=_OfSource)


async def told_by_daemon(
    settings: Settings, asked: Awaitable[Answer], *, unless: tuple[type[LbwatchError], ...] = (NoDaemonError,)
) -> Answer | None:
    """
    Return the running daemon's answer; `None`, and why on standard error, if there is none, or of another engine.

    Args:
        settings: What the user set.
        asked: Its answer.
        unless: What stands for no answer when it is raised.
    """
    try:
        told = await asked
    except unless as error:
        say(f"{error} (below: what it would do now)")
        return None
    here = described(make_addresses(settings))
    if told.source != here:
        socket = settings.api.control_socket
        say(f"the lbwatch at {socket} follows {told.source} (below: what it would do with {here} now)")
        return None
    return told


def say(words: str) -> None:
    """Print on standard error what is beside the answer."""
    print(f"lbwatch: {words}", file=sys.stderr)


@asynccontextmanager
async def looked(settings: Settings, *, recorded: Path | None = None) -> AsyncIterator[Look]:
    """
    Look at the engine once and plan, and ask the running daemon, if there is one, for what it alone knows.

    Without one nothing is known of loops of restarts, and of those that were told to stop as much as the engine still
    tells.

    Args:
        settings: What the user set.
        recorded: A file with the output of `docker inspect`, to be read in the engine's place.

    Raises:
        SourceError: The engine, or the recorded one, cannot be read.
    """
    suspended = None if recorded is not None else await daemon_client.suspended(settings.api.control_socket)
    async with build_look(settings, recorded=recorded, suspended=suspended) as look:
        synced = asyncio.Event()

        def changed(*, heard_at: float | None = None) -> None:
            if look.source.snapshots() is not None:
                synced.set()
            look.reconciler.wake(heard_at=heard_at)

        await run_until(look, until=_settled(look, synced=synced), changed=changed)
        yield look


async def _settled(look: Look, *, synced: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(FIRST_LOOK_TIMEOUT_S):
            await synced.wait()
    except TimeoutError as error:
        errors = (each.error for each in look.source.statuses()) if isinstance(look.source, EnginePool) else iter(())
        why = next(filter(None, errors), "no whole answer")
        raise SourceError(f"{look.source.described}: {why} (for {FIRST_LOOK_TIMEOUT_S:g} s)") from error
    await look.reconciler.settled()


def warn(look: Look) -> None:
    """Print on standard error what of the plan would not be written as it should be."""
    if (error := look.balancer.error) is not None:
        around = error.around if isinstance(error, RenderError) else ()
        print("\n".join((f"lbwatch: nothing would be written now: {error}", *around)), file=sys.stderr)
    for degraded in look.balancer.applied.degraded:
        say(degraded_words(degraded))

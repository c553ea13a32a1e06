"""`events`: the engine's stream as people read it, with what lbwatch makes of each event, until it is ended."""

import asyncio
import signal
import time
from collections import deque
from dataclasses import replace

from lbwatch import build
from lbwatch.build import NginxAccess
from lbwatch.cli import output
from lbwatch.core.crashloop import CrashLoops
from lbwatch.core.draining import Drains
from lbwatch.core.errors import DeadSocketError
from lbwatch.core.explain import explained
from lbwatch.core.model import Event
from lbwatch.core.plan import Memory, desired_state
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.source import DockerSource
from lbwatch.settings import Settings

LOOK_AGAIN_S = 1.0
"""What changes by time alone, such as the end of a drain, is seen that late."""

REMEMBERED = 1000
"""So many events are known again when a new stream repeats them; the engine itself remembers 256."""


async def events(settings: Settings) -> None:
    """
    Print each event as it comes, and what it changes as soon as that is known; what is there already is not told.

    Raises:
        SourceError: The engine cannot be reached.
    """
    address = build.make_address(settings)
    client = EngineClient(address)
    try:
        await client.ping()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        source = build.make_source(client, settings=settings, address=address)
        access = NginxAccess(settings, client=client, known=source.containers)
        watch = _Watch(settings, source=source, access=access, screen=output.EventScreen(wall=time.time))
        following = asyncio.create_task(watch.run(), name="events")
        stop = asyncio.create_task(ended.wait(), name="stop")
        await asyncio.wait([following, stop], return_when=asyncio.FIRST_COMPLETED)
        for task in (following, stop):
            task.cancel()
        await asyncio.gather(following, stop, return_exceptions=True)
        if following.done() and not following.cancelled():
            _raised(following)
    finally:
        await client.close()


def _raised(following: asyncio.Task[None]) -> None:
    """
    Raise what it ended by, without the group around it.

    That is a reader that went away, as in `lbwatch events | head`, or an engine's socket that is dead for ever.
    """
    ended: Exception | None = None
    try:
        following.result()
    except* (BrokenPipeError, DeadSocketError) as group:
        ended = group.exceptions[0]
    if ended is not None:
        raise ended


class _Watch:
    """
    Decides as the daemon does, and shows instead of doing.

    Args:
        settings: What the user set.
        source: The engine.
        access: Tells what nginx reaches.
        screen: Where it is shown.
    """

    def __init__(
        self, settings: Settings, *, source: DockerSource, access: NginxAccess, screen: output.EventScreen
    ) -> None:
        self._settings = settings
        self._source = source
        self._screen = screen
        self._access = access
        self._state = build.make_state(settings)
        self._drains = Drains(timeout_s=settings.drain_timeout)
        self._crash_loops = CrashLoops()
        self._memory = Memory()
        self._said: dict[str, tuple[str, ...]] | None = None  # of each container, as of the latest look
        self._names: dict[str, str] = {}  # by id: events of networks tell none
        self._shown: deque[Event] = deque(maxlen=REMEMBERED)  # without labels
        self._heard: list[tuple[Event, str, bool]] = []  # not shown yet: the stream must not wait for a terminal
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Show for good."""
        self._source.heard = self._handle_signal
        async with asyncio.TaskGroup() as group:
            group.create_task(self._source.run(self._wake), name="source")
            group.create_task(self._keep_deciding(), name="decisions")

    def _wake(self, *, heard_at: float | None = None) -> None:  # noqa: ARG002 - whatever woke it
        self._woken.set()

    def _handle_signal(self, event: Event, *, matters: bool) -> None:
        """Have an event shown, once; what comes before the first full look has ended was there already."""
        bare = replace(event, labels=None)
        if self._said is None or bare in self._shown:
            return
        self._shown.append(bare)
        self._heard.append((event, self._name(event), matters))
        self._woken.set()

    def _name(self, event: Event) -> str:
        id, snapshot = event.container or "", self._source.snapshot()
        known = snapshot.containers.get(id) if snapshot is not None else None
        told = (event.labels or {}).get("name") or self._names.get(id)
        name = told or (known.name if known is not None else id[:12])
        self._names[id] = name
        if event.action == "destroy":
            del self._names[id]
        return name

    async def _keep_deciding(self) -> None:
        while True:
            self._show()
            self._decide()
            try:
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._woken.wait()
            except TimeoutError:
                continue
            finally:
                self._woken.clear()

    def _show(self) -> None:
        heard, self._heard = self._heard, []
        for event, name, matters in heard:
            self._screen.event(event, name=name, matters=matters, prefix=self._settings.label_prefix)

    def _decide(self) -> None:
        snapshot = self._source.snapshot()
        if snapshot is None:
            return
        now = asyncio.get_running_loop().time()
        plan = desired_state(
            [snapshot],
            rules=self._access.rules(engine_pid=self._source.engine_pid),
            crash_looping=self._crash_loops.crash_looping(list(snapshot.containers.values()), now=now),
            draining=self._drains.draining([snapshot], by_hand=self._state.drained, now=now),
            memory=self._memory,
        )
        said: dict[str, tuple[str, ...]] = {}
        for row in explained(plan):
            said[row.container] = (*said.get(row.container, ()), *output.row_words(row))
        before, self._said = self._said, said
        if before is None:
            self._screen.begun(source=self._source.name, containers=len(said))
            return
        for name in sorted(before.keys() | said.keys()):
            if before.get(name) != said.get(name):
                self._screen.verdict(name, said.get(name))

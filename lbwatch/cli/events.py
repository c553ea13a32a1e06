"""`events`: all engines' streams as people read them, with what lbwatch makes of each event, until it is ended."""

import asyncio
import time
from collections import deque
from dataclasses import replace

from lbwatch.cli import output
from lbwatch.cli.eventscreen import EventScreen
from lbwatch.core.model import Event
from lbwatch.engines.docker.cache import GONE
from lbwatch.engines.pool import EnginePool
from lbwatch.settings import Settings
from lbwatch.system import signals
from lbwatch.tasks import run_until
from lbwatch.wiring.look import Look, build_look

_GONE = {*GONE, "service remove", "node remove"}

REMEMBERED = 1000
"""So many events are known again when a new stream repeats them; the engine itself remembers 256."""


async def events(settings: Settings) -> None:
    """
    Print each event as it comes, and what it changes as soon as that is known; what is there already is not printed.

    Raises:
        SourceError: The engine cannot be reached.
    """
    async with build_look(settings, tests=False) as look:
        assert isinstance(look.source, EnginePool)
        ended = asyncio.Event()
        screen = EventScreen(wall=time.time)
        watch = _Watch(look, source=look.source, screen=screen, prefix=settings.routing.label_prefix)
        look.source.heard = watch.heard
        with signals.caught(asyncio.get_running_loop(), stop=ended.set):
            await run_until(look, until=ended.wait(), passed=watch.show)


class _Watch:
    """
    Shows what comes and what becomes of it.

    Args:
        look: The loop that plans.
        source: The engines.
        screen: Where it is shown.
        prefix: Label prefix, without the dot.
    """

    def __init__(self, look: Look, *, source: EnginePool, screen: EventScreen, prefix: str) -> None:
        self._reconciler = look.reconciler
        self._source = source
        self._screen = screen
        self._prefix = prefix
        self._told: dict[str, tuple[str, ...]] | None = None  # of each container, as of the latest plan
        self._names: dict[str, str] = {}  # by id: events of networks have none
        self._known: dict[str, tuple[str, str]] = {}  # engine and own name of each container of that plan, by its name
        self._shown: deque[Event] = deque(maxlen=REMEMBERED)  # without labels
        self._waiting: list[tuple[Event, str, str, bool]] = []  # the stream must not wait for a terminal

    def heard(self, event: Event, *, engine: str, matters: bool) -> None:
        """Have an event shown, once; what comes before the first full look has ended was there already."""
        bare = replace(event, labels=None)
        if self._told is None or bare in self._shown:
            return
        self._shown.append(bare)
        self._waiting.append((event, engine, self._name(event), matters))
        self._reconciler.wake()

    def _name(self, event: Event) -> str:
        id = event.container or ""
        known = (self._source.containers() or {}).get(id)
        told = (event.labels or {}).get("name") or self._names.get(id)
        name = told or (known.own_name if known is not None else id[:12])
        self._names[id] = name
        if event.action in _GONE:
            del self._names[id]
        return name

    def show(self) -> None:
        """Show the events that came, and whose routes are others than before."""
        waiting, self._waiting = self._waiting, []
        for event, engine, name, matters in waiting:
            self._screen.event(event, engine=engine, name=name, matters=matters, prefix=self._prefix)
        if (plan := self._reconciler.applied().plan) is None:
            return
        told: dict[str, tuple[str, ...]] = {}
        for route in plan.routes:
            told[route.container] = (*told.get(route.container, ()), *output.route_words(route))
        before, self._told = self._told, told
        known = self._known
        self._known = {
            each.name: (each.engine.name, each.own_name) for each in (self._source.containers() or {}).values()
        }
        if before is None:
            names = [each.source for each in self._source.statuses()]
            self._screen.begun(source=_described(self._source), engines=names, containers=len(told))
            return
        for full in sorted(before.keys() | told.keys()):
            if before.get(full) != told.get(full):
                engine, name = self._known.get(full) or known.get(full) or ("", full)
                self._screen.verdict(name, told.get(full), engine=engine)


def _described(source: EnginePool) -> str:
    """Return what is followed."""
    swarms = (f" and Swarm {each.source}" for each in source.statuses() if each.kind == "swarm")
    return f"{source.described}{''.join(swarms)}"

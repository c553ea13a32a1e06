"""
Follows one Swarm: subscribe at two managers, then read all; events mark services, which are read until they settle.

Here are the tasks, the timers and the log; what an answer means is the model's, and when to ask again `settling` says.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from lbwatch.core.errors import EngineAwayError, SourceError, SourceTimeoutError
from lbwatch.core.eventwords import event_words
from lbwatch.core.model import Container, Engine, EngineStatus, Event, Snapshot
from lbwatch.core.schedule import Backoff
from lbwatch.engines.docker.fields import is_swarm_id
from lbwatch.engines.docker.replay import RecentEvents
from lbwatch.engines.docker.scope import Scope
from lbwatch.engines.docker.source import BACKOFF_FIRST_S, BACKOFF_LIMIT_S, Changed, Heard
from lbwatch.engines.swarm.agenda import Agenda, Kind, Step
from lbwatch.engines.swarm.answers import SwarmNode
from lbwatch.engines.swarm.doors import Door, Doors, is_answer
from lbwatch.engines.swarm.events import NODE, SERVICE, is_of
from lbwatch.engines.swarm.failures import Failures
from lbwatch.engines.swarm.listening import Listeners
from lbwatch.engines.swarm.model import Swarm
from lbwatch.engines.swarm.nodelooks import NodeLooks, may_empty
from lbwatch.engines.swarm.reading import Reader
from lbwatch.engines.swarm.settling import HOLD_S, LEAST_WAIT_S

SERVER_ERROR = 500
"""From this status on it is the Swarm that fails, as without a leader."""

_log = structlog.get_logger()


class SwarmSource:
    """
    One Swarm as a source of containers, which its tasks are.

    Args:
        name: The Swarm's name in logs and status.
        engine: What its tasks are of.
        doors: Returns the managers that can be asked, those first that are asked first.
        prefix: Label prefix, without the dot.
        expose_all: Whether services without such a label matter too.
        also_labels: Keys of further labels that are kept.
        resync_interval_s: Seconds between two full looks.
        random: Gives a number in [0, 1), for jitter.
    """

    def __init__(
        self,
        *,
        name: str,
        engine: Engine,
        doors: Callable[[], Sequence[Door]],
        prefix: str,
        expose_all: bool,
        also_labels: frozenset[str],
        resync_interval_s: float,
        random: Callable[[], float],
    ) -> None:
        def backoff() -> Backoff:
            return Backoff(first=BACKOFF_FIRST_S, limit=BACKOFF_LIMIT_S, random=random)

        self.name = name
        self.heard: Heard | None = None  # for whoever shows the stream
        scope = Scope(prefix=prefix, expose_all=expose_all, also_labels=also_labels, engine=engine)
        self._swarm = Swarm(scope)
        self._doors = Doors(doors)
        self._reader = Reader(self._doors, swarm=self._swarm)
        self._agenda = Agenda(resync_interval_s=resync_interval_s)
        self._node_looks = NodeLooks(self._reader, backoff=backoff(), looked=self._looked_at_nodes)
        self._recent = RecentEvents()
        self._listeners = Listeners(
            doors, name=name, backoff=backoff, begun=self._begun, handle_event=self._handle_event
        )
        self._changed: Changed = _nobody
        self._snapshot: Snapshot | None = None
        self._synced_at: float | None = None
        self._drift = 0
        self._heard_at: float | None = None  # of the first event that may be behind the next change
        self._woken = asyncio.Event()
        self._reading = asyncio.Lock()  # answers are taken in the order in which they were asked for
        self._failures = Failures(backoff=backoff)

    # -- what is known

    def snapshot(self) -> Snapshot | None:
        """Return all tasks as they were last seen; `None` until the first full look has ended."""
        return self._snapshot

    def containers(self) -> Mapping[str, Container] | None:
        """Return the same tasks, to look at and not to keep; `None` likewise."""
        return None if self._snapshot is None else self._snapshot.containers

    def nodes(self) -> Mapping[str, SwarmNode]:
        """Return the machines of the Swarm, by id; empty before they were read."""
        return self._swarm.nodes

    def recent(self) -> tuple[Event, ...]:
        """Return the latest events, oldest first; as a container they name what they are of, a service or a node."""
        return self._recent.latest()

    def status(self) -> EngineStatus:
        """Return how well the Swarm is known now: it is connected while a manager tells events, and one answers."""
        heard, known = self._listeners.connection(), self._synced_at is not None
        error = self._failures.error
        return EngineStatus(
            source=self.name,
            connected=heard.connected and error is None,
            since=max(heard.since, self._failures.since) if heard.connected else heard.since,
            synced_at=self._synced_at,
            drift=self._drift,
            containers=len(self._snapshot.containers) if self._snapshot is not None else None,
            events=dict(self._recent.counts),
            error=error or heard.error,
            kind="swarm",
            doors=tuple(door.name for door in self._doors.all()),
            services=len(self._swarm.services) - len(self._swarm.removed) if known else None,
            tasks=self._swarm.alive if known else None,
            nodes=len(self._swarm.nodes) if known else None,
            looks=self._agenda.looks,
        )

    # -- what others ask for

    def mark(self, service_id: str) -> None:
        """Have a service looked at until it has settled: a node's own engine told that something happened to it."""
        if self._swarm.asks(service_id):
            self._agenda.mark(service_id, now=self._now())
        elif is_swarm_id(service_id) and service_id not in self._swarm.services:
            self._agenda.want_service(service_id)
        self._woken.set()

    async def look(self, id: str) -> Container | None:
        """Return one task as it is now, by its id, for whoever wants to know all of it; raises `SourceError`."""
        await self.refresh(id)
        return self._swarm.containers().get(id)

    async def refresh(self, id: str) -> None:
        """Look at one task now, for whoever goes on by what it is; raises `SourceError`."""
        if not is_swarm_id(id):
            raise SourceError(f"{id[:64]!r} is no id of a task")
        async with self._reading:
            await self._reader.read_task(id)
        self._publish()

    def resync(self) -> None:
        """Have a full look begin now."""
        self._agenda.want_all(now=self._now())
        self._woken.set()

    # -- how it goes on

    async def run(self, changed: Changed) -> None:
        """Follow the Swarm for good, calling *changed* whenever `snapshot` may be another one."""
        self._changed = changed
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listeners.run(), name=f"{self.name} streams")
            group.create_task(self._keep_reading(), name=f"{self.name} looks")
            group.create_task(self._node_looks.run(), name=f"{self.name} looks at nodes")

    def _begun(self) -> None:
        """Read all anew: a stream has begun, or cannot be had, and what was before it nobody told."""
        self._agenda.want_all(now=self._now())
        self._woken.set()

    def _handle_event(self, event: Event, age_s: float | None) -> None:
        # Each manager tells the same ones, and a new stream some of those of the one before. Attributes are not kept.
        if not self._recent.record(replace(event, action=event_words(event))):
            return
        id, now = event.container, self._now()
        is_service = is_of(event, SERVICE)
        asks_nothing = is_service and id in self._swarm.services and not self._swarm.asks(id or "")
        if self.heard is not None:
            self.heard(event, matters=not asks_nothing)
        if age_s is not None and age_s > HOLD_S:  # a full look is due at each beginning of a stream
            return
        if id is None:
            self._agenda.want_all(now=now)
        elif is_service:
            self._agenda.want_service(id)
            if not asks_nothing:
                self._mark((id,), now=now)
        elif is_of(event, NODE):
            self._agenda.want_nodes()
            services = [each for each in self._swarm.on_node(id) if self._swarm.asks(each)]
            self._mark(services, now=now)
            if services and may_empty(event):
                self._node_looks.mark(id, now=now)
        self._woken.set()

    async def _keep_reading(self) -> None:
        while True:
            self._woken.clear()
            step = self._agenda.next(now=self._now())
            if (wait_s := step.at - self._now()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), max(wait_s, LEAST_WAIT_S))
                continue
            began_at = self._now()
            self._agenda.begin(step)
            try:
                async with self._reading:
                    await self._read(step)
            except SourceError as error:
                wait_s = self._fail(step, error)
            else:
                wait_s = 0.0
                self._agenda.done(step, took_s=self._now() - began_at, now=self._now())
                self._succeed(step)
            self._owe()
            self._publish()
            if wait_s:
                await asyncio.sleep(wait_s)

    async def _read(self, step: Step) -> None:
        match step.kind:
            case Kind.ALL:
                await self._read_all()
            case Kind.SERVICES:
                await self._read_services(step.ids)
            case Kind.NODES:
                await self._reader.read_nodes()
            case Kind.TASKS:
                await self._read_tasks(step.ids)
            case Kind.WANTED:
                changed = await self._reader.read_wanted()
                self._mark(filter(self._swarm.asks, changed), now=self._now(), heard=False)

    def _looked_at_nodes(self, changed: frozenset[str]) -> None:
        self._agenda.looks += 1
        restless = [id for id in changed if self._swarm.asks(id) and not self._agenda.settling.is_marked(id)]
        self._mark(restless, now=self._now(), heard=False)
        self._woken.set()
        self._publish()

    async def _read_all(self) -> None:
        changed = await self._reader.read_all()
        now = self._now()
        restless = [id for id in changed if self._swarm.asks(id)]
        if self._synced_at is not None:
            restless = [id for id in restless if not self._agenda.settling.is_marked(id)]
            self._drift += len(restless)
        else:
            restless = [id for id in restless if self._swarm.unrest(id).any]
        self._synced_at = now
        self._mark(restless, now=now, heard=False)

    async def _read_services(self, ids: Sequence[str]) -> None:
        asked = {id for id in ids if self._swarm.asks(id)}
        await self._reader.read_services(ids)
        self._agenda.settling.forget(id for id in ids if not self._swarm.asks(id))
        # One that has begun to ask has tasks that are as old as the last full look.
        self._mark((id for id in ids if id not in asked and self._swarm.asks(id)), now=self._now(), heard=False)

    async def _read_tasks(self, ids: Sequence[str]) -> None:
        began_at, there = self._now(), self._swarm.services
        # One that is not known may be gone, and a manager answers 404 for it and for all that are asked for beside it.
        for id in [id for id in ids if id not in there]:
            self._agenda.settling.forget([id])
            self._agenda.want_service(id)
        ids = [id for id in ids if id in there]
        try:
            changed = await self._reader.read_tasks(ids)
        except SourceError as error:
            if not (is_answer(error) and error.status == 404):
                raise
            await self._reader.read_services(ids)
            if all(id in there and id not in self._swarm.removed for id in ids):
                raise
            return  # and look at once again, at those that are left
        self._agenda.looked(ids, began_at=began_at, changed=changed, unrest={id: self._swarm.unrest(id) for id in ids})

    def _mark(self, services: Iterable[str], *, now: float, heard: bool = True) -> None:
        """Have services looked at until they have settled; *heard*: whether an event told so."""
        for id in services:
            self._agenda.mark(id, now=now)
            if heard and self._heard_at is None:
                self._heard_at = now

    def _owe(self) -> None:
        """Have that read which tasks speak of and which could not be read with them."""
        for id in self._swarm.unknown_services():
            self._agenda.want_service(id)
        if self._reader.owes_nodes:
            self._agenda.want_nodes()

    def _succeed(self, step: Step) -> None:
        if (outage_s := self._failures.end(step.kind, now=self._now())) is not None:
            _log.info("source.listed", source=self.name, containers=self._swarm.alive, outage_s=round(outage_s, 1))

    def _fail(self, step: Step, error: SourceError) -> float:
        """Return how long nothing is asked after a step that failed, in seconds; say why: what is known stays."""
        now = self._now()
        failure = self._failures.fail(step.kind, str(error), now=now)
        self._agenda.failed(step, now=now, wait_s=failure.wait_s)
        log = _log.warning if failure.is_news else _log.debug
        outage_s = round(now - self._failures.since, 1)
        values = {"outage_s": outage_s} if outage_s else {}
        log("source.list_failed", source=self.name, error=str(error), retry_in_s=round(failure.wait_s, 2), **values)
        # What is refused, or cannot be read, is that alone; where no manager answers, nothing else would be answered.
        is_away = isinstance(error, SourceTimeoutError | EngineAwayError) or (error.status or 0) >= SERVER_ERROR
        return failure.wait_s if is_away else 0.0

    def _publish(self) -> None:
        """Let what was read be used, once all was read."""
        if self._synced_at is None or not (self._swarm.take_change() or self._snapshot is None):
            return
        is_first, self._snapshot = self._snapshot is None, self._swarm.snapshot(self.name)
        if is_first:
            _log.info("source.synced", source=self.name, containers=len(self._snapshot.containers))
        heard_at, self._heard_at = self._heard_at, None
        self._changed(heard_at=heard_at)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _nobody(*, heard_at: float | None = None) -> None:
    """Take no notice."""

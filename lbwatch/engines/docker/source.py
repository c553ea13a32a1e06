"""
Follows one engine: subscribe, then list, then inspect; what comes in goes to the cache, which says what to do next.

Here are the tasks, the timers, the log, and when a snapshot is published; what an answer means is the cache's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

import structlog

from lbwatch.core.errors import DeadSocketError, EngineAwayError, SourceError
from lbwatch.core.model import Container, Engine, EngineStatus, Event, Snapshot
from lbwatch.core.repeats import Repeats
from lbwatch.core.schedule import Backoff
from lbwatch.core.selector import Selector
from lbwatch.engines.docker.cache import ContainerCache, Todo
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.guard import Guard
from lbwatch.engines.docker.identity import SwarmMembership
from lbwatch.engines.docker.lister import Lister
from lbwatch.engines.docker.networks import NetworkDrivers
from lbwatch.engines.docker.queue import Priority, WorkQueue
from lbwatch.engines.docker.scope import Scope
from lbwatch.engines.docker.stream import Stream

BACKOFF_FIRST_S = 0.1
BACKOFF_LIMIT_S = 2.0
INSPECTORS = 8

DEBOUNCE_S = 0.05
"""How long looks that have ended wait for those that events asked for meanwhile: one change for all, not one each."""

DEATH_DEBOUNCE_S = 0.005
"""How long a death waits for what comes with it: others, since the next reload is 0.1 s off, or its successor."""

FLOOD_LIST_S = 1.0
"""So long after more unknown containers were named than are looked at, a list says which of them are real."""

HEALTH_LAG_S = 0.5
"""So long after an early word of a probe (`EngineClient.tells_health_early`) the container is looked at once more."""

DRIFT_GRACE_S = 2.0
"""How long the event of a change that a resync found first may take to arrive."""

_HEALTH = "health_status"

_log = structlog.get_logger()


class Changed(Protocol):
    """Is told that the snapshot may be another one."""

    def __call__(self, *, heard_at: float | None = None) -> None:
        """Take the loop time of the first event that it is about; `None`: no event told."""


class Heard(Protocol):
    """Is told of each event."""

    def __call__(self, event: Event, *, matters: bool) -> None:
        """Take an event, and whether it is looked at; a stream begins with some of those of the one before."""


class DockerSource:
    """
    One engine as a source of containers.

    Args:
        client: The connection to the engine.
        engine: Which one it is; its name is that in logs and status.
        prefix: Label prefix, without the dot.
        expose_all: Whether containers without such a label matter too.
        resync_interval_s: Seconds between two full looks.
        drain_timeout_s: How many seconds a stop signal matters: so far back is asked for events that were missed.
        variables: Names of those that are kept of a container's environment. Whoever has one asks to be routed, so that
            each container is looked at once in each of its lives: what an event or a list says has no environment.
        also_labels: Keys of further labels that are kept.
        follows: A container that is looked at although it may ask for nothing: nginx's own.
        asks_networks: Whether the engine is asked for the drivers of networks, where an address hangs on them.
        asks_all_networks: Whether it is so also for a container on one network alone, see `NetworkDrivers`.
        random: Gives a number in [0, 1), for jitter.
        connecting: Called before each stream, for what is looked up anew then.
        asks_identity: Whether the engine is asked who it is, by `/info`, and so what it is in a Swarm; what only looks
            once, at one engine that is in none, need not know.

    Attributes:
        name: The engine's in logs and status.
        heard: Told of each event, for whoever shows the stream.
        noted: Told of each event that is looked at.
        follows_task: See `Scope`; set by who knows a Swarm.
    """

    def __init__(
        self,
        client: EngineClient,
        *,
        engine: Engine,
        prefix: str,
        expose_all: bool,
        resync_interval_s: float,
        drain_timeout_s: float,
        random: Callable[[], float],
        variables: frozenset[str] = frozenset(),
        also_labels: frozenset[str] = frozenset(),
        follows: Selector | None = None,
        asks_networks: bool = True,
        asks_all_networks: bool = False,
        asks_identity: bool = False,
        connecting: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        def backoff() -> Backoff:
            return Backoff(first=BACKOFF_FIRST_S, limit=BACKOFF_LIMIT_S, random=random)

        self.name = name = engine.name
        self.heard: Heard | None = None
        self.noted: Callable[[Event], None] | None = None
        self.follows_task: Callable[[str], bool] | None = None
        self._client = client
        self._connecting = connecting
        self._changed: Changed = _nobody
        scope = Scope(
            prefix=prefix,
            expose_all=expose_all,
            variables=variables,
            also_labels=also_labels,
            follows=follows,
            engine=engine,
            follows_task=lambda task: self.follows_task is not None and self.follows_task(task),
        )
        self._cache = ContainerCache(scope, backoff=backoff)
        self._networks = NetworkDrivers(client.network_drivers, always=asks_all_networks) if asks_networks else None
        self._guard = Guard(
            client,
            name=name,
            asks_info=asks_identity,
            variables=variables,
            known=self._cache.containers,
            routed=self._cache.scope.asks,
            changed=self._leave_stream,
        )
        self._queue = WorkQueue()
        self._retries: dict[str, asyncio.TimerHandle] = {}  # looks that are owed, by id
        self._health_looks: dict[str, asyncio.TimerHandle] = {}  # those that follow an early word of a probe, by id
        self._debouncing: asyncio.TimerHandle | None = None  # while something is found, but not all that was touched
        self._flooded: asyncio.TimerHandle | None = None  # while a list is owed for what the queue did not take
        self._failures = Repeats()  # of looks, while the engine is there
        self._lister = Lister(
            client,
            name=name,
            resync_interval_s=resync_interval_s,
            backoff=backoff(),
            connected=lambda: self._stream.connection.connected,
            synced=lambda: self._cache.synced_at is not None,
            handle_list=self._handle_list,
            verify=self._guard.verify_info,
        )
        self._stream = Stream(
            client,
            name=name,
            reach_back_s=drain_timeout_s,
            connections=INSPECTORS + 1,  # and one for lists
            backoff=backoff(),
            begun=self._lister.request_anew,
            verify=self._verify,
            handle_event=self._handle_event,
        )

    @property
    def engine_pid(self) -> int | None:
        """Return the pid of the engine's process; `None` where that cannot be seen."""
        return self._stream.engine_pid

    @property
    def membership(self) -> SwarmMembership | None:
        """Return what the engine is in a Swarm, by its latest answer; `None`: it is in none, or does not say."""
        return self._guard.membership

    async def update_membership(self) -> None:
        """Ask for that anew; what cannot be had stays as it was."""
        if self._stream.connection.connected:
            with suppress(SourceError):
                await self._guard.verify_info()

    def snapshot(self) -> Snapshot | None:
        """Return all containers as they were last seen; `None` until the first full look has ended."""
        return self._cache.snapshot(self.name)

    def containers(self) -> Mapping[str, Container] | None:
        """Return the same containers as they are now, to look at and not to keep; `None` likewise."""
        return self._cache.containers()

    def followed(self) -> tuple[Container, ...]:
        """Return those that ask to be routed, or whose network such a one uses, by id, as they are now."""
        return self._cache.followed()

    def status(self) -> EngineStatus:
        """Return how well the engine is known now."""
        connection, containers = self._stream.connection, self._cache.containers()
        return EngineStatus(
            source=self.name,
            connected=connection.connected,
            since=connection.since,
            synced_at=self._cache.synced_at,
            drift=self._cache.drift,
            containers=None if containers is None else len(containers),
            events=dict(self._stream.recent.counts),
            error=connection.error or self._lister.error or self._cache.failed.error,
        )

    async def look(self, id: str) -> Container | None:
        """Return one container as it is now, for whoever wants to know all of it; raises `SourceError`."""
        found = await self._inspect(id)
        return found and self._cache.scope.trimmed(found)

    async def refresh(self, id: str) -> None:
        """Look at one container now, for whoever goes on by what it is; raises `SourceError`."""
        self._settle(id, await self._inspect(id), priority=Priority.EVENT)
        self._publish()

    def recent(self) -> tuple[Event, ...]:
        """Return the latest events of all containers, oldest first, without their labels."""
        return self._stream.recent.latest()

    def resync(self) -> None:
        """Have a full look begin now."""
        self._lister.request()

    async def run(self, changed: Changed) -> None:
        """
        Follow the engine for good, calling *changed* whenever `snapshot` may be another one.

        Raises:
            DeadSocketError: Nobody will ever listen at its socket again.
        """
        self._changed = changed
        dead: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stream.run(), name=f"{self.name} stream")
                group.create_task(self._lister.run(), name=f"{self.name} lists")
                for number in range(INSPECTORS):
                    group.create_task(self._keep_looking(), name=f"{self.name} inspector {number}")
        except* DeadSocketError as group_error:
            dead = group_error.exceptions[0]
        if dead is not None:
            raise dead

    async def _verify(self) -> None:
        """Find out, before a stream, whether it is still the same engine; raises `EngineChangedError`."""
        if self._connecting is not None:
            await self._connecting()
        await self._guard.verify()

    def _leave_stream(self) -> None:
        """Have the stream that holds end: it is another engine's."""
        self._stream.renew()

    def _handle_event(self, event: Event, age_s: float | None) -> None:
        matters = self._cache.matters(event)
        if self.heard is not None:
            # Before the cache changes: it still knows the name of a container that this event says is gone.
            self.heard(event, matters=matters)
        if matters and event.container is not None:
            _log.debug("event.handled", source=self.name, action=event.action, container=event.container[:12])
            if self.noted is not None:
                self.noted(event)
        now = asyncio.get_running_loop().time()
        todo = self._cache.handle_event(event, matters=matters, now=now, age_s=age_s)
        self._carry_out(todo, priority=Priority.EVENT)
        if matters and event.action.startswith(_HEALTH) and self._client.tells_health_early:
            self._look_after_probe(event.container or "")
        if todo.died:
            self._publish_within(DEATH_DEBOUNCE_S)
        elif todo.publish:
            self._debounce()

    def _handle_list(self, listed: tuple[Container, ...], priority: Priority) -> None:
        if self._networks is not None:
            self._networks.forget_failures()
        self._guard.judge(listed, asked_at=self._lister.began_at)
        todo = self._cache.handle_list(listed, heard_all=priority is Priority.RESYNC)
        self._carry_out(todo, priority=priority)
        if todo.publish:
            self._publish()

    async def _keep_looking(self) -> None:
        while True:
            id, priority = await self._queue.take()
            try:
                self._settle(id, await self._inspect(id), priority=priority)
            except SourceError as error:
                self._schedule_retry(id, error=error)
            finally:
                self._queue.done(id)
            # What a list asked for is published when all of it is there; what an event told does not wait for that.
            if priority is Priority.EVENT or self._cache.looked_through:
                self._debounce()

    async def _inspect(self, id: str) -> Container | None:
        found = await self._guard.inspect(id, connected=self._stream.connection.connected)
        if found is None or self._networks is None:
            return found
        return await self._networks.completed(found)

    def _settle(self, id: str, found: Container | None, *, priority: Priority) -> None:
        """Take what inspect answered about a container; *found* is `None` if there is none any more."""
        if (owed := self._retries.pop(id, None)) is not None:
            owed.cancel()
        event_waits = self._queue.has_event(id)
        todo = self._cache.handle_inspect(id, found, priority=priority, event_waits=event_waits, owed=owed is not None)
        if not self._cache.failed.any and (outage_s := self._failures.end(now=asyncio.get_running_loop().time())):
            _log.info("source.looked", source=self.name, outage_s=round(outage_s, 1))
        self._carry_out(todo, priority=Priority.EVENT)

    def _carry_out(self, todo: Todo, *, priority: Priority) -> None:
        """Have done what the cache asks for, but for publishing."""
        for id in todo.inspect:
            if not self._queue.add(id, priority, known=self._cache.knows(id)) and self._flooded is None:
                self._flooded = asyncio.get_running_loop().call_later(FLOOD_LIST_S, self._list_after_flood)
        if todo.list:
            self._lister.request()
        if todo.drifted is not None:
            asyncio.get_running_loop().call_later(DRIFT_GRACE_S, self._report_drift, todo.drifted)

    def _list_after_flood(self) -> None:
        """Ask for a list, once the one before it was looked through: each costs a look at every container."""
        self._flooded = None
        if self._cache.looked_through:
            self._lister.request()
        else:
            self._flooded = asyncio.get_running_loop().call_later(FLOOD_LIST_S, self._list_after_flood)

    def _report_drift(self, container: Container) -> None:
        if self._cache.confirm_drift(container.id):
            _log.warning("source.drifted", source=self.name, container=container.name)

    def _schedule_retry(self, id: str, *, error: SourceError) -> None:
        """Look again later at a container that could not be looked at."""
        # Without a stream the list after the next connection proposes it again; one that is owed already is enough.
        wanted = self._stream.connection.connected and id not in self._retries
        retry = self._cache.handle_failure(id, str(error), retry=wanted)
        if retry is None:
            return
        # An engine that goes away fails every look, and only the end of its stream tells that it was that.
        is_away, now = isinstance(error, EngineAwayError), asyncio.get_running_loop().time()
        log = _log.warning if not is_away and self._failures.fails(str(error), now=now) else _log.debug
        log(
            "source.look_failed",
            source=self.name,
            container=self._cache.name_of(id),
            error=str(error),
            attempt=retry.attempt,
            retry_in_s=round(retry.wait_s, 2),
        )
        self._retries[id] = asyncio.get_running_loop().call_later(retry.wait_s, self._look_again, id)
        if retry.publish:
            self._publish()

    def _look_after_probe(self, id: str) -> None:
        """Look once more at a container that is known, when what its probe found must be known too."""
        if not self._cache.knows(id):
            return
        if (earlier := self._health_looks.pop(id, None)) is not None:
            earlier.cancel()

        def look() -> None:
            del self._health_looks[id]
            self._carry_out(Todo(inspect=(id,)), priority=Priority.EVENT)

        self._health_looks[id] = asyncio.get_running_loop().call_later(HEALTH_LAG_S, look)

    def _look_again(self, id: str) -> None:
        self._retries.pop(id, None)
        self._carry_out(Todo(inspect=(id,)), priority=Priority.EVENT)

    def _debounce(self) -> None:
        """
        Publish what was found, together with what is being looked at, for as long as that takes no time to speak of.

        What comes together goes out together: a new container is in before the old one's death takes that one out. Of
        the dead themselves the looks are not waited for: they take long, and the worst is known.
        """
        if self._queue.handles_events(besides=self._cache.dead):
            self._publish_within(DEBOUNCE_S)
        else:
            self._publish()

    def _publish_within(self, seconds: float) -> None:
        """Publish what was found so many seconds from now, or before that."""
        loop = asyncio.get_running_loop()
        if self._debouncing is not None:
            if self._debouncing.when() <= loop.time() + seconds:
                return
            self._debouncing.cancel()
        self._debouncing = loop.call_later(seconds, self._publish)

    def _publish(self) -> None:
        """Let the snapshot be used, once it is whole."""
        if self._debouncing is not None:
            self._debouncing.cancel()
            self._debouncing = None
        was_synced = self._cache.synced_at is not None
        heard_at = self._cache.publish(now=asyncio.get_running_loop().time())
        containers = self._cache.containers()
        if not was_synced and containers is not None:
            _log.info("source.synced", source=self.name, containers=len(containers))
        self._changed(heard_at=heard_at)


def _nobody(*, heard_at: float | None = None) -> None:
    """Take no notice."""

"""
Keeps one engine's containers as a snapshot: subscribe, then list, then inspect.

Events only mark containers to look at; inspect tells what they are. A failed read keeps the last truth.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

import structlog

from lbwatch.core.draining import StopSignals
from lbwatch.core.errors import DeadSocketError, SourceError
from lbwatch.core.labels import asks, relevant
from lbwatch.core.model import Container, ContainerStatus, EngineStatus, Event, Health, Snapshot
from lbwatch.core.placement import network_owner
from lbwatch.core.schedule import Backoff
from lbwatch.core.selector import Selector
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.queue import Priority, WorkQueue
from lbwatch.engines.docker.stream import Stream

BACKOFF_FIRST_S = 0.1
BACKOFF_LIMIT_S = 2.0
INSPECTORS = 8

LIST_PATIENCE_S = 3.0
"""How long a list may take that was asked for before the stream broke; slow ones must not be given up for ever."""

DEBOUNCE_S = 0.05
"""How long looks that have ended wait for those that events asked for meanwhile: one change for all, not one each."""

DRIFT_GRACE_S = 2.0
"""How long the event of a change that a resync found first may take to arrive."""

MAX_FAILED_LOOKS = 2
"""Looks at a container that fail or hang (moby#46782) before a full look does without it."""

MAX_STALE_LOOKS = 5
"""So many looks failed, each after seconds, that a list which says `exited` is newer than the last truth."""

MAX_NAMED = 1000
"""So many containers that ask for nothing are known by name between two lists."""

_ID_CHARS = 64  # of a container's id; a name may be told from it

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
        name: The engine's name in logs and status.
        prefix: Label prefix, without the dot.
        expose_all: Whether containers without such a label matter too.
        resync_interval_s: Seconds between two full looks.
        drain_timeout_s: How many seconds a stop signal matters: so far back is asked for events that were missed.
        follows: A container that is looked at although it may ask for nothing: nginx's own.
        random: Gives a number in [0, 1), for jitter.
    """

    def __init__(
        self,
        client: EngineClient,
        *,
        name: str,
        prefix: str,
        expose_all: bool,
        resync_interval_s: float,
        drain_timeout_s: float,
        random: Callable[[], float],
        follows: Selector | None = None,
    ) -> None:
        self.name = name
        self.drift = 0  # changes that a resync found and no event told
        self.heard: Heard | None = None  # for whoever shows the stream
        self._client = client
        self._prefix = prefix
        self._expose_all = expose_all
        self._follows = follows
        self._resync_interval_s = resync_interval_s
        self._random = random
        self._changed: Changed = _nobody
        self._containers: dict[str, Container] = {}  # the last truth, by id
        self._unlabelled: set[str] = set()  # ids that events showed to ask for nothing, until the next list
        self._owners: set[str] = set()  # ids whose network a container that asks uses
        self._owner_names: set[str] = set()  # what they are called by those: by id, or by name where that is all
        self._signals = StopSignals()
        self._queue = WorkQueue()
        self._failures: dict[str, Backoff] = {}  # of looks that failed, by id, until one succeeds
        self._retries: dict[str, asyncio.TimerHandle] = {}  # looks that are owed, by id
        self._drift_candidates: set[str] = set()  # ids that a resync found changed before any event told
        self._unseen: dict[str, Container | None] = {}  # entries of the latest list that were not looked at since
        self._looking_through = False  # whether some of what the latest list held was not looked at yet
        self._synced = False  # whether all that the first list held was looked at
        self._synced_at: float | None = None  # loop time at which all was looked at that the latest list held
        self._heard_at: float | None = None  # loop time of the first event since the snapshot was published
        self._debouncing: asyncio.TimerHandle | None = None  # while something is found, but not all that was touched
        self._patience: asyncio.Timeout | None = None  # of the list that is being asked for
        self._listing_since = 0.0  # loop time at which it was
        self._answers_looks = False  # whether any look succeeded since the latest list
        self._list_error: str | None = None  # of the latest list
        self._look_error: str | None = None  # of the latest look
        self._list_wanted = asyncio.Event()
        self._stream = Stream(
            client,
            name=name,
            reach_back_s=drain_timeout_s,
            connections=INSPECTORS + 1,  # and one for lists
            backoff=self._backoff(),
            begun=self._list_anew,
            handle_event=self._handle_event,
        )

    @property
    def engine_pid(self) -> int | None:
        """Give the pid of the engine's process, where that can be seen."""
        return self._stream.engine_pid

    def snapshot(self) -> Snapshot | None:
        """Give all containers as they were last seen; `None` until the first full look has ended."""
        if not self._synced:
            return None
        containers = dict(self._containers)
        return Snapshot(source=self.name, containers=containers, stopping=self._signals.stopping(containers))

    def containers(self) -> Mapping[str, Container] | None:
        """Give the same containers as they are now, to look at and not to keep; `None` likewise."""
        return MappingProxyType(self._containers) if self._synced else None

    def status(self) -> EngineStatus:
        """Tell how well the engine is known now."""
        stream = self._stream
        return EngineStatus(
            source=self.name,
            connected=stream.connected,
            since=stream.since,
            synced_at=self._synced_at,
            drift=self.drift,
            containers=len(self._containers) if self._synced else None,
            events=dict(stream.counts),
            error=stream.error or self._list_error or (None if self._answers_looks else self._look_error),
        )

    async def look(self, id: str) -> Container | None:
        """Ask for one container now, for whoever wants to know all of it; raises `SourceError`."""
        found = await self._client.inspect(id)
        return found and self._trimmed(found)

    def recent(self) -> tuple[Event, ...]:
        """Give the latest events of all containers, oldest first, without their labels."""
        return self._stream.recent()

    async def run(self, changed: Changed) -> None:
        """
        Follow the engine for good, calling *changed* whenever `snapshot` may tell something new.

        Raises:
            DeadSocketError: Nobody will ever listen at its socket again.
        """
        self._changed = changed
        dead: Exception | None = None
        try:
            await self._follow()
        except* DeadSocketError as group:
            dead = group.exceptions[0]
        if dead is not None:
            raise dead

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stream.run(), name=f"{self.name} stream")
            group.create_task(self._keep_listing(), name=f"{self.name} lists")
            for number in range(INSPECTORS):
                group.create_task(self._keep_looking(), name=f"{self.name} inspector {number}")

    def resync(self) -> None:
        """Ask for a full look now."""
        self._list_wanted.set()

    # Events: they only mark.

    def _handle_event(self, event: Event) -> None:
        """Mark what an event touched, unless it asks for nothing."""
        matters = event.container is None or self._matters(event)
        if self.heard is not None:
            self.heard(event, matters=matters)
        if event.container is None:
            self._list_wanted.set()
        elif matters:
            _log.debug("event.handled", source=self.name, action=event.action, container=event.container[:12])
            self._drift_candidates.discard(event.container)
            self._queue.add(event.container, Priority.EVENT)
            self._heard_at = self._heard_at or asyncio.get_running_loop().time()
            if event.action == "kill":
                self._handle_signal(event)
        else:
            self._unlabelled.add(event.container)
            self._name(event, id=event.container)

    def _name(self, event: Event, *, id: str) -> None:
        """Know a container that asks for nothing by its name, until the next list, for whoever looks for it."""
        if event.action == "destroy":
            self._containers.pop(id, None)
        elif id not in self._containers and event.labels is not None and len(self._unlabelled) <= MAX_NAMED:
            self._containers[id] = self._trimmed(_described(id, event.labels))

    def _handle_signal(self, event: Event) -> None:
        """Take the one thing that an event alone tells; of a replay, when that was."""
        assert event.container is not None
        now, known = asyncio.get_running_loop().time(), self._containers.get(event.container)
        self._signals.record(event, container=known, now=now, age_s=self._stream.age_s(event))
        self._debounce()

    def _matters(self, event: Event) -> bool:
        assert event.container is not None
        if self._expose_all or event.container in self._owners:
            return True
        known = self._containers.get(event.container)
        if event.labels is None:
            return self._asks(known) if known else event.container not in self._unlabelled
        if asks(event.labels, prefix=self._prefix):
            return True
        if self._follows is None:
            return False
        return self._is_followed(_described(event.container, event.labels)) or bool(known and self._is_followed(known))

    # Lists: they only propose ids (facts, stream 4).

    async def _keep_listing(self) -> None:
        backoff = self._backoff()
        while True:
            mark = await self._next_list()
            try:
                self._propose(await self._list(), mark=mark)
                self._list_error = None
                backoff.reset()
            except TimeoutError:  # another one is wanted already
                continue
            except SourceError as error:
                self._list_error = str(error)
                wait_s = backoff.next_wait()
                say = _log.warning if self._stream.connected else _log.debug  # no stream: the reason was logged already
                say("source.list_failed", source=self.name, error=str(error), retry_in_s=round(wait_s, 2))
                await asyncio.sleep(wait_s)
                self._list_wanted.set()

    def _list_anew(self) -> None:
        """Ask for a list that begins now: one that was asked for before the stream may hang, or miss what came."""
        self._list_wanted.set()
        if self._patience is not None:
            self._patience.reschedule(self._listing_since + LIST_PATIENCE_S)
            self._patience = None

    async def _list(self) -> tuple[Container, ...]:
        self._listing_since = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None) as self._patience:
                return await self._client.list_containers()
        finally:
            self._patience = None

    async def _next_list(self) -> Priority:
        """Wait until a list is wanted or the resync is due, and tell which."""
        connected = self._stream.connected
        try:
            async with asyncio.timeout(self._resync_interval_s):
                await self._list_wanted.wait()
            mark = Priority.LISTED
        except TimeoutError:
            mark = Priority.RESYNC if connected and self._stream.connected and self._synced else Priority.LISTED
        self._list_wanted.clear()
        return mark

    def _propose(self, listed: tuple[Container, ...], *, mark: Priority) -> None:
        """Mark every container that asks for something, of the list and of the last truth; keep the others as told."""
        entries = {container.id: self._trimmed(container) for container in listed}
        known = entries | self._containers
        owners = self._owners | self._owners_among(entries.values(), known=known)
        tracked = {id for id, container in known.items() if self._asks(container) or id in owners}
        stays = tracked | self._unlabelled  # of the latter the list, which lags, may not know yet
        unlabelled = {id: entry for id, entry in entries.items() if id not in tracked}
        self._containers = {id: known for id, known in self._containers.items() if id in stays} | unlabelled
        self._unlabelled.clear()
        self._looking_through, self._answers_looks = True, False
        self._unseen = {id: entries.get(id) for id in tracked}
        for id in tracked:
            self._queue.add(id, mark)
        if not tracked:
            self._publish()

    # Looks: what inspect says is what is (facts, stream 5).

    async def _keep_looking(self) -> None:
        while True:
            id, mark = await self._queue.take()
            try:
                found = await self._client.inspect(id)
                self._settle(id, found and self._trimmed(found), mark=mark)
            except SourceError as error:
                self._schedule_retry(id, error=error)
            finally:
                self._queue.done(id)
            if mark is Priority.EVENT or not self._unseen:
                self._debounce()

    def _settle(self, id: str, found: Container | None, *, mark: Priority) -> None:
        """Take what inspect told about a container; *found* is `None` if there is none any more."""
        self._answers_looks, self._look_error = True, None
        before = self._containers.pop(id, None)
        if found is not None:
            self._containers[id] = before if found == before and before is not None else found
        if not self._queue.has_event(id):  # else it may have begun another life while it was looked at
            self._signals.settle(id, found)
        self._failures.pop(id, None)
        if (owed := self._retries.pop(id, None)) is not None:
            owed.cancel()
        self._unseen.pop(id, None)
        self._watch_owner(before, found, handles_events=mark is Priority.EVENT)
        told = self._queue.has_event(id) or owed is not None  # an event waits for its look, or waited in vain
        if mark is Priority.RESYNC and _told(before) != _told(found) and not told:
            self._drift_candidates.add(id)
            asyncio.get_running_loop().call_later(DRIFT_GRACE_S, self._report_drift, id, (found or before))

    def _debounce(self) -> None:
        """
        Publish what was found, together with what is being looked at, for as long as that takes no time to speak of.

        What comes together goes out together: a new container is in before the old one's death takes that one out.
        """
        if not self._queue.handles_events:
            self._publish()
        elif self._debouncing is None:
            self._debouncing = asyncio.get_running_loop().call_later(DEBOUNCE_S, self._publish)

    def _publish(self) -> None:
        """Let the snapshot be used, once it is whole."""
        if self._debouncing is not None:
            self._debouncing.cancel()
            self._debouncing = None
        if self._looking_through and not self._unseen:
            self._looking_through, self._synced_at = False, asyncio.get_running_loop().time()
            if not self._synced:
                self._synced = True
                _log.info("source.synced", source=self.name, containers=len(self._containers))
        heard_at, self._heard_at = self._heard_at, None
        self._changed(heard_at=heard_at)

    def _watch_owner(self, before: Container | None, found: Container | None, *, handles_events: bool) -> None:
        """Follow the containers whose network others use, although they ask for nothing themselves."""
        if not any(each and (each.network_of or each.name in self._owner_names) for each in (before, found)):
            return
        self._owner_names = {each.network_of for each in self._containers.values() if each.network_of}
        known, self._owners = self._owners, self._owners_among(self._containers.values(), known=self._containers)
        for owner in self._owners - known:
            self._queue.add(owner, Priority.EVENT)
        if handles_events and found is not None and network_owner(found, containers=self._containers) is None:
            self._list_wanted.set()  # it may be known by its name alone, which no look takes

    def _owners_among(self, containers: Iterable[Container], *, known: Mapping[str, Container]) -> set[str]:
        """List the ids of those whose network is used by one that asks; an id need not be *known* for that."""
        users = [container for container in containers if container.network_of and self._asks(container)]
        found = {owner.id for user in users if (owner := network_owner(user, containers=known)) is not None}
        return found | {user.network_of for user in users if user.network_of and len(user.network_of) == _ID_CHARS}

    def _report_drift(self, id: str, container: Container | None) -> None:
        if id in self._drift_candidates:
            self._drift_candidates.discard(id)
            self.drift += 1
            _log.warning("source.drifted", source=self.name, container=container.name if container else id[:12])

    def _schedule_retry(self, id: str, *, error: SourceError) -> None:
        """Keep the last truth about a container that could not be looked at, and look again later."""
        self._look_error = str(error)
        if not self._stream.connected or id in self._retries:
            return  # the list after the next connection proposes it again, or it is owed already
        backoff = self._failures.setdefault(id, self._backoff())
        wait_s = backoff.next_wait()
        _log.warning(
            "source.look_failed",
            source=self.name,
            container=id[:12],
            error=str(error),
            attempt=backoff.attempt,
            retry_in_s=round(wait_s, 2),
        )
        self._retries[id] = asyncio.get_running_loop().call_later(wait_s, self._look_again, id)
        if backoff.attempt >= MAX_FAILED_LOOKS:
            self._accept_stale(id, down_believed=backoff.attempt >= MAX_STALE_LOOKS)

    def _look_again(self, id: str) -> None:
        self._retries.pop(id, None)
        self._queue.add(id, Priority.EVENT)

    def _accept_stale(self, id: str, *, down_believed: bool) -> None:
        """
        Let one container that cannot be looked at not hold back all others: its last truth or list entry stays.

        Where no look at all succeeds the engine is sick, and nothing that it lists is taken for the truth.
        """
        if not self._answers_looks:
            return
        entry, known = self._unseen.pop(id, None), self._containers.get(id)
        if entry is not None and (known is None or not known.started_ns):  # none, or a list's: those tell of no start
            self._containers[id] = entry
        elif entry is not None and known is not None and down_believed and not _is_up(entry):
            self._containers[id] = replace(known, status=entry.status)
        self._publish()

    def _asks(self, container: Container) -> bool:
        labelled = self._expose_all or asks((key for key, _ in container.labels), prefix=self._prefix)
        return labelled or self._is_followed(container)

    def _is_followed(self, container: Container) -> bool:
        return self._follows is not None and self._follows.matches(container)

    def _trimmed(self, container: Container) -> Container:
        also = (self._follows.key,) if self._follows is not None else ()
        return replace(container, labels=relevant(container.labels, prefix=self._prefix, also=also))

    def _backoff(self) -> Backoff:
        return Backoff(first=BACKOFF_FIRST_S, limit=BACKOFF_LIMIT_S, random=self._random)


def _nobody(*, heard_at: float | None = None) -> None:
    """Take no notice."""


def _described(id: str, attributes: Mapping[str, str]) -> Container:
    """Make of an event's attributes what they tell of its container."""
    return Container(id=id, name=attributes.get("name", id[:12]), labels=tuple(sorted(attributes.items())))


def _is_up(container: Container) -> bool:
    return container.status in (ContainerStatus.RUNNING, ContainerStatus.PAUSED)


def _told(container: Container | None) -> object:
    """Reduce a container to what some event would have told; `starting` and changes while stopped have none."""
    if container is None:
        return None
    if not _is_up(container):
        return container.name, "down"
    health = container.health if container.health in (Health.HEALTHY, Health.UNHEALTHY) else None
    return container.name, container.status, container.started_ns, container.endpoints, health

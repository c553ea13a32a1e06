"""
What is known of one engine's containers, and what must be looked at next: values in, values out.

An event, a list, an answer of inspect or a failed look comes in; a `Todo` for the tasks around comes out. Nothing here
waits, logs or reads a clock: loop times come in as arguments.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from types import MappingProxyType

from lbwatch.core.draining import StopSignals
from lbwatch.core.model import Container, Event, Snapshot
from lbwatch.core.placement import network_owner
from lbwatch.core.schedule import Backoff
from lbwatch.engines.docker.deaths import Deaths
from lbwatch.engines.docker.drift import has_drifted
from lbwatch.engines.docker.failures import FailedLooks
from lbwatch.engines.docker.lives import Lives
from lbwatch.engines.docker.memory import remembered
from lbwatch.engines.docker.owners import NetworkOwners
from lbwatch.engines.docker.queue import Priority
from lbwatch.engines.docker.scope import Scope, described
from lbwatch.engines.docker.turns import Turns

MAX_FAILED_LOOKS = 2
"""Looks at a container that fail or hang (moby#46782) before a full look does without it."""

MAX_STALE_LOOKS = 5
"""So many looks failed, each after seconds, that a list which says `exited` is newer than the last truth."""

MAX_NAMED = 1000
"""So many containers that ask for nothing are known by name between two lists."""

MAX_UNLABELLED = 100_000
"""Of so many is known between two lists that they ask for nothing; a network's event costs a look at any other."""

GONE = ("destroy", "remove")
"""Of a container that is no more, in Docker's and in Podman's word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    """
    What must be done after something came in.

    Attributes:
        inspect: Ids of containers that must be looked at.
        list: Whether a list is needed.
        publish: Whether the snapshot is another one already, before anything is looked at.
        died: Whether that is for a death.
        drifted: What a resync found changed; it is drift unless an event tells of the change soon.
    """

    inspect: tuple[str, ...] = ()
    list: bool = False
    publish: bool = False
    died: bool = False
    drifted: Container | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """
    When a look that failed must be tried again.

    Attributes:
        attempt: How many looks at the container failed since one succeeded.
        wait_s: Seconds until the next one.
        publish: Whether the others no longer wait for this container.
    """

    attempt: int
    wait_s: float
    publish: bool


class ContainerCache:
    """
    One engine's containers: events say what to look at, lists propose ids, inspect settles.

    Args:
        scope: Which containers are followed.
        backoff: Makes what counts the failures of one container.

    Attributes:
        scope: Which containers are followed.
        failed: How looks went.
        drift: How many changes a resync found that no event told.
        synced_at: Loop time at which all was looked at that the latest list held; `None` before the first time.
    """

    def __init__(self, scope: Scope, *, backoff: Callable[[], Backoff]) -> None:
        self.scope = scope
        self.failed = FailedLooks(backoff=backoff)
        self.drift = 0
        self.synced_at: float | None = None
        self._containers: dict[str, Container] = {}  # the last truth, by id
        self._published: Mapping[str, Container] | None = None  # the same as it was published last
        self._unlabelled: set[str] = set()  # ids that events showed to ask for nothing, until the next list
        self._owners = NetworkOwners(scope)
        self._signals = StopSignals()
        self._deaths = Deaths()
        self._turns = Turns()
        self._lives = Lives(scope)
        self._drift_candidates: set[str] = set()  # ids that a resync found changed before any event told
        self._unseen: dict[str, Container | None] = {}  # entries of the latest list that were not looked at since
        self._looking_through = False  # whether the latest list was not published yet as looked through
        self._heard_at: float | None = None  # loop time of the first event since the snapshot was published

    # What is known.

    def snapshot(self, source: str) -> Snapshot | None:
        """Return all containers as they were last seen, for the engine *source*; `None` before the first full look."""
        if self.synced_at is None:
            return None
        self._published = self._containers
        return Snapshot(source=source, containers=self._published, stopping=self._signals.stopping(self._published))

    def containers(self) -> Mapping[str, Container] | None:
        """Return the same containers as they are now, to look at and not to keep; `None` likewise."""
        return None if self.synced_at is None else MappingProxyType(self._containers)

    def followed(self) -> tuple[Container, ...]:
        """Return those that ask to be routed, or whose network such a one uses, by id, as they are now."""
        return tuple(
            each for id, each in sorted(self._containers.items()) if id in self._owners.ids or self.scope.asks(each)
        )

    def knows(self, id: str) -> bool:
        """Return whether anything is known of a container but that an event named it."""
        return id in self._containers or id in self._unseen

    def name_of(self, id: str) -> str:
        """Return a container's name; where none is known, the id as the engine shortens it."""
        known = self._containers.get(id) or self._unseen.get(id)
        return known.name if known is not None else id[:12]

    @property
    def dead(self) -> AbstractSet[str]:
        """Return the ids of those that died by the word of an event, until inspect has answered."""
        return self._deaths.ids

    @property
    def looked_through(self) -> bool:
        """Return whether all was looked at that the latest list held."""
        return not self._unseen

    def publish(self, *, now: float) -> float | None:
        """
        Return the loop time of the first event that the snapshot is about; `None`: no event told.

        From then on it counts as published, at the loop time *now*.
        """
        if self._looking_through and not self._unseen:
            self._looking_through, self.synced_at = False, now
        heard_at, self._heard_at = self._heard_at, None
        return heard_at

    # Events: they only mark.

    def matters(self, event: Event) -> bool:
        """Return whether an event is a reason to look at anything."""
        if event.container is None or self.scope.expose_all or event.container in self._owners.ids:
            return True
        known = self._containers.get(event.container)
        # Events of networks carry no labels: what was seen or heard of the container before decides.
        if event.labels is None:
            return self.scope.asks(known) if known else event.container not in self._unlabelled
        if self.scope.labelled(event.labels) or self.scope.is_task(event.labels):
            return True
        # No event carries an environment: only a look tells, one in each life of the container.
        if (known and known.env) or self._lives.is_new(event):
            return True
        if self.scope.follows is None:
            return False
        as_told = described(event.container, event.labels)
        return self.scope.is_followed(as_told) or bool(known and self.scope.is_followed(known))

    def handle_event(self, event: Event, *, matters: bool, now: float, age_s: float | None) -> Todo:
        """
        Return what must be done after an event.

        Args:
            event: As it was decoded.
            matters: What `matters` said of it.
            now: Loop time, in seconds.
            age_s: Of an event that is told after the fact, how many seconds ago it happened; `None`: it happens now.
        """
        id = event.container
        if id is None:
            return Todo(list=True)
        if not matters:
            if len(self._unlabelled) < MAX_UNLABELLED:
                self._unlabelled.add(id)
            self._name(event, id=id)
            return Todo()
        self._lives.heard(event)
        self._drift_candidates.discard(id)
        self._heard_at = self._heard_at or now
        known = self._containers.get(id)
        # A signal is in no state, so that here the event itself is believed (facts, stream 21).
        self._signals.record(event, container=known, now=now, age_s=age_s)
        dead = self._deaths.believed(event, known=known, age_s=age_s)
        if dead is not None:
            self._set(id, dead)
        return Todo(inspect=(id,), publish=dead is not None or event.action == "kill", died=dead is not None)

    def _name(self, event: Event, *, id: str) -> None:
        """Know a container that asks for nothing by its name, until the next list, for whoever looks for it."""
        if event.action in GONE:
            self._set(id, None)
        elif id not in self._containers and event.labels is not None and len(self._unlabelled) <= MAX_NAMED:
            self._set(id, self.scope.trimmed(described(id, event.labels)))

    # Lists: they only propose ids (facts, stream 4).

    def handle_list(self, listed: Iterable[Container], *, heard_all: bool = False) -> Todo:
        """
        Return what must be done after a list: look at all that asks for something, of the list or before it.

        Args:
            listed: Its entries.
            heard_all: Whether events told of all that happened since the list before, as far as is known: then of many
                containers only those are looked at which that list had otherwise, and others in turn.
        """
        entries = {container.id: self.scope.trimmed(container) for container in listed}
        # The last truth goes before the list, which lags; what a list lacks may be there all the same.
        known = entries | self._containers
        owners = self._owners.ids | self._owners.among(entries.values(), known=known)
        wanted = {
            id: entries.get(id)
            for id, container in known.items()
            if id in owners or self.scope.asks(container) or (id in entries and self._lives.is_unknown(id))
        }
        tasks = {id for id in wanted if id not in owners and self.scope.is_task(dict(known[id].labels))}
        self._unseen = self._turns.due(wanted, tasks=tasks) if heard_all else dict(wanted)
        self._turns.list(wanted)
        # What asks for nothing is never looked at, so that for it the list has the say; but a lagging list may not
        # have those yet that events named since the one before.
        stays = wanted.keys() | self._unlabelled
        unlabelled = {id: entry for id, entry in entries.items() if id not in wanted}
        self._containers = {id: known for id, known in self._containers.items() if id in stays} | unlabelled
        self._lives.retain(entries.keys() | self._unlabelled)
        self._unlabelled.clear()
        self._looking_through, self.failed.answered = True, False
        self.failed.retain(wanted)
        # Those first of which nothing was known: they may be what events of too many others kept out of the queue.
        inspect = sorted(self._unseen, key=self._containers.__contains__)
        return Todo(inspect=tuple(inspect), publish=not self._unseen)

    # Looks: what inspect says is what is (facts, stream 5).

    def handle_inspect(
        self, id: str, found: Container | None, *, priority: Priority, event_waits: bool, owed: bool
    ) -> Todo:
        """
        Return what must be done after an answer of inspect.

        Args:
            id: Of the container.
            found: What it is; `None` if there is none any more.
            priority: Why it was looked at.
            event_waits: Whether an event asked for another look at it meanwhile.
            owed: Whether a look at it failed that was to be tried again.
        """
        self.failed.succeed(id)
        self._turns.looked_at(id)
        self._lives.looked_at(id)
        before = self._containers.get(id)
        found = found and remembered(self.scope.trimmed(found), before=before)
        found = self._deaths.settled(id, found, event_waits=event_waits)
        if found != before:
            self._set(id, found)
        # A container of which an event waits may have begun another life while it was looked at: what it was told
        # in that one must not be forgotten for what the older answer says.
        if not event_waits:
            self._signals.settle(id, found)
        self._unseen.pop(id, None)
        owners, lacks_owner = self._watch_owners(before, found)
        # An event that waits for its look, or waited in vain, did tell: then the resync was only faster.
        told = event_waits or owed or id in owners
        drifted = priority is Priority.RESYNC and not told and has_drifted(before, found, scope=self.scope)
        if drifted:
            self._drift_candidates.add(id)
        return Todo(
            inspect=owners,
            list=lacks_owner and priority is Priority.EVENT,
            drifted=(found or before) if drifted else None,
        )

    def handle_failure(self, id: str, error: str, *, retry: bool) -> Retry | None:
        """
        Return when to look again at a container that could not be looked at; `None` where *retry* is false.

        Its last truth stays, but for a death that was told and that only a look could have confirmed.

        Args:
            id: Of the container.
            error: Why, in words.
            retry: Whether another look must be planned, since nothing else will ask for one.
        """
        self.failed.fail(error)
        self._turns.forget(id)
        if (dead := self._deaths.unconfirmed(self._containers.get(id))) is not None:
            self._set(id, dead)
        if not retry:
            return None
        backoff = self.failed.backoff(id)
        wait_s = backoff.next_wait()
        # Where no look at all succeeds the engine is sick, and nothing that it lists is taken for the truth.
        gives_up = backoff.attempt >= MAX_FAILED_LOOKS and self.failed.answered
        if gives_up:
            self._accept_stale(id, down_believed=backoff.attempt >= MAX_STALE_LOOKS)
        return Retry(attempt=backoff.attempt, wait_s=wait_s, publish=gives_up)

    def confirm_drift(self, id: str) -> bool:
        """Return whether still no event has told of a change that a resync found; if so, it counts as drift."""
        if id not in self._drift_candidates:
            return False
        self._drift_candidates.discard(id)
        self.drift += 1
        return True

    def _watch_owners(self, before: Container | None, found: Container | None) -> tuple[tuple[str, ...], bool]:
        """
        Return the ids of new owners of networks, and whether the one that *found* needs is unknown.

        It may be known by its name alone then (facts, stream 20), which no look takes and a list tells.
        """
        if not (self._owners.concern(before) or self._owners.concern(found)):
            return (), False
        owners = self._owners.update(self._containers)
        return owners, found is not None and network_owner(found, containers=self._containers) is None

    def _accept_stale(self, id: str, *, down_believed: bool) -> None:
        """
        Let one container that cannot be looked at not hold back all others: its last truth or list entry stays.

        Args:
            id: Of the container.
            down_believed: Whether the list is believed where it says that a container ended of which more was known.
        """
        entry, known = self._unseen.pop(id, None), self._containers.get(id)
        if entry is None:
            return
        # What tells of no start came from a list itself: the newer list knows better, also that it runs by now.
        if known is None or not known.started_ns:
            self._set(id, entry)
        # After so long the list is believed of an end, and that it was none if only an event told of it; whatever else
        # a lagging list says, the last truth stays.
        elif down_believed and not entry.status.is_up:
            self._set(id, replace(known, status=entry.status))
        elif down_believed and (alive := self._deaths.revoke(id)) is not None:
            self._set(id, alive)

    def _set(self, id: str, container: Container | None) -> None:
        """Know a container, or `None` of one that is gone. What was published stays as it was."""
        if self._containers is self._published:
            self._containers = dict(self._containers)
        if container is None:
            self._containers.pop(id, None)
        else:
            self._containers[id] = container

"""
What is known of one engine's containers, and what must be looked at next: values in, values out.

An event, a list, an answer of inspect or a failed look comes in; a `Todo` for the tasks around comes out. Nothing here
waits, logs or reads a clock: loop times come in as arguments.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from lbwatch.core.draining import StopSignals
from lbwatch.core.labels import asks, relevant
from lbwatch.core.model import Container, ContainerStatus, Event, Health, Snapshot
from lbwatch.core.placement import network_owner
from lbwatch.core.schedule import Backoff
from lbwatch.core.selector import Selector
from lbwatch.engines.docker.queue import Priority

MAX_FAILED_LOOKS = 2
"""Looks at a container that fail or hang (moby#46782) before a full look does without it."""

MAX_STALE_LOOKS = 5
"""So many looks failed, each after seconds, that a list which says `exited` is newer than the last truth."""

MAX_NAMED = 1000
"""So many containers that ask for nothing are known by name between two lists."""

_ID_CHARS = 64  # of a container's id; a name may be told from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    """
    What must be done after something came in.

    Attributes:
        inspect: Ids of containers that must be looked at.
        list: Whether a list is needed.
        publish: Whether the snapshot is another one already, before anything is looked at.
        drifted: What a resync found changed; it is drift unless an event tells of the change soon.
    """

    inspect: tuple[str, ...] = ()
    list: bool = False
    publish: bool = False
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """
    Which containers are followed, and which of their labels are kept.

    Attributes:
        prefix: Label prefix, without the dot.
        expose_all: Whether containers without such a label are followed too.
        follows: A container that is followed although it may ask for nothing: nginx's own; `None`: there is none.
    """

    prefix: str
    expose_all: bool
    follows: Selector | None = None

    def asks(self, container: Container) -> bool:
        """Return whether a container asks to be routed, or is nginx's own."""
        labelled = self.expose_all or self.labelled(key for key, _ in container.labels)
        return labelled or self.is_followed(container)

    def labelled(self, keys: Iterable[str]) -> bool:
        """Return whether any of these label keys is ours."""
        return asks(keys, prefix=self.prefix)

    def is_followed(self, container: Container) -> bool:
        """Return whether a container is nginx's own."""
        return self.follows is not None and self.follows.matches(container)

    def trimmed(self, container: Container) -> Container:
        """Return a container without the labels that can never matter: they may be megabytes long."""
        also = (self.follows.key,) if self.follows is not None else ()
        return replace(container, labels=relevant(container.labels, prefix=self.prefix, also=also))


class NetworkOwners:
    """
    The containers whose network others use: followed although they ask for nothing themselves.

    When one of them dies its user is unreachable, and `die` is the only event there will be (facts, stream 4).

    Attributes:
        ids: Their ids.
    """

    def __init__(self, scope: Scope) -> None:
        self.ids: set[str] = set()
        self._scope = scope
        self._names: set[str] = set()  # what their users call them: by id, or by name where that is all

    def concern(self, container: Container | None) -> bool:
        """Return whether a container uses another's network, or may be one whose network is used."""
        return container is not None and bool(container.network_of or container.name in self._names)

    def update(self, containers: Mapping[str, Container]) -> tuple[str, ...]:
        """Return the ids of those that were none before, of all *containers*, by id."""
        self._names = {each.network_of for each in containers.values() if each.network_of}
        before, self.ids = self.ids, self.among(containers.values(), known=containers)
        return tuple(sorted(self.ids - before))

    def among(self, containers: Iterable[Container], *, known: Mapping[str, Container]) -> set[str]:
        """Return the ids of those whose network one of *containers* uses; an id need not be *known* for that."""
        users = [container for container in containers if container.network_of and self._scope.asks(container)]
        found = {owner.id for user in users if (owner := network_owner(user, containers=known)) is not None}
        return found | {user.network_of for user in users if user.network_of and len(user.network_of) == _ID_CHARS}


class FailedLooks:
    """
    How looks at containers went lately.

    Args:
        backoff: Makes what counts the failures of one container.

    Attributes:
        answered: Whether any look succeeded since the latest list.
    """

    def __init__(self, *, backoff: Callable[[], Backoff]) -> None:
        self.answered = False
        self._error: str | None = None  # of the latest look
        self._new_backoff = backoff
        self._backoffs: dict[str, Backoff] = {}  # of looks that failed, by id, until one succeeds

    @property
    def error(self) -> str | None:
        """Return why no look succeeds, in words; `None` while any does."""
        return None if self.answered else self._error

    def succeed(self, id: str) -> None:
        """Forget the failures of a container."""
        self.answered, self._error = True, None
        self._backoffs.pop(id, None)

    def fail(self, error: str) -> None:
        """Keep why a look failed, in words."""
        self._error = error

    def backoff(self, id: str) -> Backoff:
        """Return what counts the failures of a container since a look at it succeeded."""
        return self._backoffs.setdefault(id, self._new_backoff())


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
        self._unlabelled: set[str] = set()  # ids that events showed to ask for nothing, until the next list
        self._owners = NetworkOwners(scope)
        self._signals = StopSignals()
        self._drift_candidates: set[str] = set()  # ids that a resync found changed before any event told
        self._unseen: dict[str, Container | None] = {}  # entries of the latest list that were not looked at since
        self._looking_through = False  # whether the latest list was not published yet as looked through
        self._heard_at: float | None = None  # loop time of the first event since the snapshot was published

    # What is known.

    def snapshot(self, source: str) -> Snapshot | None:
        """Return all containers as they were last seen, for the engine *source*; `None` before the first full look."""
        if self.synced_at is None:
            return None
        containers = dict(self._containers)
        return Snapshot(source=source, containers=containers, stopping=self._signals.stopping(containers))

    def containers(self) -> Mapping[str, Container] | None:
        """Return the same containers as they are now, to look at and not to keep; `None` likewise."""
        return None if self.synced_at is None else MappingProxyType(self._containers)

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
        if self.scope.labelled(event.labels):
            return True
        if self.scope.follows is None:
            return False
        described = _described(event.container, event.labels)
        return self.scope.is_followed(described) or bool(known and self.scope.is_followed(known))

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
            self._unlabelled.add(id)
            self._name(event, id=id)
            return Todo()
        self._drift_candidates.discard(id)
        self._heard_at = self._heard_at or now
        # A signal is the one thing that is in no state, so that here the event itself is believed (facts, stream 21).
        self._signals.record(event, container=self._containers.get(id), now=now, age_s=age_s)
        return Todo(inspect=(id,), publish=event.action == "kill")

    def _name(self, event: Event, *, id: str) -> None:
        """Know a container that asks for nothing by its name, until the next list, for whoever looks for it."""
        if event.action == "destroy":
            self._containers.pop(id, None)
        elif id not in self._containers and event.labels is not None and len(self._unlabelled) <= MAX_NAMED:
            self._containers[id] = self.scope.trimmed(_described(id, event.labels))

    # Lists: they only propose ids (facts, stream 4).

    def handle_list(self, listed: Iterable[Container]) -> Todo:
        """Return what must be done after a list: look at all that asks for something, of the list or before it."""
        entries = {container.id: self.scope.trimmed(container) for container in listed}
        # The last truth goes before the list, which lags; what a list lacks may be there all the same.
        known = entries | self._containers
        owners = self._owners.ids | self._owners.among(entries.values(), known=known)
        self._unseen = {
            id: entries.get(id) for id, container in known.items() if id in owners or self.scope.asks(container)
        }
        # What asks for nothing is never looked at, so that for it the list has the say; but a lagging list may not
        # have those yet that events named since the one before.
        stays = self._unseen.keys() | self._unlabelled
        unlabelled = {id: entry for id, entry in entries.items() if id not in self._unseen}
        self._containers = {id: known for id, known in self._containers.items() if id in stays} | unlabelled
        self._unlabelled.clear()
        self._looking_through, self.failed.answered = True, False
        return Todo(inspect=tuple(self._unseen), publish=not self._unseen)

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
        found = found and self.scope.trimmed(found)
        before = self._containers.pop(id, None)
        if found is not None:
            self._containers[id] = before if before is not None and found == before else found
        # A container of which an event waits may have begun another life while it was looked at: what it was told
        # in that one must not be forgotten for what the older answer says.
        if not event_waits:
            self._signals.settle(id, found)
        self._unseen.pop(id, None)
        owners, lacks_owner = self._watch_owners(before, found)
        # An event that waits for its look, or waited in vain, did tell: then the resync was only faster.
        told = event_waits or owed or id in owners
        drifted = priority is Priority.RESYNC and not told and _told(before) != _told(found)
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

        Its last truth stays.

        Args:
            id: Of the container.
            error: Why, in words.
            retry: Whether another look must be planned, since nothing else will ask for one.
        """
        self.failed.fail(error)
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
            self._containers[id] = entry
        # An end is believed after so long; whatever else a lagging list says of it, its last truth stays.
        elif down_believed and not _is_up(entry):
            self._containers[id] = replace(known, status=entry.status)


def _described(id: str, attributes: Mapping[str, str]) -> Container:
    """Return a container as far as an event's *attributes* describe it."""
    return Container(id=id, name=attributes.get("name", id[:12]), labels=tuple(sorted(attributes.items())))


def _is_up(container: Container) -> bool:
    return container.status in (ContainerStatus.RUNNING, ContainerStatus.PAUSED)


def _told(container: Container | None) -> object:
    """Return what some event would have told of a container; `starting` and changes while stopped have none."""
    if container is None:
        return None
    if not _is_up(container):
        return container.name, "down"
    health = container.health if container.health in (Health.HEALTHY, Health.UNHEALTHY) else None
    return container.name, container.status, container.started_ns, container.endpoints, health

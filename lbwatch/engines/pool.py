"""
All engines and Swarms that are followed, as the one source of the reconciler.

Each is followed by itself; one that is away keeps its last truth and holds up no other. What they say is put together
by `core/together`; here are who is followed, who is waited for at a start, and for how long.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import structlog

from lbwatch.core.errors import DeadSocketError, StateError
from lbwatch.core.model import TASK_ID_LABEL, Container, Engine, EngineStatus, Event, Snapshot
from lbwatch.core.together import SwarmTruth, Together
from lbwatch.engines.docker.address import EngineAddress
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.source import Changed, DockerSource
from lbwatch.system.enginememory import EngineMemory, Kept, KeptNode, KeptSwarm

PATIENCE_S = 10.0
"""How long an engine that was not read yet is waited for at a start; then what was kept of it has to do."""

KEEP_INTERVAL_S = 5.0
"""Between two writes of what is kept of an engine: it is used once, after a restart."""

SWARM = "swarm"
"""What a Swarm is called among the engines, unless one of those has that name."""

_SERVICE_ID_LABEL = "com.docker.swarm.service.id"

_log = structlog.get_logger()


class Heard(Protocol):
    """Is told of each event of any engine."""

    def __call__(self, event: Event, *, engine: str, matters: bool) -> None:
        """Take an event, the name of its engine, and whether it is looked at."""


class SwarmNode(Protocol):
    """A machine of a Swarm."""

    @property
    def name(self) -> str:
        """Return its host name."""

    @property
    def address(self) -> str:
        """Return its address; empty: not known."""

    @property
    def state(self) -> str:
        """Return how it is, in the Swarm's word."""


class Swarm(Protocol):
    """Says which tasks a Swarm has; see `swarm.source`."""

    name: str

    def snapshot(self) -> Snapshot | None:
        """Return the last whole truth, or `None` before there is one."""

    def containers(self) -> Mapping[str, Container] | None:
        """Return the same tasks as they are now, to look at and not to keep; `None` likewise."""

    def nodes(self) -> Mapping[str, SwarmNode]:
        """Return its nodes, by id."""

    def status(self) -> EngineStatus:
        """Return how well it is known now."""

    def mark(self, service_id: str) -> None:
        """Have the tasks of a service looked at: a node's engine reported something of one."""

    async def look(self, id: str) -> Container | None:
        """Return one task as it is now; raises `SourceError`."""

    async def refresh(self, id: str) -> None:
        """Look at one task now; raises `SourceError`."""

    def recent(self) -> tuple[Event, ...]:
        """Return the latest events, oldest first."""

    def resync(self) -> None:
        """Have a full look begin now."""

    async def run(self, changed: Changed) -> None:
        """Follow it for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedEngine:
    """
    One engine.

    Attributes:
        engine: Which one it is.
        source: Follows it.
        client: The connection to it.
        url: Where it is, as the user wrote it.
        reached: Returns where its published ports are reached; empty: not known.
        kept: What was kept of it before this start; `None`: nothing.
        memory: Keeps what it says; `None`: nothing is kept.
    """

    engine: Engine
    source: DockerSource
    client: EngineClient
    url: str
    reached: Callable[[], str] = str
    kept: Kept | None = None
    memory: EngineMemory | None = None

    @property
    def name(self) -> str:
        """Return its name in log and status."""
        return self.engine.name


class NewSwarm(Protocol):
    """Makes the source of a Swarm."""

    def __call__(self, *, engine: Engine, doors: Callable[[], Sequence[FollowedEngine]]) -> Swarm:
        """
        Return the source.

        Args:
            engine: What stands for the Swarm among the engines.
            doors: Returns the engines that are its managers, as they are known now, those first that answer.
        """


@dataclass(slots=True, kw_only=True)
class _Followed:
    """A Swarm that is followed."""

    source: Swarm
    doors: tuple[FollowedEngine, ...]  # those that were its managers last
    task: asyncio.Task[None]
    left_since: float | None = None  # loop time since which none of them is in it any more


class EnginePool:
    """
    The engines, as one source.

    Args:
        engines: In the order in which they are set.
        new_swarm: Makes the source of a Swarm; `None`: Swarms are not followed.
        resync_interval_s: Seconds after which engines are asked anew what they are in a Swarm.

    Attributes:
        engines: As given.
        heard: Told of each event of an engine, for whoever shows them.
    """

    def __init__(
        self, engines: Sequence[FollowedEngine], *, new_swarm: NewSwarm | None, resync_interval_s: float
    ) -> None:
        self.engines = tuple(engines)
        self.heard: Heard | None = None
        self._new_swarm = new_swarm
        self._resync_interval_s = resync_interval_s
        self._swarms: dict[str, _Followed] = {}  # by the id of the cluster
        self._together = Together()
        self._group: asyncio.TaskGroup | None = None
        self._changed: Changed = _nobody
        self._patient_until: float | None = None
        self._missed: frozenset[str] = frozenset()  # names of those that it was gone on without
        for each in self.engines:
            each.source.heard = self._hearing(each.name)
            each.source.noted = self._note
            each.source.follows_task = self.follows_task

    # What is known.

    @property
    def name(self) -> str:
        """Return the names of the engines, for the log."""
        return ", ".join(each.name for each in self.engines)

    @property
    def described(self) -> str:
        """Return where the engines are, as users write it; of several with their names."""
        return ", ".join(_named_url(each.name, each.url, alone=len(self.engines) == 1) for each in self.engines)

    def snapshots(self) -> tuple[Snapshot, ...] | None:
        """
        Return the last whole truth of all engines and Swarms, or `None` before there is enough.

        Whoever was not read yet is waited for, at a start, for `PATIENCE_S`; then its last truth of before that counts.
        Where nobody was read nothing is said: what nginx has is as good as what was kept.
        """
        engines = [each.source.snapshot() for each in self.engines]
        swarms = {cluster: each.source.snapshot() for cluster, each in self._swarms.items()}
        if all(each is None for each in engines):
            return None
        named = [*zip((each.name for each in self.engines), engines, strict=True)]
        named += [(self._swarms[cluster].source.name, each) for cluster, each in swarms.items()]
        missed = frozenset(name for name, each in named if each is None)
        if missed and self._is_patient():
            return None
        self._log_missed(missed)
        found = [live or _snapshot_of(each) for each, live in zip(self.engines, engines, strict=True)]
        return self._together.of(found, self._truths(swarms))

    def containers(self) -> Mapping[str, Container] | None:
        """Return all containers, by id, as they were last seen; `None` before there is enough."""
        if (snapshots := self.snapshots()) is None:
            return None
        return {id: each for snapshot in snapshots for id, each in snapshot.containers.items()}

    def statuses(self) -> tuple[EngineStatus, ...]:
        """Return how well each engine, and each Swarm, is known now."""
        engines = tuple(
            replace(
                each.source.status(),
                url=each.url,
                address=each.reached(),
                role=_role(each),
                kept=each.source.containers() is None and each.kept is not None and each.name in self._missed,
            )
            for each in self.engines
        )
        swarms = tuple(
            replace(
                each.source.status(),
                doors=tuple(door.name for door in self._doors(cluster)),
                kept=each.source.containers() is None and self._kept_swarm(cluster) is not None,
            )
            for cluster, each in self._swarms.items()
        )
        return engines + swarms

    def addresses(self) -> Mapping[str, str]:
        """Return where each engine's published ports are reached, by its name; of those alone that have an address."""
        found = {each.name: each.reached() for each in self.engines}
        return {name: address for name, address in found.items() if address}

    def engine(self, name: str) -> FollowedEngine:
        """Return one engine by its name; raises `KeyError`."""
        return {each.name: each for each in self.engines}[name]

    def recent(self, container: Container) -> tuple[Event, ...]:
        """Return the latest events of the engine, or the Swarm, that has a container, oldest first."""
        return self._source_of(container).recent()

    async def look(self, container: Container) -> Container | None:
        """Return one container as it is now, for whoever wants to know all of it; raises `SourceError`."""
        found = await self._source_of(container).look(container.id)
        # Its name there is the one that its engine knows it by.
        return found and (replace(found, name=container.name) if found.name == container.own_name else found)

    async def refresh(self, id: str) -> None:
        """Look at one container now, for whoever goes on by what it is; raises `SourceError`."""
        if (known := (self.containers() or {}).get(id)) is not None:
            await self._source_of(known).refresh(id)

    def resync(self) -> None:
        """Have a full look begin now, at all of them."""
        for engine in self.engines:
            engine.source.resync()
        for swarm in self._swarms.values():
            swarm.source.resync()

    def follows_task(self, id: str) -> bool:
        """Return whether a Swarm's task is known, so that its container matters on its node."""
        return any(id in (each.source.containers() or ()) for each in self._swarms.values())

    def _source_of(self, container: Container) -> DockerSource | Swarm:
        of_engines = {each.name: each.source for each in self.engines}
        of_swarms = {each.source.name: each.source for each in self._swarms.values()}
        return (of_engines | of_swarms).get(container.engine.name, self.engines[0].source)

    # Who was not read yet.

    def _is_patient(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._patient_until is None:
            self._patient_until = now + PATIENCE_S
        return now < self._patient_until

    def _log_missed(self, missed: frozenset[str]) -> None:
        """Log, once, whom it is gone on without."""
        for each in self.engines:
            if each.name in missed - self._missed:
                servers = "what was kept of it" if each.kept is not None else "nothing was kept of it"
                _log.warning("source.not_awaited", source=each.name, reason=f"not read for {PATIENCE_S:g} s: {servers}")
        self._missed = missed

    def _truths(self, live: Mapping[str, Snapshot | None]) -> list[SwarmTruth]:
        """Return what is known of each Swarm, those included of whose managers none was read since the start."""
        truths = []
        for cluster, snapshot in live.items():
            source = self._swarms[cluster].source
            if snapshot is not None:
                truths.append(SwarmTruth(snapshot=snapshot, nodes=frozenset(source.nodes())))
            elif (kept := self._kept_swarm(cluster)) is not None:
                truths.append(_truth_of(kept, source=source.name))
        unread = (each.kept for each in self.engines if each.name in self._missed and each.kept is not None)
        swarms = {each.swarm.cluster: each.swarm for each in unread if each.swarm is not None}
        return truths + [_truth_of(each, source=each.name) for id, each in swarms.items() if id not in live]

    def _kept_swarm(self, cluster: str) -> KeptSwarm | None:
        """Return what was kept of a Swarm before this start; `None`: nothing."""
        swarms = (each.kept.swarm for each in self.engines if each.kept is not None)
        return next((each for each in swarms if each is not None and each.cluster == cluster), None)

    # Which Swarms there are.

    def _follow_swarms(self) -> None:
        """Begin to follow the Swarms that engines turn out to be managers of, and end what none is in any more."""
        if self._new_swarm is None or self._group is None:
            return
        for each in self.engines:
            membership = each.source.membership
            if membership is not None and membership.is_manager and membership.cluster not in self._swarms:
                self._begin(membership.cluster, engine=each, group=self._group, new=self._new_swarm)
        for cluster, followed in tuple(self._swarms.items()):
            if doors := self._managers(cluster):
                followed.doors, followed.left_since = doors, None
            elif self._is_left(followed):
                _log.info("source.left", source=followed.source.name, reason="no engine is in this Swarm any more")
                followed.task.cancel()
                del self._swarms[cluster]

    def _begin(self, cluster: str, *, engine: FollowedEngine, group: asyncio.TaskGroup, new: NewSwarm) -> None:
        taken = {each.name for each in self.engines} | {each.source.name for each in self._swarms.values()}
        name = SWARM if SWARM not in taken else f"{SWARM}-{cluster[:8]}"
        source = new(engine=Engine(name=name, order=engine.engine.order), doors=partial(self._doors, cluster))
        task = group.create_task(source.run(self._changed_swarm), name=name)
        self._swarms[cluster] = _Followed(source=source, doors=(engine,), task=task)

    def _managers(self, cluster: str) -> tuple[FollowedEngine, ...]:
        def is_manager(each: FollowedEngine) -> bool:
            membership = each.source.membership
            return membership is not None and membership.is_manager and membership.cluster == cluster

        return tuple(filter(is_manager, self.engines))

    def _doors(self, cluster: str) -> tuple[FollowedEngine, ...]:
        """Return the managers of a Swarm, those first whose stream holds; the former ones where none is left."""
        found = self._managers(cluster) or self._swarms[cluster].doors
        return tuple(sorted(found, key=lambda each: not each.source.status().connected))

    def _is_left(self, followed: _Followed) -> bool:
        """
        Return whether all that were managers of a Swarm are in none, or in another one, and have been for a while.

        One that is a worker now is still in it, and an engine that starts may not know yet: the last truth stays.
        """
        now = asyncio.get_running_loop().time()
        memberships = [each.source.membership for each in followed.doors if each.source.status().connected]
        if len(memberships) < len(followed.doors) or any(each is not None and not each.cluster for each in memberships):
            followed.left_since = None
        elif followed.left_since is None:
            followed.left_since = now
        return followed.left_since is not None and now - followed.left_since >= PATIENCE_S

    # Events.

    def _hearing(self, engine: str) -> Callable[..., None]:
        def heard(event: Event, *, matters: bool) -> None:
            if self.heard is not None:
                self.heard(event, engine=engine, matters=matters)

        return heard

    def _note(self, event: Event) -> None:
        """Have a service looked at of which a node's engine reported something: its managers may say nothing of it."""
        if event.labels is not None and TASK_ID_LABEL in event.labels:
            for each in self._swarms.values():
                each.source.mark(event.labels.get(_SERVICE_ID_LABEL, ""))

    # The run.

    async def run(self, changed: Changed) -> None:
        """
        Follow all of them for good, calling *changed* whenever `snapshots` may be others.

        Raises:
            DeadSocketError: Nobody will ever listen at the engine's socket again, and it is the only engine.
        """
        self._changed = changed
        dead: DeadSocketError | None = None
        try:
            async with asyncio.TaskGroup() as self._group:
                for each in self.engines:
                    self._group.create_task(self._follow(each), name=f"{each.name} engine")
                self._group.create_task(self._end_patience(), name="patience")
                if self._new_swarm is not None:
                    self._group.create_task(self._ask_memberships(), name="memberships")
                self._group.create_task(self._keep(), name="keep")
        except* DeadSocketError as errors:
            dead = next(each for each in errors.exceptions if isinstance(each, DeadSocketError))
        if dead is not None:
            raise dead

    async def _follow(self, each: FollowedEngine) -> None:
        while True:
            try:
                await each.source.run(self._changed_engine)
            except DeadSocketError:
                # A new start would find the new socket; of several engines one is no reason for it.
                if len(self.engines) == 1:
                    raise

    def _changed_engine(self, *, heard_at: float | None = None) -> None:
        self._follow_swarms()
        self._changed(heard_at=heard_at)

    def _changed_swarm(self, *, heard_at: float | None = None) -> None:
        self._changed(heard_at=heard_at)

    async def _end_patience(self) -> None:
        """Wake the reconciler when nobody is waited for any more."""
        self._is_patient()
        await asyncio.sleep(PATIENCE_S)
        self._changed()
        await asyncio.Event().wait()

    async def _ask_memberships(self) -> None:
        """Ask engines what they are in a Swarm, once in a while: no event says that one was made or left."""
        while True:
            await asyncio.sleep(self._resync_interval_s)
            await asyncio.gather(*(each.source.update_membership() for each in self.engines))
            self._changed_engine()

    # What is kept.

    async def _keep(self) -> None:
        """Keep the last truth of each engine, for good; of a single one there is no use for it."""
        failed = False
        while True:
            await asyncio.sleep(KEEP_INTERVAL_S)
            if len(self.engines) + len(self._swarms) == 1:
                continue
            try:
                for each in self.engines:
                    await self._keep_of(each)
                failed = False
            except StateError as error:
                if not failed:
                    _log.warning(error.event, error=str(error))
                failed = True

    async def _keep_of(self, each: FollowedEngine) -> None:
        if each.memory is not None and (kept := self._to_keep(each)) is not None:
            await asyncio.to_thread(each.memory.save, kept)

    def _to_keep(self, each: FollowedEngine) -> Kept | None:
        """Return what is to be kept of an engine; `None` where nothing newer is known."""
        if each.source.containers() is None:
            return None
        membership = each.source.membership
        cluster = membership.cluster if membership is not None and membership.is_manager else ""
        followed = self._swarms.get(cluster)
        own = tuple(one for one in each.source.followed() if followed is None or TASK_ID_LABEL not in dict(one.labels))
        return Kept(containers=own, swarm=self._swarm_to_keep(followed, cluster=cluster) or self._kept_swarm(cluster))

    @staticmethod
    def _swarm_to_keep(followed: _Followed | None, *, cluster: str) -> KeptSwarm | None:
        snapshot = None if followed is None else followed.source.snapshot()
        if followed is None or snapshot is None:
            return None
        nodes = tuple(
            KeptNode(id=id, name=node.name, address=node.address, state=node.state)
            for id, node in sorted(followed.source.nodes().items())
        )
        return KeptSwarm(
            cluster=cluster,
            name=followed.source.name,
            tasks=tuple(snapshot.containers.values()),
            nodes=nodes,
            leaving=snapshot.leaving,
        )


def described(addresses: Sequence[EngineAddress]) -> str:
    """Return where engines are, as `EnginePool.described`."""
    return ", ".join(_named_url(each.engine.name, each.name, alone=len(addresses) == 1) for each in addresses)


def _named_url(name: str, url: str, *, alone: bool) -> str:
    return url if alone else f"{name}={url}"


def _truth_of(kept: KeptSwarm, *, source: str) -> SwarmTruth:
    """Return what was kept of a Swarm; *source*: what it is called now."""
    snapshot = Snapshot(source=source, containers={each.id: each for each in kept.tasks}, leaving=kept.leaving)
    return SwarmTruth(snapshot=snapshot, nodes=frozenset(each.id for each in kept.nodes))


def _snapshot_of(each: FollowedEngine) -> Snapshot:
    """Return what was kept of an engine."""
    kept = () if each.kept is None else each.kept.containers
    return Snapshot(source=each.name, containers={one.id: one for one in kept})


def _role(each: FollowedEngine) -> str:
    """Return what an engine is in a Swarm, in a word; empty: in none."""
    membership = each.source.membership
    if membership is None:
        return ""
    return "manager" if membership.is_manager else "worker"


def _nobody(*, heard_at: float | None = None) -> None:
    """Take no notice."""

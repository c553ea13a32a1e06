"""
All engines and Swarms that are followed, as the one source of the reconciler.

Each is followed by itself; one that is away keeps its last truth and holds up no other. What they say is put together
by `core/together`; here are who is waited for at a start, for how long, and what is kept for that.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Protocol

import structlog

from lbwatch.core.errors import DeadSocketError
from lbwatch.core.model import TASK_ID_LABEL, Container, EngineStatus, Event, Snapshot
from lbwatch.core.together import Together
from lbwatch.engines.docker.address import EngineAddress
from lbwatch.engines.docker.source import Changed, DockerSource
from lbwatch.engines.followed import FollowedEngine, NewSwarm, Swarm
from lbwatch.engines.keeping import Keeper
from lbwatch.engines.swarms import Swarms, is_undecided

PATIENCE_S = 10.0
"""How long an engine is waited for at a start once another one was read; then what was kept of it has to do."""

_LOOK_S = 0.1

RESOLVE_INTERVAL_S = 5.0
"""How soon an engine's address that no name server knew is looked up again."""

UNDECIDED_S = 2.0
"""How often an engine is asked which Swarm it is in, while it starts or waits to be unlocked."""

SELDOM = 10
"""Only each so manieth time a manager is asked what it is in a Swarm, whose other answers come as those of one."""

_SERVICE_ID_LABEL = "com.docker.swarm.service.id"

_log = structlog.get_logger()


class Heard(Protocol):
    """Is told of each event of any engine."""

    def __call__(self, event: Event, *, engine: str, matters: bool) -> None:
        """Take an event, the name of its engine, and whether it is looked at."""


class EnginePool:
    """
    The engines, as one source.

    Args:
        engines: In the order in which they are set.
        nginx_engine: The name of the one on whose machine nginx runs; `None`: none.
        new_swarm: Makes the source of a Swarm; `None`: Swarms are not followed.
        resync_interval_s: Seconds after which engines are asked anew what they are in a Swarm.

    Attributes:
        engines, nginx_engine: As given.
        heard: Told of each event of an engine, for whoever shows them.
    """

    def __init__(
        self,
        engines: Sequence[FollowedEngine],
        *,
        nginx_engine: str | None,
        new_swarm: NewSwarm | None,
        resync_interval_s: float,
    ) -> None:
        self.engines = tuple(engines)
        self.nginx_engine = nginx_engine
        self.heard: Heard | None = None
        self._swarms = None if new_swarm is None else Swarms(self.engines, new=new_swarm, hearing=self._hearing)
        self._resync_interval_s = resync_interval_s
        self._keeper = Keeper(self.engines, swarms=self._swarms)
        self._together = Together()
        self._group: asyncio.TaskGroup | None = None
        self._changed: Changed = _nobody
        self._patient_until: float | None = None
        self._missed: frozenset[str] = frozenset()  # names of those that it was gone on without
        self._same: frozenset[tuple[str, str]] = frozenset()  # those that were logged, see `Together`
        self._given_up: dict[str, str] = {}  # by name, why they are not waited for
        for each in self.engines:
            each.source.heard = self._hearing(each.name)
            each.source.noted = self._note
            each.source.follows_task = self.follows_task

    # What is known.

    @property
    def described(self) -> str:
        """Return where the engines are, as users write it; of several with their names."""
        return named_urls({each.name: each.url for each in self.engines})

    def snapshots(self) -> tuple[Snapshot, ...] | None:
        """
        Return the last whole truth of all engines and Swarms, or `None` before there is enough.

        Whoever was not read yet is waited for, at a start, for `PATIENCE_S`; then its last truth of before that counts.
        Where nobody was read nothing is said: what nginx has is as good as what was kept.
        """
        engines = [each.source.snapshot() for each in self.engines]
        if all(each is None for each in engines):
            return None
        unread = frozenset(each.name for each, live in zip(self.engines, engines, strict=True) if live is None)
        of_swarms = frozenset[str]() if self._swarms is None else self._swarms.unread()
        if (unread - self._given_up.keys() or of_swarms) and self._is_patient():
            return None
        self._log_missed(unread)
        found = [live or _snapshot_of(each) for each, live in zip(self.engines, engines, strict=True)]
        truths = () if self._swarms is None else self._swarms.truths(self._keeper.kept_swarms())
        together = self._together.of(found, truths)
        self._log_same(self._together.same)
        return together

    def containers(self) -> Mapping[str, Container] | None:
        """Return all containers, by id, as they were last seen; `None` before there is enough."""
        if (snapshots := self.snapshots()) is None:
            return None
        return {id: each for snapshot in snapshots for id, each in snapshot.containers.items()}

    def knows_all(self) -> bool:
        """Return whether all engines and Swarms were read since the start: then who is missing is no more."""
        swarms = () if self._swarms is None else self._swarms.unread()
        return not swarms and all(each.source.containers() is not None for each in self.engines)

    def statuses(self) -> tuple[EngineStatus, ...]:
        """Return how well each engine, and each Swarm, is known now."""
        engines = tuple(
            replace(
                each.source.status(),
                url=each.url,
                address=each.at.address,
                role=_role(each),
                kept=each.source.containers() is None and each.kept is not None and each.name in self._missed,
            )
            for each in self.engines
        )
        return engines + (() if self._swarms is None else self._swarms.statuses(self._keeper.kept_swarms()))

    def addresses(self) -> Mapping[str, str]:
        """Return where each engine's published ports are reached, by its name; of those alone that have an address."""
        return {each.name: each.at.address for each in self.engines if each.at.address}

    def unresolved(self) -> Mapping[str, str]:
        """Return why no address is known of engines that are set to be reached by a name, by their own names."""
        return {each.name: each.at.error for each in self.engines if each.at.error and not each.at.address}

    def beside_nginx(self) -> FollowedEngine:
        """Return the engine on whose machine nginx runs; the first, which is not asked, where it runs on none."""
        return next((each for each in self.engines if each.name == self.nginx_engine), self.engines[0])

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
        for swarm in self._swarms or ():
            swarm.resync()

    def give_up(self, name: str, *, why: str) -> None:
        """Do not wait at this start for an engine that was asked already, and did not answer."""
        self._given_up[name] = why

    def follows_task(self, id: str) -> bool:
        """Return whether a Swarm's task is known, so that its container matters on its node."""
        return any(id in (each.containers() or ()) for each in self._swarms or ())

    def _source_of(self, container: Container) -> DockerSource | Swarm:
        of_engines: dict[str, DockerSource | Swarm] = {each.name: each.source for each in self.engines}
        of_swarms = {each.name: each for each in self._swarms or ()}
        return (of_engines | of_swarms).get(container.engine.name, self.engines[0].source)

    # Who was not read yet.

    def _is_patient(self) -> bool:
        """Return whether others are waited for: since the first was read, as they may all come back at once."""
        now = asyncio.get_running_loop().time()
        if self._patient_until is None:
            self._patient_until = now + PATIENCE_S
        return now < self._patient_until

    def _log_missed(self, missed: frozenset[str]) -> None:
        """Log, once, whom it is gone on without."""
        for each in self.engines:
            if each.name in missed - self._missed:
                servers = "what was kept of it" if each.kept is not None else "nothing was kept of it"
                why = self._given_up.get(each.name) or f"not read for {PATIENCE_S:g} s"
                _log.warning("source.not_awaited", source=each.name, reason=f"{why}: {servers}")
        self._missed = missed

    def _log_same(self, same: frozenset[tuple[str, str]]) -> None:
        """Log, once, which engines are followed by two ways."""
        for first, other in sorted(same - self._same):
            reason = f"it is the same engine as {first}, which is believed: docker_host needs it once"
            _log.warning("source.followed_twice", source=other, reason=reason)
        self._same |= same

    # Events.

    def _hearing(self, engine: str) -> Callable[..., None]:
        def heard(event: Event, *, matters: bool) -> None:
            if self.heard is not None:
                self.heard(event, engine=engine, matters=matters)

        return heard

    def _note(self, event: Event) -> None:
        """Have a service looked at of which a node's engine reported something: its managers may say nothing of it."""
        if event.labels is not None and TASK_ID_LABEL in event.labels:
            for each in self._swarms or ():
                each.mark(event.labels.get(_SERVICE_ID_LABEL, ""))

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
                    self._group.create_task(self._resolve(each), name=f"{each.name} address")
                self._group.create_task(self._end_patience(), name="patience")
                if self._swarms is not None:
                    self._group.create_task(self._ask_memberships(), name="memberships")
                self._group.create_task(self._keeper.run(), name="keep")
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

    async def _resolve(self, each: FollowedEngine) -> None:
        """Look up again what no name server answered as the stream began: that may hold for days."""
        told = None
        while True:
            await asyncio.sleep(RESOLVE_INTERVAL_S)
            if each.at.error is not None:
                await each.at.resolve()
                self._changed()
            if each.at.error is not None and each.at.error != told:
                _log.warning("source.unresolved", source=each.name, reason=each.at.error, known=each.at.address)
            told = each.at.error

    def _changed_engine(self, *, heard_at: float | None = None) -> None:
        if self._swarms is not None and self._group is not None:
            self._swarms.update(self._group, changed=self._changed)
        self._changed(heard_at=heard_at)

    async def _end_patience(self) -> None:
        """Wake the reconciler when nobody is waited for any more."""
        while self.snapshots() is None:  # noqa: ASYNC110 - time alone ends it
            await asyncio.sleep(_LOOK_S)
        self._changed()
        await asyncio.Event().wait()

    async def _ask_memberships(self) -> None:
        """Ask engines what they are in a Swarm, once in a while: no event says that one was made or left."""
        for number in count(1):
            pace_s = UNDECIDED_S if any(map(is_undecided, self.engines)) else self._resync_interval_s
            await asyncio.sleep(min(pace_s, self._resync_interval_s))
            due = [each for each in self.engines if not number % SELDOM or not self._answers_as_manager(each)]
            await asyncio.gather(*(each.source.update_membership() for each in due))
            self._changed_engine()

    def _answers_as_manager(self, engine: FollowedEngine) -> bool:
        swarm = None if self._swarms is None else self._swarms.of(engine)
        return swarm is not None and swarm.status().connected


def described(addresses: Sequence[EngineAddress]) -> str:
    """Return where engines are, as `EnginePool.described`."""
    return named_urls({each.engine.name: each.name for each in addresses})


def named_urls(urls: Mapping[str, str]) -> str:
    """Return where engines are, by their names, as users write it; of one alone without its name."""
    return ", ".join(urls.values() if len(urls) == 1 else (f"{name}={url}" for name, url in urls.items()))


def _snapshot_of(each: FollowedEngine) -> Snapshot:
    """Return what was kept of an engine."""
    kept = () if each.kept is None else each.kept.containers
    return Snapshot(source=each.name, containers={one.id: one for one in kept})


def _role(each: FollowedEngine) -> str:
    """Return what an engine is in a Swarm, in a word; empty: in none."""
    membership = each.source.membership
    if membership is None:
        return ""
    if membership.state != "active":
        return membership.state
    return "manager" if membership.is_manager else "worker"


def _nobody(*, heard_at: float | None = None) -> None:
    """Take no notice."""

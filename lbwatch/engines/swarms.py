"""
Which Swarms are followed: those that an engine turns out to be a manager of, for as long as one of their machines is.

Engines say what they are in a Swarm; each Swarm has one source, whose doors are all of its managers.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from lbwatch.core.model import Engine, EngineStatus, Snapshot
from lbwatch.core.together import SwarmTruth
from lbwatch.engines.docker.identity import SwarmMembership
from lbwatch.engines.docker.source import Changed, Heard
from lbwatch.engines.followed import FollowedEngine, NewSwarm, Swarm
from lbwatch.system.enginememory import KeptNode, KeptSwarm

LEAVES_S = 10.0
"""How long none of its engines is in a Swarm before its tasks are forgotten: an engine that starts may not know yet."""

NAME = "swarm"
"""What a Swarm is called among the engines, unless one of those has that name."""

_log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class _Followed:
    """A Swarm that is followed."""

    source: Swarm
    doors: tuple[FollowedEngine, ...]  # those that were its managers last
    task: asyncio.Task[None]
    left_since: float | None = None  # loop time since which none of them is in it any more


class Swarms:
    """
    The Swarms of some engines.

    Args:
        engines: All that are followed.
        new: Makes the source of a Swarm.
        hearing: Makes, of a Swarm's name, what is told of its events.
    """

    def __init__(self, engines: Sequence[FollowedEngine], *, new: NewSwarm, hearing: Callable[[str], Heard]) -> None:
        self._engines = tuple(engines)
        self._new = new
        self._hearing = hearing
        self._followed: dict[str, _Followed] = {}  # by the id of the cluster

    def __len__(self) -> int:
        return len(self._followed)

    def __iter__(self) -> Iterator[Swarm]:
        return (each.source for each in self._followed.values())

    def update(self, group: asyncio.TaskGroup, *, changed: Changed) -> None:
        """
        Begin to follow those that engines are managers of now, and end those that none is in any more.

        Args:
            group: The tasks of their sources are its.
            changed: Called whenever a Swarm may be another one.
        """
        for each in self._engines:
            cluster = cluster_of(each)
            if cluster and cluster not in self._followed:
                self._begin(cluster, engine=each, group=group, changed=changed)
        for cluster, followed in tuple(self._followed.items()):
            if doors := self._managers(cluster):
                followed.doors, followed.left_since = doors, None
            elif _is_left(followed, now=asyncio.get_running_loop().time()):
                _log.info("source.left", source=followed.source.name, reason="no engine is in this Swarm any more")
                followed.task.cancel()
                del self._followed[cluster]

    def unread(self) -> frozenset[str]:
        """Return the names of those that were not read yet."""
        return frozenset(each.name for each in self if each.snapshot() is None)

    def truths(self, kept: Mapping[str, KeptSwarm]) -> Iterator[SwarmTruth]:
        """Return what is known of each, or what was *kept* of it, by the id of the cluster."""
        for cluster, followed in self._followed.items():
            source = followed.source
            if (snapshot := source.snapshot()) is not None:
                yield SwarmTruth(snapshot=snapshot, nodes=frozenset(source.nodes()))
            elif cluster in kept:
                yield truth_of(replace(kept[cluster], name=source.name))
        yield from (truth_of(each) for cluster, each in kept.items() if cluster not in self._followed)

    def statuses(self, kept: Mapping[str, KeptSwarm]) -> tuple[EngineStatus, ...]:
        """Return how well each is known now."""
        return tuple(
            replace(
                each.source.status(),
                doors=tuple(door.name for door in self._doors(cluster)),
                kept=each.source.containers() is None and cluster in kept,
            )
            for cluster, each in self._followed.items()
        )

    def of(self, engine: FollowedEngine) -> Swarm | None:
        """Return the Swarm that an engine is a manager of, or was and may be again; `None`: none that is followed."""
        followed = self._followed.get(self._cluster_of(engine))
        return None if followed is None else followed.source

    def to_keep(self, engine: FollowedEngine) -> KeptSwarm | None:
        """Return what is to be kept of the Swarm that an engine is a manager of; `None`: of none, or not read yet."""
        swarm = self.of(engine)
        snapshot = None if swarm is None else swarm.snapshot()
        if swarm is None or snapshot is None:
            return None
        return KeptSwarm(
            cluster=self._cluster_of(engine),
            name=swarm.name,
            tasks=tuple(snapshot.containers.values()),
            nodes=tuple(
                KeptNode(id=id, name=node.name, address=node.address, state=node.state)
                for id, node in sorted(swarm.nodes().items())
            ),
            leaving=snapshot.leaving,
        )

    def _begin(self, cluster: str, *, engine: FollowedEngine, group: asyncio.TaskGroup, changed: Changed) -> None:
        taken = {each.name for each in (*self._engines, *self)}
        name = NAME if NAME not in taken else f"{NAME}-{cluster[:8]}"
        source = self._new(engine=Engine(name=name, order=engine.engine.order), doors=partial(self._doors, cluster))
        source.heard = self._hearing(name)
        task = group.create_task(source.run(changed), name=name)
        self._followed[cluster] = _Followed(source=source, doors=(engine,), task=task)

    def _cluster_of(self, engine: FollowedEngine) -> str:
        if not is_undecided(engine):
            return cluster_of(engine)
        return next((cluster for cluster, each in self._followed.items() if engine in each.doors), "")

    def _managers(self, cluster: str) -> tuple[FollowedEngine, ...]:
        return tuple(each for each in self._engines if cluster_of(each) == cluster)

    def _doors(self, cluster: str) -> tuple[FollowedEngine, ...]:
        """Return the managers of a Swarm, those first whose stream holds; the former ones where none is left."""
        found = self._managers(cluster) or self._followed[cluster].doors
        return tuple(sorted(found, key=lambda each: not each.source.status().connected))


def cluster_of(engine: FollowedEngine) -> str:
    """Return the id of the Swarm that an engine is a manager of; empty: of none."""
    membership = engine.source.membership
    return membership.cluster if membership is not None and membership.is_manager else ""


def is_undecided(engine: FollowedEngine) -> bool:
    """Return whether an engine is in a Swarm and cannot say in which: it starts, or waits to be unlocked."""
    membership = engine.source.membership
    return membership is not None and not membership.cluster and membership.state != "active"


def truth_of(kept: KeptSwarm) -> SwarmTruth:
    """Return what was kept of a Swarm."""
    tasks = {each.id: each for each in kept.tasks}
    snapshot = Snapshot(source=kept.name, containers=tasks, leaving=kept.leaving)
    return SwarmTruth(snapshot=snapshot, nodes=frozenset(each.id for each in kept.nodes))


def _is_left(followed: _Followed, *, now: float) -> bool:
    """
    Return whether all that were managers of a Swarm are in none, or in another one, and have been for a while.

    One that is a worker now, or that waits to be unlocked, is still in it: the last truth stays.
    """
    answering = [each.source.membership for each in followed.doors if each.source.status().connected]
    if len(answering) < len(followed.doors) or any(map(_may_be_in_it, answering)):
        followed.left_since = None
    elif followed.left_since is None:
        followed.left_since = now
    return followed.left_since is not None and now - followed.left_since >= LEAVES_S


def _may_be_in_it(membership: SwarmMembership | None) -> bool:
    return membership is not None and not membership.cluster

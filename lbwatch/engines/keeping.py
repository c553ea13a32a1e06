"""What engines and Swarms say is kept, once in a while, for a start at which one of them is away."""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from lbwatch.core.errors import StateError
from lbwatch.core.model import TASK_ID_LABEL
from lbwatch.engines.followed import FollowedEngine
from lbwatch.engines.swarms import Swarms, cluster_of, is_undecided
from lbwatch.system.enginememory import Kept, KeptSwarm

KEEP_INTERVAL_S = 5.0
"""Between two writes of what is kept of an engine: it is used once, after a restart."""

_log = structlog.get_logger()


class Keeper:
    """
    Keeps the last truth of each engine; of a single one there is no use for it.

    Args:
        engines: All that are followed.
        swarms: Their Swarms; `None`: none is followed.
    """

    def __init__(self, engines: Sequence[FollowedEngine], *, swarms: Swarms | None) -> None:
        self._engines = tuple(engines)
        self._swarms = swarms
        # What is on the disk, by the engine's name: what it and its Swarm said, by identity, and its address.
        self._written: dict[str, tuple[object, object, str]] = {}
        self._failed: set[str] = set()  # names of those that could not be kept last, which is logged once

    async def run(self) -> None:
        """Keep what there is, for good."""
        while True:
            await asyncio.sleep(KEEP_INTERVAL_S)
            if len(self._engines) + len(self._swarms or ()) > 1:
                for each in self._engines:
                    await self._keep(each)

    def kept_swarms(self) -> Mapping[str, KeptSwarm]:
        """Return what was kept of Swarms before this start, by the id of the cluster: of those that may count still."""
        managed = {cluster_of(each) for each in self._engines}
        found = ((each, each.kept.swarm) for each in self._engines if each.kept is not None)
        return {
            swarm.cluster: swarm
            for each, swarm in found
            if swarm is not None and (_may_be_in_any(each) or swarm.cluster in managed)
        }

    async def _keep(self, each: FollowedEngine) -> None:
        snapshot = each.source.snapshot()
        if each.memory is None or snapshot is None:
            return
        swarm = None if self._swarms is None else self._swarms.of(each)
        seen = snapshot.containers, None if swarm is None else swarm.snapshot(), each.at.address
        before = self._written.get(each.name)
        # Nobody changes what was published: what is the same object is on the disk already.
        if before is not None and before[0] is seen[0] and before[1] is seen[1] and before[2] == seen[2]:
            return
        try:
            await asyncio.to_thread(each.memory.save, self._to_keep(each))
        except StateError as error:
            if each.name not in self._failed:
                _log.warning(error.event, error=str(error))
            self._failed.add(each.name)
        else:
            self._written[each.name] = seen
            self._failed.discard(each.name)

    def _to_keep(self, each: FollowedEngine) -> Kept:
        swarm = None if self._swarms is None else self._swarms.to_keep(each)
        if swarm is None and each.kept is not None and each.kept.swarm is not None:
            swarm = self.kept_swarms().get(cluster_of(each) or each.kept.swarm.cluster)
        own = each.source.followed()
        if swarm is not None:
            own = tuple(one for one in own if not one.label(TASK_ID_LABEL))
        return Kept(containers=own, swarm=swarm, url=each.url, host=each.at.host, address=each.at.address)


def _may_be_in_any(engine: FollowedEngine) -> bool:
    """Return whether an engine has not said which Swarm it is in, if any."""
    return engine.source.containers() is None or is_undecided(engine)

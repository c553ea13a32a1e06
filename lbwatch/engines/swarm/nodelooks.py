"""
Looks at the tasks on those nodes of which a manager told something, beside whatever else is read.

Where a node is drained all its tasks are told to stop, each of another service. All tasks of all of those may be most
of the Swarm, and take a manager longer than the three seconds before the signals; those on the node are a few.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from lbwatch.core.errors import SourceError
from lbwatch.core.model import Event
from lbwatch.core.schedule import Backoff
from lbwatch.engines.swarm.doors import is_answer
from lbwatch.engines.swarm.reading import Reader
from lbwatch.engines.swarm.settling import LEAST_WAIT_S, PACE_S, Settling, Unrest

NODES_TOGETHER = 5
"""So many nodes are asked for at once, those first that wait longest: an answer stays short."""

_STAYING = frozenset(("unknown", "ready"))
"""States of a node by which nobody has to leave it: each has them in turn at a change of leaders."""


class NodeLooks:
    """
    The looks at nodes.

    Args:
        reader: Reads their tasks.
        backoff: Counts how often that failed.
        looked: Called after each look with the ids of the services that are not as they were.
    """

    def __init__(self, reader: Reader, *, backoff: Backoff, looked: Callable[[frozenset[str]], None]) -> None:
        self._reader = reader
        self._backoff = backoff
        self._looked = looked
        self._settling = Settling()
        self._woken = asyncio.Event()

    def mark(self, id: str, *, now: float) -> None:
        """Have the tasks on a node looked at, for as long as a mark holds."""
        self._settling.mark(id, now=now)
        self._woken.set()

    async def run(self) -> None:
        """Look, for good."""
        while True:
            self._woken.clear()
            at, now = self._settling.due_at(all_pace_s=PACE_S), _now()
            if at is None or at > now:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), None if at is None else max(at - now, LEAST_WAIT_S))
                continue
            await self._look(self._settling.due(now=now, all_pace_s=PACE_S)[:NODES_TOGETHER])

    async def _look(self, ids: tuple[str, ...]) -> None:
        began_at = _now()
        try:
            changed = await self._reader.read_tasks_on(ids)
        except SourceError as error:
            # One that is gone has no tasks, and is answered with 404, for all that are asked for beside it.
            if is_answer(error):
                self._settling.forget(ids)
            else:
                await asyncio.sleep(self._backoff.next_wait())
            return
        self._backoff.reset()
        for id in ids:
            self._settling.looked(id, began_at=began_at, changed=bool(changed), unrest=Unrest())
        self._settling.spent(_now() - began_at, now=_now())
        self._looked(changed)


def may_empty(event: Event) -> bool:
    """Return whether tasks may have to leave a node of which a manager told this."""
    return event.action == "node update" and (event.labels or {}).get("state.new") not in _STAYING


def _now() -> float:
    return asyncio.get_running_loop().time()

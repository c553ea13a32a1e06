"""
Which containers must be looked at: queued by events and by lists, taken by the inspectors.

A container is queued once however often it was touched, and looked at by one inspector at a time, so that an older
answer never replaces a newer one.
"""

import asyncio
from enum import Enum, auto


class Priority(Enum):
    """Why a container is looked at; an earlier member says more than a later one."""

    EVENT = auto()  # an event named it, or a look at it failed and is owed
    LISTED = auto()  # a list after a (re)connection holds it
    RESYNC = auto()  # a list while the stream held: a change that is found now was told by no event


class WorkQueue:
    """The queued ids. What is taken must be given back with `done`; it may be queued anew in between."""

    def __init__(self) -> None:
        self._queued: dict[Priority, dict[str, None]] = {priority: {} for priority in Priority}  # ids as they arrived
        self._taken: dict[str, Priority] = {}
        self._arrived = asyncio.Event()

    def add(self, container: str, priority: Priority) -> None:
        """Queue an id; where it is queued already, the priority that says more stays."""
        present = self._priority_of(container)
        if present is not None and present.value <= priority.value:
            return
        if present is not None:
            del self._queued[present][container]
        self._queued[priority][container] = None
        self._arrived.set()

    def has_event(self, container: str) -> bool:
        """Return whether an event of this id waits for its look."""
        return container in self._queued[Priority.EVENT]

    @property
    def handles_events(self) -> bool:
        """Return whether any look that an event asked for has not ended yet."""
        return bool(self._queued[Priority.EVENT]) or Priority.EVENT in self._taken.values()

    async def take(self) -> tuple[str, Priority]:
        """Return an id that nobody looks at now, once there is one; events come first."""
        while (taken := self._next()) is None:
            self._arrived.clear()
            await self._arrived.wait()
        container, priority = taken
        del self._queued[priority][container]
        self._taken[container] = priority
        return container, priority

    def done(self, container: str) -> None:
        """Put an id back after its look."""
        self._taken.pop(container, None)
        # It may have been queued anew meanwhile, and whoever waits saw nothing that could be taken.
        self._arrived.set()

    def _priority_of(self, container: str) -> Priority | None:
        return next((priority for priority, ids in self._queued.items() if container in ids), None)

    def _next(self) -> tuple[str, Priority] | None:
        for priority, ids in self._queued.items():
            for container in ids:
                if container not in self._taken:
                    return container, priority
        return None

"""
Which containers must be looked at: marked by events and by lists, taken by the inspectors.

A container is marked once however often it was touched, and looked at by one inspector at a time, so that an older
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
    """The marked ids. What is taken must be given back with `done`; it may be marked anew in between."""

    def __init__(self) -> None:
        self._marked: dict[Priority, dict[str, None]] = {mark: {} for mark in Priority}  # ids in order of arrival
        self._taken: dict[str, Priority] = {}
        self._arrived = asyncio.Event()

    def add(self, container: str, mark: Priority) -> None:
        """Mark an id; where it is marked already, the mark that says more stays."""
        present = self._mark_of(container)
        if present is not None and present.value <= mark.value:
            return
        if present is not None:
            del self._marked[present][container]
        self._marked[mark][container] = None
        self._arrived.set()

    def has_event(self, container: str) -> bool:
        """Tell whether an event of this id waits for its look."""
        return container in self._marked[Priority.EVENT]

    @property
    def handles_events(self) -> bool:
        """Whether any look that an event asked for has not ended yet."""
        return bool(self._marked[Priority.EVENT]) or Priority.EVENT in self._taken.values()

    async def take(self) -> tuple[str, Priority]:
        """Wait for a marked id that nobody looks at now; events come first."""
        while (taken := self._next()) is None:
            self._arrived.clear()
            await self._arrived.wait()
        container, mark = taken
        del self._marked[mark][container]
        self._taken[container] = mark
        return container, mark

    def done(self, container: str) -> None:
        """Give an id back after its look."""
        self._taken.pop(container, None)
        self._arrived.set()

    def _mark_of(self, container: str) -> Priority | None:
        return next((mark for mark, ids in self._marked.items() if container in ids), None)

    def _next(self) -> tuple[str, Priority] | None:
        for mark, ids in self._marked.items():
            for container in ids:
                if container not in self._taken:
                    return container, mark
        return None

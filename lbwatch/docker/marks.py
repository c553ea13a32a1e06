"""
Which containers must be looked at: marked by events and by lists, taken by the inspectors.

A container is marked once however often it was touched, and looked at by one inspector at a time, so that an older
answer never replaces a newer one.
"""

import asyncio
from enum import Enum, auto


class Mark(Enum):
    """Why a container is looked at; an earlier member says more than a later one."""

    TOUCHED = auto()  # an event named it, or a look at it failed and is owed
    PROPOSED = auto()  # a list after a (re)connection holds it
    RESYNCED = auto()  # a list while the stream held: a change that is found now was told by no event


class Marks:
    """The marked ids. What is taken must be given back with `done`; it may be marked anew in between."""

    def __init__(self) -> None:
        self._marked: dict[Mark, dict[str, None]] = {mark: {} for mark in Mark}  # ids in order of arrival
        self._taken: dict[str, Mark] = {}
        self._arrived = asyncio.Event()

    def add(self, backend: str, mark: Mark) -> None:
        """Mark an id; where it is marked already, the mark that says more stays."""
        present = self._mark_of(backend)
        if present is not None and present.value <= mark.value:
            return
        if present is not None:
            del self._marked[present][backend]
        self._marked[mark][backend] = None
        self._arrived.set()

    def is_touched(self, backend: str) -> bool:
        """Tell whether an event of this id waits for its look."""
        return backend in self._marked[Mark.TOUCHED]

    @property
    def touched(self) -> bool:
        """Whether any look that an event asked for has not ended yet."""
        return bool(self._marked[Mark.TOUCHED]) or Mark.TOUCHED in self._taken.values()

    async def take(self) -> tuple[str, Mark]:
        """Wait for a marked id that nobody looks at now; events come first."""
        while (taken := self._next()) is None:
            self._arrived.clear()
            await self._arrived.wait()
        backend, mark = taken
        del self._marked[mark][backend]
        self._taken[backend] = mark
        return backend, mark

    def done(self, backend: str) -> None:
        """Give an id back after its look."""
        self._taken.pop(backend, None)
        self._arrived.set()

    def _mark_of(self, backend: str) -> Mark | None:
        return next((mark for mark, ids in self._marked.items() if backend in ids), None)

    def _next(self) -> tuple[str, Mark] | None:
        for mark, ids in self._marked.items():
            for backend in ids:
                if backend not in self._taken:
                    return backend, mark
        return None

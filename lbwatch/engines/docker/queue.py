"""
Which containers must be looked at: queued by events and by lists, taken by the inspectors.

A container is queued once however often it was touched, and looked at by one inspector at a time, so that an older
answer never replaces a newer one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Container as Holds
from enum import Enum, auto

MAX_UNKNOWN = 1000
"""So many ids wait of which nothing is known but that an event named them: beyond that a list says which are real."""

FAIR_TURN = 4
"""Of so many looks one is not for the first in order, so that a flood of the ones keeps none of the others out."""


class Priority(Enum):
    """Why a container is looked at; an earlier member says more than a later one."""

    EVENT = auto()  # an event named it, or a look at it failed and is owed
    LISTED = auto()  # a list after a (re)connection holds it
    RESYNC = auto()  # a list while the stream held: a change that is found now was told by no event


class WorkQueue:
    """The queued ids. What is taken must be given back with `done`; it may be queued anew in between."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()  # ids that events named, as they arrived
        self._unknown: OrderedDict[str, None] = OrderedDict()  # likewise, those of which nothing is known yet
        self._listed: OrderedDict[str, None] = OrderedDict()
        self._resync: OrderedDict[str, None] = OrderedDict()
        self._taken: dict[str, Priority] = {}
        self._turn = 0  # how many were taken
        self._arrived = asyncio.Event()

    def add(self, container: str, priority: Priority, *, known: bool = True) -> bool:
        """
        Queue an id; where it is queued already, the priority that says more stays.

        Args:
            container: The id.
            priority: Why.
            known: Whether anything is known of it; for an event alone.

        Returns:
            Whether it is queued now: not one of too many that are unknown.
        """
        present = self._priority_of(container)
        if present is not None and present.value <= priority.value:
            return True
        lane = self._lane(priority, known=known)
        if lane is self._unknown and len(lane) >= MAX_UNKNOWN:
            return present is not None
        if present is not None:
            self._lane(present).pop(container, None)
        lane[container] = None
        self._arrived.set()
        return True

    def has_event(self, container: str) -> bool:
        """Return whether an event of this id waits for its look."""
        return container in self._known or container in self._unknown

    def handles_events(self, *, besides: Holds[str] = ()) -> bool:
        """Return whether any look that an event asked for has not ended yet; *besides*: at any but these ids."""
        if any(priority is Priority.EVENT and id not in besides for id, priority in self._taken.items()):
            return True
        return any(id not in besides for lane in (self._known, self._unknown) for id in lane)

    async def take(self) -> tuple[str, Priority]:
        """Return an id that nobody looks at now, once there is one; mostly, what events named and is known first."""
        while (taken := self._next()) is None:
            self._arrived.clear()
            await self._arrived.wait()
        container, priority = taken
        for lane, _ in self._lanes():
            lane.pop(container, None)
        self._turn += 1
        self._taken[container] = priority
        return container, priority

    def done(self, container: str) -> None:
        """Put an id back after its look."""
        self._taken.pop(container, None)
        # It may have been queued anew meanwhile, and whoever waits saw nothing that could be taken.
        self._arrived.set()

    def _lanes(self) -> list[tuple[OrderedDict[str, None], Priority]]:
        return [
            (self._known, Priority.EVENT),
            (self._unknown, Priority.EVENT),
            (self._listed, Priority.LISTED),
            (self._resync, Priority.RESYNC),
        ]

    def _lane(self, priority: Priority, *, known: bool = True) -> OrderedDict[str, None]:
        if priority is Priority.EVENT and not known:
            return self._unknown
        return next(lane for lane, each in self._lanes() if each is priority)

    def _priority_of(self, container: str) -> Priority | None:
        return next((priority for lane, priority in self._lanes() if container in lane), None)

    def _next(self) -> tuple[str, Priority] | None:
        lanes = self._lanes()
        # Each lane is the first in its turn, however much is in those before it.
        rounds, rest = divmod(self._turn + 1, FAIR_TURN)
        first = rounds % len(lanes) if not rest else 0
        for lane, priority in lanes[first:] + lanes[:first]:
            for container in lane:
                if container not in self._taken:
                    return container, priority
        return None

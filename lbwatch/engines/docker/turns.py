"""
Who is looked at by a resync: of thousands of containers a few hundred, in turn. Pure.

Where the stream held, events told of what changed, and a resync looks for what they did not. Most of that shows in the
list itself: what an entry says now and did not say before. What no entry says, such as a start, is found when it is the
container's turn.
"""

from collections.abc import Collection, Mapping

from lbwatch.core.model import Container

MAX_LOOKS = 500
"""Of containers whose entry is as it was, in each resync: each look costs half a millisecond of CPU."""

MAX_TASK_LOOKS = 1
"""Of those that are tasks of a Swarm, which its managers tell of and which is never started anew, likewise."""


class Turns:
    """When each container was looked at, and what the latest list said of it."""

    def __init__(self) -> None:
        self._entries: Mapping[str, Container | None] = {}  # of the latest list, by id
        self._looked_at: dict[str, None] = {}  # ids, those first that were looked at longest ago

    def due(
        self, wanted: Mapping[str, Container | None], *, tasks: Collection[str] = ()
    ) -> dict[str, Container | None]:
        """
        Return those that must be looked at.

        Args:
            wanted: All that matter, with their entries in a new list; `None`: it has none.
            tasks: The ids of those that are tasks of a Swarm that is followed.
        """
        # Whose look failed, or never was, is among them, and whom the list lacks.
        due = {
            id: entry
            for id, entry in wanted.items()
            if entry is None or id not in self._looked_at or self._entries.get(id) != entry
        }
        in_turn = [id for id in self._looked_at if id in wanted and id not in due]
        others = [id for id in in_turn if id not in tasks][:MAX_LOOKS]
        some_tasks = [id for id in in_turn if id in tasks][:MAX_TASK_LOOKS]
        return due | {id: wanted[id] for id in (*others, *some_tasks)}

    def list(self, wanted: Mapping[str, Container | None]) -> None:
        """Take the entries of a list; whoever is not among them is forgotten."""
        self._entries = wanted
        self._looked_at = {id: None for id in self._looked_at if id in wanted}

    def looked_at(self, id: str) -> None:
        """Note that a look at a container succeeded."""
        self._looked_at.pop(id, None)
        self._looked_at[id] = None

    def forget(self, id: str) -> None:
        """Note that a look at a container failed."""
        self._looked_at.pop(id, None)

"""
The managers of one Swarm, each of which answers for all of it: the first that does so in time is asked.

One that only follows passes questions on to the leader, and is as good. Without a leader none can answer: that is no
news of any task.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lbwatch.core.errors import SourceError, SourceTimeoutError
from lbwatch.engines.docker.client import ASKED_OF_MANAGER, EngineClient

PATIENCE_S = 3.0
"""How long a manager may take to answer; one whose Swarm has lost most of its managers never does."""

LONGEST_PATIENCE_S = 48.0
"""For a list that is long: each time that it took too long it gets twice as much, up to so many seconds."""

_LONG = "/tasks"

MAX_LIST_BYTES = 256 * 1024 * 1024
"""Of a list: 60,000 tasks, as 10,000 have with those that ended before them, of 4 KB each."""

MAX_ITEM_BYTES = 16 * 1024 * 1024
"""Of one service or task, whose owner may give it labels of megabytes; managers take no more than 4 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """
    A manager that can be asked.

    Attributes:
        name: The name of its engine.
        client: The connection to that.
    """

    name: str
    client: EngineClient


class Doors:
    """
    All managers of a Swarm that can be asked.

    Args:
        doors: Returns them as they are now, those first that are asked first; they may be others at any time.

    Attributes:
        asked: How many requests were sent.
    """

    def __init__(self, doors: Callable[[], Sequence[Door]]) -> None:
        self.asked = 0
        self._doors = doors
        self._answers: str | None = None  # the name of the one that answered last
        self._list_patience_s = PATIENCE_S  # of `GET /tasks` alone

    def all(self) -> tuple[Door, ...]:
        """Return the managers, the one that is asked first before the others."""
        doors = tuple(self._doors())
        return tuple(sorted(doors, key=lambda door: door.name != self._answers))

    async def ask(self, path: str, *, query: dict[str, str] | None = None, next_door: bool = False) -> bytes:
        """
        Return what the first manager says that answers at all.

        Args:
            path: Below the API version.
            query: Of the URL.
            next_door: Whether another one than the last should be asked first, to hear it twice.

        Raises:
            SourceError: None answers; or one does, that there is no such thing or that it cannot be asked like this.
        """
        is_list = path.count("/") == 1
        doors = self.all()
        last = SourceError(f"{path}: no manager of the Swarm is known")
        for door in (*doors[1:], *doors[:1]) if next_door else doors:
            self.asked += 1
            try:
                body = await door.client.ask(
                    "GET",
                    path,
                    timeout_s=self._list_patience_s if path == _LONG else PATIENCE_S,
                    needs=ASKED_OF_MANAGER,
                    query=query,
                    max_bytes=MAX_LIST_BYTES if is_list else MAX_ITEM_BYTES,
                )
            except SourceError as error:
                if is_answer(error):
                    self._answers = door.name
                    raise
                last = error
                if path == _LONG and isinstance(error, SourceTimeoutError) and await self._is_only_slow(door):
                    self._list_patience_s = min(LONGEST_PATIENCE_S, 2 * self._list_patience_s)
                continue
            self._answers = door.name
            return body
        raise last

    async def _is_only_slow(self, door: Door) -> bool:
        """Return whether a manager answers what is short: one whose Swarm has lost its quorum answers nothing."""
        self.asked += 1
        try:
            await door.client.ask("GET", "/nodes", timeout_s=PATIENCE_S, needs=ASKED_OF_MANAGER)
        except SourceError as error:
            return is_answer(error)
        return True

    def took(self, seconds: float) -> None:
        """Note how long the longest list took that came: the next one may take four times as long."""
        self._list_patience_s = min(LONGEST_PATIENCE_S, max(PATIENCE_S, 4 * seconds))


def is_answer(error: SourceError) -> bool:
    """
    Return whether it is the Swarm's own answer that something is not there, or was asked for in a wrong way.

    All others are no news: a proxy's refusal, a manager without a leader, one that is none any more, or silence.
    """
    return error.status in (400, 404) and bool(error.engine_message)


async def in_turns() -> None:
    """Let others have the loop, in the middle of a long answer."""
    await asyncio.sleep(0)

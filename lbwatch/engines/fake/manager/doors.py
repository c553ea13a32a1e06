"""
A manager as those see it who ask it: what it answers while its Swarm has no leader, or it has lost the others.

The texts and times are measured (20.10.24, three managers).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lbwatch.engines.fake.delivery import EventStream
from lbwatch.engines.fake.manager.answers import swarm_event, swarm_info
from lbwatch.engines.fake.manager.api import UnavailableError
from lbwatch.engines.fake.manager.state import Node, SwarmState
from lbwatch.engines.fake.manager.tasks import TaskReplica
from lbwatch.engines.fake.state import FailedError

NO_LEADER = (
    "rpc error: code = Unknown desc = The swarm does not have a leader. "
    "It's possible that too few managers are online. Make sure more than half of the managers are online."
)

NO_MANAGER = (
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this "
    "command on a manager node or promote the current node to a manager."
)

HANG_S = 20.0
"""So long a request has no answer at all after the quorum is lost: over 12 s were seen."""

_BURST_S = 0.01
"""So long the whole log takes that a manager missed."""


class Trouble(StrEnum):
    """What keeps a manager from answering."""

    NONE = "none"
    LEADERLESS = "the Swarm has no leader: 500 at once"
    ALONE = "the others are out of reach: nothing, later 500"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    kind: str
    action: str
    id: str
    attributes: Mapping[str, str]


class Door:
    """
    One engine's part in a Swarm; see `swarmapi.Member`.

    Args:
        state: Of the Swarm.
        tasks: What is answered of them.
        node: Which node the engine is.
        events: The engine's stream.

    Attributes:
        empty_answers: So many of the next lists of tasks are empty, with 200.
    """

    def __init__(self, *, state: SwarmState, tasks: TaskReplica, node: Node, events: EventStream) -> None:
        self.state = state
        self.tasks = tasks
        self.node = node
        self.empty_answers = 0
        self._events = events
        self._trouble = Trouble.NONE
        self._since = 0.0  # loop time
        self._over = asyncio.Event()
        self._missed: list[_Told] = []

    @property
    def trouble(self) -> Trouble:
        """Return what keeps it from answering."""
        return self._trouble

    def begin(self, trouble: Trouble) -> None:
        """Begin to be in trouble: its stream stays open, and says nothing of the Swarm."""
        if self._trouble is Trouble.NONE:
            self._over = asyncio.Event()
        self._trouble, self._since = trouble, asyncio.get_running_loop().time()

    def end(self) -> None:
        """Answer again; all that was missed is told at once."""
        self._trouble = Trouble.NONE
        self._over.set()
        missed, self._missed = self._missed, []
        for place, told in enumerate(missed):
            asyncio.get_running_loop().call_later(_BURST_S * place / len(missed), self._publish, told)

    def tell(self, kind: str, action: str, *, id: str, attributes: Mapping[str, str]) -> None:
        """Tell what happened in the Swarm, or keep it until the trouble is over."""
        told = _Told(kind=kind, action=action, id=id, attributes=attributes)
        if not self.node.manager:
            return
        if self._trouble is Trouble.NONE:
            self._publish(told)
        else:
            self._missed.append(told)

    def info(self) -> Mapping[str, Any]:
        """Return `Swarm` of /info."""
        return swarm_info(self.state, node=self.node, error="" if self._trouble is Trouble.NONE else NO_LEADER)

    async def admit(self) -> None:
        """Let a request pass, once it can be answered. Raises `RefusedError`."""
        if not self.node.manager:
            raise UnavailableError(NO_MANAGER)
        if self._trouble is Trouble.ALONE:
            left_s = self._since + HANG_S - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(left_s):
                    await self._over.wait()
            except TimeoutError:
                raise FailedError(NO_LEADER) from None
        if self._trouble is not Trouble.NONE:
            raise FailedError(NO_LEADER)

    def empties(self) -> bool:
        """Return whether the next list of tasks is empty, whatever is true."""
        empty, self.empty_answers = self.empty_answers > 0, max(0, self.empty_answers - 1)
        return empty

    def _publish(self, told: _Told) -> None:
        now_ns = self.state.clock_ns()
        event = swarm_event(told.kind, told.action, id=told.id, attributes=told.attributes, now_ns=now_ns)
        self._events.publish(event)

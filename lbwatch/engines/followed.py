"""What is followed: an engine, and a Swarm as the pool sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from lbwatch.core.model import Container, Engine, EngineStatus, Event, Snapshot
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.reachedat import ReachedAt
from lbwatch.engines.docker.source import Changed, DockerSource, Heard
from lbwatch.system.enginememory import EngineMemory, Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedEngine:
    """
    One engine.

    Attributes:
        engine: Which one it is.
        source: Follows it.
        client: The connection to it.
        url: Where it is, as the user wrote it.
        at: Where its published ports are reached.
        kept: What was kept of it before this start; `None`: nothing.
        memory: Keeps what it says; `None`: nothing is kept.
    """

    engine: Engine
    source: DockerSource
    client: EngineClient
    url: str
    at: ReachedAt = field(default_factory=partial(ReachedAt, ""))
    kept: Kept | None = None
    memory: EngineMemory | None = None

    @property
    def name(self) -> str:
        """Return its name in log and status."""
        return self.engine.name


class SwarmNode(Protocol):
    """A machine of a Swarm."""

    @property
    def name(self) -> str:
        """Return its host name."""

    @property
    def address(self) -> str:
        """Return its address; empty: not known."""

    @property
    def state(self) -> str:
        """Return how it is, in the Swarm's word."""


class Swarm(Protocol):
    """Says which tasks a Swarm has; see `swarm.source`."""

    name: str
    heard: Heard | None

    def snapshot(self) -> Snapshot | None:
        """Return the last whole truth, or `None` before there is one."""

    def containers(self) -> Mapping[str, Container] | None:
        """Return the same tasks as they are now, to look at and not to keep; `None` likewise."""

    def nodes(self) -> Mapping[str, SwarmNode]:
        """Return its nodes, by id."""

    def status(self) -> EngineStatus:
        """Return how well it is known now."""

    def mark(self, service_id: str) -> None:
        """Have the tasks of a service looked at: a node's engine reported something of one."""

    async def look(self, id: str) -> Container | None:
        """Return one task as it is now; raises `SourceError`."""

    async def refresh(self, id: str) -> None:
        """Look at one task now; raises `SourceError`."""

    def recent(self) -> tuple[Event, ...]:
        """Return the latest events, oldest first."""

    def resync(self) -> None:
        """Have a full look begin now."""

    async def run(self, changed: Changed) -> None:
        """Follow it for good."""


class NewSwarm(Protocol):
    """Makes the source of a Swarm."""

    def __call__(self, *, engine: Engine, doors: Callable[[], Sequence[FollowedEngine]]) -> Swarm:
        """
        Return the source.

        Args:
            engine: What stands for the Swarm among the engines.
            doors: Returns the engines that are its managers, as they are known now, those first that answer.
        """

"""
What there is to see of engines and Swarms, in the words of `/api/state`.

Pure: nothing is found out or decided here.
"""

from dataclasses import dataclass

from lbwatch.core.explain import stamp
from lbwatch.core.model import EngineStatus
from lbwatch.core.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """
    One engine.

    Attributes:
        for_s: Seconds since which it is, or is not, connected.
        synced_s: Seconds since the latest full look ended; `None` before the first.
        containers: How many there are; `None` before that.
        drift: How many changes full looks found that no event reported.
        error: Why it is not connected, in words.
        since, synced_at: The same instants as *for_s* and *synced_s*, which do not change while nothing does.
        kind: `engine`, or `swarm`.
        role: What the engine is in a Swarm; empty: in none, or not known.
        address: Where its published ports are reached; empty: not known.
        url: Where it is asked; empty of a Swarm.
        kept: Whether what is known of it is from before the latest start of lbwatch.
        doors: Of a Swarm, its managers that are followed, the one that is asked first.
        services, tasks, nodes: Of a Swarm, how many there are; `None` before they were read, and of an engine.
    """

    name: str
    connected: bool
    for_s: float
    synced_s: float | None
    containers: int | None
    drift: int
    error: str | None
    since: str = ""
    synced_at: str | None = None
    kind: str = "engine"
    role: str = ""
    address: str = ""
    url: str = ""
    kept: bool = False
    doors: tuple[str, ...] = ()
    services: int | None = None
    tasks: int | None = None
    nodes: int | None = None

    @property
    def is_in_trouble(self) -> bool:
        """Return whether something of it is not as it should be."""
        return self.error is not None or self.kept or self.synced_s is None or not self.connected


def engine_reports(status: Status) -> tuple[EngineReport, ...]:
    """Return what there is to see of each engine and Swarm, as they are set."""
    return tuple(_engine(each, status=status) for each in status.engines)


def _engine(engine: EngineStatus, *, status: Status) -> EngineReport:
    synced_s = None if engine.synced_at is None else status.now - engine.synced_at
    return EngineReport(
        name=engine.source,
        connected=engine.connected,
        for_s=round(status.now - engine.since, 1),
        synced_s=None if synced_s is None else round(synced_s, 1),
        containers=engine.containers,
        drift=engine.drift,
        error=engine.error,
        since=stamp(status.at - (status.now - engine.since)) or "",
        synced_at=None if synced_s is None else stamp(status.at - synced_s),
        kind=engine.kind,
        role=engine.role,
        address=engine.address,
        url=engine.url,
        kept=engine.kept,
        doors=engine.doors,
        services=engine.services,
        tasks=engine.tasks,
        nodes=engine.nodes,
    )

"""
The whole story of one container, for whoever asks `explain` for it by name: what was read of it, and what came of that.

Pure, and nothing is decided here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lbwatch.core.errors import excerpt
from lbwatch.core.explain import Row, stamp
from lbwatch.core.labels import meaning, read_labels
from lbwatch.core.model import Container, Endpoint, Event, Health, Plan, Suspended
from lbwatch.core.placement import TAKEN, Rules, network_owner, weighed

MAX_EVENTS = 20
"""Of the latest, which of the container there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRead:
    """A label that lbwatch looks at, and what it makes of it."""

    key: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWeighed:
    """A network that the container is on, its address there, and why its server is reached by it or not."""

    network: str
    address: str
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTold:
    """An event of the container: when, by the engine's clock, and what."""

    at: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """
    What is known of one container.

    Attributes:
        status: In the engine's word for it.
        health: Likewise; `none` where it has no health check.
        started: Its latest start by the engine's clock; `None`: never.
        restarts: How often its restart policy brought it back since it was last started by hand.
        exposed: TCP ports.
        suspended: Why it is held back, for a reason that is in no state of the engine's; `None`: it is not.
        labels: Those that are looked at.
        networks: By name.
        events: The latest, oldest first; none where no daemon follows it.
        lines: What the rendered file says of it.
    """

    container: str
    id: str
    status: str
    health: str
    started: str | None
    restarts: int
    exposed: tuple[int, ...]
    suspended: str | None
    labels: tuple[LabelRead, ...]
    networks: tuple[NetworkWeighed, ...]
    events: tuple[EventTold, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """
    The whole answer of `explain`.

    Attributes:
        source: The name of the engine that it is about.
        rows: Of all containers, or of the one that was asked for.
        reasons: Why the daemon is not in step, so that the rows may be old; empty if it is, or there is none.
        remarks: What else its operator should know.
        story: Of the container that was asked for; `None` where all were.
    """

    source: str
    rows: tuple[Row, ...]
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    story: Story | None = None


def story_of(
    container: Container,
    *,
    rules: Rules,
    containers: Mapping[str, Container],
    suspended: Suspended,
    events: Iterable[Event],
    places: Iterable[str],
    text: str,
) -> Story:
    """
    Tell the story of a container.

    Args:
        container: The container.
        rules: What holds for all.
        containers: All containers, by id.
        suspended: Who is held back.
        events: The latest of all containers, oldest first.
        places: `ADDRESS:PORT` of each server that was decided for it.
        text: What was rendered.
    """
    known = [event for event in events if event.container == container.id][-MAX_EVENTS:]
    wanted = tuple(places)
    return Story(
        container=container.name,
        id=container.id,
        status=str(container.status),
        health=str(container.health or Health.NONE),
        started=stamp(container.started_ns / 1e9) if container.started_ns else None,
        restarts=container.restarts,
        exposed=container.exposed,
        suspended=_suspended(container, suspended),
        labels=tuple(
            LabelRead(key=excerpt(key), value=excerpt(value), meaning=meaning(key, value, prefix=rules.prefix))
            for key, value in container.labels
        ),
        networks=tuple(_networks(container, rules=rules, containers=containers)),
        events=tuple(EventTold(at=stamp(event.at_ns / 1e9) or "", action=excerpt(event.action)) for event in known),
        lines=tuple(_lines(text, wanted)),
    )


def addresses_of(name: str, plan: Plan | None) -> list[str]:
    """Give `ADDRESS:PORT` of each server that was decided for a container."""
    upstreams = plan.upstreams if plan is not None else ()
    servers = (server for upstream in upstreams for server in upstream.servers)
    return [f"{server.address}:{server.port}" for server in servers if server.container == name]


def _suspended(container: Container, suspended: Suspended) -> str | None:
    if (stay_up_s := suspended.crash_looping.get(container.id)) is not None:
        return f"it restarts in a loop: left out until it stayed up for {stay_up_s:g} s"
    return suspended.draining.get(container.id)


def _networks(container: Container, *, rules: Rules, containers: Mapping[str, Container]) -> Iterable[NetworkWeighed]:
    owner = network_owner(container, containers=containers)
    if owner is None:
        return
    whose = "" if owner is container else f" (of {owner.name}, whose network it uses)"
    candidates = read_labels(container.labels, prefix=rules.prefix).upstreams
    verdicts: dict[Endpoint, list[str]] = {}
    for wanted in dict.fromkeys(candidate.network for candidate in candidates):
        for endpoint, verdict in weighed(owner, wanted, networks=rules.networks):
            verdicts.setdefault(endpoint, []).append(verdict)
    for endpoint, said in verdicts.items():
        taken = next((verdict for verdict in said if verdict.startswith(TAKEN)), said[0])
        address = endpoint.ipv4 or endpoint.ipv6
        yield NetworkWeighed(network=excerpt(endpoint.network) + whose, address=excerpt(address), verdict=taken)


def _lines(text: str, places: tuple[str, ...]) -> Iterable[str]:
    """Find the lines of a rendered text that name any of these places, and no longer one that begins alike."""
    for line in text.splitlines():
        words = line.replace(";", " ").split()
        if any(
            word.endswith(placement) and not word.removesuffix(placement)[-1:].isalnum()
            for placement in places
            for word in words
        ):
            yield line.strip()

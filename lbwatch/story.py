"""
The whole story of one container, for whoever asks `explain` for it by name: what was read of it, and what came of that.

Pure, and nothing is decided here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lbwatch.errors import excerpt
from lbwatch.explain import Row, stamp
from lbwatch.labels import meaning, wishes
from lbwatch.model import Backend, Desired, Endpoint, Event, Health, Held
from lbwatch.place import TAKEN, Rules, network_owner, weighed

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
        held: Why it is held back, for a reason that is in no state of the engine's; `None`: it is not.
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
    held: str | None
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
    backend: Backend,
    *,
    rules: Rules,
    backends: Mapping[str, Backend],
    held: Held,
    events: Iterable[Event],
    places: Iterable[str],
    text: str,
) -> Story:
    """
    Tell the story of a container.

    Args:
        backend: The container.
        rules: What holds for all.
        backends: All containers, by id.
        held: Who is held back.
        events: The latest of all containers, oldest first.
        places: `ADDRESS:PORT` of each server that was decided for it.
        text: What was rendered.
    """
    known = [event for event in events if event.backend == backend.id][-MAX_EVENTS:]
    wanted = tuple(places)
    return Story(
        container=backend.name,
        id=backend.id,
        status=str(backend.status),
        health=str(backend.health or Health.NONE),
        started=stamp(backend.started_ns / 1e9) if backend.started_ns else None,
        restarts=backend.restarts,
        exposed=backend.exposed,
        held=_held(backend, held),
        labels=tuple(
            LabelRead(key=excerpt(key), value=excerpt(value), meaning=meaning(key, value, prefix=rules.prefix))
            for key, value in backend.labels
        ),
        networks=tuple(_networks(backend, rules=rules, backends=backends)),
        events=tuple(EventTold(at=stamp(event.at_ns / 1e9) or "", action=excerpt(event.action)) for event in known),
        lines=tuple(_lines(text, wanted)),
    )


def places_of(name: str, desired: Desired | None) -> list[str]:
    """Give `ADDRESS:PORT` of each server that was decided for a container."""
    upstreams = desired.upstreams if desired is not None else ()
    servers = (server for upstream in upstreams for server in upstream.servers)
    return [f"{server.address}:{server.port}" for server in servers if server.backend == name]


def _held(backend: Backend, held: Held) -> str | None:
    if (stay_up_s := held.damped.get(backend.id)) is not None:
        return f"it restarts in a loop: left out until it stayed up for {stay_up_s:g} s"
    return held.draining.get(backend.id)


def _networks(backend: Backend, *, rules: Rules, backends: Mapping[str, Backend]) -> Iterable[NetworkWeighed]:
    owner = network_owner(backend, backends=backends)
    if owner is None:
        return
    whose = "" if owner is backend else f" (of {owner.name}, whose network it uses)"
    members = wishes(backend.labels, prefix=rules.prefix).memberships
    verdicts: dict[Endpoint, list[str]] = {}
    for wanted in dict.fromkeys(member.network for member in members):
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
            word.endswith(place) and not word.removesuffix(place)[-1:].isalnum() for place in places for word in words
        ):
            yield line.strip()

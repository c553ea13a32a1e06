"""
Why a container is or is not routed: its whole story. What becomes of all of them is in `rows`.

Pure, and nothing is decided here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lbwatch.core.errors import excerpt
from lbwatch.core.labels import meaning, read_labels
from lbwatch.core.model import (
    Container,
    Event,
    Health,
    Route,
    Suspended,
)
from lbwatch.core.origins import Origin, origin_of
from lbwatch.core.placement import flapping_words
from lbwatch.core.rules import Rules
from lbwatch.core.ways import NetworkVerdict, WayVerdict, networks_of, ways_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """
    An upstream whose requests may wait.

    Attributes:
        hold_s: How many seconds each waits at most.
        paused: Whether an operator has all new ones wait, whoever serves.
        requests: How many wait now.
        longest_s: How many seconds the first of them has waited.
    """

    upstream: str
    hold_s: float
    paused: bool
    requests: int = 0
    longest_s: float = 0.0


def wait_words(wait: Wait, *, refusal: str | None) -> str | None:
    """
    Return what becomes of requests that wait, in words; `None` where none does.

    Args:
        wait: The upstream.
        refusal: Why none can wait, also where an operator wants it.
    """
    ending = f"`lbwatch resume {wait.upstream}` ends that"
    if wait.paused and refusal is not None:
        return f"upstream {wait.upstream} is paused by hand, and yet no request waits: {refusal}; {ending}"
    is_one = wait.requests == 1
    many = f"{wait.requests} {'request waits' if is_one else 'requests wait'}"
    first = f"{many}, for {wait.longest_s:.1f} s" if is_one else f"{many}, the first for {wait.longest_s:.1f} s"
    if wait.paused:
        return f"upstream {wait.upstream} is paused by hand: {first if wait.requests else 'no request waits'}; {ending}"
    return f"upstream {wait.upstream} has no ready server: {first}" if wait.requests else None


def stamp(seconds: float | None) -> str | None:
    """Return a time given in seconds since the epoch as ISO 8601, to a second and in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


MAX_EVENTS = 20
"""Of the latest, which of the container there are."""

MAX_LABELS = 200
"""Of a container's: to find out what each means takes a fifth of a millisecond, and there may be 12,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRead:
    """A label that lbwatch looks at, and what it makes of it."""

    key: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStory:
    """
    What a Swarm says of a container that is one of its tasks.

    Attributes:
        service: Name of the service.
        task: What `docker service ps` calls it, such as `web.3`.
        node: Host name of its machine, or else its id; `None` while it has none.
        state: What it is, in the Swarm's word.
        desired: What it should be, likewise.
    """

    service: str
    task: str
    node: str | None
    state: str
    desired: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEvent:
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
        suspended: Why it is suspended, for a reason that is in no state of the engine's; `None`: it is not.
        labels: Those that are looked at, by key; there are *more_labels*.
        networks: By name.
        events: The latest, oldest first; none where no daemon follows it.
        lines: What the rendered file says of it.
        image: What it was made of; empty where the engine did not say.
        advice: What its owner may not know although all is well; `None`: there is nothing.
        ways: How it may be reached, in the order in which that is tried.
        engine: Name of its engine where there are several, and of a task that of its Swarm; `None`: it is the only one.
        own_name: What that engine calls it.
        swarm: What its Swarm says of it; `None`: it is no task.
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
    networks: tuple[NetworkVerdict, ...]
    events: tuple[ContainerEvent, ...]
    lines: tuple[str, ...]
    advice: str | None = None
    more_labels: int = 0
    image: str = ""
    ways: tuple[WayVerdict, ...] = ()
    engine: str | None = None
    own_name: str = ""
    swarm: TaskStory | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """
    The whole answer of `explain`.

    Attributes:
        source: Where the engines are that it is about.
        routes: Of all containers, or of the one that was asked for.
        reasons: Why the daemon is not in step, so that the rows may be old; empty if it is, or there is none.
        remarks: What else its operator should know.
        waits: The upstreams whose requests may wait, of these routes.
        story: Of the container that was asked for; `None` where all were.
        places: The hosts and ports that the upstreams of these routes serve, by upstream.
        origins: Where the containers of these routes are from, by name.
        several_engines: Whether more than one engine, or a Swarm beside it, is followed.
    """

    source: str
    routes: tuple[Route, ...]
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    waits: tuple[Wait, ...] = ()
    story: Story | None = None
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    several_engines: bool = False


def story_of(
    container: Container,
    *,
    rules: Rules,
    containers: Mapping[str, Container],
    suspended: Suspended,
    events: Iterable[Event],
    routes: Iterable[Route],
    text: str,
) -> Story:
    """
    Return the story of a container.

    Args:
        container: The container.
        rules: What holds for all.
        containers: All containers, by id.
        suspended: Which containers are suspended.
        events: The latest of all containers, oldest first.
        routes: As planned, of all containers.
        text: What was rendered.
    """
    # A Swarm has no events of its tasks (facts, stream 24): those of the service say what happened to it.
    of = container.id if container.task is None else container.task.service_id
    known = [event for event in events if event.container == of][-MAX_EVENTS:]
    wanted = tuple(route.address for route in routes if route.container == container.name and route.address)
    return Story(
        container=container.name,
        id=container.id,
        status=str(container.status),
        health=str(container.health or Health.NONE),
        started=stamp(container.started_ns / 1e9) if container.started_ns else None,
        restarts=container.restarts,
        exposed=container.exposed,
        suspended=_suspended(container, suspended, rules=rules),
        labels=tuple(
            LabelRead(key=excerpt(key), value=excerpt(value), meaning=_meaning(key, value, rules=rules))
            for key, value in container.labels[:MAX_LABELS]
        ),
        image=container.image,
        more_labels=max(0, len(container.labels) - MAX_LABELS),
        networks=tuple(networks_of(container, rules=rules, containers=containers)),
        events=tuple(
            ContainerEvent(at=stamp(event.at_ns / 1e9) or "", action=excerpt(event.action)) for event in known
        ),
        lines=tuple(_lines(text, wanted)),
        advice=_advice(container, rules=rules) if wanted else None,
        ways=ways_of(container, rules=rules, containers=containers),
        engine=container.engine.name if rules.several_engines or container.task is not None else None,
        own_name=container.own_name,
        swarm=_swarm(container),
    )


def _swarm(container: Container) -> TaskStory | None:
    origin, task = origin_of(container), container.task
    if task is None:
        return None
    return TaskStory(
        service=task.service,
        task=origin.task or "",
        node=origin.node,
        state=task.state,
        desired=task.desired,
    )


def _advice(container: Container, *, rules: Rules) -> str | None:
    """Return what to do for a container that may get requests before its program listens."""
    asked = read_labels(container.labels, prefix=rules.prefix, refuses_key=rules.refuses_key).upstreams
    if container.health is not Health.NONE or all(each.max_fails == 0 or each.waits_for_port for each in asked):
        return None
    # A notice for each container without a health check would be one for nearly all, and read by nobody.
    cure = f"give it a health check, or the label {rules.prefix}.health=connect"
    return f"without a health check it gets requests as soon as it runs: if its program listens later, {cure}"


def _meaning(key: str, value: str, *, rules: Rules) -> str:
    return meaning(key, value, prefix=rules.prefix, refuses_key=rules.refuses_key)


def _suspended(container: Container, suspended: Suspended, *, rules: Rules) -> str | None:
    if (stay_up_s := suspended.crash_looping.get(container.id)) is not None:
        return f"it restarts in a loop: left out until it stayed up for {stay_up_s:g} s"
    if (draining := suspended.draining.get(container.id)) is not None:
        return draining
    asked = read_labels(container.labels, prefix=rules.prefix, refuses_key=rules.refuses_key).upstreams
    uses_health = not all(each.health_ignored for each in asked)
    if (stay_healthy_s := suspended.flapping.get(container.id)) is not None and uses_health:
        return flapping_words(stay_healthy_s)
    former = suspended.former_names.get(container.id)
    return former and f"it was renamed just now: its default upstream is for a moment still that of {former}"


def _lines(text: str, places: tuple[str, ...]) -> Iterable[str]:
    """Return the lines of a rendered text that name any of these addresses with their ports."""
    # A user's template may write an address after anything, such as `//` or `=`; but the end of a longer one,
    # 110.0.0.1:80 where 10.0.0.1:80 is looked for, is another.
    for line in text.splitlines():
        words = line.replace(";", " ").split()
        if any(
            word.endswith(place) and not word.removesuffix(place)[-1:].isalnum() for place in places for word in words
        ):
            yield line.strip()

"""
Which engine the fake one is: what differs between the engines that people run, each fact with where it comes from.

Plain values, which the other rooms look up; no behaviour. Where no source is named, it was measured on that engine:
Docker 20.10.24, 26.1.5 and 28.5.2, Podman 4.3.1 and 5.4.2. Docker 29 was not: of its API it has what moby's source and
version history say (src), of all else what 28 does.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

JSON_SEQ = "application/json-seq"
"""The one framing of events in which a record begins with a separator, 0x1E (RFC 7464)."""

NDJSON, JSONL = "application/x-ndjson", "application/jsonl"
"""One JSON text and a newline for each event, as `application/json` has always been there."""


class NetworkEvent(StrEnum):
    """Whom the event of a network is about that a container was connected to, or disconnected from."""

    OF_NETWORK = "the actor is the network, the container an attribute"
    OF_CONTAINER = "the actor is the container, the network an attribute"
    OF_CONTAINER_ALONE = "the actor is the container, and nothing names the network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """
    How an engine is spoken to.

    Attributes:
        api: Newest version, in `Api-Version`: 1.41 (20.10), 1.45 (26.1), 1.51 (28.5), 1.52 (29.0, src); Podman 1.41.
        min_api: Oldest version, in `MinAPIVersion`: 1.12 (20.10), 1.24 (26, 28, Podman), 1.44 (29.0 to 29.2), 1.40
            (from 29.3, src).
        refuses_versions: Whether any other version is answered with 400; Podman answers all.
        refuses_in_text: Whether that 400 is plain text (28), no JSON (26).
        server: First word of the `Server` header; Podman's answers have `Libpod-API-Version` besides.
        stream_types: What `/events` can be asked for by `Accept`, its own choice first: nothing up to 28, which answer
            `application/json` whatever is accepted; of 29 see moby's `getEvents` (src), to which API 1.53
            added `application/jsonl`.
        refuses_filters: Whether an unknown filter is refused with 500 (Podman); Docker's stream takes it, its list not.
        death_words: Words of the filter `event` that let `die` through. Podman before 4.4 compares its own, `died`.
        matches_words_whole: Whether a word of that filter matches nothing but itself; with `health_status` or `exec_*`
            among them Docker takes all as prefixes (facts, stream 9), Podman never does (src, libpod/events).
        replays_until: Whether `until` in the past replays what was; Podman answered 0 or 1 of 4 events.
        ends_idle: Whether connections on which nothing is asked are closed at once when it is told to stop (26: within
            1 ms); 20.10 serves them to its end (facts, stream 15).
        no_container: What 404 says of a container; `{}` is what was asked for.
    """

    api: str
    min_api: str
    refuses_versions: bool = True
    refuses_in_text: bool = False
    server: str = "Docker"
    stream_types: tuple[str, ...] = ()
    refuses_filters: bool = False
    death_words: frozenset[str] = frozenset({"die"})
    matches_words_whole: bool = False
    replays_until: bool = True
    ends_idle: bool = True
    no_container: str = "No such container: {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """
    Which events an engine tells, in which order and how late. All that happens has one row in the table of the facts.

    Attributes:
        exit: Events of a container's end, in order: `disconnect` stands for one of each network, `stop` comes only
            after `docker stop` and `restart`. 20.10: die, disconnect, stop; 26 and 28: disconnect, stop, die; Podman
            4.3: die, cleanup; 5.4: stop, die, cleanup.
        short_exit: The same where it starts again, or is removed, at once.
        exit_takes_s: How long after the first of them the others come: 45 to 70 ms in 26 and 28.
        polled_s: Events come when the engine next looks into its file: Podman's up to 250 ms late.
        begins_with: Events of a start before `start`: `connect` of each network (Docker), or `init` (Podman).
        restart_first: Whether `restart` comes before all else, and also where a policy restarts (Podman).
        removal: `destroy`, or Podman's `remove`.
        tells_stop_signal: Whether `stop`, `restart` and `rm -f` tell of the signal that they send; Podman's do not.
        names_signal: Whether `kill` names its signal; Podman's does not.
        live_disconnects: How many events a live `network disconnect` has: 2 up to 27, 1 from 28 on, and in Podman.
        tells_stopped: Whether connecting a stopped container has an event too (Podman).
        network_event: Whom they are about.
        tells_networks: Whether making and removing a network has an event; not in Podman 4.3.
        names_pod: Whether all attributes have `podId` (Podman).
        exit_code_always: Whether they always have `containerExitCode`, and not only `die` and `remove` (Podman 4.3).
        health_in_action: Whether the action has the status (Docker), or a field of its own, `HealthStatus` (Podman).
        health_lags: Whether that is what the probe before this one found (Podman 4.3).
        each_probe: Whether each probe has an event, not only one that finds a change: Podman 4.3 to 5.8.
        probes_are_execs: Whether a probe is told as an exec is, by three events.
    """

    exit: tuple[str, ...] = ("die", "disconnect", "stop")
    short_exit: tuple[str, ...] = ("die", "disconnect", "stop")
    exit_takes_s: float = 0.0
    polled_s: float = 0.0
    begins_with: str = "connect"
    restart_first: bool = False
    removal: str = "destroy"
    tells_stop_signal: bool = True
    names_signal: bool = True
    live_disconnects: int = 2
    tells_stopped: bool = False
    network_event: NetworkEvent = NetworkEvent.OF_NETWORK
    tells_networks: bool = True
    names_pod: bool = False
    exit_code_always: bool = False
    health_in_action: bool = True
    health_lags: bool = False
    each_probe: bool = False
    probes_are_execs: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLag:
    """
    For how many seconds the list shows what was before a change; where nothing was measured, as long as after a death.

    Attributes:
        exit: A container ended: 59 ms, 92 at most (20.10); 45 to 70 ms (26, 28), so that it is over when `die` comes.
        start: One started: 0 of 8 were stale (26, 28).
        connect: A live one was connected: 11 ms (28).
        pause: One was paused or unpaused: 6 to 17 ms (26, 28).
        other: Anything else.
    """

    exit: float = 0.06
    start: float = 0.06
    connect: float = 0.06
    pause: float = 0.06
    other: float = 0.06


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """
    What list and inspect say of a container.

    Attributes:
        list_lag: Podman's list never lags: 8 of 8 were fresh at `die`.
        lists_mode: Whether list entries have `HostConfig`; Podman's have none, and so no `NetworkMode`.
        lists_health: Whether their words have the health; Podman's never say `(healthy)`.
        forgets_health: Whether a restarted engine says `starting` of each that has a health check (26, live-restore).
        pause_stops_probes: Whether pausing makes those `unhealthy`; Podman leaves them as they are.
        default_network: What a container's default network is called; in `GET /networks` it is `bridge` always.
        default_network_id: The id that it has on every machine (Podman); empty: one that is new after each restart of
            the engine (facts, stream 7).
        names_for_ids: Whether a container's networks have their names in the place of ids (Podman before 5).
        shows_owner_networks: Whether one that uses another's network shows that one's addresses (Podman); else none.
        lists_no_network: Whether `host` and `none` are among the networks of a container; not in Podman 4.3.
        stop_signal_number: Whether the stop signal is always there, and a number: `"15"` (Podman).
    """

    list_lag: ListLag = field(default_factory=ListLag)
    lists_mode: bool = True
    lists_health: bool = True
    forgets_health: bool = True
    pause_stops_probes: bool = True
    default_network: str = "bridge"
    default_network_id: str = ""
    names_for_ids: bool = False
    shows_owner_networks: bool = False
    lists_no_network: bool = True
    stop_signal_number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """
    One engine in one version.

    Attributes:
        name: For people and for tests, such as `docker-26`.
        version: The version that was looked at.
        http: How it is spoken to.
        events: What it tells by itself.
        answers: What it says when asked.
    """

    name: str
    version: str
    http: Http
    events: Events = field(default_factory=Events)
    answers: Answers = field(default_factory=Answers)

    def __str__(self) -> str:
        return self.name


DOCKER_20 = Kind(
    name="docker-20",
    version="20.10.24",
    http=Http(api="1.41", min_api="1.12", ends_idle=False),
    answers=Answers(forgets_health=False),
)
"""All at once: its events have no pace of their own here, and its list lags after every change."""

_DISCONNECT_FIRST = ("disconnect", "stop", "die")

DOCKER_26 = Kind(
    name="docker-26",
    version="26.1.5",
    http=Http(api="1.45", min_api="1.24"),
    events=Events(exit=_DISCONNECT_FIRST, short_exit=_DISCONNECT_FIRST, exit_takes_s=0.06),
    answers=Answers(list_lag=ListLag(start=0.0, connect=0.011, pause=0.012)),
)

DOCKER_28 = replace(
    DOCKER_26,
    name="docker-28",
    version="28.5.2",
    http=replace(DOCKER_26.http, api="1.51", refuses_in_text=True),
    events=replace(DOCKER_26.events, live_disconnects=1),
)

DOCKER_29 = replace(
    DOCKER_28,
    name="docker-29",
    version="29.0.4",
    http=replace(DOCKER_28.http, api="1.52", min_api="1.44", stream_types=(NDJSON, JSON_SEQ)),
)

PODMAN_5 = Kind(
    name="podman-5",
    version="5.4.2",
    http=Http(
        api="1.41",
        min_api="1.24",
        refuses_versions=False,
        server="Libpod",
        refuses_filters=True,
        death_words=frozenset({"die", "died"}),
        matches_words_whole=True,
        replays_until=False,
        no_container='no container with name or ID "{}" found: no such container',
    ),
    events=Events(
        exit=("stop", "die", "cleanup"),
        short_exit=("die",),
        polled_s=0.25,
        begins_with="init",
        restart_first=True,
        removal="remove",
        tells_stop_signal=False,
        names_signal=False,
        live_disconnects=1,
        tells_stopped=True,
        network_event=NetworkEvent.OF_CONTAINER,
        names_pod=True,
        health_in_action=False,
        each_probe=True,
        probes_are_execs=False,
    ),
    answers=Answers(
        list_lag=ListLag(exit=0.0, start=0.0, connect=0.0, pause=0.0, other=0.0),
        lists_mode=False,
        lists_health=False,
        forgets_health=False,
        pause_stops_probes=False,
        default_network="podman",
        default_network_id="2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
        shows_owner_networks=True,
        stop_signal_number=True,
    ),
)

PODMAN_4 = replace(
    PODMAN_5,
    name="podman-4",
    version="4.3.1",
    http=replace(PODMAN_5.http, death_words=frozenset({"died"})),
    events=replace(
        PODMAN_5.events,
        exit=("die", "cleanup"),
        network_event=NetworkEvent.OF_CONTAINER_ALONE,
        tells_networks=False,
        exit_code_always=True,
        health_lags=True,
    ),
    answers=replace(PODMAN_5.answers, names_for_ids=True, lists_no_network=False),
)

KINDS = {kind.name: kind for kind in (DOCKER_20, DOCKER_26, DOCKER_28, DOCKER_29, PODMAN_4, PODMAN_5)}
"""All of them, by name."""

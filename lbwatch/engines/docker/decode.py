"""
Bytes and JSON of the Engine API, turned into words; no I/O.

Field names are those of the Engine API reference; only what is used is named, the rest is ignored. What an engine
answers is not trusted to be of the right shape: anything else is a `SourceError`.
"""

import re
import signal
from collections.abc import Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from lbwatch.core.errors import SourceError
from lbwatch.core.model import TERM, Container, ContainerConfig, ContainerStatus, Endpoint, Event, Health

MAX_LINE_BYTES = 1024 * 1024
"""Labels may be 10 MB and are copied into every event (facts of the stream); a longer line is skipped."""

UNREADABLE = Event(action="unreadable", container=None)

_RECORD_SEPARATOR = b"\x1e"
_TIMESTAMP = re.compile(
    r"(?P<seconds>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)",
    re.ASCII,
)
_EXPOSED_TCP = re.compile(r"([0-9]{1,5})(?:/tcp)?")  # OCI images may leave TCP out, as it is the default
_STATUSES = {str(status): status for status in ContainerStatus} | {
    "configured": ContainerStatus.CREATED,  # Podman's words, where its compat API lets them through
    "initialized": ContainerStatus.CREATED,
    "stopping": ContainerStatus.EXITED,
    "stopped": ContainerStatus.EXITED,
}
_SIGNAL_TEXT = re.compile(r"(?P<number>[0-9]{1,2})|(SIG)?(?P<name>[A-Z]+[12]?)(?P<offset>[+-][0-9]{1,2})?")
_UNREADABLE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_CONTAINER = "container"
_NETWORK = "network"
_SIGNAL = "signal"  # of a `kill` event's attributes


class _Struct(msgspec.Struct, rename="pascal", frozen=True, gc=False):
    """Go encodes an empty slice or map as `null`, so every collection below may be `None`."""


class _Actor(_Struct, frozen=True):
    id: str = msgspec.field(default="", name="ID")
    attributes: dict[str, str] | None = None


class _Event(_Struct, frozen=True):
    type: str = ""
    action: str = ""
    actor: _Actor = _Actor()
    time_s: int = msgspec.field(default=0, name="time")
    time_ns: int = msgspec.field(default=0, name="timeNano")


class _Endpoint(_Struct, frozen=True):
    ip_address: str | None = msgspec.field(default=None, name="IPAddress")
    global_ipv6_address: str | None = msgspec.field(default=None, name="GlobalIPv6Address")


class _Networks(_Struct, frozen=True):
    networks: dict[str, _Endpoint | None] | None = None


class _HostConfig(_Struct, frozen=True):
    network_mode: str = ""


class _Port(_Struct, frozen=True):
    private_port: int = 0
    type: str = ""


class _Entry(_Struct, frozen=True):
    """One entry of `GET /containers/json`."""

    id: str
    names: tuple[str, ...] | None = None
    created: int = 0
    labels: dict[str, str] | None = None
    state: str = ""
    status: str = ""
    ports: tuple[_Port, ...] | None = None
    host_config: _HostConfig = _HostConfig()
    network_settings: _Networks | None = None


class _Health(_Struct, frozen=True):
    status: str = ""


class _State(_Struct, frozen=True):
    status: str
    started_at: str = ""
    health: _Health | None = None


class _Config(_Struct, frozen=True):
    labels: dict[str, str] | None = None
    exposed_ports: dict[str, Any] | None = None
    stop_signal: str = ""


class _Inspect(_Struct, frozen=True):
    """The answer of `GET /containers/ID/json`."""

    id: str
    name: str
    state: _State
    config: _Config
    created: str = ""
    restart_count: int = 0
    host_config: _HostConfig = _HostConfig()
    network_settings: _Networks | None = None


class _Mount(_Struct, frozen=True):
    source: str = ""
    destination: str = ""


class _RestartPolicy(_Struct, frozen=True):
    name: str = ""


class _FullHostConfig(_HostConfig, frozen=True):
    restart_policy: _RestartPolicy | None = None


class _InspectConfig(_Struct, frozen=True):
    """
    The same answer, for how the one container that runs nginx is set up.

    Apart from `_Inspect`, since an engine that leaves these out or shapes them otherwise must not spoil every look.
    """

    mounts: tuple[_Mount, ...] | None = None
    host_config: _FullHostConfig | None = None
    config: _Config | None = None


_EVENT = msgspec.json.Decoder(_Event)
_LIST = msgspec.json.Decoder(tuple[_Entry, ...])
_INSPECT = msgspec.json.Decoder(_Inspect)
_INSPECT_CONFIG = msgspec.json.Decoder(_InspectConfig)
_RECORDING = msgspec.json.Decoder(tuple[_Inspect, ...])


class EventDecoder:
    """
    Cuts the bytes of `/events` into events; any cut of the bytes gives the same events.

    One JSON text and a newline each; with `json-seq` (API 1.52 and later) a record separator stands before it.
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = bytearray()  # the line that has no end yet
        self._skipping = False  # inside a line that was too long

    def feed(self, chunk: bytes) -> list[Event]:
        """
        Return the events that a *chunk* of bytes completes, in order.

        Events that cannot touch a container are left out. A line that is too long or no event is `UNREADABLE`,
        which marks everything: what it said is lost.
        """
        events: list[Event] = []
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            events.extend(self._ended_line(line))
        self._hold(rest)
        return events

    def _ended_line(self, end: bytes) -> list[Event]:
        self._hold(end)
        line = bytes(self._rest)
        skipped, self._skipping = self._skipping, False
        self._rest.clear()
        return [UNREADABLE] if skipped else _events_in(line)

    def _hold(self, part: bytes) -> None:
        if self._skipping:
            return
        self._rest += part
        if len(self._rest) > self._max_line_bytes:
            self._rest.clear()
            self._skipping = True


def _events_in(line: bytes) -> list[Event]:
    text = line.replace(_RECORD_SEPARATOR, b"").strip()
    if not text:
        return []
    try:
        event = _EVENT.decode(text)
    except _UNREADABLE_ERRORS:
        return [UNREADABLE]
    attributes = event.actor.attributes or {}
    if event.type == _CONTAINER:
        return [_container_event(event, attributes=attributes) if event.actor.id else UNREADABLE]
    if event.type == _NETWORK:
        container = _container_of_network_event(event.actor.id, attributes=attributes)
        return [Event(action=event.action, container=container, at_ns=_time_ns(event))] if container else []
    return [] if event.type else [UNREADABLE]


def _container_event(event: _Event, *, attributes: dict[str, str]) -> Event:
    return Event(
        action=event.action,
        container=event.actor.id,
        labels=attributes,
        at_ns=_time_ns(event),
        signal=signal_number(attributes.get(_SIGNAL, "")) if event.action == "kill" else None,
    )


def _time_ns(event: _Event) -> int:
    return event.time_ns or event.time_s * 10**9


def _container_of_network_event(actor: str, *, attributes: dict[str, str]) -> str:
    """Return its id: Docker has it in the attributes; Podman makes it the actor, with the network there."""
    if container := attributes.get("container"):
        return container
    return actor if "network" in attributes else ""


def containers_of_list(body: bytes) -> tuple[Container, ...]:
    """
    Return the containers of `GET /containers/json?all=1`.

    The engine serves it from a replica that lags: what it says of a container may be old, and its presence or
    absence too.

    Raises:
        SourceError: It is no such list.
    """
    try:
        entries = _LIST.decode(body)
    except _UNREADABLE_ERRORS as error:
        raise SourceError(f"the engine's list of containers cannot be read: {error}") from error
    return tuple(_container_of_entry(entry) for entry in entries)


def container_of_inspect(body: bytes) -> Container:
    """
    Return the container of `GET /containers/ID/json`.

    Raises:
        SourceError: It is no such answer.
    """
    try:
        return _container(_INSPECT.decode(body))
    except (*_UNREADABLE_ERRORS, ValueError, KeyError) as error:
        raise SourceError(f"the engine's inspect answer cannot be read: {error}") from error


def config_of_inspect(body: bytes) -> ContainerConfig:
    """
    Return how a container is set up, out of `GET /containers/ID/json`; what other engines leave out stays empty.

    Raises:
        SourceError: It is no such answer.
    """
    try:
        answer = _INSPECT_CONFIG.decode(body)
    except _UNREADABLE_ERRORS as error:
        raise SourceError(f"the engine's answer cannot be read: {error}") from error
    policy = answer.host_config and answer.host_config.restart_policy
    return ContainerConfig(
        mounts=tuple((mount.source, mount.destination) for mount in answer.mounts or ()),
        restart_policy=policy.name if policy else "",
        stop_signal=answer.config.stop_signal if answer.config else "",
    )


def containers_of_recording(body: bytes) -> tuple[Container, ...]:
    """
    Return the containers in the output of `docker inspect`, a list of inspect answers.

    Raises:
        SourceError: It is no such list.
    """
    try:
        return tuple(_container(answer) for answer in _RECORDING.decode(body))
    except (*_UNREADABLE_ERRORS, ValueError, KeyError) as error:
        raise SourceError(f"it is no output of docker inspect: {error}") from error


def _container(answer: _Inspect) -> Container:
    return Container(
        id=answer.id,
        name=answer.name.removeprefix("/"),
        labels=_sorted_labels(answer.config.labels),
        status=_STATUSES[answer.state.status],
        health=_health(answer.state.health.status if answer.state.health else ""),
        created_ns=nanoseconds(answer.created),
        started_ns=nanoseconds(answer.state.started_at),
        exposed=_exposed(answer.config.exposed_ports),
        endpoints=_endpoints(answer.network_settings),
        network_of=_network_of(answer.host_config.network_mode),
        host_network=answer.host_config.network_mode == "host",
        restarts=max(0, answer.restart_count),
        stop_signal=_stop_signal(answer.config),
    )


def _stop_signal(config: _Config) -> int | None:
    """Return the number of the signal that stops a container; `None` where its events cannot tell which one came."""
    # Labels are merged over an event's attributes (facts, stream 10), so that one by this name hides the signal.
    return None if _SIGNAL in (config.labels or {}) else signal_number(config.stop_signal) or TERM


def signal_number(text: str) -> int | None:
    """Return the number of `SIGHUP`, `HUP`, `hup` or `1`, and `RTMIN+3` likewise; `None`: there is no such signal."""
    match = _SIGNAL_TEXT.fullmatch(text.strip().upper())
    if match is None or (match["offset"] and not match["name"].startswith("RT")):
        return None
    named = signal.Signals.__members__.get(f"SIG{match['name']}")
    number = int(match["number"] or 0) if named is None else named + int(match["offset"] or 0)
    return number if 1 <= number <= signal.SIGRTMAX else None


def nanoseconds(timestamp: str) -> int:
    """
    Return an RFC 3339 time with up to nine decimals as nanoseconds since the epoch.

    It is 0 for Go's zero time (`0001-01-01T00:00:00Z`: never) and for what is no such time.
    """
    match = _TIMESTAMP.fullmatch(timestamp)
    if match is None:
        return 0
    try:
        seconds = int(datetime.fromisoformat(match["seconds"] + match["zone"]).timestamp())
    except (ValueError, OverflowError):
        return 0
    fraction = int((match["fraction"] or "").ljust(9, "0"))
    return max(0, seconds * 10**9 + fraction)


def http_date_s(date: str | None) -> float | None:
    """Return what a `Date` header says, the engine's clock to a second; `None` if there is none."""
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None


def _container_of_entry(entry: _Entry) -> Container:
    return Container(
        id=entry.id,
        name=_own_name(entry.names),
        labels=_sorted_labels(entry.labels),
        status=_listed_status(entry.state),
        health=_health_in(entry.status),
        created_ns=entry.created * 10**9,
        exposed=_possible(port.private_port for port in entry.ports or () if port.type == "tcp"),
        endpoints=_endpoints(entry.network_settings),
        network_of=_network_of(entry.host_config.network_mode),
        host_network=entry.host_config.network_mode == "host",
    )


def _own_name(names: tuple[str, ...] | None) -> str:
    """Return a container's own name: legacy links add `/other/alias`, so the own one has a single slash."""
    own = sorted(name.removeprefix("/") for name in names or () if name.count("/") == 1)
    return own[0] if own else ""


def _sorted_labels(labels: dict[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((labels or {}).items()))


def _listed_status(text: str) -> ContainerStatus:
    """Return a list entry's state; one unknown word must not spoil the list, and inspect has the say."""
    return _STATUSES.get(text, ContainerStatus.DEAD)


def _health(text: str) -> Health:
    try:
        return Health(text)
    except ValueError:
        return Health.NONE


def _health_in(status_text: str) -> Health:
    """Return the health out of a list entry's words, such as `Up 3 seconds (health: starting)`."""
    if "(health: starting)" in status_text:
        return Health.STARTING
    if "(unhealthy)" in status_text:
        return Health.UNHEALTHY
    return Health.HEALTHY if "(healthy)" in status_text else Health.NONE


def _exposed(ports: dict[str, Any] | None) -> tuple[int, ...]:
    """Return the TCP ports of `{"80/tcp": {}, "53/udp": {}}`."""
    matches = (_EXPOSED_TCP.fullmatch(port) for port in ports or ())
    return _possible(int(match[1]) for match in matches if match)


def _possible(ports: Iterable[int]) -> tuple[int, ...]:
    """Return those that are ports: an image may claim to expose 0 or 99999, and nginx would refuse the whole file."""
    return tuple(sorted({port for port in ports if 1 <= port <= 65_535}))


def _endpoints(settings: _Networks | None) -> tuple[Endpoint, ...]:
    networks = (settings.networks if settings else None) or {}
    return tuple(
        Endpoint(network=name, ipv4=end.ip_address or "", ipv6=end.global_ipv6_address or "")
        for name, end in sorted(networks.items())
        if end is not None
    )


def _network_of(mode: str) -> str | None:
    return mode.removeprefix("container:") if mode.startswith("container:") else None

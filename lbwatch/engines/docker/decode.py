"""
Bytes of the Engine API's stream of events, turned into words; no I/O.

Field names are those of the Engine API reference; only what is used is named, the rest is ignored. What an engine
says is not trusted to be of the right shape: anything else is `UNREADABLE`.
"""

import re
from collections.abc import Callable

import msgspec

from lbwatch.core.model import Event, Health
from lbwatch.engines.docker.fields import (
    MAX_ACTION_CHARS,
    clamped_ns,
    container_name,
    is_container_id,
    signal_number,
)

MAX_LINE_BYTES = 1024 * 1024
"""Labels may be 10 MB and are copied into every event (facts, stream 11); of a longer line the head is read."""

HEAD_BYTES = 4096
"""So much of a long line: what it is about stands before the labels."""

UNREADABLE = Event(action="unreadable", container=None)

# Nothing that a container's owner writes can look like this: in a text of JSON each quote has a backslash before it.
_HEAD = re.compile(
    rb'"Type":"container","Action":"(?P<action>[a-z_]{1,64}(?:: [a-z]{1,64})?)","Actor":\{"ID":"(?P<id>[0-9a-f]{64})"'
)
FRAMINGS = ("application/jsonl", "application/x-ndjson", "application/json-seq", "application/json")
"""All that `EventDecoder` reads (facts, stream 12): lines, by three names, and lines with a separator before each."""

_RECORD_SEPARATOR = b"\x1e"
_UNREADABLE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_CONTAINER = "container"
_NETWORK = "network"
_MEMBERSHIP = ("connect", "disconnect")
_HEALTH_STATUS = "health_status"
_HEALTH_VALUES = frozenset(map(str, Health))
_NAME = "name"
_SIGNAL = "signal"  # of a `kill` event's attributes


class _Struct(msgspec.Struct, rename="pascal", frozen=True, gc=False):
    """Go encodes an empty slice or map as `null`, so every collection below may be `None`."""


class _Actor(_Struct, frozen=True):
    id: str = msgspec.field(default="", name="ID")
    attributes: dict[str, str] | None = None


class EngineEvent(_Struct, frozen=True):
    """One line of the stream, as the Engine API names it."""

    type: str = ""
    action: str = ""
    actor: _Actor = _Actor()
    time_s: int = msgspec.field(default=0, name="time")
    time_ns: int = msgspec.field(default=0, name="timeNano")
    health_status: str = ""  # Podman's alone, of events of that action

    @property
    def at_ns(self) -> int:
        """Return when it happened, nanoseconds since the epoch; 0 if it does not say."""
        return clamped_ns(self.time_ns or self.time_s * 10**9)


_EVENT = msgspec.json.Decoder(EngineEvent)


class EventDecoder:
    """
    Cuts the bytes of `/events` into events; any cut of the bytes gives the same events.

    One JSON text and a newline each, in all of the `FRAMINGS`; with `json-seq` a separator stands before it.

    Args:
        max_line_bytes: Of a longer line only the head is read.
        events_of: Returns what a line tells; `None`: of containers.
        event_of_head: Returns what the head of a line tells that is too long; likewise.
    """

    def __init__(
        self,
        *,
        max_line_bytes: int = MAX_LINE_BYTES,
        events_of: Callable[[EngineEvent], list[Event]] | None = None,
        event_of_head: Callable[[bytes], Event] | None = None,
    ) -> None:
        self._max_line_bytes = max_line_bytes
        self._events_of = events_of or _events_of
        self._event_of_head = event_of_head or _event_of_head
        self._rest = bytearray()  # the line that has no end yet
        self._skipping = False  # inside a line that was too long

    def feed(self, chunk: bytes) -> list[Event]:
        """
        Return the events that a *chunk* of bytes completes, in order.

        Events that cannot touch a container are left out. A line that is no event is `UNREADABLE`, which marks
        everything: what it said is lost. So is one that is too long, unless its head names the container.
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
        return [self._event_of_head(line)] if skipped else self._events_in(line)

    def _events_in(self, line: bytes) -> list[Event]:
        # Only before a text: within one a separator is written as `\u001e`, and a bare one makes it unreadable.
        text = line.lstrip(_RECORD_SEPARATOR).strip()
        if not text:
            return []
        try:
            event = _EVENT.decode(text)
        except _UNREADABLE_ERRORS:
            return [UNREADABLE]
        return self._events_of(event)

    def _hold(self, part: bytes) -> None:
        if self._skipping:
            return
        self._rest += part
        if len(self._rest) > self._max_line_bytes:
            del self._rest[HEAD_BYTES:]
            self._skipping = True


def _event_of_head(head: bytes) -> Event:
    """
    Return the event of a line that is too long: a container with labels of megabytes costs a look at itself alone.

    Its labels, signal and time are lost.
    """
    match = _HEAD.search(head)
    if match is None:
        return UNREADABLE
    return Event(action=match["action"].decode(), container=match["id"].decode())


def _events_of(event: EngineEvent) -> list[Event]:
    attributes = event.actor.attributes or {}
    if event.type == _CONTAINER:
        return _container_event(event, attributes=attributes) if event.actor.id else [UNREADABLE]
    if event.type == _NETWORK:
        return _network_event(event, attributes=attributes)
    return [] if event.type else [UNREADABLE]


# No list and no inspect answer knows a container whose id is none, so that such an event tells nothing that could be
# followed: it is left out. Were it unreadable, whoever sends such lines could have everything looked at without end.


def _container_event(event: EngineEvent, *, attributes: dict[str, str]) -> list[Event]:
    id = event.actor.id
    if not is_container_id(id):
        return []
    if _NAME in attributes:  # it is kept, of containers that ask for nothing too
        attributes[_NAME] = container_name(attributes[_NAME], id=id)
    signal = signal_number(attributes.get(_SIGNAL, "")) if event.action == "kill" else None
    return [Event(action=_action(event), container=id, labels=attributes, at_ns=event.at_ns, signal=signal)]


def _network_event(event: EngineEvent, *, attributes: dict[str, str]) -> list[Event]:
    """
    Return it for the container that it is about; Docker has that in the attributes, Podman makes it the actor.

    Podman is known by the attribute `podId`, which it gives each event; before 4.4 it does not even name the network.
    """
    if event.action not in _MEMBERSHIP:
        return []
    id = attributes.get("container") or (event.actor.id if {"network", "podId"} & attributes.keys() else "")
    return [Event(action=_action(event), container=id, at_ns=event.at_ns)] if is_container_id(id) else []


def _action(event: EngineEvent) -> str:
    # Podman has the value in a field of its own, in which 4.3 says what the probe before this one found.
    if event.action == _HEALTH_STATUS and event.health_status in _HEALTH_VALUES:
        return f"{_HEALTH_STATUS}: {event.health_status}"
    return event.action[:MAX_ACTION_CHARS]

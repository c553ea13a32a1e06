"""
What a manager's stream of events tells: of services and nodes, never of tasks (facts, stream 24); no I/O.

Each is a reason to look. Every manager tells the same ones, those that only follow, too.
"""

import msgspec

from lbwatch.core.model import Event
from lbwatch.engines.docker.decode import UNREADABLE, EventDecoder
from lbwatch.engines.docker.fields import MAX_ACTION_CHARS, clamped_ns, is_swarm_id

SERVICE, NODE = "service", "node"

FILTERS = {"type": [SERVICE, NODE]}
"""What a stream is asked for."""

_RECORD_SEPARATOR = b"\x1e"
_UNREADABLE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


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


_EVENT = msgspec.json.Decoder(_Event)


def swarm_event_decoder() -> EventDecoder:
    """Return what cuts a manager's stream into events: `service update`, of the id of the service, and the like."""
    return EventDecoder(events_in=_events_in, event_of_head=lambda _: UNREADABLE)


def is_of(event: Event, type: str) -> bool:
    """Return whether an event is of a `SERVICE` or a `NODE`, whose id stands where others name a container."""
    return event.action.startswith(f"{type} ")


def _events_in(line: bytes) -> list[Event]:
    text = line.lstrip(_RECORD_SEPARATOR).strip()
    if not text:
        return []
    try:
        event = _EVENT.decode(text)
    except _UNREADABLE_ERRORS:
        return [UNREADABLE]
    # What has no id of a Swarm's tells nothing that could be followed; see `decode`.
    if event.type not in (SERVICE, NODE) or not is_swarm_id(event.actor.id):
        return []
    action = f"{event.type} {event.action}"[:MAX_ACTION_CHARS]
    at_ns = clamped_ns(event.time_ns or event.time_s * 10**9)
    return [Event(action=action, container=event.actor.id, labels=event.actor.attributes or {}, at_ns=at_ns)]

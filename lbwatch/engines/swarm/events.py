"""
What a manager's stream of events tells: of services and nodes, never of tasks (facts, stream 24); no I/O.

Each is a reason to look. Every manager tells the same ones, those that only follow, too.
"""

from lbwatch.core.model import Event
from lbwatch.engines.docker.decode import UNREADABLE, EngineEvent, EventDecoder
from lbwatch.engines.docker.fields import MAX_ACTION_CHARS, is_swarm_id

SERVICE, NODE = "service", "node"

FILTERS = {"type": [SERVICE, NODE]}
"""What a stream is asked for."""


def swarm_event_decoder() -> EventDecoder:
    """Return what cuts a manager's stream into events: `service update`, of the id of the service, and the like."""
    return EventDecoder(events_of=_events_of, event_of_head=lambda _: UNREADABLE)


def is_of(event: Event, type: str) -> bool:
    """Return whether an event is of a `SERVICE` or a `NODE`, whose id stands where others name a container."""
    return event.action.startswith(f"{type} ")


def _events_of(event: EngineEvent) -> list[Event]:
    # What has no id of a Swarm's tells nothing that could be followed; see `decode`.
    if event.type not in (SERVICE, NODE) or not is_swarm_id(event.actor.id):
        return []
    action = f"{event.type} {event.action}"[:MAX_ACTION_CHARS]
    return [Event(action=action, container=event.actor.id, labels=event.actor.attributes or {}, at_ns=event.at_ns)]

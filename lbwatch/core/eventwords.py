"""
What an event says, as people read it.

Pure; what is made of it is said elsewhere.
"""

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Event

MAX_CHANGES = 4
"""So many of what an update changed stand on one line; a Swarm names one or two."""

_NEW, _OLD = ".new", ".old"


def event_words(event: Event) -> str:
    """Return what happened, in the engine's words: with the signal, and of a Swarm's update with what it changed."""
    action = excerpt(event.action)
    if event.signal is not None:
        return f"{action} (signal {event.signal})"
    changes = _changes(event)
    return f"{action}: {', '.join(changes[:MAX_CHANGES])}" if changes else action


def _changes(event: Event) -> list[str]:
    """Return what a service or a node had before and has now, such as `replicas 3 -> 1` or `state down`."""
    # A container's labels are in its events too, and may be called as they like.
    if event.labels is None or not event.action.endswith(" update"):
        return []
    found = []
    for key, new in sorted(event.labels.items()):
        if key.endswith(_NEW):
            what = key.removesuffix(_NEW)
            old = event.labels.get(f"{what}{_OLD}", "")
            found.append(excerpt(f"{what} {old} -> {new}" if old else f"{what} {new}"))
    return found

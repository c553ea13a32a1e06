"""
Whose environment is known: only a look tells of it, and one in each life of a container is enough. Pure.

Neither lists nor events have it. Docker sets it once for all when it creates a container; another engine may change it
for the next start.
"""

from collections.abc import Container

from lbwatch.core.model import Event
from lbwatch.engines.docker.scope import Scope

MAX_STARTS = 100_000
"""Of so many the latest start is remembered: an event may name any number of containers, and a list says which are."""

_START = "start"


class Lives:
    """
    Which containers were looked at since their latest start, as far as that was told.

    Args:
        scope: Which containers are followed; without variables nothing is kept here.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._started: dict[str, int] = {}  # by id, when the event of the latest start was stamped; 0: none was heard
        self._seen: set[str] = set()  # ids of those that were looked at since

    def is_new(self, event: Event) -> bool:
        """Return whether an event tells of a start that was not told of yet: streams tell some events again."""
        if not self._scope.variables or event.container is None or event.action != _START:
            return False
        return self._started.get(event.container) != event.at_ns or event.container not in self._seen

    def is_unknown(self, id: str) -> bool:
        """Return whether a container was not looked at in its life."""
        return bool(self._scope.variables) and id not in self._seen

    def heard(self, event: Event) -> None:
        """Note a start, so that the same one is not looked at twice."""
        if not self._scope.variables or event.container is None or event.action != _START:
            return
        self._seen.discard(event.container)
        if event.container in self._started or len(self._started) < MAX_STARTS:
            self._started[event.container] = event.at_ns

    def looked_at(self, id: str) -> None:
        """Note that a look at a container succeeded."""
        if self._scope.variables:
            self._seen.add(id)

    def retain(self, ids: Container[str]) -> None:
        """Forget all other containers."""
        self._started = {id: at_ns for id, at_ns in self._started.items() if id in ids}
        self._seen = {id for id in self._seen if id in ids}

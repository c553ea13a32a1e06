"""
What `GET /containers/json` sees: copies that lag behind the containers themselves.

The engine lists from a replica that it writes late in each change; an inspect waits for that write (facts of
the stream, 4 and 5).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lbwatch.engines.fake.model import Container


@dataclass(slots=True, kw_only=True, frozen=True)
class _Change:
    at: float  # seconds of the monotonic clock
    lag_s: float  # as it was then
    container: Container | None  # None: gone


class Replica:
    """
    The lagging copies.

    Args:
        lag_s: Seconds until a change is seen; a change is seen after the lesser of the lag at its time and
            the lag now, so that a greater one hides nothing that was done before it.
        now: Monotonic clock, in seconds.
    """

    def __init__(self, *, lag_s: float, now: Callable[[], float]) -> None:
        self.lag_s = lag_s
        self._now = now
        self._shown: dict[str, Container] = {}
        self._pending: dict[str, deque[_Change]] = {}

    def changed(self, container_id: str, container: Container | None) -> None:
        """Take what a container is from now on, `None` once it is gone."""
        change = _Change(at=self._now(), lag_s=self.lag_s, container=container)
        self._pending.setdefault(container_id, deque()).append(change)

    def freshen(self, container_id: str) -> None:
        """Show a container as it is."""
        for change in self._pending.pop(container_id, ()):
            self._show(container_id, change)

    def freshen_gone(self, ref: str) -> None:
        """Show as gone what is gone and was known by this id, beginning of an id, or name."""
        for container_id, changes in list(self._pending.items()):
            shown = self._shown.get(container_id)
            known = container_id.startswith(ref) or (shown and shown.name == ref.removeprefix("/"))
            if known and changes[-1].container is None:
                self.freshen(container_id)

    def freshen_all(self) -> None:
        """Show everything as it is, as after a start of the engine."""
        for container_id in list(self._pending):
            self.freshen(container_id)

    def containers(self) -> list[Container]:
        """Give what is seen now, the newest first."""
        now = self._now()
        for container_id, changes in list(self._pending.items()):
            while changes and now - changes[0].at >= min(self.lag_s, changes[0].lag_s):
                self._show(container_id, changes.popleft())
            if not changes:
                del self._pending[container_id]
        return sorted(self._shown.values(), key=lambda container: -container.created_ns)

    def _show(self, container_id: str, change: _Change) -> None:
        if change.container is None:
            self._shown.pop(container_id, None)
        else:
            self._shown[container_id] = change.container

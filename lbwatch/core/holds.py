"""
Which upstreams live on for a moment without a container, because requests wait there for the next one.

A service that is created anew is removed first: for a second or so no container says that there is such an upstream,
nor that its requests should wait. So an upstream whose containers asked for that (`lbwatch.hold`) outlives the last of
them, for as long as they said. Plain arithmetic on seconds of the loop's clock; no clock is read here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lbwatch.core.model import Upstream

MAX_KEPT = 10_000
"""How many upstreams are kept at most; more have lost their last container within a minute on no engine."""


class Holds:
    """The memory of upstreams that lost their last container; one for all sources."""

    def __init__(self) -> None:
        self._kept: dict[str, Upstream] = {}
        self._until: dict[str, float] = {}  # loop time, by name as well

    def lose(self, upstreams: Iterable[Upstream], *, now: float) -> None:
        """
        Note that upstreams have lost their last container just now.

        Args:
            upstreams: As they were, with how long their containers had requests wait.
            now: Loop time, in seconds; never less than at the call before.
        """
        for each in upstreams:
            if len(self._kept) < MAX_KEPT or each.name in self._kept:
                self._kept[each.name] = replace(each, servers=(), paused=False)
                self._until[each.name] = now + each.hold_s

    def kept(self, *, now: float) -> Mapping[str, Upstream]:
        """Return the upstreams that live on, by name; the one of a name that has a container again does no harm."""
        for name in [name for name, until in self._until.items() if now >= until]:
            del self._kept[name], self._until[name]
        return dict(self._kept)

    def changes_at(self) -> float | None:
        """Return the loop time at which the next one ends; `None`: none does."""
        return min(self._until.values(), default=None)

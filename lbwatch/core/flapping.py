"""
Which containers serve as a last resort only, because their health check flips between healthy and unhealthy.

Each flip of such a container would cost a reload and move requests to and fro, without end. Flips are counted by what
is seen of the containers themselves, so that no event is needed; what is asked for is only what changed. Plain
arithmetic on seconds of the loop's clock; no clock is read here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lbwatch.core.model import Container, ContainerStatus, Health

FLAPS = 3
FLAP_WINDOW_S = 60.0
"""A check that failed so often within so many seconds, and passed in between, flaps."""

STAY_HEALTHY_FIRST_S = 5.0
STAY_HEALTHY_LIMIT_S = 60.0
"""How long a container must stay healthy to be back: doubled by each further failure, and never more than the limit."""


@dataclass(slots=True, kw_only=True)
class _Flaps:
    """What is remembered of one container whose health check began to fail."""

    started_ns: int  # of the life that this is about, by the engine's clock
    since: float  # loop time since which it is healthy, or is not
    healthy: bool = True
    failed_at: tuple[float, ...] = ()  # loop time of the latest failures, as far as they are within the window
    strikes: int = 0  # failures since it counts as flapping, that one included; none: it never did
    flapping: bool = False

    @property
    def stay_healthy_s(self) -> float:
        """Return how many seconds in a row it must be healthy to be back."""
        return min(STAY_HEALTHY_LIMIT_S, STAY_HEALTHY_FIRST_S * 2.0 ** (min(self.strikes, 32) - 1))

    @property
    def back_at(self) -> float:
        """Return the loop time at which it is back if it stays healthy, or is just unhealthy if it stays that."""
        return self.since + (self.stay_healthy_s if self.healthy else STAY_HEALTHY_LIMIT_S)

    def failed(self, *, now: float) -> None:
        """Count a failure, and whether it is one too many."""
        recent = (at for at in self.failed_at if now - at < FLAP_WINDOW_S)
        self.failed_at = (*recent, now)[-FLAPS:]
        if self.flapping or len(self.failed_at) == FLAPS:
            self.flapping = True
            self.strikes += 1

    def seen(self, *, healthy: bool, now: float) -> None:
        """Note whether it is healthy."""
        if healthy != self.healthy:
            self.healthy, self.since = healthy, now


class Flapping:
    """The memory of health checks that fail; one for all sources."""

    def __init__(self) -> None:
        self._healthy: set[str] = set()  # ids of those that were healthy when they were seen last
        self._flaps: dict[str, _Flaps] = {}  # of those whose check failed lately, by id

    def flapping(self, changed: Iterable[Container], *, gone: Iterable[str], now: float) -> Mapping[str, float]:
        """
        Return which containers serve as a last resort only.

        Args:
            changed: Those that may be another than at the call before, as they are now; any others do no harm. How a
                container was before it was seen first does not count.
            gone: Ids of those that are no more; they are forgotten.
            now: Loop time, in seconds; never less than at the call before.

        Returns:
            By id, how many seconds in a row the container must be healthy before it serves as any other.
        """
        for id in gone:
            self._healthy.discard(id)
            self._flaps.pop(id, None)
        for container in changed:
            self._see(container, now=now)
        for id, flaps in list(self._flaps.items()):
            self._let_pass(id, flaps, now=now)
        return {id: flaps.stay_healthy_s for id, flaps in self._flaps.items() if flaps.flapping}

    def changes_at(self) -> float | None:
        """Return the loop time at which the next one is back if nothing happens until then; `None`: none is."""
        return min((flaps.back_at for flaps in self._flaps.values() if flaps.flapping), default=None)

    def _see(self, container: Container, *, now: float) -> None:
        id, flaps = container.id, self._flaps.get(container.id)
        if flaps is not None and flaps.started_ns != container.started_ns:
            flaps.started_ns = container.started_ns
            # The engine's count of its own restarts is 0 after a start by hand (facts, stream 19), which forgives all.
            if not container.restarts:
                del self._flaps[id]
                flaps = None
        # A pause makes a container unhealthy without a probe that failed (facts, stream 18): that is no flip.
        runs = container.status is ContainerStatus.RUNNING
        healthy = runs and container.health is Health.HEALTHY
        if runs and container.health is Health.UNHEALTHY and id in self._healthy:
            flaps = self._flaps.setdefault(id, flaps or _Flaps(started_ns=container.started_ns, since=now))
            flaps.failed(now=now)
        if healthy:
            self._healthy.add(id)
        else:
            self._healthy.discard(id)
        if flaps is not None:
            flaps.seen(healthy=healthy, now=now)

    def _let_pass(self, id: str, flaps: _Flaps, *, now: float) -> None:
        if now >= flaps.back_at:
            flaps.flapping = False
        # In one state for so long, it is another trouble that comes next.
        if now >= flaps.since + STAY_HEALTHY_LIMIT_S:
            del self._flaps[id]

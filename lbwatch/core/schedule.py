"""
When, never what: least intervals between reloads, and back-off after failures.

Plain arithmetic on seconds of the loop's clock; no clock is read here and nothing sleeps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

REMOVAL_INTERVAL_S = 0.1
"""Least time between any two reloads, and all there is where the later one takes a server away."""


def reload_at(now: float, *, last: float | None, last_added: float | None, removes: bool, interval: float) -> float:
    """
    Tell when the next reload may go out.

    Args:
        now: Loop time, in seconds.
        last: Loop time at which the latest reload went out; `None` if there was none.
        last_added: Likewise, of the latest one that added or changed a server.
        removes: Whether a server goes away with the next one.
        interval: Least time between reloads that add or change servers, in seconds.

    Returns:
        Loop time in seconds, never before *now*: at once after a quiet time.
    """
    times = [now]
    if last is not None:
        times.append(last + min(REMOVAL_INTERVAL_S, interval))
    if last_added is not None and not removes:
        times.append(last_added + interval)
    return max(times)


@dataclass(slots=True, kw_only=True)
class Backoff:
    """
    Growing waits: each failure doubles the next, a success starts over.

    Args:
        first: Wait after the first failure, in seconds, before jitter.
        limit: Longest wait, in seconds.
        random: Gives a number in [0, 1); spreads many clients of one engine.
    """

    first: float
    limit: float
    random: Callable[[], float]
    attempt: int = field(default=0, init=False)

    def next_wait(self) -> float:
        """Count one more failure and tell how long to wait, in seconds: between half and the whole of the step."""
        step = min(self.limit, self.first * 2.0 ** min(self.attempt, 32))
        self.attempt += 1
        return step * (0.5 + self.random() / 2)

    def reset(self) -> None:
        """Forget the failures."""
        self.attempt = 0

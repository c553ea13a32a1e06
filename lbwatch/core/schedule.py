"""
When, never what: least intervals between reloads, and waits after failures.

Plain arithmetic on seconds of the loop's clock; no clock is read here and nothing sleeps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lbwatch.core.changes import changed_upstreams
from lbwatch.core.errors import LbwatchError, ReloadError, TakenBackError
from lbwatch.core.model import Upstream
from lbwatch.core.parts import Parts, others_in, upstreams_in

RETRY_FIRST_S = 0.1
RETRY_LIMIT_S = 30.0
"""For what a person must mend: each try costs a test by nginx."""

OWED_LIMIT_S = 2.0
"""For a reload that nginx owes: it must be in step within 5 s of its return."""

TAKEN_BACK_LIMIT_S = 600.0
"""For a file that nginx took back: a try each time twice as far off as the one before."""

REMOVAL_INTERVAL_S = 0.1
"""Least time between any two reloads, and all there is where the later one takes a server away."""


def reload_at(now: float, *, last: float | None, last_added: float | None, removes: bool, interval: float) -> float:
    """
    Return when the next reload may go out.

    Args:
        now: Loop time, in seconds.
        last: Loop time at which the latest reload went out; `None` if there was none.
        last_added: Likewise, of the latest one that added or changed a server.
        removes: Whether a server goes away with the next one.
        interval: Least time between reloads that add or change servers, in seconds.

    Returns:
        Loop time in seconds, never before *now*: at once after a quiet time.
    """
    # A removal waits for no interval: each request to a server that is gone costs its client seconds (facts, nginx 12).
    times = [now]
    if last is not None:
        times.append(last + min(REMOVAL_INTERVAL_S, interval))
    if last_added is not None and not removes:
        times.append(last_added + interval)
    return max(times)


@dataclass(slots=True, kw_only=True)
class ReloadPace:
    """
    The pace of a load balancer that must be reloaded for every change.

    Args:
        interval_s: Least seconds between two reloads that add or change servers.
    """

    interval_s: float
    _last: float | None = field(default=None, init=False)  # loop time of the latest reload
    _last_added: float | None = field(default=None, init=False)  # of the latest one that added or changed a server

    def due(self, parts: Parts, *, before: Parts | None, now: float, at_once: bool) -> float:
        """
        Return the loop time at which these parts may be reloaded, never before *now*.

        Args:
            parts: What should be in force.
            before: What is; `None`: nothing yet.
            now: Loop time, in seconds.
            at_once: Whether they should not wait for the interval.
        """
        removes = at_once or before is None or removes_servers(upstreams_in(before), upstreams_in(parts))
        return reload_at(now, last=self._last, last_added=self._last_added, removes=removes, interval=self.interval_s)

    def reloads(self, parts: Parts, *, before: Parts | None, now: float) -> None:
        """
        Note that a reload goes out now.

        Args:
            parts: What it brings into force.
            before: What was in force; `None`: nothing.
            now: Loop time, in seconds.
        """
        self._last = now
        if before is None or _adds_any(before, parts):
            self._last_added = now


def _adds_any(before: Parts, after: Parts) -> bool:
    is_same = others_in(before) == others_in(after)
    return not is_same or adds_servers(upstreams_in(before), upstreams_in(after))


def removes_servers(before: tuple[Upstream, ...], after: tuple[Upstream, ...]) -> bool:
    """
    Return whether a server of *before* is missing in *after*: sending to it costs requests, so it cannot wait.

    One that drains is missing for those clients that come new.
    """
    return any(_removes(old, new) for old, new in changed_upstreams(before, after))


def _removes(before: Upstream | None, after: Upstream | None) -> bool:
    return not (_places(before) <= _places(after) and _places(before, new=True) <= _places(after, new=True))


def adds_servers(before: tuple[Upstream, ...], after: tuple[Upstream, ...]) -> bool:
    """Return whether anything in *after* is new or another than in *before*: more than that servers went."""
    return any(_adds(old, new) for old, new in changed_upstreams(before, after) if new is not None)


def _adds(before: Upstream | None, after: Upstream) -> bool:
    if before is None or replace(before, servers=()) != replace(after, servers=()):
        return True
    servers = {(server.address, server.port): server for server in before.servers}
    return any(
        old is None or replace(old, draining=old.draining or server.draining) != server
        for server in after.servers
        if (old := servers.get((server.address, server.port))) is not server
    )


def _places(upstream: Upstream | None, *, new: bool = False) -> set[tuple[str, int]]:
    """Return where the servers of an upstream are; *new*: those alone to which new clients are sent."""
    servers = () if upstream is None else upstream.servers
    return {(server.address, server.port) for server in servers if not (new and server.draining)}


@dataclass(slots=True, kw_only=True)
class Backoff:
    """
    Growing waits: each failure doubles the next, a success starts over.

    Args:
        first: Wait after the first failure, in seconds, before jitter.
        limit: Longest wait, in seconds.
        random: Returns a number in [0, 1); spreads many clients of one engine.
    """

    first: float
    limit: float
    random: Callable[[], float]
    attempt: int = field(default=0, init=False)

    def next_wait(self) -> float:
        """Return how long to wait after one more failure, in seconds: between half and the whole of the step."""
        step = min(self.limit, self.first * 2.0 ** min(self.attempt, 32))
        self.attempt += 1
        return step * (0.5 + self.random() / 2)

    def reset(self) -> None:
        """Forget the failures."""
        self.attempt = 0


class Retry:
    """
    When what failed, or was degraded, is tried again.

    Args:
        limit_s: Longest wait, in seconds.
        random: Returns a number in [0, 1), for jitter.

    Attributes:
        at: Loop time before which it is not.
        failed: What the latest apply that failed was for; `None`: it did not fail.
        renewed: Whether the latest apply may have been by an old template.
    """

    def __init__(self, *, limit_s: float, random: Callable[[], float]) -> None:
        self.at = 0.0
        self.failed: Parts | None = None
        self.renewed = False
        self._limit_s = limit_s
        self._taken_back = 0  # how often since the latest success
        self._backoff = Backoff(first=RETRY_FIRST_S, limit=limit_s, random=random)

    @property
    def attempt(self) -> int:
        """Return how often it failed in a row."""
        return self._backoff.attempt

    def renew(self) -> None:
        """Have everything tried again at once."""
        self.renewed, self.at = True, 0.0

    def fail(self, error: LbwatchError, *, parts: Parts, now: float) -> float:
        """
        Return how many seconds to wait after a failure.

        Args:
            error: Why it failed.
            parts: What it was for.
            now: Loop time, in seconds.
        """
        limit_s = OWED_LIMIT_S if isinstance(error, ReloadError) else self._limit_s
        wait_s = min(limit_s, self._backoff.next_wait())
        # A file that nginx took back was before a running nginx for a moment: there should be few such tries.
        if isinstance(error, TakenBackError):
            wait_s = min(TAKEN_BACK_LIMIT_S, limit_s * 2.0 ** min(self._taken_back, 32))
            self._taken_back += 1
        self.failed, self.at = parts, now + wait_s
        return wait_s

    def succeed(self, *, now: float, again_s: float | None = None) -> None:
        """
        Forget the failures; what was degraded is tried in full again after the longest wait, or sooner.

        Args:
            now: Loop time, in seconds.
            again_s: When the balancer has more to try, in seconds from then; `None`: it has not said.
        """
        self._backoff.reset()
        self._taken_back = 0
        self.failed, self.at = None, now + (self._limit_s if again_s is None else min(again_s, self._limit_s))


@dataclass(slots=True, kw_only=True)
class EventTimes:
    """
    Loop times of the first event of a change, to measure how long the change took.

    Attributes:
        latest: Since the latest plan was made.
        due: Of what is planned and not in force yet.
    """

    latest: float | None = None
    due: float | None = None

    def heard(self, at: float | None) -> None:
        """Note the loop time of an event; `None`: no event was the cause."""
        if self.latest is None:
            self.latest = at

    def planned(self) -> None:
        """Note that a plan was made of all that came so far."""
        self.due, self.latest = self.due or self.latest, None

    def due_for_s(self, *, now: float) -> float | None:
        """Return how many seconds ago the first event came that is not in force yet; `None`: there was none."""
        return None if self.due is None else now - self.due

    def in_force(self) -> None:
        """Note that all of it is."""
        self.due = None

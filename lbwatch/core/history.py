"""
What the daemon remembers of its own work: for the status, the metrics and `explain`, never to decide anything.

All of it is bounded. No clock is read here: times come in.
"""

import itertools
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from lbwatch.core.model import Applied, Degraded, Level, Plan, Reason, ServerState, Upstream

KEPT_CHANGES = 50
KEPT_LINES = 200  # of the difference of each change

BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of the histograms: new workers are there some 15 ms after an event, the old ones retired after some 120."""

VERIFIED = "verified"
"""The outcome of an apply that reloaded nginx and was proven; those that failed have the name of their log event."""

UNCHANGED = "unchanged"

Seat = tuple[str, str | None]
"""A container's name and the upstream it is about; `None`: about all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    One apply that did something, or failed.

    Attributes:
        at: When it ended, seconds since the epoch by our own clock.
        outcome: `verified`, or the log event of the failure.
        digest: Of the file that was brought into force; empty where that failed.
        error: Why it failed, in words; `None` if it did not.
        live_s: Seconds from the beginning of the apply to the new workers; so is *verified_s*, to the old ones' end.
        heard_s: Seconds from the first event that it is about until it was verified; `None`: no event told.
        difference: Of the file, the first lines of it.
        times: How often it failed this way since one succeeded.
    """

    at: float
    outcome: str
    digest: str = ""
    error: str | None = None
    live_s: float = 0.0
    verified_s: float = 0.0
    heard_s: float | None = None
    difference: str = ""
    times: int = 1


@dataclass(slots=True, kw_only=True)
class Distribution:
    """Durations in seconds, counted by `BUCKETS_S`, each bucket without those below it; the last has what is longer."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    def copy(self) -> "Distribution":
        """Give one that no longer changes."""
        return Distribution(counts=list(self.counts), total_s=self.total_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedPlan:
    """
    How far the loop has come.

    Attributes:
        plan: What was decided last; `None` before every engine was read.
        in_force: What was verified last; `None` before the first time.
        degraded: What of it could not be written as it should be.
        confirmed: Whether that still stands: the same nginx runs, and nobody changed the file.
        applying: Whether something is being brought into force just now.
        error: Why the latest apply failed, in words; `None` if it did not.
        serves_old: Whether nginx serves on with what is *in_force* in spite of the error.
        behind_since: Loop time since which what was decided is not in force; `None`: it is.
        turned_at: Loop time at which the loop began its latest pass.
        digest: Of what is in force.
        applied_at: When that was verified, seconds since the epoch by our own clock; `None` before the first time.
    """

    plan: Plan | None
    in_force: tuple[Upstream, ...] | None
    degraded: tuple[Degraded, ...] = ()
    confirmed: bool = False
    applying: bool = False
    error: str | None = None
    serves_old: bool = True
    behind_since: float | None = None
    turned_at: float = 0.0
    digest: str = ""
    applied_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryCopy:
    """A copy of the journal at one time; see there."""

    changes: tuple[Change, ...]
    passes: Mapping[str, int]
    durations: Distribution
    heard: Distribution
    since: Mapping[Seat, float]


class History:
    """
    The memory of one loop.

    Attributes:
        changes: The latest, oldest first.
        passes: Applies by their outcome.
        durations: How long they took.
        heard: From the first event that an apply was about until it was verified.
        since: Since when each container is routed or not as it is now, seconds since the epoch.
    """

    def __init__(self) -> None:
        self.changes: deque[Change] = deque(maxlen=KEPT_CHANGES)
        self.passes: Counter[str] = Counter()
        self.durations = Distribution()
        self.heard = Distribution()
        self.since: dict[Seat, float] = {}
        self._was: dict[Seat, str] = {}

    def applied(self, applied: Applied, *, at: float, took_s: float, heard_s: float | None) -> None:
        """Note an apply that was verified, or found nothing to do; see `Change` for *at* and *heard_s*."""
        outcome = VERIFIED if applied.reloaded else UNCHANGED
        self._count(outcome, took_s=took_s)
        if not applied.reloaded:
            return
        if heard_s is not None:
            self.heard.add(heard_s)
        lines = applied.difference.splitlines(keepends=True)
        cut = [f"... {len(lines) - KEPT_LINES} more lines\n"] if len(lines) > KEPT_LINES else []
        self.changes.append(
            Change(
                at=at,
                outcome=outcome,
                digest=applied.digest,
                live_s=applied.live_s,
                verified_s=applied.verified_s,
                heard_s=heard_s,
                difference="".join(lines[:KEPT_LINES] + cut),
            )
        )

    def failed(self, outcome: str, *, error: str, at: float, took_s: float) -> None:
        """Note an apply that failed; one that fails as an earlier one did is no further change, until one succeeds."""
        self._count(outcome, took_s=took_s)
        for known in itertools.takewhile(lambda change: change.error is not None, reversed(self.changes)):
            if (known.outcome, known.error) == (outcome, error):
                self.changes.remove(known)
                self.changes.append(replace(known, at=at, times=known.times + 1))
                return
        self.changes.append(Change(at=at, outcome=outcome, error=error))

    def decided(
        self, plan: Plan, *, degraded: Iterable[Degraded] = (), runs: Iterable[Upstream] | None = None, at: float
    ) -> None:
        """
        Note how each container stands, in the codes that `explain` has for it, for `since`.

        Args:
            plan: What was decided.
            degraded: What of it could not be written as it should be.
            runs: What nginx runs; `None`: all of that.
            at: Seconds since the epoch.
        """
        running = plan.upstreams if runs is None else runs
        lines = {(each.name, server.address, server.port) for each in running for server in each.servers}
        refused = {each.upstream for each in degraded if each.level is not Level.PLAIN}
        now: dict[Seat, str] = {(skip.container, skip.upstream): str(skip.reason) for skip in plan.skipped}
        for upstream in plan.upstreams:
            state = str(plan.makeshifts.get(upstream.name, ServerState.UP))
            for server in upstream.servers:
                is_live = (upstream.name, server.address, server.port) in lines
                code = state if is_live else str(Reason.NOT_IN_FORCE)
                if upstream.name in refused:
                    code = str(Reason.UPSTREAM_REFUSED)
                now[(server.container, upstream.name)] = code
        if now == self._was:
            return
        was, since = self._was, self.since
        self.since = {seat: since[seat] if was.get(seat) == what else at for seat, what in now.items()}
        self._was = now

    def copy(self) -> HistoryCopy:
        """Give all of it as it is now."""
        return HistoryCopy(
            changes=tuple(self.changes),
            passes=dict(self.passes),
            durations=self.durations.copy(),
            heard=self.heard.copy(),
            since=self.since,
        )

    def _count(self, outcome: str, *, took_s: float) -> None:
        self.passes[outcome] += 1
        self.durations.add(took_s)

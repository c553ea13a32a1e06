"""
What the daemon remembers of its own work: for the status, the metrics and `explain`, never to decide anything.

All of it is bounded. No clock is read here: times come in.
"""

import itertools
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from lbwatch.core.model import Applied, Degraded, Plan, Route, Upstream
from lbwatch.core.parts import Parts

KEPT_CHANGES = 50
KEPT_LINES = 200  # of the difference of each change

BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of the histograms: new workers are there some 15 ms after an event, the old ones retired after some 120."""

VERIFIED = "verified"
"""The outcome of an apply that reloaded nginx and was verified; those that failed have the name of their log event."""

PUSHED = "pushed"
"""The outcome of one that every worker took without a reload."""

UNCHANGED = "unchanged"


_Key = tuple[str | None, str | None]  # of a route of one container: the upstream, and the site or port that it is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    One apply that did something, or failed.

    Attributes:
        at: When it ended, seconds since the epoch by our own clock.
        outcome: `verified` or `pushed`, or the log event of the failure.
        digest: Of the file that was brought into force; empty where that failed.
        error: Why it failed, in words; `None` if it did not.
        live_s: Seconds from the beginning of the apply to the new workers; so is *verified_s*, to the old ones' end. Of
            one that was pushed: until every worker had it; no worker ends.
        heard_s: Seconds from the first event that it is about until it was verified; `None`: no event was the cause.
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
        """Return one that no longer changes."""
        return Distribution(counts=list(self.counts), total_s=self.total_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedPlan:
    """
    What was planned last, and how much of it is in force.

    Attributes:
        plan: `None` before every engine was read.
        in_force: The upstreams that were verified last; `None` before the first time.
        parts: Those, and all else that was.
        degraded: Which of them could not be written as they should be.
        confirmed: Whether that still stands: the same nginx runs, and the file was not changed.
        applying: Whether something is being brought into force just now.
        step: What the load balancer does for that, in words.
        error: Why the latest apply failed, in words; `None` if it did not.
        serves_old: Whether nginx serves on with what is *in_force* in spite of the error.
        behind_since: Loop time since which the plan is not in force; `None`: it is.
        turned_at: Loop time at which the loop began its latest pass.
        digest: Of what is in force.
        applied_at: When that was verified, seconds since the epoch by our own clock; `None` before the first time.
        unstartable: See `Applied`.
    """

    plan: Plan | None = None
    in_force: tuple[Upstream, ...] | None = None
    parts: Parts | None = None
    degraded: tuple[Degraded, ...] = ()
    confirmed: bool = False
    applying: bool = False
    step: str = ""
    error: str | None = None
    serves_old: bool = True
    behind_since: float | None = None
    turned_at: float = 0.0
    digest: str = ""
    applied_at: float | None = None
    unstartable: str | None = None


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
        self.since: dict[tuple[str, str | None, str | None], float] = {}  # never changed, only replaced
        self._codes: dict[str, dict[_Key, str]] = {}  # how each route stood last, by container

    def applied(self, applied: Applied, *, at: float, took_s: float, heard_s: float | None) -> None:
        """
        Note an apply that was verified or pushed, or found nothing to do.

        Args:
            applied: What came of it.
            at: When it ended, seconds since the epoch.
            took_s: Seconds that it took, verification included.
            heard_s: See `Change`.
        """
        outcome = VERIFIED if applied.reloaded else PUSHED if applied.pushed else UNCHANGED
        self._count(outcome, took_s=took_s)
        if outcome == UNCHANGED:
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
        """
        Note an apply that failed; one that fails as an earlier one did is no further change, until one succeeds.

        Args:
            outcome: The log event of the failure.
            error: Why, in words.
            at: When it ended, seconds since the epoch.
            took_s: Seconds that it took.
        """
        self._count(outcome, took_s=took_s)
        # Failures may take turns (nginx down, the old file's turn, the new one's): each is one entry that counts up, or
        # an hour of them would push out every change that went well.
        for known in itertools.takewhile(lambda change: change.error is not None, reversed(self.changes)):
            if (known.outcome, known.error) == (outcome, error):
                self.changes.remove(known)
                self.changes.append(replace(known, at=at, times=known.times + 1))
                return
        self.changes.append(Change(at=at, outcome=outcome, error=error))

    def noted(self, routes: Iterable[Route], *, at: float, of: Collection[str] | None = None) -> None:
        """
        Note how each route stands, in the codes that `explain` has for it, for `since`.

        Args:
            routes: As they are, not as they were planned.
            at: Seconds since the epoch.
            of: The names of the containers that these are all routes of; `None`: there are no other containers.
        """
        now: dict[str, dict[_Key, str]] = defaultdict(dict)
        for route in routes:
            now[route.container][route.upstream, route.site] = str(route.reason or route.state)
        names = self._codes.keys() | now.keys() if of is None else of
        if changed := [name for name in names if self._codes.get(name) != now.get(name)]:
            # A new mapping each time: copies of this history share the old one, which other threads may be reading.
            since = dict(self.since)
            for name in changed:
                self._note(name, now.get(name, {}), at=at, since=since)
            self.since = since

    def _note(
        self, name: str, codes: dict[_Key, str], *, at: float, since: dict[tuple[str, str | None, str | None], float]
    ) -> None:
        """Bring *since* up to date for the routes of one container."""
        before = self._codes.pop(name, {})
        for key in before.keys() - codes.keys():
            del since[name, *key]
        for key, code in codes.items():
            if before.get(key) != code:
                since[name, *key] = at
        if codes:
            self._codes[name] = codes

    def show_otherwise(self, names: Mapping[str, str]) -> None:
        """Keep since when containers stand as they do that have another name now; *names*: the new by the former."""
        known = {now: self._codes.pop(was) for was, now in names.items() if was in self._codes}
        if known:
            self._codes |= known
            others = {key: at for key, at in self.since.items() if key[0] not in names}
            self.since = others | {(names[key[0]], *key[1:]): at for key, at in self.since.items() if key[0] in names}

    def copy(self) -> "History":
        """Return all of it as it is now."""
        copied = History()
        copied.changes, copied.passes = self.changes.copy(), self.passes.copy()
        copied.durations, copied.heard, copied.since = self.durations.copy(), self.heard.copy(), self.since
        return copied

    def _count(self, outcome: str, *, took_s: float) -> None:
        self.passes[outcome] += 1
        self.durations.add(took_s)

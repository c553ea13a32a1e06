"""
What of a Swarm cannot be read, and since when. Pure: times are seconds of the loop's clock.

A proxy may refuse one list and pass the others: each kind waits for itself, and one that succeeds ends no other's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lbwatch.core.repeats import Repeats
from lbwatch.core.schedule import Backoff
from lbwatch.engines.swarm.agenda import Kind

OUTAGE_TRIES = 3
"""So often, for half a second, no manager may answer before that is news: at a change of leaders none does."""

_ANSWERED_BY = {Kind.ALL: frozenset(Kind), Kind.WANTED: frozenset((Kind.WANTED, Kind.TASKS))}
"""What is read, too, by that which was read: the tasks of a service may never be asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How long that which failed waits, in seconds, and whether it is worth a line of the log."""

    wait_s: float
    is_news: bool


class Failures:
    """
    All that fails now.

    Args:
        backoff: Makes what counts the failures of one kind.

    Attributes:
        since: When the latest outage began or ended.
    """

    def __init__(self, *, backoff: Callable[[], Backoff]) -> None:
        self.since = 0.0
        self._new_backoff = backoff
        self._backoffs: dict[Kind, Backoff] = {}
        self._errors: dict[Kind, str] = {}  # the latest one last
        self._repeats = Repeats()

    @property
    def error(self) -> str | None:
        """Return why the latest one failed; `None`: nothing fails."""
        return next(reversed(self._errors.values()), None)

    def fail(self, kind: Kind, error: str, *, now: float) -> Failure:
        """Note that something could not be read."""
        if not self._errors:
            self.since = now
        self._errors.pop(kind, None)
        self._errors[kind] = error
        backoff = self._backoffs.setdefault(kind, self._new_backoff())
        wait_s = backoff.next_wait()
        return Failure(wait_s=wait_s, is_news=backoff.attempt >= OUTAGE_TRIES and self._repeats.fails(error, now=now))

    def end(self, kind: Kind, *, now: float) -> float | None:
        """Note that something was read; return for how many seconds it failed, if that was news and all is well."""
        failed = bool(self._errors)
        for each in _ANSWERED_BY.get(kind, {kind}):
            self._errors.pop(each, None)
            self._backoffs.pop(each, None)
        if self._errors or not failed:
            return None
        self.since = now
        return self._repeats.end(now=now)

"""
Which of a failure's repetitions are worth a line of the log. Pure: times are seconds of the loop's clock.

What is away is asked for every other second, and says the same each time: a line for each would bury all others, and
one alone is out of sight after an hour.
"""

FIRST_S = 5.0
"""From the first line to the second; each further one is twice as far off as the one before."""

LIMIT_S = 60.0
"""At most so far."""

_KEPT_ERRORS = 8  # whose words are known; errors with a number in them may be new without end


class Repeats:
    """
    One thing that fails again and again, until it does not.

    Args:
        settles_s: For so many seconds other words are no news: what goes away is refused in several ways at first.
    """

    def __init__(self, *, settles_s: float = 0.0) -> None:
        self._settles_s = settles_s
        self._began: float | None = None  # when it failed first; `None`: it does not
        self._known: set[str] = set()  # errors that had a line
        self._step_s = 0.0  # from the latest regular line to the next
        self._next_at = 0.0
        self._may_differ = True  # whether other words get a line before the next regular one

    def fails(self, error: str, *, now: float) -> bool:
        """Return whether a failure is worth a line: the first, one in other words, and now and then any."""
        if self._began is None:
            self._began, self._step_s = now, FIRST_S / 2
        elif now < self._next_at:
            return self._differs(error, now=now)
        self._step_s = min(LIMIT_S, 2 * self._step_s)
        self._next_at, self._may_differ = now + self._step_s, True
        self._remember(error)
        return True

    def lasts_s(self, *, now: float) -> float:
        """Return for how many seconds it has failed."""
        return 0.0 if self._began is None else now - self._began

    def end(self, *, now: float) -> float | None:
        """Return for how many seconds it failed, now that it does not, and forget that; `None`: it did not."""
        if self._began is None:
            return None
        lasted_s, self._began = now - self._began, None
        self._known.clear()
        return lasted_s

    def _differs(self, error: str, *, now: float) -> bool:
        """Return whether an error in other words gets a line of its own: one between two regular ones."""
        if error in self._known or not self._may_differ or self.lasts_s(now=now) < self._settles_s:
            return False
        self._may_differ = False
        self._remember(error)
        return True

    def _remember(self, error: str) -> None:
        if len(self._known) >= _KEPT_ERRORS:
            self._known.clear()
        self._known.add(error)

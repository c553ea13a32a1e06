"""How looks at containers went lately: which failed, and when each is tried again. Pure."""

from collections.abc import Callable, Container

from lbwatch.core.schedule import Backoff

MAX_FAILING = 10_000
"""So many containers' failures are counted at a time: an engine may name any number that it cannot show."""


class FailedLooks:
    """
    How looks at containers went lately.

    Args:
        backoff: Makes what counts the failures of one container.

    Attributes:
        answered: Whether any look succeeded since the latest list.
    """

    def __init__(self, *, backoff: Callable[[], Backoff]) -> None:
        self.answered = False
        self._error: str | None = None  # of the latest look
        self._new_backoff = backoff
        self._backoffs: dict[str, Backoff] = {}  # of looks that failed, by id, until one succeeds

    @property
    def error(self) -> str | None:
        """Return why no look succeeds, in words; `None` while any does."""
        return None if self.answered else self._error

    @property
    def any(self) -> bool:
        """Whether looks at any container failed since one at it succeeded."""
        return bool(self._backoffs)

    def retain(self, ids: Container[str]) -> None:
        """Forget the failures of all other containers: nobody looks at them any more."""
        self._backoffs = {id: backoff for id, backoff in self._backoffs.items() if id in ids}

    def succeed(self, id: str) -> None:
        """Forget the failures of a container."""
        self.answered, self._error = True, None
        self._backoffs.pop(id, None)

    def fail(self, error: str) -> None:
        """Keep why a look failed, in words."""
        self._error = error

    def backoff(self, id: str) -> Backoff:
        """Return what counts the failures of a container since a look at it succeeded."""
        if id not in self._backoffs and len(self._backoffs) >= MAX_FAILING:
            del self._backoffs[next(iter(self._backoffs))]
        return self._backoffs.setdefault(id, self._new_backoff())

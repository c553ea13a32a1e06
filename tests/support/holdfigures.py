"""The arithmetic of `make bench-hold`: how long requests waited beside the time without a server, and which POSTs got lost."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deployload import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """When nobody was ready, by the wall clock: from the stop signal's event to that which says `healthy`."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def over_gaps(done: Sequence[Request], *, gaps: Sequence[Gap]) -> list[float]:
    """
    Return for each gap how much longer than it the slowest request took, in seconds.

    Args:
        done: All requests, also those that failed: they waited, too.
        gaps: In the order in which they were; a request is of the one in which it ended, or of the latest before.
    """
    begins = [gap.began for gap in gaps] + [float("inf")]
    slowest = [
        max((each.took_s for each in done if begin <= each.began + each.took_s < next_begin), default=0.0)
        for begin, next_begin in pairwise(begins)
    ]
    return [took_s - gap.seconds for took_s, gap in zip(slowest, gaps, strict=True)]


def first_after(done: Iterable[Request], *, gaps: Sequence[Gap]) -> list[float]:
    """Return for each gap how many seconds after its end the first good answer came; infinite: none did."""
    ends = sorted(each.began + each.took_s for each in done if not each.failed)
    return [next((end - gap.ended for end in ends if end >= gap.ended), float("inf")) for gap in gaps]


DYING_S = 0.02
"""So long a program may take to die: its socket takes connections until then."""


def inside(done: Iterable[Request], *, deaths: Sequence[float]) -> list[Request]:
    """
    Return the requests that failed and may have been inside a program when it died with all that it had.

    Args:
        done: All requests.
        deaths: By the wall clock, each as noted by the program just before.
    """
    failed = [each for each in done if each.failed]
    return [each for each in failed if any(each.began - DYING_S <= at <= each.began + each.took_s for at in deaths)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """
    What became of the POSTs.

    Attributes:
        lost: Paths of those that were answered with 200, and that no program has noted.
        doubled: Paths of those that were noted more than once.
    """

    lost: tuple[str, ...]
    doubled: tuple[str, ...]


def posted(done: Iterable[Request], *, noted: Iterable[str]) -> Posted:
    """Compare the POSTs with the paths that the programs have noted."""
    counts = Counter(noted)
    fine = [each.path for each in done if each.method == "POST" and not each.failed]
    return Posted(
        lost=tuple(path for path in fine if not counts[path]),
        doubled=tuple(path for path, count in counts.items() if count > 1),
    )

"""
Who claims what only one may have: an address, or the default name of an upstream.

Pure bookkeeping: a claim that comes or goes costs the same however many others there are, and says who is judged anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Rank = tuple[int, int, str]
"""The order of an engine, a time by that one's clock, which is compared with no other's, and an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """
    What one container claims.

    Attributes:
        claimant: For whom: containers of one claimant share what they claim.
        rank: Of those who claim the same the lowest one has it.
        words: Who the claimant is, for the losers.
    """

    claimant: str
    rank: Rank
    words: str


@dataclass(slots=True)
class _Contest:
    """All claims to one thing, by the container's id; *first* is the one of the lowest rank."""

    claims: dict[str, Claim] = field(default_factory=dict)
    first: Claim | None = None

    def put(self, id: str, claim: Claim | None) -> bool:
        """Take what a container claims now, `None`: nothing; return whether the others are to be judged anew."""
        before = self.first
        replaced = self.claims.pop(id, None)
        if claim is not None:
            self.claims[id] = claim
        if replaced is not None and replaced is before:
            self.first = min(self.claims.values(), key=_rank, default=None)
        elif claim is not None and (before is None or claim.rank < before.rank):
            self.first = claim
        return _verdict(before) != _verdict(self.first)


def _rank(claim: Claim) -> Rank:
    return claim.rank


def _verdict(claim: Claim | None) -> tuple[str, str] | None:
    return None if claim is None else (claim.claimant, claim.words)


class Claims:
    """The claims of all containers to things of one kind."""

    def __init__(self) -> None:
        self._contests: dict[str, _Contest] = {}  # by what is claimed
        self._of: dict[str, Mapping[str, Claim]] = {}  # what each container claims, by its id

    def put(self, id: str, claims: Mapping[str, Claim]) -> set[str]:
        """
        Take all that a container claims now, and return the ids of all that must be judged anew for it.

        Args:
            id: Of the container.
            claims: By what is claimed.
        """
        before = self._of.pop(id, {})
        if claims:
            self._of[id] = claims
        judged_anew: set[str] = set()
        for thing in before.keys() | claims.keys():
            if before.get(thing) == claims.get(thing):
                continue
            contest = self._contests.setdefault(thing, _Contest())
            if contest.put(id, claims.get(thing)):
                judged_anew |= contest.claims.keys()
            if not contest.claims:
                del self._contests[thing]
        return judged_anew

    def first(self, thing: str) -> Claim | None:
        """Return the claim of who has it; `None`: nobody claims it."""
        contest = self._contests.get(thing)
        return None if contest is None else contest.first

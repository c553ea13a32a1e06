"""
What candidates claim that only one may have, a default name or an address, and what those read who do not get it.

Pure; who has it is bookkeeping (`claims`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lbwatch.core.claims import Claim
from lbwatch.core.model import Container, Reason
from lbwatch.core.placement import Candidate

_FIRST_ENGINE = "whose engine comes before its own in docker_host"


def claimed_names(candidates: Iterable[Candidate]) -> Mapping[str, Claim]:
    """Return by default name of an upstream what the candidates of one container claim: the oldest has it."""
    claims = {}
    for each in candidates:
        if each.application is not None and each.upstream is not None:
            rank, application = each.container.age, each.application
            claims[each.upstream] = Claim(claimant=application, rank=rank, words=application)
    return claims


def claimed_addresses(candidates: Iterable[Candidate]) -> Mapping[str, Claim]:
    """
    Return what of the addresses of its servers the candidates of one container claim: the newest has it.

    What is left out claims no address, so that one that took it over meanwhile keeps it.
    """
    claims = {}
    for each in candidates:
        owner = each.owner
        if each.server is not None and owner is not None and each.claim:
            claims[each.claim] = Claim(claimant=owner.id, rank=_newest_first(owner), words=owner.name)
    return claims


def name_taken(candidate: Candidate, first: Claim | None, *, prefix: str) -> Candidate:
    """
    Return a candidate, without a server where its upstream's default name is another application's.

    Args:
        candidate: Any one.
        first: Who has that name; `None`: nobody claims it.
        prefix: What labels begin with, without the dot.
    """
    if candidate.application is None or first is None or first.claimant == candidate.application:
        return candidate
    why = "which is older" if _is_one_clock(first, candidate.container) else _FIRST_ENGINE
    own = f"the label {prefix}.upstream gives it a name of its own, or lets it join that one on purpose"
    detail = f"its default upstream {candidate.upstream} is the one of {first.words}, {why}: {own}"
    return replace(candidate, server=None, reason=Reason.NAME_TAKEN, detail=detail)


def address_taken(candidate: Candidate, first: Claim | None) -> Candidate:
    """
    Return a candidate, without a server where another container has its address.

    Args:
        candidate: Any one.
        first: Who has that; `None`: nobody claims it.
    """
    owner = candidate.owner
    if candidate.server is None or owner is None or first is None or first.claimant == owner.id:
        return candidate
    why = "which was started later" if _is_one_clock(first, owner) else _FIRST_ENGINE
    detail = f"{first.words}, {why}, has its address too"
    return replace(candidate, server=None, reason=Reason.ADDRESS_CONFLICT, detail=detail)


def _newest_first(owner: Container) -> tuple[int, int, str]:
    """Return what puts the newest of an engine first: it gives a freed address out again, the older has a leftover."""
    # A node's clock says when a task started, and one clock when all of them were made.
    return owner.engine.order, -(owner.started_ns if owner.task is None else owner.created_ns), owner.id


def _is_one_clock(first: Claim, loser: Container) -> bool:
    """Return whether a claim was won by the time of one engine's clock, and not by the order of two engines."""
    return first.rank[0] == loser.engine.order

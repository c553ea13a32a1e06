"""What only one may have, and what the others read."""

from dataclasses import replace

from severalengines import OVERLAY, A, B, on_a, on_b, task

from lbwatch.core.claims import Claim
from lbwatch.core.model import Container, Reason, Server
from lbwatch.core.placement import Candidate
from lbwatch.core.rivals import address_taken, claimed_addresses, claimed_names, name_taken

KEY = "overlay/o 10.0.1.2"


def candidate(web: Container, *, claim: str = KEY, application: str | None = None) -> Candidate:
    server = Server(address="10.0.1.2", port=80, container=web.name)
    return Candidate(container=web, owner=web, upstream="web", application=application, server=server, claim=claim)


def test_of_one_engine_the_newest_start_has_an_address() -> None:
    """The engine gives a freed address out again, so that the older claim is a leftover."""
    old, new = on_a(OVERLAY, started_ns=1), on_a(OVERLAY, started_ns=2, id="2" * 64)
    ranks = [claimed_addresses([candidate(each)])[KEY].rank for each in (old, new)]
    assert ranks == sorted(ranks, reverse=True)


def test_of_two_engines_the_first_has_it_whatever_their_clocks_say() -> None:
    """A clock that is wrong by a year must not decide."""
    first, later = on_a(OVERLAY, started_ns=1), on_b(OVERLAY, started_ns=10**18)
    ranks = [claimed_addresses([candidate(each)])[KEY].rank for each in (first, later)]
    assert ranks == sorted(ranks)


def test_of_two_tasks_the_one_that_was_made_last_has_it() -> None:
    """A node's clock says when a task started."""
    old, new = task(OVERLAY, created_ns=1, started_ns=9), task(OVERLAY, created_ns=2, started_ns=3)
    ranks = [claimed_addresses([candidate(each)])[KEY].rank for each in (old, new)]
    assert ranks == sorted(ranks, reverse=True)


def test_what_shares_its_place_by_nature_claims_nothing() -> None:
    """The host's network, a service's address, one that a label says."""
    assert not claimed_addresses([candidate(on_a(OVERLAY), claim="")])
    assert not claimed_addresses([replace(candidate(on_a(OVERLAY)), server=None)])
    assert not claimed_names([candidate(on_a(OVERLAY))])


def test_a_loser_reads_who_has_it_and_why() -> None:
    """That of two engines one is older nobody knows."""
    taken = Claim(claimant="other", rank=(A.order, 1, "other"), words="other")
    near = address_taken(candidate(on_a(OVERLAY)), taken)
    far = address_taken(candidate(on_b(OVERLAY)), taken)
    assert (near.server, near.reason, near.detail) == (
        None,
        Reason.ADDRESS_CONFLICT,
        "other, which was started later, has its address too",
    )
    assert far.detail == "other, whose engine comes before its own in docker_host, has its address too"
    mine = candidate(replace(on_b(OVERLAY), engine=B), application="container web")
    lost = name_taken(mine, taken, prefix="lbwatch")
    assert (lost.server, lost.reason) == (None, Reason.NAME_TAKEN)
    assert "other, whose engine comes before its own in docker_host: the label lbwatch.upstream" in (lost.detail or "")


def test_the_winner_and_whoever_nobody_contests_stays_as_it_is() -> None:
    """The very same object: nobody has to compare it."""
    web = candidate(on_a(OVERLAY), application="container web")
    own = claimed_names([web])["web"], claimed_addresses([web])[KEY]
    assert name_taken(web, own[0], prefix="lbwatch") is web
    assert address_taken(web, own[1]) is web
    assert name_taken(web, None, prefix="lbwatch") is address_taken(web, None) is web

"""Who has what only one may have, and who must be judged anew when that changes."""

from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.claims import Claim, Claims


def claim(claimant: str, rank: int, *, id: str = "") -> Claim:
    return Claim(claimant=claimant, rank=(0, rank, id), words=claimant.upper())


def test_the_lowest_rank_has_it() -> None:
    """An older application, or a newer start, as the rank says."""
    claims = Claims()
    claims.put("1", {"web": claim("late", 2)})
    claims.put("2", {"web": claim("early", 1)})
    first = claims.first("web")
    assert first is not None
    assert first.claimant == "early"
    claims.put("2", {})
    assert (first := claims.first("web")) is not None
    assert first.claimant == "late"
    assert claims.first("other") is None


def test_all_are_judged_anew_when_another_one_has_it() -> None:
    """The loser and the winner change places."""
    claims = Claims()
    claims.put("1", {"web": claim("late", 2)})
    assert claims.put("2", {"web": claim("early", 1)}) == {"1", "2"}
    assert claims.put("2", {}) == {"1"}


def test_nobody_is_judged_anew_for_one_more_of_the_same() -> None:
    """Ten thousand replicas of one service come one by one: each must cost the same."""
    claims = Claims()
    claims.put("1", {"web": claim("service", 2)})
    assert claims.put("2", {"web": claim("service", 1)}) == set()
    assert claims.put("3", {"web": claim("other", 3)}) == set()


_puts = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.dictionaries(st.sampled_from("xy"), st.tuples(st.sampled_from("pq"), st.integers(0, 3)), max_size=2),
    ),
    max_size=20,
)


@given(_puts)
def test_whatever_came_and_went_the_first_is_the_one_of_the_lowest_rank(
    puts: list[tuple[str, dict[str, tuple[str, int]]]],
) -> None:
    """It is kept up, not searched for: it must never be an old one."""
    claims, now = Claims(), dict[str, dict[str, Claim]]()
    for id, wanted in puts:
        now[id] = {thing: claim(claimant, rank, id=id) for thing, (claimant, rank) in wanted.items()}
        claims.put(id, now[id])
        for thing in "xy":
            there = [each[thing] for each in now.values() if thing in each]
            assert claims.first(thing) == min(there, key=lambda each: each.rank, default=None)
    for id in now:
        claims.put(id, {})
    assert not claims._contests

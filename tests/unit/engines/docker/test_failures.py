"""How failed looks are counted, and that there may be any number of them."""

from lbwatch.core.schedule import Backoff
from lbwatch.engines.docker import failures
from lbwatch.engines.docker.failures import FailedLooks


def failed() -> FailedLooks:
    return FailedLooks(backoff=lambda: Backoff(first=0.1, limit=2.0, random=lambda: 0.5))


def test_why_no_look_succeeds_is_told_until_one_does() -> None:
    """One broken container is no word on the engine."""
    looks = failed()
    looks.fail("500")
    assert looks.error == "500"
    looks.succeed("a")
    assert looks.error is None
    looks.fail("500")
    assert looks.error is None


def test_each_container_has_its_own_count_until_a_look_succeeds() -> None:
    """Another one's success says nothing of it."""
    looks = failed()
    looks.backoff("a").next_wait()
    looks.succeed("b")
    assert looks.backoff("a").attempt == 1
    looks.succeed("a")
    assert looks.backoff("a").attempt == 0


def test_only_so_many_counts_are_kept(monkeypatch) -> None:
    """An engine may name any number of containers that it cannot show."""
    monkeypatch.setattr(failures, "MAX_FAILING", 3)
    looks = failed()
    for id in "abcde":
        looks.backoff(id).next_wait()
    assert list(looks._backoffs) == ["c", "d", "e"]
    assert looks.backoff("c").attempt == 1


def test_what_nobody_looks_at_any_more_is_no_failure() -> None:
    """A container that is gone cannot be looked at in the end."""
    looks = failed()
    assert not looks.any
    looks.backoff("a").next_wait()
    looks.backoff("b").next_wait()
    looks.retain({"b"})
    assert looks.any
    assert looks.backoff("b").attempt == 1
    looks.succeed("b")
    assert not looks.any

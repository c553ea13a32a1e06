"""What of a Swarm cannot be read: each kind by itself, and one line of the log for all."""

from lbwatch.core.schedule import Backoff
from lbwatch.engines.swarm.agenda import Kind
from lbwatch.engines.swarm.failures import OUTAGE_TRIES, Failures


def failures() -> Failures:
    return Failures(backoff=lambda: Backoff(first=1.0, limit=8.0, random=lambda: 1.0))


def test_what_fails_waits_longer_each_time_whatever_else_is_read() -> None:
    """Else a list that is refused for good would be asked for several times a second, and told of each time."""
    found = failures()
    waits = []
    for number in range(4):
        waits.append(found.fail(Kind.NODES, "refused", now=float(number)).wait_s)
        assert found.end(Kind.WANTED, now=number + 0.5) is None
        assert found.error == "refused"
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_a_short_outage_is_no_news_and_a_long_one_is_told_once() -> None:
    """At a change of leaders no manager answers for a moment."""
    found = failures()
    news = [found.fail(Kind.WANTED, "no leader", now=0.1 * number).is_news for number in range(OUTAGE_TRIES + 2)]
    assert news == [False] * (OUTAGE_TRIES - 1) + [True, False, False]
    assert found.since == 0.0
    outage_s = found.end(Kind.WANTED, now=5.0)
    assert outage_s is not None
    assert (found.error, found.since) == (None, 5.0)
    assert found.end(Kind.WANTED, now=6.0) is None
    assert found.since == 5.0


def test_a_full_look_ends_all_and_a_list_of_tasks_that_of_a_few() -> None:
    """What is not asked for again by itself would else be an error for ever."""
    found = failures()
    for kind in Kind:
        found.fail(kind, str(kind), now=0.0)
    assert found.error == "wanted"
    found.end(Kind.WANTED, now=1.0)
    assert found.error == "nodes"
    found.fail(Kind.TASKS, "again", now=2.0)
    found.end(Kind.ALL, now=3.0)
    assert found.error is None

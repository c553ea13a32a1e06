"""When to reload and when to try again: plain arithmetic, so every law is checked for any numbers."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.model import Server, Sticky, Upstream
from lbwatch.core.schedule import REMOVAL_INTERVAL_S, Backoff, adds_servers, reload_at, removes_servers

# Quarters and eighths of seconds: exact in binary, so that a law need not allow for rounding.
_seconds = st.integers(0, 800_000).map(lambda eighths: eighths / 8)
_intervals = st.integers(1, 800).map(lambda eighths: eighths / 8)


def planned_at(now: float, *, last: float | None, removes: bool, interval: float, added: float | None = None) -> float:
    """When it goes out; the latest reload added something unless it is said when that was."""
    return reload_at(now, last=last, last_added=last if added is None else added, removes=removes, interval=interval)


@given(_seconds, _seconds, st.booleans(), _intervals)
def test_a_reload_is_never_planned_for_the_past(now: float, last: float, removes: bool, interval: float) -> None:
    """A time that has passed would make the loop spin."""
    assert planned_at(now, last=last, removes=removes, interval=interval) >= now
    assert planned_at(now, last=None, removes=removes, interval=interval) == now


@given(_seconds, _seconds, st.booleans(), _intervals)
def test_the_first_change_after_a_quiet_time_goes_out_at_once(
    last: float, more: float, removes: bool, interval: float
) -> None:
    """Most changes are single ones; nobody should wait for a burst that is not there."""
    now = last + interval + more
    assert planned_at(now, last=last, removes=removes, interval=interval) == now


@given(_seconds, _seconds, _intervals)
def test_additions_keep_the_interval(last: float, since: float, interval: float) -> None:
    """Each reload leaves a set of old workers behind."""
    at = planned_at(last + since, last=last, removes=False, interval=interval)
    assert at == max(last + since, last + interval)


@given(_seconds, _seconds, _intervals)
def test_removals_wait_a_tenth_of_a_second_at_most(last: float, since: float, interval: float) -> None:
    """Each request to a dead server is an error; nginx itself needs 100 ms to retire its old workers."""
    now = last + since
    at = planned_at(now, last=last, removes=True, interval=interval)
    assert at - now <= 0.1 + 1e-9
    assert at >= last + min(0.1, interval) - 1e-9
    assert at <= planned_at(now, last=last, removes=False, interval=interval)


@given(_seconds, _seconds, _seconds, _intervals)
def test_an_addition_waits_for_additions_alone(added: float, removed: float, since: float, interval: float) -> None:
    """What was restarted left at once; it must not be kept out for a second more because of that."""
    last, now = added + removed, added + removed + since
    at = planned_at(now, last=last, added=added, removes=False, interval=interval)
    assert at == max(now, added + interval, last + min(0.1, interval))


def test_the_interval_of_removals_is_the_contracts() -> None:
    """100 ms, as users were told."""
    assert REMOVAL_INTERVAL_S == 0.1


def test_a_server_that_begins_to_drain_goes_at_once_and_makes_no_addition_wait() -> None:
    """To new clients it is gone: a program that was told to stop takes nobody any more."""
    one, two = (Server(address=f"192.0.2.{number}", port=80, container="web") for number in (1, 2))
    drains = replace(two, draining=True)
    both, draining, alone = (
        (Upstream(name="web", servers=servers),) for servers in ((one, two), (one, drains), (one,))
    )
    assert removes_servers(both, draining)
    assert removes_servers(draining, alone)
    assert not removes_servers(draining, both)
    assert not adds_servers(both, draining)
    assert not adds_servers(draining, alone)
    assert adds_servers(draining, both)
    assert adds_servers(alone, draining)
    assert adds_servers(both, (replace(both[0], sticky=Sticky(cookie="sid")),))


@given(st.lists(st.tuples(_intervals, st.booleans()), min_size=1, max_size=40), _intervals)
def test_reloads_of_a_burst_keep_their_distance_and_none_is_late(
    changes: list[tuple[float, bool]], interval: float
) -> None:
    """Played through: whatever comes when, one reload for each interval, and no change waits longer."""
    now, last, planned = 0.0, None, None
    went_out: list[float] = []
    for gap, removes in changes:
        now += gap / 8
        if planned is not None and planned <= now:
            went_out.append(planned)
            last, planned = planned, None
        at = planned_at(now, last=last, removes=removes, interval=interval)
        planned = at if planned is None else min(planned, at)
        assert planned - now <= (0.1 + 1e-9 if removes else interval)
    assert all(later - earlier >= min(0.1, interval) - 1e-9 for earlier, later in pairwise(went_out))
    if not any(removes for _, removes in changes):
        assert all(later - earlier >= interval for earlier, later in pairwise(went_out))


# -- back-off

_unit = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 3000), st.lists(_unit, min_size=1, max_size=4))
def test_waits_double_up_to_the_limit_and_are_jittered_by_half(attempts: int, numbers: list[float]) -> None:
    """0.1 s to 2 s, as the stream's reconnects are documented; jitter spreads many clients of one engine."""
    random = iter(numbers * 3000)
    backoff = Backoff(first=0.1, limit=2.0, random=lambda: next(random))
    for attempt in range(min(attempts, 2900)):
        step = min(2.0, 0.1 * 2 ** min(attempt, 30))
        assert step / 2 <= backoff.next_wait() <= step


@given(st.integers(0, 20))
def test_a_success_starts_over(failures: int) -> None:
    """An engine that was away for an hour and came back must not be met with the longest wait next time."""
    backoff = Backoff(first=0.1, limit=2.0, random=lambda: 0.5)
    first = backoff.next_wait()
    for _ in range(failures):
        backoff.next_wait()
    backoff.reset()
    assert backoff.next_wait() == first


def test_the_random_number_moves_the_wait() -> None:
    """Without that, all clients of an engine that restarts come back in the same instant."""
    numbers = iter([0.0, 0.5, 0.99])
    backoff = Backoff(first=1, limit=1, random=lambda: next(numbers))
    waits = [backoff.next_wait() for _ in range(3)]
    assert waits == sorted(set(waits))


def test_an_engine_that_stays_away_for_weeks_is_no_overflow() -> None:
    """Two to the power of the attempts must not grow without end."""
    backoff = Backoff(first=0.1, limit=2.0, random=lambda: 0.0)
    waits = [backoff.next_wait() for _ in range(20_000)]
    assert waits[-1] == pytest.approx(1.0)


def test_attempts_are_counted_for_the_log() -> None:
    """One log line at each step says which attempt it was."""
    backoff = Backoff(first=0.1, limit=2.0, random=lambda: 0.0)
    backoff.next_wait()
    backoff.next_wait()
    assert backoff.attempt == 2
    backoff.reset()
    assert backoff.attempt == 0

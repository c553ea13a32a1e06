"""When a service is looked at again: the paces, what ends them, and what they cost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.engines.swarm.settling import (
    BRISK_PACE_S,
    BRISK_S,
    HOLD_S,
    LATE_PACE_S,
    LATE_S,
    LEAST_GAP_S,
    LOOK_SHARE,
    Settling,
    Unrest,
    pace_of_all_s,
)

QUIET = Unrest()
OFTEN, SELDOM = 1.0, 10.0


def looks(unrest: Unrest, *, all_pace_s: float = OFTEN, changes_until: float = 0.0, until: float = 30.0) -> list[float]:
    """When a service is looked at that is marked at 0 and that each look finds like this."""
    settling, times = Settling(), list[float]()
    settling.mark("web", now=0.0)
    while (at := settling.due_at(all_pace_s=all_pace_s)) is not None and at < until:
        now = max(at, times[-1] + 0.004 if times else 0.0)
        assert settling.due(now=now, all_pace_s=all_pace_s) == ("web",)
        times.append(now)
        settling.looked("web", began_at=now, changed=now < changes_until, unrest=unrest)
    return times


def gaps(times: list[float]) -> list[float]:
    return [round(later - earlier, 3) for earlier, later in pairwise(times)]


def test_a_mark_holds_for_two_seconds() -> None:
    """A node tells of a death up to half a second before `/tasks` does: one look finds nothing, and it would be lost."""
    times = looks(QUIET)
    assert times[0] == 0.0, "the first one at once"
    assert HOLD_S <= times[-1] < HOLD_S + 2 * BRISK_PACE_S
    assert max(gaps(times)) == BRISK_PACE_S


def test_a_difference_is_followed_briskly_for_five_seconds() -> None:
    """The next one is likely: an update goes on."""
    times = looks(QUIET, changes_until=3.0)
    assert BRISK_S < times[-1] < 3.0 + BRISK_S + BRISK_PACE_S
    assert max(gaps(times)) == BRISK_PACE_S


def test_who_leaves_is_followed_until_it_has_left() -> None:
    """Among those that drain it may be the only one that serves."""
    times = looks(Unrest(leaves=True), until=20.0)
    assert set(gaps(times)[10:]) == {1.0}


def test_a_grace_of_minutes_is_followed_less_often() -> None:
    """Some drain for an hour."""
    assert gaps(looks(Unrest(leaves=True), until=LATE_S + 60.0))[-1] == LATE_PACE_S


def test_an_update_costs_nothing_where_all_is_read_each_second_anyway() -> None:
    """It may wait for ten minutes between two tasks: then it must cost no more than a quiet Swarm."""
    assert looks(Unrest(updating=True), all_pace_s=OFTEN)[-1] < 3.0
    assert set(gaps(looks(Unrest(updating=True), all_pace_s=SELDOM))[10:]) == {1.0}


def test_who_never_comes_is_given_up() -> None:
    """A constraint that no node meets keeps a task pending for weeks."""
    times = looks(Unrest(comes=True), all_pace_s=SELDOM, until=1000.0)
    assert LATE_S <= times[-1] <= LATE_S + 2.0


def test_a_port_of_the_machine_makes_an_update_brisk() -> None:
    """Such a task is told to stop only 1.1 s before its signal."""
    assert set(gaps(looks(Unrest(updating=True, brisk=True), until=100.0))[1:]) == {BRISK_PACE_S}
    assert looks(Unrest(brisk=True))[-1] < 3.0, "and nothing else"


def test_a_mark_while_a_look_is_under_way_is_looked_at_after_it() -> None:
    """What happened since it was asked for may not be in its answer."""
    settling = Settling()
    settling.mark("web", now=0.0)
    settling.mark("web", now=5.0)
    settling.looked("web", began_at=4.9, changed=False, unrest=QUIET)
    assert settling.due_at(all_pace_s=OFTEN) == 4.9 + LEAST_GAP_S


def test_a_flood_of_marks_is_no_flood_of_looks() -> None:
    """A thousand events in ten milliseconds come when a lost quorum is back."""
    settling, count = Settling(), 0
    for millisecond in range(1000):
        now = millisecond / 1000
        settling.mark("web", now=now)
        if settling.due(now=now, all_pace_s=OFTEN):
            count += 1
            settling.looked("web", began_at=now, changed=False, unrest=QUIET)
    assert count <= 1 / LEAST_GAP_S + 1


def test_services_are_looked_at_together() -> None:
    """One request takes many ids."""
    settling = Settling()
    for number in range(5):
        settling.mark(f"s{number}", now=number / 100)
    assert settling.due(now=0.04, all_pace_s=OFTEN) == ("s0", "s1", "s2", "s3", "s4")


def test_who_waits_longest_is_looked_at_first() -> None:
    """Whoever takes only the first few comes to all of them."""
    settling = Settling()
    settling.mark("z", now=0.0)
    settling.mark("a", now=0.05)
    assert settling.due(now=0.0, all_pace_s=OFTEN) == ("z", "a")


def test_a_look_that_takes_long_has_a_pause_after_it() -> None:
    """Two thousand tasks take a manager half a second: it has other things to do, too."""
    settling = Settling()
    settling.mark("web", now=0.0)
    settling.looked("web", began_at=0.0, changed=True, unrest=QUIET)
    settling.spent(0.5, now=0.5)
    assert settling.due_at(all_pace_s=OFTEN) == 0.5 + 0.5 * LOOK_SHARE


def test_who_is_gone_is_forgotten() -> None:
    """Or it would be asked for without end."""
    settling = Settling()
    settling.mark("web", now=0.0)
    settling.forget(["web", "other"])
    assert settling.due_at(all_pace_s=OFTEN) is None
    settling.looked("web", began_at=1.0, changed=True, unrest=Unrest(leaves=True))
    assert settling.due_at(all_pace_s=OFTEN) is None


@pytest.mark.parametrize(("took_s", "pace_s"), [(0.0, 1.25), (0.05, 1.25), (0.5, 10.0), (2.5, 50.0)])
def test_the_list_of_all_takes_a_twentieth_of_a_manager_at_most(took_s: float, pace_s: float) -> None:
    """With ten tasks it is asked for about each second, with ten thousand each minute."""
    assert pace_of_all_s(took_s) == pytest.approx(pace_s)


@given(st.lists(st.tuples(st.floats(0.0, 10.0), st.booleans(), st.booleans()), max_size=30), st.floats(0.5, 60.0))
def test_every_service_that_is_left_alone_settles(steps: list[tuple[float, bool, bool]], all_pace_s: float) -> None:
    """Whatever it did: nothing is asked for without end that has nothing to tell."""
    settling, now = Settling(), 0.0
    for wait_s, changed, leaves in steps:
        now += wait_s
        settling.mark("web", now=now)
        settling.looked("web", began_at=now, changed=changed, unrest=Unrest(leaves=leaves))
    last, count = now, 0
    while (at := settling.due_at(all_pace_s=all_pace_s)) is not None:
        now, count = max(now, at), count + 1
        assert now <= last + 10.0
        assert count < 100
        settling.looked("web", began_at=now, changed=False, unrest=QUIET)
        assert settling.due_at(all_pace_s=all_pace_s) != at, "a time that has come must change something"

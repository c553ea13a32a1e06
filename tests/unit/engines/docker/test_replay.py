"""What a new stream tells again: it counts once, and is as old as it is."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.model import Event
from lbwatch.engines.docker.replay import KEPT_ACTIONS, KEPT_EVENTS, OTHER_ACTIONS, REPLAY_S, RecentEvents, ReplayClock

BOOT_S = 1_772_600_767.3

_events = st.builds(
    Event,
    action=st.sampled_from(["start", "die", "health_status: healthy"]),
    container=st.sampled_from(["c1", "c2"]),
    labels=st.just({"readme": "long"}),
    at_ns=st.integers(1, 5),
)


def recorded(events: Iterable[Event]) -> RecentEvents:
    recent = RecentEvents()
    for event in events:
        recent.record(event)
    return recent


@given(st.lists(_events), st.data())
def test_whatever_is_told_again_changes_nothing(events: list[Event], data: st.DataObject) -> None:
    """Each stream begins with a minute of the one before."""
    again = data.draw(st.permutations(events))
    once, twice = recorded(events), recorded([*events, *again])
    assert (once.latest(), once.counts) == (twice.latest(), twice.counts)
    assert all(event.labels is None for event in once.latest())
    assert sum(once.counts.values()) == len({(event.at_ns, event.container, event.action) for event in events})


def test_events_are_counted_by_the_first_word_of_their_action() -> None:
    """What a health check said is no kind of event: the metric would have a series for each."""
    recent = recorded(Event(action=f"exec_create: {number}", container="c1", at_ns=number) for number in range(1, 4))
    assert recent.counts == {"exec_create": 3}


def test_events_without_a_time_each_count() -> None:
    """They cannot be told from each other."""
    event = Event(action="unreadable", container=None)
    assert recorded([event, event]).counts == {"unreadable": 2}


def test_only_so_many_events_are_kept() -> None:
    """A daemon runs for months."""
    recent = recorded(Event(action="start", container="c1", at_ns=number) for number in range(1, KEPT_EVENTS + 3))
    assert len(recent.latest()) == KEPT_EVENTS
    assert recent.latest()[0].at_ns == 3
    assert recent.counts["start"] == KEPT_EVENTS + 2


def test_only_so_many_actions_are_counted_apart() -> None:
    """Each is a line of the metrics, and an engine may make up any number of them."""
    recent = recorded(Event(action=f"made up {number}", container="c1", at_ns=number + 1) for number in range(5000))
    assert len(recent.counts) == KEPT_ACTIONS + 1
    assert recent.counts[OTHER_ACTIONS] == 5000 - KEPT_ACTIONS


@given(st.floats(-60.0, 60.0), st.floats(0.0, REPLAY_S - 0.01))
def test_the_age_of_a_replayed_event_is_by_the_engine_s_clock(ago_s: float, since_s: float) -> None:
    """Its clock and ours have nothing in common; what seems to come from the future happens now."""
    clock = ReplayClock()
    clock.synchronize(engine_s=BOOT_S, now=100.0)
    clock.begin(now=100.0)
    now = 100.0 + since_s
    event = Event(action="kill", container="c1", at_ns=int((BOOT_S + since_s - ago_s) * 1e9))
    assert clock.age_s(event, now=now) == pytest.approx(max(0.0, ago_s), abs=1e-5)


def test_later_in_a_stream_everything_happens_now() -> None:
    """What looks old then shows that the engine's clock was set back."""
    clock = ReplayClock()
    clock.synchronize(engine_s=BOOT_S, now=100.0)
    clock.begin(now=100.0)
    assert clock.age_s(Event(action="kill", container="c1", at_ns=1), now=100.0 + REPLAY_S) is None

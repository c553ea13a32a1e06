"""Who was told to stop and who drains: laws for any signals in any order, then each rule of the contract alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import container, planned, snapshot, upstream_of

from lbwatch.core import draining
from lbwatch.core.draining import BY_HAND, TOLD_TO_STOP, Drains, StopSignals
from lbwatch.core.model import Container, ContainerStatus, Event, Snapshot, Suspended
from lbwatch.core.plan import Rules

HUP, INT, QUIT, KILL, USR1, TERM, WINCH = 1, 2, 3, 9, 10, 15, 28
WEB = container("web")

_signals = st.sampled_from([None, HUP, INT, QUIT, KILL, USR1, TERM, WINCH, 37])
_stop_signals = st.sampled_from([None, TERM, QUIT, WINCH, HUP, 37])
_times_ns = st.integers(0, 8)  # few, so that ties happen
_containers = st.builds(
    lambda name, stop, started_ns: container(name, stop_signal=stop, started_ns=started_ns),
    st.sampled_from(["web", "api"]),
    _stop_signals,
    _times_ns,
)


def kill(signal: int | None = TERM, *, at_ns: int = WEB.started_ns + 1, container: str = WEB.id) -> Event:
    return Event(action="kill", container=container, at_ns=at_ns, signal=signal)


_kills = st.lists(
    st.builds(
        lambda signal, at_ns, name: kill(signal, at_ns=at_ns, container=container(name).id),
        _signals,
        _times_ns,
        st.sampled_from(["web", "api"]),
    ),
    max_size=12,
)


def _same(one: Event, other: Event) -> bool:
    return (one.container, one.signal) == (other.container, other.signal)


def record(signals: StopSignals, event: Event, *, late_s: float = 0.0) -> None:
    """Tell of an event as a stream does, so much later than it happened: one second of the loop's is one nanosecond."""
    signals.record(event, container=None, now=event.at_ns + late_s, age_s=late_s)


def stopping(events: Sequence[Event], *containers: Container) -> dict[str, float]:
    signals = StopSignals()
    for event in events:
        record(signals, event)
    return signals.stopping({container.id: container for container in containers})


def told_times(events: Sequence[Event], container: Container) -> list[int]:
    """Say the contract a second time: when a container was told to stop since its start."""
    ending = {TERM, KILL, container.stop_signal}
    return [
        event.at_ns
        for event in events
        if event.container == container.id
        and event.at_ns > container.started_ns
        and (event.signal is None or container.stop_signal is None or event.signal in ending)
    ]


# -- laws of signals


@given(_kills, _containers)
def test_told_to_stop_is_who_got_an_ending_signal_since_its_start(events: list[Event], container: Container) -> None:
    """For any stop signal: one too many takes a good server out, one too few sends requests to a dying one."""
    times = told_times(events, container)
    assert stopping(events, container) == ({container.id: max(times)} if times else {})


@given(_kills, _containers, st.randoms(use_true_random=False), st.floats(0.0, 1000.0))
def test_streams_may_tell_the_same_in_any_order_and_any_number_of_times(
    events: list[Event], container: Container, random: Any, late_s: float
) -> None:
    """They overlap, and their replay is not ordered by time."""
    again = [event for event in events for _ in range(random.randint(1, 3))]
    random.shuffle(again)
    signals = StopSignals()
    for event in again:
        record(signals, event, late_s=random.choice([0.0, late_s]))
    assert signals.stopping({container.id: container}) == pytest.approx(stopping(events, container))


@given(_kills, _containers, st.randoms(use_true_random=False))
def test_what_is_told_again_later_refreshes_nothing(events: list[Event], container: Container, random: Any) -> None:
    """Else each new stream would begin the drain anew, and one that survives its signal would never be back."""
    signals = StopSignals()
    for event in events:
        record(signals, event)
    before = signals.stopping({container.id: container})
    random.shuffle(events)
    for event in events:
        signals.record(event, container=container, now=10_000.0, age_s=0.0)  # as if it had happened just now
        if event.at_ns == max(each.at_ns for each in events if _same(each, event)):
            signals.record(event, container=container, now=10_000.0)  # a live stream's own double
    assert signals.stopping({container.id: container}) == before


@given(_kills, _containers, st.data())
def test_a_look_in_between_changes_nothing_that_is_told(
    events: list[Event], container: Container, data: st.DataObject
) -> None:
    """Looks end when they end: before, between and after the signals that they were asked for by."""
    signals = StopSignals()
    for event in events:
        if data.draw(st.booleans()):
            signals.settle(container.id, container)
        record(signals, event)
    signals.settle(container.id, container)
    assert signals.stopping({container.id: container}) == stopping(events, container)


@given(_kills, _containers)
def test_what_is_older_than_the_start_never_counts(events: list[Event], container: Container) -> None:
    """A new stream tells of the stop that the last restart began with, and the container serves again."""
    later = replace(container, started_ns=max((event.at_ns for event in events), default=0))
    assert stopping(events, later) == {}


@given(_kills, st.sampled_from([TERM, QUIT, WINCH, HUP, 37]))
def test_a_signal_that_is_not_there_to_end_a_container_changes_nothing(events: list[Event], stop: int) -> None:
    """HUP reads a configuration again, USR1 opens logs: neither is a reason to lose a server."""
    harmless = [event for event in events if event.signal not in {None, TERM, KILL, stop}]
    assert stopping(harmless, container("web", stop_signal=stop, started_ns=-1)) == {}


@given(_kills)
def test_nothing_is_kept_of_a_container_that_is_gone(events: list[Event]) -> None:
    """A daemon runs for months, and each container has another id."""
    signals = StopSignals()
    for event in events:
        record(signals, event)
    for event in events:
        assert event.container is not None
        signals.settle(event.container, None)
    assert not signals._heard


@given(_kills, _containers)
def test_nothing_is_kept_that_is_older_than_the_start(events: list[Event], container: Container) -> None:
    """One that is told to stop and started anew all day must not fill the memory either."""
    signals = StopSignals()
    for event in events:
        record(signals, event)
    signals.settle(container.id, container)
    kept = signals._heard.get(container.id, {}).values()
    assert all(each.at_ns > container.started_ns for each in kept)
    assert (container.id in signals._heard) == bool(kept), "not even an empty place"


@given(st.sampled_from(["die", "stop", "start", "killed", "Kill", "restart", "unreadable"]), _signals)
def test_only_a_kill_tells_anyone_to_stop(action: str, signal: int | None) -> None:
    """What else happens is seen by looking: an event is believed in this one thing."""
    assert stopping([Event(action=action, container=WEB.id, at_ns=WEB.started_ns + 1, signal=signal)], WEB) == {}


# -- rules of signals


@pytest.mark.parametrize(
    ("stop", "signal", "ends"),
    [
        (TERM, TERM, True),
        (TERM, KILL, True),
        (TERM, QUIT, False),
        (TERM, INT, False),
        (TERM, WINCH, False),
        (TERM, HUP, False),
        (TERM, USR1, False),
        (QUIT, QUIT, True),
        (QUIT, TERM, True),
        (QUIT, KILL, True),
        (QUIT, WINCH, False),
        (WINCH, WINCH, True),
        (WINCH, QUIT, False),
        (HUP, HUP, True),
        (TERM, None, True),
        (None, HUP, True),
        (None, None, True),
    ],
)
def test_its_own_stop_signal_ends_a_container_and_so_do_term_and_kill(
    stop: int | None, signal: int | None, ends: bool
) -> None:
    """nginx stops by QUIT, httpd by WINCH; one that cannot be read, or that a label hides, is taken for it."""
    container = replace(WEB, stop_signal=stop)
    assert bool(stopping([kill(signal)], container)) is ends


def test_a_signal_in_the_very_nanosecond_of_the_start_is_the_former_life_s() -> None:
    """A restart by a coarse clock ends and begins at once: it must not be out for a minute by its own stop."""
    assert stopping([kill(at_ns=WEB.started_ns)], WEB) == {}
    assert stopping([kill(at_ns=WEB.started_ns + 1)], WEB) == {WEB.id: WEB.started_ns + 1}


def test_a_kill_after_the_grace_begins_no_new_term() -> None:
    """`docker stop` kills after 10 s: the later signal is what counts then, and there is one time for each container."""
    events = [kill(TERM, at_ns=WEB.started_ns + 5), kill(KILL, at_ns=WEB.started_ns + 15)]
    assert stopping(events, WEB) == {WEB.id: WEB.started_ns + 15}


def test_what_is_not_there_is_not_told() -> None:
    """A signal to a container that no list holds any more must not reach the loop."""
    assert stopping([kill()]) == {}
    assert stopping([kill()], container("api")) == {}


def test_the_age_of_what_is_replayed_counts() -> None:
    """After a start of lbwatch the minute of a container that got its signal 50 s ago is nearly over."""
    signals = StopSignals()
    signals.record(kill(), container=WEB, now=100.0, age_s=50.0)
    assert signals.stopping({WEB.id: WEB}) == {WEB.id: 50.0}


def test_an_event_without_a_container_is_nobody_s() -> None:
    """A line that could not be read has none."""
    signals = StopSignals()
    signals.record(Event(action="kill", container=None, at_ns=10**12, signal=TERM), container=None, now=1.0)
    assert not signals._heard


HOUR_NS = 3600 * 10**9


def test_a_stop_counts_although_the_engine_s_clock_was_set_back_since_the_start() -> None:
    """Else no container that runs would drain for as long as the clock was set back: an hour of failed requests."""
    started = container("web", started_ns=10 * HOUR_NS)
    signals = StopSignals()
    signals.record(kill(at_ns=9 * HOUR_NS), container=started, now=100.0)
    signals.settle(started.id, started)
    assert signals.stopping({started.id: started}) == {started.id: 100.0}
    signals.record(kill(at_ns=9 * HOUR_NS + 1), container=started, now=200.0)
    assert signals.stopping({started.id: started}) == {started.id: 200.0}, "told once more"


def test_a_stop_that_is_told_after_the_fact_is_no_reason_to_think_so() -> None:
    """A replay is full of what former lives were told."""
    started = container("web", started_ns=10 * HOUR_NS)
    signals = StopSignals()
    signals.record(kill(at_ns=9 * HOUR_NS), container=started, now=100.0, age_s=HOUR_NS / 1e9)
    signals.record(kill(at_ns=10 * HOUR_NS - 10**9), container=started, now=100.0)  # a second late, and live
    assert signals.stopping({started.id: started}) == {}


@pytest.mark.parametrize(
    "status", [ContainerStatus.EXITED, ContainerStatus.RESTARTING, ContainerStatus.CREATED, ContainerStatus.DEAD]
)
def test_who_was_seen_down_begins_anew_whatever_the_clock_says(status: ContainerStatus) -> None:
    """It is told to stop, the clock is set back, it is started: by the clock the signal came after the start."""
    signals = StopSignals()
    signals.record(kill(at_ns=10 * HOUR_NS), container=WEB, now=100.0)
    signals.settle(WEB.id, replace(WEB, status=status))
    later = replace(WEB, started_ns=9 * HOUR_NS)
    signals.settle(WEB.id, later)
    assert signals.stopping({WEB.id: later}) == {}


def test_a_restart_ends_a_drain_although_the_clock_was_set_back_in_between() -> None:
    """It was not seen down, and by the clock both of its signals came after the life that began since."""
    started = container("web", started_ns=10 * HOUR_NS)
    later = replace(started, started_ns=9 * HOUR_NS)
    for before_ns, while_ns in ((10 * HOUR_NS + 1, 9 * HOUR_NS - 1), (10 * HOUR_NS + 1, 10 * HOUR_NS + 2)):
        signals = StopSignals()
        signals.record(kill(at_ns=before_ns), container=started, now=100.0)
        signals.record(kill(at_ns=while_ns), container=started, now=200.0)
        signals.settle(later.id, later)
        assert signals.stopping({later.id: later}) == {}
    signals.record(kill(at_ns=9 * HOUR_NS + 1), container=started, now=300.0)  # before its start was looked at
    signals.settle(later.id, later)
    assert signals.stopping({later.id: later}) == {later.id: 300.0}


def test_a_pause_ends_no_drain() -> None:
    """`docker pause` and `unpause` in between are no new life."""
    signals = StopSignals()
    signals.record(kill(), container=WEB, now=100.0)
    signals.settle(WEB.id, replace(WEB, status=ContainerStatus.PAUSED))
    assert signals.stopping({WEB.id: WEB}) == {WEB.id: 100.0}


# -- drains


def told(*times: float, source: str = "engine") -> Snapshot:
    """An engine whose containers were told to stop at these loop times."""
    containers = [container(f"{source}{number}") for number in range(len(times))]
    at = dict(zip((container.id for container in containers), times, strict=True))
    return replace(snapshot(containers, source=source), stopping=at)


@given(
    st.lists(st.floats(0.0, 200.0), max_size=6),
    st.floats(0.0, 100.0),
    st.floats(0.0, 400.0),
    st.lists(st.sampled_from(["x", "y", container("engine0").id]), unique=True),
)
def test_told_drains_until_its_time_is_over_and_by_hand_for_good(
    times: list[float], timeout_s: float, now: float, by_hand: list[str]
) -> None:
    """Said a second time, with when the loop must wake by itself: no event tells that a drain is over."""
    world, drains = told(*times), Drains(timeout_s=timeout_s)
    due = {id: at + timeout_s for id, at in world.stopping.items() if at + timeout_s > now}
    assert set(drains.draining([world], by_hand=by_hand, now=now)) == set(due) | set(by_hand)
    at = drains.changes_at()
    assert at == (min(due.values()) if due else None)
    if at is not None:
        assert at > now, "a time that has come must change something, or the loop spins"
        assert set(drains.draining([world], by_hand=by_hand, now=at)) < set(due) | set(by_hand) or set(by_hand) & set(
            due
        )
        assert drains.changes_at() != at


def test_a_container_that_survives_its_stop_signal_comes_back_at_the_time_that_is_told() -> None:
    """A server that stays out for ever is lost capacity."""
    world, drains = told(100.0), Drains(timeout_s=60.0)
    (id,) = world.containers
    assert drains.draining([world], by_hand=(), now=100.0) == {id: TOLD_TO_STOP}
    assert drains.changes_at() == 160.0
    assert drains.draining([world], by_hand=(), now=159.999) == {id: TOLD_TO_STOP}
    assert drains.draining([world], by_hand=(), now=160.0) == {}
    assert drains.changes_at() is None


def test_with_a_drain_timeout_of_zero_nobody_drains_but_by_hand() -> None:
    """Who wants no drains switches them off like this; what an operator says holds all the same."""
    world, drains = told(100.0), Drains(timeout_s=0.0)
    assert drains.draining([world], by_hand=(), now=100.0) == {}
    assert drains.changes_at() is None
    assert drains.draining([world], by_hand=["x"], now=100.0) == {"x": BY_HAND}
    assert drains.changes_at() is None


def test_the_words_of_a_drain_by_hand_come_first() -> None:
    """It outlasts the signal, and only they say how it ends."""
    world, drains = told(100.0), Drains(timeout_s=60.0)
    (id,) = world.containers
    assert drains.draining([world], by_hand=[id], now=100.0) == {id: BY_HAND}
    assert "undrain" in BY_HAND
    assert drains.draining([world], by_hand=[id], now=200.0) == {id: BY_HAND}


@pytest.mark.parametrize("timeout_s", [0.0, 60.0])
def test_a_task_that_is_about_to_be_stopped_drains_without_end(timeout_s: float) -> None:
    """A Swarm never takes it back: traffic after the drain timeout would go to what is about to die."""
    world, drains = told(100.0), Drains(timeout_s=timeout_s)
    (id,) = world.containers
    world = replace(world, leaving={id: "the Swarm is about to stop it"})
    for now in (100.0, 159.0, 10_000.0):
        assert drains.draining([world], by_hand=(), now=now) == {id: "the Swarm is about to stop it"}
        assert drains.changes_at() is None, "there is nothing to wait for"
        assert drains.outlived == frozenset(), "and nothing to warn of"
    assert drains.draining([world], by_hand=[id], now=200.0) == {id: BY_HAND}


def test_who_is_about_to_be_stopped_serves_only_where_nobody_else_does() -> None:
    """With one replica, stopped before the next starts, three seconds more of it are three seconds less of nothing."""
    old, new = (
        container("old", labels={"lbwatch.upstream": "web"}),
        container("new", labels={"lbwatch.upstream": "web"}),
    )
    drains = Drains(timeout_s=60.0)
    for there, serves in (((old, new), ["new"]), ((old,), ["old"])):
        world = replace(snapshot(there), leaving={old.id: "it goes"})
        suspended = Suspended(draining=drains.draining([world], by_hand=(), now=100.0))
        plan = planned([world], rules=Rules(), suspended=suspended)
        assert [server.container for server in upstream_of(plan, "web").servers] == serves


def test_the_first_of_all_engines_is_due_next() -> None:
    """Each of them has its time, and the loop one alarm."""
    one, two, drains = told(100.0, 90.0, source="a"), told(95.0, source="b"), Drains(timeout_s=10.0)
    assert len(drains.draining([one, two], by_hand=(), now=99.0)) == 3
    assert drains.changes_at() == 100.0
    assert len(drains.draining([one, two], by_hand=(), now=100.0)) == 2
    assert drains.changes_at() == 105.0


def test_signals_are_kept_of_so_many_unknown_containers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events may name any number that nobody ever saw; what is known loses nothing by them."""
    monkeypatch.setattr(draining, "MAX_UNKNOWN", 3)
    signals, known = StopSignals(), Container(id="known", name="known", started_ns=1)
    signals.record(Event(action="kill", container="known", at_ns=5, signal=TERM), container=known, now=1.0)
    for number in range(10):
        for at_ns in (5, 6):
            event = Event(action="kill", container=f"u{number}", at_ns=at_ns, signal=TERM)
            signals.record(event, container=None, now=1.0)
    seen = {f"u{number}": Container(id=f"u{number}", name="u", started_ns=1) for number in range(10)}
    assert signals.stopping(seen | {"known": known}).keys() == {"u7", "u8", "u9", "known"}
    signals.settle("u8", seen["u8"])
    signals.settle("u9", None)
    for number in range(20, 22):
        event = Event(action="kill", container=f"u{number}", at_ns=5, signal=TERM)
        signals.record(event, container=None, now=1.0)
    assert signals.stopping(seen).keys() == {"u7", "u8"}, "what was looked at since is unknown no more"

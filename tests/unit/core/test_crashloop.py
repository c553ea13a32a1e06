"""Containers that restart in a loop: who is left out, for how long, and what clears it."""

import tracemalloc
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import container, decide, planned, reasons_of, snapshot, unrouted, upstream_of

from lbwatch.core.crashloop import LOOP_RESTARTS, LOOP_WINDOW_S, STAY_UP_FIRST_S, STAY_UP_LIMIT_S, CrashLoops
from lbwatch.core.model import Container, ContainerStatus, Suspended, Task
from lbwatch.core.plan import Rules

WEB = container("web")


def looping(damper: CrashLoops, *containers: Container, now: float) -> Mapping[str, float]:
    return damper.crash_looping({each.id: each for each in containers}, changed=[WEB.id], now=now)


class Life:
    """One container, its damper and a clock; what it tells is how long the container must stay up, or `None`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.container = WEB
        self.damper = CrashLoops()
        self.look()

    def look(self) -> float | None:
        return looping(self.damper, self.container, now=self.now).get(self.container.id)

    def restart(self, *, times: int = 1, after: float = 1.0) -> float | None:
        """The engine finds it dead and starts it again, *after* seconds; only the end of it is looked at."""
        self.now += after
        started_ns = self.container.started_ns + 1
        self.container = replace(self.container, restarts=self.container.restarts + times, started_ns=started_ns)
        return self.look()

    def start_by_hand(self) -> float | None:
        self.container = replace(self.container, restarts=0, started_ns=self.container.started_ns + 1)
        return self.look()

    def wait(self, seconds: float) -> float | None:
        self.now += seconds
        return self.look()


def test_the_third_restart_within_a_minute_takes_it_out() -> None:
    """Two may be bad luck; each more is two reloads, and requests to a server that is about to die."""
    life = Life()
    assert [life.restart(after=20.0) for _ in range(3)] == [None, None, STAY_UP_FIRST_S]


def test_three_restarts_in_more_than_a_minute_are_no_loop() -> None:
    """A container that crashes now and then serves in between."""
    life = Life()
    assert [life.restart(after=LOOP_WINDOW_S / 2) for _ in range(8)] == [None] * 8


@pytest.mark.parametrize("times", [150_000_000, 2**63 - 1, 10**400])
def test_a_count_of_any_size_costs_no_memory(times: int) -> None:
    """It comes from the engine: a list of so many restarts had 2.3 GB, or ended the daemon."""
    tracemalloc.start()
    try:
        assert Life().restart(times=times) == STAY_UP_FIRST_S
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_restarts_between_two_looks_are_all_counted() -> None:
    """The engine counts for us, so that no event need be heard."""
    assert Life().restart(times=3) == STAY_UP_FIRST_S


def test_it_comes_back_after_it_stayed_up_and_the_time_is_told() -> None:
    """The loop must wake by itself then: no event says it."""
    life = Life()
    life.restart(times=3)
    due = life.damper.changes_at()
    assert due == life.now + STAY_UP_FIRST_S
    assert life.wait(STAY_UP_FIRST_S - 0.01) == STAY_UP_FIRST_S
    life.now = due
    assert life.look() is None
    assert life.damper.changes_at() is None


def test_the_time_grows_with_each_restart_and_is_capped() -> None:
    """One that never stays up must cost less and less, and one that is mended must not wait for ever."""
    life = Life()
    life.restart(times=2)
    assert [life.restart() for _ in range(7)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]
    assert STAY_UP_LIMIT_S == 60.0


def test_the_time_counts_from_the_latest_start() -> None:
    """Up for a moment each time is not up."""
    life = Life()
    life.restart(times=3)
    life.wait(4.0)
    assert life.restart() == 10.0
    assert life.wait(9.9) == 10.0
    assert life.wait(0.2) is None


def test_down_is_not_up() -> None:
    """Between a death and the next start the engine waits up to a minute itself."""
    life = Life()
    life.restart(times=3)
    life.container = replace(life.container, status=ContainerStatus.RESTARTING)
    assert life.wait(100.0) == STAY_UP_FIRST_S
    assert life.damper.changes_at() is None
    life.container = replace(life.container, status=ContainerStatus.RUNNING)
    assert life.wait(0.0) == STAY_UP_FIRST_S


def test_a_pause_is_no_death() -> None:
    """It goes on with the same start."""
    life = Life()
    life.restart(times=3)
    life.container = replace(life.container, status=ContainerStatus.PAUSED)
    assert life.wait(STAY_UP_FIRST_S) is None


def test_one_that_falls_again_soon_waits_longer_and_one_that_stayed_up_for_a_minute_starts_over() -> None:
    """Growth is for the same trouble; after a quiet minute it is another one."""
    life = Life()
    life.restart(times=3)
    life.wait(STAY_UP_FIRST_S)
    assert life.restart(after=1.0) == 2 * STAY_UP_FIRST_S
    life.wait(STAY_UP_LIMIT_S)
    assert [life.restart() for _ in range(3)] == [None, None, STAY_UP_FIRST_S]


def test_a_start_by_hand_clears_it() -> None:
    """Whoever starts it by hand has mended it, and wants to see it serve."""
    life = Life()
    life.restart(times=5)
    assert life.start_by_hand() is None
    assert [life.restart() for _ in range(3)] == [None, None, STAY_UP_FIRST_S]


def test_what_happened_before_it_was_seen_is_not_held_against_it() -> None:
    """A start of lbwatch must not take out what serves since yesterday."""
    damper = CrashLoops()
    assert looping(damper, replace(WEB, restarts=500), now=1.0) == {}
    assert looping(damper, replace(WEB, restarts=502), now=2.0) == {}
    assert list(looping(damper, replace(WEB, restarts=503), now=3.0)) == [WEB.id]


def test_a_removed_container_is_forgotten() -> None:
    """Memory stays flat however many come and go."""
    life = Life()
    life.restart(times=3)
    assert looping(life.damper, now=life.now) == {}
    assert not life.damper._loops
    assert not life.damper._restarts


@given(st.lists(st.tuples(st.floats(0.0, 90.0), st.integers(0, 4), st.booleans()), max_size=30))
@example(
    [
        (0.0, 3, False),
        (0.0, 1, False),
        (1.3845886096547346, 1, False),
        (5.321043398860262, 1, False),
        (89.32104339886027, 1, False),
    ]
)
def test_nobody_is_left_out_longer_than_the_cap_after_its_last_start(steps: list[tuple[float, int, bool]]) -> None:
    """Whatever it did, a container that stays up serves within a minute."""
    life = Life()
    for wait_s, times, by_hand in steps:
        life.start_by_hand() if by_hand else life.restart(times=times, after=wait_s)
    assert life.wait(STAY_UP_LIMIT_S) is None


@given(st.lists(st.floats(0.0, 90.0), max_size=20))
def test_only_a_loop_is_left_out(waits: list[float]) -> None:
    """Said a second time: at the moment it is first left out there were three restarts within a minute."""
    life = Life()
    times = []
    for wait_s in waits:
        out = life.restart(after=wait_s) is not None
        times.append(life.now)
        looping = len(times) >= LOOP_RESTARTS and times[-1] - times[-LOOP_RESTARTS] < LOOP_WINDOW_S
        assert out == looping
        if out:
            return


class Place:
    """One place of a Swarm's service, and the tasks that have it one after the other."""

    def __init__(self) -> None:
        self.now = 100.0
        self.tasks: dict[str, Container] = {}
        self.damper = CrashLoops()
        self.number = 0
        self.arrive()
        self.look(*self.tasks)

    @property
    def latest(self) -> str:
        return f"task{self.number}"

    def arrive(self) -> None:
        self.number += 1
        born = container(self.latest, started_ns=self.number, created_ns=self.number)
        self.tasks[self.latest] = replace(
            born, id=self.latest, task=Task(service="web", service_id="w", slot="1", state="running", desired="running")
        )

    def turn(self, name: str, *, state: str, desired: str) -> None:
        before = self.tasks[name]
        assert before.task is not None
        status = ContainerStatus.RUNNING if state == "running" else ContainerStatus.EXITED
        self.tasks[name] = replace(before, status=status, task=replace(before.task, state=state, desired=desired))

    def look(self, *changed: str) -> float | None:
        return self.damper.crash_looping(self.tasks, changed=changed, now=self.now).get(self.latest)

    def fall(self, state: str = "failed", *, after: float = 1.0) -> float | None:
        """It ends by itself, and the Swarm has another one in its place at once."""
        self.now += after
        fallen = self.latest
        self.turn(fallen, state=state, desired="shutdown")
        self.arrive()
        return self.look(fallen, self.latest)

    def update(self) -> float | None:
        """It is stopped on purpose, and another one takes its place."""
        old = self.latest
        self.turn(old, state="running", desired="shutdown")
        self.look(old)
        self.now += 3.0
        self.turn(old, state="failed", desired="shutdown")  # as one does that ends with an error at its signal
        self.arrive()
        return self.look(old, self.latest)


@pytest.mark.parametrize("state", ["failed", "complete"])
def test_the_third_task_in_a_minute_that_falls_in_one_place_takes_the_next_one_out(state: str) -> None:
    """A Swarm restarts nothing: it puts another task there, of another id and with no count of restarts."""
    place = Place()
    assert [place.fall(state, after=20.0) for _ in range(3)] == [None, None, STAY_UP_FIRST_S]
    assert place.damper.changes_at() == place.now + STAY_UP_FIRST_S
    place.now += STAY_UP_FIRST_S
    assert place.look() is None


def test_a_fall_that_its_node_knows_first_counts_all_the_same() -> None:
    """An engine tells of a death before the managers say how it ended: of a Swarm of one machine each is known so."""
    place = Place()

    def fall_with_hint() -> float | None:
        fallen = place.latest
        place.tasks[fallen] = replace(place.tasks[fallen], status=ContainerStatus.EXITED)
        place.look(fallen)
        return place.fall()

    assert [fall_with_hint() for _ in range(3)] == [None, None, STAY_UP_FIRST_S]


def test_tasks_that_are_replaced_on_purpose_are_no_loop() -> None:
    """A rolling update replaces each task of the service, also three times a minute."""
    place = Place()
    assert [place.update() for _ in range(6)] == [None] * 6


def test_an_update_forgives_what_fell_before() -> None:
    """Whoever has mended the image wants to see it serve."""
    place = Place()
    assert [place.fall() for _ in range(3)][-1] == STAY_UP_FIRST_S
    assert place.update() is None
    assert [place.fall() for _ in range(3)] == [None, None, STAY_UP_FIRST_S]


def test_what_fell_before_it_was_seen_is_not_held_against_its_place() -> None:
    """A start of lbwatch finds five dead tasks of each place, some of yesterday."""
    place = Place()
    for _ in range(4):
        place.turn(place.latest, state="failed", desired="shutdown")
        place.arrive()
    place.damper = CrashLoops()
    assert place.look(*place.tasks) is None
    assert place.fall() is None


def test_the_dead_are_looked_at_again_and_count_once() -> None:
    """They are in each answer for as long as the Swarm remembers them."""
    place = Place()
    place.fall()
    for _ in range(5):
        assert place.look(*place.tasks) is None


def test_another_place_of_the_service_is_another_story() -> None:
    """One broken machine must not take out the replicas on the others."""
    place = Place()
    other = replace(place.tasks["task1"], id="other", task=replace(place.tasks["task1"].task, slot="2"))
    place.tasks["other"] = other
    place.look("other")
    for _ in range(3):
        place.fall()
    looping = place.damper.crash_looping(place.tasks, changed=(), now=place.now)
    assert set(looping) == {place.latest}


def test_nothing_is_kept_of_a_place_that_is_gone() -> None:
    """A daemon runs for months, and services come and go."""
    place = Place()
    for _ in range(4):
        place.fall()
    gone, place.tasks = tuple(place.tasks), {}
    assert place.look(*gone) is None
    places = place.damper._places
    assert not (place.damper._loops or places._of or places._tasks or places._going_on)


def damped_state(*containers: Container, crash_looping: dict[str, float]) -> tuple[list[str], list[str]]:
    plan = planned([snapshot(containers)], rules=Rules(), suspended=Suspended(crash_looping=crash_looping))
    return [server.container for server in upstream_of(plan, "web").servers], reasons_of(plan, "web")


def test_a_damped_container_is_out_with_the_reason_and_its_upstreams_name_stays() -> None:
    """The operator must read why, up or down, and nginx's own files may use the name."""
    for status in (ContainerStatus.RUNNING, ContainerStatus.RESTARTING):
        servers, reasons = damped_state(replace(WEB, status=status), crash_looping={WEB.id: 10.0})
        assert (servers, reasons) == ([], ["restart-loop"])
    assert (
        "10 s"
        in unrouted(planned([snapshot([WEB])], rules=Rules(), suspended=Suspended(crash_looping={WEB.id: 10.0})))[
            0
        ].detail
    )


def test_a_damped_container_claims_no_address() -> None:
    """Or it would keep out the one that the engine gave its address to."""
    other = container("other", endpoints=WEB.endpoints, started_ns=1, labels={"lbwatch.upstream": "web"})
    assert reasons_of(decide(WEB, other), "other") == ["address-conflict"]
    servers, _ = damped_state(WEB, other, crash_looping={WEB.id: 10.0})
    assert servers == ["other"]


def test_a_bad_label_is_the_reason_before_a_loop() -> None:
    """It is what must be mended first."""
    bad = replace(WEB, labels=(("lbwatch.port", "many"),))
    plan = planned([snapshot([bad])], rules=Rules(), suspended=Suspended(crash_looping={WEB.id: 10.0}))
    assert reasons_of(plan, "web") == ["bad-label"]

"""Health checks that flip: who serves as a last resort only, for how long, and what clears it."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import container, notices, planned, reasons_of, snapshot, unrouted, upstream_of

from lbwatch.core.draining import Drains
from lbwatch.core.flapping import FLAP_WINDOW_S, FLAPS, STAY_HEALTHY_FIRST_S, STAY_HEALTHY_LIMIT_S, Flapping
from lbwatch.core.model import Container, ContainerStatus, Health, Plan, Suspended
from lbwatch.core.plan import Planner, Rules

WEB = container("web", health=Health.HEALTHY)
SHARED = {"lbwatch.upstream": "web"}


class Life:
    """One container, what remembers its flips, and a clock; what it tells is how long it must be healthy, or `None`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.container = WEB
        self.memory = Flapping()
        self.look()

    def look(self) -> float | None:
        return self.memory.flapping([self.container], gone=(), now=self.now).get(self.container.id)

    def becomes(self, health: Health, *, after: float = 0.0, **more: object) -> float | None:
        self.now += after
        self.container = replace(self.container, health=health, **more)  # type: ignore[arg-type]  # any field
        return self.look()

    def flip(self, *, every: float = 3.0) -> float | None:
        """It fails for so long, and passes for so long."""
        out = self.becomes(Health.UNHEALTHY, after=every)
        self.becomes(Health.HEALTHY, after=every)
        return out

    def wait(self, seconds: float) -> float | None:
        """Nothing of it changes, so that nothing is asked but the time."""
        self.now += seconds
        return self.memory.flapping((), gone=(), now=self.now).get(self.container.id)


def test_the_third_failure_within_a_minute_is_one_too_many() -> None:
    """Two may be bad luck; each more costs two reloads, and moves requests to and fro."""
    life = Life()
    assert [life.flip() for _ in range(3)] == [None, None, STAY_HEALTHY_FIRST_S]


def test_failures_far_apart_are_no_flapping() -> None:
    """Each of them is a failure of its own, and is served as such."""
    life = Life()
    assert [life.flip(every=FLAP_WINDOW_S / 4) for _ in range(8)] == [None] * 8


def test_one_that_flips_for_good_never_comes_back() -> None:
    """Each further failure asks for twice as long, so that it takes no reload any more after the first few."""
    life = Life()
    told = [life.flip(every=8.0) for _ in range(12)]
    assert told[2:6] == [5.0, 10.0, 20.0, 40.0]
    assert set(told[6:]) == {STAY_HEALTHY_LIMIT_S}


def test_it_is_back_once_it_was_healthy_for_long_enough_and_the_time_of_that_is_known() -> None:
    """Nobody must do anything, and no event will come."""
    life = Life()
    assert life.memory.changes_at() is None
    for _ in range(FLAPS):
        life.flip()
    at = life.memory.changes_at()
    assert at == life.now + STAY_HEALTHY_FIRST_S
    assert life.wait(STAY_HEALTHY_FIRST_S - 0.001) is not None
    life.now = at
    assert life.look() is None
    assert life.memory.changes_at() is None


def test_one_that_fails_again_soon_waits_longer_and_one_that_was_healthy_for_a_minute_starts_over() -> None:
    """Growth is for the same trouble; after a quiet minute it is another one."""
    life = Life()
    for _ in range(FLAPS):
        life.flip()
    assert life.wait(STAY_HEALTHY_FIRST_S) is None
    assert life.becomes(Health.UNHEALTHY, after=1.0) == 2 * STAY_HEALTHY_FIRST_S
    life.becomes(Health.HEALTHY)
    assert life.wait(STAY_HEALTHY_LIMIT_S) is None
    assert [life.flip() for _ in range(3)] == [None, None, STAY_HEALTHY_FIRST_S]


def test_one_that_stays_unhealthy_is_just_that() -> None:
    """After a minute it does not flip any more, and its row must not say so."""
    life = Life()
    for _ in range(FLAPS):
        life.flip()
    life.becomes(Health.UNHEALTHY)
    assert life.wait(STAY_HEALTHY_LIMIT_S - 1.0) is not None
    assert life.memory.changes_at() == life.now + 1.0
    assert life.wait(1.0) is None


def test_a_start_by_hand_clears_it() -> None:
    """Whoever starts it by hand has mended it, and wants to see it serve."""
    life = Life()
    for _ in range(FLAPS):
        life.flip()
    assert life.becomes(Health.STARTING, started_ns=WEB.started_ns + 1) is None
    assert life.becomes(Health.HEALTHY, after=1.0) is None


def test_a_restart_by_the_engine_does_not_clear_it() -> None:
    """The same trouble goes on, with one thing more."""
    life = Life()
    for _ in range(FLAPS):
        life.flip()
    assert life.becomes(Health.STARTING, started_ns=WEB.started_ns + 1, restarts=1) is not None
    assert life.becomes(Health.HEALTHY, after=1.0) is not None
    assert life.wait(STAY_HEALTHY_FIRST_S) is None


def test_pauses_are_no_failures() -> None:
    """The engine calls a paused container unhealthy, and for some seconds after too, without a probe that failed."""
    life = Life()
    for _ in range(2 * FLAPS):
        life.becomes(Health.UNHEALTHY, after=1.0, status=ContainerStatus.PAUSED)
        assert life.becomes(Health.UNHEALTHY, after=1.0, status=ContainerStatus.RUNNING) is None
        assert life.becomes(Health.HEALTHY, after=1.0) is None


@pytest.mark.parametrize("before", [Health.NONE, Health.STARTING])
def test_what_was_never_healthy_does_not_flip(before: Health) -> None:
    """To fail without having passed is one state, however often it is seen."""
    memory = Flapping()
    for now in range(10):
        assert memory.flapping([replace(WEB, health=before)], gone=(), now=now) == {}
        assert memory.flapping([replace(WEB, health=Health.UNHEALTHY)], gone=(), now=now + 0.5) == {}


def test_a_container_that_is_seen_again_unchanged_counts_no_failure() -> None:
    """Every full look brings all of them again."""
    life = Life()
    life.becomes(Health.UNHEALTHY)
    assert [life.look() for _ in range(10)] == [None] * 10


def test_a_removed_container_is_forgotten() -> None:
    """Memory stays flat however many come and go."""
    life = Life()
    for _ in range(FLAPS):
        life.flip()
    assert life.memory.flapping((), gone=[WEB.id], now=life.now) == {}
    assert not life.memory._flaps
    assert not life.memory._healthy


@given(st.lists(st.tuples(st.floats(0.0, 90.0), st.sampled_from(Health)), max_size=40))
def test_nobody_is_left_out_longer_than_the_cap_after_it_became_healthy(steps: list[tuple[float, Health]]) -> None:
    """Whatever it did, a container that stays healthy serves within a minute."""
    life = Life()
    for wait_s, health in steps:
        life.becomes(health, after=wait_s)
    life.becomes(Health.HEALTHY)
    assert life.wait(STAY_HEALTHY_LIMIT_S) is None


@given(st.lists(st.tuples(st.floats(0.0, 90.0), st.sampled_from(Health)), max_size=40))
def test_the_plan_changes_when_it_was_said_to(steps: list[tuple[float, Health]]) -> None:
    """A loop that wakes a moment too soon would turn without end, one that does not wake would wait for ever."""
    life = Life()
    for wait_s, health in steps:
        life.becomes(health, after=wait_s)
    if (at := life.memory.changes_at()) is not None:
        assert at > life.now
        life.now = at
        assert life.look() is None


# -- in the plan


def member(name: str, health: Health = Health.HEALTHY, /, **labels: str) -> Container:
    return container(name, health=health, labels=SHARED | {f"lbwatch.{key}": value for key, value in labels.items()})


def served(*containers: Container, flapping: dict[str, float]) -> list[str]:
    return serving(plan_with(*containers, flapping=flapping))


def serving(plan: Plan) -> list[str]:
    return sorted(server.container for server in upstream_of(plan, "web").servers)


def plan_with(*containers: Container, flapping: dict[str, float]) -> Plan:
    return planned([snapshot(containers)], suspended=Suspended(flapping=flapping))


def test_beside_others_it_does_not_serve_and_the_reason_is_the_same_whatever_its_health_is_just_now() -> None:
    """A row that changes with each flip would be a line in the log for each."""
    good = member("good")
    rows = set()
    for health in (Health.HEALTHY, Health.UNHEALTHY):
        flips = member("flips", health)
        assert served(good, flips, flapping={flips.id: 10.0}) == ["good"]
        rows |= {(row.reason, row.detail) for row in unrouted(plan_with(good, flips, flapping={flips.id: 10.0}))}
    ((reason, detail),) = rows
    assert reason == "flapping"
    assert "passed for 10 s in a row" in (detail or "")
    assert "docker inspect flips" in (detail or "")


def test_alone_it_serves_on_and_nothing_changes_by_its_flips() -> None:
    """Half a server is more than none, and a reload for each flip would help nobody."""
    for health in (Health.HEALTHY, Health.UNHEALTHY):
        flips = member("flips", health)
        assert served(flips, flapping={flips.id: 10.0}) == ["flips"]
        (notice,) = notices(plan_with(flips, flapping={flips.id: 10.0}))
        assert notice.kind == "serves-unhealthy"
        assert "flips between passing and failing" in notice.detail


def test_where_all_flip_or_are_unhealthy_all_of_them_serve() -> None:
    """The last class that is there serves whole: to choose by the health of the moment would be a reload for each flip."""
    one, two, sick = member("one"), member("two", Health.UNHEALTHY), member("sick", Health.UNHEALTHY)
    assert served(one, two, sick, flapping={one.id: 5.0, two.id: 5.0}) == ["one", "sick", "two"]


def test_one_that_drains_serves_before_one_that_flips() -> None:
    """It is what it is for an unhealthy one."""
    leaves, flips = member("leaves"), member("flips")
    suspended = Suspended(draining={leaves.id: "it got its stop signal"}, flapping={flips.id: 5.0})
    plan = planned([snapshot([leaves, flips])], suspended=suspended)
    assert serving(plan) == ["leaves"]


def test_whose_health_is_ignored_cannot_flip() -> None:
    """`lbwatch.health=ignore` says that the check is of no account, its flips included."""
    flips = member("flips", health="ignore")
    assert served(member("good"), flips, flapping={flips.id: 5.0}) == ["flips", "good"]


def test_a_planner_damps_a_check_that_flips_beside_two_good_ones() -> None:
    """Ten reloads in 24 s, and so on without end: that is what it was."""
    planner = Planner(rules=Rules, drains=Drains(timeout_s=60.0), drained_by_hand=lambda: ())
    good, plans = [member("good1"), member("good2")], []
    for second in range(240):
        flips = member("flips", Health.UNHEALTHY if second % 6 >= 3 else Health.HEALTHY)
        plans.append(planner.plan((snapshot([*good, flips]),), now=float(second)).upstreams)
    changes = [second for second, (one, other) in enumerate(pairwise(plans)) if one != other]
    assert len(changes) == 2 * FLAPS - 1, changes
    assert reasons_of(planner.plan((snapshot([*good, flips]),), now=240.0), "flips") == ["flapping"]
    steady = member("flips")
    planner.plan((snapshot([*good, steady]),), now=241.0)
    assert planner.changes_at() == 241.0 + STAY_HEALTHY_LIMIT_S, "or nobody looks at it then"
    after = planner.plan((snapshot([*good, steady]),), now=241.0 + STAY_HEALTHY_LIMIT_S)
    assert serving(after) == ["flips", "good1", "good2"]

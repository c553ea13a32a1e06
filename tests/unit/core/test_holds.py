"""Upstreams that outlive their last container for a moment: which, for how long, and what of it is seen in the plan."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from strategies import container, snapshot

from lbwatch.core.draining import Drains
from lbwatch.core.holds import MAX_KEPT, Holds
from lbwatch.core.model import Container, ContainerStatus, Plan, Upstream
from lbwatch.core.plan import Planner, Rules

WEB = Upstream(name="web", hold_s=15.0, keepalive=8)


def test_an_upstream_is_kept_for_as_long_as_its_requests_wait() -> None:
    """Whoever came as its last container went has waited for as long as he may by then."""
    holds = Holds()
    assert (holds.kept(now=0.0), holds.changes_at()) == ({}, None)
    holds.lose([WEB], now=100.0)
    assert holds.changes_at() == 115.0
    assert holds.kept(now=114.999) == {"web": WEB}
    assert holds.kept(now=115.0) == {}
    assert holds.changes_at() is None


def test_one_that_is_lost_again_is_kept_anew() -> None:
    """A service may be created anew twice in a row."""
    holds = Holds()
    holds.lose([WEB], now=100.0)
    holds.lose([replace(WEB, hold_s=5.0)], now=112.0)
    assert holds.kept(now=116.0) == {"web": replace(WEB, hold_s=5.0)}
    assert holds.kept(now=117.0) == {}


def test_there_is_a_bound() -> None:
    """Memory stays flat whatever an engine does."""
    holds = Holds()
    holds.lose((replace(WEB, name=f"n{number}") for number in range(MAX_KEPT + 10)), now=0.0)
    assert len(holds.kept(now=1.0)) == MAX_KEPT
    assert not holds.kept(now=15.0)


# -- in the plan


class Engine:
    """One engine's containers, what plans them, and a clock."""

    def __init__(self, *containers: Container, **rules: Any) -> None:
        self.now = 100.0
        self.there = {each.name: each for each in containers}
        self.rules = Rules(**rules)
        self.paused: set[str] = set()
        self.planner = Planner(
            rules=lambda: self.rules,
            drains=Drains(timeout_s=60.0),
            drained_by_hand=lambda: (),
            paused_by_hand=lambda: self.paused,
        )
        self.plan()

    def plan(self) -> Plan:
        return self.planner.plan((snapshot(self.there.values()),), now=self.now)

    def upstreams(self) -> dict[str, Upstream]:
        return {each.name: each for each in self.plan().upstreams}

    def wait(self, seconds: float) -> dict[str, Upstream]:
        self.now += seconds
        return self.upstreams()

    def remove(self, name: str) -> dict[str, Upstream]:
        del self.there[name]
        return self.upstreams()

    def run(self, container: Container) -> dict[str, Upstream]:
        self.there[container.name] = container
        return self.upstreams()


def web(name: str = "web-1", hold: str | None = "15s", **labels: str) -> Container:
    own = {f"lbwatch.{key}": value for key, value in labels.items()} | ({} if hold is None else {"lbwatch.hold": hold})
    return container(name, labels={"lbwatch.upstream": "web"} | own)


def test_a_service_that_is_created_anew_is_the_same_upstream_all_along() -> None:
    """`docker compose up -d` removes the only replica before it starts the next: its requests wait meanwhile."""
    engine = Engine(web(method="least_conn", keepalive="8"))
    before = engine.upstreams()["web"]
    engine.there["web-1"] = replace(engine.there["web-1"], status=ContainerStatus.EXITED)
    without = replace(before, servers=())
    assert engine.upstreams()["web"] == without
    assert engine.remove("web-1")["web"] == without
    assert engine.planner.changes_at() == engine.now + 15.0
    created = replace(web("web-2", method="least_conn", keepalive="8"), status=ContainerStatus.CREATED)
    assert engine.run(created)["web"] == without
    after = engine.run(replace(created, status=ContainerStatus.RUNNING))["web"]
    assert replace(after, servers=()) == without
    assert [each.container for each in after.servers] == ["web-2"]
    assert engine.wait(15.0)["web"] == after, "what was kept does no harm once there is a container again"


def test_nobody_comes_and_the_name_goes() -> None:
    """What was removed for good is gone; nothing keeps a name for ever."""
    engine = Engine(web(), container("api"))
    assert set(engine.remove("web-1")) == {"api", "web"}
    assert engine.plan() is engine.plan(), "a second of quiet costs nothing"
    assert set(engine.wait(14.9)) == {"api", "web"}
    assert set(engine.wait(0.1)) == {"api"}
    assert engine.planner.changes_at() is None


def test_without_a_wait_a_name_goes_at_once() -> None:
    """As ever."""
    assert not Engine(web(hold=None)).remove("web-1")
    assert not Engine(web(hold="0s")).remove("web-1")
    assert not Engine(web(), hold_refusal="it has no Lua").remove("web-1")


def test_a_load_balancer_that_can_no_longer_have_them_wait_keeps_nothing() -> None:
    """It was started anew without what that takes, say."""
    engine = Engine(web())
    assert engine.remove("web-1")
    engine.rules = Rules(hold_refusal="it has no Lua")
    assert not engine.upstreams()


def test_a_declared_upstream_keeps_its_wait_for_as_long() -> None:
    """It is there without a container, and for a moment its requests wait for the next one."""
    engine = Engine(web(), declare=("web",))
    assert engine.remove("web-1")["web"].hold_s == 15.0
    assert engine.wait(15.0)["web"] == Upstream(name="web")


def test_whoever_comes_has_his_own_word() -> None:
    """A new version may do without."""
    engine = Engine(web())
    engine.remove("web-1")
    assert engine.run(web("web-2", hold=None))["web"].hold_s == 0.0


def test_a_paused_upstream_stays_until_it_is_resumed_and_then_for_as_long_as_it_would_have() -> None:
    """A migration may take longer than anything else here; a pause must not make a wait of none."""
    engine = Engine(web(hold="2s"), container("api"))
    engine.paused = {"web", "api"}
    assert engine.upstreams() == engine.wait(1.0)
    engine.remove("api")
    assert engine.remove("web-1")["web"] == Upstream(name="web", hold_s=60.0, paused=True)
    both = engine.wait(1000.0)
    assert [(each.paused, each.hold_s) for each in both.values()] == [(True, 60.0)] * 2
    engine.paused = set()
    assert engine.upstreams() == {}


def test_an_upstream_that_is_resumed_just_after_its_container_went_has_its_requests_wait_on() -> None:
    """The next container may be on its way."""
    engine = Engine(web())
    engine.paused = {"web"}
    engine.upstreams()
    engine.remove("web-1")
    engine.paused = set()
    assert engine.wait(1.0) == {"web": Upstream(name="web", hold_s=15.0)}
    assert engine.wait(14.0) == {}


steps = st.lists(
    st.tuples(
        st.sampled_from(["run", "remove", "stop", "pause", "refuse"]),
        st.sampled_from(["web-1", "web-2", "web-3"]),
        st.sampled_from([None, "0s", "2s", "15s"]),
        st.sampled_from([0.0, 0.5, 3.0, 20.0]),
    ),
    max_size=15,
)


@given(steps)
def test_a_name_is_there_for_its_containers_for_a_pause_or_for_a_moment(drawn: list[Any]) -> None:
    """Whatever happens in whatever order: no name stays for ever, and none that is wanted goes."""
    engine = Engine()
    for what, name, hold, wait_s in drawn:
        if what == "run":
            engine.run(web(name, hold))
        elif what == "remove" and name in engine.there:
            engine.remove(name)
        elif what == "stop" and name in engine.there:
            engine.run(replace(engine.there[name], status=ContainerStatus.EXITED))
        elif what == "pause":
            engine.paused ^= {"web"}
        elif what == "refuse":
            engine.rules = Rules(hold_refusal=None if engine.rules.hold_refusal else "no")
        there = engine.wait(wait_s)
        assert ("web" in there) >= bool(engine.there or engine.paused)
        assert all(each.paused == (each.name in engine.paused) for each in there.values())
        if engine.rules.hold_refusal:
            assert all(each.hold_s == 60.0 * each.paused for each in there.values())
            assert bool(there) == bool(engine.there or engine.paused)
    engine.now += 15.0
    assert ("web" in engine.upstreams()) == bool(engine.there or engine.paused)

"""Renames: whose former name counts, until when, and what of it is seen in the plan."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import container, planned, snapshot, upstream_of

from lbwatch.core.draining import Drains
from lbwatch.core.model import Container, ContainerStatus, Health, Plan, Suspended
from lbwatch.core.plan import Planner, Rules
from lbwatch.core.renames import KEEP_NAME_S, MAX_FREED, Renames


class Engine:
    """Containers by what they are called first, what remembers their names, and a clock."""

    def __init__(self, *names: str) -> None:
        self.now = 100.0
        self.memory = Renames()
        self.first = {name: container(name) for name in names}
        self.planner = Planner(rules=Rules, drains=Drains(timeout_s=60.0), drained_by_hand=lambda: ())
        self.look(*self.first)

    def look(self, *changed: str, gone: tuple[str, ...] = ()) -> dict[str, str]:
        """Who goes by a former name, by what it was called first."""
        found = self.memory.former_names([self.first[name] for name in changed], gone=gone, now=self.now)
        ids = {each.id: name for name, each in self.first.items()}
        return {ids[id]: name for id, name in found.items()}

    def becomes(self, first: str, **facts: object) -> dict[str, str]:
        self.first[first] = replace(self.first[first], **facts)  # type: ignore[arg-type]  # any field
        return self.look(first)

    def rename(self, first: str, name: str) -> dict[str, str]:
        return self.becomes(first, name=name)

    def remove(self, first: str) -> dict[str, str]:
        return self.look(gone=(self.first.pop(first).id,))

    def wait(self, seconds: float) -> dict[str, str]:
        self.now += seconds
        return self.look()

    def plan(self) -> dict[str, list[str]]:
        """The servers of each upstream, by what their containers were called first."""
        plan = self.planner.plan((snapshot(self.first.values()),), now=self.now)
        first = {each.name: name for name, each in self.first.items()}
        return {each.name: [first[server.container] for server in each.servers] for each in plan.upstreams}


def test_who_is_renamed_goes_by_its_former_name_for_a_moment() -> None:
    """The next command of the same script may give that name to another."""
    engine = Engine("web")
    assert engine.memory.changes_at() is None
    assert engine.rename("web", "web-old") == {"web": "web"}
    assert engine.memory.changes_at() == engine.now + KEEP_NAME_S
    assert engine.wait(KEEP_NAME_S - 0.001) == {"web": "web"}
    engine.now = engine.memory.changes_at() or 0.0
    assert engine.look() == {}
    assert engine.memory.changes_at() is None


def test_a_name_that_is_only_shown_otherwise_is_none_that_was_given() -> None:
    """Another engine has a container of that name now: its own did nothing, and `explain` must not say that it did."""
    engine = Engine("web", "other")
    for shown in ("a/web", "web", "b/web"):
        assert engine.rename("web", shown) == {}
        assert engine.memory.changes_at() is None
    assert engine.rename("web", "old") == {"web": "b/web"}  # by which the former name is known now
    assert engine.rename("other", "b/web") == {}, "who takes the name over does so at once"


def test_a_deploy_by_renames_never_leaves_the_name_without_a_server() -> None:
    """`rename web web-old; rename web-new web; rm -f web-old`: the half of it went out like a death."""
    engine = Engine("web", "web-new")
    plans = [engine.plan()]
    for first, name in (("web", "web-old"), ("web-new", "web")):
        engine.now += 0.05
        engine.rename(first, name)
        plans.append(engine.plan())
    del engine.first["web"]
    engine.now += 0.05
    plans.append(engine.plan())
    assert [plan["web"] for plan in plans] == [["web"], ["web"], ["web-new"], ["web-new"]]
    assert plans[1] == plans[0], "half-way there is nothing to reload for"


def test_the_planner_looks_again_when_a_former_name_ends_to_count() -> None:
    """No event will come then."""
    engine = Engine("web")
    engine.plan()
    engine.rename("web", "shop")
    assert engine.plan() == {"web": ["web"]}
    engine.now = engine.planner.changes_at() or 0.0
    assert engine.plan() == {"shop": ["web"]}


def test_the_same_deploy_again_and_again() -> None:
    """What the last one put away a moment ago is called as what the next one puts away."""
    engine = Engine("web")
    for number in range(5):
        serving = next(first for first, each in engine.first.items() if each.name == "web")
        engine.first[f"n{number}"] = replace(container(f"n{number}"), name="web-new")
        seen = [engine.plan()]
        for first, name in ((serving, "web-old"), (f"n{number}", "web")):
            engine.now += 0.05
            engine.rename(first, name)
            seen.append(engine.plan())
        assert [plan["web"] for plan in seen] == [[serving], [serving], [f"n{number}"]], number
        engine.now += 0.05
        engine.remove(serving)
        engine.plan()
        engine.now += 0.2


def test_a_new_container_that_is_made_under_the_name_takes_it_once_it_serves() -> None:
    """`rename web web-old; run --name web ...`: until it is ready the old one is all there is."""
    engine = Engine("web")
    assert engine.rename("web", "web-old") == {"web": "web"}
    engine.first["next"] = replace(container("next"), name="web", status=ContainerStatus.CREATED)
    assert engine.look("next") == {"web": "web"}
    assert engine.becomes("next", status=ContainerStatus.RUNNING, health=Health.STARTING) == {"web": "web"}
    assert engine.becomes("next", health=Health.UNHEALTHY) == {"web": "web"}
    assert engine.becomes("next", health=Health.HEALTHY) == {}


def test_two_that_swap_their_names_do_so_in_one_step() -> None:
    """Of three renames none takes a server from the name that is swapped."""
    engine = Engine("blue", "green")
    plans = [engine.plan()]
    for first, name in (("blue", "tmp"), ("green", "blue"), ("blue", "green")):
        engine.now += 0.05
        engine.rename(first, name)
        plans.append(engine.plan())
    assert plans[0] == plans[1] == {"blue": ["blue"], "green": ["green"]}
    assert plans[2]["blue"] == ["green"]
    assert plans[3] == {"blue": ["green"], "green": ["blue"]}


@pytest.mark.parametrize("order", list(permutations(["web", "web-new"])))
def test_two_renames_that_are_seen_at_once_are_seen_whole(order: tuple[str, str]) -> None:
    """A snapshot may have both, in any order."""
    engine = Engine("web", "web-new")
    engine.first["web"] = replace(engine.first["web"], name="web-old")
    engine.first["web-new"] = replace(engine.first["web-new"], name="web")
    assert engine.look(*order) == {}


def test_who_is_renamed_back_was_never_renamed() -> None:
    """Nothing is to be done then, at no time."""
    engine = Engine("web")
    engine.rename("web", "web-old")
    assert engine.rename("web", "web") == {}
    assert engine.memory.changes_at() is None


def test_the_first_of_several_names_counts_and_its_time_does_not_begin_anew() -> None:
    """Else a container that is renamed each second would have its former name for ever."""
    engine = Engine("web")
    engine.rename("web", "a")
    engine.now += KEEP_NAME_S - 1.0
    assert engine.rename("web", "b") == {"web": "web"}
    assert engine.wait(1.0) == {}


def test_a_name_whose_server_was_just_removed_is_taken_at_once() -> None:
    """`rm -f web; rename web-new web`: nobody serves there, and to wait would make it last."""
    engine = Engine("web", "web-new")
    engine.now += 60.0
    engine.remove("web")
    assert engine.rename("web-new", "web") == {}


def test_a_name_whose_server_was_stopped_before_it_was_removed_is_taken_at_once_too() -> None:
    """`stop web; rm web; rename web-new web` is the same with better manners."""
    engine = Engine("web", "web-new")
    engine.now += 60.0
    engine.becomes("web", status=ContainerStatus.EXITED)
    engine.now += 1.0
    engine.remove("web")
    assert engine.rename("web-new", "web") == {}


def test_a_name_that_served_nobody_when_it_was_removed_is_not_waited_for() -> None:
    """`rm web-old; rename web web-old; ...`: a script that begins by cleaning up what it stopped yesterday."""
    engine = Engine("web", "web-old")
    engine.becomes("web-old", status=ContainerStatus.EXITED)
    engine.now += 3600.0
    engine.remove("web-old")
    assert engine.rename("web", "web-old") == {"web": "web"}


def test_what_is_removed_is_forgotten() -> None:
    """Memory stays flat however many come and go."""
    engine = Engine("web")
    engine.rename("web", "web-old")
    assert engine.remove("web") == {}
    assert not (engine.memory._seen or engine.memory._serving or engine.memory._kept)
    everyone = [container(f"c{number}") for number in range(2)]
    for number in range(MAX_FREED + 10):
        one = replace(everyone[0], id=f"{number:064x}", name=f"n{number}")
        engine.memory.former_names([one], gone=(), now=engine.now)
        engine.memory.former_names((), gone=[one.id], now=engine.now)
    assert len(engine.memory._freed) == MAX_FREED
    engine.wait(KEEP_NAME_S)
    assert not engine.memory._freed


names = st.sampled_from(["web", "web-old", "web-new", "tmp"])


@given(st.lists(st.tuples(st.integers(0, 3), names, st.sampled_from([0.0, 0.05, 1.0, 7.0])), max_size=20))
def test_after_a_moment_every_name_is_what_the_engine_says(steps: list[tuple[int, str, float]]) -> None:
    """Whatever was renamed to what, in any order: no former name may stay."""
    engine = Engine("web", "web-new", "x", "y")
    for number, name, wait_s in steps:
        first = list(engine.first)[number]
        if name not in {each.name for each in engine.first.values()}:
            engine.rename(first, name)
        engine.now += wait_s
    assert engine.wait(KEEP_NAME_S) == {}
    assert engine.memory.changes_at() is None


# -- in the plan


def plan_of(*containers: Container, former_names: dict[str, str]) -> Plan:
    return planned([snapshot(containers)], suspended=Suspended(former_names=former_names))


def test_only_a_default_upstream_follows_the_name() -> None:
    """What a label, Compose or Swarm names has nothing to do with what the container is called."""
    compose = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
    labels = {
        "plain": {"lbwatch.enable": "true"},
        "named": {"lbwatch.upstream": "mine"},
        "compose": {"lbwatch.enable": "true"} | compose,
        "several": {"lbwatch.port": "80", "lbwatch.upstreams.metrics.port": "9100"},
    }
    everyone = [container(name, labels=each) for name, each in labels.items()]
    plan = plan_of(*everyone, former_names={each.id: f"former-{each.name}" for each in everyone})
    found = {each.name: [server.container for server in each.servers] for each in plan.upstreams}
    assert found == {
        "former-plain": ["plain"],
        "former-several": ["several"],
        "metrics": ["several"],
        "mine": ["named"],
        "shop-web": ["compose"],
    }


def test_the_server_is_called_by_its_new_name_at_once() -> None:
    """Log, page and API name the container that there is; nothing is reloaded for that."""
    web = container("web-old")
    plan = plan_of(web, former_names={web.id: "web"})
    assert [server.container for server in upstream_of(plan, "web").servers] == ["web-old"]
    assert [route.container for route in plan.routes] == ["web-old"]

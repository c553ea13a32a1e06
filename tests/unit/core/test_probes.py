"""Ports that have to accept a connection first: who waits for that, what is remembered of it, and for how long."""

from dataclasses import replace

import pytest
from strategies import ANY_RULES, container, decide, lines_of, planned, snapshot, unrouted, upstream_of

from lbwatch.core.draining import Drains
from lbwatch.core.model import Container, ContainerStatus, Endpoint, Health, Plan, Reason, Suspended
from lbwatch.core.plan import Planner
from lbwatch.core.probes import ACCEPTED, FIRST_TRIES_S, LATE_S, NotAccepted, PortProbe, Probes, id_of

WAITS = {"lbwatch.upstream": "web", "lbwatch.health": "connect"}
REFUSED = NotAccepted(error="Connection refused", refused=True)
SILENT = NotAccepted(error="no answer within 1 s", refused=False)
WEB = container("web", labels=WAITS)


class Engine:
    """One engine's containers, what plans them, and a clock."""

    def __init__(self, *containers: Container, tries: bool = True) -> None:
        self.now = 100.0
        self.there = {each.name: each for each in containers}
        self.planner = Planner(
            rules=lambda: ANY_RULES,
            drains=Drains(timeout_s=60.0),
            drained_by_hand=lambda: (),
            tries_ports=tries,
        )

    def plan(self) -> Plan:
        return self.planner.plan((snapshot(self.there.values()),), now=self.now)

    def becomes(self, name: str, **facts: object) -> Plan:
        self.there[name] = replace(self.there[name], **facts)  # type: ignore[arg-type]  # any field
        return self.plan()

    def wanted(self) -> list[str]:
        return sorted(f"{each.container} {each.host_port}" for each in self.planner.probes)

    def tried(self, failure: NotAccepted | None = None, *, name: str = "web") -> str | None:
        (probe,) = [each for each in self.planner.probes if each.container == name]
        return self.planner.tried(probe, failure, now=self.now)


def serving(plan: Plan) -> list[str]:
    return [server.container for server in upstream_of(plan, "web").servers]


def why(plan: Plan) -> tuple[str, str]:
    (route,) = unrouted(plan)
    return str(route.reason), route.detail or ""


def test_a_container_serves_once_its_port_has_accepted() -> None:
    """Without a health check it would get requests before its program listens."""
    engine = Engine(WEB)
    assert why(engine.plan()) == (
        "starting",
        "its port 80 has not accepted a connection yet (lbwatch.health=connect)",
    )
    assert engine.wanted() == [f"web {WEB.endpoints[0].ipv4}:80"]
    engine.tried(REFUSED)
    assert serving(engine.plan()) == []
    engine.tried()
    assert engine.wanted() == []  # at once, and not only by the next plan
    assert serving(engine.plan()) == ["web"]


def test_others_are_not_waited_for() -> None:
    """Nobody but who asks for it is tried."""
    other = container("other", labels={"lbwatch.upstream": "web"})
    engine = Engine(WEB, other)
    assert serving(engine.plan()) == ["other"]
    assert [each.container for each in engine.planner.probes] == ["web"]


@pytest.mark.parametrize(
    "facts",
    [
        {"health": Health.UNHEALTHY},
        {"status": ContainerStatus.PAUSED},
        {"labels": WEB.labels},  # any change
    ],
)
def test_once_accepted_it_is_ready_for_as_long_as_it_lives(facts: dict[str, object]) -> None:
    """What comes later is the health check's to find, or nginx's."""
    engine = Engine(WEB)
    engine.plan()
    engine.tried()
    engine.becomes("web", **facts)
    plan = engine.becomes("web", health=Health.NONE, status=ContainerStatus.RUNNING)
    assert (serving(plan), engine.wanted()) == (["web"], [])


def test_a_restart_is_another_life() -> None:
    """Its program has to listen anew."""
    engine = Engine(WEB)
    engine.plan()
    engine.tried()
    engine.plan()
    plan = engine.becomes("web", started_ns=WEB.started_ns + 1)
    assert serving(plan) == []
    assert len(engine.wanted()) == 1
    engine.tried()
    assert serving(engine.plan()) == ["web"]


def test_another_address_is_another_port() -> None:
    """Who listens at one address need not listen at the other."""
    engine = Engine(WEB)
    engine.plan()
    engine.tried()
    plan = engine.becomes("web", endpoints=(Endpoint(network="back", ipv4="172.30.0.9"),))
    assert (serving(plan), engine.wanted()) == ([], ["web 172.30.0.9:80"])
    assert serving(engine.becomes("web", endpoints=WEB.endpoints)) == ["web"]


def test_a_health_check_counts_too() -> None:
    """Each says what the other cannot: one may pass inside while nobody outside is answered."""
    engine = Engine(replace(WEB, health=Health.STARTING))
    assert why(engine.plan())[1].startswith("its health check has not passed yet")
    assert engine.wanted() == []
    assert why(engine.becomes("web", health=Health.HEALTHY))[1].startswith("its port 80 has not accepted")
    engine.tried()
    assert serving(engine.plan()) == ["web"]


def test_each_upstream_of_a_container_waits_for_its_own_port() -> None:
    """One of two programs in a container may be late."""
    labels = {"lbwatch.upstreams.web.port": "80", "lbwatch.upstreams.api.port": "81", "lbwatch.health": "connect"}
    engine = Engine(container("web", labels=labels))
    engine.plan()
    probe = next(each for each in engine.planner.probes if each.port == 81)
    engine.planner.tried(probe, None, now=engine.now)
    plan = engine.plan()
    assert serving(plan) == []
    assert lines_of(plan, "api") == [probe.host_port]


def test_one_that_takes_long_says_why_once() -> None:
    """It may never open, and lbwatch may be on none of its networks: its owner must not wait for ever."""
    engine = Engine(WEB)
    engine.plan()
    assert engine.tried(REFUSED) is None
    engine.now += LATE_S - 0.001
    assert engine.tried(REFUSED) is None
    engine.now += 0.001
    words = engine.tried(REFUSED)
    assert words is not None
    assert "Connection refused" in words
    assert "does its program listen there, and not on 127.0.0.1" in words
    assert engine.tried(REFUSED) is None
    plan = engine.plan()
    assert why(plan)[0] == Reason.STARTING
    assert why(plan)[1].endswith(words)
    engine.tried()
    assert serving(engine.plan()) == ["web"]


def test_one_that_is_not_reached_at_all_says_what_to_do_about_that() -> None:
    """nginx may reach it by a network that lbwatch is not on."""
    engine = Engine(WEB)
    engine.plan()
    engine.tried(SILENT)
    engine.now += LATE_S
    words = engine.tried(SILENT)
    assert words is not None
    assert "have lbwatch share a network with it, or drop the label" in words


def test_another_life_waits_anew() -> None:
    """What was said of the one before is not said of it."""
    engine = Engine(WEB)
    engine.plan()
    engine.tried(SILENT)
    engine.now += LATE_S
    engine.tried(SILENT)
    engine.plan()
    engine.becomes("web", started_ns=WEB.started_ns + 1)
    assert why(engine.plan())[1].endswith("(lbwatch.health=connect)")
    assert engine.tried(SILENT) is None


def test_an_answer_that_comes_too_late_is_not_remembered() -> None:
    """Its container is gone, so that nothing would ever have it forgotten."""
    engine = Engine(WEB)
    engine.plan()
    (probe,) = engine.planner.probes
    engine.there.clear()
    engine.plan()
    assert engine.planner.tried(probe, None, now=engine.now) is None
    engine.plan()
    assert not engine.planner.suspended.probed


def test_who_is_gone_is_forgotten() -> None:
    """Memory stays flat however many come and go."""
    engine = Engine(WEB)
    engine.plan()
    engine.tried()
    engine.plan()
    assert engine.planner.suspended.probed
    engine.there.clear()
    engine.plan()
    assert not engine.planner.suspended.probed


def test_nothing_is_firm_before_each_port_was_tried_after_a_start() -> None:
    """After a restart of lbwatch all would seem closed, and nginx would lose every server for a moment."""
    engine = Engine(WEB, container("we", labels=WAITS))
    engine.plan()
    assert engine.planner.firm_at(now=engine.now) == engine.now + FIRST_TRIES_S
    engine.tried()
    engine.plan()
    assert engine.planner.firm_at(now=engine.now) > engine.now
    engine.tried(REFUSED, name="we")
    assert engine.planner.firm_at(now=engine.now) == engine.now
    # From now on a new container holds nobody up.
    engine.there["wb"] = container("wb", labels=WAITS)
    engine.plan()
    assert engine.planner.firm_at(now=engine.now + 1) <= engine.now + 1


def test_a_start_waits_no_longer_than_that() -> None:
    """An address that is silent must not hold up all others."""
    engine = Engine(WEB)
    engine.plan()
    assert engine.planner.firm_at(now=engine.now) > engine.now
    engine.now += FIRST_TRIES_S
    assert engine.planner.firm_at(now=engine.now) <= engine.now


@pytest.mark.parametrize("tries", [True, False])
def test_where_nobody_waits_or_nobody_tries_a_plan_is_firm_at_once(tries: bool) -> None:
    """A command that looks has nobody who would try a port."""
    engine = Engine(container("web") if tries else WEB, tries=tries)
    engine.plan()
    assert engine.planner.firm_at(now=engine.now) <= engine.now


def test_what_a_daemon_knows_counts_for_a_command_that_looks() -> None:
    """`render` beside a daemon prints what that one writes; alone it shows who waits."""
    engine = Engine(WEB)
    engine.plan()
    engine.tried()
    engine.plan()
    known = Suspended(probed=engine.planner.suspended.probed)
    assert serving(planned([snapshot([WEB])], suspended=known)) == ["web"]
    assert serving(decide(WEB)) == []


def test_a_key_begins_with_the_container_s_id() -> None:
    """By that it is known whose row is another."""
    probe = PortProbe(id="a" * 64, started_ns=7, address="fd00::1", port=80)
    assert probe.key == f"{'a' * 64} 7 [fd00::1]:80"
    assert id_of(probe.key) == "a" * 64


def test_what_came_of_tries_is_the_same_object_while_nothing_comes_of_others() -> None:
    """Thousands of rows are compared by it at each pass."""
    probes = Probes(tries=True)
    first = probes.probed({}, changed=())
    probe = PortProbe(id="x", started_ns=1, address="192.0.2.1", port=80)
    probes.tried(probe, REFUSED, now=0.0)
    assert probes.probed({}, changed=()) is first
    probes.tried(probe, None, now=1.0)
    assert probes.probed({}, changed=()) == {probe.key: ACCEPTED}

"""The loop between its two ports: what is applied, when, and what happens after a failure."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import structlog
from simulation import in_simulated_time
from waiting import eventually, never

from lbwatch.core.draining import Drains
from lbwatch.core.errors import ConfigRejectedError, LbwatchError, ReloadError, TakenBackError
from lbwatch.core.model import (
    Applied,
    Container,
    ContainerStatus,
    Degraded,
    Endpoint,
    Level,
    Plan,
    Server,
    Snapshot,
    Upstream,
)
from lbwatch.core.plan import Planner, Rules
from lbwatch.core.probes import FIRST_TRIES_S
from lbwatch.core.schedule import RETRY_LIMIT_S, ReloadPace, adds_servers, removes_servers
from lbwatch.reconciler import Reconciler

LONG_S = 600.0  # an interval that no test waits for
DRAIN_S = 60.5  # between two of the confirmations that come each second anyway


class World:
    """A source whose containers a test sets."""

    name = "world"

    def __init__(self, *names: str) -> None:
        self.containers: dict[str, Container] | None = {}
        self.changed: Callable[[], None] = lambda: None
        self.stopping: dict[str, float] = {}
        self.have(*names)

    def tell_to_stop(self, name: str) -> None:
        """Let one have got its stop signal now."""
        self.stopping[name] = asyncio.get_running_loop().time()
        self.changed()

    def have(self, *names: str, labels: tuple[tuple[str, str], ...] = (("lbwatch.port", "80"),)) -> None:
        """Let exactly these containers run, each an upstream of its own."""
        self.containers = {
            name: Container(
                id=name,
                name=name,
                labels=labels,
                status=ContainerStatus.RUNNING,
                endpoints=(Endpoint(network="bridge", ipv4=f"192.0.2.{sum(map(ord, name)) % 250 + 1}"),),
            )
            for name in names
        }
        self.changed()

    def restart(self, name: str, *, restarts: int) -> None:
        """Let the engine have restarted one so often."""
        assert self.containers is not None
        started_ns = self.containers[name].started_ns + 1
        self.containers[name] = replace(self.containers[name], restarts=restarts, started_ns=started_ns)
        self.changed()

    def snapshot(self) -> Snapshot | None:
        if self.containers is None:
            return None
        return Snapshot(source=self.name, containers=dict(self.containers), stopping=dict(self.stopping))

    async def run(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        await asyncio.Event().wait()


class Worlds:
    """Several engines as one source, which says nothing before each has spoken."""

    def __init__(self, *worlds: World) -> None:
        self.worlds = worlds

    def snapshots(self) -> tuple[Snapshot, ...] | None:
        found = tuple(snapshot for world in self.worlds if (snapshot := world.snapshot()) is not None)
        return found if len(found) == len(self.worlds) else None

    async def run(self, changed: Callable[[], None]) -> None:
        raise AssertionError("each world runs by itself")


class Balancer:
    """A load balancer that notes what it is given, and fails as told."""

    step = "verifying"

    def __init__(self) -> None:
        self.pace = ReloadPace(interval_s=LONG_S)
        self.in_force: tuple[Upstream, ...] | None = None
        self.given: list[list[str]] = []
        self.servers: list[list[str]] = []
        self.errors: list[LbwatchError] = []
        self.stands = True
        self.up = True
        self.is_another = False
        self.degraded: list[tuple[Degraded, ...]] = []

    async def prepare(self) -> None: ...

    def limited(self, plan: Plan) -> Plan:
        return plan

    def due(self, upstreams: tuple[Upstream, ...], *, now: float, at_once: bool) -> float:
        return self.pace.due(upstreams, before=self.in_force, now=now, at_once=at_once)

    async def apply(self, upstreams: tuple[Upstream, ...]) -> Applied:
        self.pace.reloads(upstreams, before=self.in_force, now=asyncio.get_running_loop().time())
        self.given.append([upstream.name for upstream in upstreams if upstream.servers])
        self.servers.append([server.container for upstream in upstreams for server in upstream.servers])
        if self.errors:
            raise self.errors.pop(0)
        self.stands = True
        self.in_force = upstreams
        degraded = self.degraded.pop(0) if self.degraded else ()
        return Applied(digest="0", changed=True, reloaded=True, degraded=degraded)

    def confirmed(self) -> bool:
        return self.stands

    def runs(self) -> bool:
        return self.up

    def restarted(self) -> bool:
        return self.is_another


@asynccontextmanager
async def looping(
    *worlds: World,
    balancer: Balancer,
    interval_s: float = LONG_S,
    retry_limit_s: float = RETRY_LIMIT_S,
    by_hand: Collection[str] = (),
    passed: Callable[[], None] = lambda: None,
    tries_ports: bool = False,
) -> AsyncIterator[Reconciler]:
    balancer.pace = ReloadPace(interval_s=interval_s)
    loop = Reconciler(
        Worlds(*worlds),
        balancer=balancer,
        planner=Planner(
            rules=Rules, drains=Drains(timeout_s=DRAIN_S), drained_by_hand=lambda: by_hand, tries_ports=tries_ports
        ),
        retry_limit_s=retry_limit_s,
        random=lambda: 0.0,
        wall=lambda: 1_700_000_000.0 + asyncio.get_running_loop().time(),
    )
    tasks = [
        asyncio.create_task(loop.run(passed=passed)),
        *(asyncio.create_task(world.run(loop.wake)) for world in worlds),
    ]
    try:
        yield loop
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_the_first_state_is_applied_at_once() -> None:
    """Whatever the file holds: it may be from yesterday."""
    balancer = Balancer()
    async with looping(World("a"), balancer=balancer):
        await eventually(lambda: balancer.given == [["a"]])


async def test_nothing_is_applied_before_every_source_has_spoken() -> None:
    """Half the truth would take the other half out of service."""
    balancer, first, second = Balancer(), World("a"), World("b")
    second.containers = None
    async with looping(first, second, balancer=balancer):
        await never(lambda: balancer.given, during=0.2, what="half the truth was applied")
        second.have("b")
        await eventually(lambda: balancer.given == [["a", "b"]])


async def test_nothing_is_applied_before_the_ports_that_are_waited_for_were_tried() -> None:
    """Else each start of lbwatch would take those out of service that have served all the time."""
    balancer, world = Balancer(), World()
    world.have("a", labels=(("lbwatch.health", "connect"), ("lbwatch.port", "80")))
    passes = 0

    def passed() -> None:
        nonlocal passes
        passes += 1

    async with looping(world, balancer=balancer, tries_ports=True, passed=passed) as loop:
        await eventually(lambda: passes)
        (probe,) = loop.planner.probes
        assert not balancer.given
        loop.planner.tried(probe, None, now=asyncio.get_running_loop().time())
        loop.wake()
        await eventually(lambda: balancer.given == [["a"]])


async def test_a_port_that_says_nothing_holds_nothing_up_for_long() -> None:
    """All others have to be served."""
    balancer, world = Balancer(), World()
    world.have("a", labels=(("lbwatch.health", "connect"), ("lbwatch.port", "80")))
    async with looping(world, balancer=balancer, tries_ports=True):
        await eventually(lambda: balancer.given == [[]], within=FIRST_TRIES_S + 10)


async def test_an_addition_waits_for_the_interval_and_a_removal_does_not() -> None:
    """A new server can wait a second; a dead one costs requests."""
    balancer, world = Balancer(), World("a", "b")
    async with looping(world, balancer=balancer):
        await eventually(lambda: len(balancer.given) == 1)
        world.have("a", "b", "c")
        await never(lambda: len(balancer.given) > 1, during=0.3, what="an addition did not wait")
        world.have("a", "c")
        await eventually(lambda: balancer.given[1:] == [["a", "c"]])


async def test_after_a_burst_the_last_state_is_applied() -> None:
    """The end of a deploy is what counts."""
    balancer, world = Balancer(), World("a")
    async with looping(world, balancer=balancer, interval_s=2.0):
        await eventually(lambda: len(balancer.given) == 1)
        for number in range(20):
            world.have("a", *(f"b{each}" for each in range(number + 1)))
            await asyncio.sleep(0)
        await eventually(lambda: len(balancer.given[-1]) == 21)
        assert len(balancer.given) == 2


async def test_what_is_in_force_is_not_applied_again() -> None:
    """No reload when nothing changed."""
    balancer, world = Balancer(), World("a")
    async with looping(world, balancer=balancer, interval_s=0.1) as loop:
        await eventually(lambda: len(balancer.given) == 1)
        for _ in range(10):
            loop.wake()
            await asyncio.sleep(0)
        await never(lambda: len(balancer.given) > 1, during=0.3, what="it was applied again")


async def test_an_owed_reload_is_tried_until_it_is_verified() -> None:
    """A lost reload is the wound of this field."""
    balancer = Balancer()
    balancer.errors = [ReloadError("nginx is not running"), ReloadError("nginx is not running")]
    with structlog.testing.capture_logs() as logs:
        async with looping(World("a"), balancer=balancer):
            await eventually(lambda: len(balancer.given) == 3)
            await never(lambda: len(balancer.given) > 3, during=0.3, what="it was applied again")
    errors = [log for log in logs if log["event"] == "nginx.reload_failed"]
    assert [log["attempt"] for log in errors] == [1, 2]


async def test_a_change_does_not_wait_for_the_back_off_of_a_refusal() -> None:
    """The change may be what mends it."""
    balancer, world = Balancer(), World("a", "bad")
    balancer.errors = [ConfigRejectedError("no")] * 8
    async with looping(world, balancer=balancer):
        await eventually(lambda: len(balancer.given) >= 4)  # by now the next try is a second away or more
        balancer.errors.clear()
        world.have("a")
        await eventually(lambda: balancer.given[-1] == ["a"], within=0.5)


async def test_another_load_balancer_does_not_wait_for_the_back_off_of_the_one_before() -> None:
    """A restart of nginx may be what mends it, and its next try was ten minutes away."""
    balancer = Balancer()
    balancer.errors = [TakenBackError("no")]
    async with looping(World("a"), balancer=balancer):
        await eventually(lambda: len(balancer.given) == 1)  # the next try is half a minute away
        balancer.is_another = True
        await eventually(lambda: balancer.in_force is not None, within=2)


async def test_a_load_balancer_that_lost_it_gets_it_again() -> None:
    """nginx may have been restarted with an old file."""
    balancer = Balancer()
    async with looping(World("a"), balancer=balancer, interval_s=0.1):
        await eventually(lambda: len(balancer.given) == 1)
        balancer.stands = False
        await eventually(lambda: len(balancer.given) == 2)


async def test_a_renewal_during_an_apply_is_not_lost() -> None:
    """The template may be mended while nginx is being verified; the text in force is then the old one's."""
    balancer, suspended = Balancer(), asyncio.Event()
    apply = balancer.apply

    async def slow(upstreams: tuple[Upstream, ...]) -> Applied:
        applied = await apply(upstreams)
        await suspended.wait()
        return applied

    balancer.apply = slow  # type: ignore[method-assign]
    async with looping(World("a"), balancer=balancer) as loop:
        await eventually(lambda: len(balancer.given) == 1)
        loop.renew()
        suspended.set()
        await eventually(lambda: len(balancer.given) == 2)
        await never(lambda: len(balancer.given) > 2, during=0.3, what="it was applied again")


async def test_a_renewal_that_fails_is_tried_again() -> None:
    """The new template must win once its hindrance is gone, although the upstreams are the same."""
    balancer = Balancer()
    async with looping(World("a"), balancer=balancer, interval_s=0.1) as loop:
        await eventually(lambda: len(balancer.given) == 1)
        balancer.errors = [ConfigRejectedError("not now")]
        loop.renew()
        await eventually(lambda: len(balancer.given) == 3)
        await never(lambda: len(balancer.given) > 3, during=0.3, what="it was applied again")


async def test_a_wrong_label_is_logged_once_and_again_after_it_was_right() -> None:
    """Once is enough, each pass would drown the log."""
    balancer, world = Balancer(), World("good")
    with structlog.testing.capture_logs() as logs:
        async with looping(world, balancer=balancer, interval_s=0.1) as loop:
            world.have("bad", labels=(("lbwatch.port", "many"),))

            def skips() -> list[str]:
                return [log["reason"] for log in logs if log["event"] == "container.not_routed"]

            await eventually(skips)
            for _ in range(5):
                loop.wake()
                await asyncio.sleep(0.01)
            assert skips() == ["bad-label"]
            world.have("bad")
            await eventually(lambda: balancer.given[-1] == ["bad"])
            world.have("bad", labels=(("lbwatch.port", "many"),))
            await eventually(lambda: skips() == ["bad-label"] * 2)


def test_a_loop_of_restarts_costs_one_reload_and_comes_back_by_itself() -> None:
    """Else each crash of one container reloads nginx for all; no event says when it stayed up for long enough."""

    async def loop_for_a_while() -> None:
        balancer, world = Balancer(), World("a", "b")
        async with looping(world, balancer=balancer, interval_s=0.1):
            await eventually(lambda: balancer.given == [["a", "b"]])
            for restarts in range(1, 6):
                world.restart("b", restarts=restarts)
                await asyncio.sleep(1.0)
            lives = [["a", "b"]] * 3  # whether a new one is worth a reload the load balancer knows
            assert balancer.given == [*lives, ["a"]]
            await asyncio.sleep(18.0)
            assert balancer.given == [*lives, ["a"]], "5 s, doubled by the fourth restart and by the fifth"
            await asyncio.sleep(1.1)
            assert balancer.given == [*lives, ["a"], ["a", "b"]]

    with structlog.testing.capture_logs() as logs:
        in_simulated_time(loop_for_a_while())
    details = [
        log["detail"] for log in logs if log["event"] == "container.not_routed" and log["reason"] == "restart-loop"
    ]
    assert [each.split(" s,")[0].split()[-1] for each in details] == ["5", "10", "20"]


ONE_UPSTREAM = (("lbwatch.port", "80"), ("lbwatch.upstream", "web"))


def test_a_container_that_survives_its_stop_signal_is_back_after_the_drain_timeout() -> None:
    """Nothing happens then that could wake anyone, and a server that stays out for ever is lost capacity."""

    async def survive() -> None:
        balancer, world = Balancer(), World()
        world.have("a", "b", labels=ONE_UPSTREAM)
        async with looping(world, balancer=balancer, interval_s=0.1):
            await asyncio.sleep(1.0)
            assert balancer.servers == [["a", "b"]]
            world.tell_to_stop("b")
            await asyncio.sleep(0.2)
            assert balancer.servers[1:] == [["a"]], "at once"
            await asyncio.sleep(DRAIN_S - 0.5)
            assert len(balancer.servers) == 2
            await asyncio.sleep(0.5)
            assert balancer.servers[2:] == [["a", "b"]]

    in_simulated_time(survive())


def test_a_drain_leaves_at_once_although_something_was_just_added() -> None:
    """The container ends within a second or so; a reload that waits for the interval would come too late."""

    async def drain() -> None:
        balancer, world = Balancer(), World()
        world.have("a", "b", labels=ONE_UPSTREAM)
        async with looping(world, balancer=balancer, interval_s=30.0):
            await asyncio.sleep(0.2)
            world.tell_to_stop("b")
            await asyncio.sleep(0.01)
            assert balancer.servers == [["a", "b"], ["a"]]

    in_simulated_time(drain())


def test_what_replaces_a_container_is_in_before_that_one_is_out_in_one_reload() -> None:
    """The new one had to wait for the interval; the removal that does not takes it along."""

    async def replace_one() -> None:
        balancer, world = Balancer(), World()
        world.have("a", labels=ONE_UPSTREAM)
        async with looping(world, balancer=balancer, interval_s=30.0):
            await asyncio.sleep(1.0)
            world.have("a", "b", labels=ONE_UPSTREAM)
            await asyncio.sleep(1.0)
            assert balancer.servers == [["a"]], "it waits"
            world.tell_to_stop("a")
            await asyncio.sleep(0.01)
            assert balancer.servers == [["a"], ["b"]]

    in_simulated_time(replace_one())


def test_what_comes_back_after_a_removal_does_not_wait_for_the_interval() -> None:
    """A container that is restarted is out for as long as it is down, and not for a second more."""

    async def restart() -> None:
        balancer, world = Balancer(), World()
        world.have("a", "b", labels=ONE_UPSTREAM)
        async with looping(world, balancer=balancer, interval_s=30.0):
            await asyncio.sleep(40.0)
            world.have("a", labels=ONE_UPSTREAM)
            await asyncio.sleep(0.05)
            world.have("a", "b", labels=ONE_UPSTREAM)
            await asyncio.sleep(0.06)
            assert balancer.servers == [["a", "b"], ["a"], ["a", "b"]]
            world.have("a", labels=ONE_UPSTREAM)
            await asyncio.sleep(1.0)
            world.have("a", "b", labels=ONE_UPSTREAM)
            await asyncio.sleep(20.0)
            assert balancer.servers[3:] == [["a"]], "that was an addition: the next one keeps the distance"

    in_simulated_time(restart())


async def test_whoever_waits_is_told_once_it_is_in_force_and_not_before() -> None:
    """`lbwatch drain web && docker stop web` is only safe then."""
    balancer, world, by_hand = Balancer(), World(), set[str]()
    world.have("a", "b", labels=ONE_UPSTREAM)
    async with looping(world, balancer=balancer, by_hand=by_hand) as loop:
        await eventually(lambda: balancer.servers == [["a", "b"]])
        by_hand.add("b")
        balancer.errors = [ReloadError("not yet")] * 3
        routes = await asyncio.wait_for(loop.settled(), 5)
        assert balancer.servers[-1] == ["a"]
        assert not balancer.errors
        assert [route.container for route in routes if route.reason is not None] == ["b"]


def test_whoever_waits_does_not_wait_for_what_others_do_meanwhile() -> None:
    """On a busy engine there is always something that waits for its turn."""

    async def drain_amid_starts() -> None:
        balancer, world, by_hand = Balancer(), World(), set[str]()
        names = ["a", "b"]
        world.have(*names, labels=ONE_UPSTREAM)
        async with looping(world, balancer=balancer, by_hand=by_hand, interval_s=10.0) as loop:

            async def start_ever_more() -> None:
                while True:
                    names.append(f"c{len(names)}")
                    world.have(*names, labels=ONE_UPSTREAM)
                    await asyncio.sleep(0.09)

            await asyncio.sleep(1.0)
            busy = asyncio.create_task(start_ever_more())
            await asyncio.sleep(1.0)
            by_hand.add("b")
            await asyncio.wait_for(loop.settled(), 0.5)
            assert "b" not in balancer.servers[-1]
            busy.cancel()

    in_simulated_time(drain_amid_starts())


def test_a_container_that_outlives_its_drain_is_logged_once() -> None:
    """Under `docker stop --time 120` it gets requests again: whoever wonders why finds one line."""

    async def outlive() -> None:
        balancer, world = Balancer(), World()
        world.have("a", "b", labels=ONE_UPSTREAM)
        async with looping(world, balancer=balancer, interval_s=0.1):
            await asyncio.sleep(1.0)
            world.tell_to_stop("b")
            await asyncio.sleep(DRAIN_S - 1.0)
            assert not [log for log in logs if log["event"] == "container.outlived_drain"]
            await asyncio.sleep(100.0)

    with structlog.testing.capture_logs() as logs:
        in_simulated_time(outlive())
    assert [log["container"] for log in logs if log["event"] == "container.outlived_drain"] == ["b"]


def test_what_fell_back_is_tried_again_and_what_stands_is_left_alone() -> None:
    """Its cause may be gone, such as the user's own upstream of that name, and nothing tells us."""

    async def fall_back_twice() -> None:
        balancer = Balancer()
        balancer.degraded = [(Degraded(upstream="a", level=Level.PLAIN, error="no"),)] * 2
        async with looping(World("a"), balancer=balancer, interval_s=0.1, retry_limit_s=20.0):
            for tries in (1, 2, 3):
                await asyncio.sleep(1.0)
                assert len(balancer.given) == tries
                await asyncio.sleep(20.0)
            await asyncio.sleep(100.0)
            assert len(balancer.given) == 3

    in_simulated_time(fall_back_twice())


@pytest.mark.parametrize(
    ("before", "after", "removes"),
    [
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], True),
        (["a"], ["b"], True),
        ([], ["a"], False),
        (["a"], ["a"], False),
    ],
)
def test_a_removal_is_a_server_that_is_missing_afterwards(before: list[str], after: list[str], removes: bool) -> None:
    """The pace depends on it."""
    assert removes_servers((web(*before),), (web(*after),)) is removes


def web(*names: str, weight: int = 1, method: str | None = None, name: str = "web") -> Upstream:
    servers = tuple(Server(address=f"192.0.2.{ord(each)}", port=80, container=each, weight=weight) for each in names)
    return Upstream(name=name, servers=servers, method=method)


@pytest.mark.parametrize(
    ("before", "after", "adds"),
    [
        ([web("a")], [web("a", "b")], True),
        ([web("a", "b")], [web("a")], False),
        ([web("a")], [web("b")], True),
        ([web("a")], [web()], False),
        ([web("a"), web(name="api")], [web("a")], False),
        ([web("a")], [web("a"), web(name="api")], True),
        ([web("a")], [web("a", weight=2)], True),
        ([web("a")], [web("a", method="least_conn")], True),
        ([web("a")], [web("a")], False),
    ],
)
def test_an_addition_is_anything_but_that_servers_went(
    before: list[Upstream], after: list[Upstream], adds: bool
) -> None:
    """It has to keep its distance from the one before, and nothing else has."""
    assert adds_servers(tuple(before), tuple(after)) is adds


# -- what the status is told


async def test_an_error_that_is_no_longer_in_the_way_is_not_told_any_more() -> None:
    """Who is woken by a container that was removed an hour ago switches the alarm off."""
    balancer, world = Balancer(), World("a")
    async with looping(world, balancer=balancer, interval_s=0.1) as loop:
        await eventually(lambda: loop.applied().in_force)
        balancer.errors = [ConfigRejectedError("no")] * 100
        world.have("a", "bad")
        await eventually(lambda: loop.applied().error == "no")
        assert loop.applied().behind_since is not None
        assert loop.applied().serves_old
        world.have("a")
        await eventually(lambda: loop.applied().error is None)
        assert loop.applied().behind_since is None
        assert [change.outcome for change in loop.history.changes][-1] == "nginx.rejected"


async def test_a_reload_that_is_owed_is_told_as_what_nginx_does_not_run() -> None:
    """The file is right then, and nobody serves by it."""
    balancer = Balancer()
    balancer.up = False
    balancer.errors = [ReloadError("nginx is not running here")] * 100
    async with looping(World("a"), balancer=balancer) as loop:
        await eventually(lambda: loop.applied().error)
        seen = loop.applied()
        assert (seen.in_force, seen.serves_old, seen.confirmed) == (None, False, False)


def test_the_time_from_an_event_counts_the_wait_for_its_turn() -> None:
    """Clients wait from the event on, not from the moment that lbwatch had time for it."""

    async def play() -> None:
        balancer, world = Balancer(), World("a")
        loop = asyncio.get_running_loop()
        async with looping(world, balancer=balancer, interval_s=5.0) as reconciler:
            await eventually(lambda: reconciler.applied().in_force)
            assert reconciler.history.heard.counts == [0] * len(reconciler.history.heard.counts), "no event told that"
            began = loop.time()
            world.have("a", "b")
            reconciler.wake(heard_at=began)
            await eventually(lambda: len(balancer.given) == 2, within=60)
            took_s = loop.time() - began
            assert took_s > 3
            assert reconciler.history.heard.total_s == pytest.approx(took_s, abs=0.1)
            reconciler.wake(heard_at=loop.time())  # of an event that changes nothing
            await asyncio.sleep(10)
            assert sum(reconciler.history.heard.counts) == 1
            world.have("a", "b", "c")
            reconciler.wake(heard_at=loop.time())
            await eventually(lambda: len(balancer.given) == 3, within=60)
            assert reconciler.history.heard.total_s == pytest.approx(took_s, abs=0.2), "the quiet time was counted"

    in_simulated_time(play())


async def test_since_when_a_container_is_routed_or_not_is_kept() -> None:
    """A drain of ten seconds is a deploy, one of an hour is forgotten."""
    balancer, world = Balancer(), World("a", "b")
    async with looping(world, balancer=balancer, interval_s=0.1) as loop:
        await eventually(lambda: ("a", "a", None) in loop.history.since)
        since = loop.history.since["a", "a", None]
        world.have("a", "b", labels=(("lbwatch.port", "no"),))
        await eventually(lambda: loop.history.since.get(("a", None, None), 0) > since)
        assert ("a", "a", None) not in loop.history.since


@pytest.mark.parametrize("why", ["in step", "no engine", "its turn has not come", "nginx refuses"])
def test_a_pass_ends_each_second_whatever_is_waited_for(why: str) -> None:
    """A supervisor that hears of no pass for minutes takes the daemon for hung, and kills it."""

    async def play() -> None:
        balancer, world = Balancer(), World("a")
        clock = asyncio.get_running_loop().time
        ends = [clock()]
        if why == "no engine":
            world.containers = None
        if why == "nginx refuses":
            balancer.errors = [ConfigRejectedError("no")] * 1000
        async with looping(world, balancer=balancer, passed=lambda: ends.append(clock())):
            await asyncio.sleep(1)
            if why == "its turn has not come":
                world.have("a", "b")
            await asyncio.sleep(LONG_S / 2)
            assert len(balancer.given) < 30, "what failed is not tried again for that"
        assert max(later - earlier for earlier, later in itertools.pairwise([*ends, clock()])) < 1.1

    in_simulated_time(play())


def test_a_pass_that_hangs_has_not_ended() -> None:
    """What feeds the watchdog must be work that was done: a timer would go on for ever."""

    async def play() -> None:
        balancer, ends = Balancer(), []
        hang = asyncio.Event()
        balancer.apply = lambda upstreams: hang.wait()
        async with looping(World("a"), balancer=balancer, passed=lambda: ends.append(1)) as loop:
            await asyncio.sleep(LONG_S)
            assert loop.applied().applying
            assert loop.applied().step == "verifying"
            assert ends == []

    in_simulated_time(play())

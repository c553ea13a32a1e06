"""
Whatever happens in a Swarm in whatever order, and whatever fails, who serves comes to be who should and does run.

Stories of random operations and faults on the fake manager, in simulated time; each is compared at every moment with
what is true (`swarmwatch`). `CONVERGENCE_SEED` repeats a run, `CONVERGENCE_STEPS` makes it longer.
"""

import asyncio
import contextlib
import logging
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import structlog
from answers import connected
from simulation import SimulatedNginx, blocks_of, in_simulated_time
from swarmstage import Stage, swarm_stage
from swarmwatch import Bounds, Watch, swarm_requests
from usersettings import settings_with

from lbwatch.core.draining import Drains
from lbwatch.core.model import Engine
from lbwatch.core.plan import Planner, Rules
from lbwatch.engines.fake.manager.state import Service, Task
from lbwatch.engines.fake.state import RefusedError
from lbwatch.engines.swarm.doors import Door
from lbwatch.engines.swarm.source import SwarmSource
from lbwatch.tasks import run_until
from lbwatch.wiring.daemon import build_daemon

SEED = int(os.environ["CONVERGENCE_SEED"])  # conftest chooses and prints one
STEPS = int(os.environ.get("CONVERGENCE_STEPS") or 240)
STEPS_EACH = 60
BIG_TASKS = int(os.environ.get("CONVERGENCE_TASKS") or (10_000 if "CONVERGENCE_STEPS" in os.environ else 2_000))

RESYNC_S = 30.0
QUIET_S = 60.0
QUIET_REQUESTS = 55  # a list each 1.25 s, and up to three full looks
ALL_QUIET_REQUESTS = 58  # all of a daemon that follows one manager, on which tasks run, too
BOUNDS = Bounds(settle=1.6, leave=1.6, death=3.0)
WHOLE_BOUNDS = Bounds(settle=3.2, leave=2.2, death=3.5)  # reloads that add servers are a second apart
# A list of ten thousand tasks takes a manager 2.5 s, and it has twice as long a pause after it: who comes in the place of
# a whole node's tasks is in by the second of them. Who leaves must not wait for that.
BIG_BOUNDS = Bounds(settle=4.0 if BIG_TASKS < 5_000 else 10.0, leave=2.0, death=120.0)
RECOVER_S = 15.0
HEALED_S = 180.0

LABELS = {"lbwatch.enable": "true", "lbwatch.port": "80"}


def asks(service: Service) -> bool:
    return service.spec.labels.get("lbwatch.enable") == "true"


class Followed:
    """A source on the managers of a stage, and a planner: whom a load balancer would send requests to."""

    def __init__(self, stage: Stage, source: SwarmSource) -> None:
        self.stage = stage
        self.source = source
        self.plans = 0
        self._served: frozenset[str] = frozenset()
        self._planner = Planner(
            rules=lambda: Rules(networks=("ov",)), drains=Drains(timeout_s=60.0), drained_by_hand=tuple
        )

    def served(self) -> frozenset[str]:
        """Return the addresses that get requests, planned anew as the reconciler would."""
        snapshot, now = self.source.snapshot(), self.stage.now()
        if snapshot is not None:
            plan = self._planner.plan((snapshot,), now=now)
            self._served = frozenset(
                f"{server.address}:{server.port}" for upstream in plan.upstreams for server in upstream.servers
            )
        return self._served


@contextlib.asynccontextmanager
async def source_alone(stage: Stage) -> AsyncIterator[Callable[[], frozenset[str]]]:
    """Return whom a planner sends requests to that knows what a source says, which has a door to each manager."""
    async with contextlib.AsyncExitStack() as stack:
        doors = [
            Door(name=name, client=await stack.enter_async_context(connected(engine.url)))
            for name, engine in stage.engines.items()
            if name.startswith("m")
        ]
        source = SwarmSource(
            name="swarm",
            engine=Engine(name="swarm"),
            doors=lambda: doors,
            prefix="lbwatch",
            expose_all=False,
            also_labels=frozenset(),
            resync_interval_s=RESYNC_S,
            random=random.Random(SEED).random,
        )

        def changed(*, heard_at: float | None = None) -> None:
            """Do nothing: it is looked at all the time."""

        running = asyncio.create_task(source.run(changed))
        try:
            await stage.until(source.snapshot)
            yield Followed(stage, source).served
        finally:
            running.cancel()
            await asyncio.wait([running])


@contextlib.asynccontextmanager
async def whole_daemon(stage: Stage) -> AsyncIterator[Callable[[], frozenset[str]]]:
    """Return whom nginx sends requests to, while all of the daemon follows the stage's managers as its engines."""
    with tempfile.TemporaryDirectory(prefix="lbw-swarm-") as folder:
        (Path(folder) / "conf.d").mkdir()
        nginx = SimulatedNginx(Path(folder) / "conf.d" / "lbwatch.conf")
        nginx.start()
        settings = settings_with(
            docker_host=tuple(f"{name}={engine.url}" for name, engine in stage.engines.items()),
            output=nginx.output,
            host_network="false",
            networks=("ov",),
            resync_interval=RESYNC_S,
            state_dir=Path(folder) / "state",
        )
        stopped = asyncio.Event()
        async with build_daemon(settings, tester=nginx, control=nginx) as daemon:
            running = asyncio.create_task(run_until(daemon, until=stopped.wait()))
            try:
                await stage.until(lambda: nginx.reloads)
                yield lambda: _addresses_of(nginx.runs or "")
            finally:
                stopped.set()
                await running


def _addresses_of(text: str) -> frozenset[str]:
    servers = (line.split() for body in blocks_of(text).values() for line in body.split(";"))
    return frozenset(words[1] for words in servers if words[:1] == ["server"] and words[2:] != ["down"])


@pytest.fixture
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


class Story:
    """Random operations on one Swarm, with faults or without."""

    def __init__(self, stage: Stage, *, watch: Watch, dice: random.Random, stormy: bool) -> None:
        self.stage = stage
        self.watch = watch
        self.dice = dice
        self.stormy = stormy
        self.told: list[str] = []
        self._forces = 0

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            deeds = [self.scale, self.update, self.label, self.create, self.remove, self.availability, self.die]
            deeds += [self.roll_back, self.lag, self.label_node, self.scale, self.update, self.unhealthy]
            if self.stormy:
                deeds += [self.cut_off, self.reconnect, self.trouble, self.trouble, self.empty, self.cut_streams]
            deed = self.dice.choice(deeds)
            self.told.append(f"{self.stage.now():.2f} {deed.__name__}")
            with contextlib.suppress(RefusedError):
                deed()
            await asyncio.sleep(self.dice.choice([0.0, 0.01, 0.3, 2.0, 2.0, 8.0]))

    async def heal(self) -> None:
        self.stage.swarm.replica.lag_s = lambda: 0.05
        await asyncio.sleep(60.0)  # the longest trouble is over
        for node in self.stage.swarm.nodes:
            self.stage.swarm.nodes.reconnect(node.id)
            self.stage.swarm.nodes.set_availability(node.id, "active")
        await asyncio.sleep(HEALED_S)

    def service(self) -> Service:
        return self.dice.choice([*self.stage.swarm.services])

    def scale(self) -> None:
        self.stage.swarm.services.scale(self.service().id, self.dice.choice([0, 1, 2, 3, 3, 5, 8]))

    def update(self) -> None:
        self._forces += 1
        changes = {"order": self.dice.choice(["start-first", "stop-first"]), "force": self._forces}
        pace = {"parallelism": self.dice.choice([0, 1, 1, 2]), "delay_s": self.dice.choice([0.0, 0.0, 1.0, 30.0])}
        self.stage.swarm.services.update(self.service().id, **changes, **pace)

    def roll_back(self) -> None:
        self.stage.swarm.services.rollback(self.service().id)

    def label(self) -> None:
        """Only the service's: no task is replaced, and who serves may change at once."""
        labels = self.dice.choice([LABELS, LABELS | {"lbwatch.weight": "3"}, {"lbwatch.enable": "false"}, {}])
        self.stage.swarm.services.update(self.service().id, labels=labels)

    def create(self) -> None:
        if len([*self.stage.swarm.services]) < 6:
            name = f"s{self.dice.randrange(100)}"
            health = self.dice.choice([None, "healthy"])
            order = self.dice.choice(["start-first", "stop-first"])
            self.stage.swarm.services.create(
                name,
                replicas=self.dice.choice([None, 2, 3]),
                labels=LABELS,
                networks=("ov",),
                health=health,
                order=order,
            )

    def remove(self) -> None:
        if len([*self.stage.swarm.services]) > 3:
            self.stage.swarm.services.remove(self.service().id)

    def availability(self) -> None:
        word = self.dice.choice(["active", "active", "drain", "pause"])
        self.stage.swarm.nodes.set_availability(self.dice.choice(["w1", "w2", "w3"]), word)

    def label_node(self) -> None:
        self.stage.swarm.nodes.label("w1", zone=str(self.dice.randrange(9)))

    def die(self) -> None:
        if running := self._running():
            self.stage.swarm.tasks.die(self.dice.choice(running).id, self.dice.choice([0, 1, 137]))

    def unhealthy(self) -> None:
        if running := [task for task in self._running() if task.spec.health and task.healthy]:
            self.stage.swarm.tasks.probe(self.dice.choice(running).id, healthy=False)

    def lag(self) -> None:
        most = self.dice.choice([0.0, 0.05, 0.5])
        self.stage.swarm.replica.lag_s = lambda: self.dice.uniform(0.0, most)

    # What goes wrong.

    def cut_off(self) -> None:
        self._storm(0.0)
        self.stage.swarm.nodes.cut_off(self.dice.choice(["w1", "w2", "w3"]))

    def reconnect(self) -> None:
        for node in ("w1", "w2", "w3"):
            self.stage.swarm.nodes.reconnect(node)

    def trouble(self) -> None:
        if self.stage.now() < self.watch.stormy_until:
            return
        seconds = self.dice.choice([5.0, 17.0, 40.0])
        swarm = self.stage.swarm
        trouble = self.dice.choice(
            [swarm.lose_leader, swarm.lose_quorum, lambda seconds: swarm.isolate("m1", seconds), self._change_leader]
        )
        self._storm(seconds)
        swarm.spawn(trouble(seconds))

    async def _change_leader(self, _: float) -> None:
        await self.stage.swarm.change_leader()

    def empty(self) -> None:
        self._storm(0.0)
        for door in self.stage.swarm.doors.values():
            door.empty_answers = 1
            break

    def cut_streams(self) -> None:
        self._storm(0.0)
        self.stage.engines[self.dice.choice(["m1", "m2"])].cut_streams(cleanly=self.dice.choice([True, False]))

    def _storm(self, seconds: float) -> None:
        self.watch.stormy_until = max(self.watch.stormy_until, self.stage.now() + seconds + RECOVER_S)

    def _running(self) -> list[Task]:
        return sorted((task for task in self.stage.swarm.tasks if task.up), key=lambda task: task.id)


async def tell_story(seed: int, *, steps: int, stormy: bool, whole: bool) -> Watch:
    """Return what was seen in one story, which ends well; *whole*: of all of the daemon."""
    bounds = WHOLE_BOUNDS if whole else BOUNDS
    with tempfile.TemporaryDirectory(prefix="lbw-swarm-") as folder:
        async with swarm_stage(Path(folder), managers=3, workers=3, seed=seed) as stage:
            for name in ("api", "shop", "web"):
                stage.swarm.services.create(name, replicas=3, labels=LABELS, networks=("ov",))
            await asyncio.sleep(10.0)
            async with whole_daemon(stage) if whole else source_alone(stage) as served:
                watch = Watch(stage.swarm, served=served, asks=asks, network="ov", bounds=bounds)
                watching = asyncio.create_task(watch.run())
                story = Story(stage, watch=watch, dice=random.Random(seed), stormy=stormy)
                await asyncio.sleep(5.0)
                await story.run(steps)
                await story.heal()
                assert not watching.done(), watching.exception()
                assert watch.broken == [], (seed, "\n".join([*story.told[-30:], *watch.broken]))
                assert served() == watch.expected(), (seed, "after all was healed")
                before = swarm_requests(*(engine.requests for engine in stage.engines.values()))
                await asyncio.sleep(QUIET_S)
                asked = swarm_requests(*(engine.requests for engine in stage.engines.values())) - before
                assert asked <= QUIET_REQUESTS, (seed, f"{asked} requests in {QUIET_S:g} quiet seconds")
                watching.cancel()
                return watch


@pytest.mark.timeout(0)
@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("whole", [False, True], ids=["source", "daemon"])
@pytest.mark.parametrize("stormy", [False, True], ids=["calm", "stormy"])
def test_whoever_serves_is_whoever_should_and_does(stormy: bool, whole: bool) -> None:
    """The promise that all others about a Swarm serve."""
    came, left, died = [], [], []
    for number in range(max(1, STEPS // STEPS_EACH // 4)):
        watch = in_simulated_time(tell_story(SEED * 1000 + number, steps=STEPS_EACH, stormy=stormy, whole=whole))
        came += watch.figures.came
        left += watch.figures.left
        died += watch.figures.died
    for words, figures in (("in", came), ("out before its end", left), ("out after its death", died)):
        if figures:
            print(f"{words}: {len(figures)}, median {statistics.median(figures):.2f} s, most {max(figures):.2f} s")


async def _follow_many(folder: Path) -> list[str]:
    """Return what was measured with a hundred nodes, in words."""
    figures: list[str] = []
    async with swarm_stage(folder, managers=1, workers=99) as stage:
        swarm = stage.swarm
        for number in range(100):
            swarm.services.create(f"s{number}", replicas=BIG_TASKS // 100, labels=LABELS, networks=("ov",))
        await stage.until(lambda: sum(task.state == "running" for task in swarm.tasks) == BIG_TASKS, tick_s=1.0)
        engine, began, cpu = stage.engines["m1"], stage.now(), time.process_time()
        async with source_alone(stage) as served:
            watch = Watch(swarm, served=served, asks=asks, network="ov", bounds=BIG_BOUNDS, tick_s=0.5)

            async def phase(words: str, *, within_s: float) -> None:
                nonlocal began, cpu
                await stage.until(lambda: served() == watch.expected(), within_s=within_s, tick_s=0.5)
                requests, took_s = swarm_requests(engine.requests), stage.now() - began
                used_s, found = time.process_time() - cpu, watch.figures
                figures.append(f"{words}: {took_s:.1f} s, {requests} requests, {used_s:.1f} s of CPU with the fake's")
                for told, times in (("in", found.came), ("out before its end", found.left)):
                    if times:
                        most, median = max(times), statistics.median(times)
                        figures.append(f"  {told}: {len(times)}, median {median:.1f}, most {most:.1f} s")
                    times.clear()
                engine.requests.clear()
                began, cpu = stage.now(), time.process_time()

            await phase(f"start with {len([*swarm.tasks])} tasks", within_s=30.0)
            watching = asyncio.create_task(watch.run())
            swarm.services.update("s1", force=1, order="start-first", parallelism=10)
            await stage.until(lambda: swarm.services.find("s1").update == "completed", within_s=300.0, tick_s=0.5)
            await phase("update of one service", within_s=30.0)
            swarm.services.scale("s2", 2 * BIG_TASKS // 100)
            await asyncio.sleep(15.0)
            swarm.services.scale("s2", BIG_TASKS // 100)
            await asyncio.sleep(5.0)
            await phase("scaled up and down", within_s=30.0)
            swarm.nodes.set_availability("w1", "drain")
            await asyncio.sleep(10.0)
            await phase("drain of a node", within_s=60.0)
            await asyncio.sleep(60.0)
            await phase("a minute in which nothing happens", within_s=60.0)
            assert not watching.done(), watching.exception()
            watching.cancel()
            assert watch.broken == [], watch.broken
    return figures


@pytest.mark.timeout(0)
@pytest.mark.usefixtures("_quiet")
def test_ten_thousand_tasks_on_a_hundred_nodes_are_followed(tmp_path: Path) -> None:
    """Who follows a big Swarm neither drowns its managers nor is late."""
    for line in in_simulated_time(_follow_many(tmp_path)):
        print(line)


@pytest.mark.usefixtures("_quiet")
def test_a_quiet_swarm_costs_less_than_one_request_a_second_in_all(tmp_path: Path) -> None:
    """Whoever follows a manager is no load on it: its own engine's lists, and looks at containers, are counted, too."""

    async def body() -> None:
        async with swarm_stage(tmp_path, managers=1, workers=2) as stage:
            for number in range(10):
                stage.swarm.services.create(f"s{number}", replicas=10, labels=LABELS, networks=("ov",))
            await stage.until(lambda: sum(task.state == "running" for task in stage.swarm.tasks) == 100)
            engine = stage.engines["m1"]
            async with whole_daemon(stage) as served:
                await asyncio.sleep(RESYNC_S)
                for _ in range(2):
                    engine.requests.clear()
                    await asyncio.sleep(QUIET_S)
                    assert engine.requests.total() <= ALL_QUIET_REQUESTS, engine.requests
                assert len(served()) == 100

    in_simulated_time(body())

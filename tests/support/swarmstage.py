"""A fake Swarm in simulated time, with engines that are its managers, and a client of the first of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakeclient import Docker

from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.manager.state import Task
from lbwatch.engines.fake.swarm import FakeSwarm

EPOCH_S = 1_800_000_000


@dataclass(slots=True, kw_only=True)
class Stage:
    """
    What a test looks at.

    Attributes:
        swarm: All that is true.
        engines: By the node's host name: `m1` and on are managers, `w1` and on workers.
        docker: A client of `m1`.
        heard: Every event of the Swarm's that `m1` told: the loop's time, its type and action, its attributes.
    """

    swarm: FakeSwarm
    engines: dict[str, FakeEngine]
    docker: Docker
    heard: list[tuple[float, str, dict[str, str]]] = field(default_factory=list)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def until(self, claim: Callable[[], Any], *, within_s: float = 120.0, tick_s: float = 0.002) -> float:
        """Let time pass until *claim* holds, and return when that was."""
        async with asyncio.timeout(within_s):
            while not claim():
                await asyncio.sleep(tick_s)
        return self.now()

    async def tasks(self, **filters: list[str]) -> list[Any]:
        """Return what `m1` answers of tasks, running or not."""
        status, answer = await self.docker.ask("GET", "/tasks", filters=json.dumps(filters))
        assert status == 200, answer
        return list(answer)

    def serving(self, service: str) -> list[Task]:
        """Return the tasks of a service that should run and do."""
        found = self.swarm.services.find(service)
        return [task for task in found.tasks.values() if task.serves and not task.unwanted]

    async def serve(self, name: str, replicas: int | None = 2, **options: Any) -> list[Task]:
        """Return the tasks of a new service, once all of them serve and are known to run."""
        self.swarm.services.create(name, replicas=replicas, **options)
        count = len(list(self.swarm.nodes)) if replicas is None else replicas
        await self.until(lambda: sum(task.state == "running" for task in self.serving(name)) == count)
        return self.serving(name)

    def words(self, *, since: float = 0.0) -> list[str]:
        return [word for at, word, _ in self.heard if at >= since]


@asynccontextmanager
async def swarm_stage(
    folder: Path, *, managers: int = 1, workers: int = 2, engines_for_workers: bool = False, seed: int = 0
) -> AsyncIterator[Stage]:
    loop = asyncio.get_running_loop()

    def clock_ns() -> int:
        return int((EPOCH_S + loop.time()) * 1e9)

    async with AsyncExitStack() as stack:
        swarm = await stack.enter_async_context(FakeSwarm(seed=seed, clock_ns=clock_ns))
        engines: dict[str, FakeEngine] = {}
        for name in [f"m{n + 1}" for n in range(managers)] + [f"w{n + 1}" for n in range(workers)]:
            engine = None
            if name.startswith("m") or engines_for_workers:
                engine = FakeEngine(
                    socket=folder / f"{name}.sock", seed=len(engines), clock_ns=clock_ns, monotonic=loop.time
                )
                engines[name] = await stack.enter_async_context(engine)
            swarm.add_node(name, manager=name.startswith("m"), engine=engine)
        swarm.create_network("ov")
        docker = await stack.enter_async_context(Docker(engines["m1"]))
        stage = Stage(swarm=swarm, engines=engines, docker=docker)

        def note(event: dict[str, Any]) -> None:
            if event["scope"] == "swarm":
                stage.heard.append((loop.time(), f"{event['Type']} {event['Action']}", event["Actor"]["Attributes"]))

        engines["m1"].events.watchers.append(note)
        yield stage

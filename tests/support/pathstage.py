"""The way without a reload on a stage: workers and a test that are simulated, and a real file."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lbwatch.balancers.nginx import livepath
from lbwatch.balancers.nginx.isolate import AcceptedConfig
from lbwatch.balancers.nginx.live import directives
from lbwatch.balancers.nginx.livefile import LiveFile
from lbwatch.balancers.nginx.livepath import LivePath
from lbwatch.balancers.nginx.suspects import Trial
from lbwatch.core.errors import LbwatchError
from lbwatch.core.model import Server, Upstream
from lbwatch.core.parts import Parts, upstreams_in
from lbwatch.system.lock import FileLock

SHAPE = "0123456789ab"


def trial(*ports: int) -> Trial:
    servers = tuple(Server(address="192.0.2.1", port=port, container=f"c{port}") for port in ports)
    return Trial(parts=(Upstream(name="web", servers=servers),))


def text_of(parts: Parts) -> str:
    blocks = []
    for upstream in upstreams_in(parts):
        servers = "".join(f"    server {each.host_port};\n" for each in upstream.servers)
        blocks.append(f"upstream {upstream.name} {{\n{servers}    {directives.line(upstream)}\n}}\n")
    return "".join(blocks) + directives.lines_for_all(SHAPE, folder="/f")


class Workers:
    """Those of nginx: what they were told, and whether they say so."""

    def __init__(self) -> None:
        self.told: list[tuple[Upstream, ...]] = []
        self.follow = self.say_so = self.same_shape = True
        self.late_until: float | None = None
        self.programs = 0
        self.is_followed = True
        self.error = None

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        return self.told[-1] if self.told else ()

    def takes(self, _: tuple[Upstream, ...]) -> bool:
        return self.follow and bool(self.told)

    def shapes(self, _: tuple[Upstream, ...]) -> frozenset[str]:
        return frozenset((SHAPE,))

    async def follows(self, _: tuple[Upstream, ...], *, within_s: float) -> bool:
        return self.follow

    async def push(self, upstreams: tuple[Upstream, ...]) -> bool:
        self.told.append(upstreams)
        return self.say_so

    def set(self, upstreams: tuple[Upstream, ...], *, is_reload: bool = False) -> None:
        self.told.append(upstreams)

    def has_shape_of(self, _: tuple[Upstream, ...]) -> bool:
        return self.same_shape

    def listen(self) -> None:
        self.listens = True

    def write_program(self) -> None:
        self.programs += 1

    def holds(self) -> bool:
        return self.say_so

    def waited_for_until(self) -> float | None:
        return self.late_until

    def due(self, *, now: float) -> float:
        return now

    async def run(self) -> None:
        await asyncio.Event().wait()


class Candidates:
    """Makes texts, at once or when it may, or fails."""

    def __init__(self) -> None:
        self.error: LbwatchError | None = None
        self.may = asyncio.Event()
        self.may.set()
        self.tested: list[str] = []
        self.has_same_template = True
        self.lines = SimpleNamespace(reason=None, followed=lambda: None)
        self.tested_since = False

    def is_tested_since(self, _: float) -> bool:
        return self.tested_since

    async def candidate(
        self, parts: Parts, *, degraded: object, names_before: Callable[[], Collection[str]]
    ) -> AcceptedConfig:
        await self.may.wait()
        if self.error is not None:
            raise self.error
        self.tested.append(text_of(parts))
        return AcceptedConfig(text=text_of(parts), tested=True, written=parts)

    def text(self, parts: Parts) -> str:
        return text_of(parts)

    def written(self, parts: Parts) -> Parts:
        return parts


class Kept:
    """What an lbwatch before this one saw nginx read."""

    def __init__(self) -> None:
        self.is_proof = True
        self.texts: list[str] = []

    def drop(self) -> None: ...

    def keep(self, text: str, **_: object) -> None:
        self.texts.append(text)

    async def holds(self, _: str, **__: object) -> bool:
        return self.is_proof


class Stage:
    def __init__(self, folder: Path) -> None:
        self.output = folder / "lbwatch.conf"
        self.output.write_text(text_of(trial(1).parts))
        self.nginx: object = "nginx"
        control: Any = SimpleNamespace(running=lambda: self.nginx)
        kept: Any = Kept()
        self.lock = FileLock(self.output)
        self.file = LiveFile(self.output, control=control, lock=self.lock, evidence=kept)
        self.kept: Kept = kept
        self.workers, self.candidates = Workers(), Candidates()
        some: Any = self.candidates
        push: Any = self.workers
        self.path = LivePath(push, candidates=some, file=self.file, control=control)

    async def apply(self, one: Trial) -> livepath.Pushed | None:
        return await self.path.apply(one, began=asyncio.get_running_loop().time())

    def says(self, *ports: int) -> bool:
        return self.output.read_text() == text_of(trial(*ports).parts)


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[None]:
    task = asyncio.create_task(stage.path.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])

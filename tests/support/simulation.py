"""
Simulated time, and a simulated nginx, for tests that need hours of both.

The loop's clock stands still while anything can be done and jumps to the next timer when nothing can. Sockets are real
(both ends live in the loop, so that what was sent is there at once), threads are not: their work is done in place. The
nginx is a stand-in for the real one, which other tests are about; it can be down, refuse, lose a signal, and take back.
"""

import asyncio
import contextlib
import re
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from usersettings import settings_with
from waiting import eventually

from lbwatch.balancers.nginx.version import Version
from lbwatch.core.errors import ConfigRejectedError, ReloadError, ReloadRefusedError
from lbwatch.engines.fake import FakeEngine
from lbwatch.tasks import run_until
from lbwatch.wiring.daemon import build_daemon

T = TypeVar("T")

VERIFY_TIMEOUT_S = 4.0

_BLOCK = re.compile(r"upstream (\S+) \{([^}]*)\}")


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is simulated; it begins at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jumping(self))
        self.set_default_executor(_InPlace(max_workers=1))

    def time(self) -> float:
        return self._now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Do nothing: it has no threads, and asyncio would start one for that, of which the loop knows no time."""

    def jump(self, seconds: float) -> None:
        self._now += seconds


def in_simulated_time(work: Coroutine[Any, Any, T]) -> T:
    """Run a test's body to its end."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(work)


class _Jumping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Where the loop would wait, its time jumps instead."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout != 0:
            assert timeout is not None, "nothing can ever happen any more"
            self._loop.jump(max(0.0, timeout) + 1e-9)  # a timer is due once its time is reached
        return ready


class _InPlace(ThreadPoolExecutor):
    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args, **options))
        except Exception as error:  # noqa: BLE001 - it is for whoever asks the future
            done.set_exception(error)
        return done


def blocks_of(text: str) -> Mapping[str, str]:
    return {name: " ".join(body.split()) for name, body in _BLOCK.findall(text)}


class SimulatedNginx:
    """
    A tester and a control in one, for `build_daemon`.

    Attributes:
        runs: The text that its workers have; `None` while it is down.
        refused: Names of upstreams that it refuses in any form.
        refused_weights: Names of upstreams in which it takes no weight.
        silent: Whether it refuses without a name.
        takes_back: Whether a reload comes to nothing, as with a port that cannot be bound.
        lost: How many of the next signals get lost.
        accepted: Every text that passed its test.
    """

    remark = None

    def __init__(self, output: Path) -> None:
        self.output = output
        self.runs: str | None = None
        self.refused: set[str] = set()
        self.refused_weights: set[str] = set()
        self.silent = False
        self.takes_back = False
        self.lost = 0
        self.said: Version | None = Version(numbers=(1, 26, 3), name="1.26.3")
        self.accepted: set[str] = {""}
        self.reloads: list[float] = []  # loop times
        self._master = 0
        self._generation = 0
        self._before = 0

    def start(self) -> bool:
        """Start from the file, if that can be."""
        text = self._file()
        if self._refusal(text) is not None:
            return False
        self._master += 1
        self._generation += 1
        self.runs = text
        return True

    def stop(self) -> None:
        self.runs = None

    async def refresh(self) -> None: ...

    def doubt(self) -> None: ...

    async def program_version(self) -> Version | None:
        return self.said

    def program(self) -> object: ...

    async def version(self, tested: Version | None) -> Version | None:
        return tested

    async def test(self, text: str) -> bool:
        await asyncio.sleep(0.005)
        if (name := self._refusal(text)) is not None:
            raise ConfigRejectedError("[emerg] no" if self.silent else f'[emerg] something is wrong with "{name}"')
        self.accepted.add(text)
        return True

    def latest_start(self) -> object:
        return None

    async def workers(self) -> tuple[int, int] | None:
        return None if self.runs is None else (2, 1)

    def serving_pids(self) -> frozenset[int] | None:
        return None

    async def reload(self) -> None:
        self._before = self._generation
        if self.runs is None:
            raise ReloadError("nginx is not running here")
        self.reloads.append(asyncio.get_running_loop().time())
        if self.lost:
            self.lost -= 1
            return
        asyncio.get_running_loop().call_later(0.002, self._take, self._master)

    async def wait_live(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + VERIFY_TIMEOUT_S
        while self._generation == self._before:
            if self.runs is None:
                raise ReloadError("nginx ended")
            if loop.time() > deadline:
                raise ReloadRefusedError("nginx took the reload back")
            await asyncio.sleep(0.01)

    async def wait_retired(self) -> None:
        await asyncio.sleep(0.1)

    def running(self) -> object:
        return None if self.runs is None else self._master

    def _take(self, master: int) -> None:
        text = self._file()
        if self.runs is not None and master == self._master and not self.takes_back and self._refusal(text) is None:
            self.runs = text
            self._generation += 1

    def _file(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self.output.read_text()
        return ""

    def _refusal(self, text: str) -> str | None:
        for name, body in blocks_of(text).items():
            if name in self.refused or (name in self.refused_weights and "weight=" in body):
                return name
        return None


@contextlib.asynccontextmanager
async def following(folder: Path, **options: Any) -> AsyncIterator[tuple[FakeEngine, SimulatedNginx]]:
    """The whole daemon but for its nginx, on an fake engine, in whatever time the loop has."""
    loop = asyncio.get_running_loop()
    (folder / "conf.d").mkdir()
    nginx = SimulatedNginx(folder / "conf.d" / "lbwatch.conf")
    nginx.start()
    async with FakeEngine(socket=folder / "s", monotonic=loop.time) as engine:
        settings = settings_with(
            docker_host=engine.url,
            output=nginx.output,
            host_network="false",
            state_dir=folder / "state",
            **options,
        )
        async with build_daemon(settings, tester=nginx, control=nginx) as daemon:
            stopped = asyncio.Event()
            running = asyncio.create_task(run_until(daemon, until=stopped.wait()))
            try:
                await eventually(lambda: nginx.reloads, what="the first apply")
                yield engine, nginx
            finally:
                stopped.set()
                await running

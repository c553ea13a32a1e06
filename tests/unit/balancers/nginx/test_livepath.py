"""The way without a reload: told first, then written, with workers and a test that are simulated."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from waiting import eventually

from lbwatch.balancers.nginx import livepath
from lbwatch.balancers.nginx.isolate import AcceptedConfig
from lbwatch.balancers.nginx.live import directives
from lbwatch.balancers.nginx.livefile import LiveFile
from lbwatch.balancers.nginx.livepath import LivePath
from lbwatch.balancers.nginx.suspects import Trial
from lbwatch.core.errors import LbwatchError, NotTestedError, OutputError, RenderError, UserConfigError
from lbwatch.core.model import Server, Upstream
from lbwatch.system.lock import FileLock

SHAPE = "0123456789ab"


def trial(*ports: int) -> Trial:
    servers = tuple(Server(address="192.0.2.1", port=port, container=f"c{port}") for port in ports)
    return Trial(upstreams=(Upstream(name="web", servers=servers),))


def text_of(upstreams: tuple[Upstream, ...]) -> str:
    blocks = []
    for upstream in upstreams:
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
        self, upstreams: tuple[Upstream, ...], *, degraded: object, names_before: Callable[[], Collection[str]]
    ) -> AcceptedConfig:
        await self.may.wait()
        if self.error is not None:
            raise self.error
        self.tested.append(text_of(upstreams))
        return AcceptedConfig(text=text_of(upstreams), tested=True, written=upstreams)

    def text(self, upstreams: tuple[Upstream, ...]) -> str:
        return text_of(upstreams)

    def written(self, upstreams: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
        return upstreams


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
        self.output.write_text(text_of(trial(1).upstreams))
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
        return self.output.read_text() == text_of(trial(*ports).upstreams)


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[None]:
    task = asyncio.create_task(stage.path.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(livepath, "FILE_PATIENCE_S", 12.0)
    stage = Stage(tmp_path)
    with stage.lock:
        async with running(stage):
            yield stage


async def test_workers_are_told_and_the_file_says_the_same(stage: Stage) -> None:
    """In that order: what requests meet comes first."""
    pushed = await stage.apply(trial(1, 2))
    assert pushed is not None
    assert pushed.is_first
    assert pushed.written is not None
    assert stage.workers.told == [trial(1, 2).upstreams]
    assert stage.says(1, 2)
    assert stage.path.in_force
    assert stage.path.confirmed()


async def test_a_file_that_is_long_in_testing_holds_up_no_change(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx reads 10,000 upstreams for more than a second."""
    await stage.apply(trial(1))
    monkeypatch.setattr(livepath, "FILE_PATIENCE_S", 0.01)
    stage.candidates.may.clear()
    for ports in ((1, 2), (2,), (2, 3)):
        pushed = await stage.apply(trial(*ports))
        assert pushed is not None
        assert pushed.written is None
        assert stage.workers.told[-1] == trial(*ports).upstreams
        assert not stage.path.confirmed()
        now = asyncio.get_running_loop().time()
        assert stage.path.due(trial(*ports).upstreams, is_same=True, now=now) == now + 0.01
    stage.candidates.error = UserConfigError("site.conf:3", starts=False)
    stage.candidates.may.set()
    await eventually(lambda: stage.says(2, 3))
    now = asyncio.get_running_loop().time()
    await eventually(lambda: stage.path.due(trial(2, 3).upstreams, is_same=True, now=now) == now)
    tested = len(stage.candidates.tested)
    assert not stage.path.confirmed(), "nobody was given what came of it"
    pushed = await stage.apply(trial(2, 3))
    assert pushed is not None
    assert pushed.written is not None
    assert pushed.written.unstartable is not None
    assert stage.path.confirmed()
    assert len(stage.candidates.tested) == tested
    assert stage.workers.told[-1] == trial(2, 3).upstreams, "nobody is told again what is long past"
    assert len(stage.candidates.tested) <= 3, "of those in between at most the one that was begun"


async def test_what_is_wrong_with_the_users_own_files_keeps_no_server_out(stage: Stage) -> None:
    """nginx serves; that it could not start is for the operator to know, once."""
    await stage.apply(trial(1))
    stage.candidates.error = UserConfigError("unexpected end of file in site.conf:3", starts=False)
    with structlog.testing.capture_logs() as logs:
        for ports in ((2,), (2, 3)):
            pushed = await stage.apply(trial(*ports))
            assert pushed is not None
            assert pushed.written is not None
            assert pushed.written.unstartable is not None
            assert "site.conf:3" in pushed.written.unstartable
            assert stage.says(*ports)
    assert [log["event"] for log in logs] == ["nginx.config_broken"]
    stage.candidates.error = None
    pushed = await stage.apply(trial(2, 3))
    assert pushed is not None
    assert pushed.written is not None
    assert pushed.written.unstartable is None


async def test_that_nothing_can_be_tested_now_keeps_none_out_either(stage: Stage) -> None:
    """Its shape was tested."""
    await stage.apply(trial(1))
    stage.candidates.error = NotTestedError("no answer in time")
    pushed = await stage.apply(trial(2))
    assert pushed is not None
    assert pushed.written is not None
    assert pushed.written.unstartable is None
    assert stage.says(2)


@pytest.mark.parametrize("error", [RenderError("no", path="t", line=1), OutputError(Path("f"), error=OSError("full"))])
async def test_a_file_that_cannot_be_written_is_an_error_until_it_is(stage: Stage, error: LbwatchError) -> None:
    """The workers have it; a start of nginx would not."""
    await stage.apply(trial(1))
    stage.candidates.error = error
    for _ in range(2):
        with pytest.raises(type(error)):
            await stage.apply(trial(2))
        assert not stage.path.confirmed()
    assert stage.says(1)
    assert stage.workers.told[-1] == trial(2).upstreams
    stage.candidates.error = None
    await stage.apply(trial(2))
    assert stage.says(2)
    assert stage.path.confirmed()


async def test_what_takes_a_reload_after_all_is_left_to_one(stage: Stage) -> None:
    """The test degraded an upstream, say: the workers have read another file."""
    await stage.apply(trial(1))
    stage.workers.same_shape = False
    assert await stage.apply(trial(2)) is None
    assert stage.says(1)
    assert not stage.path.confirmed()


async def test_what_takes_a_reload_is_left_to_one_though_its_test_was_slow(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By exec each test takes longer than anybody waits for it: the same would be told again and again."""
    await stage.apply(trial(1))
    monkeypatch.setattr(livepath, "FILE_PATIENCE_S", 0.01)
    stage.workers.same_shape = False
    stage.candidates.may.clear()
    assert await stage.apply(trial(2)) is not None
    before = len(stage.candidates.tested)
    stage.candidates.may.set()
    await eventually(lambda: len(stage.candidates.tested) > before)
    stage.candidates.may.clear()
    assert await stage.apply(trial(2)) is None


@pytest.mark.parametrize("what", ["nginx is down", "nobody follows", "another template", "late for too long"])
async def test_where_it_cannot_be_told_nginx_is_reloaded(stage: Stage, what: str) -> None:
    """As ever."""
    await stage.apply(trial(1))
    match what:
        case "nginx is down":
            stage.nginx = None
        case "nobody follows":
            stage.workers.follow = False
        case "another template":
            stage.candidates.has_same_template = False
        case _:
            stage.workers.late_until = 0.0
    assert await stage.apply(trial(2)) is None
    assert stage.workers.told == [trial(1).upstreams]
    if what == "nobody follows":
        assert stage.path.due(trial(2).upstreams, is_same=False, now=0.0) is None


async def test_a_worker_that_is_late_is_waited_for_and_a_foreign_file_is_not(stage: Stage) -> None:
    """The former may hang for a moment; the latter nginx would start from."""
    await stage.apply(trial(1))
    stage.workers.say_so = False
    stage.workers.late_until = 7.0
    assert stage.path.due(trial(1).upstreams, is_same=True, now=5.0) == 7.0
    assert not stage.path.confirmed()
    stage.output.write_text("mine")
    assert stage.path.due(trial(1).upstreams, is_same=True, now=5.0) == 5.0
    stage.workers.say_so, stage.workers.late_until = True, None
    assert not stage.path.confirmed()
    assert await stage.apply(trial(1)) is None, "nginx may have been reloaded with it"


async def test_after_a_start_workers_are_waited_for_only_if_the_file_lets_them_ask(stage: Stage) -> None:
    """Whoever has no Lua must not wait two seconds at each start."""
    stage.output.write_text("upstream web {\n}\n")
    assert await stage.apply(trial(1)) is None
    stage.output.write_text(text_of(trial(5).upstreams))
    assert await stage.apply(trial(1)) is not None
    assert stage.says(1)


async def test_after_a_start_the_file_has_to_be_one_that_nginx_has_read(stage: Stage) -> None:
    """Whoever was killed between a replacement and its reload left another one."""
    stage.kept.is_proof = False
    assert await stage.apply(trial(1)) is None
    stage.kept.is_proof = True
    assert await stage.apply(trial(1)) is not None
    assert stage.kept.texts == [stage.output.read_text()], "the next start can build on it"


async def test_what_nginx_has_yet_to_read_is_not_pushed_past(stage: Stage) -> None:
    """A reload that failed is owed, whatever its workers say of servers."""
    await stage.apply(trial(1))
    await stage.path.before_reload(trial(2).upstreams, text=text_of(trial(2).upstreams))
    assert await stage.apply(trial(2)) is None
    stage.path.after_reload(trial(2).upstreams)
    assert await stage.apply(trial(2)) is not None


async def test_a_reload_has_new_workers_told_and_ends_what_was_pushed(stage: Stage) -> None:
    """They ask before the reload is seen to have happened."""
    await stage.apply(trial(1))
    await stage.path.before_reload(trial(2).upstreams, text=text_of(trial(2).upstreams))
    assert not stage.path.in_force
    assert stage.workers.programs == 1
    assert stage.workers.told[-1] == trial(2).upstreams
    stage.path.after_reload(trial(2).upstreams)
    stage.workers.same_shape = False
    await stage.path.before_reload(trial(3).upstreams, text="plain")
    assert stage.workers.programs == 1
    assert stage.workers.told[-1] == trial(2).upstreams, "old workers have read another file"


async def test_what_a_template_writes_by_who_serves_takes_a_reload(stage: Stage) -> None:
    """A map of the upstreams that have a server, say: workers are not told of it."""
    await stage.apply(trial(1))
    stage.output.write_text(stage.output.read_text() + "map $host $up { web web; }\n")
    assert await stage.apply(trial(2)) is None


async def test_where_a_test_is_dear_there_is_one_now_and_then(stage: Stage) -> None:
    """By exec in nginx's container each costs a fifth of a second of its CPU."""
    await stage.apply(trial(1))
    tested = len(stage.candidates.tested)
    stage.candidates.tested_since = True
    await stage.apply(trial(2))
    assert stage.says(2)
    assert len(stage.candidates.tested) == tested


def test_why_changes_take_a_reload_is_known(tmp_path: Path) -> None:
    """Whoever asks for hold needs to know."""
    stage = Stage(tmp_path)
    assert stage.path.refusal is None
    stage.workers.is_followed = False
    assert stage.path.refusal == "no worker of nginx has asked for changes yet"
    stage.candidates.lines.reason = "the template"
    assert stage.path.refusal == "the template"

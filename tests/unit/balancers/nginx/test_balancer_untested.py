"""Whose turn it is while nothing can test: the new file's, or the old one's."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from localnginx import NO_WEB, WEB, balancer, serving
from realnginx import RealNginx
from strategies import make_renderer
from waiting import eventually

from lbwatch.balancers.nginx import verify
from lbwatch.balancers.nginx.balancer import Nginx
from lbwatch.balancers.nginx.process import find_master
from lbwatch.balancers.template import shipped_templates
from lbwatch.core.errors import ConfigRejectedError, LbwatchError, ReloadError, ReloadRefusedError, TakenBackError
from lbwatch.core.model import Server, Upstream
from lbwatch.core.schedule import ReloadPace
from lbwatch.system import files
from lbwatch.system.lock import FileLock

API = (Upstream(name="api", servers=(Server(address="192.0.2.2", port=80, container="api-1"),)),)


class Untested:
    """Nothing can tell."""

    remark = None

    async def test(self, text: str) -> bool:
        return False


@dataclass
class FakeControl:
    """An nginx that starts and fails when it is told to; see `balancers.nginx.balancer.Control`."""

    runs: bool = False
    starts: int = 1
    refuses: bool = False
    remark: str | None = None
    reloads: int = 0

    async def reload(self) -> None:
        if not self.runs:
            raise ReloadError("it does not run")
        self.reloads += 1
        if self.refuses:
            raise ReloadRefusedError("it does not like that")

    async def wait_live(self) -> None: ...

    async def wait_retired(self) -> None: ...

    def running(self) -> object:
        return self.starts if self.runs else None

    def latest_start(self) -> object:
        return self.starts

    async def workers(self) -> tuple[int, int] | None:
        return None


@dataclass
class Trial:
    """A load balancer on trial, and what its file holds."""

    nginx: Nginx
    control: FakeControl
    output: Path

    async def apply(self, upstreams: tuple[Upstream, ...]) -> str:
        """What came of it, in a word."""
        try:
            await self.nginx.apply(upstreams)
        except TakenBackError:
            return "taken back"
        except LbwatchError as error:
            return str(error)
        return "in force"

    @property
    def holds(self) -> str:
        if not self.output.exists():
            return "nothing"
        return next((name for name in ("web", "api") if f"upstream {name} " in self.output.read_text()), "old")


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    output, control = tmp_path / "lbwatch.conf", FakeControl()
    with FileLock(output) as lock:
        nginx = Nginx(
            make_renderer("nginx/upstreams.conf.j2", folders=[shipped_templates()]),
            output=output,
            tester=Untested(),
            control=control,
            lock=lock,
            pace=ReloadPace(interval_s=0.1),
        )
        yield Trial(nginx, control, output)


@pytest.mark.parametrize("old", ["nothing", "old"])
async def test_while_nginx_is_down_the_new_and_the_old_file_take_turns_at_each_start(trial: Trial, old: str) -> None:
    """Either may be the one that it cannot start from: the loop of restarts ends with the other."""
    if old == "old":
        trial.output.write_text("# old\n")
    before = trial.output.read_bytes() if old == "old" else None
    for turn in ("web", old, "web", old):
        for _ in range(3):
            assert await trial.apply(WEB) != "in force"
            assert trial.holds == turn
        trial.control.starts += 1
    assert (trial.output.read_bytes() if trial.output.exists() else None) == before


async def test_the_file_that_nginx_starts_from_is_what_stays(trial: Trial) -> None:
    """From then on nothing is kept aside."""
    trial.output.write_text("# old\n")
    await trial.apply(WEB)
    assert files.has_backup(trial.output)
    trial.control.starts, trial.control.runs = 2, True
    assert await trial.apply(WEB) == "in force"
    assert trial.holds == "web"
    assert not files.has_backup(trial.output)


async def test_an_nginx_that_starts_from_the_old_file_is_given_the_new_one_once_more(trial: Trial) -> None:
    """It runs, so that a reload can judge, which costs nothing; the new one may have been innocent."""
    trial.output.write_text("# old\n")
    await trial.apply(WEB)
    trial.control.starts = 2
    await trial.apply(WEB)
    assert trial.holds == "old"
    trial.control.starts, trial.control.runs, trial.control.refuses = 3, True, True
    assert await trial.apply(WEB) == "taken back"
    assert trial.holds == "old"
    trial.control.refuses = False
    assert await trial.apply(WEB) == "in force"
    assert trial.holds == "web"


async def test_a_change_while_nginx_is_down_is_written_at_once_and_the_old_file_stays_the_good_one(
    trial: Trial,
) -> None:
    """What was never verified is not what is gone back to."""
    trial.output.write_text("# old\n")
    await trial.apply(WEB)
    await trial.apply(API)
    assert trial.holds == "api"
    trial.control.starts = 2
    await trial.apply(API)
    assert trial.holds == "old"


async def test_what_a_running_nginx_refuses_is_taken_back_at_once(trial: Trial) -> None:
    """It serves on from what it has, and must be able to start from the file."""
    trial.control.runs = True
    assert await trial.apply(WEB) == "in force"
    trial.control.refuses = True
    assert await trial.apply(API) == "taken back"
    assert trial.holds == "web"
    assert not files.has_backup(trial.output)
    trial.control.refuses = False
    assert await trial.apply(API) == "in force"
    assert trial.holds == "api"


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
async def test_whatever_comes_between_the_file_is_one_that_was_meant_or_was_good(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """And once nginx runs and takes it, the new one is in force and nothing is left beside it."""
    output, control = tmp_path_factory.mktemp("trial") / "lbwatch.conf", FakeControl()
    good: set[str] = {"nothing"}
    with FileLock(output) as lock:
        trial = Trial(
            Nginx(
                make_renderer("nginx/upstreams.conf.j2", folders=[shipped_templates()]),
                output=output,
                tester=Untested(),
                control=control,
                lock=lock,
                pace=ReloadPace(interval_s=0.1),
            ),
            control,
            output,
        )
        for _ in range(data.draw(st.integers(1, 12))):
            control.runs, control.refuses = data.draw(st.tuples(st.booleans(), st.booleans()))
            control.starts += data.draw(st.integers(0, 1))
            meant = data.draw(st.sampled_from(["web", "api"]))
            came = await trial.apply({"web": WEB, "api": API}[meant])
            if came == "in force":
                good = {meant}
                assert not files.has_backup(output)
            assert trial.holds in good | {meant}
            if control.runs and control.refuses and came != "in force":
                assert trial.holds in good
        control.runs, control.refuses, control.starts = True, False, control.starts + 1
        assert await trial.apply(WEB) == "in force"
        assert trial.holds == "web"
        assert not files.has_backup(output)


WRONG = "# {{ upstreams | length }}\nupstream web { }\n"


@pytest.fixture
def untested(real_nginx: RealNginx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Nginx]:
    """Makes load balancers where there is no nginx program to test with; `wrong` ones write what nginx refuses."""
    monkeypatch.setattr(verify, "VERIFY_TIMEOUT_S", 0.5)
    (tmp_path / "wrong.j2").write_text(WRONG)

    def make(*, wrong: bool = False, **commands: str) -> Nginx:
        template = {"template": str(tmp_path / "wrong.j2")} if wrong else {}
        return balancer(real_nginx, tmp_path, program="no-nginx", **template, **commands)

    return make


async def test_what_nobody_could_test_and_nginx_does_not_take_is_taken_back(
    real_nginx: RealNginx, untested: Callable[..., Nginx]
) -> None:
    """Where only the pid is at hand the reload is the test, and nginx must be able to start at any later time."""
    await untested().apply(WEB)
    before, workers = real_nginx.output.read_text(), serving(real_nginx)
    with pytest.raises(ConfigRejectedError, match="the old one is back"):
        await untested(wrong=True).apply(WEB)
    assert real_nginx.output.read_text() == before
    assert serving(real_nginx) == workers
    assert (await untested().apply(NO_WEB)).reloaded


async def test_what_nobody_could_test_and_had_no_file_before_it_leaves_none(
    real_nginx: RealNginx, untested: Callable[..., Nginx]
) -> None:
    """The first file may be the wrong one."""
    with pytest.raises(ConfigRejectedError, match="the old one is back"):
        await untested(wrong=True).apply(WEB)
    assert not real_nginx.output.exists()


async def test_a_reload_command_that_refuses_what_nobody_could_test_has_it_taken_back(
    real_nginx: RealNginx, untested: Callable[..., Nginx], tmp_path: Path
) -> None:
    """`docker exec ... nginx -s reload` reads the configuration first, and its exit code tells of it."""
    real_nginx.output.write_text("# good\n")
    with pytest.raises(ConfigRejectedError, match="exit code 1"):
        await untested(reload="false").apply(WEB)
    assert real_nginx.output.read_text() == "# good\n"


async def test_while_nginx_is_down_what_nobody_could_test_and_the_old_file_take_turns(
    real_nginx: RealNginx, untested: Callable[..., Nginx]
) -> None:
    """It may be unable to start from the one, or, for what its own files name, from the other: neither is for ever."""
    await untested().apply(NO_WEB)
    good = real_nginx.output.read_text()
    real_nginx.stop()
    wrong = untested(wrong=True)
    sights = []
    for _ in range(4):
        with pytest.raises(ReloadError, match="not running"):
            await wrong.apply(WEB)
        sights.append(real_nginx.output.read_text())
    assert sights[0] == sights[2] != good
    assert sights[1] == sights[3] == good
    real_nginx.start()
    with pytest.raises(TakenBackError):
        await untested(wrong=True).apply(WEB)
    assert real_nginx.output.read_text() == good
    assert not files.has_backup(real_nginx.output)


async def test_an_nginx_that_starts_from_what_nobody_could_test_proves_it(
    real_nginx: RealNginx, untested: Callable[..., Nginx]
) -> None:
    """The old file is kept aside until then, also for the next lbwatch, and goes when it is not needed any more."""
    await untested().apply(NO_WEB)
    real_nginx.stop()
    with pytest.raises(ReloadError, match="not running"):
        await untested().apply(WEB)
    assert files.has_backup(real_nginx.output)
    real_nginx.start()
    assert (await untested().apply(WEB)).reloaded
    assert "192.0.2.1" in real_nginx.output.read_text()
    assert not files.has_backup(real_nginx.output)


async def test_what_is_taken_back_is_the_old_file_byte_for_byte(
    real_nginx: RealNginx, untested: Callable[..., Nginx]
) -> None:
    """It may be an operator's, with a comment in Latin-1."""
    real_nginx.output.write_bytes(b"# gr\xfc\xdfe\n")
    with pytest.raises(TakenBackError):
        await untested(wrong=True).apply(WEB)
    assert real_nginx.output.read_bytes() == b"# gr\xfc\xdfe\n"


async def test_what_was_set_aside_goes_once_a_test_was_possible(
    real_nginx: RealNginx, untested: Callable[..., Nginx], tmp_path: Path
) -> None:
    """Else a later trial would put back the file before last."""
    real_nginx.stop()
    with pytest.raises(ReloadError):
        await untested().apply(NO_WEB)
    real_nginx.start()
    await balancer(real_nginx, tmp_path).apply(WEB)
    assert not files.has_backup(real_nginx.output)


async def test_a_stop_in_the_middle_of_what_nobody_could_test_leaves_the_old_file(
    real_nginx: RealNginx, untested: Callable[..., Nginx]
) -> None:
    """Nothing proves the new one then, and nobody is left to take it back."""
    real_nginx.output.write_text("# good\n")
    os.kill(find_master(real_nginx.pidfile).pid, signal.SIGSTOP)
    try:
        task = asyncio.create_task(untested().apply(WEB))
        await eventually(lambda: "192.0.2.1" in real_nginx.output.read_text(), what="the new file")
        task.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await task
    finally:
        os.kill(find_master(real_nginx.pidfile).pid, signal.SIGCONT)
    assert real_nginx.output.read_text() == "# good\n"

"""Whose turn it is while nothing can test: the new file's, or the old one's."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from localnginx import NO_WEB, WEB, balancer
from planted import NO_FILES, Plant, assert_unharmed, disk, immutable, victim_in
from realnginx import RealNginx
from strategies import make_renderer
from waiting import eventually

from lbwatch.balancers.nginx import verify
from lbwatch.balancers.nginx.balancer import Nginx
from lbwatch.balancers.nginx.evidence import Evidence
from lbwatch.balancers.nginx.livefile import LiveFile
from lbwatch.balancers.nginx.outputs import Locks, Outputs, joined
from lbwatch.balancers.nginx.process import find_master
from lbwatch.balancers.template import shipped_templates
from lbwatch.core.errors import (
    ConfigRejectedError,
    LbwatchError,
    OutputError,
    ReloadError,
    ReloadRefusedError,
    TakenBackError,
)
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

    async def program_version(self) -> None: ...

    async def refresh(self) -> None: ...

    def doubt(self) -> None: ...


@dataclass
class FakeControl:
    """An nginx that starts and fails when it is told to; see `balancers.nginx.balancer.Control`."""

    output: Path
    runs: bool = False
    starts: int = 1
    refuses: str = ""  # the name of an upstream
    remark: str | None = None
    reloads: int = 0

    async def reload(self) -> None:
        if not self.runs:
            raise ReloadError("it does not run")
        self.reloads += 1
        text = self.output.read_text() if self.output.exists() else ""
        if self.refuses and f"upstream {self.refuses} " in text:
            raise ReloadRefusedError("it does not like that")

    async def wait_live(self) -> None: ...

    async def wait_retired(self) -> None: ...

    def running(self) -> object:
        return self.starts if self.runs else None

    def latest_start(self) -> object:
        return self.starts

    def program(self) -> object: ...

    async def version(self, tested: object) -> None: ...

    async def workers(self) -> tuple[int, int] | None:
        return None

    def serving_pids(self) -> frozenset[int] | None:
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
    output = tmp_path / "lbwatch.conf"
    control = FakeControl(output)
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
    trial.control.starts, trial.control.runs = 3, True
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
    """It must be able to start from the file; what has gone is gone from it all the same, and a change is tried."""
    trial.control.runs = True
    assert await trial.apply(WEB) == "in force"
    trial.control.refuses = "api"
    assert await trial.apply((*API, *WEB)) == "in force"
    assert trial.holds == "web"
    assert not files.has_backup(trial.output)
    reloads = trial.control.reloads
    assert await trial.apply(API) == "in force"
    assert trial.holds == "old"
    assert trial.control.reloads == reloads + 1, "what was refused was tried again"
    trial.control.refuses = ""
    changed = (replace(API[0], keepalive=8),)
    assert await trial.apply(changed) == "in force"
    assert trial.holds == "api"


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
async def test_whatever_comes_between_the_file_is_one_that_was_meant_or_was_good(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """And once nginx runs and takes it, the new one is in force and nothing is left beside it."""
    output = tmp_path_factory.mktemp("trial") / "lbwatch.conf"
    control = FakeControl(output)
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
            control.runs, refuses = data.draw(st.tuples(st.booleans(), st.booleans()))
            control.starts += data.draw(st.integers(0, 1))
            meant = data.draw(st.sampled_from(["web", "api"]))
            control.refuses = meant if refuses else ""
            came = await trial.apply({"web": WEB, "api": API}[meant])
            if came == "in force":
                good = {trial.holds}
                assert not files.has_backup(output)
            assert trial.holds in good | {meant}
            if control.runs:
                assert trial.holds in good, "nginx could not start from it"
        control.runs, control.refuses, control.starts = True, "", control.starts + 1
        assert await trial.apply((replace(WEB[0], keepalive=9),)) == "in force"
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
    before = real_nginx.output.read_text()
    with pytest.raises(ConfigRejectedError, match="the old file is back"):
        await untested(wrong=True).apply(WEB)
    assert real_nginx.output.read_text() == before
    assert (await untested().apply(NO_WEB)).reloaded


async def test_what_nobody_could_test_and_had_no_file_before_it_leaves_none(
    real_nginx: RealNginx, untested: Callable[..., Nginx]
) -> None:
    """The first file may be the wrong one."""
    with pytest.raises(ConfigRejectedError, match="the old file is back"):
        await untested(wrong=True).apply(WEB)
    assert not real_nginx.output.exists()


async def test_a_reload_command_that_refuses_what_nobody_could_test_has_it_taken_back(
    real_nginx: RealNginx, untested: Callable[..., Nginx], tmp_path: Path
) -> None:
    """`docker exec ... nginx -s reload` reads the configuration first, and its exit code tells of it."""
    real_nginx.output.write_text("# good\n")
    with pytest.raises(ReloadRefusedError, match="exit code 1"):
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


# -- what others put there


@pytest.mark.timeout(30)
@pytest.mark.parametrize("plant", NO_FILES.values(), ids=NO_FILES)
async def test_what_is_no_file_in_the_output_s_place_is_told_until_it_is_gone(
    trial: Trial, tmp_path: Path, plant: Plant
) -> None:
    """A pipe there held a pass for ever, and a device filled the memory, while all was said to be ready."""
    victim = victim_in(tmp_path)
    trial.control.runs = True
    assert await trial.apply(WEB) == "in force"
    reloads = trial.control.reloads
    trial.output.unlink()
    plant(trial.output, victim)
    for _ in range(2):
        assert f"{trial.output}: it is a" in await trial.apply(API)
    assert trial.control.reloads == reloads
    status = await trial.nginx.status()
    assert "remove it" in "".join(status.remarks)
    assert trial.nginx.text() == ""
    assert_unharmed(victim)
    trial.output.rename(tmp_path / "removed")
    assert await trial.apply(API) == "in force"
    assert trial.holds == "api"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("plant", NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("name", [".lbwatch.conf.tmp", ".lbwatch.conf.old", ".lbwatch.conf.probe"])
async def test_what_lies_beside_the_output_stops_no_pass_and_is_never_taken_for_a_backup(
    trial: Trial, tmp_path: Path, plant: Plant, name: str
) -> None:
    """Whoever may write the folder would choose what nginx starts from."""
    victim = victim_in(tmp_path)
    trial.output.write_text("# old\n")
    plant(tmp_path / name, victim)
    trial.nginx.file.restore()
    assert trial.holds == "old"
    await trial.apply(WEB)
    assert trial.holds == "web"
    assert files.has_backup(trial.output)
    trial.control.starts = 2
    await trial.apply(WEB)
    assert trial.output.read_text() == "# old\n"
    trial.control.runs = True
    assert await trial.apply(API) == "in force"
    assert_unharmed(victim)


async def test_a_backup_that_could_not_be_put_back_is_told_before_anything_relies_on_it(
    trial: Trial, tmp_path: Path
) -> None:
    """Else a file that nginx refuses would stay for good."""
    trial.output.write_text("# old\n")
    kept = files.backup_path(trial.output)
    kept.write_text("# theirs\n")
    trial.control.runs = True
    with immutable(kept):
        assert f"{kept}: it is in the way and cannot be removed" in await trial.apply(WEB)
        assert trial.holds == "old"
        assert trial.control.reloads == 0
    assert await trial.apply(WEB) == "in force"
    assert trial.holds == "web"


def _other_folder(output: Path) -> None:
    shutil.rmtree(output.parent)
    output.parent.mkdir()


@pytest.mark.parametrize(
    "meddle",
    [
        lambda output: output.unlink(),
        lambda output: output.write_text("upstream theirs { server 192.0.2.1:80; }\n"),
        _other_folder,
    ],
    ids=["no file", "another text", "another folder"],
)
@pytest.mark.parametrize("then", ["the same", "another one"])
async def test_what_others_do_to_the_file_while_it_is_tested_is_undone(
    tmp_path: Path, meddle: Callable[[Path], None], then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was equal when it was looked at; what nginx reads is what lies there when it is reloaded."""
    output = tmp_path / "conf.d" / "lbwatch.conf"
    output.parent.mkdir()
    control = FakeControl(output)
    control.runs = True
    tester = Untested()
    with FileLock(output) as lock:
        nginx = Nginx(
            make_renderer("nginx/upstreams.conf.j2", folders=[shipped_templates()]),
            output=output,
            tester=tester,
            control=control,
            lock=lock,
            pace=ReloadPace(interval_s=0.1),
        )
        await nginx.apply(WEB)
        wanted, upstreams = output.read_text(), WEB if then == "the same" else API
        output.write_text(wanted)  # another stamp: what was verified does not stand
        once = [meddle]

        async def test(text: str) -> bool:
            if once:
                once.pop()(output)
            return True

        monkeypatch.setattr(tester, "test", test)
        await nginx.apply(upstreams)
        assert ("upstream web " in output.read_text()) == (then == "the same")
        assert "theirs" not in output.read_text()
        assert nginx.confirmed()


async def test_a_file_that_is_only_rewritten_stands_if_what_ran_was_verified(tmp_path: Path) -> None:
    """nginx is left alone by it; whatever was not known of it before is not known after."""
    output = tmp_path / "lbwatch.conf"
    control = FakeControl(output)
    with FileLock(output) as lock:
        file = LiveFile(output, control=control, lock=lock, evidence=Evidence(None))
        control.runs = True
        await file.rewrite("# unverified\n")
        assert not file.confirmed()
        await file.put("# one\n", before="# unverified\n", tested=True)
        await file.verify(began=0.0)
        await file.rewrite("# two\n")
        assert (output.read_text(), file.confirmed()) == ("# two\n", True)
        control.starts += 1
        assert not file.confirmed(), "another nginx"
        await file.rewrite("# three\n")
        assert not file.confirmed()
        assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".old")] == []


@dataclass
class RestartedControl(FakeControl):
    """An nginx that is started anew while its new workers are waited for, having read a file of before."""

    async def wait_live(self) -> None:
        self.starts += 1


async def test_an_nginx_that_is_started_anew_while_its_workers_are_waited_for_verifies_nothing(tmp_path: Path) -> None:
    """It may have read the file before the change: its workers are new, and know nothing of it."""
    output = tmp_path / "lbwatch.conf"
    with FileLock(output) as lock:
        control = RestartedControl(output, runs=True)
        file = LiveFile(output, control=control, lock=lock, evidence=Evidence(None))
        await file.put("# one\n", before=None, tested=True)
        control.wait_live = FakeControl(output).wait_live  # type: ignore[method-assign]
        with pytest.raises(ReloadError, match="restarted"):
            await file.verify(began=0.0)
        assert not file.confirmed()


# -- two files


@dataclass
class TwoControl(FakeControl):
    """An nginx that refuses by what stands in the second file."""

    async def reload(self) -> None:
        await super().reload()
        if self.refuses and self.refuses in self.output.with_name("lbwatch.stream").read_text():
            raise ReloadRefusedError("it does not like that")


OLD = joined("# old\n", "# old stream\n")
NEW = joined("# new\n", "# new stream\n")


@dataclass(kw_only=True)
class Two:
    """Both files, which hold `OLD` and are verified."""

    file: LiveFile
    outputs: Outputs
    control: TwoControl

    @property
    def beside(self) -> set[str]:
        """What lies beside them."""
        names = {each.name for each in self.outputs.http.parent.iterdir()}
        return {each for each in names if each.endswith((".old", ".tmp"))}


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    with disk(tmp_path / "disk") as folder:
        output, stream = folder / "lbwatch.conf", folder / "lbwatch.stream"
        control = TwoControl(output, runs=True)
        with FileLock(output) as first, FileLock(stream) as second:
            lock = Locks(first, second)
            file = LiveFile(output, control=control, lock=lock, evidence=Evidence(None), stream=stream)
            await file.put(OLD, before=file.look(), tested=True)
            await file.verify(began=0.0)
            yield Two(file=file, outputs=Outputs(output, stream=stream), control=control)


@pytest.mark.parametrize("tested", [True, False])
async def test_a_refused_reload_takes_both_files_back(two: Two, tested: bool) -> None:
    """One of each might be what nginx cannot start from."""
    two.control.refuses = "# new stream"
    with pytest.raises(TakenBackError):
        await two.file.put(NEW, before=two.file.look(), tested=tested)
    assert two.outputs.read() == OLD
    assert two.beside == set()


async def test_a_disk_that_is_full_at_the_second_file_takes_the_first_one_back(two: Two) -> None:
    """It fits no other second file."""
    filler = two.outputs.http.parent / "filler"
    filler.write_bytes(bytes(32_768))
    with pytest.raises(OutputError, match=r"lbwatch\.stream: No space left on device"):
        await two.file.put(joined("# new\n", "# new stream\n" * 4000), before=two.file.look(), tested=True)
    assert two.outputs.read() == OLD
    assert two.beside == set()
    filler.unlink()
    await two.file.put(NEW, before=two.file.look(), tested=True)
    assert (two.outputs.read(), two.beside) == (NEW, set())


async def test_the_next_start_heals_what_was_killed_between_the_two(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both old ones are back, whichever was replaced."""
    replace_file = files.replace

    def killed(path: Path, *, text: str) -> None:
        if path == two.outputs.stream:
            raise SystemExit
        replace_file(path, text=text)

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", killed)
        two.file.look()
        with pytest.raises(SystemExit):
            two.file._replace(NEW)
    assert two.outputs.read() == joined("# new\n", "# old stream\n")
    two.file.restore()
    assert (two.outputs.read(), two.beside) == (OLD, set())


async def test_what_somebody_else_puts_in_the_second_file_does_not_stand(two: Two) -> None:
    """nginx was not seen to run it, and the next change replaces it."""
    assert two.file.confirmed()
    assert two.outputs.stream is not None
    two.outputs.stream.write_text("# foreign\n")
    assert not two.file.confirmed()
    assert not two.file.is_untouched()
    await two.file.put(OLD, before=two.file.look(), tested=True)
    assert two.outputs.read() == OLD


async def test_a_rewrite_of_both_keeps_them_together_and_what_was_verified_stands(two: Two) -> None:
    """Whoever is killed in between is healed here too."""
    await two.file.rewrite(NEW)
    assert (two.outputs.read(), two.beside, two.file.confirmed()) == (NEW, set(), True)

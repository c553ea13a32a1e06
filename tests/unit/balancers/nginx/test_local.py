"""An nginx on this side: reloaded by a signal or by a command of the user's."""

import shutil
import subprocess
from pathlib import Path

import pytest
import structlog
from localnginx import NO_WEB, WEB, balancer, serving
from realnginx import RealNginx
from waiting import eventually

from lbwatch.balancers.nginx import local
from lbwatch.balancers.nginx.config_test.local import CommandTester
from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.nginx.version import Version, version_in
from lbwatch.core.errors import ConfigRejectedError, ReloadError


async def test_live_means_that_all_new_workers_are_there(real_nginx: RealNginx) -> None:
    """Requests go to whoever accepts first: half a generation is not in force."""
    control = LocalControl(pidfile=real_nginx.pidfile, output=real_nginx.output, command=None)
    await eventually(lambda: len(serving(real_nginx)) == real_nginx.workers, what="all workers")
    before = serving(real_nginx)
    await control.reload()
    await control.wait_live()
    assert len(serving(real_nginx) - before) == real_nginx.workers
    await control.wait_retired()
    assert not serving(real_nginx) & before


async def test_commands_of_the_user_s_test_and_reload(real_nginx: RealNginx, tmp_path: Path) -> None:
    """Not every nginx is an nginx on this side."""
    nginx = balancer(real_nginx, tmp_path, reload=f"nginx -c {real_nginx.conf} -s reload")
    assert (await nginx.apply(WEB)).reloaded
    real_nginx.stop()
    with pytest.raises(ReloadError, match="exit code 1"):
        await nginx.apply(NO_WEB)
    believed = balancer(real_nginx, tmp_path, reload="true")
    with structlog.testing.capture_logs() as logs:
        for upstreams in (WEB, NO_WEB, WEB):
            assert (await believed.apply(upstreams)).reloaded
    assert believed.confirmed()
    (line,) = [each for each in logs if each["event"] == "nginx.believed"]
    assert str(real_nginx.pidfile) in line["reason"]
    tester = CommandTester(("grep", "-q", "upstream", "{candidate}"), folder=tmp_path)
    await tester.test("upstream web {}\n")
    with pytest.raises(ConfigRejectedError):
        await tester.test("nothing\n")
    with pytest.raises(ConfigRejectedError, match="there is no program no-such-program here"):
        await CommandTester(("no-such-program",), folder=tmp_path).test("")


async def test_the_version_is_the_masters_as_its_program_has_it_built_in(real_nginx: RealNginx) -> None:
    """After an upgrade of the package the program on disk is another one than the one that runs."""
    printed = subprocess.run([real_nginx.program, "-v"], check=True, capture_output=True, text=True).stderr
    runs = version_in(printed)
    assert runs is not None
    newer = Version(numbers=(9, 9, 9), name="9.9.9")
    older = Version(numbers=(0, 9, 9), name="0.9.9")
    for command in (None, ("true",)):
        control = LocalControl(pidfile=real_nginx.pidfile, output=real_nginx.output, command=command)
        assert [await control.version(tested) for tested in (None, newer, older)] == [runs, runs, older]


async def test_a_master_that_may_not_be_read_has_the_version_that_tests_unless_its_program_is_newer(
    real_nginx: RealNginx, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With few rights an upgraded package was believed to run: all was refused that only the newer nginx takes."""
    monkeypatch.setattr(local, "built_in_words", lambda master: "")
    tested = Version(numbers=(1, 30, 6), name="1.30.6")

    async def known(program: str) -> bool:
        control = LocalControl(pidfile=real_nginx.pidfile, output=real_nginx.output, command=None, program=program)
        return await control.version(tested) == tested

    assert await known(real_nginx.program)
    replaced = tmp_path / "nginx"
    shutil.copy(str(shutil.which(real_nginx.program)), replaced)
    assert not await known(str(replaced))
    assert not await known(str(tmp_path / "none"))
    assert not await known("no-such-program")


async def test_the_version_of_an_nginx_that_nobody_sees_is_the_programs_unless_a_command_reloads(
    tmp_path: Path,
) -> None:
    """What a command reloads may be on another machine."""
    tested = Version(numbers=(1, 30, 6), name="1.30.6")
    control = LocalControl(pidfile=tmp_path / "none.pid", output=tmp_path / "x.conf", command=None)
    assert await control.version(tested) == tested
    control = LocalControl(pidfile=tmp_path / "none.pid", output=tmp_path / "x.conf", command=("true",))
    assert await control.version(tested) is None

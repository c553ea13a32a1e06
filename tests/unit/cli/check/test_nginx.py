"""Whether nginx runs and can be reloaded, and how that is known."""

import subprocess
from pathlib import Path

import pytest
from daemon import wait_until
from realnginx import RealNginx
from usersettings import settings_with

from lbwatch.balancers.nginx import local as nginx_control
from lbwatch.cli.check.finding import Verdict
from lbwatch.cli.check.nginx import nginx_findings


async def test_a_master_that_is_seen_is_fine_whatever_reloads_it(real_nginx: RealNginx) -> None:
    """With a command of the user's its workers are still what verifies a reload."""
    wait_until(lambda: len(real_nginx.worker_pids()) == 2, within=10, what="both have their titles")
    for more in ({}, {"reload_command": "true"}):
        (only,) = await nginx_findings(settings_with(nginx_pidfile=real_nginx.pidfile, **more))
        version = subprocess.run([real_nginx.program, "-v"], check=True, capture_output=True, text=True).stderr
        words = f"{version.partition('/')[2].split()[0]}, master {real_nginx.master_pid} with 2 workers"
        assert (only.verdict, only.words) == (Verdict.OK, words)


async def test_a_version_that_cannot_be_known_is_said_to_be_unknown(
    real_nginx: RealNginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs a newer nginx is not written then, and nobody would know why."""
    monkeypatch.setattr(nginx_control, "built_in_words", lambda _: "")  # of another user's
    wait_until(lambda: len(real_nginx.worker_pids()) == 2, within=10, what="both have their titles")
    (only,) = await nginx_findings(settings_with(nginx_pidfile=real_nginx.pidfile, test_command="true"))
    assert only.words == f"version not known, master {real_nginx.master_pid} with 2 workers"


async def test_an_nginx_that_does_not_run_fails_with_what_to_do(tmp_path: Path) -> None:
    """It may as well run where nobody has named it yet."""
    (only,) = await nginx_findings(settings_with(nginx_pidfile=tmp_path / "none.pid"))
    assert only.verdict is Verdict.FAILED
    assert "none.pid: No such file or directory: start nginx, or set how it is reached" in only.words


async def test_a_command_without_a_master_is_believed_and_that_is_a_warning(tmp_path: Path) -> None:
    """`reload_command = "true"` reloads nothing, and all was called verified."""
    (only,) = await nginx_findings(settings_with(reload_command="true", nginx_pidfile=tmp_path / "none.pid"))
    assert only.verdict is Verdict.WARN
    assert "will be believed" in only.words
    assert "none.pid" in only.words


async def test_a_reload_command_that_is_not_there_fails(real_nginx: RealNginx) -> None:
    """A typo is found at the first change otherwise, at three in the morning."""
    (only,) = await nginx_findings(settings_with(reload_command="ngnix -s reload", nginx_pidfile=real_nginx.pidfile))
    assert only.verdict is Verdict.FAILED
    assert only.words == "reload_command: there is no program ngnix here: mend its name, or give its whole path"

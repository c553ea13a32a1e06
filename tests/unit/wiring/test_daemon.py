"""The parts of a daemon: what it holds, and what it says before it begins."""

import errno
import os
from pathlib import Path

import pytest
import structlog
from wirings import Made

from lbwatch.core.errors import (
    OutputError,
    OutputHeldError,
    RenderError,
    SettingsError,
)
from lbwatch.system.lock import FileLock
from lbwatch.wiring.daemon import build_daemon
from lbwatch.wiring.look import build_look


async def test_a_daemon_holds_the_lock_as_long_as_it_is(made: Made) -> None:
    """Two that write one file undo each other's work for ever."""
    settings = made()
    with FileLock(settings.nginx.output) as other:
        async with build_daemon(settings):
            with pytest.raises(OutputHeldError):
                other.acquire()
        assert other.acquire()


async def test_a_second_daemon_is_refused_and_told_who_is_the_first(made: Made) -> None:
    """Its operator has to end one of the two, and must not look for long which."""
    settings = made()
    with FileLock(settings.nginx.output) as first:
        first.acquire()
        with pytest.raises(SettingsError, match=f"^output: .*process {os.getpid()} on .* writes it"):
            async with build_daemon(settings):
                pass


async def test_an_output_that_cannot_be_replaced_is_refused(made: Made, site: Path) -> None:
    """Else it would be found out at the first change."""
    with pytest.raises(SettingsError, match=r"^output: .*does not exist"):
        async with build_daemon(made(output=site / "nowhere" / "lbwatch.conf")):
            pass


@pytest.mark.parametrize(
    ("error", "logged"), [(None, ("warning", "output.not_locked")), (errno.ENOSPC, ("error", "output.failed"))]
)
async def test_a_daemon_begins_without_a_lock_where_there_can_be_none(
    error: int | None, logged: tuple[str, str], made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have none, and a full disk has no room for it: routing must begin all the same."""
    settings = made()

    def acquire(lock: FileLock) -> bool:
        if error is not None:
            raise OutputError(settings.nginx.output, error=OSError(error, os.strerror(error)))
        return False

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with structlog.testing.capture_logs() as logs:
        async with build_daemon(settings) as daemon:
            assert daemon.settings is settings
    assert [(log["log_level"], log["event"]) for log in logs] == [logged]


async def test_an_engine_that_anyone_may_command_is_warned_of(made: Made) -> None:
    """Whoever reaches that port is root of the engine's host."""
    with structlog.testing.capture_logs() as logs:
        async with build_daemon(made(docker_host="tcp://192.0.2.1:2375")):
            pass
    assert [log["event"] for log in logs] == ["source.unprotected"]


async def test_a_wrong_template_is_said_before_anything_is_opened(made: Made, site: Path) -> None:
    """There is nothing to put away then."""
    for builder in (build_daemon, build_look):
        with pytest.raises(RenderError):
            async with builder(made(template=str(site / "none.j2"))):
                pass
    assert [*(site / "out").iterdir()] == []

"""The parts of a daemon: what it holds, and what it says before it begins."""

import asyncio
import errno
import os
from pathlib import Path

import pytest
import structlog
from planted import NO_FILES, Plant, assert_unharmed, disk, victim_in
from waiting import eventually
from wirings import WEB, Made

from lbwatch.core.errors import (
    OutputError,
    OutputHeldError,
    RenderError,
    SettingsError,
)
from lbwatch.engines.fake import FakeEngine
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
        with pytest.raises(SettingsError, match=f"^output: .*process {os.getpid()} on .* writes it: end that one"):
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


@pytest.mark.parametrize(("reload", "believed"), [("true", True), (None, False)])
async def test_what_no_worker_proves_is_believed(made: Made, reload: str | None, believed: bool) -> None:
    """With `reload_command = "true"` and no nginx to be seen, page and API said "verified" and no more."""
    async with build_daemon(made(reload_command=reload)) as daemon:
        assert (await daemon.status()).balancer.believed is believed


SECRET = "s3cret"
NGINX_PROXYS = {"com.github.nginx-proxy.nginx-proxy.keepalive": "auto"}


@pytest.mark.parametrize("compat", ["", "nginx-proxy"])
async def test_nginx_proxys_variables_and_labels_are_read_where_that_is_set_and_no_other_ever(
    made: Made, engine: FakeEngine, tmp_path: Path, compat: str
) -> None:
    """An environment holds secrets: nothing that is kept, logged or said has another variable."""
    env = ["VIRTUAL_HOST=foo.tld", f"PASSWORD={SECRET}"]
    engine.containers.run(name="app", labels=WEB | NGINX_PROXYS, env=env)
    with structlog.testing.capture_logs() as logs:
        settings = made(docker_host=f"unix://{tmp_path}/docker.sock", compat=compat)
        async with build_daemon(settings) as daemon:
            following = asyncio.create_task(daemon.source.run(lambda *, heard_at=None: None))
            try:
                await eventually(daemon.source.snapshots)
                (found,) = (each for each in daemon.source.containers().values() if each.name == "app")
                said = [await daemon.explain(found), await daemon.explain(None), await daemon.status()]
            finally:
                following.cancel()
                await asyncio.wait([following])
    assert found.env == ((("VIRTUAL_HOST", "foo.tld"),) if compat else ())
    assert (("com.github.nginx-proxy.nginx-proxy.keepalive", "auto") in found.labels) == bool(compat)
    assert SECRET not in repr((found, said, logs))


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


@pytest.mark.timeout(60)
@pytest.mark.parametrize("plant", NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("name", ["lbwatch.conf", ".lbwatch.conf.lock"])
async def test_what_is_no_file_in_the_place_of_output_or_lock_is_refused(
    made: Made, tmp_path: Path, plant: Plant, name: str
) -> None:
    """A start waited for a pipe for ever; a link to itself was a traceback."""
    settings, victim = made(), victim_in(tmp_path)
    plant(settings.nginx.output.with_name(name), victim)
    with pytest.raises(SettingsError, match=r"^output: .*(remove it|name the file itself)") as caught:
        async with build_daemon(settings):
            pass
    assert "\n" not in str(caught.value)
    assert_unharmed(victim)


async def test_what_killed_ones_left_beside_the_output_is_removed(made: Made) -> None:
    """nginx's folder is not ours to litter."""
    output = made().nginx.output
    for name in (".lbwatch.conf.tmp", ".lbwatch.conf.01234567.tmp", ".lbwatch.conf.01234567.probe"):
        output.with_name(name).touch()
    async with build_daemon(made()):
        assert os.listdir(output.parent) == [".lbwatch.conf.lock"]


async def test_where_the_system_has_no_room_for_a_test_the_output_s_folder_has(
    made: Made, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full /tmp was a traceback at the start."""
    monkeypatch.setattr("tempfile.tempdir", str(site / "nowhere"))
    async with build_daemon(made()):
        (hidden,) = [path for path in (site / "out").iterdir() if path.is_dir()]
        assert hidden.name.startswith(".lbwatch-test-")
        assert hidden.stat().st_mode & 0o777 == 0o700
    assert not hidden.exists()
    with (
        disk(site / "disk", size="64k,nr_inodes=2") as full,  # itself and the lock
        pytest.raises(OutputError, match="No space left on device"),
    ):
        async with build_daemon(made(output=full / "lbwatch.conf")):
            pass

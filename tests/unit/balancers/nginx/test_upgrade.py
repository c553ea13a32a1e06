"""nginx upgraded in place: two masters serve for a while, of which one reads no file any more."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from daemon import wait_until
from localnginx import NO_WEB, WEB, balancer
from needs import NGINX_NEEDS, need
from upgradednginx import UpgradedNginx

from lbwatch.balancers.nginx.balancer import Nginx
from lbwatch.core.errors import ReloadError, ReloadRefusedError
from lbwatch.core.model import Upstream


@pytest.fixture
def upgraded(tmp_path: Path) -> Iterator[UpgradedNginx]:
    """An nginx that runs as a daemon."""
    need(*NGINX_NEEDS)
    with UpgradedNginx(tmp_path / "nginx") as nginx:
        yield nginx.start()


@pytest.fixture
def nginx(upgraded: UpgradedNginx, tmp_path: Path) -> Nginx:
    """The load balancer of it."""
    return balancer(upgraded, tmp_path)


async def refused(nginx: Nginx, upstreams: tuple[Upstream, ...], *, because: str) -> list[str]:
    """Have an apply fail for a reason, and return what was logged."""
    with structlog.testing.capture_logs() as logs, pytest.raises(ReloadError, match=because) as caught:
        await nginx.apply(upstreams)
    assert not isinstance(caught.value, ReloadRefusedError), "the file is not to blame"
    assert caught.value.is_logged, "with the command that ends it"
    assert not nginx.confirmed()
    return [line["event"] for line in logs if line["event"].startswith("nginx.")]


async def test_nothing_is_verified_while_an_old_master_serves(upgraded: UpgradedNginx, nginx: Nginx) -> None:
    """Its workers take every other connection, and send it to servers that are gone."""
    await nginx.apply(NO_WEB)
    old, new = upgraded.upgrade()
    assert not nginx.confirmed()
    assert await refused(nginx, NO_WEB, because=f"old master {old} serves beside the new one {new}") == [
        "nginx.upgrade_unfinished"
    ]
    status = await nginx.status()
    assert [each for each in status.remarks if f"kill -QUIT {old}" in each], status.remarks
    assert status.running is None, "the two run different files"
    assert nginx.runs()


async def test_the_new_master_gets_each_change_and_is_not_reloaded_without_one(
    upgraded: UpgradedNginx, nginx: Nginx
) -> None:
    """An upgrade may last for days: a reload every other second would fill the memory with retiring workers."""
    await nginx.apply(NO_WEB)
    old, new = upgraded.upgrade()
    workers, theirs = upgraded.serving(new), upgraded.serving(old)
    await refused(nginx, WEB, because="old master")
    assert "192.0.2.1" in upgraded.output.read_text()
    changed = upgraded.serving(new)
    assert len(changed) == upgraded.workers
    assert not changed & workers
    for _ in range(3):
        assert await refused(nginx, WEB, because="old master") == [], "it is logged once"
    assert upgraded.serving(new) == changed
    assert upgraded.serving(old) == theirs, "HUP has an old master start workers with what it read last"


@pytest.mark.parametrize("number", [signal.SIGWINCH, signal.SIGQUIT])
async def test_an_upgrade_that_ends_well_is_verified_without_another_reload(
    upgraded: UpgradedNginx, nginx: Nginx, number: signal.Signals
) -> None:
    """The new master has read the file: it is the old one's end that was owed."""
    await nginx.apply(NO_WEB)
    old, new = upgraded.upgrade()
    await refused(nginx, WEB, because="old master")
    # One that has just begun has no title yet.
    workers = wait_until(
        lambda: upgraded.serving(new),
        holds=lambda seen: len(seen) == upgraded.workers,
        within=10,
        what="the new master's workers",
    )
    upgraded.send(number, old)
    wait_until(lambda: not upgraded.serving(old), within=10, what="the old workers' end")
    with structlog.testing.capture_logs() as logs:
        applied = await nginx.apply(WEB)
    assert [line["event"] for line in logs] == ["nginx.upgrade_finished"]
    assert applied.event == "nginx.reloaded"
    assert nginx.confirmed()
    assert upgraded.serving(new) == workers
    assert (await nginx.status()).remarks == ()


async def test_a_master_that_never_read_the_file_is_owed_a_reload_when_the_upgrade_fails(
    upgraded: UpgradedNginx, nginx: Nginx
) -> None:
    """The old master takes its pid file back and serves on with what it read before the upgrade."""
    await nginx.apply(NO_WEB)
    old, new = upgraded.upgrade()
    await refused(nginx, WEB, because="old master")
    workers = upgraded.serving(old)
    upgraded.send(signal.SIGTERM, new)
    wait_until(lambda: new not in upgraded.pids() and upgraded.pidfile.exists(), within=10, what="the pid file is back")
    assert upgraded.master_pid == old
    assert not nginx.confirmed()
    await nginx.apply(WEB)
    assert nginx.confirmed()
    assert not upgraded.serving(old) & workers
    assert len(upgraded.serving(old)) == upgraded.workers


async def test_an_upgrade_that_does_not_begin_changes_nothing(upgraded: UpgradedNginx, nginx: Nginx) -> None:
    """A new nginx that refuses the configuration ends at once, and the old one never stopped running ours."""
    await nginx.apply(WEB)
    workers, main = upgraded.serving(upgraded.master_pid), upgraded.conf.read_text()
    upgraded.rewrite(http="no_such_directive on;")
    os.kill(upgraded.master_pid, signal.SIGUSR2)
    wait_until(lambda: "new binary process" in upgraded.errors(), within=10, what="it began")
    wait_until(
        lambda: "exited with code 1" in upgraded.errors() and upgraded.pidfile.exists(), within=10, what="it ends"
    )
    upgraded.conf.write_text(main)
    assert nginx.confirmed()
    assert not (await nginx.apply(WEB)).reloaded
    assert upgraded.serving(upgraded.master_pid) == workers


async def test_an_old_master_that_serves_again_takes_the_verification_back(
    upgraded: UpgradedNginx, nginx: Nginx
) -> None:
    """WINCH can be undone by HUP as long as the old master is there, which then serves what it read long ago."""
    await nginx.apply(NO_WEB)
    old, new = upgraded.upgrade()
    upgraded.send(signal.SIGWINCH, old)
    wait_until(lambda: not upgraded.serving(old), within=10, what="the old workers' end")
    await nginx.apply(WEB)
    assert nginx.confirmed()
    upgraded.send(signal.SIGHUP, old)
    wait_until(lambda: len(upgraded.serving(old)) == upgraded.workers, within=10, what="the old master serves again")
    assert not nginx.confirmed()
    await refused(nginx, WEB, because=f"old master {old} serves beside the new one {new}")


async def test_workers_that_outlive_the_old_master_are_not_overlooked(upgraded: UpgradedNginx, nginx: Nginx) -> None:
    """A crash leaves them, and some nginx even QUIT: they serve the oldest file, and no master shows them."""
    await nginx.apply(NO_WEB)
    old, new = upgraded.upgrade()
    await refused(nginx, WEB, because="old master")
    left = upgraded.serving(old)
    upgraded.send(signal.SIGKILL, old)
    wait_until(lambda: old not in upgraded.pids(), within=10, what="the old master's end")
    assert left <= upgraded.pids()
    assert await refused(nginx, WEB, because="left workers") == ["nginx.upgrade_unfinished"]
    (remark,) = (await nginx.status()).remarks
    assert remark.startswith("`kill -QUIT " + " ".join(map(str, sorted(left))))
    for pid in left:
        upgraded.send(signal.SIGQUIT, pid)
    wait_until(lambda: not left & upgraded.pids(), within=10, what="their end")
    await nginx.apply(WEB)
    assert nginx.confirmed()
    assert upgraded.master_pid == new


async def test_an_upgrade_that_is_taken_back_says_whom_it_waits_for(upgraded: UpgradedNginx, nginx: Nginx) -> None:
    """To end the old master, as at any other time of an upgrade, would leave nobody that serves."""
    await nginx.apply(NO_WEB)
    old, new = upgraded.upgrade()
    upgraded.send(signal.SIGWINCH, old)
    wait_until(lambda: not upgraded.serving(old), within=10, what="the old workers' end")
    with upgraded.held("/web/"):
        upgraded.send(signal.SIGHUP, old)
        upgraded.send(signal.SIGQUIT, new)
        wait_until(lambda: not upgraded.serving(new), within=10, what="the new master only ends its connection")
        wait_until(lambda: upgraded.serving(old), within=10, what="the old master serves again")
        assert await refused(nginx, WEB, because="is taken back") == ["nginx.upgrade_unfinished"]
        (remark,) = (await nginx.status()).remarks
        assert remark.startswith(f"`kill -TERM {new}`")
        assert "192.0.2.1" in upgraded.output.read_text(), "who starts now starts from what is true"
        upgraded.send(signal.SIGTERM, new)
        wait_until(lambda: upgraded.named() == old, within=10, what="the pid file is back")
    await nginx.apply(WEB)
    assert nginx.confirmed()

"""The nginx edge with a real nginx: what is replaced, and what counts as in force."""

import asyncio
from pathlib import Path

import pytest
from localnginx import NO_WEB, WEB, balancer, serving
from planted import immutable
from realnginx import RealNginx
from waiting import eventually

from lbwatch.balancers.nginx.process import find_master, workers_of
from lbwatch.core.errors import ConfigRejectedError, OutputError, ReloadError
from lbwatch.core.model import Server, Upstream


async def test_an_apply_that_returns_is_what_nginx_runs(real_nginx: RealNginx, tmp_path: Path) -> None:
    """Only new workers prove a reload."""
    before = serving(real_nginx)
    applied = await balancer(real_nginx, tmp_path).apply(WEB)
    assert applied.changed
    assert applied.reloaded
    assert 0 < applied.live_s <= applied.verified_s
    assert len(serving(real_nginx)) == real_nginx.workers
    assert not serving(real_nginx) & before
    assert "server 192.0.2.1:80;" in real_nginx.output.read_text()
    assert real_nginx.output.stat().st_mode & 0o777 == 0o644


async def test_the_same_again_reloads_nothing(real_nginx: RealNginx, tmp_path: Path) -> None:
    """Each reload leaves a set of old workers behind until their connections end."""
    nginx = balancer(real_nginx, tmp_path)
    await nginx.apply(WEB)
    workers = serving(real_nginx)
    assert nginx.confirmed()
    again = await nginx.apply(WEB)
    assert not again.reloaded
    assert serving(real_nginx) == workers


async def test_the_first_apply_reloads_although_the_file_is_equal(real_nginx: RealNginx, tmp_path: Path) -> None:
    """Equal to the file is not equal to what runs: lbwatch may have been killed between rename and signal."""
    await balancer(real_nginx, tmp_path).apply(WEB)
    workers = serving(real_nginx)
    applied = await balancer(real_nginx, tmp_path).apply(WEB)
    assert applied.reloaded
    assert not applied.changed
    assert not serving(real_nginx) & workers


async def test_a_restarted_nginx_is_not_confirmed(real_nginx: RealNginx, tmp_path: Path) -> None:
    """It may have started from an older file."""
    nginx = balancer(real_nginx, tmp_path)
    await nginx.apply(WEB)
    real_nginx.stop()
    assert not nginx.confirmed()
    real_nginx.start()
    assert not nginx.confirmed()


async def test_another_nginx_than_the_one_that_refused_is_known(real_nginx: RealNginx, tmp_path: Path) -> None:
    """What refused a reload for ten minutes may be mended by a restart, and then nobody should wait."""
    template = tmp_path / "bad.conf.j2"
    template.write_text("upstream web { }\n")
    nginx = balancer(real_nginx, tmp_path, template=str(template))
    with pytest.raises(ConfigRejectedError):
        await nginx.apply(WEB)
    assert not nginx.restarted()
    real_nginx.stop()
    assert not nginx.restarted()
    real_nginx.start()
    assert nginx.restarted()
    with pytest.raises(ConfigRejectedError):
        await nginx.apply(WEB)
    assert not nginx.restarted()


async def test_a_file_that_someone_else_changed_is_not_confirmed(real_nginx: RealNginx, tmp_path: Path) -> None:
    """A deploy tool that writes an old file back must not win."""
    nginx = balancer(real_nginx, tmp_path)
    await nginx.apply(WEB)
    real_nginx.output.write_text("# mine\n")
    assert not nginx.confirmed()
    assert (await nginx.apply(WEB)).changed


async def test_what_nginx_refuses_never_reaches_the_file(real_nginx: RealNginx, tmp_path: Path) -> None:
    """nginx could not start from it any more, and the next reboot would take the site down."""
    template = tmp_path / "bad.conf.j2"
    template.write_text("# {{ upstreams | length }}\nupstream web { }\n")
    await balancer(real_nginx, tmp_path).apply(WEB)
    before, workers = real_nginx.output.read_text(), serving(real_nginx)
    with pytest.raises(ConfigRejectedError, match="no servers are inside upstream") as caught:
        await balancer(real_nginx, tmp_path, template=str(template)).apply(WEB)
    assert str(real_nginx.output) in caught.value.stderr  # the operator reads of the file, not of our copy
    assert real_nginx.output.read_text() == before
    assert serving(real_nginx) == workers


async def test_the_candidate_is_tested_together_with_the_user_s_own_files(
    real_nginx: RealNginx, tmp_path: Path
) -> None:
    """An upstream `web` beside the user's `upstream web` breaks the whole config, and only both together show it."""
    (real_nginx.output.parent / "mine.conf").write_text("upstream web { server 192.0.2.9:80; }\n")
    applied = await balancer(real_nginx, tmp_path).apply(WEB)
    assert 'duplicate upstream "web"' in applied.degraded[0].error
    assert "upstream" not in real_nginx.output.read_text()


async def test_a_stop_does_not_wait_for_a_reload_command_that_hangs(real_nginx: RealNginx, tmp_path: Path) -> None:
    """SIGTERM must end lbwatch within 2 s, and what it started must not stay behind."""
    marker = tmp_path / "pid"
    script = tmp_path / "slow"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {marker}\nwait\n")
    script.chmod(0o755)
    task = asyncio.create_task(balancer(real_nginx, tmp_path, reload=str(script)).apply(WEB))
    await eventually(lambda: marker.exists() and marker.read_text().strip(), what="the command")
    task.cancel()
    async with asyncio.timeout(2):
        with pytest.raises(asyncio.CancelledError):
            await task
    sleeper = Path(f"/proc/{marker.read_text().strip()}/cmdline")
    await eventually(lambda: not sleeper.exists() or not sleeper.read_bytes(), what="the end of what it started")


async def test_without_nginx_the_file_is_written_and_the_reload_owed(real_nginx: RealNginx, tmp_path: Path) -> None:
    """nginx must start from what is true."""
    real_nginx.stop()
    nginx = balancer(real_nginx, tmp_path)
    with pytest.raises(ReloadError, match="not running"):
        await nginx.apply(WEB)
    assert "192.0.2.1" in real_nginx.output.read_text()
    real_nginx.start()
    assert (await nginx.apply(WEB)).reloaded


async def test_an_output_that_cannot_be_written_leaves_the_old_one(real_nginx: RealNginx, tmp_path: Path) -> None:
    """A full disk is no reason to serve nothing."""
    nginx = balancer(real_nginx, tmp_path)
    await nginx.apply(NO_WEB)
    before = real_nginx.output.read_text()
    with immutable(real_nginx.output):  # also for root
        for _ in range(2):
            with pytest.raises(OutputError, match="Operation not permitted"):
                await nginx.apply(WEB)
        assert real_nginx.output.read_text() == before
    await nginx.apply(WEB)
    assert "192.0.2.1" in real_nginx.output.read_text()
    assert {path.name for path in real_nginx.output.parent.iterdir()} == {"lbwatch.conf", ".lbwatch.conf.lock"}


async def test_a_cancelled_apply_leaves_no_half_step(real_nginx: RealNginx, tmp_path: Path) -> None:
    """SIGTERM between the rename and the signal would leave nginx on the old config for good."""
    nginx = balancer(real_nginx, tmp_path)
    await nginx.apply(NO_WEB)
    workers = serving(real_nginx)
    master = find_master(real_nginx.pidfile)
    task = asyncio.create_task(nginx.apply(WEB))
    before = real_nginx.output.stat().st_ino
    while real_nginx.output.stat().st_ino == before:  # the very moment of the rename
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: not {worker.pid for worker in workers_of(master).serving} & workers, what="the reload")


async def test_what_nginx_runs_is_told_beside_what_is_on_disk(real_nginx: RealNginx, tmp_path: Path) -> None:
    """An alarm goes by their difference: the next start of nginx would take what is on disk."""
    one = balancer(real_nginx, tmp_path)
    assert (await one.status()).running is None
    applied = await one.apply(WEB)
    assert ((await one.status()).digest, (await one.status()).running) == (applied.digest, applied.digest)
    assert (await one.status()).workers is not None
    real_nginx.output.write_text("# somebody else's\n")
    assert (await one.status()).running == applied.digest
    assert (await one.status()).digest not in (None, applied.digest)
    real_nginx.output.unlink()
    assert ((await one.status()).digest, (await one.status()).running) == (None, applied.digest)
    real_nginx.stop()
    assert ((await one.status()).running, (await one.status()).workers, one.runs()) == (None, None, False)


async def test_the_difference_is_to_what_was_verified_before(real_nginx: RealNginx, tmp_path: Path) -> None:
    """A file that was written while nginx was down is no old story: nobody was served by it."""
    one = balancer(real_nginx, tmp_path)
    await one.apply(NO_WEB)
    real_nginx.stop()
    with pytest.raises(ReloadError):
        await one.apply(WEB)
    real_nginx.start()
    applied = await one.apply(WEB)
    assert "+    server 192.0.2.1:80;\n" in applied.difference
    assert not (await one.apply(WEB)).reloaded


def lives(*started_ns: int, max_fails: int | None = None) -> tuple[Upstream, ...]:
    """An upstream of servers that were started then."""
    servers = tuple(
        Server(address=f"127.0.0.{number}", port=9, container=f"c{number}", started_ns=at, max_fails=max_fails)
        for number, at in enumerate(started_ns, 1)
    )
    return (Upstream(name="web", servers=servers),)


async def test_nginx_forgets_the_errors_of_a_life_that_is_over(real_nginx: RealNginx, tmp_path: Path) -> None:
    """Two that restart at once would be without a request for 10 s, though both listen again."""
    one = balancer(real_nginx, tmp_path)
    await one.apply(lives(1, 1))
    text, workers = real_nginx.output.read_text(), serving(real_nginx)
    applied = await one.apply(lives(1, 2))
    assert (applied.reloaded, applied.changed, applied.difference) == (True, False, "")
    assert real_nginx.output.read_text() == text
    assert not serving(real_nginx) & workers
    assert not (await one.apply(lives(1, 2))).reloaded, "once"


@pytest.mark.parametrize(
    ("before", "after"),
    [(lives(1), lives(2)), (lives(1, 1, max_fails=0), lives(1, 2, max_fails=0))],
    ids=["an only server", "max_fails=0"],
)
async def test_a_restart_that_nginx_remembers_nothing_of_reloads_nothing(
    before: tuple[Upstream, ...], after: tuple[Upstream, ...], real_nginx: RealNginx, tmp_path: Path
) -> None:
    """Each reload leaves a set of old workers behind until their connections end."""
    one = balancer(real_nginx, tmp_path)
    await one.apply(before)
    workers = serving(real_nginx)
    assert not (await one.apply(after)).reloaded
    assert serving(real_nginx) == workers


API = (Upstream(name="api", servers=(Server(address="192.0.2.7", port=80, container="api-1"),)),)


async def test_a_name_that_goes_after_its_last_server_costs_no_reload(real_nginx: RealNginx, tmp_path: Path) -> None:
    """A container that comes and goes alone is one reload in and one out, though it is removed after its death."""
    one = balancer(real_nginx, tmp_path)
    await one.apply(API + NO_WEB)
    workers = serving(real_nginx)
    applied = await one.apply(API)
    assert (applied.changed, applied.reloaded) == (True, False)
    assert serving(real_nginx) == workers
    assert "upstream web" not in real_nginx.output.read_text()
    assert "-upstream web {\n" in applied.difference
    assert one.confirmed()
    assert ((await one.status()).digest, (await one.status()).running) == (applied.digest, applied.digest)
    assert not (await one.apply(API)).reloaded
    again = await one.apply(API + WEB)
    assert again.reloaded
    assert not list(real_nginx.output.parent.glob(".*.old")), "no backup stays"


async def test_a_name_that_goes_costs_a_reload_where_nginx_is_another_one(
    real_nginx: RealNginx, tmp_path: Path
) -> None:
    """It may have started from another file."""
    one = balancer(real_nginx, tmp_path)
    await one.apply(API + NO_WEB)
    real_nginx.stop()
    real_nginx.start()
    assert (await one.apply(API)).reloaded


async def test_a_name_that_nginx_s_own_files_use_is_kept(real_nginx: RealNginx, tmp_path: Path) -> None:
    """Without it nginx could not start from the file."""
    one = balancer(real_nginx, tmp_path)
    await one.apply(API + NO_WEB)
    mine = f"server {{ listen unix:{real_nginx.folder}/mine.sock; location / {{ proxy_pass http://web; }} }}\n"
    (real_nginx.output.parent / "mine.conf").write_text(mine)
    applied = await one.apply(API)
    assert applied.degraded[0].kept
    assert "upstream web" in real_nginx.output.read_text()

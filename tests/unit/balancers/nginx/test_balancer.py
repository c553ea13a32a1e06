"""The nginx edge with a real nginx: what is tested, what is replaced, and what counts as proven."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from localnginx import balancer
from needs import need
from realnginx import RealNginx
from waiting import eventually

from lbwatch.balancers.nginx import verify as proof
from lbwatch.balancers.nginx.balancer import Nginx
from lbwatch.balancers.nginx.config_test.local import CommandTester, CopyTester, built_in_main
from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.nginx.process import Process, find_master, signal_reload, workers_of
from lbwatch.core.errors import ConfigRejectedError, OutputError, ReloadError, TakenBackError
from lbwatch.core.model import Server, Upstream
from lbwatch.system import files

WEB = (Upstream(name="web", servers=(Server(address="192.0.2.1", port=80, container="web-1"),)),)
NO_WEB = (Upstream(name="web"),)


@pytest.fixture(autouse=True)
def _nginx_is_there() -> None:
    need("nginx")


def serving(nginx: RealNginx) -> set[int]:
    """The workers that accept connections, as /proc shows them."""
    return {worker.pid for worker in workers_of(find_master(nginx.pidfile)).serving}


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


async def test_live_means_that_all_new_workers_are_there(real_nginx: RealNginx) -> None:
    """Requests go to whoever accepts first: half a generation is not in force."""
    control = LocalControl(pidfile=real_nginx.pidfile, command=None)
    await eventually(lambda: len(serving(real_nginx)) == real_nginx.workers, what="all workers")
    before = serving(real_nginx)
    await control.reload()
    await control.wait_live()
    assert len(serving(real_nginx) - before) == real_nginx.workers
    await control.wait_retired()
    assert not serving(real_nginx) & before


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


async def test_a_test_touches_nothing_that_is_live(real_nginx: RealNginx, tmp_path: Path) -> None:
    """A pid file that a test rewrites is a reload that goes nowhere."""
    await balancer(real_nginx, tmp_path).apply(NO_WEB)
    files = [path for path in sorted(real_nginx.folder.rglob("*")) if path.is_file()]
    log = real_nginx.folder / "error.log"  # nginx itself writes to it while old workers end
    watched = {path: path.stat() for path in files if path != log}
    tester = CopyTester(("nginx",), main=real_nginx.conf, output=real_nginx.output, folder=tmp_path / "test")
    await tester.test("upstream other { server 192.0.2.1:80; }\n")
    assert {path: path.stat() for path in watched} == watched
    assert [path for path in sorted(real_nginx.folder.rglob("*")) if path.is_file()] == files


async def test_a_user_s_change_is_seen_by_the_next_test(real_nginx: RealNginx, tmp_path: Path) -> None:
    """The test tree is kept between tests; it must not grow stale."""
    tester = CopyTester(("nginx",), main=real_nginx.conf, output=real_nginx.output, folder=tmp_path)
    text = "upstream web { server 192.0.2.1:80; }\n"
    await tester.test(text)
    mine = real_nginx.output.parent / "mine.conf"
    mine.write_text(text)
    with pytest.raises(ConfigRejectedError, match="duplicate"):
        await tester.test(text)
    mine.unlink()
    await tester.test(text)


@pytest.mark.parametrize("how", ["relative", "nested", "link", "by name", "beside other folders", "linked folder"])
async def test_the_output_is_found_however_it_is_included(tmp_path: Path, how: str) -> None:
    """Debian includes conf.d/*.conf and sites-enabled/*; others nest, link or name the file."""
    folder = tmp_path / "etc"
    (folder / "conf.d").mkdir(parents=True)
    (folder / "sites").mkdir()
    (folder / "types.conf").write_text("types { text/html html; }\n")
    output = folder / "conf.d/lbwatch.conf"
    include = {
        "relative": "include conf.d/*.conf;",
        "nested": f"include {folder}/outer.conf;",
        "link": f"include {folder}/sites/*;",
        "by name": f"include {output};",
        "beside other folders": f"include {folder}/*/*.conf; include types.conf;",
        "linked folder": f"include {folder}/conf.d/*.conf;",
    }[how]
    (folder / "outer.conf").write_text("include inner.conf;\n")
    (folder / "inner.conf").write_text(f"include types.conf;\ninclude {folder}/conf.d/*.conf;\n")
    if how == "linked folder":
        (folder / "linked").symlink_to(folder / "conf.d")
        output = folder / "linked/lbwatch.conf"
    if how == "link":
        output.write_text("")
        (folder / "sites/upstreams").symlink_to(output)
    main = folder / "nginx.conf"
    main.write_text(f"error_log {folder}/e.log; pid {folder}/p;\nevents {{}}\nhttp {{ access_log off; {include} }}\n")
    (tmp_path / "test").mkdir()
    tester = CopyTester(("nginx",), main=main, output=output, folder=tmp_path / "test")
    await tester.test("upstream web { server 192.0.2.1:80; }\n")
    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        await tester.test("nonsense on;\n")
    assert tester.copy is not None
    assert tester.copy.includes_output
    assert not (folder / "p").exists()
    assert not (folder / "e.log").exists()


async def test_the_test_tree_survives_cleaners_and_removals(tmp_path: Path) -> None:
    """/tmp is cleaned by age, and users remove files: neither may block every later update."""
    folder, copy = tmp_path / "etc", tmp_path / "tree"
    (folder / "conf.d").mkdir(parents=True)
    copy.mkdir()
    (folder / "a.inc").write_text("")
    (folder / "b.inc").write_text("")
    main = folder / "nginx.conf"
    main.write_text(f"pid {folder}/p; include *.inc;\nevents {{}}\nhttp {{ access_log off; include conf.d/*.conf; }}\n")
    tester = CopyTester(("nginx",), main=main, output=folder / "conf.d/lbwatch.conf", folder=copy)
    await tester.test("upstream web { server 192.0.2.1:80; }\n")
    (folder / "b.inc").unlink()
    await tester.test("upstream web { server 192.0.2.2:80; }\n")
    shutil.rmtree(copy)
    copy.mkdir()
    await tester.test("upstream web { server 192.0.2.3:80; }\n")
    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        await tester.test("nonsense on;\n")


async def test_an_nginx_program_that_cannot_run_refuses_and_does_not_end_the_daemon(tmp_path: Path) -> None:
    """A config that could not be tested must not be published, and an update of nginx is no reason to die."""
    program = tmp_path / "nginx"
    program.write_text("no program")
    tester = CopyTester((str(program),), main=None, output=tmp_path / "x.conf", folder=tmp_path)
    with pytest.raises(ConfigRejectedError, match="Permission denied"):
        await tester.test("")
    program.chmod(0o755)
    with pytest.raises(ConfigRejectedError, match="Exec format error"):
        await tester.test("")
    program.write_text("#!/no/such/interpreter\n")
    with pytest.raises(ConfigRejectedError, match="No such file"):
        await tester.test("")


async def test_without_an_nginx_program_nothing_is_tested_and_that_is_said(tmp_path: Path) -> None:
    """A sidecar beside nginx has no nginx of its own; its configuration may not be there either."""
    tester = CopyTester(("no-nginx",), main=tmp_path / "none.conf", output=tmp_path / "x.conf", folder=tmp_path)
    with structlog.testing.capture_logs() as logs:
        await tester.test("nonsense on;")
        await tester.test("nonsense on;")
    assert [log["event"] for log in logs] == ["nginx.untested"]


WRONG = "# {{ upstreams | length }}\nupstream web { }\n"


@pytest.mark.parametrize(
    "theirs",
    [b"include ;\n", b'include "a\0b";\n', b"include;", b"}", b"\xff\xfe"],
    ids=["", "nul", "none", "brace", "bytes"],
)
async def test_a_user_s_file_of_any_kind_ends_no_daemon(real_nginx: RealNginx, tmp_path: Path, theirs: bytes) -> None:
    """Whatever is wrong with it is said at each try, and mended by the user."""
    one = balancer(real_nginx, tmp_path)
    await one.apply(NO_WEB)
    mine = real_nginx.output.parent / "mine.conf"
    mine.write_bytes(theirs)
    with pytest.raises(ConfigRejectedError):
        await one.apply(WEB)
    mine.unlink()
    assert (await one.apply(WEB)).reloaded


@pytest.fixture
def untested(real_nginx: RealNginx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Nginx]:
    """Makes load balancers where there is no nginx program to test with; `wrong` ones write what nginx refuses."""
    monkeypatch.setattr(proof, "VERIFY_TIMEOUT_S", 0.5)
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


async def test_the_main_file_is_the_one_that_nginx_was_built_for(tmp_path: Path) -> None:
    """OpenResty and builds from source have their own prefix, and often no --conf-path."""
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\necho configure arguments: --with-x --prefix=/opt/nginx >&2\n")
    program.chmod(0o755)
    assert await built_in_main((str(program),)) == Path("/opt/nginx/conf/nginx.conf")
    assert await built_in_main(("nginx",)) == Path("/etc/nginx/nginx.conf")


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


async def test_a_reload_that_nginx_takes_back_is_seen(
    real_nginx: RealNginx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`nginx -t` and `nginx -s reload` say 0 while a port cannot be bound."""
    monkeypatch.setattr(proof, "VERIFY_TIMEOUT_S", 3.0)  # above nginx's own 2.5 s
    nginx = balancer(real_nginx, tmp_path)
    await nginx.apply(NO_WEB)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        real_nginx.rewrite(http=f"server {{ listen 127.0.0.1:{taken.getsockname()[1]}; }}")
        with pytest.raises(ReloadError, match="took the reload back"):
            await nginx.apply(WEB)
        assert not nginx.confirmed()
    assert (await nginx.apply(WEB)).reloaded
    assert nginx.confirmed()


async def test_fewer_workers_by_the_user_s_will_are_no_failure(real_nginx: RealNginx, tmp_path: Path) -> None:
    """Else lbwatch would reload for ever after a change of worker_processes."""
    nginx = balancer(real_nginx, tmp_path)
    await nginx.apply(NO_WEB)
    real_nginx.workers = 1
    real_nginx.rewrite()
    assert (await nginx.apply(WEB)).reloaded


async def test_without_nginx_the_file_is_written_and_the_reload_owed(real_nginx: RealNginx, tmp_path: Path) -> None:
    """nginx must start from what is true."""
    real_nginx.stop()
    nginx = balancer(real_nginx, tmp_path)
    with pytest.raises(ReloadError, match="not running"):
        await nginx.apply(WEB)
    assert "192.0.2.1" in real_nginx.output.read_text()
    real_nginx.start()
    assert (await nginx.apply(WEB)).reloaded


async def test_a_stale_pid_file_signals_nobody(real_nginx: RealNginx, tmp_path: Path) -> None:
    """HUP ends most programs; the pid may be anyone's by now."""
    process = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        pidfile = tmp_path / "stale.pid"
        pidfile.write_text(f"{process.pid}\n")
        with pytest.raises(ReloadError, match="no nginx master"):
            await LocalControl(pidfile=pidfile, command=None).reload()
        pidfile.write_text("nonsense")
        with pytest.raises(ReloadError, match="no pid"):
            find_master(pidfile)
        gone = Process(pid=process.pid, started=1)
        with pytest.raises(ReloadError, match="ended before"):
            signal_reload(gone)
        assert process.returncode is None
    finally:
        process.kill()
        assert await process.wait() == -signal.SIGKILL


async def test_commands_of_the_user_s_test_and_reload(real_nginx: RealNginx, tmp_path: Path) -> None:
    """Not every nginx is an nginx on this side."""
    nginx = balancer(real_nginx, tmp_path, reload=f"nginx -c {real_nginx.conf} -s reload")
    assert (await nginx.apply(WEB)).reloaded
    real_nginx.stop()
    with pytest.raises(ReloadError, match="exit code 1"):
        await nginx.apply(NO_WEB)
    believed = balancer(real_nginx, tmp_path, reload="true")
    assert (await believed.apply(WEB)).reloaded
    assert believed.confirmed()
    tester = CommandTester(("grep", "-q", "upstream", "{candidate}"), folder=tmp_path)
    await tester.test("upstream web {}\n")
    with pytest.raises(ConfigRejectedError):
        await tester.test("nothing\n")
    with pytest.raises(ConfigRejectedError, match="no-such-program"):
        await CommandTester(("no-such-program",), folder=tmp_path).test("")


async def test_an_output_that_cannot_be_written_leaves_the_old_one(real_nginx: RealNginx, tmp_path: Path) -> None:
    """A full disk is no reason to serve nothing."""
    nginx = balancer(real_nginx, tmp_path)
    await nginx.apply(NO_WEB)
    scratch = real_nginx.output.with_name(f".{real_nginx.output.name}.tmp")
    scratch.mkdir()  # stands in the way, also for root
    before = real_nginx.output.read_text()
    with pytest.raises(OutputError):
        await nginx.apply(WEB)
    assert real_nginx.output.read_text() == before


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


async def test_workers_are_told_by_generation(real_nginx: RealNginx) -> None:
    """A worker that only ends its old connections does not serve the new config."""
    master = find_master(real_nginx.pidfile)
    assert master.pid == real_nginx.master_pid
    await eventually(
        lambda: len(workers_of(master).serving) == real_nginx.workers, what="all workers"
    )  # by their titles
    workers = workers_of(master)
    assert {worker.pid for worker in workers.serving} == real_nginx.worker_pids()
    assert not workers.retiring
    assert os.getpid() not in {worker.pid for worker in workers.serving}


async def test_what_nginx_runs_is_told_beside_what_is_on_disk(real_nginx: RealNginx, tmp_path: Path) -> None:
    """An alarm goes by their difference: the next start of nginx would take what is on disk."""
    one = balancer(real_nginx, tmp_path)
    assert (await one.seen()).running is None
    applied = await one.apply(WEB)
    assert ((await one.seen()).digest, (await one.seen()).running) == (applied.digest, applied.digest)
    assert (await one.seen()).workers is not None
    real_nginx.output.write_text("# somebody else's\n")
    assert (await one.seen()).running == applied.digest
    assert (await one.seen()).digest not in (None, applied.digest)
    real_nginx.output.unlink()
    assert ((await one.seen()).digest, (await one.seen()).running) == (None, applied.digest)
    real_nginx.stop()
    assert ((await one.seen()).running, (await one.seen()).workers, one.runs()) == (None, None, False)


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

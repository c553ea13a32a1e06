"""An nginx's processes: which one is the master, and which workers serve."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from needs import need
from planted import NO_FILES, victim_in
from realnginx import RealNginx
from waiting import eventually

from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.nginx.process import (
    Process,
    built_in_words,
    chosen_master,
    find_master,
    running_flags,
    signal_reload,
    upgrade_among,
    with_flags,
    workers_of,
)
from lbwatch.core.errors import ReloadError
from lbwatch.core.model import ContainerProcess


async def test_a_stale_pid_file_signals_nobody(real_nginx: RealNginx, tmp_path: Path) -> None:
    """HUP ends most programs; the pid may be anyone's by now."""
    process = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        pidfile = tmp_path / "stale.pid"
        pidfile.write_text(f"{process.pid}\n")
        with pytest.raises(ReloadError, match="no nginx master"):
            await LocalControl(pidfile=pidfile, output=real_nginx.output, command=None).reload()
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


OLD, NEW = Process(pid=10, started=1), Process(pid=20, started=2)


def family(*more: tuple[int, int, str]) -> list[tuple[Process, int, str]]:
    """An old master with a worker, a new one that is its child, and more rows."""
    rows = [
        (OLD, 1, "nginx: master process /usr/sbin/nginx"),
        (Process(pid=11, started=1), OLD.pid, "nginx: worker process"),
        (NEW, OLD.pid, "nginx: master process /usr/sbin/nginx"),
    ]
    return rows + [(Process(pid=pid, started=2), parent, title) for pid, parent, title in more]


def test_two_masters_that_both_serve_are_an_upgrade() -> None:
    """Where only titles and parents are seen, as in a container, they must do."""
    found = upgrade_among(family((21, NEW.pid, "nginx: worker process"), (99, 1, "nginx: master process nginx")))
    assert found is not None
    assert (found.old, found.new, found.taken_back) == (OLD, NEW, False)
    assert {worker.pid for worker in found.workers} == {11}
    found = upgrade_among(family((21, NEW.pid, "nginx: worker process is shutting down")))
    assert found is not None
    assert found.taken_back


@pytest.mark.parametrize(
    "rows",
    [
        family(),  # a worker just forked has its master's title; so has a new binary before its first worker
        family()[:2],
        [*family()[:1], *family((21, NEW.pid, "nginx: worker process"))[2:]],
        [(each, 1, title) for each, _, title in family((21, NEW.pid, "nginx: worker process"))],
        [
            (each, parent, f"{title} is shutting down" if each.pid == 11 else title)
            for each, parent, title in family((21, NEW.pid, "nginx: worker process"))
        ],
    ],
    ids=["no worker of its own", "one master", "no old worker", "strangers", "the old worker retires"],
)
def test_what_is_no_upgrade(rows: list[tuple[Process, int, str]]) -> None:
    """A false one would keep lbwatch from being ready: at each reload, or for good."""
    assert upgrade_among(rows) is None


@pytest.mark.parametrize(
    ("title", "flags"),
    [
        ("nginx: master process nginx -g daemon off;", {"-g": "daemon off;"}),
        ("nginx: master process /usr/sbin/nginx", {}),
        (
            "nginx: master process nginx -c /srv/my.conf -g pid /run/x.pid; daemon off; -p /srv",
            {"-c": "/srv/my.conf", "-g": "pid /run/x.pid; daemon off;", "-p": "/srv"},
        ),
        ("nginx: master process nginx -g daemon off; pid /ru", {"-g": "daemon off;"}),
        ("nginx: master process nginx -e stderr -q", {"-e": "stderr"}),
    ],
)
def test_what_nginx_was_started_with_is_read_from_its_title(title: str, flags: dict[str, str]) -> None:
    """Its pid file and its main file follow from it, and with them which nginx is tested and reloaded."""
    assert running_flags(title) == flags


def test_flags_that_a_command_has_already_stay_as_they_are() -> None:
    """What the user set comes before what runs."""
    flags = {"-c": "/a.conf", "-g": "daemon off;"}
    assert with_flags(("nginx", "-c", "/b.conf"), flags=flags) == ("nginx", "-c", "/b.conf", "-g", "daemon off;")


def listed(pid: int, parent: int, title: str) -> ContainerProcess:
    return ContainerProcess(pid=pid, parent=parent, title=title)


FIRST = listed(7, 1, "nginx: master process nginx -c /a.conf")
SECOND = listed(5, 1, "nginx: master process nginx -c /b.conf")
UPGRADED = listed(9, 7, "nginx: master process nginx -c /a.conf")


@pytest.mark.parametrize(
    ("processes", "main", "pid"),
    [
        ((FIRST,), None, 7),
        ((FIRST, UPGRADED), None, 7),
        ((FIRST, SECOND), None, 5),
        ((FIRST, SECOND), "/a.conf", 7),
        ((FIRST, SECOND, UPGRADED), "/a.conf", 7),
        ((FIRST, SECOND), "/none.conf", 5),
        ((listed(1, 0, "sh"),), None, None),
    ],
)
def test_of_several_masters_the_one_that_is_meant_is_chosen(
    processes: tuple[ContainerProcess, ...], main: str | None, pid: int | None
) -> None:
    """Workers of another one never change when this one is reloaded."""
    found = chosen_master(processes, main=main)
    assert (None if found is None else found.pid) == pid


BEGUN_BY_INIT = """
import sys
from pathlib import Path
from lbwatch.balancers.nginx.process import find_master
print(find_master(Path("/nowhere/nginx.pid")).pid)
"""


@pytest.mark.parametrize("init", ["sh", "tini"])
def test_the_master_that_a_container_s_init_began_is_found(tmp_path: Path, init: str) -> None:
    """In the pid namespace of nginx's container its pid file is not seen; and process 1 is often an init or a shell."""
    need("nginx", "unshare")
    conf, shell = tmp_path / "nginx.conf", tmp_path / init
    conf.write_text(f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\n")
    shutil.copy("/bin/sh", shell)
    script = f"""nginx -c {conf} -g 'daemon off;' &
    for _ in $(seq 500); do grep -q master /proc/$!/cmdline && break; sleep 0.02; done
    {sys.executable} -c '{BEGUN_BY_INIT}' > {tmp_path}/found 2>&1; echo $! > {tmp_path}/wanted; kill $!; wait"""
    argv = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", str(shell), "-c", script]
    subprocess.run(argv, check=False, timeout=60)
    assert (tmp_path / "found").read_text() == (tmp_path / "wanted").read_text()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", [name for name in NO_FILES if name != "a link to a file"])
def test_what_is_no_pid_file_is_told_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    """It is looked at in the loop, once a second and more."""
    pidfile = tmp_path / "nginx.pid"
    NO_FILES[kind](pidfile, victim_in(tmp_path))
    with pytest.raises(ReloadError, match=r"it is a \w+, not a file|No such file|Too many levels"):
        find_master(pidfile)


def test_words_are_read_of_a_living_master_alone(real_nginx: RealNginx) -> None:
    """Its pid may be another program's by now, and a program of another user cannot be read: then nothing is known."""
    master = find_master(real_nginx.pidfile)
    assert re.fullmatch(r"nginx version: nginx/[0-9.]+", built_in_words(master))
    assert built_in_words(Process(pid=master.pid, started=1)) == ""
    assert built_in_words(Process(pid=2**22 + 1, started=1)) == ""
    ours = Process(pid=os.getpid(), started=int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]))
    assert built_in_words(ours) == ""

"""An nginx's processes: which one is the master, and which workers serve."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from realnginx import RealNginx
from waiting import eventually

from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.nginx.process import Process, find_master, signal_reload, workers_of
from lbwatch.core.errors import ReloadError


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

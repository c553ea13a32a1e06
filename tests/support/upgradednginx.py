"""An nginx that can be upgraded in place by signals, as docs say (https://nginx.org/en/docs/control.html)."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from daemon import wait_until
from realengine import in_namespace
from realnginx import RealNginx


class UpgradedNginx(RealNginx):
    """
    A real nginx as a daemon, by its absolute path: one in the foreground of its parent ignores USR2.

    Its processes are known by the error log that they have open, whatever their parents are.
    """

    def start(self, *, within: float = 10) -> "UpgradedNginx":
        """Start it and wait until it answers."""
        nginx = shutil.which("nginx")
        assert nginx is not None
        argv = in_namespace(self.namespace, [nginx, "-c", str(self.conf), "-p", str(self.folder)])
        quiet = subprocess.DEVNULL
        subprocess.run(argv, check=True, stdin=quiet, stdout=quiet, stderr=quiet, timeout=within)
        wait_until(self.is_up, within=within, what="nginx answers", notes=self.errors)
        wait_until(
            lambda: len(self.serving(self.master_pid)) == self.workers,
            within=within,
            what="all workers have their titles",
        )
        return self

    @property
    def master_pid(self) -> int:
        """As the pid file has it."""
        return int(self.pidfile.read_text())

    def upgrade(self) -> tuple[int, int]:
        """Have the master start a new one beside it; return the pids of the old and the new one, once both serve."""
        old = self.master_pid
        os.kill(old, signal.SIGUSR2)
        new = wait_until(self.named, holds=lambda pid: pid not in (None, old), within=10, what="a new pid file")
        assert new is not None
        wait_until(lambda: len(self.serving(new)) == self.workers, within=10, what="the new master's workers")
        return old, new

    def send(self, number: signal.Signals, pid: int) -> None:
        """Send a signal to one of its processes, and to no other's."""
        assert pid in self.pids(), f"{pid} is no process of this nginx"
        os.kill(pid, number)

    def serving(self, master: int) -> set[int]:
        """Return the workers of a master that take connections."""
        return {pid for pid, (parent, title) in self._processes().items() if parent == master and _serves(title)}

    def pids(self) -> set[int]:
        """Return all its processes."""
        return set(self._processes())

    def close(self) -> None:
        """End all of it, however it is."""
        deadline = time.monotonic() + 10
        while pids := self.pids():
            assert time.monotonic() < deadline, f"nginx does not end: {pids}"
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _children(self) -> list[int]:
        return [pid for pid, (parent, _) in self._processes().items() if parent == self.master_pid]

    def named(self) -> int | None:
        """Return the pid in the pid file; `None` while there is none."""
        try:
            return int(self.pidfile.read_text())
        except (OSError, ValueError):  # it changes hands
            return None

    def _processes(self) -> dict[int, tuple[int, str]]:
        """Return parent and title of each, by pid."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # it ends just now
                    title = (entry / "cmdline").read_text(errors="replace").replace("\0", " ")
                    if title.startswith("nginx: ") and self._has_log(entry):
                        stat = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                        found[int(entry.name)] = (int(stat[1]), title)
        return found

    def _has_log(self, process: Path) -> bool:
        return any(os.readlink(each) == str(self.error_log) for each in (process / "fd").iterdir())


def _serves(title: str) -> bool:
    return title.startswith("nginx: worker process") and "shutting down" not in title

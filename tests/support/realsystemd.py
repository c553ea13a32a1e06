"""
A private systemd for tests: the first process of its own namespaces, on a throw-away copy of this machine's root.

The copy is an overlay on a tmpfs, so that users, units and files in /etc can be made as on a machine of one's own. No
unit of the machine is known there: only those that a test puts in. Nothing here knows lbwatch. Needs root.
"""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

_NUMBERS = itertools.count(1)
_UNITS = Path("/etc/systemd/system")

# What is shared is bound to the path that it has outside. The kernel's settings are the machine's: read-only.
_BOOT = """\
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs {folder}
mkdir {folder}/up {folder}/work {folder}/root {folder}/cgroup
mount -t overlay overlay -o lowerdir=/,upperdir={folder}/up,workdir={folder}/work {folder}/root
mount -t cgroup2 cgroup2 {folder}/cgroup
mkdir -p {folder}/cgroup/{name}
echo $$ > {folder}/cgroup/{name}/cgroup.procs
exec unshare --cgroup --net --pid --ipc --uts --fork --kill-child sh -ec '
cd {folder}/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t tmpfs -o mode=755 tmpfs run
for each in {shared}; do mkdir -p .$each; mount --bind $each .$each; done
mount --rbind /dev dev
mkdir .old
pivot_root . .old
umount -l .old
mount --make-rshared /
ip link set lo up
rm -rf {units}
mkdir -p {units}
for each in sysinit basic shutdown; do printf "[Unit]\\nDefaultDependencies=no\\n" > {units}/$each.target; done
exec env -i container=lbwatch-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH={units} \\
  /lib/systemd/systemd --system --unit=basic.target --log-target=console --log-level=warning --show-status=no'
"""


class RealSystemd:
    """
    One systemd; `close` it last, also as a context manager.

    Args:
        shared: Folders of this machine that are seen there too, at the same paths, and to be entered by anyone.

    Attributes:
        root: Its root directory, as a path of this machine.
    """

    def __init__(self, *, shared: Iterable[Path] = ()) -> None:
        self.name = f"lbw-systemd-{os.getpid()}-{next(_NUMBERS)}"
        self._shared = tuple(shared)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir="/tmp"))
        self._log = self._folder.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0  # pid of the systemd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def root(self) -> Path:
        assert self._first
        return Path(f"/proc/{self._first}/root")

    def start(self, *, within: float = 20) -> Self:
        """Start it, and wait until it takes orders."""
        shared = " ".join(map(str, self._shared))
        script = _BOOT.format(folder=self._folder, name=self.name, shared=shared, units=_UNITS)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + within
        while not self._takes_orders():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(f"systemd did not start in {within} s:\n{self.said()}")
            time.sleep(0.02)
        for each in self._shared:
            for folder in each.parents:
                place = self.root / str(folder).lstrip("/")
                place.chmod(place.stat().st_mode | 0o111)
        return self

    def write(self, path: Path | str, text: str, *, mode: int = 0o644) -> None:
        """Write a file there, and the folders above it."""
        place = self.root / str(path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def unit(self, name: str, text: str) -> None:
        """Let there be a unit, or a drop-in for one."""
        self.write(_UNITS / name, text)
        self.run("systemctl", "daemon-reload")

    def read(self, path: Path | str) -> str:
        """Return what a file holds there; empty if there is none."""
        try:
            return (self.root / str(path).lstrip("/")).read_text()
        except FileNotFoundError:
            return ""

    def run(self, *command: str, check: bool = True, within: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command there, as root."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._first), "-a", *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=within,
            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}\n{self.said()}")
        return done

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit).stdout.strip()

    def said(self) -> str:
        """Return the end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])

    def close(self) -> None:
        """End it and all that runs in it: a first process takes its namespace with it."""
        if self._process is not None:
            if self._process.poll() is None and self._first:
                os.kill(self._first, signal.SIGKILL)
            elif self._process.poll() is None:
                self._process.kill()
            self._process.wait(10)
            self._remove_cgroup()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._log.unlink(missing_ok=True)

    def _takes_orders(self) -> bool:
        self._first = self._first or self._find_first()
        return bool(self._first) and self.run("systemctl", "show", "-P", "Version", check=False).returncode == 0

    def _find_first(self) -> int:
        """Return the child of what was started, once it is a systemd."""
        assert self._process is not None
        pid = self._process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return next((int(each) for each in children if Path(f"/proc/{each}/comm").read_text() == "systemd\n"), 0)
        except OSError:
            return 0

    def _remove_cgroup(self) -> None:
        """By a mount of our own: not every machine has that hierarchy mounted, nor at one place."""
        script = (
            f"mount -t cgroup2 cgroup2 {self._folder} && "
            f"find {self._folder}/{self.name} -depth -type d -exec rmdir {{}} \\;"
        )
        deadline = time.monotonic() + 10
        while subprocess.run(["unshare", "--mount", "sh", "-c", script], check=False, capture_output=True).returncode:
            if time.monotonic() > deadline:
                raise AssertionError(f"the control group {self.name} cannot be removed")
            time.sleep(0.05)

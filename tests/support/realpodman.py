"""
A private, real Podman for tests: its API service in a network namespace of its own, asked by Docker's command line.

It is used as any other `RealEngine`. What differs: there is no daemon that keeps containers, so that `kill9` and
`terminate` leave all of them running, each below a `conmon` of its own; and where no systemd runs nothing probes health.
Needs root, iptables and busybox-static; Podman itself is fetched (`versions.PODMANS`).
"""

import json
import os
import resource
import shlex
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from realengine import CONTROLLERS, RealEngine, command_of, descendants, remove_cgroup, wait_gone
from versions import engine_programs, podman_programs

CLI = "26.1"
"""Whose `docker` it is asked by, of `versions.ENGINES`."""

_CGROUPS = "libpod_parent"
"""Podman's own choice, which no setting changes; that of each container is below."""

_LIMITS = (("nofile", resource.RLIMIT_NOFILE, 20_000), ("nproc", resource.RLIMIT_NPROC, 4096))
"""Podman 4.3 asks for a million and four, which a machine may refuse; crun 1.8 failed even with our own hard limit."""

_CONF = """\
[containers]
seccomp_profile = "unconfined"
default_ulimits = {limits}
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
conmon_path = ["{programs}/conmon"]
helper_binaries_dir = ["{programs}"]
runtime = "crun"
tmp_dir = "{folder}/tmp"
volume_path = "{folder}/volumes"
[engine.runtimes]
crun = ["{programs}/crun"]
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""

_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/data"
runroot = "{folder}/run"
"""


class RealPodman(RealEngine):
    """
    One Podman; see `RealEngine`, whose `docker`, `api`, `run` and all else it has.

    Args:
        version: One of `versions.PODMANS`.

    Attributes:
        version: The same.
    """

    # Its runtime, its networks and its locks are in folders of /run that no setting names; nothing shall be left there.
    more_mounts = "mount -t tmpfs -o mode=755 tmpfs /run"

    def __init__(self, version: str) -> None:
        super().__init__(programs=podman_programs(version))
        self.version = version
        self._cli = engine_programs(CLI)
        self._containers: set[str] = set()  # ids of all that were seen at an end of the service, for their cgroups

    def _environment(self) -> dict[str, str]:
        assert self.programs is not None
        folders = (
            str(self.programs),
            *(() if self._cli is None else (str(self._cli),)),
            os.environ["PATH"],
            "/usr/sbin",
        )
        home = self.folder / "home"
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DOCKER_"))},
            "PATH": os.pathsep.join(folders),
            "HOME": str(home),
            "CONTAINERS_CONF": str(home / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }

    def _command_line(self) -> Iterable[str]:
        policy = self.folder / "home/.config/containers/policy.json"
        policy.parent.mkdir(parents=True, exist_ok=True)
        policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        most = {name: min(enough, resource.getrlimit(of)[1]) for name, of, enough in _LIMITS}
        limits = [f"{name}={number}:{number}" for name, number in most.items()]
        places = {"programs": self.programs, "folder": self.folder, "limits": json.dumps(limits)}
        for name, text in (("containers", _CONF), ("storage", _STORAGE), ("registries", "")):
            (self.folder / "home" / f"{name}.conf").write_text(text.format(**places))
        return ["podman", "system", "service", "--time", "0", self.url]

    def conmons(self) -> int:
        """Return how many processes keep a container or a program in it: two while the latter runs, and after it."""
        return sum(command_of(pid)[:1] == ["conmon"] for pid in self._pids())

    def remove(self, *names: str) -> None:
        """Remove containers at once; by Docker's call Podman would send a stop signal, and wait 10 s for its effect."""
        for name in names:
            self.api("DELETE", f"/v4.0.0/libpod/containers/{quote(name, safe='')}?force=true&v=true&timeout=0")

    def podman(self, *args: str, within: float = 60) -> str:
        """Return what Podman's own command line printed; raises with what it complained of."""
        argv = ["podman", *args]
        done = subprocess.run(
            self._inside(argv), check=False, capture_output=True, text=True, env=self._environment(), timeout=within
        )
        if done.returncode:
            raise RuntimeError(f"podman {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def put_command(self, folder: Path) -> None:
        """Put a `podman` into a folder that speaks to this one, for what is pasted from documents."""
        environment = (f"{name}={value}" for name, value in self._environment().items())
        words = shlex.join(("env", *environment, *self._inside(["podman"])))
        command = folder / "podman"
        command.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        command.chmod(0o755)

    # -- what it leaves

    def _remove_containers_hurriedly(self) -> None:
        self._remember_containers()
        super()._remove_containers_hurriedly()

    def _end_leftovers(self) -> None:
        self._remember_containers()
        for id in self._containers:
            _thaw(id)  # a paused container's processes die no sooner
        doomed = {each for pid in self._pids() for each in (*descendants(pid), pid)}
        # Each conmon before what it keeps: it would start a container again whose policy says so.
        for pid in sorted(doomed, key=lambda pid: command_of(pid)[:1] != ["conmon"]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_gone(lambda: [pid for pid in doomed if command_of(pid)])
        wait_gone(self._pids)

    def _remember_containers(self) -> None:
        known = self.folder / "data/overlay-containers"
        self._containers |= {each.name for each in known.glob("*") if each.is_dir()}

    def _remove_cgroups(self) -> None:
        for controller in (*CONTROLLERS, "systemd"):
            top = Path("/sys/fs/cgroup") / controller / _CGROUPS
            for id in self._containers:
                for each in top.glob(f"*{id}*"):
                    for folder, _, _ in os.walk(each, topdown=False):
                        remove_cgroup(Path(folder))
            for each in (top / "conmon", top):
                with suppress(OSError):  # not there, or another Podman's are in it still
                    each.rmdir()


def _thaw(id: str) -> None:
    for state in Path("/sys/fs/cgroup/freezer", _CGROUPS).glob(f"*{id}*/freezer.state"):
        state.write_text("THAWED")

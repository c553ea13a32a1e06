"""An sshd on loopback with keys and a configuration of its own, and the ssh that knows it."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

from daemon import wait_until

SSHD = "/usr/sbin/sshd"  # it must be called by its whole path


class SshServer:
    """
    An sshd; start it with `start`, and use it as a context, at whose end it and its sessions are ended.

    Args:
        folder: Of all its files; for itself alone.
        options: Further lines of its configuration.

    Attributes:
        port: On 127.0.0.1.
        bin: A folder for the front of PATH, in which `ssh` is one that reads no configuration but the one of here.
    """

    def __init__(self, folder: Path, *, options: str = "") -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.make_key("host_key")
        self.make_key("id")
        shutil.copy(folder / "id.pub", folder / "authorized_keys")
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n{options}\n"
        )
        (folder / "ssh_config").write_text(
            f"UserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile none\nIdentityFile {folder}/id\n"
            "IdentitiesOnly yes\nIdentityAgent none\n"
        )
        ssh = self.bin / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
        ssh.chmod(0o755)
        self.trust()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, path: Path) -> str:
        """Return the URL of an engine whose socket is at *path* over there."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}{path}"

    @property
    def user(self) -> str:
        """Who can log in: whoever runs the test."""
        return "root" if os.geteuid() == 0 else os.environ["USER"]

    def make_key(self, name: str) -> None:
        """Make a pair of keys in the place of those of that name."""
        for each in (self.folder / name, self.folder / f"{name}.pub"):
            each.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)

    def trust(self) -> None:
        """Have ssh know the host's key as it is now."""
        kind, key, *_ = (self.folder / "host_key.pub").read_text().split()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def start(self) -> Self:
        """Start it, and wait until it takes connections."""
        Path("/run/sshd").mkdir(exist_ok=True)  # of the distribution, which makes it at each boot
        log = self.folder / "log"
        self._process = subprocess.Popen(
            [SSHD, "-D", "-f", self.folder / "sshd_config", "-E", log], stdin=subprocess.DEVNULL
        )
        wait_until(self._listens, within=20, what="sshd takes connections")
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def sessions(self) -> list[int]:
        """Return the processes of those that are logged in."""
        return [] if self._process is None else descendants(self._process.pid)

    def stop(self) -> None:
        """Kill it with all its sessions, as a machine goes that loses power."""
        if self._process is None:
            return
        for pid in (*self.sessions(), self._process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        self._process = None


def descendants(pid: int) -> list[int]:
    """Return all that a process started and that these started, as long as their parents live."""
    parents: dict[int, list[int]] = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = each.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if fields[0] != "Z":
            parents.setdefault(int(fields[1]), []).append(int(each.parent.name))
    found, left = list[int](), [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found

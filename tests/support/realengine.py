"""
A private, real Docker Engine for tests: dockerd in a network namespace of its own.

Only the engine and what it takes to look at it from outside live here; nothing knows lbwatch. Needs root and Debian's
docker.io, iptables and busybox-static. No registry is asked: the one image is imported from a tar made here.

The engine's mount namespace is held open by a process of ours, since a killed dockerd's containers must find their
mounts again under the next one, and since all of its mounts end with it, whatever went wrong.
"""

import contextlib
import http.client
import io
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

IMAGE = "app"
TLS_PORT = 2376

_NUMBERS = itertools.count(1)
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
_BUSYBOX = Path("/bin/busybox")

# WHO is what the server answers, PORT where. DEAF: it goes on after its stop signal until the engine kills it. HEALTHY_S:
# after so long there is /tmp/healthy, for a health check.
_SERVE = """\
#!/bin/sh
echo "${WHO:-$(busybox hostname)}" > /www/index.html
trap 'exit 0' TERM
if [ -n "$DEAF" ]; then trap '' TERM; fi
if [ -n "$HEALTHY_S" ]; then (busybox sleep "$HEALTHY_S"; : > /tmp/healthy) & fi
busybox httpd -f -p "${PORT:-80}" -h /www &
wait
"""

# Held by a shell that sleeps: a view of the machine in which an engine can start (facts.md, last part).
_HOLD = """\
set -e
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /sys/fs/cgroup
for each in {controllers}; do mkdir /sys/fs/cgroup/$each; mount -t cgroup -o $each cgroup /sys/fs/cgroup/$each; done
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
{more}
echo held
exec sleep infinity
"""


class RealEngine:
    """
    One engine; `start` it first, `close` it last, also as a context manager.

    Attributes:
        name: Of its network namespace; unique on the machine.
        folder: Holds its data, its socket and its log.
        socket: Its Unix socket's path.
        live_restore: Whether containers outlive the dockerd that ends.
        tls: Folder of the certificates that it has and demands, on a TCP port of its own too; `None`: no such port.
        programs: Folder of the engine's and docker's programs; `None`: those on PATH.
    """

    more_mounts = ""
    """Shell commands: what else the engine's view of the machine has."""

    def __init__(self, *, live_restore: bool = False, tls: Path | None = None, programs: Path | None = None) -> None:
        self.name = f"lbw-{os.getpid()}-{next(_NUMBERS)}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir="/tmp"))  # short: a socket's path is
        self.socket = self.folder / "docker.sock"
        self.live_restore = live_restore
        self.tls = tls
        self.programs = programs
        self._holder: subprocess.Popen[str] | None = None
        self._dockerd: subprocess.Popen[bytes] | None = None
        self._mounts = 0  # inode of the mount namespace; 0 before there is one
        self._has_namespace = False
        self._has_image = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """What DOCKER_HOST takes."""
        return f"unix://{self.socket}"

    @property
    def cli_config(self) -> Path:
        """Where the docker command line has its settings and its plugins."""
        return self.folder / "cli"

    @property
    def log(self) -> Path:
        """What every dockerd of this engine wrote."""
        return self.folder / "dockerd.log"

    @property
    def pid(self) -> int:
        """Of the running dockerd."""
        assert self._dockerd is not None and self._dockerd.poll() is None, "dockerd does not run"
        return self._dockerd.pid

    # -- its life

    def start(self, *, within: float = 60) -> Self:
        """Start dockerd and wait until it answers; raises with the end of its log if it does not."""
        self.launch()
        try:
            self.wait_ready(within=within)
        except TimeoutError:
            self._end_dockerd()
            raise
        if not self._has_image:
            self._import_image()
            self._has_image = True
        return self

    def prepare(self) -> Self:
        """Make the namespaces, and nothing else: processes can be put there before there is an engine."""
        if not self._has_namespace:
            run_quietly("ip", "netns", "add", self.name)
            self._has_namespace = True
            run_quietly("ip", "-n", self.name, "link", "set", "lo", "up")
        if self._holder is None:
            script = _HOLD.format(controllers=" ".join(CONTROLLERS), more=self.more_mounts)
            self._holder = self.popen(
                ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True, cwd="/"
            )
            assert self._holder.stdout is not None
            if self._holder.stdout.readline() != "held\n":
                raise RuntimeError("the machine's cgroup v1 controllers cannot be mounted")
            self._holder.stdout.close()
            self._mounts = os.stat(f"/proc/{self._holder.pid}/ns/mnt").st_ino
        return self

    def launch(self) -> None:
        """Start dockerd and do not wait for it."""
        self.prepare()
        assert self._dockerd is None or self._dockerd.poll() is not None, "dockerd runs already"
        command = self._inside(self._command_line())
        with self.log.open("ab") as log:
            self._dockerd = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self._environment(),
                start_new_session=True,
            )

    def _inside(self, argv: Iterable[str]) -> list[str]:
        """Return what runs a program in the engine's view of the machine."""
        assert self._holder is not None
        return ["nsenter", "-t", str(self._holder.pid), "--net", "--mount", *argv]

    def _command_line(self) -> Iterable[str]:
        """Return what starts the engine in its view of the machine."""
        settings = self.folder / "daemon.json"
        settings.write_text("{}")  # the machine's own must not be read
        return [
            "dockerd",
            *("--config-file", str(settings), "--host", self.url, "--pidfile", str(self.folder / "dockerd.pid")),
            *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
            *("--cgroup-parent", f"/{self.name}", "--userland-proxy=false", "--shutdown-timeout", "5"),
            *(("--live-restore",) if self.live_restore else ()),
            *(() if self.tls is None else _tls_flags(self.tls)),
        ]

    def wait_ready(self, *, within: float = 60) -> None:
        """Wait until it answers; a mere connect proves nothing (facts.md, stream 7)."""
        assert self._dockerd is not None
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and self._dockerd.poll() is None:
            if self.answers():
                return
            time.sleep(0.05)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
        raise TimeoutError(f"dockerd (exit code {self._dockerd.poll()}) did not answer in {within} s:\n{tail}")

    def answers(self) -> bool:
        """Return whether it answers a ping now."""
        try:
            return self.api("GET", "/_ping", timeout=2)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill9(self) -> None:
        """End dockerd as a crash would; its containers live on. Its containerd dies with it, as by its own wish."""
        assert self._dockerd is not None
        self._dockerd.kill()
        self._dockerd.wait(10)
        for pid in self._pids():
            if command_of(pid)[:1] == ["containerd"]:
                _kill(pid)
        wait_gone(lambda: [pid for pid in self._pids() if command_of(pid)[:1] == ["containerd"]])
        # Where the machine's init is slow to reap it, the next dockerd takes the zombie for a running containerd.
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def terminate(self, *, within: float = 60) -> None:
        """End dockerd as `systemctl stop` would; its containers end too unless `live_restore`."""
        assert self._dockerd is not None
        self._dockerd.terminate()
        self._dockerd.wait(within)

    def restart(self) -> None:
        """Terminate, and start again."""
        self.terminate()
        self.start()

    def close(self) -> None:
        """Leave nothing behind: no container, process, mount, namespace, cgroup or file; whatever happened before."""
        with contextlib.ExitStack() as steps:  # from the last to the first, each even if others fail
            steps.callback(self._remove_folder)
            steps.callback(self._remove_cgroups)
            steps.callback(self._remove_namespace)
            steps.callback(self._end_holder)
            steps.callback(self._end_leftovers)
            if self._dockerd is not None and self._dockerd.poll() is None:
                steps.callback(self._end_dockerd)
                steps.callback(self._remove_containers_hurriedly)

    # -- what it is asked

    def docker(self, *args: str, within: float = 60) -> str:
        """Return what the docker command line printed on this engine, stripped; raises with what it complained of."""
        done = self._docker(*args, within=within)
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def log_of(self, name: str) -> str:
        """Return both outputs of a container."""
        done = self._docker("logs", name, within=30)
        return done.stdout + done.stderr

    def api(self, method: str, path: str, body: object = None, *, timeout: float = 30) -> tuple[int, Any]:
        """Return what one call on a connection of its own brings: the status and the decoded answer (text where it is no JSON)."""
        connection = UnixConnection(self.socket, timeout=timeout)
        try:
            return connection.call(method, path, body)
        finally:
            connection.close()

    def inspect(self, name: str) -> dict[str, Any]:
        """Return a container in full, by name or id."""
        status, answer = self.api("GET", f"/containers/{quote(name, safe='')}/json")
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    def inspect_all(self) -> list[dict[str, Any]]:
        """Return every container in full, stopped ones too: the truth, asked for without lbwatch."""
        _, listed = self.api("GET", "/containers/json?all=1")
        answers = (self.api("GET", f"/containers/{each['Id']}/json") for each in listed)
        return [answer for status, answer in answers if status == 200]

    def run(
        self,
        name: str,
        *options: str,
        labels: Mapping[str, str] | None = None,
        who: str | None = None,
        port: int | None = None,
        deaf: bool = False,
    ) -> str:
        """
        Start a web server, detached.

        Args:
            options: More of `docker run`'s own.
            who: What it answers; its name by default, which stays when it is renamed.
            port: Where it listens, 80 by default; only 80 is exposed.
            deaf: Whether it goes on after its stop signal.

        Returns:
            Its id.
        """
        return self.docker(
            "run", "--detach", *_options(name, options, labels=labels, who=who, port=port, deaf=deaf), IMAGE
        )

    def create(self, name: str, *options: str, labels: Mapping[str, str] | None = None) -> str:
        """Create the same, not started."""
        return self.docker("create", *_options(name, options, labels=labels), IMAGE)

    def remove(self, *names: str) -> None:
        """Remove containers, running or not; silent about those already gone."""
        for name in names:
            self.api("DELETE", f"/containers/{quote(name, safe='')}?force=1&v=1")

    def clear(self) -> None:
        """Remove every container and every network that is not the engine's own."""
        self.remove(*(each["Id"] for each in self.api("GET", "/containers/json?all=1")[1]))
        for network in self.api("GET", "/networks")[1]:
            if network["Name"] not in ("bridge", "host", "none"):
                status, answer = self.api("DELETE", f"/networks/{network['Id']}")
                assert status in (204, 404), answer

    def clear_volumes(self) -> None:
        """Remove every volume that no container uses; `prune` leaves those that have a name, from Engine 23 on."""
        for name in self.docker("volume", "ls", "--quiet", "--filter", "dangling=true").split():
            self.docker("volume", "rm", name)

    def host_pid(self, name: str) -> int:
        """Return the pid of a container's first process, as this machine sees it."""
        pid = self.inspect(name)["State"]["Pid"]
        assert isinstance(pid, int) and pid > 1, f"{name} does not run"
        return pid

    def kill_from_outside(self, name: str) -> None:
        """Kill -9 its first process behind the engine's back, as the kernel's OOM killer does."""
        os.kill(self.host_pid(name), signal.SIGKILL)

    def popen(self, argv: Iterable[str], **options: Any) -> subprocess.Popen[Any]:
        """Run a program inside the engine's network, where it reaches the containers; its pid is the program's."""
        # Ctrl-C in a terminal goes to the whole process group; it is for the tests, which end these in order.
        return subprocess.Popen(in_namespace(self.name, argv), start_new_session=True, **options)

    # -- how

    def _environment(self) -> dict[str, str]:
        """Return the environment in which its programs are found before any others, and leave nothing in /tmp."""
        folders = (*(() if self.programs is None else (str(self.programs),)), os.environ["PATH"])
        # A containerd that hung is asked by dockerd for its stacks, and writes them to a file there.
        return {**os.environ, "PATH": os.pathsep.join(folders), "TMPDIR": str(self.folder)}

    def _docker(self, *args: str, within: float) -> subprocess.CompletedProcess[str]:
        # By its path, since which `docker` is started is decided by our own PATH, not by the one that it is given.
        path = self._environment()["PATH"]
        docker = shutil.which("docker", path=path) or "docker"
        environment = {"PATH": path, "DOCKER_CONFIG": str(self.cli_config)}
        argv = [docker, "--host", self.url, *args]
        return subprocess.run(argv, check=False, capture_output=True, text=True, env=environment, timeout=within)

    def _import_image(self) -> None:
        archive = self.folder / "app.tar"
        archive.write_bytes(_image_tar())
        self.docker(*("import", "--change", "EXPOSE 80", "--change", 'CMD ["/bin/sh", "/serve"]', str(archive), IMAGE))

    def _remove_containers_hurriedly(self) -> None:
        # From a half-dead engine nothing is expected: its processes are ended one by one afterwards.
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.remove(*(each["Id"] for each in self.api("GET", "/containers/json?all=1")[1]))

    def _end_dockerd(self) -> None:
        assert self._dockerd is not None
        self._dockerd.terminate()
        try:
            self._dockerd.wait(20)
        except subprocess.TimeoutExpired:
            self._dockerd.kill()
            self._dockerd.wait(10)

    def _end_leftovers(self) -> None:
        doomed = [each for pid in self._pids() for each in (*descendants(pid), pid)]
        for pid in doomed:
            _kill(pid)
        for state in Path("/sys/fs/cgroup/freezer").glob(f"{self.name}/*/freezer.state"):
            state.write_text("THAWED")  # a paused container's processes die no sooner
        wait_gone(lambda: [pid for pid in doomed if command_of(pid)])
        wait_gone(self._pids)

    def _end_holder(self) -> None:
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait(10)
            self._holder = None

    def _remove_namespace(self) -> None:
        if self._has_namespace:
            run_quietly("ip", "netns", "delete", self.name)
            self._has_namespace = False

    def _remove_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not self.folder.exists(), f"{self.folder} cannot be removed"

    def _pids(self) -> list[int]:
        """Return every process in the engine's mount namespace but its holder: dockerd, containerd, shims."""
        holder = None if self._holder is None else self._holder.pid
        return [pid for pid in _all_pids() if pid != holder and self._mounts and _mounts_of(pid) == self._mounts]

    def _remove_cgroups(self) -> None:
        for controller in (*CONTROLLERS, "systemd"):
            top = Path("/sys/fs/cgroup") / controller / self.name
            if top.is_dir():
                for folder, _, _ in os.walk(top, topdown=False):
                    remove_cgroup(Path(folder))


class UnixConnection(http.client.HTTPConnection):
    """HTTP on a Unix socket; kept open between calls."""

    def __init__(self, path: Path, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return what one call brings: the status and the decoded answer (text where it is no JSON)."""
        text = None if body is None else json.dumps(body)
        self.request(method, path, body=text, headers={"Content-Type": "application/json"})
        response = self.getresponse()
        answer = response.read().decode(errors="replace")
        try:
            return response.status, json.loads(answer)
        except ValueError:
            return response.status, answer


def in_namespace(name: str | None, argv: Iterable[str]) -> list[str]:
    """
    Return what runs *argv* in a network namespace, by exec, so that the pid stays.

    Args:
        name: As `ip netns` has it, or its path, such as a container's; `None`: the machine's own.
    """
    return list(argv) if name is None else ["nsenter", f"--net={Path('/run/netns') / name}", *argv]


def _options(
    name: str,
    options: Iterable[str],
    *,
    labels: Mapping[str, str] | None,
    who: str | None = None,
    port: int | None = None,
    deaf: bool = False,
) -> Iterable[str]:
    yield from ("--name", name, "--env", f"WHO={who or name}")
    if port is not None:
        yield from ("--env", f"PORT={port}")
    if deaf:
        yield from ("--env", "DEAF=1")
    for key, value in (labels or {}).items():
        yield from ("--label", f"{key}={value}")
    yield from options


def _tls_flags(folder: Path) -> Iterable[str]:
    files = {"tlscacert": "ca.pem", "tlscert": "server.pem", "tlskey": "server-key.pem"}
    yield from ("--host", f"tcp://0.0.0.0:{TLS_PORT}", "--tlsverify")
    yield from (f"--{flag}={folder / name}" for flag, name in files.items())


def _image_tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for folder in ("bin", "etc", "tmp", "www"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path, content in (("bin/busybox", _BUSYBOX.read_bytes()), ("serve", _SERVE.encode())):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(link)
    return packed.getvalue()


def run_quietly(*argv: str) -> None:
    """Run a program of the machine; raises with what it complained of."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")


def _all_pids() -> list[int]:
    return [int(each) for each in os.listdir("/proc") if each.isdecimal()]


def _mounts_of(pid: int) -> int | None:
    """Return the inode of a process's mount namespace; a dead one that nobody reaped has none any more."""
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino
    except OSError:
        return None


def command_of(pid: int) -> list[str]:
    """Return its arguments, the first without its folder; empty for a zombie."""
    try:
        first, *rest = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return []
    return [Path(first.decode()).name, *(each.decode(errors="replace") for each in rest)] if first else []


def descendants(pid: int) -> list[int]:
    """Return them with children before their parents."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        texts = [Path(f"/proc/{pid}/task/{task}/children").read_text() for task in tasks]
    except OSError:
        return []
    children = [int(child) for text in texts for child in text.split()]
    return [each for child in children for each in (*descendants(child), child)]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_gone(pids: Callable[[], list[int]], *, within: float = 10) -> None:
    deadline = time.monotonic() + within
    while left := pids():
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes that do not end: {[(pid, command_of(pid)) for pid in left]}")
        time.sleep(0.02)


def remove_cgroup(folder: Path) -> None:
    """A cgroup is busy for a moment after its last process ended."""
    deadline = time.monotonic() + 5
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return

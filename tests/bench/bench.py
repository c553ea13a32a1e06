"""
Measures how long nginx takes to follow an engine, and what the commands cost to start: `make bench`.

Each figure stands beside a floor from the same run: a bare script that does one inspect, one `nginx -t` and one HUP
until the new workers are there. Ratios travel between machines, seconds do not. CPU is what lbwatch itself spends on an
event, its threads included and nginx's test not; rendering is a part of it that is printed apart. Needs nginx; the part
on the real engine needs root and docker.io too, and says so if it cannot run.
"""

import argparse
import asyncio
import http.client
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from cputime import start_cpu_s

from lbwatch.balancers.nginx.process import Process, find_master, workers_of
from lbwatch.core.errors import ReloadError
from lbwatch.core.model import Server, Upstream
from lbwatch.engines.docker.decode import EventDecoder
from lbwatch.settings import Settings
from lbwatch.wiring.parts import make_renderer

WORKERS = 2
QUIET_S = 0.35  # between samples: longer than a reload and the retirement of old workers
DEADLINE_S = 30.0
_CONF = """\
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{ access_log off; include {folder}/conf.d/*.conf; server {{ listen unix:{folder}/http.sock; }} }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Seconds from an event's arrival (or the floor's begin) to the tested file, and to the new workers."""

    file_s: float
    workers_s: float
    cpu_s: float = 0.0  # of lbwatch, from before the event until its verification is over


class Api:
    """The Engine API over its unix socket, on one kept connection."""

    def __init__(self, path: str) -> None:
        self._connection = http.client.HTTPConnection("docker", timeout=DEADLINE_S)
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.connect(path)

    def call(self, method: str, path: str) -> None:
        """Make a call whose answer does not matter."""
        self._connection.request(method, path)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:200]!r}")


class Arrivals(Thread):
    """A subscription of the benchmark's own: when the events that count arrived at a subscriber."""

    def __init__(self, path: str, *, actions: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self.times: list[float] = []
        self._actions = actions
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.sendall(b"GET /events HTTP/1.1\r\nHost: docker\r\n\r\n")
        self._socket.recv(4096)  # the headers: the engine has taken the request
        self.start()

    def run(self) -> None:
        """Record the time of each event that counts, until the stream ends."""
        decoder = EventDecoder()
        while chunk := self._socket.recv(65536):
            now = time.monotonic()
            lines = b"".join(line + b"\n" for line in chunk.split(b"\n") if line.startswith(b"{"))
            self.times += [now for event in decoder.feed(lines) if event.action in self._actions]


def cpu_s(pid: int) -> float:
    """Return the CPU time of all threads of a process: its clock by clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return what the condition returns once that is true; raise `TimeoutError` with *what* if it never is."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.0005)
    return value


@contextmanager
def ended(process: "subprocess.Popen[Any]") -> Iterator["subprocess.Popen[Any]"]:
    """End a process that we started, by its id."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE_S)


def new_workers(master: Process, old: frozenset[Process]) -> bool:
    """Return whether the new generation of workers is complete."""
    return len(workers_of(master).serving - old) >= WORKERS


def floor(api: Api, *, container: str, conf: Path, master: Process) -> Sample:
    """Return what the least costs that anyone must do: inspect the container, test, reload, see the new workers."""
    old = workers_of(master).serving
    began = time.monotonic()
    api.call("GET", f"/containers/{container}/json")
    subprocess.run(["nginx", "-t", "-q", "-c", str(conf)], check=True, capture_output=True)
    tested = time.monotonic()
    os.kill(master.pid, signal.SIGHUP)
    wait_for(lambda: new_workers(master, old), "the floor's new workers")
    return Sample(file_s=tested - began, workers_s=time.monotonic() - began)


def sample(
    api: Api, arrivals: Arrivals, *, act: str, container: str, output: Path, master: Process, daemon: int
) -> Sample:
    """Return the times of what follows one event; *act* is `pause` or `unpause`, *daemon* the pid of lbwatch."""
    cpu_before = cpu_s(daemon)
    old, before, seen = workers_of(master).serving, output.stat().st_ino, len(arrivals.times)
    asker = Thread(target=api.call, args=("POST", f"/containers/{container}/{act}"))
    asker.start()
    wait_for(lambda: output.stat().st_ino != before, "the new file")
    filed = time.monotonic()
    wait_for(lambda: new_workers(master, old), "the new workers")
    lived = time.monotonic()
    asker.join()
    began = wait_for(lambda: arrivals.times[seen:], "the event")[0]
    wait_for(lambda: not workers_of(master).serving & old, "the old workers' end")
    time.sleep(QUIET_S)
    return Sample(file_s=filed - began, workers_s=lived - began, cpu_s=cpu_s(daemon) - cpu_before)


def measure(
    stack: ExitStack,
    *,
    socket_path: str,
    popen: Callable[..., "subprocess.Popen[Any]"],
    container: str,
    samples: int,
    started: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """
    Return the figures of nginx and lbwatch on an engine, with events and floors in turn.

    Args:
        stack: Ends what is started here.
        socket_path: The engine's.
        popen: Starts a program where the engine's networks can be reached.
        container: Whose events are timed.
        samples: How many events, and as many floors.
        started: Called once both run, before the first sample.
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbwatch-bench-")))
    (folder / "conf.d").mkdir()
    conf, output = folder / "nginx.conf", folder / "conf.d/lbwatch.conf"
    conf.write_text(_CONF.format(folder=folder, workers=WORKERS))
    stack.enter_context(ended(popen(["nginx", "-c", str(conf), "-g", "daemon off;"])))
    master = wait_for(lambda: _master(folder / "nginx.pid"), "nginx")
    log = stack.enter_context((folder / "lbwatch.log").open("wb"))
    command = [sys.executable, "-m", "lbwatch", "run", "--docker-host", f"unix://{socket_path}"]
    command += [
        "--output",
        str(output),
        "--nginx-pidfile",
        str(folder / "nginx.pid"),
        "--nginx-conf",
        str(conf),
    ]
    command += ["--reload-interval", "100ms", "--resync-interval", "10m", "--status-listen", ""]
    daemon = stack.enter_context(ended(popen(command, stderr=log)))
    wait_for(lambda: b"nginx.reloaded" in (folder / "lbwatch.log").read_bytes(), "the first reload")
    started()
    api, asking = Api(socket_path), Api(socket_path)
    arrivals = Arrivals(socket_path, actions=("pause", "unpause"))
    ours: list[Sample] = []
    floors: list[Sample] = []
    for number in range(samples):
        act = "unpause" if number % 2 else "pause"
        time.sleep(QUIET_S)
        one = sample(asking, arrivals, act=act, container=container, output=output, master=master, daemon=daemon.pid)
        ours.append(one)
        floors.append(floor(api, container=container, conf=conf, master=master))
    return {
        "file": _ratio(ours, floors, lambda each: each.file_s),
        "workers": _ratio(ours, floors, lambda each: each.workers_s),
        "cpu_ms": statistics.median(each.cpu_s for each in ours) * 1000,
        "memory_mib": _resident_mib(daemon.pid),
    }


def rendering_ms(containers: int) -> float:
    """Return the CPU time of rendering so many upstreams of which one changed, in ms."""
    upstreams = tuple(
        Upstream(name=f"bench-{number}", servers=(Server(address="10.0.0.1", port=80, container="c"),))
        for number in range(containers)
    )
    renderer = make_renderer(Settings())
    renderer.text(upstreams)
    samples = []
    for weight in range(2, 12):
        changed = Upstream(name="bench-0", servers=(Server(address="10.0.0.1", port=80, container="c", weight=weight),))
        began = time.thread_time()
        renderer.text((changed, *upstreams[1:]))
        samples.append(time.thread_time() - began)
    return statistics.median(samples) * 1000


def on_fake(containers: int, *, samples: int) -> dict[str, Any]:
    """Return the figures with so many labelled containers on the fake engine, each an upstream of its own."""
    with ExitStack() as stack:
        path = stack.enter_context(tempfile.TemporaryDirectory(prefix="lbwatch-bench-")) + "/docker.sock"
        command = [sys.executable, __file__, "--serve", path, str(containers)]
        engine = stack.enter_context(ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)))
        assert engine.stdout is not None
        container = engine.stdout.readline().strip()

        def counted() -> tuple[int, int]:
            engine.send_signal(signal.SIGUSR1)
            inspects, acts = map(int, engine.stdout.readline().split())
            return inspects, acts

        before: list[tuple[int, int]] = []
        figures = measure(
            stack,
            socket_path=path,
            popen=subprocess.Popen,
            container=container,
            samples=samples,
            started=lambda: before.append(counted()),
        )
        (inspects_before, acts_before), (inspects, acts) = before[0], counted()
        requests = (inspects - inspects_before - samples) / (acts - acts_before)  # the floor asked once for each
        more = {"requests_per_event": requests, "rendering_ms": rendering_ms(containers)}
        return figures | more | {"engine": "fake", "containers": containers}


def on_real(containers: int, *, samples: int) -> dict[str, Any]:
    """Return the figures with so many labelled containers on a private real engine."""
    from realengine import RealEngine

    with ExitStack() as stack:
        engine = stack.enter_context(RealEngine())
        engine.start()
        names = [f"bench-{number}" for number in range(containers)]
        for name in names:
            engine.docker("run", "-d", "--name", name, "--label", "lbwatch.port=80", "app")
        figures = measure(
            stack, socket_path=str(engine.socket), popen=engine.popen, container=names[0], samples=samples
        )
        return figures | {"engine": "real", "containers": containers}


def serve(path: str, containers: int) -> None:
    """Serve the fake engine in a process of its own; on USR1 print the numbers of inspects and of pauses so far."""
    from lbwatch.engines.fake import FakeEngine

    async def main() -> None:
        async with FakeEngine(socket=Path(path)) as engine:
            labels = {"lbwatch.port": "80"}
            made = [engine.containers.run(name=f"bench-{number}", labels=labels) for number in range(containers)]

            def report() -> None:
                acts = ("POST /containers/ID/pause", "POST /containers/ID/unpause")
                print(
                    engine.requests["GET /containers/ID/json"],
                    sum(engine.requests[act] for act in acts),
                    flush=True,
                )

            loop, stop = asyncio.get_running_loop(), asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR1, report)
            loop.add_signal_handler(signal.SIGTERM, stop.set)
            print(made[0], flush=True)
            await stop.wait()

    asyncio.run(main())


COMMANDS = (("--version",), ("--help",), ("run", "--help"), ("health",), ("drain", "x"), ("explain",))
"""Whose start is measured, on a machine where no lbwatch runs; only the last two speak HTTP."""


def print_starts() -> None:
    """Print what each command costs in CPU, beside an interpreter that does nothing."""
    bare_s = start_cpu_s(sys.executable, "-c", "pass")
    print(f"CPU of a command, in ms and as a multiple of `python -c pass` ({bare_s * 1000:.0f} ms):")
    for words in COMMANDS:
        nowhere = (
            () if words[-1].startswith("--") else ("--control-socket", "/nowhere", "--status-listen", "127.0.0.1:1")
        )
        engine = ("--docker-host", "unix:///nowhere") if words == ("explain",) else ()
        used_s = start_cpu_s(sys.executable, "-m", "lbwatch", *words, *nowhere, *engine)
        print(f"    lbwatch {' '.join(words):<12} {used_s * 1000:5.0f}  {used_s / bare_s:5.1f}", flush=True)


def _master(pidfile: Path) -> Process | None:
    with suppress(ReloadError):
        return find_master(pidfile)
    return None


def _ratio(ours: list[Sample], floors: list[Sample], part: Callable[[Sample], float]) -> dict[str, float]:
    mine, bare = statistics.median(map(part, ours)), statistics.median(map(part, floors))
    return {
        "ms": mine * 1000,
        "worst_ms": max(map(part, ours)) * 1000,
        "floor_ms": bare * 1000,
        "ratio": mine / bare,
    }


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _print(figures: dict[str, Any]) -> None:
    parts = [f"{figures['engine']:>8} engine, {figures['containers']:>5} containers"]
    for name, title in (("file", "event to file"), ("workers", "event to new workers")):
        one = figures[name]
        parts.append(
            f"{title} {one['ms']:6.1f} ms (floor {one['floor_ms']:5.1f}, ratio {one['ratio']:.2f}, "
            f"worst {one['worst_ms']:.1f})"
        )
    apart = f", of which rendering {figures['rendering_ms']:.1f}" if "rendering_ms" in figures else ""
    parts.append(f"own CPU {figures['cpu_ms']:.1f} ms an event{apart}")
    if "requests_per_event" in figures:
        parts.append(f"{figures['requests_per_event']:.2f} requests per event")
    parts.append(f"{figures['memory_mib']:.1f} MiB resident")
    print("; ".join(parts), flush=True)


def main() -> None:
    """Measure all and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--containers", type=int, nargs="*", default=[1, 100, 1000, 10_000])
    parser.add_argument("--no-real", action="store_true")
    parser.add_argument("--starts", action="store_true", help="only what commands cost to start")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], int(options.serve[1]))
        return
    print_starts()
    if options.starts:
        return
    for containers in options.containers:
        _print(on_fake(containers, samples=options.samples))
    if options.no_real:
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        print("the real engine needs root and docker.io: left out")
        return
    _print(on_real(20, samples=options.samples))


if __name__ == "__main__":
    main()

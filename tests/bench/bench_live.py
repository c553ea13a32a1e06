"""
`make bench-live`: what changes of servers cost, without a reload and with one, in the same run.

On the fake engine, with each nginx of NGINX: `off` is lbwatch with `live = off` (HUP), `on` is lbwatch that tells nginx's
workers, `plain` is nginx alone. Three parts: 200 changes under 300 requests/s on kept connections with 20 websockets
(`steady`); one change of one upstream among so many, with a bare inspect beside it (`latency`); what a request costs nginx
in CPU when nothing changes (`cpu`). At the end each aim is PASS or FAIL. Needs root, for a network namespace.

Ratios travel between machines, seconds do not.
"""

import argparse
import asyncio
import http.client
import itertools
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import versions
from commandedengine import UPSTREAM
from daemon import Lbwatch, flags_of, wait_until
from keptload import OK, Answer, Connection, Kept
from livefigures import Change, Seen, seen, wrong_answers
from luanginx import lua_http, lua_main, lua_program
from nginxuse import Use, use_of
from realengine import in_namespace
from realnginx import RealNginx
from rich.console import Console
from rich.table import Table

SUPPORT = Path(__file__).resolve().parents[1] / "support"
NUMBERS = itertools.count(1)

RATE, CONNECTIONS, WEBSOCKETS, SERVERS = 300, 30, 20, 3
PLAIN_S = 15.0
"""So long nginx alone runs under the same load, for its CPU."""
CHANGE_S = 0.25
"""From one change to the next, if the first is in force by then."""
FULL_S, FULL_CONNECTIONS, TURNS = 6.0, 16, 3
"""How long and how often what a request costs is measured, on so many connections without a pause."""
QUIET_S = 0.35
"""Between two changes whose time is taken: longer than a reload and the end of old workers."""
BEHIND_S = 0.1
"""Or so short, where it is measured what the first one costs the second."""
AFTERWARDS_S = 0.05
"""So long clients still ask once a change is in force: who is late is seen."""
REST_S = 1.0
"""Who uses less than a tenth of this has nothing to do."""
IN_FORCE_S = 120.0
"""A reload with 10,000 upstreams takes tens of seconds on a busy machine."""

MOST_OVER_INSPECT_MS, FLAT, MOST_CPU = 8.0, 2.0, 1.2
"""The aims: milliseconds from the inspect to the proof, how often so long with the most upstreams, CPU of a request."""

STEADY_COLUMNS = (
    *("nginx", "requests", "failed", "closed", "wrong", "sockets", "proc.", "PSS MiB"),
    *("CPU us each", "reloads", "lbwatch ms each", "in force ms"),
)
LATENCY_TITLE = "One change of one upstream, milliseconds from the event: median (longest)"
LATENCY_COLUMNS = (
    *("nginx", "upstreams", "bare inspect", "first right", "each worker", "last wrong"),
    *("in force", "over inspect", "to off", "right behind"),
)

_CONF = """\
{main}
user root;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    {temp_paths}
    keepalive_requests 1000000;  # what closes a connection here is a reload, or it is a fault
    map $http_upgrade $bench_upgrade {{ default ""; ~*^websocket websocket; }}
    map $bench_upgrade $bench_connection {{ default ""; websocket upgrade; }}
    proxy_http_version 1.1;
    proxy_set_header Upgrade $bench_upgrade;
    proxy_set_header Connection $bench_connection;
    proxy_set_header Host $host;
    add_header X-Worker $pid always;
    {http}
    include {folder}/conf.d/*.conf;
    server {{
        listen unix:{folder}/http.sock;
        set $upstream {upstream};
        location / {{ proxy_pass http://$upstream; }}
    }}
}}
"""


class Nginx(RealNginx):
    """One with the lines for kept connections and websockets."""

    def rewrite(self, *, main: str = "", http: str = "") -> None:
        self.conf.write_text(
            _CONF.format(
                folder=self.folder,
                workers=self.workers,
                temp_paths=self.temp_paths(),
                upstream=UPSTREAM,
                main=main,
                http=http,
            )
        )

    def is_up(self) -> bool:
        return self.ask("/") != "no answer"


class Program:
    """A program of tests/support that is asked by lines on its standard input."""

    def __init__(self, name: str, *words: str, namespace: str | None = None) -> None:
        argv = in_namespace(namespace, [sys.executable, str(SUPPORT / name), *words])
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self.process.args} has ended"
        return line.strip()

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def engine_namespace() -> Iterator[str]:
    """Make a network namespace in which each address of an engine's bridge is this machine's own."""
    name = f"lbw-live-{os.getpid()}-{next(NUMBERS)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "-n", name, "address", "add", "172.17.0.1/16", "dev", "lo"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


class Stage:
    """
    A fake engine, an nginx, and lbwatch between them unless the *way* is `plain` and `end_lbwatch` was called.

    Attributes:
        there: Names and addresses of the containers at first.
    """

    def __init__(
        self,
        stack: ExitStack,
        *,
        namespace: str,
        way: str,
        version: str,
        upstreams: int = 1,
        servers: int = SERVERS,
        **settings: str,
    ) -> None:
        self.way = way
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbw-", dir="/tmp")))
        self.folder = folder
        options = json.dumps({"servers": servers, "others": upstreams - 1, "labels": {"lbwatch.keepalive": "32"}})
        self.engine = Program("commandedengine.py", str(folder / "docker.sock"), options)
        stack.callback(self.engine.close)
        self.there: list[dict[str, str]] = json.loads(self.engine.answer())["there"]
        self.nginx = nginx_of(version, folder=folder / "nginx", namespace=namespace, lua=way == "on")
        stack.callback(self.nginx.close)
        self.nginx.start()
        program = (str(SUPPORT / "provenlbwatch.py"),)
        self.lbwatch = Lbwatch(*self._flags(settings), folder=folder, namespace=namespace, program=program)
        self.lbwatch.environment["LBWATCH_LIVE"] = "on" if way == "on" else "off"
        stack.callback(self.lbwatch.close)
        self.lbwatch.start()
        self._api = http.client.HTTPConnection("docker", timeout=30)
        self._api.sock = socket.socket(socket.AF_UNIX)
        self._api.sock.connect(str(folder / "docker.sock"))
        stack.callback(self._api.close)
        wait_until(
            lambda: self.lbwatch.died() or {self.nginx.ask("/") for _ in range(4 * servers)},
            holds=lambda found: found in (True, {each["address"] for each in self.there}),
            within=IN_FORCE_S,
            what=f"the servers answer, {way} with {upstreams} upstreams",
            notes=self.notes,
        )
        assert self.lbwatch.runs, self.notes()

    def _flags(self, settings: dict[str, str]) -> list[str]:
        values = {
            "docker-host": f"unix://{self.folder}/docker.sock",
            "output": str(self.nginx.output),
            "nginx-command": self.nginx.program,
            "nginx-pidfile": str(self.nginx.pidfile),
            "nginx-conf": str(self.nginx.conf),
            "log-format": "json",
            "status-listen": "",
            "resync-interval": "10m",
            **flags_of(settings),
        }
        return [word for name, value in values.items() for word in (f"--{name}", value)]

    def notes(self) -> str:
        return f"{self.lbwatch.tail()}\nnginx's error log ends:\n{self.nginx.errors()}"

    def change(self, command: str) -> tuple[dict[str, Any], float]:
        """Have the engine do something; return what it was, and the wall clock when lbwatch had all of it in force."""
        since, event = self.lbwatch.mark(), json.loads(self.engine.ask(command))
        wanted = {(kind, event[side]["name"]) for kind, side in (("joined", "came"), ("left", "left")) if side in event}
        return event, max(self._proven(kind, name, since=since) for kind, name in wanted)

    def _proven(self, kind: str, name: str, *, since: int) -> float:
        at = wait_until(
            lambda: proven_at(self.lbwatch.lines()[since:], kind=kind, name=name),
            within=IN_FORCE_S,
            holds=lambda at: at is not None,
            what=f"{name} has {kind}",
            notes=self.notes,
        )
        assert at is not None
        return at

    def wait_until_followed(self) -> None:
        """Wait until nginx's workers follow, where they should: the first changes after a start may take a reload."""
        if self.way == "on":
            wait_until(
                lambda: self.change("swap") and self.pushes(), within=IN_FORCE_S, what="a push", notes=self.notes
            )

    def wait_until_idle(self) -> None:
        """Wait until lbwatch does nothing: that it was started is another figure."""
        used_s = [self.lbwatch_use().cpu_s]

        def rests() -> bool:
            time.sleep(REST_S)
            used_s.append(self.lbwatch_use().cpu_s)
            return used_s[-1] - used_s[-2] < REST_S / 10

        wait_until(rests, within=IN_FORCE_S, what="lbwatch rests", notes=self.notes)

    def pushes(self) -> int:
        return len(self.lbwatch.logged("nginx.pushed"))

    def reloads(self) -> int:
        return len(self.lbwatch.logged("nginx.reloaded"))

    def serving(self) -> list[dict[str, str]]:
        """Return the containers of the upstream, the oldest first."""
        there: list[dict[str, str]] = json.loads(self.engine.ask("serving"))["there"]
        return there

    def inspect_s(self) -> float:
        """Return how long the engine takes for what nobody can do without: one inspect, on a kept connection."""
        id = self.serving()[-1]["id"]
        began = time.monotonic()
        self._api.request("GET", f"/containers/{id}/json")
        answer = self._api.getresponse()
        answer.read()
        took_s = time.monotonic() - began
        assert answer.status == 200
        return took_s

    def nginx_use(self) -> Use:
        return use_of(self.nginx.master_pid)

    def lbwatch_use(self) -> Use:
        return use_of(self.lbwatch.process.pid)

    def end_lbwatch(self) -> None:
        self.lbwatch.terminate(within=10)


def proven_at(lines: Sequence[dict[str, Any]], *, kind: str, name: str) -> float | None:
    """
    Return the wall clock at which lbwatch had in force that a container joined or left; `None`: it has not yet.

    Infinite for a push that was not proven in time, see tests/support/provenlbwatch.py.
    """
    proven = math.inf
    for line in lines:
        if line["event"] == "bench.proven":
            proven = wall_clock(line)
        elif name in line.get(kind, "").split(", "):
            return proven if line["event"] == "nginx.pushed" else wall_clock(line)
        elif line["event"] == "nginx.pushed":
            proven = math.inf
    return None


def wall_clock(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def nginx_of(version: str, *, folder: Path, namespace: str, lua: bool) -> Nginx:
    """Return an nginx of a version, with its Lua module or without."""
    if not lua:
        return Nginx(folder, namespace, program=versions.nginx_program(version))
    nginx = Nginx(folder, namespace, program=lua_program(version))
    nginx.rewrite(main=lua_main(version), http=lua_http(version))
    return nginx


@contextmanager
def load(stage: Stage, *, connections: int, rate: float) -> Iterator[Program]:
    """Run a load that is ended by `end`, whose result is `stage.folder/kept`."""
    program = Program("keptload.py", str(stage.nginx.socket), str(connections), str(rate), str(stage.folder / "kept"))
    try:
        yield program
    finally:
        program.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """
    What came of changes under a steady load.

    Attributes:
        wrong: How many answers were, see `livefigures`.
        echoing: How many of the *websockets* that were opened lived at the end.
        before: What nginx used when the load ran and nothing had changed; *after*: at the end.
        lbwatch_cpu_s: Of all changes, with nginx's tests.
        reloads: How many there were; *pushes* likewise.
    """

    kept: Kept
    changes: tuple[Change, ...]
    wrong: int
    echoing: int
    websockets: int
    before: Use
    after: Use
    lbwatch_cpu_s: float
    reloads: int
    pushes: int

    @property
    def failed(self) -> Counter[str]:
        return Counter(each.outcome for each in self.kept.answers if each.outcome != OK)

    @property
    def cpu_us(self) -> float:
        """Of nginx, for each request."""
        return (self.after.cpu_s - self.before.cpu_s) / len(self.kept.answers) * 1e6


def steady(stage: Stage, *, changes: int) -> Steady:
    """Change one upstream again and again under load; without changes nginx alone is looked at for PLAIN_S."""
    done: list[Change] = []
    if changes:
        stage.wait_until_followed()
    first = [each["address"] for each in stage.serving()]
    serving, reloads, pushes = list(first), stage.reloads(), stage.pushes()
    with load(stage, connections=CONNECTIONS, rate=RATE) as loading:
        wait_until(lambda: int(loading.ask("count")) > RATE, within=30, what="the load runs")
        before, asked = stage.nginx_use(), int(loading.ask("count"))
        cpu_before = stage.lbwatch_use().cpu_s if changes else 0.0
        opened = 0
        if not changes:
            time.sleep(PLAIN_S)
        for number in range(changes):
            slot = time.monotonic() + CHANGE_S
            event, proven = stage.change("swap")
            serving = [*(each for each in serving if each != event["left"]["address"]), event["came"]["address"]]
            done.append(Change(at=event["at"], proven=proven, serving=frozenset(serving)))
            if (number + 1) * WEBSOCKETS // changes > opened:
                loading.ask("websocket")
                opened += 1
            time.sleep(max(0.0, slot - time.monotonic()))
        after, echoing = stage.nginx_use(), int(loading.ask("echoing"))
        cpu_s = stage.lbwatch_use().cpu_s - cpu_before if changes else 0.0
        loading.ask("end")
    kept = Kept.read(stage.folder / "kept")
    del kept.answers[:asked]
    return Steady(
        kept=kept,
        changes=tuple(done),
        wrong=len(wrong_answers(kept.answers, before=frozenset(first), changes=done)),
        echoing=echoing,
        websockets=opened,
        before=before,
        after=after,
        lbwatch_cpu_s=cpu_s,
        reloads=stage.reloads() - reloads,
        pushes=stage.pushes() - pushes,
    )


def full_cpu_us(stage: Stage) -> float:
    """Return what a request costs nginx in CPU when clients ask as fast as they can, in microseconds."""
    with load(stage, connections=FULL_CONNECTIONS, rate=0) as loading:
        wait_until(lambda: int(loading.ask("count")) > 500, within=30, what="the load runs")
        asked, before = int(loading.ask("count")), stage.nginx_use()
        time.sleep(FULL_S)
        asked, used_s = int(loading.ask("count")) - asked, stage.nginx_use().cpu_s - before.cpu_s
    return used_s / asked * 1e6


class Prober(Thread):
    """Asks on kept connections to each worker, one after the other with hardly a pause, until it is ended."""

    PAUSE_S = 0.0005
    MOST = 20  # connections, on the way to one for each worker

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self.socket = str(stage.nginx.socket)
        self.workers = stage.nginx.workers
        self.kept = Kept()
        self.covered = False
        self.ends = False
        self.start()

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        connections: list[Connection] = []
        while not self.ends:
            if not self.covered and len(connections) < self.MOST:
                connections.append(Connection(self.socket, kept=self.kept))
            for connection in connections:
                await connection.ask()
                await asyncio.sleep(self.PAUSE_S)
            workers = [each.worker for each in self.kept.answers[-len(connections) :]]
            by_worker = dict(zip(workers, connections, strict=True))
            self.covered = len(by_worker) >= self.workers
            if self.covered:  # one for each will do, and is asked the more often
                surplus = [each for each in connections if each not in by_worker.values()]
                connections = list(by_worker.values())
                for connection in surplus:
                    connection.close()
        for connection in connections:
            connection.close()

    def heard(self, who: str, *, since: float) -> bool:
        """Return whether a server answered a request that was sent since then."""
        answers = self.kept.answers
        later = itertools.takewhile(lambda each: each.began >= since, reversed(answers[:]))
        return any(each.who == who for each in later)

    def end(self) -> list[Answer]:
        self.ends = True
        self.join(30)
        return self.kept.answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one change took: seconds from its event, and of a bare inspect just before; whether a server *came*."""

    seen: Seen
    proven_s: float
    inspect_s: float
    came: bool


def latency(stage: Stage, command: str) -> Taken:
    """Take the time of one change: a server comes (`unpause`), or leaves (`pause`)."""
    time.sleep(QUIET_S)
    prober = Prober(stage)
    wait_until(lambda: prober.covered, within=30, what="each worker is asked")
    inspect_s = stage.inspect_s()
    event, proven = stage.change(command)
    at, came, left = event["at"], address_of(event, "came"), address_of(event, "left")
    if came:
        wait_until(lambda: prober.heard(came, since=at), within=IN_FORCE_S, what=f"{came} answers", notes=stage.notes)
    time.sleep(AFTERWARDS_S)
    answers = prober.end()
    return Taken(
        seen=seen(answers, at=at, came=came, left=left), proven_s=proven - at, inspect_s=inspect_s, came=bool(came)
    )


def right_behind(stage: Stage) -> float:
    """Return how many seconds after its event a change was seen that came BEHIND_S after another one."""
    stage.change("pause")
    time.sleep(QUIET_S)
    prober = Prober(stage)
    wait_until(lambda: prober.covered, within=30, what="each worker is asked")
    stage.engine.ask("unpause")
    time.sleep(BEHIND_S)
    event, _ = stage.change("swap")
    at, came = event["at"], address_of(event, "came")
    wait_until(lambda: prober.heard(came, since=at), within=IN_FORCE_S, what=f"{came} answers", notes=stage.notes)
    return seen(prober.end(), at=at, came=came).first_s


def address_of(event: dict[str, Any], side: str) -> str:
    """Return the address of the server that came or left; empty: none did."""
    return str(event[side]["address"]) if side in event else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Changes of one upstream among many, each after a quiet time; *behind_s*: right behind another one, see `right_behind`."""

    single: list[Taken] = field(default_factory=list)
    behind_s: list[float] = field(default_factory=list)


def latencies(version: str, *, ways: Sequence[str], upstreams: int, samples: int) -> dict[str, Latencies]:
    """Return the times of changes of one upstream among so many, the ways in turns."""
    with ExitStack() as stack:
        namespace = start_servers(stack)
        stages = [
            Stage(
                stack,
                namespace=namespace,
                way=way,
                version=version,
                upstreams=upstreams,
                servers=2,  # so that the one which comes is asked soon
                reload_interval="100ms",
            )
            for way in ways
        ]
        taken = {way: Latencies() for way in ways}
        for number in range(-1, 3 * samples):
            for stage in stages[:]:
                try:
                    add_sample(taken[stage.way], stage, number=number, singles=2 * samples)
                except AssertionError as error:  # nginx may need longer for a reload than lbwatch gives it
                    print(f"{version} {stage.way}, {upstreams:,} upstreams, is given up: {str(error).splitlines()[0]}")
                    stages.remove(stage)
        return taken


def add_sample(latencies: Latencies, stage: Stage, *, number: int, singles: int) -> None:
    """Take the time of one change more: first those that are alone, then those right behind another one."""
    if number < 0:
        stage.wait_until_followed()
        stage.wait_until_idle()
        for command in ("pause", "unpause"):  # the first change of its kind finds nothing remembered
            stage.change(command)
    elif number < singles:
        latencies.single.append(latency(stage, "unpause" if number % 2 else "pause"))
    else:
        latencies.behind_s.append(right_behind(stage))


def start_servers(stack: ExitStack) -> str:
    """Return a network namespace in which all servers run."""
    namespace = stack.enter_context(engine_namespace())
    servers = Program("namedservers.py", "80", namespace=namespace)
    stack.callback(servers.close)
    servers.answer()
    return namespace


def steadies(version: str, *, ways: Sequence[str], changes: int) -> dict[str, Steady]:
    """Return what came of the steady load: each way, and nginx alone."""
    done: dict[str, Steady] = {}
    for way in ("plain", *ways):
        with ExitStack() as stack:
            stage = Stage(stack, namespace=start_servers(stack), way=way, version=version)
            if way == "plain":
                stage.end_lbwatch()
            done[way] = steady(stage, changes=0 if way == "plain" else changes)
    return done


def full_cpus(version: str, *, ways: Sequence[str]) -> dict[str, float]:
    """Return what a request costs nginx in CPU at full load, in microseconds: nginx alone and each way in turns."""
    with ExitStack() as stack:
        namespace = start_servers(stack)
        stages = [Stage(stack, namespace=namespace, way=way, version=version) for way in ("plain", *ways)]
        stages[0].end_lbwatch()
        for stage in stages:
            stage.wait_until_followed()
        taken: dict[str, list[float]] = {stage.way: [] for stage in stages}
        for _ in range(TURNS):
            for stage in stages:
                taken[stage.way].append(full_cpu_us(stage))
        return {way: statistics.median(each) for way, each in taken.items()}


# -- what is printed

Aim = tuple[str, bool, str]  # what it is, whether it was reached, and the figure


def ms(seconds: Sequence[float]) -> str:
    known = [1000 * each for each in seconds if not math.isnan(each)]
    if not known:
        return "-"
    median = statistics.median(known)
    return f"{median:.{1 if median < 100 else 0}f} ({max(known):.0f})"


def median_ms(seconds: Sequence[float]) -> float:
    return 1000 * statistics.median(seconds)


def steady_rows(version: str, done: dict[str, Steady]) -> Iterator[tuple[str, ...]]:
    for way, one in done.items():
        proven = [each.proven - each.at for each in one.changes]
        yield (
            f"{version} {way}",
            str(len(one.kept.answers)),
            str(one.failed.total()),
            str(one.kept.closed),
            str(one.wrong),
            f"{one.echoing}/{one.websockets}",
            f"{one.before.processes}>{one.after.processes}",
            f"{one.before.pss_mib:.1f}>{one.after.pss_mib:.1f}",
            f"{one.cpu_us:.0f}",
            f"{one.reloads}",
            f"{1000 * one.lbwatch_cpu_s / len(proven):.0f}" if proven else "-",
            ms(proven),
        )


def latency_rows(version: str, upstreams: int, taken: dict[str, Latencies]) -> Iterator[tuple[str, ...]]:
    off = [each.proven_s for each in taken["off"].single] if "off" in taken else []
    for way, latencies in taken.items():
        if not (samples := latencies.single):
            continue
        proven, came = [each.proven_s for each in samples], [each.seen for each in samples if each.came]
        yield (
            f"{version} {way}",
            f"{upstreams:,}",
            f"{1000 * statistics.median(each.inspect_s for each in samples):.1f}",
            ms([each.first_s for each in came]),
            ms([each.everywhere_s for each in came]),
            ms([each.seen.last_wrong_s for each in samples if not each.came]),
            ms(proven),
            f"{over_inspect_ms(samples):.1f}",
            f"1/{median_ms(off) / median_ms(proven):.0f}" if off and way != "off" else "",
            ms(latencies.behind_s),
        )


def over_inspect_ms(samples: Sequence[Taken]) -> float:
    """Return how many milliseconds later than a bare inspect a change is in force: the median."""
    return median_ms([each.proven_s - each.inspect_s for each in samples])


def table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
    made = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        made.add_column(
            column,
            justify="right" if number else "left",
            no_wrap=False,
            min_width=max((len(row[number]) for row in rows), default=0),
        )
    for row in rows:
        made.add_row(*row)
    return made


def steady_aims(version: str, done: dict[str, Steady]) -> Iterator[Aim]:
    if (one := done.get("on")) is None:
        return
    yield f"{version}: no request failed", not one.failed, ", ".join(f"{n} x {what}" for what, n in one.failed.items())
    yield f"{version}: no client's connection closed", not one.kept.closed, str(one.kept.closed)
    yield f"{version}: no wrong answer after proof", not one.wrong, str(one.wrong)
    yield f"{version}: websockets live", one.echoing == one.websockets, f"{one.echoing} of {one.websockets}"
    yield f"{version}: no process more", one.before.processes == one.after.processes, str(one.after.processes)


def latency_aims(version: str, taken: dict[int, dict[str, Latencies]]) -> Iterator[Aim]:
    over = {
        upstreams: over_inspect_ms(ways["on"].single)
        for upstreams, ways in taken.items()
        if "on" in ways and ways["on"].single
    }
    for upstreams, over_ms in over.items():
        yield (
            f"{version}: proven at most {MOST_OVER_INSPECT_MS:g} ms after an inspect, {upstreams:,} upstreams",
            over_ms <= MOST_OVER_INSPECT_MS,
            f"{over_ms:.1f} ms",
        )
    if len(over) > 1:
        ratio = over[max(over)] / over[min(over)]
        yield f"{version}: flat from {min(over):,} to {max(over):,} upstreams", ratio <= FLAT, f"x {ratio:.2f}"


def cpu_aims(version: str, cpus: dict[str, float]) -> Iterator[Aim]:
    if "on" in cpus:
        ratio = cpus["on"] / cpus["plain"]
        yield f"{version}: CPU of a request at most {MOST_CPU:g} of nginx alone", ratio <= MOST_CPU, f"x {ratio:.2f}"


def machine() -> str:
    return f"{os.cpu_count()} cores, load average {' '.join(f'{each:.1f}' for each in os.getloadavg())}"


def main() -> None:
    """Measure all, and print tables and aims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nginx", nargs="*", default=["1.22", "1.26"], help="versions, see tests/support/versions.py")
    parser.add_argument("--ways", nargs="*", default=["off", "on"], choices=["off", "on"])
    parser.add_argument("--parts", nargs="*", default=["steady", "latency", "cpu"])
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--upstreams", type=int, nargs="*", default=[1, 1000, 10_000])
    parser.add_argument("--samples", type=int, default=15, help="servers that come, and as many that leave")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by which all that was started is put away
    console, aims = Console(width=110, highlight=False), list[Aim]()
    for version in options.nginx:
        console.print(f"\nnginx {version}; {machine()}")
        if "steady" in options.parts:
            done = steadies(version, ways=options.ways, changes=options.changes)
            title = f"{options.changes} changes under {RATE} requests/s on {CONNECTIONS} kept connections"
            console.print(table(title, STEADY_COLUMNS, list(steady_rows(version, done))))
            aims += steady_aims(version, done)
        if "latency" in options.parts:
            taken: dict[int, dict[str, Latencies]] = {}
            for upstreams in options.upstreams:
                samples = max(2, options.samples // max(1, round(math.log10(upstreams))))
                taken[upstreams] = latencies(version, ways=options.ways, upstreams=upstreams, samples=samples)
            rows = [row for upstreams, ways in taken.items() for row in latency_rows(version, upstreams, ways)]
            console.print(table(LATENCY_TITLE, LATENCY_COLUMNS, rows))
            aims += latency_aims(version, taken)
        if "cpu" in options.parts:
            cpus = full_cpus(version, ways=options.ways)
            words = ", ".join(f"{way} {us:.1f} (x {us / cpus['plain']:.2f})" for way, us in cpus.items())
            console.print(f"CPU of nginx for a request at full load, in us: {words}")
            aims += cpu_aims(version, cpus)
    for what, reached, figure in aims:
        console.print(f"{'PASS' if reached else 'FAIL'}  {what}{f': {figure}' if figure else ''}", soft_wrap=True)
    sys.exit(not all(reached for _, reached, _ in aims))


if __name__ == "__main__":
    main()

"""
Lets lbwatch live through everything at random, on a real engine and a real nginx of its own: `make soak`.

Each round does random deeds to containers, most often with a fault meanwhile: of the engine's answers and events (a
proxy spoils them), of dockerd, of nginx, of the file, of disks, of lbwatch and of who reads from it. Then all is healed,
and the file must be what the oracle makes of `docker inspect`, nginx's answers the file's, lbwatch must be ready, and
nothing may be left behind. The seed repeats the choices, not the machine's timing.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import disturbances
from daemon import Stage, wait_until
from disturbances import STATUS, Part, stopped
from faultproxy import FaultProxy, Lagging
from onlooker import Line, Onlooker, lines_of
from oracle import PLACEHOLDER, Blocks, expected_blocks, file_blocks
from piped import PipedLbwatch
from planted import OTHER_NAMES, disk
from readiness import readyz
from realengine import IMAGE, RealEngine
from realnginx import RealNginx
from streamfaults import EVENTS, EVERYTHING, HANGING, INSPECT, LIST, QUICK, STREAM_FAULTS

RESYNC_S = 5.0
SOON_S = 3.0  # from the last deed, or after a fault from the next full look, until all is in step
# No time limit of lbwatch's own comes on top: what hangs in the proxy is cut by the healing, what hangs in a stopped
# engine is answered once that goes on, and a reload's proof and its back-off take 4 + 2 s at most.
HEALED_S = RESYNC_S + SOON_S
PATIENCE_S = 60.0  # what is not in step by then is a difference; before that it is late, as all is on a busy machine
DAMPED_S = 62.0  # who stayed up that long is not left out any more (lbwatch/damping.py)
JUDGED_S = 2.0  # from the look that found a drift to its log line (`DRIFT_GRACE_S` in lbwatch/docker/source.py)

MOST_FILES, MOST_THREADS, MOST_MIB = 64, 24, 160.0  # that lbwatch has when all is quiet
KEPT = {"lbwatch.conf", ".lbwatch.conf.lock", "drains.json", ".drains.json.lock", "verified.json"}
DISK = "512k"  # each; a file of ours has some 2 KiB, the copy of nginx's configuration some 10

NONE, CRASH, KILL = "no fault", "engine crashes", "lbwatch killed"
CRASH_EVERY_S = 180.0
FEWEST, MOST = 4, 14  # containers
WORKERS = 2
NETWORKS = ("alpha", "omega", "bridge")  # one before and one after the default by name
STRANGER = "upstream stranger { server 192.0.2.1:80; }\n"
OUTSIDE = "kill-from-outside"
ACTS = {
    **dict.fromkeys(("run", "start"), 5),
    **dict.fromkeys(("stop", OUTSIDE, "unpause"), 3),
    **dict.fromkeys(("kill", "restart", "pause", "rename", "connect", "disconnect", "rm"), 2),
    **dict.fromkeys(("run-alike", "run-checked", "restart-two"), 1),
    "flip-health": 2,
    "loop": 1,
}
RUNS = ("run", "run-alike", "run-checked", "loop")
ALIKE = (("shop-api", "v2"), ("shop", "api-v2"))  # Compose's project and service: both are called shop-api-v2
FLIP = "if [ -e /www/sick ]; then busybox rm /www/sick; else : > /www/sick; fi"
CHECK = ("--health-cmd=[ ! -e /www/sick ]", "--health-interval=1s", "--health-retries=1")
OURS = (".lbwatch.conf.tmp", ".lbwatch.conf.old", ".lbwatch.conf.probe", ".lbwatch-test", ".lbwatch.conf.lock")
STATE = ("drains.json", "verified.json", ".verified.json.tmp", ".drains.json.tmp")
BAD = ("lbwatch.port=none", "lbwatch.upstream=web; }", "lbwatch.weight=-1", "lbwatch.enable=false")

Inspected = Mapping[str, Any]


class Soak:
    """
    One run's world and what happens to it.

    Attributes:
        tally: What is counted.
    """

    def __init__(
        self, stage: Stage, proxy: FaultProxy, watch: Onlooker, *, dice: random.Random, minutes: float
    ) -> None:
        self.engine, self.nginx, self.lbwatch = stage.engine, stage.nginx, stage.lbwatch
        self.stage, self.proxy, self.watch, self.dice, self.minutes = stage, proxy, watch, dice, minutes
        self.quiet = 0.4  # share of the rounds without a fault
        self.slowest_s = 0.0  # until all was in step
        self.worst: dict[str, float] = {}  # the most that lbwatch had when all was quiet
        self.tally: Counter[str] = Counter(rounds=0, late=0, deeds=0, differences=0, lost=0, unexplained=0, explained=0)
        self.began = self.lbwatch_began = time.monotonic()
        self.early_mib = 0.0  # of the lbwatch that runs, when it was 2 minutes old
        self._numbers = itertools.count(1)
        self._there: dict[str, set[Line]] = {}  # by a container's name, what the file has at its addresses
        self._victims: list[str] = []  # who is not left alone in this round
        self._loopers: list[str] = []
        self._between: Callable[[], object] = lambda: None  # bursts of deeds
        self._said: list[str] = []  # this round's fault and deeds
        self._lossy: list[tuple[float, float]] = []  # when events may have been lost, by the wall clock
        self._lossy_since: float | None = None
        self._log_read = 0  # bytes
        self._crashed = self.began + 60 - CRASH_EVERY_S
        self._faults: dict[str, Callable[[], AbstractContextManager[str]]] = {
            "lists spoilt": partial(self._spoil_answers, on=LIST),
            "inspects spoilt": partial(self._spoil_answers, on=INSPECT),
            "all answers spoilt": partial(self._spoil_answers, on=EVERYTHING),
            "stream spoilt": self._spoil_stream,
            "stream dropped": self._drop_stream,
            "lists lag": self._let_lists_lag,
            "engine hangs": self._hang_engine,
            "nginx ended": self._end_nginx,
            "nginx hangs": self._hang_nginx,
            "port taken": self._take_port,
            "hang-up": self._hang_up,
            "file changed": self._change_file,
            KILL: self._kill_lbwatch,
            "lbwatch killed again and again": self._kill_lbwatch_often,
            "nginx runs another file": self._run_something_else,
            "engine restarts, containers live": partial(self._restart_engine, live=True),
            "engine restarts, containers end": partial(self._restart_engine, live=False),
            "engine and lbwatch restart": lambda: self._restart_two(self._engine_part),
            "nginx and lbwatch restart": lambda: self._restart_two(self._nginx_part),
            "disk full": self._fill_disk,
            "output planted": lambda: self._plant("lbwatch.conf"),
            "something planted": lambda: self._plant(self.dice.choice([*OURS, *STATE])),
            "log unread": self._leave_log_unread,
            "lbwatch hangs": self._hang_lbwatch,
            "hang-ups in bursts": self._hang_up_often,
            "deaf clients": lambda: disturbances.deaf_clients(self.stage),
        }

    # -- rounds

    def round(self) -> None:
        """Deeds, maybe a fault meanwhile, and the comparison."""
        everyone, suspended = self.engine.inspect_all(), lines_of(self.nginx.output)
        places = {each["Name"].removeprefix("/"): _addresses(each, everyone) for each in everyone}
        self._there = {name: {line for line in suspended if _address(line[1]) in at} for name, at in places.items()}
        loopers = _loopers_addresses(everyone)
        lines = itertools.chain(*self._there.values())
        self.watch.guard = frozenset(line for line in lines if _address(line[1]) not in loopers)
        self._victims = self.dice.sample(list(places), self.dice.choice([len(places) // 2, len(places)]))
        kind, fault = self._chosen_fault()
        with fault() as words:
            self._said = [f"{kind}: {words}"]
            for _ in range(self.dice.randint(1, 3)):
                self._burst()
                self._between()
                time.sleep(self.dice.choice([0, 0.1, 0.5]))
            time.sleep(0 if kind == NONE else self.dice.choice([0, 1, 3, 9]))
        self._between = lambda: None
        self.engine.remove(*self._loopers)
        self._loopers.clear()
        self._compare(within=SOON_S if kind == NONE else HEALED_S)
        time.sleep(self.dice.choice([0, 0, 0.5, 2]))
        self._compare(within=SOON_S)
        self.tally.update(["rounds", f"rounds with {kind}"])
        self._reckon()

    def _chosen_fault(self) -> tuple[str, Callable[[], AbstractContextManager[str]]]:
        if time.monotonic() - self._crashed > CRASH_EVERY_S:
            self._crashed = time.monotonic()
            return CRASH, self._crash_engine
        if self.dice.random() < self.quiet:
            return NONE, lambda: nullcontext("")
        if time.monotonic() - self.began > self.minutes * 30:
            for kind in [each for each in self._faults if "lbwatch killed" in each]:
                del self._faults[kind]  # the last lbwatch is to get old
        return self.dice.choice(list(self._faults.items()))

    def limit_faults(self, words: str) -> None:
        """Have only the faults with one of these words in their names, in every round."""
        self._faults = {name: fault for name, fault in self._faults.items() if re.search(words, name)}
        self.quiet, self._crashed = 0.0, math.inf

    def _burst(self) -> None:
        deeds = [self._deed() for _ in range(self.dice.randint(1, 6))]  # all that they touch is excused beforehand
        with ThreadPoolExecutor(3) as pool:
            self.tally.update(pool.map(self._do, deeds))

    def _do(self, deed: list[str]) -> str:
        try:
            self._kill_from_outside(deed[1]) if deed[0] == OUTSIDE else self.engine.docker(*deed)
        except (RuntimeError, AssertionError, OSError, subprocess.TimeoutExpired) as error:
            self._said.append(f"{' '.join(deed)} -- {str(error)[-100:]}")
            return "deeds refused"
        self._said.append(" ".join(deed))
        self.tally[f"deed {deed[0]}"] += 1
        return "deeds"

    def _deed(self) -> list[str]:
        act = self.dice.choices(list(ACTS), weights=list(ACTS.values()))[0]
        if len(self._there) < FEWEST or not self._victims:
            act = "run"
        elif len(self._there) >= MOST and act in RUNS:
            act = "rm"
        self.tally[f"drawn {act}"] += 1
        if act in RUNS:
            return self._run(act)
        return self._deed_to(self.dice.choice(self._victims), act)

    def _deed_to(self, name: str, act: str) -> list[str]:
        self._excuse(name)
        deed = [act, name]
        match act:
            case "stop":
                deed = ["stop", "-t", self.dice.choice("01"), name]
            case "rename":
                self._there[new := f"r{next(self._numbers)}"] = self._there.pop(name)
                self._victims = [new if each == name else each for each in self._victims]
                deed = ["rename", name, new]
            case "connect" | "disconnect":
                deed = ["network", act, self.dice.choice(NETWORKS), name]
            case "restart-two":
                self._excuse(other := self.dice.choice(self._victims))
                deed = ["restart", "-t", "1", name, other]
            case "flip-health":
                deed = ["exec", name, "sh", "-c", FLIP]
            case "rm":
                del self._there[name]
                self._victims.remove(name)
                deed = ["rm", "-f", name]
        return deed

    def _run(self, act: str) -> list[str]:
        loops, number = act == "loop", next(self._numbers)
        network, port = self.dice.choice(NETWORKS), self.dice.choice(["", "", "8080"])
        if self._there and self.dice.random() < 0.15:  # its port must be its own there
            network, port = f"container:{self.dice.choice(list(self._there))}", str(9000 + number)
        restart = "always" if loops else self.dice.choice(["no", "no", "always", "unless-stopped", "on-failure"])
        labels = [f"lbwatch.upstream={self.dice.choice(['web', 'api', 'Web', 'shop'])}", "lbwatch.enable=true"]
        labels = labels[self.dice.random() < 0.2 :]
        labels += [f"lbwatch.port={port}"] if port else []
        labels += [f"lbwatch.weight={self.dice.randint(1, 5)}"] if self.dice.random() < 0.3 else []
        labels += [f"lbwatch.network={self.dice.choice(NETWORKS)}"] if self.dice.random() < 0.2 else []
        labels += [self.dice.choice(BAD)] if self.dice.random() < 0.1 else []  # of two that are the same the last holds
        if act == "run-alike":
            project, service = self.dice.choice(ALIKE)
            compose = (f"com.docker.compose.project={project}", f"com.docker.compose.service={service}")
            labels = ["lbwatch.enable=true", *compose, *([f"lbwatch.port={port}"] if port else [])]
        elif act == "run-checked":  # alone in its upstream it serves healthy or not
            labels[:0] = [f"lbwatch.upstream=checked{number}"]
            labels = [each for each in labels if not each.startswith("lbwatch.upstream") or "checked" in each]
        name = f"loop{number}" if loops else f"c{number}"
        if loops:
            self._loopers.append(name)
        else:
            self._there[name] = set()
            self._victims.append(name)
        flags = ["--name", name, "--network", network, "--restart", restart, "--env", f"WHO={name}"]
        flags += [f"--env=PORT={port}"] if port else []
        flags += [f"--label={label}" for label in labels]
        flags += CHECK if act == "run-checked" else ()
        return ["run", "-d", *flags, IMAGE, *(["sh", "-c", "busybox sleep 0.2; exit 1"] if loops else [])]

    def _excuse(self, name: str) -> None:
        """Expect nothing of a container that is touched, nor of those at its addresses, for the rest of the round."""
        if self.watch.guard is not None:
            self.watch.guard -= self._there[name]

    def _kill_from_outside(self, name: str) -> None:
        """Come back when the engine has noticed: the comparison takes its word."""
        pid = self.engine.host_pid(name)
        self.engine.kill_from_outside(name)
        wait_until(lambda: self.engine.inspect(name)["State"]["Pid"] != pid, within=30, what=f"{name} is missed")

    # -- faults

    def _may_lose_events(self) -> None:
        self._lossy_since = time.time()

    @contextmanager
    def _spoil_answers(self, *, on: str) -> Iterator[str]:
        name, fault = self.dice.choice([*QUICK.items(), *HANGING.items()])
        self.proxy.inject(fault, on=on)
        if drops := on == EVERYTHING or self.dice.random() < 0.3:
            self._may_lose_events()
            self.proxy.drop(on=EVENTS)
        yield f"{name}{', stream dropped' * drops}"
        self.proxy.heal(abort=True)

    @contextmanager
    def _spoil_stream(self) -> Iterator[str]:
        self._may_lose_events()
        name, (on, fault) = self.dice.choice(list(STREAM_FAULTS.items()))
        self.proxy.inject(fault, on=on)
        self.proxy.drop(on=EVENTS)
        yield name
        self.proxy.heal(abort=True)

    @contextmanager
    def _drop_stream(self) -> Iterator[str]:
        self._may_lose_events()
        self._between = lambda: self.proxy.drop(on=EVENTS)
        yield "after each burst"

    @contextmanager
    def _let_lists_lag(self) -> Iterator[str]:
        seconds = self.dice.choice([None, 0.5, 6.0])
        self.proxy.inject(Lagging(seconds=seconds), on=LIST)
        yield "as before the round" if seconds is None else f"by {seconds} s"
        self.proxy.heal(abort=True)

    @contextmanager
    def _hang_engine(self) -> Iterator[str]:
        self._may_lose_events()
        pid, seconds = self.engine.pid, self.dice.uniform(0.5, 6)
        goes_on = Timer(seconds, os.kill, (pid, signal.SIGCONT))  # the deeds wait for it
        with stopped(pid):
            goes_on.start()
            yield f"for {seconds:.1f} s"
            goes_on.join()

    @contextmanager
    def _crash_engine(self) -> Iterator[str]:
        """Some containers die while there is no engine, which no event ever tells."""
        self._may_lose_events()
        running = [each for each in self._there if self.engine.inspect(each)["State"]["Running"]]
        victims = self.dice.sample(running, min(len(running), self.dice.randint(0, 2)))
        pids = [self.engine.host_pid(name) for name in victims]
        for name in victims:
            self._excuse(name)
        self.engine.kill9()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(self.dice.uniform(0, 3))
        self.engine.launch()
        if self.dice.random() < 0.5:
            self.engine.wait_ready()
        yield f"meanwhile {victims} died"
        self.engine.wait_ready()

    @contextmanager
    def _end_nginx(self) -> Iterator[str]:
        end = self.dice.choice([self.nginx.kill9, self.nginx.stop])
        end()
        if early := self.dice.random() < 0.5:
            self.nginx.start()
        yield f"by {end.__name__}, started {'at once' if early else 'afterwards'}"
        if not early:
            self.nginx.start()

    @contextmanager
    def _hang_nginx(self) -> Iterator[str]:
        with stopped(self.nginx.master_pid):
            yield "its master"

    @contextmanager
    def _take_port(self) -> Iterator[str]:
        hold = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
        argv = [sys.executable, "-c", f"{hold}; sys.stdin.read()"]
        occupant = self.engine.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            port = int(occupant.stdout.readline())
            self.nginx.rewrite(http=f"server {{ listen 127.0.0.1:{port}; return 200 late; }}")
            yield f"{port}"
        finally:
            occupant.communicate(timeout=10)
            self.nginx.rewrite()

    @contextmanager
    def _hang_up(self) -> Iterator[str]:
        self._between = self.lbwatch.hang_up
        yield "after each burst"

    @contextmanager
    def _change_file(self) -> Iterator[str]:
        self.watch.guard = None
        if removes := self.dice.random() < 0.5:
            self.nginx.output.unlink()
        else:
            self.nginx.output.write_text(STRANGER)
        yield "removed" if removes else "overwritten"

    @contextmanager
    def _kill_lbwatch(self) -> Iterator[str]:
        self._may_lose_events()
        self.lbwatch.kill9()
        if early := self.dice.random() < 0.5:
            self.lbwatch.start()
        yield f"started {'at once' if early else 'afterwards'}"
        if not early:
            self.lbwatch.start()
        self.lbwatch_began, self.early_mib = time.monotonic(), 0.0

    def _started_anew(self) -> None:
        self.lbwatch.start()
        self.lbwatch_began, self.early_mib = time.monotonic(), 0.0

    @contextmanager
    def _kill_lbwatch_often(self) -> Iterator[str]:
        self._may_lose_events()

        def between() -> None:
            time.sleep(self.dice.choice([0, 0.1, 0.4, 1.5]))  # it is at another step each time
            self.lbwatch.kill9()
            self._started_anew()

        self._between = between
        yield "after each burst"

    @contextmanager
    def _run_something_else(self) -> Iterator[str]:
        """While there is no lbwatch; the next one must not believe that nginx runs what lies there."""
        self._may_lose_events()
        self.watch.guard = None
        self.lbwatch.kill9()
        disturbances.run_something_else(self.stage)
        self._started_anew()
        yield "and the first one lies there again"

    @contextmanager
    def _restart_engine(self, *, live: bool) -> Iterator[str]:
        """Some containers die while there is no engine."""
        self._may_lose_events()
        self._end_engine(live=live)
        time.sleep(self.dice.uniform(0, 3))
        self.engine.launch()
        yield ""
        self.engine.wait_ready()

    def _end_engine(self, *, live: bool = True) -> None:
        running = [each for each in self._there if self.engine.inspect(each)["State"]["Running"]]
        victims = self.dice.sample(running, min(len(running), self.dice.randint(0, 2)))
        pids = [self.engine.host_pid(name) for name in victims]
        if not live:
            self.watch.guard = frozenset()
            self._relaunch_without_live_restore()
            pids = []
        for name in victims:
            self._excuse(name)
        self.engine.terminate()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _relaunch_without_live_restore(self) -> None:
        self.engine.terminate()
        self.engine.live_restore = False
        self.engine.launch()
        self.engine.wait_ready()
        self.engine.live_restore = True  # of the next one

    def _restart_two(self, other: Callable[[], Part]) -> AbstractContextManager[str]:
        self._may_lose_events()
        self.lbwatch.wait_started()
        end = self.dice.choice([self.lbwatch.kill9, lambda: self.lbwatch.terminate(within=20)])
        parts = self.dice.sample([Part(name="lbwatch", end=end, start=self._started_anew), other()], 2)
        return disturbances.restarted_in_turn(*parts, dice=self.dice)

    def _engine_part(self) -> Part:
        return Part(name="engine", end=self._end_engine, start=self.engine.start)

    def _nginx_part(self) -> Part:
        end = self.dice.choice([self.nginx.kill9, self.nginx.stop])
        return Part(name="nginx", end=end, start=self.nginx.start)

    def _fill_disk(self) -> AbstractContextManager[str]:
        folder = self.dice.choice([self.nginx.output.parent, self.lbwatch.state_dir, self._temporary])
        return disturbances.full(folder, leave=self.dice.choice([0, 0, 4096, 8192]))

    @property
    def _temporary(self) -> Path:
        return Path(self.lbwatch.environment["TMPDIR"])

    def _plant(self, name: str) -> AbstractContextManager[str]:
        folder = self.lbwatch.state_dir if name in STATE else self.nginx.output.parent
        if name == "lbwatch.conf":
            self.watch.guard = None
        on_harm = partial(self._complain, "differences")
        return disturbances.planted_at(folder / name, kind=self.dice.choice(list(OTHER_NAMES)), on_harm=on_harm)

    @contextmanager
    def _leave_log_unread(self) -> Iterator[str]:
        assert isinstance(self.lbwatch, PipedLbwatch)
        with self.lbwatch.unread():
            yield "its pipe takes 4 KiB"

    @contextmanager
    def _hang_lbwatch(self) -> Iterator[str]:
        self._may_lose_events()
        with stopped(self.lbwatch.process.pid):
            yield ""

    @contextmanager
    def _hang_up_often(self) -> Iterator[str]:
        def between() -> None:
            for _ in range(50):
                self.lbwatch.hang_up()

        self.lbwatch.wait_started()
        self._between = between
        yield "50 after each burst"

    # -- what must hold

    def _compare(self, *, within: float) -> None:
        """Wait until all is in step; else it is a difference, and how long it lasts is told."""
        assert not self.lbwatch.died(), self.stage.notes()
        began = time.monotonic()
        try:
            self._wait_in_step(within=PATIENCE_S)
        except AssertionError as error:
            self._complain("differences", str(error))
        took_s = time.monotonic() - began
        self.slowest_s = max(self.slowest_s, took_s)
        self.tally["late"] += took_s > within

    def _wait_in_step(self, *, within: float) -> None:
        wait_until(self._difference, holds=lambda text: not text, within=within, what="in step", notes=self.stage.notes)

    def _difference(self) -> str:
        """Say what is not in step; empty: nothing."""
        everyone, found = self.engine.inspect_all(), file_blocks(self.nginx.output)
        try:
            wanted = expected_blocks(everyone)
        except AssertionError as error:
            return f"the oracle: {error}"
        loopers = _loopers_addresses(everyone)
        if _without(found, loopers) != _without(wanted, loopers):
            return f"the file has {found}, the engine's containers want {wanted}"
        wrong = next(self._wrong_answers(found, _answering(everyone)), "")
        shared = [(each["Name"], sorted(_addresses(each, everyone))) for each in everyone if _addresses(each, everyone)]
        return f"{wrong}; addresses: {shared}" if wrong else self._not_ready() or self._left_behind()

    def _not_ready(self) -> str:
        try:
            answer = readyz(self.lbwatch.control_socket)
        except OSError as error:
            return f"/readyz: {error!r}"
        return "" if answer.startswith("HTTP/1.1 200") else f"/readyz: {answer}"

    def _left_behind(self) -> str:
        """Say what lbwatch left on the disks or keeps open, now that all is quiet."""
        folders = (self.nginx.output.parent, self.lbwatch.state_dir)
        if left := [str(each) for folder in folders for each in folder.iterdir() if each.name not in KEPT]:
            return f"left behind: {left}"
        if len(folders := list(self._temporary.iterdir())) > 1:  # it has one while it runs
            return f"left behind: {folders}"
        process = Path(f"/proc/{self.lbwatch.process.pid}")
        has = {
            "open files": len(list((process / "fd").iterdir())),
            "threads": len(list((process / "task").iterdir())),
            "MiB": self.resident_mib(),
        }
        most = {"open files": MOST_FILES, "threads": MOST_THREADS, "MiB": MOST_MIB}
        if over := {key: value for key, value in has.items() if value > most[key]}:
            return f"lbwatch has {over}"
        self.worst = {key: max(value, self.worst.get(key, 0)) for key, value in has.items()}
        return ""

    def _wrong_answers(self, blocks: Blocks, who: Mapping[str, str]) -> Iterator[str]:
        """First ask each server itself: one that nginx finds dead in its upstream is not asked again for 10 s."""
        served = {name: {line.split()[1]: line for line in block} for name, block in blocks if block != PLACEHOLDER}
        for place in itertools.chain(*served.values()):
            if (answer := self.nginx.ask(f"/{place}/")) != who.get(place, "nobody"):
                yield f"{place} itself answers {answer!r}, not {who.get(place)}"
        for name, servers in served.items():
            weights = sum(int(line.partition("weight=")[2] or 1) for line in servers.values())
            seen = self.nginx.answers(name, max(8, WORKERS * weights))  # one of the workers tells all of them
            if seen != (expected := {who[place] for place in servers}):
                yield f"for {name} nginx answers {sorted(seen)}, the file has {sorted(expected)}"

    def _reckon(self) -> None:
        """Count what the round left in the log and in the watch."""
        if self._lossy_since is not None:
            self._lossy = [*self._lossy[-4:], (self._lossy_since, time.time())]
            self._lossy_since = None
        for line in self._log_lines():
            self.tally[f"logged {line['event']}"] += 1
            if line["event"] == "source.drifted":
                self._report_drift(line)
            elif line["event"] == "noise":
                self._complain("differences", f"lbwatch wrote {line}")
        assert self.watch.is_alive(), "who watches the file has ended"
        found, self.watch.found = self.watch.found, []
        for text in found:
            self._complain("lost", f"{text}\n{self.lbwatch.tail()}")
        if not self.early_mib and time.monotonic() - self.lbwatch_began > 120:
            self.early_mib = self.resident_mib()

    def _log_lines(self) -> list[dict[str, Any]]:
        """Give what lbwatch logged since the last call; a line that is no JSON is `noise`."""
        with self.lbwatch.log.open("rb") as log:
            log.seek(self._log_read)
            lines = [line for line in log if line.endswith(b"\n")]
        self._log_read += sum(map(len, lines))
        return [
            json.loads(line) if line.startswith(b"{") else {"event": "noise", "text": line.decode()} for line in lines
        ]

    def _report_drift(self, line: dict[str, Any]) -> None:
        looked = datetime.fromisoformat(line["timestamp"]).timestamp() - JUDGED_S
        if any(since <= looked + 0.1 and looked - 0.5 <= until for since, until in self._lossy):
            self.tally["explained"] += 1
        else:
            self._complain("unexplained", f"{line}\n{self.lbwatch.tail()}")

    def _complain(self, what: str, text: str) -> None:
        self.tally[what] += 1
        said = "\n  ".join(self._said)
        print(f"\n{what.upper()}, round {self.tally['rounds']}, {said}\n{text}\n", flush=True)

    def resident_mib(self) -> float:
        """Give the memory of lbwatch's process."""
        lines = Path(f"/proc/{self.lbwatch.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    # -- what is told

    def print_progress(self) -> None:
        """Print one line."""
        tally = self.tally
        faults = {key.removeprefix("rounds with "): number for key, number in tally.items() if "rounds with" in key}
        print(
            f"{(time.monotonic() - self.began) / 60:.1f} min; {tally['rounds']} rounds, {tally['deeds']} deeds; "
            f"{tally['logged nginx.reloaded']} reloads; {tally['differences']} differences, {tally['lost']} lost; "
            f"{tally['late']} late, slowest {self.slowest_s:.1f} s; drift "
            f"{tally['explained']} explained, {tally['unexplained']} unexplained; {self.resident_mib():.1f} MiB; {faults}",
            flush=True,
        )

    def print_end(self) -> None:
        """Print the whole tally."""
        now = time.monotonic()
        told = {
            **dict(sorted(self.tally.items())),
            "events per second": f"{self.tally['logged event.handled'] / (now - self.began):.2f}",
            "slowest in step, s": f"{self.slowest_s:.1f}",
            **{f"most {key} of a quiet lbwatch": f"{value:.0f}" for key, value in self.worst.items()},
            "MiB of the last lbwatch after 2 minutes": f"{self.early_mib:.1f}" if self.early_mib else "not so old",
            "MiB of the last lbwatch at its end": f"{self.resident_mib():.1f}",
            "minutes that the last lbwatch lived": f"{(now - self.lbwatch_began) / 60:.1f}",
            "minutes": f"{(now - self.began) / 60:.1f}",
        }
        print("\n".join(f"{name:40} {value}" for name, value in told.items()), flush=True)


def _address(line: str) -> str:
    return line.split()[1].partition(":")[0]


def _without(blocks: Blocks, addresses: set[str]) -> Blocks:
    kept = ((name, [line for line in block if _address(line) not in addresses]) for name, block in blocks)
    return [(name, block or PLACEHOLDER) for name, block in kept]


def _addresses(container: Inspected, everyone: Iterable[Inspected]) -> set[str]:
    """Give a container's addresses; those of another if it uses that one's network."""
    owner = container["HostConfig"]["NetworkMode"].removeprefix("container:")
    container = next((each for each in everyone if owner in (each["Id"], each["Name"].removeprefix("/"))), container)
    return {end["IPAddress"] for end in container["NetworkSettings"]["Networks"].values() if end["IPAddress"]}


def _answering(everyone: Iterable[Inspected]) -> dict[str, str]:
    """By address and port, what the server there answers."""
    answering = {}
    for each in everyone:
        settings = dict(setting.split("=", 1) for setting in each["Config"]["Env"])
        if each["State"]["Running"] and not each["State"]["Paused"]:
            places = (f"{address}:{settings.get('PORT', 80)}" for address in _addresses(each, everyone))
            answering |= dict.fromkeys(places, settings["WHO"])
    return answering


def _loopers_addresses(everyone: Iterable[Inspected]) -> set[str]:
    """Give the addresses of all whom lbwatch may leave out, and may not have yet, since they restart in a loop."""
    return {address for each in everyone if _may_loop(each) for address in _addresses(each, everyone)}


def _may_loop(container: Inspected) -> bool:
    started = datetime.fromisoformat(container["State"]["StartedAt"][:19] + "+00:00").timestamp()
    up_s = time.time() - started if container["State"]["Running"] else 0.0
    return container["RestartCount"] >= 3 and up_s < DAMPED_S


def soak(*, minutes: float, seed: int, only: str) -> int:
    """Give the exit code; everything is put away."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="lbw-soak-", dir="/tmp"))  # short: a socket's path is
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        engine = stack.enter_context(RealEngine(live_restore=True)).start()
        for network in NETWORKS[:2]:
            engine.docker("network", "create", network)
        proxy = stack.enter_context(FaultProxy(engine.socket, folder / "proxy.sock"))
        settings = {"docker-host": proxy.url, "resync-interval": f"{RESYNC_S:g}s", "status-listen": STATUS}
        nginx = RealNginx(folder / "nginx", engine.name, workers=WORKERS)
        disks = [nginx.output.parent, folder / "state", folder / "tmp"]
        for each in disks:
            stack.enter_context(disk(each, size=DISK))
        stage = Stage(engine, nginx, folder=folder, settings=settings, kind=PipedLbwatch)
        stage.lbwatch.state_dir = disks[1]
        stage.lbwatch.environment |= {"LBWATCH_STATE_DIR": str(disks[1]), "TMPDIR": str(disks[2])}
        stack.callback(stage.close)
        nginx.start()
        stage.lbwatch.start().wait_for_log("nginx.reloaded")
        watch = Onlooker(stage.output, copy=folder / "sight.conf")
        watch.start()
        stack.callback(watch.join)
        stack.callback(watch.over.set)
        run = Soak(stage, proxy, watch, dice=random.Random(seed), minutes=minutes)
        if only:
            run.limit_faults(only)
        minute = 1
        while (lived_s := time.monotonic() - run.began) < minutes * 60:
            run.round()
            if lived_s > minute * 60:
                minute += 1
                run.print_progress()
        run.print_end()
        stage.lbwatch.terminate()
    return 1 if run.tally["differences"] or run.tally["lost"] or run.tally["unexplained"] else 0


def main() -> None:
    """Read the command line; SIGTERM ends it in order, as Ctrl-C does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", default="", help="a pattern of the faults to have, to look at these closely")
    options = parser.parse_args()
    print(f"--seed {options.seed} repeats this run's choices", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(soak(minutes=options.minutes, seed=options.seed, only=options.only))


if __name__ == "__main__":
    main()

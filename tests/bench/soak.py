"""
Lets lbwatch live through everything at random, on a real engine and a real nginx of its own: `make soak`.

Each round does random deeds to containers, most often with a fault meanwhile: of the engine's answers and events (a
proxy spoils them), of dockerd, of nginx, of the file, of lbwatch. Then all is healed, and the file must be what the
oracle makes of `docker inspect`, and nginx's answers the file's. The seed repeats the choices, not the machine's timing.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
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
from threading import Event, Thread, Timer
from typing import Any

from daemon import Stage, wait_until
from faultproxy import FaultProxy, Lagging
from oracle import PLACEHOLDER, Blocks, expected_blocks, file_blocks
from realengine import IMAGE, RealEngine
from realnginx import RealNginx
from streamfaults import EVENTS, EVERYTHING, HANGING, INSPECT, LIST, QUICK, STREAM_FAULTS

RESYNC_S = 5.0
SOON_S = 3.0  # from the last deed, or after a fault from the next full look, until all is in step
# No time limit of lbwatch's own comes on top: what hangs in the proxy is cut by the healing, what hangs in a stopped
# engine is answered once that goes on, and a reload's proof and its back-off take 4 + 2 s at most.
HEALED_S = RESYNC_S + SOON_S
PATIENCE_S = 60.0  # so long it is watched whether a difference ends by itself
DAMPED_S = 62.0  # who stayed up that long is not left out any more (lbwatch/damping.py)
JUDGED_S = 2.0  # from the look that found a drift to its log line (`DRIFT_GRACE_S` in lbwatch/docker/source.py)

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
    "loop": 1,
}
BAD = ("lbwatch.port=none", "lbwatch.upstream=web; }", "lbwatch.weight=-1", "lbwatch.enable=false")

Line = tuple[str, str]
"""An upstream's name and one line of its block."""
Inspected = Mapping[str, Any]


class Watch(Thread):
    """
    Looks at the file every few milliseconds: it must always be whole, and have the lines of whoever is left alone.

    Attributes:
        guard: The lines that must be there; `None`: the file may be anything. Replaced as a whole.
        found: What was wrong, in words.
    """

    def __init__(self, path: Path, *, copy: Path) -> None:
        super().__init__(name="watch")
        self.guard: frozenset[Line] | None = frozenset()
        self.found: list[str] = []
        self.over = Event()
        self._path, self._copy = path, copy
        self._seen: tuple[int, int, int] | None = None

    def run(self) -> None:
        """Look until it is over."""
        while not self.over.wait(0.004):
            self._look()

    def _look(self) -> None:
        before = self.guard
        try:
            status = self._path.stat()
            seen, data = (status.st_ino, status.st_size, status.st_mtime_ns), self._path.read_bytes()
        except FileNotFoundError:
            seen, data = None, b""
        after = self.guard  # who was touched since is excused
        if seen == self._seen or before is None or after is None:
            return
        self._seen = seen
        try:
            assert data.endswith(b"\n"), "it does not end with a line's end"
            self._copy.write_bytes(data)
            lines = _lines(self._copy)
        except AssertionError as error:
            self.found.append(f"the file is not whole: {error}: {data!r}")
        else:
            gone = (before & after) - lines
            self.found += [f"{line} was left alone and is gone; the file: {sorted(lines)}" for line in gone]


class Soak:
    """
    One run's world and what happens to it.

    Attributes:
        tally: What is counted.
    """

    def __init__(self, stage: Stage, proxy: FaultProxy, watch: Watch, *, dice: random.Random, minutes: float) -> None:
        self.engine, self.nginx, self.lbwatch = stage.engine, stage.nginx, stage.lbwatch
        self.stage, self.proxy, self.watch, self.dice, self.minutes = stage, proxy, watch, dice, minutes
        self.tally: Counter[str] = Counter(rounds=0, deeds=0, differences=0, lost=0, unexplained=0, explained=0)
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
        }

    # -- rounds

    def round(self) -> None:
        """Deeds, maybe a fault meanwhile, and the comparison."""
        everyone, suspended = self.engine.inspect_all(), _lines(self.nginx.output)
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
        if self.dice.random() < 0.4:
            return NONE, lambda: nullcontext("")
        if time.monotonic() - self.began > self.minutes * 30:
            self._faults.pop(KILL, None)  # the last lbwatch is to get old
        return self.dice.choice(list(self._faults.items()))

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
        return "deeds"

    def _deed(self) -> list[str]:
        act = self.dice.choices(list(ACTS), weights=list(ACTS.values()))[0]
        if len(self._there) < FEWEST or not self._victims:
            act = "run"
        elif len(self._there) >= MOST and act in ("run", "loop"):
            act = "rm"
        if act in ("run", "loop"):
            return self._run(loops=act == "loop")
        name = self.dice.choice(self._victims)
        self._excuse(name)
        match act:
            case "stop":
                return ["stop", "-t", self.dice.choice("01"), name]
            case "rename":
                self._there[new := f"r{next(self._numbers)}"] = self._there.pop(name)
                self._victims = [new if each == name else each for each in self._victims]
                return ["rename", name, new]
            case "connect" | "disconnect":
                return ["network", act, self.dice.choice(NETWORKS), name]
            case "rm":
                del self._there[name]
                self._victims.remove(name)
                return ["rm", "-f", name]
        return [act, name]

    def _run(self, *, loops: bool) -> list[str]:
        number = next(self._numbers)
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
        name = f"loop{number}" if loops else f"c{number}"
        if loops:
            self._loopers.append(name)
        else:
            self._there[name] = set()
            self._victims.append(name)
        flags = ["--name", name, "--network", network, "--restart", restart, "--env", f"WHO={name}"]
        flags += [f"--env=PORT={port}"] if port else []
        flags += [f"--label={label}" for label in labels]
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
        with _stopped(pid):
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
        with _stopped(self.nginx.master_pid):
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

    # -- what must hold

    def _compare(self, *, within: float) -> None:
        """Wait until all is in step; else it is a difference, and how long it lasts is told."""
        assert not self.lbwatch.died(), self.stage.notes()
        began = time.monotonic()
        try:
            self._wait_in_step(within=within)
        except AssertionError as error:
            self._complain("differences", str(error))
            with contextlib.suppress(AssertionError):
                self._wait_in_step(within=PATIENCE_S)
            print(f"after {time.monotonic() - began:.1f} s: {self._difference() or 'in step'}", flush=True)

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
        return f"{wrong}; addresses: {shared}" if wrong else ""

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
            f"{tally['logged nginx.reloaded']} reloads; {tally['differences']} differences, {tally['lost']} lost; drift "
            f"{tally['explained']} explained, {tally['unexplained']} unexplained; {self.resident_mib():.1f} MiB; {faults}",
            flush=True,
        )

    def print_end(self) -> None:
        """Print the whole tally."""
        now = time.monotonic()
        told = {
            **dict(sorted(self.tally.items())),
            "events per second": f"{self.tally['logged event.handled'] / (now - self.began):.2f}",
            "MiB of the last lbwatch after 2 minutes": f"{self.early_mib:.1f}" if self.early_mib else "not so old",
            "MiB of the last lbwatch at its end": f"{self.resident_mib():.1f}",
            "minutes that the last lbwatch lived": f"{(now - self.lbwatch_began) / 60:.1f}",
            "minutes": f"{(now - self.began) / 60:.1f}",
        }
        print("\n".join(f"{name:40} {value}" for name, value in told.items()), flush=True)


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _lines(path: Path) -> set[Line]:
    return {(name, line) for name, block in file_blocks(path) for line in block}


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


def soak(*, minutes: float, seed: int) -> int:
    """Give the exit code; everything is put away."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="lbw-soak-", dir="/tmp"))  # short: a socket's path is
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        engine = stack.enter_context(RealEngine(live_restore=True)).start()
        for network in NETWORKS[:2]:
            engine.docker("network", "create", network)
        proxy = stack.enter_context(FaultProxy(engine.socket, folder / "proxy.sock"))
        settings = {"docker-host": proxy.url, "resync-interval": f"{RESYNC_S:g}s"}
        nginx = RealNginx(folder / "nginx", engine.name, workers=WORKERS)
        stage = Stage(engine, nginx, folder=folder, settings=settings)
        stack.callback(stage.close)
        nginx.start()
        stage.lbwatch.start().wait_for_log("reconcile.finished")
        watch = Watch(stage.output, copy=folder / "sight.conf")
        watch.start()
        stack.callback(watch.join)
        stack.callback(watch.over.set)
        run = Soak(stage, proxy, watch, dice=random.Random(seed), minutes=minutes)
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
    options = parser.parse_args()
    print(f"--seed {options.seed} repeats this run's choices", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(soak(minutes=options.minutes, seed=options.seed))


if __name__ == "__main__":
    main()

"""
How long a dead server stays in nginx's file, and how long in nginx: `make bench-deaths`. Needs what the real tests need.

Counted from the `die` event itself, as another listener hears it; the floor beside it is a bare `nginx -t`, measured just
after each death, since nobody can be out of a tested file sooner. First single deaths (kill -9 from the host), then a
storm of 50 stops at once, counted from the last event of any kind.
"""

import http.client
import json
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from daemon import Stage, flags_of, wait_until
from oracle import ANY_NETWORK, PLACEHOLDER, file_blocks
from realengine import RealEngine, UnixConnection
from realnginx import RealNginx

DEATHS, STORM, UPSTREAMS = 20, 50, 10
GOALS_MS = {"die to out of the file": 25, "storm: last event to the file": 100, "storm: last event to nginx": 250}


class Listener:
    """Another listener to the engine's events, in a thread."""

    def __init__(self, engine: RealEngine) -> None:
        self.heard: list[tuple[float, str, str]] = []  # when, the event's word, the container's name
        self._connection = UnixConnection(engine.socket, timeout=3600)
        self._connection.request("GET", "/events")
        self._response: http.client.HTTPResponse = self._connection.getresponse()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while line := self._response.readline():
            at, event = time.monotonic(), json.loads(line)
            self.heard.append((at, event["Action"], event["Actor"]["Attributes"].get("name", "")))

    def time_of(self, action: str, name: str, *, since: float) -> float | None:
        return next((at for at, what, who in self.heard if at >= since and (what, who) == (action, name)), None)


def time_when(condition: Callable[[], bool], *, within: float = 20) -> float:
    """When it came true, to a millisecond or so."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.001)
    return time.monotonic()


def single_deaths(stage: Stage, engine: RealEngine, listener: Listener) -> tuple[list[float], list[float]]:
    """Seconds from each `die` until the file is without the dead, and those of a bare test by nginx just after."""
    for name in ("victim", "other"):
        engine.run(name, labels={"lbwatch.upstream": "web"})
    took: list[float] = []
    floor: list[float] = []
    for _ in range(DEATHS):
        stage.wait_in_step({"web": {"victim", "other"}})
        time.sleep(1.2)  # a quiet time: the pace is another figure
        line = f"server {engine.inspect('victim')['NetworkSettings']['IPAddress']}:"
        began = time.monotonic()
        engine.kill_from_outside("victim")
        gone = time_when(lambda line=line: line not in stage.output.read_text())
        heard = wait_until(
            lambda began=began: listener.time_of("die", "victim", since=began),
            holds=lambda at: at is not None,
            within=5,
            what="the event",
        )
        assert heard is not None
        took.append(gone - heard)
        floor.append(bare_test(stage.nginx))
        engine.docker("start", "victim")
    engine.remove("victim", "other")
    return took, floor


def bare_test(nginx: RealNginx) -> float:
    """Seconds of nginx's own test of its files as they are."""
    began = time.monotonic()
    subprocess.run([nginx.program, "-t", "-q", "-c", str(nginx.conf)], check=False, capture_output=True)
    return time.monotonic() - began


def storm(stage: Stage, engine: RealEngine, listener: Listener) -> tuple[float, float]:
    """Seconds from the last event of 50 stops until the file is right, and until nginx is seen to run it."""
    names = [f"storm{number:02}" for number in range(STORM)]
    for name in names:
        engine.run(name, labels={"lbwatch.upstream": f"up{name[-1]}"})
    stage.wait_in_step(
        {f"up{number}": {name for name in names if name[-1] == str(number)} for number in range(UPSTREAMS)}, within=30
    )
    time.sleep(2)
    mark, right = stage.lbwatch.mark(), [(f"up{number}", PLACEHOLDER) for number in range(UPSTREAMS)]
    with ThreadPoolExecutor(STORM) as pool:
        for name in names:
            pool.submit(engine.api, "POST", f"/containers/{name}/stop?t=0")
        in_file = time_when(lambda: file_blocks(stage.output) == right, within=60)
    verified = time_when(lambda: len(stage.lbwatch.logged("nginx.reloaded", since=mark)) > 0)
    while True:  # until it is quiet: the last reload is the one that counts
        count = len(stage.lbwatch.logged("nginx.reloaded", since=mark))
        time.sleep(0.02)
        if len(stage.lbwatch.logged("nginx.reloaded", since=mark)) > count:
            verified = time.monotonic()
        elif time.monotonic() - verified > 1.5 and time.monotonic() - in_file > 1.5:
            break
    last = max(at for at, _, _ in listener.heard)
    engine.remove(*names)
    return in_file - last, verified - last


def main() -> None:
    """Print all figures."""
    with RealEngine() as engine, tempfile.TemporaryDirectory(prefix="lbw-bench-") as folder:
        engine.start()
        nginx = RealNginx(Path(folder) / "nginx", engine.name)
        stage = Stage(engine, nginx, folder=Path(folder), reach=ANY_NETWORK, settings=flags_of({}))
        try:
            nginx.start()
            stage.lbwatch.start()
            listener = Listener(engine)
            took, floor = single_deaths(stage, engine, listener)
            storms = [storm(stage, engine, listener) for _ in range(3)]
        finally:
            stage.close()
    figures = {
        "die to out of the file": sorted(took),
        "storm: last event to the file": sorted(max(0.0, file) for file, _ in storms),
        "storm: last event to nginx": sorted(max(0.0, live) for _, live in storms),
    }
    print(f"floor, a bare nginx -t: median {1000 * statistics.median(floor):.1f} ms, worst {1000 * max(floor):.1f} ms")
    for name, seconds in figures.items():
        median, worst = 1000 * statistics.median(seconds), 1000 * seconds[-1]
        print(f"{name}: median {median:.1f} ms, worst {worst:.1f} ms of {len(seconds)} (goal {GOALS_MS[name]} ms)")


if __name__ == "__main__":
    main()

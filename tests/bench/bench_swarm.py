"""
`make bench-swarm`: how long a Swarm's changes take to be in nginx's file, and what deploys cost the clients.

A real Swarm of three engines, and two nginxes on its overlay in the same run: lbwatch is behind the one, and behind the
other what most do, a look at /tasks each 15 s that writes the wanted and running tasks and reloads. Each gets 50
requests/s on connections of their own, while a service of 4 is updated start-first, scaled to 8 and to 2, and a node is
drained; the programs die at TERM with all that is inside, and nginx tries no other server. Needs what the real tests need.

Start to served is from the node's event `start` until the server is in the file; stop to out from the stop signal until it
is not: negative is before it. What a poll never saw is `never`.
"""

import argparse
import math
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import versions
from realnginx import RealNginx
from rich.console import Console
from rich.table import Table
from swarmnginx import SwarmStage, pass_s
from swarmnodes import ANCHOR, START_FIRST, SwarmNodes
from swarmseen import FileHistory, Loaded, TaskEvents, TaskSights, label_of, lateness, server_of, under_load

POLL_S = 15.0
COLUMNS = ("", "requests", "failed", "slowest s", "start to served s", "stop to out s", "late", "reloads")


class Poll:
    """What others do: a thread that looks at /tasks each 15 s."""

    def __init__(self, swarm: SwarmNodes, nginx: RealNginx, *, every_s: float) -> None:
        self.reloads = 0
        self._swarm = swarm
        self._nginx = nginx
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._write()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            if self._write():
                self._nginx.reload()
                self.reloads += 1

    def _write(self) -> bool:
        """Write the tasks that are wanted and run; return whether they are others."""
        lines = sorted(f"server {server_of(task)};\n" for task in self._swarm.running("web"))
        text = f"upstream web {{\n{''.join(lines) or 'server 127.0.0.1:1 down;'}}}\n"
        before = self._nginx.output.read_text() if self._nginx.output.exists() else ""
        beside = self._nginx.output.with_name(".new")
        beside.write_text(text)
        beside.rename(self._nginx.output)
        return text != before


@dataclass(frozen=True, slots=True)
class Way:
    """What one way of following came to."""

    name: str
    loaded: Loaded
    history: FileHistory
    reloads: int

    def row(self, events: TaskEvents, sights: TaskSights, *, since: float) -> list[str]:
        started = {task: events.first("start", task) for task in events.tasks("start", since=since)}
        served = [
            self.history.came(server_of(sights.tasks[task]), after=at) - at
            for task, at in started.items()
            if at is not None
        ]
        late = list(lateness(self.history, events, sights).values())
        failed = ", ".join(
            f"{count} {kind.removeprefix('status ')}" for kind, count in self.loaded.failed.most_common()
        )
        return [
            self.name,
            str(self.loaded.requests),
            f"{self.loaded.failed.total()}{f' ({failed})' if failed else ''}",
            f"{self.loaded.slowest_s:.2f}",
            _spread(served),
            _spread(late),
            f"{sum(seconds > 0 for seconds in late)} of {len(late)}",
            str(self.reloads),
        ]


def _spread(seconds: Sequence[float]) -> str:
    """Return the median and the worst; of a server that never was there the time is infinite."""
    known = [each for each in seconds if not math.isinf(each)]
    never = f", {len(seconds) - len(known)} never" if len(known) < len(seconds) else ""
    return f"{statistics.median(known):+.2f} (worst {max(known):+.2f}{never})" if known else "none"


@contextmanager
def polled(swarm: SwarmNodes, folder: Path, *, every_s: float) -> Iterator[tuple[RealNginx, Poll]]:
    """Run an nginx beside lbwatch's, in the same network namespace, that is behind a poll."""
    with RealNginx(folder, f"/proc/{swarm.manager.host_pid(ANCHOR)}/ns/net") as nginx:
        poll = Poll(swarm, nginx, every_s=every_s)
        nginx.start()
        poll.start()
        try:
            yield nginx, poll
        finally:
            poll.stop()


def deploys(swarm: SwarmNodes, *, quiet_s: float) -> None:
    """Update, scale up and down, and drain, with time for whoever is slow to follow between two of them."""
    swarm.update("web", "--env-add", "NEW=1")
    swarm.wait_updated("web")
    pass_s(quiet_s)
    for replicas in (8, 2):
        swarm.scale("web", replicas)
        swarm.wait_running("web", replicas)
        pass_s(quiet_s)
    node = next(node for node in swarm.workers if node.node_id in {task.node for task in swarm.running("web")})
    with swarm.drained(node):
        swarm.wait_running("web", 2)
        pass_s(quiet_s)


def measured(swarm: SwarmNodes, folder: Path, *, quiet_s: float) -> Iterator[list[str]]:
    """Yield a row for each way."""
    with ExitStack() as stack:
        stack.callback(swarm.remove_services)
        stage = SwarmStage(swarm, doors=[swarm.manager], folder=folder)
        stack.callback(stage.close)
        stage.start()
        swarm.create("web", *START_FIRST, replicas=4, labels=label_of("web"))
        stage.wait_serving("web", swarm.wait_running("web", 4))
        nginx, poll = stack.enter_context(polled(swarm, folder / "poll", every_s=POLL_S))
        history = stack.enter_context(FileHistory(nginx.output))
        events, since = TaskEvents(swarm.nodes), time.time()
        mark = stage.lbwatch.mark()
        with TaskSights(swarm) as sights, under_load(stage.nginx, "web") as ours, under_load(nginx, "web") as theirs:
            deploys(swarm, quiet_s=quiet_s)
        for way in (
            Way("lbwatch", ours, stage.history, stage.reloads(since=mark)),
            Way(f"a poll each {POLL_S:g} s", theirs, history, poll.reloads),
        ):
            yield way.row(events, sights, since=since)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", type=float, default=20.0, help="seconds between two deploys; a poll needs 15")
    options = parser.parse_args()
    for program in ("dockerd", "nginx"):
        versions.use(program)
    console = Console(width=130, highlight=False)
    console.print(f"engine {versions.whole(versions.ENGINE)}, nginx {versions.whole(versions.NGINX)}, 3 nodes")
    table = Table(title="update of 4, scale to 8 and 2, drain of a node; 50 requests/s", box=None, padding=(0, 1, 0, 0))
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if number else "left")
    with SwarmNodes() as swarm, tempfile.TemporaryDirectory(prefix="lbw-bench-", dir="/tmp") as folder:
        swarm.start()
        for row in measured(swarm, Path(folder), quiet_s=options.quiet):
            table.add_row(*row)
    console.print(table)
    console.print(f"{os.cpu_count()} cores, load average {' '.join(f'{each:.1f}' for each in os.getloadavg())}")


if __name__ == "__main__":
    main()

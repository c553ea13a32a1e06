"""What tests on a real Swarm see: when a server stood in the file, what nodes said of tasks, what a load came to."""

import asyncio
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from deployload import Load
from realengine import RealEngine, UnixConnection
from realnginx import RealNginx
from swarmnodes import PORT, SwarmNodes, SwarmTask

RATE = 50.0
"""Requests a second, each on a connection of its own."""

_LOOK_S = 0.002
_ASK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From when to when a server stood in the file, by the wall clock; infinite: it still does."""

    began: float
    ended: float


class FileHistory:
    """Notes by a thread when each server came into a file and left it, to a few milliseconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changes = 0
        self._spans: dict[str, list[Span]] = {}
        self._present: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def spans(self, server: str) -> list[Span]:
        """Return when it was in, oldest first; an address may be given to another task later."""
        open_span = [Span(began=self._present[server], ended=float("inf"))] if server in self._present else []
        return [*self._spans.get(server, ()), *open_span]

    def came(self, server: str, *, after: float) -> float:
        """Return when a server first was in after an instant; infinite: never."""
        return min((span.began for span in self.spans(server) if span.began >= after), default=float("inf"))

    def left(self, server: str, *, before: float) -> float:
        """Return when a server left that was in before an instant; infinite: it has not."""
        spans = [span for span in self.spans(server) if span.began < before]
        assert spans, f"{server} was never in"
        return spans[-1].ended

    def _watch(self) -> None:
        stamp = None
        while not self._over.wait(_LOOK_S):
            with suppress(FileNotFoundError):
                status = self.path.stat()
                if (now := (status.st_ino, status.st_mtime_ns)) != stamp:
                    stamp = now
                    self._take(self.path.read_text(), at=time.time())

    def _take(self, text: str, *, at: float) -> None:
        self.changes += 1
        servers = {line.split()[1].rstrip(";") for line in text.splitlines() if line.strip().startswith("server ")}
        for gone in self._present.keys() - servers:
            self._spans.setdefault(gone, []).append(Span(began=self._present.pop(gone), ended=at))
        for new in servers - self._present.keys():
            self._present[new] = at


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """What a node's own engine said of a task's container, *at* by the wall clock."""

    at: float
    action: str
    task: str


class TaskSights:
    """
    What /tasks said of each task, and when first, by a thread that asks all the time.

    Attributes:
        tasks: As they were last, by their ids; those that are there no more too.
        first: By task, wanted and actual state, by the wall clock.
    """

    def __init__(self, swarm: SwarmNodes) -> None:
        self.tasks: dict[str, SwarmTask] = {}
        self.first: dict[tuple[str, str, str], float] = {}
        self._swarm = swarm
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def leaving(self, task: str) -> float:
        """Return when a task first was to stop although it ran."""
        return min(
            at
            for (name, desired, state), at in self.first.items()
            if name == task and desired in ("shutdown", "remove") and state == "running"
        )

    def _look(self) -> None:
        while not self._over.wait(_ASK_S):
            self._take()
        self._take()

    def _take(self) -> None:
        at = time.time()
        for task in self._swarm.tasks():
            # A task of the history may have lost its addresses.
            self.tasks[task.id] = task if task.addresses or task.id not in self.tasks else self.tasks[task.id]
            self.first.setdefault((task.id, task.desired, task.state), at)


class TaskEvents:
    """Listens to engines of nodes, by a thread each."""

    def __init__(self, nodes: Sequence[RealEngine]) -> None:
        self.heard: list[TaskEvent] = []
        for node in nodes:
            listen(node, "/events", self._take)

    def _take(self, event: dict[str, Any]) -> None:
        if task := event["Actor"]["Attributes"].get("com.docker.swarm.task.id"):
            self.heard.append(TaskEvent(event["timeNano"] / 1e9, event["Action"], task))

    def first(self, action: str, task: str) -> float | None:
        """Return when something first happened to a task; `None`: never."""
        return next((each.at for each in self.heard if (each.action, each.task) == (action, task)), None)

    def tasks(self, action: str, *, since: float) -> set[str]:
        """Return to which tasks something happened since an instant."""
        return {each.task for each in self.heard if each.action == action and each.at >= since}


def listen(engine: RealEngine, path: str, take: Callable[[dict[str, Any]], None]) -> None:
    """Have a thread take each event of an engine until that ends; those that come from now on are among them."""
    connection = UnixConnection(engine.socket, timeout=3600)
    connection.request("GET", path)
    response = connection.getresponse()

    def run() -> None:
        with closing(connection), closing(response), suppress(OSError, http.client.HTTPException):
            while line := response.readline():
                take(json.loads(line))

    threading.Thread(target=run, daemon=True).start()


class TaskLoad(Load):
    """A load that notes who answered: each task answers its own id."""

    answered: Counter[str]

    async def _ask(self, method: str) -> str:
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            writer.write(f"{method} {self.path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).decode("latin-1").partition("\r\n\r\n")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        status = head.split(" ")[1] if head else ""
        if status != "200":
            return f"status {status}" if status else "broken off (empty)"
        self.answered[body.strip()] += 1
        return "ok" if body.strip() else "empty"


@dataclass(slots=True)
class Loaded:
    """
    What came of a load; complete once it is over.

    Attributes:
        failed_at: When those that failed began and ended, by the wall clock.
    """

    requests: int = 0
    failed_at: list[tuple[float, float]] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    answered: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.failed.most_common())
        return (
            f"{self.requests} requests, {self.failed.total()} failed"
            f"{f' ({kinds})' if kinds else ''}, slowest {self.slowest_s:.2f} s"
        )


@contextmanager
def under_load(nginx: RealNginx, upstream: str, *, rate: float = RATE) -> Iterator[Loaded]:
    """Ask nginx for an upstream, all the while; what came of it is there afterwards."""
    over, loaded = threading.Event(), Loaded()
    load = TaskLoad(nginx.socket, rate, f"/{upstream}/")
    load.answered = loaded.answered
    thread = threading.Thread(target=lambda: asyncio.run(load.run(until=over.is_set)))
    thread.start()
    try:
        yield loaded
    finally:
        over.set()
        thread.join()
        loaded.requests = len(load.done)
        loaded.failed.update(each.outcome for each in load.done if each.failed)
        loaded.failed_at += [(each.began, each.began + each.took_s) for each in load.done if each.failed]
        loaded.slowest_s = max((each.took_s for each in load.done), default=0.0)


def server_of(task: SwarmTask) -> str:
    """Return how a task stands in the file for an nginx on the overlay."""
    return f"{task.address}:{PORT}"


def label_of(upstream: str, **fields: str) -> dict[str, str]:
    """Return the labels of a service in an upstream; an image's port is not in /tasks, so that it is named."""
    wanted = {"upstream": upstream, "port": str(PORT), **fields}
    return {f"lbwatch.{name}": value for name, value in wanted.items()}


def lateness(history: FileHistory, events: TaskEvents, sights: TaskSights) -> dict[str, float]:
    """Return for each task that got a stop signal how many seconds after it the task left the file; negative: before."""
    killed = {task: events.first("kill", task) for task in events.tasks("kill", since=0)}
    return {
        task: history.left(server_of(sights.tasks[task]), before=at) - at
        for task, at in killed.items()
        if at is not None
    }

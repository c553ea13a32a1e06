"""
lbwatch beside a real Swarm, with an nginx on its overlay, and what the tests see of all that: file, events, answers.

nginx is a process of the machine in the network namespace of a container that is attached to the overlay; `outside` it
is in that of the bridge, from which nodes are reached and tasks are not. Nothing here imports lbwatch.
"""

import asyncio
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from daemon import Lbwatch, flags_of, wait_until
from deployload import Load
from oracle import PLACEHOLDER, file_blocks
from realengine import IMAGE, RealEngine, UnixConnection
from realnginx import RealNginx
from swarmnodes import NETWORK, PORT, LinkedEngines, SwarmNode, SwarmNodes, SwarmTask

RATE = 50.0
"""Requests a second, each on a connection of its own."""

FRONT = "front"
"""The container whose network nginx has."""

_LOOK_S = 0.002


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
        return max((span for span in self.spans(server) if span.began < before), key=lambda span: span.began).ended

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
    """What came of a load; complete once it is over."""

    requests: int = 0
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
        loaded.slowest_s = max((each.took_s for each in load.done), default=0.0)


class SwarmStage:
    """
    Engines, an nginx and lbwatch; `close` it last, and before the engines.

    Args:
        doors: The engines that lbwatch is told of, by their hosts' names.
        folder: Holds nginx, and lbwatch's log.
        outside: Whether nginx is reached from where only the nodes are; else it is on the overlay.
        settings: More of lbwatch's flags, with underscores.
    """

    def __init__(
        self,
        engines: LinkedEngines,
        *,
        doors: Sequence[SwarmNode],
        folder: Path,
        outside: bool = False,
        **settings: str,
    ) -> None:
        self.engines = engines
        self._front = None if outside else engines.nodes[0]
        namespace = engines.switch if self._front is None else _front_namespace(self._front)
        self.nginx = RealNginx(folder / "nginx", namespace)
        self.history = FileHistory(self.nginx.output)
        self.lbwatch = Lbwatch(*self._flags(doors, settings), folder=folder, namespace=engines.switch)

    def start(self) -> Self:
        """Start nginx and lbwatch, and wait until that is at work."""
        self.nginx.start()
        self.lbwatch.start()
        self.history.__enter__()
        self.lbwatch.wait_started()
        return self

    def close(self) -> None:
        """End lbwatch and nginx, and remove its container; an lbwatch that should still run must obey SIGTERM."""
        with ExitStack() as steps:
            if self._front is not None:
                steps.callback(self._front.remove, FRONT)
            steps.callback(self.nginx.close)
            steps.callback(self.lbwatch.close)
            if self.history._thread.is_alive():
                steps.callback(self.history.__exit__)
            if self.lbwatch.runs or self.lbwatch.died():
                steps.callback(self.lbwatch.terminate)

    # -- what is seen

    @property
    def output(self) -> Path:
        """The file that lbwatch renders."""
        return self.nginx.output

    def servers(self, upstream: str) -> set[str]:
        """Return what the file has for an upstream, as `address:port`; nobody: the placeholder's line is none."""
        lines = dict(file_blocks(self.output)).get(upstream, [])
        return set() if lines == PLACEHOLDER else {line.split()[1] for line in lines}

    def wait_servers(self, upstream: str, wanted: Callable[[], set[str]], *, within: float = 15) -> None:
        """Wait until the file has exactly these for an upstream."""
        wait_until(
            lambda: (self.servers(upstream), wanted()),
            within=within,
            holds=lambda both: both[0] == both[1],
            what=f"the file has for {upstream} what it should",
            notes=self.notes,
        )

    def wait_serving(self, upstream: str, tasks: Sequence[SwarmTask], *, within: float = 15) -> None:
        """Wait until the file has these tasks, and exactly these answer."""
        self.wait_servers(upstream, lambda: {server_of(task) for task in tasks}, within=within)
        wait_until(
            lambda: self.nginx.answers(upstream, 4 * len(tasks) + 2),
            within=within,
            holds=lambda found: found == {task.id for task in tasks},
            what=f"{len(tasks)} tasks answer for {upstream}",
            notes=self.notes,
        )

    def reloads(self, *, since: int = 0) -> int:
        """Return how often nginx was reloaded since a mark of lbwatch's log."""
        return len(self.lbwatch.logged("nginx.reloaded", since=since))

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Make sure that the file is the same file with the same bytes afterwards, and nginx was not reloaded."""
        mark, before = self.lbwatch.mark(), (self.output.read_bytes(), self.output.stat().st_ino)
        workers = self.nginx.worker_pids()
        changes = self.history.changes
        yield
        assert self.history.changes == changes, self.notes()
        assert (self.output.read_bytes(), self.output.stat().st_ino) == before, self.notes()
        assert self.reloads(since=mark) == 0, self.notes()
        assert self.nginx.worker_pids() == workers

    def notes(self) -> str:
        """Return what helps to understand a failure."""
        text = self.output.read_text() if self.output.exists() else "(no file)"
        return f"{text}\n{self.lbwatch.tail()}\nnginx's error log ends:\n{self.nginx.errors()}"

    def _flags(self, doors: Sequence[SwarmNode], settings: dict[str, str]) -> list[str]:
        values = {
            "docker-host": ",".join(f"{node.hostname}={node.url}" for node in doors),
            "output": str(self.nginx.output),
            "nginx-pidfile": str(self.nginx.pidfile),
            "nginx-conf": str(self.nginx.conf),
            "log-format": "json",
            "log-level": "debug",
            "status-listen": "",
            "resync-interval": "10m",  # events and what they mark must do; a test that is about it says otherwise
            **({} if self._front is None else {"networks": NETWORK}),
            **flags_of(settings),
        }
        return [part for name, value in values.items() for part in (f"--{name}", value)]


def server_of(task: SwarmTask) -> str:
    """Return how a task stands in the file for an nginx on the overlay."""
    return f"{task.address}:{PORT}"


def label_of(upstream: str, **fields: str) -> dict[str, str]:
    """Return the labels of a service in an upstream; an image's port is not in /tasks, so that it is named."""
    wanted = {"upstream": upstream, "port": str(PORT), **fields}
    return {f"lbwatch.{name}": value for name, value in wanted.items()}


def lateness(history: FileHistory, events: TaskEvents, tasks: Sequence[SwarmTask]) -> dict[str, float]:
    """Return for each task that got a stop signal how many seconds after it the task left the file; negative: before."""
    found = {}
    for task in tasks:
        killed = events.first("kill", task.id)
        if killed is not None and history.spans(server_of(task)):
            found[task.id] = history.left(server_of(task), before=killed) - killed
    return found


def _front_namespace(node: SwarmNode) -> str:
    """Attach a container to the overlay, and return the path of its network namespace."""
    node.docker("run", "--detach", "--name", FRONT, "--network", NETWORK, IMAGE, "sleep", "infinity")
    return f"/proc/{node.host_pid(FRONT)}/ns/net"


@contextmanager
def swarm_stage(
    swarm: SwarmNodes, folder: Path, *, doors: Sequence[SwarmNode] | None = None, outside: bool = False, **settings: str
) -> Iterator[SwarmStage]:
    """Set a stage on a Swarm with its manager as the only door unless others are given; its services are removed at the end."""
    with ExitStack() as stack:
        stack.callback(swarm.remove_services)
        stage = SwarmStage(swarm, doors=doors or [swarm.manager], folder=folder, outside=outside, **settings)
        stack.callback(stage.close)
        yield stage.start()

"""
lbwatch beside a real Swarm, with an nginx on its overlay or outside of it.

nginx mostly is a process of the machine in the network namespace of a container that is attached to the overlay, since
that is reloaded at once; see `Place`. Nothing here imports lbwatch.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Self

from containernginx import ContainerNginx
from daemon import Lbwatch, flags_of, wait_until
from oracle import PLACEHOLDER, file_blocks
from realnginx import RealNginx
from swarmnodes import ANCHOR, NETWORK, PORT, LinkedEngines, SwarmNode, SwarmNodes, SwarmTask
from swarmseen import FileHistory, server_of

FRONT = "front"
"""What nginx's container is called."""


class Place(Enum):
    """Where nginx is."""

    OVERLAY = (
        auto()
    )  # in the network of the container that stays on the overlay, of which lbwatch is told by `networks`
    CONTAINER = auto()  # a container on the overlay, which lbwatch finds out
    MACHINE = auto()  # beside the first engine
    OUTSIDE = auto()  # where only the nodes are reached


class SwarmStage:
    """
    Engines, an nginx and lbwatch; `close` it last, and before the engines.

    Args:
        doors: The engines that lbwatch is told of, by their hosts' names.
        folder: Holds nginx, and lbwatch's log.
        place: Where nginx is.
        settings: More of lbwatch's flags, with underscores.
    """

    def __init__(
        self,
        engines: LinkedEngines,
        *,
        doors: Sequence[SwarmNode],
        folder: Path,
        place: Place = Place.OVERLAY,
        **settings: str,
    ) -> None:
        self.engines = engines
        self._place = place
        self.nginx = _nginx(engines, place=place, folder=folder / "nginx")
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
            steps.callback(self.engines.nodes[0].remove, FRONT)
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

    def server(self, task: SwarmTask) -> str:
        """Return how a task stands in the file."""
        if self._place is not Place.OUTSIDE:
            return server_of(task)
        return (
            f"{next(node.address for node in self.engines.nodes if node.node_id == task.node)}:{task.published[PORT]}"
        )

    def wait_servers(self, upstream: str, wanted: Collection[str], *, within: float = 15) -> None:
        """Wait until the file has exactly these for an upstream; nginx may not have it yet."""
        wait_until(
            lambda: self.servers(upstream),
            within=within,
            holds=lambda found: found == set(wanted),
            what=f"the file has {sorted(wanted)} for {upstream}",
            notes=self.notes,
        )

    def wait_serving(self, upstream: str, tasks: Sequence[SwarmTask], *, within: float = 15) -> None:
        """Wait until the file has these tasks, and exactly these answer."""
        self.wait_servers(upstream, [self.server(task) for task in tasks], within=within)
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
        wait_until(
            self.nginx.worker_pids,
            within=10,
            holds=lambda pids: len(pids) == self.nginx.workers,
            what="the workers before are retired",
            notes=self.notes,
        )
        before, workers = (self.output.read_bytes(), self.output.stat().st_ino), self.nginx.worker_pids()
        changes = self.history.changes
        yield
        assert self.history.changes == changes, self.notes()
        assert (self.output.read_bytes(), self.output.stat().st_ino) == before, self.notes()
        assert self.nginx.worker_pids() == workers, self.notes()

    def notes(self) -> str:
        """Return what helps to understand a failure."""
        text = self.output.read_text() if self.output.exists() else "(no file)"
        return f"{text}\n{self.lbwatch.tail()}\nnginx's error log ends:\n{self.nginx.errors()}"

    def _flags(self, doors: Sequence[SwarmNode], settings: dict[str, str]) -> list[str]:
        local = {"nginx-pidfile": str(self.nginx.pidfile), "nginx-conf": str(self.nginx.conf)}
        values = {
            "docker-host": ",".join(f"{node.hostname}={node.url}" for node in doors),
            "output": str(self.nginx.output),
            "log-format": "json",
            "log-level": "debug",
            "status-listen": "",
            "resync-interval": "10m",  # events and what they mark must do; a test that is about it says otherwise
            **({"nginx-container": FRONT} if self._place is Place.CONTAINER else local),
            **({"networks": NETWORK} if self._place is Place.OVERLAY else {}),
            **({"nginx-engine": "none"} if self._place is Place.OUTSIDE else {}),
            **flags_of(settings),
        }
        return [part for name, value in values.items() for part in (f"--{name}", value)]


def _nginx(engines: LinkedEngines, *, place: Place, folder: Path) -> RealNginx:
    node = engines.nodes[0]
    node.remove(FRONT)  # of a test that failed before it had a stage
    if place is Place.CONTAINER:
        nginx = ContainerNginx(folder, node, container=FRONT)
        nginx.options = ("--network", NETWORK)
        return nginx
    if place is Place.OUTSIDE:
        return RealNginx(folder, engines.switch)
    if place is Place.MACHINE:
        return RealNginx(folder, node.name)
    return RealNginx(folder, f"/proc/{node.host_pid(ANCHOR)}/ns/net")


def pass_s(seconds: float) -> None:
    """Let some time pass in which nothing may happen."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > until, within=seconds + 10, what="the time is over")


@contextmanager
def swarm_stage(
    swarm: SwarmNodes,
    folder: Path,
    *,
    doors: Sequence[SwarmNode] | None = None,
    place: Place = Place.OVERLAY,
    **settings: str,
) -> Iterator[SwarmStage]:
    """Set a stage on a Swarm with its manager as the only door unless others are given; its services are removed at the end."""
    with ExitStack() as stack:
        stack.callback(swarm.remove_services)
        stage = SwarmStage(swarm, doors=doors or [swarm.manager], folder=folder, place=place, **settings)
        stack.callback(stage.close)
        yield stage.start()

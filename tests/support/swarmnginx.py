"""
lbwatch beside a real Swarm, with an nginx on its overlay or outside of it.

nginx is a process of the machine in the network namespace of a container that is attached to the overlay; `outside` it
is in that of the bridge, from which nodes are reached and tasks are not. Nothing here imports lbwatch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from daemon import Lbwatch, flags_of, wait_until
from oracle import PLACEHOLDER, file_blocks
from realengine import IMAGE
from realnginx import RealNginx
from swarmnodes import NETWORK, LinkedEngines, SwarmNode, SwarmNodes, SwarmTask
from swarmseen import FileHistory, server_of

FRONT = "front"
"""The container whose network nginx has."""


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

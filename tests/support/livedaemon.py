"""
lbwatch as a process between a fake engine and a real nginx whose workers follow it.

The engine has no network of its own: its containers are servers on this machine, as those of its host's network are.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypeVar

from backendserver import BackendServer
from daemon import IN_STEP_S, Lbwatch, wait_until
from luanginx import LuaNginx

from lbwatch.engines.fake import FakeEngine

T = TypeVar("T")


class ThreadedEngine:
    """A fake engine on a loop of its own, so that a test may block; also as a context manager."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._engine = FakeEngine(socket=path)
        self.url = self._engine.url

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._engine.start(), self._loop).result(20)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._engine.close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def do(self, deed: Callable[[FakeEngine], T]) -> T:
        """Return what a deed in the engine's own thread gives."""

        async def done() -> T:
            return deed(self._engine)

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(20)


class LiveDaemon:
    """
    The stage; what it gives is put away at the end of `live_daemon`.

    Attributes:
        folder: Of all of it; short, for the sockets in it.
        servers: What answers, by the names of their containers.
    """

    def __init__(self, folder: Path, engine: ThreadedEngine, nginx: LuaNginx, **settings: str) -> None:
        self.folder = folder
        self.engine = engine
        self.nginx = nginx
        self.servers: dict[str, BackendServer] = {}
        self.settings = settings
        self.lbwatch = self.another()

    @property
    def live_socket(self) -> Path:
        """Where nginx's workers ask."""
        return self.nginx.output.parent / ".lbwatch" / "live.sock"

    def another(self, *, program: tuple[str, ...] = ("-m", "lbwatch"), **settings: str) -> Lbwatch:
        """Return an lbwatch with the same flags, and more, not started."""
        values = {
            "docker-host": self.engine.url,
            "output": str(self.nginx.output),
            "nginx-pidfile": str(self.nginx.pidfile),
            "nginx-conf": str(self.nginx.conf),
            "nginx-command": self.nginx.program,
            "log-format": "json",
            "log-level": "debug",
            "reload-interval": "100ms",
            "status-listen": "",
            "resync-interval": "10m",
            "host-network": "true",
            "state-dir": str(self.folder / "state"),
            **{name.replace("_", "-"): value for name, value in (self.settings | settings).items()},
        }
        flags = [part for name, value in values.items() for part in (f"--{name}", value)]
        return Lbwatch(*flags, folder=self.folder, program=program)

    def again(self, *, program: tuple[str, ...] = ("-m", "lbwatch"), **settings: str) -> int:
        """Put another lbwatch in the place of the one that was there, and wait for its first pass; returns a mark of its log."""
        self.lbwatch.close()
        self.lbwatch = self.another(program=program, **settings)
        mark = self.lbwatch.mark()
        self.lbwatch.start()
        self.lbwatch.wait_for_log("reconcile.finished", since=mark, within=30)
        return mark

    # -- containers

    def run(self, *names: str, upstream: str = "web", **labels: str) -> None:
        """Run containers, each of which answers with its name."""
        for name in names:
            if name not in self.servers:
                self.servers[name] = BackendServer(name)
            given = {
                "lbwatch.upstream": upstream,
                "lbwatch.port": str(self.servers[name].port),
                **{f"lbwatch.{key}": value for key, value in labels.items()},
            }
            self.engine.do(
                lambda engine, name=name, given=given: engine.containers.run(
                    name=name, network_mode="host", labels=given
                )
            )

    def remove(self, *names: str) -> None:
        """Remove containers; their servers go on answering, so that a wrong request is seen."""
        for name in names:
            self.engine.do(lambda engine, name=name: engine.containers.remove(name, force=True))

    def stop(self, *names: str) -> None:
        """Stop containers, likewise."""
        for name in names:
            self.engine.do(lambda engine, name=name: engine.containers.stop(name))

    def start(self, *names: str) -> None:
        """Start containers that were stopped."""
        for name in names:
            self.engine.do(lambda engine, name=name: engine.containers.start(name))

    # -- a look at it

    def wait_answers(self, *names: str, upstream: str = "web", within: float = IN_STEP_S) -> None:
        """Wait until these and nobody else answer; none: nobody does."""
        wanted = set(names) or {"status 502"}
        wait_until(
            lambda: self.nginx.answers(upstream, 12),
            holds=lambda seen: seen == wanted,
            within=within,
            what=f"{names} answer for {upstream}",
            notes=self.notes,
        )

    def wait_file(self, *names: str, within: float = IN_STEP_S) -> None:
        """Wait until the file has the servers of these, and of nobody else."""
        wanted = {self.servers[name].address for name in names}
        wait_until(
            self.addresses,
            holds=lambda seen: seen == wanted,
            within=within,
            what=f"{names} stand in the file",
            notes=self.notes,
        )

    def addresses(self) -> set[str]:
        """Return what stands in the file as servers, but for the placeholder."""
        text = self.nginx.output.read_text() if self.nginx.output.exists() else ""
        servers = (line.strip(" ;").split(" ")[1] for line in text.splitlines() if line.strip().startswith("server "))
        return {each for each in servers if each != "127.0.0.1:1"}

    def shape(self) -> str:
        """Return the name of the file's shape."""
        (found,) = re.findall(r'live\.sock", "([0-9a-f]+)"', self.nginx.output.read_text())
        return str(found)

    def reloads(self, *, since: int = 0) -> int:
        """Return how often lbwatch has verified a reload."""
        return len(self.lbwatch.logged("nginx.reloaded", since=since))

    def notes(self) -> str:
        """Return what helps to understand a failure."""
        return f"{self.lbwatch.tail()}\nnginx's error log ends:\n{self.nginx.errors()}\n{self.nginx.output.read_text()}"

    def close(self) -> None:
        """End all of it but the engine."""
        self.lbwatch.close()
        self.nginx.close()
        for each in self.servers.values():
            each.close()

    def follow(self, *names: str) -> int:
        """Run these as `web`, start all, and wait until a change went out to workers; returns a mark of the log."""
        self.run(*names)
        self.nginx.start(within=20)
        self.again()
        self.wait_answers(*names)
        self.wait_pushed(lambda: self.run("first"))
        mark = self.wait_pushed(lambda: self.remove("first"))
        self.wait_answers(*names)
        return mark

    def wait_pushed(self, deed: Callable[[], object]) -> int:
        """Return a mark of the log, once a push that came after a deed was logged."""
        mark = self.lbwatch.mark()
        deed()
        self.lbwatch.wait_for_log("nginx.pushed", since=mark)
        return self.lbwatch.mark()


def connected(path: Path) -> socket.socket:
    """Return a connection to a socket that many want to connect to just now, which does not block."""
    peer = socket.socket(socket.AF_UNIX)
    peer.setblocking(False)
    try:
        wait_until(
            lambda: peer.connect_ex(str(path)), holds=lambda error: error == 0, within=IN_STEP_S, what="a connection"
        )
    except AssertionError:
        peer.close()
        raise
    return peer


@contextlib.contextmanager
def live_daemon(version: str, *, workers: int = 2, **settings: str) -> Iterator[LiveDaemon]:
    """Give a stage of which nothing runs yet but the engine, and put all of it away."""
    folder = Path(tempfile.mkdtemp(prefix="lbl", dir="/tmp"))
    os.chmod(folder, 0o755)
    try:
        with ThreadedEngine(folder / "docker.sock") as engine:
            nginx = LuaNginx(folder / "nginx", version=version, workers=workers)
            stage = LiveDaemon(folder, engine, nginx, **settings)
            try:
                yield stage
            finally:
                stage.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

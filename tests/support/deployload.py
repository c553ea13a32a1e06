"""
What the deploy tests and `make bench-deploy` share: containers with a real program, a load, and what came of each request.

nginx runs from the files that deploy/nginx ships, but for the paths.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import versions
from daemon import Stage, flags_of, wait_until
from luanginx import lua_http, lua_main, lua_program
from realengine import IMAGE, RealEngine
from realnginx import RealNginx

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = REPOSITORY / "deploy" / "nginx"
UPSTREAM = "web"

_BODY = b"x" * 1000
_GIVE_UP_S = 30.0
_DYING_S = 0.02  # how long a process may take to die: its sockets take connections until then

Span = tuple[float, float]  # from when to when by the wall clock
_PYTHON = os.path.realpath(sys.executable)
_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ShippedNginx(RealNginx):
    """
    An nginx with the shipped configuration; only what names a place of the machine is another one.

    Args:
        connect_timeout: As a user may have it who takes only some of the lines; empty: nginx's own.
    """

    def __init__(
        self,
        folder: Path,
        namespace: str | None = None,
        *,
        worker_shutdown_timeout: str = "5m",
        connect_timeout: str = "300ms",
    ) -> None:
        self.worker_shutdown_timeout = worker_shutdown_timeout
        self.connect_timeout = connect_timeout
        super().__init__(folder, namespace)

    def rewrite(self, *, main: str = "", http: str = "") -> None:
        conf = (SHIPPED / "nginx.conf").read_text()
        for shipped, own in {
            "user www-data;  # Debian's; elsewhere it is nginx, or http": f"user root;\n{main}",
            "worker_processes auto;": f"worker_processes {self.workers};",
            "pid /run/nginx.pid;": f"pid {self.pidfile};",
            "error_log /var/log/nginx/error.log warn;": f"error_log {self.error_log} info;",
            "worker_shutdown_timeout 5m;": f"worker_shutdown_timeout {self.worker_shutdown_timeout};",
            "proxy_connect_timeout 300ms;": self.connect_timeout and f"proxy_connect_timeout {self.connect_timeout};",
            "access_log /var/log/nginx/access.log;": "access_log off;" + self.temp_paths(),
            "include /etc/nginx/conf.d/*.conf;": f"include {self.folder}/conf.d/*.conf;\n{http}",
            "include /etc/nginx/sites-enabled/*;": "",
            "include /etc/nginx/modules-enabled/*.conf;": "",
        }.items():
            assert conf.count(shipped) == 1, shipped
            conf = conf.replace(shipped, own)
        self.conf.write_text(conf)
        site = (SHIPPED / "site.conf").read_text()
        assert site.count("listen 80;") == 1
        (self.folder / "conf.d" / "site.conf").write_text(site.replace("listen 80;", f"listen unix:{self.socket};"))

    def is_up(self) -> bool:
        return self.ask("/") != "no answer"


@contextmanager
def shipped_stage(
    engine: RealEngine, folder: Path, *, worker_shutdown_timeout: str = "5m", **settings: str
) -> Iterator[Stage]:
    """Run lbwatch and an nginx with the shipped configuration, with Lua for `live="on"`, in the order of a first installation."""
    nginx = ShippedNginx(folder / "nginx", engine.name, worker_shutdown_timeout=worker_shutdown_timeout)
    if settings.get("live") == "on":
        nginx.program = lua_program(versions.NGINX)
        nginx.rewrite(main=lua_main(versions.NGINX), http=lua_http(versions.NGINX))
        settings["nginx_command"] = nginx.program
    stage = Stage(
        engine,
        nginx,
        folder=folder,
        settings={"declare": UPSTREAM, "log-level": "info", "reload-interval": "1s", **flags_of(settings)},
    )
    try:
        stage.lbwatch.start()
        wait_until(nginx.output.exists, within=10, what="the first file")
        nginx.start()
        yield stage
    finally:
        stage.close()


def run_app(
    engine: RealEngine,
    name: str,
    *options: str,
    out: Path,
    upstream: str = UPSTREAM,
    health: bool = True,
    labels: Mapping[str, str] | None = None,
    **environment: object,
) -> None:
    """Start a container with tests/deployapp.py, detached; *out* is where it may leave a note."""
    check = ("--health-cmd", "test -e /tmp/healthy", "--health-interval", "1s", "--health-retries", "1")
    folders = ["/usr", "/lib", "/lib64", sys.base_prefix]
    mounts = [f"{folder}:{folder}:ro" for folder in folders if os.path.isdir(folder)]
    mounts += [f"{Path(__file__).parent / 'deployapp.py'}:/app.py:ro", f"{out}:/out"]
    everything = {"lbwatch.upstream": upstream, **(labels or {})}
    engine.docker(
        *("run", "--detach", "--name", name, "--env", f"WHO={name}"),
        *(word for key, value in environment.items() for word in ("--env", f"{key}={value}")),
        *(word for mount in mounts for word in ("--volume", mount)),
        *(word for key, value in everything.items() for word in ("--label", f"{key}={value}")),
        *(check if health else ()),
        *options,
        *(IMAGE, _PYTHON, "-S", "/app.py"),
    )


def wait_healthy(engine: RealEngine, *names: str, within: float = 30) -> None:
    for name in names:
        wait_until(
            lambda name=name: engine.inspect(name)["State"]["Health"]["Status"],  # type: ignore[misc]
            holds=lambda status: status == "healthy",
            within=within,
            what=f"{name} is healthy",
        )


def wait_serving(stage: Stage, *names: str, within: float = 15) -> None:
    """Wait until exactly these answer."""
    wait_until(
        lambda: {stage.nginx.ask("/") for _ in range(6 * len(names))},
        holds=lambda found: found == set(names),
        within=within,
        what=f"{names} serve",
        notes=stage.notes,
    )


@dataclass(frozen=True, slots=True)
class Request:
    """What came of one: *began* by the wall clock, *took_s* in seconds; *outcome* is `ok` or the kind of failure."""

    method: str
    path: str
    began: float
    took_s: float
    outcome: str

    @property
    def failed(self) -> bool:
        return self.outcome != "ok"


@dataclass(slots=True)
class Load:
    """
    Requests at a steady rate, whatever becomes of them; none is sent twice.

    Attributes:
        keeps: Whether they go out on connections that earlier ones have left open; else each has one of its own.
        closed: How many of the connections that were kept nginx has closed.
    """

    socket: Path
    rate: float
    path: str = "/"
    keeps: bool = False
    done: list[Request] = field(default_factory=list)
    closed: int = 0
    idle: list[_Ends] = field(default_factory=list)

    async def run(self, *, until: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        began, number = loop.time(), 0
        tasks: set[asyncio.Task[None]] = set()
        while not until():
            task = asyncio.create_task(self._one("POST" if number % 2 and self.path == "/" else "GET"))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
            await asyncio.sleep(max(0.0, began + number / self.rate - loop.time()))
        if tasks:
            await asyncio.wait(tasks)
        for _, writer in self.idle:
            writer.close()

    async def _one(self, method: str) -> None:
        began, clock = time.time(), time.monotonic()
        try:
            async with asyncio.timeout(_GIVE_UP_S):
                outcome = await (self._ask_again(method) if self.keeps else self._ask(method))
        except TimeoutError:
            outcome = "no answer in time"
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            outcome = f"broken off ({type(error).__name__})"
        self.done.append(Request(method, self.path, began, time.monotonic() - clock, outcome))

    async def _ask(self, method: str) -> str:
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            body = _BODY if method == "POST" else b""
            head = f"{method} {self.path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            received = await reader.read(-1)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        first, _, rest = received.partition(b"\r\n")
        status = first.decode("latin-1").split(" ")[1] if first else ""
        whole = b"\r\n\r\n" in rest
        return "ok" if status == "200" and whole else f"status {status}" if status else "broken off (empty)"

    async def _ask_again(self, method: str) -> str:
        """Ask on a connection that is kept, the one that was used longest ago, as its end is not known yet."""
        while self.idle and self.idle[0][0].at_eof():
            self._give_up(self.idle.pop(0))
        reader, writer = ends = self.idle.pop(0) if self.idle else await asyncio.open_unix_connection(str(self.socket))
        body = _BODY if method == "POST" else b""
        try:
            head = f"{method} {self.path} HTTP/1.1\r\nHost: web\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
            await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            self._give_up(ends)
            raise
        if headers.get("connection") == "close":
            self._give_up(ends)
        else:
            self.idle.append(ends)
        status = first.split(" ")[1]
        return "ok" if status == "200" else f"status {status}"

    def _give_up(self, ends: _Ends) -> None:
        ends[1].close()
        self.closed += 1


class Websockets:
    """Websockets through nginx, echoed to by a container; each notes how long it lived."""

    def __init__(self, socket: Path, *, number: int) -> None:
        self.socket = socket
        self.number = number
        self.closed_at: list[float] = []  # loop times
        self._ends: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self) -> None:
        for _ in range(self.number):
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
            writer.write(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 101 " in head, head
            self._ends.append((reader, writer))

    async def echoing(self) -> int:
        """Return how many answer, once something was sent on each."""
        return sum(await asyncio.gather(*(self._echoes(*ends) for ends in self._ends)))

    async def wait_closed(self, *, within: float) -> None:
        """Wait until nginx has closed all, noting when."""
        async with asyncio.timeout(within):
            await asyncio.gather(*(self._until_end(reader) for reader, _ in self._ends))

    def close(self) -> None:
        for _, writer in self._ends:
            writer.close()

    async def _echoes(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            async with asyncio.timeout(5):
                writer.write(b"hello\n")
                return await reader.readline() == b"hello\n"
        except (OSError, TimeoutError):
            return False

    async def _until_end(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(1000):
            pass
        self.closed_at.append(asyncio.get_running_loop().time())


@dataclass(slots=True, kw_only=True)
class Outcome:
    """
    What a scenario came to.

    Attributes:
        inside: Failures of requests that had reached a container which was killed with them inside.
        kinds: All other failures by kind.
        closed: How many of the connections that clients keep nginx has closed.
        slowest_s: Of the requests that are quick by themselves.
        notes: The ends of the logs, for a failure.
    """

    requests: int
    inside: int
    kinds: Counter[str]
    slowest_s: float
    reloads: int = 0
    closed: int = 0
    notes: str = ""

    @property
    def failures(self) -> int:
        return sum(self.kinds.values())


def outcome_of(done: list[Request], *, killed: Mapping[str, Span]) -> Outcome:
    """
    Sum up.

    Args:
        done: All requests.
        killed: Between when and when containers died at once. A POST that was on its way then and failed may have
            been inside one; what ended before or began later cannot, and a GET that was inside is sent once more.
    """
    failed = [request for request in done if request.failed]
    inside = [
        each
        for each in failed
        if each.method == "POST"
        and any(
            each.began <= latest + _DYING_S and earliest <= each.began + each.took_s
            for earliest, latest in killed.values()
        )
    ]
    kinds = Counter(f"{each.method} {each.outcome}" for each in failed if each not in inside)
    quick = [request.took_s for request in done if request.path == "/"]
    return Outcome(requests=len(done), inside=len(inside), kinds=kinds, slowest_s=max(quick, default=0.0))

"""
A private, real nginx for tests: own folder, own pid file, reached by a Unix socket.

A Unix socket can be asked from any network namespace, while nginx itself may live in an engine's, where it reaches the
containers. Nothing here knows lbwatch.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from realengine import in_namespace

# proxy_pass with a variable finds any upstream of the rendered file; one that is not there is answered with 502.
_CONF = """\
user root;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
{main}
events {{ worker_connections 256; }}
http {{
    access_log off;
    {temp_paths}
    include {folder}/conf.d/*.conf;
    server {{
        listen unix:{folder}/http.sock;
        proxy_connect_timeout 1s;
        proxy_read_timeout 2s;
        proxy_next_upstream off;
        location = / {{ return 200 "nginx\\n"; }}
        location ~ ^/(?<up>[^/]+)/ {{ proxy_pass http://$up/; }}
    }}
    {http}
}}
"""


class RealNginx:
    """
    One nginx; `close` it last, also as a context manager.

    Attributes:
        folder: Holds everything of it; its path must stay below about 90 characters, the socket's limit.
        namespace: Name of the network namespace it runs in; `None`: the machine's.
        conf: Its main file.
        pidfile: Of its master.
        output: A file that its configuration includes, for whoever renders upstreams.
    """

    def __init__(self, folder: Path, namespace: str | None = None, *, workers: int = 2, program: str = "nginx") -> None:
        self.program = program
        self.folder = folder
        self.namespace = namespace
        self.workers = workers
        self.conf = folder / "nginx.conf"
        self.pidfile = folder / "nginx.pid"
        self.error_log = folder / "error.log"
        self.socket = folder / "http.sock"
        self.output = folder / "conf.d" / "lbwatch.conf"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "conf.d").mkdir(parents=True)
        (folder / "temp").mkdir()
        self.rewrite()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rewrite(self, *, main: str = "", http: str = "") -> None:
        """Write the main file anew, with more at its top level or in its http block; nothing is reloaded."""
        text = _CONF.format(
            folder=self.folder, workers=self.workers, temp_paths=self.temp_paths(), main=main, http=http
        )
        self.conf.write_text(text)

    def temp_paths(self) -> str:
        """Return directives that keep its temporary files in its folder."""
        paths = (f"{kind}_temp_path {self.folder}/temp/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
        return " ".join((f"client_body_temp_path {self.folder}/temp/body;", *paths))

    # -- its life

    def start(self, *, within: float = 10) -> Self:
        """Start it, in the foreground of a process of ours, and wait until it answers."""
        assert self._process is None or self._process.poll() is not None, "nginx runs already"
        self.socket.unlink(missing_ok=True)  # one that was killed leaves it, and it would refuse the next
        argv = [self.program, "-c", str(self.conf), "-p", str(self.folder), "-g", "daemon off;"]
        quiet = subprocess.DEVNULL
        argv = in_namespace(self.namespace, argv)
        self._process = subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        deadline = time.monotonic() + within
        while not self.is_up():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(f"nginx did not answer in {within} s:\n{self.errors()}")
            time.sleep(0.01)
        return self

    def stop(self, *, within: float = 10) -> None:
        """End it as `nginx -s stop` would; the pid file goes with it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(within)

    def kill9(self) -> None:
        """End master and workers as a crash would; pid file and socket stay behind, stale."""
        assert self._process is not None
        workers = self._children()
        self._process.kill()
        self._process.wait(10)
        self._end(workers)

    def reload(self) -> None:
        """Have the master read its configuration again, as an operator does; returns at once."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """End it, however it is."""
        if self._process is None:
            return
        if self._process.poll() is None:
            workers = self._children()
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)
            self._end(workers)
        self._process = None

    # -- a look at it

    @property
    def master_pid(self) -> int:
        """As the process that was started here, not as the pid file has it."""
        assert self._process is not None and self._process.poll() is None, "nginx does not run"
        return self._process.pid

    def worker_pids(self) -> set[int]:
        """Return the workers that take connections; those shutting down are not among them, nor one that just ends (no title)."""
        titles = {pid: _title(pid) for pid in self._children()}
        return {pid for pid, title in titles.items() if "nginx: worker" in title and "shutting down" not in title}

    def errors(self) -> str:
        """Return the end of its error log."""
        try:
            return "\n".join(self.error_log.read_text(errors="replace").splitlines()[-20:])
        except FileNotFoundError:
            return "(no error log)"

    def ask(self, path: str) -> str:
        """Return what one request on a new connection brings: the body of a 200, else `status N`, or `no answer` if nobody is there."""
        return asked(self.socket, path)

    @contextlib.contextmanager
    def held(self, path: str) -> Iterator[Callable[[], str]]:
        """
        Hold a request of which a worker has all but the last byte, so that it cannot end in peace.

        What is given sends that byte and returns what `ask` would; it must be a path that is passed on.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self.socket))
            head = f"GET {path} HTTP/1.1\r\nHost: lbwatch.test\r\nConnection: close\r\nContent-Length: 1\r\n"
            connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert b" 100 " in connection.recv(100), "the worker that asks for the rest has it"

            def end() -> str:
                connection.sendall(b"1")
                return _answer(b"".join(iter(lambda: connection.recv(65536), b"")))

            yield end

    def is_up(self) -> bool:
        """Return whether it answers by itself."""
        return self.ask("/") == "nginx"

    def answers(self, upstream: str, n: int = 12) -> set[str]:
        """
        Return who answers for an upstream.

        Args:
            n: How many requests; each worker takes turns on its own, so that twice the number of servers for each
                of two workers finds all of them.
        """
        return {self.ask(f"/{upstream}/") for _ in range(n)}

    # -- how

    def _children(self) -> list[int]:
        if self._process is None:
            return []
        pid = self._process.pid
        try:
            return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def _end(self, workers: list[int]) -> None:
        """End workers that outlived their master, if they still are workers of ours."""
        deadline = time.monotonic() + 5
        while left := [pid for pid in workers if "nginx: worker" in _title(pid)]:
            for pid in left:
                _kill(pid)
            assert time.monotonic() < deadline, f"workers do not end: {left}"
            time.sleep(0.01)


def asked(path: Path, target: str) -> str:
    """Return what `RealNginx.ask` does, of a nginx that listens on a socket's path."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            connection.sendall(f"GET {target} HTTP/1.0\r\nHost: lbwatch.test\r\n\r\n".encode())
            received = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return "no answer"
    return _answer(received)


def _answer(received: bytes) -> str:
    head, _, body = received.decode(errors="replace").partition("\r\n\r\n")
    status = re.match(r"HTTP/1\.\d (\d{3})", head)
    if status is None:
        return "no answer"
    return body.strip() if status[1] == "200" else f"status {status[1]}"


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

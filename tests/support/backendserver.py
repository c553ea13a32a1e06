"""Servers for nginx to pass requests to, in threads of the test's own: each says its name, or what the test has it say."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One that a server got."""

    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """
    What a server does with a request.

    Attributes:
        status: Of its answer; `None`: it closes the connection without one.
        text: Of its answer; `None`: its name.
        after_s: How long it takes.
    """

    status: int | None = 200
    text: str | None = None
    after_s: float = 0


class BackendServer:
    """
    One server on an address of its own.

    Args:
        name: What it answers.
        deed: What it does with a request, which can be changed at any time; by default it answers with its name.
        port: Of 127.0.0.1; 0: any that is free.

    Attributes:
        requests: What it got, in order.
        connections: How many it accepted.
    """

    def __init__(self, name: str, deed: Callable[[Request], Deed] | None = None, *, port: int = 0) -> None:
        self.name = name
        self.deed = deed or (lambda _: Deed())
        self.requests: list[Request] = []
        self.connections = 0
        self._server = _Server(("127.0.0.1", port), self._handler())
        self.port = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """End it; connections to its port are refused from then on."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two writes, and the second would wait for 40 ms

            def setup(self) -> None:
                backend.connections += 1
                super().setup()

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, body)
                backend.requests.append(request)
                deed = backend.deed(request)
                time.sleep(deed.after_s)
                if deed.status is None:
                    self.close_connection = True
                    return
                text = (backend.name if deed.text is None else deed.text).encode()
                with contextlib.suppress(OSError):
                    self.send_response(deed.status)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)

            do_POST = do_GET  # noqa: N815 - the name of a method

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: that a client went is what tests are about."""


@contextlib.contextmanager
def backends(*names: str) -> Iterator[list[BackendServer]]:
    """Give servers of these names, and end them."""
    with contextlib.ExitStack() as stack:
        servers = [BackendServer(name) for name in names]
        for each in servers:
            stack.callback(each.close)
        yield servers


def dead_address() -> str:
    """Return an address of 127.0.0.1 where connections are refused, since its port belongs to nobody who listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"

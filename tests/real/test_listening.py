"""Programs that listen later than their containers run, before a real nginx with the configuration that deploy/nginx ships."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployload import UPSTREAM, ShippedNginx
from needs import NGINX_NEEDS, need

ASKED = 20  # so often that each of nginx's workers was asked, and knows


class Answer(http.server.BaseHTTPRequestHandler):
    """Says that it is there."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"there")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def late() -> Iterator[list[socket.socket]]:
    """Two sockets that have their ports, and refuse every connection until they listen."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        yield found


@contextlib.contextmanager
def listening(sockets: list[socket.socket]) -> Iterator[None]:
    servers = []
    for each in sockets:
        server = http.server.HTTPServer(each.getsockname(), Answer, bind_and_activate=False)
        server.socket.close()
        server.socket = each
        server.server_activate()
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()


@pytest.mark.parametrize(("parameters", "all_answered"), [("", False), (" max_fails=0", True)])
def test_two_that_listen_late_are_given_up_by_nginx_unless_the_advice_is_followed(
    tmp_path: Path, late: list[socket.socket], parameters: str, all_answered: bool
) -> None:
    """Nobody serves for 10 s though both do: docs and `explain` say what ends that, and it must."""
    need(*NGINX_NEEDS)
    with ShippedNginx(tmp_path / "nginx") as nginx:
        servers = " ".join(f"server 127.0.0.1:{each.getsockname()[1]}{parameters};" for each in late)
        nginx.output.write_text(f"upstream {UPSTREAM} {{ {servers} }}\n")
        nginx.start()
        assert {nginx.ask("/") for _ in range(ASKED)} == {"status 502"}
        with listening(late):
            answers = {nginx.ask("/") for _ in range(ASKED)}
    assert (answers == {"there"}) == all_answered, answers

"""deploy/nginx/keepalive.conf: connections that clients keep, through a reload; with each nginx that people run."""

import contextlib
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import crossplane
import pytest
from daemon import wait_until
from debian import NEEDS
from localnginx import WEB, balancer
from needs import NGINX_NEEDS, need, obtained
from realnginx import RealNginx
from versions import NGINXES, nginx_program

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "nginx"
KEEPALIVE = SHIPPED / "keepalive.conf"

KNOWN_FROM = (1, 27, 4)
"""nginx's change log has the word there."""

CLIENTS, RELOADS = 8, 10


def version_of(program: str) -> tuple[int, ...]:
    printed = subprocess.run([program, "-v"], check=True, capture_output=True, text=True, timeout=10).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", printed)
    assert found is not None, printed
    return tuple(map(int, found.groups()))


def program_of(version: str) -> str:
    """Return the program of that version; see `obtained`."""
    need(*NGINX_NEEDS, *NEEDS)
    return obtained(nginx_program, version)


@pytest.fixture(params=list(NGINXES))
def program(request: pytest.FixtureRequest) -> str:
    """Each of them in turn."""
    return program_of(request.param)


@pytest.fixture
def knowing() -> str:
    """One that knows the word: the newest."""
    program = program_of(list(NGINXES)[-1])
    assert version_of(program) >= KNOWN_FROM
    return program


def served_through_a_reload(nginx: RealNginx) -> bool:
    """Return whether a request is answered on a connection that was idle during a reload."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(nginx.socket))
        assert answered(connection)
        reload(nginx)
        try:
            return answered(connection)
        except OSError:
            return False


def reload(nginx: RealNginx) -> None:
    """Reload it, and wait until the old workers take no connection any more."""
    old = nginx.worker_pids()
    nginx.reload()
    wait_until(
        nginx.worker_pids,
        holds=lambda now: len(now) == nginx.workers and not now & old,
        within=10,
        what="the old workers retire",
    )


def answered(connection: socket.socket) -> bool:
    return b"nginx\n" in answer(connection)


def answer(connection: socket.socket) -> bytes:
    """Ask on a connection, and return the answer; empty: it was closed without one."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: lbwatch.test\r\n\r\n")
    received = b""
    while not received.endswith(b"nginx\n"):
        if not (more := connection.recv(65536)):
            return b""
        received += more
    return received


class Client:
    """
    One that keeps its connection as long as nginx does, and never repeats a request.

    Attributes:
        served: How many requests were answered.
        lost: How many were not.
    """

    def __init__(self, path: Path) -> None:
        self.served = self.lost = 0
        self._path = path

    def run(self, *, until: threading.Event) -> None:
        """Ask again and again until that is set."""
        while not until.is_set():
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(self._path))
                while not until.is_set():
                    try:
                        received = answer(connection)
                    except OSError:
                        received = b""
                    self.served += bool(received)
                    self.lost += not received
                    if not received or b"Connection: close" in received:
                        break
                    until.wait(0.002)  # idle, as clients are most of the time


@contextlib.contextmanager
def asking(nginx: RealNginx) -> Iterator[list[Client]]:
    """Have clients ask all the while."""
    clients, ended = [Client(nginx.socket) for _ in range(CLIENTS)], threading.Event()
    threads = [threading.Thread(target=each.run, kwargs={"until": ended}) for each in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_the_file_says_which_nginx_it_is_for() -> None:
    """Whoever includes it elsewhere has an nginx that does not start."""
    text = KEEPALIVE.read_text()
    parsed = crossplane.parse(str(KEEPALIVE), check_ctx=False, single=True)["config"][0]["parsed"]
    assert [(each["directive"], each["args"]) for each in parsed] == [("keepalive_min_timeout", ["10s"])]
    assert ".".join(map(str, KNOWN_FROM)) in text.splitlines()[0]
    directives = re.sub(r"#.*", "", (SHIPPED / "nginx.conf").read_text())
    assert "keepalive_min_timeout" not in directives, "that one is for any nginx"
    assert "keepalive.conf" in (SHIPPED / "nginx.conf").read_text()


def test_nginx_takes_the_file_from_the_version_on_that_it_names(program: str, tmp_path: Path) -> None:
    """A version that is named too low breaks a whole configuration, one too high keeps users from it."""
    nginx = RealNginx(tmp_path / "nginx", program=program)
    shutil.copy(KEEPALIVE, nginx.output.parent)
    done = subprocess.run(
        [program, "-t", "-c", str(nginx.conf)], check=False, capture_output=True, text=True, timeout=30
    )
    if version_of(program) >= KNOWN_FROM:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1
        assert 'unknown directive "keepalive_min_timeout"' in done.stderr


def test_a_reload_closes_idle_connections_of_clients(program: str, tmp_path: Path) -> None:
    """Else the file is not needed."""
    with RealNginx(tmp_path / "nginx", program=program) as nginx:
        assert not served_through_a_reload(nginx.start())


def test_with_the_file_an_idle_connection_is_answered_after_a_reload(knowing: str, tmp_path: Path) -> None:
    """A request that is on its way during a reload gets no answer without it."""
    with RealNginx(tmp_path / "nginx", program=knowing) as nginx:
        shutil.copy(KEEPALIVE, nginx.output.parent)
        assert served_through_a_reload(nginx.start())


def test_with_the_file_reloads_lose_no_request_on_connections_that_are_kept(knowing: str, tmp_path: Path) -> None:
    """Each change of a container is a reload, and its clients are in the midst of their work."""
    with RealNginx(tmp_path / "nginx", program=knowing) as nginx:
        shutil.copy(KEEPALIVE, nginx.output.parent)
        nginx.start()
        with asking(nginx) as clients:
            for _ in range(RELOADS):
                before = sum(each.served for each in clients)
                reload(nginx)
                wait_until(
                    lambda: sum(each.served for each in clients),
                    holds=lambda now: now > before + CLIENTS,  # noqa: B023 - within the turn
                    within=10,
                    what="the clients went on",
                )
        assert [each.lost for each in clients] == [0] * CLIENTS
        assert min(each.served for each in clients) > RELOADS


async def test_lbwatch_verifies_reloads_beside_the_file(knowing: str, tmp_path: Path) -> None:
    """The old workers stay for the connections that they keep, and the copy in which candidates are tested has the file."""
    with RealNginx(tmp_path / "nginx", program=knowing) as nginx, socket.socket(socket.AF_UNIX) as connection:
        shutil.copy(KEEPALIVE, nginx.output.parent)
        nginx.start()
        connection.settimeout(10)
        connection.connect(str(nginx.socket))
        assert answered(connection)
        one = balancer(nginx, tmp_path, program=knowing)
        assert (await one.apply(WEB)).reloaded
        assert one.confirmed()
        assert answered(connection)

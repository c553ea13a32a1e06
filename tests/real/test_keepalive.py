"""
deploy/nginx/keepalive.conf: connections that clients keep, through a reload.

Debian's nginx is older than the word in it. NGINX_NEW=/path/to/nginx has these tests run with a newer one as well.
"""

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import crossplane
import pytest
from daemon import wait_until
from localnginx import WEB, balancer
from needs import NGINX_NEEDS, need
from realnginx import RealNginx

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "nginx"
KEEPALIVE = SHIPPED / "keepalive.conf"

KNOWN_FROM = (1, 27, 4)
"""nginx's change log has the word there."""

PROGRAMS = ("nginx", *filter(None, [os.environ.get("NGINX_NEW")]))


def version_of(program: str) -> tuple[int, ...]:
    printed = subprocess.run([program, "-v"], check=True, capture_output=True, text=True, timeout=10).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", printed)
    assert found is not None, printed
    return tuple(map(int, found.groups()))


def knowing() -> str:
    """Return a program that knows the word; without one the test is skipped."""
    need(*NGINX_NEEDS)
    program = next((each for each in PROGRAMS if version_of(each) >= KNOWN_FROM), None)
    if program is None:
        pytest.skip("NGINX_NEW names no nginx from 1.27.4 on")
    return program


def served_through_a_reload(nginx: RealNginx) -> bool:
    """Return whether a request is answered on a connection that was idle during a reload."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(nginx.socket))
        assert answered(connection)
        old = nginx.worker_pids()
        nginx.reload()
        wait_until(
            nginx.worker_pids,
            holds=lambda now: len(now) == nginx.workers and not now & old,
            within=10,
            what="the old workers retire",
        )
        try:
            return answered(connection)
        except OSError:
            return False


def answered(connection: socket.socket) -> bool:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: lbwatch.test\r\n\r\n")
    received = b""
    while not received.endswith(b"nginx\n"):
        if not (more := connection.recv(65536)):
            return False
        received += more
    return True


def test_the_file_says_which_nginx_it_is_for() -> None:
    """Whoever includes it elsewhere has an nginx that does not start."""
    text = KEEPALIVE.read_text()
    parsed = crossplane.parse(str(KEEPALIVE), check_ctx=False, single=True)["config"][0]["parsed"]
    assert [(each["directive"], each["args"]) for each in parsed] == [("keepalive_min_timeout", ["10s"])]
    assert ".".join(map(str, KNOWN_FROM)) in text.splitlines()[0]
    directives = re.sub(r"#.*", "", (SHIPPED / "nginx.conf").read_text())
    assert "keepalive_min_timeout" not in directives, "that one is for any nginx"
    assert "keepalive.conf" in (SHIPPED / "nginx.conf").read_text()


@pytest.mark.parametrize("program", PROGRAMS)
def test_nginx_takes_the_file_from_the_version_on_that_it_names(program: str, tmp_path: Path) -> None:
    """A version that is named too low breaks a whole configuration, one too high keeps users from it."""
    need(*NGINX_NEEDS)
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


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_reload_closes_idle_connections_of_clients(program: str, tmp_path: Path) -> None:
    """Else the file is not needed."""
    need(*NGINX_NEEDS)
    with RealNginx(tmp_path / "nginx", program=program) as nginx:
        assert not served_through_a_reload(nginx.start())


def test_with_the_file_an_idle_connection_is_answered_after_a_reload(tmp_path: Path) -> None:
    """A request that is on its way during a reload gets no answer without it."""
    with RealNginx(tmp_path / "nginx", program=knowing()) as nginx:
        shutil.copy(KEEPALIVE, nginx.output.parent)
        assert served_through_a_reload(nginx.start())


async def test_lbwatch_verifies_reloads_beside_the_file(tmp_path: Path) -> None:
    """The old workers stay for the connections that they keep, and the copy in which candidates are tested has the file."""
    program = knowing()
    with RealNginx(tmp_path / "nginx", program=program) as nginx, socket.socket(socket.AF_UNIX) as connection:
        shutil.copy(KEEPALIVE, nginx.output.parent)
        nginx.start()
        connection.settimeout(10)
        connection.connect(str(nginx.socket))
        assert answered(connection)
        one = balancer(nginx, tmp_path, program=program)
        assert (await one.apply(WEB)).reloaded
        assert one.confirmed()
        assert answered(connection)

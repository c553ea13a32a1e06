"""
What can happen around a running lbwatch: restarts in any order, full disks, planted files, pipes that nobody reads.

Each is a context manager: it happens at the beginning or meanwhile, yields words for people, and all is as before at
the end. Nothing here judges what lbwatch makes of it.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon import Stage
from planted import OTHER_NAMES, PRECIOUS

STATUS = "127.0.0.1:9180"
CLIENTS = 24  # on each door; the page takes 64 at once
_SWAPPED = "upstream swapped { server 192.0.2.2:80; }\n"

# They ask for much and read nothing, or never end their request; the last line says that all of them are there.
_DEAF_CLIENTS = """\
import socket, sys, time
count, control, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
clients = []
for number in range(2 * count):
    client = socket.socket(socket.AF_UNIX if number % 2 else socket.AF_INET)
    client.settimeout(0.5)
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(control if number % 2 else ("127.0.0.1", port))
        ask = b"GET /api/state HTTP/1.1\\r\\nHost: localhost\\r\\n"
        client.sendall(ask if number % 3 else (ask + b"\\r\\n") * 200)
    except OSError:
        pass
    clients.append(client)
print("there", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that ends and starts again."""

    name: str
    end: Callable[[], object]
    start: Callable[[], object]


@contextmanager
def restarted_in_turn(first: Part, second: Part, *, dice: random.Random) -> Iterator[str]:
    """Have two parts down at once; who comes back first is the dice's."""
    back = dice.sample([first, second], 2)
    early = dice.random() < 0.5
    first.end()
    second.end()
    if early:
        for part in back:
            part.start()
    yield f"{first.name}, then {second.name}; {back[0].name} is back first, {'at once' if early else 'afterwards'}"
    if not early:
        for part in back:
            part.start()


@contextmanager
def full(folder: Path, *, leave: int) -> Iterator[str]:
    """Leave so many bytes of a disk."""
    filler, free = folder / "filler", os.statvfs(folder)
    with contextlib.suppress(OSError):  # someone else may take some of it first
        filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    try:
        yield f"{folder.name}, but for {leave} bytes"
    finally:
        filler.unlink(missing_ok=True)


@contextmanager
def planted_at(place: Path, *, kind: str, on_harm: Callable[[str], object]) -> Iterator[str]:
    """Put something in a place, instead of what is there, and take it away again if it is still there."""
    victim = place.parent / "victim"
    victim.write_text(PRECIOUS)
    victim.chmod(0o600)
    place.unlink(missing_ok=True)
    OTHER_NAMES[kind](place, victim)
    planted = os.lstat(place)
    try:
        yield f"{kind} as {place.name}"
    finally:
        if os.path.lexists(place) and os.path.samestat(planted, os.lstat(place)):
            shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
        if (victim.read_text(), victim.stat().st_mode & 0o777) != (PRECIOUS, 0o600):
            on_harm(f"{kind} as {place}: what it leads to was changed")
        if os.path.lexists(place.with_name("new")):
            on_harm(f"{kind} as {place}: a file was made by a link")
        victim.unlink()


@contextmanager
def deaf_clients(stage: Stage) -> Iterator[str]:
    """Have clients on the page and on the control socket that never read an answer, or never end their request."""
    argv = [sys.executable, "-c", _DEAF_CLIENTS, str(CLIENTS), str(stage.lbwatch.control_socket)]
    port = STATUS.rpartition(":")[2]
    clients = stage.engine.popen([*argv, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert clients.stdout.readline() == "there\n"
        yield f"{CLIENTS} on each door"
    finally:
        clients.communicate(timeout=10)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process that does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def run_something_else(stage: Stage) -> None:
    """Have nginx run another file, and put the first one back in its place: the same inode, the same text."""
    output = stage.nginx.output
    if not output.exists():
        return
    aside = output.with_name("aside")
    os.replace(output, aside)
    output.write_text(_SWAPPED)
    before = stage.nginx.worker_pids()
    stage.nginx.reload()
    deadline = 200
    while deadline and stage.nginx.worker_pids() & before:  # until the old ones have retired
        deadline -= 1
        stage.nginx.ask("/")
    os.replace(aside, output)

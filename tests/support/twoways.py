"""
The same upstream on one nginx in two ways: as nginx itself chooses the servers, and as Lua does.

Each request goes to all of them, one after the other, and what nginx says of it (which servers it tried, and what came
of each try) is compared. What the servers do with it stands in the request.
"""

import http.client
import random
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from backendserver import BackendServer, Deed, Request
from followserver import server, upstream
from luanginx import live_upstream

NATIVE = "native"

WAYS = {"placeholder": 0, "same": 1, "more": 2}
"""How many servers the block of each of Lua's ways has: none, as many as are pushed, or twice as many."""

SLOW_S = 3.0
"""So long a slow server takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One server, as both ways are to have it."""

    address: str
    weight: int = 1
    max_fails: int = 1
    fail_timeout: int = 3600
    backup: bool = False

    @property
    def native(self) -> str:
        """As nginx's file has it."""
        backup = " backup" if self.backup else ""
        parameters = f"weight={self.weight} max_fails={self.max_fails} fail_timeout={self.fail_timeout}"
        return f"{self.address} {parameters}{backup}"

    @property
    def pushed(self) -> str:
        """As a set has it."""
        return server(
            self.address,
            weight=self.weight,
            max_fails=self.max_fails,
            fail_timeout=self.fail_timeout,
            backup=self.backup,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What nginx said of a request.

    Attributes:
        status: That the client got.
        tried: The servers, in order. Where none was left nginx has the upstream's name, and by Lua the last server once
            more, or nothing: a dash here.
        came: The status of each try.
    """

    status: int
    tried: tuple[str, ...]
    came: str


def blocks(lines: Sequence[Line], *, method: str = "", more: str = "") -> list[str]:
    """Return the upstreams: nginx's own, and Lua's ways; more: what stands after the servers."""
    native = "".join(f"    server {line.native};\n" for line in lines)
    texts = [f"upstream {NATIVE} {{\n    {method}\n{native}    {more}\n}}\n"]
    for name, times in WAYS.items():
        texts.append(live_upstream(name, *(line.native for line in lines for _ in range(times)), more=more))
    return texts


def pushed(lines: Sequence[Line], *, method: str = "round_robin") -> list[str]:
    """Return the lines of a set that has all of Lua's ways."""
    return [upstream(name, [line.pushed for line in lines], method=method) for name in WAYS]


def site(path: Path, *, tries: Sequence[int] = (0, 1, 2, 3), read_ms: int = 60_000) -> str:
    """Return a server block on a socket, where `/TRIES/UPSTREAM/` goes to that upstream, with so many tries at most."""
    locations = "".join(
        f"location ~ ^/{each}/{name}/ {{ proxy_next_upstream_tries {each}; proxy_pass http://{name}; }}\n"
        for each in tries
        for name in (NATIVE, *WAYS)
    )
    return (
        f"server {{ listen unix:{path}; proxy_http_version 1.1; proxy_set_header Connection '';\n"
        f"proxy_next_upstream error timeout http_503 http_404; proxy_read_timeout {read_ms}ms;\n"
        "add_header X-Tried $upstream_addr always; add_header X-Came $upstream_status always;\n"
        f"{locations}}}\n"
    )


def deed(request: Request, *, name: str) -> Deed:
    """Return what a server of that name does with a request, which says so: `?one=503&two=close`."""
    (wanted,) = parse_qs(urlsplit(request.path).query).get(name, ["200"])
    if wanted == "close":
        return Deed(status=None)
    if wanted == "slow":
        return Deed(after_s=SLOW_S)
    return Deed(status=int(wanted))


def outcome(path: Path, target: str, *, method: str = "GET") -> Outcome:
    """Ask on a connection of its own."""
    with UnixConnection(path) as connection:
        connection.request(method, target, body=b"1" if method == "POST" else None)
        answer = connection.getresponse()
        answer.read()
        tried = answer.headers.get("X-Tried", "").split(", ")
        if tried[-1] in (NATIVE, "") or tried[-1] in tried[:-1]:
            tried[-1] = "-"
        return Outcome(answer.status, tuple(tried), answer.headers.get("X-Came", ""))


def outcomes(path: Path, rest: str, *, tries: int = 0, method: str = "GET") -> dict[str, Outcome]:
    """Return what came of the same request in each way."""
    return {name: outcome(path, f"/{tries}/{name}/{rest}", method=method) for name in (NATIVE, *WAYS)}


def drawn_deeds(rng: random.Random, names: Sequence[str]) -> str:
    """Return a query that says what each server does: most often nothing in particular, at times all of them fail."""
    if rng.random() < 0.06:
        return "?" + "&".join(f"{name}=close" for name in names)
    weights = {"200": 0.7, "close": 0.12, "503": 0.08, "404": 0.05, "500": 0.05}
    deeds = rng.choices(list(weights), list(weights.values()), k=len(names))
    return "?" + "&".join(f"{name}={each}" for name, each in zip(names, deeds, strict=True))


class UnixConnection(http.client.HTTPConnection):
    """To a server that listens on a socket's path; a context manager."""

    def __init__(self, path: Path) -> None:
        super().__init__("lbwatch.test", timeout=20)
        self._path = path

    def connect(self) -> None:
        """See `HTTPConnection`."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Held:
    """
    A request that its server has and does not answer yet; made with the server choosing what to do by `wait`.

    Attributes:
        address: Of the server that has it.
    """

    def __init__(self, path: Path, target: str, *, servers: Sequence[BackendServer], gates: "Gates") -> None:
        self._gates = gates
        self._key = target
        self._outcome: list[Outcome] = []
        gates.add(target)
        self._thread = threading.Thread(target=lambda: self._outcome.append(outcome(path, target)), daemon=True)
        self._thread.start()
        self.address = gates.taken(target, servers)

    def end(self) -> Outcome:
        """Have the server answer."""
        self._gates.open(self._key)
        self._thread.join(20)
        return self._outcome[0]


class Gates:
    """Which requests servers hold back, by their path."""

    def __init__(self) -> None:
        self._closed: dict[str, threading.Event] = {}
        self._taken = threading.Condition()
        self._by: dict[str, str] = {}

    def add(self, key: str) -> None:
        """From now on a request of this path is held back."""
        self._closed[key] = threading.Event()

    def taken(self, key: str, servers: Sequence[BackendServer]) -> str:
        """Return the address of the server that has it."""
        with self._taken:
            assert self._taken.wait_for(lambda: key in self._by, 20), f"no server got {key}"
        return next(each.address for each in servers if each.name == self._by[key])

    def open(self, key: str) -> None:
        """Let it go."""
        self._closed[key].set()

    def deed(self, request: Request, *, name: str) -> Deed:
        """Wait if the request is one to be held back, and answer."""
        gate = self._closed.get(request.path)
        if gate is not None:
            with self._taken:
                self._by[request.path] = name
                self._taken.notify_all()
            gate.wait(60)
        return Deed()

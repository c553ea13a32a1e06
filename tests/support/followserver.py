"""
Speaks with nginx's workers as lbwatch does, for tests of their program; nothing here knows lbwatch.

It listens where the workers are told to ask, pushes sets of upstreams, and remembers what each worker said last.
"""

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

HELD_S = 2.0
"""So long an answer is held back while there is nothing new."""
HELD_WHILE_WAITING_S = 0.25
"""The same while requests may wait."""


def server(
    address: str, *, weight: int = 1, max_fails: int = 1, fail_timeout: int = 10, backup: bool = False, life: str = "1"
) -> str:
    """Return a server as a line of a set has it; address: with its port."""
    return f"{address},{weight},{max_fails},{fail_timeout},{int(backup)},{life}"


def upstream(
    name: str, servers: Iterable[str], *, method: str = "round_robin", hold_ms: int = 0, paused: bool = False
) -> str:
    """Return the line of an upstream."""
    said = " ".join((method, str(hold_ms), str(int(paused)), *servers))
    return f"{name} {hashlib.sha256(said.encode()).hexdigest()[:12]} {said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Have:
    """What a worker said: `waiting` by upstream has how many requests wait and the longest, in milliseconds."""

    shape: str
    worker: int
    count: int
    version: str
    waiting: dict[str, tuple[int, int]]
    pid: int


@dataclass(frozen=True, slots=True)
class _Set:
    number: int
    kind: str
    lines: tuple[str, ...]


class FollowServer:
    """
    Answers on a socket, in threads of its own; `close` it last, also as a context manager.

    Attributes:
        haves: What each connection that is open said last, by its own number.
        exchanges: How often a worker asked.
        connections: How many there were.
    """

    def __init__(self, path: Path, *, epoch: str = "e1") -> None:
        self.path = path
        self.epoch = epoch
        self.haves: dict[int, Have] = {}
        self.exchanges = 0
        self.connections = 0
        self.may_wait = False
        self.held_s = HELD_S
        self._sets: list[_Set] = []
        self._whole: dict[str, str] = {}
        self._instead: tuple[bytes, bool] | None = None
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._is_closed = False
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what it says

    @property
    def version(self) -> str:
        """The version that was pushed last; `-` before."""
        return f"{self.epoch}.{len(self._sets)}" if self._sets else "-"

    def push(self, *lines: str, kind: str = "delta") -> str:
        """Have all workers get a set; `whole` if it is the first one, or the kind says so. Returns its version."""
        with self._changed:
            if kind == "whole":
                self._whole = {}
            self._whole |= {line.split(" ", 1)[0]: line for line in lines}
            self._sets.append(_Set(len(self._sets) + 1, kind, lines))
            self._changed.notify_all()
            return self.version

    def prove(self, *lines: str, kind: str = "delta", workers: int = 2, within: float = 12) -> str:
        """As `push`, and wait until so many workers have said that it is in force."""
        version = self.push(*lines, kind=kind)
        self.wait(lambda: sum(each.version == version for each in self.haves.values()) >= workers, within=within)
        return version

    def answer_once(self, answer: bytes, *, closes: bool = False) -> None:
        """Have one worker get these bytes, the one whose answer is held back or the next that asks; closes: and no more."""
        with self._changed:
            self._instead = (answer, closes)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], *, within: float = 12) -> None:
        """Wait until it is true, looked at after each word of a worker."""
        with self._changed:
            assert self._changed.wait_for(condition, within), f"not in {within} s; the workers said {self.haves}"

    # -- its life

    def away(self) -> None:
        """Go: connections end, and the socket's file is removed."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._listener.close()
        self.path.unlink(missing_ok=True)
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def back(self, *, epoch: str) -> None:
        """Be there again, as another run of lbwatch, which has said nothing yet."""
        self._sets, self._whole, self.haves = [], {}, {}
        self.epoch = epoch
        self._listen()

    def close(self) -> None:
        """End, if it is there."""
        if not self._is_closed:
            self.away()

    # -- how

    def _listen(self) -> None:
        self._is_closed = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._listener.settimeout(0.1)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        with self._changed:
            self.connections += 1
            number = self.connections
            self._open.add(connection)
        pid = int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
        try:
            for have in _haves(connection, pid=pid):
                with self._changed:
                    self.haves[number] = have
                    self.exchanges += 1
                    self._changed.notify_all()
                    answer, closes = self._answer(have)
                connection.sendall(answer)
                if closes:
                    return
        except OSError:
            pass
        finally:
            with self._changed:
                self._open.discard(connection)
                self.haves.pop(number, None)
                self._changed.notify_all()
            connection.close()

    def _answer(self, have: Have) -> tuple[bytes, bool]:
        """Return the answer, held back as long as there is nothing new, and whether the connection ends with it."""
        deadline = time.monotonic() + (min(self.held_s, HELD_WHILE_WAITING_S) if self.may_wait else self.held_s)
        while not self._is_closed:
            if self._instead is not None:
                answer, self._instead = self._instead, None
                return answer
            if self._sets and have.version != self.version:
                return self._set_for(have.version), False
            left = deadline - time.monotonic()
            if left <= 0:
                return b"keep\n", False
            self._changed.wait(left)
        return b"", True

    def _set_for(self, version: str) -> bytes:
        last = self._sets[-1]
        if version == f"{self.epoch}.{last.number - 1}" and last.kind == "delta":
            kind, lines = "delta", last.lines
        else:
            kind, lines = "whole", tuple(self._whole.values())
        return "".join(f"{line}\n" for line in (f"set {self.version} {kind} {len(lines)}", *lines)).encode()


def _haves(connection: socket.socket, *, pid: int) -> Iterator[Have]:
    with connection.makefile("rb") as lines:
        for line in lines:
            word, protocol, shape, worker, count, version, waiting = line.decode("ascii").rstrip("\n").split(" ")
            assert (word, protocol) == ("have", "1"), line
            visits = () if waiting == "-" else (each.split("=") for each in waiting.split(","))
            numbers = {name: tuple(map(int, each.split(":"))) for name, each in visits}
            yield Have(
                shape=shape,
                worker=int(worker),
                count=int(count),
                version=version,
                waiting={name: (many, longest) for name, (many, longest) in numbers.items()},
                pid=pid,
            )

"""
A proxy of ours before an engine's Unix socket, which does to its answers what networks, proxies and sick engines do.

Each request gets a connection of its own to the engine, and the answer's raw bytes are handed on, with a fault applied
where one was injected. It runs in a thread of its own; which engine is behind it, and who asks, it does not know.
"""

import asyncio
import contextlib
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from threading import Thread
from typing import Any, Self, TypeVar

T = TypeVar("T")
Place = Callable[[bytes], int | None]
"""Finds a position in an answer, counted from its first byte, given what of it came so far; `None`: not yet known."""

_REMEMBERED = 64  # answers to one target, and targets
_WITHIN_S = 10.0  # for what the loop does at once
_VERSION = re.compile(r"^/v[0-9.]+")
_IDS = re.compile(r"[0-9a-f]{64}")


class Then(Enum):
    """What happens to an answer at a place of it."""

    END = auto()  # the connection is closed
    RESET = auto()  # the same, and the client is told ECONNRESET
    HOLD = auto()  # the connection stays open and silent, what more the engine says is swallowed
    DRIP = auto()  # it goes on with one byte a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The engine's answer up to a place."""

    at: Place
    then: Then = Then.END


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """An answer that the engine never gave."""

    status: int = 200
    body: str
    type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """The engine's answer, asked for only after so many seconds of silence."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lagging:
    """What the engine answered to the same request so many seconds ago; `None`: when the fault was injected."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """The engine's answer to the request for another path."""

    path: str


Fault = Broken | Canned | Late | Lagging | Elsewhere


@dataclass(slots=True, kw_only=True)
class Injected:
    """
    A fault that was injected.

    Attributes:
        on: Regular expression that is searched for in the paths of requests, without their query.
        strikes: How many answers it struck so far: the place was reached, the silence begun, the other answer given.
    """

    fault: Fault
    on: str
    since: float = field(default_factory=time.monotonic)
    strikes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """Its bytes, with `Connection: close` put in, and what is done to the answer."""

    target: str
    data: bytes
    injected: Injected | None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


def byte(number: int) -> Place:
    """Before a byte of the answer; 0: before all of it."""
    return lambda _: number


def body_byte(number: int) -> Place:
    """Before a byte of what follows the answer's head, where the framing of chunks counts too."""
    return lambda raw: None if (end := _head_end(raw)) is None else end + number


def chunk_header(number: int) -> Place:
    """In the middle of a chunk's header; 0: the first chunk's."""
    return lambda raw: (
        None if (chunk := _chunk(raw, number)) is None else chunk[0] + max(1, (chunk[1] - chunk[0] - 2) // 2)
    )


def after_chunk(number: int) -> Place:
    """Between a chunk and the next, which may be the empty one that ends the answer."""
    return lambda raw: None if (chunk := _chunk(raw, number)) is None else chunk[2]


def event_line(number: int) -> Place:
    """In the middle of a line of `/events`; 0: the first event's."""

    def place(raw: bytes) -> int | None:
        starts = [match.start() for match in re.finditer(rb"(?<=\n)\{", raw)]
        return starts[number] + 40 if len(starts) > number else None

    return place


class FaultProxy:
    """
    A context manager: it listens inside, and leaves nothing behind.

    Args:
        upstream: The engine's socket; there may be none yet.
        path: The socket to listen on, below about 100 characters.

    Attributes:
        asked: How often each was asked for, as method and path, without the API version and with ID in ids' places.
    """

    def __init__(self, upstream: Path, path: Path) -> None:
        self.path = path
        self.upstream = upstream
        self.asked: Counter[str] = Counter()
        self._injected: tuple[Injected, ...] = ()
        self._open: dict[asyncio.Task[None], _Request | None] = {}  # connections; without a request as yet: `None`
        self._answers: dict[str, deque[tuple[float, bytes]]] = {}  # the latest whole ones, by target, with their time
        self._answered: Counter[str] = Counter()  # how many whole ones, by path
        self._listener = socket.socket(socket.AF_UNIX)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="fault proxy")

    def __enter__(self) -> Self:
        self._listener.setblocking(False)
        self._listener.bind(str(self.path))
        self._listener.listen(128)
        self._thread.start()
        self._loop.call_soon_threadsafe(self._loop.add_reader, self._listener, self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.remove_reader, self._listener)
        try:
            self._do(self._end(lambda _: True))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_WITHIN_S)
            self._loop.close()
            self._listener.close()
            self.path.unlink()

    @property
    def url(self) -> str:
        """What DOCKER_HOST takes."""
        return f"unix://{self.path}"

    def inject(self, fault: Fault, *, on: str = "") -> Injected:
        """
        Apply a fault to all requests from now on; of several that fit the earliest holds.

        Args:
            on: Regular expression that is searched for in a request's path, without its query.
        """
        injected = Injected(fault=fault, on=on)
        self._injected = (*self._injected, injected)
        return injected

    def heal(self, *, abort: bool = False) -> None:
        """
        Let new requests be answered as the engine does.

        Args:
            abort: Whether the connections that a fault was injected into are closed; else it lasts on them.
        """
        self._injected = ()
        if abort:
            self._do(self._end(lambda request: request is not None and request.injected is not None))

    def drop(self, *, on: str = "") -> None:
        """Close the connections of the requests that are being answered now: streams, and what hangs."""
        self._do(self._end(lambda request: request is not None and re.search(on, request.path) is not None))

    def answered(self, *, on: str) -> int:
        """How many requests got the engine's whole answer, or the engine's whole answer to an earlier one."""
        return sum(number for path, number in dict(self._answered).items() if re.search(on, path))

    # -- in the thread

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WITHIN_S)

    async def _end(self, chosen: Callable[[_Request | None], bool]) -> None:
        tasks = [task for task, request in self._open.items() if chosen(request)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self) -> None:
        """Serve a connection that waits; no task accepts it, since one that is cancelled meanwhile would lose it."""
        with contextlib.suppress(OSError):  # it may be gone
            client, _ = self._listener.accept()
            client.setblocking(False)
            task = self._loop.create_task(self._serve(client))
            self._open[task] = None
            task.add_done_callback(self._open.pop)
            task.add_done_callback(lambda _: client.close())  # also of one that is cancelled before it begins

    async def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, asyncio.IncompleteReadError):  # either end may be gone
            request = await self._request(client)
            task = asyncio.current_task()
            assert task is not None
            self._open[task] = request
            answer = asyncio.ensure_future(self._answer(client, request))
            gone = asyncio.ensure_future(self._gone(client, request))
            try:
                await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
                if answer.done():
                    await answer  # a mistake of the proxy's own must be heard of
            finally:
                gone.cancel()
                answer.cancel()
                await asyncio.gather(answer, gone, return_exceptions=True)

    async def _request(self, client: socket.socket) -> _Request:
        """Read a request but for its last byte: closing a Unix socket with bytes unread is what resets the peer."""
        head = b""
        while not head.endswith(b"\r\n\r"):
            head += await self._read(client, 1)
        line, *headers = head.rstrip(b"\r\n").split(b"\r\n")
        kept = [each for each in headers if not each.lower().startswith(b"connection:")]
        sizes = [int(each.partition(b":")[2]) for each in headers if each.lower().startswith(b"content-length:")]
        body = (await self._read(client, 1 + sum(sizes)))[1:] if sum(sizes) else b""
        method, target, version = line.decode().split(" ")
        self.asked[f"{method} {_IDS.sub('ID', _VERSION.sub('', target.partition('?')[0]))}"] += 1
        injected = next((each for each in self._injected if re.search(each.on, target.partition("?")[0])), None)
        asked = injected.fault.path if injected is not None and isinstance(injected.fault, Elsewhere) else target
        lines = [f"{method} {asked} {version}".encode(), b"Connection: close", *kept, b"", body]
        return _Request(target=target, data=b"\r\n".join(lines), injected=injected)

    async def _read(self, client: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if not (part := await self._loop.sock_recv(client, size - len(data))):
                raise asyncio.IncompleteReadError(data, size)
            data += part
        return data

    async def _gone(self, client: socket.socket, request: _Request) -> None:
        """End when the client has closed; where it is to be reset nothing may be read, and it is not noticed."""
        fault = request.injected and request.injected.fault
        if isinstance(fault, Broken) and fault.then is Then.RESET:
            await self._loop.create_future()
        while await self._loop.sock_recv(client, 65536):
            pass

    async def _answer(self, client: socket.socket, request: _Request) -> None:
        injected = request.injected
        match injected and injected.fault:
            case Canned() as canned:
                await self._send(client, _answer_bytes(canned), struck=injected)
                return
            case Late(seconds=seconds):
                _strike(injected)
                await asyncio.sleep(seconds)
        reader, writer = await asyncio.open_unix_connection(str(self.upstream))
        try:
            writer.write(request.data)
            await self._relay(client, reader, request=request)
        finally:
            writer.close()

    async def _relay(self, client: socket.socket, reader: asyncio.StreamReader, *, request: _Request) -> None:
        injected = request.injected
        if injected is not None and isinstance(injected.fault, Lagging):
            self._remember(request, await reader.read())
            await self._send(client, self._past(request, injected.fault, injected.since), struck=injected)
            return
        broken = injected.fault if injected is not None and isinstance(injected.fault, Broken) else None
        received, sent = b"", 0
        while part := await reader.read(65536):
            received += part
            place = None if broken is None else broken.at(received)
            until = len(received) if place is None else min(place, len(received))
            await self._send(client, received[sent:until])
            sent = max(sent, until)
            if broken is not None and place is not None and place <= len(received):
                _strike(injected)
                await self._go_on(client, reader, received[sent:], then=broken.then)
                return
        if injected is not None and isinstance(injected.fault, Elsewhere):
            _strike(injected)
        else:
            self._remember(request, received)

    async def _go_on(self, client: socket.socket, reader: asyncio.StreamReader, rest: bytes, *, then: Then) -> None:
        if then is Then.HOLD:
            while await reader.read(65536):
                pass
            await self._loop.create_future()
        while then is Then.DRIP and rest:
            for each in rest:
                await asyncio.sleep(1)
                await self._send(client, bytes([each]))
            rest = await reader.read(65536)

    async def _send(self, client: socket.socket, data: bytes, *, struck: Injected | None = None) -> None:
        await self._loop.sock_sendall(client, data)
        if struck is not None:
            _strike(struck)

    def _remember(self, request: _Request, answer: bytes) -> None:
        self._answered[request.path] += 1
        known = self._answers.pop(request.target, deque(maxlen=_REMEMBERED))
        self._answers[request.target] = known
        known.append((time.monotonic(), answer))
        for target in list(self._answers)[:-_REMEMBERED]:  # of containers long gone
            del self._answers[target]

    def _past(self, request: _Request, fault: Lagging, since: float) -> bytes:
        """The latest that is old enough, else the oldest that there is."""
        then = since if fault.seconds is None else time.monotonic() - fault.seconds
        known = self._answers[request.target]
        return next((answer for when, answer in reversed(known) if when <= then), known[0][1])


def _strike(injected: Injected | None) -> None:
    assert injected is not None
    injected.strikes += 1


def _answer_bytes(canned: Canned) -> bytes:
    body = canned.body.encode()
    head = f"HTTP/1.1 {canned.status} Canned\r\nApi-Version: 1.41\r\nContent-Type: {canned.type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def _head_end(raw: bytes) -> int | None:
    return None if (found := raw.find(b"\r\n\r\n")) < 0 else found + 4


def _chunk(raw: bytes, number: int) -> tuple[int, int, int] | None:
    """A chunk's positions: its header, its data, and what follows it; `None`: not here yet, or not in chunks at all."""
    start = _head_end(raw)
    if start is None or b"\r\nTransfer-Encoding: chunked\r\n" not in raw[:start]:
        return None
    while (line_end := raw.find(b"\r\n", start)) >= 0:
        end = line_end + 2 + int(raw[start:line_end], 16) + 2
        if number == 0:
            return start, line_end + 2, end
        start, number = end, number - 1
    return None

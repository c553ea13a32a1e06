"""
The Engine API over HTTP, as far as lbwatch needs it: ping, events, list, inspect.

Every call has a timeout, every answer a bound, and every failure is a `SourceError`. Nothing is remembered here but the
connection and the API version. Reference: https://docs.docker.com/reference/api/engine/
"""

import asyncio
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import aiohttp
from aiohttp import hdrs

from lbwatch.core.errors import EngineAwayError, NoContainerError, SourceError, SourceTimeoutError, ThreadError, excerpt
from lbwatch.core.model import Container
from lbwatch.engines.docker.address import EngineAddress
from lbwatch.engines.docker.answers import container_of_inspect, containers_of_list, info_of
from lbwatch.engines.docker.body import MAX_ANSWER_BYTES, PLAIN, ok_body, require_plain
from lbwatch.engines.docker.decode import FRAMINGS
from lbwatch.engines.docker.fields import http_date_s, is_container_id, major_minor
from lbwatch.engines.docker.identity import EngineInfo
from lbwatch.engines.docker.networks import drivers_of_list, names_of_list
from lbwatch.engines.docker.reach import Reach

PING_TIMEOUT_S = 5.0
INSPECT_TIMEOUT_S = 3.0
INFO_TIMEOUT_S = 3.0
LIST_TIMEOUT_S = 10.0
NETWORKS_TIMEOUT_S = 1.0
"""A container waits for that before it is routed at all, and without the answer it is by a guess."""

NEWEST_API = (1, 53)
OLDEST_API = (1, 24)

ASKED = ("GET /_ping", "GET /events", "GET /containers/json", "GET /containers/ID/json")
"""All that a daemon needs of its engine, below `/vX.Y` but for the first; a socket proxy needs to allow no more."""

ASKED_IF_ALLOWED = ("GET /info", "GET /networks")
"""Who the engine is, and the drivers of networks: without an answer another engine, or a network, is a better guess."""

ASKED_OF_MANAGER = ("GET /services", "GET /tasks", "GET /nodes", "GET /info", "GET /events")
"""What more is needed of a Swarm's managers; of the first two also what is below them."""

_ACTIONS = [
    "create",
    "start",
    "restart",
    "die",
    "died",  # Podman's own word: before 4.4 it compares that with what is asked for, and sends `die`
    "kill",
    "stop",
    "destroy",
    "remove",
    "pause",
    "unpause",
    "rename",
    "update",
    "health_status",
    "connect",
    "disconnect",
]

CONTAINER_EVENTS: Mapping[str, Sequence[str]] = {"type": ["container", "network"], "event": _ACTIONS}
"""
Those that can matter to a container.

Podman refuses unknown filter keys. `health_status` makes every value a prefix: so be it (facts, stream 9).
"""

_HEALTH_IN_TIME_FROM = (5, 0)  # of Podman's versions

_LONG_BYTES = 1024 * 1024
"""Of an answer that takes milliseconds to be made something of, in which events would wait."""

MAX_LIST_BYTES = 256 * 1024 * 1024
"""Of a list: 10,000 containers with 25 KB of labels each, or 25 with the 10 MB that engines accept."""

MAX_INSPECT_BYTES = 16 * 1024 * 1024
"""Of one container, whose owner may give it 10 MB of labels: to decode more holds up the loop for over 50 ms."""

Answer = TypeVar("Answer")

_API_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """
    What `/_ping` told.

    Attributes:
        api: The version to speak: the engine's newest or ours, whichever is older.
        clock_s: The engine's clock, seconds since the epoch, to a second; `None` if it told none.
        pid: The process that listens on the unix socket; `None` for TCP or where it is in a pid namespace of its own.
        podman: Which Podman it is; `None`: none, as far as what stands before the engine lets that through.
    """

    api: tuple[int, int]
    clock_s: float | None
    pid: int | None
    podman: str | None = None


class EngineClient:
    """
    A connection to one engine; close it with `close`.

    Args:
        address: Where it listens.

    Attributes:
        podman: See `Ping`, at the latest one.

    Raises:
        SettingsError: The certificates of a TLS engine cannot be used, or there is no ssh.
    """

    def __init__(self, address: EngineAddress) -> None:
        self.podman: str | None = None
        self._date: str | None = None  # of the latest answer
        self._address = address
        self._reach = Reach(address)
        self._prefix = ""

    @property
    def tells_health_early(self) -> bool:
        """Return whether it tells of a probe before inspect knows what that found: Podman 4.3 does, 5.4 does not."""
        return self.podman is not None and major_minor(self.podman) < _HEALTH_IN_TIME_FROM

    @property
    def clock_s(self) -> float | None:
        """Return what its clock showed at the latest answer, seconds since the epoch; `None`: it did not say."""
        return http_date_s(self._date)

    async def close(self) -> None:
        """Close all connections."""
        await self._reach.close()

    async def ping(self) -> Ping:
        """Return a sign of life, and agree on the API version. Connecting alone is no such sign (facts, stream 7)."""
        async with self._request("GET", "/_ping", timeout_s=PING_TIMEOUT_S) as response:
            await ok_body(response, path="/_ping", needs=ASKED)
            api = min(NEWEST_API, _version(response.headers.get("Api-Version", "")))
            clock_s = http_date_s(response.headers.get(hdrs.DATE))
            self.podman = _podman(response.headers)
        if api < OLDEST_API:
            raise SourceError(
                f"the engine speaks API {_dotted(api)}; lbwatch needs {_dotted(OLDEST_API)} or later: update the engine"
            )
        self._prefix = f"/v{_dotted(api)}"
        return Ping(api=api, clock_s=clock_s, pid=await self._listener_pid(), podman=self.podman)

    async def warm(self, connections: int) -> None:
        """
        Open so many connections and keep them.

        An engine that shuts down takes no new ones from its first moment on. Engine 20.10 serves those that are open
        until a second after its last container ended; newer ones only the stream, whose word then counts alone.
        """
        pings = (self.ask("GET", "/_ping", timeout_s=PING_TIMEOUT_S) for _ in range(connections))
        await asyncio.gather(*pings, return_exceptions=True)  # one that fails is opened when it is needed

    async def list_containers(self) -> tuple[Container, ...]:
        """Return all containers, stopped ones too. The answer may lag behind the truth: it only proposes ids."""
        query = {"all": "1"}
        body = await self.ask(
            "GET", "/containers/json", timeout_s=LIST_TIMEOUT_S, max_bytes=MAX_LIST_BYTES, query=query
        )
        return await _made_of(containers_of_list, body)

    async def network_drivers(self) -> Mapping[str, str]:
        """Return the drivers of all networks, by the network's id."""
        body = await self.ask("GET", "/networks", timeout_s=NETWORKS_TIMEOUT_S)
        return drivers_of_list(body, by_podman=self.podman is not None)

    async def network_names(self, *, driver: str | None = None) -> frozenset[str]:
        """Return the names of all networks, or of those of a driver."""
        body = await self.ask("GET", "/networks", timeout_s=LIST_TIMEOUT_S, needs=("GET /networks",))
        return names_of_list(body, driver=driver)

    async def info(self) -> EngineInfo | None:
        """
        Return who the engine says that it is; `None` where it does not, or what stands before it keeps that to itself.

        Raises:
            SourceError: Nothing answers.
        """
        try:
            return info_of(await self.ask("GET", "/info", timeout_s=INFO_TIMEOUT_S))
        except SourceError as error:
            if error.status is not None or isinstance(error, SourceTimeoutError):
                return None
            raise

    async def inspect(self, container: str, *, variables: frozenset[str] = frozenset()) -> Container | None:
        """
        Return the truth about one container, by its whole id; `None` if the engine says that there is none.

        Args:
            container: Its id.
            variables: Names of those that are kept of its environment.
        """
        path = container_path(container, "json")
        try:
            body = await self.ask("GET", path, timeout_s=INSPECT_TIMEOUT_S, max_bytes=MAX_INSPECT_BYTES)
        except NoContainerError:
            return None
        make = partial(container_of_inspect, by_podman=self.podman is not None, variables=variables)
        found = await _made_of(make, body)
        if found.id != container:
            raise SourceError(f"{path}: the engine answered with container {found.id[:12]!r}, which was not asked for")
        return found

    @asynccontextmanager
    async def events(
        self,
        *,
        since_s: float | None,
        filters: Mapping[str, Sequence[str]] = CONTAINER_EVENTS,
        needs: tuple[str, ...] = ASKED,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """
        Return the raw bytes of the events that can matter, as they come, until the engine ends them.

        Args:
            since_s: Replay what the engine's short memory holds since then, seconds by its own clock; closes the
                gap between its 200 and the subscription (facts, stream 3).
            filters: Which ones.
            needs: What a proxy before the engine must allow, to be named should it be refused.
        """
        query = {"filters": json.dumps(filters)}
        if since_s is not None:
            query["since"] = f"{max(0, int(since_s))}.000000000"
        async with self._request(
            "GET", f"{self._prefix}/events", timeout_s=LIST_TIMEOUT_S, query=query, accept=FRAMINGS, streams=True
        ) as response:
            if response.status != 200:
                await ok_body(response, path="/events", needs=needs)
            require_plain(response, path="/events")
            yield response.content.iter_any()

    async def call(self, method: str, path: str, *, body: Any = None, query: dict[str, str] | None = None) -> Any:
        """
        Return the decoded JSON that any other call answers (the demo creates containers); `None` if there is none.

        Args:
            method: Of HTTP.
            path: Below the API version.
            body: Sent as JSON; `None`: nothing is sent.
            query: Of the URL.

        Raises:
            SourceError: It failed.
        """
        needs = (f"{method} {path}",)
        answer = await self.ask(method, path, timeout_s=LIST_TIMEOUT_S, needs=needs, body=body, query=query)
        try:
            return json.loads(answer) if answer.strip() else None
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{path}: the engine's answer cannot be read: {error}") from error

    async def ask(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        needs: tuple[str, ...] = ASKED,
        body: Any = None,
        query: dict[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> bytes:
        """
        Return the bytes that any other call answers.

        Args:
            method: Of HTTP.
            path: Below the API version.
            timeout_s: Seconds for all of it.
            needs: What a proxy before the engine must allow for it, to be named should it be refused.
            body: Sent as JSON; `None`: nothing is sent.
            query: Of the URL.
            max_bytes: A longer answer is an error.

        Raises:
            SourceError: It failed, with the status that the engine gave.
        """
        async with self._request(method, self._prefix + path, timeout_s=timeout_s, query=query, body=body) as response:
            return await ok_body(response, path=path, max_bytes=max_bytes, needs=needs)

    async def _listener_pid(self) -> int | None:
        """
        Return the pid that the kernel knows to listen on the unix socket: unix(7), SO_PEERCRED.

        Of an engine that is reached by ssh it would be that of ssh.
        """
        if self._address.socket is None:
            return None
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(0)
            try:
                await asyncio.get_running_loop().sock_connect(peer, self._address.socket)
            except OSError as error:
                raise SourceError(f"{self._address.name}: {error.strerror}") from error
            size = struct.calcsize("3i")
            pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        return int(pid) or None

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        query: dict[str, str] | None = None,
        body: Any = None,
        accept: tuple[str, ...] = (),
        streams: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Return a request's answer; the timeout is for all of it, or until the headers if a success *streams*."""
        url = self._address.url + path
        await self._reach.ready()  # has times of its own: who logs in by ssh takes longer than an engine may
        headers = PLAIN | ({hdrs.ACCEPT: ", ".join(accept)} if accept else {})
        try:
            async with (
                asyncio.timeout(timeout_s) as deadline,
                self._reach.session().request(
                    method, url, params=query, json=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                self._date = response.headers.get(hdrs.DATE)
                if streams and response.status == 200:
                    deadline.reschedule(None)
                yield response
        except TimeoutError as error:
            raise SourceTimeoutError(f"{method} {path}: no answer within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._reach.failure(error, asked=f"{method} {path}") from error
        except (ThreadError, RuntimeError) as error:
            # A name is looked up in a thread, of which there may be no more just then (pids.max): Python itself has no
            # better error for that.
            if isinstance(error, RuntimeError) and "new thread" not in str(error):
                raise
            raise EngineAwayError(f"{method} {path}: {self._address.name}: {error}") from error


async def _made_of(make: Callable[[bytes], Answer], body: bytes) -> Answer:
    """Return what is made of an answer, in a thread if that takes long."""
    return await asyncio.to_thread(make, body) if len(body) > _LONG_BYTES else make(body)


def container_path(container: str, *rest: str) -> str:
    """
    Return the path of a container, or of what is below it.

    Raises:
        SourceError: It is no whole id: an engine said it, and it would lead somewhere else.
    """
    if not is_container_id(container):
        raise SourceError(f"{container[:64]!r} is no id of a container")
    return "/".join(("/containers", container, *rest))


def _version(text: str) -> tuple[int, int]:
    match = _API_VERSION.fullmatch(text)
    if match is None:
        raise SourceError(f"what answers is no Docker Engine: it names no API version ({text!r})")
    return int(match[1]), int(match[2])


def _podman(headers: Mapping[str, str]) -> str | None:
    """Return the version that Podman, and nothing else, names in the headers of its answers."""
    named = headers.get("Libpod-API-Version")
    return None if named is None else excerpt(named)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"

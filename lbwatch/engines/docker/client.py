"""
The Engine API over HTTP, as far as lbwatch needs it: ping, events, list, inspect.

Every call has a timeout and every failure is a `SourceError`. Nothing is remembered here but the connection and the
API version. Reference: https://docs.docker.com/reference/api/engine/
"""

import asyncio
import errno
import grp
import json
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from lbwatch.core.errors import DeadSocketError, SettingsError, SourceError, SourceTimeoutError, excerpt
from lbwatch.core.model import Container
from lbwatch.engines.docker.address import EngineAddress
from lbwatch.engines.docker.decode import container_of_inspect, containers_of_list, http_date_s
from lbwatch.system import mounts

CONNECT_TIMEOUT_S = 5.0
PING_TIMEOUT_S = 5.0
INSPECT_TIMEOUT_S = 3.0
LIST_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 3600.0
"""Longer than a stream lives, so that the connections made at its begin last as long as it does."""

NEWEST_API = (1, 53)
OLDEST_API = (1, 24)

ASKED = ("GET /_ping", "GET /events", "GET /containers/json", "GET /containers/ID/json")
"""All that a daemon asks of its engine, below `/vX.Y` but for the first; a socket proxy needs to allow no more."""

_ACTIONS = [
    "create",
    "start",
    "restart",
    "die",
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
REFUSED = (401, 403, 405)
"""With these statuses proxies and authorization plugins answer; the engine itself has none of them."""

MAX_ANSWER_BYTES = 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_DEAD = (
    "the socket is mounted as a file, dead since the engine's restart: mount its folder and start this container anew"
)
_MEND_OURS = "cert.pem expired, or is of another authority than the engine's"
_REFUSED = "_ALERT_"
"""In OpenSSL's name for what the other end says of us, such as `SSLV3_ALERT_BAD_CERTIFICATE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """
    What `/_ping` told.

    Attributes:
        api: The version to speak: the engine's newest or ours, whichever is older.
        clock_s: The engine's clock, seconds since the epoch, to a second; `None` if it told none.
        pid: The process that listens on the unix socket; `None` for TCP or where it is in a pid namespace of its own.
    """

    api: tuple[int, int]
    clock_s: float | None
    pid: int | None


class EngineClient:
    """
    A connection to one engine; close it with `close`.

    Args:
        address: Where it listens.

    Raises:
        SettingsError: The certificates of a TLS engine cannot be used.
    """

    def __init__(self, address: EngineAddress) -> None:
        self._address = address
        self._tls = _tls_context(address)
        self._session: aiohttp.ClientSession | None = None
        self._prefix = ""

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ping(self) -> Ping:
        """Return a sign of life, and agree on the API version. Connecting alone is no such sign (facts, stream 7)."""
        async with self._request("GET", "/_ping", timeout_s=PING_TIMEOUT_S) as response:
            _require_ok(response.status, await response.read(), path="/_ping")
            api = min(NEWEST_API, _version(response.headers.get("Api-Version", "")))
            clock_s = http_date_s(response.headers.get("Date"))
        if api < OLDEST_API:
            raise SourceError(f"the engine speaks API {_dotted(api)}; lbwatch needs {_dotted(OLDEST_API)} or later")
        self._prefix = f"/v{_dotted(api)}"
        return Ping(api=api, clock_s=clock_s, pid=await self._listener_pid())

    async def warm(self, connections: int) -> None:
        """
        Open so many connections and keep them.

        An engine that shuts down takes no new ones from its first moment on, but serves those that are open until a
        second after its last container ended: only they can tell which containers did.
        """
        pings = (self._get("/_ping", timeout_s=PING_TIMEOUT_S) for _ in range(connections))
        await asyncio.gather(*pings, return_exceptions=True)  # one that fails is opened when it is needed

    async def list_containers(self) -> tuple[Container, ...]:
        """Return all containers, stopped ones too. The answer may lag behind the truth: it only proposes ids."""
        status, body = await self._get("/containers/json", timeout_s=LIST_TIMEOUT_S, query={"all": "1"})
        _require_ok(status, body, path="/containers/json")
        return containers_of_list(body)

    async def inspect(self, container: str) -> Container | None:
        """Return the truth about one container, by its whole id; `None` if the engine says that there is none."""
        path = f"/containers/{container}/json"
        status, body = await self._get(path, timeout_s=INSPECT_TIMEOUT_S)
        # A proxy may answer 404, too: only the engine's own words take a container away.
        if status == 404 and "no such container" in _message(body).lower():
            return None
        _require_ok(status, body, path=path)
        found = container_of_inspect(body)
        if found.id != container:
            raise SourceError(f"{path}: the engine answered with container {found.id[:12]!r}, which was not asked for")
        return found

    @asynccontextmanager
    async def events(self, *, since_s: float | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """
        Return the raw bytes of the events that can matter, as they come, until the engine ends them.

        Args:
            since_s: Replay what the engine's short memory holds since then, seconds by its own clock; closes the
                gap between its 200 and the subscription (facts, stream 3).
        """
        # Podman refuses unknown filter keys. `health_status` makes every value a prefix: so be it (facts, stream 9).
        query = {"filters": json.dumps({"type": ["container", "network"], "event": _ACTIONS})}
        if since_s is not None:
            query["since"] = f"{int(since_s)}.000000000"
        async with self._request(
            "GET", f"{self._prefix}/events", timeout_s=LIST_TIMEOUT_S, query=query, streams=True
        ) as response:
            if response.status != 200:
                _require_ok(response.status, await response.content.read(_MAX_ERROR_BYTES), path="/events")
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
        async with self._request(
            method, self._prefix + path, timeout_s=LIST_TIMEOUT_S, query=query, body=body
        ) as response:
            answer = await response.read()
        _require_ok(response.status, answer, path=path, needs=(f"{method} {path}",))
        return json.loads(answer) if answer.strip() else None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        needs: tuple[str, ...],
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
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > max_bytes:
                    raise SourceError(f"{path}: the answer is longer than {max_bytes >> 20} MiB", status=200)
        _require_ok(response.status, bytes(answer), path=path, needs=needs)
        return bytes(answer)

    async def _listener_pid(self) -> int | None:
        """Return the pid that the kernel knows to listen on the unix socket: unix(7), SO_PEERCRED."""
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

    async def _get(self, path: str, *, timeout_s: float, query: dict[str, str] | None = None) -> tuple[int, bytes]:
        async with self._request("GET", self._prefix + path, timeout_s=timeout_s, query=query) as response:
            return response.status, await response.read()

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        query: dict[str, str] | None = None,
        body: Any = None,
        streams: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Return a request's answer; the timeout is for all of it, or until the headers if the answer *streams*."""
        url = self._address.url + path
        try:
            async with (
                asyncio.timeout(timeout_s) as deadline,
                self._open_session().request(method, url, params=query, json=body) as response,
            ):
                if streams:
                    deadline.reschedule(None)
                yield response
        except TimeoutError as error:
            raise SourceTimeoutError(f"{method} {path}: no answer within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Docker makes a new socket at each start: a container into which the file was mounted keeps the old one.
            lost = isinstance(error, aiohttp.ClientConnectorError) and self._address.socket is not None
            if lost and mounts.is_detached(Path(self._address.socket or "")):
                raise DeadSocketError(f"{_DEAD} ({self._address.name})") from error
            raise SourceError(f"{method} {path}: {self._words(error)}") from error

    def _words(self, error: Exception) -> str:
        """Return what failed, in words; aiohttp's own for a refused connection name options that nobody set."""
        name, tls = self._address.name, _tls_error(error)
        if isinstance(tls, ssl.SSLCertVerificationError):
            return f"{name}: the engine's certificate is not to be trusted: {tls.verify_message}"
        if tls is not None and _REFUSED in (tls.reason or ""):
            refusal = (tls.reason or "").rpartition(_REFUSED)[2].replace("_", " ").lower()
            return f"{name}: the engine refuses our certificate ({refusal}): {_MEND_OURS}"
        if self._tls is not None and getattr(error, "errno", None) in (errno.ECONNRESET, errno.EPIPE):
            return f"{name}: the engine ended the connection: if it refuses our certificate, {_MEND_OURS}"
        if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
            hint = _whose(self._address.socket) if error.os_error.errno == errno.EACCES else ""
            return f"cannot connect to {name}: {error.os_error.strerror or error}{hint}"
        return str(error) or type(error).__name__

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
            self._session = aiohttp.ClientSession(connector=self._connector(), timeout=timeout)
        return self._session

    def _connector(self) -> aiohttp.BaseConnector:
        if self._address.socket is not None:
            return aiohttp.UnixConnector(self._address.socket, limit=0, keepalive_timeout=KEEP_ALIVE_S)
        return aiohttp.TCPConnector(
            ssl=self._tls or True, limit=0, keepalive_timeout=KEEP_ALIVE_S, socket_factory=_probing_socket
        )


def _whose(path: str | None) -> str:
    """Return, in words, who may use a unix socket that this user may not."""
    try:
        group = os.stat(path or "").st_gid
    except OSError:  # nor may its folder be looked into
        return ""
    try:
        return f": be root, or in group {grp.getgrgid(group).gr_name} (gid {group})"
    except KeyError:  # in a container groups of the host have no names
        return f": be root, or in the group with gid {group} (a container: --group-add {group})"


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return what TLS says in an error of aiohttp's, which hides it in several ways; `None`: nothing."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, aiohttp.ClientError):  # some are both
            return error
        error = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error.__cause__
    return None


def _probing_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a TCP socket that finds out when the other end is gone: events have no heartbeat (facts, stream 8)."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _tls_context(address: EngineAddress) -> ssl.SSLContext | None:
    """Return the docker client's certificates, loaded; the engine's is always verified against ca.pem."""
    folder = address.cert_folder
    if folder is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # on since Python 3.13; Docker's own recipe for a CA fails it
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    except OSError as error:  # ssl.SSLError is one
        reason = f"it needs usable ca.pem, cert.pem and key.pem ({excerpt(str(error))})"
        raise SettingsError("DOCKER_CERT_PATH", value=folder, takes=reason) from error
    return context


def _require_ok(status: int, body: bytes, *, path: str, needs: tuple[str, ...] = ASKED) -> None:
    """Raise what a status that is no success means; *needs*: what must be allowed for it."""
    if 200 <= status < 300:
        return
    words = _message(body) or body[:256].decode(errors="replace") or "no reason given"
    if status in REFUSED:
        said = _message(body)  # an authorization plugin's; a proxy says nothing of use
        raise SourceError(
            f"{path}: refused by what stands before the engine ({status}{': ' + said if said else ''}): it must allow "
            f"{', '.join(needs)}",
            status=status,
        )
    raise SourceError(f"{path}: the engine answered {status}: {words}", status=status)


def _message(body: bytes) -> str:
    """Return the text of `{"message": "..."}`, Docker's form of an error; empty if it is not, as a proxy's page."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise SourceError(f"what answers is no Docker Engine: it told no API version ({text!r})")
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"

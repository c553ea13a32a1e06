"""
The way to one engine: its socket or its host, TLS, ssh, and the connections that are kept.

What is asked over them is `client`'s.
"""

import socket

import aiohttp

from lbwatch.core.errors import EngineAwayError, SettingsError, SourceError
from lbwatch.engines.docker.address import EngineAddress
from lbwatch.engines.docker.refusal import failure
from lbwatch.engines.docker.ssh import Tunnel
from lbwatch.engines.docker.tls import CertificatesError, RenewedContext, folder_of

CONNECT_TIMEOUT_S = 5.0
KEEP_ALIVE_S = 3600.0
"""Longer than a stream lives, so that the connections made at its begin last as long as it does."""


class Reach:
    """
    The connections to one engine; close them with `close`.

    Args:
        address: Where it listens.

    Raises:
        SettingsError: The certificates of a TLS engine cannot be used, or there is no ssh.
    """

    def __init__(self, address: EngineAddress) -> None:
        self._address = address
        self._tls = _tls_context(address)
        self._tunnel = None if address.ssh is None else Tunnel(address)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        try:
            if self._session is not None:
                await self._session.close()
                self._session = None
        finally:
            if self._tunnel is not None:
                await self._tunnel.close()

    async def ready(self) -> None:
        """
        Wait until connections can be made; this is long for ssh alone, and bounded there.

        Raises:
            EngineAwayError: They cannot.
        """
        if self._tunnel is not None:
            await self._tunnel.ready()

    def failure(self, error: Exception, *, asked: str) -> SourceError:
        """Return what it means that a request broke off; *asked*: its method and path."""
        if self._tunnel is not None and (words := self._tunnel.recent_words()):
            return EngineAwayError(f"{self._address.name}: {words}")
        return failure(error, asked=asked, address=self._address)

    def session(self) -> aiohttp.ClientSession:
        """Return what makes requests, once it is `ready`."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
            # An answer is taken as it comes: unpacked, 2 MiB may be 2 GiB. And cookies would be kept for good.
            self._session = aiohttp.ClientSession(
                connector=self._connector(), timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    def _connector(self) -> aiohttp.BaseConnector:
        path = self._address.socket if self._tunnel is None else self._tunnel.socket
        if path is not None:
            return aiohttp.UnixConnector(path, limit=0, keepalive_timeout=KEEP_ALIVE_S)
        return aiohttp.TCPConnector(
            ssl=self._tls or True, limit=0, keepalive_timeout=KEEP_ALIVE_S, socket_factory=self._new_socket
        )

    def _new_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """Return the socket of a connection that is about to be made; raises `CertificatesError`."""
        if self._tls is not None:
            self._tls.renew()
        return _probing_socket(address)


def _probing_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a TCP socket that finds out when the other end is gone: events have no heartbeat (facts, stream 8)."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _tls_context(address: EngineAddress) -> RenewedContext | None:
    if address.cert_folder is None:
        return None
    folder = folder_of(address.cert_folder, engine=address.engine.name)
    try:
        return RenewedContext.for_folder(folder)
    except CertificatesError as error:
        takes = f"it needs usable ca.pem, cert.pem and key.pem ({error.reason})"
        raise SettingsError("DOCKER_CERT_PATH", value=folder, takes=takes) from error

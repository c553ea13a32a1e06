"""
What it means that an engine, or what stands before it, did not answer as it should: `SourceError`s in plain words.

Nothing is asked here.
"""

import errno
import grp
import json
import os
import re
import ssl
from pathlib import Path

import aiohttp

from lbwatch.core.errors import DeadSocketError, EngineAwayError, NoContainerError, SourceError
from lbwatch.engines.docker.address import EngineAddress
from lbwatch.engines.docker.tls import CertificatesError
from lbwatch.system import mounts

REFUSED = (401, 403, 405)
"""With these statuses proxies and authorization plugins answer; the engine itself has none of them."""

_DEAD = (
    "the socket is mounted as a file, dead since the engine's restart: mount its folder and start this container anew"
)
_MEND_OURS = "cert.pem expired, or is of another authority than the engine's"
_TOO_OLD = re.compile(
    r"client version (?P<ours>[0-9.]{1,9}) is too old\. Minimum supported API version is (?P<least>[0-9.]{1,9}[0-9])"
)
"""What an engine says, as JSON or as plain text, of an API version that it does not speak any more."""

_REMOVED_MEANWHILE = "in database"
"""In Podman's words, with status 500, of a container that was removed while it was looked for."""

_CUT = "not completed"
"""In aiohttp's words for an answer that ended early, which go on in terms of the protocol."""

_REFUSED = "_ALERT_"
"""In OpenSSL's name for what the other end says of us, such as `SSLV3_ALERT_BAD_CERTIFICATE`."""


def require_ok(status: int, body: bytes, *, path: str, needs: tuple[str, ...], location: str = "") -> None:
    """
    Raise what a status that is no success means.

    Args:
        status: Of HTTP.
        body: Of the answer.
        path: Of the request, without its host.
        needs: What a proxy must allow for it.
        location: Where a redirect leads to; it is never followed.

    Raises:
        NoContainerError: The engine itself says so.
        SourceError: Anything else.
    """
    if 200 <= status < 300:
        return
    said = message(body)
    if 300 <= status < 400:
        to = f" to {location!r}" if location else ""
        raise SourceError(
            f"{path}: answered with a redirect ({status}{to}), which no engine does: is docker_host right?",
            status=status,
        )
    if status in REFUSED:  # a plugin's words help, a proxy says nothing of use
        raise SourceError(
            f"{path}: refused by what stands before the engine ({status}{': ' + said if said else ''}): it must allow "
            f"{', '.join(needs)}",
            status=status,
        )
    gone = "no such container" in said.lower()
    if gone and (status == 404 or (status == 500 and _REMOVED_MEANWHILE in said)):
        raise NoContainerError(f"{path}: the engine answered {status}: {said}", status=status)
    words = said or body[:256].decode(errors="replace") or "no reason given"
    # The newest that both know is spoken: where that is too old, the engine knows none of ours.
    if status == 400 and (match := _TOO_OLD.search(words)):
        raise SourceError(
            f"the engine takes API {match['least']} or later, and this lbwatch speaks {match['ours']} at most: install "
            f"a newer lbwatch, or set DOCKER_MIN_API_VERSION={match['ours']} in the engine's environment",
            status=status,
        )
    raise SourceError(f"{path}: the engine answered {status}: {words}", status=status, engine_message=said)


def message(body: bytes) -> str:
    """Return the text of `{"message": "..."}`, Docker's form of an error; empty if it is not, as a proxy's page."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""


def failure(error: Exception, *, asked: str, address: EngineAddress) -> SourceError:
    """Return what it means that a request broke off; *asked*: its method and path."""
    # Docker makes a new socket at each start: a container into which the file was mounted keeps the old one.
    lost = isinstance(error, aiohttp.ClientConnectorError) and address.socket is not None
    if lost and mounts.is_detached(Path(address.socket or "")):
        return DeadSocketError(f"{_DEAD} ({address.name})")
    words = _words(error, address=address)
    # Where nobody answers it does not matter what was asked.
    return EngineAwayError(words if isinstance(error, aiohttp.ClientConnectorError) else f"{asked}: {words}")


def _words(error: Exception, *, address: EngineAddress) -> str:
    """Return what failed, in words; aiohttp's own for a refused connection name options that nobody set."""
    name, tls = address.name, _tls_error(error)
    if isinstance(tls, CertificatesError):
        return f"{name}: {tls.strerror}"
    if isinstance(tls, ssl.SSLCertVerificationError):
        return f"{name}: the engine's certificate is not to be trusted: {tls.verify_message}"
    if isinstance(tls, ssl.SSLError) and _REFUSED in (tls.reason or ""):
        refusal = (tls.reason or "").rpartition(_REFUSED)[2].replace("_", " ").lower()
        return f"{name}: the engine refuses our certificate ({refusal}): {_MEND_OURS}"
    if address.cert_folder is not None and getattr(error, "errno", None) in (errno.ECONNRESET, errno.EPIPE):
        return f"{name}: the engine ended the connection: if it refuses our certificate, {_MEND_OURS}"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        return f"cannot connect to {name}: {_connect_words(error.os_error, socket=address.socket)}"
    is_cut = isinstance(error, aiohttp.ClientPayloadError) and _CUT in str(error)
    return "the engine, or a proxy before it, broke off its answer" if is_cut else str(error) or type(error).__name__


def _connect_words(error: OSError, *, socket: str | None) -> str:
    """Return why nobody answered, and what to do; asyncio's own words have the address again, and no reason."""
    number = error.errno or 0
    cause = os.strerror(number) if number > 0 else error.strerror or str(error)  # below zero are those of name servers
    if number == errno.EACCES:
        return f"{cause}{_whose(socket)}"
    if number in (errno.ENOENT, errno.ECONNREFUSED):
        where = "where it listens" if socket is None else "where its socket is"
        return f"{cause}: start the engine, or set docker_host to {where}"
    return cause


def _whose(path: str | None) -> str:
    """Return, in words, who may use a unix socket that this user may not."""
    try:
        group = os.stat(path or "").st_gid
    except OSError:  # nor may its folder be looked into
        return ""
    try:
        name = grp.getgrgid(group).gr_name
        return f": be root, or in group {name} (gid {group}): `usermod -aG {name} USER`, and a new login"
    except KeyError:  # in a container groups of the host have no names
        return f": be root, or in the group with gid {group} (a container: --group-add {group})"


def _tls_error(error: BaseException | None) -> ssl.SSLError | CertificatesError | None:
    """Return what TLS says in an error of aiohttp's, which hides it in several ways; `None`: nothing."""
    while error is not None:
        if isinstance(error, ssl.SSLError | CertificatesError) and not isinstance(error, aiohttp.ClientError):
            return error  # some of aiohttp's are both
        error = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error.__cause__
    return None

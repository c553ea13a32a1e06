"""The commands' side of the control socket: what they ask the running daemon."""

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import msgspec
from aiohttp import hdrs, web

from lbwatch.core.errors import NoDaemonError, RequestError, excerpt
from lbwatch.core.explain import Explanation
from lbwatch.core.model import Suspended

if TYPE_CHECKING:
    from lbwatch.core.hostwords import HostExplanation

Explained = TypeVar("Explained")

ANSWER_TIMEOUT_S = 600.0
"""Longer than any daemon that lives takes to drain, with the `reload_interval` that people set."""

STATUS_TIMEOUT_S = 2.0
"""For what is answered at once: `explain` goes on without a daemon that hangs."""

_BROKEN_OFF = (errno.ECONNRESET, errno.EPIPE)


async def request(path: Path, *, verb: str, container: str | None = None, upstream: str | None = None) -> str:
    """
    Return what the daemon says once a request is carried out.

    Args:
        path: Of its control socket.
        verb: `drain` or `undrain` of a container, `pause` or `resume` of an upstream.
        container: A name, or the beginning of an id.
        upstream: A name.

    Raises:
        RequestError: It refuses, or there is no daemon, in words that say what to do.
    """
    status, body = await _ask(
        path,
        method=hdrs.METH_POST,
        what=verb,
        container=container,
        upstream=upstream,
        timeout_s=ANSWER_TIMEOUT_S,
    )
    if status != web.HTTPOk.status_code:
        raise RequestError(body.decode(errors="replace"))
    return body.decode(errors="replace")


async def suspended(path: Path) -> Suspended | None:
    """Return who is suspended, which the daemon at *path* alone knows; `None` if there is none to be asked."""
    try:
        _, body = await _ask(path, what="suspended", timeout_s=STATUS_TIMEOUT_S)
        return msgspec.json.decode(body, type=Suspended)
    except (NoDaemonError, msgspec.DecodeError):
        return None


async def explanation(path: Path, *, container: str | None) -> Explanation:
    """
    Return why a container, or each of them if it is `None`, is or is not routed.

    Raises:
        NoDaemonError: There is no daemon at *path*, in words that say what to do.
        RequestError: It knows no such container.
    """
    status, body = await _ask(path, what="explain", container=container, timeout_s=STATUS_TIMEOUT_S)
    return _explained(path, status=status, body=body, kind=Explanation)


async def host_explanation(path: Path, *, host: str) -> "HostExplanation":
    """Return what becomes of the requests for a host; raises as `explanation` does."""
    from lbwatch.core.hostwords import HostExplanation  # noqa: PLC0415 - most commands ask for nothing of it

    status, body = await _ask(path, what="explain-host", host=host, timeout_s=STATUS_TIMEOUT_S)
    if status == web.HTTPNotFound.status_code:
        raise NoDaemonError(f"the lbwatch at {path} is of another version")
    return _explained(path, status=status, body=body, kind=HostExplanation)


def _explained(path: Path, *, status: int, body: bytes, kind: type[Explained]) -> Explained:
    """Return the answer of a daemon that was asked why; raises as `explanation` does."""
    if status == web.HTTPConflict.status_code:
        raise RequestError(body.decode(errors="replace"))
    if status >= web.HTTPInternalServerError.status_code:
        raise NoDaemonError(f"the lbwatch at {path} failed to answer ({status}): its log says why")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise NoDaemonError(f"the lbwatch at {path} is of another version") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """
    One engine, or a Swarm (*kind*), in the daemon's words.

    Attributes:
        url: Where it is, as the user wrote it; empty of a Swarm.
        drift: How many changes no event reported.
    """

    name: str
    url: str = ""
    drift: int = 0
    kind: str = "engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamState:
    """One upstream; *note* says what of it could not be written as it should be."""

    name: str
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationState:
    """One path of a host; *closed* says why it answers 503 to everyone."""

    path: str
    closed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState:
    """One host; *closed* says why it answers 503 to everyone."""

    host: str
    closed: str | None = None
    locations: tuple[LocationState, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortState:
    """One port; *note* says what of it nginx refused."""

    port: int
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedState:
    """What was verified last; *believed*: by the exit code of the reload command alone."""

    believed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxState:
    """What is known of nginx; *live* says whether changes of servers need no reload, *live_reason* why they do."""

    live: bool | None = None
    live_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonState:
    """What commands read of `/api/state`, see `report.Report`."""

    version: str
    reasons: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    engines: tuple[EngineState, ...] = ()
    upstreams: tuple[UpstreamState, ...] = ()
    sites: tuple[SiteState, ...] = ()
    streams: tuple[PortState, ...] = ()
    applied: AppliedState | None = None
    nginx: NginxState = NginxState()


async def state(path: Path) -> DaemonState:
    """
    Return how things stand, as the daemon at *path* sees them.

    Raises:
        NoDaemonError: There is none, in words that say what to do.
        RequestError: There is one, and it does not answer as it should.
    """
    try:
        status, body = await _ask(path, what="api/state", timeout_s=STATUS_TIMEOUT_S)
        return msgspec.json.decode(body, type=DaemonState)
    except NoDaemonError as error:
        if isinstance(error.__cause__, TimeoutError):
            raise RequestError(f"{error}: its log says why, and a restart helps") from error
        raise
    except msgspec.DecodeError as error:
        raise RequestError(f"what answers at {path} is no lbwatch of this version ({status})") from error


async def _ask(
    path: Path,
    *,
    what: str,
    timeout_s: float,
    method: str = hdrs.METH_GET,
    container: str | None = None,
    upstream: str | None = None,
    host: str | None = None,
) -> tuple[int, bytes]:
    """
    Return the status and the body of an answer.

    Args:
        path: Of the control socket.
        what: The path of the URL, without its slash.
        timeout_s: Seconds until the whole answer is there.
        method: POST for what changes something.
        container: As the user named it.
        upstream: Likewise.
        host: Likewise.

    Raises:
        NoDaemonError: None answers.
        RequestError: It ended before it answered what may have been carried out.
    """
    named = {"container": container, "upstream": upstream, "host": host}
    query = {name: text for name, text in named.items() if text is not None}
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)), timeout=timeout) as session,
            session.request(method, f"http://lbwatch/{what}", params=query) as answer,  # the host is a mere name
        ):
            return answer.status, await answer.read()
    except TimeoutError as error:
        raise NoDaemonError(f"lbwatch at {path} does not answer within {timeout_s:g} s") from error
    except (OSError, aiohttp.ClientError) as error:
        # Once it was sent nobody knows whether it was carried out; "no lbwatch is there" would be a lie.
        if method == hdrs.METH_POST and _is_broken_off(error):
            asked = " ".join(filter(None, ("lbwatch explain", excerpt(container or ""))))
            ended = f"lbwatch at {path} ended before it answered: `{asked}` shows what came of it"
            raise RequestError(ended) from error
        raise NoDaemonError(_not_reached(path, error)) from error


def _is_broken_off(error: Exception) -> bool:
    return isinstance(error, aiohttp.ServerDisconnectedError) or getattr(error, "errno", None) in _BROKEN_OFF


def _not_reached(path: Path, error: Exception) -> str:
    if getattr(error, "errno", None) == errno.EACCES:
        return f"{path} may not be used by this user: be the one that lbwatch runs as, or root"
    cause = getattr(error, "strerror", None) or str(error)
    hint = "is `lbwatch run` running, with this control_socket?"
    return f"no lbwatch answers at {path} ({excerpt(cause)}): {hint}"

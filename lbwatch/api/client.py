"""The command line's end of the control socket: what it asks the running daemon."""

import errno
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from lbwatch.core.errors import NoDaemonError, RequestError, excerpt
from lbwatch.core.model import Suspended
from lbwatch.core.story import Explanation

ANSWER_TIMEOUT_S = 600.0
"""Longer than any daemon that lives takes, with the `reload_interval` that people set."""

STATUS_TIMEOUT_S = 2.0

_BROKEN_OFF = (errno.ECONNRESET, errno.EPIPE)
_URL = "http://lbwatch"  # the host is a mere name


async def request(path: Path, *, verb: str, container: str) -> str:
    """
    Have the daemon at *path* carry out `drain` or `undrain`, and give what it says.

    Raises:
        RequestError: It refuses, or there is no daemon, in words that say what to do.
    """
    try:
        async with (
            _session(path, timeout_s=ANSWER_TIMEOUT_S) as session,
            session.post(f"{_URL}/{verb}", params={"container": container}) as answer,
        ):
            said = await answer.text()
    except TimeoutError as error:
        raise RequestError(f"lbwatch at {path} does not answer within {ANSWER_TIMEOUT_S:g} s") from error
    except (OSError, aiohttp.ClientError) as error:
        if isinstance(error, aiohttp.ServerDisconnectedError) or getattr(error, "errno", None) in _BROKEN_OFF:
            ended = (
                f"lbwatch at {path} ended before it answered: `lbwatch explain {excerpt(container)}` tells what holds"
            )
            raise RequestError(ended) from error
        raise NoDaemonError(_not_reached(path, error)) from error
    if answer.status != web.HTTPOk.status_code:
        raise RequestError(said)
    return said


async def suspended(path: Path) -> Suspended | None:
    """Ask the daemon at *path* who is held back, for what it alone knows; `None` if there is none to be asked."""
    try:
        async with _session(path, timeout_s=STATUS_TIMEOUT_S) as session, session.get(f"{_URL}/held") as answer:
            return msgspec.json.decode(await answer.read(), type=Suspended)
    except (TimeoutError, OSError, aiohttp.ClientError, msgspec.DecodeError):
        return None


async def explanation(path: Path, *, container: str | None) -> Explanation:
    """
    Ask the daemon at *path* why a container, or each of them, is or is not routed.

    Raises:
        NoDaemonError: There is none to be asked, in words that say what to do.
        RequestError: It knows no such container.
    """
    query = {} if container is None else {"container": container}
    try:
        async with (
            _session(path, timeout_s=STATUS_TIMEOUT_S) as session,
            session.get(f"{_URL}/explain", params=query) as answer,
        ):
            body = await answer.read()
            if answer.status == web.HTTPConflict.status_code:
                raise RequestError(body.decode(errors="replace"))
            return msgspec.json.decode(body, type=Explanation)
    except TimeoutError as error:
        raise NoDaemonError(f"lbwatch at {path} does not answer within {STATUS_TIMEOUT_S:g} s") from error
    except (OSError, aiohttp.ClientError) as error:
        raise NoDaemonError(_not_reached(path, error)) from error
    except msgspec.DecodeError as error:
        raise NoDaemonError(f"the lbwatch at {path} is of another version") from error


def _session(path: Path, *, timeout_s: float) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)), timeout=timeout)


def _not_reached(path: Path, error: Exception) -> str:
    if getattr(error, "errno", None) == errno.EACCES:
        return f"{path} may not be used by this user: be the one that lbwatch runs as, or root"
    cause = getattr(error, "strerror", None) or str(error)
    hint = "is `lbwatch run` running, and with this control_socket?"
    return f"no lbwatch takes orders at {path} ({excerpt(cause)}): {hint}"

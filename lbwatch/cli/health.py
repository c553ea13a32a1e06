"""
`health`: asks the running daemon's /readyz, for a container's HEALTHCHECK.

It runs every few seconds for as long as the container lives, so that it makes its one request by a plain socket: any
HTTP client costs several times as much to import as the whole command to run.
"""

import json
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lbwatch.cli import DONE, FAILED, terminal
from lbwatch.core.errors import excerpt
from lbwatch.settings import Settings, listen_address

TIMEOUT_S = 5.0

MAX_BYTES = 1 << 20
"""Of an answer that is read; the daemon's has a line for each reason."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens there, it is found here

# The answer to HTTP/1.0 comes in one piece, and ends with the connection.
_REQUEST = b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n"


def health(settings: Settings) -> int:
    """Return the exit code for whether the daemon is ready; print that, and else the reasons, a line each."""
    where, connected = _door(settings)
    try:
        answer = json.loads(_body(connected))
        ready, reasons = bool(answer["ready"]), [str(reason) for reason in answer["reasons"]]
    except TimeoutError:
        ready, reasons = False, [f"lbwatch at {where} does not answer within {TIMEOUT_S:g} s"]
    except OSError as error:
        ready, reasons = False, [f"no lbwatch answers at {where}: {error.strerror or error}: is `lbwatch run` running?"]
    except (ValueError, KeyError, TypeError, RecursionError):
        ready, reasons = False, [f"what answers at {where} is no lbwatch"]
    if ready:
        terminal.write_line("ready", style=terminal.GOOD)
    for reason in reasons:
        terminal.write_line(f"not ready: {excerpt(reason)}", style=terminal.BAD)
    return DONE if ready else FAILED


def _door(settings: Settings) -> tuple[str, Callable[[], socket.socket]]:
    """
    Return where the daemon answers, for people, and what connects to it.

    Its own socket where there is no status server, or a protected one: that one says why it is not ready only to who
    has the password, and to speak TLS costs more than all else here.
    """
    api = settings.api
    if not api.status_listen or api.status_password_file is not None or api.status_cert is not None:
        return f"{api.control_socket}", partial(_connected, api.control_socket)
    host, port = listen_address(api.status_listen)
    host = _EVERYWHERE.get(host, host)
    url = f"http://[{host}]:{port}/readyz" if ":" in host else f"http://{host}:{port}/readyz"
    return url, partial(socket.create_connection, (host, port), timeout=TIMEOUT_S)


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(TIMEOUT_S)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _body(connected: Callable[[], socket.socket]) -> bytes:
    """
    Return the body of /readyz, whatever its status.

    Args:
        connected: Connects.

    Raises:
        TimeoutError: It was not there in time, all in all: a server that drips must not hold a HEALTHCHECK up.
        OSError: Nobody answers.
    """
    deadline = time.monotonic() + TIMEOUT_S
    received = b""
    with connected() as connection:
        connection.sendall(_REQUEST)
        while len(received) < MAX_BYTES:
            # A socket takes no timeout below zero, and takes zero for "do not wait, and fail otherwise".
            if (left_s := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
            if not (part := connection.recv(65536)):
                break
            received += part
    if not received:
        raise ConnectionResetError("Server disconnected")
    return received.partition(b"\r\n\r\n")[2]

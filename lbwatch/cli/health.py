"""
`health`: asks the running daemon's /readyz, for a container's HEALTHCHECK.

It runs every few seconds for as long as the container lives, so that it makes its one request by a plain socket: any
HTTP client costs several times as much to import as the whole command to run.
"""

import json
import socket
import time

from lbwatch.cli import DONE, FAILED, terminal
from lbwatch.core.errors import SettingsError, excerpt
from lbwatch.settings import Settings, listen_address

TIMEOUT_S = 5.0

MAX_BYTES = 1 << 20
"""Of an answer that is read; the daemon's has a line for each reason."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens there, it is found here

# The answer to HTTP/1.0 comes in one piece, and ends with the connection.
_REQUEST = b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n"


def health(settings: Settings) -> int:
    """Return the exit code for whether the daemon is ready; print that, and else the reasons, a line each."""
    if not settings.api.status_listen:
        raise SettingsError("status_listen", value="", takes="health needs the status server: set HOST:PORT")
    host, port = listen_address(settings.api.status_listen)
    host = _EVERYWHERE.get(host, host)
    url = f"http://[{host}]:{port}/readyz" if ":" in host else f"http://{host}:{port}/readyz"
    try:
        said = json.loads(_body(host, port))
        ready, reasons = bool(said["ready"]), [str(reason) for reason in said["reasons"]]
    except TimeoutError:
        ready, reasons = False, [f"lbwatch at {url} does not answer within {TIMEOUT_S:g} s"]
    except OSError as error:
        ready, reasons = False, [f"no lbwatch answers at {url}: {error.strerror or error}"]
    except (ValueError, KeyError, TypeError, RecursionError):
        ready, reasons = False, [f"what answers at {url} is no lbwatch"]
    if ready:
        terminal.write_line("ready", style=terminal.GOOD)
    for reason in reasons:
        terminal.write_line(f"not ready: {excerpt(reason)}", style=terminal.BAD)
    return DONE if ready else FAILED


def _body(host: str, port: int) -> bytes:
    """
    Return the body of /readyz, whatever its status.

    Raises:
        TimeoutError: It was not there in time, all in all: a server that drips must not hold a HEALTHCHECK up.
        OSError: Nobody answers.
    """
    deadline = time.monotonic() + TIMEOUT_S
    received = b""
    with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
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

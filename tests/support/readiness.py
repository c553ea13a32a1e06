"""What a running daemon says of its own readiness."""

import socket
from pathlib import Path


def readyz(control_socket: Path) -> str:
    """The answer, headers and all, by its own socket: no port of any network namespace is needed."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(control_socket))
        client.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()

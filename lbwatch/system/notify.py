"""
Reports to systemd, or to whatever else started the daemon so, how it does: the protocol of sd_notify(3).

Messages are datagrams to a unix socket and get no answer. Without a socket nothing is sent; one that does not take a
message harms nothing.
"""

import socket
from collections.abc import Callable, Mapping

import structlog

READY_TIMEOUT_S = 5.0
"""As systemd's own library has it: a start that is not known to be over is ended, so this one message may wait."""

_log = structlog.get_logger()


class Notifier:
    """
    The daemon's end of it.

    Args:
        environ: Has NOTIFY_SOCKET, the socket's path or, after an `@`, its abstract name; WATCHDOG_USEC if silence is
            taken for a hang; and WATCHDOG_PID, the process that this is about.
        pid: Of this process.
    """

    def __init__(self, environ: Mapping[str, str], *, pid: int) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._watched = bool(environ.get("WATCHDOG_USEC")) and environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        self._status = ""  # sent last
        self._said = False  # that a message was not taken

    def ready(self) -> None:
        """Report that the start is over."""
        self._send("READY=1", timeout_s=READY_TIMEOUT_S)

    def reloaded(self) -> None:
        """Report that the reload is over."""
        self._send("READY=1")

    def reloading(self, *, monotonic_ns: int) -> None:
        """Report that a reload begins, at that time of the monotonic clock; `reloaded` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns // 1000}")

    def stopping(self) -> None:
        """Report that the daemon is about to end."""
        self._send("STOPPING=1")

    def passed(self, describe: Callable[[], str]) -> None:
        """Report that a pass of the loop ended, however it did; *describe* returns a line for `systemctl status`."""
        if not self._address:
            return
        status = describe()
        told = () if status == self._status else (f"STATUS={status}",)
        self._status = status
        self._send(*(("WATCHDOG=1",) if self._watched else ()), *told)

    def _send(self, *lines: str, timeout_s: float = 0.0) -> None:
        if not (self._address and lines):
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(timeout_s)
                sender.connect(self._address)  # else a wait for room would spin
                sender.send("\n".join(lines).encode(errors="replace"))
        except (OSError, ValueError) as error:  # the latter for a name that can be none
            if not self._said:
                _log.warning("notify.failed", error=str(error))
            self._said = True

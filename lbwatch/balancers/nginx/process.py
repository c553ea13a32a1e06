"""
An nginx by its processes: its workers by generation, and on this side, as /proc shows it, its master.

Exit codes and signals prove nothing (facts, nginx 1): only new workers do.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lbwatch.core.errors import ReloadError

_MASTER_TITLE = "nginx: master process"
_WORKER_TITLE = "nginx: worker process"
_RETIRING_TITLE = "is shutting down"
_PID_DIGITS = 10
_FIRST = 1
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """
    One process, told apart from a later one with the same pid.

    Attributes:
        started: Start time in clock ticks since boot, as /proc/PID/stat has it.
    """

    pid: int
    started: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """A master's worker processes: those that accept connections, and those that only end their old ones."""

    serving: frozenset[Process]
    retiring: frozenset[Process]


def is_master(title: str) -> bool:
    """Return whether a process of that title is an nginx master."""
    return title.startswith(_MASTER_TITLE)


def workers_by_title(children: Iterable[tuple[Process, str]]) -> Workers:
    """Return the workers among a master's children, which are given with their titles: caches have processes too."""
    workers = [(process, title) for process, title in children if title.startswith(_WORKER_TITLE)]
    retiring = frozenset(process for process, title in workers if _RETIRING_TITLE in title)
    return Workers(serving=frozenset(process for process, _ in workers) - retiring, retiring=retiring)


def find_master(pidfile: Path) -> Process:
    """
    Return the living nginx master that the pid file names: it may be stale and its pid reused (facts, nginx 11).

    Without such a file, process 1 is it if it is an nginx master: so it is in the pid namespace of nginx's container
    (`pid: "service:nginx"`), and nowhere else.

    Raises:
        ReloadError: It does not, in words that say which.
    """
    try:
        text = pidfile.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (first := _master(_FIRST)) is not None:
            return first
        raise ReloadError(f"nginx is not running here: {pidfile}: {error.strerror}") from error
    if not (text.isascii() and text.isdigit() and len(text) <= _PID_DIGITS):
        raise ReloadError(f"nginx is not running here: {pidfile} holds {text[:32]!r}, which is no pid")
    if (master := _master(int(text))) is None:
        raise ReloadError(f"nginx is not running here: process {text}, named by {pidfile}, is no nginx master")
    return master


def signal_reload(master: Process) -> None:
    """
    Send HUP to a master, and to nothing that took its pid since.

    Raises:
        ReloadError: It is gone, or may not be signalled by this user.
    """
    _send(master, signal.SIGHUP)


def require_signal(master: Process) -> None:
    """Make sure that a master could be sent a signal, or raise `ReloadError` likewise."""
    _send(master, 0)


def _send(master: Process, number: int) -> None:
    # A pidfd stays with its process: whatever takes the pid between the look and the signal is not signalled.
    try:
        descriptor = os.pidfd_open(master.pid)
    except OSError as error:
        raise ReloadError(f"nginx master {master.pid} cannot be reached: {error.strerror}") from error
    try:
        if _process(master.pid) != master:
            raise ReloadError(f"nginx master {master.pid} ended before it could be reloaded")
        signal.pidfd_send_signal(descriptor, number)
    except OSError as error:
        reason = f"{error.strerror}; run lbwatch as the user of the master, or with CAP_KILL"
        raise ReloadError(f"nginx master {master.pid} cannot be signalled: {reason}") from error
    finally:
        os.close(descriptor)


def workers_of(master: Process) -> Workers:
    """
    Return a master's workers by what their titles say.

    Raises:
        ReloadError: The master is gone.
    """
    children = ((_title(pid), _process(pid)) for pid in _children(master))
    return workers_by_title((process, title) for title, process in children if process is not None)


def _master(pid: int) -> Process | None:
    process = _process(pid)
    return process if process is not None and is_master(_title(pid)) else None


def _children(master: Process) -> list[int]:
    if _process(master.pid) != master:
        raise ReloadError(f"nginx master {master.pid} ended")
    with suppress(OSError):
        return [int(pid) for pid in (_PROC / f"{master.pid}/task/{master.pid}/children").read_text().split()]
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())  # a kernel without that file
    return [pid for pid in pids if (stat := _stat(pid)) is not None and int(stat[1]) == master.pid]


def _process(pid: int) -> Process | None:
    stat = _stat(pid)
    return None if stat is None or stat[0] == "Z" else Process(pid=pid, started=int(stat[19]))


def _stat(pid: int) -> list[str] | None:
    """Return /proc/PID/stat from its third field (the state) on: the second may hold spaces and brackets (proc(5))."""
    try:
        return (_PROC / f"{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _title(pid: int) -> str:
    try:
        return (_PROC / f"{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

"""
An nginx by its processes: its workers by generation, and on this side, as /proc shows it, its master.

Exit codes and signals prove nothing (facts, nginx 1): only new workers do.
"""

import mmap
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lbwatch.core.errors import ReloadError
from lbwatch.core.model import ContainerProcess
from lbwatch.system import reading

PIDFILE_MAX_BYTES = 4096
"""Of a pid file, which holds some ten digits."""

PROGRAM_MAX_BYTES = 256 << 20
"""Of an nginx program, which has 2 MB, and 20 with all that OpenResty has built in."""

_VERSION = b" version: "
_BUILT_IN = re.compile(rb"[A-Za-z]{1,16}" + _VERSION + rb"[A-Za-z]{1,16}/[0-9.]{1,32}")
_AROUND = 64  # characters of such words before and after the middle
_MASTER_TITLE = "nginx: master process"
_WORKER_TITLE = "nginx: worker process"
_FLAGS = ("-c", "-e", "-g", "-p")
_FLAGS_ALONE = ("-q", "-t", "-T")
_RETIRING_TITLE = "is shutting down"
_PID_DIGITS = 10
_FIRST = 1
_INITS = frozenset(("bash", "catatonit", "docker-init", "dumb-init", "s6-svscan", "sh", "tini"))
"""What people begin a container with that then begins nginx, by the names of their programs; none begins a machine."""
_PROC = Path("/proc")
_PROC_BYTES = 64 * 1024
"""Of one of its files, which the kernel gives in one piece: ours have some hundred bytes, or seven for each worker."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """
    An upgrade of nginx in place that is not finished: two masters, and the old one's workers serve.

    Signal USR2 has the old master start the new one as its child, on the same sockets; from then on the old one reads
    no configuration any more (facts, nginx 23; https://nginx.org/en/docs/control.html).

    Attributes:
        old: The old master.
        new: The new one, which the pid file names.
        workers: Those of the old master that accept connections.
        taken_back: Whether the new master was told to end, and only ends its last connections.
    """

    old: Process
    new: Process
    workers: frozenset[Process]
    taken_back: bool


def is_master(title: str) -> bool:
    """Return whether a process of that title is an nginx master."""
    return title.startswith(_MASTER_TITLE)


def workers_by_title(children: Iterable[tuple[Process, str]]) -> Workers:
    """Return the workers among a master's children, which are given with their titles: caches have processes too."""
    workers = [(process, title) for process, title in children if title.startswith(_WORKER_TITLE)]
    retiring = frozenset(process for process, title in workers if _RETIRING_TITLE in title)
    return Workers(serving=frozenset(process for process, _ in workers) - retiring, retiring=retiring)


def chosen_master(processes: Sequence[ContainerProcess], *, main: str | None) -> ContainerProcess | None:
    """
    Return the nginx master that is meant among a container's processes; `None`: there is none.

    Args:
        processes: All of them.
        main: The main file of the nginx that is meant; `None`: any, and of several the one that was started first.
    """
    masters = {each.pid: each for each in processes if is_master(each.title)}
    # The child of a master is the new one of an upgrade in place (nginx's USR2), and no nginx of its own.
    first = sorted((each for each in masters.values() if each.parent not in masters), key=lambda each: each.pid)
    named = [each for each in first if main is not None and running_flags(each.title).get("-c") == main]
    return next(iter(named or first), None)


def running_flags(title: str) -> dict[str, str]:
    """
    Return what a running nginx was started with, by its flags: `-c`, `-e`, `-g`, `-p`.

    Args:
        title: Of the master process: its words with a space between each, so that only `-g` may have spaces within.
    """
    flags: dict[str, list[str]] = {}
    value: list[str] | None = None
    for word in title.partition("master process")[2].split(" ")[2:]:
        if word in _FLAGS:
            value = flags.setdefault(word, [])
        elif word in _FLAGS_ALONE:
            value = None
        elif value is not None:
            value.append(word)
    found = {flag: " ".join(words) for flag, words in flags.items() if words}
    if "-g" in found:  # an engine may have cut it
        found["-g"] = found["-g"][: found["-g"].rfind(";") + 1]
    return {flag: value for flag, value in found.items() if value}


def with_flags(command: tuple[str, ...], *, flags: Mapping[str, str]) -> tuple[str, ...]:
    """Return a command with more flags; those that it has already stay as they are."""
    added = (pair for pair in flags.items() if not any(word.startswith(pair[0]) for word in command[1:]))
    return (*command, *(word for pair in added for word in pair))


def upgrade_among(processes: Iterable[tuple[Process, int, str]]) -> Upgrade | None:
    """
    Return the upgrade in place that goes on among processes, if there is one.

    Args:
        processes: Each with the pid of its parent and its title: two masters, of which one is the other's child, and
            the children of both.
    """
    rows = tuple(processes)
    masters = {process.pid: (process, parent) for process, parent, title in rows if is_master(title)}
    for new, parent in masters.values():
        if parent not in masters:
            continue
        old, _ = masters[parent]
        before, after = (workers_by_title(_children_among(rows, parent=each.pid)) for each in (old, new))
        # A worker has its master's title for an instant, until it gives itself its own: a master has workers.
        if before.serving and (after.serving or after.retiring):
            return Upgrade(old=old, new=new, workers=before.serving, taken_back=not after.serving)
    return None


def _children_among(rows: Iterable[tuple[Process, int, str]], *, parent: int) -> Iterator[tuple[Process, str]]:
    return ((process, title) for process, of, title in rows if of == parent)


def find_master(pidfile: Path) -> Process:
    """
    Return the living nginx master that the pid file names: it may be stale and its pid reused (facts, nginx 11).

    Without such a file, process 1 is it if it is an nginx master, or the one master that a container's init has begun:
    so it is in the pid namespace of nginx's container (`pid: "service:nginx"`), and nowhere else.

    Raises:
        ReloadError: It does not, in words that say which.
    """
    try:
        text = reading.of_user(pidfile, max_bytes=PIDFILE_MAX_BYTES).decode("ascii", errors="replace").strip()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (first := _first_master()) is not None:
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
    children = ((_title(pid), _process(pid)) for pid in children_of(master))
    return workers_by_title((process, title) for title, process in children if process is not None)


def begun_of(master: Process) -> frozenset[Process]:
    """Return the children of a master that have its title yet: workers, as a rule, that may accept connections soon."""
    children = ((_title(pid), _process(pid)) for pid in children_of(master))
    return frozenset(process for title, process in children if process is not None and is_master(title))


def still_serving(workers: Iterable[Process]) -> frozenset[Process]:
    """Return those workers that live and accept connections, whatever became of their master."""
    titled = ((worker, _title(worker.pid)) for worker in workers if _process(worker.pid) == worker)
    return workers_by_title(titled).serving


def upgrade_of(master: Process) -> Upgrade | None:
    """Return the upgrade in place that *master* came by, or `None` if there is none or it is finished."""
    # The parent and not the file with `.oldbin`, which stays behind when an old master is killed, for a pid that
    # somebody else may have by then.
    if (stat := _stat(master.pid)) is None or (old := _master(int(stat[1]))) is None:
        return None
    try:
        children = {old.pid: children_of(old), master.pid: children_of(master)}
    except ReloadError:  # one of them ended just now
        return None
    pids = [(int(stat[1]), 0), *((pid, parent) for parent, those in children.items() for pid in those)]
    rows = [(_process(pid), parent, _title(pid)) for pid, parent in pids]
    return upgrade_among((process, parent, title) for process, parent, title in rows if process is not None)


def started_after(master: Process, program: str) -> bool:
    """Return whether a running master was started after the file of *program*, a path, last became what it is."""
    booted_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        changed_s = os.stat(program).st_ctime
    except OSError:
        return False
    return changed_s < booted_s + master.started / os.sysconf("SC_CLK_TCK")


def built_in_words(master: Process) -> str:
    """
    Return what the program of a running master says of its version, as it has it built in; empty: it cannot be read.

    It is read and not run: it may lie in another container, whose libraries it would need, or be deleted by now.
    """
    try:
        with open(f"{_PROC}/{master.pid}/exe", "rb") as program:
            size = os.fstat(program.fileno()).st_size
            if not 0 < size <= PROGRAM_MAX_BYTES or _process(master.pid) != master:
                return ""
            with mmap.mmap(program.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return next(_versions_in(content), "")
    except (OSError, ValueError):  # of another user's, or it ended just now
        return ""


def _versions_in(program: mmap.mmap) -> Iterator[str]:
    """Return what a program says of versions; the pattern alone would take 0.1 s for each megabyte."""
    at = program.find(_VERSION)
    while at >= 0:
        if (said := _BUILT_IN.search(program[max(0, at - _AROUND) : at + _AROUND])) is not None:
            yield said[0].decode("ascii")
        at = program.find(_VERSION, at + 1)


def _master(pid: int) -> Process | None:
    process = _process(pid)
    return process if process is not None and is_master(_title(pid)) else None


def _first_master() -> Process | None:
    if (first := _master(_FIRST)) is not None:
        return first
    init = _process(_FIRST)
    if init is None or _command_name(_FIRST) not in _INITS:
        return None
    masters = [master for pid in children_of(init) if (master := _master(pid)) is not None]
    return masters[0] if len(masters) == 1 else None


def _command_name(pid: int) -> str:
    try:
        return _read(f"{pid}/comm").strip()
    except OSError:
        return ""


def children_of(master: Process) -> list[int]:
    """Return the pids of a master's children; raises `ReloadError` where it is gone."""
    if _process(master.pid) != master:
        raise ReloadError(f"nginx master {master.pid} ended")
    with suppress(OSError):
        return [int(pid) for pid in _read(f"{master.pid}/task/{master.pid}/children").split()]
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())  # a kernel without that file
    return [pid for pid in pids if (stat := _stat(pid)) is not None and int(stat[1]) == master.pid]


def _process(pid: int) -> Process | None:
    stat = _stat(pid)
    return None if stat is None or stat[0] == "Z" else Process(pid=pid, started=int(stat[19]))


def _stat(pid: int) -> list[str] | None:
    """Return /proc/PID/stat from its third field (the state) on: the second may hold spaces and brackets (proc(5))."""
    try:
        return _read(f"{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return None


def _title(pid: int) -> str:
    try:
        return _read(f"{pid}/cmdline")
    except OSError:
        return ""


def _read(name: str) -> str:
    """Return a file below /proc; raises `OSError`. Each reload has a hundred of them read."""
    descriptor = os.open(f"{_PROC}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _PROC_BYTES).decode(errors="replace")
    finally:
        os.close(descriptor)

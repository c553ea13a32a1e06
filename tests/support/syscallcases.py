"""Which system calls of lbwatch's fail in `make syscalls`, on which paths, and which file must be there then."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon import Stage

KILL = "KILL"
DISK = ("EIO", "ENOSPC", KILL)

Paths = Callable[[Stage], tuple[Path, ...]]
"""Returns on which paths the calls fail; none: on any."""


def beside(*names: str) -> Paths:
    """Files in the output's folder, `.` the folder itself."""
    return lambda stage: tuple(stage.output.parent.resolve() / name for name in names)


def in_state(*names: str) -> Paths:
    """Files in the folder of what survives a restart."""
    return lambda stage: tuple(stage.lbwatch.state_dir.resolve() / name for name in names)


def candidate(stage: Stage) -> tuple[Path, ...]:
    """The candidate in the copy that nginx tests, and its folder, by which it is opened."""
    output = stage.output.resolve()
    (found,) = stage.lbwatch.log.parent.glob(f"lbwatch-scratch-*/*/root{output}")
    return found, found.parent


def anywhere(stage: Stage) -> tuple[Path, ...]:
    """On any path."""
    return ()


def remove_lock(stage: Stage) -> None:
    """Have it made anew."""
    (stage.output.parent / ".lbwatch.conf.lock").unlink()


def touch_main(stage: Stage) -> None:
    """Have the copy that nginx tests made anew."""
    os.utime(stage.nginx.conf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    One system call.

    Attributes:
        step: What is done by it.
        calls: Its names.
        paths: On which paths.
        injections: How it fails.
        wanted: Which file must be there then, `old` or `new`.
        killed: Likewise where lbwatch dies at it.
        when: Which of the calls fail, as strace has it.
        prepare: What is done before.
    """

    step: str
    calls: str
    paths: Paths
    injections: tuple[str, ...] = DISK
    wanted: str = "old"
    killed: str = "old"
    when: str = "1+"
    prepare: Callable[[Stage], None] = anywhere


OUTPUT = (
    Case(step="open the new file", calls="openat", paths=beside(".lbwatch.conf.tmp")),
    Case(step="write it", calls="write,pwrite64", paths=beside(".lbwatch.conf.tmp", "lbwatch.conf")),
    Case(step="fsync it", calls="fsync", paths=beside(".lbwatch.conf.tmp", "lbwatch.conf")),
    Case(step="rename it", calls="rename,renameat,renameat2", paths=beside(".lbwatch.conf.tmp", "lbwatch.conf")),
    Case(step="fsync the folder", calls="fsync", paths=beside("."), killed="new"),
    Case(
        step="signal nginx",
        calls="pidfd_send_signal,kill",
        paths=anywhere,
        injections=("EPERM", "EIO", KILL),
        wanted="new",
        killed="new",
    ),
)

LOCK, STAT = beside(".lbwatch.conf.lock"), "newfstatat,statx,lstat"

KEPT = (
    Case(step="look at the lock", calls=STAT, paths=LOCK, injections=("EIO", KILL)),
    Case(step="open the lock", calls="openat", paths=LOCK, prepare=remove_lock),
    Case(step="lock it", calls="flock", paths=LOCK, injections=("EIO", KILL), prepare=remove_lock),
    Case(step="name its holder", calls="write", paths=LOCK, wanted="new", prepare=remove_lock),
    Case(
        step="make room for old", calls="unlink,unlinkat", paths=beside(".lbwatch.conf.old"), injections=("EIO", KILL)
    ),
    Case(step="keep the old file", calls="link,linkat", paths=beside(".lbwatch.conf.old"), wanted="new"),
    Case(
        step="discard the old",
        calls="unlink,unlinkat",
        paths=beside(".lbwatch.conf.old"),
        injections=("EIO", KILL),
        wanted="new",
        killed="new",
        when="2+",
    ),
)

TREE = (
    Case(step="open a candidate", calls="openat", paths=candidate, wanted="new"),
    Case(step="write a candidate", calls="write", paths=candidate, wanted="new"),
    Case(step="make the tree", calls="mkdirat", paths=anywhere, wanted="new", prepare=touch_main),
    Case(step="link in the tree", calls="symlinkat", paths=anywhere, wanted="new", prepare=touch_main),
    Case(step="start nginx -t", calls="vfork", paths=anywhere, injections=("EAGAIN", "ENOMEM", KILL), wanted="new"),
)

STATE = (
    Case(step="open the drains", calls="openat", paths=in_state(".drains.json.tmp")),
    Case(step="write them", calls="write", paths=in_state(".drains.json.tmp")),
    Case(step="fsync them", calls="fsync", paths=in_state(".drains.json.tmp")),
    Case(step="rename them", calls="rename,renameat,renameat2", paths=in_state(".drains.json.tmp", "drains.json")),
    Case(step="fsync their folder", calls="fsync", paths=in_state("."), wanted="new", killed="new"),
)
"""`lbwatch drain` while one is drained already; the file is that of the drains."""

PROBE = (
    Case(step="make a probe", calls="mkdir", paths=anywhere, when="1"),
    Case(step="probe the output", calls="rename", paths=anywhere, injections=("EIO", KILL), when="1"),
)
"""A start where the output is there and must not be touched."""

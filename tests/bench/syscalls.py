"""
What a failing system call, or a death at one, does to the output and to nginx: `make syscalls`.

strace attaches to an lbwatch that is in step, on the real engine and nginx, and lets one kind of its system calls on the
output fail, or kills it there, at the update that a second container asks for. Prints a row for each; the exit code is
1 if a row is wrong. Needs root, strace, and what the tests on the real engine need.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from daemon import IN_STEP_S, Stage, wait_until
from oracle import Blocks, expected_blocks, file_blocks
from realengine import RealEngine
from realnginx import RealNginx

WEB = {"lbwatch.upstream": "web"}
KILL = "KILL"
SCRATCH, FOLDER, EITHER = (".lbwatch.conf.tmp",), (".",), (".lbwatch.conf.tmp", "lbwatch.conf")

Case = tuple[str, str, tuple[str, ...], tuple[str, ...], str]
CASES: tuple[Case, ...] = (
    ("open the new file", "openat", SCRATCH, ("EIO", "ENOSPC", KILL), "old"),
    ("write it", "write,pwrite64", EITHER, ("EIO", "ENOSPC", KILL), "old"),
    ("fsync it", "fsync", EITHER, ("EIO", "ENOSPC", KILL), "old"),
    ("rename it", "rename,renameat,renameat2", EITHER, ("EIO", "ENOSPC", KILL), "old"),
    ("fsync the folder", "fsync", FOLDER, ("EIO", "ENOSPC", KILL), "new"),
    ("signal nginx", "pidfd_send_signal,kill", (), ("EPERM", "EIO", KILL), "new"),
)
"""What is done, by which calls, on which paths (none: any), how it fails, and which file must be there then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was seen; each field is a column."""

    step: str
    injection: str
    hit: str
    file: str
    nginx_starts: str
    in_step: str
    left: str
    verdict: str


def main() -> int:
    """Print the table."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("strace", "dockerd", "nginx"))):
        print("syscalls: this needs root, and strace, docker.io and nginx installed")
        return 1
    print_row([field.name.replace("_", " ") for field in fields(Row)])
    rows = []
    with RealEngine() as engine:
        engine.start().run("one", labels=WEB)
        for step, calls, paths, injections, wanted in CASES:
            for injection in injections:
                row = tried(engine, step=step, calls=calls, paths=paths, injection=injection, wanted=wanted)
                print_row([getattr(row, field.name) for field in fields(Row)])
                rows.append(row)
    wrong = [row for row in rows if row.verdict != "right"]
    print(f"{len(rows)} rows, {len(wrong)} wrong")
    return 1 if wrong else 0


def print_row(cells: list[str]) -> None:
    """Print one line of the table."""
    widths = (18, 10, 5, 8, 13, 8, 6, 0)
    print("".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)


def tried(engine: RealEngine, *, step: str, calls: str, paths: tuple[str, ...], injection: str, wanted: str) -> Row:
    """Make one row, on an nginx and an lbwatch of its own."""
    with tempfile.TemporaryDirectory(prefix="lbw-", dir="/tmp") as name:
        folder = Path(name)
        nginx = RealNginx(folder / "nginx", engine.name)
        stage = Stage(engine, nginx, folder=folder, settings={"resync-interval": "2s"})
        try:
            nginx.start()
            stage.lbwatch.start()
            stage.wait_in_step({"web": {"one"}})
            stage.lbwatch.wait_for_log("reconcile.finished")
            old = file_blocks(stage.output)
            with injected(stage, calls=calls, paths=paths, injection=injection, folder=folder):
                engine.run("two", labels=WEB)
                hit = fails(stage, injection=injection)
                new = expected_blocks(engine.inspect_all())
                suspended = "old" if holds(stage.output, old) else "new" if holds(stage.output, new) else "broken"
                starts = nginx_starts(stage.output, engine=engine, folder=folder / "trial")
            if not stage.lbwatch.runs:
                stage.lbwatch.start()
            in_step = comes_in_step(stage)
            left = set(os.listdir(stage.output.parent)) - {"lbwatch.conf", ".lbwatch.conf.lock"}
        finally:
            stage.close()
            engine.remove("two")
    right = suspended == wanted and hit and starts and in_step and not left
    return Row(
        step=step,
        injection=injection,
        hit=yes(hit),
        file=suspended,
        nginx_starts=yes(starts),
        in_step=yes(in_step),
        left=" ".join(left) or "-",
        verdict="right" if right else f"WRONG, the file should be {wanted}" if suspended != wanted else "WRONG",
    )


def yes(lock: bool) -> str:
    """Say it."""
    return "yes" if lock else "no"


@contextmanager
def injected(stage: Stage, *, calls: str, paths: tuple[str, ...], injection: str, folder: Path) -> Iterator[None]:
    """Meanwhile every such call fails, or the first kills."""
    pid, beside = stage.lbwatch.process.pid, stage.output.parent.resolve()
    how = "signal=KILL:when=1" if injection == KILL else f"error={injection}:when=1+"
    argv = ["strace", "-f", "-q", "-o", str(folder / "trace"), "-e", f"trace={calls}", "-e", f"inject={calls}:{how}"]
    on = [part for path in paths for part in ("-P", str(beside / path))]
    strace = subprocess.Popen([*argv, *on, "-p", str(pid)], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_traced(pid), within=IN_STEP_S, what="strace is attached; is ptrace allowed here?")
        yield
    finally:
        strace.terminate()  # it lets go of the process, unless that is gone
        strace.wait(10)


def is_traced(pid: int) -> bool:
    """Tell whether all threads of a process are."""
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return bool(statuses) and all("TracerPid:\t0\n" not in status for status in statuses)


def fails(stage: Stage, *, injection: str) -> bool:
    """Tell whether the injection has its effect: lbwatch dies of it or says that something failed."""
    lbwatch = stage.lbwatch
    events = ("output.failed", "nginx.reload_failed")
    seen = lbwatch.died if injection == KILL else (lambda: any(map(lbwatch.logged, events)))
    try:
        return wait_until(seen, within=IN_STEP_S, what=f"{injection} strikes")
    except AssertionError:
        return False


def holds(output: Path, blocks: Blocks) -> bool:
    """Tell whether the file is whole and says that."""
    try:
        return file_blocks(output) == blocks
    except AssertionError:
        return False


def nginx_starts(output: Path, *, engine: RealEngine, folder: Path) -> bool:
    """Start another nginx from a copy of the file and ask it."""
    with RealNginx(folder, engine.name) as nginx:
        shutil.copy(output, nginx.output)
        try:
            return "one" in nginx.start().answers("web")
        except TimeoutError:
            return False


def comes_in_step(stage: Stage) -> bool:
    """Tell whether it does within the time that is promised."""
    try:
        stage.wait_in_step({"web": {"one", "two"}})
    except AssertionError as error:
        print(error)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())

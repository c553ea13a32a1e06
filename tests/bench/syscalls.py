"""
What a failing system call, or a death at one, does to the output and to nginx: `make syscalls`.

strace attaches to an lbwatch that is in step, on the real engine and nginx, and lets one kind of its system calls fail, or
kills it there: on the output, its lock, its backup and the copy that nginx tests, at the update that a second container
asks for; on what is kept of drains, at a drain; on the probe of the output, at a start. Prints a row for each; the exit
code is 1 if a row is wrong. Needs root, strace, and what the tests on the real engine need. With a word only the steps
that have it in their names.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

from daemon import IN_STEP_S, Stage, wait_until
from oracle import Blocks, expected_blocks, file_blocks
from realengine import RealEngine
from realnginx import RealNginx
from syscallcases import KEPT, KILL, OUTPUT, PROBE, STATE, TREE, Case

WEB = {"lbwatch.upstream": "web"}


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


def main(only: str | None = None) -> int:
    """Print the table; *only*: of the steps with that in their names."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("strace", "dockerd", "nginx"))):
        print("syscalls: this needs root, and strace, docker.io and nginx installed")
        return 1
    print_row([field.name.replace("_", " ") for field in fields(Row)])
    rows = []
    with RealEngine() as engine:
        engine.start().run("one", labels=WEB)
        for trial, cases in ((at_an_update, (*OUTPUT, *KEPT, *TREE)), (at_a_drain, STATE), (at_a_start, PROBE)):
            for case in cases if only is None else [case for case in cases if only in case.step]:
                for injection in case.injections:
                    row = tried(trial, engine, case=case, injection=injection)
                    print_row([getattr(row, field.name) for field in fields(Row)])
                    rows.append(row)
    wrong = [row for row in rows if row.verdict != "right"]
    print(f"{len(rows)} rows, {len(wrong)} wrong")
    return 1 if wrong else 0


def print_row(cells: list[str]) -> None:
    """Print one line of the table."""
    widths = (21, 10, 5, 8, 13, 8, 6, 0)
    print("".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)


@dataclass(slots=True, kw_only=True)
class Trial:
    """
    One injection, on an nginx and an lbwatch of its own that is in step with one container.

    Attributes:
        case: Where it strikes.
        injection: How.
        folder: For files of its own.
        was_hit: Whether it struck.
    """

    engine: RealEngine
    stage: Stage
    case: Case
    injection: str
    folder: Path
    was_hit: bool = False

    @property
    def wanted(self) -> str:
        """Which file must be there afterwards."""
        return self.case.killed if self.injection == KILL else self.case.wanted

    @property
    def strace(self) -> list[str]:
        """What has it strike; the process is to follow."""
        calls, when = self.case.calls, self.case.when
        how = (
            f"signal=KILL:when={when.rstrip('+')}" if self.injection == KILL else f"error={self.injection}:when={when}"
        )
        on = [part for path in self.case.paths(self.stage) for part in ("-P", str(path))]
        trace = ["-o", str(self.trace), "-e", f"trace={calls}", "-e", f"inject={calls}:{how}"]
        return ["strace", "-f", "-q", *trace, *on]

    @property
    def trace(self) -> Path:
        """What strace has seen."""
        return self.folder / "trace"

    def hit(self) -> bool:
        """Return whether it struck: lbwatch died of it, or a call was answered with the error."""
        if self.injection == KILL:
            return self.stage.lbwatch.died()
        return self.trace.exists() and "(INJECTED)" in self.trace.read_text()

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Meanwhile every such call of the lbwatch that runs fails, or the first kills."""
        pid = self.stage.lbwatch.process.pid
        strace = subprocess.Popen([*self.strace, "-p", str(pid)], stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: is_traced(pid), within=IN_STEP_S, what="strace is attached; is ptrace allowed here?")
            yield
        finally:
            strace.terminate()  # it lets go of the process, unless that is gone
            strace.wait(10)


def tried(strikes: Callable[[Trial], tuple[str, bool]], engine: RealEngine, *, case: Case, injection: str) -> Row:
    """
    Make one row.

    Args:
        strikes: Has the injection strike; returns which file is there then, and whether all is well after it.
    """
    # The copy that nginx tests is made anew for each new name on the way to its files: /tmp has many, and a trace is one.
    with tempfile.TemporaryDirectory(prefix="lbw-", dir="/run") as name:
        folder = Path(name)
        (folder / "trace").touch()
        nginx = RealNginx(folder / "nginx", engine.name)
        stage = Stage(engine, nginx, folder=folder, settings={"resync-interval": "2s"})
        trial = Trial(engine=engine, stage=stage, case=case, injection=injection, folder=folder)
        try:
            nginx.start()
            stage.lbwatch.environment["PYTHONDONTWRITEBYTECODE"] = "1"  # which renames files, too
            stage.lbwatch.start()
            stage.wait_in_step({"web": {"one"}})
            stage.lbwatch.wait_for_log("nginx.reloaded")
            found, in_step = strikes(trial)
            starts = nginx_starts(stage.output, engine=engine, folder=folder / "trial")
            left = left_behind(stage)
        finally:
            stage.close()
            engine.remove("two")
    right = found == trial.wanted and trial.was_hit and starts and in_step and not left
    wrong = "WRONG" if found == trial.wanted else f"WRONG, the file should be {trial.wanted}"
    return Row(
        step=case.step,
        injection=injection,
        hit=yes(trial.was_hit),
        file=found,
        nginx_starts=yes(starts),
        in_step=yes(in_step),
        left=" ".join(sorted(left)) or "-",
        verdict="right" if right else wrong,
    )


def at_an_update(trial: Trial) -> tuple[str, bool]:
    """Have it strike while a second container is routed."""
    stage, old = trial.stage, file_blocks(trial.stage.output)
    trial.case.prepare(stage)
    with trial.injected():
        trial.engine.run("two", labels=WEB)
        wait_hit(trial)
        new = expected_blocks(trial.engine.inspect_all())
        if trial.injection != KILL:
            settles(trial, new=new)
        found = "old" if holds(stage.output, old) else "new" if holds(stage.output, new) else "broken"
        starts = nginx_starts(stage.output, engine=trial.engine, folder=trial.folder / "meanwhile")
    if not stage.lbwatch.runs:
        stage.lbwatch.start()
    return found, starts and comes_in_step(stage)


def at_a_drain(trial: Trial) -> tuple[str, bool]:
    """Have it strike while a second drain by hand is kept."""
    stage = trial.stage
    trial.engine.run("two", labels=WEB)
    stage.wait_in_step({"web": {"one", "two"}})
    stage.lbwatch.command("drain", "one")
    with trial.injected():
        stage.lbwatch.command("drain", "two")
        wait_hit(trial)
        found = {("one",): "old", ("one", "two"): "new"}.get(drained(stage), "broken")
    if not stage.lbwatch.runs:
        stage.lbwatch.start()
        stage.lbwatch.wait_started()
    code, _, _ = stage.lbwatch.command("drain", "two")
    return found, code == 0 and drained(stage) == ("one", "two")


def at_a_start(trial: Trial) -> tuple[str, bool]:
    """Have it strike while lbwatch starts before an output that is right."""
    stage, old = trial.stage, trial.stage.output.read_bytes()
    stage.lbwatch.terminate()
    # With -D the process is lbwatch itself; without -f what it starts, such as nginx, is left alone.
    stage.lbwatch.inside = [*(word for word in trial.strace if word != "-f"), "-D"]
    stage.lbwatch.start()
    wait_hit(trial)
    found = "old" if stage.output.read_bytes() == old else "broken"
    stage.lbwatch.inside = ()
    if not stage.lbwatch.runs:
        stage.lbwatch.start()
    trial.engine.run("two", labels=WEB)
    return found, comes_in_step(stage)


def drained(stage: Stage) -> tuple[str, ...]:
    """Return the names that are kept as drained, or what is wrong with the file."""
    try:
        kept = json.loads((stage.lbwatch.state_dir / "drains.json").read_text())
    except (OSError, ValueError) as error:
        return (str(error),)
    return tuple(sorted(each["name"] for each in kept["drained"]))


def left_behind(stage: Stage) -> set[str]:
    """Return what lies in the folders that should not."""
    folders = [stage.output.parent, stage.lbwatch.state_dir]
    found = {name for folder in folders if folder.exists() for name in os.listdir(folder)}
    return found - {"lbwatch.conf", ".lbwatch.conf.lock", "drains.json", ".drains.json.lock"}


def yes(lock: bool) -> str:
    """Say it."""
    return "yes" if lock else "no"


def is_traced(pid: int) -> bool:
    """Tell whether all threads of a process are."""
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return bool(statuses) and all("TracerPid:\t0\n" not in status for status in statuses)


def wait_hit(trial: Trial) -> None:
    """Wait until it strikes, and note whether it did in time."""
    with suppress(AssertionError):
        trial.was_hit = wait_until(trial.hit, within=IN_STEP_S, what=f"{trial.injection} strikes")


def settles(trial: Trial, *, new: Blocks) -> None:
    """Wait until a pass has ended in the way that it should, if it does."""
    stage = trial.stage
    failed = ("output.failed", "nginx.reload_failed")
    with suppress(AssertionError):
        if trial.wanted == "new":
            wait_until(lambda: holds(stage.output, new), within=IN_STEP_S, what="the new file")
        else:
            wait_until(lambda: any(map(stage.lbwatch.logged, failed)), within=IN_STEP_S, what="it says so")


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
    sys.exit(main(*sys.argv[1:2]))

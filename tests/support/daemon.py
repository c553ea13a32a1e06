"""
lbwatch as its users run it: a process with flags, watched by its log, its output file and its exit code.

`Stage` puts it between a real engine and a real nginx and compares the three. Nothing here imports lbwatch.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from oracle import ANY_NETWORK, Reach, expected_blocks, file_blocks
from realengine import RealEngine, in_namespace
from realnginx import RealNginx

T = TypeVar("T")

IN_STEP_S = 12.0
"""A deadline that a machine under load can keep; how long it takes is what the benchmarks measure."""

_REPOSITORY = Path(__file__).resolve().parents[2]
_MARKERS = itertools.count(1)


def wait_until(
    condition: Callable[[], T],
    *,
    within: float,
    what: str,
    holds: Callable[[T], bool] = bool,
    notes: Callable[[], str] = str,
) -> T:
    """
    Poll until a condition holds.

    Args:
        condition: Looks at the world.
        within: Seconds until it fails; the last look begins no earlier than that.
        what: What is waited for, in words.
        holds: Judges what was seen.
        notes: More to print on failure.

    Returns:
        What was seen last.
    """
    deadline = time.monotonic() + within
    while True:
        late = time.monotonic() > deadline
        seen = condition()
        if holds(seen):
            return seen
        if late:
            raise AssertionError(f"not within {within} s: {what}\nlast seen: {seen!r}\n{notes()}")
        time.sleep(0.01)


class Lbwatch:
    """
    One `lbwatch run`; `close` it last, also as a context manager.

    Args:
        program: What Python runs; a module of the tests in its place goes on to the same command line.
        inside: What runs Python in turn, by exec.

    Attributes:
        log: What it wrote to standard error.
    """

    def __init__(
        self,
        *flags: str,
        folder: Path,
        namespace: str | None = None,
        program: Sequence[str] = ("-m", "lbwatch"),
        inside: Sequence[str] = (),
    ) -> None:
        self.flags = flags
        self.inside = inside
        self.program = program
        self.namespace = namespace
        self.log = folder / "lbwatch.log"
        self._scratch = tempfile.TemporaryDirectory(prefix="lbw-", dir="/tmp")  # short: a socket's path is
        self.control_socket = Path(self._scratch.name) / "s"
        self.state_dir = Path(self._scratch.name) / "state"
        self.environment: dict[str, str] = {  # more of it
            "LBWATCH_CONTROL_SOCKET": str(self.control_socket),
            "LBWATCH_STATE_DIR": str(self.state_dir),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._meant_to_run = False
        self._lines_before = 0  # in the log, at the latest start
        self._lines: list[dict[str, Any]] = []  # read so far,
        self._read_bytes = 0  # which is so much of the log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, once started."""
        assert self._process is not None, "lbwatch was not started"
        return self._process

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def died(self) -> bool:
        """Return whether it ended although nobody ended it."""
        return self._meant_to_run and not self.runs

    def start(self) -> Self:
        """Start it and do not wait for anything."""
        assert not self.runs, "lbwatch runs already"
        self._lines_before = self.log.read_text().count("\n") if self.log.exists() else 0
        argv = [*self.inside, sys.executable, *self.program, "run", *self.flags]
        with self.opened_log() as log:
            self._process = subprocess.Popen(
                in_namespace(self.namespace, argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=_REPOSITORY,
                env=self._environment(),
                start_new_session=True,
            )
        self._meant_to_run = True
        return self

    def opened_log(self) -> AbstractContextManager[Any]:
        """Open what its standard error is."""
        return self.log.open("ab")

    def lines(self) -> list[dict[str, Any]]:
        """
        Return its log so far; a line that is no JSON (a traceback, say) is the test's failure.

        Who waits asks a hundred times a second, so that only what is new is read.
        """
        if not self.log.exists():
            return []
        with self.log.open("rb") as log:
            log.seek(self._read_bytes)
            *whole, _ = log.read().split(b"\n")  # the last may still be written
        try:
            self._lines += [json.loads(line) for line in whole]
        except ValueError:
            raise AssertionError(f"not a JSON log:\n{self.tail()}") from None
        self._read_bytes += sum(len(line) + 1 for line in whole)
        return self._lines[:]

    def wait_started(self) -> None:
        """Wait until it is at work, if it was started: on a busy machine Python alone may take seconds."""
        if self.runs:
            wait_until(
                lambda: not self.runs or self.logged("daemon.started", since=self._lines_before),
                within=30,
                what="it has started",
                notes=self.tail,
            )

    def mark(self) -> int:
        """Return how many lines there are: give it to `wait_for_log` to see only later ones."""
        return len(self.lines())

    def logged(self, event: str, *, since: int = 0, **values: object) -> list[dict[str, Any]]:
        """Return the log lines of an event that have all these values."""
        lines = (line for line in self.lines()[since:] if line.get("event") == event)
        return [line for line in lines if all(line.get(key) == value for key, value in values.items())]

    def wait_for_log(
        self, event: str, *, since: int = 0, count: int = 1, within: float = IN_STEP_S, **values: object
    ) -> dict[str, Any]:
        """Return the last line of an event, once it was logged *count* times with all these values."""
        return wait_until(
            lambda: self.logged(event, since=since, **values),
            holds=lambda lines: len(lines) >= count,
            within=within,
            what=f"{count} log lines {event} {values}",
            notes=self.tail,
        )[-1]

    def tail(self) -> str:
        """Return the end of its log, for people."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(["lbwatch's log ends:", *text.splitlines()[-40:]])

    def terminate(self, *, within: float = 2) -> None:
        """End it as `systemctl stop` would: it must obey in time and call that success."""
        assert not self.died(), f"lbwatch ended by itself, exit code {self.process.poll()}\n{self.tail()}"
        self._meant_to_run = False
        began = time.monotonic()
        self.process.terminate()
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"lbwatch did not end within {within} s of SIGTERM\n{self.tail()}") from None
        took_s = time.monotonic() - began
        assert code == 0, f"exit code {code} after {took_s:.2f} s\n{self.tail()}"
        self.lines()

    def hang_up(self) -> None:
        """Have it read its template again."""
        self.process.send_signal(signal.SIGHUP)

    def kill9(self) -> None:
        """End it as a crash would."""
        self._meant_to_run = False
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        """End it, however it is."""
        if self.runs:
            self.kill9()
        self._scratch.cleanup()

    def command(self, *words: str, within: float = 30) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error of another command beside it, with its flags."""
        argv = [sys.executable, "-m", "lbwatch", *words, *self.flags]
        done = subprocess.run(
            in_namespace(self.namespace, argv),
            check=False,
            capture_output=True,
            text=True,
            timeout=within,
            cwd=_REPOSITORY,
            env=self._environment(),
        )
        return done.returncode, done.stdout, done.stderr

    def _environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LBWATCH_", "DOCKER_"))}
        inherited["TMPDIR"] = str(self.log.parent)  # what a killed one leaves goes with the test's folder
        return inherited | self.environment


class Stage:
    """
    An engine, an nginx and lbwatch between them.

    Args:
        reach: What lbwatch is told of networks and exposure.
        settings: More of its flags, by their names.
        kind: What lbwatch is run by.
    """

    def __init__(
        self,
        engine: RealEngine,
        nginx: RealNginx,
        *,
        folder: Path,
        reach: Reach = ANY_NETWORK,
        settings: Mapping[str, str] | None = None,
        kind: type[Lbwatch] = Lbwatch,
    ) -> None:
        self.engine = engine
        self.nginx = nginx
        self.reach = reach
        self.lbwatch = kind(*self._flags(settings or {}), folder=folder, namespace=engine.name)

    @property
    def output(self) -> Path:
        """The file that lbwatch renders."""
        return self.nginx.output

    def differences(
        self,
        serving: Mapping[str, Collection[str]],
        *,
        draining: Collection[str] = (),
        crash_looping: Collection[str] = (),
    ) -> list[str]:
        """
        Compare the file with the engine's truth, and nginx's answers with what is expected.

        Args:
            serving: For each upstream to ask for, who must answer: all of them and nobody else. Nobody at all is
                a 502, which is also what nginx answers for an upstream it does not know.
            draining: See the oracle; so for *crash_looping*.

        Returns:
            What is wrong, in words; empty: in step.
        """
        wanted = expected_blocks(
            self.engine.inspect_all(), reach=self.reach, draining=draining, crash_looping=crash_looping
        )
        if (found := file_blocks(self.output)) != wanted:
            return [f"the file has {found}, the engine's containers want {wanted}"]
        return [text for name, who in serving.items() for text in self._wrong_answers(name, set(who))]

    def wait_in_step(
        self,
        serving: Mapping[str, Collection[str]],
        *,
        draining: Collection[str] = (),
        crash_looping: Collection[str] = (),
        within: float = IN_STEP_S,
    ) -> None:
        """Wait until there are no `differences`, from its start on if that is still going on."""
        self.lbwatch.wait_started()
        wait_until(
            lambda: self.differences(serving, draining=draining, crash_looping=crash_looping),
            holds=lambda differences: not differences,
            within=within,
            what=f"{serving} serve, and the file says what the engine does",
            notes=self.notes,
        )

    def wait_heard(self, *, draining: Collection[str] = ()) -> None:
        """Wait until whatever happened so far must have been seen: a container that starts after it serves."""
        name = f"marker{next(_MARKERS)}"
        self.engine.run(name, labels={"lbwatch.upstream": name})
        self.wait_in_step({name: {name}}, draining=draining)
        self.engine.remove(name)
        self.wait_in_step({name: ()}, draining=draining)

    def notes(self) -> str:
        """Return what helps to understand a failure."""
        return f"{self.lbwatch.tail()}\nnginx's error log ends:\n{self.nginx.errors()}"

    def close(self) -> None:
        """End lbwatch and nginx; the engine belongs to someone else."""
        self.lbwatch.close()
        self.nginx.close()

    def _wrong_answers(self, upstream: str, who: set[str]) -> Iterator[str]:
        expected = who or {"status 502"}
        seen = set()
        for _ in range(max(8, 4 * len(expected))):
            answer = self.nginx.ask(f"/{upstream}/")
            seen.add(answer)
            if answer not in expected:
                yield f"{answer!r} answered for {upstream}, expected {sorted(expected)}"
                return
        if seen != expected:
            yield f"for {upstream} nobody heard of {sorted(expected - seen)}"

    def _flags(self, settings: Mapping[str, str]) -> Iterable[str]:
        values = {
            "docker-host": self.engine.url,
            "output": str(self.nginx.output),
            "nginx-pidfile": str(self.nginx.pidfile),
            "nginx-conf": str(self.nginx.conf),
            "log-format": "json",
            "log-level": "debug",
            "reload-interval": "200ms",
            "status-listen": "",  # many run at once; a test that is about it says otherwise
            "resync-interval": "10m",  # events alone must do; a test that is about the resync says otherwise
            **({"networks": ",".join(self.reach.networks)} if self.reach.networks else {}),
            **({"expose": "all"} if self.reach.expose_all else {}),
            **settings,
        }
        return [part for name, value in values.items() for part in (f"--{name}", value)]


@contextmanager
def ending(stages: Sequence[Stage]) -> Iterator[None]:
    """Close stages at the end; before that, an lbwatch that still should run must obey SIGTERM."""
    try:
        yield
        for stage in stages:
            if stage.lbwatch.runs or stage.lbwatch.died():
                stage.lbwatch.terminate()
    finally:
        for stage in stages:
            stage.close()


def flags_of(settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings by the names that their flags have."""
    return {name.replace("_", "-"): value for name, value in settings.items()}

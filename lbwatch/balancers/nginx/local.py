"""The ways to reach an nginx, behind one small port: test a candidate, reload, verify."""

import asyncio
import os
import re
import shlex
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.process import Process, Workers, find_master, signal_reload, workers_of
from lbwatch.balancers.nginx.verify import ProvenControl, ReloadVerifier
from lbwatch.core.errors import ConfigRejectedError, NotTestedError, ReloadError, ReloadRefusedError, excerpt

TEST_TIMEOUT_S = 30.0
RELOAD_COMMAND_TIMEOUT_S = 30.0

_POLL_S = 0.002

_log = structlog.get_logger()


class Tester(Protocol):
    """
    Tells whether nginx would take a text as its configuration.

    Attributes:
        remark: What the operator should know of how it is tested, as of the latest test; `None`: nothing.
    """

    remark: str | None

    async def test(self, text: str) -> bool:
        """Raise `ConfigRejectedError` if it would not; `False` if nothing here can tell."""


class Control(Protocol):
    """Reloads one nginx and proves it."""

    @property
    def remark(self) -> str | None:
        """Say what the operator should know of it, if there is anything."""

    async def reload(self) -> None:
        """Tell nginx to read its configuration again, or raise `ReloadError`."""

    async def wait_live(self) -> None:
        """Wait until workers with the new configuration serve, or raise `ReloadError`."""

    async def wait_retired(self) -> None:
        """Wait until no worker with the old configuration accepts connections, or raise `ReloadError`."""

    def running(self) -> object:
        """Name the nginx that runs now, for comparison with a later one; `None` if there is none."""

    def latest_start(self) -> object:
        """Name the latest start of nginx, also of one that ended since; `None` where that is not seen."""

    async def workers(self) -> tuple[int, int] | None:
        """Count its workers that serve, and those that only end what they have; `None` if none can be seen."""


class CopyTester:
    """
    Tests a candidate together with the user's real configuration, by the nginx program of this side.

    Args:
        command: The nginx program and what it always needs.
        main: The user's main file; `None`: the one that the program was built for.
        output: The file that the candidate stands for.
        folder: An empty folder for the test tree.
        quiet: Whether to say nothing of a program that is not there, or of an output that is not included.
    """

    def __init__(
        self, command: tuple[str, ...], *, main: Path | None, output: Path, folder: Path, quiet: bool = False
    ) -> None:
        self.main = main  # known for sure once there is a tree
        self.copy: ConfigCopy | None = None  # none before the first test that found a program
        self.remark: str | None = None
        self._command = command
        self._output = output
        self._folder = folder
        self._quiet = quiet
        self._said: set[str] = set()  # warnings

    async def test(self, text: str) -> bool:
        """Run `nginx -t` on the test tree; an nginx that is not installed here cannot test, which is said once."""
        self.remark = None
        program = find_program(self._command[0])
        if program is None:
            self._say_once(
                "nginx.untested",
                reason=f"{self._command[0]} is not installed here: nothing tests a new file before nginx reads it",
            )
            return False
        try:
            copy = await self._run((program, *self._command[1:]), text=text)
        except OSError as error:
            raise NotTestedError(f"nginx_command: {program}: {error.strerror or error}") from error
        if not copy.includes_output:
            self._say_once(
                "nginx.not_included", reason=f"{self.main} does not include {self._output}: nginx never reads it"
            )
        return True

    async def _run(self, command: tuple[str, ...], *, text: str) -> ConfigCopy:
        if self.copy is None:
            self.main = self.main or await built_in_main(command)
            self.copy = ConfigCopy(self._folder, main=self.main, output=self._output)
        copy = self.copy
        await asyncio.to_thread(copy.write, text)
        await _run_test((*command, "-t", "-q", "-c", str(copy.main)), candidate=copy.candidate, stands_for=self._output)
        return copy

    def _say_once(self, event: str, *, reason: str) -> None:
        self.remark = reason
        if event not in self._said and not self._quiet:
            _log.warning(event, reason=reason)
        self._said.add(event)


class CommandTester:
    """
    Tests a candidate by the user's own command.

    Args:
        command: The words of the command; `{candidate}` in them is replaced by the candidate's path.
        folder: A folder for the candidate.
    """

    def __init__(self, command: tuple[str, ...], *, folder: Path) -> None:
        self.remark: str | None = None
        self._candidate = folder / "candidate.conf"
        self._command = tuple(word.replace("{candidate}", str(self._candidate)) for word in command)

    async def test(self, text: str) -> bool:
        """Run the command on the candidate."""
        try:
            await asyncio.to_thread(self._candidate.write_text, text, encoding="utf-8")
            await _run_test(self._command, candidate=self._candidate, stands_for=self._candidate)
        except OSError as error:
            raise NotTestedError(f"test_command: {self._command[0]}: {error.strerror or error}") from error
        return True


class LocalControl(ProvenControl):
    """
    An nginx whose master is known by its pid file; reloaded by HUP, or by a command of the user's.

    Args:
        pidfile: Names the master. With a command it may be absent: the exit code is believed then.
        command: The words of the reload command, or `None` for HUP.
    """

    def __init__(self, *, pidfile: Path, command: tuple[str, ...] | None) -> None:
        super().__init__()
        self.remark: str | None = None
        self._pidfile = pidfile
        self._command = command

    async def reload(self) -> None:
        """Send HUP, or run the command, and remember which workers are the old ones."""
        master, self._verifier = self._find(), None
        if master is not None:
            self._verifier = ReloadVerifier(workers_of(master), look=partial(_look, master), poll_s=_POLL_S)
        if self._command is not None:
            await _run_reload(self._command)
        elif master is not None:
            signal_reload(master)

    def running(self) -> object:
        """Name the master, or the command's nginx as such."""
        try:
            return find_master(self._pidfile)
        except ReloadError:
            return None if self._command is None else self._command

    def latest_start(self) -> object:
        """A process that ended leaves no trace."""
        return None

    async def workers(self) -> tuple[int, int] | None:
        """Count those of the master that the pid file names."""
        try:
            workers = workers_of(find_master(self._pidfile))
        except ReloadError:
            return None
        return len(workers.serving), len(workers.retiring)

    def _find(self) -> Process | None:
        try:
            return find_master(self._pidfile)
        except ReloadError:
            if self._command is None:
                raise
            return None


async def _look(master: Process) -> Workers:
    return workers_of(master)


async def built_in_main(command: tuple[str, ...]) -> Path:
    """Ask the nginx program for its main file."""
    _, said = await _run((*command, "-V"), timeout_s=TEST_TIMEOUT_S)
    return main_of(said)


def main_of(said: str) -> Path:
    """
    Read from what `nginx -V` said which main file the program was built for.

    The defaults are those of https://nginx.org/en/docs/configure.html.
    """
    options = dict(word.split("=", 1) for word in said.split() if word.startswith("--") and "=" in word)
    prefix = Path(options.get("--prefix", "/usr/local/nginx"))
    return prefix / options.get("--conf-path", "conf/nginx.conf")


def find_program(name: str) -> str | None:
    """
    Find a program, also where Debian keeps nginx out of an ordinary user's PATH.

    Returns:
        `None` if it is nowhere; a path that is there but cannot be run is given, so that running it tells why.
    """
    if "/" in name:
        return name if os.path.exists(name) else None
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def split_command(text: str) -> tuple[str, ...]:
    """Cut a command into words as a shell would, without running one; `ValueError` for an open quote or nothing."""
    words = tuple(shlex.split(text))
    if not words:
        raise ValueError("the command is empty")
    return words


async def _run_test(command: tuple[str, ...], *, candidate: Path, stands_for: Path) -> None:
    try:
        code, said = await _run(command, timeout_s=TEST_TIMEOUT_S)
    except TimeoutError as error:
        raise NotTestedError(f"{command[0]}: the test did not end within {TEST_TIMEOUT_S:g} s") from error
    if code != 0:
        raise refusal(said, candidate=candidate, stands_for=stands_for)


def refusal(said: str, *, candidate: Path, stands_for: Path) -> ConfigRejectedError:
    """Make an error of what a test that failed said, which names the candidate by the path that it stands for."""
    named = re.search(re.escape(str(candidate)) + r":(\d+)", said)
    line = int(named[1]) if named else None
    return ConfigRejectedError(said.replace(str(candidate), str(stands_for)), line=line)


async def _run_reload(command: tuple[str, ...]) -> None:
    try:
        code, said = await _run(command, timeout_s=RELOAD_COMMAND_TIMEOUT_S)
    except TimeoutError as error:
        raise ReloadError(f"reload_command did not end within {RELOAD_COMMAND_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise ReloadError(f"reload_command: {command[0]}: {error.strerror}") from error
    if code != 0:
        raise ReloadRefusedError(f"reload_command ended with exit code {code}: {excerpt(said)}")


async def _run(command: tuple[str, ...], *, timeout_s: float) -> tuple[int, str]:
    """
    Run a program to its end and give its exit code and what it said on both outputs.

    It has a session of its own: a Ctrl-C that is meant for us does not end it, and when it is late, all that it
    started is killed with it.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
    )
    try:
        async with asyncio.timeout(timeout_s):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace")

"""Tests a candidate on this side: by the nginx program, or by a command of the user's."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from lbwatch.balancers.nginx.config_test import scratch
from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.config_test.judge import dumped, judged
from lbwatch.balancers.nginx.config_test.permissions import NoCopyError
from lbwatch.balancers.nginx.config_test.program import (
    TEST_TIMEOUT_S,
    UNTESTED,
    command_to_test,
    main_file,
    names_pid,
    rejection,
)
from lbwatch.balancers.nginx.outputs import Outputs, split
from lbwatch.balancers.nginx.version import Version, version_in
from lbwatch.core.errors import NotTestedError
from lbwatch.system.programs import find_program, run_program, start_error

MAX_VERSION_BYTES = 64 * 1024
"""Of what a program prints of its version: a line of nginx's."""

_CANDIDATE, _STREAM_CANDIDATE = "candidate.conf", "candidate.stream"

_STREAM_WORD = "{stream_candidate}"

_log = structlog.get_logger()


class CopyTester:
    """
    Tests a candidate together with the user's real configuration, by the nginx program of this side.

    Args:
        command: The nginx program and what it always needs.
        main: The user's main file; `None`: the one that the program was built for.
        output: The file that the candidate stands for.
        folder: An empty folder for the copy of the configuration.
        stream: The one that its part for `stream {}` stands for; `None`: it has none.
        is_running: Returns whether nginx runs, as far as is known.
        log_warnings: Whether a program that is not there, and an output that is not included, are logged.

    Attributes:
        main: The user's main file; known for sure once there is a copy.
        copy: In which a candidate is tested; `None` before the first test that found a program.
        remark: See `Tester`.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        *,
        main: Path | None,
        output: Path,
        folder: Path,
        stream: Path | None = None,
        is_running: Callable[[], bool] = lambda: True,
        log_warnings: bool = True,
    ) -> None:
        self.main = main
        self.copy: ConfigCopy | None = None
        self.remark: str | None = None
        self._command = command
        self._outputs = Outputs(output, stream=stream)
        self._folder = folder
        self._is_running = is_running
        self._log_warnings = log_warnings
        self._warned: set[str] = set()  # by reason

    async def test(self, text: str) -> bool:
        """
        Return `True` if nginx takes the candidate among the user's files, `False` if nothing here can tell.

        Raises:
            ConfigRejectedError: It refuses it.
        """
        self.remark = None
        if (found := find_program(self._command[0])) is None:
            self._warn_once("nginx.untested", reason=f"{self._command[0]} is not installed here: {UNTESTED}")
            return False
        program = _LocalProgram((found, *self._command[1:]))
        try:
            reason = await self._judge(program, text=text)
        except NoCopyError as error:
            reason = str(error)
        except OSError as error:
            reason = f"nginx_command: {found}: {error.strerror or error}"
        if reason is not None:
            self._warn_once("nginx.untested", reason=f"{reason}: {UNTESTED}")
            return False
        if self.copy is not None and (unread := self.copy.unread()) is not None:
            self._warn_once("nginx.not_included", reason=f"{self.main} does not include {unread}: nginx never reads it")
        return True

    async def dump(self, text: str) -> str | None:
        """Return all that nginx would read with a text that passed, as `nginx -T` prints it; `None`: not known."""
        if self.copy is None or (found := find_program(self._command[0])) is None:
            return None
        try:
            return await dumped(self.copy, text, program=_LocalProgram((found, *self._command[1:])))
        except (NoCopyError, NotTestedError, OSError):
            return None

    async def program_version(self) -> Version | None:
        """Return what the program says of itself."""
        if (found := find_program(self._command[0])) is None:
            return None
        with suppress(OSError, TimeoutError):
            command = (found, *self._command[1:], "-v")
            _, printed = await run_program(command, timeout_s=TEST_TIMEOUT_S, max_bytes=MAX_VERSION_BYTES)
            return version_in(printed)
        return None

    async def refresh(self) -> None:
        """See `Tester`: each test looks by itself."""

    def doubt(self) -> None:
        """See `Tester`."""
        if self.copy is not None:
            self.copy.clear()

    async def _judge(self, program: "_LocalProgram", *, text: str) -> str | None:
        if self.copy is None:
            self.main = self.main or await built_in_main(program.command)
            self.copy = ConfigCopy(
                self._folder,
                main=self.main,
                output=self._outputs.http,
                stream=self._outputs.stream,
                has_pid=names_pid(program.command),
            )
        is_running = self._is_running()
        return await judged(self.copy, text, program=program, outputs=self._outputs, is_running=is_running)

    def _warn_once(self, event: str, *, reason: str) -> None:
        self.remark = reason
        if reason not in self._warned and self._log_warnings:
            _log.warning(event, reason=reason)
        self._warned.add(reason)


class CommandTester:
    """
    Tests a candidate by the user's own command.

    Args:
        command: The words of the command; `{candidate}` in them is replaced by the candidate's path, and
            `{stream_candidate}` by that of its part for `stream {}`.
        folder: A folder for the candidate.
    """

    def __init__(self, command: tuple[str, ...], *, folder: Path) -> None:
        self.remark: str | None = None
        self._folder = folder
        self._candidate = folder / _CANDIDATE
        self._command = tuple(
            word.replace("{candidate}", str(self._candidate)).replace(_STREAM_WORD, str(folder / _STREAM_CANDIDATE))
            for word in command
        )
        self._tests_streams = any(_STREAM_WORD in word for word in command)
        self._warned: str | None = None  # why the latest candidate could not be written

    async def test(self, text: str) -> bool:
        """
        Return `True` if the command takes the candidate, `False` if it is not asked, or not about all of it.

        Raises:
            ConfigRejectedError: It refuses it, or cannot be run (`NotTestedError`).
        """
        self.remark = None
        try:
            await asyncio.to_thread(self._write, text)
        except OSError as error:  # a full /tmp must not hold up what the output's folder has room for
            reason = f"the candidate for test_command: {self._folder}: {error.strerror}: {UNTESTED}"
            if reason != self._warned:
                _log.warning("nginx.untested", reason=reason)
            self.remark = self._warned = reason
            return False
        self._warned = None
        try:
            await _run_test(self._command, candidate=self._candidate)
        except OSError as error:
            raise NotTestedError(f"test_command: {start_error(self._command[0], error)}") from error
        if split(text)[1] is not None and not self._tests_streams:
            self.remark = f"test_command has no {_STREAM_WORD}, so that {UNTESTED} in stream {{}}"
            return False
        return True

    def _write(self, text: str) -> None:
        http, stream = split(text)
        with scratch.opened(str(self._folder)) as folder:
            scratch.write_file(_CANDIDATE, content=http.encode(), within=folder)
            if stream is not None:
                scratch.write_file(_STREAM_CANDIDATE, content=stream.encode(), within=folder)

    async def program_version(self) -> Version | None:
        """Return that it is not known: the command may ask any nginx, or none."""
        return None

    async def refresh(self) -> None:
        """Return: the command knows by itself what nginx reads."""

    def doubt(self) -> None:
        """Return: the command knows by itself what nginx reads."""


async def built_in_main(command: tuple[str, ...]) -> Path:
    """Return the main file that the nginx program was built for, as it says itself."""
    _, printed = await _run((*command, "-V"))
    return main_file(printed)


class _LocalProgram:
    """The nginx program of this side, and what it always needs."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command

    async def test(self, *, main: Path | None, extra: str | None = None, dump: bool = False) -> tuple[int, str]:
        return await _run(command_to_test(self.command, main=main, extra=extra, dump=dump))


async def _run_test(command: tuple[str, ...], *, candidate: Path) -> None:
    code, printed = await _run(command)
    if code != 0:
        raise rejection(printed, candidate=str(candidate), stands_for=str(candidate))


async def _run(command: tuple[str, ...]) -> tuple[int, str]:
    try:
        return await run_program(command, timeout_s=TEST_TIMEOUT_S)
    except TimeoutError as error:
        raise NotTestedError(f"{command[0]}: the test did not end within {TEST_TIMEOUT_S:g} s") from error

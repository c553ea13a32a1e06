"""Tests a candidate on this side: by the nginx program, or by a command of the user's."""

import asyncio
from pathlib import Path

import structlog

from lbwatch.balancers.nginx.config_test.copy import ConfigCopy
from lbwatch.balancers.nginx.config_test.program import TEST_TIMEOUT_S, command_to_test, main_file, rejection
from lbwatch.core.errors import NotTestedError
from lbwatch.system.programs import find_program, run_program

_log = structlog.get_logger()


class CopyTester:
    """
    Tests a candidate together with the user's real configuration, by the nginx program of this side.

    Args:
        command: The nginx program and what it always needs.
        main: The user's main file; `None`: the one that the program was built for.
        output: The file that the candidate stands for.
        folder: An empty folder for the copy of the configuration.
        log_warnings: Whether a program that is not there, and an output that is not included, are logged.

    Attributes:
        main: The user's main file; known for sure once there is a copy.
        copy: In which a candidate is tested; `None` before the first test that found a program.
        remark: See `Tester`.
    """

    def __init__(
        self, command: tuple[str, ...], *, main: Path | None, output: Path, folder: Path, log_warnings: bool = True
    ) -> None:
        self.main = main
        self.copy: ConfigCopy | None = None
        self.remark: str | None = None
        self._command = command
        self._output = output
        self._folder = folder
        self._log_warnings = log_warnings
        self._warned: set[str] = set()  # by event

    async def test(self, text: str) -> bool:
        """Return `True` if `nginx -t` takes the copy, or raise `ConfigRejectedError`; `False`: there is no nginx."""
        self.remark = None
        program = find_program(self._command[0])
        if program is None:
            self._warn_once(
                "nginx.untested",
                reason=f"{self._command[0]} is not installed here: nothing tests a new file before nginx reads it",
            )
            return False
        try:
            copy = await self._run((program, *self._command[1:]), text=text)
        except OSError as error:
            raise NotTestedError(f"nginx_command: {program}: {error.strerror or error}") from error
        if not copy.includes_output:
            self._warn_once(
                "nginx.not_included", reason=f"{self.main} does not include {self._output}: nginx never reads it"
            )
        return True

    async def _run(self, command: tuple[str, ...], *, text: str) -> ConfigCopy:
        if self.copy is None:
            self.main = self.main or await built_in_main(command)
            self.copy = ConfigCopy(self._folder, main=self.main, output=self._output)
        copy = self.copy
        await asyncio.to_thread(copy.write, text)
        await _run_test(command_to_test(command, main=copy.main), candidate=copy.candidate, stands_for=self._output)
        return copy

    def _warn_once(self, event: str, *, reason: str) -> None:
        self.remark = reason
        if event not in self._warned and self._log_warnings:
            _log.warning(event, reason=reason)
        self._warned.add(event)


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
        """Return `True` if the command takes the candidate, or raise `ConfigRejectedError`."""
        try:
            await asyncio.to_thread(self._candidate.write_text, text, encoding="utf-8")
            await _run_test(self._command, candidate=self._candidate, stands_for=self._candidate)
        except OSError as error:
            raise NotTestedError(f"test_command: {self._command[0]}: {error.strerror or error}") from error
        return True


async def built_in_main(command: tuple[str, ...]) -> Path:
    """Return the main file that the nginx program was built for, as it says itself."""
    _, printed = await run_program((*command, "-V"), timeout_s=TEST_TIMEOUT_S)
    return main_file(printed)


async def _run_test(command: tuple[str, ...], *, candidate: Path, stands_for: Path) -> None:
    try:
        code, printed = await run_program(command, timeout_s=TEST_TIMEOUT_S)
    except TimeoutError as error:
        raise NotTestedError(f"{command[0]}: the test did not end within {TEST_TIMEOUT_S:g} s") from error
    if code != 0:
        raise rejection(printed, candidate=candidate, stands_for=stands_for)

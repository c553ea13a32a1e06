"""Reloads an nginx on this side: its master is known by a pid file, its workers by /proc."""

from functools import partial
from pathlib import Path

from lbwatch.balancers.nginx.process import Process, Workers, find_master, signal_reload, workers_of
from lbwatch.balancers.nginx.verify import RELOAD_COMMAND_TIMEOUT_S, ReloadVerifier
from lbwatch.core.errors import ReloadError, ReloadRefusedError, excerpt
from lbwatch.system.programs import run_program

_POLL_S = 0.002


class LocalControl:
    """
    An nginx whose master is known by its pid file; reloaded by HUP, or by a command of the user's.

    Args:
        pidfile: Names the master. With a command it may be absent: the exit code is believed then.
        command: The words of the reload command, or `None` for HUP.
    """

    def __init__(self, *, pidfile: Path, command: tuple[str, ...] | None) -> None:
        self.remark: str | None = None
        self._pidfile = pidfile
        self._command = command
        self._verifier = ReloadVerifier(poll_s=_POLL_S)

    async def reload(self) -> None:
        """Send HUP, or run the command, and remember which workers are the old ones."""
        master = self._find()
        if master is None:
            self._verifier.believe()
        else:
            self._verifier.begin(workers_of(master), look=partial(_look, master))
        if self._command is not None:
            await _run_reload(self._command)
        elif master is not None:
            signal_reload(master)

    async def wait_live(self) -> None:
        """Wait for new workers; where there is no master to see, the command is believed."""
        await self._verifier.wait_live()

    async def wait_retired(self) -> None:
        """Wait for the end of the old workers, likewise."""
        await self._verifier.wait_retired()

    def running(self) -> object:
        """Return the master, or the command where none can be seen; `None` without either."""
        try:
            return find_master(self._pidfile)
        except ReloadError:
            return None if self._command is None else self._command

    def latest_start(self) -> object:
        """Return `None`: a process that ended leaves no trace."""
        return None

    async def workers(self) -> tuple[int, int] | None:
        """Return how many workers of the master serve and how many retire; `None` without a master."""
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


async def _run_reload(command: tuple[str, ...]) -> None:
    try:
        code, printed = await run_program(command, timeout_s=RELOAD_COMMAND_TIMEOUT_S)
    except TimeoutError as error:
        raise ReloadError(f"reload_command did not end within {RELOAD_COMMAND_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise ReloadError(f"reload_command: {command[0]}: {error.strerror}") from error
    # Only this one is a refusal: an untested file is taken back for it, and kept for the other two.
    if code != 0:
        raise ReloadRefusedError(f"reload_command ended with exit code {code}: {excerpt(printed)}")

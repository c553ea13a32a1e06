"""Reloads an nginx on this side: its master is known by a pid file, its workers by /proc."""

import asyncio
from functools import partial
from pathlib import Path

import structlog

from lbwatch.balancers.nginx.outputs import Outputs
from lbwatch.balancers.nginx.process import (
    Process,
    Workers,
    begun_of,
    built_in_words,
    children_of,
    find_master,
    signal_reload,
    started_after,
    upgrade_of,
    workers_of,
)
from lbwatch.balancers.nginx.upgrade import UpgradeWatch
from lbwatch.balancers.nginx.verify import RELOAD_COMMAND_TIMEOUT_S, ReloadVerifier
from lbwatch.balancers.nginx.version import Version, older, version_in
from lbwatch.core.errors import ReloadError, ReloadRefusedError, excerpt
from lbwatch.system.programs import find_program, run_program, start_error

_POLL_S = 0.002
_REFUSED = "[emerg]"  # nginx's word for a configuration that it does not take

_log = structlog.get_logger()


class LocalControl:
    """
    An nginx whose master is known by its pid file; reloaded by HUP, or by a command of the user's.

    Args:
        pidfile: Names the master. With a command it may be absent: the exit code is believed then.
        output: The file that nginx reads when it is reloaded.
        command: The words of the reload command, or `None` for HUP.
        stream: The one that it reads for `stream {}`; `None`: none is written.
        program: The one that tests, as `nginx_command` names it; what runs was started from it, unless it was replaced.
    """

    def __init__(
        self,
        *,
        pidfile: Path,
        output: Path,
        command: tuple[str, ...] | None,
        stream: Path | None = None,
        program: str = "nginx",
    ) -> None:
        self._pidfile = pidfile
        self._outputs = Outputs(output, stream=stream)
        self._command = command
        self._program = program
        self._verifier = ReloadVerifier(poll_s=_POLL_S)
        self._upgrade = UpgradeWatch()
        self._asked: object = None  # the master of the latest reload, and the files as they were then
        self._is_belief_logged = False
        self._waits_for_old = False  # whether of that reload all is verified but the end of an old master

    @property
    def remark(self) -> str | None:
        """Return what the operator can do about an upgrade that is not finished; `None`: there is none."""
        found = self._upgrade.unfinished(self._seen())
        return None if found is None else found.advice

    async def reload(self) -> None:
        """Send HUP, or run the command, and remember which workers are the old ones."""
        master = self._find()
        asked, before = (master, self._outputs.stamp()), self._asked
        # While an upgrade lasts this is asked for every other second. Each reload would leave retiring workers behind,
        # and the new master has read this very file.
        if self._waits_for_old and asked == before:
            return
        self._asked, self._waits_for_old = asked, False
        if master is not None and (upgrade := upgrade_of(master)) is not None and upgrade.taken_back:
            self._upgrade.require_finished(master)  # one that ends reads no file any more, and neither does the old one
        if master is None:
            self._verifier.believe()
            self._log_belief()
        else:
            # In this order: a worker that comes in between makes the children others than those of before.
            children, before = children_of(master), workers_of(master)
            self._verifier.begin(before, look=partial(_look, master, before=before, children=children))
        if self._command is not None:
            await _run_reload(self._command, is_seen=master is not None)
        elif master is not None:
            signal_reload(master)

    async def wait_live(self) -> None:
        """Wait for new workers; where there is no master to see, the command is believed."""
        await self._verifier.wait_live()

    async def wait_retired(self) -> None:
        """
        Wait for the end of the old workers, likewise.

        Raises:
            ReloadError: Those of an old master serve on, since nginx is upgraded in place: that may last for days.
        """
        await self._verifier.wait_retired()
        self._waits_for_old = True
        self._upgrade.require_finished(self._seen())
        self._waits_for_old = False

    def running(self) -> object:
        """Return the master, or the command where none can be seen; `None` without either."""
        if (master := self._seen()) is None:
            return self._command
        # An old master that serves again, or ends, makes another nginx of it: what was verified does not stand.
        upgrade = upgrade_of(master)
        return master if upgrade is None else (master, upgrade.old)

    def latest_start(self) -> object:
        """Return `None`: a process that ended leaves no trace."""
        return None

    def program(self) -> object:
        """Return `None`: what nginx will be started from is what tests, and that refuses what is too new for it."""
        return None

    async def version(self, tested: Version | None) -> Version | None:
        """
        Return the version of the master, or of the program that tests where that is older: both have to take a file.

        After an upgrade of its package nginx runs on from the program that it was started with. Where that may not be
        read, since lbwatch has few rights, the one that tests stands for it, if that was there before. What a command
        reloads and nobody sees may be another nginx than the one here.
        """
        if (master := self._seen()) is None:
            return tested if self._command is None else None
        runs = version_in(await asyncio.to_thread(built_in_words, master))
        if runs is None and not self._runs_what_tests(master):
            return None
        return older(tested, runs)

    def _runs_what_tests(self, master: Process) -> bool:
        program = find_program(self._program)
        return program is not None and started_after(master, program)

    async def workers(self) -> tuple[int, int] | None:
        """Return how many workers of the master serve and how many retire; `None` without a master."""
        try:
            workers = workers_of(find_master(self._pidfile))
        except ReloadError:
            return None
        return len(workers.serving), len(workers.retiring)

    def serving_pids(self) -> frozenset[int] | None:
        """Return the pids of the master's serving workers, with those of an old one; `None` where no master is seen."""
        try:
            # One that has just begun accepts connections before its title says that it is a worker. Looked for first,
            # since that may happen in between.
            serving = begun_of(master := find_master(self._pidfile))
            serving |= workers_of(master).serving
        except ReloadError:
            return None
        if (upgrade := upgrade_of(master)) is not None:
            serving |= upgrade.workers
        return frozenset(worker.pid for worker in serving)

    def _log_belief(self) -> None:
        """Log, once, that nothing is verified: an operator who forgot the pid file would think that it is."""
        if not self._is_belief_logged:
            _log.info(
                "nginx.believed",
                reason=f"no nginx master is seen by {self._pidfile}: all that is known of a reload is the exit code of "
                "reload_command",
            )
        self._is_belief_logged = True

    def _seen(self) -> Process | None:
        try:
            return find_master(self._pidfile)
        except ReloadError:
            return None

    def _find(self) -> Process | None:
        return find_master(self._pidfile) if self._command is None else self._seen()


async def _look(master: Process, *, before: Workers, children: list[int]) -> Workers:
    # nginx may read its configuration for seconds before it starts new workers, and what the old ones are only changes
    # after that: who they are is enough until then.
    return before if children_of(master) == children else workers_of(master)


async def _run_reload(command: tuple[str, ...], *, is_seen: bool) -> None:
    try:
        code, printed = await run_program(command, timeout_s=RELOAD_COMMAND_TIMEOUT_S)
    except TimeoutError as error:
        raise ReloadError(f"reload_command did not end within {RELOAD_COMMAND_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise ReloadError(f"reload_command: {start_error(command[0], error)}") from error
    # Only this one is a refusal: the file is taken back for it, and kept for the other two.
    if code != 0:
        words = f"reload_command ended with exit code {code}: {excerpt(printed)}"
        raise ReloadRefusedError(words, is_sure=is_seen or _REFUSED in printed)

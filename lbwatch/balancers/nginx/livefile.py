"""
The file that nginx includes: replaced, reloaded, verified, and put back unless nginx is seen to take it.

Where there is another one for `stream {}`, both are as one (see `outputs`).

Whatever judged a text before, nginx is who decides; until it has, a backup of the file before lies beside the new one.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from lbwatch.balancers.nginx.evidence import Evidence
from lbwatch.balancers.nginx.outputs import Lock, Outputs
from lbwatch.balancers.nginx.version import Version
from lbwatch.core.errors import OutputError, ReloadError, ReloadRefusedError, TakenBackError
from lbwatch.system import files, place

STOP_TIMEOUT_S = 1.5
"""How long a stop waits for a reload command of the user's; a replacement and a signal take milliseconds."""

_log = structlog.get_logger()


class Control(Protocol):
    """Reloads one nginx and verifies that it did."""

    @property
    def remark(self) -> str | None:
        """Return what the operator should know of it; `None`: nothing."""

    async def reload(self) -> None:
        """Reload nginx, or raise `ReloadError`."""

    async def wait_live(self) -> None:
        """Wait until workers with the new configuration serve, or raise `ReloadError`."""

    async def wait_retired(self) -> None:
        """Wait until no worker with the old configuration accepts connections, or raise `ReloadError`."""

    def running(self) -> object:
        """Return the nginx that runs now, for comparison with a later one; `None` if there is none."""

    def latest_start(self) -> object:
        """Return the latest start of nginx, also of one that ended since; `None` where that is not seen."""

    def program(self) -> object:
        """Return what its program comes from; see `watch.Control`."""

    async def version(self, tested: Version | None) -> Version | None:
        """Return its version; see `watch.Control`."""

    async def workers(self) -> tuple[int, int] | None:
        """Return how many of its workers serve and how many retire; `None` if none can be seen."""

    def serving_pids(self) -> frozenset[int] | None:
        """Return the pids, as we see them, of its workers that serve; `None` where they are not seen."""


class LiveFile:
    """
    The file, and the nginx that reads it.

    Args:
        path: Of the file.
        control: Reloads nginx and verifies that.
        lock: The right to replace the file.
        evidence: Where what was verified is kept for the next start.
        stream: Path of the file for `stream {}`; `None`: there is none.
    """

    def __init__(
        self, path: Path, *, control: Control, lock: Lock, evidence: Evidence, stream: Path | None = None
    ) -> None:
        self.path = path
        self._outputs = Outputs(path, stream=stream)
        self._kept = evidence
        self._control = control
        self._lock = lock
        self._confirmed: object = None  # the nginx and the file of the latest verified reload
        self._text = ""  # of the latest `put`
        self._stamp: object = None  # of the file as it was looked at or put last
        self._reloaded: object = None  # the nginx of the latest reload
        self._turn: object = None  # for which file, since which start of nginx, one of two is tried

    def read(self) -> str | None:
        """Return its text; `None` if there is none. Raises `OutputError`."""
        return self._outputs.read()

    def look(self) -> str | None:
        """Return the same, for the next `put`, which compares with it."""
        self._stamp = self._outputs.stamp()
        return self.read()

    def confirmed(self) -> bool:
        """Return whether what was verified last still stands: the same nginx runs, and the file was not changed."""
        return self._confirmed is not None and self._confirmed == self._evidence()

    def is_untouched(self) -> bool:
        """Return whether the file is still as it was looked at or put last."""
        return self._stamp is not None and self._stamp == self._outputs.stamp()

    async def recalls(self, text: str) -> bool:
        """Return whether an lbwatch before this one verified what is here now: this nginx, this file, this text."""
        # Taken first: what is compared below is the file as nginx was seen to run it, and so this is, too.
        evidence, running = self._evidence(), self._control.running()
        if evidence is None or not await self._kept.holds(text, running=running, outputs=self._outputs.paths):
            return False
        self._confirmed = evidence
        return self.confirmed()

    def keep(self, text: str) -> None:
        """Keep for the next start that nginx runs what is here now; *text*: that, as its workers have said."""
        self._kept.keep(text, running=self._control.running(), outputs=self._outputs.paths)

    def restore(self) -> None:
        """Put the last good file back, where one that ended by a kill left another on trial. Raises `OutputError`."""
        self._outputs.remove_left_behind()
        if self._outputs.has_backup():
            self._outputs.restore()
            _log.warning("output.restored", output=str(self.path))

    async def require_reloads(self) -> None:
        """Make sure that nginx takes a reload of the file as it is, or raise `ReloadError`."""
        await self._control.reload()
        await self._control.wait_live()

    async def put(self, text: str, *, before: str | None, tested: bool) -> None:
        """
        Replace the file and reload, and return once new workers are there.

        What nothing tested is on trial, also while nginx is down; what was tested stays then, and a reload is owed.

        Args:
            text: What it is to hold.
            before: What it held when it was looked at; `None`: there was none.
            tested: Whether nginx's own test took the text.

        Raises:
            TakenBackError: nginx did not take it, and the file is the one of before.
            ReloadError: nginx does not run the file yet.
            OutputError: It cannot be replaced.
        """
        self._kept.drop()
        self._confirmed, self._text = None, text  # from here on nothing is verified, however this ends
        if not tested:
            await self._take_turns(text, before=before)
        try:
            await _to_the_end(self._replace_and_reload(text, before=before))
            await self._control.wait_live()
        except ReloadRefusedError as error:
            if tested and not error.is_sure:
                await asyncio.to_thread(self._outputs.discard_backup)
            if not self._outputs.has_backup():
                raise
            await asyncio.to_thread(self._outputs.restore)
            raise TakenBackError(f"{error}; the old file is back") from error
        except (ReloadError, asyncio.CancelledError) as error:
            if tested:
                await asyncio.to_thread(self._outputs.discard_backup)
            elif isinstance(error, asyncio.CancelledError) and self._outputs.has_backup():
                await asyncio.to_thread(self._outputs.restore)
            raise
        await asyncio.to_thread(self._outputs.discard_backup)

    async def rewrite(self, text: str) -> None:
        """
        Replace the file, and leave nginx with what it runs: that is the same, but for what nobody is sent to.

        Whether that still stands is known by the new file from then on. Raises `OutputError`.

        Args:
            text: What it is to hold; nginx's own test took it.
        """
        running, was_confirmed = self._control.running(), self.confirmed()
        self._confirmed = None
        await _to_the_end(asyncio.to_thread(self._rewrite, text))
        await asyncio.to_thread(self._outputs.discard_backup)
        self._stamp = self._outputs.stamp()
        if was_confirmed and running == self._control.running():
            self._confirmed = self._evidence()

    def _rewrite(self, text: str) -> None:
        self._replace(text, is_on_trial=self._outputs.changes_both(text))

    async def _replace_and_reload(self, text: str, *, before: str | None) -> None:
        # What somebody else put there, or took away, since it was looked at is not what nginx shall read.
        if text != before or self._outputs.stamp() != self._stamp:
            await asyncio.to_thread(self._replace, text)
            self._stamp = self._outputs.stamp()
        await self._control.reload()
        self._reloaded = self._control.running()

    async def _take_turns(self, text: str, *, before: str | None) -> None:
        """
        Have the new file and the old one take turns while nginx is down and nothing can test.

        It may be unable to start from either: from the new one for what is wrong with it, from the old one for what the
        user's own files name and it lacks.
        """
        start, runs = self._control.latest_start(), self._control.running() is not None
        turn, self._turn = self._turn, None if runs or start is None else (start, text)
        if turn is not None and turn == self._turn:
            await self.require_reloads()  # which says why it cannot
            raise ReloadError("nginx was not running, and was not started since the file was replaced")
        if text == before and not runs and self._outputs.has_backup():
            await asyncio.to_thread(self._outputs.restore)
            raise ReloadError("nginx is not running, and nothing can test the new file: the old one's turn")

    def _replace(self, text: str, *, is_on_trial: bool = True) -> None:
        # At each replacement: the folder, and with it the file that was locked, may be another one since.
        self._lock.acquire()
        if not is_on_trial:  # a backup would be put back by the next lbwatch, if this one were killed just now
            self._outputs.replace(text)
            return
        if is_first := not self._outputs.has_backup():
            self._outputs.backup()
        elif (reason := place.refusal(kept := files.backup_path(self.path))) is not None:
            raise OutputError(kept, error=OSError(f"it is in the way and cannot be removed: {reason}: remove it"))
        try:
            self._outputs.replace(text)
        except OutputError:
            # Of a replacement only the last step may have failed; of two, one may be left that goes with no other.
            if is_first or self._outputs.stream is not None:
                with suppress(OutputError):
                    self._outputs.restore()
            raise

    async def verify(self, *, began: float) -> tuple[float, float]:
        """
        Return after how many seconds the new workers were there and the old ones retired, once they are.

        Args:
            began: Loop time from which they are counted.

        Raises:
            ReloadError: They do not come, or nginx or the file was another one afterwards.
        """
        loop = asyncio.get_running_loop()
        # Compared after the wait: a restart or a foreign write in between could have put another file in force than the
        # one that was waited for.
        evidence = None if self._reloaded is None else (self._reloaded, self._stamp)
        await self._control.wait_live()
        live_s = loop.time() - began
        await self._control.wait_retired()
        verified_s = loop.time() - began
        if evidence != self._evidence():
            raise ReloadError("nginx was restarted, or the output was changed by someone else, during the reload")
        self._confirmed = evidence
        self._kept.keep(self._text, running=self._control.running(), outputs=self._outputs.paths)
        if not self.confirmed():  # something changed just now: what was kept may not be what was verified
            self._kept.drop()
        return live_s, verified_s

    def _evidence(self) -> object:
        running = self._control.running()
        return None if running is None else (running, self._outputs.stamp())


async def _to_the_end(step: Coroutine[None, None, None]) -> None:
    """Run a step that must not be left half done: a cancellation waits for its end, but not for long."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=STOP_TIMEOUT_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise

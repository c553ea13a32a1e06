"""Brings upstreams into force: render, test, replace, reload, verify; and knows whether what it did still holds."""

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.isolate import AcceptedConfig, accepted, names_in
from lbwatch.balancers.template import Renderer, digest
from lbwatch.core import diff
from lbwatch.core.errors import OutputError, ReloadError, ReloadRefusedError, TakenBackError
from lbwatch.core.model import Applied, BalancerStatus, Degraded, Plan, Upstream
from lbwatch.core.schedule import ReloadPace
from lbwatch.system import files
from lbwatch.system.lock import FileLock

STOP_TIMEOUT_S = 1.5
"""How long a stop waits for a reload command of the user's; a replacement and a signal take milliseconds."""

_log = structlog.get_logger()


class Tester(Protocol):
    """
    Tests whether nginx would take a text as its configuration.

    Attributes:
        remark: What the operator should know of how it is tested, as of the latest test; `None`: nothing.
    """

    remark: str | None

    async def test(self, text: str) -> bool:
        """Return `True` if nginx would take it, `False` if nothing can test here; else raise `ConfigRejectedError`."""


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

    async def workers(self) -> tuple[int, int] | None:
        """Return how many of its workers serve and how many retire; `None` if none can be seen."""


class Nginx:
    """
    One nginx as a load balancer.

    Args:
        renderer: Makes the text.
        output: The file that nginx includes.
        tester: Tests whether nginx would take a text.
        control: Reloads nginx and verifies that.
        lock: The right to replace the output.
        pace: When nginx may be reloaded.
    """

    def __init__(
        self, renderer: Renderer, *, output: Path, tester: Tester, control: Control, lock: FileLock, pace: ReloadPace
    ) -> None:
        self._renderer = renderer
        self._output = output
        self._tester = tester
        self._control = control
        self._lock = lock
        self._pace = pace
        self._in_force: tuple[Upstream, ...] | None = None  # verified
        self._degraded: tuple[Degraded, ...] = ()  # of the latest candidate
        self._confirmed: object = None  # the nginx and the file of the latest verified reload
        self._verified_by: object = None  # the nginx of it
        self._verified_text: str | None = None
        self._turn: object = None  # for which file, since which start of nginx, one of two is tried

    def limited(self, plan: Plan) -> Plan:
        """Return a plan that nginx takes, and can bear: what had to be changed for that is noted in its routes."""
        return limits.limited(plan)

    def due(self, upstreams: tuple[Upstream, ...], *, now: float, at_once: bool) -> float:
        """
        Return the loop time at which upstreams may go out, never before *now*.

        Args:
            upstreams: What should be in force.
            now: Loop time, in seconds.
            at_once: Whether they go out as soon as nginx can follow.
        """
        return self._pace.due(upstreams, before=self._in_force, now=now, at_once=at_once)

    def confirmed(self) -> bool:
        """Return whether what was verified last still stands: the same nginx runs, and the file was not changed."""
        return self._confirmed is not None and self._confirmed == self._evidence()

    def text(self) -> str:
        """Return the file's text, for the status; empty where it cannot be read."""
        with suppress(OutputError):
            return files.read(self._output) or ""
        return ""

    async def status(self) -> BalancerStatus:
        """Return what can be seen of the file and of nginx now."""
        text, remarks = None, [each for each in (self._tester.remark, self._control.remark) if each is not None]
        try:
            text = await asyncio.to_thread(files.read, self._output)
        except OutputError as error:
            remarks.append(str(error))
        verified, running = self._verified_text, self._control.running()
        return BalancerStatus(
            digest=None if text is None else digest(text),
            running=digest(verified) if verified is not None and running == self._verified_by else None,
            workers=await self._control.workers(),
            remarks=tuple(remarks),
        )

    def runs(self) -> bool:
        """Return whether nginx runs, as far as can be seen."""
        return self._control.running() is not None

    async def apply(self, upstreams: tuple[Upstream, ...]) -> Applied:
        """
        Return what came of bringing *upstreams* into force; where they are already, and verified, nothing is done.

        Upstreams that nginx or the template refuses are degraded as far as they must be, and named in the answer.

        Raises:
            RenderError, ConfigRejectedError, OutputError: The old file serves on.
            ReloadError: The file is the new one, which passed the test; nginx does not run it yet.
        """
        began = asyncio.get_running_loop().time()
        self._pace.reloads(upstreams, before=self._in_force, now=began)
        applied = await self._apply(upstreams, began=began)
        self._in_force = upstreams
        return applied

    async def _apply(self, upstreams: tuple[Upstream, ...], *, began: float) -> Applied:
        before = await asyncio.to_thread(files.read, self._output)
        candidate = await self._candidate(upstreams, before=names_in(before or ""))
        name, changed = digest(candidate.text), candidate.text != before
        # Equal to the file is not equal to what runs: without a verified reload of this nginx a reload is owed.
        if not changed and self.confirmed():
            return Applied(digest=name, changed=False, reloaded=False, degraded=candidate.degraded)
        await _to_the_end(self._put_in_force(candidate, before=before))
        live_s, verified_s = await self._verified(began=began)
        difference = await self._noted(candidate.text, before=before)
        _log.info(
            "nginx.reloaded", digest=name, changed=changed, live_s=round(live_s, 4), verified_s=round(verified_s, 4)
        )
        return Applied(
            digest=name,
            changed=changed,
            reloaded=True,
            difference=difference,
            live_s=live_s,
            verified_s=verified_s,
            degraded=candidate.degraded,
        )

    async def _candidate(self, upstreams: tuple[Upstream, ...], *, before: Collection[str]) -> AcceptedConfig:
        candidate = await accepted(
            upstreams, render=self._renderer.text, test=self._tester.test, known=self._degraded, before=before
        )
        told = {(item.upstream, item.level) for item in self._degraded}
        for item in candidate.degraded:
            if (item.upstream, item.level) in told:
                continue
            if item.kept:
                _log.warning("upstream.kept", upstream=item.upstream, error=item.error)
            else:
                _log.error("upstream.degraded", upstream=item.upstream, degraded_to=str(item.level), error=item.error)
        whole = {upstream.name for upstream in upstreams} - {item.upstream for item in candidate.degraded}
        for name in sorted({name for name, _ in told} & whole):
            _log.info("upstream.restored", upstream=name)
        self._degraded = candidate.degraded
        return candidate

    async def _put_in_force(self, candidate: AcceptedConfig, *, before: str | None) -> None:
        """Replace the file and reload; what nothing could test is taken back unless nginx is seen to take it."""
        self._confirmed = None  # from here on nothing is verified, however this ends
        # A backup that is there already was left by a trial that a kill cut short: a file that equals the candidate is
        # still on trial then.
        if not candidate.tested and (candidate.text != before or files.has_backup(self._output)):
            await self._put_on_trial(candidate.text, before=before)
            return
        if candidate.text != before:
            await asyncio.to_thread(self._replace, candidate.text)
        if files.has_backup(self._output):
            await asyncio.to_thread(files.discard_backup, self._output)
        await self._control.reload()

    async def _put_on_trial(self, text: str, *, before: str | None) -> None:
        """
        Have a reload be the test where there is no other; until then a backup of the old file is kept on disk.

        While nginx is down the two take turns at each try: it may be unable to start from either, from the new one
        for what is wrong with it, from the old one for what the user's own files name and it lacks.
        """
        start, runs = self._control.latest_start(), self._control.running() is not None
        turn, self._turn = self._turn, None if runs or start is None else (start, text)
        if turn is not None and turn == self._turn:
            raise ReloadError("nginx is not running, and was not started since the file was replaced")
        if text == before and not runs:
            await asyncio.to_thread(files.restore, self._output)
            raise ReloadError("nginx is not running, and nothing can test the new file: the old one's turn")
        if not files.has_backup(self._output):
            await asyncio.to_thread(files.backup, self._output)
        if text != before:
            await asyncio.to_thread(self._replace, text)
        try:
            await self._control.reload()
            await self._control.wait_live()
        except asyncio.CancelledError:
            await asyncio.to_thread(files.restore, self._output)
            raise
        except ReloadRefusedError as error:
            await asyncio.to_thread(files.restore, self._output)
            raise TakenBackError(f"{error}; nothing could test the new file, and the old one is back") from error
        await asyncio.to_thread(files.discard_backup, self._output)

    def _replace(self, text: str) -> None:
        # At each replacement: the folder, and with it the file that was locked, may be another one since.
        self._lock.acquire()
        files.replace(self._output, text=text)

    async def _verified(self, *, began: float) -> tuple[float, float]:
        """Return after how many seconds the new workers were there and the old ones retired, once they are."""
        loop = asyncio.get_running_loop()
        # Taken before the wait and compared after it: a restart or a foreign write in between could have put another
        # file in force than the one that was waited for.
        evidence = self._evidence()
        await self._control.wait_live()
        live_s = loop.time() - began
        await self._control.wait_retired()
        verified_s = loop.time() - began
        if evidence != self._evidence():
            raise ReloadError("nginx was restarted, or the output was changed by someone else, during the reload")
        self._confirmed = evidence
        return live_s, verified_s

    async def _noted(self, text: str, *, before: str | None) -> str:
        """Return the difference of what was verified to what was before it, or else to the file, and note it."""
        known = self._verified_text if self._verified_text is not None else before or ""
        self._verified_text, self._verified_by = text, self._control.running()
        return await asyncio.to_thread(_difference, known, text)

    def _evidence(self) -> object:
        running = self._control.running()
        return None if running is None else (running, files.stamp(self._output))


def _difference(before: str, after: str) -> str:
    return "".join(diff.unified(before, after))


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

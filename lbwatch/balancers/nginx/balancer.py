"""Brings upstreams into force: render, test, replace, reload, verify; and knows whether what it did still holds."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from lbwatch.balancers.nginx import leftovers
from lbwatch.balancers.nginx.evidence import Evidence
from lbwatch.balancers.nginx.isolate import AcceptedConfig, accepted, names_in
from lbwatch.balancers.nginx.limits import Limits
from lbwatch.balancers.nginx.livefile import Control, LiveFile
from lbwatch.balancers.nginx.marks import is_outlived
from lbwatch.balancers.nginx.suspects import Suspects, Trial
from lbwatch.balancers.nginx.version import Version
from lbwatch.balancers.nginx.watch import VersionWatch
from lbwatch.balancers.template import Renderer, digest
from lbwatch.core import diff
from lbwatch.core.changes import changed_upstreams, upstreams_of
from lbwatch.core.errors import LbwatchError, OutputError, ReloadRefusedError, TakenBackError
from lbwatch.core.model import Applied, BalancerStatus, Degraded, Plan, Upstream
from lbwatch.core.schedule import ReloadPace
from lbwatch.system.lock import FileLock

REFRESH_INTERVAL_S = 30.0
"""What the user changes in a container's files is seen so late; a reload that nginx refuses has it seen at once."""

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

    async def program_version(self) -> Version | None:
        """Return the version of the nginx that tests; `None` where it cannot be known. Raises nothing of its own."""

    async def refresh(self) -> None:
        """Look for what the user changed in nginx's files, where a test does not see it by itself."""

    def doubt(self) -> None:
        """Have all that is known of nginx's files looked at again: it refused what passed, or what nothing tested."""


@dataclass(slots=True)
class _Seen:
    """
    What nginx was seen to run last.

    Attributes:
        upstreams: What its latest verified reload was for.
        read: What that had it read; `None`: none was verified since the start.
        file: What the file has since then: names without a server may have left it.
        nginx: Which one it was, for comparison.
    """

    upstreams: tuple[Upstream, ...] = ()
    read: str | None = None
    file: str | None = None
    nginx: object = None


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
        evidence: Where what was verified is kept for the next start; `None`: nowhere.

    Attributes:
        file: The output, and the nginx that reads it.
        step: What `apply` does just now, or did last.
    """

    def __init__(
        self,
        renderer: Renderer,
        *,
        output: Path,
        tester: Tester,
        control: Control,
        lock: FileLock,
        pace: ReloadPace,
        evidence: Path | None = None,
    ) -> None:
        self.file = LiveFile(output, control=control, lock=lock, evidence=Evidence(evidence))
        self.step = ""
        self._renderer = renderer
        self._tester = tester
        self._control = control
        self._pace = pace
        self._limits = Limits()
        self._watch = VersionWatch(tester=tester, control=control)
        self._in_force: tuple[Upstream, ...] | None = None  # verified
        self._seen = _Seen()
        self._degraded: tuple[Degraded, ...] = ()  # of the latest candidate
        self._refused: tuple[Degraded, ...] = ()  # those of them that a test refused
        self._suspects = Suspects()
        self._reloads = True  # as far as is known, whatever the file is
        self._failed_by: object = None  # the nginx that did not take the latest apply

    async def keep_fresh(self) -> None:
        """Have the tester look for what the user changed now and then; for good."""
        while True:
            await asyncio.sleep(REFRESH_INTERVAL_S)
            await self._tester.refresh()
            self._watch.forget()

    @property
    def version(self) -> Version | None:
        """Return the version of nginx; `None` where it is not known."""
        return self._watch.version

    async def prepare(self) -> None:
        """Learn the version of nginx, unless it is known."""
        await self._watch.learn()

    def limited(self, plan: Plan) -> Plan:
        """Return a plan that nginx takes, and can bear: what had to be changed for that is noted in its routes."""
        return self._limits.limited(plan, version=self._watch.version)

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
        """See `LiveFile`."""
        return self.file.confirmed()

    def text(self) -> str:
        """Return the file's text, for the status; empty where it cannot be read."""
        with suppress(OutputError):
            return self.file.read() or ""
        return ""

    async def status(self) -> BalancerStatus:
        """Return what can be seen of the file and of nginx now."""
        text, remarks = None, [each for each in (self._tester.remark, self._control.remark) if each is not None]
        try:
            text = await asyncio.to_thread(self.file.read)
        except OutputError as error:
            remarks.append(str(error))
        verified, running = self._seen.file, self._control.running()
        return BalancerStatus(
            digest=None if text is None else digest(text),
            running=digest(verified) if verified is not None and running == self._seen.nginx else None,
            workers=await self._control.workers(),
            version=None if self.version is None else str(self.version),
            remarks=tuple(remarks),
        )

    def runs(self) -> bool:
        """Return whether nginx runs, as far as can be seen."""
        return self._control.running() is not None

    def restarted(self) -> bool:
        """Return whether another nginx runs than the one that did not take the latest `apply`."""
        return self._failed_by is not None and self._control.running() not in (None, self._failed_by)

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
        try:
            applied = await self._apply(upstreams, began=began)
        except LbwatchError:
            self._failed_by = self._control.running()
            raise
        self._in_force, self._failed_by = upstreams, None
        return applied

    async def _apply(self, upstreams: tuple[Upstream, ...], *, began: float) -> Applied:
        clock = asyncio.get_running_loop().time
        self.step = "a look at the output"
        trial = self._suspects.trial(upstreams, now=began)
        if not self._reloads:
            await self.file.require_reloads()  # else what is new would only be put there and taken back again
            self._reloads = True
        before = await asyncio.to_thread(self.file.look)
        try:
            applied = await self._bring(trial, began=began, before=before)
        except TakenBackError as error:
            self._tester.doubt()
            trial, applied = await self._bring_less(trial, wanted=upstreams, refusal=error, began=began, before=before)
        self._suspects.passed(trial, now=clock())
        return replace(applied, again_s=self._suspects.again_s(now=clock()))

    async def _bring_less(
        self, trial: Trial, *, wanted: tuple[Upstream, ...], refusal: TakenBackError, began: float, before: str | None
    ) -> tuple[Trial, Applied]:
        """
        Return what nginx takes in the place of a trial that it refused, and what came of that.

        Args:
            trial: What it refused.
            wanted: What should be written.
            refusal: What is raised if it takes nothing less.
            began: Loop time of the call.
            before: The file as it is.

        Raises:
            TakenBackError: It takes the file that is there, and nothing else.
            ReloadRefusedError: It does not even take that.
        """
        now = asyncio.get_running_loop().time()
        names = names_in(before or "")
        try:
            for less in self._suspects.refused(trial, wanted=wanted, before=names, error=str(refusal), now=now):
                with suppress(TakenBackError):
                    return less, await self._bring(less, began=began, before=before)
            self._suspects.acquit()
            await self.file.require_reloads()
        except ReloadRefusedError:
            # Even the file that is there is refused: nginx hangs, say, or cannot bind a port, and nobody is to blame.
            self._suspects.acquit()
            self._reloads = False
            raise
        raise refusal

    async def _bring(self, trial: Trial, *, began: float, before: str | None) -> Applied:
        """
        Return what came of bringing a trial into force.

        Args:
            trial: What is to be written.
            began: Loop time of the call.
            before: The file as it is.
        """
        self.step = "rendering and testing"
        candidate = await self._candidate(trial, before=before)
        name, changed = digest(candidate.text), candidate.text != before
        # Equal to the file is not equal to what runs: without a verified reload of this nginx a reload is owed.
        outlived = is_outlived(self._seen.upstreams, trial.upstreams)
        if not changed and not outlived and (self.file.confirmed() or await self._is_recalled(candidate.text)):
            return Applied(digest=name, changed=False, reloaded=False, degraded=self._degraded)
        if candidate.tested and not outlived and self._runs_all_of(candidate.text, trial=trial):
            self.step = "replacing the file"
            await self.file.rewrite(candidate.text)
            difference = await self._noted(candidate.text, before=before)
            return Applied(digest=name, changed=True, reloaded=False, difference=difference, degraded=self._degraded)
        self.step = "replacing the file and reloading"
        await self.file.put(candidate.text, before=before, tested=candidate.tested)
        self.step = "verifying the reload"
        live_s, verified_s = await self.file.verify(began=began)
        moved = changed_upstreams(self._seen.upstreams, trial.upstreams)
        self._seen.upstreams, self._seen.read = trial.upstreams, candidate.text
        difference = await self._noted(candidate.text, before=before)
        return Applied(
            digest=name,
            changed=changed,
            reloaded=True,
            event="nginx.reloaded",
            upstreams=moved,
            difference=difference,
            live_s=live_s,
            verified_s=verified_s,
            degraded=self._degraded,
        )

    async def _is_recalled(self, text: str) -> bool:
        """Return whether nginx is known to run a text since before this start, and note it."""
        if self._seen.file is not None or not await self.file.recalls(text):
            return False
        await self._noted(text, before=text)
        _log.info("nginx.recalled", digest=digest(text))
        return True

    def _runs_all_of(self, text: str, *, trial: Trial) -> bool:
        """Return whether nginx runs a trial's *text* already, beside names that are gone and had no server."""
        if self._seen.read is None or not self.file.confirmed():
            return False
        # The texts may be long; most changes are of another kind.
        if any(new is not None for _, new in changed_upstreams(self._seen.upstreams, trial.upstreams)):
            return False
        return leftovers.are_all(self._seen.read, text)

    async def _candidate(self, trial: Trial, *, before: str | None) -> AcceptedConfig:
        candidate = await accepted(
            trial.upstreams,
            render=self._renderer.text,
            test=self._tester.test,
            known=self._refused,
            before=lambda: names_in(before or ""),
        )
        found = tuple(sorted((*candidate.degraded, *trial.degraded), key=lambda item: item.upstream))
        told = {(item.upstream, item.level) for item in self._degraded}
        for item in found:
            if (item.upstream, item.level) in told:
                continue
            if item.kept:
                _log.warning("upstream.kept", upstream=item.upstream, error=item.error)
            else:
                _log.error("upstream.degraded", upstream=item.upstream, degraded_to=str(item.level), error=item.error)
        for whole in upstreams_of(trial.upstreams, {name for name, _ in told} - {item.upstream for item in found}):
            _log.info("upstream.restored", upstream=whole.name)
        self._refused, self._degraded = candidate.degraded, found
        return candidate

    async def _noted(self, text: str, *, before: str | None) -> str:
        """Return the difference of what was verified to what was before it, or else to the file, and note it."""
        known = self._seen.file if self._seen.file is not None else before or ""
        self._seen.file, self._seen.nginx = text, self._control.running()
        return await asyncio.to_thread(_difference, known, text)


def _difference(before: str, after: str) -> str:
    return "".join(diff.unified(before, after))

"""Brings a plan into force: render, test, replace, reload, verify; and knows whether what it did still holds."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from lbwatch.balancers.nginx import leftovers
from lbwatch.balancers.nginx.candidates import Candidates
from lbwatch.balancers.nginx.evidence import Evidence
from lbwatch.balancers.nginx.isolate import AcceptedConfig, names_in
from lbwatch.balancers.nginx.limits import Limits
from lbwatch.balancers.nginx.live.lines import LiveLines
from lbwatch.balancers.nginx.live.push import Push
from lbwatch.balancers.nginx.livefile import Control, LiveFile
from lbwatch.balancers.nginx.livepath import LivePath
from lbwatch.balancers.nginx.marks import is_outlived
from lbwatch.balancers.nginx.outputs import Lock
from lbwatch.balancers.nginx.streams import StreamLimits
from lbwatch.balancers.nginx.suspects import Suspects, Trial
from lbwatch.balancers.nginx.version import Version
from lbwatch.balancers.nginx.watch import VersionWatch
from lbwatch.balancers.template import Renderer, digest
from lbwatch.core import diff
from lbwatch.core.changes import changed_upstreams
from lbwatch.core.errors import (
    LbwatchError,
    OutputError,
    ReloadRefusedError,
    TakenBackError,
)
from lbwatch.core.model import Applied, BalancerStatus, Plan
from lbwatch.core.parts import Parts, changed_parts, other_names, part_words, upstreams_in
from lbwatch.core.schedule import ReloadPace

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
        parts: What its latest verified reload was for.
        read: What that had it read; `None`: none was verified since the start.
        file: What the file has since then: names without a server may have left it.
        nginx: Which one it was, for comparison.
    """

    parts: Parts = ()
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
        stream: The file that nginx includes in `stream {}`; `None`: there is none.
        lines: Those by which nginx's workers follow; `None`: nobody asks for them.
        push: Tells nginx's workers of changes of servers, likewise.
        retest_s: What needs no reload is tested only if the latest test is so long ago, where a test is dear.

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
        lock: Lock,
        pace: ReloadPace,
        evidence: Path | None = None,
        stream: Path | None = None,
        lines: LiveLines | None = None,
        push: Push | None = None,
        retest_s: float = 0.0,
    ) -> None:
        self.file = LiveFile(output, control=control, lock=lock, evidence=Evidence(evidence), stream=stream)
        self.step = ""
        self._candidates = Candidates(
            renderer, test=tester.test, lines=lines, running=control.running, container=control.program
        )
        self._live = None
        if push is not None:
            self._live = LivePath(push, candidates=self._candidates, file=self.file, control=control, retest_s=retest_s)
        self._turn = asyncio.Lock() if self._live is None else self._live.behind.turn
        self._tester = tester
        self._control = control
        self._pace = pace
        self._limits = Limits()
        self._stream_limits = StreamLimits()
        self._watch = VersionWatch(tester=tester, control=control)
        self._in_force: Parts | None = None  # verified
        self._seen = _Seen()
        self._suspects = Suspects()
        self._reloads = True  # as far as is known, whatever the file is
        self._failed_by: object = None  # the nginx that did not take the latest apply

    async def keep_fresh(self) -> None:
        """Have the tester look for what the user changed now and then; for good."""
        while True:
            await asyncio.sleep(REFRESH_INTERVAL_S)
            await self._tester.refresh()
            self._watch.forget()

    async def follow(self) -> None:
        """Listen for nginx's workers, for good."""
        if self._live is None:
            await asyncio.Event().wait()
        else:
            await self._live.run()

    @property
    def version(self) -> Version | None:
        """Return the version of nginx; `None` where it is not known."""
        return self._watch.version

    async def prepare(self) -> None:
        """Learn the version of nginx, unless it is known."""
        await self._watch.learn()

    def limited(self, plan: Plan) -> Plan:
        """Return a plan that nginx takes, and can bear: what had to be changed for that is noted in its routes."""
        return self._stream_limits.limited(self._limits.limited(plan, version=self._watch.version))

    def due(self, parts: Parts, *, now: float, at_once: bool) -> float:
        """
        Return the loop time at which parts may go out, never before *now*.

        Args:
            parts: What should be in force.
            now: Loop time, in seconds.
            at_once: Whether they go out as soon as nginx can follow.
        """
        if self._live is not None:
            due = self._live.due(parts, is_same=parts == self._in_force, now=now)
            if due is not None:
                return due
        return self._pace.due(parts, before=self._in_force, now=now, at_once=at_once)

    def confirmed(self) -> bool:
        """Return whether what was brought into force last still is, and the file was not changed by others."""
        return self._live.confirmed() if self._is_pushed and self._live else self.file.confirmed()

    @property
    def _is_pushed(self) -> bool:
        return self._live is not None and self._live.in_force

    @property
    def live_refusal(self) -> str | None:
        """Return why changes of servers take a reload, in words; `None`: they take none."""
        return "live is off" if self._live is None else self._live.refusal

    def live_status(self) -> BalancerStatus:
        """Return what can be seen at once of the way without a reload."""
        if self._live is None:
            return BalancerStatus()
        refusal = self._live.refusal
        return BalancerStatus(live=refusal is None, live_reason=refusal, waiting=self._live.waiting())

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
        is_same = self.confirmed() if self._is_pushed else running == self._seen.nginx
        return replace(
            self.live_status(),
            digest=None if text is None else digest(text),
            running=digest(verified) if verified is not None and is_same else None,
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

    async def apply(self, parts: Parts) -> Applied:
        """
        Return what came of bringing *parts* into force; where they are already, and verified, nothing is done.

        Parts that nginx or the template refuses are degraded as far as they must be, and named in the answer.

        Raises:
            RenderError, ConfigRejectedError, OutputError: The old file serves on.
            ReloadError: The file is the new one, which passed the test; nginx does not run it yet.
        """
        began = asyncio.get_running_loop().time()
        try:
            applied = await self._apply(parts, began=began)
        except LbwatchError:
            self._failed_by = self._control.running()
            raise
        self._in_force, self._failed_by = parts, None
        return applied

    async def _apply(self, parts: Parts, *, began: float) -> Applied:
        trial = self._suspects.trial(parts, now=began)
        if (pushed := await self._push(trial, began=began)) is not None:
            return pushed
        async with self._turn:
            return await self._reload(trial, wanted=parts, began=began)

    async def _reload(self, trial: Trial, *, wanted: Parts, began: float) -> Applied:
        """
        Return what came of bringing a trial into force by a reload, or less of it if nginx refuses it.

        Args:
            trial: What is to be written.
            wanted: What should be.
            began: Loop time of the call.
        """
        clock = asyncio.get_running_loop().time
        self.step = "a look at the output"
        self._pace.reloads(wanted, before=self._in_force, now=began)
        if not self._reloads:
            await self.file.require_reloads()  # else what is new would only be put there and taken back again
            self._reloads = True
        before = await asyncio.to_thread(self.file.look)
        try:
            applied = await self._bring(trial, began=began, before=before)
        except TakenBackError as error:
            self._tester.doubt()
            trial, applied = await self._bring_less(trial, wanted=wanted, refusal=error, began=began, before=before)
        self._suspects.passed(trial, now=clock())
        return replace(applied, again_s=self._suspects.again_s(now=clock()))

    async def _push(self, trial: Trial, *, began: float) -> Applied | None:
        """
        Return what came of telling nginx's workers of other servers; `None`: a reload is needed.

        Args:
            trial: What should be in force.
            began: Loop time of the call.
        """
        self.step = "telling nginx's workers"
        if self._live is None or (pushed := await self._live.apply(trial, began=began)) is None:
            return None
        moved = changed_upstreams(upstreams_in(self._seen.parts), upstreams_in(trial.parts))
        self._seen.parts = trial.parts
        self._suspects.passed(trial, now=asyncio.get_running_loop().time())
        written = pushed.written
        is_recalled = self._seen.file is None and written is not None and written.text == written.before
        if is_recalled and written is not None:
            _log.info("nginx.recalled", digest=digest(written.text))
        applied = Applied(
            digest="" if written is None else digest(written.text),
            changed=written is not None and written.text != written.before,
            reloaded=False,
            event="nginx.pushed",
            upstreams=moved,
            difference="" if written is None else await self._noted(written.text, before=written.before),
            live_s=pushed.live_s,
            verified_s=pushed.live_s if pushed.is_said else 0.0,
        )
        again_s = self._suspects.again_s(now=asyncio.get_running_loop().time())
        return replace(
            applied,
            event=applied.event if not is_recalled and (pushed.is_first or moved) else "",
            degraded=self._candidates.degraded,
            unstartable=None if written is None else written.unstartable,
            again_s=again_s,
        )

    async def _bring_less(
        self, trial: Trial, *, wanted: Parts, refusal: TakenBackError, began: float, before: str | None
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
        if is_doubtful := self._live is not None and self._live.suspects_lines(str(refusal)):
            with suppress(TakenBackError):
                return trial, await self._bring(trial, began=began, before=before)
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
        finally:
            if is_doubtful and self._candidates.lines is not None:
                self._candidates.lines.ask_again()  # it was not for them
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
        outlived = is_outlived(upstreams_in(self._seen.parts), upstreams_in(trial.parts))
        if not changed and not outlived and (self.confirmed() or await self._is_recalled(candidate.text)):
            return Applied(digest=name, changed=False, reloaded=False, degraded=self._candidates.degraded)
        if candidate.tested and not outlived and self._runs_all_of(candidate.text, trial=trial):
            self.step = "replacing the file"
            await self.file.rewrite(candidate.text)
            difference = await self._noted(candidate.text, before=before)
            return Applied(
                digest=name, changed=True, reloaded=False, difference=difference, degraded=self._candidates.degraded
            )
        self.step = "replacing the file and reloading"
        if self._live is not None:
            await self._live.before_reload(candidate.written, text=candidate.text)
        await self.file.put(candidate.text, before=before, tested=candidate.tested)
        if self._live is not None:
            self._live.after_reload(candidate.written)
        self.step = "verifying the reload"
        live_s, verified_s = await self.file.verify(began=began)
        moved = changed_upstreams(upstreams_in(self._seen.parts), upstreams_in(trial.parts))
        others = tuple(part_words(name) for name in other_names(self._seen.parts, trial.parts))
        self._seen.parts, self._seen.read = trial.parts, candidate.text
        difference = await self._noted(candidate.text, before=before)
        return Applied(
            digest=name,
            changed=changed,
            reloaded=True,
            event="nginx.reloaded",
            upstreams=moved,
            others=others,
            difference=difference,
            live_s=live_s,
            verified_s=verified_s,
            degraded=self._candidates.degraded,
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
        if self._seen.read is None or not self.confirmed():
            return False
        # The texts may be long; most changes are of another kind.
        if any(new is not None for _, new in changed_parts(self._seen.parts, trial.parts)):
            return False
        return leftovers.are_all(self._seen.read, text)

    async def _candidate(self, trial: Trial, *, before: str | None) -> AcceptedConfig:
        return await self._candidates.candidate(
            trial.parts, degraded=trial.degraded, names_before=lambda: names_in(before or "")
        )

    async def _noted(self, text: str, *, before: str | None) -> str:
        """Return the difference of what was verified to what was before it, or else to the file, and note it."""
        known = self._seen.file if self._seen.file is not None else before or ""
        self._seen.file, self._seen.nginx = text, self._control.running()
        return await asyncio.to_thread(_difference, known, text)


def _difference(before: str, after: str) -> str:
    return "".join(diff.unified(before, after))

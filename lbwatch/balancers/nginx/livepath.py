"""
The way without a reload: nginx's workers are told first, then the file is tested and replaced, behind.

What nginx's test and the disk take does so not hold up the next change. Whether a change can go this way is known here,
and what is owed until the file says the same.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import structlog

from lbwatch.balancers.nginx.candidates import Candidates
from lbwatch.balancers.nginx.isolate import names_in
from lbwatch.balancers.nginx.live import directives
from lbwatch.balancers.nginx.live.push import FIRST_S, LATE_S, PROOF_S, Push
from lbwatch.balancers.nginx.livefile import Control, LiveFile
from lbwatch.balancers.nginx.suspects import Trial
from lbwatch.core.errors import LbwatchError, NotTestedError, OutputError, ReloadError, RenderError, UserConfigError
from lbwatch.core.model import Upstream, Waiting

FILE_PATIENCE_S = 0.05
"""So long a change waits for its file: tested and replaced in 20 ms as a rule; what takes longer goes on behind."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """
    The file of what was pushed.

    Attributes:
        text: What it holds.
        before: What it held; `None`: there was none.
        unstartable: Why nginx could not start from its files now; `None`: it could.
    """

    text: str
    before: str | None
    unstartable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """
    What came of a push.

    Attributes:
        live_s: Seconds until all workers had said that they have it, or were given up waiting for.
        is_said: Whether all had.
        is_first: Whether a reload, or nothing, was in force before.
        written: The file; `None`: it is tested behind.
    """

    live_s: float
    is_said: bool
    is_first: bool
    written: Written | None


class LivePath:
    """
    The way of one nginx.

    Args:
        push: Tells nginx's workers.
        candidates: Make the text.
        file: The output; nobody else may replace it while `turn` is held.
        control: Says whether nginx runs.
        retest_s: The file is tested only if the latest test is so long ago, where a test is dear.

    Attributes:
        in_force: Whether what is in force is what the workers say that they have, and not what they were started with.
        turn: Held by whoever replaces the file.
    """

    def __init__(
        self, push: Push, *, candidates: Candidates, file: LiveFile, control: Control, retest_s: float = 0.0
    ) -> None:
        self.in_force = False
        self.turn = asyncio.Lock()
        self._push = push
        self._candidates = candidates
        self._file = file
        self._control = control
        self._retest_s = retest_s
        self._is_started = False  # a file was compared with what the template comes to, or nginx reloaded
        self._wanted: Trial | None = None  # what the file does not say yet
        self._asked = asyncio.Event()  # for it to say so
        self._ended = asyncio.Event()  # the latest try of that
        self._written: Written | None = None  # by the latest try; `None`: it failed, or takes a reload after all
        self._error: LbwatchError | None = None  # of the latest try
        self._result_of: Trial | None = None  # whose result these two are, while nobody was given it
        self._unstartable: str | None = None  # as of the latest test
        self._for_reload: Trial | None = None  # what takes a reload after all
        self._down_since: float | None = None  # loop time at which nginx was first seen not to run
        self._unread_by: object = None  # the nginx that was not seen yet to read what was put into the file
        self._rest: tuple[str, list[str]] = "", []  # of the latest file, see `directives.rest_of`

    @property
    def refusal(self) -> str | None:
        """Return why changes of servers take a reload, in words; `None`: they take none."""
        assert self._candidates.lines is not None
        if (reason := self._candidates.lines.reason or self._push.error) is not None:
            return reason
        return None if self._push.is_followed else "no worker of nginx has asked for changes yet"

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the upstreams whose requests wait in nginx, by name."""
        return self._push.waiting()

    def confirmed(self) -> bool:
        """Return whether all workers have what was pushed last, and the file says it and was not changed by others."""
        is_known = self._wanted is None and self._result_of is None
        is_written = is_known and self._written is not None and self._file.is_untouched()
        return is_written and self._push.holds() and self._control.running() is not None

    def due(self, upstreams: tuple[Upstream, ...], *, is_same: bool, now: float) -> float | None:
        """
        Return the loop time at which upstreams may be pushed, or looked at again; `None`: they take a reload.

        Args:
            upstreams: What should be in force.
            is_same: Whether that was pushed already.
            now: Loop time, in seconds.
        """
        if self.in_force and is_same:
            if self._wanted is not None:
                return now + FILE_PATIENCE_S
            if self._result_of is not None:
                return now
            if self._file.is_untouched():
                return max(now, self._push.waited_for_until() or self._down_until(now=now) or now)
        return self._push.due(now=now) if self._push.takes(upstreams) else None

    def _down_until(self, *, now: float) -> float | None:
        """Return until when an nginx that is not there is waited for: it may be restarted, and reads the file then."""
        if self._control.running() is not None:
            self._down_since = None
            return None
        self._down_since = now if self._down_since is None else self._down_since
        return self._down_since + LATE_S

    async def apply(self, trial: Trial, *, began: float) -> Pushed | None:
        """
        Return what came of telling nginx's workers of other servers; `None`: a reload is needed.

        Args:
            trial: What should be in force.
            began: Loop time of the call.

        Raises:
            RenderError, OutputError: The workers have it, and the file does not say so.
        """
        written = self._candidates.written(trial.upstreams)
        if trial == self._for_reload or not await self._follows(written, now=began):
            return None
        is_said = await self._push.push(written)
        live_s = asyncio.get_running_loop().time() - began
        if is_said and self._candidates.lines is not None:
            self._candidates.lines.followed()
        is_first, self.in_force = not self.in_force, True
        # What was long in testing is told now: that nginx could not start, say, or that the disk is full.
        if trial not in (self._wanted, self._result_of):
            self._ask(trial)
        with suppress(TimeoutError):
            async with asyncio.timeout(FILE_PATIENCE_S):
                await self._ended.wait()
        self._result_of = None
        if self._error is not None:
            raise self._error
        if self._wanted is None and self._written is None:
            return None
        return Pushed(live_s=live_s, is_said=is_said, is_first=is_first, written=self._written)

    async def before_reload(self, written: tuple[Upstream, ...], *, text: str) -> None:
        """
        Prepare a reload: its workers ask before it is seen to have happened.

        Args:
            written: What is in the file.
            text: Of the file.

        Raises:
            OutputError: What the workers run cannot be put where they find it.
        """
        if self._push.has_shape_of(written):
            self._push.set(written)
        if directives.shape_in(text) is not None:
            await asyncio.to_thread(self._push.write_program)
        self.in_force, self._wanted, self._result_of, self._for_reload = False, None, None, None
        self._unread_by = self._control.running()

    def after_reload(self, written: tuple[Upstream, ...]) -> None:
        """Note that nginx's workers are new ones, started with the file; *written*: what is in that."""
        self._push.set(written, is_reload=True)
        self._is_started, self._unread_by = True, None

    def suspects_lines(self, why: str) -> bool:
        """Return whether nginx may have taken a reload back for the workers' lines, which are left out then."""
        lines = self._candidates.lines
        return lines is not None and not self._push.is_asked and lines.suspected(why, by=self._control.running())

    async def run(self) -> None:
        """Listen for workers, and keep the file in step with what they have, for good."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._push.run(), name="live workers")
            group.create_task(self._write_for_good(), name="live file")

    async def _follows(self, written: tuple[Upstream, ...], *, now: float) -> bool:
        """Return whether all workers can be told of what is to be written."""
        if (running := self._control.running()) is None or running == self._unread_by:
            return False
        if not (self._is_started or self.in_force):
            return await self._is_read(written) and await self._push.follows(written, within_s=FIRST_S)
        if self._is_started and not self._candidates.has_same_template:
            return False
        if self.in_force and (until := self._push.waited_for_until()) is not None and until <= now:
            return False  # one that was told did not say so for too long
        # nginx may have just been started: by the file that is there its workers will ask.
        return self._push.takes(written) or (
            directives.shape_in(await self._file_text()) in self._push.shapes(written)
            and await self._push.follows(written, within_s=PROOF_S)
        )

    async def _is_read(self, written: tuple[Upstream, ...]) -> bool:
        """
        Return whether, at a start, nginx has read the file that is there, and its workers will ask by it.

        Whoever was killed between a replacement and its reload left one that nginx has not read. Which template it is
        from nobody knows: what that comes to now is compared with it later.
        """
        text = await self._file_text()
        return directives.shape_in(text) in self._push.shapes(written) and await self._file.recalls(text)

    async def _file_text(self) -> str:
        with suppress(OutputError):
            return await asyncio.to_thread(self._file.read) or ""
        return ""

    def _ask(self, trial: Trial) -> None:
        self._wanted, self._result_of, self._written, self._error = trial, None, None, None
        self._ended.clear()
        self._asked.set()

    async def _write_for_good(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            if (trial := self._wanted) is None:
                continue
            written, error = None, None
            try:
                async with self.turn:
                    written = await self._write(trial)
                    self._for_reload = trial if written is None else None
            except LbwatchError as failure:
                error = failure
            self._is_started |= written is not None
            if self._wanted is trial:  # else there is a newer one
                self._wanted, self._result_of, self._written, self._error = None, trial, written, error
                self._ended.set()

    async def _write(self, trial: Trial) -> Written | None:
        """
        Return the file after it was tested and replaced; `None`: it takes a reload after all.

        That something is wrong with the user's own files, or that nothing can be tested now, keeps no server out.
        """
        before = await asyncio.to_thread(self._file.look)
        text, unstartable = await self._text(trial, before=before)
        if text is None or not await asyncio.to_thread(self._has_same_rest, before or "", text):
            return None
        if text != before or not self._file.is_untouched():
            await self._file.rewrite(text)
        self._file.keep(text)
        self._log(unstartable)
        return Written(text=text, before=before, unstartable=unstartable)

    async def _text(self, trial: Trial, *, before: str | None) -> tuple[str | None, str | None]:
        """Return the text of the file, `None` if it takes a reload after all; and why nginx could not start from it."""
        if self._candidates.is_tested_since(asyncio.get_running_loop().time() - self._retest_s):
            with suppress(RenderError):
                written = self._candidates.written(trial.upstreams)
                return await asyncio.to_thread(self._candidates.text, written), self._unstartable
        try:
            found = await self._candidates.candidate(
                trial.upstreams, degraded=trial.degraded, names_before=lambda: names_in(before or "")
            )
            is_told = directives.shape_in(found.text) is not None and await self._tells(found.written, trial=trial)
            return (found.text if is_told else None), None
        except (UserConfigError, NotTestedError, ReloadError) as error:
            text = await asyncio.to_thread(self._candidates.text, self._candidates.written(trial.upstreams))
            return text, str(error) if isinstance(error, UserConfigError) else None

    async def _tells(self, written: tuple[Upstream, ...], *, trial: Trial) -> bool:
        """Return whether workers have what nginx took of a trial, or can be told: less, or names of its own files."""
        if written == self._push.upstreams or self._wanted is not trial:
            return self._push.has_shape_of(written)
        if not self._push.takes(written):
            return False
        await self._push.push(written)
        return True

    def _has_same_rest(self, before: str, text: str) -> bool:
        """Return whether two texts differ in nothing but what workers are told; *before*: the file as it is."""
        if text == before:
            return True
        known, rest = self._rest
        if known != before:
            rest = directives.rest_of(before)
        self._rest = text, directives.rest_of(text)
        return self._rest[1] == rest

    def _log(self, unstartable: str | None) -> None:
        if unstartable is not None and unstartable != self._unstartable:
            _log.error(UserConfigError.event, error=unstartable)
        self._unstartable = unstartable

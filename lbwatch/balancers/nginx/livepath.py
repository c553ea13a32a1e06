"""
The way without a reload: nginx's workers are told first, then the file is tested and replaced, behind.

What nginx's test and the disk take does so not hold up the next change. Whether a change can go this way is known here,
and what is owed until the file says the same.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from lbwatch.balancers.nginx.behind import FileBehind, Written
from lbwatch.balancers.nginx.candidates import Candidates
from lbwatch.balancers.nginx.live import directives
from lbwatch.balancers.nginx.live.push import FIRST_S, LATE_S, PROOF_S, Push
from lbwatch.balancers.nginx.livefile import Control, LiveFile
from lbwatch.balancers.nginx.suspects import Trial
from lbwatch.core.errors import OutputError, ThreadError
from lbwatch.core.model import Upstream, Waiting
from lbwatch.core.parts import Parts, others_in, upstreams_in

FILE_PATIENCE_S = 0.05
"""So long a change waits for its file: tested and replaced in 20 ms as a rule; what takes longer goes on behind."""


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
        file: The output.
        control: Says whether nginx runs.
        retest_s: The file is tested only if the latest test is so long ago, where a test is dear.

    Attributes:
        in_force: Whether what is in force is what the workers say that they have, and not what they were started with.
        behind: The file, which follows what the workers were told.
    """

    def __init__(
        self, push: Push, *, candidates: Candidates, file: LiveFile, control: Control, retest_s: float = 0.0
    ) -> None:
        self.in_force = False
        self.behind = FileBehind(push, candidates=candidates, file=file, retest_s=retest_s)
        self._push = push
        self._candidates = candidates
        self._file = file
        self._control = control
        self._is_reloaded = False  # nginx was, since the start
        self._others: Parts | None = None  # sites and streams, as nginx has read them; `None`: not known yet
        self._down_since: float | None = None  # loop time at which nginx was first seen not to run
        self._unread_by: object = None  # the nginx that was not seen yet to read what was put into the file

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
        is_written = self.behind.is_done and self._file.is_untouched()
        return is_written and self._push.holds() and self._control.running() is not None

    def due(self, parts: Parts, *, is_same: bool, now: float) -> float | None:
        """
        Return the loop time at which parts may be pushed, or looked at again; `None`: they take a reload.

        Args:
            parts: What should be in force.
            is_same: Whether that was pushed already.
            now: Loop time, in seconds.
        """
        if self.in_force and is_same:
            if self.behind.wanted is not None:
                return now + FILE_PATIENCE_S
            if self.behind.result_of is not None:
                return now
            if self._file.is_untouched():
                return max(now, self._push.waited_for_until() or self._down_until(now=now) or now)
        is_pushed = self._has_others_of(parts) and self._push.takes(upstreams_in(parts))
        return self._push.due(now=now) if is_pushed else None

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
        written = self._candidates.written(trial.parts)
        if trial == self.behind.for_reload or not await self._follows(written, now=began):
            return None
        is_said = await self._push.push(upstreams_in(written))
        self._others = others_in(written)
        live_s = asyncio.get_running_loop().time() - began
        if is_said and self._candidates.lines is not None:
            self._candidates.lines.followed()
        is_first, self.in_force = not self.in_force, True
        self.behind.ask(trial)
        written_file = await self.behind.result(within_s=FILE_PATIENCE_S)
        if written_file is None and self.behind.wanted is None:
            return None
        return Pushed(live_s=live_s, is_said=is_said, is_first=is_first, written=written_file)

    async def before_reload(self, written: Parts, *, text: str) -> None:
        """
        Prepare a reload: its workers ask before it is seen to have happened.

        Args:
            written: What is in the file.
            text: Of the file.

        Raises:
            OutputError: What the workers run cannot be put where they find it.
        """
        upstreams = upstreams_in(written)
        if self._push.has_shape_of(upstreams):
            self._push.set(upstreams)
        if directives.shape_in(text) is not None:
            await asyncio.to_thread(self._push.write_program)
            self._push.listen()
        self.in_force = False
        self.behind.forget()
        self._unread_by = self._control.running()

    def after_reload(self, written: Parts) -> None:
        """Note that nginx's workers are new ones, started with the file; *written*: what is in that."""
        self._push.set(upstreams_in(written), is_reload=True)
        self._others = others_in(written)
        self._is_reloaded, self._unread_by = True, None

    def suspects_lines(self, why: str) -> bool:
        """Return whether nginx may have taken a reload back for the workers' lines, which are left out then."""
        lines = self._candidates.lines
        return lines is not None and not self._push.is_asked and lines.suspected(why, by=self._control.running())

    async def run(self) -> None:
        """Listen for workers, and keep the file in step with what they have, for good."""
        if directives.shape_in(await self._file_text()) is not None:
            self._push.listen()  # workers that were started from it ask already
        async with asyncio.TaskGroup() as group:
            group.create_task(self._push.run(), name="live workers")
            group.create_task(self.behind.run(), name="live file")

    def _has_others_of(self, parts: Parts) -> bool:
        """Return whether nothing is another but servers, as far as is known: of sites and ports nobody is told."""
        return self._others is None or self._others == others_in(parts)

    async def _follows(self, parts: Parts, *, now: float) -> bool:
        """Return whether all workers can be told of what is to be written."""
        written = upstreams_in(parts)
        if not self._has_others_of(parts):
            return False
        if (running := self._control.running()) is None or running == self._unread_by:
            return False
        is_started = self._is_reloaded or self.behind.is_compared
        if not (is_started or self.in_force):
            return await self._is_read(written) and await self._push.follows(written, within_s=FIRST_S)
        if is_started and not self._candidates.has_same_template:
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
        if (shape := directives.shape_in(text)) is None:
            return False
        self._push.listen()
        return shape in self._push.shapes(written) and await self._file.recalls(text)

    async def _file_text(self) -> str:
        with suppress(OutputError, ThreadError):
            return await asyncio.to_thread(self._file.read) or ""
        return ""

"""
The file of what nginx's workers were told: tested and replaced behind, so that its size holds up no change.

Of several that come meanwhile only the latest is written. Who is told what came of it asks for that.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import structlog

from lbwatch.balancers.nginx.candidates import Candidates
from lbwatch.balancers.nginx.isolate import names_in
from lbwatch.balancers.nginx.live import directives
from lbwatch.balancers.nginx.live.push import Push
from lbwatch.balancers.nginx.livefile import LiveFile
from lbwatch.balancers.nginx.suspects import Trial
from lbwatch.core.errors import LbwatchError, NotTestedError, ReloadError, RenderError, UserConfigError
from lbwatch.core.parts import Parts, upstreams_in

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


class FileBehind:
    """
    The file, behind what was pushed.

    Args:
        push: Tells nginx's workers.
        candidates: Make the text.
        file: The output; nobody else may replace it while `turn` is held.
        retest_s: The file is tested only if the latest test is so long ago, where a test is dear.

    Attributes:
        turn: Held by whoever replaces the file.
        is_compared: Whether a file was ever compared with what the template comes to.
        wanted: What the file does not say yet; `None`: it says what was asked for last, or that failed.
        result_of: What was tried last, while nobody was given what came of it.
        written: By the latest try; `None`: it failed, or takes a reload after all.
        for_reload: What takes a reload after all.
    """

    def __init__(self, push: Push, *, candidates: Candidates, file: LiveFile, retest_s: float = 0.0) -> None:
        self.turn = asyncio.Lock()
        self.is_compared = False
        self.wanted: Trial | None = None
        self.result_of: Trial | None = None
        self.written: Written | None = None
        self.for_reload: Trial | None = None
        self._push = push
        self._candidates = candidates
        self._file = file
        self._retest_s = retest_s
        self._asked = asyncio.Event()  # for the file to say what is wanted
        self._ended = asyncio.Event()  # the latest try of that
        self._error: LbwatchError | None = None  # of that
        self._unstartable: str | None = None  # as of the latest test
        self._rest: tuple[str, list[str]] = "", []  # of the latest file, see `directives.rest_of`

    @property
    def is_done(self) -> bool:
        """Return whether the file says what was asked for last, and who asked was told so."""
        return self.wanted is None and self.result_of is None and self.written is not None

    def ask(self, trial: Trial) -> None:
        """Have the file say a trial, unless that is what is tried, or what came of it is still to be told."""
        # What was long in testing is told then: that nginx could not start, say, or that the disk is full.
        if trial in (self.wanted, self.result_of):
            return
        self.wanted, self.result_of, self.written, self._error = trial, None, None, None
        self._ended.clear()
        self._asked.set()

    async def result(self, *, within_s: float) -> Written | None:
        """Return the file; `None`: it is not there within so many seconds, or takes a reload. Raises why it failed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._ended.wait()
        self.result_of = None
        if self._error is not None:
            raise self._error
        return self.written

    def forget(self) -> None:
        """Have nothing written: the file is replaced by a reload."""
        self.wanted = self.result_of = self.for_reload = None

    async def run(self) -> None:
        """Write whatever is asked for, for good."""
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                if self.wanted is not None:
                    await self._try(self.wanted)
        except asyncio.CancelledError:
            await self._finish()
            raise

    async def _finish(self) -> None:
        """Have the file say at the end what the workers have: whoever starts nginx then has no lbwatch to ask."""
        if (trial := self.wanted) is not None:
            with suppress(LbwatchError):
                await self._file.rewrite(self._candidates.text(self._candidates.written(trial.parts)))

    async def _try(self, trial: Trial) -> None:
        written, error = None, None
        try:
            async with self.turn:
                written = await self._write(trial)
                self.for_reload = trial if written is None else None
        except LbwatchError as failure:
            error = failure
        self.is_compared |= written is not None
        if self.wanted is trial:  # else there is a newer one
            self.wanted, self.result_of, self.written, self._error = None, trial, written, error
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
                written = self._candidates.written(trial.parts)
                return await asyncio.to_thread(self._candidates.text, written), self._unstartable
        try:
            found = await self._candidates.candidate(
                trial.parts, degraded=trial.degraded, names_before=lambda: names_in(before or "")
            )
            is_told = directives.shape_in(found.text) is not None and await self._tells(found.written, trial=trial)
            return (found.text if is_told else None), None
        except (UserConfigError, NotTestedError, ReloadError) as error:
            text = await asyncio.to_thread(self._candidates.text, self._candidates.written(trial.parts))
            return text, str(error) if isinstance(error, UserConfigError) else None

    async def _tells(self, written: Parts, *, trial: Trial) -> bool:
        """Return whether workers have what nginx took of a trial, or can be told: less, or names of its own files."""
        upstreams = upstreams_in(written)
        if upstreams == self._push.upstreams or self.wanted is not trial:
            return self._push.has_shape_of(upstreams)
        if not self._push.takes(upstreams):
            return False
        await self._push.push(upstreams)
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

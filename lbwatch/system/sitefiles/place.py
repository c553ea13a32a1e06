"""
Keeps what is known of one place true: looks in a thread when something changed, when asked, and every now and then.

Each place has its own look under way, at most one: a network drive that does not answer costs one thread, and holds up
no other place.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import structlog

from lbwatch.core.errors import ThreadError
from lbwatch.system.sitefiles.contents import Contents, SeenFile
from lbwatch.system.sitefiles.grace import Grace, Seen
from lbwatch.system.sitefiles.pairs import Pairs
from lbwatch.system.sitefiles.survey import Survey
from lbwatch.system.sitefiles.watch import Watch

QUIET_S = 0.15
"""Without a change until files are looked at: whoever writes several writes them in a row."""

BUSY_S = 2.0
"""At most, though they go on changing."""

RETRY_S = 0.5
"""Between two looks at what is half replaced."""

ANSWER_S = 5.0
"""For the next file of a look: a disk that is busy takes a tenth of it."""

_SURVEYS = 3


class PairsOf(Protocol):
    """Returns the certificates among files."""

    def __call__(self, files: Mapping[str, SeenFile], *, step: Callable[[], None]) -> Pairs:
        """See `Judge.pairs`."""


_log = structlog.get_logger()


class Place:
    """
    One folder, or some paths, and what is known of it.

    Args:
        name: For the log and for errors: the folder's path.
        survey: Returns the files that there are; run in a thread.
        pairs: Returns the certificates among them, likewise; `None`: there are none.
        changed: Called once something else is known.
        threads: Where it is looked.
        resync_interval_s: Between two looks, though nothing changed.
        remembered: What it had before this start; `None`: nobody knows.
    """

    def __init__(
        self,
        name: str,
        *,
        survey: Callable[[], Survey],
        pairs: PairsOf | None = None,
        changed: Callable[[], None],
        threads: Executor,
        resync_interval_s: float,
        remembered: Seen | None = None,
    ) -> None:
        self.name = name
        self.seen: Seen | None = None  # what counts; `None`: nobody looked yet
        self.answers = True
        self._remembered = remembered
        self._survey, self._pairs, self._changed = survey, pairs, changed
        self._threads, self._resync_interval_s = threads, resync_interval_s
        self._contents, self._grace, self._watch = Contents(), Grace(), Watch(name)
        self._woken = asyncio.Event()
        self._looking: asyncio.Future[Seen] | None = None
        self._steps = 0  # of all looks, by which one that takes its time is told from one that hangs
        self._unsure: Seen | None = None  # differs from what counts, though no change was heard of
        self._reported = False  # that files are not readable

    def wake(self) -> None:
        """Have it looked at soon."""
        self._woken.set()

    async def run(self) -> None:
        """Keep it true, for good."""
        loop = asyncio.get_running_loop()
        self._watch.open()
        descriptor = self._watch.fileno()
        if descriptor is not None:
            loop.add_reader(descriptor, self._heard)
        try:
            while True:
                is_quiet = self.seen is not None and await self._due()
                await self.look(is_quiet=is_quiet)
        finally:
            if descriptor is not None:
                loop.remove_reader(descriptor)

    async def look(self, *, is_quiet: bool = False, gives_up: bool = False) -> None:
        """
        Look once, and wait for it.

        Args:
            is_quiet: Whether changes were heard of, and then none for a while: then what is seen is no half of one.
            gives_up: Whether to leave it to the next look once nothing answers; else it is waited for.
        """
        self._woken.clear()
        self._watch.open()
        loop = asyncio.get_running_loop()
        try:
            self._looking = self._looking or loop.run_in_executor(self._threads, self._look)
        except ThreadError:  # said by whoever found it; until the next look what is known has to do
            return
        steps = self._steps
        while not await _done(self._looking, within_s=ANSWER_S):
            if steps == self._steps:
                self._set_answers(answers=False)
                break
            steps = self._steps
        if gives_up and not self._looking.done():
            return
        seen = await asyncio.shield(self._looking)
        self._looking = None
        self._set_answers(answers=True)
        self._take(seen, is_quiet=is_quiet)

    def close(self) -> None:
        """End its watches."""
        self._watch.close()

    def _heard(self) -> None:
        if self._watch.heard():
            self._woken.set()

    async def _due(self) -> bool:
        """Wait until somebody should look, and return whether changes were heard of."""
        loop = asyncio.get_running_loop()
        if self._unsure is not None:
            await asyncio.sleep(QUIET_S)
            return False
        soon = self._grace.is_running(loop.time())
        if not await _set(self._woken, within_s=RETRY_S if soon else self._resync_interval_s):
            return False
        latest = loop.time() + BUSY_S
        while loop.time() < latest:
            self._woken.clear()
            if not await _set(self._woken, within_s=QUIET_S):
                break
        return True

    def _look(self) -> Seen:
        for _ in range(_SURVEYS):  # what changed before it was watched is seen in another survey
            survey = self._survey()
            if not self._watch.update(survey.watched):
                break
        files = self._contents.seen(survey.paths, step=self._step)
        pairs = Pairs() if self._pairs is None else self._pairs(files, step=self._step)
        known = survey.error is None
        return Seen(files=files, pairs=pairs, error=survey.error, was_known=known, folder=survey.folder)

    def _step(self) -> None:
        self._steps += 1

    def _take(self, seen: Seen, *, is_quiet: bool) -> None:
        if self.seen is None and self._remembered is not None and seen.error is None:
            seen = self._remembered.lost if seen.has_lost(self._remembered) else seen
        if self.seen is not None:
            if seen.error is not None:
                seen = replace(self.seen, error=seen.error)
            elif seen.has_lost(self.seen):
                seen = replace(self.seen, error=None).lost
            seen = self._grace.eased(seen, before=self.seen, now=asyncio.get_running_loop().time())
        is_sure = self.seen is None or is_quiet or seen == self._unsure
        self._unsure = None
        if seen == self.seen:
            return
        if not is_sure:  # perhaps seen while one file is put in another's place
            self._unsure = seen
            return
        self.seen = seen
        self._report_unreadable(seen)
        self._changed()

    def _set_answers(self, *, answers: bool) -> None:
        if answers == self.answers:
            return
        self.answers = answers
        if answers:
            _log.info("files.answering", place=self.name)
        else:
            _log.warning("files.not_answering", place=self.name, within_s=ANSWER_S)
        self._changed()

    def _report_unreadable(self, seen: Seen) -> None:
        paths = [path for path, each in seen.files.items() if not each.is_readable]
        if paths and not self._reported:
            self._reported = True
            _log.info("files.not_readable", place=self.name, count=len(paths), path=min(paths))


async def _done(future: "asyncio.Future[Seen]", *, within_s: float) -> bool:
    done, _ = await asyncio.wait([future], timeout=within_s)
    return bool(done)


async def _set(event: asyncio.Event, *, within_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
    return event.is_set()

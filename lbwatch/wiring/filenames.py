"""Looks for files in the folders of sites that no site takes: misnamed ones, most of them, which do nothing at all."""

import asyncio
from collections.abc import Callable

import structlog

from lbwatch.core.errors import ThreadError, excerpt
from lbwatch.core.model import Plan
from lbwatch.core.rules import Rules
from lbwatch.core.site import Site, SiteFiles
from lbwatch.core.sites.unmatched import UnmatchedFile, file_words, unmatched_files, worth_a_word

LOOK_S = 5.0
"""Between two looks; one costs nothing where neither sites nor files are others."""

LOG_AFTER_S = 60.0
"""Before it is logged: while a stack starts, or is deployed anew, most of its hosts come late."""

MAX_LOGGED = 20
"""At one time; of many files at once the first say what is wrong with all."""

_log = structlog.get_logger()


def found_now(plan: Plan | None, *, rules: Rules) -> tuple[UnmatchedFile, ...]:
    """Return the files that no site takes, as far as they are worth a word; *plan*: `None` while there is none."""
    if plan is None or not plan.sites:
        return ()
    found = unmatched_files(plan.sites, files=rules.site_files, rules=rules.sites)
    return worth_a_word(found, rules=rules.sites)


class FileNames:
    """
    Knows which files no site takes.

    Args:
        plan: Returns what there should be; `None`: that is not known yet.
        rules: Returns what holds now.

    Attributes:
        unmatched: Those of the latest look.
    """

    def __init__(self, *, plan: Callable[[], Plan | None], rules: Callable[[], Rules]) -> None:
        self._plan, self._rules = plan, rules
        self._looked: tuple[tuple[Site, ...], SiteFiles] | None = None
        self._since: dict[str, float] = {}  # loop time since which each is known, by path
        self._logged: set[str] = set()  # paths
        self.unmatched: tuple[UnmatchedFile, ...] = ()

    async def run(self) -> None:
        """Look again and again, for good."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look(now=clock())

    async def look(self, *, now: float) -> None:
        """
        Look once, and log each file that no site has taken for a while, once for as long as that is so.

        Args:
            now: Loop time, in seconds.
        """
        plan, rules = self._plan(), self._rules()
        if plan is None:
            return
        looked = plan.sites, rules.site_files
        if self._looked is None or any(one is not other for one, other in zip(looked, self._looked, strict=True)):
            try:
                # To compare many names takes a while.
                self.unmatched = await asyncio.to_thread(found_now, plan, rules=rules)
            except ThreadError:  # it is logged where it is noticed, and the next look is soon
                return
            self._looked = looked
        self._log_those_that_stay(now)

    def _log_those_that_stay(self, now: float) -> None:
        there = {each.path: each for each in self.unmatched}
        self._since = {path: self._since.get(path, now) for path in there}
        self._logged &= there.keys()
        due = [path for path, at in self._since.items() if now - at >= LOG_AFTER_S and path not in self._logged]
        for path in due[:MAX_LOGGED]:
            _log.warning("files.not_used", path=excerpt(path), reason=file_words(there[path]))
        if len(due) > MAX_LOGGED:
            _log.warning("files.not_used", more=len(due) - MAX_LOGGED, reason="so it is with more files")
        self._logged.update(due)

"""From the parts of a plan to a text that nginx takes: rendered, tested, and with what it refuses degraded."""

import asyncio
from collections.abc import Callable, Collection
from functools import partial

import structlog

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.isolate import AcceptedConfig, Test, accepted, at_levels
from lbwatch.balancers.nginx.live import directives
from lbwatch.balancers.nginx.live.lines import LiveLines
from lbwatch.balancers.nginx.outputs import joined, split
from lbwatch.balancers.template import Renderer
from lbwatch.core.errors import ConfigRejectedError, LbwatchError
from lbwatch.core.model import Degraded, Stream, Upstream
from lbwatch.core.parts import Parts, kind_of, parts_of, upstreams_in
from lbwatch.core.site import Site

_log = structlog.get_logger()


class _LinesRefusedError(LbwatchError):
    """nginx's test refuses the lines by which its workers follow, whatever the parts are."""


class Candidates:
    """
    One candidate after the other.

    Args:
        renderer: Makes the text.
        test: Tests whether nginx would take it, see `Tester`.
        lines: Those by which nginx's workers follow; `None`: nobody asks for them.
        running: Returns which nginx runs.
        container: Returns the container that it is in, whether it runs or not; `None`: it is in none.

    Attributes:
        degraded: Which parts are less than they should be in the latest one.
    """

    def __init__(
        self,
        renderer: Renderer,
        *,
        test: Test,
        lines: LiveLines | None,
        running: Callable[[], object],
        container: Callable[[], object] = lambda: None,
    ) -> None:
        self.degraded: tuple[Degraded, ...] = ()
        self.lines = lines
        self._renderer = renderer
        self._test = test
        self._running = running
        self._container = container
        self._refused: tuple[Degraded, ...] = ()  # those of the degraded that a test refused
        self._tested_at: float | None = None  # loop time of the latest one that nginx took
        self._loads = 0  # how often the template had been read at the latest candidate

    @property
    def has_same_template(self) -> bool:
        """Return whether the template was not read again since the latest candidate."""
        return self._loads == self._renderer.loads

    def is_tested_since(self, since: float) -> bool:
        """Return whether nginx took a candidate after *since*, in loop time."""
        return self._tested_at is not None and self._tested_at > since

    async def candidate(
        self,
        parts: Parts,
        *,
        degraded: tuple[Degraded, ...] = (),
        names_before: Callable[[], Collection[str]],
    ) -> AcceptedConfig:
        """
        Return what may be put in force.

        Args:
            parts: What should be written.
            degraded: Which of them are less than is wanted already.
            names_before: Returns the names that are in force, see `accepted`.

        Raises:
            RenderError, ConfigRejectedError: See `accepted`.
        """
        if self.lines is not None:
            if not self.has_same_template:  # the operator changed something: perhaps nginx's modules, too
                self.lines.ask_again()
            await self.lines.prepare(running=self._running(), container=self._container())
        found = await self._accepted(parts, names_before=names_before)
        self._loads = self._renderer.loads
        if found.tested:
            self._tested_at = asyncio.get_running_loop().time()
        together = tuple(sorted((*found.degraded, *degraded), key=lambda item: item.upstream))
        self._log(together, parts=parts)
        self._refused, self.degraded = found.degraded, together
        return found

    def text(self, parts: Parts) -> str:
        """Return parts as text, with the lines for its workers if nginx takes them; or raise `RenderError`."""
        if self.lines is None or not self.lines.wanted:
            return self._renderer.text(parts)
        http, stream = split(self._renderer.text(parts, block=limits.live_block))
        http = self.lines.in_text(http, upstreams=upstreams_in(parts))
        return http if stream is None else joined(http, stream)

    def written(self, parts: Parts) -> Parts:
        """Return what would be written of parts if the same of them were refused as in the latest candidate."""
        if not self._refused:
            return parts
        names = {each.name for each in parts}
        kept = (Upstream(name=each.upstream) for each in self._refused if each.kept and each.upstream not in names)
        together = tuple(sorted((*parts, *kept), key=lambda part: part.name))
        return at_levels(together, {each.upstream: each.level for each in self._refused if not each.kept})

    async def _accepted(self, parts: Parts, *, names_before: Callable[[], Collection[str]]) -> AcceptedConfig:
        search = partial(accepted, parts, known=self._refused, before=names_before)
        if self.lines is None or not self.lines.wanted:
            return await search(render=self._renderer.text, test=self._test)
        try:
            found = await search(render=self.text, test=self._test_lines)
        except _LinesRefusedError as error:
            # What is refused with and without them is refused for something else.
            found = await search(render=self._renderer.text, test=self._test)
            self.lines.refused(str(error), by=self._running())
            return found
        if self.lines.tested(took=found.tested):
            return found
        return await search(render=self._renderer.text, test=self._test)

    async def _test_lines(self, text: str) -> bool:
        try:
            return await self._test(text)
        except ConfigRejectedError as error:
            # Not for the search: it would blame one upstream after the other.
            if directives.is_blamed(error.stderr):
                raise _LinesRefusedError(str(error)) from error
            raise

    def _log(self, found: tuple[Degraded, ...], *, parts: Parts) -> None:
        """Log which parts are degraded since the candidate before, and which no longer are."""
        known = {(item.upstream, item.level) for item in self.degraded}
        for item in found:
            if (item.upstream, item.level) in known:
                continue
            if item.kept:
                _log.warning("upstream.kept", upstream=item.upstream, error=item.error)
            else:
                _log_degraded(item)
        for whole in parts_of(parts, {name for name, _ in known} - {item.upstream for item in found}):
            _log_restored(whole.name)


def _log_degraded(item: Degraded) -> None:
    kind, name = kind_of(item.upstream)
    how = {"degraded_to": str(item.level), "error": item.error}
    if kind is Site:
        _log.error("site.degraded", host=name, **how)
    elif kind is Stream:
        _log.error("stream.degraded", port=name, **how)
    else:
        _log.error("upstream.degraded", upstream=name, **how)


def _log_restored(part: str) -> None:
    kind, name = kind_of(part)
    if kind is Site:
        _log.info("site.restored", host=name)
    elif kind is Stream:
        _log.info("stream.restored", port=name)
    else:
        _log.info("upstream.restored", upstream=name)

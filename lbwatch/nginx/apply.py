"""Brings upstreams into force: render, test, replace, reload, verify; and knows whether what it did still holds."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import structlog

from lbwatch import files
from lbwatch.errors import ConfigRejectedError, ReloadError, ReloadRefusedError
from lbwatch.model import Applied, Fallback, Upstream
from lbwatch.nginx.control import Control, Tester
from lbwatch.nginx.fallback import Candidate, accepted
from lbwatch.render import Renderer, digest

STOP_TIMEOUT_S = 1.5
"""How long a stop waits for a reload command of the user's; a replacement and a signal take milliseconds."""

_log = structlog.get_logger()


class Nginx:
    """
    One nginx as a load balancer.

    Args:
        renderer: Makes the text.
        output: The file that nginx includes.
        tester: Tells whether nginx would take a text.
        control: Reloads nginx and proves it.
        claim: The right to replace the output.
    """

    def __init__(
        self, renderer: Renderer, *, output: Path, tester: Tester, control: Control, claim: files.Claim
    ) -> None:
        self._renderer = renderer
        self._output = output
        self._tester = tester
        self._control = control
        self._claim = claim
        self._fallbacks: tuple[Fallback, ...] = ()  # of the latest candidate
        self._confirmed: object = None  # the nginx and the file of the latest verified reload

    def confirmed(self) -> bool:
        """Tell whether what was verified last still stands: the same nginx runs, and nobody changed the file."""
        return self._confirmed is not None and self._confirmed == self._evidence()

    async def apply(self, upstreams: tuple[Upstream, ...]) -> Applied:
        """
        Bring *upstreams* into force; where they are already, and that was verified, nothing is done.

        Upstreams that nginx or the template refuses are reduced as far as they must be, and named in the answer.

        Raises:
            RenderError, ConfigRejectedError, OutputError: The old file serves on.
            ReloadError: The file is the new one, which passed the test; nginx does not run it yet.
        """
        began = asyncio.get_running_loop().time()
        candidate = await self._candidate(upstreams)
        before = await asyncio.to_thread(files.read, self._output)
        name, changed = digest(candidate.text), candidate.text != before
        if not changed and self.confirmed():
            return Applied(digest=name, changed=False, reloaded=False, fallbacks=candidate.fallbacks)
        await _to_the_end(self._put_in_force(candidate, before=before))
        live_s, verified_s = await self._verified(began=began)
        _log.info(
            "nginx.reloaded", digest=name, changed=changed, live_s=round(live_s, 4), verified_s=round(verified_s, 4)
        )
        return Applied(
            digest=name,
            changed=changed,
            reloaded=True,
            live_s=live_s,
            verified_s=verified_s,
            fallbacks=candidate.fallbacks,
        )

    async def _candidate(self, upstreams: tuple[Upstream, ...]) -> Candidate:
        candidate = await accepted(upstreams, render=self._renderer.text, test=self._tester.test, known=self._fallbacks)
        told = {(item.upstream, item.form) for item in self._fallbacks}
        for item in candidate.fallbacks:
            if (item.upstream, item.form) not in told:
                _log.error("upstream.fell_back", upstream=item.upstream, form=str(item.form), error=item.error)
        for upstream in sorted({name for name, _ in told} - {item.upstream for item in candidate.fallbacks}):
            _log.info("upstream.restored", upstream=upstream)
        self._fallbacks = candidate.fallbacks
        return candidate

    async def _put_in_force(self, candidate: Candidate, *, before: str | None) -> None:
        """Replace and reload; what nobody could test is taken back unless nginx is seen to take it."""
        changed = candidate.text != before
        untested = changed and not candidate.tested
        self._confirmed = None
        if changed:
            await asyncio.to_thread(self._replace, candidate.text)
        try:
            await self._control.reload()
            if untested:
                await self._control.wait_live()
        except (ReloadRefusedError, asyncio.CancelledError) as error:
            if untested:
                await asyncio.to_thread(self._replace, before)
            if untested and isinstance(error, ReloadRefusedError):
                raise ConfigRejectedError(
                    f"{error}; nothing could test the new file, and the old one is back"
                ) from error
            raise

    def _replace(self, text: str | None) -> None:
        self._claim.take()
        if text is None:
            files.remove(self._output)
        else:
            files.replace(self._output, text=text)

    async def _verified(self, *, began: float) -> tuple[float, float]:
        """Wait for the proof, and tell after how many seconds the new workers were there and the old ones retired."""
        loop = asyncio.get_running_loop()
        evidence = self._evidence()
        await self._control.wait_live()
        live_s = loop.time() - began
        await self._control.wait_retired()
        verified_s = loop.time() - began
        if evidence != self._evidence():
            raise ReloadError("nginx was restarted, or the output was changed by someone else, during the reload")
        self._confirmed = evidence
        return live_s, verified_s

    def _evidence(self) -> object:
        running = self._control.running()
        return None if running is None else (running, files.stamp(self._output))


async def _to_the_end(step: Coroutine[None, None, None]) -> None:
    """Run a step that must not be left half done: a cancellation waits for its end, though not for ever."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=STOP_TIMEOUT_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise

"""Brings upstreams into force: render, test, replace, reload, verify; and knows whether what it did still holds."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import structlog

from lbwatch import files
from lbwatch.errors import ReloadError
from lbwatch.model import Applied, Upstream
from lbwatch.nginx.control import Control, Tester
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
    """

    def __init__(self, renderer: Renderer, *, output: Path, tester: Tester, control: Control) -> None:
        self._renderer = renderer
        self._output = output
        self._tester = tester
        self._control = control
        self._confirmed: object = None  # the nginx and the file of the latest verified reload

    def confirmed(self) -> bool:
        """Tell whether what was verified last still stands: the same nginx runs, and nobody changed the file."""
        return self._confirmed is not None and self._confirmed == self._evidence()

    async def apply(self, upstreams: tuple[Upstream, ...]) -> Applied:
        """
        Bring *upstreams* into force; where they are already, and that was verified, nothing is done.

        Raises:
            RenderError, ConfigRejectedError, OutputError: The old file serves on.
            ReloadError: The file is the new one, which passed the test; nginx does not run it yet.
        """
        began = asyncio.get_running_loop().time()
        text = self._renderer.text(upstreams)
        changed = text != await asyncio.to_thread(files.read, self._output)
        if not changed and self.confirmed():
            return Applied(digest=digest(text), changed=False, reloaded=False)
        if changed:
            await self._tester.test(text)
        await _to_the_end(self._put_in_force(text, changed=changed))
        return await self._verified(digest(text), changed=changed, began=began)

    async def _put_in_force(self, text: str, *, changed: bool) -> None:
        self._confirmed = None
        if changed:
            await asyncio.to_thread(files.replace, self._output, text=text)
        await self._control.reload()

    async def _verified(self, name: str, *, changed: bool, began: float) -> Applied:
        loop = asyncio.get_running_loop()
        evidence = self._evidence()
        await self._control.wait_live()
        live_s = loop.time() - began
        await self._control.wait_retired()
        verified_s = loop.time() - began
        if evidence != self._evidence():
            raise ReloadError("nginx was restarted, or the output was changed by someone else, during the reload")
        self._confirmed = evidence
        _log.info(
            "nginx.reloaded",
            digest=name,
            changed=changed,
            live_s=round(live_s, 4),
            verified_s=round(verified_s, 4),
        )
        return Applied(digest=name, changed=changed, reloaded=True, live_s=live_s, verified_s=verified_s)

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

"""
Shows the main job: containers come, go and move, and a file and a private nginx follow.

Everything is private to the demo and put away at its end.
"""

import asyncio
import signal
import tempfile
from pathlib import Path

from lbwatch.cli.demo.acts import on_fake, on_real
from lbwatch.cli.demo.screen import Screen
from lbwatch.core.errors import LbwatchError
from lbwatch.settings import Settings


async def run(settings: Settings, *, real: bool, image: str | None) -> int:
    """
    Run the demo to its end, or until SIGTERM or Ctrl-C.

    Raises:
        DemoError: A step did not come out.
    """
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    screen = Screen()
    try:
        with tempfile.TemporaryDirectory(prefix="lbwatch-demo-") as name:
            folder = Path(name)
            await (on_real(settings, folder, screen, image) if real else on_fake(settings, folder, screen))
    except BaseExceptionGroup as group:
        told, _ = group.split(LbwatchError)
        if told is None:
            raise
        raise _first(told) from group
    except asyncio.CancelledError:
        task.uncancel()
        screen.say("stopped", "everything is put away", style="bold")
    return 0


def _first(group: BaseExceptionGroup[LbwatchError]) -> LbwatchError:
    """Find the error in the groups that task groups put around it."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error

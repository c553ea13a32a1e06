"""
The demo of the main job: containers come, go and move, and a file and a private nginx follow.

Everything is private to the demo and removed at its end.
"""

import asyncio
import tempfile
from pathlib import Path

from lbwatch.cli.demo.acts import on_fake, on_real
from lbwatch.cli.demo.screen import Screen
from lbwatch.core.errors import LbwatchError
from lbwatch.settings import Settings
from lbwatch.system import signals
from lbwatch.tasks import first_error

STOP_LIMIT_S = 10.0
"""To put everything away, an nginx among it."""


async def run(settings: Settings, *, real: bool, image: str | None) -> int:
    """
    Return the exit code 0 after the demo's end, or after SIGTERM or Ctrl-C.

    Args:
        settings: Of the user; the demo replaces those that would touch the user's own nginx.
        real: Whether the engine that the settings name is used, and not the fake one.
        image: What the container on a real engine runs; `None` for the smallest image at hand.

    Raises:
        DemoError: A step had not the expected result.
    """
    task = asyncio.current_task()
    assert task is not None
    screen = Screen()
    try:
        with (
            signals.caught(asyncio.get_running_loop(), stop=task.cancel, limit_s=STOP_LIMIT_S),
            tempfile.TemporaryDirectory(prefix="lbwatch-demo-") as name,
        ):
            folder = Path(name)
            await (on_real(settings, folder, screen, image) if real else on_fake(settings, folder, screen))
    except BaseExceptionGroup as group:
        ours, _ = group.split(LbwatchError)
        if ours is None:
            raise
        raise first_error(ours) from group
    except asyncio.CancelledError:
        task.uncancel()
        screen.say("stopped", "everything is put away", style="bold")
    return 0

"""
lbwatch that gets a signal at one step of an update: `python -m tests.support.killed STEP SIGNAL ARMED run ...`.

It is lbwatch until the file ARMED is there. The next time that it comes to STEP it removes that file and sends itself
SIGNAL; then it goes on, if it still can. A step is a side of a call, such as `rename.before`.
"""

import asyncio
import functools
import inspect
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lbwatch import daemon as lbwatch_daemon
from lbwatch.__main__ import main
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.template import Renderer

HEEDED_S = 10.0
"""Longest that a step waits until the loop has heeded a SIGTERM; nothing that is to be kept in time takes longer."""


class Doom:
    """
    What happens at the step.

    Args:
        side: Of the call: `before`, `after`; `half` is before, with half of the file that the call is about cut off.
        armed: It happens once, and only if this file is there.
    """

    def __init__(self, *, side: str, number: int, armed: Path) -> None:
        self._side = side
        self._number = number
        self._armed = armed
        self._loop: asyncio.AbstractEventLoop | None = None

    def around(self, function: Callable[..., Any], *, meant: Callable[..., bool]) -> Callable[..., Any]:
        """Give the function with the step built in; only calls that are *meant* count."""

        @functools.wraps(function)
        def plain(*args: Any, **options: Any) -> Any:
            counts = meant(*args)  # a descriptor may be closed afterwards
            if counts and self._side != "after":
                self._strike_here(*args)
            answer = function(*args, **options)
            if counts and self._side == "after":
                self._strike_here()
            return answer

        @functools.wraps(function)
        async def slow(*args: Any, **options: Any) -> Any:
            if self._side == "before" and self._struck():
                await self._heeded()
            answer = await function(*args, **options)
            if self._side == "after" and self._struck():
                await self._heeded()
            return answer

        return slow if inspect.iscoroutinefunction(function) else plain

    def hooked(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Give `daemon.run`, which tells us the loop."""

        @functools.wraps(run)
        async def hooked(*args: Any) -> None:
            self._loop = asyncio.get_running_loop()
            await run(*args)

        return hooked

    def _struck(self, *args: Any) -> bool:
        try:
            self._armed.unlink()
        except FileNotFoundError:
            return False
        if self._side == "half":
            os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
        os.kill(os.getpid(), self._number)
        return True

    def _strike_here(self, *args: Any) -> None:
        """In a thread, wait until the loop asks for the end: that is when it finds this step half done."""
        if self._struck(*args) and threading.current_thread() is not threading.main_thread():
            deadline = time.monotonic() + HEEDED_S
            while not self._ending() and time.monotonic() < deadline:
                time.sleep(0.001)

    async def _heeded(self) -> None:
        while not self._ending():
            await asyncio.sleep(0)

    def _ending(self) -> bool:
        assert self._loop is not None
        tasks = asyncio.all_tasks(self._loop)  # none that has ended
        return not any(task.get_name() == "reconcile" and not task.cancelling() for task in tasks)


def _is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _always(*_: Any) -> bool:
    return True


CALLS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "render": (Renderer, "text", _always),
    "test": (CopyTester, "test", _always),
    "fsync": (os, "fsync", lambda descriptor: not _is_folder(descriptor)),
    "rename": (os, "replace", _always),
    "folder": (os, "fsync", _is_folder),
    "signal": (signal, "pidfd_send_signal", _always),
    "live": (LocalControl, "wait_live", _always),
    "retired": (LocalControl, "wait_retired", _always),
}
"""Where the calls are found, in the order in which they come, and which of them are meant."""


if __name__ == "__main__":
    step, name, armed, *sys.argv[1:] = sys.argv[1:]
    call, side = step.split(".")
    doom = Doom(side=side, number=signal.Signals[name], armed=Path(armed))
    owner, attribute, meant = CALLS[call]
    setattr(owner, attribute, doom.around(getattr(owner, attribute), meant=meant))
    lbwatch_daemon.run = doom.hooked(lbwatch_daemon.run)
    main()

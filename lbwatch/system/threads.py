"""
The daemon's threads: few, bounded, never waited for at the end, and no reason to end where one cannot be had.

asyncio's own come one by one whenever one is needed. Where that fails (`pids.max`, `ulimit -u`) what was to be run
stays in their queue and is run at any later time; and their end is waited for, though one may hang in a file system.
"""

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

import structlog

from lbwatch.core.errors import ThreadError

MAX_THREADS = 8
"""A pass has one at a time, and so has each kind of answer that is being made; the others are for what hangs."""

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_log = structlog.get_logger()


class Threads(Executor):
    """
    Runs functions in a few threads.

    Args:
        size: How many there are at most.
        name: How their names begin.
    """

    def __init__(self, size: int = MAX_THREADS, *, name: str = "work") -> None:
        self._size = size
        self._name = name
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()  # `None`: one of them ends
        self._lock = threading.Lock()  # of the two below
        self._threads = 0
        self._pending = 0  # what waits for a thread, or has one
        self._refused = False  # at the latest try

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """
        Have *fn* run, and return what will have its answer.

        Raises:
            ThreadError: There is no thread and none can be started; *fn* is not run, not even later.
        """
        with self._lock:
            if self._pending >= self._threads and self._threads < self._size:
                self._start()
            self._pending += 1
        future: Future[T] = Future()

        def run() -> None:
            error: BaseException | None = None
            try:
                if not future.set_running_or_notify_cancel():
                    return
                answer = fn(*args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - it is who asked for it that it concerns
                error = raised
            finally:
                with self._lock:  # before the answer is given: who gets it may ask for the next thing at once
                    self._pending -= 1
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)

        self._queue.put(run)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - a port
        """Have the threads end, each once it has nothing to do; nobody waits for them, whatever is asked for."""
        with self._lock:
            for _ in range(self._threads):
                self._queue.put(None)

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._refused:
                _log.warning("thread.refused", error=str(error), threads=self._threads)
            self._refused = True
            if not self._threads:
                words = f"no thread can be started ({error}): raise the limit of processes (pids.max, ulimit -u)"
                raise ThreadError(words) from error
        else:
            self._threads += 1
            self._refused = False

    def _work(self) -> None:
        while True:
            if (task := self._queue.get()) is None:
                return
            task()


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose threads are those of above; those that look names up do nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._own_threads = Threads()
        # A name server that hangs has all engines that are known by name hang, and nothing that files are written by.
        self._look_ups = Threads(name="look-up")

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Look a name up, as socket's function does; the type is that of the standard library's stubs."""
        return await self.run_in_executor(self._look_ups, socket.getaddrinfo, host, port, family, type, proto, flags)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """Run a function in a thread of *executor*'s, or of ours if that is `None`."""
        return super().run_in_executor(executor or self._own_threads, func, *args)


def new_loop() -> Loop:
    """Return the event loop of a daemon."""
    loop = Loop()
    if sys.version_info < (3, 12) and _has_pidfd():
        # Else each program that is run has a thread that waits for its end, which the kernel tells as well.
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(loop)
        asyncio.set_child_watcher(watcher)
    return loop


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True

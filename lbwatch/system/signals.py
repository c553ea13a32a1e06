"""
Signals, from the first instant on: which end the process, which mean nothing here, and an end that comes in time.

It is imported before anything else, so that it imports next to nothing itself. Handlers are Python's own and not the
event loop's: the loop's are gone when it is closed, do not run where it is blocked, and would have a system call that
blocks go on after a signal.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType, MappingProxyType

TYPE_CHECKING = False  # to import typing's own would cost a third of the time in which a signal still ends the process
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""SIGQUIT too: it is the stop signal of nginx's own images, and so of those that are made from them."""

MEANINGLESS = (signal.SIGUSR1, signal.SIGUSR2)
"""They would end the process, and are nginx's own for logs and upgrades: somebody may take us for it."""

STOP_LIMIT_S = 2.5
"""After so long a stop ends the process, whatever hangs; Docker waits 10 s before it kills, systemd 90 s."""

_before: dict[int, object] = {}  # what stood before `end_at_once`, by signal


def end_at_once() -> None:
    """Have a stop signal end the process at once and quietly, exit code 0, since nothing has begun; others nothing."""
    for number in (*STOPPING, *MEANINGLESS, signal.SIGHUP):
        _before[number] = signal.getsignal(number)
        signal.signal(number, _end if number in STOPPING else _nothing)


def interrupt() -> None:
    """Have SIGTERM do what Ctrl-C does, and all other signals what they did before: for a command that answers."""
    for number, handler in _before.items():
        signal.signal(number, handler)  # type: ignore[arg-type]  # getsignal's answer is what signal takes
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


@contextmanager
def caught(
    loop: "AbstractEventLoop",
    *,
    stop: Callable[[], object],
    others: Mapping[int, Callable[[], None]] = MappingProxyType({}),
    late: Callable[[], None] = lambda: None,
    limit_s: float | None = None,
) -> Iterator[None]:
    """
    Have signals call functions in an event loop, until the end of the context.

    Args:
        loop: Runs in this thread, the main one.
        stop: Called for each stop signal.
        others: Called for other signals, by number.
        late: Called in any place just before the process is ended.
        limit_s: Seconds after the first stop signal in which it ends in any case; `None`: `STOP_LIMIT_S`.
    """

    def handle(number: int, _: FrameType | None) -> None:
        if number in STOPPING:
            end_within(STOP_LIMIT_S if limit_s is None else limit_s, code=0, late=late)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(stop if number in STOPPING else others[number])

    with _wakes(loop):
        before = {number: signal.signal(number, handle) for number in (*STOPPING, *others)}
        try:
            yield
        finally:
            # Not the timer: a stop that began ends the process, also if something hangs after this.
            for number, handler in before.items():
                signal.signal(number, handler)


def end_within(seconds: float, *, code: int, late: Callable[[], None] = lambda: None) -> None:
    """
    Have the process end after *seconds* at the latest, or earlier if that was asked for before.

    A timer of the kernel's, and not a thread, which may be what cannot be had. The main thread need only be able to
    take a signal: it may be blocked in a lock, or in opening a pipe that nobody writes.

    Args:
        seconds: From now.
        code: The exit code.
        late: Called in any place just before such an end.
    """

    def end(_: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(code))
        signal.setitimer(signal.ITIMER_REAL, 0.5)  # in case that hangs too
        late()
        os._exit(code)

    left_s, _ = signal.getitimer(signal.ITIMER_REAL)
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, min(left_s, seconds) if left_s else seconds)


@contextmanager
def _wakes(loop: "AbstractEventLoop") -> Iterator[None]:
    """Have each signal wake the loop, so that its handler runs: else one that comes just before a wait is late."""
    ours, theirs = os.pipe()
    for descriptor in (ours, theirs):
        os.set_blocking(descriptor, False)

    def drain() -> None:
        with suppress(BlockingIOError):
            os.read(ours, 4096)

    loop.add_reader(ours, drain)
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


def _end(_: int, __: FrameType | None) -> None:
    os._exit(0)


def _nothing(_: int, __: FrameType | None) -> None:
    """Do nothing; to ignore a signal in earnest would have the programs that we start ignore it, too."""


def _interrupt(_: int, __: FrameType | None) -> None:
    end_within(STOP_LIMIT_S, code=0)  # it may be blocked by what it prints to
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's, for what it starts in the background
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)

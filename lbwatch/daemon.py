"""Runs the daemon: its tasks, its signals and its end."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from lbwatch import __version__
from lbwatch.api.application import make_application
from lbwatch.api.control import ControlService
from lbwatch.api.server import serving
from lbwatch.build import Daemon, build_daemon
from lbwatch.core.errors import DeadSocketError, OutputError, OutputHeldError, RenderError, StateError
from lbwatch.core.status import standing
from lbwatch.settings import Settings
from lbwatch.system.lock import FileLock
from lbwatch.system.notify import Notifier
from lbwatch.system.state import State

_log = structlog.get_logger()


async def run(settings: Settings) -> int:
    """
    Follow the engine until SIGTERM or SIGINT.

    Returns:
        The exit code: 1 where only a new start can help, which was logged.

    Raises:
        SettingsError, RenderError: It cannot start like this.
    """
    notifier = Notifier(os.environ, pid=os.getpid())
    os.environ.pop("NOTIFY_SOCKET", None)  # nginx and the user's commands, which inherit it, do not speak for us
    stopped = asyncio.Event()
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(build_daemon(settings))
        _keep_state(daemon.state, lock=stack.enter_context(FileLock(daemon.state.path)))
        service = ControlService(
            daemon.state,
            loop=daemon.reconciler,
            explain=daemon.explain,
            reload_interval_s=settings.reload_interval,
        )
        application = make_application(daemon, service=service, hosts=settings.status_hosts)
        await stack.enter_async_context(
            serving(application, listen=settings.status_listen, control_socket=settings.control_socket)
        )
        _listen(stopped, daemon=daemon, notifier=notifier)
        _log.info("daemon.started", version=__version__, source=daemon.source.name, output=str(settings.output))
        notifier.ready()  # the engine may be late
        try:
            await keep_going(daemon, until=stopped, passed=lambda: notifier.passed(standing(daemon.quick_status())))
        except DeadSocketError:
            return 1
    _log.info("daemon.stopped")
    return 0


def _keep_state(state: State, *, lock: FileLock) -> None:
    """Say, once and before it matters, if what is changed by hand will not survive."""
    try:
        state.check()
        lock.acquire()
    except OutputHeldError as error:
        reason = (
            f"state_dir: {error.holder} keeps its drains there too, and each undoes the other's: give this one its own"
        )
        _log.warning("state.not_kept", reason=reason)
    except (StateError, OutputError) as error:  # a full disk, say: routing does not need it
        _log.warning("state.not_kept", reason=f"{error}: drains by hand will not survive a restart")


async def keep_going(daemon: Daemon, *, until: asyncio.Event, passed: Callable[[], None] = lambda: None) -> None:
    """
    Run all tasks of a daemon until the event is set; a task that ends by itself is a bug and ends everything.

    Raises:
        DeadSocketError: Only a new start can help.
    """
    dead: Exception | None = None
    try:
        await _kept_going(daemon, until=until, passed=passed)
    except* DeadSocketError as group:
        dead = group.exceptions[0]
    if dead is not None:
        raise dead


async def _kept_going(daemon: Daemon, *, until: asyncio.Event, passed: Callable[[], None]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(daemon.source.run(daemon.reconciler.wake), name="source"),
            group.create_task(daemon.reconciler.run(passed=passed), name="reconcile"),
        ]
        stop = group.create_task(until.wait(), name="stop")
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if stop not in done and all(task.exception() is None for task in done):
            raise RuntimeError(f"task {done.pop().get_name()} ended, which it never should")
        for task in tasks:
            task.cancel()
        stop.cancel()


def _listen(stopped: asyncio.Event, *, daemon: Daemon, notifier: Notifier) -> None:
    def stop() -> None:
        notifier.stopping()
        stopped.set()

    def reload() -> None:
        notifier.reloading(monotonic_ns=time.monotonic_ns())
        _reload(daemon)
        notifier.reloaded()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)


def _reload(daemon: Daemon) -> None:
    """Read the template again (a wrong one is logged, the old one stays) and do a full pass."""
    try:
        daemon.renderer.load()
    except RenderError as error:
        _log.error(error.event, error=str(error), path=error.path, line=error.line)
    else:
        _log.info("template.loaded", path=daemon.renderer.name)
    daemon.source.resync()
    daemon.reconciler.renew()

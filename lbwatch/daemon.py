"""Runs the daemon: its tasks, its signals and its end."""

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack

import structlog

from lbwatch import __version__
from lbwatch.api.application import make_application
from lbwatch.api.control import ControlService
from lbwatch.api.server import serving
from lbwatch.core.errors import DeadSocketError, OutputError, OutputHeldError, RenderError, StateError
from lbwatch.core.status import summary
from lbwatch.settings import Settings
from lbwatch.system.lock import FileLock
from lbwatch.system.notify import Notifier
from lbwatch.system.state import State
from lbwatch.tasks import run_until
from lbwatch.wiring.daemon import Daemon, build_daemon

_log = structlog.get_logger()


async def run(settings: Settings) -> int:
    """
    Follow the engine until SIGTERM or SIGINT, and return the exit code: 1 where only a new start can help.

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
            reload_interval_s=settings.nginx.reload_interval,
        )
        application = make_application(daemon, service=service, hosts=settings.api.status_hosts)
        await stack.enter_async_context(
            serving(application, listen=settings.api.status_listen, control_socket=settings.api.control_socket)
        )
        _listen(stopped, daemon=daemon, notifier=notifier)
        _log.info("daemon.started", version=__version__, source=daemon.source.name, output=str(settings.nginx.output))
        notifier.ready()  # the engine may be late
        try:
            await run_until(daemon, until=_set(stopped), passed=lambda: notifier.passed(summary(daemon.quick_status())))
        except DeadSocketError:
            return 1
    _log.info("daemon.stopped")
    return 0


def _keep_state(state: State, *, lock: FileLock) -> None:
    """Log, once and before it matters, if what is changed by hand will not survive."""
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


async def _set(event: asyncio.Event) -> None:
    await event.wait()


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

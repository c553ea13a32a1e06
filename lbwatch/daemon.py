"""Runs the daemon: its tasks, its signals and its end."""

import asyncio
import os
import signal
import time
import traceback
from contextlib import AsyncExitStack

import structlog

from lbwatch import __version__
from lbwatch.api.application import make_application
from lbwatch.api.control import ControlService
from lbwatch.api.protection import Protection
from lbwatch.api.server import serving
from lbwatch.core.errors import (
    DeadSocketError,
    LbwatchError,
    OutputError,
    OutputHeldError,
    RenderError,
    StateError,
    ThreadError,
    excerpt,
)
from lbwatch.core.status import summary
from lbwatch.journal import BalancerLog
from lbwatch.settings import Settings
from lbwatch.system import logs, signals
from lbwatch.system.lock import FileLock
from lbwatch.system.notify import Notifier
from lbwatch.system.state import State
from lbwatch.system.threads import new_loop
from lbwatch.tasks import run_until
from lbwatch.wiring.daemon import Daemon, build_daemon

RELOAD_SPACING_S = 1.0
"""Between two reads of the template; a reload takes 0.1 s, and whoever sends SIGHUPs in a row wants one."""

BALANCER_LOOK_S = 1.0
"""Between two looks at whose requests wait: who waits for less is no news."""

TRACEBACK_LINES = 40
TRACEBACK_CHARS = 8000
"""Of a bug's traceback, its end: groups of tasks nest, and a line of the log must stay one that can be shipped."""

_log = structlog.get_logger()


def serve(settings: Settings) -> int:
    """
    Run the daemon as what this process is for, and return its exit code, in time whatever hangs.

    Raises:
        SettingsError, RenderError: It cannot start like this.
    """
    code = 1
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            try:
                code = runner.run(run(settings))
            finally:
                signals.end_within(signals.STOP_LIMIT_S, code=code, late=_late)  # to close a loop may take for ever
    except LbwatchError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug: where it is must be known, and the log stay lines of ours
        lines = "".join(traceback.format_exception(error)[-TRACEBACK_LINES:])
        _log.error("daemon.failed", error=excerpt(repr(error)), traceback=lines[-TRACEBACK_CHARS:])
    finally:
        logs.finish()
    return code


def _late() -> None:
    _log.warning("daemon.stop_forced", reason=f"something did not end within {signals.STOP_LIMIT_S:g} s")
    logs.finish()


async def run(settings: Settings) -> int:
    """
    Follow the engine until a stop signal, and return the exit code: 1 where only a new start can help.

    Raises:
        SettingsError, RenderError: It cannot start like this.
    """
    notifier = Notifier(os.environ, pid=os.getpid())
    os.environ.pop("NOTIFY_SOCKET", None)  # nginx and the user's commands, which inherit it, do not speak for us
    stopped, reload = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        if not stopped.is_set():
            notifier.stopping()
        stopped.set()

    loop = asyncio.get_running_loop()
    with signals.caught(loop, stop=stop, others={signal.SIGHUP: reload.set}, late=_late):
        try:
            await _follow(settings, notifier=notifier, stopped=stopped, reload=reload)
        except DeadSocketError:
            return 1
    _log.info("daemon.stopped")
    return 0


async def _follow(settings: Settings, *, notifier: Notifier, stopped: asyncio.Event, reload: asyncio.Event) -> None:
    """
    Keep a daemon going.

    Args:
        settings: What the user set.
        notifier: Reports how it does.
        stopped: Set for it to end.
        reload: Set for the template to be read again.
    """
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(build_daemon(settings))
        _keep_state(daemon.state, lock=stack.enter_context(FileLock(daemon.state.path)))
        service = ControlService(
            daemon.state,
            loop=daemon.reconciler,
            explain=daemon.explain,
            explain_host=daemon.explain_host,
            reload_interval_s=settings.nginx.reload_interval,
            takes_reload=daemon.rules().takes_reload,
            refresh=daemon.source.refresh,
            knows_all=daemon.source.knows_all,
        )
        api = settings.api
        protection = Protection(api)
        if api.status_listen:
            await asyncio.to_thread(protection.load)
        application = make_application(daemon, service=service, hosts=api.status_hosts, password=protection.password)
        await stack.enter_async_context(
            serving(application, listen=api.status_listen, control_socket=api.control_socket, protection=protection)
        )
        _log.info(
            "daemon.started", version=__version__, source=daemon.source.described, output=str(settings.nginx.output)
        )
        notifier.ready()  # the engine may be late
        await run_until(
            daemon,
            until=_set(stopped),
            passed=lambda: _passed(daemon, notifier=notifier),
            chores={
                "ports": daemon.ports.run,
                "refresh": daemon.nginx.keep_fresh,
                "live": daemon.nginx.follow,
                "files": lambda: _follow_files(daemon),
                "names": daemon.names.run,
                "balancer": lambda: _log_balancer(daemon),
                "reload": lambda: _reload_whenever(reload, daemon=daemon, notifier=notifier),
            },
        )


def _passed(daemon: Daemon, *, notifier: Notifier) -> None:
    """Have done what follows a pass: others are waited for, perhaps, and whoever keeps lbwatch going should know."""
    daemon.ports.look()
    notifier.passed(lambda: summary(daemon.quick_status()))


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
        _log.warning("state.not_kept", reason=f"{error}: drains and pauses by hand will not survive a restart")


async def _log_balancer(daemon: Daemon) -> None:
    """Log what no pass has to say of the load balancer, for good."""
    log, clock = BalancerLog(), asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(BALANCER_LOOK_S)
        log.seen(daemon.nginx.live_status(), now=clock())


async def _follow_files(daemon: Daemon) -> None:
    """Watch the files that sites are made with, for good, as soon as the template writes any."""
    while True:
        if daemon.renderer.writes_sites:  # SIGHUP may bring a template that does
            await daemon.folders.run()
        await asyncio.sleep(BALANCER_LOOK_S)


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _reload_whenever(asked: asyncio.Event, *, daemon: Daemon, notifier: Notifier) -> None:
    """Read the template again whenever that was asked for, once for all who asked meanwhile; for good."""
    while True:
        await asked.wait()
        asked.clear()
        notifier.reloading(monotonic_ns=time.monotonic_ns())
        await _reload(daemon)
        notifier.reloaded()
        await asyncio.sleep(RELOAD_SPACING_S)


async def _reload(daemon: Daemon) -> None:
    """Read the template again (a wrong one is logged, the old one stays) and do a full pass."""
    try:
        await asyncio.to_thread(daemon.renderer.load)
    except (RenderError, ThreadError) as error:
        path, line = (error.path, error.line) if isinstance(error, RenderError) else (daemon.renderer.name, None)
        _log.error(error.event, error=str(error), path=path, line=line)
    else:
        _log.info("template.loaded", path=daemon.renderer.name)
    daemon.folders.look()
    daemon.source.resync()
    daemon.reconciler.renew()

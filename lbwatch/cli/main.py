"""
The command line: flags to settings, commands to functions, errors to exit codes.

What a command answers goes to standard output, logs and errors to standard error. Each command imports what it needs
itself: all of it costs half a second of CPU, and a container's HEALTHCHECK starts `health` every few seconds.
"""

import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from lbwatch import __version__
from lbwatch.cli import DONE, FAILED, WRONG_SETTINGS
from lbwatch.cli.commandline import Argument, Command, Flag, Line, nearest, read_line
from lbwatch.cli.sources import Sources
from lbwatch.core.errors import LbwatchError, RenderError, SettingsError, UsageError, excerpt
from lbwatch.settings import DEFAULT_CONFIG, Settings, all_settings, unknown_variables
from lbwatch.system import signals


def _run(settings: Settings, _: Line) -> int:
    from lbwatch import daemon

    _begin_log(settings, is_daemon=True)
    return _exit_code(lambda: daemon.serve(settings))


def _render(settings: Settings, line: Line) -> int:
    from lbwatch.cli.render import render

    diff, exit_code = "--diff" in line.own, "--exit-code" in line.own
    return _served(settings, lambda: render(settings, differ=diff, exit_code=exit_code, recorded=_recorded(line)))


def _check(settings: Settings, _: Line) -> int:
    from lbwatch.cli.check import check

    return _served(settings, lambda: check(settings))


def _explain(settings: Settings, line: Line) -> int:
    from lbwatch.cli.explain import explain
    from lbwatch.cli.explainhost import explain_host

    as_json, recorded = "--json" in line.own, _recorded(line)
    if (host := line.own.get("--host")) is None:
        return _served(settings, lambda: explain(settings, container=line.argument, as_json=as_json, recorded=recorded))
    if line.argument is not None:
        return _wrong(f"explain takes a CONTAINER or --host, but {excerpt(line.argument)!r} and --host are given")
    return _served(settings, lambda: explain_host(settings, host=host, as_json=as_json, recorded=recorded))


def _events(settings: Settings, _: Line) -> int:
    from lbwatch.cli.events import events

    return _served(settings, lambda: events(settings))


def _health(settings: Settings, _: Line) -> int:
    from lbwatch.cli.health import health

    # It logs nothing itself, so that the log, which costs as much to import as all the rest, seldom is needed.
    if unknown_variables(os.environ):
        _begin_log(settings)
    return _exit_code(lambda: health(settings))


def _drain(settings: Settings, line: Line) -> int:
    from lbwatch.cli.drain import drain

    return _served(settings, lambda: drain(settings, container=line.argument or ""))


def _undrain(settings: Settings, line: Line) -> int:
    from lbwatch.cli.drain import undrain

    return _served(settings, lambda: undrain(settings, container=line.argument or ""))


def _pause(settings: Settings, line: Line) -> int:
    from lbwatch.cli.pause import pause

    return _served(settings, lambda: pause(settings, upstream=line.argument or ""))


def _resume(settings: Settings, line: Line) -> int:
    from lbwatch.cli.pause import resume

    return _served(settings, lambda: resume(settings, upstream=line.argument or ""))


def _completion(_: Settings, line: Line) -> int:
    from lbwatch.cli.completion import script

    sys.stdout.write(script(line.argument or "", commands=COMMANDS))
    return DONE


def _demo(settings: Settings, line: Line) -> int:
    from lbwatch.cli import demo

    real, image = "--real" in line.own, line.own.get("--image")
    return _served(settings, lambda: demo.run(settings, real=real, image=image))


def _recorded(line: Line) -> Path | None:
    path = line.own.get("--engine-from")
    return Path(path) if path is not None else None


_CONTAINER = Argument(name="CONTAINER", meaning="Its name, or the beginning of its id.")

_UPSTREAM = Argument(name="UPSTREAM", meaning="Its name.")

_ENGINE_FROM = Flag(
    name="--engine-from",
    takes="FILE",
    meaning="Read a recorded engine instead: a file with the output of docker inspect for its containers.",
)

COMMANDS = (
    Command(name="run", meaning="Follow the engine and keep nginx in step: the daemon.", run=_run),
    Command(
        name="check",
        meaning="Look at settings, engine, output, nginx, servers and the running daemon; exit code 1 if one fails.",
        run=_check,
    ),
    Command(
        name="explain",
        meaning="Show for each container why it is or is not routed, or all that is known of one, or of a host.",
        run=_explain,
        argument=Argument(
            name="CONTAINER", meaning="Only this one: its name, or the beginning of its id.", is_required=False
        ),
        flags=(
            Flag(
                name="--host", takes="HOST", meaning="Show who serves this host instead, and how, or why nobody does."
            ),
            Flag(name="--json", meaning="Answer as JSON."),
            _ENGINE_FROM,
        ),
        shows=("docker_host", "control_socket"),
    ),
    Command(
        name="render",
        meaning="Print what would be written now; nothing is written or reloaded.",
        run=_render,
        flags=(
            Flag(name="--diff", meaning="Show the difference to the output file instead."),
            Flag(name="--exit-code", meaning="End with 1 if there is a difference, as diff does."),
            _ENGINE_FROM,
        ),
        shows=("docker_host", "template", "output"),
    ),
    Command(
        name="events",
        meaning="Print the engine's events as they come, and what lbwatch makes of each.",
        run=_events,
        shows=("docker_host",),
    ),
    Command(
        name="drain",
        meaning="Send a container no new requests until `undrain`, also after a restart of it or of lbwatch.",
        run=_drain,
        argument=_CONTAINER,
        shows=("control_socket",),
    ),
    Command(name="undrain", meaning="Undo `drain`.", run=_undrain, argument=_CONTAINER, shows=("control_socket",)),
    Command(
        name="pause",
        meaning="Have an upstream's new requests wait until `resume`, 60 s at most, also after a restart of lbwatch.",
        run=_pause,
        argument=_UPSTREAM,
        shows=("control_socket",),
    ),
    Command(name="resume", meaning="Undo `pause`.", run=_resume, argument=_UPSTREAM, shows=("control_socket",)),
    Command(
        name="health",
        meaning="Ask the running daemon whether all is in step; exit code 1 if not, or if there is none.",
        run=_health,
        shows=("status_listen", "control_socket"),
    ),
    Command(
        name="demo",
        meaning="Show the main job: containers come, go and move, and a file and a private nginx follow.",
        run=_demo,
        flags=(
            Flag(name="--real", meaning="On the real engine: one container comes and goes."),
            Flag(
                name="--image",
                takes="IMAGE",
                meaning="With --real: the image to run. (default: the smallest that the engine has)",
            ),
        ),
        shows=("docker_host",),
    ),
    Command(
        name="completion",
        meaning="Print a completion script for a shell: `source <(lbwatch completion bash)`.",
        run=_completion,
        argument=Argument(name="SHELL", meaning="Which shell.", choices=("bash", "zsh", "fish")),
        reads_settings=False,  # a shell that starts must not complain of what only root may read
    ),
)


def main(arguments: Sequence[str]) -> int:
    """Return the exit code of a command line, once it has run and all of its answer is written."""
    if isinstance(sys.stdout, TextIOWrapper):  # a file's name may be no UTF-8, and nothing else would end by that
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run_line(arguments)
        _exit_code(sys.stdout.flush)
    except OSError as error:
        if error.filename is not None:  # not the answer: whoever opened that should have caught it
            raise
        print(f"lbwatch: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return FAILED
    return code


def _run_line(words: Sequence[str]) -> int:
    try:
        line = read_line(words, commands=COMMANDS)
    except UsageError as error:
        return _wrong(str(error))
    if line.wants_version:
        print(__version__)
        return DONE
    if line.wants_help or line.command is None:
        _print_help(line.command)
        return DONE
    return _run_command(line.command, line=line)


def _print_help(command: Command | None) -> None:
    from lbwatch.cli.help import of_command, overview

    sys.stdout.write(overview(COMMANDS) if command is None else of_command(command))


def _run_command(command: Command, *, line: Line) -> int:
    if not command.reads_settings:
        return command.run(Settings(), line)
    sources = None
    try:
        sources = Sources(flags=line.settings, environ=os.environ, config=_config(line))
        return command.run(sources.settings(), line)
    except SettingsError as error:
        origin = sources.origin(error.setting) if sources is not None else None
        return _wrong(f"{error} (from {origin})" if origin else str(error))


def _config(line: Line) -> Path | None:
    """Return the settings' file; an empty LBWATCH_CONFIG is as good as none."""
    named = line.config if line.config is not None else os.environ.get("LBWATCH_CONFIG", "")
    if named:
        return Path(named)
    return DEFAULT_CONFIG if os.path.lexists(DEFAULT_CONFIG) else None


def _served(settings: Settings, command: Callable[[], Coroutine[Any, Any, int | None]]) -> int:
    """
    Return the exit code of a command that runs in an event loop and may log.

    Args:
        settings: What the user set.
        command: Begins it.
    """
    import asyncio

    signals.interrupt()
    _begin_log(settings)
    return _exit_code(lambda: asyncio.run(command()))


def _begin_log(settings: Settings, *, is_daemon: bool = False) -> None:
    """
    Set logging up, and warn of variables that look like settings and are none.

    Args:
        settings: What the user set.
        is_daemon: Whether ordinary steps are logged, and nothing may wait for the log.
    """
    import structlog

    from lbwatch.system import logs

    level = settings.log.log_level
    logs.configure(level="warning" if level == "info" and not is_daemon else level, form=settings.log.log_format)
    if is_daemon:
        logs.detach()
    for name in unknown_variables(os.environ):
        meant = nearest(name.removeprefix("LBWATCH_").lower(), all_settings())
        advice = {"advice": f"did you mean {all_settings()[meant].variable}?"} if meant else {}
        structlog.get_logger().warning("settings.unknown_variable", variable=name, **advice)


def _exit_code(command: Callable[[], int | None]) -> int:
    """Return the exit code for how a command ended, and print what was wrong."""
    try:
        return command() or DONE
    except RenderError as error:
        return _wrong("\n".join((f"template: {error}", *error.around)))
    except SettingsError:  # whoever knows where its value came from prints it
        raise
    except LbwatchError as error:
        print(f"lbwatch: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # `lbwatch explain | head`; what is still buffered must not fail at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return DONE


def _wrong(words: str) -> int:
    print(f"lbwatch: {words}", file=sys.stderr)
    return WRONG_SETTINGS

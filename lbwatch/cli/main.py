"""
The command line: flags to settings, commands to functions, errors to exit codes.

What a command answers goes to standard output, logs and errors to standard error. Each command imports what it needs
itself: all of it costs half a second of CPU, and a container's HEALTHCHECK starts `health` every few seconds.
"""

import os
import sys
import tomllib
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Env, Toml

from lbwatch import __version__
from lbwatch.cli import DONE, FAILED, WRONG_SETTINGS
from lbwatch.core.errors import LbwatchError, RenderError, SettingsError
from lbwatch.settings import DEFAULT_CONFIG, SETTINGS, Settings, check_toml, unknown_variables

_DEFAULT = Settings()


class _Env(Env):
    """The environment as a source of settings alone: a command's own flags, such as --json, have no variable."""

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        super().__call__(app, commands, arguments.filter_by(group=SETTINGS))


class _Toml(Toml):
    """A TOML file as a source of settings alone."""

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        super().__call__(app, commands, arguments.filter_by(group=SETTINGS))


_Container = Annotated[str, Parameter(help="Its name, or the beginning of its id.")]

_EngineFrom = Annotated[
    Path | None,
    Parameter(help="Read a recorded engine instead: a file with the output of `docker inspect` for its containers."),
]

_ENV = _Env("LBWATCH_", command=False, show=False)

_cli = App(
    name="lbwatch",
    help="Follows a Docker Engine's containers and keeps nginx's upstreams true.",
    version=__version__,
    version_flags=["--version"],
    config=(_ENV,),
)


@_cli.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[
        Path | None,
        Parameter(env_var="LBWATCH_CONFIG", help=f"A TOML file of settings; default {DEFAULT_CONFIG} if it exists."),
    ] = None,
) -> int:
    if config in (None, Path()):  # an empty LBWATCH_CONFIG is as good as none
        config = DEFAULT_CONFIG if os.path.isfile(DEFAULT_CONFIG) else None
    _cli.config = (_ENV,) if config is None else (_ENV, _toml(config))
    answer = _cli(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    return answer if isinstance(answer, int) else DONE


def _toml(path: Path) -> _Toml:
    """Return the file as a source of settings, or raise in our own words where it is none, or no TOML."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError("config", value=path, takes=f"it takes a TOML file ({error})") from error
    check_toml(table)
    return _Toml(path, must_exist=True, search_parents=False, use_commands_as_keys=False)


@_cli.command(name="run")
def _run(*, settings: Settings = _DEFAULT) -> int:
    """Follow the engine and keep nginx in step: the daemon."""
    from lbwatch import daemon

    return _served(settings, lambda: daemon.run(settings), level=settings.log.log_level)


@_cli.command(name="render")
def _render(
    *,
    diff: Annotated[bool, Parameter(negative=(), help="Show the difference to the output file instead.")] = False,
    exit_code: Annotated[
        bool, Parameter(negative=(), help="End with 1 if there is a difference, as diff does.")
    ] = False,
    engine_from: _EngineFrom = None,
    settings: Settings = _DEFAULT,
) -> int:
    """Print what would be written now; nothing is written or reloaded."""
    from lbwatch.cli.render import render

    return _served(settings, lambda: render(settings, differ=diff, exit_code=exit_code, recorded=engine_from))


@_cli.command(name="check")
def _check(*, settings: Settings = _DEFAULT) -> int:
    """Test settings, template, engine, output folder and nginx, a line each; exit code 1 if one fails."""
    from lbwatch.cli.check import check

    return _served(settings, lambda: check(settings))


@_cli.command(name="explain")
def _explain(
    container: Annotated[str | None, Parameter(help="Only this one: its name, or the beginning of its id.")] = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative=(), help="Answer as JSON.")] = False,
    engine_from: _EngineFrom = None,
    settings: Settings = _DEFAULT,
) -> int:
    """Say for each container why it is or is not routed, or tell the whole story of one."""
    from lbwatch.cli.explain import explain

    return _served(settings, lambda: explain(settings, container=container, as_json=json, recorded=engine_from))


@_cli.command(name="events")
def _events(*, settings: Settings = _DEFAULT) -> int:
    """Print the engine's events as they come, and what lbwatch makes of each."""
    from lbwatch.cli.events import events

    return _served(settings, lambda: events(settings))


@_cli.command(name="health")
def _health(*, settings: Settings = _DEFAULT) -> int:
    """Ask the running daemon whether all is in step; exit code 1 if not, or if there is none."""
    from lbwatch.cli.health import health

    # It logs nothing itself, so that the log, which costs as much to import as all the rest, seldom is needed.
    if unknown_variables(os.environ):
        _begin_log(settings)
    return _exit_code(lambda: health(settings))


@_cli.command(name="drain")
def _drain(container: _Container, /, *, settings: Settings = _DEFAULT) -> int:
    """Have the running daemon send a container no new requests, also after a restart of either, until `undrain`."""
    from lbwatch.cli.drain import drain

    return _served(settings, lambda: drain(settings, container=container))


@_cli.command(name="undrain")
def _undrain(container: _Container, /, *, settings: Settings = _DEFAULT) -> int:
    """Undo `drain`."""
    from lbwatch.cli.drain import undrain

    return _served(settings, lambda: undrain(settings, container=container))


@_cli.command(name="completion")
def _completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print a completion script for a shell: `source <(lbwatch completion bash)`."""
    sys.stdout.write(_cli.meta.generate_completion(prog_name="lbwatch", shell=shell))
    return DONE


@_cli.command(name="demo")
def _demo(
    *,
    real: Annotated[bool, Parameter(negative=(), help="On the real engine: one container comes and goes.")] = False,
    image: Annotated[str | None, Parameter(help="With --real: the image to run; default: a small one at hand.")] = None,
    settings: Settings = _DEFAULT,
) -> int:
    """Show the main job: containers come, go and move, and a file and a private nginx follow."""
    from lbwatch.cli import demo

    return _served(settings, lambda: demo.run(settings, real=real, image=image))


def main(arguments: Sequence[str]) -> int:
    """Return the exit code of a command line, once it has run."""
    if list(arguments) == ["--version"]:  # which cyclopts would have rich draw
        print(__version__)
        return DONE
    try:
        answer = _cli.meta(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except SettingsError as error:
        return _wrong(str(error))
    except CycloptsError as error:
        return _wrong(_words(error))
    return answer if isinstance(answer, int) else DONE


def _served(
    settings: Settings, command: Callable[[], Coroutine[Any, Any, int | None]], *, level: str | None = None
) -> int:
    """
    Return the exit code of a command that runs in an event loop and may log.

    Args:
        settings: What the user set.
        command: Begins it.
        level: The least that is logged; `None`: as set, but only the daemon logs its ordinary steps.
    """
    import asyncio

    _begin_log(settings, level=level)
    return _exit_code(lambda: asyncio.run(command()))


def _begin_log(settings: Settings, *, level: str | None = None) -> None:
    """Set logging up, and warn of variables that look like settings and are none."""
    import structlog

    from lbwatch.system import logs

    quiet = "warning" if settings.log.log_level == "info" else settings.log.log_level
    logs.configure(level=level or quiet, form=settings.log.log_format)
    for name in unknown_variables(os.environ):
        structlog.get_logger().warning("settings.unknown_variable", variable=name)


def _exit_code(command: Callable[[], int | None]) -> int:
    """Return the exit code for how a command ended, and print what was wrong."""
    try:
        return command() or DONE
    except RenderError as error:
        return _wrong("\n".join((str(error), *error.around)))
    except SettingsError as error:
        return _wrong(str(error))
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


def _words(error: CycloptsError) -> str:
    """Return cyclopts' words on one line; it draws boxes and hints around them only when it prints by itself."""
    return " ".join(str(error).split())

"""
The text of `--help`: a command's own flags first, all settings for `run`, elsewhere those that matter there.

It is plain text in the terminal's width: what draws boxes takes several times as long to import as this to print.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress

from lbwatch.cli.commandline import CONFIG, HELP, VERSION, Command
from lbwatch.settings import DEFAULT_CONFIG, all_settings, groups
from lbwatch.values import Setting

ALL_SETTINGS_AT = "run"
"""The command whose help lists all settings."""

_NARROWEST, _USUAL, _WIDEST = 40, 80, 100
"""Columns of a line: longer ones are hard to read."""

_LEFT_MAX = 24
"""Columns of what stands left: what is longer has a line for itself."""

_Row = tuple[str, str]

_CONFIG_ROW = (
    f"{CONFIG} FILE",
    f"A TOML file of settings, also LBWATCH_CONFIG. (default: {DEFAULT_CONFIG} if it exists)",
)
_HELP_ROW = (", ".join(reversed(HELP)), "Print this and end.")


def overview(commands: Iterable[Command]) -> str:
    """Return the help of the program itself."""
    return "".join(
        (
            "Usage: lbwatch COMMAND [FLAGS] [SETTINGS]\n\n",
            "Follows a Docker Engine's containers and has nginx serve what they say.\n",
            _section("Commands", [(command.name, command.meaning) for command in commands]),
            _section("Flags", [_CONFIG_ROW, _HELP_ROW, (VERSION, "Print the version and end.")]),
            "\n",
            _wrapped("`lbwatch COMMAND --help` shows one command; `lbwatch run --help` lists all settings.", indent=0),
        )
    )


def of_command(command: Command) -> str:
    """Return the help of one command."""
    argument = command.argument
    named = "" if argument is None else argument.name
    if argument is not None and argument.choices:
        named = "|".join(argument.choices)
    words = [named if argument is None or argument.is_required else f"[{named}]", "[FLAGS]" if command.flags else ""]
    rows = [(f"{flag.name} {flag.takes}".strip(), flag.meaning) for flag in command.flags]
    return "".join(
        (
            f"Usage: {' '.join(('lbwatch', command.name, *filter(None, words), '[SETTINGS]'))}\n\n",
            _wrapped(command.meaning.replace("`", ""), indent=0),
            _section("Argument", [(named, argument.meaning)]) if argument is not None else "",
            _section("Flags", [*rows, _CONFIG_ROW, _HELP_ROW]),
            _all_settings() if command.name == ALL_SETTINGS_AT else _some_settings(command.shows),
        )
    )


def _all_settings() -> str:
    known = all_settings()
    text = "\n" + _wrapped(
        "Each setting is taken from its flag, else from LBWATCH_NAME in the environment, else from name in the TOML "
        "file. LIST is comma-separated; DURATION is such as 500ms, 1s, 2m.",
        indent=0,
    )
    for group in groups().values():
        rows = [_row(known[name]) for name in group.__dataclass_fields__]
        text += _section((group.__doc__ or group.__name__).strip().rstrip("."), rows)
    return text


def _some_settings(names: tuple[str, ...]) -> str:
    text = _section("Settings that matter here", [_row(all_settings()[name]) for name in names]) if names else ""
    more = "other " if names else ""
    return f"{text}\n" + _wrapped(
        f"All {more}settings are taken too: `lbwatch {ALL_SETTINGS_AT} --help` lists them.", indent=0
    )


def _row(setting: Setting) -> _Row:
    default = "" if setting.default in (None, "", ()) else f" (default: {setting.written})"
    return f"{setting.flag} {setting.takes}", setting.meaning.replace("`", "") + default


def _section(heading: str, rows: list[_Row]) -> str:
    """Return rows of two columns below a heading; what does not fit into the left one has a line for itself."""
    left = max((len(name) for name, _ in rows if len(name) <= _LEFT_MAX), default=_LEFT_MAX)
    text = "\n" + _wrapped(f"{heading}:", indent=0)
    for name, meaning in rows:
        lines = _wrapped(meaning.replace("`", ""), indent=left + 4)
        text += f"  {name:<{left}}  {lines.lstrip()}" if len(name) <= left else f"  {name}\n{lines}"
    return text


def _wrapped(words: str, *, indent: int) -> str:
    from textwrap import fill  # noqa: PLC0415 - only help needs it

    margin = " " * indent
    return fill(words, width=_width(), initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False) + "\n"


def _width() -> int:
    """Return the columns of a line: by COLUMNS, else by the terminal, which may not know (0)."""
    given = os.environ.get("COLUMNS", "")
    columns = int(given) if given.isdecimal() else 0
    with suppress(ValueError, OSError):
        columns = columns or os.get_terminal_size(sys.stdout.fileno()).columns
    return max(_NARROWEST, min((columns or _USUAL) - 1, _WIDEST))

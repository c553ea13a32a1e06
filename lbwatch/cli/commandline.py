"""
What a command line says: which command, its own flags, and settings; nothing is looked up, and nothing is run.

A command is a row of the table in `main`; flags of settings come from `settings`. A flag's value follows it as the next
word or after `=`; words after `--` are no flags.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lbwatch.core.errors import UsageError, excerpt
from lbwatch.settings import Settings, all_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """
    A flag that is no setting.

    Attributes:
        name: With its two hyphens.
        takes: What stands in the place of its value; empty: it has none.
    """

    name: str
    meaning: str
    takes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """
    What a command is about.

    Attributes:
        name: What stands in its place in `--help`.
        choices: The words that it takes; empty: any.
    """

    name: str
    meaning: str
    is_required: bool = True
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    What a command line says.

    Attributes:
        command: `None`: none was named.
        argument: What the command is about; `None`: nothing was named.
        own: The command's own flags, with their values; empty where they have none.
        settings: What was given for each setting, by its name.
        config: The settings' file; `None`: none was named.
        wants_help: Whether it asks what may be said.
        wants_version: Whether it asks for the version.
    """

    command: "Command | None" = None
    argument: str | None = None
    own: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    config: str | None = None
    wants_help: bool = False
    wants_version: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """
    One command.

    Attributes:
        run: Runs it and returns the exit code.
        meaning: In a sentence.
        flags: Its own.
        shows: The settings that its `--help` shows; it takes all.
        reads_settings: Whether it needs any; else a wrong one does not matter to it.
    """

    name: str
    meaning: str
    run: Callable[[Settings, Line], int]
    argument: Argument | None = None
    flags: tuple[Flag, ...] = ()
    shows: tuple[str, ...] = ()
    reads_settings: bool = True


CONFIG = "--config"
HELP = ("--help", "-h")
VERSION = "--version"


def read_line(words: Sequence[str], *, commands: Iterable[Command]) -> Line:
    """
    Return what a command line says.

    Args:
        words: Without the program's name.
        commands: All that there are.

    Raises:
        UsageError: It cannot be understood.
    """
    return _Reader(words, commands={command.name: command for command in commands}).line()


class _Reader:
    """Reads a line word by word; what a flag is depends on the command, which may stand behind settings."""

    def __init__(self, words: Sequence[str], *, commands: Mapping[str, Command]) -> None:
        self._left = list(reversed(words))
        self._commands = commands
        self._settings_by_flag = {setting.flag: setting for setting in all_settings().values()}
        self._command: Command | None = None
        self._argument: str | None = None
        self._own: dict[str, str] = {}
        self._settings: dict[str, list[str]] = {}
        self._config: str | None = None
        self._asked: set[str] = set()

    def line(self) -> Line:
        takes_flags = True
        while self._left:
            word = self._left.pop()
            if takes_flags and word == "--":
                takes_flags = False
            elif takes_flags and word.startswith("-") and word != "-":
                self._read_flag(word)
            else:
                self._read_word(word)
        line = Line(
            command=self._command,
            argument=self._argument,
            own=self._own,
            settings=self._settings,
            config=self._config,
            wants_help=not self._asked.isdisjoint(HELP),
            wants_version=VERSION in self._asked,
        )
        _require_argument(line)
        return line

    def _read_flag(self, word: str) -> None:
        name, has_value, value = word.partition("=")
        if not self._takes(name):
            self._read_switch(name, has_value=bool(has_value))
            return
        if not has_value:
            value = self._next_value(name, takes=self._takes(name))
        if name == CONFIG:
            _require_once(name, value, before=self._config)
            self._config = value
        elif (setting := self._settings_by_flag.get(name)) is None:
            _require_once(name, value, before=self._own.get(name))
            self._own[name] = value
        else:
            given = self._settings.setdefault(setting.name, [])
            _require_once(name, value, before=given[0] if given and not setting.is_list else None)
            given.append(value)

    def _read_switch(self, name: str, *, has_value: bool) -> None:
        known = self._command is not None and name in (flag.name for flag in self._command.flags)
        if not known and name not in (*HELP, VERSION):
            raise UsageError(self._unknown_flag(excerpt(name)))
        if has_value:
            raise UsageError(f"{name} takes no value")
        if known:
            self._own[name] = ""
        else:
            self._asked.add(name)

    def _takes(self, name: str) -> str:
        """Return what stands in the place of a flag's value; empty: it has none, or there is no such flag."""
        if name == CONFIG:
            return "FILE"
        if name in self._settings_by_flag:
            return self._settings_by_flag[name].takes
        own = self._command.flags if self._command is not None else ()
        return next((flag.takes for flag in own if flag.name == name), "")

    def _next_value(self, name: str, *, takes: str) -> str:
        if not self._left or self._left[-1].startswith("--"):
            raise UsageError(f"{name} needs a value: {takes}")
        return self._left.pop()

    def _read_word(self, word: str) -> None:
        shown = excerpt(word)
        if self._command is None:
            if word not in self._commands:
                flag = f"--{word}"
                meant = flag if flag in (*HELP, VERSION) else nearest(word, self._commands)
                hint = f"did you mean {meant}?" if meant else "lbwatch --help lists them"
                raise UsageError(f"there is no command {shown!r}: {hint}")
            self._command = self._commands[word]
        elif self._command.argument is None:
            raise UsageError(f"{self._command.name} takes no argument, but {shown!r} is given")
        elif self._argument is not None:
            both = f"{excerpt(self._argument)!r} and {shown!r}"
            raise UsageError(f"{self._command.name} takes one {self._command.argument.name}, but {both} are given")
        else:
            self._argument = word

    def _unknown_flag(self, name: str) -> str:
        """Return what is wrong with a flag, and what may have been meant."""
        owners = [each.name for each in self._commands.values() if name in (flag.name for flag in each.flags)]
        if owners and self._command is None:
            return f"{name} is a flag of {' and '.join(owners)}, and follows that word"
        if owners and self._command is not None:
            return f"{self._command.name} takes no {name}: {' and '.join(owners)} {'do' if owners[1:] else 'does'}"
        own = [flag.name for flag in self._command.flags] if self._command is not None else []
        meant = nearest(name, [*own, *self._settings_by_flag, CONFIG, HELP[0], VERSION])
        listed = " ".join(("lbwatch", self._command.name if self._command is not None else "run", HELP[0]))
        return f"there is no flag {name}: " + (f"did you mean {meant}?" if meant else f"{listed} lists them")


def _require_once(name: str, value: str, *, before: str | None) -> None:
    if before is not None:
        raise UsageError(f"{name} is given twice: {excerpt(before)!r} and {excerpt(value)!r}")


def _require_argument(line: Line) -> None:
    command = line.command
    if command is None or command.argument is None or line.wants_help or line.wants_version:
        return
    argument = command.argument
    takes = _listed(argument.choices) or argument.meaning[:1].lower() + argument.meaning[1:].rstrip(".")
    if line.argument is None and argument.is_required:
        article = "an" if argument.name[0] in "AEIOU" else "a"
        raise UsageError(f"{command.name} needs {article} {argument.name}: {takes}")
    if argument.choices and line.argument not in argument.choices:
        raise UsageError(f"{command.name}: {excerpt(line.argument or '')!r} cannot be used: it takes {takes}")


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if words else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return what somebody may have meant who wrote a word that is not known."""
    from difflib import get_close_matches  # noqa: PLC0415 - only where something is wrong

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.6)), None)

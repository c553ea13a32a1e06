"""
How values are written: durations, lists, paths, one of a few words; the same by flag, environment and TOML.

What is refused here is a ValueError whose text says what is taken; it does not repeat the value, which the setting's
error names.
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

_TIMES = "it takes 500ms, 1s, 2m or plain seconds"
_WHOLE = re.compile(r"[0-9]{1,9}")
_UNIT_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_MAX_HOURS = 100_000
"""Of a duration: eleven years, and few enough to be slept for, counted in nanoseconds and shown."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")


@dataclass(frozen=True, slots=True)
class Help:
    """
    What `--help` and docs/settings.md say of a setting.

    Attributes:
        meaning: In sentences.
        takes: What stands in the place of its value, such as `FILE`; empty: its type says it.
    """

    meaning: str
    takes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """
    One setting, as all of its sources need to know it.

    Attributes:
        name: With underscores, as in TOML.
        takes: What stands in the place of its value: `FILE`, `DURATION`, `labelled|all`.
        choices: The words that it takes; empty: others than a few.
        is_list: Whether it may be given several times, and as an array in TOML.
        default: As the code has it.
        read: Makes a value of a text; raises a ValueError that says what is taken.
    """

    name: str
    meaning: str
    takes: str
    choices: tuple[str, ...]
    is_list: bool
    default: Any
    read: Callable[[str], Any]

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return f"LBWATCH_{self.name.upper()}"

    @property
    def written(self) -> str:
        """Its default as a user would write it."""
        if self.default is None:
            return "unset"
        if isinstance(self.default, float):
            return f"{self.default:g}s"
        return "empty" if self.default in ((), "") else str(self.default)

    def of_toml(self, value: Any) -> Any:
        """
        Make the setting's value of what a TOML file has for it.

        Raises:
            ValueError: It is none; the text says what is taken.
        """
        if self.is_list and isinstance(value, list) and all(isinstance(item, str) for item in value):
            return self.read(",".join(value))
        if isinstance(self.default, float) and isinstance(value, int | float) and not isinstance(value, bool):
            return duration_s(str(value))
        if isinstance(self.default, int) and isinstance(value, int) and not isinstance(value, bool):
            return self.read(str(value))
        if not isinstance(value, str):
            takes = "a list of names" if self.is_list else "a text in quotes"
            takes = "a whole number" if isinstance(self.default, int) else takes
            raise ValueError(_TIMES if isinstance(self.default, float) else f"it takes {takes}")  # noqa: TRY004 - see above
        return self.read(value)


def setting_of(field: dataclasses.Field[Any]) -> Setting:
    """Return the setting that a dataclass's field is; its annotation has the type, and a `Help`."""
    type_, help_ = get_args(field.type)
    assert isinstance(help_, Help)
    choices = tuple(map(str, get_args(type_))) if type(None) not in get_args(type_) and field.default != () else ()
    reads, takes = _reader(field.default, type_=type_, choices=choices)
    return Setting(
        name=field.name,
        meaning=help_.meaning,
        takes=help_.takes or takes,
        choices=choices,
        is_list=field.default == (),
        default=field.default,
        read=reads,
    )


def _reader(default: Any, *, type_: Any, choices: tuple[str, ...]) -> tuple[Callable[[str], Any], str]:
    """Return what makes a value of a text, and what stands for that value in `--help`."""
    if isinstance(default, float):
        return duration_s, "DURATION"
    if isinstance(default, int):
        return _whole_number, "NUMBER"
    if default == ():
        return names, "LIST"
    if choices:
        return lambda text: _one_of(text, choices=choices), "|".join(filter(None, choices))
    reads: Callable[[str], Any] = _path if Path in (type_, *get_args(type_)) else str
    if default is None:
        return lambda text: reads(text) if text else None, "TEXT"
    return reads, "TEXT"


def _whole_number(text: str) -> int:
    if not _WHOLE.fullmatch(text.strip()):
        raise ValueError("it takes a whole number")
    return int(text)


def duration_s(text: str) -> float:
    """
    Read a duration such as `500ms`, `1s`, `2m` or plain seconds.

    Returns:
        Seconds.

    Raises:
        ValueError: It is none of these; the text says what is taken.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(_TIMES)
    seconds = float(match[1]) * _UNIT_S[match[2]]
    if seconds > _MAX_HOURS * _UNIT_S["h"]:
        raise ValueError(f"too long: it takes at most {_MAX_HOURS}h")
    return seconds


def names(text: str) -> tuple[str, ...]:
    """Read a list of names, comma-separated; each once, in the order in which they stand there."""
    items = (item.strip() for item in text.split(","))
    return tuple(dict.fromkeys(item for item in items if item))


def _one_of(text: str, *, choices: tuple[str, ...]) -> str:
    if text not in choices:
        words = [each or "nothing" for each in choices]
        raise ValueError(f"it takes {', '.join(words[:-1])} or {words[-1]}")
    return text


def _path(text: str) -> Path:
    if not text:
        raise ValueError("it takes a path")
    return Path(text)

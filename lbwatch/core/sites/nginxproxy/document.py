"""
A document of mappings, in YAML or JSON, whose every leaf is text: what VIRTUAL_HOST_MULTIPORTS is written in.

It comes from a container. So there are no aliases (a few lines of them make gigabytes), no tags, nothing that a key
could say twice, and a bound for all of it. It is read event by event, and no object is made but dictionaries.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import yaml  # type: ignore[import-untyped]  # its types are a package of their own, for the few names used here

from lbwatch.core.errors import excerpt

Value = str | dict[str, Any] | None
"""A text, `None` for nothing, or a mapping of such values."""

MAX_CHARS: Final = 64 * 1024
MAX_DEPTH: Final = 3  # host, path, field
MAX_KEYS: Final = 2048  # in all mappings together

_NULLS = ("", "~", "null", "Null", "NULL")
_LOADER = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # libyaml's, where PyYAML was built with it, is 10 times as fast


class DocumentError(Exception):
    """A document cannot be read; the text says why, in a line."""


def document(text: str) -> Value:
    """Return what a document says, numbers and truth values as they are written; an empty one says `None`."""
    if len(text) > MAX_CHARS:
        raise DocumentError(f"it takes at most {MAX_CHARS} characters")
    # YAML 1.1 is not quite a superset of JSON: it knows no tabs between words, and no \/.
    if text.lstrip()[:1] == "{":
        try:
            said = json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            pass
        else:
            return _Reader().of_json(said, depth=0)
    try:
        return _Reader().of_yaml(text)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise DocumentError(f"it is no YAML: {line}{excerpt(str(error.problem))}") from None
    except (yaml.YAMLError, UnicodeError):
        raise DocumentError("it is no YAML: it holds characters that YAML does not take") from None


class _Pairs(list[tuple[str, Any]]):
    """The pairs of a JSON object, which may say a key twice."""


class _Reader:
    """Reads one document, and counts what it has."""

    def __init__(self) -> None:
        self._keys = 0

    def of_json(self, said: object, *, depth: int) -> Value:
        """Return a value that JSON's reader has read."""
        if said is None or isinstance(said, str):
            return said
        if isinstance(said, bool):
            return str(said).lower()
        if not isinstance(said, _Pairs):
            raise DocumentError("it takes mappings, and no lists")
        made: dict[str, Value] = {}
        for key, value in said:
            self._check_key(key, made, depth=depth)
            made[key] = self.of_json(value, depth=depth + 1)
        return made

    def of_yaml(self, text: str) -> Value:
        """Return what the only document of a YAML stream says."""
        events = iter(yaml.parse(text, Loader=_LOADER))
        made: Value = None
        for count, event in enumerate(one for one in events if isinstance(one, yaml.DocumentStartEvent)):
            if count:
                raise DocumentError(f"it takes one document, and a second one begins in line {_line(event)}")
            made = self._value(next(events), events, depth=0)
        return made

    def _value(self, event: Any, events: Iterator[Any], *, depth: int) -> Value:
        _check_plain(event)
        if isinstance(event, yaml.ScalarEvent):
            return None if event.implicit[0] and event.value in _NULLS else str(event.value)
        if not isinstance(event, yaml.MappingStartEvent):
            raise DocumentError(f"it takes mappings, and no lists: line {_line(event)}")
        made: dict[str, Value] = {}
        while not isinstance(key := next(events), yaml.MappingEndEvent):
            _check_plain(key)
            if not isinstance(key, yaml.ScalarEvent):
                raise DocumentError(f"its keys are texts: line {_line(key)}")
            self._check_key(key.value, made, depth=depth)
            made[key.value] = self._value(next(events), events, depth=depth + 1)
        return made

    def _check_key(self, key: str, made: dict[str, Value], *, depth: int) -> None:
        self._keys += 1
        if key in made:
            raise DocumentError(f"the key {excerpt(key)!r} stands there twice")
        if depth >= MAX_DEPTH:
            raise DocumentError(f"the key {excerpt(key)!r} lies too deep: there are hosts, paths, and what they take")
        if self._keys > MAX_KEYS:
            raise DocumentError(f"it takes at most {MAX_KEYS} keys")


def _check_plain(event: Any) -> None:
    """Raise where one thing stands for another, or is of a type of its own."""
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise DocumentError(f"it takes no anchors and aliases (& and *): line {_line(event)}; quote a text with them")
    if event.tag is not None:
        raise DocumentError(f"it takes no tags (!): line {_line(event)}; quote a text with one")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1

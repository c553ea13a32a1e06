"""A value that cannot be used, with the words that say which, and what would be taken."""

from collections.abc import Callable
from typing import TypeVar

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Reason
from lbwatch.core.sites.grammar import GrammarError

_SHOWN_CHARS = 100  # of a value: it stands in a line, with what it takes behind it

_Value = TypeVar("_Value")


class RefusedError(Exception):
    """
    A value that takes its container out; the text says which and why.

    Attributes:
        reason: The same as a code.
        takes: What would be taken, which is the end of the text.
    """

    def __init__(self, name: str, value: str, *, reason: Reason, takes: str) -> None:
        super().__init__(words(name, value, takes))
        self.reason = reason
        self.takes = takes


def words(name: str, value: str, takes: str) -> str:
    """Return what is wrong with a value, in a line: a name in capitals is a variable's, any other one a label's."""
    kind = "variable" if name[:1].isupper() else "label"
    shown = value if len(value) <= _SHOWN_CHARS else f"{value[: _SHOWN_CHARS - 1]}…"
    return f"{kind} {name}={excerpt(repr(shown))}: {takes}"


def judged(name: str, value: str, reader: Callable[[str], _Value]) -> _Value:
    """Return what a value says, by a reader of the grammar's; what is outside of it takes its container out."""
    try:
        return reader(value)
    except GrammarError as error:
        raise RefusedError(name, value, reason=error.reason, takes=error.takes) from None

"""
Keeps texts of labels in their place: whatever one says, nginx reads it as part of what it was written into.

A template may do anything with a text, and only the whole output shows whether it came to stand in a comment, a string
or an argument. Until then, each character that means something to nginx is a stand-in: a lone surrogate, which no
operation on text takes for another character, and which no file can hold. `settled` puts the characters in at last.

Pure.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from lbwatch.core.errors import excerpt

_PLAIN = re.compile(r"[A-Za-z0-9_.:/=,@+%*-]{1,255}")
"""What is written as it is; a longer text is not, since nginx may not take it."""

_MAX_BYTES = 4_000
"""Of an argument, a string or a comment: for a longer one nginx refuses the whole file (facts, nginx 22)."""

_MAX_COMMENT_CHARS = 1_000  # of one that is cut: 4,000 bytes at most

# A stand-in for each character of ASCII that is not plain and for each byte of UTF-8 that is not ASCII, U+DC00 and
# following, and one for the end: an empty text is an argument too.
_END = "\udd00"
_HIDDEN = {code: 0xDC00 + code for code in range(128) if not _PLAIN.fullmatch(chr(code))}
_CHARACTERS = {stand_in: chr(code) for code, stand_in in _HIDDEN.items()} | {ord(_END): ""}
_STAND_INS = re.compile(r"[\udc00-\udd00]+")

# As nginx takes a file apart (facts, nginx 22): a backslash takes the next character's meaning away everywhere, `${`
# opens no block, with however many braces, and a quote counts only where a word begins.
_TOKEN = re.compile(
    r"""
    [ \t\r\n]+
    | (?P<mark>[;{}])
    | (?P<comment>\#[^\n]*)
    | (?P<string>"(?:\\.|[^"\\])*"? | '(?:\\.|[^'\\])*'?)
    | (?P<word>(?:\\.|\$\{*+|[^ \t\r\n;{\\$])+\\?)
    """,
    re.VERBOSE | re.DOTALL,
)
_PART = re.compile(r'\\[^\udc00-\udd00]|(?P<text>[\udc00-\udd00]+)|(?P<backslash>\\)|(?P<quote>")')

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ESCAPED = "\t\n\r"  # of these, the ones that nginx knows an escape for

_LUA = "_by_lua"
_LUA_BLOCK = "_by_lua_block"


class UnquotableError(ValueError):
    """A text stands where nginx would not take it as mere text."""


class Text(str):
    """
    A label's text that is not plain: it is compared, searched and changed as what it says, and written in stand-ins.

    What Python makes of it behind its back, such as `"".join`, has the stand-ins too, and so is as safe.
    """

    __slots__ = ()

    def __str__(self) -> str:
        """Return itself, for what comes behind a `|`."""
        return self

    def __iter__(self) -> Iterator[str]:
        """Return the characters that it says."""
        return map(hidden, raw(self))

    def __float__(self) -> float:
        """Return the number that it says, for `int` and `float`."""
        return float(raw(self))


def _of_what_it_says(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = method(*(raw(each) if isinstance(each, str) else each for each in args), **kwargs)
        if isinstance(result, (list, tuple)):
            return type(result)(map(hidden, result))
        return hidden(result) if isinstance(result, str) else result

    return call


# Not: what would give the text away as bytes, and what takes it for a format. Joining keeps the stand-ins by itself.
_LEFT_OUT = {"encode", "format", "format_map", "join", "maketrans"}
_SPECIAL = ("eq", "ne", "lt", "le", "gt", "ge", "hash", "len", "contains", "getitem")
for _name in (*(f"__{each}__" for each in _SPECIAL), *(each for each in vars(str) if each[0] != "_")):
    if _name not in _LEFT_OUT:
        setattr(Text, _name, _of_what_it_says(getattr(str, _name)))


def hidden(text: str) -> str:
    """Return a text that means nothing to nginx: itself if it is plain, else one that is written in stand-ins."""
    if _PLAIN.fullmatch(text):
        return text
    # What is no character, a lone surrogate, has bytes here as well: no text can bring stand-ins of its own.
    ascii_and_bytes = text.encode(errors="surrogatepass").decode("ascii", "surrogateescape")
    return Text(ascii_and_bytes.translate(_HIDDEN) + _END)


def raw(text: object) -> str:
    """Return a text as it is, for nginx to read as configuration: a filter of the templates."""
    written = str.__str__(text) if isinstance(text, str) else str(text)
    if not _STAND_INS.search(written):
        return written
    return written.translate(_CHARACTERS).encode(errors="surrogateescape").decode(errors="surrogatepass")


def quoted(text: object) -> str:
    """Return a text in quotes, one argument even if it is plain: a filter of the templates."""
    return f'"{str.__str__(hidden(raw(text)))}"'


def settled(text: str) -> str:
    """
    Return a template's output with characters for the stand-ins, none of which begins or ends a token of nginx's.

    Raises:
        UnquotableError: A text has what nginx cannot be given where it stands.
        UnicodeError: The template took a character apart.
    """
    if text.isascii():
        return text
    parts: list[str] = []
    directive, in_lua = "", False
    for found in _TOKEN.finditer(text):
        part, kind = found[0], found.lastgroup
        if kind == "mark":
            in_lua = in_lua or (part == "{" and _LUA_BLOCK in directive)  # where it ends only Lua knows
            directive = ""
        elif kind in ("string", "word"):
            directive = directive or _STAND_INS.sub("", part)  # an empty text leaves what is around it as one word
        if not part.isascii() and _STAND_INS.search(part):
            if in_lua or _LUA in directive:
                raise _refusal("stands in a program in Lua, or behind one", part)
            part = _comment(part) if kind == "comment" else _argument(part, quote=part[0] if kind == "string" else "")
        parts.append(part)
    return "".join(parts)


def _comment(token: str) -> str:
    """Return a comment with characters for the stand-ins, in one line that nginx takes."""
    comment = _STAND_INS.sub(lambda found: _CONTROL.sub(_escape, raw(found[0])), token)
    return comment if len(comment.encode()) <= _MAX_BYTES else f"{comment[:_MAX_COMMENT_CHARS]}…"


def _argument(token: str, *, quote: str) -> str:
    """
    Return an argument with characters for the stand-ins, in quotes.

    Args:
        token: As the template wrote it.
        quote: The one that it stands in already; empty: in none.
    """
    text = raw("".join(_STAND_INS.findall(token)))
    if "$" in text:  # nginx has no escape for it
        raise _refusal("has a $, and nginx would take what follows for a variable", token)
    if any(control not in _ESCAPED for control in _CONTROL.findall(text)):
        raise _refusal("has a control character", token)
    around = quote or '"'

    def written(found: re.Match[str]) -> str:
        if found["backslash"]:
            raise _refusal("stands behind a backslash", token)
        if found["quote"]:
            return found[0] if quote else '\\"'
        if found["text"]:
            return _CONTROL.sub(_escape, raw(found[0]).replace("\\", r"\\").replace(around, f"\\{around}"))
        return found[0]

    argument = _PART.sub(written, token)
    if len(argument.encode()) > _MAX_BYTES:
        raise _refusal(f"makes more than the {_MAX_BYTES} bytes that nginx takes", token)
    return argument if quote else f'"{argument}"'


def _escape(control: re.Match[str]) -> str:
    return control[0].encode("unicode_escape").decode()


def _refusal(why: str, token: str) -> UnquotableError:
    return UnquotableError(f"a label's text {why}: {excerpt(raw(token))!r}")

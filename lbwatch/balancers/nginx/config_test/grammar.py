"""
nginx's configuration language, on bytes: where each directive and its arguments stand.

The rules are those of `ngx_conf_read_token` (src/core/ngx_conf_file.c). Nothing is written anew from what is read here:
a file is changed by replacing the bytes of single directives, so that all else stays what the user wrote.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

MAX_DEPTH = 128
"""Blocks within blocks; nginx itself has no bound, and people's files have fewer than ten."""

TABLES = frozenset((b"charset_map", b"geo", b"map", b"split_clients", b"types"))
"""What stands in these blocks are the lines of a table, perhaps millions, and no directives."""

# Of white space nginx knows these four alone; a no-break space is a letter like any other.
_SPACE = rb"(?: [ \t\r\n]++ | \#[^\n]*+ )*+"
_QUOTED = rb""" "(?: [^"\\]++ | \\. )*+" | '(?: [^'\\]++ | \\. )*+' """
_TOKEN = re.compile(
    _SPACE
    + rb"""
    (?: (?P<mark> [;{}] )
      | (?P<quoted> %b )
      | (?P<bare> (?: \\. | \$\{*+ | [^ \t\r\n;{}\#"'\\$] ) (?: \\. | \$\{*+ | [^ \t\r\n;{\\$]++ )*+ )
    )
    """
    % _QUOTED,
    re.VERBOSE | re.DOTALL,
)
"""A `{` that follows a `$` belongs to the word, as do quotes, `}` and `#` within one."""

_AFTER_QUOTED = (b"", b" ", b"\t", b"\r", b"\n", b";", b"{", b")")
_ESCAPE = re.compile(rb"\\([\"'\\trn])")
_ESCAPED = {b"t": b"\t", b"r": b"\r", b"n": b"\n"}

_LUA_BLOCK = b"_by_lua_block"
_LUA = re.compile(
    rb"""
    --\[(?P<comment> =* )\[ .*? \](?P=comment)\] | --[^\n]*+
    | \[(?P<long> =* )\[ .*? \](?P=long)\]
    | %b
    | (?P<brace> [{}] )
    """
    % _QUOTED,
    re.VERBOSE | re.DOTALL,
)
"""Strings and comments of Lua, in which a brace is no brace."""


class Word(NamedTuple):
    """An argument: what it means, and where it stands."""

    text: bytes
    start: int
    end: int


class Directive(NamedTuple):
    """
    A directive, or a block.

    Attributes:
        start: Where its name begins.
        body: Behind its `;` or `{`.
        end: Behind its `;` or `}`.
        opens: Whether it is a block.
        within: The names of the blocks around it, outermost first.
    """

    name: bytes
    args: tuple[Word, ...]
    start: int
    body: int
    end: int
    opens: bool
    within: tuple[bytes, ...]


class Edit(NamedTuple):
    """Bytes to stand in the place of others."""

    start: int
    end: int
    text: bytes


def directives(content: bytes) -> tuple[Directive, ...]:
    """Return the directives of a file, in their order, up to the first byte from which nginx would not read on."""
    found: list[Directive] = []
    blocks: list[int] = []  # those that are open now, by their place in what was found
    words: list[Word] = []
    at = 0
    while (token := _TOKEN.match(content, at)) is not None:
        at = token.end()
        if (mark := token["mark"]) is None:
            words.append(_word(token))
            if token["quoted"] is not None and content[at : at + 1] not in _AFTER_QUOTED:
                break
        elif mark == b"}":
            if words or not blocks:
                break
            opened = blocks.pop()
            found[opened] = found[opened]._replace(end=at)
        elif not words or len(blocks) >= MAX_DEPTH:
            break
        else:
            within = tuple(found[each].name for each in blocks)
            (name, *args), words, opens = words, [], mark == b"{"
            if opens:
                blocks.append(len(found))
            found.append(
                Directive(name.text, tuple(args), name.start, at, len(content) if opens else at, opens, within)
            )
            if opens and name.text.endswith(_LUA_BLOCK):
                at = _before_end_of_lua(content, at)
    return tuple(found)


def _word(token: re.Match[bytes]) -> Word:
    if (bare := token["bare"]) is not None:
        return Word(_unescaped(bare), token.start("bare"), token.end())
    return Word(_unescaped(token["quoted"][1:-1]), token.start("quoted"), token.end())


def _unescaped(raw: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), raw) if b"\\" in raw else raw


def _before_end_of_lua(content: bytes, at: int) -> int:
    """Return where the brace is that ends a Lua block; those in its strings and comments do not count."""
    depth = 1
    for token in _LUA.finditer(content, at):
        if token["brace"] is not None:
            depth += 1 if token["brace"] == b"{" else -1
        if depth == 0:
            return token.start()
    return len(content)


def quoted(text: bytes) -> bytes:
    """Return text as one argument in one line, whatever is in it but a variable: nginx reads the text again from it."""
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'


def edited(content: bytes, edits: Iterable[Edit]) -> bytes:
    """Return a file with some spans of it replaced; lines keep their numbers, and an edit within another is lost."""
    parts: list[bytes] = []
    at = 0
    for edit in sorted(edits):
        if edit.start >= at:
            lost = content.count(b"\n", edit.start, edit.end) - edit.text.count(b"\n")
            parts += (content[at : edit.start], edit.text, b"\n" * lost)
            at = edit.end
    return b"".join((*parts, content[at:]))

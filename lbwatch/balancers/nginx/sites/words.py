r"""
Texts of sites as words of nginx's: whatever a host, a path or a file's name holds, it stays the one word that it is.

Pure. nginx takes `\"` and `\\` in quotes as the character behind the backslash, but also `\t`, `\n` and `\r` as others:
so each backslash is doubled. For a `$` it has no escape, which is why a text that nginx looks for variables in must
not have one (`path`, `glob`); where it looks for none, as in names and regular expressions, a `$` is a `$`.
"""

import re

MAX_CHARS = 1_000
"""Of a path; nginx takes no argument of more than 4 KiB."""

_PLAIN = re.compile(r"[A-Za-z0-9_.:/=,@+%*~^-]+")
_PATH = re.compile(r"/[^$\x00-\x1f\x7f]*")
_GLOB = re.compile(r"[*?\[]")
_SPECIAL = re.compile(r"[*?\[\\]")
_NOT_SHOWN = re.compile(r'[^ -~]|["\\$]')
_VARIABLE = re.compile(r"\$(?:([a-z_]+)|\{([a-z_]+)\})?")
_RETURN = re.compile(r"(?P<code>[1-9][0-9]{2})(?:[ \t]+(?P<text>[^\x00-\x1f\x7f]{1,1000}))?")

KNOWN_VARIABLES = frozenset(
    (
        *("args", "host", "http_host", "is_args", "query_string", "remote_addr", "request_uri", "scheme"),
        *("server_name", "server_port", "uri"),
    )
)
"""What an address to redirect to may have: for one that it does not know nginx refuses the whole file."""


class UnwritableError(ValueError):
    """A text is none that nginx can be given where it belongs; it says which one."""


def word(text: str) -> str:
    """Return a text as one word, in which nginx looks for no variables; it has no control characters."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def is_writable(path: str) -> bool:
    """Return whether nginx can be given the path of a file."""
    return len(path) <= MAX_CHARS and _PATH.fullmatch(path) is not None


def path(text: str) -> str:
    """Return the path of a file as a word. Raises `UnwritableError`."""
    if not is_writable(text):
        raise UnwritableError(f"{text[:256]!r} is no path that nginx can be given: it has a $, or a control character")
    return word(text)


def glob(text: str) -> str:
    """Return the path of one file as a word for `include`, which takes a pattern. Raises `UnwritableError`."""
    path(text)
    # Without one of these nginx opens the file as it is named, and a backslash is one.
    if _GLOB.search(text) is None:
        return word(text)
    return word(_SPECIAL.sub(lambda found: r"\\" if found[0] == "\\" else f"[{found[0]}]", text))


def realm(text: str) -> str:
    """Return what a browser shows where it asks for a password, as a word: without what would end it there."""
    return f'"{_NOT_SHOWN.sub("", text)[:200]}"'


def answer(text: str) -> str:
    """
    Return what follows `return`: a status and perhaps an address, in which variables are nginx's.

    Raises:
        UnwritableError: It is no such thing.
    """
    taken = _RETURN.fullmatch(text.strip())
    if taken is None:
        raise UnwritableError(f"{text[:256]!r} is no status that nginx could return, and perhaps an address behind it")
    text = taken["text"]
    unknown = [found[0] for found in _VARIABLE.finditer(text or "") if (found[1] or found[2]) not in KNOWN_VARIABLES]
    if unknown:
        raise UnwritableError(
            f"{unknown[0]} is none of the variables that it takes: {', '.join(sorted(KNOWN_VARIABLES))}"
        )
    return f"{taken['code']} {word(text)}" if text else taken["code"]

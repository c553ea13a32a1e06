"""The program of nginx's workers: one file, joined from the sources that ship beside the templates."""

from lbwatch.balancers.template import shipped_templates
from lbwatch.system import reading

SOURCES = ("state", "balance", "protocol", "hold", "follow")
"""In the order in which they need each other; the last one gives the function that a worker is started with."""

MAX_BYTES = 1 << 20
"""Of one source: the largest has 10 KiB."""


def program() -> str:
    """
    Return the text of `follow.lua`, which nginx's workers load and call with lbwatch's socket and the file's shape.

    Each source is the body of a function that gets the table of those before it, and what it returns joins them.

    Raises:
        OSError: A source cannot be read.
    """
    folder = shipped_templates() / "nginx" / "lua"
    sources = ((name, reading.of_user(folder / f"{name}.lua", max_bytes=MAX_BYTES).decode()) for name in SOURCES)
    functions = (f"parts.{name} = (function(...)\n{source}end)(parts)\n" for name, source in sources)
    return f"local parts = {{}}\n{''.join(functions)}return parts.{SOURCES[-1]}(...)\n"

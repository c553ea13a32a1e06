"""
A line on standard output: in colours on a terminal, elsewhere as it is.

rich, which draws the colours, takes longer to import than a script's or a HEALTHCHECK's command to run, so that it is
imported here, and only where somebody sees it.
"""

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GOOD, BAD, DIM, NOTE = "green", "red", "dim", "yellow"

_MAKES_TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE")
"""Variables by which rich may take what is no terminal for one."""


@cache
def console() -> "Console":
    """Return the console on standard output; what others wrote is no markup to it."""
    from rich.console import Console  # noqa: PLC0415 - see above

    return Console(highlight=False, markup=False, emoji=False)


def is_terminal() -> bool:
    """Return whether colours can be seen; what rich says, which is asked only where it could say yes."""
    return (sys.stdout.isatty() or any(name in os.environ for name in _MAKES_TERMINAL)) and console().is_terminal


def write_line(text: "str | Text", *, style: str = "") -> None:
    """Write a line, in colours on a terminal; elsewhere as it is, however long, and at once."""
    if not is_terminal():
        print(text if isinstance(text, str) else text.plain, flush=True)
        return
    from rich.text import Text  # noqa: PLC0415 - see above

    console().print(Text(text, style=style) if isinstance(text, str) else text, soft_wrap=True)

"""What the user of the demo sees."""

import asyncio
import difflib

from rich.console import Console
from rich.text import Text

from lbwatch.cli.output import column
from lbwatch.core.errors import DemoError

STEP_PAUSE_S = 1.2


class _Console(Console):
    """A console that raises an error when nobody reads its output any more (`lbwatch demo | head`)."""

    def on_broken_pipe(self) -> None:
        """Raise an error, where `Console` would end the process."""
        raise DemoError("the demo ended: its output is not read any more")


class Screen:
    """What the user sees: a kind at the left, words at the right."""

    def __init__(self) -> None:
        self._console = _Console(highlight=False)

    def say(self, kind: str, words: str, *, style: str = "") -> None:
        """
        Print one line; on a terminal it stays in its column.

        Args:
            kind: What the line is about, at its left.
            words: The line.
            style: As rich takes it.
        """
        head = f"{kind:>8}  "
        text = Text.assemble((head, "dim"), (column(words, beside=len(head)), style))
        self._console.print(text, soft_wrap=True)

    async def step(self, words: str) -> None:
        """Print what is done next, as a command; on a terminal after a while, since a person reads along."""
        await asyncio.sleep(STEP_PAUSE_S if self._console.is_terminal else 0)
        self._console.print()
        self.say("$", words, style="bold")

    def difference(self, before: str, after: str) -> None:
        """Print which lines of the file went and came."""
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        for line in lines:
            if line.startswith(("---", "+++", "@@")) or line in ("+", "-"):
                continue
            self.say("file", line, style="green" if line.startswith("+") else "red")

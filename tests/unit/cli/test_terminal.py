"""Lines on standard output, with colours and without."""

import io
import sys

import pytest

from lbwatch.cli import terminal


class Tty(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def written(
    monkeypatch: pytest.MonkeyPatch, output: io.StringIO, text: str, *, environ: dict[str, str] | None = None
) -> str:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "40", **(environ or {})}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", output)
    terminal.console.cache_clear()
    terminal.write_line(text, style=terminal.GOOD)
    terminal.console.cache_clear()
    return output.getvalue()


@pytest.mark.parametrize(
    ("output", "environ", "coloured"),
    [
        (io.StringIO, {}, False),
        (io.StringIO, {"FORCE_COLOR": "1"}, True),
        (io.StringIO, {"FORCE_COLOR": ""}, False),
        (io.StringIO, {"TTY_COMPATIBLE": "1"}, True),
        (Tty, {}, True),
        (Tty, {"TTY_COMPATIBLE": "0"}, False),
        (Tty, {"FORCE_COLOR": ""}, False),
    ],
)
def test_colours_are_for_those_who_see_them(
    monkeypatch: pytest.MonkeyPatch, output: type[io.StringIO], environ: dict[str, str], *, coloured: bool
) -> None:
    """As rich decides it, which is asked only where it could say yes."""
    seen = written(monkeypatch, output(), "ready", environ=environ)
    assert seen == ("\x1b[32mready\x1b[0m\n" if coloured else "ready\n")


@pytest.mark.parametrize("output", [io.StringIO, Tty])
def test_a_line_is_neither_broken_nor_read_as_markup(
    monkeypatch: pytest.MonkeyPatch, output: type[io.StringIO]
) -> None:
    """Scripts read it, and what others wrote is in it."""
    text = "[red]x[/red] :smile: " + "long " * 30
    seen = written(monkeypatch, output(), text)
    assert seen.removeprefix("\x1b[32m").rstrip("\n").removesuffix("\x1b[0m") == text

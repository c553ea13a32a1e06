"""
A recording of a terminal, and the picture that is made of it.

The recording is an asciicast of version 2: a line of JSON about it, then one for each output, `[seconds, "o", text]`. The
picture is an SVG that plays it by CSS alone, so that it moves wherever a README shows images; whoever wants no motion, or
has a reader that plays nothing, sees the end. Only what the recordings here contain is understood: places, colours, text.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Self

HOLD_S = 4.0  # the end stays, before it begins again

_CHAR_W, _LINE_H, _FONT, _MARGIN = 8.4, 19, 14, 12
_STYLES = {"1": "b", "2": "d", "31": "r", "32": "g", "33": "y", "36": "c"}
_CSS = (
    ".s{fill:#0d1117}text{fill:#d0d7de;font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
    ".b{font-weight:bold;fill:#fff}.d{fill:#8b949e}.r{fill:#ff7b72}.g{fill:#56d364}.y{fill:#e3b341}.c{fill:#79c0ff}"
    "@media(prefers-reduced-motion:reduce){g.f{animation:none!important}}"
)
_PIECE = re.compile(r"\x1b\[(?P<numbers>[0-9;?]*)(?P<what>[A-Za-z])|(?P<text>[^\x1b]+)")

Run = tuple[int, str, str]
"""Column, style and text of what is written in one style."""


@dataclass(slots=True)
class Screen:
    """What a terminal shows: a character and its style for each place."""

    width: int
    height: int
    row: int = 0
    column: int = 0
    style: str = ""
    cells: list[list[tuple[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cells = [[(" ", "")] * self.width for _ in range(self.height)]

    def feed(self, output: str) -> None:
        for match in _PIECE.finditer(output):
            if match["text"] is not None:
                self._write(match["text"])
            elif match["what"] == "H":
                row, column = match["numbers"].split(";")
                self.row, self.column = int(row) - 1, int(column) - 1
            elif match["what"] == "m":
                self.style = styled(self.style, match["numbers"])

    def _write(self, text: str) -> None:
        for character in text:
            self.cells[self.row][self.column] = (character, self.style)
            self.column += 1

    def runs(self, row: int, *, begin: int, end: int) -> tuple[Run, ...]:
        """Return what stands in a row between two columns, without the spaces around."""
        found: list[Run] = []
        for column in range(begin, end):
            character, style = self.cells[row][column]
            if found and found[-1][1] == style and found[-1][0] + len(found[-1][2]) == column:
                found[-1] = (found[-1][0], style, found[-1][2] + character)
            else:
                found.append((column, style, character))
        return tuple((column, style, text.rstrip()) for column, style, text in found if text.strip())


def styled(style: str, numbers: str) -> str:
    """Return the style after a sequence of colours: the letters of the classes in the picture."""
    for number in numbers.split(";"):
        style = f"{style} {_STYLES[number]}".strip() if number in _STYLES else ""
    return style


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """A recording, read."""

    width: int
    height: int
    title: str
    outputs: tuple[tuple[float, str], ...]

    @classmethod
    def read(cls, text: str) -> Self:
        head, *events = map(json.loads, text.splitlines())
        outputs = tuple((at, output) for at, kind, output in events if kind == "o")
        return cls(width=head["width"], height=head["height"], title=head["title"], outputs=outputs)

    def screens(self) -> Iterator[tuple[float, Screen]]:
        """Return what the terminal shows after each output; it is the same screen each time."""
        screen = Screen(self.width, self.height)
        for at, output in self.outputs:
            screen.feed(output)
            yield at, screen


def svg(text: str) -> str:
    """Return the picture of a recording."""
    cast = Cast.read(text)
    total_s = cast.outputs[-1][0] + HOLD_S
    lines: dict[tuple[Run, ...], int] = {}
    frames = [
        _frame(rows, lines=lines, first_row=region[0], name=f"{number}-{index}", span=span, total_s=total_s)
        for number, region in enumerate(_regions(cast))
        for index, (span, rows) in enumerate(_shown(cast, region=region, total_s=total_s))
    ]
    size = f"{2 * _MARGIN + cast.width * _CHAR_W:.0f} {2 * _MARGIN + cast.height * _LINE_H}"
    definitions = "".join(f'<g id="l{number}">{_text(runs)}</g>' for runs, number in lines.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img"><title>{escape(cast.title)}</title>'
        f'<style>{_CSS}</style><rect class="s" width="100%" height="100%" rx="8"/><defs>{definitions}</defs>\n'
        f'<g transform="translate({_MARGIN} {_MARGIN + _FONT})">{"".join(frames)}</g></svg>\n'
    )


Region = tuple[int, int, int, int]
"""First and last row and column, the last ones not in it."""


def _regions(cast: Cast) -> Iterator[Region]:
    """Return the parts of the screen that change on their own: panes that a line of `│` divides, and single rows."""
    *_, (_, screen) = cast.screens()
    bars = {row: cells.index(bar) for row, cells in enumerate(screen.cells) if (bar := ("│", "d")) in cells}
    if bars:
        first, last, column = min(bars), max(bars) + 1, min(bars.values())
        yield first, last, 0, column
        yield first, last, column, column + 1
        yield first, last, column + 1, cast.width
    for row in range(cast.height):
        if row not in bars:
            yield row, row + 1, 0, cast.width


Span = tuple[float, float]
Rows = tuple[tuple[Run, ...], ...]


def _shown(cast: Cast, *, region: Region, total_s: float) -> Iterator[tuple[Span, Rows]]:
    """Return what a region shows, each with its time from and to."""
    first, last, begin, end = region
    since, shown = 0.0, None
    for at, screen in cast.screens():
        rows = tuple(screen.runs(row, begin=begin, end=end) for row in range(first, last))
        if rows != shown:
            if shown is not None and at > since:
                yield (since, at), shown
            since, shown = at, rows
    if shown is not None:
        yield (since, total_s), shown


def _frame(
    rows: Rows, *, lines: dict[tuple[Run, ...], int], first_row: int, name: str, span: Span, total_s: float
) -> str:
    """Return what shows a region's rows for a while, and at the end, if it is the last one, where nothing plays."""
    uses = "".join(
        f'<use href="#l{lines.setdefault(runs, len(lines))}" y="{(first_row + row) * _LINE_H}"/>'
        for row, runs in enumerate(rows)
        if runs
    )
    begin, end = (100 * at / total_s for at in span)
    if not uses or (begin == 0 and end == 100):
        return uses
    keys = f"0%{{visibility:{'hidden' if begin else 'visible'}}}"
    keys += f"{begin:.2f}%{{visibility:visible}}" if begin else ""
    keys += f"{end:.2f}%{{visibility:hidden}}" if end < 100 else ""
    last = end == 100
    return (
        f"<style>@keyframes k{name}{{{keys}}}</style>"
        f'<g class="f" style="{"" if last else "visibility:hidden;"}animation:k{name} {total_s:.2f}s step-end infinite">{uses}</g>'
    )


def _text(runs: Sequence[Run]) -> str:
    parts = (
        f'<tspan x="{column * _CHAR_W:.1f}" textLength="{len(text) * _CHAR_W:.1f}"'
        f"{f' class={chr(34)}{style}{chr(34)}' if style else ''}>{escape(text)}</tspan>"
        for column, style, text in runs
    )
    return f'<text xml:space="preserve">{"".join(parts)}</text>'

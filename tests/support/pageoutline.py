"""Reads a page without a browser."""

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

from lbwatch.api.page.query import LISTS, Query
from lbwatch.api.page.rendering import Picture, overview_html, picture_of
from lbwatch.api.report import Report
from lbwatch.core.status import Status


class Outline(HTMLParser):
    """
    What a page consists of.

    Attributes:
        elements: Each with the names of its attributes, in order.
        texts: Of all elements but script and style.
        values: Of all attributes.
        raw: Of script and style.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self.raw: dict[str, str] = {}
        self._in = ""
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.values += [value or "" for _, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in in ("script", "style"):
            self.raw[self._in] = self.raw.get(self._in, "") + data
        else:
            self.texts.append(data)


def html(world: Status | Report, **asked: Any) -> str:
    """The page of a world as it is written for who asks so."""
    picture = Picture(report=world, words={}, digest=b"") if isinstance(world, Report) else picture_of(world)
    return overview_html(picture, query=Query(**asked)).decode()


def outline(world: Status | Report, **asked: Any) -> Outline:
    return Outline(html(world, **asked))


def outlines(world: Status | Report) -> list[Outline]:
    """Of the overview and of the first page of every list."""
    return [outline(world, show=show) for show in ("", *LISTS)]


def strings(value: object, *, at: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a report, and the name of the field that it is in."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from strings(each, at=key)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each, at=at)

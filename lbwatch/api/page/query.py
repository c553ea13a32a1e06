"""
What a reader asks the page for: filter, list and page stand in its address.

So all of it works without a script, survives a reload, and can be sent to a colleague. What comes in is bounded here.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlencode

MAX_FILTER_CHARS = 200
"""More than anyone types; each word of it is looked for in every row."""

MAX_TERMS = 8

MAX_NAME_CHARS = 255
"""Of an upstream or a container: longer ones cannot be."""

_PAGE = re.compile(r"[0-9]{1,6}")

LISTS = {
    "sites": "Hosts",
    "streams": "Ports",
    "upstreams": "Upstreams",
    "servers": "Servers",
    "down": "Upstreams without a server",
    "unrouted": "Not routed",
    "warnings": "Warnings",
    "stopped": "Not running",
    "idle": "Do not ask to be routed",
    "changes": "Changes",
}
"""What can be shown alone, and in full, by the name that it has in the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    What a reader asks for.

    Attributes:
        filter: What he typed; rows that lack one of its words are left out.
        upstream: The one that alone is shown; empty: all.
        show: The one of `LISTS` that alone is shown; empty: the heads of all.
        page: Of that list, from 1 on.
    """

    filter: str = ""
    upstream: str = ""
    show: str = ""
    page: int = 1

    @property
    def terms(self) -> tuple[str, ...]:
        """Return the words of the filter, in lower case."""
        return tuple(self.filter.lower().split()[:MAX_TERMS])

    def href(self, **changes: Any) -> str:
        """Return the address of the same with these changes, by default its first page, relative to the page's own."""
        wanted = replace(self, **({"page": 1} | changes))
        standard = asdict(Query())
        said = {
            "q" if name == "filter" else name: value
            for name, value in asdict(wanted).items()
            if value != standard[name]
        }
        return f"./?{urlencode(said, errors='replace')}" if said else "./"


def query_of(asked: Mapping[str, str]) -> Query:
    """Return what is asked for by the parameters of an address; what cannot be is as if it were not there."""
    show, page = asked.get("show", ""), asked.get("page", "")
    return Query(
        filter=" ".join(asked.get("q", "")[:MAX_FILTER_CHARS].split()),
        upstream=asked.get("upstream", "")[:MAX_NAME_CHARS],
        show=show if show in LISTS else "",
        page=max(1, int(page)) if _PAGE.fullmatch(page) else 1,
    )


def container_href(name: str) -> str:
    """Return the address of a container's page, relative to the page's own."""
    return f"container?{urlencode({'name': name}, errors='replace')}"

"""Variables and labels by name, and words on those of them that are left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lbwatch.core.sites.grammar import GrammarError
from lbwatch.core.sites.nginxproxy.refusal import words

Reader = Callable[[str], Any]
"""Returns what a text says, or raises a `GrammarError`."""

_UNUSED = object()


@dataclass(slots=True, kw_only=True)
class Values:
    """
    The values of one container, or of the proxy.

    Attributes:
        said: By name; those that are blank say nothing, as in nginx-proxy.
        dropped: Words on each that is left out, a line each.
    """

    said: Mapping[str, str]
    dropped: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Return whether there is more than blanks by a name."""
        return bool(self.said.get(name, "").strip())

    def read(self, name: str, reader: Reader, *, default: Any = None) -> Any:
        """Return what a value says; the default where it says nothing, or nothing that can be used."""
        if not self.has(name):
            return default
        try:
            return reader(self.said[name])
        except GrammarError as error:
            self.drop(name, error.takes)
            return default

    def all(self, table: Mapping[str, tuple[str, Reader]]) -> dict[str, Any]:
        """Return what is said of a table's names, by the attribute that each is for."""
        read = ((attribute, self.read(name, reader, default=_UNUSED)) for name, (attribute, reader) in table.items())
        return {attribute: value for attribute, value in read if value is not _UNUSED}

    def drop(self, name: str, takes: str) -> None:
        """Leave a value out."""
        self.dropped.append(words(name, self.said[name], f"{takes}; it is not used"))

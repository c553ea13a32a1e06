"""Which container a user means: by its name, its id, or by a label, which survives generated names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lbwatch.core.errors import SettingsError
from lbwatch.core.model import Container, ContainerStatus
from lbwatch.core.oneoff import one_off_of

_ID = re.compile(r"[0-9a-f]{12,64}")
_LABEL = "label="


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """
    What the user said of a container; its text is how it is named to people.

    Attributes:
        named: The name, or the beginning of an id; empty if it is a label.
        key: Of the label; empty if it is none.
        value: Of the label; `None`: any.
    """

    named: str = ""
    key: str = ""
    value: str | None = None

    def __str__(self) -> str:
        if not self.key:
            return self.named
        return f"with label {self.key}" if self.value is None else f"with label {self.key}={self.value}"

    def matches(self, container: Container) -> bool:
        """Return whether a container is one that is meant."""
        if self.key:
            return any(key == self.key and self.value in (None, value) for key, value in container.labels)
        return container.name == self.named or bool(_ID.fullmatch(self.named) and container.id.startswith(self.named))


def selected(text: str, *, setting: str) -> Selector:
    """
    Return the selector of a name, of an id of 12 digits or more, or of `label=KEY` or `label=KEY=VALUE`.

    Raises:
        SettingsError: It is none; *setting* is the one that it stands in.
    """
    text = text.strip()
    if not text.startswith(_LABEL):
        if not text.strip("/"):
            raise SettingsError(setting, value=text, takes="it takes a container's name, its id, or label=KEY=VALUE")
        return Selector(named=text.removeprefix("/"))
    key, equals, value = text.removeprefix(_LABEL).partition("=")
    if not key:
        raise SettingsError(setting, value=text, takes="it takes label=KEY=VALUE, and the key is missing")
    return Selector(key=key, value=value if equals else None)


def chosen(containers: Iterable[Container], selector: Selector) -> tuple[Container, ...]:
    """
    Return the containers that are meant, best first: those that run, and of those the one that started last.

    A container that is recreated has the same name and labels as the one that it replaces; one of
    `docker compose run` has the labels too, and comes last.
    """
    meant = [container for container in containers if selector.matches(container)]
    return tuple(sorted(meant, key=_age, reverse=True))


def _age(container: Container) -> tuple[bool, bool, int, int, str]:
    lasts = one_off_of(container) is None
    return lasts, container.status is ContainerStatus.RUNNING, container.started_ns, container.created_ns, container.id

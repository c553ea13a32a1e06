"""The containers of the fake engine by id and by name; no events and no states."""

import random
import re
from collections.abc import Iterator

from lbwatch.engines.fake.model import ConflictError, Container, InvalidError, NotFoundError

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_MOODS = ("brisk", "calm", "dry", "eager", "fair", "keen", "mild", "plain", "quiet", "sunny")
_THINGS = ("anvil", "buoy", "crane", "dynamo", "easel", "flint", "gable", "hinge", "inlet", "jetty")


class Containers:
    """
    All containers, in the order of their creation.

    Args:
        random: For made-up names.
    """

    def __init__(self, *, random: random.Random) -> None:
        self._by_id: dict[str, Container] = {}
        self._ids: dict[str, str] = {}  # by name
        self._random = random

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, ref: str) -> Container:
        """
        Find a container by id, name (a leading slash may be there), or unique beginning of an id.

        Raises:
            NotFoundError: There is none.
            InvalidError: Several ids begin so.
        """
        if found := self._by_id.get(ref) or self._by_id.get(self._ids.get(ref.removeprefix("/"), "")):
            return found
        matches = [key for key in self._by_id if key.startswith(ref)] if ref else []
        if len(matches) > 1:
            raise InvalidError(f"Multiple IDs found with provided prefix: {ref}")
        if not matches:
            raise NotFoundError(f"No such container: {ref}")
        return self._by_id[matches[0]]

    def add(self, container: Container) -> None:
        """Take in a container whose name is free."""
        self._by_id[container.id] = container
        self._ids[container.name] = container.id

    def remove(self, container: Container) -> None:
        """Forget a container; its name is free again."""
        del self._by_id[container.id]
        del self._ids[container.name]

    def rename(self, container: Container, *, name: str) -> None:
        """Give a container a name that is free."""
        del self._ids[container.name]
        container.name = name
        self._ids[name] = container.id

    def free_name(self, name: str) -> str:
        """
        Check a name for a container and give it without its slash.

        Raises:
            InvalidError: Docker takes no such name; one of a single character is too short.
            ConflictError: It is taken.
        """
        name = name.removeprefix("/")
        if not _NAME.fullmatch(name):
            raise InvalidError(f"Invalid container name ({name}), only {_NAME.pattern} are allowed")
        if owner := self._ids.get(name):
            raise ConflictError(
                f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
        return name

    def made_up_name(self) -> str:
        """Make up a name that is free."""
        while True:
            name = f"{self._random.choice(_MOODS)}_{self._random.choice(_THINGS)}"
            if name in self._ids:
                name = f"{name}{self._random.randrange(10**6)}"
            if name not in self._ids:
                return name

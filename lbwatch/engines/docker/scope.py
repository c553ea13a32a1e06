"""Which containers are followed, as the settings say, and what is kept of them. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from lbwatch.core.labels import asks, relevant
from lbwatch.core.model import TASK_ID_LABEL, Container, Engine
from lbwatch.core.selector import Selector


def _none(task: str) -> bool:  # noqa: ARG001 - stands for who knows a Swarm
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """
    Which containers are followed, and which of their labels are kept.

    Attributes:
        prefix: Label prefix, without the dot.
        expose_all: Whether containers without such a label are followed too.
        variables: Names of environment variables each of which has its container followed likewise.
        also_labels: Keys of further labels that are kept.
        follows: A container that is followed although it may ask for nothing: nginx's own; `None`: there is none.
        engine: The engine that they are of.
        follows_task: Returns whether a Swarm's task, by its id, is followed: so is its container then, whose own labels
            may say nothing.
    """

    prefix: str
    expose_all: bool
    variables: frozenset[str] = frozenset()
    also_labels: frozenset[str] = frozenset()
    follows: Selector | None = None
    engine: Engine = Engine()  # noqa: RUF009 - frozen
    follows_task: Callable[[str], bool] = _none

    def asks(self, container: Container) -> bool:
        """Return whether a container asks to be routed, or is nginx's own."""
        labelled = self.expose_all or self.labelled(key for key, _ in container.labels)
        return (
            labelled
            or bool(container.env)
            or self.is_followed(container)
            or self._is_followed_task(container.label(TASK_ID_LABEL))
        )

    def is_task(self, labels: Mapping[str, str]) -> bool:
        """Return whether these are the labels of a task's container that is followed."""
        return self._is_followed_task(labels.get(TASK_ID_LABEL, ""))

    def _is_followed_task(self, id: str) -> bool:
        return bool(id) and self.follows_task(id)

    def labelled(self, keys: Iterable[str]) -> bool:
        """Return whether any of these label keys is ours."""
        return asks(keys, prefix=self.prefix)

    def is_followed(self, container: Container) -> bool:
        """Return whether a container is nginx's own."""
        return self.follows is not None and self.follows.matches(container)

    def trimmed(self, container: Container) -> Container:
        """Return a container as its engine's, without the labels that can never matter: they may be megabytes long."""
        also = self.also_labels | ({self.follows.key} if self.follows is not None else set())
        labels = relevant(container.labels, prefix=self.prefix, also=also)
        return replace(container, labels=labels, engine=self.engine)


def described(id: str, attributes: Mapping[str, str]) -> Container:
    """Return a container as far as an event's *attributes* describe it."""
    return Container(id=id, name=attributes.get("name", id[:12]), labels=tuple(sorted(attributes.items())))

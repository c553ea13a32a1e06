"""
Where a container is from: its engine and, of a Swarm's task, service, replica and node, as people say it.

Pure, and nothing is decided here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lbwatch.core.model import Container, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """
    Where a container is from.

    Attributes:
        engine: Name of its engine, of a task that of its Swarm; `None` where nobody asked.
        service: The Swarm's service that it is a task of; `None`: it is no task.
        task: Which one of that service, such as `web.3`; of a global service with the node's id, as `docker` has it.
        node: Host name of the machine that the task runs on; `None` while it has none.
    """

    engine: str | None = None
    service: str | None = None
    task: str | None = None
    node: str | None = None


NOWHERE = Origin()


def origin_of(container: Container) -> Origin:
    """Return where a container is from."""
    engine, task = container.engine.name or None, container.task
    if task is None:
        return Origin(engine=engine)
    node = task.node or task.node_id or None
    return Origin(engine=engine, service=task.service, task=task_name(task), node=node)


def task_name(task: Task) -> str:
    """Return what `docker service ps` calls a task."""
    return f"{task.service}.{task.slot}"


def origins_of(containers: Iterable[Container]) -> Mapping[str, Origin]:
    """Return where each container is from, by its name, which is one of a kind even where there are several engines."""
    return {each.name: origin_of(each) for each in containers}


def origin_words(origin: Origin, *, several_engines: bool, beside: str = "") -> str:
    """
    Return where a container is from, in words; empty where there is nothing to be said.

    Args:
        origin: Where that is.
        several_engines: Whether more than one is followed.
        beside: The container's name where that is shown too: it may begin with its engine's.
    """
    if origin.task is not None:
        return f"task {origin.task} on node {origin.node}" if origin.node else f"task {origin.task}, on no node yet"
    is_told = not several_engines or not origin.engine or beside.startswith(f"{origin.engine}/")
    return "" if is_told else f"engine {origin.engine}"

"""Which node of the fake Swarm gets a task: the one that has the fewest, as swarmkit's scheduler spreads them (src)."""

from lbwatch.engines.fake.manager.state import Node, SwarmState, Task


def place(state: SwarmState, task: Task) -> Node | None:
    """Return the node with the fewest tasks of the service, then of all, and count it; `None`: nobody takes it."""
    if not task.spec.placeable:
        return None
    candidates = [state.nodes[task.slot]] if isinstance(task.slot, str) else [*state.nodes.values()]
    takers = (node for node in candidates if node.takes_tasks)
    service = task.service.id
    chosen = min(takers, key=lambda node: (node.active[service], node.total), default=None)
    if chosen is not None and not task.unwanted:
        count(task, chosen, by=1)
    return chosen


def count(task: Task, node: Node, *, by: int) -> None:
    """Count a task that should run on a node, or with -1 should no more."""
    node.active[task.service.id] += by
    node.total += by

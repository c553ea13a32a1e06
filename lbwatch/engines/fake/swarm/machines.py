"""
Where tasks of a fake Swarm run: on a fake engine that is a node, whose containers and events they are, or nowhere.

What happens there happens to the task in truth; when the managers come to know it is in `swarm.agents`.
"""

import asyncio
from typing import Any

from lbwatch.engines.fake.engine import FakeEngine
from lbwatch.engines.fake.manager.state import SwarmState, Task
from lbwatch.engines.fake.state import RefusedError

_TERM = 15
_KILLED = 137


class Machine:
    """
    The containers of one node.

    Args:
        state: Of the Swarm.
        engine: Whose containers they are; `None`: nobody's, so that ten thousand cost little.
    """

    def __init__(self, state: SwarmState, *, engine: FakeEngine | None) -> None:
        self._state = state
        self._engine = engine
        self._tasks: dict[str, Task] = {}  # by the container's id
        if engine is not None:
            engine.events.watchers.append(self._note)

    def create(self, task: Task) -> None:
        """Create a task's container."""
        engine = self._engine
        if engine is None:
            task.container = f"{self._state.random.getrandbits(256):064x}"
            return
        for network, _ in task.attachments:
            engine.networks.join_overlay(network.name, id=network.id, ipv4=network.subnet)
        task.container = engine.containers.create(
            name=task.name,
            image=task.spec.image,
            labels={**task.spec.container_labels, **_labels(task)},
            networks=[network.name for network, _ in task.attachments] or ["bridge"],
            exposed=[f"{port.target}/{port.protocol}" for port in task.spec.ports] or ["80/tcp"],
            health=None if task.spec.health is None else "starting",
        )
        self._tasks[task.container] = task

    def start(self, task: Task) -> None:
        """Start it."""
        if self._engine is not None:
            for network, address in task.attachments:
                self._engine.networks.find(network.name).given = address
            self._engine.containers.start(task.container)
        task.up, task.up_at = True, asyncio.get_running_loop().time()

    def probe(self, task: Task, *, healthy: bool) -> None:
        """Have its health check pass or fail."""
        if not task.up:
            return
        if self._engine is not None:
            self._engine.containers.set_health(task.container, "healthy" if healthy else "unhealthy")
        else:
            task.healthy = healthy
            task.changed.set()

    def pause(self, task: Task, *, paused: bool) -> None:
        """Pause it, or have it go on."""
        if self._engine is not None:
            (self._engine.containers.pause if paused else self._engine.containers.unpause)(task.container)
        task.paused = paused

    def tell(self, task: Task) -> None:
        """Send it its stop signal, which it does not obey yet."""
        task.term_at = asyncio.get_running_loop().time()
        if self._engine is not None:
            self._engine.containers.send_stop_signal(task.container)

    def end(self, task: Task, *, code: int) -> None:
        """End it; with 137 as if it was killed."""
        if not task.up:
            return
        if self._engine is not None:
            self._engine.containers.die(task.container, code)
        else:
            self._ended(task, code=code)

    def remove(self, task: Task) -> None:
        """Remove its container, as the engine does once the managers forget the task."""
        self._tasks.pop(task.container, None)
        if self._engine is not None and task.container:
            try:
                self._engine.containers.remove(task.container, force=True)
            except RefusedError:  # somebody else did, or it was never made
                return

    def _note(self, event: dict[str, Any]) -> None:
        """Note what happens to a container, whoever did it: the node's own engine knows."""
        task = self._tasks.get(event["Actor"]["ID"])
        if task is None or event["Type"] != "container":
            return
        action, attributes = event["Action"], event["Actor"]["Attributes"]
        if action == "die":
            self._ended(task, code=int(attributes.get("exitCode", _KILLED)))
        elif action in ("pause", "unpause"):
            task.paused = action == "pause"
        elif action.startswith("health_status"):
            task.healthy = action.endswith(" healthy")
            task.changed.set()
        elif action == "kill" and attributes.get("signal") == str(_TERM) and not task.term_at:
            task.term_at = asyncio.get_running_loop().time()

    def _ended(self, task: Task, *, code: int) -> None:
        if task.up:
            task.up, task.exit_code = False, code
            task.ended_at = asyncio.get_running_loop().time()
            task.changed.set()


def _labels(task: Task) -> dict[str, str]:
    """Return what a node's engine says of a task's container; labels of the service are not among it."""
    assert task.node is not None
    return {
        "com.docker.swarm.node.id": task.node.id,
        "com.docker.swarm.service.id": task.service.id,
        "com.docker.swarm.service.name": task.service.spec.name,
        "com.docker.swarm.task": "",
        "com.docker.swarm.task.id": task.id,
        "com.docker.swarm.task.name": task.name,
    }

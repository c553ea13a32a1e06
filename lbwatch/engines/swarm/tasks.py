"""What a task is to lbwatch: a container, with what its service and its machine have to say of it. Pure."""

from lbwatch.core.model import SERVICE_LABEL, Container, ContainerStatus, Endpoint, Task
from lbwatch.engines.docker.fields import container_name, possible_ports
from lbwatch.engines.docker.scope import Scope
from lbwatch.engines.swarm.answers import SwarmNode, SwarmService, SwarmTask

RUNNING = "running"
COMING = frozenset(("new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting"))
"""States of a task whose container does not run yet; with a health check it is `starting` until that passed."""

COMPLETE = "complete"
"""What a job's task should become."""

BROKEN_DOWN = frozenset((COMPLETE, "failed", "rejected"))
"""States in which a task ends by itself; `shutdown` is one that it was told to take."""

WANTED = frozenset((*COMING, RUNNING))
"""States that a task should have as long as it is wanted; one that waits for its turn to be started anew: `ready`."""


def is_alive(task: SwarmTask) -> bool:
    """Return whether a task runs, or may still."""
    return task.state == RUNNING or task.state in COMING


def is_wanted(task: SwarmTask) -> bool:
    """Return whether a task should run; that of a job should until it ends by itself."""
    return task.desired in WANTED or (task.desired == COMPLETE and is_alive(task))


def leaving_words(task: SwarmTask) -> str | None:
    """Return why a task that runs is about to be stopped, in words; `None`: it is not."""
    if task.state != RUNNING or is_wanted(task):
        return None
    if task.desired == "remove":
        return "its Swarm is about to stop it for good (desired state: remove)"
    return f"its Swarm is about to stop it (desired state: {task.desired or 'none'})"


def slot_of(task: SwarmTask) -> str:
    """Return which replica of its service a task is; of a global service that is its node's."""
    return task.slot or task.node_id


def container_of(
    task: SwarmTask,
    *,
    service: SwarmService | None,
    node: SwarmNode | None,
    scope: Scope,
    started_ns: int,
) -> Container:
    """
    Return a task as a container.

    Args:
        task: As it is now.
        service: Its service; `None`: nothing is known of that.
        node: Its machine; likewise.
        scope: Says which labels are kept, and of which engine it is.
        started_ns: When it was seen first that it runs, nanoseconds since the epoch by its node's clock; 0: never.
    """
    status, name = _status(task), service.name if service else task.service_id
    found = Container(
        id=task.id,
        name=container_name(".".join(filter(None, (name, slot_of(task), task.id))), id=task.id),
        labels=_labels(task, service=service),
        status=status,
        created_ns=task.created_ns,
        started_ns=started_ns,
        exposed=_guessed_ports(task, service=service),
        endpoints=task.endpoints,
        host_network=task.host_network,
        stop_signal=task.stop_signal,
        exit_code=task.exit_code if status is ContainerStatus.EXITED else None,
        image=task.image,
        published=task.published,
        machine=node.address if node else "",
        task=Task(
            service=name,
            service_id=task.service_id,
            slot=slot_of(task),
            node=node.name if node else task.node_id,
            node_id=task.node_id,
            state=task.state,
            desired=task.desired,
            virtual=_virtual(task, service=service),
            mesh=service.mesh if service else (),
        ),
    )
    return scope.trimmed(found)


def _status(task: SwarmTask) -> ContainerStatus:
    if task.state == RUNNING:
        return ContainerStatus.RUNNING
    return ContainerStatus.CREATED if task.state in COMING else ContainerStatus.EXITED


def _labels(task: SwarmTask, *, service: SwarmService | None) -> tuple[tuple[str, str], ...]:
    """Return a task's labels: half of all users write them at the service, half at its containers."""
    if service is None:
        return task.labels
    return tuple(sorted((dict(task.labels) | dict(service.labels) | {SERVICE_LABEL: service.name}).items()))


def _guessed_ports(task: SwarmTask, *, service: SwarmService | None) -> tuple[int, ...]:
    """Return on which ports a task likely listens; what its image exposes no manager says."""
    if published := possible_ports(each.port for each in task.published if each.protocol == "tcp"):
        return published
    targets = service.targets if service else ()
    return targets if len(targets) == 1 else ()


def _virtual(task: SwarmTask, *, service: SwarmService | None) -> tuple[Endpoint, ...]:
    """Return the addresses of a task's whole service, on those networks that the task is on itself."""
    networks = {each.network_id: each for each in task.endpoints}
    found = [
        Endpoint(
            network=own.network,
            ipv4="" if ":" in address else address,
            ipv6=address if ":" in address else "",
            network_id=id,
            driver=own.driver,
        )
        for id, address in (service.virtual if service else ())
        if (own := networks.get(id)) is not None
    ]
    return tuple(sorted(found, key=lambda end: (end.network, end.network_id)))

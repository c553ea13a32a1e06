"""Whether a change of a container is one that an event should have told. Pure."""

from lbwatch.core.model import Container, Health
from lbwatch.engines.docker.scope import Scope


def has_drifted(before: Container | None, found: Container | None, *, scope: Scope) -> bool:
    """
    Return whether a container is another one than it was, in what some event would have told of it.

    Args:
        before: As it was known; `None`: it was not.
        found: As it is now; `None`: it is gone.
        scope: Which containers are followed: of what asks for nothing no event was listened to, nor of a task's before
            its Swarm had told of the task.
    """
    if before is not None and before.status.is_up and not before.started_ns:
        return False  # all that is known of it is from a list
    concerns = any(each is not None and scope.asks(each) for each in (before, found))
    return concerns and _told(before) != _told(found)


def _told(container: Container | None) -> object:
    """Return what some event would have told of a container; `starting` and changes while stopped have none."""
    if container is None:
        return None
    if not container.status.is_up:
        return container.name, "down"
    health = container.health if container.health in (Health.HEALTHY, Health.UNHEALTHY) else None
    # Podman shows those of the container whose network it uses, of which only that one's events tell.
    own = container.endpoints if container.network_of is None else ()
    addresses = tuple((end.network, end.ipv4, end.ipv6) for end in own)  # no event tells of a driver
    published = container.published if container.network_of is None else ()
    return container.name, container.status, container.started_ns, addresses, published, health

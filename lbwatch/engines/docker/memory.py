"""
What an engine forgets of a container that it knew, and lbwatch does not. Pure.

With live-restore containers run on while the engine is restarted. It then says `starting` of each that has a health
check, whatever was found before, until the next probe: all of them at once would be out of service, though nothing
stopped.
"""

from dataclasses import replace

from lbwatch.core.model import Container, Health

_FOUND = (Health.HEALTHY, Health.UNHEALTHY)


def remembered(found: Container, *, before: Container | None) -> Container:
    """
    Return a container with the health that its latest probe found, where the engine no longer knows that.

    Args:
        found: As the engine describes it now.
        before: As it was known until now; `None`: it was not.
    """
    # A check never goes back to `starting` in the same life: that is the engine's doing, not the container's.
    if found.health is not Health.STARTING or before is None or before.health not in _FOUND:
        return found
    same_life = found.started_ns == before.started_ns and bool(found.started_ns)
    return replace(found, health=before.health) if same_life else found

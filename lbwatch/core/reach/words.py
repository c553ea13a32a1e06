"""
What its owner reads of a container that nginx reaches nowhere: why not, and what to do.

Pure; nothing is decided here.
"""

from collections.abc import Iterable

from lbwatch.core.errors import excerpt
from lbwatch.core.model import Published, Task
from lbwatch.core.networks import is_usable
from lbwatch.core.reach.target import MAX_NAMED, Target, place_of


def unshared_words(target: Target) -> str:
    """Return why a container of another engine is on no network of nginx's."""
    networks = [each.network for each in target.owner.endpoints if is_usable(each)]
    nginx = ", ".join(target.rules.networks)
    on = f"it is on {excerpt(', '.join(networks)) or 'no network'} of {place_of(target.owner, rules=target.rules)}"
    if alike := [each for each in networks if each in target.rules.networks]:
        return f"{on}, which is another network than nginx's own {excerpt(alike[0])}"
    return f"{on}, and nginx on {excerpt(nginx)}" if nginx else f"{on}, where nginx is not"


def unpublished_words(target: Target, wanted: int, *, bindings: Iterable[Published]) -> str:
    """
    Return why no published port leads to a container, and what to do.

    Args:
        target: The container.
        wanted: Its own port.
        bindings: Where that is published.
    """
    bound = sorted({each.host_address for each in bindings})
    if bound and not target.machine and not bound[0]:
        return f"the address is not known at which its port {wanted} is published: {address_cure(target)}"
    if bound:
        on = excerpt(", ".join(bound))
        return f"its port {wanted} is published on {on} alone, where nginx is not: publish it on another address"
    ports = sorted({(each.port, each.protocol) for each in target.owner.published})
    if not ports:
        return f"it publishes no port: {_publish(target, wanted)}"
    named = ", ".join(str(port) if spoken == "tcp" else f"{port}/{spoken}" for port, spoken in ports[:MAX_NAMED])
    label = f"the label {target.rules.prefix}.port names another one"
    return f"it publishes {named}, and not its port {wanted}: publish that, or {label}"


def unmeshed_words(target: Target, task: Task) -> str:
    """Return why neither a virtual address nor a mesh port leads to a service, and what to do."""
    on, nginx = ", ".join(each.network for each in task.virtual if is_usable(each)), ", ".join(target.rules.networks)
    port = "" if target.port is None else f" {target.port}"
    whose = f"its service has an address on {excerpt(on)}" if on else "its service has no address of its own"
    known = f"nginx is on {excerpt(nginx)}" if nginx else "the setting networks names no network of nginx's"
    return f"{whose}, {known}, and the mesh does not publish its port{port}: publish that, or drop the label"


def address_cure(target: Target) -> str:
    """Return how the address of a container's machine becomes known."""
    if target.owner.task is not None:
        return "its node was given none that others reach: docker swarm join takes it as --advertise-addr"
    name = target.owner.engine.name
    if (why := target.rules.unresolved.get(name)) is not None:
        return why
    return f"the setting engine_address takes it, as {excerpt(name) or 'NAME'}=ADDRESS"


def shared_cure(target: Target) -> str:
    """Return how else nginx would reach a container of another engine."""
    task, networks, prefix = target.owner.task, target.rules.networks, target.rules.prefix
    if task is not None:
        network, service = excerpt(networks[0] if networks else "NETWORK"), excerpt(task.service)
        return f"or put it on an overlay that nginx is on: docker service update --network-add {network} {service}"
    routed = f"if nginx is routed to its network, the label {prefix}.reach=network says so"
    return f"or put it on an overlay that nginx is on, and the setting networks names; {routed}"


def _publish(target: Target, wanted: int) -> str:
    task = target.owner.task
    if task is None:
        return f"docker run --publish {wanted} does it"
    return f"docker service update --publish-add mode=host,target={wanted} {excerpt(task.service)} does it"

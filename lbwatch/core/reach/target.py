"""
Who is to be reached: one container, in one upstream, with the port that is wanted and the machine that it is on.

Pure. By which way that is done is `rules`'.
"""

from dataclasses import dataclass

from lbwatch.core.addresses import checked_address, loopback_address
from lbwatch.core.errors import excerpt
from lbwatch.core.model import Container, Notice, NoticeKind, Reason
from lbwatch.core.networks import SkipError
from lbwatch.core.reach.bindings import only_published
from lbwatch.core.rules import Rules
from lbwatch.core.wishes import UpstreamLabels

HOST_ADDRESS = "127.0.0.1"
"""Where the machine is that nginx shares the network of."""

MAX_NAMED = 8
"""So many of a container's ports stand in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    Who is to be reached.

    Attributes:
        port: The container's own port that is wanted; `None`: nothing says which.
        undecided: Why not, where that is so.
        assumed: The notice that it was assumed, where it was.
    """

    container: Container
    labels: UpstreamLabels
    owner: Container
    rules: Rules
    port: int | None
    undecided: SkipError | None = None
    assumed: Notice | None = None

    @property
    def is_local(self) -> bool:
        """Return whether nginx runs on the machine of the container's engine."""
        return self.rules.nginx_engine == self.owner.engine.name

    @property
    def shares_host(self) -> bool:
        """Return whether nginx shares the network of the very machine that the container is on."""
        return self.is_local and self.rules.host_shared

    @property
    def reaches_loopback(self) -> bool:
        """Return whether that machine's loopback is nginx's: by what the settings say of either."""
        return self.shares_host or loopback_address(self._set_address) is not None

    @property
    def machine(self) -> str:
        """Return the address of the machine that publishes the container's ports; empty: it is not known."""
        # Whoever sets an address knows where nginx is: it may be of loopback.
        known = checked_address(self.owner.machine) or checked_address(self._set_address)
        return known or loopback_address(self._set_address) or (HOST_ADDRESS if self.shares_host else "")

    @property
    def _set_address(self) -> str:
        return self.rules.addresses.get(self.owner.engine.name, "")

    def decided_port(self) -> int:
        """Return the wanted port; raises `SkipError` where nothing says which."""
        if self.port is None:
            raise self.undecided or SkipError(Reason.NO_PORT, "it exposes no TCP port")
        return self.port

    def notices(self, *more: Notice | None) -> tuple[Notice, ...]:
        """Return what should be known of how it was found, with *more* of that."""
        return tuple(each for each in (*more, self.assumed) if each is not None)


def target_of(container: Container, labels: UpstreamLabels, *, owner: Container | None, rules: Rules) -> Target:
    """Return who is to be reached; raises `SkipError` where nobody can be."""
    port, undecided, assumed = _wanted_port(container, labels, prefix=rules.prefix)
    published = () if owner is None else owner.published
    if undecided is not None and only_published(published, labels) is None:
        raise undecided
    owner = _checked_owner(container, owner)
    return Target(
        container=container,
        labels=labels,
        owner=owner,
        rules=rules,
        port=port,
        undecided=undecided,
        assumed=assumed,
    )


def _wanted_port(
    container: Container, labels: UpstreamLabels, *, prefix: str
) -> tuple[int | None, SkipError | None, Notice | None]:
    """Return the container's own port that is wanted, or why nothing says which, and whether it was assumed."""
    if labels.port is not None:
        return labels.port, None, None
    exposed = container.exposed
    if len(exposed) == 1:
        return exposed[0], None, None
    ports = ", ".join(map(str, exposed[:MAX_NAMED]))
    if labels.assumed_port is not None:
        took = f"took {labels.assumed_port}; VIRTUAL_PORT says which one is meant"
        detail = f"it exposes {ports or 'no TCP port'}: {took}"
        return labels.assumed_port, None, Notice(kind=NoticeKind.PORT_ASSUMED, detail=detail)
    if not exposed:
        return None, SkipError(Reason.NO_PORT, _unknown_port_words(container, prefix=prefix)), None
    return None, SkipError(Reason.SEVERAL_PORTS, f"it exposes {ports}: add the label {prefix}.port"), None


def _unknown_port_words(container: Container, *, prefix: str) -> str:
    if container.task is None:
        return f"it exposes no TCP port: add the label {prefix}.port"
    cure = f"docker service update --label-add {prefix}.port=80 {excerpt(container.task.service)}"
    return f"no Swarm says what a task's image exposes: the label {prefix}.port does: {cure}"


def _checked_owner(container: Container, owner: Container | None) -> Container:
    """
    Return whose network a container uses, as long as that network is alive.

    An owner that was started anew got a new network namespace; what was attached to it stays in the old, dead one
    until it is restarted itself (facts, stream 16).
    """
    if owner is None or (owner is not container and not owner.status.is_up):
        name = owner.name if owner else "removed"
        raise SkipError(Reason.OWNER_GONE, f"the container whose network it uses ({name}) is not up")
    if owner.started_ns > container.started_ns > 0:
        raise SkipError(Reason.OWNER_GONE, f"{owner.name}, whose network it uses, was restarted: restart this too")
    return owner


def place_of(owner: Container, *, rules: Rules) -> str:
    """Return where a container runs, in words."""
    if owner.task is not None and owner.task.node:
        return f"node {excerpt(owner.task.node)}"
    name = excerpt(owner.engine.name)
    return f"engine {name}" if name and (rules.several_engines or rules.nginx_engine is None) else "its engine"

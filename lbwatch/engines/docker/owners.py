"""Which containers have their network used by others, and so matter although they ask for nothing. Pure."""

from collections.abc import Iterable, Mapping

from lbwatch.core.model import Container
from lbwatch.core.placement import age, network_owner
from lbwatch.engines.docker.fields import is_container_id
from lbwatch.engines.docker.scope import Scope


class NetworkOwners:
    """
    The containers whose network others use: followed although they ask for nothing themselves.

    When one of them dies its user is unreachable, and `die` is the only event there will be (facts, stream 4).

    Attributes:
        ids: Their ids.
    """

    def __init__(self, scope: Scope) -> None:
        self.ids: set[str] = set()
        self._scope = scope
        self._names: set[str] = set()  # what their users call them: by id, or by name where that is all

    def concern(self, container: Container | None) -> bool:
        """Return whether a container uses another's network, or may be one whose network is used."""
        return container is not None and bool(container.network_of or container.name in self._names)

    def update(self, containers: Mapping[str, Container]) -> tuple[str, ...]:
        """Return the ids of those that were none before, of all *containers*, by id."""
        self._names = {each.network_of for each in containers.values() if each.network_of}
        before, self.ids = self.ids, self.among(containers.values(), known=containers)
        return tuple(sorted(self.ids - before))

    def among(self, containers: Iterable[Container], *, known: Mapping[str, Container]) -> set[str]:
        """Return the ids of those whose network one of *containers* uses; an id need not be *known* for that."""
        users = [container for container in containers if container.network_of and self._scope.asks(container)]
        if not users:
            return set()
        # By name all at once: thousands may wait for one that is gone.
        named = {each.name: each for each in sorted(known.values(), key=age)}.get
        owners = (network_owner(user, containers=known, named=named) for user in users)
        found = {owner.id for owner in owners if owner is not None}
        return found | {user.network_of for user in users if user.network_of and is_container_id(user.network_of)}

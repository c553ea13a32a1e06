"""The networks of the fake engine: names, ids and address ranges; no events and no containers."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Network

from lbwatch.engines.fake.model import ConflictError, ForbiddenError, InvalidError, Network, NotFoundError

_FIXED = {"bridge": "bridge", "host": "host", "none": "null"}  # name: driver


class Networks:
    """
    All networks, by name.

    Args:
        new_id: Makes an id.
        clock_ns: The engine's clock, in nanoseconds since the epoch.
    """

    def __init__(self, *, new_id: Callable[[], str], clock_ns: Callable[[], int]) -> None:
        self._by_name: dict[str, Network] = {}
        self._new_id = new_id
        self._clock_ns = clock_ns
        for name, driver in _FIXED.items():
            self._add(name, driver=driver, ipv4=driver == "bridge", ipv6=False)

    def __iter__(self) -> Iterator[Network]:
        return iter(list(self._by_name.values()))

    def find(self, ref: str) -> Network:
        """
        Find a network by name, id, or unique beginning of an id.

        Raises:
            NotFoundError: There is none, or there are several.
        """
        if found := self._by_name.get(ref):
            return found
        matches = [network for network in self._by_name.values() if ref and network.id.startswith(ref)]
        if len(matches) != 1:
            raise NotFoundError(f"network {ref} not found")
        return matches[0]

    def name_of(self, ref: str) -> str:
        """Turn an id into its name; what is not there stays as it is, to be noticed later."""
        try:
            return self.find(ref).name
        except NotFoundError:
            return ref

    def create(self, name: str, *, ipv4: bool, ipv6: bool) -> Network:
        """Create a network of the bridge driver."""
        if not name:
            raise InvalidError("invalid network name")
        if name in self._by_name:
            raise ConflictError(f"network with name {name} already exists")
        return self._add(name, driver="bridge", ipv4=ipv4, ipv6=ipv6)

    def remove(self, network: Network) -> None:
        """Forget a network; its range is given out again."""
        if network.name in _FIXED:
            raise ForbiddenError(f"{network.name} is a pre-defined network and cannot be removed")
        del self._by_name[network.name]

    def renew_bridge(self) -> Network:
        """Give the default bridge another id, as each restart of the engine does."""
        bridge = self._by_name["bridge"]
        bridge.id, bridge.created_ns = self._new_id(), self._clock_ns()
        return bridge

    def _add(self, name: str, *, driver: str, ipv4: bool, ipv6: bool) -> Network:
        subnet = self._free_subnet() if driver == "bridge" else -1
        network = Network(
            id=self._new_id(),
            name=name,
            driver=driver,
            created_ns=self._clock_ns(),
            subnet=subnet,
            ipv4=IPv4Network(_ipv4_range(subnet)) if ipv4 else None,
            ipv6=IPv6Network(f"fd00:0:0:{subnet + 1:x}::/64") if ipv6 else None,
        )
        self._by_name[name] = network
        return network

    def _free_subnet(self) -> int:
        taken = {network.subnet for network in self._by_name.values()}
        return next(number for number in range(256) if number not in taken)


def _ipv4_range(subnet: int) -> str:
    """Number the ranges 172.17 to 172.31, then 10.15 and on."""
    return f"172.{17 + subnet}.0.0/16" if subnet < 15 else f"10.{subnet}.0.0/16"

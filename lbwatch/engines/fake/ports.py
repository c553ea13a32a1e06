"""Which ports of its machine the fake engine publishes a container's at; no HTTP, and nothing is bound."""

from lbwatch.engines.fake.state import ANYWHERE, Binding, Container, FailedError, InvalidError, State

FIRST_EPHEMERAL, LAST_EPHEMERAL = 32_768, 60_999
"""Linux' own range, from which an engine takes a port where the user names none."""


class HostPorts:
    """
    The ports of one engine's machine.

    Args:
        state: Has the containers that some of them are given to.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._next = FIRST_EPHEMERAL

    def publish(self, container: Container) -> None:
        """
        Give a container that is about to start, or is reached by another network now, the ports that it asks for.

        Where it leaves the number to the engine that is the next one: another at each start, as with real engines,
        until all were given once.

        Raises:
            FailedError: One of them is another container's.
        """
        container.bindings = ()
        others = [each for other in self._state.containers.values() for each in other.bindings]
        for wanted in container.publish:
            port = wanted.host_port or self._ephemeral({each.host_port for each in others})
            given = Binding(port=wanted.port, address=wanted.address or ANYWHERE, host_port=port)
            if any(_collide(given, other) for other in others):
                raise FailedError(
                    f"driver failed programming external connectivity on endpoint {container.name}: "
                    f"Bind for {given.address}:{port} failed: port is already allocated"
                )
            others.append(given)
        container.bindings = tuple(others[len(others) - len(container.publish) :])

    def _ephemeral(self, taken: set[int]) -> int:
        while True:
            port, self._next = self._next, self._next + 1
            if self._next > LAST_EPHEMERAL:
                self._next = FIRST_EPHEMERAL
            if port not in taken:
                return port


def _collide(one: Binding, other: Binding) -> bool:
    is_same_address = one.address == other.address or ANYWHERE in (one.address, other.address)
    is_same_protocol = one.port.partition("/")[2] == other.port.partition("/")[2]
    return is_same_address and is_same_protocol and one.host_port == other.host_port


def binding(text: str) -> Binding:
    """
    Return what `docker run --publish` takes: `80`, `8080:80`, `127.0.0.1:8080:80` or `127.0.0.1::80`, with `/udp`.

    Raises:
        InvalidError: It takes no such text.
    """
    place, _, protocol = text.partition("/")
    rest, _, port = place.rpartition(":")
    address, _, host_port = rest.rpartition(":")
    if not port.isdecimal() or not (host_port or "0").isdecimal():
        raise InvalidError(f"invalid port specification: {text}")
    return Binding(port=f"{port}/{protocol or 'tcp'}", address=address.strip("[]"), host_port=int(host_port or 0))

"""Published ports, followed by events alone: the lists of these engines lag, and no resync comes."""

from sources import INSPECT, WEB, Follow, container, is_running, quiet
from waiting import eventually

from lbwatch.engines.docker.source import DockerSource
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.ports import FIRST_EPHEMERAL


def ports(source: DockerSource, name: str) -> list[int]:
    found = container(source, name)
    return [] if found is None else [each.host_port for each in found.published]


async def test_a_port_of_the_engines_choice_is_followed_through_restarts(engine: FakeEngine, follow: Follow) -> None:
    """Requests to the port of before would reach nobody, or another container."""
    async with follow() as source:
        engine.containers.run(name="web-1", labels=WEB, publish=("80",))
        for number in range(4):
            expected = [FIRST_EPHEMERAL + number]
            await eventually(lambda expected=expected: ports(source, "web-1") == expected, what=f"port {expected}")
            engine.containers.restart("web-1")
        engine.containers.stop("web-1")
        await eventually(lambda: not is_running(source, "web-1"))
        assert ports(source, "web-1") == []


async def test_a_port_that_changes_by_a_network_is_followed_too(engine: FakeEngine, follow: Follow) -> None:
    """The container is not started anew, and nothing but the network's event tells it (facts, stream 26)."""
    engine.networks.create("aaa")
    engine.containers.run(name="web-1", labels=WEB, publish=("80", "8443:443"))
    async with follow() as source:
        await eventually(lambda: ports(source, "web-1") == [FIRST_EPHEMERAL, 8443])
        engine.networks.connect("web-1", "aaa")
        await eventually(lambda: ports(source, "web-1") == [FIRST_EPHEMERAL + 1, 8443])
        engine.networks.disconnect("web-1", "aaa")
        await eventually(lambda: ports(source, "web-1") == [FIRST_EPHEMERAL + 2, 8443])


async def test_the_owner_of_a_network_is_followed_for_its_ports(engine: FakeEngine, follow: Follow) -> None:
    """They are its users' ports, though it asks for nothing itself."""
    engine.containers.run(name="vpn", publish=("80",))
    engine.containers.run(name="side", labels=WEB, network_mode="container:vpn")
    async with follow() as source:
        await eventually(lambda: ports(source, "vpn") == [FIRST_EPHEMERAL], what="the owner is followed")
        engine.networks.create("aaa")
        engine.networks.connect("vpn", "aaa")
        await eventually(lambda: ports(source, "vpn") == [FIRST_EPHEMERAL + 1])


async def test_what_asks_for_nothing_costs_nothing_for_its_ports(engine: FakeEngine, follow: Follow) -> None:
    """Law 4: a busy machine's other containers are not looked at, whatever they publish."""
    engine.containers.run(name="job", labels={}, publish=("80",))
    async with follow() as source:
        await quiet(engine)
        before = engine.requests[INSPECT]
        for _ in range(3):
            engine.containers.restart("job")
        engine.containers.run(name="web-1", labels=WEB)
        await eventually(lambda: is_running(source, "web-1"))
        assert engine.requests[INSPECT] - before <= 3, "those of web-1: create, connect, start"

"""What happens by itself: restart policies, and networks that are somebody else's."""

import pytest
from fakeclient import UP, Docker, networks_of, words

from lbwatch.engines.fake import FakeEngine


async def test_a_restart_policy_brings_back_what_was_killed_from_the_host(engine: FakeEngine, docker: Docker) -> None:
    # No kill and no stop: whoever waits for them keeps a dead address for the time between.
    container = engine.containers.run(restart="always")
    async with docker.listen() as stream:
        engine.containers.die(container)
        events = await stream.take(4)
    assert words(events) == ["die", "network disconnect", "network connect", "start"]
    assert (await docker.inspect(container))["RestartCount"] == 1


async def test_on_failure_counts_its_retries_and_lets_a_clean_exit_be(engine: FakeEngine) -> None:
    # Else a container that finished its work would serve again.
    containers = engine.containers
    clean, failing = containers.run(restart="on-failure"), containers.run(restart="on-failure:1")
    containers.die(clean, code=0)
    containers.die(failing)
    assert [containers.find(c).running for c in (clean, failing)] == [False, True]
    containers.die(failing)
    assert not containers.find(failing).running


async def test_a_container_in_anothers_network_makes_no_network_events(engine: FakeEngine, docker: Docker) -> None:
    # `die` is the only sign there will ever be (facts, stream 4).
    engine.containers.run(name="owner")
    async with docker.listen() as stream:
        guest = engine.containers.run(name="guest", network_mode="container:owner")
        engine.containers.die(guest)
        assert words(await stream.take(3)) == ["create", "start", "die"]
    answer = await docker.inspect(guest)
    owner = (await docker.inspect("owner"))["Id"]
    assert (answer["HostConfig"]["NetworkMode"], networks_of(answer)) == (f"container:{owner}", {})


@pytest.mark.parametrize(("mode", "driver"), [("host", "host"), ("none", "null")])
async def test_host_and_none_are_networks_with_events_and_without_addresses(
    mode: str, driver: str, engine: FakeEngine, docker: Docker
) -> None:
    # Their network events look as if an address had come.
    async with docker.listen() as stream:
        container = engine.containers.run(network_mode=mode)
        events = await stream.take(3)
    assert words(events) == UP
    assert events[1]["Actor"]["Attributes"] == {"container": container, "name": mode, "type": driver}
    assert networks_of(await docker.inspect(container))[mode]["IPAddress"] == ""

"""The engine comes and goes."""

from typing import Any

import aiohttp
import pytest
from fakeclient import FOREVER_S, Docker, words

from lbwatch.engines.fake import FakeEngine


async def test_streams_can_be_cut_cleanly_and_taken_up_again(engine: FakeEngine, docker: Docker) -> None:
    # A socket proxy does so every ten minutes: it is no error (facts, stream 8).
    async with docker.listen() as first, docker.listen() as second:
        engine.cut_streams()
        assert (await first.rest(), await second.rest()) == ([], [])
    async with docker.listen() as stream:
        engine.containers.create()
        assert words([await stream.next()]) == ["create"]


async def test_streams_can_be_broken_in_the_middle_of_an_answer(engine: FakeEngine, docker: Docker) -> None:
    # So does a proxy with an idle limit of its own; whoever takes that for an outage warns of it for ever.
    async with docker.listen() as stream:
        engine.cut_streams(cleanly=False)
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.rest()
    async with docker.listen() as stream:
        engine.containers.create()
        assert words([await stream.next()]) == ["create"]


async def test_an_engine_that_was_restarted_has_forgotten_what_probes_found(engine: FakeEngine, docker: Docker) -> None:
    # Under live-restore it says `starting` of each with a check, until the next probe, which is a change then.
    container, plain = engine.containers.run(health="healthy"), engine.containers.run(name="plain")
    engine.containers.set_health(container, "healthy")
    started = (await docker.inspect(container))["State"]["StartedAt"]
    await engine.go_down("live")
    await engine.come_back(forgets_health=True)
    state = (await docker.inspect(container))["State"]
    assert (state["Health"]["Status"], state["StartedAt"]) == ("starting", started)
    assert "Health" not in (await docker.inspect(plain))["State"]
    async with docker.listen() as stream:
        engine.containers.set_health(container, "healthy")
        assert words([await stream.next()]) == ["health_status: healthy"]
    assert (await docker.inspect(container))["State"]["Health"]["Status"] == "healthy"


@pytest.mark.parametrize(("containers", "status"), [("live", "running"), ("end", "exited")])
async def test_an_engine_that_went_down_comes_back_on_its_socket(
    containers: Any, status: str, engine: FakeEngine, docker: Docker
) -> None:
    # What ended meanwhile was heard by nobody, and the default bridge has another id (facts, stream 6 and 7).
    engine.containers.run(name="web", restart="always")
    bridge = (await docker.ask("GET", "/networks/bridge"))[1]["Id"]
    async with docker.listen() as stream:
        await engine.go_down(containers)
        with pytest.raises(aiohttp.ClientPayloadError):  # no end, a break
            await stream.rest()
    assert not engine.socket.exists()
    with pytest.raises(aiohttp.ClientConnectorError):
        await docker.ask("GET", "/_ping")
    await engine.come_back()
    assert await docker.past() == []
    assert (await docker.listed())["web"]["State"] == status
    assert (await docker.ask("GET", "/networks/bridge"))[1]["Id"] != bridge
    async with docker.listen() as stream:
        engine.containers.create()
        assert words([await stream.next()]) == ["create"]


async def test_a_death_while_the_engine_is_down_is_found_afterwards(engine: FakeEngine, docker: Docker) -> None:
    # Under live-restore no event tells of it, and no policy acts meanwhile; the list is fresh after the boot.
    container = engine.containers.run(name="web", restart="always")
    engine.replica.lag_s = FOREVER_S
    await engine.go_down()
    engine.containers.die(container)
    await engine.come_back()
    assert (await docker.listed())["web"]["State"] == "exited"
    assert await docker.past() == []

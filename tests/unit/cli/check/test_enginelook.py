"""What each engine is asked once, and that one which is away costs no other its look."""

from pathlib import Path

import pytest
from usersettings import settings_with

from lbwatch.cli.check.enginelook import asks_swarm, connected, engine_looks
from lbwatch.core.errors import SettingsError
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import respond_with
from lbwatch.engines.fake.swarm.swarm import FakeSwarm


async def test_looks_stand_in_the_order_of_the_setting_and_one_that_is_away_has_its_error(
    engine: FakeEngine, tmp_path: Path
) -> None:
    """Which line is about which engine is a matter of order, whoever answered first."""
    engine.containers.run(name="web-1")
    away, there = await engine_looks(settings_with(docker_host=(f"a=unix://{tmp_path}/none", f"b={engine.url}")))
    assert (away.name, away.ping, away.containers) == ("a", None, frozenset())
    assert away.error is not None
    assert (there.name, there.error, len(there.containers)) == ("b", None, 1)


async def test_who_keeps_to_himself_who_he_is_is_looked_at_all_the_same(engine: FakeEngine) -> None:
    """A proxy need not allow `GET /info`."""
    engine.fault = lambda request: respond_with("no", status=403) if request == "GET /info" else None
    settings = settings_with(docker_host=engine.url)
    (look,) = await engine_looks(settings)
    assert (look.error, look.info, asks_swarm(look, settings=settings)) == (None, None, False)


async def test_a_manager_that_answers_everything_is_asked_for_nothing_twice(engine: FakeEngine) -> None:
    """A list of 10,000 tasks costs a manager half a second: only whether an answer comes is asked."""
    async with FakeSwarm() as swarm:
        swarm.add_node("m", manager=True, engine=engine)
        settings = settings_with(docker_host=engine.url)
        (look,) = await engine_looks(settings)
        assert (look.swarm_error, asks_swarm(look, settings=settings)) == (None, True)
        assert asks_swarm(look, settings=settings_with(docker_host=engine.url, swarm="off")) is False
        assert {engine.requests[f"GET /{each}"] for each in ("services", "tasks", "nodes")} == {1}


async def test_what_is_asked_of_nginx_goes_to_its_own_engine(engine: FakeEngine, tmp_path: Path) -> None:
    """The first one has no container of nginx's where `nginx_engine` says another."""
    hosts = (f"a=unix://{tmp_path}/none", f"b={engine.url}")
    async with connected(settings_with(docker_host=hosts, nginx_engine="b")) as client:
        await client.ping()
    with pytest.raises(SettingsError, match="nginx_engine"):
        async with connected(settings_with(docker_host=hosts, nginx_engine="c")):
            pass

"""Containers that ask by their environment, on a real engine: what is known of them when, and what that costs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from faultproxy import FaultProxy
from needs import ENGINE_NEEDS, need
from realengine import IMAGE, RealEngine
from sources import INSPECT, container, is_in, is_running
from waiting import eventually

from lbwatch.core.model import ContainerStatus, Engine
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.source import DockerSource

HOST, SECRET = ("--env", "VIRTUAL_HOST=foo.tld"), ("--env", "PASSWORD=s3cret")
JOBS = 10
SOON_S = 1.0


@pytest.fixture(autouse=True)
def _needed() -> None:
    need(*ENGINE_NEEDS)


@asynccontextmanager
async def following(url: str) -> AsyncIterator[DockerSource]:
    client = EngineClient(engine_address(url, environ={}))
    source = DockerSource(
        client,
        engine=Engine(name="engine"),
        prefix="lbwatch",
        expose_all=False,
        variables=frozenset(("VIRTUAL_HOST",)),
        resync_interval_s=300.0,
        drain_timeout_s=60.0,
        random=lambda: 0.5,
    )
    task = asyncio.create_task(source.run(lambda *, heard_at=None: None))
    try:
        await eventually(source.snapshot, what="the first full look")
        yield source
    finally:
        task.cancel()
        await asyncio.wait([task])
        await client.close()


async def docker(engine: RealEngine, *words: str) -> str:
    return await asyncio.to_thread(engine.docker, *words)


def networks_of(source: DockerSource, name: str) -> list[str]:
    found = container(source, name)
    return [] if found is None else [each.network for each in found.endpoints if each.ipv4]


async def test_it_is_followed_from_its_start_to_its_end_by_events_alone(engine: RealEngine) -> None:
    """Within a second each: no label of ours says in any event that it matters."""
    await docker(engine, "network", "create", "front")
    async with following(engine.url) as source:
        id = await asyncio.to_thread(lambda: engine.run("app", *HOST, *SECRET, deaf=True))
        await eventually(lambda: is_running(source, "app"), within=SOON_S)
        found = container(source, "app")
        assert found is not None
        assert found.env == (("VIRTUAL_HOST", "foo.tld"),)
        assert "s3cret" not in repr(source.snapshot())
        await docker(engine, "network", "connect", "front", "app")
        await eventually(lambda: networks_of(source, "app") == ["bridge", "front"], within=SOON_S)
        await docker(engine, "network", "disconnect", "front", "app")
        await eventually(lambda: networks_of(source, "app") == ["bridge"], within=SOON_S)
        stopping = asyncio.create_task(docker(engine, "stop", "--time", "3", "app"))
        await eventually(lambda: (now := source.snapshot()) and id in now.stopping, what="it drains")
        assert not stopping.done(), "it drains while it still runs"
        await stopping
        await eventually(lambda: is_in(source, "app", ContainerStatus.EXITED), within=SOON_S)
        await docker(engine, "start", "app")
        await eventually(lambda: is_running(source, "app"), within=SOON_S)
        await docker(engine, "rm", "--force", "app")
        await eventually(lambda: container(source, "app") is None, within=SOON_S)


async def test_what_asks_for_nothing_costs_one_look_at_each_start(
    engine: RealEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted by a proxy before the engine, through all of their lives."""
    with FaultProxy(engine.socket, tmp_path / "front.sock") as proxy:
        async with following(proxy.url) as source:
            await asyncio.to_thread(lambda: engine.run("first", *HOST))  # behind what the engine has to say of before
            await eventually(lambda: is_running(source, "first"))
            before = proxy.asked[INSPECT]
            for number in range(JOBS):
                await docker(engine, "run", "--detach", "--name", f"job-{number}", *SECRET, IMAGE)
                await docker(engine, "exec", f"job-{number}", "busybox", "true")
                await docker(engine, "kill", "--signal", "HUP", f"job-{number}")
                await docker(engine, "rm", "--force", f"job-{number}")
            await asyncio.to_thread(lambda: engine.run("app", *HOST))  # its events come last
            await eventually(lambda: is_running(source, "app"))
            cost = proxy.asked[INSPECT] - before
            assert not any(f"job-{number}" in repr(source.snapshot()) for number in range(JOBS))
    with capsys.disabled():
        print(f"\n{JOBS} containers that ask for nothing and one that has a host cost {cost} looks")
    assert JOBS <= cost <= JOBS + 3


async def test_the_gateway_of_a_network_is_the_engines_host_there(engine: RealEngine) -> None:
    """As `docker network inspect` has it; a container without an environment that asks is in a list like any other."""
    await docker(engine, "network", "create", "front")
    async with following(engine.url) as source:
        await asyncio.to_thread(lambda: engine.run("app", "--network", "front", *HOST))
        await eventually(lambda: is_running(source, "app"), within=SOON_S)
        found = container(source, "app")
        assert found is not None
        shown = await docker(engine, "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "front")
        assert [each.gateway for each in found.endpoints] == [shown]

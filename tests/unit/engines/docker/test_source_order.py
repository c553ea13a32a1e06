"""In which order servers come and go when containers replace each other, on the fake engine in simulated time."""

import asyncio
import random
import re
from pathlib import Path

import pytest
from simulation import blocks_of, following, in_simulated_time

from lbwatch.engines.docker.client import EngineClient, Ping
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.responses import container_event

WEB = {"lbwatch.upstream": "web"}
UPSTREAMS = ("web", "api", "shop")
_ADDRESS = re.compile(r"server ([0-9.]+):80")


def addresses(text: str) -> dict[str, list[str]]:
    """Each upstream's servers."""
    return {name: _ADDRESS.findall(body) for name, body in blocks_of(text).items()}


def address_of(engine: FakeEngine, id: str) -> str:
    return engine.containers.find(id).endpoints["bridge"].ipv4


@pytest.mark.parametrize("told", ["everything", "no death"])
def test_an_address_that_is_given_out_again_is_at_no_upstream_but_its_own(told: str, tmp_path: Path) -> None:
    """Requests of one site would reach another one's container. The death may be lost; the newer start is not."""

    async def churn() -> None:
        dice = random.Random(7)
        async with following(tmp_path, reload_interval=1.0, resync_interval=600.0) as (engine, nginx):
            if told == "no death":
                engine.lose_events(lambda event: event["Action"] in ("die", "kill", "stop", "disconnect"))
            ids = {engine.containers.run(labels={"lbwatch.upstream": name}): name for name in UPSTREAMS * 2}
            given_again = 0
            for _ in range(60):
                await asyncio.sleep(dice.choice([0.0, 0.3, 1.5]))
                dying = dice.sample(list(ids), 2)
                suspended = {address_of(engine, id): ids[id] for id in dying}
                for id in dying:
                    engine.containers.die(id)
                for id in dice.sample(dying, 2):
                    engine.containers.start(id)
                    await asyncio.sleep(dice.choice([0.0, 0.02]))
                given_again += any(suspended[address_of(engine, id)] != ids[id] for id in dying)
                await asyncio.sleep(0.2)
                owners = {address_of(engine, id): name for id, name in ids.items()}
                for name, found in addresses(nginx.runs or "").items():
                    assert all(owners[address] == name for address in found), (owners, nginx.runs)
            assert given_again > 10
            for text in nginx.accepted:
                everyone = [address for found in addresses(text).values() for address in found]
                assert len(everyone) == len(set(everyone)), text

    in_simulated_time(churn())


def test_whatever_comes_together_goes_out_together(tmp_path: Path) -> None:
    """A death and a start in one moment: without waiting for both looks, the second half waits for an interval."""

    async def swap() -> None:
        async with following(tmp_path, reload_interval=30.0) as (engine, nginx):
            old = [engine.containers.run(labels=WEB) for _ in range(3)]
            await asyncio.sleep(40.0)
            before = len(nginx.reloads)
            for id in old:
                engine.containers.remove(id, force=True)
                engine.containers.run(labels=WEB, exposed=("81/tcp",))
            await asyncio.sleep(1.0)
            assert len(nginx.reloads) == before + 1
            assert (nginx.runs or "").count(":81;") == 3

    in_simulated_time(swap())


def test_one_look_that_hangs_holds_up_what_others_found_for_no_time_to_speak_of(tmp_path: Path) -> None:
    """One bad container must not hurt the others (moby#46782)."""

    async def hang() -> None:
        async with following(tmp_path, reload_interval=0.1) as (engine, nginx):
            hung = engine.containers.run(labels=WEB)
            dying = engine.containers.run(labels=WEB)
            await asyncio.sleep(5.0)
            engine.inspect_delay_s[hung] = 100.0
            engine.containers.update(hung)
            await asyncio.sleep(0.5)
            engine.containers.die(dying)
            await asyncio.sleep(0.2)
            assert len(addresses(nginx.runs or "")["web"]) == 1

    in_simulated_time(hang())


def test_a_replacement_that_becomes_healthy_takes_over_in_one_reload(tmp_path: Path) -> None:
    """Until then the one that was told to stop serves on; at no instant is there nobody."""

    async def replace() -> None:
        async with following(tmp_path, reload_interval=0.1) as (engine, nginx):
            old = engine.containers.run(labels=WEB)
            await asyncio.sleep(1.0)
            new = engine.containers.run(labels=WEB, health="starting")
            engine.containers.send_stop_signal(old)
            await asyncio.sleep(5.0)
            assert addresses(nginx.runs or "") == {"web": [address_of(engine, old)]}
            before = len(nginx.reloads)
            engine.containers.set_health(new, "healthy")
            await asyncio.sleep(1.0)
            assert addresses(nginx.runs or "") == {"web": [address_of(engine, new)]}
            assert len(nginx.reloads) == before + 1
            engine.containers.stop(old)
            await asyncio.sleep(1.0)
            assert len(nginx.reloads) == before + 1, "its death is no news"

    in_simulated_time(replace())


@pytest.mark.parametrize(("podman", "is_seen"), [("4.3.1", True), ("4.9.4", True), ("5.4.2", False), (None, False)])
def test_a_probe_that_podman_4_tells_of_before_it_is_known_is_seen(
    podman: str | None, is_seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ill container got requests until its next probe, once in four times. Others tell of what is known."""
    ping = EngineClient.ping

    async def podman_ping(client: EngineClient) -> Ping:
        found = await ping(client)
        client.podman = podman
        return found

    monkeypatch.setattr(EngineClient, "ping", podman_ping)

    async def tell() -> None:
        async with following(tmp_path, reload_interval=0.1, resync_interval=600.0) as (engine, nginx):
            ill, well = (engine.containers.run(labels=WEB, health="healthy") for _ in range(2))
            await asyncio.sleep(5.0)
            container = engine.containers.find(ill)
            now_ns = engine.state.clock_ns()
            engine.events.publish(container_event(container, "health_status", now_ns=now_ns, attributes={}))
            await asyncio.sleep(0.1)
            engine.lose_events(lambda event: True)
            engine.containers.set_health(ill, "unhealthy")
            await asyncio.sleep(5.0)
            served = addresses(nginx.runs or "")["web"]
            assert served == (
                [address_of(engine, well)] if is_seen else sorted(address_of(engine, id) for id in (ill, well))
            )

    in_simulated_time(tell())


def test_a_health_that_is_told_again_and_again_costs_no_reload(tmp_path: Path) -> None:
    """Podman tells it at every probe."""

    async def tell() -> None:
        async with following(tmp_path, reload_interval=0.1) as (engine, nginx):
            id = engine.containers.run(labels=WEB, health="healthy")
            await asyncio.sleep(5.0)
            reloads, looks = len(nginx.reloads), engine.requests["GET /containers/ID/json"]
            for _ in range(100):
                container = engine.containers.find(id)
                now_ns = engine.state.clock_ns()
                engine.events.publish(
                    container_event(container, "health_status: healthy", now_ns=now_ns, attributes={})
                )
                await asyncio.sleep(0.5)
            assert len(nginx.reloads) == reloads
            assert engine.requests["GET /containers/ID/json"] <= looks + 101
            assert len(addresses(nginx.runs or "")["web"]) == 1

    in_simulated_time(tell())


def test_addresses_are_read_out_of_every_upstream() -> None:
    """The helper above must see what it is there for."""
    text = "upstream a {\n    server 10.0.0.1:80;\n}\nupstream b {\n    server 10.0.0.1:80;\n}\n"
    assert addresses(text) == {"a": ["10.0.0.1"], "b": ["10.0.0.1"]}

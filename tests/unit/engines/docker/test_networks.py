"""The drivers of networks: asked for only where an address hangs on them, and never a reason to wait or to fail."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from sources import WEB, Follow, container, is_running, quiet
from strategies import container as made
from waiting import eventually

from lbwatch.core.errors import SourceError
from lbwatch.core.model import Container, ContainerStatus, Endpoint
from lbwatch.engines.docker.networks import MAX_NETWORKS, NetworkDrivers, drivers_of_list, names_of_list
from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.faults import respond_with

NETWORKS = "GET /networks"
BOTH = (Endpoint(network="alan", network_id="a1"), Endpoint(network="zbridge", network_id="b2"))


class Asked:
    """Answers with drivers, or with an error where there are none."""

    def __init__(self, drivers: Mapping[str, str] | None) -> None:
        self.drivers = drivers
        self.times = 0

    async def __call__(self) -> Mapping[str, str]:
        self.times += 1
        await asyncio.sleep(0)
        if self.drivers is None:
            raise SourceError("403")
        return self.drivers


def found_in(container: Container) -> dict[str, str]:
    return {endpoint.network: endpoint.driver for endpoint in container.endpoints}


# -- the answer


def test_the_drivers_are_read_and_the_mesh_is_known_whatever_its_name() -> None:
    """`docker network create --ingress my-mesh` is allowed."""
    body = json.dumps(
        [
            {"Name": "alan", "Id": "a1", "Driver": "macvlan", "Ingress": False, "Labels": None},
            {"Name": "my-mesh", "Id": "m3", "Driver": "overlay", "Ingress": True},
        ]
    )
    assert drivers_of_list(body.encode()) == {"a1": "macvlan", "m3": "ingress"}
    assert names_of_list(body.encode()) == {"alan", "my-mesh"}
    assert drivers_of_list(b"null") == {}


PODMAN = {
    "Name": "bridge",
    "Id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
    "Driver": "bridge",
}


def test_podman_s_own_network_has_both_of_its_names() -> None:
    """Inspect, and Podman's own commands, call it `podman`, this list `bridge`; Podman 4 has that name for an id too."""
    body = json.dumps([PODMAN, {"Name": "front", "Id": "f" * 64, "Driver": "macvlan"}]).encode()
    assert names_of_list(body) == {"bridge", "podman", "front"}
    drivers = drivers_of_list(body, by_podman=True)
    assert [drivers[id] for id in (PODMAN["Id"], "podman", "front", "f" * 64)] == [
        "bridge",
        "bridge",
        "macvlan",
        "macvlan",
    ]


def test_a_network_of_docker_s_by_that_name_is_any_other() -> None:
    """Nobody else has that id."""
    body = json.dumps([{"Name": "bridge", "Id": "b" * 64}, {"Name": "podman", "Id": "c" * 64}]).encode()
    assert names_of_list(body) == {"bridge", "podman"}
    assert names_of_list(json.dumps([{"Name": "bridge", "Id": "b" * 64}]).encode()) == {"bridge"}


async def test_a_driver_that_is_known_by_name_is_asked_for_again() -> None:
    """Podman 4 has names for ids, and a network that is made anew may be of another kind."""
    asked = Asked({"front": "bridge", "podman": "bridge", "f" * 64: "bridge"})
    drivers = NetworkDrivers(asked)
    by_name = made(endpoints=tuple(Endpoint(network=each, network_id=each) for each in ("front", "podman")))
    by_id = made(endpoints=tuple(Endpoint(network=each, network_id="f" * 64) for each in ("front", "podman")))
    await drivers.completed(by_name)
    asked.drivers = {"front": "macvlan", "podman": "bridge", "f" * 64: "bridge"}
    assert found_in(await drivers.completed(by_name))["front"] == "bridge"
    drivers.forget_failures()
    assert found_in(await drivers.completed(by_id))["front"] == "bridge"
    assert asked.times == 1, "an id is never another network's"
    assert found_in(await drivers.completed(by_name))["front"] == "macvlan"
    drivers.forget_failures()
    asked.drivers = None
    assert found_in(await drivers.completed(by_name))["front"] == "macvlan", "a failed answer takes nothing away"
    assert asked.times == 3


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'[{"Id": 5}]', b"<html>", b"\xff", b"[" * 100_000])
def test_any_other_answer_is_an_error(body: bytes) -> None:
    """A proxy's page is no list without networks."""
    with pytest.raises(SourceError):
        drivers_of_list(body)


def test_no_more_networks_are_kept_than_an_engine_has() -> None:
    """Whatever comes from outside has a bound."""
    body = json.dumps([{"Id": f"{number:064x}", "Driver": "bridge"} for number in range(MAX_NETWORKS + 5)])
    assert len(drivers_of_list(body.encode())) == MAX_NETWORKS


# -- when it is asked


@pytest.mark.parametrize(
    ("facts", "times"),
    [
        ({"endpoints": BOTH}, 1),
        ({"endpoints": BOTH[:1]}, 0),
        ({"endpoints": ()}, 0),
        ({"endpoints": BOTH, "status": ContainerStatus.EXITED}, 0),
        ({"endpoints": BOTH, "status": ContainerStatus.PAUSED}, 1),  # another may share its network, and serve
        ({"endpoints": BOTH[:1], "labels": {"com.docker.swarm.task.id": "t1"}}, 1),
    ],
)
async def test_only_where_there_is_a_choice(facts: dict[str, Any], times: int) -> None:
    """One event costs one request, but for the first container on a network that was never seen before."""
    ask = Asked({"a1": "macvlan", "b2": "bridge"})
    drivers = NetworkDrivers(ask)
    for _ in range(3):
        await drivers.completed(made(**facts))
    assert ask.times == times


async def test_of_one_of_several_engines_every_network_matters() -> None:
    """Of an engine that nginx is not on an overlay's address alone is reached, also by a container on no other."""
    ask = Asked({"a1": "overlay", "b2": "bridge"})
    drivers = NetworkDrivers(ask, always=True)
    (network,) = found_in(await drivers.completed(made(endpoints=BOTH[:1]))).values()
    assert (network, ask.times) == ("overlay", 1)
    await drivers.completed(made(endpoints=BOTH[:1]))
    await drivers.completed(made(endpoints=BOTH[:1], status=ContainerStatus.EXITED))
    await drivers.completed(made(endpoints=()))
    assert ask.times == 1


async def test_many_at_once_ask_once() -> None:
    """A start of lbwatch looks at thousands."""
    ask = Asked({"a1": "macvlan", "b2": "bridge"})
    drivers = NetworkDrivers(ask)
    found = await asyncio.gather(*(drivers.completed(made(f"c{number}", endpoints=BOTH)) for number in range(8)))
    assert ask.times == 1
    assert [found_in(each) for each in found] == [{"alan": "macvlan", "zbridge": "bridge"}] * 8


@pytest.mark.parametrize("answer", [None, {}, {"a1": "macvlan"}])
async def test_what_cannot_be_had_is_not_asked_for_until_the_next_list(answer: dict[str, str] | None) -> None:
    """A proxy that refuses would else be asked at each event."""
    ask = Asked(answer)
    drivers = NetworkDrivers(ask)
    for _ in range(3):
        assert found_in(await drivers.completed(made(endpoints=BOTH)))["zbridge"] == ""
    assert ask.times == 1
    drivers.forget_failures()
    ask.drivers = {"a1": "macvlan", "b2": "bridge"}
    assert found_in(await drivers.completed(made(endpoints=BOTH))) == {"alan": "macvlan", "zbridge": "bridge"}


async def test_what_is_known_outlives_a_failure() -> None:
    """Else a slow engine would have addresses change to and fro."""
    ask = Asked({"a1": "macvlan", "b2": "bridge"})
    drivers = NetworkDrivers(ask)
    await drivers.completed(made(endpoints=BOTH))
    ask.drivers = None
    new = Endpoint(network="new", network_id="n9")
    found = await drivers.completed(made(endpoints=(*BOTH, new)))
    assert found_in(found) == {"alan": "macvlan", "zbridge": "bridge", "new": ""}


# -- on an engine


async def test_a_source_tells_the_drivers_and_asks_for_them_once(engine: FakeEngine, follow: Follow) -> None:
    """Also of a network that was made a moment ago."""
    engine.networks.create("alan")
    engine.networks.find("alan").driver = "macvlan"
    async with follow() as source:
        await quiet(engine)
        for name in ("web-1", "web-2"):
            engine.containers.run(name=name, labels=WEB, networks=("alan", "bridge"))
            await eventually(lambda name=name: is_running(source, name))
            found = container(source, name)
            assert found is not None
            assert found_in(found) == {"alan": "macvlan", "bridge": "bridge"}
        assert engine.requests[NETWORKS] == 1
        engine.containers.run(name="web-3", labels=WEB, networks=("alan",))
        await eventually(lambda: is_running(source, "web-3"))
        assert engine.requests[NETWORKS] == 1


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_proxy_that_refuses_is_no_trouble(engine: FakeEngine, follow: Follow, status: int) -> None:
    """The shipped one lets four requests through, and this is none of them."""
    engine.networks.create("front")
    engine.fault = lambda request: respond_with("no", status=status) if request == NETWORKS else None
    async with follow() as source:
        engine.containers.run(name="web-1", labels=WEB, networks=("front", "bridge"))
        await eventually(lambda: is_running(source, "web-1"))
        found = container(source, "web-1")
        assert found is not None
        assert found_in(found) == {"front": "", "bridge": ""}
        assert source.status().error is None
        engine.fault = lambda request: None
        source.resync()
        await eventually(lambda: "bridge" in found_in(container(source, "web-1") or made()).values())
        assert source.status().drift == 0

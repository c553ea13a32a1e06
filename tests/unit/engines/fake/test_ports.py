"""Published ports, as a real engine gives them: fixed ones, and others at each start."""

from typing import Any

import pytest
from fakeclient import Docker

from lbwatch.engines.fake import FakeEngine
from lbwatch.engines.fake.ports import FIRST_EPHEMERAL, LAST_EPHEMERAL, binding
from lbwatch.engines.fake.state import Binding, FailedError, InvalidError


async def ports(docker: Docker, name: str) -> Any:
    return (await docker.inspect(name))["NetworkSettings"]["Ports"]


async def test_a_port_of_the_engines_choice_is_another_at_each_start(engine: FakeEngine, docker: Docker) -> None:
    """Whoever keeps the old one sends requests to nobody, or to another container."""
    engine.containers.run(name="web", exposed=("80/tcp", "443/tcp"), publish=("80",))
    seen = []
    for _ in range(3):
        everywhere, everywhere_6 = (await ports(docker, "web"))["80/tcp"]
        assert (everywhere["HostIp"], everywhere_6["HostIp"]) == ("0.0.0.0", "::")
        assert everywhere["HostPort"] == everywhere_6["HostPort"]
        seen.append(int(everywhere["HostPort"]))
        engine.containers.restart("web")
    assert seen == [FIRST_EPHEMERAL, FIRST_EPHEMERAL + 1, FIRST_EPHEMERAL + 2]
    assert (await ports(docker, "web"))["443/tcp"] is None, "exposed alone"
    engine.containers.stop("web")
    assert await ports(docker, "web") == {}


async def test_a_port_changes_also_when_another_network_leads_out(engine: FakeEngine, docker: Docker) -> None:
    """The first by name does; a real engine tells it by the event of the network alone."""
    for name in ("aaa", "other"):
        engine.networks.create(name)
    engine.containers.run(name="web", publish=("80",))

    async def port() -> int:
        return int((await ports(docker, "web"))["80/tcp"][0]["HostPort"])

    assert await port() == FIRST_EPHEMERAL
    engine.networks.connect("web", "other")
    assert await port() == FIRST_EPHEMERAL
    engine.networks.connect("web", "aaa")
    assert await port() == FIRST_EPHEMERAL + 1
    engine.networks.disconnect("web", "aaa")
    assert await port() == FIRST_EPHEMERAL + 2
    engine.networks.disconnect("web", "bridge")
    assert await port() == FIRST_EPHEMERAL + 3
    engine.networks.disconnect("web", "other")
    assert (await ports(docker, "web"))["80/tcp"] is None


async def test_a_port_that_the_user_chose_stays(engine: FakeEngine, docker: Docker) -> None:
    """It is bound where it was asked for."""
    engine.containers.run(name="web", exposed=(), publish=("127.0.0.1:9001:80", "5353:53/udp"))
    expected = {
        "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "5353"}, {"HostIp": "::", "HostPort": "5353"}],
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9001"}],
    }
    assert await ports(docker, "web") == expected
    engine.containers.restart("web")
    assert await ports(docker, "web") == expected
    _, (entry,) = await docker.ask("GET", "/containers/json")
    assert {"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 9001, "Type": "tcp"} in entry["Ports"]


@pytest.mark.parametrize(
    ("first", "second"), [("80:80", "80:80"), ("127.0.0.1:80:80", "80:81"), ("80:1", "10.0.0.1:80:2")]
)
async def test_no_two_containers_have_one_port(first: str, second: str, engine: FakeEngine) -> None:
    """The second start fails, as with a real engine."""
    engine.containers.run(name="one", publish=(first,))
    with pytest.raises(FailedError, match="port is already allocated"):
        engine.containers.run(name="two", publish=(second,))
    engine.containers.stop("one")
    assert engine.containers.start("two")


async def test_one_port_may_be_bound_to_two_addresses(engine: FakeEngine) -> None:
    """That is no conflict, nor is one that is TCP's and UDP's."""
    engine.containers.run(name="one", publish=("127.0.0.1:80:80",))
    engine.containers.run(name="two", publish=("127.0.0.2:80:80", "80:80/udp"))


async def test_after_the_last_port_the_first_one_comes_again(engine: FakeEngine) -> None:
    """There are 28,232 of them."""
    engine.containers.run(name="web", publish=("80",))
    for _ in range(LAST_EPHEMERAL - FIRST_EPHEMERAL + 1):
        engine.containers.restart("web")
    (found,) = engine.containers.find("web").bindings
    assert found.host_port == FIRST_EPHEMERAL


@pytest.mark.parametrize("network_mode", ["host", "none", "container:owner"])
async def test_without_a_network_of_its_own_nothing_is_published(network_mode: str, engine: FakeEngine) -> None:
    """Docker warns at the command line, and drops it."""
    engine.containers.run(name="owner")
    engine.containers.run(name="web", network_mode=network_mode, publish=("80",))
    assert engine.containers.find("web").bindings == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("80", Binding(port="80/tcp")),
        ("8080:80", Binding(port="80/tcp", host_port=8080)),
        ("53:53/udp", Binding(port="53/udp", host_port=53)),
        ("127.0.0.1::80", Binding(port="80/tcp", address="127.0.0.1")),
        ("[::1]:8080:80", Binding(port="80/tcp", address="::1", host_port=8080)),
    ],
)
def test_a_port_is_read_as_docker_run_takes_it(text: str, found: Binding) -> None:
    """Tests and the demo say it as a user would."""
    assert binding(text) == found


@pytest.mark.parametrize("text", ["", "http", "80:http", "x:80"])
def test_what_is_no_port_is_refused(text: str) -> None:
    """As `docker run` refuses it."""
    with pytest.raises(InvalidError):
        binding(text)


async def test_the_api_takes_bindings(engine: FakeEngine, docker: Docker) -> None:
    """Whoever drives it by HTTP publishes as well."""
    config = {"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "443/tcp": None}}}
    status, answer = await docker.ask("POST", "/containers/create", body={"Image": "app"} | config, name="web")
    assert status == 201, answer
    await docker.ask("POST", "/containers/web/start")
    assert (await ports(docker, "web"))["80/tcp"][0] == {"HostIp": "0.0.0.0", "HostPort": "8080"}

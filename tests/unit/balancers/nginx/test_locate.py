"""Which container nginx runs in, and what it reaches from there."""

from dataclasses import replace

import pytest
from nginxcontainer import BACK, FRONT, NGINX, OTHER, KnownContainers
from strategies import container
from usersettings import settings_with

from lbwatch.core.errors import ReloadError
from lbwatch.core.model import Container, ContainerStatus, Endpoint
from lbwatch.core.plan import Rules
from lbwatch.engines.docker.address import engine_address
from lbwatch.engines.docker.client import EngineClient
from lbwatch.settings import Settings
from lbwatch.wiring.access import NginxAccess


def rules_of(settings: Settings, *containers: Container) -> Rules:
    client = EngineClient(engine_address("unix:///none", environ={}))  # never asked
    access = NginxAccess(settings, client=client, known=lambda: {each.id: each for each in containers})
    return access.rules(engine_pid=None, host_shared=False)


def test_networks_are_those_of_the_latest_that_ran() -> None:
    """While it is down nothing changes for the containers that it reaches: it comes back to them."""
    known = KnownContainers()
    nginx = known.nginx_container()
    assert nginx.networks() == ()
    known.set()
    assert nginx.networks() == ()
    known.set(NGINX)
    assert nginx.networks() == ("front",)
    for status in (ContainerStatus.EXITED, ContainerStatus.RESTARTING, ContainerStatus.PAUSED, ContainerStatus.CREATED):
        known.set(replace(NGINX, status=status, endpoints=()))
        assert nginx.networks() == ("front",)
    known.set()
    assert nginx.networks() == ("front",)
    known.set(replace(NGINX, id=OTHER, endpoints=(*BACK, *FRONT)))
    assert nginx.networks() == ("back", "front")


def test_the_gateway_is_that_of_the_first_network_that_has_one() -> None:
    """There are the programs on the host's own network; from an internal network nothing leads there."""
    inside = Endpoint(network="a", ipv4="10.0.1.2")
    outside = Endpoint(network="b", ipv4="10.0.2.2", gateway="10.0.2.1")
    six = Endpoint(network="c", ipv6="fd00::2", gateway="fd00:0::1")
    known = KnownContainers()
    nginx = known.nginx_container()
    assert nginx.gateway() == ""
    known.set(replace(NGINX, endpoints=(inside, outside, six)))
    assert nginx.gateway() == "10.0.2.1"
    known.set(replace(NGINX, status=ContainerStatus.EXITED, endpoints=(replace(outside, ipv4="", gateway=""),)))
    assert nginx.gateway() == "10.0.2.1", "while it is down nothing changes"
    known.set(replace(NGINX, endpoints=(inside, six)))
    assert nginx.gateway() == "fd00::1"
    known.set(replace(NGINX, endpoints=(inside,)))
    assert nginx.gateway() == ""
    known.set(replace(NGINX, endpoints=(), host_network=True))
    assert nginx.gateway() == "", "programs of the host's are at its own loopback then"


@pytest.mark.parametrize("gateway", ["127.0.0.1", "169.254.169.254", "10.0.0.1; }", "fe80::1%eth0", "0.0.0.0", "::"])
def test_what_can_be_no_gateway_is_none(gateway: str) -> None:
    """It goes into nginx's file as the address of a server, and whoever answers for the engine may say anything."""
    known = KnownContainers(replace(NGINX, endpoints=(Endpoint(network="a", ipv4="10.0.1.2", gateway=gateway),)))
    assert known.nginx_container().gateway() == ""


def test_rules_know_the_gateway_of_nginxs_container() -> None:
    """What decides of a container with `--network host` looks at no engine."""
    nginx = replace(NGINX, endpoints=(Endpoint(network="a", ipv4="10.0.1.2", gateway="10.0.1.1"),))
    assert rules_of(settings_with(nginx_container="nginx"), nginx).gateway == "10.0.1.1"
    assert rules_of(settings_with(), nginx).gateway == ""


def test_one_that_never_ran_is_believed_of_its_networks() -> None:
    """It may need its upstreams to start, and those are on the networks that it will be on."""
    known = KnownContainers(replace(NGINX, status=ContainerStatus.RESTARTING))
    assert known.nginx_container().networks() == ("front",)


def test_one_in_anothers_network_reaches_what_that_one_does() -> None:
    """Its own list of networks is empty, which means all where it is taken for an answer."""
    gate = container("gate", id=OTHER, endpoints=BACK)
    known = KnownContainers(gate, replace(NGINX, endpoints=(), network_of=OTHER))
    nginx = known.nginx_container()
    assert nginx.networks() == ("back",)
    known.set(replace(NGINX, endpoints=(), network_of=OTHER))
    assert nginx.networks() == ("back",), "the gate is gone, and with it nginx reaches no more than before"


@pytest.mark.parametrize("by_gate", [False, True])
def test_one_on_the_hosts_network_reaches_all_and_the_hosts_own(by_gate: bool) -> None:
    """Directly, or in the network of one that is."""
    gate = container("gate", id=OTHER, host_network=True, endpoints=())
    nginx = replace(NGINX, endpoints=(), **({"network_of": OTHER} if by_gate else {"host_network": True}))
    told = settings_with(nginx_container="nginx")
    found = rules_of(told, gate, nginx)
    assert (found.networks, found.host_shared) == ((), True)


def test_what_is_set_comes_before_what_is_found() -> None:
    """The user knows of routes that the engine does not."""
    told = settings_with(nginx_container="nginx", networks=("back",), host_network="true")
    found = rules_of(told, NGINX)
    assert (found.networks, found.host_shared) == (("back",), True)


def test_one_that_is_not_there_or_does_not_run_is_told_apart() -> None:
    """One is to be started, the other to be named rightly, and before the engine was read it is neither."""
    known = KnownContainers()
    nginx = known.nginx_container("label=role=edge")
    with pytest.raises(ReloadError, match="was not read yet"):
        nginx.container()
    known.set(NGINX)
    with pytest.raises(ReloadError, match="no container with label role=edge"):
        nginx.container()
    known.set(replace(NGINX, labels=(("role", "edge"),), status=ContainerStatus.EXITED))
    assert nginx.container().name == "nginx"
    with pytest.raises(ReloadError, match="container nginx is exited"):
        nginx.running()


def test_only_containers_that_run_are_one_too_many() -> None:
    """The old one of a recreated pair is often still there, stopped."""
    second = container("second", id=OTHER, endpoints=FRONT, started_ns=2)
    edge = (("role", "edge"),)
    known = KnownContainers(replace(NGINX, labels=edge), replace(second, labels=edge, status=ContainerStatus.EXITED))
    nginx = known.nginx_container("label=role=edge")
    assert nginx.remark() is None
    known.set(replace(NGINX, labels=edge), replace(second, labels=edge))
    assert "only second, the newest, is reloaded" in (nginx.remark() or "")


def test_between_two_networks_it_reaches_what_it_did() -> None:
    """No network at all would mean each of them."""
    known = KnownContainers(NGINX)
    nginx = known.nginx_container()
    before = nginx.networks()
    assert before
    known.set(replace(NGINX, endpoints=()))
    assert nginx.networks() == before

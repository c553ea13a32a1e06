"""By which of its networks a container's server is reached: the choice, the guess, the verdicts, and what to do."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import container, decide, notices, on, reasons_of, rules, servers_of, unrouted
from worlds import any_world, joined

from lbwatch.core.model import Container, Endpoint, Plan, bracketed
from lbwatch.core.networks import USED, weighed
from lbwatch.core.placement import Placement, network_owner, placement_of
from lbwatch.core.reach import weighed_networks
from lbwatch.core.reach.target import HOST_ADDRESS
from lbwatch.core.rules import Rules

COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
ENABLED = {"lbwatch.enable": "true"}
BACK = Endpoint(network="back", ipv4="172.19.0.2")
FRONT = Endpoint(network="front", ipv4="172.18.0.2")
SHOP = Endpoint(network="shop_inner", ipv4="172.20.0.2")
INGRESS = Endpoint(network="ingress", ipv4="10.0.0.4")
NONE = Endpoint(network="none")
MACVLAN = Endpoint(network="alan", ipv4="10.77.0.2", driver="macvlan")
IPVLAN = Endpoint(network="aip", ipv4="10.78.0.2", driver="ipvlan")
OVERLAY = Endpoint(network="ov", ipv4="10.0.1.2", driver="overlay")
BRIDGE = Endpoint(network="zbridge", ipv4="172.21.0.2", driver="bridge")


def alone(container: Container, *, rules: Rules) -> Placement:
    """Return what is decided of a container that is alone on its engine."""
    owner = network_owner(container, containers={container.id: container})
    return placement_of(container, owner=owner, rules=rules)


@given(any_world, rules)
def test_the_network_that_is_called_taken_is_the_one_that_the_server_is_on(world: Any, rules_: Rules) -> None:
    """`explain` shows both: a verdict on another network would send the container's owner astray."""
    for each in world:
        for candidate in alone(each, rules=rules_).candidates:
            verdicts = weighed_networks(each, candidate.labels, owner=each, rules=rules_)
            assert [endpoint for endpoint, _ in verdicts] == [*each.endpoints]
            taken = [endpoint for endpoint, verdict in verdicts if verdict.startswith(USED)]
            assert len(taken) <= 1
            if candidate.server is not None and candidate.server.address != HOST_ADDRESS:
                without_others = alone(replace(each, endpoints=tuple(taken)), rules=rules_)
                assert candidate.server in [again.server for again in without_others.candidates]


# -- network


def addresses_of(plan: Plan) -> list[str]:
    return [server.address for _, server in servers_of(plan)]


PODMAN = Endpoint(network="podman", ipv4="10.88.0.2", alias="bridge")


@pytest.mark.parametrize("name", ["podman", "bridge"])
def test_podman_s_own_network_is_known_by_both_of_its_names(name: str) -> None:
    """Its own commands call it `podman`, and `docker network ls` on the same engine calls it `bridge`."""
    by_setting = decide(container("web", endpoints=(BACK, PODMAN)), networks=(name,))
    by_label = decide(container("web", endpoints=(BACK, PODMAN), labels=ENABLED | {"lbwatch.network": name}))
    assert addresses_of(by_setting) == addresses_of(by_label) == ["10.88.0.2"]
    ((_, back), (_, podman)) = weighed(container(endpoints=(BACK, PODMAN)), None, networks=(name,))
    assert (back, podman) == (f"nginx reaches {name} only", USED)
    ((_, back), (_, podman)) = weighed(container(endpoints=(BACK, PODMAN)), None, networks=("back", name))
    assert (back, podman) == (USED, "back comes first")


def test_a_network_that_really_has_the_name_comes_before_one_that_is_called_so() -> None:
    """Somebody may have made one."""
    bridge = Endpoint(network="bridge", ipv4="10.1.0.2")
    plan = decide(container("web", endpoints=(bridge, PODMAN)), networks=("bridge",))
    assert addresses_of(plan) == ["10.1.0.2"]


def test_podman_s_own_network_is_as_likely_as_docker_s() -> None:
    """It is a bridge, whether or not a proxy keeps the drivers to itself."""
    assert addresses_of(decide(container("web", endpoints=(BACK, PODMAN)))) == ["10.88.0.2"]


def place(*endpoints: Endpoint, labels: dict[str, str] | None = None, networks: tuple[str, ...] = ()) -> str:
    """Return the one address, or the one reason, of a container on these networks."""
    plan = decide(container(labels=ENABLED | (labels or {}), endpoints=on(*endpoints)), networks=networks)
    places = [bracketed(server.address) for _, server in servers_of(plan)]
    (found,) = places or reasons_of(plan, "web")
    return found


def test_the_label_chooses_the_network() -> None:
    """Before any setting, since the container's owner knows best."""
    assert place(BACK, FRONT, labels={"lbwatch.network": "front"}) == "172.18.0.2"
    assert place(BACK, FRONT, labels={"lbwatch.network": "front"}, networks=("back",)) == "172.18.0.2"


def test_the_label_may_use_the_compose_files_short_name() -> None:
    """In the Compose file the network is `inner`; the engine knows it as `shop_inner`."""
    assert place(FRONT, SHOP, labels=COMPOSE | {"lbwatch.network": "inner"}) == "172.20.0.2"
    assert place(FRONT, SHOP, labels={"lbwatch.network": "inner"}) == "no-network"
    assert place(FRONT, SHOP, labels=COMPOSE | {"lbwatch.network": "shop_inner"}) == "172.20.0.2"


def test_a_networks_own_name_comes_before_a_short_one() -> None:
    """Where both exist, the name means what it says."""
    inner = Endpoint(network="inner", ipv4="172.21.0.2")
    assert place(inner, SHOP, labels=COMPOSE | {"lbwatch.network": "inner"}) == "172.21.0.2"


def test_a_network_that_the_label_names_and_the_container_lacks_is_a_reason() -> None:
    """Another network's address would be an address that its owner ruled out."""
    assert place(FRONT, labels={"lbwatch.network": "vpn"}) == "no-network"


def test_settings_networks_are_tried_in_their_order() -> None:
    """The first of them that the container is on: nginx reaches no other."""
    assert place(BACK, FRONT, networks=("vpn", "front", "back")) == "172.18.0.2"
    assert place(BACK, FRONT, networks=("back", "front")) == "172.19.0.2"
    assert place(BACK, networks=("vpn", "front")) == "no-network"


def test_the_reason_names_the_networks_of_both_sides() -> None:
    """Whoever reads it has to connect one to the other."""
    for labels, networks in (({"lbwatch.network": "vpn"}, ()), ({}, ("vpn", "office"))):
        (skip,) = unrouted(decide(container(labels=ENABLED | labels, endpoints=(FRONT,)), networks=networks))
        for word in ("front", "vpn", *networks):
            assert word in skip.detail
    assert skip.detail.endswith(f"docker network connect vpn {skip.container}"), "the first that nginx prefers"


def test_without_settings_the_first_network_by_name_counts() -> None:
    """A choice that any engine's answer gives again."""
    assert place(BACK, FRONT) == "172.19.0.2"
    assert place() == "no-network"


@pytest.mark.parametrize(
    ("endpoints", "taken"),
    [
        ((MACVLAN, BRIDGE), BRIDGE),
        ((IPVLAN, BRIDGE), BRIDGE),
        ((OVERLAY, BRIDGE), BRIDGE),
        ((MACVLAN, OVERLAY), OVERLAY),
        ((IPVLAN, FRONT), FRONT),  # whatever it is, it is likelier
        ((MACVLAN, IPVLAN), IPVLAN),  # by name, where none is likelier
        ((BACK, Endpoint(network="bridge", ipv4="172.17.0.2")), Endpoint(network="bridge", ipv4="172.17.0.2")),
        ((replace(BRIDGE, ipv4=""), OVERLAY), OVERLAY),  # one without an address serves nobody
        ((MACVLAN,), MACVLAN),  # nginx may be on it too
    ],
)
def test_without_settings_the_likeliest_network_counts(endpoints: tuple[Endpoint, ...], taken: Endpoint) -> None:
    """An nginx on the host reaches bridges; what has a link of its own it never does, by the kernel's design."""
    assert place(*endpoints) == taken.ipv4


def test_what_is_set_or_named_counts_whatever_the_driver() -> None:
    """Whoever names a macvlan network has an nginx on it."""
    assert place(MACVLAN, BRIDGE, networks=("alan", "zbridge")) == MACVLAN.ipv4
    assert place(MACVLAN, BRIDGE, labels={"lbwatch.network": "alan"}) == MACVLAN.ipv4


@pytest.mark.parametrize(
    ("networks", "labels"),
    [((), {}), (("ingress", "ov"), {}), (("ov", "ingress"), {}), ((), {"lbwatch.network": "ov"})],
)
def test_the_network_of_the_swarms_mesh_is_never_taken(networks: tuple[str, ...], labels: dict[str, str]) -> None:
    """Its addresses are reached by the mesh alone, though nginx's own container may be on it as well."""
    assert place(INGRESS, OVERLAY, networks=networks, labels=labels) == OVERLAY.ipv4
    other = Endpoint(network="a-mesh", ipv4="10.0.3.4", driver="ingress")
    assert place(other, OVERLAY, networks=networks, labels=labels) == OVERLAY.ipv4


@pytest.mark.parametrize(
    ("endpoints", "networks", "labels", "words"),
    [
        ((INGRESS,), (), {}, "docker service update --network-add NETWORK SERVICE"),
        ((INGRESS,), ("ingress",), {}, "only on ingress"),
        ((INGRESS,), ("ov",), {"com.docker.swarm.service.name": "shop"}, "--network-add ov shop"),
        ((INGRESS, OVERLAY), (), {"lbwatch.network": "ingress"}, "it is on ov too, name that"),
        ((NONE,), (), {}, "docker network disconnect none web, then docker network connect NETWORK web"),
        ((NONE,), ("front", "back"), {}, "docker network disconnect none web, then docker network connect front web"),
        ((NONE,), (), {"lbwatch.network": "vpn"}, "then docker network connect vpn web"),
        ((), (), {}, "it is on no network: docker network connect NETWORK web"),
        ((), ("front",), {}, "docker network connect front web"),
    ],
)
def test_one_that_no_network_helps_reads_what_to_do(
    endpoints: tuple[Endpoint, ...], networks: tuple[str, ...], labels: dict[str, str], words: str
) -> None:
    """To wait, or to restart it, as it was told before, changes nothing for ever."""
    (skip,) = unrouted(decide(container(labels=ENABLED | labels, endpoints=endpoints), networks=networks))
    assert skip.reason == "no-network"
    assert words in (skip.detail or "")


def guesses(*containers: Container, **rules: Any) -> dict[str, str]:
    return {
        each.container: each.detail for each in notices(decide(*containers, **rules)) if each.kind == "network-guessed"
    }


def test_a_choice_that_nothing_settles_is_noticed() -> None:
    """A 502 for ever, with all lights green, is what a wrong guess looks like."""
    web = container(endpoints=on(MACVLAN, BRIDGE, OVERLAY))
    assert guesses(web) == {
        "web": "it is on alan, ov, zbridge, and zbridge was taken as the one that nginx reaches: the setting networks, or "
        "the label lbwatch.network, ends the guess"
    }
    assert list(guesses(web, joined(web))) == ["side", "web"], "it is true of who uses that network too"


@pytest.mark.parametrize(
    ("endpoints", "labels", "networks"),
    [
        ((BRIDGE,), {}, ()),
        ((BRIDGE, INGRESS), {}, ()),
        ((BRIDGE, replace(MACVLAN, ipv4="")), {}, ()),
        ((MACVLAN, BRIDGE), {"lbwatch.network": "zbridge"}, ()),
        ((MACVLAN, BRIDGE), {}, ("zbridge",)),
        ((MACVLAN, BRIDGE), {"lbwatch.enable": "false"}, ()),
    ],
)
def test_where_there_is_no_choice_nothing_is_noticed(
    endpoints: tuple[Endpoint, ...], labels: dict[str, str], networks: tuple[str, ...]
) -> None:
    """A warning that is there for everyone is read by nobody."""
    assert not guesses(container(labels=ENABLED | labels, endpoints=on(*endpoints)), networks=networks)
    host = container(labels=ENABLED, endpoints=(Endpoint(network="host"),), host_network=True)
    assert not guesses(host, host_shared=True)


def test_ipv4_comes_before_ipv6() -> None:
    """A network with both gives the address that every nginx reaches."""
    assert place(Endpoint(network="front", ipv4="172.18.0.2", ipv6="fd00::2")) == "172.18.0.2"


def test_an_ipv6_only_network_gives_an_address_in_brackets() -> None:
    """Without them nginx would read the last part as the port."""
    assert place(Endpoint(network="front", ipv6="fd00::2")) == "[fd00::2]"
    assert place(Endpoint(network="front", ipv6="FD00:0:0::0002")) == "[fd00::2]"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "::", "fe80::1", "ff02::1",
     "fe80::1%eth0", "fd00::1%eth0", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "172.18.0.2/16", "172.18.0.2:80",
     "web", "172.18.0.2; }", "unix:/run/x", "172.18.0.02"],
)  # fmt: skip
def test_an_address_where_no_container_can_be_is_a_reason(address: str) -> None:
    """An engine that says so is broken or hostile; nginx must not ask the host's own services or the cloud's."""
    assert place(Endpoint(network="front", ipv4=address)) == "bad-address"
    assert place(Endpoint(network="front", ipv6=address)) == "bad-address"


def test_a_network_without_an_address_is_a_reason() -> None:
    """It is on the network but has nothing there yet."""
    assert place(Endpoint(network="front")) == "no-address"


# -- verdicts


@pytest.mark.parametrize(
    ("wanted", "networks", "verdicts"),
    [
        (None, (), ["used: a guess", "back comes first"]),
        ("front", (), ["the label asks for front", "used"]),
        ("vpn", (), ["the label asks for vpn", "the label asks for vpn"]),
        (None, ("front",), ["nginx reaches front only", "used"]),
        (None, ("front", "back"), ["front comes first", "used"]),
        (None, ("vpn", "office"), ["nginx reaches vpn, office only", "nginx reaches vpn, office only"]),
    ],
)
def test_each_network_has_its_verdict(wanted: str | None, networks: tuple[str, ...], verdicts: list[str]) -> None:
    """A container on two networks whose server is reached by the wrong one is what `explain` is asked about most."""
    owner = container(endpoints=on(BACK, FRONT))
    assert weighed(owner, wanted, networks=networks) == [*zip((BACK, FRONT), verdicts, strict=True)]


def test_a_network_without_an_address_is_taken_only_where_no_other_has_one() -> None:
    """One that the engine is just connecting must not hide one that works."""
    empty = Endpoint(network="back")
    assert weighed(container(endpoints=on(empty, FRONT)), None, networks=()) == [
        (empty, "front comes first"),
        (FRONT, "used"),
    ]
    assert weighed(container(endpoints=(empty,)), None, networks=()) == [(empty, "used, but it has no address there")]


def test_the_verdicts_say_why_a_network_comes_last_or_never() -> None:
    """Who looks for a server that is not reached wants to know what was weighed."""
    owner = container(endpoints=on(INGRESS, MACVLAN, BRIDGE))
    assert {each.network: verdict for each, verdict in weighed(owner, None, networks=())} == {
        "alan": "macvlan, which its own host cannot reach, comes last",
        "ingress": "only the Swarm's mesh reaches it",
        "zbridge": "used: a guess",
    }
    assert weighed(container(endpoints=(NONE,)), None, networks=()) == [(NONE, "no server can be there")]


def test_another_id_of_a_network_is_no_change() -> None:
    """The engine's own bridge gets a new one at each of its restarts, and nothing may be reloaded for that."""
    assert replace(FRONT, network_id="a" * 64) == replace(FRONT, network_id="b" * 64)
    assert replace(FRONT, driver="bridge") != FRONT


@given(st.permutations([MACVLAN, IPVLAN, OVERLAY, BRIDGE, INGRESS, NONE, FRONT]))
def test_the_choice_does_not_hang_on_the_order(endpoints: list[Endpoint]) -> None:
    """The same world, the same bytes."""
    assert [server.address for _, server in servers_of(decide(container(endpoints=tuple(endpoints))))] == [BRIDGE.ipv4]

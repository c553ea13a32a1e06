"""Where nginx reaches a container: each rule, which comes first, what is said of the others, and who claims what."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from severalengines import (
    BRIDGE,
    ELSEWHERE,
    FRONT,
    MACVLAN,
    MESH,
    MESHED,
    NEAR,
    ON_FRONT,
    OVERLAY,
    P80,
    SWARM,
    VIRTUAL,
    A,
    B,
    of,
    on_a,
    on_b,
    place,
    task,
)
from strategies import container, lines_of, notices, on, planned, reasons_of, servers_of, snapshot, unrouted
from worlds import joined

from lbwatch.core.model import Container, Plan, Published, Task
from lbwatch.core.networks import USED, SkipError
from lbwatch.core.placement import placement_of
from lbwatch.core.reach import reached, weighed_networks, weighed_ways
from lbwatch.core.rules import Rules
from lbwatch.core.wishes import Reach, UpstreamLabels

# -- the rules, in their order


@pytest.mark.parametrize(
    ("web", "rules", "found"),
    [
        # nginx on the same engine's machine: its bridge, or the networks that are named, as ever.
        (on_a(BRIDGE), NEAR, "172.17.0.2:80"),
        (on_a(BRIDGE, published=(P80,)), NEAR, "172.17.0.2:80"),
        (on_a(BRIDGE, FRONT), ON_FRONT, "172.18.0.2:80"),
        # On none of nginx's networks: what its machine publishes.
        (on_a(BRIDGE, published=(P80,)), replace(NEAR, networks=("front",)), "127.0.0.1:32770"),
        (on_a(BRIDGE, published=(P80,)), replace(ON_FRONT, addresses={"a": "10.1.0.1"}), "10.1.0.1:32770"),
        # Another engine: never its bridge, also where the address is one of nginx's own engine's.
        (on_b(BRIDGE, published=(P80,)), NEAR, "10.1.0.2:32770"),
        (on_b(BRIDGE, FRONT, published=(P80,)), ON_FRONT, "10.1.0.2:32770"),
        # An overlay is one network on all engines.
        (on_b(OVERLAY, published=(P80,)), ON_FRONT, "10.0.1.2:80"),
        (task(OVERLAY, MESH), ON_FRONT, "10.0.1.2:80"),
        (task(OVERLAY, MESH, published=(P80,)), NEAR, "10.1.0.7:32770"),
        (task(OVERLAY, MESH, published=(P80,)), replace(NEAR, networks=("ingress",)), "10.1.0.7:32770"),
        # nginx on none of the engines: published ports, or an overlay that somebody names.
        (on_a(BRIDGE, published=(P80,)), ELSEWHERE, "10.1.0.1:32770"),
        (on_b(OVERLAY, published=(P80,)), ELSEWHERE, "10.1.0.2:32770"),
        (on_b(OVERLAY), replace(ELSEWHERE, networks=("ov",)), "10.0.1.2:80"),
        (on_a(FRONT, published=(P80,)), replace(ELSEWHERE, networks=("front",)), "10.1.0.1:32770"),
        # On the host's network.
        (on_a(host_network=True), NEAR, "127.0.0.1:80"),
        (on_b(host_network=True), NEAR, "10.1.0.2:80"),
        (on_a(host_network=True), ELSEWHERE, "10.1.0.1:80"),
        (task(host_network=True), ELSEWHERE, "10.1.0.7:80"),
    ],
)  # fmt: skip
def test_the_first_rule_that_holds_gives_the_place(web: Container, rules: Rules, found: str) -> None:
    """A wrong one is a server that answers nobody, or that is another's."""
    assert place(web, rules) == found


@pytest.mark.parametrize(
    ("web", "rules", "labels", "found"),
    [
        (on_b(BRIDGE), NEAR, {"address": "192.0.2.7"}, "192.0.2.7:80"),
        (on_a(BRIDGE), NEAR, {"address": "192.0.2.7", "reach": Reach.PORT, "port": 81}, "192.0.2.7:81"),
        (on_a(host_network=True), NEAR, {"address": "192.0.2.7"}, "192.0.2.7:80"),
        (on_a(BRIDGE, published=(P80,)), NEAR, {"reach": Reach.PORT}, "127.0.0.1:32770"),
        (on_a(host_network=True), NEAR, {"reach": Reach.PORT}, "127.0.0.1:80"),
        (on_b(MACVLAN, published=(P80,)), NEAR, {"reach": Reach.NETWORK}, "10.77.0.9:80"),
        (on_b(BRIDGE, MACVLAN), replace(NEAR, networks=("lan",)), {"reach": Reach.NETWORK}, "10.77.0.9:80"),
        (on_b(BRIDGE, MACVLAN), NEAR, {"reach": Reach.NETWORK, "network": "lan"}, "10.77.0.9:80"),
        (on_b(BRIDGE, OVERLAY), NEAR, {"network": "ov"}, "10.0.1.2:80"),
        (on_b(BRIDGE, FRONT, published=(P80,)), NEAR, {"network": "front"}, "10.1.0.2:32770"),
    ],
)
def test_its_owner_has_the_last_word(web: Container, rules: Rules, labels: dict[str, Any], found: str) -> None:
    """Of routes between machines only people know."""
    assert place(web, rules, **labels) == found


def test_who_uses_anothers_network_has_its_ports_and_its_machine_too() -> None:
    """Docker publishes them for the owner, whoever of both listens."""
    vpn = replace(on_b(BRIDGE, published=(P80, Published(port=81, host_port=9081))), name="vpn")
    side = joined(vpn, engine=B)
    assert place(side, NEAR, vpn) == "10.1.0.2:9081"


# -- which published port


@pytest.mark.parametrize(
    ("published", "labels", "found"),
    [
        ((P80, Published(port=443, host_port=9443)), {}, "10.1.0.2:32770"),
        ((P80, Published(port=443, host_port=9443)), {"port": 443}, "10.1.0.2:9443"),
        ((Published(port=80, host_port=9001), Published(port=80, host_port=9000)), {}, "10.1.0.2:9000"),
        ((Published(port=80, host_address="10.77.0.2", host_port=9000),), {}, "10.77.0.2:9000"),
        ((Published(port=80, host_address="10.77.0.2", host_port=9000), P80), {}, "10.1.0.2:32770"),
        ((Published(port=80, host_address="fd00::7", host_port=9000),), {}, "fd00::7:9000"),
        ((P80, Published(port=80, host_address="::", host_port=32768)), {}, "10.1.0.2:32770"),
        ((Published(port=80, host_address="127.0.0.1", host_port=9000), P80), {}, "10.1.0.2:32770"),
        (
            (Published(port=80, protocol="udp", host_port=53), P80),
            {"listen": ((53, "udp"), (53, "tcp"))},
            "10.1.0.2:32770",
        ),
        ((Published(port=80, protocol="udp", host_port=53), P80), {"listen": ((53, "udp"),)}, "10.1.0.2:53"),
        ((Published(port=80, protocol="udp", host_port=53),), {"listen": ((53, "udp"), (53, "tcp"))}, "10.1.0.2:53"),
    ],
)
def test_of_several_bindings_the_choice_is_stable_and_reachable(
    published: tuple[Published, ...], labels: dict[str, Any], found: str
) -> None:
    """The machine's own address first, then the lowest: an answer in another order must not move the server."""
    assert place(on_b(BRIDGE, published=published), NEAR, **labels) == found
    assert place(on_b(BRIDGE, published=published[::-1]), NEAR, **labels) == found


def test_the_only_port_that_is_published_is_the_one_that_is_meant() -> None:
    """An image may expose several, of which its owner published what should be reached."""
    web = on_b(BRIDGE, exposed=(80, 443), published=(P80,))
    assert place(web, NEAR) == "10.1.0.2:32770"
    assert place(replace(web, published=()), NEAR).startswith("several-ports: ")
    both = (P80, Published(port=443, host_port=9443))
    assert place(replace(web, published=both), NEAR).startswith("several-ports: ")
    assert place(replace(web, exposed=()), NEAR) == "10.1.0.2:32770"
    assert place(replace(web, engine=A), NEAR).startswith("several-ports: "), "its own network knows no such hint"
    assert place(web, NEAR, assumed_port=8080) == "10.1.0.2:32770", "it comes before an assumption"


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (replace(NEAR, networks=("front",)), "127.0.0.1:9001"),
        (replace(ELSEWHERE, addresses={"a": "127.0.0.1"}), "127.0.0.1:9001"),
        (replace(ELSEWHERE, addresses={"a": "::1"}), "127.0.0.1:9001"),
        (ON_FRONT, "no-network"),
        (ELSEWHERE, "no-network"),
    ],
)
def test_a_port_that_is_bound_to_loopback_is_for_an_nginx_on_that_very_host(rules: Rules, found: str) -> None:
    """Anywhere else 127.0.0.1 is another machine, and perhaps another program."""
    web = on_a(BRIDGE, published=(Published(port=80, host_address="127.0.0.1", host_port=9001),))
    assert place(web, replace(rules, networks=("front",))).startswith(found)
    assert place(replace(web, engine=B), replace(rules, networks=("front",))).startswith("no-network")


def test_an_engine_on_this_machine_may_have_loopback_for_its_address() -> None:
    """Rootless Docker and Docker Desktop publish ports, and no bridge of theirs is reached."""
    rules = Rules(nginx_engine=None, addresses={"": "127.0.0.1"})
    web = container("web", endpoints=(BRIDGE,), published=(P80,))
    assert place(web, rules) == "127.0.0.1:32770"
    assert place(replace(web, published=()), rules).startswith("no-network: ")


# -- a Swarm's service


@pytest.mark.parametrize(
    ("rules", "labels", "found"),
    [
        (ON_FRONT, {}, "10.0.1.2:80"),
        (ON_FRONT, {"reach": Reach.VIP}, "10.0.1.100:80"),
        (NEAR, {"reach": Reach.VIP, "network": "ov"}, "10.0.1.100:80"),
        (NEAR, {"reach": Reach.VIP}, "10.1.0.7:30080"),
        (replace(NEAR, networks=("ingress",)), {"reach": Reach.VIP}, "10.1.0.7:30080"),
        (NEAR, {}, "no-network"),
    ],
)
def test_a_services_own_address_is_taken_only_if_it_is_asked_for(
    rules: Rules, labels: dict[str, Any], found: str
) -> None:
    """Without IPVS in the kernel it fails silently, and it hides who drains."""
    assert place(task(OVERLAY, MESH, virtual=VIRTUAL, mesh=MESHED), rules, **labels).startswith(found)


def test_without_a_virtual_address_or_mesh_port_it_is_said() -> None:
    """The label asks for what there is not."""
    without = place(task(OVERLAY, MESH, virtual=VIRTUAL), NEAR, reach=Reach.VIP)
    assert without == (
        "no-network: its service has an address on ov, the setting networks names no network of nginx's, and the mesh "
        "does not publish its port 80: publish that, or drop the label"
    )
    assert "it is no task of one" in place(on_b(BRIDGE), NEAR, reach=Reach.VIP)
    assert "--advertise-addr" in place(task(OVERLAY, mesh=MESHED, machine="0.0.0.0"), NEAR, reach=Reach.VIP)


# -- what is noticed, and what explain shows


def test_a_route_to_several_networks_is_a_guess_that_is_noticed() -> None:
    """Which of them nginx is routed to nobody has said."""
    rules = replace(NEAR, several_engines=True)
    labels = {"lbwatch.reach": "network"}
    (notice,) = notices(planned([of(B, container("web", labels=labels, endpoints=on(MACVLAN, OVERLAY)))], rules=rules))
    assert notice.kind == "network-guessed"
    assert "it is on lan, ov, and ov was taken" in notice.detail
    assert not notices(planned([of(B, container("web", labels=labels, endpoints=(MACVLAN,)))], rules=rules))


@pytest.mark.parametrize(
    ("web", "rules", "labels", "ways"),
    [
        (on_a(BRIDGE), NEAR, {}, [("network", "used: bridge")]),
        (on_a(BRIDGE, FRONT), NEAR, {}, [("network", "used: bridge, a guess")]),
        (on_b(BRIDGE), NEAR, {"address": "192.0.2.7"}, [("address", "used: 192.0.2.7:80, as its label says")]),
        (
            on_b(BRIDGE, published=(P80,)),
            NEAR,
            {},
            [
                ("network", "it is on bridge of engine b, where nginx is not"),
                ("published port", "used: 10.1.0.2:32770, where its port 80 is published"),
            ],
        ),
        (
            on_b(host_network=True),
            NEAR,
            {},
            [
                ("network", "it is on the host's network"),
                ("published port", "it is on the host's network"),
                ("host network", "used: 10.1.0.2:80, on the host's network"),
            ],
        ),
        (
            task(OVERLAY, mesh=MESHED),
            NEAR,
            {"reach": Reach.VIP},
            [("service", "used: 10.1.0.7:30080, the mesh port of service shop")],
        ),
        (on_a(BRIDGE, exposed=()), NEAR, {}, []),
    ],
)
def test_each_way_that_was_tried_has_its_verdict(
    web: Container, rules: Rules, labels: dict[str, Any], ways: list[tuple[str, str]]
) -> None:
    """Who wonders about an address wants to know which rule gave it, and why none before it did."""
    assert weighed_ways(web, UpstreamLabels(**labels), owner=web, rules=rules) == ways


@pytest.mark.parametrize(
    ("web", "rules", "labels", "verdicts"),
    [
        (on_b(BRIDGE, published=(P80,)), NEAR, {}, ["it is one of engine b, where nginx is not"]),
        (on_b(BRIDGE, OVERLAY), ON_FRONT, {}, ["ov comes first", "used"]),
        (on_a(BRIDGE, FRONT), ON_FRONT, {}, ["nginx reaches front, ov only", "used"]),
        (on_a(BRIDGE, published=(P80,)), NEAR, {"reach": Reach.PORT}, ["the label asks for port"]),
        (on_a(BRIDGE), NEAR, {"address": "192.0.2.7"}, ["the label says an address"]),
        (task(OVERLAY, published=(P80,)), NEAR, {}, ["it is one of node n1, where nginx is not"]),
    ],
)
def test_each_network_has_its_verdict(
    web: Container, rules: Rules, labels: dict[str, Any], verdicts: list[str]
) -> None:
    """A network of another engine looks the same, and is none that nginx reaches."""
    weighed = weighed_networks(web, UpstreamLabels(**labels), owner=web, rules=rules)
    assert weighed == [*zip(web.endpoints, verdicts, strict=True)]


# -- several engines in one plan


SHARED = {"lbwatch.upstream": "web"}


def test_two_engines_with_equal_addresses_are_one_upstream() -> None:
    """Both gave their first container 172.17.0.2 and port 32770, as engines do."""
    plain = container("plain", labels=SHARED, endpoints=(BRIDGE,), published=(P80,))
    plan = planned([of(A, plain), of(B, plain)], rules=ELSEWHERE)
    assert lines_of(plan, "web") == ["10.1.0.1:32770", "10.1.0.2:32770"]
    near = planned([of(A, plain), of(B, plain)], rules=NEAR)
    assert lines_of(near, "web") == ["10.1.0.2:32770", "172.17.0.2:80"]
    assert not unrouted(plan) and not unrouted(near)


def test_equal_private_addresses_of_different_engines_are_no_conflict() -> None:
    """Where nginx is routed to both they cannot be equal; where it is to one, the other's is nobody's claim."""
    routed = container("plain", labels=SHARED | {"lbwatch.reach": "network"}, endpoints=(BRIDGE,))
    plan = planned([of(A, routed), of(B, routed)], rules=NEAR)
    assert reasons_of(plan, "b/plain") == ["same-address"]
    apart = planned([of(A, routed), of(B, replace(routed, exposed=(81,)))], rules=NEAR)
    assert not unrouted(apart)


def test_one_address_on_an_overlay_is_a_conflict_whichever_engines_say_so() -> None:
    """It is one network: and since their clocks are not compared, the engine that comes first has the word."""
    old = container("old", labels=SHARED, endpoints=(OVERLAY,), started_ns=1)
    new = container("new", labels=SHARED, endpoints=(OVERLAY,), started_ns=10**18)
    plan = planned([of(A, old), of(B, new)], rules=replace(ON_FRONT, networks=("ov",)))
    assert [server.container for _, server in servers_of(plan)] == ["a/old"]
    (row,) = unrouted(plan)
    assert row.detail == "a/old, whose engine comes before its own in docker_host, has its address too"
    same = planned([of(A, old, new)], rules=replace(ON_FRONT, networks=("ov",)))
    assert [server.container for _, server in servers_of(same)] == ["a/new"]


def test_of_two_tasks_with_one_address_the_one_that_was_made_last_has_it() -> None:
    """When they started says each node's own clock, and one clock when they were made."""
    first = task(OVERLAY, name="first", id="1" * 25, created_ns=1, started_ns=10**18)
    last = task(OVERLAY, name="last", id="2" * 25, created_ns=2, started_ns=1)
    plan = planned([snapshot([first, last])], rules=ON_FRONT)
    assert [server.container for _, server in servers_of(plan)] == ["last"]


def test_a_machine_has_many_containers_and_each_port_one() -> None:
    """Its address is shared by all; a port was given to a new container while the older is not seen to be gone."""
    one = container("one", labels=SHARED, endpoints=(BRIDGE,), published=(P80,), started_ns=1)
    two = replace(container("two", labels=SHARED, published=(Published(port=80, host_port=32771),)), started_ns=2)
    rules = ELSEWHERE
    assert lines_of(planned([of(A, one, two)], rules=rules), "web") == ["10.1.0.1:32770", "10.1.0.1:32771"]
    plan = planned([of(A, one, replace(two, published=(P80,)))], rules=rules)
    assert [server.container for _, server in servers_of(plan)] == ["a/two"]
    assert reasons_of(plan, "a/one") == ["address-conflict"]


def test_a_default_name_is_one_application_or_two() -> None:
    """A service of Compose or of a Swarm is one on all engines; two containers of one name are not."""
    compose = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "lbwatch.enable": "true"}
    services = [of(engine, container("x", labels=compose, published=(P80,))) for engine in (A, B)]
    assert lines_of(planned(services, rules=ELSEWHERE), "shop-web") == ["10.1.0.1:32770", "10.1.0.2:32770"]
    # The younger engine's container is older by its own clock, which nobody compares.
    plain = [of(engine, container("plain", published=(P80,), created_ns=9 - engine.order)) for engine in (A, B)]
    plan = planned(plain, rules=ELSEWHERE)
    assert lines_of(plan, "plain") == ["10.1.0.1:32770"]
    assert reasons_of(plan, "b/plain") == ["name-taken"]
    (row,) = unrouted(plan)
    assert "the one of container a/plain, whose engine comes before its own in docker_host: " in (row.detail or "")


def test_a_network_owner_by_name_is_of_the_same_engine() -> None:
    """`--network container:vpn` on b means b's own one, though a has one too."""
    vpn = container("vpn", endpoints=(BRIDGE,), published=(P80,), labels={}, started_ns=1)
    side = container("side", network_of="vpn", endpoints=(), started_ns=2)
    plan = planned(
        [of(A, vpn), of(B, replace(vpn, published=(Published(port=80, host_port=9),)), side)], rules=ELSEWHERE
    )
    assert lines_of(plan, "side") == ["10.1.0.2:9"]


# -- laws


_published = st.lists(
    st.builds(
        Published,
        port=st.sampled_from([80, 81, 443]),
        protocol=st.sampled_from(["tcp", "tcp", "udp"]),
        host_address=st.sampled_from(
            ["", "", "::", "127.0.0.1", "10.77.0.2", "fd00::7", "169.254.169.254", "nonsense"]
        ),
        host_port=st.integers(1, 65_535),
    ),
    max_size=4,
).map(tuple)
_endpoints = st.lists(st.sampled_from([BRIDGE, FRONT, OVERLAY, MACVLAN, MESH]), unique=True).map(lambda each: on(*each))
_task = Task(service="shop", service_id="s" * 25, slot="1", virtual=VIRTUAL, mesh=MESHED)
_containers = st.builds(
    on_a,
    engine=st.sampled_from([A, B, SWARM]),
    endpoints=_endpoints,
    published=_published,
    host_network=st.sampled_from([False, False, False, True]),
    exposed=st.sampled_from([(80,), (80,), (), (80, 443)]),
    machine=st.sampled_from(["", "", "10.1.0.7", "127.0.0.1", "0.0.0.0", "nonsense"]),
    task=st.sampled_from([None, _task]),
)
_rules = st.builds(
    Rules,
    nginx_engine=st.sampled_from(["a", "b", None]),
    host_shared=st.booleans(),
    networks=st.sampled_from([(), ("front",), ("ov", "front"), ("ingress",)]),
    addresses=st.sampled_from([{}, {"a": "10.1.0.1", "b": "10.1.0.2"}, {"a": "127.0.0.1"}]),
    several_engines=st.booleans(),
)
_labels = st.builds(
    UpstreamLabels,
    port=st.sampled_from([None, None, 80, 443]),
    network=st.sampled_from([None, None, "front", "ov", "ingress", "nowhere"]),
    reach=st.sampled_from([None, None, *Reach]),
    address=st.sampled_from([None, None, None, "192.0.2.7"]),
    listen=st.sampled_from([(), ((53, "udp"),), ((53, "udp"), (53, "tcp"))]),
)


@given(_containers, _labels, _rules)
def test_where_it_is_reached_and_what_is_said_of_the_ways_is_one_thing(
    web: Container, labels: UpstreamLabels, rules: Rules
) -> None:
    """`explain` must not name another way than the file has; and who is reached nowhere reads why, in one line."""
    ways = weighed_ways(web, labels, owner=web, rules=rules)
    used = [verdict for _, verdict in ways if verdict.startswith(USED)]
    networks = [
        end for end, verdict in weighed_networks(web, labels, owner=web, rules=rules) if verdict.startswith(USED)
    ]
    try:
        found = reached(web, labels, owner=web, rules=rules)
    except SkipError as skip:
        assert not used
        assert skip.detail.isprintable() and len(skip.detail) < 700
        return
    assert used == [ways[-1][1]] == [f"{USED}: {found.words}"]
    assert len(networks) <= 1 and (found.endpoint is None or networks == [found.endpoint])
    assert 1 <= found.port <= 65_535
    assert found.endpoint is None or found.endpoint.network != "ingress"


@given(_containers, _labels, _rules)
def test_no_address_of_another_engines_own_network_is_given_out(
    web: Container, labels: UpstreamLabels, rules: Rules
) -> None:
    """It would be a container of nginx's own engine, by chance: 172.17.0.2 is everywhere."""
    if labels.reach is Reach.NETWORK:
        return
    try:
        found = reached(web, labels, owner=web, rules=rules)
    except SkipError:
        return
    if found.endpoint is not None and web.engine.name != rules.nginx_engine:
        assert found.endpoint.driver == "overlay"
        assert found.endpoint.network in (labels.network, *rules.networks)
    if found.address == "127.0.0.1":
        is_near = web.engine.name == rules.nginx_engine and rules.host_shared
        assert is_near or rules.addresses.get(web.engine.name) == "127.0.0.1"


@given(_containers, _rules, st.randoms())
def test_the_order_of_an_engines_answer_changes_nothing(web: Container, rules: Rules, random: Any) -> None:
    """Same world, same bytes."""
    published = list(web.published)
    random.shuffle(published)
    labels = UpstreamLabels()
    assert place(web, rules) == place(replace(web, published=tuple(published)), rules)
    assert placement_of(web, owner=web, rules=rules).candidates
    assert weighed_ways(web, labels, owner=web, rules=rules) == weighed_ways(
        replace(web, published=tuple(published)), labels, owner=web, rules=rules
    )


def test_a_new_ephemeral_port_is_another_server() -> None:
    """A `docker restart` gives it, and requests to the old one would reach nobody, or somebody else."""

    def plan(port: int) -> Plan:
        web = container("web", endpoints=(BRIDGE,), published=(Published(port=80, host_port=port),), started_ns=port)
        return planned([of(B, web)], rules=NEAR)

    assert lines_of(plan(32770), "web") == ["10.1.0.2:32770"]
    assert lines_of(plan(32771), "web") == ["10.1.0.2:32771"]

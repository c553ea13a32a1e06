"""By which way a container is reached, in words, for whoever asks why."""

from dataclasses import replace

import pytest
from severalengines import BRIDGE, MESH, NEAR, ON_FRONT, OVERLAY, P80, on_a, on_b, task
from strategies import container, on
from worlds import joined

from lbwatch.core.model import Container, ContainerStatus, Endpoint
from lbwatch.core.networks import USED
from lbwatch.core.rules import Rules
from lbwatch.core.ways import MAX_WEIGHED, WayVerdict, networks_of, ways_of, ways_tell_more


def ways(one: Container, *others: Container, rules: Rules = NEAR) -> tuple[WayVerdict, ...]:
    return ways_of(one, rules=rules, containers={each.id: each for each in (one, *others)})


def names_of(found: tuple[WayVerdict, ...]) -> list[tuple[str, bool]]:
    """Return the name of each way, and whether it is used."""
    return [(each.way, each.verdict.startswith(USED)) for each in found]


@pytest.mark.parametrize(
    ("one", "rules", "found"),
    [
        (on_a(BRIDGE), NEAR, [("network", True)]),
        (on_b(BRIDGE, published=(P80,)), NEAR, [("network", False), ("published port", True)]),
        (on_b(BRIDGE), NEAR, [("network", False), ("published port", False), ("host network", False)]),
        (
            on_b(host_network=True),
            NEAR,
            [("network", False), ("published port", False), ("host network", True)],
        ),
        (task(OVERLAY, MESH), ON_FRONT, [("network", True)]),
        (task(OVERLAY, MESH, published=(P80,)), NEAR, [("network", False), ("published port", True)]),
    ],
)
def test_the_ways_stand_as_they_are_tried_up_to_the_one_that_is_used(
    one: Container, rules: Rules, found: list[tuple[str, bool]]
) -> None:
    """Who published a port and sees an address of the network, or the other way round, must find out why."""
    asks = replace(one, labels=(("lbwatch.port", "80"),))
    assert names_of(ways(asks, rules=rules)) == found
    assert ways_tell_more(ways(asks, rules=rules)) == (len(found) > 1)


def test_the_address_of_a_label_is_a_way_of_its_own() -> None:
    """It says that nobody looked at anything else."""
    (way,) = ways(replace(on_b(BRIDGE), labels=(("lbwatch.address", "192.0.2.7"), ("lbwatch.port", "80"))))
    assert (way.way, way.verdict) == ("address", "used: 192.0.2.7:80, as its label says")
    assert ways_tell_more([way])


def test_upstreams_that_are_reached_alike_are_weighed_once_and_others_by_name() -> None:
    """One port is published, and the other is not: which of them has no server?"""
    one = on_b(BRIDGE, published=(P80,))
    labels = {"lbwatch.upstreams.shop.port": "80", "lbwatch.upstreams.edge.port": "80"}
    assert {each.upstream for each in ways(replace(one, labels=tuple(labels.items())))} == {None}
    labels["lbwatch.upstreams.admin.port"] = "9000"
    found = ways(replace(one, labels=tuple(sorted(labels.items()))))
    said = {(each.upstream, each.way): each.verdict for each in found}
    assert "not its port 9000" in said["admin", "published port"]
    assert {upstream for upstream, _ in said} == {"admin", "edge"}
    assert said["edge", "published port"].startswith(USED)


def test_of_many_upstreams_the_first_are_weighed() -> None:
    """Whoever may start a container may otherwise have each look at it cost seconds."""
    labels = tuple((f"lbwatch.upstreams.u{number:05}.port", str(number)) for number in range(1, 40))
    found = ways(replace(on_b(BRIDGE), labels=labels))
    assert len({each.upstream for each in found}) == MAX_WEIGHED


@pytest.mark.parametrize(
    "one",
    [
        replace(on_a(BRIDGE), labels=()),
        replace(on_a(BRIDGE), labels=(("lbwatch.enable", "false"), ("lbwatch.port", "80"))),
        replace(on_a(BRIDGE), labels=(("lbwatch.port", "many"),)),
        replace(on_a(BRIDGE), labels=(("lbwatch.port", "80"),), status=ContainerStatus.EXITED),
        replace(on_a(BRIDGE), name="a b", labels=(("lbwatch.port", "80"),)),
    ],
)
def test_there_is_no_way_to_a_container_that_nobody_asks_for_or_that_is_not_up(one: Container) -> None:
    """Its row has the reason; that it publishes no port would send its owner astray."""
    assert ways(one) == ()


def test_who_uses_anothers_network_is_reached_by_the_ways_of_that_one() -> None:
    """Docker publishes its port for the owner."""
    vpn = replace(on_b(BRIDGE, published=(P80,)), name="vpn")
    side = replace(joined(vpn, engine=vpn.engine), labels=(("lbwatch.port", "80"),))
    assert names_of(ways(side, vpn)) == [("network", False), ("published port", True)]


def test_networks_are_shown_with_the_verdict_of_any_upstream_that_takes_them() -> None:
    """Two upstreams may be reached by two networks; neither is then out of use because of the other."""
    back, front = Endpoint(network="back", ipv4="172.19.0.2"), Endpoint(network="front", ipv4="172.18.0.2")
    labels = {"lbwatch.upstreams.x.network": "back", "lbwatch.upstreams.y.network": "front"}
    both = container(endpoints=on(back, front), labels=labels)
    found = networks_of(both, rules=Rules(), containers={both.id: both})
    assert [(each.network, each.address, each.verdict) for each in found] == [
        ("back", "172.19.0.2", USED),
        ("front", "172.18.0.2", USED),
    ]

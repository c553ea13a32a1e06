"""Who is to be reached: its port, its machine, and whether nginx is there."""

from dataclasses import replace

import pytest
from severalengines import BRIDGE, ELSEWHERE, NEAR, P80, on_a, on_b, task

from lbwatch.core.model import Container, ContainerStatus
from lbwatch.core.networks import SkipError
from lbwatch.core.reach.target import place_of, target_of
from lbwatch.core.rules import Rules
from lbwatch.core.wishes import UpstreamLabels

ANY = UpstreamLabels()


@pytest.mark.parametrize(
    ("web", "rules", "machine", "reaches_loopback"),
    [
        (on_a(BRIDGE), NEAR, "127.0.0.1", True),
        (on_a(BRIDGE), replace(NEAR, addresses={"a": "10.1.0.1"}), "10.1.0.1", True),
        (on_a(BRIDGE), replace(NEAR, host_shared=False), "", False),
        (on_b(BRIDGE), NEAR, "10.1.0.2", False),
        (on_b(BRIDGE), replace(NEAR, addresses={}), "", False),
        (on_b(BRIDGE), replace(ELSEWHERE, addresses={"b": "127.0.0.1"}), "127.0.0.1", True),
        (on_b(BRIDGE), replace(ELSEWHERE, addresses={"b": "b.example"}), "", False),
        (task(), NEAR, "10.1.0.7", False),
        (task(machine="0.0.0.0"), NEAR, "", False),
        (task(machine="127.0.0.1"), NEAR, "", False),
        (task(machine="127.0.0.1"), replace(NEAR, addresses={"swarm": "10.1.0.9"}), "10.1.0.9", False),
    ],
)
def test_a_machine_is_where_its_ports_are_reached(
    web: Container, rules: Rules, machine: str, reaches_loopback: bool
) -> None:
    """A node's own address goes before what is set for all, and the word of a setting before a guess."""
    target = target_of(web, ANY, owner=web, rules=rules)
    assert (target.machine, target.reaches_loopback) == (machine, reaches_loopback)


def test_a_port_that_nothing_says_is_a_reason_unless_one_alone_is_published() -> None:
    """Which one that is only the ways know that use it."""
    web = on_b(BRIDGE, exposed=())
    with pytest.raises(SkipError, match="it exposes no TCP port"):
        target_of(web, ANY, owner=web, rules=NEAR)
    published = replace(web, published=(P80,))
    target = target_of(published, ANY, owner=published, rules=NEAR)
    assert target.port is None
    with pytest.raises(SkipError, match="it exposes no TCP port"):
        target.decided_port()


def test_the_owner_of_its_network_must_be_up() -> None:
    """What it published is gone with it."""
    down = on_b(BRIDGE, status=ContainerStatus.EXITED)
    side = on_b(network_of=down.id, name="side", id="5" * 64)
    with pytest.raises(SkipError, match=r"the container whose network it uses \(web\) is not up"):
        target_of(side, ANY, owner=down, rules=NEAR)
    with pytest.raises(SkipError, match="removed"):
        target_of(side, ANY, owner=None, rules=NEAR)


def test_a_place_is_named_as_its_operator_knows_it() -> None:
    """With a single engine its name says nothing."""
    assert place_of(on_b(), rules=NEAR) == "engine b"
    assert place_of(task(), rules=NEAR) == "node n1"
    assert place_of(on_a(), rules=Rules(nginx_engine="a")) == "its engine"
    assert place_of(on_a(), rules=Rules(nginx_engine=None)) == "engine a"


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (replace(on_a(BRIDGE), exposed=()), "it exposes no TCP port: add the label lbwatch.port"),
        (replace(task(), exposed=()), "docker service update --label-add lbwatch.port=80 "),
    ],
)
def test_what_exposes_no_port_reads_how_to_say_one(container: Container, words: str) -> None:
    """A label of a container is its image's or its user's; of a task a command adds it at once."""
    with pytest.raises(SkipError) as caught:
        target_of(container, ANY, owner=container, rules=NEAR).decided_port()
    assert words in caught.value.detail

"""What its owner reads of a container that nginx reaches nowhere."""

from dataclasses import replace
from typing import Any

import pytest
from severalengines import BRIDGE, MESH, NEAR, ON_FRONT, OVERLAY, P80, on_a, on_b, place, task

from lbwatch.core.model import Container, Published
from lbwatch.core.rules import Rules
from lbwatch.core.wishes import Reach


@pytest.mark.parametrize(
    ("web", "rules", "labels", "words"),
    [
        (
            on_b(BRIDGE),
            NEAR,
            {},
            (
                "no-network: it is on bridge of engine b, where nginx is not, and it publishes no port: docker run --publish 80 "
                "does it; or put it on an overlay that nginx is on, and the setting networks names; if nginx is routed to its "
                "network, the label lbwatch.reach=network says so"
            ),
        ),
        (
            on_b(BRIDGE, published=(P80,)),
            replace(NEAR, addresses={}),
            {},
            "the address is not known at which its port 80 is published: the setting engine_address takes it, as b=ADDRESS",
        ),
        (
            on_b(BRIDGE, published=(P80,)),
            replace(NEAR, addresses={}, unresolved={"b": "docker.example: Name or service not known"}),
            {},
            "the address is not known at which its port 80 is published: docker.example: Name or service not known",
        ),
        (
            on_b(BRIDGE, published=(Published(port=443, host_port=9443),)),
            ON_FRONT,
            {},
            (
                "it is on bridge of engine b, and nginx on front, ov, and it publishes 443, and not its port 80: publish that, or "
                "the label lbwatch.port names another one"
            ),
        ),
        (
            on_b(BRIDGE),
            replace(ON_FRONT, networks=("bridge", "ov")),
            {},
            "no-network: it is on bridge of engine b, which is another network than nginx's own bridge, and it publishes no port",
        ),
        (
            on_b(BRIDGE, published=(Published(port=80, protocol="udp", host_port=9080),)),
            NEAR,
            {},
            "it publishes 80/udp, and not its port 80: publish that",
        ),
        (
            on_b(BRIDGE, published=(Published(port=80, host_address="127.0.0.1", host_port=9000),)),
            NEAR,
            {},
            "its port 80 is published on 127.0.0.1 alone, where nginx is not: publish it on another address",
        ),
        (
            task(OVERLAY, MESH),
            NEAR,
            {},
            (
                "no-network: it is on ov of node n1, where nginx is not, and it publishes no port: docker service update "
                "--publish-add mode=host,target=80 shop does it; or put it on an overlay that nginx is on: docker service update "
                "--network-add NETWORK shop"
            ),
        ),
        (task(OVERLAY), replace(NEAR, networks=("front",)), {}, "docker service update --network-add front shop"),
        (
            on_a(BRIDGE),
            ON_FRONT,
            {},
            "no-network: it is on bridge; nginx is on front, ov: docker network connect front web",
        ),
        (
            on_a(BRIDGE, published=(P80,), name="a/web"),
            ON_FRONT,
            {},
            (
                "docker network connect front web; the address is not known at which its port 80 is published: the setting "
                "engine_address takes it, as a=ADDRESS"
            ),
        ),
        (
            on_a(BRIDGE),
            NEAR,
            {"reach": Reach.PORT},
            "no-network: it publishes no port: docker run --publish 80 does it",
        ),
        (
            on_a(host_network=True),
            NEAR,
            {"reach": Reach.NETWORK},
            "host-network: it is on the host's network, and the label lbwatch.reach asks for a network",
        ),
        (
            on_b(host_network=True),
            replace(NEAR, addresses={}),
            {},
            (
                "host-network: it is on the host's network of engine b, whose address is not known: the setting engine_address "
                "takes it, as b=ADDRESS"
            ),
        ),
    ],
)
def test_what_is_reached_nowhere_reads_what_to_do(
    web: Container, rules: Rules, labels: dict[str, Any], words: str
) -> None:
    """Each sentence has a command, a setting or a label in it that ends it."""
    assert words in place(web, rules, **labels)

"""Containers of several engines and of a Swarm, and rules by where nginx is among them."""

from dataclasses import replace
from typing import Any

from strategies import container, on, snapshot

from lbwatch.core.model import Container, Endpoint, Engine, Published, Snapshot, Task
from lbwatch.core.networks import SkipError
from lbwatch.core.placement import network_owner
from lbwatch.core.reach import reached
from lbwatch.core.rules import Rules
from lbwatch.core.wishes import UpstreamLabels

A, B, SWARM = Engine(name="a"), Engine(name="b", order=1), Engine(name="swarm", order=2)
BRIDGE = Endpoint(network="bridge", ipv4="172.17.0.2", driver="bridge")
FRONT = Endpoint(network="front", ipv4="172.18.0.2", driver="bridge")
OVERLAY = Endpoint(network="ov", ipv4="10.0.1.2", driver="overlay", network_id="o" * 25)
MACVLAN = Endpoint(network="lan", ipv4="10.77.0.9", driver="macvlan")
MESH = Endpoint(network="ingress", ipv4="10.0.0.4", driver="ingress")
P80 = Published(port=80, host_port=32770)

NEAR = Rules(nginx_engine="a", host_shared=True, addresses={"b": "10.1.0.2"}, several_engines=True)
"""nginx runs on the machine of engine a."""

ON_FRONT = replace(NEAR, networks=("front", "ov"), host_shared=False)
"""It is in a container there, on two networks."""

ELSEWHERE = replace(NEAR, nginx_engine=None, host_shared=False, addresses={"a": "10.1.0.1", "b": "10.1.0.2"})
"""It runs on a machine of its own."""


def on_a(*endpoints: Endpoint, **given: Any) -> Container:
    return container("web", **({"engine": A, "endpoints": on(*endpoints)} | given))


def on_b(*endpoints: Endpoint, **given: Any) -> Container:
    return on_a(*endpoints, **({"engine": B} | given))


def task(
    *endpoints: Endpoint, virtual: tuple[Endpoint, ...] = (), mesh: tuple[Published, ...] = (), **given: Any
) -> Container:
    of = Task(service="shop", service_id="s" * 25, slot="1", node="n1", node_id="n" * 25, virtual=virtual, mesh=mesh)
    return on_a(*endpoints, **({"engine": SWARM, "machine": "10.1.0.7", "task": of} | given))


def place(web: Container, rules: Rules, *more: Container, **labels: Any) -> str:
    """Return where it is reached, or else the reason and why."""
    owner = network_owner(web, containers={each.id: each for each in (web, *more)})
    try:
        found = reached(web, UpstreamLabels(**labels), owner=owner, rules=rules)
    except SkipError as skip:
        return f"{skip.reason}: {skip.detail}"
    return f"{found.address}:{found.port}"


VIRTUAL = (replace(OVERLAY, ipv4="10.0.1.100"), replace(MESH, ipv4="10.0.0.100"))
MESHED = (Published(port=80, host_port=30080),)


def of(engine: Engine, *containers: Container) -> Snapshot:
    """Make a whole engine of these containers, with ids and names that no other engine has."""
    made = [
        replace(each, engine=engine, id=f"{engine.order:x}{each.id[1:]}", name=f"{engine.name}/{each.own_name}")
        for each in containers
    ]
    return snapshot(made, source=engine.name)

"""Whole engines of containers, drawn or made, and what is planned for them."""

from collections.abc import Collection
from typing import Any

from hypothesis import strategies as st
from strategies import (
    container,
    good_labels,
    planned,
    snapshot,
    wild_labels,
    worlds,
)

from lbwatch.core.model import Container, Health, Plan, Suspended
from lbwatch.core.plan import Rules

any_world = worlds(st.one_of(good_labels, good_labels, wild_labels, st.just({})))


def decide_with(world: tuple[Container, ...], rules_: Rules) -> Plan:
    return planned([snapshot(world)], rules=rules_)


def web(name: str, health: Health, /, **more: str) -> Container:
    labels = {"lbwatch.upstream": "web"} | {f"lbwatch.{key}": value for key, value in more.items()}
    return container(name, labels=labels, health=health)


BY_HAND = "it is drained by hand"


def drained(*containers: Container, who: Collection[str]) -> Plan:
    """Decide with these, by name, told to stop or drained by hand."""
    draining = {container.id: BY_HAND for container in containers if container.name in who}
    return planned([snapshot(containers)], rules=Rules(), suspended=Suspended(draining=draining))


def joined(owner: Container, **given: Any) -> Container:
    """Make a container on another's network, started after it, but for what is *given*."""
    facts: dict[str, Any] = {
        "endpoints": (),
        "network_of": owner.id,
        "started_ns": owner.started_ns + 1,
        "exposed": (81,),
    }
    return container("side", **(facts | given))

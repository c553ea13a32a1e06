"""What is decided of one container alone: laws for any container, then each reason, name, port and address."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    container,
    decide,
    hostile_text,
    lines_of,
    notices,
    reasons_of,
    rules,
    servers_of,
    unrouted,
)
from worlds import any_world, drained, joined, web

from lbwatch.core.model import Container, ContainerStatus, Endpoint, Engine, Health, Reason, Task
from lbwatch.core.placement import Placement, network_owner, placement_of
from lbwatch.core.rules import Rules

COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
SWARM = {"com.docker.swarm.service.name": "stack_web"}
ENABLED = {"lbwatch.enable": "true"}
FRONT = Endpoint(network="front", ipv4="172.18.0.2")


def by_id(*containers: Container) -> Mapping[str, Container]:
    return {each.id: each for each in containers}


def alone(container: Container, *, rules: Rules) -> Placement:
    """Return what is decided of a container that is alone on its engine."""
    owner = network_owner(container, containers=by_id(container))
    return placement_of(container, owner=owner, rules=rules)


# -- laws


@given(any_world, rules)
def test_each_candidate_has_a_server_or_a_reason_in_words(world: Any, rules_: Rules) -> None:
    """The plan takes what has no reason for a server: neither both nor nothing may come out."""
    for each in world:
        owner = network_owner(each, containers=by_id(*world))
        placement = placement_of(each, owner=owner, rules=rules_)
        assert (placement.container, placement.owner, placement.rules) == (each, owner, rules_)
        assert placement.candidates
        for candidate in placement.candidates:
            assert candidate.container is each
            assert (candidate.server is None) == (candidate.reason is not None) == bool(candidate.detail)
            assert candidate.owner is (None if candidate.server is None else owner)
            # A reason for all of the container is said once, not beside those of its upstreams.
            assert candidate.upstream is not None or len(placement.candidates) == 1


def test_a_container_without_a_label_is_not_routed() -> None:
    """`labelled` is the default: nothing is exposed by accident."""
    plan = decide(container(labels={"maintainer": "somebody"}))
    assert plan.upstreams == ()
    assert reasons_of(plan, "web") == ["not-labelled"]


def test_any_label_below_the_prefix_is_enough_to_be_routed() -> None:
    """As the contract says of `labelled`, and of `enable` alone."""
    for key in ("lbwatch.enable", "LBWATCH.Enable"):
        assert len(lines_of(decide(container(labels={key: "true"})), "web")) == 1
    assert len(lines_of(decide(container(labels={"lbwatch.vars.team": "red"})), "web")) == 1


def test_expose_all_routes_containers_without_a_label() -> None:
    """A small host needs no labels at all; `enable=false` is the way out."""
    out = container("out", labels={"lbwatch.enable": "false"})
    plan = decide(container(labels={}), out, expose_all=True)
    assert [upstream.name for upstream in plan.upstreams] == ["web"]
    assert reasons_of(plan, "out") == ["disabled"]


def test_enable_false_wins_over_wrong_labels() -> None:
    """The reason that is shown must be the one that its owner chose."""
    plan = decide(container(labels={"lbwatch.enable": "false", "lbwatch.port": "http"}))
    assert reasons_of(plan, "web") == ["disabled"]
    assert plan.upstreams == ()


def test_an_unknown_label_is_a_warning_and_routed_all_the_same() -> None:
    """A typing error must show in `explain`, not in an outage."""
    plan = decide(container(labels=ENABLED | {"lbwatch.prot": "80"}))
    assert len(lines_of(plan, "web")) == 1
    (notice,) = notices(plan)
    assert (notice.container, str(notice.kind)) == ("web", "unknown-label")
    assert "lbwatch.prot" in notice.detail


def test_a_label_that_hides_the_signals_is_noticed() -> None:
    """Any HUP then drains it for a minute, and nothing else would say why."""
    hidden = replace(web("odd", Health.NONE), stop_signal=None)
    plan = drained(hidden, web("plain", Health.NONE), who=[])
    assert [(notice.container, str(notice.kind)) for notice in notices(plan)] == [("odd", "signal-hidden")]
    assert [server.container for _, server in servers_of(plan)] == ["odd", "plain"]


@given(st.dictionaries(hostile_text, hostile_text, max_size=4))
def test_foreign_labels_change_nothing(foreign: dict[str, str]) -> None:
    """What other programs write on a container is not read."""
    foreign = {key: value for key, value in foreign.items() if not key.lower().startswith(("lbwatch.", "com.docker."))}
    assert decide(container(labels=ENABLED | foreign)) == decide(container(labels=ENABLED))


# -- names


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({}, "some.container_1"),
        (COMPOSE, "shop-web"),
        (SWARM, "stack_web"),
        (COMPOSE | SWARM, "stack_web"),
        ({"com.docker.compose.service": "web"}, "some.container_1"),
        ({"com.docker.compose.project": "shop"}, "some.container_1"),
        (COMPOSE | SWARM | {"lbwatch.upstream": "Mine"}, "mine"),
    ],
)
def test_an_upstream_is_named_by_label_service_or_container(labels: dict[str, str], name: str) -> None:
    """Replicas meet in one upstream without a label; nginx does not tell Web from web."""
    plan = decide(container("Some.Container_1", labels=ENABLED | labels))
    assert [upstream.name for upstream in plan.upstreams] == [name]


def test_a_service_name_that_nginx_cannot_take_is_a_reason() -> None:
    """A default that cannot be used must not become another name by itself."""
    plan = decide(container(labels=ENABLED | {"com.docker.swarm.service.name": "a b; }"}))
    assert reasons_of(plan, "web") == ["bad-name"]
    assert plan.upstreams == ()


@pytest.mark.parametrize("value", ["True", "true"])
def test_one_offs_of_compose_run_are_not_routed(value: str) -> None:
    """`docker compose run web sh` must not get a share of production's requests."""
    plan = decide(container(labels=ENABLED | COMPOSE | {"com.docker.compose.oneoff": value}))
    assert plan.upstreams == ()
    assert reasons_of(plan, "web") == ["one-off"]


def test_an_ordinary_compose_container_is_no_one_off() -> None:
    """Compose writes the label with False on every other container."""
    plan = decide(container(labels=ENABLED | COMPOSE | {"com.docker.compose.oneoff": "False"}))
    assert len(lines_of(plan, "shop-web")) == 1


def test_a_container_may_be_in_several_upstreams() -> None:
    """One process with an API and an admin port is two upstreams."""
    labels = {"lbwatch.upstreams.api.v1.port": "80", "lbwatch.upstreams.admin.port": "81"}
    plan = decide(container(labels=labels, endpoints=(Endpoint(network="front", ipv4="172.18.0.2"),)))
    assert lines_of(plan, "api.v1") == ["172.18.0.2:80"]
    assert lines_of(plan, "admin") == ["172.18.0.2:81"]
    assert len(plan.upstreams) == 2


def test_a_container_out_of_one_of_its_upstreams_stays_in_the_other() -> None:
    """The reason then says of which upstream it speaks."""
    labels = {
        "lbwatch.upstreams.api.port": "80",
        "lbwatch.upstreams.admin.network": "nowhere",
        "lbwatch.upstreams.admin.port": "81",
    }
    plan = decide(container(labels=labels))
    assert len(lines_of(plan, "api")) == 1
    assert lines_of(plan, "admin") == []
    (skip,) = unrouted(plan)
    assert (skip.upstream, str(skip.reason)) == ("admin", "no-network")


# -- state


def test_a_container_that_was_only_created_is_not_routed() -> None:
    """It has an address already, 0.3 s before it listens."""
    plan = decide(container(status=ContainerStatus.CREATED))
    assert servers_of(plan) == []
    assert reasons_of(plan, "web") == ["not-running"]


# -- port


@pytest.mark.parametrize(
    ("exposed", "label", "outcome"),
    [
        ((80,), None, 80),
        ((80, 443), None, "several-ports"),
        ((), None, "no-port"),
        ((80, 443), "443", 443),
        ((80,), "8080", 8080),
        ((), "9000", 9000),
    ],
)
def test_the_port_is_the_labels_or_the_only_exposed_one(
    exposed: tuple[int, ...], label: str | None, outcome: int | str
) -> None:
    """Nothing is guessed: none or several without a label is a reason."""
    labels = ENABLED | ({"lbwatch.port": label} if label else {})
    plan = decide(container(labels=labels, exposed=exposed))
    if isinstance(outcome, int):
        assert [server.port for _, server in servers_of(plan)] == [outcome]
    else:
        assert reasons_of(plan, "web") == [outcome]
        assert lines_of(plan, "web") == []


def test_a_servers_parameters_are_its_containers() -> None:
    """Each label of the table that is a parameter of nginx's `server` arrives at the server."""
    labels = {"weight": "5", "max_fails": "0", "fail_timeout": "1m", "max_conns": "7", "vars.team": "red; }"}
    (found,) = servers_of(decide(container(labels={f"lbwatch.{key}": value for key, value in labels.items()})))
    server = found[1]
    assert (server.weight, server.max_fails, server.fail_timeout_s, server.max_conns) == (5, 0, 60, 7)
    assert dict(server.vars) == {"team": "red; }"}


# -- networks of others


def test_a_container_on_anothers_network_has_its_addresses() -> None:
    """`--network container:X`: no conflict, another port of the same place."""
    owner = container(endpoints=(FRONT,))
    plan = decide(owner, joined(owner))
    assert lines_of(plan, "web") == ["172.18.0.2:80"]
    assert lines_of(plan, "side") == ["172.18.0.2:81"]


def test_a_container_on_anothers_network_needs_no_label_there() -> None:
    """A VPN container with a service behind it asks for nothing itself."""
    owner = container(labels={}, endpoints=(FRONT,))
    assert lines_of(decide(owner, joined(owner)), "side") == ["172.18.0.2:81"]


@pytest.mark.parametrize(
    "status", [ContainerStatus.EXITED, ContainerStatus.CREATED, ContainerStatus.RESTARTING, ContainerStatus.DEAD]
)
def test_a_container_is_out_while_the_owner_of_its_network_is_down(status: ContainerStatus) -> None:
    """While both run, says the contract: the address is nobody's then."""
    owner = container(endpoints=(FRONT,), status=status)
    plan = decide(owner, joined(owner))
    assert lines_of(plan, "side") == []
    assert reasons_of(plan, "side") == ["network-owner-gone"]


def test_a_container_is_out_once_the_owner_of_its_network_is_removed() -> None:
    """The id stays in its configuration for ever; there is nothing behind it."""
    assert reasons_of(decide(joined(container())), "side") == ["network-owner-gone"]


def test_a_container_is_out_once_the_owner_of_its_network_was_restarted() -> None:
    """The restarted owner has a new namespace; the other stays in the old one until it is restarted too."""
    owner = container(endpoints=(FRONT,))
    side = joined(owner)
    again = replace(owner, started_ns=side.started_ns + 1)
    assert reasons_of(decide(again, side), "side") == ["network-owner-gone"]
    assert lines_of(decide(again, replace(side, started_ns=again.started_ns + 1)), "side") == ["172.18.0.2:81"]


def test_a_container_on_the_hosts_network_is_at_loopback_where_nginx_shares_it() -> None:
    """Everywhere else 127.0.0.1 would be nginx itself."""
    host = container(host_network=True, endpoints=(Endpoint(network="host"),))
    assert lines_of(decide(host, host_shared=True), "web") == ["127.0.0.1:80"]
    assert reasons_of(decide(host, host_shared=False), "web") == ["host-network"]


def test_the_owner_of_a_network_is_found_by_its_id_or_else_its_name() -> None:
    """A container that was created before its owner has the owner's name there; another may be named like an id."""
    owner = container("gate", id="a" * 64)
    namesake = container("a" * 64, id="b" * 64)
    by_its_id, by_its_name = joined(owner), joined(owner, network_of="gate")
    everyone = by_id(namesake, owner, by_its_id, by_its_name)
    assert network_owner(owner, containers=everyone) is owner
    assert network_owner(by_its_id, containers=everyone) is owner
    assert network_owner(by_its_name, containers=everyone) is owner
    assert network_owner(by_its_id, containers=by_id(by_its_id)) is None


def test_an_owner_by_name_is_of_the_same_engine() -> None:
    """Another engine may have one of that name too, and the names that are shown have the engine's in front then."""
    a, b = Engine(name="a"), Engine(name="b", order=1)
    side = replace(container("side", network_of="vpn", endpoints=()), engine=b)
    ours = replace(container("vpn"), name="b/vpn", engine=b, id="b" * 64, created_ns=1)
    theirs = replace(container("vpn"), name="a/vpn", engine=a, id="a" * 64, created_ns=9)
    assert network_owner(side, containers=by_id(side, ours, theirs)) is ours
    assert network_owner(side, containers=by_id(side, theirs)) is None


def test_a_paused_owner_still_has_its_network() -> None:
    """Pausing freezes processes, not addresses: who shares them goes on."""
    owner = container(endpoints=(FRONT,), status=ContainerStatus.PAUSED)
    assert lines_of(decide(owner, joined(owner)), "side") == ["172.18.0.2:81"]


# -- words


@pytest.mark.parametrize(
    ("given", "reason", "words"),
    [
        ({"labels": {}}, Reason.NOT_LABELLED, "add lbwatch.enable=true"),
        ({"labels": {"lbwach.port": "80"}}, Reason.NOT_LABELLED, "but lbwach.port: did you mean lbwatch.port?"),
        ({"labels": {"lbwatch.enable": "false"}}, Reason.DISABLED, "label lbwatch.enable is false"),
        ({"labels": {"lbwatch.port": "http"}}, Reason.BAD_LABEL, "lbwatch.port"),
        ({"labels": {"lbwatch.method": "hash $nope"}}, Reason.BAD_LABEL, "nobody knows $nope"),
        ({"labels": ENABLED | {"com.docker.compose.oneoff": "True"}}, Reason.ONE_OFF, "`docker compose run`"),
        ({"status": ContainerStatus.CREATED}, Reason.NOT_RUNNING, "never started"),
        ({"status": ContainerStatus.EXITED, "exit_code": 1}, Reason.NOT_RUNNING, "it exited with code 1"),
        ({"status": ContainerStatus.DEAD}, Reason.NOT_RUNNING, "it is dead"),
        ({"status": ContainerStatus.PAUSED}, Reason.PAUSED, "docker unpause web"),
        ({"health": Health.STARTING}, Reason.STARTING, "has not passed yet"),
        ({"health": Health.STARTING, "unprobed": True}, Reason.STARTING, "label lbwatch.health=ignore routes it"),
        ({"labels": ENABLED | {"com.docker.swarm.service.name": "a b"}}, Reason.BAD_NAME, "add the label lbwatch.upstream"),
        ({"exposed": ()}, Reason.NO_PORT, "add the label lbwatch.port"),
        ({"exposed": (80, 443)}, Reason.SEVERAL_PORTS, "it exposes 80, 443: add the label lbwatch.port"),
        ({"exposed": tuple(range(1, 100))}, Reason.SEVERAL_PORTS, "it exposes 1, 2, 3, 4, 5, 6, 7, 8: add"),
        ({"endpoints": ()}, Reason.NO_NETWORK, "it is on no network"),
        ({"endpoints": (Endpoint(network="front"),)}, Reason.NO_ADDRESS, "on network front"),
        ({"endpoints": (Endpoint(network="front", ipv4="127.0.0.1"),)}, Reason.BAD_ADDRESS, "'127.0.0.1'"),
        ({"endpoints": (), "host_network": True}, Reason.HOST_NETWORK, "set host_network to true"),
        ({"endpoints": (), "network_of": "f" * 64}, Reason.OWNER_GONE, "whose network it uses (removed) is not up"),
    ],
)  # fmt: skip
def test_each_reason_says_what_to_do(given: dict[str, Any], reason: Reason, words: str) -> None:
    """Whoever reads `explain` wants the container routed: the words name what is in the way."""
    rules = Rules(refuses_key=lambda key: f"nobody knows {key}")
    (candidate,) = alone(container(**given), rules=rules).candidates
    assert (candidate.reason, candidate.server) == (reason, None)
    assert words in (candidate.detail or "")


@pytest.mark.parametrize(
    ("state", "given", "words"),
    [
        ("starting", {"status": ContainerStatus.CREATED}, "`starting`, which a task with a health check is until"),
        ("pending", {"status": ContainerStatus.CREATED}, "`pending`, and docker service ps shop_web why"),
        ("preparing", {"status": ContainerStatus.CREATED}, "its Swarm says `preparing`"),
        ("rejected", {"status": ContainerStatus.EXITED}, "`rejected`, and docker service ps shop_web why"),
        ("orphaned", {"status": ContainerStatus.EXITED, "exit_code": 0}, "its Swarm says `orphaned`"),
        ("failed", {"status": ContainerStatus.EXITED, "exit_code": 137}, "it exited with code 137"),
        ("running", {"status": ContainerStatus.EXITED, "exit_code": 137}, "it exited with code 137"),
    ],
)
def test_a_task_that_does_not_run_has_its_swarms_word(state: str, given: dict[str, Any], words: str) -> None:
    """Nobody starts a task by hand: what it waits for its Swarm knows."""
    task = replace(container(**given), task=Task(service="shop_web", service_id="s" * 25, slot="1", state=state))
    (candidate,) = alone(task, rules=Rules()).candidates
    assert candidate.reason is Reason.NOT_RUNNING
    assert words in (candidate.detail or "")


def test_unknown_labels_are_named_with_what_was_meant() -> None:
    """A typing error is found by reading one line."""
    placement = alone(container(labels=ENABLED | {"lbwatch.prot": "80"}), rules=Rules())
    (notice,) = placement.notices
    assert notice.detail == "label lbwatch.prot means nothing to lbwatch: did you mean lbwatch.port?"

"""From what engines say to what nginx should have: laws for any world, then each rule of the contract alone."""

import os
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from strategies import (
    BAD_LABELS,
    container,
    decide,
    good_labels,
    hostile_text,
    lines_of,
    on,
    reasons_of,
    rules,
    servers_of,
    snapshot,
    sorted_labels,
    upstream_of,
    wild_labels,
    worlds,
)

from lbwatch.core.model import Container, ContainerStatus, Endpoint, Health, Plan, Snapshot
from lbwatch.core.plan import Rules, desired_state

COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
SWARM = {"com.docker.swarm.service.name": "stack_web"}
ENABLED = {"lbwatch.enable": "true"}

any_world = worlds(st.one_of(good_labels, good_labels, wild_labels, st.just({})))


def decide_with(world: tuple[Container, ...], rules_: Rules) -> Plan:
    return desired_state([snapshot(world)], rules=rules_)


# -- laws


@given(any_world, rules, st.randoms(use_true_random=False))
def test_the_same_world_gives_the_same_result_in_any_order(world: Any, rules_: Rules, random: Any) -> None:
    """Engines answer in any order: a file that depends on it would be reloaded for nothing."""
    shuffled = list(world)
    random.shuffle(shuffled)
    cut = random.randint(0, len(shuffled))
    engines = [snapshot(shuffled[:cut], source="one"), snapshot(shuffled[cut:], source="two")]
    random.shuffle(engines)
    assert desired_state(engines, rules=rules_) == decide_with(world, rules_)


def test_the_same_world_gives_the_same_result_in_another_process() -> None:
    """The hash seed differs in each start: no set's order may reach the file."""
    script = (
        "from strategies import container, decide\n"
        "names = ['web', 'api', 'db', 'cache']\n"
        "print(decide(*(container(n, labels={'lbwatch.upstream': u, 'lbwatch.vars.x': 'y', 'lbwatch.typo': 'z'})\n"
        "      for n in names for u in ['a']), declare=('z', 'y', 'x')))\n"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=Path(__file__).parents[2] / "support",
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(answers) == 1


@given(any_world, rules)
def test_every_container_has_a_server_line_or_a_reason(world: Any, rules_: Rules) -> None:
    """`explain` answers for each container; none may vanish without a word."""
    plan = decide_with(world, rules_)
    serving = {server.container for _, server in servers_of(plan)}
    skipped = {skip.container for skip in plan.skipped}
    assert serving | skipped == {container.name for container in world}
    assert all(skip.detail for skip in plan.skipped)
    assert not serving & {skip.container for skip in plan.skipped if skip.upstream is None}
    said = {(name, server.container) for name, server in servers_of(plan)}
    assert all(
        (skip.upstream, skip.container) not in said or _is_double(world, skip.container) for skip in plan.skipped
    )


def _is_double(world: tuple[Container, ...], name: str) -> bool:
    """Tell whether a container asks for one upstream twice, so that one place may serve and the other may not."""
    (container,) = [container for container in world if container.name == name]
    return sum(".upstreams." in key.lower() for key, _ in container.labels) > 0


@given(any_world, rules)
def test_the_exit_is_sorted_and_without_doubles(world: Any, rules_: Rules) -> None:
    """Upstreams by name, servers by address and port, each once: doubles double a weight or refuse the file."""
    plan = decide_with(world, rules_)
    names = [upstream.name for upstream in plan.upstreams]
    assert names == sorted({name.lower() for name in names})
    for upstream in plan.upstreams:
        places = [(ip_address(server.address.strip("[]")), server.port) for server in upstream.servers]
        keys = [(address.version, int(address), port) for address, port in places]
        assert keys == sorted(set(keys))


@given(any_world, rules)
def test_only_addresses_where_a_container_can_be_come_out(world: Any, rules_: Rules) -> None:
    """169.254.169.254 or the host's own loopback must not become a server, whatever an engine says."""
    known = {ip_address(text.partition("%")[0]) for container in world for text in _addresses(container)}
    on_host = {container.id for container in world if container.host_network}
    host_names = {container.name for container in world if container.host_network or container.network_of in on_host}
    for _, server in servers_of(decide_with(world, rules_)):
        address = ip_address(server.address.strip("[]"))
        assert server.address.startswith("[") == (address.version == 6)
        if server.address == "127.0.0.1":
            assert rules_.host_shared
            assert server.container in host_names
            continue
        assert address in known
        assert not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def _addresses(container: Container) -> list[str]:
    texts = [text for endpoint in container.endpoints for text in (endpoint.ipv4, endpoint.ipv6)]
    return [text for text in texts if text not in ("", "nonsense")]


@given(any_world, rules)
def test_only_running_containers_serve_and_unhealthy_ones_only_among_themselves(world: Any, rules_: Rules) -> None:
    """Who serves is the heart of the contract: ready, else unhealthy; one that is starting never does."""
    plan = decide_with(world, rules_)
    by_name = {container.name: container for container in world}
    for upstream in plan.upstreams:
        serving = [by_name[server.container] for server in upstream.servers]
        assert all(container.status is ContainerStatus.RUNNING for container in serving)
        judged = {container.health for container in serving if not _ignores_health(container)}
        assert Health.STARTING not in judged
        assert judged in ({Health.UNHEALTHY}, set()) or Health.UNHEALTHY not in judged


def _ignores_health(container: Container) -> bool:
    return any(key.lower().endswith("health") and value.strip() == "ignore" for key, value in container.labels)


@given(any_world, rules)
def test_nginx_never_gets_a_combination_that_it_refuses(world: Any, rules_: Rules) -> None:
    """Only backups, or a backup with hash, ip_hash or random, makes nginx refuse the whole file."""
    for upstream in decide_with(world, rules_).upstreams:
        backups = [server.backup for server in upstream.servers]
        assert not backups or not all(backups)
        if any(backups):
            assert not (upstream.method or "").startswith(("hash", "ip_hash", "random"))
        assert (upstream.zone_kib is not None) == any(server.max_conns for server in upstream.servers)


@given(any_world, rules, st.sampled_from(BAD_LABELS), st.data())
def test_a_bad_label_never_changes_what_the_others_get(
    world: Any, rules_: Rules, bad: dict[str, str], data: st.DataObject
) -> None:
    """One container never harms another: bad labels are as good as none."""
    assume(world)
    chosen = data.draw(st.sampled_from(world))
    spoilt = replace(chosen, labels=sorted_labels(dict(chosen.labels) | bad))
    disabled = replace(chosen, labels=sorted_labels(ENABLED | {"lbwatch.enable": "false"}))
    others = tuple(container for container in world if container is not chosen)
    assume("lbwatch.enable" in bad or not any(key.lower() == "lbwatch.enable" for key, _ in chosen.labels))
    with_bad, without = decide_with((*others, spoilt), rules_), decide_with((*others, disabled), rules_)
    assert with_bad.upstreams == without.upstreams
    assert _but(with_bad, chosen.name) == _but(without, chosen.name)
    assert reasons_of(with_bad, chosen.name) == ["bad-label"]


@given(any_world, rules, st.sampled_from(BAD_LABELS), st.sampled_from(list(ContainerStatus)))
def test_a_container_with_a_bad_label_may_come_and_go_unseen(
    world: Any, rules_: Rules, bad: dict[str, str], status: ContainerStatus
) -> None:
    """Its mere presence, at an address that another one has, must not move anybody."""
    address = next((text for container in world for text in _addresses(container)), "172.18.0.2")
    endpoints = (Endpoint(network="front", ipv4=address),)
    newcomer = container("zz-new", labels=bad, status=status, endpoints=endpoints, started_ns=10**18)
    before, after = decide_with(world, rules_), decide_with((*world, newcomer), rules_)
    assert after.upstreams == before.upstreams
    assert _but(after, "zz-new") == _but(before, "zz-new")


def _but(plan: Plan, name: str) -> tuple[Any, Any]:
    return (
        [skip for skip in plan.skipped if skip.container != name],
        [notice for notice in plan.notices if notice.container != name],
    )


@given(worlds(wild_labels), rules)
@example((container(labels={"lbwatch.network": "\x1b[2J\nforged"}),), Rules())
@example((container(labels={"lbwatch.network": "x" * 10_000}),), Rules())
@example((container("web", labels=ENABLED | {"com.docker.swarm.service.name": "\n" * 9}),), Rules())
def test_what_is_said_is_one_short_printable_line(world: Any, rules_: Rules) -> None:
    """Reasons and warnings go to terminals and logs: nobody's label may forge a line there."""
    plan = decide_with(world, rules_)
    for detail in [*(skip.detail for skip in plan.skipped), *(notice.detail for notice in plan.notices)]:
        assert detail.isprintable()
        assert len(detail) <= 1200


# -- who is wanted


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


@pytest.mark.parametrize("bad", BAD_LABELS, ids=str)
def test_a_wrong_value_takes_that_container_out_and_no_other(bad: dict[str, str]) -> None:
    """Its neighbour in the same upstream goes on as if it were alone."""
    good = container("good", labels={"lbwatch.upstream": "web"})
    plan = decide(good, container("bad", labels={"lbwatch.upstream": "web"} | bad))
    assert [server.container for _, server in servers_of(plan)] == ["good"]
    assert reasons_of(plan, "bad") == ["bad-label"]


def test_an_unknown_label_is_a_warning_and_routed_all_the_same() -> None:
    """A typing error must show in `explain`, not in an outage."""
    plan = decide(container(labels=ENABLED | {"lbwatch.prot": "80"}))
    assert len(lines_of(plan, "web")) == 1
    (notice,) = plan.notices
    assert (notice.container, str(notice.kind)) == ("web", "unknown-label")
    assert "lbwatch.prot" in notice.detail


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


def test_replicas_of_a_compose_service_share_an_upstream() -> None:
    """That is what a load balancer is for."""
    plan = decide(*(container(f"web-{number}", labels=ENABLED | COMPOSE) for number in (1, 2, 3)))
    assert len(lines_of(plan, "shop-web")) == 3


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
    (skip,) = plan.skipped
    assert (skip.upstream, str(skip.reason)) == ("admin", "no-network")


# -- state


@pytest.mark.parametrize(
    "status",
    [
        ContainerStatus.EXITED,
        ContainerStatus.PAUSED,
        ContainerStatus.RESTARTING,
        ContainerStatus.DEAD,
        ContainerStatus.REMOVING,
    ],
)
def test_a_container_that_does_not_run_serves_nothing_and_keeps_its_upstreams_name(status: ContainerStatus) -> None:
    """The user's `proxy_pass http://web` must stay valid while web is down: nginx refuses an unknown upstream's host."""
    plan = decide(container(status=status))
    assert lines_of(plan, "web") == []
    assert reasons_of(plan, "web") == ["paused" if status is ContainerStatus.PAUSED else "not-running"]


def test_a_stopped_container_keeps_each_of_its_names_and_only_those() -> None:
    """Named upstreams are names too; a stopped one-off or unlabelled container has none to keep."""
    stopped = container(
        labels={"lbwatch.upstreams.a.port": "80", "lbwatch.upstreams.b.port": "81"}, status=ContainerStatus.EXITED
    )
    one_off = container("run", labels=ENABLED | {"com.docker.compose.oneoff": "True"}, status=ContainerStatus.EXITED)
    plain = container("plain", labels={}, status=ContainerStatus.EXITED)
    off = container("off", labels={"lbwatch.enable": "false"}, status=ContainerStatus.EXITED)
    plan = decide(stopped, one_off, plain, off)
    assert [upstream.name for upstream in plan.upstreams] == ["a", "b"]


def test_a_stopped_container_without_port_or_network_still_keeps_its_name() -> None:
    """A stopped container has no addresses; its name must not depend on them."""
    assert lines_of(decide(container(status=ContainerStatus.EXITED, endpoints=(), exposed=())), "web") == []


def test_a_container_that_was_only_created_is_not_routed() -> None:
    """It has an address already, 0.3 s before it listens."""
    plan = decide(container(status=ContainerStatus.CREATED))
    assert servers_of(plan) == []
    assert reasons_of(plan, "web") == ["not-running"]


def web(name: str, health: Health, /, **more: str) -> Container:
    labels = {"lbwatch.upstream": "web"} | {f"lbwatch.{key}": value for key, value in more.items()}
    return container(name, labels=labels, health=health)


def serving(*containers: Container) -> list[str]:
    return sorted(server.container for _, server in servers_of(decide(*containers)))


def test_ready_containers_serve_before_unhealthy_ones() -> None:
    """As long as one answers its check, nobody is sent to one that does not."""
    sick, well, plain = web("sick", Health.UNHEALTHY), web("well", Health.HEALTHY), web("plain", Health.NONE)
    assert serving(sick, well, plain) == ["plain", "well"]
    assert reasons_of(decide(sick, well), "sick") == ["unhealthy"]


def test_unhealthy_containers_serve_when_no_other_is_left() -> None:
    """A broken check must not turn a limping service into none."""
    assert serving(web("sick-1", Health.UNHEALTHY), web("sick-2", Health.UNHEALTHY)) == ["sick-1", "sick-2"]


def test_a_starting_container_never_serves() -> None:
    """Not even alone: it has never answered yet."""
    assert serving(web("new", Health.STARTING)) == []
    assert serving(web("new", Health.STARTING), web("sick", Health.UNHEALTHY)) == ["sick"]
    assert reasons_of(decide(web("new", Health.STARTING)), "new") == ["starting"]


@pytest.mark.parametrize("health", [Health.STARTING, Health.UNHEALTHY])
def test_health_ignore_makes_a_container_ready(health: Health) -> None:
    """A check that means something else must not decide over traffic."""
    assert serving(web("other", health, health="ignore"), web("well", Health.HEALTHY)) == ["other", "well"]
    assert serving(web("other", health, health="auto"), web("well", Health.HEALTHY)) == ["well"]


def test_classes_are_chosen_for_each_upstream_alone() -> None:
    """A healthy api says nothing about web."""
    sick = container("sick", labels={"lbwatch.upstream": "web"}, health=Health.UNHEALTHY)
    well = container("well", labels={"lbwatch.upstream": "api"}, health=Health.HEALTHY)
    assert serving(sick, well) == ["sick", "well"]


# -- draining

BY_HAND = "it is drained by hand"


def drained(*containers: Container, who: Collection[str]) -> Plan:
    """Decide with these, by name, told to stop or drained by hand."""
    draining = {container.id: BY_HAND for container in containers if container.name in who}
    return desired_state([snapshot(containers)], rules=Rules(), draining=draining)


def names_in(plan: Plan) -> list[str]:
    return sorted(server.container for server in upstream_of(plan, "web").servers)


def kinds_of(plan: Plan) -> list[tuple[str, str]]:
    return [(notice.container, str(notice.kind)) for notice in plan.notices]


_members = st.lists(
    st.tuples(
        st.sampled_from([ContainerStatus.RUNNING] * 6 + [ContainerStatus.PAUSED, ContainerStatus.EXITED]),
        st.sampled_from(list(Health)),
        st.booleans(),  # whether it is draining
        st.sampled_from([None, "auto", "ignore", "ignore"]),
    ),
    min_size=1,
    max_size=6,
)


@given(_members)
@example(
    [
        (ContainerStatus.RUNNING, Health.UNHEALTHY, False, "ignore"),
        (ContainerStatus.RUNNING, Health.HEALTHY, True, None),
    ]
)
@example(
    [(ContainerStatus.RUNNING, Health.STARTING, True, None), (ContainerStatus.RUNNING, Health.UNHEALTHY, False, None)]
)
@example(
    [(ContainerStatus.RUNNING, Health.UNHEALTHY, True, None), (ContainerStatus.RUNNING, Health.UNHEALTHY, False, None)]
)
def test_the_first_class_that_is_not_empty_serves(
    facts: list[tuple[ContainerStatus, Health, bool, str | None]],
) -> None:
    """Who serves is the heart of the contract, said a second time: ready, else draining, else unhealthy."""
    classes: dict[str, list[str]] = {"ready": [], "serves-draining": [], "serves-unhealthy": []}
    containers, who = [], []
    for number, (status, health, drains, label) in enumerate(facts):
        container = web(f"c{number}", health, **({} if label is None else {"health": label}))
        containers.append(replace(container, status=status))
        if drains:
            who.append(container.name)
        if status is not ContainerStatus.RUNNING or (health is Health.STARTING and label != "ignore"):
            continue
        if drains:
            classes["serves-draining"].append(container.name)
        elif health is Health.UNHEALTHY and label != "ignore":
            classes["serves-unhealthy"].append(container.name)
        else:
            classes["ready"].append(container.name)
    plan = drained(*containers, who=who)
    kind, wanted = next(((kind, names) for kind, names in classes.items() if names), ("ready", []))
    assert names_in(plan) == wanted
    assert kinds_of(plan) == ([] if kind == "ready" else [(name, kind) for name in wanted])
    passed_over = {"serves-draining": "draining", "serves-unhealthy": "unhealthy"}
    for other, names in classes.items():
        for name in names:
            assert reasons_of(plan, name) == ([] if other == kind else [passed_over[other]])


@given(any_world, rules, st.data())
def test_a_drain_never_empties_an_upstream(world: Any, rules_: Rules, data: st.DataObject) -> None:
    """The last servers stay until they die, whoever is drained, and no other upstream is touched."""
    ids = data.draw(st.sets(st.sampled_from([container.id for container in world]))) if world else set()
    before = decide_with(world, rules_)
    after = desired_state([snapshot(world)], rules=rules_, draining=dict.fromkeys(ids, BY_HAND))
    names = {container.name for container in world if container.id in ids}
    assert [(upstream.name, bool(upstream.servers)) for upstream in after.upstreams] == [
        (upstream.name, bool(upstream.servers)) for upstream in before.upstreams
    ]
    served_by_drained = {name for name, server in servers_of(before) if server.container in names}
    for old, new in zip(before.upstreams, after.upstreams, strict=True):
        asked_by_drained = {skip.upstream for skip in before.skipped if skip.container in names}
        if old.name not in served_by_drained | asked_by_drained:
            assert (old.method, old.keepalive) == (new.method, new.keepalive)
            assert [(each.address, each.port) for each in old.servers] == [
                (each.address, each.port) for each in new.servers
            ]


def test_a_draining_container_is_out_as_long_as_another_is_ready_and_its_reason_is_told() -> None:
    """`explain` must say in words who took it out, and how it comes back."""
    plan = drained(web("old", Health.NONE), web("new", Health.NONE), who=["old"])
    assert names_in(plan) == ["new"]
    (skip,) = plan.skipped
    assert (skip.container, str(skip.reason), skip.detail, skip.upstream) == ("old", "draining", BY_HAND, "web")
    assert plan.notices == ()


def test_the_last_draining_servers_stay_with_a_notice() -> None:
    """A draining container still answers, which beats a 502; that nobody else is there must be seen."""
    plan = drained(web("one", Health.NONE), web("two", Health.HEALTHY), who=["one", "two"])
    assert names_in(plan) == ["one", "two"]
    assert kinds_of(plan) == [("one", "serves-draining"), ("two", "serves-draining")]
    assert plan.notices[0].detail == f"{BY_HAND}, and it serves upstream web all the same: nobody is ready"
    assert plan.skipped == ()


def test_unhealthy_servers_that_serve_have_a_notice() -> None:
    """A site that runs on sick servers alone looks well from outside, until it does not."""
    plan = drained(web("sick", Health.UNHEALTHY), who=[])
    assert names_in(plan) == ["sick"]
    assert kinds_of(plan) == [("sick", "serves-unhealthy")]
    assert "health check fails" in plan.notices[0].detail


def test_draining_servers_come_before_unhealthy_ones() -> None:
    """The one was well a moment ago and answers what it took; the other may answer nothing."""
    plan = drained(web("sick", Health.UNHEALTHY), web("old", Health.HEALTHY), who=["old"])
    assert names_in(plan) == ["old"]
    assert reasons_of(plan, "sick") == ["unhealthy"]
    assert kinds_of(plan) == [("old", "serves-draining")]


def test_a_starting_container_lets_the_draining_one_go_on() -> None:
    """A deployment that stops the old one before the new one is up must not make a gap."""
    plan = drained(web("old", Health.HEALTHY), web("new", Health.STARTING), who=["old", "new"])
    assert names_in(plan) == ["old"]
    assert reasons_of(plan, "new") == ["starting"]


def test_a_drained_container_is_out_of_each_of_its_upstreams_where_another_is_ready() -> None:
    """Classes are each upstream's own, the drain is the container's."""
    labels = {"lbwatch.upstreams.web.port": "80", "lbwatch.upstreams.admin.port": "81"}
    plan = drained(container("both", labels=labels), web("other", Health.NONE), who=["both"])
    assert names_in(plan) == ["other"]
    assert len(lines_of(plan, "admin")) == 1
    assert [(skip.container, skip.upstream) for skip in plan.skipped] == [("both", "web")]
    assert kinds_of(plan) == [("both", "serves-draining")]


@pytest.mark.parametrize(("key", "value", "meaning"), [("method", "least_conn", "least_conn"), ("keepalive", "16", 16)])
def test_the_oldest_has_its_word_also_while_it_drains(key: str, value: str, meaning: object) -> None:
    """A deployment that drains one after the other must not flip the method with each of them."""
    old = replace(web("old", Health.NONE, **{key: value}), created_ns=1)
    plan = drained(old, web("new", Health.NONE), who=["old"])
    assert names_in(plan) == ["new"]
    assert getattr(upstream_of(plan, "web"), key) == meaning


def test_a_backup_serves_alone_while_the_main_server_drains() -> None:
    """That is what it is for, and nginx refuses an upstream of backups only."""
    plan = drained(web("main", Health.NONE), web("spare", Health.NONE, backup="true"), who=["main"])
    (server,) = upstream_of(plan, "web").servers
    assert (server.container, server.backup) == ("spare", False)


def test_an_address_that_two_share_is_written_once_for_the_one_that_is_ready() -> None:
    """With the owner of the network drained, who shares it must not be taken for a second line of it."""
    owner = container(labels={"lbwatch.upstream": "web"}, endpoints=(Endpoint(network="front", ipv4="172.18.0.2"),))
    side = joined(owner, labels={"lbwatch.upstream": "web"}, exposed=(80,))
    plan = drained(owner, side, who=["web"])
    assert names_in(plan) == ["side"]
    assert reasons_of(plan, "web") == ["draining"]
    assert reasons_of(plan, "side") == []


def test_a_drain_of_who_does_not_serve_changes_nothing() -> None:
    """A stopped container that is drained by hand is stopped first of all."""
    stopped = replace(web("stopped", Health.NONE), status=ContainerStatus.EXITED)
    plan = drained(stopped, web("one", Health.NONE), who=["stopped", "nobody"])
    assert plan == decide(stopped, web("one", Health.NONE))


def test_a_label_that_hides_the_signals_is_noticed() -> None:
    """Any HUP then drains it for a minute, and nothing else would say why."""
    hidden = replace(web("odd", Health.NONE), stop_signal=None)
    plan = drained(hidden, web("plain", Health.NONE), who=[])
    assert kinds_of(plan) == [("odd", "signal-hidden")]
    assert names_in(plan) == ["odd", "plain"]


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


# -- network

BACK = Endpoint(network="back", ipv4="172.19.0.2")
FRONT = Endpoint(network="front", ipv4="172.18.0.2")
SHOP = Endpoint(network="shop_inner", ipv4="172.20.0.2")


def place(*endpoints: Endpoint, labels: dict[str, str] | None = None, networks: tuple[str, ...] = ()) -> str:
    """Give the one address, or the one reason, of a container on these networks."""
    plan = decide(container(labels=ENABLED | (labels or {}), endpoints=on(*endpoints)), networks=networks)
    places = [server.address for _, server in servers_of(plan)]
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
        (skip,) = decide(container(labels=ENABLED | labels, endpoints=(FRONT,)), networks=networks).skipped
        for word in ("front", "vpn", *networks):
            assert word in skip.detail


def test_without_settings_the_first_network_by_name_counts() -> None:
    """A choice that any engine's answer gives again."""
    assert place(BACK, FRONT) == "172.19.0.2"
    assert place() == "no-network"


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


# -- networks of others


def joined(owner: Container, **given: Any) -> Container:
    facts: dict[str, Any] = {
        "endpoints": (),
        "network_of": owner.id,
        "started_ns": owner.started_ns + 1,
        "exposed": (81,),
    }
    return container("side", **(facts | given))


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


def test_an_equal_address_and_port_is_written_once() -> None:
    """Two lines for one place would double its weight without a word from nginx."""
    owner = container(labels={"lbwatch.upstream": "web"}, endpoints=(FRONT,))
    side = joined(owner, labels={"lbwatch.upstream": "web"}, exposed=(80,))
    plan = decide(owner, side)
    assert lines_of(plan, "web") == ["172.18.0.2:80"]
    assert sorted(reasons_of(plan, "web") + reasons_of(plan, "side")) == ["same-address"]


def test_a_container_on_the_hosts_network_is_at_loopback_where_nginx_shares_it() -> None:
    """Everywhere else 127.0.0.1 would be nginx itself."""
    host = container(host_network=True, endpoints=(Endpoint(network="host"),))
    assert lines_of(decide(host, host_shared=True), "web") == ["127.0.0.1:80"]
    assert reasons_of(decide(host, host_shared=False), "web") == ["host-network"]


def test_containers_on_the_hosts_network_are_no_conflict() -> None:
    """They share one network on purpose."""
    one = container("one", host_network=True, endpoints=(), exposed=(80,))
    two = container("two", host_network=True, endpoints=(), exposed=(81,))
    plan = decide(one, two, host_shared=True)
    assert (lines_of(plan, "one"), lines_of(plan, "two")) == (["127.0.0.1:80"], ["127.0.0.1:81"])


# -- conflicts


def claim(name: str, started: int, **given: Any) -> Container:
    return container(name, endpoints=(FRONT,), started_ns=started, **given)


def test_of_two_claims_to_one_address_the_newer_start_wins() -> None:
    """The engine gives a freed address out again: the older claim is a leftover that an event was lost of."""
    plan = decide(claim("old", 5), claim("new", 6))
    assert (lines_of(plan, "old"), lines_of(plan, "new")) == ([], ["172.18.0.2:80"])
    assert reasons_of(plan, "old") == ["address-conflict"]


def test_a_conflict_is_about_the_address_and_not_the_port() -> None:
    """Another port at somebody else's address is somebody else's port."""
    plan = decide(claim("old", 5, exposed=(81,)), claim("new", 6))
    assert [server.container for _, server in servers_of(plan)] == ["new"]


def test_a_conflict_between_engines_is_one_too() -> None:
    """Two engines may use the same subnet; nginx reaches only one of them at that address."""
    one = Snapshot(source="one", containers={"1": replace(claim("old", 5), id="1")})
    two = Snapshot(source="two", containers={"2": replace(claim("new", 6), id="2")})
    plan = desired_state([one, two], rules=Rules())
    assert [server.container for _, server in servers_of(plan)] == ["new"]


def test_one_address_written_in_two_ways_is_one_address() -> None:
    """IPv6 has many spellings."""
    one = container("one", endpoints=(Endpoint(network="front", ipv6="fd00::2"),), started_ns=5)
    two = container("two", endpoints=(Endpoint(network="front", ipv6="FD00:0:0::2"),), started_ns=6)
    assert reasons_of(decide(one, two), "one") == ["address-conflict"]


@pytest.mark.parametrize("loser", [ContainerStatus.EXITED, ContainerStatus.PAUSED])
def test_a_container_that_does_not_run_claims_no_address(loser: ContainerStatus) -> None:
    """Only running ones have one."""
    plan = decide(claim("old", 5), claim("new", 6, status=loser))
    assert [server.container for _, server in servers_of(plan)] == ["old"]


def test_those_who_share_the_losers_network_lose_with_it() -> None:
    """Their address is the loser's, which leads elsewhere now."""
    old = claim("old", 5)
    side = joined(old, started_ns=5)
    plan = decide(old, side, claim("new", 9))
    assert [server.container for _, server in servers_of(plan)] == ["new"]
    assert reasons_of(plan, "side") == ["address-conflict"]


# -- parameters


def test_a_servers_parameters_are_its_containers() -> None:
    """Each label of the table that is a parameter of nginx's `server` arrives at the server."""
    labels = {"weight": "5", "max_fails": "0", "fail_timeout": "1m", "max_conns": "7", "vars.team": "red; }"}
    (found,) = servers_of(decide(container(labels={f"lbwatch.{key}": value for key, value in labels.items()})))
    server = found[1]
    assert (server.weight, server.max_fails, server.fail_timeout_s, server.max_conns) == (5, 0, 60, 7)
    assert dict(server.vars) == {"team": "red; }"}


def test_max_conns_gives_the_upstream_a_zone() -> None:
    """Without one nginx counts for each worker, and the limit is a multiple of what was asked."""
    assert upstream_of(decide(web("one", Health.NONE, max_conns="5")), "web").zone_kib
    assert upstream_of(decide(web("one", Health.NONE)), "web").zone_kib is None


def backups(*containers: Container) -> tuple[dict[str, bool], list[str]]:
    plan = decide(*containers)
    return (
        {server.container: server.backup for _, server in servers_of(plan)},
        [notice.container for notice in plan.notices if str(notice.kind) == "backup-dropped"],
    )


def test_a_backup_beside_another_server_is_kept() -> None:
    """As its owner wished, also with the methods that allow it."""
    for method in ("round_robin", "least_conn"):
        main, spare = web("main", Health.NONE, method=method), web("spare", Health.NONE, backup="true")
        assert backups(main, spare) == ({"main": False, "spare": True}, [])


@pytest.mark.parametrize("method", ["ip_hash", "random", "hash $uri", "hash $uri consistent"])
def test_a_backup_is_dropped_with_a_warning_where_the_method_takes_none(method: str) -> None:
    """nginx would refuse the whole file."""
    main, spare = web("main", Health.NONE, method=method), web("spare", Health.NONE, backup="true")
    assert backups(main, spare) == ({"main": False, "spare": False}, ["spare"])


def test_a_backup_is_dropped_with_a_warning_where_no_other_server_is_left() -> None:
    """nginx refuses an upstream of backups only."""
    spares = [web(name, Health.NONE, backup="true") for name in ("spare-1", "spare-2")]
    assert backups(*spares) == ({"spare-1": False, "spare-2": False}, ["spare-1", "spare-2"])


def test_a_backup_serves_alone_when_the_main_server_is_stopped_or_unhealthy() -> None:
    """That is what it is for; what does not serve is no other server."""
    spare = web("spare", Health.NONE, backup="true")
    for main in (replace(web("main", Health.NONE), status=ContainerStatus.EXITED), web("main", Health.UNHEALTHY)):
        assert backups(main, spare) == ({"spare": False}, ["spare"])


def old_and_new(key: str, old: str | None, new: str | None) -> Plan:
    def member(name: str, created: int, value: str | None) -> Container:
        labels = {"lbwatch.upstream": "web"} | ({f"lbwatch.{key}": value} if value else {})
        return container(name, labels=labels, created_ns=created)

    return decide(member("zz-old", 1, old), member("aa-new", 2, new))


@pytest.mark.parametrize(
    ("key", "old", "new", "read"),
    [
        ("method", "least_conn", "ip_hash", lambda upstream: upstream.method == "least_conn"),
        ("method", "round_robin", "ip_hash", lambda upstream: upstream.method is None),
        ("keepalive", "16", "32", lambda upstream: upstream.keepalive == 16),
    ],
)
def test_where_members_differ_the_oldest_container_wins_with_a_warning(
    key: str, old: str, new: str, read: Callable[[Any], bool]
) -> None:
    """A deployment of a new version must not flip the method back and forth with the order of answers."""
    plan = old_and_new(key, old, new)
    assert read(upstream_of(plan, "web"))
    (notice,) = plan.notices
    assert (notice.container, str(notice.kind)) == ("aa-new", f"{key}-differs")


@pytest.mark.parametrize(("key", "value", "meaning"), [("method", "least_conn", "least_conn"), ("keepalive", "16", 16)])
def test_members_that_agree_or_say_nothing_give_no_warning(key: str, value: str, meaning: object) -> None:
    """A label on one of many is enough, whichever it is."""
    for old, new in ((value, value), (value, None), (None, value)):
        plan = old_and_new(key, old, new)
        assert getattr(upstream_of(plan, "web"), key) == meaning
        assert plan.notices == ()


def test_servers_are_in_order_of_their_numbers() -> None:
    """.9 before .10: a file that people read, and differences that show only what changed."""
    endpoints = ["172.18.0.10", "172.18.0.9", "10.0.0.100"]
    world = [
        container(f"c{n}", labels={"lbwatch.upstream": "web"}, endpoints=(Endpoint(network="front", ipv4=address),))
        for n, address in enumerate(endpoints)
    ]
    six = container("six", labels={"lbwatch.upstream": "web"}, endpoints=(Endpoint(network="front", ipv6="fd00::1"),))
    assert lines_of(decide(*world, six), "web") == [
        "10.0.0.100:80", "172.18.0.9:80", "172.18.0.10:80", "[fd00::1]:80"
    ]  # fmt: skip


# -- declare


def test_a_declared_upstream_exists_without_a_container() -> None:
    """nginx may then start before the first container."""
    plan = decide(declare=("later", "Other"))
    assert [(upstream.name, upstream.servers) for upstream in plan.upstreams] == [("later", ()), ("other", ())]


def test_a_declared_upstream_takes_containers_as_any_other() -> None:
    """Declaring is no more than a promise of the name."""
    plan = decide(container(endpoints=(FRONT,)), declare=("WEB",))
    assert lines_of(plan, "web") == ["172.18.0.2:80"]
    assert len(plan.upstreams) == 1


def test_an_empty_world_wants_nothing() -> None:
    """An engine without containers is a true answer, not an error."""
    assert decide() == Plan()


@given(st.dictionaries(hostile_text, hostile_text, max_size=4))
def test_foreign_labels_change_nothing(foreign: dict[str, str]) -> None:
    """What other programs write on a container is not read."""
    foreign = {key: value for key, value in foreign.items() if not key.lower().startswith(("lbwatch.", "com.docker."))}
    assert decide(container(labels=ENABLED | foreign)) == decide(container(labels=ENABLED))


# -- bounds


def hashed(number: int, *, weight: int, method: str = "hash $uri consistent", upstream: str = "web") -> Any:
    """One of many members of an upstream."""
    labels = {"lbwatch.upstream": upstream, "lbwatch.weight": str(weight), "lbwatch.method": method}
    ends = on(Endpoint(network="front", ipv4=f"172.20.0.{number}"))
    return container(f"c{number:03}", labels=labels | {"lbwatch.keepalive": "100"}, endpoints=ends)


def test_weights_of_a_consistent_hash_are_bounded_together() -> None:
    """nginx takes 2.5 KB for each unit: 1,000 servers of weight 1000 would be 2.5 GB, at every reload."""
    plan = decide(*(hashed(number, weight=1000 if number < 9 else 10) for number in range(1, 10)))
    assert [server.weight for server in upstream_of(plan, "web").servers] == [249] * 8 + [2]
    assert [(notice.kind, notice.container) for notice in plan.notices] == [
        ("scaled-down", f"c{number:03}") for number in range(1, 10)
    ]


def test_weights_are_left_alone_where_they_cost_nothing() -> None:
    """Only the consistent hash makes points of them, and few of them are cheap there too."""
    few = decide(*(hashed(number, weight=1000) for number in (1, 2)))
    other = decide(*(hashed(number, weight=1000, method="hash $uri") for number in range(1, 10)))
    for plan in (few, other):
        assert {server.weight for server in upstream_of(plan, "web").servers} == {1000}
        assert not plan.notices


def test_weights_and_keepalive_of_all_upstreams_are_bounded_together() -> None:
    """64 upstreams for each of a few containers, as dear as they can be, are gigabytes again."""
    labels = {
        f"lbwatch.upstreams.u{number}.{key}": value
        for number in range(64)
        for key, value in (("weight", "1000"), ("method", "hash $uri consistent"), ("keepalive", "10000"))
    }
    greedy = [container(f"g{each}", labels=labels) for each in range(4)]
    plan = decide(*greedy, hashed(9, weight=7, method="least_conn", upstream="modest"))
    weights = [server.weight for name, server in servers_of(plan) if name != "modest"]
    assert len(weights) == 256
    assert 9_000 <= sum(weights) <= 10_000
    assert 45_000 <= sum(upstream.keepalive or 0 for upstream in plan.upstreams) <= 50_000
    assert [server.weight for server in upstream_of(plan, "modest").servers] == [7]

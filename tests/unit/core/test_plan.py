"""From what engines say to what nginx should have: laws for any world, then each rule about more than one container."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from strategies import (
    ADDRESSES,
    BAD_LABELS,
    container,
    decide,
    lines_of,
    notices,
    planned,
    reasons_of,
    rules,
    servers_of,
    snapshot,
    sorted_labels,
    unrouted,
    upstream_of,
    wild_labels,
    worlds,
)
from worlds import BY_HAND, any_world, decide_with, drained, joined, web

from lbwatch.core.model import Container, ContainerStatus, Endpoint, Health, Plan, Snapshot, Suspended
from lbwatch.core.plan import Rules

COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
ENABLED = {"lbwatch.enable": "true"}
FRONT = Endpoint(network="front", ipv4="172.18.0.2")


# -- laws


@given(any_world, rules, st.randoms(use_true_random=False))
def test_the_same_world_gives_the_same_result_in_any_order(world: Any, rules_: Rules, random: Any) -> None:
    """Engines answer in any order: a file that depends on it would be reloaded for nothing."""
    shuffled = list(world)
    random.shuffle(shuffled)
    cut = random.randint(0, len(shuffled))
    engines = [snapshot(shuffled[:cut], source="one"), snapshot(shuffled[cut:], source="two")]
    random.shuffle(engines)
    assert planned(engines, rules=rules_) == decide_with(world, rules_)


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
    skipped = {skip.container for skip in unrouted(plan)}
    assert serving | skipped == {container.name for container in world}
    assert all(skip.detail for skip in unrouted(plan))
    assert not serving & {skip.container for skip in unrouted(plan) if skip.upstream is None}
    said = {(name, server.container) for name, server in servers_of(plan)}
    assert all(
        (skip.upstream, skip.container) not in said or _is_double(world, skip.container) for skip in unrouted(plan)
    )


def _is_double(world: tuple[Container, ...], name: str) -> bool:
    """Return whether a container asks for one upstream twice, so that one place may serve and the other may not."""
    (container,) = [container for container in world if container.name == name]
    return sum(".upstreams." in key.lower() for key, _ in container.labels) > 0


@given(any_world, rules)
def test_the_exit_is_sorted_and_without_doubles(world: Any, rules_: Rules) -> None:
    """Upstreams by name, servers by address and port, each once: doubles double a weight or refuse the file."""
    plan = decide_with(world, rules_)
    names = [upstream.name for upstream in plan.upstreams]
    assert names == sorted({name.lower() for name in names})
    for upstream in plan.upstreams:
        places = [(ip_address(server.address), server.port) for server in upstream.servers]
        keys = [(address.version, int(address), port) for address, port in places]
        assert keys == sorted(set(keys))


@given(any_world, rules)
def test_only_addresses_where_a_container_can_be_come_out(world: Any, rules_: Rules) -> None:
    """169.254.169.254 or the host's own loopback must not become a server, whatever an engine says."""
    known = {ip_address(text.partition("%")[0]) for container in world for text in _addresses(container)}
    on_host = {container.id for container in world if container.host_network}
    host_names = {container.name for container in world if container.host_network or container.network_of in on_host}
    for _, server in servers_of(decide_with(world, rules_)):
        address = ip_address(server.address)
        assert server.host_port.startswith("[") == (address.version == 6)
        if server.address == "127.0.0.1":
            assert rules_.host_shared
            assert server.container in host_names
            continue
        assert address in known
        assert not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def _addresses(container: Container) -> list[str]:
    texts = [text for endpoint in container.endpoints for text in (endpoint.ipv4, endpoint.ipv6)]
    texts += [value for key, value in container.labels if key.endswith(".address") and value in ADDRESSES]
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
        [skip for skip in unrouted(plan) if skip.container != name],
        [notice for notice in notices(plan) if notice.container != name],
    )


@given(worlds(wild_labels), rules)
@example((container(labels={"lbwatch.network": "\x1b[2J\nforged"}),), Rules())
@example((container(labels={"lbwatch.network": "x" * 10_000}),), Rules())
@example((container("web", labels=ENABLED | {"com.docker.swarm.service.name": "\n" * 9}),), Rules())
def test_what_is_said_is_one_short_printable_line(world: Any, rules_: Rules) -> None:
    """Reasons and warnings go to terminals and logs: nobody's label may forge a line there."""
    plan = decide_with(world, rules_)
    for detail in [*(skip.detail for skip in unrouted(plan)), *(notice.detail for notice in notices(plan))]:
        assert detail.isprintable()
        assert len(detail) <= 1200


# -- who is wanted


@pytest.mark.parametrize("bad", BAD_LABELS, ids=str)
def test_a_wrong_value_takes_that_container_out_and_no_other(bad: dict[str, str]) -> None:
    """Its neighbour in the same upstream goes on as if it were alone."""
    good = container("good", labels={"lbwatch.upstream": "web"})
    plan = decide(good, container("bad", labels={"lbwatch.upstream": "web"} | bad))
    assert [server.container for _, server in servers_of(plan)] == ["good"]
    assert reasons_of(plan, "bad") == ["bad-label"]


# -- names


def test_replicas_of_a_compose_service_share_an_upstream() -> None:
    """That is what a load balancer is for."""
    plan = decide(*(container(f"web-{number}", labels=ENABLED | COMPOSE) for number in (1, 2, 3)))
    assert len(lines_of(plan, "shop-web")) == 3


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


def names_in(plan: Plan) -> list[str]:
    return sorted(server.container for server in upstream_of(plan, "web").servers)


def kinds_of(plan: Plan) -> list[tuple[str, str]]:
    return [(notice.container, str(notice.kind)) for notice in notices(plan)]


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
    rules_ = replace(rules_, hold_refusal="requests that wait for a server are test_group's")
    ids = data.draw(st.sets(st.sampled_from([container.id for container in world]))) if world else set()
    before = decide_with(world, rules_)
    after = planned([snapshot(world)], rules=rules_, suspended=Suspended(draining=dict.fromkeys(ids, BY_HAND)))
    names = {container.name for container in world if container.id in ids}
    assert [(upstream.name, bool(upstream.servers)) for upstream in after.upstreams] == [
        (upstream.name, bool(upstream.servers)) for upstream in before.upstreams
    ]
    served_by_drained = {name for name, server in servers_of(before) if server.container in names}
    for old, new in zip(before.upstreams, after.upstreams, strict=True):
        asked_by_drained = {skip.upstream for skip in unrouted(before) if skip.container in names}
        if old.name not in served_by_drained | asked_by_drained:
            assert (old.method, old.keepalive) == (new.method, new.keepalive)
            assert [(each.address, each.port) for each in old.servers] == [
                (each.address, each.port) for each in new.servers
            ]


def test_a_draining_container_is_out_as_long_as_another_is_ready_and_its_reason_is_told() -> None:
    """`explain` must say in words who took it out, and how it comes back."""
    plan = drained(web("old", Health.NONE), web("new", Health.NONE), who=["old"])
    assert names_in(plan) == ["new"]
    (skip,) = unrouted(plan)
    assert (skip.container, str(skip.reason), skip.detail, skip.upstream) == ("old", "draining", BY_HAND, "web")
    assert notices(plan) == ()


def test_the_last_draining_servers_stay_with_a_notice() -> None:
    """A draining container still answers, which beats a 502; that nobody else is there must be seen."""
    plan = drained(web("one", Health.NONE), web("two", Health.HEALTHY), who=["one", "two"])
    assert names_in(plan) == ["one", "two"]
    assert kinds_of(plan) == [("one", "serves-draining"), ("two", "serves-draining")]
    assert notices(plan)[0].detail == f"{BY_HAND}, but it still serves upstream web: no other server is ready"
    assert unrouted(plan) == ()


def test_unhealthy_servers_that_serve_have_a_notice() -> None:
    """A site that runs on sick servers alone looks well from outside, until it does not."""
    plan = drained(web("sick", Health.UNHEALTHY), who=[])
    assert names_in(plan) == ["sick"]
    assert kinds_of(plan) == [("sick", "serves-unhealthy")]
    assert "health check fails" in notices(plan)[0].detail


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
    assert [(skip.container, skip.upstream) for skip in unrouted(plan)] == [("both", "web")]
    assert kinds_of(plan) == [("both", "serves-draining")]


@pytest.mark.parametrize(("key", "value", "meaning"), [("method", "least_conn", "least_conn"), ("keepalive", "16", 16)])
def test_the_oldest_has_its_word_also_while_it_drains(key: str, value: str, meaning: object) -> None:
    """A deployment that drains one after the other must not flip the method with each of them."""
    old = replace(web("old", Health.NONE, **{key: value}), created_ns=1)
    plan = drained(old, web("new", Health.NONE), who=["old"])
    assert names_in(plan) == ["new"]
    assert str(getattr(upstream_of(plan, "web"), key)) == str(meaning)


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


# -- networks of others


def test_an_equal_address_and_port_is_written_once() -> None:
    """Two lines for one place would double its weight without a word from nginx."""
    owner = container(labels={"lbwatch.upstream": "web"}, endpoints=(FRONT,))
    side = joined(owner, labels={"lbwatch.upstream": "web"}, exposed=(80,))
    plan = decide(owner, side)
    assert lines_of(plan, "web") == ["172.18.0.2:80"]
    assert sorted(reasons_of(plan, "web") + reasons_of(plan, "side")) == ["same-address"]


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
    plan = planned([one, two], rules=Rules())
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


def old_and_new(key: str, old: str | None, new: str | None) -> Plan:
    def member(name: str, created: int, value: str | None) -> Container:
        labels = {"lbwatch.upstream": "web"} | ({f"lbwatch.{key}": value} if value else {})
        return container(name, labels=labels, created_ns=created)

    return decide(member("zz-old", 1, old), member("aa-new", 2, new))


@pytest.mark.parametrize(
    ("key", "old", "new", "read"),
    [
        ("method", "least_conn", "ip_hash", lambda upstream: str(upstream.method) == "least_conn"),
        ("method", "round_robin", "ip_hash", lambda upstream: upstream.method is None),
        ("keepalive", "16", "32", lambda upstream: upstream.keepalive == 16),
        ("hold", "15s", "0s", lambda upstream: upstream.hold_s == 15.0),
        ("hold", "0s", "15s", lambda upstream: upstream.hold_s == 0.0),
    ],
)
def test_where_members_differ_the_oldest_container_wins_with_a_warning(
    key: str, old: str, new: str, read: Callable[[Any], bool]
) -> None:
    """A deployment of a new version must not flip the method back and forth with the order of answers."""
    plan = old_and_new(key, old, new)
    assert read(upstream_of(plan, "web"))
    (notice,) = notices(plan)
    assert (notice.container, str(notice.kind)) == ("aa-new", f"{key}-differs")


@pytest.mark.parametrize(("key", "value", "meaning"), [("method", "least_conn", "least_conn"), ("keepalive", "16", 16)])
def test_members_that_agree_or_say_nothing_give_no_warning(key: str, value: str, meaning: object) -> None:
    """A label on one of many is enough, whichever it is."""
    for old, new in ((value, value), (value, None), (None, value)):
        plan = old_and_new(key, old, new)
        assert str(getattr(upstream_of(plan, "web"), key)) == str(meaning)
        assert notices(plan) == ()


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

"""What nginx takes of a plan, and can bear: its dialect, and what is changed for it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from strategies import (
    container,
    decide,
    notices,
    on,
    rules,
    servers_of,
    upstream_of,
)
from worlds import any_world, decide_with, drained, web

from lbwatch.balancers.nginx.limits import Limits, block, limited, parameters
from lbwatch.balancers.nginx.version import Version, version_in
from lbwatch.core.model import Container, ContainerStatus, Endpoint, Health, Plan, Server, Sticky, Upstream
from lbwatch.core.plan import Rules


@given(any_world, rules)
def test_nginx_never_gets_a_combination_that_it_refuses(world: Any, rules_: Rules) -> None:
    """Only backups, or a backup with hash, ip_hash or random, makes nginx refuse the whole file."""
    for upstream in decide_with(world, rules_).upstreams:
        backups = [server.backup for server in upstream.servers]
        assert not backups or not all(backups)
        if any(backups):
            assert not str(upstream.method or "").startswith(("hash", "ip_hash", "random"))
        assert (block(upstream).zone_kib is not None) == any(server.max_conns for server in upstream.servers)


def test_a_backup_serves_alone_while_the_main_server_drains() -> None:
    """That is what it is for, and nginx refuses an upstream of backups only."""
    plan = drained(web("main", Health.NONE), web("spare", Health.NONE, backup="true"), who=["main"])
    (server,) = upstream_of(plan, "web").servers
    assert (server.container, server.backup) == ("spare", False)


def test_max_conns_gives_the_upstream_a_zone() -> None:
    """Without one nginx counts for each worker, and the limit is a multiple of what was asked."""
    assert block(upstream_of(decide(web("one", Health.NONE, max_conns="5")), "web")).zone_kib
    assert block(upstream_of(decide(web("one", Health.NONE)), "web")).zone_kib is None


def backups(*containers: Container) -> tuple[dict[str, bool], list[str]]:
    plan = decide(*containers)
    return (
        {server.container: server.backup for _, server in servers_of(plan)},
        [notice.container for notice in notices(plan) if str(notice.kind) == "backup-dropped"],
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


def hashed(number: int, *, weight: int, method: str = "hash $uri consistent", upstream: str = "web") -> Any:
    """One of many members of an upstream."""
    labels = {"lbwatch.upstream": upstream, "lbwatch.weight": str(weight), "lbwatch.method": method}
    ends = on(Endpoint(network="front", ipv4=f"172.20.0.{number}"))
    return container(f"c{number:03}", labels=labels | {"lbwatch.keepalive": "100"}, endpoints=ends)


def test_weights_of_a_consistent_hash_are_bounded_together() -> None:
    """nginx takes 2.5 KB for each unit: 1,000 servers of weight 1000 would be 2.5 GB, at every reload."""
    plan = decide(*(hashed(number, weight=1000 if number < 9 else 10) for number in range(1, 10)))
    assert [server.weight for server in upstream_of(plan, "web").servers] == [249] * 8 + [2]
    assert [(notice.kind, notice.container) for notice in notices(plan)] == [
        ("scaled-down", f"c{number:03}") for number in range(1, 10)
    ]


def test_weights_are_left_alone_where_they_cost_nothing() -> None:
    """Only the consistent hash makes points of them, and few of them are cheap there too."""
    few = decide(*(hashed(number, weight=1000) for number in (1, 2)))
    other = decide(*(hashed(number, weight=1000, method="hash $uri") for number in range(1, 10)))
    for plan in (few, other):
        assert {server.weight for server in upstream_of(plan, "web").servers} == {1000}
        assert not notices(plan)


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


OFF = Upstream(name="off", servers=(Server(address="192.0.2.1", port=80, container="a"),), keepalive=0)
OTHER = Upstream(name="other", servers=OFF.servers, keepalive=8)


def version(text: str) -> Version:
    found = version_in(f"nginx version: nginx/{text}")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("nginx", "keepalive"), [("1.22.1", None), ("1.29.6", None), ("1.29.7", 0), ("1.30.6", 0), (None, None)]
)
def test_keepalive_is_switched_off_where_nginx_has_it_on(nginx: str | None, keepalive: int | None) -> None:
    """Before that version nginx keeps none by itself, and refuses the whole file for a 0."""
    found = limited(Plan(upstreams=(OFF, OTHER)), version=None if nginx is None else version(nginx))
    assert [each.keepalive for each in found.upstreams] == [keepalive, 8]
    assert found.routes == ()


def test_another_version_limits_the_same_plan_anew() -> None:
    """nginx is upgraded while nothing else changes; and what comes to the same is the same object."""
    limits, plan = Limits(), Plan(upstreams=(OFF, OTHER))
    old = limits.limited(plan, version=version("1.26.3"))
    assert limits.limited(plan, version=version("1.26.3")) is old
    new = limits.limited(plan, version=version("1.30.6"))
    assert [each.keepalive for each in new.upstreams] == [0, 8]
    assert new.upstreams[0] is OFF
    again = limits.limited(plan, version=None)
    assert [each.keepalive for each in again.upstreams] == [None, 8]


def test_an_only_server_beside_some_that_drain_is_never_given_up() -> None:
    """nginx would take none for 10 s after its first error, since it is not the only one by the count of lines."""
    ready = Server(address="192.0.2.1", port=80, container="a")
    drains = Server(address="192.0.2.2", port=80, container="b", draining=True)
    web_ = Upstream(name="web", servers=(ready, drains), sticky=Sticky(cookie="sid"))
    assert [parameters(each) for each in block(web_).servers] == [" max_fails=0", " drain"]
    two = replace(web_, servers=(ready, replace(ready, address="192.0.2.3"), drains))
    assert [parameters(each) for each in block(two).servers] == ["", "", " drain"]
    alone = replace(web_, servers=(ready,))
    assert [parameters(each) for each in block(alone).servers] == [""]


def test_a_cookie_holds_for_the_whole_site() -> None:
    """Without a path a browser sends it below the folder of the first request alone."""
    assert block(replace(OFF, sticky=Sticky(cookie="sid"))).sticky == "cookie sid path=/ httponly"
    assert block(OFF).sticky is None


def test_connections_are_kept_for_each_server_where_nobody_says_a_number() -> None:
    """nginx has one number for all; none at all where there is no server, since such a block has one line."""
    each = Upstream(name="a", servers=OFF.servers, keepalive_per_server=2)
    more = replace(each, servers=(*OFF.servers, Server(address="192.0.2.2", port=80, container="b")))
    assert [block(one).keepalive for one in (each, more, replace(each, servers=()))] == [2, 4, None]
    assert block(replace(each, keepalive=7)).keepalive == 7

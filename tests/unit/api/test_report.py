"""The state as JSON: its keys and types are a contract, and its two lists never contradict each other."""

from dataclasses import replace

from fakedaemon import FixedView, served
from statuses import MAYBE, NOW, PLAIN, STATE, applied_plan, engine_status, made_plan, made_status, server, wrong_in
from strategies import container, decide

from lbwatch.api.report import report_of, state_json
from lbwatch.core.model import (
    BalancerStatus,
    Degraded,
    Engine,
    Level,
    Plan,
    Published,
    Route,
    ServerState,
    Sticky,
    Task,
    Upstream,
    Waiting,
)
from lbwatch.core.model import Reason as Why


async def test_the_state_has_the_keys_and_types_of_the_contract() -> None:
    """Scripts break without a word where one is renamed."""
    async with served() as client:
        state = (await client.get("/api/state")).json
    assert wrong_in(state, STATE) == []
    empty = [key for key, each in state.items() if each in ([], {}, None) and key not in ("reasons", "remarks")]
    assert empty == [], "of all there is something to check"


async def test_the_state_of_a_daemon_that_knows_nothing_yet_has_the_same_keys() -> None:
    """A script that starts with it must not fall over what is not there yet."""
    look = made_status(
        engines=(engine_status(connected=False, synced_at=None, containers=None),),
        applied=applied_plan(in_force=None, confirmed=False, applied_at=None, digest=""),
        balancer=BalancerStatus(),
    )
    look = replace(look, applied=replace(look.applied, plan=None))
    async with served(FixedView(look)) as client:
        state = (await client.get("/api/state")).json
        assert wrong_in(state, STATE | {"applied": MAYBE, "workers": MAYBE}) == []
        assert (state["upstreams"], state["unrouted"], state["applied"]) == ([], [], None)
        assert (await client.get("/")).status == 200
        assert (await client.get("/metrics")).status == 200


async def test_the_placeholder_alone_is_down_and_has_no_container() -> None:
    """The contract's way to say that an upstream has nobody."""
    async with served() as client:
        state = (await client.get("/api/state")).json
    upstreams = {each["name"]: each["servers"] for each in state["upstreams"]}
    assert upstreams["later"] == [{"address": "127.0.0.1", "port": 1, "container": None, "state": "down"} | PLAIN]
    rest = [line for name, lines in upstreams.items() if name != "later" for line in lines]
    assert {line["container"] for line in rest} == {"web-1", "web-2", "sick", "api", "one"}
    assert {line["state"] for line in rest} == {"up", "unhealthy"}


async def test_applied_is_not_verified_once_nginx_is_another_or_something_failed() -> None:
    """Whoever waits for `verified` after a deploy must not go on too early."""
    for given in ({"confirmed": False}, {"error": "[emerg] no"}):
        async with served(FixedView(made_status(applied=applied_plan(**given)))) as client:
            assert (await client.get("/api/state")).json["applied"]["verified"] is False


async def test_what_was_decided_and_does_not_run_yet_is_unrouted_with_the_reason() -> None:
    """A container is in one of the two lists at any time; in none it would be lost to whoever looks for it."""
    wanted = made_plan(
        [Upstream(name="web", servers=(server("old", 2), server("new", 3)))],
        unrouted=(Route(container="stopped", reason=Why.NOT_RUNNING, detail="exited"),),
    )
    runs = (Upstream(name="web", servers=(server("old", 2),)),)
    look = made_status(applied=applied_plan(wanted, in_force=runs, error="[emerg] no", behind_since=NOW - 1))
    async with served(FixedView(look)) as client:
        state = (await client.get("/api/state")).json
        assert {each["container"]: each["reason"] for each in state["unrouted"]} == {
            "new": "not-in-force",
            "stopped": "not-running",
        }
        assert "[emerg] no" in state["unrouted"][0]["detail"]
        assert [line["container"] for line in state["upstreams"][0]["servers"]] == ["old"]


async def test_a_container_is_not_said_to_serve_and_to_be_unrouted_at_once() -> None:
    """While nginx owes a reload nobody knows which of the two it is; the two lists must not contradict each other."""
    upstreams = (Upstream(name="web", servers=(server("web-1"),)),)
    owed = applied_plan(Plan(upstreams=upstreams), confirmed=False, error="no", serves_old=False, behind_since=NOW - 1)
    state = report_of(made_status(applied=owed))
    serving = {line.container for each in state.upstreams for line in each.servers if str(line.state) != "down"}
    assert not serving & {each.container for each in state.unrouted}


def test_of_one_upstream_some_drain_beside_others_that_are_up() -> None:
    """A state for the whole upstream would call all of them draining."""
    stays, drains = server("stays", 2), replace(server("drains", 3), draining=True)
    plan = made_plan([Upstream(name="web", servers=(stays, drains), sticky=Sticky(cookie="sid"))])
    routes = tuple(
        replace(each, state=ServerState.DRAINING) if each.container == "drains" else each for each in plan.routes
    )
    for ordered in (routes, routes[::-1]):
        status = made_status(replace(plan, routes=ordered))
        (web,) = report_of(status).upstreams
        assert {each.container: each.state for each in web.servers} == {"stays": "up", "drains": "draining"}
    plain = Degraded(upstream="web", level=Level.PLAIN, error="no")
    (web,) = report_of(made_status(applied=applied_plan(plan, degraded=(plain,)))).upstreams
    assert [each.container for each in web.servers] == ["stays"], "it is not written without its parameter"


def test_each_container_says_where_it_is_from() -> None:
    """Two engines have a `web-1` each, and a task is looked for by its service, number and node."""
    task = Task(service="web", service_id="s", slot="3", node="worker-2", node_id="n")
    port = (Published(port=80, host_port=32770),)
    containers = (
        container("b/plain", labels={"lbwatch.upstream": "plain"}, engine=Engine(name="b", order=1), published=port),
        container("web.3.x", engine=Engine(name="swarm"), task=task, machine="10.1.0.3", published=port),
        container("idle", labels={}, engine=Engine(name="a")),
    )
    plan = decide(*containers, nginx_engine=None, addresses={"b": "10.1.0.2"})
    state = state_json(report_of(replace(made_status(plan), containers=containers)))
    servers = {each.container: each for upstream in state["upstreams"] for each in upstream.servers}
    keys = ("engine", "service", "task", "node")
    assert [getattr(servers["web.3.x"], key) for key in keys] == ["swarm", "web", "web.3", "worker-2"]
    assert [getattr(servers["b/plain"], key) for key in keys] == ["b", None, None, None]
    (idle,) = state["unrouted"]
    assert [idle[key] for key in keys] == ["a", None, None, None]
    assert "origins" not in state


def test_an_engine_says_what_it_is_and_whether_its_truth_is_old() -> None:
    """Scripts ask whether a host is away before they take another one down."""
    swarm = {"kind": "swarm", "doors": ("m1", "m2"), "services": 2, "tasks": 7, "nodes": 3}
    engines = (
        engine_status(source="a", role="manager", address="10.0.0.1", url="tcp://10.0.0.1:2376"),
        engine_status(source="b", kept=True, synced_at=None, connected=False, error="refused"),
        engine_status(source="swarm", **swarm),
    )
    a, b, c = state_json(report_of(made_status(engines=engines)))["engines"]
    assert (a.kind, a.role, a.address, a.url) == ("engine", "manager", "10.0.0.1", "tcp://10.0.0.1:2376")
    assert (a.is_in_trouble, b.is_in_trouble, b.kept) == (False, True, True)
    assert {key: getattr(c, key) for key in swarm} == swarm


def test_the_version_of_nginx_is_told() -> None:
    """What its files may say depends on it."""
    assert report_of(made_status()).nginx.version == "1.26.3"
    assert report_of(made_status(balancer=BalancerStatus())).nginx.version is None


WAITS = (
    Upstream(name="api", hold_s=60.0, paused=True, servers=(server("api-1"),)),
    Upstream(name="plain", servers=(server("plain", 3),)),
    Upstream(name="web", hold_s=15.0, keepalive=8, sticky=Sticky(cookie="sid")),
)


def test_requests_that_wait_are_told_of_each_upstream() -> None:
    """Whether a deploy may go on, and whether a pause is in force, is asked by scripts."""
    waiting = (Waiting(upstream="api", requests=1, longest_s=0.5), Waiting(upstream="web", requests=3, longest_s=1.26))
    status = made_status(Plan(upstreams=WAITS), balancer=BalancerStatus(live=True, waiting=waiting))
    report = report_of(status)
    found = {
        each.name: (each.hold_s, each.paused, each.waiting and (each.waiting.requests, each.waiting.longest_s))
        for each in report.upstreams
    }
    assert found == {"api": (60.0, True, (1, 0.5)), "plain": (0.0, False, None), "web": (15.0, False, (3, 1.3))}
    assert [each.words for each in report.upstreams] == [
        "round_robin, hold 60 s",
        "round_robin",
        "round_robin, keepalive 8, sticky cookie sid, hold 15 s",
    ]
    assert report.remarks == (
        "upstream api is paused by hand: 1 request waits, for 0.5 s; `lbwatch resume api` ends that",
        "upstream web has no ready server: 3 requests wait, the first for 1.3 s",
    )
    assert report.ready, "somebody wanted it so"


def test_a_pause_without_requests_is_remarked_on_and_one_that_cannot_be_says_so() -> None:
    """It has no end of its own, and must not be forgotten, least of all where it does not hold."""
    status = made_status(Plan(upstreams=WAITS))
    assert report_of(status).remarks == (
        "upstream api is paused by hand: no request waits; `lbwatch resume api` ends that",
    )
    assert report_of(replace(status, hold_refusal="nginx has no Lua")).remarks == (
        "upstream api is paused by hand, and yet no request waits: nginx has no Lua; `lbwatch resume api` ends that",
    )


def test_of_many_upstreams_whose_requests_wait_a_few_are_remarked_on() -> None:
    """A host that lost its network has thousands."""
    many = tuple(Upstream(name=f"u{number:03}", hold_s=15.0) for number in range(100))
    waiting = tuple(Waiting(upstream=each.name, requests=1, longest_s=1.0) for each in many)
    remarks = report_of(made_status(Plan(upstreams=many), balancer=BalancerStatus(waiting=waiting))).remarks
    assert (len(remarks), remarks[-1]) == (9, "so it is with 92 more upstreams")


def test_whether_changes_need_a_reload_is_told_with_the_reason() -> None:
    """Three words for scripts: they do not, they do, nobody asked."""
    for live, reason in ((True, None), (False, "nginx has no Lua"), (None, None)):
        report = report_of(made_status(balancer=BalancerStatus(live=live, live_reason=reason)))
        assert (report.nginx.live, report.nginx.live_reason) == (live, reason)

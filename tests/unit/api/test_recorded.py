"""
The JSON of `/api/state` and of `explain --json`, byte for byte: scripts read both.

A made-up daemon has something of everything. `PYTHONPATH=tests/support python tests/unit/api/test_recorded.py` records
the examples anew, after a change that is meant to show there.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from statuses import AT, DIGEST, NOW, SOURCE, applied, applied_plan, engine_status, made_status
from strategies import container, notices, planned, snapshot

from lbwatch.api.report import report_of, state_json
from lbwatch.cli import explain as explain_command
from lbwatch.core.draining import BY_HAND, TOLD_TO_STOP
from lbwatch.core.explain import Explanation, story_of
from lbwatch.core.history import AppliedPlan, History
from lbwatch.core.model import (
    BalancerStatus,
    Container,
    ContainerStatus,
    Degraded,
    Endpoint,
    Event,
    Health,
    Level,
    NoticeKind,
    Plan,
    Reason,
    ServerState,
    Suspended,
)
from lbwatch.core.plan import Rules
from lbwatch.core.rows import Running, stamped
from lbwatch.core.status import Status, unready

GOLDEN = Path(__file__).parents[2] / "golden"
STARTED_NS = 1_699_990_000 * 10**9
RULES = Rules(declare=("later",))
REFUSAL = "nginx: [emerg] invalid parameter in /etc/nginx/conf.d/lbwatch.conf:7"


# -- the world


def made(name: str, number: int, *, upstream: str | None = None, **given: Any) -> Container:
    """A container that asks for an upstream, by default of its own name; the higher its number, the newer."""
    facts = {
        "labels": {"upstream": upstream or name} | given.pop("labels", {}),
        "created_ns": STARTED_NS + number,
        "started_ns": STARTED_NS + number * 10**9,
        "endpoints": (Endpoint(network="front", ipv4=f"172.18.0.{number}"),),
    } | given
    labels = {key if key.startswith("com.") else f"lbwatch.{key}": value for key, value in facts.pop("labels").items()}
    return container(name, labels=labels, **facts)


def unrouted_containers() -> Iterable[Container]:
    """One for each reason that lies in a container alone."""
    yield container("plain", labels={})
    yield made("disabled", 11, labels={"enable": "false"})
    yield made("bad-label", 12, labels={"port": "many"})
    yield container("bad-name", labels={"lbwatch.enable": "true", "com.docker.swarm.service.name": "a b"})
    yield made("one-off", 14, labels={"com.docker.compose.oneoff": "True"})
    yield made("stopped", 15, status=ContainerStatus.EXITED)
    yield made("created", 16, status=ContainerStatus.CREATED)
    yield made("paused", 17, status=ContainerStatus.PAUSED)
    yield made("starting", 18, health=Health.STARTING)
    yield made("no-port", 19, exposed=())
    yield made("several-ports", 20, exposed=(8080, 9090))
    yield made("no-network", 21, endpoints=())
    yield made("no-address", 22, endpoints=(Endpoint(network="front"),))
    yield made("bad-address", 23, endpoints=(Endpoint(network="front", ipv4="127.0.0.1"),))
    yield made("host-network", 24, host_network=True, endpoints=())
    yield made("owner-gone", 25, network_of="0" * 64, endpoints=())
    yield made("looping", 26, restarts=7)


def routed_containers() -> Iterable[Container]:
    """Those that are routed, and those that are not because of others."""
    yield made("web-1", 30, upstream="web", restarts=1)
    yield made("web-2", 31, upstream="web", labels={"port": "8080", "prot": "x", "nonsense": "2"})
    yield made("web-3", 32, upstream="web")  # told to stop, while others serve
    yield made("web-4", 33, upstream="web", health=Health.UNHEALTHY)
    yield (web := made("web-5", 34, upstream="web", stop_signal=None))
    yield made("web-6", 35, upstream="web", network_of=web.id, endpoints=())  # at the same address as web-5
    yield made("claim-1", 36, upstream="claim")
    yield made("claim-2", 37, upstream="claim", endpoints=(Endpoint(network="front", ipv4="172.18.0.36"),))
    yield made("six", 38, labels={"method": "hash $request_uri"}, endpoints=(Endpoint(network="v6", ipv6="fd00::4"),))
    yield made("mail-1", 40, upstream="mail")  # told to stop, and nobody else serves
    yield made("mail-2", 41, upstream="mail")  # drained by hand, likewise
    yield made("sick", 42, health=Health.UNHEALTHY)
    yield made("opinions-1", 43, upstream="opinions", labels={"method": "least_conn", "keepalive": "8"})
    yield made("opinions-2", 44, upstream="opinions", labels={"method": "ip_hash", "keepalive": "16"})
    yield made("backup-1", 45, upstream="backup", labels={"backup": "true"})
    for number in (1, 2, 3):
        heavy = {"method": "hash $uri consistent", "weight": "1000"}
        yield made(f"heavy-{number}", 45 + number, upstream="heavy", labels=heavy)
    yield made("without-parameters", 49, labels={"weight": "3"})
    yield made("emptied", 50)
    yield made("left-out", 51)
    yield made("web-7", 53, upstream="web", health=Health.HEALTHY)  # its health check flips
    both = (Endpoint(network="back", ipv4="172.19.0.54"), Endpoint(network="front", ipv4="172.18.0.54"))
    yield made("guessed", 54, endpoints=both)
    yield made("several", 52, labels={"upstreams.admin.port": "9000", "upstreams.web.weight": "2"})


def containers() -> tuple[Container, ...]:
    return (*unrouted_containers(), *routed_containers())


def id_of(name: str) -> str:
    return next(each.id for each in containers() if each.name == name)


def suspended() -> Suspended:
    draining = {"web-3": TOLD_TO_STOP, "mail-1": TOLD_TO_STOP, "mail-2": BY_HAND}
    return Suspended(
        crash_looping={id_of("looping"): 20.0},
        draining={id_of(name): why for name, why in draining.items()},
        flapping={id_of("web-7"): 10.0},
    )


def decided(*, without: str | None = None) -> Plan:
    """What becomes of all of them, or of all but one."""
    there = [each for each in containers() if each.name != without]
    return planned([snapshot(there)], rules=RULES, suspended=suspended())


DEGRADED = (
    Degraded(upstream="emptied", level=Level.EMPTY, error=REFUSAL),
    Degraded(upstream="gone", level=Level.EMPTY, error='host not found in upstream "gone"', kept=True),
    Degraded(upstream="left-out", level=Level.OUT, error=REFUSAL),
    Degraded(upstream="without-parameters", level=Level.PLAIN, error=REFUSAL),
)


# -- what a daemon made of it


def history() -> History:
    """Of a first pass, one that was told of events, one that failed twice, and one container since."""
    history = History()
    before = decided(without="web-2")
    history.applied(applied(live_s=0.0151, verified_s=0.12345), at=AT - 500, took_s=0.2, heard_s=None)
    history.noted(stamped(before.routes, degraded=DEGRADED), at=AT - 500)
    difference = "--- old\n+++ new\n@@ -1 +1 @@\n-    server 172.18.0.7:80;\n+    server 172.18.0.30:80;\n"
    done = applied(live_s=0.02, verified_s=0.1, difference=difference)
    history.applied(done, at=AT - 400.25, took_s=0.11, heard_s=0.31)
    for seconds in (100, 50):
        history.failed("nginx.rejected", error=REFUSAL, at=AT - seconds, took_s=2.0)
    running = Running(upstreams=before.upstreams, missing="")
    history.noted(stamped(decided().routes, degraded=DEGRADED, running=running), at=AT - 50)
    return history


def in_trouble() -> Status:
    """Two engines, one of them lost; web-2 is decided and not in force, since nginx refuses the change."""
    lost = engine_status(
        source="tcp://two:2376", connected=False, since=NOW - 60.04, error="it does not answer", drift=2
    )
    before = decided(without="web-2")
    return made_status(
        engines=(engine_status(containers=len(containers())), lost),
        applied=applied_plan(
            decided(),
            in_force=before.upstreams,
            degraded=DEGRADED,
            confirmed=True,
            error=REFUSAL,
            behind_since=NOW - 42.0,
        ),
        history=history(),
        balancer=BalancerStatus(
            digest="ba9876543210", running=DIGEST, workers=(2, 1), remarks=("the output was changed by somebody else",)
        ),
    )


def in_step() -> Status:
    """All of it is in force, but for what is degraded."""
    return made_status(applied=applied_plan(decided(), degraded=DEGRADED), history=history())


def waiting() -> Status:
    """As in trouble, but web-2 waits for its turn only."""
    before = decided(without="web-2")
    return made_status(
        applied=applied_plan(decided(), in_force=before.upstreams, behind_since=NOW - 0.5, applying=True),
        history=history(),
    )


def stopped() -> Status:
    """An nginx that does not run serves nothing of what was in force."""
    return made_status(
        applied=applied_plan(
            decided(), serves_old=False, confirmed=False, error="nginx does not run", behind_since=NOW - 7.0
        ),
        history=history(),
        balancer=BalancerStatus(),
    )


def not_applied() -> Status:
    """The engine was read, and nothing was brought into force yet."""
    return made_status(
        applied=applied_plan(decided(), in_force=None, confirmed=False, digest="", applied_at=None, behind_since=NOW),
        balancer=BalancerStatus(),
    )


def first_second() -> Status:
    """Nothing is known."""
    return made_status(
        engines=(engine_status(connected=False, since=NOW - 1, synced_at=None, containers=None),),
        applied=AppliedPlan(plan=None, in_force=None),
        balancer=BalancerStatus(),
    )


STATUSES = {each.__name__: each for each in (in_trouble, in_step, waiting, stopped, not_applied, first_second)}


def explained_by_daemon(status: Status, name: str | None = None) -> Explanation:
    """What `explain` is answered, for all containers or one of them."""
    routes = tuple(route for route in status.routes if name is None or route.container == name)
    whole = Explanation(source=SOURCE, routes=routes, reasons=tuple(unready(status)), remarks=status.remarks)
    if name is None:
        return whole
    routes = status.applied.plan.routes if status.applied.plan else ()
    addresses = [route.address for route in routes if route.container == name and route.address]
    story = story_of(
        next(each for each in containers() if each.name == name),
        rules=RULES,
        containers={each.id: each for each in containers()},
        suspended=suspended(),
        events=[
            Event(action="start", container=id_of(name), at_ns=STARTED_NS),
            Event(action="die", container="f" * 64, at_ns=STARTED_NS + 10**9),
            Event(action="kill", container=id_of(name), at_ns=STARTED_NS + 2 * 10**9, signal=15),
        ],
        routes=routes,
        text="".join(f"    server {address};  # {address}\n" for address in (*addresses, "172.18.0.99:80")),
    )
    return Explanation(
        source=whole.source, routes=whole.routes, reasons=whole.reasons, remarks=whole.remarks, story=story
    )


# -- what is recorded


EXPLAINED = {
    "all, in_trouble": (in_trouble, None),
    "all, in_step": (in_step, None),
    "web-1, in_trouble": (in_trouble, "web-1"),
    "web-3, in_step": (in_step, "web-3"),
    "web-6, in_step": (in_step, "web-6"),
    "looping, in_step": (in_step, "looping"),
    "several, waiting": (waiting, "several"),
    "six, in_step": (in_step, "six"),
}


def api_state(status: Status) -> bytes:
    """What `/api/state` answers."""
    return msgspec.json.encode(state_json(report_of(status)))


def explain_json(explanation: Explanation) -> str:
    """What `explain --json` prints once this came over the socket."""
    return explain_command._as_json(msgspec.json.decode(msgspec.json.encode(explanation), type=Explanation))


def recorded(name: str) -> Any:
    """The parts of a recorded file, as they stand there but for their white space."""
    return msgspec.json.decode((GOLDEN / name).read_bytes(), type=dict[str, msgspec.Raw])


@pytest.mark.parametrize("name", STATUSES)
def test_the_state_has_the_bytes_that_it_always_had(name: str) -> None:
    """Whoever reads it by key, order or form of a number must not notice how it is made."""
    assert api_state(STATUSES[name]()) == msgspec.json.format(bytes(recorded("api-state.json")[name]), indent=-1)


@pytest.mark.parametrize("name", EXPLAINED)
def test_explain_has_the_bytes_that_it_always_had(name: str) -> None:
    """The same of what scripts read most."""
    look, container = EXPLAINED[name]
    wanted = json.dumps(json.loads(bytes(recorded("explain.json")[name])), indent=2) + "\n"
    assert explain_json(explained_by_daemon(look(), container)) == wanted


NEWER = {
    *("name-taken", "bad-host", "bad-path", "bad-variable", "host-taken", "host-refused", "no-certificate"),
    "port-taken",
}
"""Reasons that came after the bytes were recorded."""

NEWER_NOTICES = {
    NoticeKind.STICKY_DIFFERS,
    NoticeKind.STICKY_DROPPED,
    NoticeKind.KEEPS_CLIENTS,
    NoticeKind.HOLD_DIFFERS,
    NoticeKind.HOLD_NOT_USED,
    NoticeKind.TAKES_RELOAD,
    NoticeKind.SITE_DIFFERS,
    NoticeKind.SITE_NOT_USED,
    NoticeKind.VALUE_NOT_USED,
    NoticeKind.PORT_ASSUMED,
    NoticeKind.NO_CERTIFICATE,
}
"""Likewise; those of `sticky` and `hold` are core/test_group's, those of sites core/sites'."""


def test_there_is_something_of_everything() -> None:
    """What is not recorded is not held."""
    states = [json.loads(bytes(each)) for each in recorded("api-state.json").values()]
    assert {each["reason"] for state in states for each in state["unrouted"]} == set(map(str, Reason)) - NEWER
    kinds = {str(notice.kind) for notice in notices(decided())}
    elsewhere = {NoticeKind.RESTARTED, NoticeKind.DEGRADED}  # of `explain` without a daemon, and of what was applied
    assert kinds == set(map(str, NoticeKind)) - elsewhere - NEWER_NOTICES
    shown = {server["state"] for state in states for each in state["upstreams"] for server in each["servers"]}
    assert shown == set(map(str, ServerState))


def record() -> None:
    """Write the files anew."""
    states = {name: json.loads(api_state(look())) for name, look in STATUSES.items()}
    explained = {
        name: json.loads(explain_json(explained_by_daemon(look(), container)))
        for name, (look, container) in EXPLAINED.items()
    }
    for name, content in (("api-state.json", states), ("explain.json", explained)):
        (GOLDEN / name).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


if __name__ == "__main__":
    record()

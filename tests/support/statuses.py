"""Made-up statuses of a daemon."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from strategies import OwnersNotice, container, decide

from lbwatch.api.metrics import OUTCOMES
from lbwatch.core.history import AppliedPlan, History
from lbwatch.core.model import (
    Applied,
    BalancerStatus,
    Degraded,
    EngineStatus,
    Health,
    Level,
    Notice,
    NoticeKind,
    Plan,
    Route,
    Server,
    ServerState,
    Stream,
    Upstream,
    Waiting,
)
from lbwatch.core.plan import noted
from lbwatch.core.site import Certificate, Location, OnHttp, Site, SitePath
from lbwatch.core.status import FORGOTTEN_RESYNCS, NOTHING_YET, STUCK_S, Status

NOW = 1_000.0


AT = 1_700_000_000.0


DIGEST = "0123456789ab"


SOURCE = "unix:///var/run/docker.sock"


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def server(name: str, number: int = 2) -> Server:
    return Server(address=f"172.18.0.{number}", port=80, container=name)


def engine_status(**given: Any) -> EngineStatus:
    return EngineStatus(
        **({"source": SOURCE, "connected": True, "since": 900.0, "synced_at": 990.0, "containers": 3} | given)
    )


def applied_plan(plan: Plan | None = None, **given: Any) -> AppliedPlan:
    """All that was decided is in force, but for what is given."""
    plan = Plan() if plan is None else plan
    facts = {"in_force": plan.upstreams, "confirmed": True, "turned_at": NOW, "digest": DIGEST, "applied_at": AT}
    return AppliedPlan(plan=plan, **(facts | given))


def made_status(plan: Plan | None = None, *, history: History | None = None, **given: Any) -> Status:
    """A daemon in step, but for what is given."""
    facts: dict[str, Any] = {
        "version": "1.2.3",
        "now": NOW,
        "at": AT,
        "engines": (engine_status(),),
        "applied": applied_plan(plan),
        "history": (history or History()).copy(),
        "balancer": BalancerStatus(digest=DIGEST, running=DIGEST, workers=(2, 0), version="1.26.3"),
        "resync_interval_s": 30.0,
        "reload_interval_s": 1.0,
    }
    return Status(**(facts | given))


def made_plan(
    upstreams: Iterable[Upstream] = (),
    *,
    unrouted: Iterable[Route] = (),
    notices: Iterable[OwnersNotice] = (),
    last_resort: Mapping[str, ServerState] | None = None,
) -> Plan:
    """A plan with a route for each server of these upstreams, and with these for those that have none."""
    made, states = tuple(upstreams), last_resort or {}
    routes = [
        Route(container=each.container, upstream=one.name, server=each, state=states.get(one.name, ServerState.UP))
        for one in made
        for each in one.servers
    ]
    routes = sorted(
        (*unrouted, *routes), key=lambda route: (route.container, route.upstream or "", route.address or "")
    )
    told = [(each.container, Notice(kind=NoticeKind(each.kind), detail=each.detail)) for each in notices]
    return noted(Plan(upstreams=made, routes=tuple(routes)), told)


def samples(text: bytes) -> Samples:
    """All samples by their names and labels; each stands there once."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


def made_sites() -> tuple[Site, ...]:
    """A host with a certificate, one that redirects to it, and one with a path that is closed."""
    certificate = Certificate(
        name="a.example", path="/c/a.example.crt", key="/c/a.example.key", hosts=("a.example",), expires_at=AT + 86400.0
    )
    locations = (Location(path=SitePath(), upstream="web"), Location(path=SitePath(text="/api/"), upstream="api"))
    closed = (Location(path=SitePath(), upstream="one", closed="its password file /p/staff is not there"),)
    return (
        Site(host="", on_http=OnHttp.REFUSES),
        Site(host="a.example", locations=locations, on_http=OnHttp.REDIRECTS, certificate=certificate),
        Site(host="b.example", locations=closed),
        Site(host="www.a.example", redirect_to="a.example", on_http=OnHttp.REDIRECTS, certificate=certificate),
    )


def full_status() -> Status:
    """A daemon of which every metric has something to tell, by whatever is possible at once."""
    containers = (
        container("web-1", labels={"lbwatch.upstream": "web"}),
        container("web-2", labels={"lbwatch.upstream": "web"}),
        container("sick", labels={"lbwatch.upstream": "sick"}, health=Health.UNHEALTHY),
        container("api", labels={"lbwatch.upstream": "api", "lbwatch.weight": "3"}),
        container("wrong", labels={"lbwatch.port": "many"}),
        container("other", labels={}),
        container("one", labels={"lbwatch.upstream": "one", "lbwatch.hold": "15s", "lbwatch.keepalive": "8"}),
    )
    plan = decide(*containers, declare=("later",))
    history = History()
    for heard_s in (0.12, 0.3, 1.2, None):
        done = applied(live_s=0.02, verified_s=0.1)
        history.applied(done, at=AT, took_s=0.11, heard_s=heard_s)
    history.applied(applied(reloaded=False, event="nginx.pushed", live_s=0.003), at=AT, took_s=0.003, heard_s=0.004)
    for outcome in OUTCOMES[3:]:
        history.failed(outcome, error=f"{outcome} it was", at=AT, took_s=2.0)
    history.noted(plan.routes, at=AT)
    degraded = Degraded(upstream="api", level=Level.PLAIN, error="nginx says no")
    plan = replace(plan, sites=made_sites(), streams=(Stream(port=5432, protocol="tcp", upstream=plan.upstreams[0]),))
    return made_status(
        engines=(
            engine_status(drift=2, events={"start": 3, "die": 2, "exec_start": 40}),
            engine_status(source="swarm", kind="swarm", doors=(SOURCE,), services=2, tasks=7, nodes=3, looks=11),
        ),
        applied=applied_plan(plan, degraded=(degraded,), parts=plan.parts),
        history=history.copy(),
        balancer=BalancerStatus(
            digest=DIGEST,
            running=DIGEST,
            workers=(2, 4),
            version="1.26.3",
            live=True,
            waiting=(Waiting(upstream="one", requests=3, longest_s=1.25),),
        ),
    )


def applied(**given: Any) -> Applied:
    return Applied(**({"digest": DIGEST, "changed": True, "reloaded": True} | given))


OUT_OF_STEP: dict[str, tuple[dict[str, Any], str]] = {
    "the engine was never read": (
        {"engines": (engine_status(synced_at=None, containers=None),)},
        r"engine unix:///var/run/docker\.sock: it was not read yet",
    ),
    "the engine was never read, and is not there": (
        {"engines": (engine_status(connected=False, synced_at=None, containers=None, error="no such file"),)},
        r"engine unix:///var/run/docker\.sock: it was not read yet: no such file",
    ),
    "the engine is gone": (
        {"engines": (engine_status(connected=False, since=NOW - 42, error="connection refused"),)},
        r"engine unix:///var/run/docker\.sock: not followed for 42 s: connection refused",
    ),
    "the latest full look is too old": (
        {"engines": (engine_status(synced_at=NOW - FORGOTTEN_RESYNCS * 30 - 1),)},
        r"engine unix:///var/run/docker\.sock: no full look at it ended for 91 s",
    ),
    "one engine of two is gone": (
        {"engines": (engine_status(), engine_status(source="tcp://other:2376", connected=False, error="refused"))},
        r"engine tcp://other:2376: not followed for 100 s: refused",
    ),
    "an engine did not answer since the start": (
        {"engines": (engine_status(source="b", connected=False, synced_at=None, kept=True, error="refused"),)},
        r"engine b: it has not answered since lbwatch started, 100 s ago: refused; what was known of it before .+",
    ),
    "a Swarm has no leader": (
        {
            "engines": (
                engine_status(
                    source="swarm", kind="swarm", synced_at=NOW - 42, doors=("m1", "m2"), error="it has no leader"
                ),
            )
        },
        r"Swarm swarm \(asked: m1, m2\): its tasks cannot be read, for 42 s: it has no leader",
    ),
    "a Swarm was never read": (
        {"engines": (engine_status(source="swarm", kind="swarm", synced_at=None, connected=False, error="403"),)},
        r"Swarm swarm \(no manager is followed\): it was not read yet: 403",
    ),
    "nothing was in force yet": (
        {"applied": applied_plan(in_force=None, confirmed=False, applied_at=None, digest="")},
        re.escape(NOTHING_YET),
    ),
    "nothing was in force yet, and the first apply is under way": (
        {"applied": applied_plan(in_force=None, confirmed=False, applying=True, behind_since=NOW - 1)},
        re.escape(NOTHING_YET),
    ),
    "the latest apply failed": (
        {"applied": applied_plan(error="[emerg] unknown directive", behind_since=NOW - 7)},
        r"nginx is not in step for 7 s: \[emerg\] unknown directive",
    ),
    "the latest apply failed, and another is under way": (
        {
            "applied": applied_plan(
                error="nginx is not running here", behind_since=NOW - 7, applying=True, confirmed=False
            )
        },
        r"nginx is not in step for 7 s: nginx is not running here",
    ),
    "nginx was restarted": (
        {"applied": applied_plan(confirmed=False)},
        r"nginx was restarted, or the output was changed, since the last reload was verified",
    ),
    "a change is stuck": (
        {"applied": applied_plan(behind_since=NOW - STUCK_S - 1.0 - 1)},
        r"a change waits for 17 s to be in force",
    ),
    "a pass hangs": (
        {"applied": applied_plan(applying=True, turned_at=NOW - STUCK_S - 1, step="verifying", error="of before")},
        r"a pass has been running for 16 s: in verifying",
    ),
    "an apply is stuck": (
        {"applied": applied_plan(behind_since=NOW - STUCK_S - 1.0 - 1, applying=True, confirmed=False)},
        r"a change waits for 17 s to be in force",
    ),
}
"""Of what is not in step, what makes it so, and the one reason that is given, as a pattern."""


IN_STEP: dict[str, dict[str, Any]] = {
    "nothing is to be done": {},
    "a change was just decided": {"applied": applied_plan(behind_since=NOW)},
    "an apply is under way": {"applied": applied_plan(confirmed=False, applying=True, behind_since=NOW - 0.1)},
    "a change waits for its turn": {"applied": applied_plan(behind_since=NOW - 59), "reload_interval_s": 60.0},
    "a change waits for as long as it may": {"applied": applied_plan(behind_since=NOW - STUCK_S - 1.0)},
    "the stream is renewed": {"engines": (engine_status(connected=False, since=NOW - 0.1),)},
    "the latest full look is as old as it may be": {
        "engines": (engine_status(synced_at=NOW - FORGOTTEN_RESYNCS * 30),)
    },
    "full looks are far apart": {"engines": (engine_status(synced_at=NOW - 3000),), "resync_interval_s": 3600.0},
    "nothing at all is routed": {"applied": applied_plan(Plan())},
    "an upstream is reduced": {"applied": full_status().applied},
}


NUMBER = (int, float)
MAYBE = type(None)
ORIGIN = dict.fromkeys(("engine", "service", "task", "node"), (str, MAYBE))
"""Where a container is from."""

STATE: dict[str, Any] = {
    "version": str,
    "at": str,
    "ready": bool,
    "reasons": [str],
    "remarks": [str],
    "engines": [
        {
            "name": str,
            "connected": bool,
            "for_s": NUMBER,
            "synced_s": (*NUMBER, MAYBE),
            "containers": (int, MAYBE),
            "drift": int,
            "error": (str, MAYBE),
            "since": str,
            "synced_at": (str, MAYBE),
            "kind": str,
            "role": str,
            "address": str,
            "url": str,
            "kept": bool,
            "doors": [str],
            "services": (int, MAYBE),
            "tasks": (int, MAYBE),
            "nodes": (int, MAYBE),
        }
    ],
    "upstreams": [
        {
            "name": str,
            "method": str,
            "servers": [
                {
                    "address": str,
                    "port": int,
                    "container": (str, MAYBE),
                    "state": str,
                    "weight": int,
                    "backup": bool,
                    **ORIGIN,
                }
            ],
            "note": (str, MAYBE),
            "keepalive": (int, MAYBE),
            "sticky": (str, MAYBE),
            "hold_s": NUMBER,
            "paused": bool,
            "waiting": (dict, MAYBE),
        }
    ],
    "sites": [
        {
            "host": str,
            "locations": [{"path": str, "upstream": str, "containers": [str], "closed": (str, MAYBE)}],
            "http": str,
            "https": bool,
            "http_port": int,
            "https_port": int,
            "certificate": (dict, MAYBE),
            "redirect_to": (str, MAYBE),
            "closed": (str, MAYBE),
            "default": bool,
        }
    ],
    "streams": [{"port": int, "protocol": str, "upstream": str, "note": (str, MAYBE)}],
    "unrouted": [
        {
            "container": str,
            "reason": str,
            "detail": str,
            "upstream": (str, MAYBE),
            "site": (str, MAYBE),
            "since": (str, MAYBE),
            **ORIGIN,
        },
    ],
    "warnings": [{"container": str, "detail": str}],
    "applied": {"digest": str, "verified": bool, "at": str},
    "disk": (str, MAYBE),
    "nginx": {"version": (str, MAYBE), "live": (bool, MAYBE), "live_reason": (str, MAYBE)},
    "workers": {"serving": int, "retiring": int},
    "changes": [
        {
            "at": str,
            "outcome": str,
            "digest": str,
            "error": (str, MAYBE),
            "live_s": NUMBER,
            "verified_s": NUMBER,
            "heard_s": (*NUMBER, MAYBE),
            "difference": str,
            "times": int,
        }
    ],
}
"""All keys that scripts may rely on; more may come."""

PLAIN = {"weight": 1, "backup": False, **dict.fromkeys(ORIGIN)}
"""What a server has that no label speaks of, and whose container is no longer known."""


def wrong_in(found: Any, wanted: Any, where: str = "") -> list[str]:
    """Where an answer lacks a key, or has another type than scripts were promised."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return [f"{where} is no object: {found!r}"]
        absent = [f"{where}.{key} is missing" for key in wanted.keys() - found.keys()]
        return absent + [
            wrong
            for key in wanted.keys() & found.keys()
            for wrong in wrong_in(found[key], wanted[key], f"{where}.{key}")
        ]
    if isinstance(wanted, list):
        if not isinstance(found, list):
            return [f"{where} is no list: {found!r}"]
        return [wrong for each in found for wrong in wrong_in(each, wanted[0], f"{where}[]")]
    takes_bool = wanted is bool or (isinstance(wanted, tuple) and bool in wanted)
    fits = isinstance(found, wanted) and (takes_bool or not isinstance(found, bool))
    return [] if fits else [f"{where} is {found!r}, not {wanted}"]


def crowd(count: int, *, servers: int = 2) -> Status:
    """A daemon with so many upstreams, of so many servers each."""
    upstreams = tuple(
        Upstream(name=f"up-{n:05}", servers=tuple(server(f"c-{n}-{each}", 2 + each) for each in range(servers)))
        for n in range(count)
    )
    return made_status(Plan(upstreams=upstreams))

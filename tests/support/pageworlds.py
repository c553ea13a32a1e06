"""Worlds that the page is looked at with: an ordinary evening, a bad night, an attack, and crowds."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from statuses import made_plan
from strategies import OwnersNotice, method_of

from lbwatch.core.history import AppliedPlan, Change, History
from lbwatch.core.model import (
    BalancerStatus,
    Container,
    Degraded,
    Engine,
    EngineStatus,
    Level,
    NoticeKind,
    Reason,
    Route,
    Server,
    ServerState,
    Task,
    Upstream,
    Waiting,
)
from lbwatch.core.status import Status

NOW, AT = 5000.0, 1_795_560_846.0  # loop time, and 2026-11-24 22:54:06
ENGINE = "unix:///var/run/docker.sock"
CONTACT = EngineStatus(source=ENGINE, connected=True, since=NOW - 4 * 3600, synced_at=NOW - 12, containers=21)
DIGEST = "5f0c2a9be113"
IN_STEP = BalancerStatus(digest=DIGEST, workers=(2, 0), version="1.26.3")
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`&lt;</td></table></details>{{ 7 * 7 }}"
LONG = "averylongnamewithoutaplacetobreakit" * 8


# -- worlds


def upstream(name: str, *servers: tuple[str, str], method: str | None = None, port: int = 8080) -> Upstream:
    """One whose servers are given by address and container."""
    lines = (Server(address=address, port=port, container=container) for address, container in servers)
    return Upstream(name=name, method=None if method is None else method_of(method), servers=tuple(lines))


def unrouted_of(status: Status) -> list[Route]:
    return [replace(route, notices=()) for route in status.routes if route.reason is not None]


def skipped(container: str, reason: Reason, detail: str, of: str | None = None) -> Route:
    return Route(container=container, reason=reason, detail=detail, upstream=of)


def verified(at: float, **values: Any) -> Change:
    """A change as most are."""
    usual = {"digest": DIGEST, "live_s": 0.0129, "verified_s": 0.118, "heard_s": 0.134, "difference": DIFFERENCE}
    return Change(**{"at": at, "outcome": "verified"} | usual | values)


DIFFERENCE = """\
@@ -24,7 +24,7 @@
 upstream web {
     server 172.18.0.2:3000;
     server 172.18.0.3:3000;
-    server 172.18.0.6:3000;
+    server 172.18.0.7:3000;
 }
"""


def made_status(
    *,
    upstreams: Iterable[Upstream] = (),
    unrouted: Iterable[Route] = (),
    notices: Iterable[OwnersNotice] = (),
    last_resort: Mapping[str, ServerState] | None = None,
    changes: Iterable[Change] = (),
    since: Mapping[tuple[str, str | None], float] | None = None,
    engines: Iterable[EngineStatus] = (CONTACT,),
    balancer: BalancerStatus = IN_STEP,
    version: str = "0.1.0",
    containers: Iterable[Container] = (),
    **progress: Any,
) -> Status:
    """A world in step, but for what is said."""
    plan = made_plan(
        sorted(upstreams, key=lambda each: each.name), unrouted=unrouted, notices=notices, last_resort=last_resort
    )
    usual = {"plan": plan, "in_force": plan.upstreams, "confirmed": True, "digest": DIGEST}
    history = History()
    history.changes.extend(changes)
    history.since = dict(since or {})
    return Status(
        version=version,
        now=NOW,
        at=AT,
        engines=tuple(engines),
        applied=AppliedPlan(**usual | {"applied_at": AT - 95} | progress),
        history=history,
        balancer=balancer,
        containers=tuple(containers),
        resync_interval_s=30,
        reload_interval_s=1,
    )


def shop() -> Status:
    """What an ordinary evening looks like."""
    chance = random.Random(7)
    unrouted = [
        skipped("billing-1", Reason.SEVERAL_PORTS, "it exposes 8080, 9090: add the label lbwatch.port", "billing"),
        skipped("shop-web-3", Reason.DRAINING, "it got its stop signal: it gets no new request", "web"),
        skipped("shop-web-5", Reason.STARTING, "its health check has not passed yet", "web"),
        skipped("import-once", Reason.NOT_RUNNING, "it is exited"),
        skipped("billing-old", Reason.NOT_RUNNING, "it is exited", "billing"),
        *(
            skipped(name, Reason.NOT_LABELLED, "it has no lbwatch.* label: add lbwatch.enable=true")
            for name in ("backup", "node-exporter", "postgres", "redis", "registry")
        ),
    ]
    refusal = 'nginx: [emerg] host not found in upstream "legacy" in /etc/nginx/conf.d/site.conf:14'
    return made_status(
        upstreams=[
            upstream("billing"),
            upstream("mail", ("172.20.0.2", "mail-preview"), port=8025),
            upstream("api", ("172.18.0.4", "shop-api-1"), ("172.18.0.5", "shop-api-2"), method="least_conn"),
            upstream("web", ("172.18.0.2", "shop-web-1"), ("172.18.0.3", "shop-web-2"), ("172.18.0.7", "shop-web-4")),
            upstream("search", ("172.19.0.3", "search-1"), ("fd00::4", "search-2"), method="hash $request_uri"),
        ],
        unrouted=unrouted,
        since={(each.container, each.upstream): AT - 40 * (number + 1) ** 2 for number, each in enumerate(unrouted)},
        last_resort={"mail": ServerState.DRAINING},
        notices=[
            OwnersNotice(
                container="mail-preview",
                kind=NoticeKind.SERVES_DRAINING,
                detail="it got its stop signal, and serves upstream mail all the same: there is no healthy server",
            ),
        ],
        changes=[
            *(
                verified(
                    AT - 5400 + 190 * number,
                    digest=f"{chance.randrange(16**12):012x}",
                    live_s=chance.uniform(0.011, 0.02),
                    verified_s=chance.uniform(0.115, 0.135) + (0.06 if number == 13 else 0),
                    heard_s=chance.uniform(0.14, 0.2),
                )
                for number in range(24)
            ),
            Change(at=AT - 700, outcome="nginx.rejected", error=refusal, times=3),
            verified(AT - 310, digest="c1d0aa34f7e2", live_s=0.0141, verified_s=0.121),
            verified(AT - 95),
        ],
    )


def troubled() -> Status:
    """A bad night: every part of the page that an ordinary evening does not show."""
    return made_status(
        upstreams=[
            upstream("plain", ("10.0.0.1", "one")),
            upstream("sick", ("10.0.0.2", "two")),
            upstream("well", ("10.0.0.3", "three")),
        ],
        last_resort={"sick": ServerState.UNHEALTHY},
        degraded=(
            Degraded(upstream="plain", level=Level.PLAIN, error="invalid parameter"),
            Degraded(upstream="gone", level=Level.OUT, error="no such method", kept=True),
        ),
        unrouted=[
            *(skipped(f"for-{reason}", reason, f"the detail of {reason}", "any") for reason in Reason),
            skipped("wrong", Reason.BAD_LABEL, "lbwatch.port is '<script>alert(1)</script>': it takes 1-65535"),
        ],
        engines=(
            EngineStatus(
                source="tcp://one:2376", connected=False, since=NOW - 100, error="it does not answer", drift=3
            ),
            CONTACT,
        ),
        balancer=BalancerStatus(
            digest="0123456789ab", workers=None, remarks=("the output was changed by somebody else",)
        ),
        error="nginx: [emerg] out of luck",
        behind_since=NOW - 42,
        changes=[
            verified(AT - 90000, heard_s=None, difference="@@ -1 +1 @@\n-old\n+new\n\\ No newline at end of file\n"),
            Change(at=AT - 1, outcome="nginx.reload_failed", error="no new workers came", times=1200),
        ],
    )


def first_minute() -> Status:
    """Nothing is known yet."""
    unknown = EngineStatus(source=ENGINE, connected=False, since=NOW - 3)
    return made_status(
        engines=(unknown,), balancer=BalancerStatus(), plan=None, in_force=None, confirmed=False, applied_at=None
    )


def hostile() -> Status:
    """Everything that somebody else may name is an attack."""
    return made_status(
        upstreams=[upstream("web", ("10.0.0.1", HOSTILE), ("10.0.0.2", LONG))],
        unrouted=[skipped(HOSTILE + reason, reason, HOSTILE + LONG, HOSTILE) for reason in Reason],
        notices=[OwnersNotice(container=HOSTILE, kind=NoticeKind.UNKNOWN_LABEL, detail=HOSTILE)],
        engines=(EngineStatus(source=LONG, connected=False, since=NOW - 9, error=HOSTILE),),
        balancer=BalancerStatus(digest=DIGEST, remarks=(HOSTILE + LONG,)),
        error=HOSTILE + LONG,
        behind_since=NOW - 1,
        changes=[
            verified(AT - 60, difference=f"@@ -1 +1 @@\n-{HOSTILE}\n+{HOSTILE}{LONG}\n"),
            Change(at=AT - 5, outcome="nginx.rejected", error=HOSTILE + LONG),
        ],
    )


def any_world(chance: random.Random) -> Status:
    """Some containers, each of them somewhere or nowhere; some changes."""
    names = [f"c{number}" for number in range(12)]
    homes = {name: chance.choice(("web", "api", "mail", "unrouted", "idle", "gone")) for name in names}
    reasons = {"unrouted": [*Reason][1:], "idle": [Reason.NOT_LABELLED]}
    troubles = [Change(at=AT - 9, outcome="nginx.rejected", error=f"trouble {chance.random()}")]
    return made_status(
        upstreams=[
            replace(
                upstream(name, *((f"10.0.0.{each[1:]}", each) for each in names if homes[each] == name)),
                paused=chance.random() < 0.2,
                hold_s=chance.choice((0.0, 0.0, 15.0, 60.0)),
            )
            for name in chance.sample(("web", "api", "mail"), chance.randrange(4))
        ],
        unrouted=[
            skipped(each, chance.choice(reasons[homes[each]]), f"detail {chance.randrange(3)}", None)
            for each in names
            if homes[each] in reasons
        ],
        notices=[
            OwnersNotice(container=each, kind=NoticeKind.RESTARTED, detail="it was restarted")
            for each in chance.sample(names, 2)
        ],
        changes=[
            *(verified(AT - 100 * n, digest=f"{n:012x}") for n in sorted(chance.sample(range(1, 9), 4), reverse=True)),
            *(troubles if chance.random() < 0.5 else ()),
        ],
        error=chance.choice((None, "nginx is not there")),
        balancer=chance.choice(
            (
                BalancerStatus(),
                BalancerStatus(digest=DIGEST, workers=(2, 1), remarks=("a remark",), live=True),
                BalancerStatus(live=False, live_reason="nginx has no Lua", waiting=_waiting(chance)),
            )
        ),
    )


def _waiting(chance: random.Random) -> tuple[Waiting, ...]:
    """Some requests that wait in an upstream, if it is there."""
    requests, longest_s = chance.randrange(1, 4), round(chance.uniform(0, 60), 1)
    return (Waiting(upstream=chance.choice(("web", "api")), requests=requests, longest_s=longest_s),)


def fleet(engines: int = 3) -> Status:
    """So many engines, the second of them away, and the Swarm that the first one manages."""
    names = ["edge", "warehouse", "office", *(f"node-{number:02}" for number in range(4, engines + 1))][:engines]
    away = {"connected": False, "synced_at": None, "kept": True, "error": "connection refused"}
    followed = [
        EngineStatus(
            source=name,
            url=f"tcp://10.77.0.{number}:2376",
            address=f"10.77.0.{number}",
            since=NOW - 3600,
            containers=7,
            role="manager" if number == 1 else "",
            **({"connected": True, "synced_at": NOW - 12} if number != 2 else away),
        )
        for number, name in enumerate(names, start=1)
    ]
    swarm = EngineStatus(
        source="swarm",
        kind="swarm",
        connected=True,
        since=NOW - 3600,
        synced_at=NOW - 1,
        doors=("edge",),
        services=2,
        tasks=4,
        nodes=3,
    )
    of = Engine(name="swarm")
    tasks = [
        Container(
            id=f"task{number:021}",
            name=f"web.{number}.task{number:021}",
            engine=of,
            task=Task(service="web", service_id="s" * 25, slot=str(number), node=f"worker-{number}", node_id="n" * 25),
        )
        for number in range(1, 4)
    ]
    plain = [
        Container(id=f"plain{number}", name=f"{name}/plain", engine=Engine(name=name, order=number))
        for number, name in enumerate(names[:2])
    ]
    return made_status(
        upstreams=[
            upstream("web", *((f"10.0.1.{number}", each.name) for number, each in enumerate(tasks[:2], start=4))),
            upstream("plain", *((f"10.77.0.{number}", each.name) for number, each in enumerate(plain, start=1))),
        ],
        unrouted=[skipped(tasks[2].name, Reason.STARTING, "its task is starting", "web")],
        notices=[
            OwnersNotice(
                container=plain[1].name, kind=NoticeKind.UNKNOWN_LABEL, detail="label lbwatch.wieght is unknown"
            ),
        ],
        engines=[*followed, swarm],
        containers=[*tasks, *plain],
        changes=[verified(AT - 95)],
    )


WORLDS = (shop, troubled, fleet, first_minute, hostile, made_status)


def crowd(count: int, *, each: int = 4) -> Status:
    """So many containers: most serve, in upstreams of *each*; some are in trouble, stopped, or ask for nothing."""
    sick, stopped, idle = count // 20, count // 10, count // 5
    serving = count - sick - stopped - idle
    names = [f"team{n % 7}-service{n // each:04}-{n % each + 1}" for n in range(serving)]
    upstreams = [
        Upstream(
            name=f"team{first % 7}-service{first // each:04}",
            servers=tuple(
                Server(
                    address=f"10.{n // 62500}.{n // 250 % 250}.{n % 250 + 2}",
                    port=8080,
                    container=names[n],
                    weight=1 + n % 3,
                    backup=n % each == each - 1,
                )
                for n in range(first, min(first + each, serving))
            ),
        )
        for first in range(0, serving, each)
    ]
    reasons = (Reason.SEVERAL_PORTS, Reason.BAD_LABEL, Reason.UNHEALTHY, Reason.STARTING, Reason.DRAINING)
    unrouted = [
        *(skipped(f"sick{n:03}", reasons[n % 5], f"the detail of number {n}", f"up{n}") for n in range(sick)),
        *(skipped(f"stopped{n:03}", Reason.NOT_RUNNING, "it is exited", f"up{n}") for n in range(stopped)),
        *(skipped(f"idle{n:03}", Reason.NOT_LABELLED, "it has no lbwatch.* label") for n in range(idle)),
    ]
    emptied = [upstream(f"empty{n}") for n in range(min(7, sick))]
    notices = [
        OwnersNotice(container=names[n], kind=NoticeKind.UNKNOWN_LABEL, detail=f"label lbwatch.wieght{n} is unknown")
        for n in range(0, serving, 25)
    ]
    return made_status(
        upstreams=[*upstreams, *emptied],
        unrouted=unrouted,
        since={(each.container, each.upstream): AT - 60 * n for n, each in enumerate(unrouted)},
        notices=notices,
        changes=shop().history.changes,
        engines=(replace(CONTACT, containers=count),),
    )

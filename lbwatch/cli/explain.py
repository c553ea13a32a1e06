"""`explain`: why each container, or the one that is named, is or is not routed."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lbwatch.api import client as daemon_client
from lbwatch.api.control import find_container
from lbwatch.api.report import route_json, story_json
from lbwatch.cli import DONE, FAILED, output
from lbwatch.cli.look import looked, say, told_by_daemon, warn
from lbwatch.core.crashloop import LOOP_RESTARTS
from lbwatch.core.errors import SourceError
from lbwatch.core.explain import Explanation, Story, story_of
from lbwatch.core.model import Container, Notice, NoticeKind, Plan
from lbwatch.core.origins import NOWHERE, origins_of
from lbwatch.core.plan import noted
from lbwatch.core.rows import stamped
from lbwatch.core.serving import places_of
from lbwatch.engines.pool import EnginePool
from lbwatch.settings import Settings
from lbwatch.wiring.look import Look


async def explain(settings: Settings, *, container: str | None, as_json: bool, recorded: Path | None) -> int:
    """
    Print the running daemon's own answer, or where there is none what one would make of the engine now.

    Args:
        settings: What the user set.
        container: The name of the one to tell about, or the beginning of its id; `None`: all.
        as_json: Whether to answer for scripts.
        recorded: See `looked`.
    """
    told = None
    if not recorded:
        asked = daemon_client.explanation(settings.api.control_socket, container=container)
        told = await told_by_daemon(settings, asked)
    if told is None:
        told = await _found_out(settings, ref=container, recorded=recorded)
    for reason in told.reasons:
        say(f"not in step, so that this may be old: {reason}")
    for remark in told.remarks:
        say(remark)
    if as_json:
        output.show(_as_json(told))
    else:
        output.show_explanation(told)
    return DONE if told.routes or not told.reasons else FAILED


async def _found_out(settings: Settings, *, ref: str | None, recorded: Path | None) -> Explanation:
    async with looked(settings, recorded=recorded) as look:
        warn(look)
        plan, containers = look.reconciler.applied().plan, look.source.containers()
        assert plan is not None
        assert containers is not None
        if look.suspended is None:
            plan = _with_loops(plan, containers.values())
        degraded, story = look.balancer.applied.degraded, None
        routes = stamped(plan.routes, degraded=degraded, streams=plan.streams, sites=plan.sites)
        if ref is not None:
            container = find_container(ref, containers=containers.values())
            routes = tuple(route for route in routes if route.container == container.name)
            story = await _story(container, look=look, plan=plan)
        upstreams = {route.upstream for route in routes}
        places = {name: each for name, each in places_of(plan).items() if name in upstreams}
        origins = origins_of(each for each in containers.values() if ref is None or each.name == container.name)
        several = isinstance(look.source, EnginePool) and len(look.source.statuses()) > 1
    return Explanation(
        source=look.source.described,
        routes=routes,
        story=story,
        places=places,
        origins=origins,
        several_engines=several,
    )


async def _story(container: Container, *, look: Look, plan: Plan) -> Story:
    if isinstance(look.source, EnginePool):
        with suppress(SourceError):  # then what is known has to do
            container = await look.source.look(container) or container  # of one that asks for nothing little was read
    return story_of(
        container,
        rules=look.rules(),
        containers=look.source.containers() or {},
        suspended=look.reconciler.planner.suspended,
        events=(),
        routes=plan.routes,
        text=look.balancer.text or "",
    )


def _with_loops(plan: Plan, containers: Iterable[Container]) -> Plan:
    """Return a plan that warns of those a daemon may leave out: it alone knows how often each was restarted lately."""
    looping = (each for each in containers if each.restarts >= LOOP_RESTARTS)
    detail = (
        "the engine restarted it {} times since its last start by hand: the daemon leaves it out while that goes on "
        "(restart-loop in its log)"
    )
    return noted(
        plan,
        [(each.name, Notice(kind=NoticeKind.RESTARTED, detail=detail.format(each.restarts))) for each in looping],
    )


def _as_json(told: Explanation) -> str:
    """Return a list of rows; where one container was asked for, each with its `story`."""
    story = {} if told.story is None else {"story": story_json(told.story)}
    waits = {each.upstream: each for each in told.waits}
    rows = [
        route_json(
            route,
            wait=waits.get(route.upstream or ""),
            places=told.places.get(route.upstream or "", ()),
            origin=told.origins.get(route.container, NOWHERE),
        )
        | story
        for route in told.routes
    ]
    return json.dumps(rows, indent=2) + "\n"

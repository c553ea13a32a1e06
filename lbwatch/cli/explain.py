"""`explain`: why each container, or the one that is named, is or is not routed."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from lbwatch import build
from lbwatch.api import client as daemon_client
from lbwatch.api.control import find_container
from lbwatch.cli import DONE, FAILED, output
from lbwatch.cli.look import FirstLook, candidate, closely, looked
from lbwatch.core.crashloop import LOOP_RESTARTS
from lbwatch.core.errors import NoDaemonError
from lbwatch.core.explain import explained
from lbwatch.core.model import Container, Notice, NoticeKind, Plan, Snapshot
from lbwatch.core.story import Explanation, Story, addresses_of, story_of
from lbwatch.settings import Settings


async def explain(settings: Settings, *, container: str | None, as_json: bool, recorded: Path | None) -> int:
    """
    Print the running daemon's own answer, or where there is none what one would make of the engine now.

    Args:
        settings: What the user set.
        container: The name of the one to tell about, or the beginning of its id; `None`: all.
        as_json: Whether to answer for scripts.
        recorded: See `looked`.
    """
    told = None if recorded else await _told_by_daemon(settings, container=container)
    if told is None:
        told = await _found_out(settings, ref=container, recorded=recorded)
    for reason in told.reasons:
        _say(f"not in step, so that this may be old: {reason}")
    for remark in told.remarks:
        _say(remark)
    if as_json:
        output.show(_as_json(told))
    else:
        output.show_explanation(told)
    return DONE if told.rows or not told.reasons else FAILED


async def _told_by_daemon(settings: Settings, *, container: str | None) -> Explanation | None:
    """Ask the daemon, which knows what nginx runs; `None` if there is none, or it follows another engine."""
    try:
        told = await daemon_client.explanation(settings.control_socket, container=container)
    except NoDaemonError as error:
        _say(f"{error}; what follows is what one would make of the engine now")
        return None
    here = build.make_address(settings).name
    if told.source != here:
        _say(f"the lbwatch at {settings.control_socket} follows {told.source}: this is what one would make of {here}")
        return None
    return told


async def _found_out(settings: Settings, *, ref: str | None, recorded: Path | None) -> Explanation:
    look = await looked(settings, recorded=recorded)
    plan = look.plan if look.known_by_daemon else _with_loops(look.plan, look.snapshot)
    found = await candidate(settings, look)
    rows = tuple(explained(plan, degraded=found.degraded if found else ()))
    story = None
    if ref is not None:
        container = find_container(ref, containers=look.snapshot.containers.values())
        rows = tuple(row for row in rows if row.container == container.name)
        if recorded is None:
            container = await closely(settings, container)
        story = _story(container, look=look, text=found.text if found else "")
    return Explanation(source=look.snapshot.source, rows=rows, story=story)


def _story(container: Container, *, look: FirstLook, text: str) -> Story:
    return story_of(
        container,
        rules=look.rules,
        containers=look.snapshot.containers,
        suspended=look.suspended,
        events=(),
        places=addresses_of(container.name, look.plan),
        text=text,
    )


def _with_loops(plan: Plan, snapshot: Snapshot) -> Plan:
    """Warn of those that a daemon may leave out: it alone knows how often each was restarted lately."""
    notices = (
        Notice(
            container=container.name,
            kind=NoticeKind.RESTARTED,
            detail=f"the engine restarted it {container.restarts} times since its last start by hand: the daemon "
            "leaves it out while that goes on (restart-loop in its log)",
        )
        for container in snapshot.containers.values()
        if container.restarts >= LOOP_RESTARTS
    )
    return replace(plan, notices=(*plan.notices, *notices))


def _as_json(told: Explanation) -> str:
    """Write a list of rows; where one container was asked for, each with its `story`."""
    story = {} if told.story is None else {"story": asdict(told.story)}
    return json.dumps([asdict(row) | story for row in told.rows], indent=2) + "\n"


def _say(words: str) -> None:
    print(f"lbwatch: {words}", file=sys.stderr)

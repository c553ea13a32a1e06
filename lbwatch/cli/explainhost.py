"""`explain --host`: what becomes of the requests for one host."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from lbwatch.api import client as daemon_client
from lbwatch.api.sites import host_json
from lbwatch.cli import DONE, FAILED, output
from lbwatch.cli.look import looked, say, told_by_daemon, warn
from lbwatch.cli.terminal import NOTE, write_line
from lbwatch.core.errors import NoDaemonError, RequestError
from lbwatch.core.hostwords import HostExplanation, host_explanation, host_sections
from lbwatch.core.model import Degraded, Plan
from lbwatch.core.rows import stamped
from lbwatch.core.sitestory import site_story
from lbwatch.settings import Settings
from lbwatch.wiring.filenames import found_now
from lbwatch.wiring.look import Look

_TROUBLE = ("503", "warning", "nginx does not")
"""How a line begins that its reader should see first."""


async def explain_host(settings: Settings, *, host: str, as_json: bool, recorded: Path | None) -> int:
    """
    Print the running daemon's own answer, or where there is none what one would make of it now.

    Args:
        settings: What the user set.
        host: As somebody typed it.
        as_json: Whether to answer for scripts.
        recorded: See `looked`.
    """
    told = None
    if not recorded:
        asked = daemon_client.host_explanation(settings.api.control_socket, host=host)
        told = await told_by_daemon(settings, asked, unless=(NoDaemonError, RequestError))
    if told is None:
        told = await _found_out(settings, host=host, recorded=recorded)
    for reason in told.reasons:
        say(f"not in step, so that this may be old: {reason}")
    if as_json:
        output.show(json.dumps(host_json(told), indent=2) + "\n")
    else:
        _show(told)
    return DONE if told.story.site is not None or not told.reasons else FAILED


async def _found_out(settings: Settings, *, host: str, recorded: Path | None) -> HostExplanation:
    async with looked(settings, recorded=recorded) as look:
        warn(look)
        plan = look.reconciler.applied().plan
        assert plan is not None
        degraded = look.balancer.applied.degraded
        return await asyncio.to_thread(_answer, host, look=look, plan=plan, degraded=degraded)


def _answer(host: str, *, look: Look, plan: Plan, degraded: tuple[Degraded, ...]) -> HostExplanation:
    rules = look.rules()
    routes = stamped(plan.routes, degraded=degraded, streams=plan.streams, sites=plan.sites)
    containers = look.source.containers() or {}
    story = site_story(host, plan=replace(plan, routes=routes), rules=rules, containers=containers)
    unmatched = found_now(plan, rules=rules)
    return host_explanation(story, source=look.source.described, at=time.time(), degraded=degraded, unmatched=unmatched)


def _show(told: HostExplanation) -> None:
    """Write what becomes of the requests for a host."""
    for name, lines in host_sections(told):
        for number, line in enumerate(lines):
            heading = Text(f"{name if number == 0 else '':<9} ", style="bold")
            style = NOTE if line.lstrip().startswith(_TROUBLE) else "default"
            # What others wrote in it is cut already; an error of nginx beside a path is longer than one of these.
            indent = len(line) - len(line.lstrip())
            text = _printable(line.lstrip())
            beside = len(heading) + indent
            write_line(heading.append(" " * indent).append(output.column(text, beside=beside), style=style))


def _printable(line: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)

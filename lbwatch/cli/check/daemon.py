"""Asks the running daemon how things stand: what it knows of engine and nginx no look from outside finds out."""

import asyncio
import errno
from collections.abc import Iterable, Iterator
from pathlib import Path

from lbwatch.api import client
from lbwatch.api.client import DaemonState, NginxState, SiteState
from lbwatch.cli.check.finding import Finding, closed_site_words, failed, ok, warn, warnings
from lbwatch.core.errors import NoDaemonError
from lbwatch.engines.pool import described, named_urls
from lbwatch.settings import Settings
from lbwatch.wiring.parts import make_addresses

FURTHER_LOOKS = 10
"""At a daemon that is not in step: in all longer than a start takes, or a reload."""

_POLL_S = 0.2

_START = "none runs, and nothing follows the engine: start it with `systemctl start lbwatch`, or `lbwatch run`"


async def daemon_findings(settings: Settings) -> Iterable[Finding]:
    """Return what the daemon says of itself; that there is none is no failure before the first start."""
    path = settings.api.control_socket
    try:
        state = await _settled_state(path)
    except NoDaemonError as error:
        is_there = getattr(error.__cause__, "errno", None) == errno.EACCES
        return (warn("daemon", str(error) if is_there else f"{_START} (none answers at control_socket {path})"),)
    return tuple(_findings(state, engines=described(make_addresses(settings))))


async def _settled_state(path: Path) -> DaemonState:
    """Return how things stand, once all is in step or has not been for a while: it may have been started just now."""
    state = await client.state(path)
    for _ in range(FURTHER_LOOKS):
        if not state.reasons:
            break
        await asyncio.sleep(_POLL_S)
        state = await client.state(path)
    return state


def _findings(state: DaemonState, *, engines: str) -> Iterator[Finding]:
    """Return the findings; *engines*: where those are that the settings name."""
    # One from before engines had names calls each by its URL.
    followed = named_urls({each.name: each.url or each.name for each in state.engines if each.kind == "engine"})
    if engines != followed:  # what it says is not about what was looked at
        yield warn("daemon", f"the lbwatch that runs follows {followed}, and these settings name {engines}")
        return
    yield from (failed("daemon", reason) for reason in state.reasons)
    if not state.reasons:
        yield ok("daemon", f"lbwatch {state.version} is in step{_belief(state)}")
    if state.nginx.live is not None:
        yield _live(state.nginx)
    yield from warnings("daemon", (each.note for each in state.upstreams if each.note is not None))
    yield from warnings("daemon", (each.note for each in state.streams if each.note is not None))
    yield from warnings("daemon", _closed(state.sites))
    yield from warnings("daemon", state.remarks)
    for each in state.engines:
        if each.drift:
            yield warn(
                "daemon", f"{each.kind} {each.name}: {each.drift} changes had no event: see source.drifted in its log"
            )


def _closed(sites: Iterable[SiteState]) -> Iterator[str]:
    for site in sites:
        if site.closed is not None:
            yield closed_site_words(site.host, why=site.closed)
        yield from (
            closed_site_words(site.host, path=each.path, why=each.closed)
            for each in site.locations
            if each.closed is not None
        )


def _live(nginx: NginxState) -> Finding:
    if nginx.live:
        return ok("daemon", "changes of servers go out without a reload")
    return ok("daemon", f"changes of servers go out by reloads: {nginx.live_reason}")


def _belief(state: DaemonState) -> str:
    if state.applied is None or not state.applied.believed:
        return ""
    return ", as far as it knows: reload_command's exit code 0 is believed, and no nginx master is seen (nginx_pidfile)"

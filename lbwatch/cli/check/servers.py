"""Checks whether each server that would be written answers a connection, where that can be known from here."""

import asyncio
import os
from collections.abc import Iterable

from lbwatch.balancers.nginx.locate import same_network
from lbwatch.balancers.nginx.process import find_master
from lbwatch.cli.check.finding import Finding, ok, warnings
from lbwatch.core.errors import ReloadError
from lbwatch.core.model import Server, Upstream, bracketed
from lbwatch.settings import Settings

CONNECT_TIMEOUT_S = 1.0
"""For one connection; a container of this machine answers, or refuses, within a millisecond."""

MAX_SERVERS = 64
MAX_AT_ONCE = 16
"""With all silent it takes `MAX_SERVERS / MAX_AT_ONCE * CONNECT_TIMEOUT_S`."""


async def server_findings(upstreams: Iterable[Upstream], *, settings: Settings) -> tuple[Finding, ...]:
    """Return who answers; nothing where nginx is in another network than we, since it may reach what we do not."""
    places = {(each.address, each.port): (one.name, each) for one in upstreams for each in one.servers}
    if not places or not await asyncio.to_thread(_reaches_alike, settings):
        return ()
    tried = list(places.values())[:MAX_SERVERS]
    turns = asyncio.Semaphore(MAX_AT_ONCE)
    reasons = await asyncio.gather(*(_silence(server, turns=turns) for _, server in tried))
    silent = [
        f"upstream {name}: {bracketed(server.address)}:{server.port} ({server.container}) {reason}"
        for (name, server), reason in zip(tried, reasons, strict=True)
        if reason is not None
    ]
    if silent:
        return tuple(warnings("servers", silent))
    of = "" if len(tried) == len(places) else f" of {len(places)}, the first ones"
    return (ok("servers", f"{len(tried)}{of}: each answers a connection"),)


def _reaches_alike(settings: Settings) -> bool:
    """Return whether nginx is seen to use the same network as we do: then what we reach it reaches."""
    if settings.nginx.nginx_container is not None:
        return False
    try:
        return same_network(find_master(settings.nginx.nginx_pidfile).pid, os.getpid())
    except ReloadError:
        return False


async def _silence(server: Server, *, turns: asyncio.Semaphore) -> str | None:
    """Return why a server does not answer, in words; `None`: it does."""
    try:
        async with turns, asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(server.address, server.port)
    except TimeoutError:
        return f"does not answer within {CONNECT_TIMEOUT_S:g} s: is that network one that nginx reaches (networks)?"
    except ConnectionRefusedError:
        return "refuses connections: does its program listen at that port, and not at 127.0.0.1 alone?"
    except OSError as error:
        return f"cannot be reached: {error.strerror or error}"
    writer.close()
    return None

"""Checks the engine: that it answers what is asked of it, and has the networks that are set."""

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from difflib import get_close_matches

from lbwatch.cli.check.finding import Finding, failed, ok, warn
from lbwatch.core.errors import SourceError, excerpt
from lbwatch.core.status import counted
from lbwatch.engines.docker.client import ASKED_IF_ALLOWED, EngineClient
from lbwatch.engines.docker.exec import EXEC_ASKED
from lbwatch.engines.docker.refusal import REFUSED
from lbwatch.settings import Settings
from lbwatch.wiring.access import NginxAccess
from lbwatch.wiring.parts import make_address

_MOST_NAMED = 8

_PODMAN_WORDS = (
    "this is Podman {version}, which reports no stop signal: a container serves until it is dead, so that a deploy "
    "should run `lbwatch drain NAME` before it stops one"
)

_PODMAN_EXEC_WORDS = (
    "Podman keeps two processes for 5 minutes of each program that was run in a container, and lbwatch runs two in "
    "nginx's at each change: `exit_command_delay = 5` below [engine] in containers.conf makes that 5 seconds"
)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[EngineClient]:
    """Give a client of the engine that is set, and close it; nothing is asked yet."""
    client = EngineClient(make_address(settings))
    try:
        yield client
    finally:
        await client.close()


async def engine_findings(settings: Settings) -> Iterable[Finding]:
    """Return what answers, and what is asked of it; raises `SourceError`."""
    async with connected(settings) as client:
        ping = await client.ping()
        containers = await client.list_containers()
        needed = NginxAccess(settings, client=client, known=dict).asked()
    api, name = ".".join(map(str, ping.api)), make_address(settings).name
    more = " and ".join(ASKED_IF_ALLOWED)
    found = f"{name}: API {api}, {counted(len(containers), what='container')}"
    findings = [ok("engine", f"{found}; asked for {', '.join(needed)}; and, where that is allowed, for {more}")]
    if ping.podman is not None:
        findings.append(warn("engine", _PODMAN_WORDS.format(version=ping.podman)))
        if EXEC_ASKED[0] in needed:
            findings.append(warn("engine", _PODMAN_EXEC_WORDS))
    return findings


async def network_findings(settings: Settings) -> Iterable[Finding]:
    """Return whether the engine has the networks that are set; nothing where none is, or no engine answers."""
    wanted = settings.routing.networks
    if not wanted:
        return ()
    async with connected(settings) as client:
        try:
            await client.ping()
            there = await client.network_names()
        except SourceError as error:
            if error.status in REFUSED:
                return (warn("networks", f"not known whether the engine has {', '.join(wanted)}: {error}"),)
            return ()  # the line above says why nothing answers
    unknown = [name for name in wanted if name not in there]
    if not unknown:
        return (ok("networks", f"the engine has {', '.join(wanted)}"),)
    return tuple(failed("networks", _unknown_words(name, there=there)) for name in unknown)


def _unknown_words(name: str, *, there: Collection[str]) -> str:
    near = [each for each in sorted(there) if each.endswith(f"_{name}")] or get_close_matches(
        name, sorted({*there} - {"none"}), n=1
    )
    known = [excerpt(each) for each in sorted(there)]
    listed = ", ".join(known[:_MOST_NAMED]) + (", ..." if len(known) > _MOST_NAMED else "")
    advice = f"did you mean {excerpt(near[0])}?" if near else f"it has {listed or 'none'}"
    return f"networks: the engine has no network {excerpt(name)!r}, so that no container is reached by it: {advice}"

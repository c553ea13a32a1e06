"""Checks the engines: that each answers what is asked of it, and that nginx's has the networks that are set."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain, combinations

from lbwatch.cli.check.finding import Finding, failed, ok, warn
from lbwatch.core.errors import SourceError, excerpt
from lbwatch.core.status import counted
from lbwatch.engines.docker.address import EngineAddress
from lbwatch.engines.docker.client import ASKED, ASKED_IF_ALLOWED, EngineClient
from lbwatch.engines.docker.exec import EXEC_ASKED
from lbwatch.engines.docker.refusal import REFUSED
from lbwatch.settings import Settings
from lbwatch.wiring.access import NginxAccess
from lbwatch.wiring.parts import make_addresses, nginx_address

_MOST_NAMED = 8

_PODMAN_WORDS = (
    "this is Podman {version}, which reports no stop signal: a container serves until it is dead, so that a deploy "
    "should run `lbwatch drain NAME` before it stops one"
)

_PODMAN_EXEC_WORDS = (
    "Podman keeps two processes for 5 minutes of each program that was run in a container, and lbwatch runs two in "
    "nginx's at each change: `exit_command_delay = 5` below [engine] in containers.conf makes that 5 seconds"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What one engine came to, and the ids of its containers, by which two ways to one engine are known."""

    findings: tuple[Finding, ...]
    name: str
    ids: frozenset[str] = frozenset()


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[EngineClient]:
    """Give a client of the engine on whose machine nginx runs, and close it; nothing is asked yet."""
    async with _client(nginx_address(settings)) as client:
        yield client


@asynccontextmanager
async def _client(address: EngineAddress) -> AsyncIterator[EngineClient]:
    client = EngineClient(address)
    try:
        yield client
    finally:
        await client.close()


async def engine_findings(settings: Settings) -> Iterable[Finding]:
    """Return what answers, and what is asked of it; raises `SourceError` where the only engine does not."""
    addresses = make_addresses(settings)
    if len(addresses) == 1:
        return (await _answer(addresses[0], settings=settings)).findings
    answers = await asyncio.gather(*(_answer_or_failure(each, settings=settings) for each in addresses))
    return (*chain.from_iterable(each.findings for each in answers), *_same_findings(answers))


async def _answer_or_failure(address: EngineAddress, *, settings: Settings) -> _Answer:
    """Return what one of several engines came to; the others are looked at in any case."""
    name = address.engine.name
    try:
        answer = await _answer(address, settings=settings)
    except SourceError as error:
        return _Answer(name=name, findings=(failed("engine", f"{name}: {error}"),))
    return replace(answer, findings=tuple(replace(each, words=f"{name}: {each.words}") for each in answer.findings))


def _same_findings(answers: Iterable[_Answer]) -> Iterator[Finding]:
    """Return which engines are followed by two ways: no two engines give a container the same id."""
    for one, other in combinations(answers, 2):
        if one.ids & other.ids:
            yield warn("engine", f"{one.name} and {other.name} are one and the same engine: docker_host needs it once")


async def _answer(address: EngineAddress, *, settings: Settings) -> _Answer:
    async with _client(address) as client:
        ping = await client.ping()
        containers = await client.list_containers()
        is_nginx = address == nginx_address(settings)
        needed = NginxAccess(settings, client=client, known=dict).asked() if is_nginx else ASKED
    api = ".".join(map(str, ping.api))
    more = " and ".join(ASKED_IF_ALLOWED)
    found = f"{address.name}: API {api}, {counted(len(containers), what='container')}"
    findings = [ok("engine", f"{found}; asked for {', '.join(needed)}; and, where that is allowed, for {more}")]
    if ping.podman is not None:
        findings.append(warn("engine", _PODMAN_WORDS.format(version=ping.podman)))
        if EXEC_ASKED[0] in needed:
            findings.append(warn("engine", _PODMAN_EXEC_WORDS))
    return _Answer(name=address.engine.name, findings=tuple(findings), ids=frozenset(each.id for each in containers))


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

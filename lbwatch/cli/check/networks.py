"""Checks that there are the networks that are set, where nginx may be on them."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from lbwatch.cli.check.enginelook import connected_to
from lbwatch.cli.check.finding import Finding, failed, ok, warn
from lbwatch.core.errors import SourceError, excerpt
from lbwatch.engines.docker.address import EngineAddress, nginx_engine_of
from lbwatch.engines.docker.refusal import REFUSED
from lbwatch.settings import Settings
from lbwatch.wiring.parts import make_addresses

OVERLAY = "overlay"
"""The driver of networks that are the same on all engines that have them."""

_MOST_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Networks:
    """What an engine has; *error*: why that is not known."""

    address: EngineAddress
    names: frozenset[str] = frozenset()
    error: SourceError | None = None


async def network_findings(settings: Settings) -> Iterable[Finding]:
    """Return whether the networks that are set are there; nothing where none is, or nginx's engine does not answer."""
    wanted = settings.routing.networks
    if not wanted:
        return ()
    addresses = make_addresses(settings)
    home = nginx_engine_of(settings.engine, addresses)
    looks = await asyncio.gather(*(_networks(each, is_home=each.engine.name == home) for each in addresses))
    return _findings(wanted, looks=looks, home=home)


def _findings(wanted: Sequence[str], *, looks: Sequence[_Networks], home: str | None) -> tuple[Finding, ...]:
    alone = len(looks) == 1 and home is not None
    there = frozenset[str]().union(*(each.names for each in looks))
    unknown = [name for name in wanted if name not in there]
    if not unknown:
        return (ok("networks", f"{_whose(home, alone=alone)} {', '.join(wanted)}"),)
    # What an engine has that does not answer is not known.
    silent = [each for each in looks if each.error is not None]
    if refused := [each.error for each in silent if each.error is not None and each.error.status in REFUSED]:
        has = "the engine has" if alone else "there are"
        return (warn("networks", f"not known whether {has} {', '.join(unknown)}: {refused[0]}"),)
    if any(each.address.engine.name == home for each in silent):
        return ()  # the line above says why nothing answers
    if silent:
        names = ", ".join(each.address.engine.name for each in silent)
        words = f"not known whether there are overlay networks {', '.join(unknown)}: no answer of {names}"
        return (warn("networks", words),)
    return tuple(failed("networks", _unknown_words(name, there=there, home=home, alone=alone)) for name in unknown)


def _whose(home: str | None, *, alone: bool) -> str:
    if alone:
        return "the engine has"
    return "there are the overlay networks" if home is None else f"engine {home}, or an overlay network, has"


async def _networks(address: EngineAddress, *, is_home: bool) -> _Networks:
    """Return the networks of an engine that nginx may be on: of another one's machine overlays alone."""
    async with connected_to(address) as client:
        try:
            await client.ping()
            return _Networks(address=address, names=await client.network_names(driver=None if is_home else OVERLAY))
        except SourceError as error:
            return _Networks(address=address, error=error)


def _unknown_words(name: str, *, there: Collection[str], home: str | None, alone: bool) -> str:
    near = [each for each in sorted(there) if each.endswith(f"_{name}")] or get_close_matches(
        name, sorted({*there} - {"none"}), n=1
    )
    known = [excerpt(each) for each in sorted(there)]
    listed = ", ".join(known[:_MOST_NAMED]) + (", ..." if len(known) > _MOST_NAMED else "")
    if home is None:
        lacks, have = f"no engine has an overlay network {excerpt(name)!r}, and nginx is on no other", "there is"
    elif alone:
        lacks, have = f"the engine has no network {excerpt(name)!r}", "it has"
    else:
        lacks, have = f"nginx's engine {home} has no network {excerpt(name)!r}, and no engine such an overlay", "it has"
    advice = f"did you mean {excerpt(near[0])}?" if near else f"{have} {listed or 'none'}"
    return f"networks: {lacks}, so that no container is reached by it: {advice}"

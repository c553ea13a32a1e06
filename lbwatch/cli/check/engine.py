"""Checks the engines: that they answer what is asked of them, and that nginx reaches what they have."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from lbwatch.cli.check.enginelook import OF_MANAGER, EngineLook, asks_swarm, connected, engine_looks
from lbwatch.cli.check.finding import Finding, failed, ok, warn
from lbwatch.core.errors import excerpt
from lbwatch.core.status import counted
from lbwatch.engines.docker.address import nginx_engine_of
from lbwatch.engines.docker.client import ASKED, ASKED_IF_ALLOWED
from lbwatch.engines.docker.exec import EXEC_ASKED
from lbwatch.engines.docker.identity import SwarmMembership
from lbwatch.settings import Settings
from lbwatch.wiring.access import NginxAccess, followed
from lbwatch.wiring.parts import make_addresses, nginx_address

_PODMAN_WORDS = (
    "this is Podman {version}, which reports no stop signal: a container serves until it is dead, so that a deploy "
    "should run `lbwatch drain NAME` before it stops one"
)

_PODMAN_EXEC_WORDS = (
    "Podman keeps two processes for 5 minutes of each program that was run in a container, and lbwatch runs two in "
    "nginx's at each change: `exit_command_delay = 5` below [engine] in containers.conf makes that 5 seconds"
)

_ID_CHARS = 12
"""So many of an id's characters are shown, as `docker` does."""


async def engine_findings(settings: Settings) -> Iterable[Finding]:
    """Return what answers, and what is asked of it; raises `SourceError` where the only engine does not."""
    async with connected(settings) as client:
        asked = NginxAccess(settings, client=client, known=dict).asked()
    looks = await engine_looks(settings)
    if len(looks) == 1 and looks[0].error is not None:
        raise looks[0].error
    return tuple(_findings(looks, settings=settings, asked_of_nginx=asked))


def _findings(looks: Sequence[EngineLook], *, settings: Settings, asked_of_nginx: tuple[str, ...]) -> Iterator[Finding]:
    """Return a line of each engine, and its warnings; *asked_of_nginx*: what the one beside nginx is asked for."""
    for look in looks:
        begin = "" if len(looks) == 1 else f"{look.name}: "
        if look.error is not None:
            yield failed("engine", f"{begin}{look.error}")
            continue
        asked = asked_of_nginx if look.address == nginx_address(settings) else ASKED
        yield ok("engine", f"{begin}{_found_words(look)}; {_asked_words(look, settings=settings, asked=asked)}")
        execs = EXEC_ASKED[0] in asked
        yield from (warn("engine", f"{begin}{each}") for each in _warnings(look, settings=settings, execs=execs))
    for one, other in combinations(looks, 2):
        if _are_one(one, other):
            words = f"{one.name} and {other.name} are one and the same engine: docker_host needs it once"
            yield warn("engine", words)


def _are_one(one: EngineLook, other: EngineLook) -> bool:
    """Return whether two ways lead to one engine: no two engines give a container the same id, or have one ID."""
    ids = [look.info.id for look in (one, other) if look.info is not None and look.info.id]
    return bool(one.containers & other.containers) or (len(ids) == 2 and ids[0] == ids[1])


def _found_words(look: EngineLook) -> str:
    """Return what answered: where, its API, its containers, what it is in a Swarm, and where its ports are reached."""
    assert look.ping is not None
    parts = [f"API {'.'.join(map(str, look.ping.api))}", counted(len(look.containers), what="container")]
    if look.info is not None and look.info.swarm is not None:
        parts.append(_role_words(look.info.swarm))
    if look.address.reached_at:
        parts.append(f"published ports at {look.address.reached_at}")
    return f"{look.address.name}: {', '.join(parts)}"


def _role_words(membership: SwarmMembership) -> str:
    if membership.state != "active":
        return f"{excerpt(membership.state)} in its Swarm"
    return f"manager of Swarm {membership.cluster[:_ID_CHARS]}" if membership.is_manager else "worker in a Swarm"


def _asked_words(look: EngineLook, *, settings: Settings, asked: Sequence[str]) -> str:
    """Return what is asked of an engine, for whoever must allow it."""
    of_swarm = [f"GET {path}" for path in OF_MANAGER] if asks_swarm(look, settings=settings) else []
    return (
        f"asked for {', '.join((*asked, *of_swarm))}; and, where that is allowed, for {' and '.join(ASKED_IF_ALLOWED)}"
    )


def _warnings(look: EngineLook, *, settings: Settings, execs: bool) -> Iterator[str]:
    """Return what of an engine may be wrong; *execs*: whether programs are run in a container of it."""
    assert look.ping is not None
    if look.ping.podman is not None:
        yield _PODMAN_WORDS.format(version=look.ping.podman)
        if execs:
            yield _PODMAN_EXEC_WORDS
    if look.swarm_error is not None:
        yield f"its Swarm's tasks cannot be read by it: {look.swarm_error}"
    yield from _reach_words(look, settings=settings)


def _reach_words(look: EngineLook, *, settings: Settings) -> Iterator[str]:
    """Return why nginx does not reach an engine's containers, and what to set."""
    setting = f"engine_address={look.name}=ADDRESS"
    if look.name == nginx_engine_of(settings.engine, make_addresses(settings)):
        # A container beside its own is reached there as anywhere.
        if look.info is not None and look.info.is_rootless and followed(settings) is None:
            yield (
                "it is rootless, so that its machine reaches no network of its containers, and published ports alone: "
                f"set nginx_engine=none and {setting}"
            )
    elif look.reach_error is not None:
        yield f"its published ports are not reached: {look.reach_error}; set {setting}"
    elif not look.address.reached_at:
        yield (
            "nginx is not on its machine, and where its published ports are reached is not known, so that its "
            f"containers are reached by overlay networks alone: set {setting}"
        )

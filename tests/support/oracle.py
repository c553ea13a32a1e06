"""
What the rendered file must say, worked out a second time, from `docker inspect` and the contract alone.

It imports nothing of lbwatch and knows only the labels that the tests on a real engine use; it fails loudly on others
rather than agree by accident. The file itself is read by crossplane, never by regular expressions.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crossplane

Blocks = list[tuple[str, list[str]]]
"""Each upstream's name and the lines of its block, in the file's order."""

PLACEHOLDER = ["server 127.0.0.1:1 down"]

LIVE = {"lua_check_client_abort", "init_worker_by_lua_block", "rewrite_by_lua_block", "log_by_lua_block"}
"""What stands once, behind the upstreams, where nginx's workers follow; each upstream has a line of its own for it."""

_KNOWN = {"enable", "upstream", "port", "network", "weight", "hold", "listen"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """
    What the daemon under test was told or can see.

    Attributes:
        networks: The setting of that name.
        expose_all: Whether `expose` is `all`.
        host_shared: Whether nginx shares the network of the engine's host.
        holds: Whether requests can wait for a server.
    """

    networks: Sequence[str] = ()
    expose_all: bool = False
    host_shared: bool = True
    holds: bool = False


ANY_NETWORK = Reach()


class _OutError(Exception):
    """The container is not routed; the text says why."""


def file_blocks(path: Path) -> Blocks:
    """Read a rendered file, without what has nginx's workers follow; a missing one has no blocks."""
    if not path.exists():
        return []
    parsed = crossplane.parse(str(path), check_ctx=False, single=True)
    assert parsed["status"] == "ok", parsed["errors"]
    (config,) = parsed["config"]
    blocks = []
    for directive in config["parsed"]:
        if directive["directive"] in LIVE:
            continue
        assert directive["directive"] == "upstream", f"unexpected in {path}: {directive}"
        (name,) = directive["args"]
        lines = (line for line in directive["block"] if line["directive"] != "balancer_by_lua_block")
        blocks.append((name, [" ".join([line["directive"], *line["args"]]) for line in lines]))
    return blocks


def expected_blocks(
    inspected: Iterable[Mapping[str, Any]],
    *,
    reach: Reach = ANY_NETWORK,
    draining: Collection[str] = (),
    crash_looping: Collection[str] = (),
    flapping: Collection[str] = (),
    paused: Collection[str] = (),
) -> Blocks:
    """
    Tell what the file must hold.

    Args:
        inspected: Every container that there is, in full.
        draining: Names of those that got their stop signal and live on, which no inspect shows.
        crash_looping: Names of those that are left out since the engine restarted them in a loop.
        flapping: Names of those whose health check flips, so that they count as unhealthy.
        paused: Names of the upstreams that are paused by hand, which are there without a container too.

    Returns:
        Blocks by name; a block's servers by address and port.
    """
    everyone = {each["Id"]: each for each in inspected}
    owners = _name_owners(everyone.values(), reach=reach)
    holding = _holding(everyone.values(), owners=owners, reach=reach)
    members: dict[str, dict[int, dict[tuple[tuple[int, ...], int], str]]] = {name: {} for name in paused}
    for container in everyone.values():
        read_labels = _wishes(container)
        try:
            name = _upstream(container, read_labels, reach)
            if name is None:
                continue
            classes = members.setdefault(name, {})
            _require_own_name(owners.get(name), _application(container, read_labels))
            rank = _rank(container, draining=draining, crash_looping=crash_looping, flapping=flapping)
            if name in holding and _must_not_serve(container, draining=draining):
                continue
            address, port = _address(container, read_labels, reach, everyone), _port(container, read_labels)
        except _OutError:
            continue
        weight = _number(read_labels, "weight", 1, 1000)
        text = f"server {address}:{port}" + ("" if weight in (None, 1) else f" weight={weight}")
        place = (tuple(int(part) for part in address.split(".")), port)
        others = classes.setdefault(rank, {})
        assert others.get(place, text) == text, f"two containers at {address}:{port}: too hard for this oracle"
        others[place] = text
    return [
        (name, [line for _, line in sorted(classes[min(classes)].items())] if classes else PLACEHOLDER)
        for name, classes in sorted(members.items())
    ]


def _holding(everyone: Iterable[Mapping[str, Any]], *, owners: Mapping[str, tuple[str, ...]], reach: Reach) -> set[str]:
    """The upstreams whose requests wait: as the oldest of their containers says, running or not."""
    said: dict[str, str] = {}
    for container in sorted(everyone, key=_age) if reach.holds else ():
        read_labels = _wishes(container)
        with suppress(_OutError):
            name = _upstream(container, read_labels, reach)
            if name is not None and "hold" in read_labels:
                _require_own_name(owners.get(name), _application(container, read_labels))
                said.setdefault(name, read_labels["hold"])
    return {name for name, hold in said.items() if hold != "0s"}


def _must_not_serve(container: Mapping[str, Any], *, draining: Collection[str]) -> bool:
    """Whether a request would rather wait than go there."""
    health = (container["State"].get("Health") or {}).get("Status", "none")
    return container["Name"].removeprefix("/") in draining or health == "unhealthy"


def _age(container: Mapping[str, Any]) -> tuple[tuple[str, str], str]:
    return _moment(container.get("Created", "")), container["Id"]


def _wishes(container: Mapping[str, Any]) -> dict[str, str]:
    """What its labels say, the prefix taken off."""
    labels = {key.lower(): value for key, value in (container["Config"]["Labels"] or {}).items()}
    read_labels = {key.removeprefix("lbwatch."): value for key, value in labels.items() if key.startswith("lbwatch.")}
    assert read_labels.keys() <= _KNOWN, f"labels that this oracle does not know: {read_labels.keys() - _KNOWN}"
    return read_labels


def _upstream(container: Mapping[str, Any], read_labels: Mapping[str, str], reach: Reach) -> str | None:
    """The upstream it keeps alive, running or not; `None` if it asks for nothing. A wrong label takes it out."""
    if read_labels.get("enable") == "false" or not (read_labels or reach.expose_all):
        return None
    if container["State"]["Status"] == "created":
        return None  # the contract keeps names of stopped containers; this one never ran
    if read_labels.get("enable", "true") != "true":
        raise _OutError("enable")
    _number(read_labels, "port", 1, 65535)
    _number(read_labels, "weight", 1, 1000)
    labels = container["Config"]["Labels"] or {}
    if labels.get("com.docker.compose.oneoff") == "True":
        return None
    name = read_labels.get("upstream")
    if name is None and "com.docker.compose.service" in labels:
        name = f"{labels['com.docker.compose.project']}-{labels['com.docker.compose.service']}"
    if name is None:
        name = container["Name"].removeprefix("/")
    if not name or not all(letter.isascii() and (letter.isalnum() or letter in "_.-") for letter in name):
        raise _OutError("upstream")
    return str(name).lower()


def _application(container: Mapping[str, Any], read_labels: Mapping[str, str]) -> tuple[str, ...] | None:
    """Whose the upstream's name is if it is a default name."""
    labels = container["Config"]["Labels"] or {}
    if "upstream" in read_labels:
        return None
    if "com.docker.compose.service" in labels:
        return labels["com.docker.compose.project"], labels["com.docker.compose.service"]
    return (container["Id"],)


def _name_owners(everyone: Iterable[Mapping[str, Any]], *, reach: Reach) -> dict[str, tuple[str, ...]]:
    """By default name, the application of its oldest container."""
    owners: dict[str, tuple[str, ...]] = {}
    for container in sorted(everyone, key=_age):
        read_labels = _wishes(container)
        with suppress(_OutError):
            name, application = _upstream(container, read_labels, reach), _application(container, read_labels)
            if name is not None and application is not None:
                owners.setdefault(name, application)
    return owners


def _require_own_name(owner: tuple[str, ...] | None, application: tuple[str, ...] | None) -> None:
    if application is not None and application != owner:
        raise _OutError("the default name is another application's")


def _number(read_labels: Mapping[str, str], key: str, least: int, most: int) -> int | None:
    text = read_labels.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise _OutError(key)
    return int(text)


def _rank(
    container: Mapping[str, Any],
    *,
    draining: Collection[str],
    crash_looping: Collection[str],
    flapping: Collection[str],
) -> int:
    """Its class among the upstream's members: the lowest that is there serves."""
    state, name = container["State"], container["Name"].removeprefix("/")
    if name in crash_looping:
        raise _OutError("restarts in a loop")
    if not state["Running"] or state["Paused"] or state["Restarting"]:
        raise _OutError("does not run")
    health = (state.get("Health") or {}).get("Status", "none")
    if health == "starting":
        raise _OutError("starting")
    if name in draining:
        return 1
    return 2 if health == "unhealthy" or name in flapping else 0


def _port(container: Mapping[str, Any], read_labels: Mapping[str, str]) -> int:
    asked = _number(read_labels, "port", 1, 65535)
    if asked is not None:
        return asked
    exposed = [each.split("/") for each in container["Config"].get("ExposedPorts") or {}]
    ports = [int(port) for port, protocol in exposed if protocol == "tcp"]
    if len(ports) != 1:
        raise _OutError("port")
    return ports[0]


def _address(
    container: Mapping[str, Any],
    read_labels: Mapping[str, str],
    reach: Reach,
    everyone: Mapping[str, Mapping[str, Any]],
) -> str:
    mode = container["HostConfig"]["NetworkMode"]
    if mode == "host":
        if not reach.host_shared:
            raise _OutError("host")
        return "127.0.0.1"
    if mode.startswith("container:"):
        ref = mode.removeprefix("container:")
        named = (each for each in everyone.values() if each["Name"] == f"/{ref}")
        owner = everyone.get(ref) or next(named, None)
        if owner is None or not owner["State"]["Running"]:
            raise _OutError("its network's owner does not run")
        if _started(owner) > _started(container):
            # Measured: a restarted owner has a new network namespace, the other stays in the old one.
            raise _OutError("its network's owner was started anew without it")
        container = owner
    return _on_network(container, read_labels, reach)


def _started(container: Mapping[str, Any]) -> tuple[str, str]:
    """Orders starts; the engine drops trailing zeros of the nanoseconds."""
    return _moment(container["State"]["StartedAt"])


def _moment(text: str) -> tuple[str, str]:
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return whole, fraction.ljust(9, "0")


def _on_network(container: Mapping[str, Any], read_labels: Mapping[str, str], reach: Reach) -> str:
    endpoints = container["NetworkSettings"]["Networks"]
    project = (container["Config"]["Labels"] or {}).get("com.docker.compose.project")
    if "network" in read_labels:
        asked = [read_labels["network"], *([f"{project}_{read_labels['network']}"] if project else [])]
    elif reach.networks:
        asked = list(reach.networks)
    else:
        # Which driver a network has is not in inspect: this oracle is for engines that have only bridges.
        asked = sorted(endpoints)
    for network in asked:
        if network == "ingress":
            continue
        if network in endpoints and endpoints[network]["IPAddress"]:
            return str(endpoints[network]["IPAddress"])
    raise _OutError("network")

"""
The golden files: containers and their labels above a line, the expected config below it; one rule of the contract each.

Above the line stands TOML. Containers were created and started in the order in which they stand. A network is
`name = "IPV4"` or `name = ["IPV4", "IPV6"]`; `[rules]` are those of `lbwatch.plan.Rules`; `nginx` is its version, which
else is not known, `draining` who drains; `engines` are those that a container's `engine` names, in their order, and
`overlays` the networks that are one on all of them. A published port is `"80/tcp" = ["ADDRESS:PORT"]`; the rest has the defaults of `inspected`. Each container goes the whole way: inspect answer, container, desired, text.
"""

import json
import random
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from strategies import make_renderer, planned, snapshot

from lbwatch.balancers.nginx.version import version_in
from lbwatch.core.draining import BY_HAND
from lbwatch.core.model import Container, Engine, Suspended
from lbwatch.core.plan import Rules
from lbwatch.engines.docker.answers import container_of_inspect

GOLDEN = Path(__file__).parents[2] / "golden"
CASES = sorted(path for path in GOLDEN.glob("*.txt") if not path.name.endswith(".sites.txt"))
LINE = "-" * 80 + "\n"


def inspected(name: str, facts: dict[str, Any], *, ids: dict[str, str]) -> bytes:
    """Write what the engine's inspect would answer for one container of a case."""
    number = list(ids).index(name)
    mode = f"container:{ids[facts['network_of']]}" if "network_of" in facts else facts.get("network_mode", "front")
    networks = {key: [value] if isinstance(value, str) else value for key, value in facts.get("networks", {}).items()}
    answer = {
        "Id": ids[name],
        "Name": f"/{name}",
        "Created": f"2026-01-01T00:{number:02}:00.000000001Z",
        "State": {
            "Status": facts.get("state", "running"),
            "StartedAt": f"2026-01-01T01:{number:02}:00.5Z",
            "Health": {"Status": facts["health"]} if "health" in facts else None,
        },
        "Config": {
            "Labels": facts.get("labels"),
            "ExposedPorts": {port: {} for port in facts.get("exposes", ["80/tcp"])},
        },
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {
            "Networks": {
                key: {"IPAddress": addresses[0], "GlobalIPv6Address": "".join(addresses[1:])}
                for key, addresses in networks.items()
            },
            "Ports": {port: [bound(each) for each in places] for port, places in facts.get("published", {}).items()},
        },
    }
    return json.dumps(answer).encode()


def bound(place: str) -> dict[str, str]:
    """Write where a port is published as inspect does."""
    address, _, port = place.rpartition(":")
    return {"HostIp": address.strip("[]"), "HostPort": port}


def of_its_engine(container: Container, facts: dict[str, Any], told: dict[str, Any]) -> Container:
    """Return a container with what no inspect answer says of it."""
    endpoints = tuple(
        replace(each, driver="overlay", network_id=each.network) if each.network in told.get("overlays", ()) else each
        for each in container.endpoints
    )
    name = facts.get("engine", "")
    order = told["engines"].index(name) if name else 0
    return replace(container, engine=Engine(name=name, order=order), endpoints=endpoints)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_labels_give_the_config_that_stands_below_them(case: Path) -> None:
    """What users copy from the documentation must come out to the letter, in any order of the engine's answers."""
    above, _, expected = case.read_text().partition(LINE)
    told = tomllib.loads(above)
    ids = {name: f"{number:064x}" for number, name in enumerate(told["containers"], 1)}
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in told.get("rules", {}).items()
    }
    if given.get("nginx_engine") == "none":
        given["nginx_engine"] = None
    containers = [
        of_its_engine(container_of_inspect(inspected(name, facts, ids=ids)), facts, told)
        for name, facts in told["containers"].items()
    ]
    random.Random(case.stem).shuffle(containers)
    version = version_in(f"nginx version: nginx/{told.get('nginx')}")
    suspended = Suspended(draining={ids[name]: BY_HAND for name in told.get("draining", ())})
    plan = planned([snapshot(containers)], rules=Rules(**given), suspended=suspended, version=version)
    text = make_renderer().text(plan.upstreams)
    assert text == expected


def test_every_golden_file_says_what_it_shows() -> None:
    """The first line is the rule; without one nobody knows which side is wrong when a case fails."""
    assert len(CASES) >= 15
    for case in CASES:
        assert case.read_text().startswith("# ")
        assert case.read_text().count(LINE) == 1

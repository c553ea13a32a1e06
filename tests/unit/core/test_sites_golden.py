"""
Golden files of sites: containers above a line, the sites and what is said of containers below it; one rule each.

Above the line stands TOML. Containers were created in the order in which they stand; each has an address on one network.
`compat` is the setting, `files` are what lies in the folders. Below stands each site, its paths, and each row that is no
server.
"""

import random
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from siteworlds import certificate, files, served
from strategies import container, decide

from lbwatch.core.model import Container, Plan
from lbwatch.core.site import Site, SiteFiles, SiteRules

CASES = sorted((Path(__file__).parents[2] / "golden").glob("*.sites.txt"))
LINE = "-" * 80 + "\n"


def made(name: str, facts: dict[str, Any], *, age: int) -> Container:
    env, exposes = facts.get("env", {}), tuple(facts.get("exposes", [80]))
    found = container(name, labels=facts.get("labels", {}), created_ns=age, env=tuple(sorted(env.items())))
    return replace(found, exposed=exposes)


def files_of(told: dict[str, Any]) -> SiteFiles:
    broken = [certificate(name, error="its key is another one's") for name in told.get("broken", ())]
    names = {key: tuple(told.get(key, ())) for key in ("snippets", "passwords", "others", "lone")}
    return files(*told.get("certificates", ()), *broken, **names)


def text_of(plan: Plan) -> str:
    lines = [line for each in plan.sites for line in _site_lines(each)]
    lines += [
        f"{each.container} -> {each.upstream}: {each.site or ''} {each.reason}: {each.detail}"
        for each in plan.routes
        if each.reason
    ]
    told = {(each.container, one.kind, one.detail) for each in plan.routes for one in each.notices}
    lines += [f"{name} warning {kind}: {detail}" for name, kind, detail in sorted(told)]
    return "\n".join(lines) + "\n"


def _site_lines(site: Site) -> list[str]:
    parts = {
        "http": f"{site.on_http}",
        "certificate": site.certificate and site.certificate.name,
        "to": site.redirect_to,
        "default": site.is_default or None,
        "hsts": site.hsts,
        "snippet": site.snippet,
        "closed": site.closed,
    }
    said = "".join(f" {key}={value}" for key, value in parts.items() if value is not None)
    lines = [f"{site.host or '(nobody)'}{said}"]
    for each in site.locations:
        more = {"auth": each.password_file, "snippet": each.snippet, "closed": each.closed}
        words = "".join(f" {key}={value}" for key, value in more.items() if value is not None)
        lines.append(f"    {each.path} -> {each.upstream}{words}")
    return lines


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removesuffix(".sites.txt"))
def test_containers_give_the_sites_that_stand_below_them(case: Path) -> None:
    """What users copy from the documentation must come out to the letter, in any order of the engine's answers."""
    above, _, expected = case.read_text().partition(LINE)
    told = tomllib.loads(above)
    containers = [made(name, facts, age=age) for age, (name, facts) in enumerate(told["containers"].items())]
    random.Random(case.stem).shuffle(containers)
    rules = SiteRules(compat=told.get("compat", False), default_host=told.get("default_host"))
    assert text_of(decide(*containers, **served(rules, files_of(told.get("files", {}))))) == expected


def test_every_golden_file_says_what_it_shows() -> None:
    """The first line is the rule; without one nobody knows which side is wrong when a case fails."""
    assert len(CASES) >= 5
    assert all(case.read_text().startswith("# ") for case in CASES)

"""docs/traefik.md: what it says to write instead is read, and asks for what the page says."""

import re
from pathlib import Path

import pytest
import yaml

from lbwatch.balancers.nginx.limits import hash_key_refusal
from lbwatch.core.labels import UpstreamLabels, read_labels

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "traefik.md").read_text()

SAID = sorted(set(re.findall(r"`(lbwatch\.[a-z_]+)=([^`|]+)`", PAGE)))
"""Each label that the page has with a value."""


def read(labels: dict[str, str]) -> UpstreamLabels:
    given = read_labels(tuple(sorted(labels.items())), prefix="lbwatch", refuses_key=hash_key_refusal)
    assert (given.refusal, given.unknown) == (None, ())
    (upstream,) = given.upstreams
    return upstream


def test_the_page_has_examples() -> None:
    """Else the next test would look at nothing."""
    assert len(SAID) > 20


@pytest.mark.parametrize(("key", "value"), SAID)
def test_each_label_is_read(key: str, value: str) -> None:
    """Whoever moves pastes it, and must not be told that it means nothing."""
    read({"lbwatch.host": "shop.example.org", key: value})


def test_the_example_asks_for_the_same() -> None:
    """The first thing that is compared."""
    before, after = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
    labels = after["services"]["shop"]["labels"]
    old = before["services"]["shop"]["labels"]
    upstream = read(labels)
    (site,) = upstream.sites
    assert upstream.port == int(old["traefik.http.services.shop.loadbalancer.server.port"])
    assert f"Host(`{site.host}`) && PathPrefix(`{site.path}`)" == old["traefik.http.routers.shop.rule"]
    assert str(site.path) == old["traefik.http.middlewares.strip.stripprefix.prefixes"]
    assert site.of_location.strips_path
    assert ",".join(site.of_location.allow) == old["traefik.http.middlewares.limit.ipallowlist.sourcerange"]
    assert not read_labels(tuple(sorted(old.items())), prefix="lbwatch").asks

"""The story of one host: the first question of whoever gets a 503."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from siteworlds import certificate, files, hosting, served, site_rules, site_worlds
from strategies import container, hostile_text, snapshot

from lbwatch.core.model import Container, Published, Reason
from lbwatch.core.plan import desired_state
from lbwatch.core.rules import Rules
from lbwatch.core.site import SiteRules
from lbwatch.core.sitestory import SiteStory, site_story


def story(host: str, *containers: Container, **rules: Any) -> SiteStory:
    every = Rules(**(served() | rules))
    plan = desired_state([snapshot(containers)], rules=every)
    return site_story(host, plan=plan, rules=every, containers={each.id: each for each in containers})


def test_a_host_that_is_served_has_its_paths_containers_and_ports() -> None:
    """Which container, at which port, and why that one: the ten public threads about 503 are this question."""
    web = hosting("web", "a.example", port="8080")
    api = replace(hosting("api", "a.example", path="/api/"), exposed=(9000,))
    found = story("A.example:443", web, api, site_files=files("a.example"))
    assert (found.host, found.how) == ("a.example", "it is served by this name")
    ports = [(str(each.location.path), one.name, one.port) for each in found.locations for one in each.containers]
    assert ports == [
        ("/", "web", "8080, as a label says; it exposes 80"),
        ("/api/", "api", "9000, the only one that it exposes"),
    ]
    assert found.choice is not None and found.choice.usable == certificate("a.example")
    assert (found.refused, found.mentions, found.nearest) == ((), (), ())


def test_a_published_port_stands_beside_the_containers_own() -> None:
    """The file has 32770, and the image exposes 80: who reads both must see how they belong together."""
    web = replace(hosting("web", "a.example"), published=(Published(port=80, host_port=32770),))
    (path,) = story("a.example", web, nginx_engine=None, addresses={"": "10.1.0.2"}).locations
    assert path.containers[0].port == "80, the only one that it exposes; published as 10.1.0.2:32770"
    (near,) = story("a.example", web).locations
    assert near.containers[0].port == "80, the only one that it exposes"


def test_a_port_that_was_assumed_is_explained() -> None:
    env = {"VIRTUAL_HOST": "a.example"}
    web = replace(hosting("web", "", env=env), labels=(), exposed=(80, 443))
    found = story("a.example", web, sites=SiteRules(compat=True))
    (one,) = found.locations[0].containers
    assert one.port == "it exposes 80, 443: took 80; VIRTUAL_PORT says otherwise"
    assert one.route.address == "172.18.101.98:80"


def test_the_certificates_that_are_not_taken_have_a_reason() -> None:
    web = hosting("web", "a.b.example")
    found = story(
        "a.b.example", web, site_files=files(certificate("b.example", hosts=("c.example",)), lone=("a.b.example",))
    )
    assert found.choice is not None
    assert found.choice.passed_over == (("a.b.example", "its certificate or its key is missing"),)
    assert found.certificate == "certificate b.example is for c.example, and not for a.b.example"


@pytest.mark.parametrize(
    ("host", "site", "words"),
    [
        ("x.a.example", "*.a.example", "*.a.example matches it"),
        ("y.x.a.example", "*.x.a.example", "*.x.a.example matches it"),
        ("www.foo", "www.*", "www.* matches it"),
        ("other", "d.example", "default host"),
    ],
)
def test_a_host_that_nobody_serves_has_the_site_that_gets_it(host: str, site: str, words: str) -> None:
    """As nginx compares names: exact, the longest wildcard in front, the longest behind, regexps, the default."""
    web = hosting("web", "*.a.example, *.x.a.example, www.*, d.example, ~^re")
    found = story(host, web, sites=SiteRules(default_host="d.example"))
    assert found.site is not None and found.site.host == site
    assert words in found.how
    assert found.regexps == ("~^re",)


def test_a_host_that_nobody_serves_is_answered_with_the_nearest_names() -> None:
    found = story("shop.exmaple", hosting("web", "shop.example"), hosting("b", "other.test"))
    assert found.site is not None and found.site.host == ""
    assert found.how == "nobody serves it: it gets 503"
    assert found.nearest == ("shop.example",)


def test_who_names_a_host_and_does_not_serve_it_is_shown_with_the_reason() -> None:
    """A wrong value takes the container out, and the host with it."""
    found = story("a.example", hosting("web", "a.example", port="http"))
    assert [(each.container, each.reason) for each in found.mentions] == [("web", Reason.BAD_LABEL)]


def test_who_does_not_get_a_path_is_shown_with_the_reason() -> None:
    found = story(
        "a.example",
        hosting("old", "a.example", upstream="old"),
        hosting("new", "a.example", upstream="new", created_ns=1),
    )
    assert [(each.container, each.reason) for each in found.refused] == [("new", Reason.HOST_TAKEN)]


def test_without_sites_the_reason_is_that_of_the_settings() -> None:
    found = story("a.example", hosting("web", "a.example"), sites_refusal="the template writes no sites")
    assert (found.site, found.how) == (None, "the template writes no sites")


@given(site_worlds, site_rules, hostile_text)
def test_any_text_has_a_story(world: tuple[Container, ...], rules: Rules, text: str) -> None:
    """Whoever asks may type anything, and a regexp of a container's is never run here."""
    plan = desired_state([snapshot(world)], rules=rules)
    every = {each.id: each for each in world}
    for host in (text, *(each.host for each in plan.sites)):
        found = site_story(host, plan=plan, rules=rules, containers=every)
        assert found.site in plan.sites
        if host in {each.host for each in plan.sites} - {""}:
            assert found.site is not None and found.site.host == host
            assert found.choice is not None
            if found.site.closed is None and found.site.redirect_to is None and found.site.certificate is not None:
                assert found.choice.usable == found.site.certificate


def test_a_container_without_hosts_has_no_part_in_it() -> None:
    assert story("a.example", container("web")).mentions == ()

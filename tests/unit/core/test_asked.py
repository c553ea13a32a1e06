"""What one container asks for in all: by labels, and by nginx-proxy's variables beside them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from siteworlds import files, hosts_of, location, served, site
from strategies import container, decide, lines_of, notices, reasons_of, upstream_of

from lbwatch.core.asked import asked_of, upstreams_of
from lbwatch.core.model import Container, Endpoint, Plan, Published, Reason
from lbwatch.core.rules import Rules
from lbwatch.core.site import SiteRules
from lbwatch.core.sites.pools import pool_name

COMPAT = SiteRules(compat=True)
RULES = Rules(sites_refusal=None, sites=COMPAT)


def proxied(name: str, /, *, labels: Mapping[str, str] | None = None, **env: str) -> Container:
    """Make a container of an nginx-proxy's user."""
    return container(name, labels=labels or {}, env=tuple(sorted(env.items())))


def planned(*containers: Container, **rules: Any) -> Plan:
    return decide(*containers, **(served(COMPAT) | rules))


def test_a_variable_alone_is_enough() -> None:
    """The same containers, unchanged."""
    plan = planned(proxied("web", VIRTUAL_HOST="a.example"))
    assert location(plan, "a.example").upstream == "a.example"
    assert lines_of(plan, "a.example") == ["172.18.101.98:80"]
    assert [each.name for each in plan.upstreams] == ["a.example"]


def test_without_the_setting_no_variable_is_looked_at() -> None:
    plan = decide(proxied("web", VIRTUAL_HOST="a.example"), **served())
    assert hosts_of(plan) == [""]
    assert reasons_of(plan, "web") == ["not-labelled"]


def test_labels_and_variables_both_hold() -> None:
    """An upstream by label, hosts by variable."""
    both = proxied("web", labels={"lbwatch.upstream": "own", "lbwatch.host": "b.example"}, VIRTUAL_HOST="a.example")
    plan = planned(both)
    assert location(plan, "b.example").upstream == "own"
    assert location(plan, "a.example").upstream == "a.example"


def test_enable_false_wins_over_all() -> None:
    plan = planned(proxied("web", labels={"lbwatch.enable": "false"}, VIRTUAL_HOST="a.example"))
    assert hosts_of(plan) == [""]
    assert reasons_of(plan, "web") == ["disabled"]


def test_what_labels_say_of_the_container_holds_for_its_variables_too() -> None:
    labels = {"lbwatch.port": "8080", "lbwatch.network": "back", "lbwatch.health": "ignore"}
    back = (Endpoint(network="back", ipv4="172.19.0.9"), Endpoint(network="front", ipv4="172.18.0.9"))
    plan = planned(replace(proxied("web", labels=labels, VIRTUAL_HOST="a.example"), endpoints=back))
    assert lines_of(plan, "a.example") == ["172.19.0.9:8080"]
    # A variable that says otherwise is for the host.
    own = proxied("web", labels=labels, VIRTUAL_HOST="a.example", VIRTUAL_PORT="9000")
    plan = planned(replace(own, endpoints=back))
    assert lines_of(plan, "a.example") == ["172.19.0.9:9000"]
    assert lines_of(plan, "web") == ["172.19.0.9:8080"]


def test_by_what_it_is_reached_holds_for_its_variables_too() -> None:
    """It is true of the container, whichever of both asks."""
    by_address = proxied("web", labels={"lbwatch.address": "192.0.2.7"}, VIRTUAL_HOST="a.example")
    assert lines_of(planned(by_address), "a.example") == ["192.0.2.7:80"]
    by_port = proxied("web", labels={"lbwatch.reach": "port"}, VIRTUAL_HOST="a.example")
    published = replace(by_port, published=(Published(port=80, host_port=32770),))
    assert lines_of(planned(published, host_shared=True), "a.example") == ["127.0.0.1:32770"]


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"VIRTUAL_HOST": "a b"}, Reason.BAD_HOST),
        ({"VIRTUAL_HOST": "a.example", "VIRTUAL_PATH": "/a;b"}, Reason.BAD_PATH),
        ({"VIRTUAL_HOST": "a.example", "VIRTUAL_PORT": "80; include /etc/passwd"}, Reason.BAD_VARIABLE),
    ],
)
def test_a_wrong_variable_takes_the_container_out_and_no_other(env: dict[str, str], reason: Reason) -> None:
    plan = planned(proxied("bad", labels={"lbwatch.upstream": "own"}, **env), proxied("good", VIRTUAL_HOST="a.example"))
    assert reasons_of(plan, "bad") == [str(reason)]
    assert [each.container for each in upstream_of(plan, "a.example").servers] == ["good"]


@pytest.mark.parametrize(("exposed", "port"), [((), 80), ((8080,), 8080), ((80, 443), 80), ((8080, 9000), 80)])
def test_the_port_is_by_nginx_proxys_rule(exposed: tuple[int, ...], port: int) -> None:
    """The only exposed one, else 80, whether or not that is exposed."""
    plan = planned(replace(proxied("web", VIRTUAL_HOST="a.example"), exposed=exposed))
    assert lines_of(plan, "a.example") == [f"172.18.101.98:{port}"]
    assumed = [each.detail for each in notices(plan) if each.kind == "port-assumed"]
    assert len(assumed) == (len(exposed) != 1)
    assert all("took 80" in each and (", ".join(map(str, exposed)) or "no TCP port") in each for each in assumed)


def test_a_host_that_labels_and_variables_name_alike_is_one_pool() -> None:
    both = proxied("web", labels={"lbwatch.host": "a.example"}, VIRTUAL_HOST="a.example")
    plan = planned(
        both, proxied("two", VIRTUAL_HOST="a.example"), proxied("three", labels={"lbwatch.host": "a.example"})
    )
    assert {each.container for each in upstream_of(plan, "a.example").servers} == {"web", "two", "three"}
    assert [each for each in plan.routes if each.reason is not None] == []


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        ({"host_shared": True}, "127.0.0.1:80"),
        ({"gateway": "172.18.0.1"}, "172.18.0.1:80"),
        ({"gateway": "fd00::1"}, "[fd00::1]:80"),
    ],
)
def test_a_program_on_the_hosts_network_is_reached_as_nginx_proxy_does(rules: dict[str, Any], line: str) -> None:
    plan = planned(replace(proxied("web", VIRTUAL_HOST="a.example"), host_network=True, endpoints=()), **rules)
    assert lines_of(plan, "a.example") == [line]


@pytest.mark.parametrize("gateway", ["", "nonsense"])
def test_without_a_gateway_it_is_not_routed_and_its_host_answers_502(gateway: str) -> None:
    on_host = replace(proxied("web", VIRTUAL_HOST="a.example"), host_network=True, endpoints=())
    plan = planned(on_host, gateway=gateway)
    assert reasons_of(plan, "web") == ["host-network"]
    assert location(plan, "a.example").upstream == "a.example"
    # By label the rule is what it was.
    labelled = container("own", labels={"lbwatch.upstream": "own"}, host_network=True, endpoints=())
    assert reasons_of(planned(labelled, gateway="172.18.0.1"), "own") == ["host-network"]


def test_ipv6_is_preferred_where_the_proxy_says_so() -> None:
    both = (Endpoint(network="front", ipv4="172.18.0.9", ipv6="fd00::9"),)
    web = replace(proxied("web", VIRTUAL_HOST="a.example"), endpoints=both)
    six = replace(COMPAT, prefers_ipv6=True)
    assert lines_of(planned(web, sites=six), "a.example") == ["[fd00::9]:80"]
    assert lines_of(planned(web), "a.example") == ["172.18.0.9:80"]
    only = replace(web, endpoints=(Endpoint(network="front", ipv4="172.18.0.9"),))
    assert lines_of(planned(only, sites=six), "a.example") == ["172.18.0.9:80"]


def test_nginx_proxys_redirect_is_lenient_and_labels_are_not() -> None:
    """Whose word on HTTPS counts, and what then holds where a certificate is missing."""
    plan = planned(
        proxied(
            "old", labels={"lbwatch.host": "a.example", "lbwatch.https": "redirect", "lbwatch.upstream": "a.example"}
        ),
        proxied("zz", VIRTUAL_HOST="a.example", ENABLE_HTTP_ON_MISSING_CERT="true"),
    )
    assert site(plan, "a.example").on_http == "redirects"
    # An older one that has no opinion on HTTPS has none on that either.
    plan = planned(
        proxied("aa", VIRTUAL_HOST="a.example", ENABLE_HTTP_ON_MISSING_CERT="true"),
        proxied(
            "zz", labels={"lbwatch.host": "a.example", "lbwatch.https": "redirect", "lbwatch.upstream": "a.example"}
        ),
    )
    assert site(plan, "a.example").on_http == "redirects"
    assert site(planned(proxied("web", VIRTUAL_HOST="a.example"), site_files=files()), "a.example").on_http == "serves"


def test_a_value_that_is_dropped_takes_nobody_out_and_is_reported() -> None:
    plan = planned(proxied("web", VIRTUAL_HOST="a.example", HTTPS_METHOD="perhaps"))
    assert [(each.container, each.kind) for each in notices(plan)] == [("web", "value-not-used")]
    assert lines_of(plan, "a.example") == ["172.18.101.98:80"]


def test_each_host_of_an_unnamed_container_has_a_pool_of_its_own() -> None:
    """Or two containers with one host in common would be two pools for it."""
    web = container("web", labels={"lbwatch.host": "b.example, a.example", "lbwatch.listen": "53/udp"})
    asked = upstreams_of(web, asked_of(web, rules=RULES), rules=RULES)
    assert [(each.name, each.application) for each in asked] == [
        ("b.example", "host b.example"),
        ("a.example", "host a.example"),
    ]
    # A port goes to one of them, not to each.
    assert [each.labels.listen for each in asked] == [((53, "udp"),), ()]
    assert pool_name("a.example") == "a.example"

"""The answer of `explain --host`: each line says what is so, and what to do."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from siteworlds import CERTS, PASSWORDS, VHOSTS, certificate, files, hosting, served, site_rules, site_worlds
from statuses import AT, applied_plan, made_status
from strategies import container, hostile_text, snapshot

from lbwatch.core.hostwords import MAX_ROWS, HostExplanation, host_explanation, host_of, host_sections
from lbwatch.core.model import Container, Degraded, Level, Plan
from lbwatch.core.plan import desired_state
from lbwatch.core.rows import stamped
from lbwatch.core.rules import Rules
from lbwatch.core.sites.unmatched import unmatched_files
from lbwatch.core.sitestory import SiteStory, site_story


def told(host: str, *containers: Container, degraded: tuple[Degraded, ...] = (), **rules: Any) -> HostExplanation:
    every = Rules(**(served() | rules))
    return answer(host, containers, rules=every, degraded=degraded)


def answer(
    host: str, containers: tuple[Container, ...], *, rules: Rules, degraded: tuple[Degraded, ...] = ()
) -> HostExplanation:
    plan = desired_state([snapshot(containers)], rules=rules)
    plan = replace(plan, routes=stamped(plan.routes, degraded=degraded, sites=plan.sites))
    story = site_story(host, plan=plan, rules=rules, containers={each.id: each for each in containers})
    unmatched = unmatched_files(plan.sites, files=rules.site_files, rules=rules.sites)
    return host_explanation(story, source="local", at=AT, degraded=degraded, unmatched=unmatched)


def lines(told: HostExplanation, name: str) -> list[str]:
    return [line for section, each in host_sections(told) if section == name for line in each]


def test_a_host_that_is_served_has_all_in_its_order() -> None:
    cert = replace(certificate("a.example", hosts=("a.example",)), expires_at=AT + 90 * 86400)
    there = files(cert, snippets=("a.example",), passwords=("a.example",))
    found = told("a.example", hosting("web", "a.example", port="8080"), site_files=there)
    assert host_sections(found) == [
        ("host", ["a.example: it is served by this name"]),
        ("answers", ["http (port 80): redirects to https", "https (port 443): serves"]),
        (
            "path",
            [
                "/: upstream a.example",
                "  web: 172.18.101.98:8080 (port 8080, as a label says; it exposes 80)",
                f"  passwords of {PASSWORDS}/a.example",
            ],
        ),
        ("https", [f"certificate a.example ({CERTS}/a.example.crt), until 2024-02-12, for a.example"]),
        ("files", [f"with the lines of {VHOSTS}/a.example"]),
    ]


def test_a_host_that_nobody_serves_says_who_asked_for_it_and_what_may_have_been_meant() -> None:
    """The first question of whoever gets a 503."""
    found = told("a.example", hosting("web", "a.example", port="http"), hosting("b", "aa.example"))
    assert lines(found, "host") == ["a.example: nobody serves it: it gets 503"]
    assert lines(found, "answers") == [
        "http (port 80): 503",
        "https (port 443): no handshake: there is no default certificate",
    ]
    (row,) = lines(found, "named by")
    assert row.startswith("web: not routed (bad-label): label lbwatch.port='http'")
    assert lines(found, "similar") == ["did you mean aa.example?"]


def test_what_is_closed_says_what_to_mend() -> None:
    broken = files(certificate("a.example", error="its key belongs to another certificate"))
    found = told("a.example", hosting("web", "a.example"), site_files=broken)
    (words,) = lines(found, "answers")
    assert words.startswith("503 to everyone until this is mended: certificate a.example cannot be used: its key")
    assert lines(found, "https") == [
        f"certificate a.example ({CERTS}/a.example.crt) is not used: its key belongs to another certificate"
    ]
    assert lines(found, "out") == [], "the same once more, of each container, would hide what else there is"
    found = told("a.example", hosting("web", "a.example", auth="staff"))
    assert f"  503 to everyone until this is mended: its password file {PASSWORDS}/staff is not there" in lines(
        found, "path"
    )
    found = told("a.example", hosting("web", "a.example", https="only"))
    (words,) = lines(found, "answers")
    assert "it asks for HTTPS and has no certificate" in words


def test_who_does_not_get_the_host_is_out_with_the_reason() -> None:
    rows = lines(
        told(
            "a.example",
            hosting("old", "a.example", upstream="old"),
            hosting("new", "a.example", upstream="new", created_ns=1),
        ),
        "out",
    )
    assert [each.partition(": ")[2].partition(":")[0] for each in rows] == [
        "not routed for a.example/ (host-taken)",
    ]


def test_what_nginx_refuses_of_it_is_said_with_its_words() -> None:
    refused = Degraded(upstream="~host a.example", level=Level.PLAIN, error="[emerg] unknown directive")
    other = Degraded(upstream="~host b.example", level=Level.PLAIN, error="not this")
    found = told("a.example", hosting("web", "a.example"), degraded=(other, refused))
    (words,) = lines(found, "answers")
    assert words.startswith("nginx does not take it as it should be: host a.example answers 503 to everyone:")
    assert words.endswith("[emerg] unknown directive")


def test_a_file_that_is_misnamed_is_shown_with_the_host_that_it_was_meant_for() -> None:
    there = files(snippets=("a.example.conf", "other.test"))
    found = told("a.example", hosting("web", "a.example"), site_files=there)
    assert lines(found, "unused") == [
        f"file {VHOSTS}/a.example.conf is of no site: name it a.example, if that is meant"
    ]


def test_a_certificate_that_is_for_others_or_ends_is_a_warning() -> None:
    cert = replace(certificate("a.example", hosts=("b.example",)), expires_at=AT - 1)
    found = told("a.example", hosting("web", "a.example"), site_files=files(cert))
    assert lines(found, "https")[1:] == [
        "warning: certificate a.example is for b.example, and not for a.example",
        "warning: certificate a.example expired on 2023-11-14, and browsers refuse it: renew it",
    ]


def test_why_a_container_of_a_path_is_not_there_stands_in_its_line() -> None:
    """Of a 502 or 503 this is the usual end: no network in common, no port."""
    two = replace(hosting("two", "a.example"), exposed=(80, 443))
    none = lines(told("a.example", two), "path")[1]
    assert none == "  two: not routed (several-ports): it exposes 80, 443: add the label lbwatch.port"


def test_of_many_containers_the_first_are_shown() -> None:
    crowd = [hosting(f"web-{number:02}", "a.example", created_ns=number) for number in range(MAX_ROWS + 5)]
    rows = lines(told("a.example", *crowd), "path")
    assert sum("172.18." in each or "not routed" in each for each in rows) == MAX_ROWS
    assert "  and 5 more containers" in rows


def test_a_daemon_answers_with_what_runs() -> None:
    """What nginx does not run yet is said so, and not as planned."""
    web = hosting("web", "a.example")
    rules = Rules(**served())
    plan = desired_state([snapshot([web])], rules=rules)
    status = made_status(
        applied=applied_plan(plan, in_force=(), error="nginx says no", behind_since=0.0), containers=(web,)
    )
    found = host_of(status, "a.example", source="local", rules=rules)
    assert found.reasons
    (row,) = [each for each in lines(found, "path") if each.startswith("  web")]
    assert "not-in-force" in row and "nginx says no" in row


def test_before_the_engine_was_read_there_is_an_answer() -> None:
    status = made_status(applied=replace(applied_plan(Plan()), plan=None))
    assert host_of(status, "a.example", source="local", rules=Rules(**served())).story.site is None


@given(site_worlds, site_rules, hostile_text)
def test_any_answer_has_lines_without_what_cannot_be_printed(
    world: tuple[Container, ...], rules: Rules, text: str
) -> None:
    for host in (text, "a.example", "www.a.example", "", "[fd00::1]"):
        sections = host_sections(answer(host, world, rules=rules))
        assert sections[0][0] == "host"
        assert all(len(name) <= 9 and each for name, each in sections)
        assert all(line.isprintable() for _, each in sections for line in each)


def test_a_host_that_only_redirects_says_where() -> None:
    found = told("www.a.example", hosting("web", "a.example", redirect_from="www.a.example"))
    assert lines(found, "answers")[0] == "http (port 80): redirects to a.example"


def test_without_sites_the_settings_say_why() -> None:
    found = HostExplanation(source="local", story=SiteStory(host="a.example", how="no host is served"), at=AT)
    assert host_sections(found) == [("host", ["a.example: no host is served"])]


def test_a_container_without_hosts_changes_nothing() -> None:
    assert lines(told("a.example", container("web")), "named by") == []

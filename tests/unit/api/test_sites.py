"""Hosts and ports in `/api/state`, and the JSON of `explain --host`."""

import json
from dataclasses import replace

from fakedaemon import FixedView, served
from siteworlds import certificate, files, hosting
from siteworlds import served as site_settings
from statuses import AT, applied_plan, full_status, made_status
from strategies import snapshot

from lbwatch.api.report import report_of
from lbwatch.api.sites import SiteReport, host_json
from lbwatch.core.hostwords import host_explanation
from lbwatch.core.model import Degraded, Level
from lbwatch.core.plan import desired_state
from lbwatch.core.rules import Rules
from lbwatch.core.site import OnHttp, Site
from lbwatch.core.sites.unmatched import UnmatchedFile
from lbwatch.core.sitestory import site_story


def reports(**given: object) -> dict[str, SiteReport]:
    status = full_status()
    status = replace(status, applied=replace(status.applied, **given))
    return {each.host: each for each in report_of(status).sites}


async def test_the_state_has_each_host_with_paths_containers_and_certificate() -> None:
    """The contract: sites[] {host, locations[]}."""
    async with served() as client:
        state = (await client.get("/api/state")).json
    found = {each["host"]: each for each in state["sites"]}
    assert sorted(found) == ["a.example", "b.example", "www.a.example"], "the catch-all is no host"
    assert found["a.example"]["locations"] == [
        {"path": "/", "upstream": "web", "containers": ["web-1", "web-2"], "closed": None},
        {"path": "/api/", "upstream": "api", "containers": ["api"], "closed": None},
    ]
    assert (found["a.example"]["http"], found["a.example"]["https"]) == ("redirects", True)
    assert found["a.example"]["certificate"] == {
        "name": "a.example",
        "expires_at": "2023-11-15T22:13:20+00:00",
        "hosts": ["a.example"],
        "warning": "certificate a.example expires in 1 day, on 2023-11-15: renew it",
        "expired": False,
    }
    assert found["b.example"]["locations"][0]["closed"] == "its password file /p/staff is not there"
    assert found["www.a.example"]["redirect_to"] == "a.example"
    assert state["streams"] == [{"port": 5432, "protocol": "tcp", "upstream": "api", "note": None}]
    assert "certificate a.example expires in 1 day, on 2023-11-15: renew it" in state["remarks"]


async def test_files_that_no_site_takes_are_a_remark() -> None:
    look = made_status(unmatched=(UnmatchedFile(path="/v/a.conf", meant="a"),))
    async with served(FixedView(look)) as client:
        assert (await client.get("/api/state")).json["remarks"] == [
            "file /v/a.conf is of no site: name it a, if that is meant"
        ]


def test_what_nginx_refuses_of_a_host_closes_it() -> None:
    """Level EMPTY has no certificate any more, so that there is no HTTPS either."""
    for level, https in ((Level.PLAIN, True), (Level.EMPTY, False), (Level.OUT, False)):
        refused = Degraded(upstream="~host a.example", level=level, error="[emerg] no")
        found = reports(degraded=(refused,))["a.example"]
        assert found.closed is not None and "[emerg] no" in found.closed
        assert found.https is https
        assert found.is_closed


def test_what_nginx_refuses_of_all_unknown_hosts_is_a_remark() -> None:
    status = full_status()
    refused = Degraded(upstream="~host ", level=Level.PLAIN, error="[emerg] no")
    remarks = report_of(replace(status, applied=replace(status.applied, degraded=(refused,)))).remarks
    assert any("the site of unknown hosts" in each and "[emerg] no" in each for each in remarks)


def test_a_port_that_nginx_refuses_has_a_note() -> None:
    status = full_status()
    refused = Degraded(upstream="~port 5432/tcp", level=Level.OUT, error="[emerg] no")
    applied = replace(status.applied, degraded=(refused,))
    name = applied.plan.streams[0].name if applied.plan else ""
    applied = replace(applied, degraded=(replace(refused, upstream=name),))
    (port,) = report_of(replace(status, applied=applied)).streams
    assert port.note is not None and "[emerg] no" in port.note


def test_while_nginx_is_down_no_container_serves_a_host() -> None:
    """The two lists of containers must not contradict each other."""
    found = reports(serves_old=False, error="no nginx", confirmed=False)
    assert all(each.containers == () for site in found.values() for each in site.locations)


def test_before_anything_is_in_force_there_is_no_host() -> None:
    assert reports(parts=None) == {}


def test_a_host_has_an_address_for_browsers_unless_it_is_a_pattern() -> None:
    plain = reports()["b.example"]
    assert plain.url == "http://b.example/"
    assert replace(plain, http_port=8080).url == "http://b.example:8080/"
    assert replace(plain, https=True).url == "https://b.example/"
    assert replace(plain, https=True, https_port=8443).url == "https://b.example:8443/"
    assert [replace(plain, host=each).url for each in ("*.a", "a.*", "~^a")] == [None, None, None]


def test_a_host_that_asks_for_https_and_has_none_is_closed() -> None:
    bare = Site(host="a.example", on_http=OnHttp.REDIRECTS)
    status = made_status(applied=applied_plan(parts=(bare,)))
    (found,) = report_of(status).sites
    assert found.closed == "it asks for HTTPS and has no certificate, so that nobody is served"


def test_the_json_of_a_host_has_all_of_its_story() -> None:
    there = files(certificate("a.example", hosts=("a.example",)), snippets=("a.example",), passwords=("a.example",))
    rules = Rules(**site_settings(site_files=there))
    every = [
        hosting("web", "a.example", upstream="web", port="8080"),
        hosting("late", "a.example", upstream="late", created_ns=5),
    ]
    plan = desired_state([snapshot(every)], rules=rules)
    story = site_story("a.example", plan=plan, rules=rules, containers={each.id: each for each in every})
    found = json.loads(json.dumps(host_json(host_explanation(story, source="local", at=AT))))
    assert (found["host"], found["site"], found["https"], found["closed"]) == ("a.example", "a.example", True, None)
    (path,) = found["locations"]
    assert path["password_file"] == "/etc/nginx/htpasswd/a.example"
    (container,) = path["containers"]
    assert (container["container"], container["address"]) == ("web", "172.18.101.98:8080")
    assert container["port"] == "8080, as a label says; it exposes 80"
    assert [(each["container"], each["site"], each["reason"]) for each in found["refused"]] == [
        ("late", "a.example/", "host-taken")
    ]
    assert "/etc/nginx/vhost.d/a.example" in found["files"]
    assert found["certificate"]["name"] == "a.example"

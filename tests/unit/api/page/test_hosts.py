"""The table of hosts: what is wrong first, found by the filter, and no name in it is ever markup."""

from collections.abc import Iterable
from dataclasses import replace
from html import escape
from typing import Any

import pytest
from pageoutline import html, outline
from pageworlds import AT, HOSTILE, made_status, skipped, upstream

from lbwatch.api.page.overview import HEADS, SITE_PATHS
from lbwatch.core.model import Degraded, Level, Plan, Reason, Stream, Upstream
from lbwatch.core.site import Certificate, Location, OnHttp, Site, SitePath
from lbwatch.core.status import Status


def certificate(name: str, *, days: float = 90.0) -> Certificate:
    return Certificate(name=name, path=f"/c/{name}.crt", key=f"/c/{name}.key", expires_at=AT + days * 86400)


def site(host: str, *, path: str = "/", of: str = "web", closed: str | None = None, **given: Any) -> Site:
    return Site(host=host, locations=(Location(path=SitePath(text=path), upstream=of, closed=closed),), **given)


def world(*sites: Site, streams: Iterable[Stream] = (), degraded: tuple[Degraded, ...] = ()) -> Status:
    """These sites in force, all of upstream web, which has one container."""
    status = made_status(upstreams=[upstream("web", ("10.0.0.1", "web-1"))], degraded=degraded)
    plan = Plan(
        upstreams=status.applied.in_force or (),
        routes=status.applied.plan.routes if status.applied.plan else (),
        sites=(Site(host="", on_http=OnHttp.REFUSES), *sorted(sites, key=lambda each: each.host)),
        streams=tuple(streams),
    )
    return replace(status, applied=replace(status.applied, plan=plan, parts=plan.parts))


def test_a_host_is_a_link_with_its_paths_its_state_and_its_certificate() -> None:
    found = outline(world(site("a.example", path="/v1/", on_http=OnHttp.REDIRECTS, certificate=certificate("a"))))
    assert "https://a.example/" in found.values
    assert "a.example /v1/ → web serves http redirects to https a until 2027-02-22" in found.text
    assert "1 host " in found.text


@pytest.mark.parametrize(
    ("sites", "words"),
    [
        (site("z.example", closed="its password file is gone"), "partly closed"),
        (site("z.example"), "serves http only"),
        (site("z.example", certificate=certificate("z")), "serves z until"),
        (site("z.example", certificate=certificate("z"), on_http=OnHttp.REFUSES), "serves https only"),
        (site("z.example", of="nobody"), "no server nginx answers 502"),
        (Site(host="z.example", redirect_to="a.example"), "redirects to a.example"),
        (Site(host="z.example", closed="certificate z cannot be used"), "closed certificate z cannot be used"),
        (site("z.example", certificate=certificate("z", days=3)), "expires soon"),
        (site("z.example", certificate=certificate("z", days=-3)), "expired"),
        (site("z.example", is_default=True), "default"),
    ],
)
def test_the_state_of_a_host_is_said_in_words(sites: Site, words: str) -> None:
    assert words in outline(world(sites), show="sites").text


def test_what_is_wrong_stands_first() -> None:
    """The cut of a thousand hosts must not hide the one that is down."""
    fine = [site(f"a{number:04}.example", certificate=certificate("a")) for number in range(200)]
    ending = site("y.example", certificate=certificate("y", days=5))
    closed = site("z.example", closed="its password file is gone")
    found = outline(world(*fine, ending, closed)).text
    assert found.index("y.example") < found.index("z.example") < found.index("a0000.example")
    assert f"a{HEADS['sites'] - 3:04}.example" in found and f"a{HEADS['sites'] - 2:04}.example" not in found
    assert "All 202 hosts" in found


def test_what_nginx_refuses_of_a_host_and_of_a_port_has_its_words() -> None:
    port = Stream(port=5432, protocol="tcp", upstream=Upstream(name="web"))
    refused = [Degraded(upstream="~host a.example", level=Level.PLAIN, error="[emerg] no")]
    refused += [Degraded(upstream=port.name, level=Level.OUT, error="[emerg] neither")]
    found = outline(world(site("a.example"), streams=[port], degraded=tuple(refused))).text
    assert "host a.example answers 503 to everyone: [emerg] no" in found
    assert "5432/tcp web refused port 5432/tcp is left out: [emerg] neither" in found


def test_a_host_is_found_by_whatever_is_shown_of_it() -> None:
    """By its name, a path, an upstream, a container, a certificate, and what is wrong."""
    port = Stream(port=5432, protocol="tcp", upstream=Upstream(name="web"))
    every = world(
        site("shop.example", path="/cart/", certificate=certificate("wild", days=3)),
        site("other.test", of="nobody", closed="its password file is gone"),
        streams=[port],
    )
    for text in ("shop", "/cart/", "web-1", "wild", "expires"):
        found = outline(every, filter=text, show="sites").text
        assert "shop.example" in found and "other.test" not in found, text
    assert "other.test" in outline(every, filter="closed password", show="sites").text
    assert "5432/tcp" in outline(every, filter="5432").text
    assert "shop.example" not in outline(every, filter="nonesuch").text
    assert "other.test" not in outline(every, upstream="web").text


def test_a_regexp_is_text_and_no_link() -> None:
    """Hosts may have < and &; a page that ran them would be a gift."""
    hostile = site(f"~{HOSTILE}", path=HOSTILE, of=HOSTILE, closed=HOSTILE, certificate=certificate(HOSTILE, days=-1))
    text = html(world(hostile, Site(host="~x", closed=HOSTILE, redirect_to=HOSTILE)), show="sites")
    assert "<script>alert" not in text and "<img" not in text
    assert escape(HOSTILE)[:40].replace("&#x27;", "&#39;") in text
    assert not any(each.startswith(("http", "javascript")) for each in outline(world(hostile), show="sites").values)


def test_of_a_host_with_many_paths_the_first_are_shown() -> None:
    paths = tuple(Location(path=SitePath(text=f"/{number:03}"), upstream="web") for number in range(SITE_PATHS + 4))
    text = outline(world(Site(host="a.example", locations=paths)), show="sites").text
    assert f"/{SITE_PATHS - 1:03} →" in text and f"/{SITE_PATHS:03} →" not in text
    assert "and 4 more paths" in text


def test_a_page_without_hosts_is_as_it_was() -> None:
    """Who has no sites must not be asked to understand them."""
    found = outline(made_status(upstreams=[upstream("web", ("10.0.0.1", "web-1"))]))
    assert "host" not in found.text.lower() and "Ports" not in found.text


def test_a_row_that_is_about_a_host_says_which() -> None:
    row = replace(skipped("late", Reason.HOST_TAKEN, "it is served by another", "late"), site="a.example/")
    assert "for a.example/" in outline(made_status(unrouted=[row])).text

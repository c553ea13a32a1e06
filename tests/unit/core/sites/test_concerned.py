"""Which hosts a changed file may concern."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from siteworlds import CERTS, HOSTS, certificate, files, site_files

from lbwatch.core.site import HostWish, SiteFiles
from lbwatch.core.sites.concerned import Changed

DIGEST = hashlib.sha1(b"/x").hexdigest()


OTHER = certificate("other.example")
"""A certificate that is there all the time: the first one of all concerns every host."""


def changed(before: SiteFiles, now: SiteFiles) -> Changed:
    return Changed(before, now, fixed=("/etc/nginx/network_internal.conf",))


@pytest.mark.parametrize(
    ("now", "host", "is_it"),
    [
        (files(OTHER, "a.example"), "a.example", True),
        (files(OTHER, "example"), "b.c.example", False),
        (files(OTHER, "c.example"), "b.c.example", True),
        (files(OTHER, "a.example"), "b.example", False),
        (files(OTHER, "default"), "b.example", True),
        (files(OTHER, snippets=("a.example_location",)), "a.example", True),
        (files(OTHER, snippets=(f"a.example_{DIGEST}_location",)), "a.example", True),
        (files(OTHER, snippets=("a_b.example_location",)), "a_b.example", True),
        (files(OTHER, snippets=("default_location",)), "b.example", True),
        (files(OTHER, passwords=("a.example",)), "b.example", False),
        (files(OTHER, passwords=("A.Example",)), "a.example", True),
        (files(OTHER, others=(f"{CERTS}/a.example.ca.crt",)), "a.example", True),
        (files(OTHER, others=(f"{CERTS}/ca.crt",)), "b.example", True),
        (files(OTHER, others=("/etc/nginx/network_internal.conf",)), "b.example", True),
        (files(OTHER, lone=("a.example",)), "a.example", True),
        (files(OTHER, errors={"/etc/nginx/vhost.d/a.example": "it is empty"}), "a.example", True),
    ],
)
def test_a_file_concerns_the_hosts_that_it_is_named_for(now: SiteFiles, host: str, is_it: bool) -> None:
    """One that comes, and one that goes."""
    assert changed(files(OTHER), now).concerns(host) is is_it
    assert changed(now, files(OTHER)).concerns(host) is is_it


def test_a_file_that_a_container_names_concerns_its_hosts() -> None:
    now = files(OTHER, "shared", passwords=("staff",))
    assert changed(files(OTHER), now).concerns("a.example", wish=HostWish(certificate="shared"))
    assert changed(files(OTHER), now).concerns("a.example", auths=[None, "staff"])
    assert not changed(files(OTHER), now).concerns("a.example", wish=HostWish(), auths=[None])


def test_the_first_certificate_of_all_concerns_every_host() -> None:
    """From then on who is served over plain HTTP is told so."""
    assert changed(files(), files(OTHER)).concerns("a.example")
    assert changed(files(lone=("x",)), files()).concerns("a.example")


def test_a_folder_that_is_known_at_last_concerns_every_host() -> None:
    blind = replace(files(), unknown=frozenset({"/etc/nginx/htpasswd"}))
    assert changed(blind, files()).any
    assert changed(blind, files()).concerns("a.example")


@given(site_files())
def test_what_is_equal_concerns_nobody(now: SiteFiles) -> None:
    assert not changed(now, now).any
    assert not any(map(changed(now, now).concerns, HOSTS))

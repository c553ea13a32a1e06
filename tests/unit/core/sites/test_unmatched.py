"""Files that no site takes."""

import hashlib

from siteworlds import CERTS, PASSWORDS, VHOSTS, files, hosting, served
from strategies import decide

from lbwatch.core.site import SiteFiles, SiteRules
from lbwatch.core.sites.unmatched import unmatched_files


def found(site_files: SiteFiles, *hosts: str, **labels: str) -> list[tuple[str, str | None]]:
    plan = decide(
        *(hosting(f"web{n}", host, **labels) for n, host in enumerate(hosts)), **served(site_files=site_files)
    )
    return [(each.path, each.meant) for each in unmatched_files(plan.sites, files=site_files, rules=SiteRules())]


def test_files_that_sites_take_are_no_finding() -> None:
    """Whatever is used, or would be by the next path, is named rightly."""
    taken = files(
        "a.example", "example", "default", "shared",
        snippets=("a.example", "a.example_location", "default", "default_location", "www.a.example"),
        passwords=("a.example", "staff"),
    )  # fmt: skip
    labels = {"redirect_from": "www.a.example", "cert": "shared", "auth": "staff"}
    assert found(taken, "a.example", **labels) == [(f"{CERTS}/example.crt", None)]


def test_a_file_that_is_taken_with_its_capitals_is_no_finding() -> None:
    """Unless one without them is taken."""
    assert found(files(passwords=("A.Example",)), "a.example") == []
    assert found(files(passwords=("A.Example", "a.example")), "a.example") == [(f"{PASSWORDS}/A.Example", None)]


def test_a_misnamed_file_is_found_with_the_name_that_was_meant() -> None:
    """nginx-proxy says nothing, and its users search for hours."""
    digest = hashlib.sha1(b"~^re").hexdigest()
    wrong = files(
        "a.exmaple",
        snippets=("a.example.conf", "a.example.location", "~^re", "zzz"),
        passwords=("a.example.htpasswd",),
    )
    assert found(wrong, "a.example", "~^re") == sorted(
        [
            (f"{CERTS}/a.exmaple.crt", "a.example.crt"),
            (f"{PASSWORDS}/a.example.htpasswd", "a.example"),
            (f"{VHOSTS}/a.example.conf", "a.example"),
            (f"{VHOSTS}/a.example.location", "a.example"),
            (f"{VHOSTS}/zzz", None),
            (f"{VHOSTS}/~^re", digest),
        ]
    )

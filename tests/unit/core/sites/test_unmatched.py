"""Files that no site takes."""

import hashlib
import time

from siteworlds import CERTS, PASSWORDS, VHOSTS, files, hosting, served
from strategies import decide

from lbwatch.core.site import SiteFiles, SiteRules
from lbwatch.core.sites.unmatched import MAX_REMARKS, UnmatchedFile, file_remarks, files_like, unmatched_files


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


def test_of_many_files_the_misnamed_ones_are_told_first() -> None:
    """Each remark stands on the page until the file is gone."""
    every = [UnmatchedFile(path=f"{VHOSTS}/{number}") for number in range(MAX_REMARKS + 2)]
    meant = UnmatchedFile(path=f"{VHOSTS}/z.conf", meant="z")
    words = file_remarks([*every, meant])
    assert words[0] == f"file {VHOSTS}/z.conf is of no site: name it z, if that is meant"
    assert words[1] == f"file {VHOSTS}/0 is of no site: no host that is served has such a file"
    assert (len(words), words[-1]) == (MAX_REMARKS + 1, "so it is with 3 more files")
    assert file_remarks([]) == ()


def test_files_of_a_host_are_found_by_their_names() -> None:
    named, meant, other = (
        UnmatchedFile(path=f"{VHOSTS}/a.example.conf"),
        UnmatchedFile(path=f"{VHOSTS}/x", meant="a.example_location"),
        UnmatchedFile(path=f"{VHOSTS}/b.example"),
    )
    assert files_like([named, meant, other], "a.example") == (named, meant)
    assert files_like([named], "") == ()


def test_a_sibling_with_another_number_is_no_slip() -> None:
    """app1 is stopped, app2 has no snippet: that the file was meant for app2 would be a bad guess."""
    there = files("app1.example", snippets=("app1.example", "apps2.example"))
    assert found(there, "app2.example", "appx.example") == [
        (f"{CERTS}/app1.example.crt", None),
        (f"{VHOSTS}/app1.example", None),
        (f"{VHOSTS}/apps2.example", "app2.example"),
    ]


def test_thousands_of_hosts_are_no_burden() -> None:
    """Each deploy gives other sites, and the files are compared anew: by pairs it took a minute."""
    names = [f"shop-{number}.customers.example" for number in range(1000)]
    there = files(snippets=tuple(f"shop{name.removeprefix('shop-')}" for name in names[:300]))
    plan = decide(hosting("web", ", ".join(names)), **served(site_files=there))
    began = time.process_time()
    assert len(unmatched_files(plan.sites, files=there, rules=SiteRules())) == 300
    assert time.process_time() - began < 2.0

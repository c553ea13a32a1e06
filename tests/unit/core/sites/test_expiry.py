"""A certificate that ends: what most sites go down by, and the one thing that is known weeks before."""

from dataclasses import replace

import pytest
from siteworlds import certificate

from lbwatch.core.site import Site
from lbwatch.core.sites.expiry import MAX_REMARKS, certificates_of, day, expiry_remarks, expiry_words

AT = 1_700_000_000.0  # 2023-11-14
DAY = 86_400.0


def ending(name: str, *, in_s: float | None) -> Site:
    made = replace(certificate(name), expires_at=None if in_s is None else AT + in_s)
    return Site(host=name, certificate=made)


@pytest.mark.parametrize(
    ("in_s", "words"),
    [
        (None, None),
        (14 * DAY, None),
        (14 * DAY - 1, "certificate a expires in 13 days, on 2023-11-28: renew it"),
        (DAY, "certificate a expires in 1 day, on 2023-11-15: renew it"),
        (1.0, "certificate a expires today, on 2023-11-14: renew it"),
        (0.0, "certificate a expired on 2023-11-14, and browsers refuse it: renew it"),
        (-400 * DAY, "certificate a expired on 2022-10-10, and browsers refuse it: renew it"),
    ],
)
def test_an_end_that_is_near_or_past_has_words(in_s: float | None, words: str | None) -> None:
    made = ending("a", in_s=in_s).certificate
    assert made is not None
    assert expiry_words(made, at=AT) == words


def test_each_certificate_is_told_once_the_first_that_ends_first() -> None:
    """A hundred hosts share one, and the operator has to renew it once."""
    sites = [ending("late", in_s=5 * DAY), ending("gone", in_s=-DAY), ending("fine", in_s=90 * DAY)]
    shared = replace(sites[0], host="other")
    assert [each.name for each in certificates_of([*sites, shared, Site(host="plain")])] == ["fine", "gone", "late"]
    words = expiry_remarks([*sites, shared], at=AT)
    assert [each.split()[1] for each in words] == ["gone", "late"]


def test_of_many_certificates_the_first_are_told() -> None:
    words = expiry_remarks([ending(f"c{number}", in_s=DAY + number) for number in range(MAX_REMARKS + 3)], at=AT)
    assert len(words) == MAX_REMARKS + 1
    assert words[-1] == "so it is with 3 more certificates"


def test_a_day_is_written_in_utc() -> None:
    assert (day(AT), day(-1.0), day(253_402_300_799.0)) == ("2023-11-14", "1969-12-31", "9999-12-31")

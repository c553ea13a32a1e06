"""The words of sites: what tells one part of a plan from another."""

import pytest

from lbwatch.core.model import Plan, Stream, Upstream
from lbwatch.core.site import Match, Site, SitePath


def test_no_site_and_no_stream_has_the_name_of_an_upstream() -> None:
    """Whoever is refused is found by its name: a host must not be blamed for an upstream that is named as it."""
    upstream = Upstream(name="a.example")
    parts = (upstream, Site(host="a.example"), Stream(port=80, protocol="tcp", upstream=upstream))
    assert len({each.name for each in parts}) == 3


def test_the_parts_of_a_plan_stand_in_the_order_of_their_names() -> None:
    """They are searched by halves."""
    upstreams = (Upstream(name="a"), Upstream(name="zz"))
    sites = (Site(host=""), Site(host="*.b"), Site(host="a.b"), Site(host="~^c"))
    streams = (Stream(port=1, protocol="tcp", upstream=upstreams[0]),)
    names = [each.name for each in Plan(upstreams=upstreams, sites=sites, streams=streams).parts]
    assert names == sorted(names)


def test_a_plan_of_upstreams_alone_has_no_other_parts() -> None:
    """With thousands of them nothing is to be made anew that nobody asked for."""
    upstreams = (Upstream(name="a"),)
    assert Plan(upstreams=upstreams).parts is upstreams


def test_a_path_is_written_as_nginx_has_it() -> None:
    """So it is searched for in nginx's own files and documents."""
    assert str(SitePath(text="/x")) == "/x"
    assert str(SitePath(text="/x", match=Match.EXACT)) == "= /x"
    assert SitePath(text="/x").spellings == ("/x",)
    assert SitePath(text="^/x", match=Match.REGEXP).spellings == ("~ ^/x", "~^/x")


@pytest.mark.parametrize(
    ("text", "plain"), [("/a%20b", "/a b"), ("/%C3%A9", "/é"), ("/%ff", "/%ff"), ("/a%00", "/a%00"), ("/a%0A", "/a%0A")]
)
def test_paths_are_compared_as_nginx_does(text: str, plain: str) -> None:
    """It has decoded what a client sent before it looks for a location."""
    assert SitePath(text=text).decoded == plain


def test_paths_that_are_one_to_nginx_are_compared_as_one() -> None:
    """It refuses the second of them, and with it the whole host."""
    prefix, first = SitePath(text="/x"), SitePath(text="/%78", match=Match.PREFIX_FIRST)
    assert prefix.compared == first.compared
    assert prefix.compared != SitePath(text="/x", match=Match.EXACT).compared
    assert SitePath(text="%78", match=Match.REGEXP).compared != SitePath(text="x", match=Match.REGEXP).compared

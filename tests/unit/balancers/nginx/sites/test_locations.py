"""The locations of a site: which there are, and what each of them passes on."""

from dataclasses import replace

import pytest
from sitestage import location, site

from lbwatch.balancers.nginx.sites.blocks import LocationBlock
from lbwatch.balancers.nginx.sites.locations import has_root, is_writable, locations_of
from lbwatch.core.site import Location, Match, Protocol, SitePath

LIVE = {"web"}


def blocks(*given: Location, live: set[str] | None = None, **more: object) -> list[LocationBlock]:
    return list(locations_of(site("a.test", *given, **more), live=live or set()))


def ways(*given: Location, live: set[str] | None = None) -> list[tuple[str, str, str | None]]:
    return [(each.match, each.target, each.rewrite) for each in blocks(*given, live=live)]


@pytest.mark.parametrize(
    ("path", "match"),
    [
        (SitePath(), "/"),
        (SitePath(text="/x", match=Match.EXACT), "= /x"),
        (SitePath(text="/x", match=Match.PREFIX_FIRST), "^~ /x"),
        (SitePath(text=r"^/(a|b)\"{2}$", match=Match.REGEXP), r'~ "^/(a|b)\\\"{2}$"'),
        (SitePath(text=r"\.png$", match=Match.REGEXP_ANY_CASE), r'~* "\\.png$"'),
        (SitePath(text="/it's(1)"), '"/it\'s(1)"'),
        (SitePath(text="/a%20b"), '"/a b"'),
    ],
)
def test_paths_are_nginxs(path: SitePath, match: str) -> None:
    """With the modifier that they came with."""
    assert ways(location("web", path)) == [(match, "http://web", None)]


@pytest.mark.parametrize(
    ("protocol", "directive", "target"),
    [
        (Protocol.HTTP, "proxy_pass", "http://web"),
        (Protocol.HTTPS, "proxy_pass", "https://web"),
        (Protocol.GRPC, "grpc_pass", "grpc://web"),
        (Protocol.GRPCS, "grpc_pass", "grpcs://web"),
    ],
)
def test_each_protocol_has_its_directive(protocol: Protocol, directive: str, target: str) -> None:
    """All that nginx passes on to upstreams."""
    (block,) = blocks(location("web", protocol=protocol))
    assert (block.directive, block.target) == (directive, target)


def test_a_stripped_path_is_two_locations() -> None:
    """So that `/xy` is neither; where somebody else asks for `/x/`, that one is theirs."""
    stripped = location("web", "/x", strips_path=True)
    assert ways(stripped) == [("= /x", "http://web/", None), ("/x/", "http://web/", None)]
    first = location("web", SitePath(text="/x", match=Match.PREFIX_FIRST), strips_path=True)
    assert [match for match, _, _ in ways(first)] == ["= /x", "^~ /x/"]
    assert ways(stripped, location("api", "/x/")) == [("= /x", "http://web/", None), ("/x/", "http://api", None)]
    exact = location("api", SitePath(text="/x", match=Match.EXACT))
    assert ways(exact, stripped) == [("= /x", "http://api", None), ("/x/", "http://web/", None)]
    other = location("api", SitePath(text="/x/", match=Match.PREFIX_FIRST))
    assert [match for match, _, _ in ways(stripped, other)] == ["= /x", "^~ /x/"]
    assert ways(location("web", "/x/", strips_path=True)) == [("/x/", "http://web/", None)]
    assert ways(location("web", "/", strips_path=True)) == [("/", "http://web", None)]
    regexp = SitePath(text="^/x", match=Match.REGEXP)
    assert ways(location("web", regexp, strips_path=True, dest="/y")) == [("~ ^/x", "http://web", None)]


def test_grpc_has_another_path_by_rewriting_it() -> None:
    """Its directive takes none."""
    found = ways(location("web", "/x", strips_path=True, protocol=Protocol.GRPC))
    assert found == [(match, "grpc://web", '"(?s)^/x/?(.*)$" "/$1" break') for match in ("= /x", "/x/")]


@pytest.mark.parametrize(
    ("given", "rewrite"),
    [
        (location(), None),
        (location("web", "/x", dest="/y"), '"(?s)^/x(.*)$" "/y$1" break'),
        (location("web", "/x.y", strips_path=True), r'"(?s)^/x\\.y/?(.*)$" "/$1" break'),
        (location("web", SitePath(text="/x", match=Match.EXACT), dest="/y"), '"(?s)^.*$" /y break'),
    ],
)
def test_who_waits_is_asked_for_the_same(given: Location, rewrite: str | None) -> None:
    """A named location takes no path to replace, so that it is rewritten there."""
    *first, again = blocks(given, live=LIVE)
    assert {each.again for each in first} == {"@again"}
    assert {each.hold for each in first} == {"web"}
    assert (again.match, again.hold, again.is_again) == ("@again", '"web again"', True)
    assert (again.target, again.rewrite, again.again) == ("http://web", rewrite, None)


def test_who_waits_meets_the_same_barriers() -> None:
    """A second way in must not be an open one."""
    closed = location(
        "web", password_file="/p", realm="r", allow=("10.0.0.0/8",), internal="/i", body_size="1k", read_timeout_s=5
    )
    first, again = blocks(closed, live=LIVE)
    for name in ("password_file", "realm", "allow", "internal", "body_size", "read_timeout_s"):
        assert getattr(first, name) == getattr(again, name) != None, name  # noqa: E711 - both are given


def test_only_those_wait_again_whose_second_way_is_the_same() -> None:
    """A file of the user's may set headers that the program relies on."""
    assert [each.again for each in blocks(location(), live={"other"})] == [None]
    assert len(blocks(location(snippet="/s"), live=LIVE)) == 1
    assert len(blocks(location(), live=LIVE, snippet="/s")) == 1
    assert len(blocks(location(closed="why"), live=LIVE)) == 1
    assert len(blocks(location(override="/o"), live=LIVE)) == 1
    assert len(blocks(location("web", "/x", dest="/a%20b"), live=LIVE)) == 1


def test_several_that_wait_have_names_of_their_own() -> None:
    """nginx refuses a second one of the same name."""
    found = [each.match for each in blocks(location(), location("web", "/x"), location("gone", "/y"), live=LIVE)]
    assert found == ["/", "@again", "/x", "@again_2", "/y"]


def test_which_location_is_for_all_the_rest() -> None:
    """A regular expression may leave something."""
    assert has_root(site("a"))
    assert has_root(site("a", location("web", SitePath(text="/", match=Match.PREFIX_FIRST))))
    assert not has_root(site("a", location("web", "/x")))
    assert not has_root(site("a", location("web", SitePath(text="/", match=Match.EXACT))))
    assert not has_root(site("a", location("web", SitePath(text="/", match=Match.REGEXP))))


@pytest.mark.parametrize("name", ["password_file", "snippet", "override", "internal"])
def test_a_file_that_nginx_cannot_be_given_is_seen(name: str) -> None:
    """Whoever writes the rest without it might open what was closed."""
    assert is_writable(site("a", location(**{name: "/fine"})))
    assert not is_writable(site("a", location(), location("web", "/x", **{name: "/no$"})))


def test_what_is_closed_is_so_whatever_file_stands_in_its_place() -> None:
    """Of a pipe that nginx should read it never sees the end, and no host at all would change any more."""
    (block,) = blocks(replace(location("web"), override="/etc/nginx/vhost.d/a.test_location_override", closed="a pipe"))
    assert (block.closed, block.override) == (True, None)

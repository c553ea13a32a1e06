"""How pools are named: users' own files say these names, so that they must be nginx-proxy's."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.model import UPSTREAM_NAME
from lbwatch.core.site import Match, SitePath
from lbwatch.core.sites.pools import pool_name, sha1


def digest(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def test_a_hosts_root_has_the_name_of_the_host() -> None:
    """`proxy_pass http://HOST;` stands in users' own locations."""
    assert pool_name("a.example") == "a.example"


def test_another_path_is_told_apart_by_its_digest() -> None:
    """As `echo -n PATH | sha1sum` prints it."""
    assert pool_name("a.example", path=SitePath(text="/app1/")) == f"a.example-{digest('/app1/')}"
    assert digest("/app1/") == "8610f6c344b4096614eab6e09d58885349f42faf"  # as nginx-proxy's manual has it
    exact = SitePath(text="/x", match=Match.EXACT)
    assert pool_name("a.example", path=exact) == f"a.example-{digest('= /x')}"


def test_a_host_that_is_no_name_is_written_as_its_digest() -> None:
    """A regular expression, a wildcard or an address in brackets would be no word of nginx's `proxy_pass`."""
    for host in (r"~^a\.(b|c)$", "*.example", "www.*", "[fd00::1]"):
        assert pool_name(host) == digest(host)


@given(st.one_of(hostile_text, st.text(max_size=300)), st.one_of(hostile_text, st.text(max_size=300)))
def test_any_host_and_path_make_the_name_of_an_upstream(host: str, text: str) -> None:
    """Whatever passes the grammar, now or one day, is no name that nginx would stumble over."""
    for path in (SitePath(), SitePath(text=text, match=Match.REGEXP)):
        name = pool_name(host, path=path)
        assert UPSTREAM_NAME.fullmatch(name)
        assert name == name.lower()


def test_a_long_host_leaves_room_for_a_path() -> None:
    """Names of more than 255 characters are refused elsewhere."""
    long = ".".join(["a" * 60] * 4)
    assert pool_name(long, path=SitePath(text="/x")) == f"{sha1(long)}-{sha1('/x')}"


def test_text_that_no_file_could_hold_has_a_digest_too() -> None:
    """A lone surrogate comes out of JSON, and must not end anything."""
    assert len(sha1("\udc80")) == 40

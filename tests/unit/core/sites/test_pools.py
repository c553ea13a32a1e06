"""How the upstream of a host's path is named."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbwatch.core.model import UPSTREAM_NAME
from lbwatch.core.site import Match, SitePath
from lbwatch.core.sites.pools import pool_name


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("a.example", SitePath(), "a.example"),
        ("a.example", SitePath(text="/x"), f"a.example-{sha1('/x')}"),
        ("a.example", SitePath(text="^/x", match=Match.REGEXP), f"a.example-{sha1('~ ^/x')}"),
        ("*.example", SitePath(), sha1("*.example")),
        ("~^a", SitePath(text="/x"), f"{sha1('~^a')}-{sha1('/x')}"),
        ("[fd00::1]", SitePath(), sha1("[fd00::1]")),
    ],
)
def test_a_pool_is_named_as_nginx_proxy_names_its_upstreams(host: str, path: SitePath, name: str) -> None:
    """Files of its users lean on the names."""
    assert pool_name(host, path=path) == name


@given(st.text(), st.text())
def test_a_pool_has_a_name_whatever_its_host_is(host: str, path: str) -> None:
    assert UPSTREAM_NAME.fullmatch(pool_name(host, path=SitePath(text=f"/{path}")))

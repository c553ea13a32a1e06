"""What a container asks of all of a host: a wrong value is left out with words, and the container serves all the same."""

from typing import Any

import pytest

from lbwatch.balancers.nginx.limits import hash_key_refusal
from lbwatch.core.model import Method, Reason
from lbwatch.core.site import HostWish, Https, SiteRules
from lbwatch.core.sites.nginxproxy import hostwide, names
from lbwatch.core.sites.nginxproxy.refusal import RefusedError
from lbwatch.core.sites.nginxproxy.values import Values

RULES = SiteRules()


def wish(name: str, value: str) -> tuple[HostWish, list[str]]:
    values = Values(said={name: value})
    return hostwide.host_wish(values, rules=RULES), values.dropped


ROWS: list[tuple[str, str, str, Any]] = [
    ("HTTPS_METHOD", "redirect", "https", Https.REDIRECT),
    ("HTTPS_METHOD", "noredirect", "https", Https.BOTH),
    ("HTTPS_METHOD", " NoHTTP ", "https", Https.ONLY),
    ("HTTPS_METHOD", "nohttps", "https", Https.OFF),
    ("HSTS", "off", "hsts", ""),
    ("HSTS", "max-age=31536000; includeSubDomains; preload", "hsts", "max-age=31536000; includeSubDomains; preload"),
    ("SERVER_TOKENS", "off", "server_tokens", "off"),
    ("EXTERNAL_HTTP_PORT", "8080", "http_port", 8080),
    ("EXTERNAL_HTTPS_PORT", "8443", "https_port", 8443),
    ("ACME_HTTP_CHALLENGE_LOCATION", "false", "acme", False),
    ("ACME_HTTP_CHALLENGE_LOCATION", "true", "acme", True),
    ("ACME_HTTP_CHALLENGE_LOCATION", "legacy", "acme", True),
    ("ENABLE_HTTP_ON_MISSING_CERT", "false", "is_lenient", False),
    ("ENABLE_HTTP_ON_MISSING_CERT", "1", "is_lenient", True),
    ("CERT_NAME", "shared", "certificate", "shared"),
    (names.VERIFY_CLIENT, "optional", "verifies_client", "optional"),
    (names.REDIRECT_CODE, "308", "redirect_code", 308),
    (names.TRUST_DEFAULT, "false", "trusts_default", False),
    (names.HTTP2, "false", "http2", False),
]


@pytest.mark.parametrize(("name", "value", "attribute", "expected"), ROWS)
def test_each_value_asks_for_one_thing(name: str, value: str, attribute: str, expected: Any) -> None:
    """And for nothing else: what is not said must be left to others of the host, and to the proxy."""
    assert wish(name, value) == (HostWish(**{attribute: expected}), [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_METHOD", "no-http"),
        ("HSTS", "max-age=1; add_header X y"),
        ("HSTS", 'max-age="1"'),
        ("SERVER_TOKENS", "off; root /etc"),
        ("EXTERNAL_HTTP_PORT", "0"),
        ("EXTERNAL_HTTPS_PORT", "443 ssl"),
        ("ACME_HTTP_CHALLENGE_LOCATION", "perhaps"),
        ("ENABLE_HTTP_ON_MISSING_CERT", "flase"),
        (names.VERIFY_CLIENT, "yes"),
        (names.REDIRECT_CODE, "200"),
        (names.TRUST_DEFAULT, "x"),
        (names.HTTP2, "x"),
    ],
)
def test_a_wrong_value_is_left_out_with_words(name: str, value: str) -> None:
    """The proxy's own default holds then; nginx-proxy stops every later change of any container."""
    asked, (line,) = wish(name, value)
    assert asked == HostWish()
    assert f"{name}=" in line
    assert line.endswith("; it is not used")


@pytest.mark.parametrize("value", ["../../etc/ssl", "a b", ".hidden", "a/b", "x;y"])
def test_a_certificate_that_nobody_can_name_refuses_the_container(value: str) -> None:
    """Left out, the host would be served under another one, or in plain text."""
    with pytest.raises(RefusedError, match="CERT_NAME") as raised:
        wish("CERT_NAME", value)
    assert raised.value.reason is Reason.BAD_VARIABLE


def test_a_host_has_two_ports() -> None:
    """nginx would take one block for both, or neither."""
    values = Values(said={"EXTERNAL_HTTP_PORT": "8080", "EXTERNAL_HTTPS_PORT": "8080"})
    assert hostwide.host_wish(values, rules=RULES) == HostWish(http_port=8080)
    assert ["another port than EXTERNAL_HTTP_PORT" in line for line in values.dropped] == [True]


def test_what_is_the_proxys_alone_is_said() -> None:
    """nginx-proxy reads it of containers; here it would change other hosts, too."""
    assert wish("SSL_POLICY", "Mozilla-Intermediate") == (HostWish(), [])
    assert ["proxy's own environment" in line for line in wish("SSL_POLICY", "Mozilla-Modern")[1]] == [True]
    assert ["Mozilla-Intermediate" in line for line in wish("SSL_POLICY", "AWS-2015-02")[1]] == [True]
    assert wish(names.HTTP3, "false") == (HostWish(), [])
    assert ["no HTTP/3" in line for line in wish(names.HTTP3, "true")[1]] == [True]


@pytest.mark.parametrize(("value", "expected"), [("", False), ("external", False), (" Internal ", True)])
def test_a_container_may_be_for_internal_networks_alone(value: str, expected: bool) -> None:
    """NETWORK_ACCESS has two words."""
    assert hostwide.is_internal(Values(said={"NETWORK_ACCESS": value})) is expected


@pytest.mark.parametrize("value", ["intern", "internal;", "true", "private"])
def test_an_access_that_nobody_can_read_opens_nothing(value: str) -> None:
    """Whoever writes it means to close something: nginx-proxy lets in everyone."""
    with pytest.raises(RefusedError, match="it takes internal or external"):
        hostwide.is_internal(Values(said={"NETWORK_ACCESS": value}))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("hash $remote_addr;", Method(name="hash", key="$remote_addr")),
        ("hash $request_uri consistent", Method(name="hash", key="$request_uri", consistent=True)),
        ("least_conn;", Method(name="least_conn")),
        ("ip_hash;", Method(name="ip_hash")),
        ("round_robin", Method(name="round_robin")),
        ("random;", Method(name="random")),
        ("random two least_conn;", Method(name="random", key="two least_conn")),
        ("", None),
    ],
)
def test_requests_are_spread_as_nginxs_directive_says(value: str, expected: Method | None) -> None:
    """The label holds one, with its semicolon."""
    values = Values(said={names.LOADBALANCE: value})
    assert hostwide.method(values, refuses_key=hash_key_refusal) == expected
    assert values.dropped == []


@pytest.mark.parametrize("value", ["hash $nosuch;", "zone x 1m;", "least_conn; } server {", "sticky cookie a"])
def test_another_directive_is_left_out(value: str) -> None:
    """It would be one of the container's in the proxy's own file."""
    values = Values(said={names.LOADBALANCE: value})
    assert hostwide.method(values, refuses_key=hash_key_refusal) is None
    assert len(values.dropped) == 1


@pytest.mark.parametrize(
    ("value", "expected", "lines"),
    [
        ("", (None, True), 0),
        ("auto", (None, True), 0),
        ("12", (12, True), 0),
        ("disabled", (0, False), 0),
        ("0", (None, True), 1),
        ("12; root /etc", (None, True), 1),
        ("off", (None, True), 1),
    ],
)
def test_connections_are_kept_as_asked(value: str, expected: tuple[int | None, bool], lines: int) -> None:
    """`disabled` is the only word that ends each connection; a wrong one is not taken for it."""
    values = Values(said={names.KEEPALIVE: value})
    assert hostwide.keepalive(values) == expected
    assert len(values.dropped) == lines

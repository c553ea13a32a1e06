"""What holds for all sites by the proxy's own environment: a value that cannot be used never ends anything."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import hostile_text

from lbwatch.core.site import HostWish, Https, SiteRules
from lbwatch.core.sites.nginxproxy import proxy_rules
from lbwatch.core.sites.nginxproxy.logs import JSON_FORMAT
from lbwatch.core.sites.nginxproxy.proxy import DEFAULTS, PROXY_VARIABLES

OWN = SiteRules(compat=True)


def rules(**environ: str) -> SiteRules:
    made, dropped = proxy_rules(environ, own=OWN)
    assert dropped == ()
    return made


def dropped(**environ: str) -> str:
    made, (line,) = proxy_rules(environ, own=OWN)
    assert made == rules()
    return line


def test_without_a_variable_it_is_as_nginx_proxy_is() -> None:
    """A user who takes it over must find what was there: all that passes from any client, and no ACME for unknown hosts."""
    assert rules() == SiteRules(
        compat=True,
        trusts_downstream=True,
        acme_unknown=False,
        of_host=HostWish(
            https=Https.REDIRECT,
            is_lenient=True,
            trusts_default=True,
            hsts="max-age=31536000",
            redirect_code=301,
            http2=True,
            acme=True,
        ),
    )
    assert rules(DEFAULT_HOST="", HTTPS_METHOD=" ", LOG_JSON="") == rules()


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        ("DEFAULT_HOST", "A.Example", "default_host", "a.example"),
        ("DEFAULT_ROOT", "418", "default_root", "418"),
        ("DEFAULT_ROOT", "none", "default_root", None),
        ("HTTP_PORT", "1080", "http_port", 1080),
        ("HTTPS_PORT", "10443", "https_port", 10443),
        ("ENABLE_IPV6", "true", "ipv6", True),
        ("PREFER_IPV6_NETWORK", "true", "prefers_ipv6", True),
        ("TRUST_DOWNSTREAM_PROXY", "false", "trusts_downstream", False),
        ("ENABLE_PROXY_PROTOCOL", "true", "proxy_protocol", True),
        ("SSL_POLICY", "Mozilla-Modern", "ssl_policy", "modern"),
        ("SSL_POLICY", "Mozilla-Old", "ssl_policy", "old"),
        ("ACME_HTTP_CHALLENGE_ACCEPT_UNKNOWN_HOST", "true", "acme_unknown", True),
        ("LOG_FORMAT", "$host $status", "log_format", "$host $status"),
        ("LOG_FORMAT_ESCAPE", "json", "log_escape", "json"),
        ("DISABLE_ACCESS_LOGS", "yes", "access_log", False),
        ("DISABLE_ACCESS_LOGS", "false", "access_log", True),
    ],
)
def test_each_variable_says_one_thing_of_all_sites(name: str, value: str, attribute: str, expected: Any) -> None:
    """And leaves all else as it is."""
    made, plain = rules(**{name: value}), rules()
    assert getattr(made, attribute) == expected
    others = [each for each in SiteRules.__dataclass_fields__ if each != attribute]
    assert [getattr(made, each) for each in others] == [getattr(plain, each) for each in others]


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        ("HTTPS_METHOD", "noredirect", "https", Https.BOTH),
        ("HTTPS_METHOD", "nohttp", "https", Https.ONLY),
        ("HSTS", "off", "hsts", ""),
        ("SERVER_TOKENS", "off", "server_tokens", "off"),
        ("ACME_HTTP_CHALLENGE_LOCATION", "false", "acme", False),
        ("ENABLE_HTTP_ON_MISSING_CERT", "false", "is_lenient", False),
        ("TRUST_DEFAULT_CERT", "false", "trusts_default", False),
        ("NON_GET_REDIRECT", "307", "redirect_code", 307),
        ("ENABLE_HTTP2", "false", "http2", False),
    ],
)
def test_each_variable_says_one_thing_of_hosts(name: str, value: str, attribute: str, expected: Any) -> None:
    """It holds where no container of the host says otherwise."""
    of_host = rules(**{name: value}).of_host
    assert getattr(of_host, attribute) == expected
    others = [each for each in HostWish.__dataclass_fields__ if each != attribute]
    assert [getattr(of_host, each) for each in others] == [getattr(DEFAULTS, each) for each in others]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEFAULT_HOST", "a b"),
        ("DEFAULT_ROOT", "404; root /etc"),
        ("DEFAULT_ROOT", "200 hello"),
        ("DEFAULT_ROOT", "999"),
        ("HTTP_PORT", "http"),
        ("HTTPS_PORT", "0"),
        ("ENABLE_IPV6", "ja"),
        ("TRUST_DOWNSTREAM_PROXY", "flase"),
        ("SSL_POLICY", "AWS-2015-02"),
        ("LOG_FORMAT", "$nosuch"),
        ("LOG_FORMAT_ESCAPE", "xml"),
        ("LOG_JSON", "perhaps"),
        ("HTTPS_METHOD", "x"),
        ("HSTS", "a b c"),
        ("NON_GET_REDIRECT", "200"),
        ("ENABLE_HTTP3", "true"),
        ("SHA1_UPSTREAM_NAME", "true"),
        ("DEBUG_ENDPOINT", "true"),
        ("DHPARAM_BITS", "2048"),
    ],
)
def test_a_value_that_is_not_used_is_said_and_its_default_holds(name: str, value: str) -> None:
    """nginx-proxy's template aborts on some of them, which stops every later change."""
    line = dropped(**{name: value})
    assert line.startswith(f"variable {name}=")
    assert line.endswith("; it is not used")


@pytest.mark.parametrize("name", ["ENABLE_HTTP3", "SHA1_UPSTREAM_NAME", "DEBUG_ENDPOINT"])
def test_what_is_switched_off_anyway_needs_no_word(name: str) -> None:
    """A line at each start that means nothing hides the next one that does."""
    assert rules(**{name: "false"}) == rules()


@pytest.mark.parametrize(
    "text",
    [
        "301 https://www.example/x",
        "302 http://$host/web1$request_uri",
        "307 $scheme://$host/x",
        "308 /x?a=b&c=%20",
        "303 https://a.example/$uri$is_args$args",
    ],
)
def test_the_root_may_be_a_redirect(text: str) -> None:
    """By variables of the request that are of use in one."""
    assert rules(DEFAULT_ROOT=text.replace(" ", "  ", 1)).default_root == text


@pytest.mark.parametrize(
    "text",
    [
        "301 https://a.example/;root /etc",
        "301 https://a.example/ x",
        "301 javascript:alert(1)",
        "301 //evil.example$http_cookie",
        "301 https://$http_host/",
        "301 https://$hostname/",
        '301 "https://a.example/"',
        "301 https://a.example/{",
        "301 https://a.example/#x",
        "301 https://a.example/\\",
        "301",
        "305 https://a.example/",
        "301 /" + "x" * 2000,
    ],
)
def test_a_redirect_takes_no_other_text(text: str) -> None:
    """It is written into every host: one that nginx refuses would stop them all."""
    if text == "301":
        assert rules(DEFAULT_ROOT=text).default_root == "301"
    else:
        assert "DEFAULT_ROOT" in dropped(DEFAULT_ROOT=text)


def test_logs_may_be_json() -> None:
    """An own format beats it, as there."""
    made = rules(LOG_JSON="true")
    assert (made.log_format, made.log_escape) == (JSON_FORMAT, "json")
    made = rules(LOG_JSON="true", LOG_FORMAT="$host")
    assert (made.log_format, made.log_escape) == ("$host", "default")


def test_the_two_ports_are_two() -> None:
    """nginx would take neither block."""
    line = dropped(HTTP_PORT="8080", HTTPS_PORT="8080")
    assert "both would be 8080" in line
    assert "both would be 443" in dropped(HTTP_PORT="443")


# -- lbwatch's own settings


def test_settings_of_lbwatchs_own_win() -> None:
    """Whoever wrote them did so for lbwatch."""
    own = SiteRules(compat=True, http_port=8080, default_host="own.example", cert_dir="/certs")
    made, lines = proxy_rules({"HTTP_PORT": "1", "HTTPS_PORT": "2", "DEFAULT_HOST": "a.example"}, own=own)
    assert lines == ()
    assert (made.http_port, made.https_port) == (8080, 2)
    assert (made.default_host, made.cert_dir) == ("own.example", "/certs")


def test_a_setting_that_says_its_default_wins_too_if_it_was_said() -> None:
    """It cannot be seen in the value."""
    made, _ = proxy_rules({"HTTP_PORT": "8080"}, own=OWN, said={"http_port"})
    assert made.http_port == 80
    assert rules(HTTP_PORT="8080").http_port == 8080


def test_who_names_proxies_trusts_no_others() -> None:
    """trusted_proxies is narrower than nginx-proxy's word for it, whose default is to trust everyone."""
    own = SiteRules(compat=True, trusted_proxies=("10.0.0.0/8",))
    made, lines = proxy_rules({}, own=own)
    assert (made.trusted_proxies, made.trusts_downstream, lines) == (("10.0.0.0/8",), False, ())
    made, (line,) = proxy_rules({"TRUST_DOWNSTREAM_PROXY": "true"}, own=own)
    assert not made.trusts_downstream
    assert "trusted_proxies" in line


def test_a_port_that_clashes_with_a_setting_is_not_used() -> None:
    """lbwatch's own two ports differ, as its settings see to."""
    made, (line,) = proxy_rules({"HTTPS_PORT": "8080"}, own=SiteRules(compat=True, http_port=8080))
    assert (made.http_port, made.https_port) == (8080, 443)
    assert "both would be 8080" in line


_ANY = st.one_of(
    hostile_text,
    st.text(max_size=60),
    st.sampled_from(["true", "false", "443", "80", "nohttp", "301 https://a.example/", "$host", "Mozilla-Old", "off"]),
)


@given(st.dictionaries(st.one_of(st.sampled_from(sorted(PROXY_VARIABLES)), st.text(max_size=12)), _ANY, max_size=12))
def test_any_environment_makes_rules(environ: dict[str, str]) -> None:
    """It must never keep lbwatch from its start: hundreds of other variables stand beside them."""
    made, lines = proxy_rules(environ, own=OWN)
    assert made.compat
    assert made.http_port != made.https_port
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    root = made.default_root
    assert root is None or (root.isprintable() and not set(root) & set(";{}\"'\\#`"))
    looked_at = {name: value for name, value in environ.items() if name in PROXY_VARIABLES}
    assert proxy_rules(looked_at, own=OWN) == (made, lines)

"""What settings, the proxy's own environment and the template make of sites."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lbwatch.core.errors import SettingsError
from lbwatch.core.rules import Rules
from lbwatch.core.site import Site, SiteFiles, SiteRules
from lbwatch.settings import Settings, SiteSettings
from lbwatch.wiring.sites import of_sites, read_beside, site_rules, with_sites

COMPAT = Settings(sites=SiteSettings(compat="nginx-proxy"))


def test_without_compat_the_proxys_environment_means_nothing() -> None:
    """A variable by the name of HSTS may be anyone's."""
    rules = site_rules(Settings(), environ={"HTTP_PORT": "8080", "HSTS": "off", "DEFAULT_HOST": "a.example"})
    assert rules == SiteRules()
    assert read_beside(Settings()) == (frozenset(), frozenset())


def test_with_compat_it_holds_unless_a_setting_says_otherwise() -> None:
    """lbwatch's own settings win."""
    environ = {"HTTP_PORT": "8080", "DEFAULT_HOST": "a.example"}
    rules = site_rules(COMPAT, environ=environ)
    assert (rules.compat, rules.http_port, rules.default_host) == (True, 8080, "a.example")
    own = replace(COMPAT, sites=replace(COMPAT.sites, http_port=81, default_host="b.example"))
    rules = site_rules(own, environ=environ)
    assert (rules.http_port, rules.default_host) == (81, "b.example")
    stated = replace(COMPAT, stated=frozenset({"http_port"}))
    assert site_rules(stated, environ=environ).http_port == 80, "be it the default"
    variables, labels = read_beside(COMPAT)
    assert "VIRTUAL_HOST" in variables
    assert "com.github.nginx-proxy.nginx-proxy.keepalive" in labels


def test_a_value_of_the_proxys_that_is_not_used_is_logged_and_ends_nothing() -> None:
    """nginx-proxy would write it, or stop."""
    with capture_logs() as logged:
        rules = site_rules(COMPAT, environ={"HTTP_PORT": "80; root /etc"})
    assert rules.http_port == 80
    assert [each["event"] for each in logged] == ["sites.variable_not_used"]
    assert "HTTP_PORT" in logged[0]["detail"]


@pytest.mark.parametrize("root", ["301 https://$no_such_variable/", "404; root /etc", "301 http://x/$lbwatch"])
def test_a_default_root_that_nginx_would_refuse_is_not_used(root: str) -> None:
    """It would be in every host's block."""
    with capture_logs() as logged:
        assert site_rules(COMPAT, environ={"DEFAULT_ROOT": root}).default_root == "404"
    assert ["DEFAULT_ROOT" in each["detail"] for each in logged] == [True]


def test_what_a_template_gets_knows_whose_workers_follow_and_nginxs_version() -> None:
    """A 1.22 takes no `http2 on`."""
    given = of_sites(SiteRules(), version=lambda: None)((Site(host=""), Site(host="a.example")), ())
    assert [each.host for each in given["sites"]] == ["", "a.example"]  # type: ignore[attr-defined]
    assert given["proxy"] is not None


def test_where_the_template_writes_none_it_is_said_why() -> None:
    """Whoever has the label looks for the reason there."""
    settings = Settings()
    rules = with_sites(Rules(), settings=settings, sites=SiteRules(), files=SiteFiles(), writes_sites=False)
    assert "nginx/upstreams.conf.j2" in (rules.sites_refusal or "")
    assert "stream_output" in (rules.streams_refusal or "")
    settings = Settings(sites=SiteSettings(stream_output=Path("/etc/nginx/streams.conf")))
    rules = with_sites(Rules(), settings=settings, sites=SiteRules(), files=SiteFiles(), writes_sites=True)
    assert (rules.sites_refusal, rules.streams_refusal, rules.own_port) == (None, None, 9180)
    elsewhere = replace(settings, nginx=replace(settings.nginx, nginx_container="nginx"))
    rules = with_sites(Rules(), settings=elsewhere, sites=SiteRules(), files=SiteFiles(), writes_sites=True)
    assert rules.own_port is None


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("default_host", "a b"),
        ("default_host", "a; root /etc"),
        ("trusted_proxies", ("10/8; x",)),
        ("cert_dir", Path("/certs/$host")),
        ("htpasswd_dir", Path("/pass\nwords")),
    ],
)
def test_a_setting_that_is_none_is_refused_at_the_start(setting: str, value: object) -> None:
    """It would stand in nginx's file."""
    with pytest.raises(SettingsError) as refused:
        SiteSettings(**{setting: value})  # type: ignore[arg-type]
    assert refused.value.setting == setting

"""How it is said who gets the requests that were meant for our upstreams."""

from dataclasses import replace
from typing import Any

import pytest

from lbwatch.balancers.nginx.config_test.sites import Clash, Hidden, Site, Sites
from lbwatch.cli.check.finding import Verdict
from lbwatch.cli.check.sites import site_words

OURS = Site(
    path="/etc/nginx/conf.d/site.conf",
    line=3,
    listens=(("port 80", False),),
    names=(),
    upstreams=frozenset({"web"}),
    is_open=False,
    redirects=False,
)


def theirs(path: str) -> Site:
    return Site(path=path, line=21, listens=(), names=(), upstreams=frozenset(), is_open=False, redirects=False)


@pytest.mark.parametrize("path", ["/etc/nginx/sites-enabled/default", "/etc/nginx/conf.d/default.conf"])
def test_the_welcome_page_is_explained_with_what_removes_it(path: str) -> None:
    """It is the first thing that a newcomer sees, and no log has a word of it."""
    hidden = Hidden(site=OURS, place="port 80", by=theirs(path), is_said=True)
    (line,) = site_words(Sites(ours=(OURS,), hidden=(hidden,)), names={"web"}, is_inside=False)
    assert line.verdict is Verdict.WARN
    assert f"requests to port 80 are answered by {path}:21" in line.words
    assert '(the default_server there, and often "Welcome to nginx!")' in line.words
    assert "not by /etc/nginx/conf.d/site.conf:3, which passes to web" in line.words
    assert f"`rm {path}` and reload nginx, or give yours a server_name" in line.words


def test_a_site_of_the_users_own_is_not_to_be_removed() -> None:
    """It may be worth more than ours."""
    hidden = Hidden(site=OURS, place="[::]:80", by=theirs("/etc/nginx/conf.d/a.conf"), is_said=False)
    (line,) = site_words(Sites(ours=(OURS,), hidden=(hidden,)), names={"web"}, is_inside=True)
    assert "rm " not in line.words
    assert "a.conf:21 (the first one there)" in line.words
    assert "in nginx's container" in line.words


def test_upstreams_that_no_site_passes_to_are_a_warning() -> None:
    """All is written and reloaded, and nobody is sent there."""
    names = {"web", "api", "shop", "blog", "mail"}
    (line,) = site_words(Sites(ours=(), hidden=()), names=names, is_inside=False)
    assert line.verdict is Verdict.WARN
    assert "no server block of nginx passes requests to api, blog, mail and 2 more" in line.words
    assert "proxy_pass http://api;" in line.words


def test_a_site_that_is_reached_is_named() -> None:
    """Who has ten sites wants to know which one is meant."""
    (line,) = site_words(Sites(ours=(OURS,), hidden=()), names={"web"}, is_inside=False)
    assert (line.verdict, line.words) == (Verdict.OK, "/etc/nginx/conf.d/site.conf:3 passes to upstreams of lbwatch")


def clash_words(path: str, **given: Any) -> str:
    clash = Clash(**{"theirs": theirs(path), "name": "", "places": ("port 80",)} | given)
    (line,) = site_words(Sites(ours=(), hidden=(), clashes=(clash,)), names=(), is_inside=False)
    assert line.verdict is Verdict.WARN
    return line.words


def test_who_gets_the_hosts_that_no_container_has_is_named() -> None:
    """503 is what lbwatch would answer; another site's page is what strangers see."""
    words = clash_words("/etc/nginx/conf.d/own.conf", is_said=True, places=("port 80", "[::]:80"))
    assert words == (
        "requests to port 80, [::]:80 for hosts of no container are answered by /etc/nginx/conf.d/own.conf:21 (the "
        "default_server there), and not with 503 by lbwatch: change that one, unless you want that"
    )
    assert "`rm /etc/nginx/sites-enabled/default` and reload nginx" in clash_words("/etc/nginx/sites-enabled/default")


@pytest.mark.parametrize("wins", [True, False])
def test_a_name_that_a_file_of_the_users_has_too_is_named(wins: bool) -> None:
    """Whose site is never asked wonders for long."""
    words = clash_words("/etc/nginx/conf.d/own.conf", name="foo.tld", wins=wins)
    both = ["/etc/nginx/conf.d/own.conf:21", "the site of a container"]
    winner, loser = both if wins else reversed(both)
    assert words == (
        f"requests to port 80 for foo.tld are answered by {winner}, which nginx reads first, and never by {loser}: take "
        "the name out of one of the two"
    )


def test_what_lbwatch_writes_is_not_to_be_changed_by_hand() -> None:
    """It would be there again at the next change."""
    by = replace(theirs("/etc/nginx/conf.d/default.conf"), is_written=True)
    hidden = Hidden(site=OURS, place="port 80", by=by, is_said=False)
    (line,) = site_words(Sites(ours=(OURS,), hidden=(hidden,)), names={"web"}, is_inside=False)
    assert line.words.endswith("which passes to web: give yours a server_name")
    assert "rm " not in line.words

"""Which server block gets a request, asked of what nginx printed; and of nginx itself."""

import http.client
from pathlib import Path

import pytest
from realnginx import RealNginx

from lbwatch.balancers.nginx.config_test.sites import Sites, sites_in

DEFAULT = "server { listen 80 default_server; listen [::]:80 default_server; root /var/www/html; server_name _; }"
WEB = "server { listen 80; location / { proxy_pass http://web; } }"


def sites(*blocks: str, upstreams: tuple[str, ...] = ("web",)) -> Sites:
    inner = "\n".join(blocks)
    return sites_in(f"# configuration file /n/nginx.conf:\nhttp {{\n{inner}\n}}\n", upstreams=upstreams)


def hidden(*blocks: str) -> list[tuple[int, int, str, bool]]:
    """The lines of our site and of the one that gets its requests, where, and whether it says so."""
    return [(each.site.line, each.by.line, each.place, each.is_said) for each in sites(*blocks).hidden]


def test_another_sites_default_server_hides_one_without_a_name() -> None:
    """Debian's own site answers "Welcome to nginx!" for everything that was meant for ours."""
    assert hidden(WEB, DEFAULT) == [(2, 3, "port 80", True)]


@pytest.mark.parametrize("listen", ["", "listen 80;", "listen *:80;", "listen 0.0.0.0;", "listen 0.0.0.0:80;"])
def test_without_a_word_the_first_server_block_is_the_default(listen: str) -> None:
    """`conf.d` is read before `sites-enabled`, and a.conf before b.conf: the second never answers."""
    assert hidden(f"server {{ {listen} root /x; }}", WEB) == [(3, 2, "port 80", False)]
    assert hidden(WEB, f"server {{ {listen} root /x; }}") == []


@pytest.mark.parametrize(
    "ours",
    [
        "server { listen 80; server_name _ example.test; location / { proxy_pass http://web/; } }",
        "server { listen 127.0.0.1:80; location / { proxy_pass http://WEB; } }",
        "server { listen 8080; location / { location /a { grpc_pass web; } } }",
        "server { listen unix:/run/x.sock; location / { proxy_pass http://web; } }",
    ],
)
def test_a_site_that_is_reached_all_the_same_is_not_hidden(ours: str) -> None:
    """By a name, an address or a port of its own: a warning here would be wrong for good."""
    found = sites(DEFAULT, ours)
    assert (len(found.ours), found.hidden) == (1, ())


@pytest.mark.parametrize(
    "default",
    [
        "server { listen 80 default_server; location / { proxy_pass http://$host; } }",
        "server { listen 80 default_server; location / { fastcgi_pass web; } }",
        "server { listen 80 default_server; return 301 https://$host$request_uri; }",
    ],
)
def test_a_default_that_may_lead_to_us_hides_nothing(default: str) -> None:
    """A variable may be our upstream, and who redirects to HTTPS sends clients on to us."""
    assert hidden(default, WEB) == []


def test_a_default_that_refuses_strangers_hides_a_site_without_a_name() -> None:
    """`return 444` is what careful people write, and then forget the name of the next site."""
    assert hidden("server { listen 80 default; return 444; }", WEB) == [(3, 2, "port 80", True)]


def test_who_passes_nowhere_of_ours_is_none_of_ours() -> None:
    """And a `stream` server has no hosts at all."""
    stream = "}\nstream { server { listen 80; proxy_pass web; }"
    other = "server { listen 80; location / { proxy_pass http://web.example:8080; } }"
    assert sites(other, stream).ours == ()


@pytest.mark.parametrize("ours_first", [True, False])
def test_nginx_answers_by_the_server_block_that_is_named(
    real_nginx: RealNginx, tmp_path: Path, ours_first: bool
) -> None:
    """The rule is nginx's: it is asked."""
    port = 18_197
    theirs = f'server {{ listen 127.0.0.1:{port}; server_name _; return 200 "theirs"; }}'
    ours = f'server {{ listen 127.0.0.1:{port}; location /w {{ proxy_pass http://web; }} location / {{ return 200 "ours"; }} }}'
    upstream = "upstream web { server 127.0.0.1:1; }"
    blocks = (ours, theirs) if ours_first else (theirs, ours)
    real_nginx.rewrite(http="\n".join((upstream, *blocks)))
    real_nginx.stop()
    real_nginx.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse().read().decode()
    connection.close()
    text = real_nginx.conf.read_text()
    found = sites_in(f"# configuration file {real_nginx.conf}:\n{text}", upstreams={"web"})
    assert answer == ("theirs" if found.hidden else "ours")
    assert bool(found.hidden) is not ours_first

"""The site that deploy/nginx ships, on an nginx that knows nothing of lbwatch but a name."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from backendserver import BackendServer, Deed, backends, dead_address
from needs import NGINX_NEEDS, need
from realnginx import RealNginx
from twoways import UnixConnection

SITE = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "site.conf"
PAGE = 'location = /sorry.html { internal; return 200 "sorry"; }'


class Site:
    """The site in an nginx without Lua."""

    def __init__(self, nginx: RealNginx) -> None:
        self.nginx = nginx
        self.path = nginx.folder / "site.sock"

    def start(self, *servers: str, has_page: bool = False) -> None:
        """Start nginx, with an upstream `web` of these servers."""
        text = SITE.read_text().replace("listen 80;", f"listen unix:{self.path};")
        if has_page:
            first, second = re.findall(r"`(error_page[^`]*)`", text)
            text = text.replace("error_page 502 504 = @again;", f"error_page 502 504 = @again; {first}", 1)
            text = text.replace("location @again {", f"location @again {{ {second}", 1)
            text = text.rstrip().removesuffix("}") + PAGE + "\n}\n"
        lines = "".join(f"server {each};" for each in servers or ("127.0.0.1:1 down",))
        self.nginx.output.write_text(f"upstream web {{ {lines} }}\n")
        self.nginx.rewrite(http=text)
        self.nginx.start()

    def ask(self, *, method: str = "GET", body: str | None = None) -> tuple[int, str]:
        with UnixConnection(self.path) as connection:
            connection.request(method, "/", body=body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    need(*NGINX_NEEDS)
    with RealNginx(tmp_path / "nginx") as nginx:
        yield Site(nginx)


@pytest.fixture
def one() -> Iterator[BackendServer]:
    with backends("one") as (one,):
        yield one


def test_without_lua_it_is_a_site_like_any_other(site: Site, one: BackendServer) -> None:
    """The lines for requests that wait are in it, and most nginxes cannot have one wait."""
    site.start(one.address)
    assert site.ask() == (200, "one")
    one.deed = lambda _: Deed(status=504, text="its own")
    assert site.ask() == (504, "its own")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_lua_nothing_that_a_server_has_seen_is_sent_again(site: Site, one: BackendServer, method: str) -> None:
    """It may have charged a card before it broke off."""
    one.deed = lambda _: Deed(status=None)
    site.start(one.address)
    status, _ = site.ask(method=method, body="1" if method == "POST" else None)
    assert (status, len(one.requests)) == (502, 1)


@pytest.mark.parametrize("servers", [(), (dead_address(),)], ids=["nobody", "dead"])
def test_a_page_of_ones_own_stands_where_its_comment_says(site: Site, servers: tuple[str, ...]) -> None:
    """nginx handles no error of what an error led to, unless it is told to."""
    site.start(*servers, has_page=True)
    status, text = site.ask()
    assert (status, text) == (502, "sorry")

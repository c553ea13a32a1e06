"""Which upstream a request is for by its Host, where no site is: by the image `proxy`, and by a site of one's own."""

import re
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from fakedaemon import free_port
from hypothesis import example, given, settings
from hypothesis import strategies as st
from needs import NGINX_NEEDS, need
from realnginx import RealNginx
from sitetext import rendered
from strategies import any_upstream_name

from lbwatch.core.model import Server, Upstream
from lbwatch.core.site import Site

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SITE = (DEPLOY / "proxy" / "site.conf").read_text()
(BUCKET,) = re.findall(r"map_hash_bucket_size \d+;\n", (DEPLOY / "nginx" / "nginx.conf").read_text())
NOBODY = "503"

Ask = Callable[[str | None], str]
Serve = Callable[..., Ask]


def written(
    names: Sequence[str],
    *,
    idle: Iterable[str] = (),
    hosts: Iterable[str] = (),
    port: int = 80,
    template: str = "nginx/image.conf.j2",
) -> str:
    """Write what lbwatch would: the first is served at 127.0.1.1, the next at 127.0.1.2, ..., the idle ones nowhere."""
    served = (
        Upstream(
            name=name,
            servers=(Server(address=f"127.0.1.{number}", port=port, container=name),),
            has_host=name in hosts,
        )
        for number, name in enumerate(names, start=1)
    )
    upstreams = sorted([*served, *(Upstream(name=name) for name in idle)], key=lambda each: each.name)
    return BUCKET + rendered((Site(host=""),), template=template, upstreams=tuple(upstreams))


@pytest.fixture(params=["nginx/image.conf.j2", "nginx/proxy.conf.j2"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Starts an nginx that has upstreams of these names, and returns what asks it for a host: who answers."""
    need(*NGINX_NEEDS)
    with RealNginx(tmp_path / "nginx") as nginx:
        path, secure = nginx.folder / "site.sock", nginx.folder / "tls.sock"

        def placed(text: str) -> str:
            return text.replace("listen 80;", f"listen unix:{path};").replace("listen 443 ", f"listen unix:{secure} ")

        def serving(*names: str, idle: Iterable[str] = (), hosts: Iterable[str] = ()) -> Ask:
            port = free_port()
            site = placed(SITE) if request.param == "nginx/proxy.conf.j2" else ""
            nginx.rewrite(http=f'{site} server {{ listen {port}; return 200 "$server_addr"; }}')
            text = written(names, idle=idle, hosts=hosts, port=port, template=request.param)
            nginx.output.write_text(placed(text))
            nginx.start()

            def ask(host: str | None) -> str:
                said = asked(path, host)
                return names[int(said.rpartition(".")[2]) - 1] if said.startswith("127.") else said

            return ask

        yield serving


def asked(path: Path, host: str | None) -> str:
    """Return the body of a 200, else the status."""
    header = "" if host is None else f"Host: {host}\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(f"GET / HTTP/1.0\r\n{header}\r\n".encode())
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).decode().partition("\r\n\r\n")
    status = head.split(" ")[1]
    return body if status == "200" else status


def test_a_host_goes_to_the_upstream_of_its_name_or_of_its_beginning(serve: Serve) -> None:
    """It is the whole promise of the image, and a name that nobody serves must never be another's."""
    words_of_maps = ("default", "hostnames", "include", "volatile")
    served = ("api", "api.v2", "my_app", "web-1", "n" * 255, *words_of_maps)
    ask = serve(*served, idle=("old", "api.old", ".dotted", "dotted.", "two..dots", "."))
    for name in served:
        assert ask(name) == name
    for name in ("api", "api.v2", "my_app", *words_of_maps):
        assert ask(f"{name}.example.org:8080") == name
    assert ask("API.LocalHost.") == "api"
    assert ask("api.v3") == "api"
    for host in ("old", "old.example.org", "api.old", "api.old.example.org", "dotted"):
        assert ask(host) == NOBODY, f"{host} has no server"
    for host in ("www.api", "ap", "apis", "web", "localhost", "docker", "127.0.1.1", "169.254.169.254", "[::1]", None):
        assert ask(host) == NOBODY, f"{host} is nobody's"
    assert (ask(""), ask("a/b")) == ("400", "400")


def test_what_asks_for_a_host_is_not_reached_by_its_upstreams_name(serve: Serve) -> None:
    """Its site may have a password, or let in some networks alone; the name of its upstream is no secret."""
    ask = serve("web", "web.v2", "api", "shop", hosts=("web.v2", "shop"))
    assert (ask("web"), ask("api.example.org")) == ("web", "api")
    for host in ("shop", "shop.example.org", "web.v2", "web.v2.example.org"):
        assert ask(host) == NOBODY


def test_an_only_upstream_that_asks_for_a_host_gets_no_other(serve: Serve) -> None:
    """Likewise; a user of nginx-proxy has but one container at first, and unknown hosts are nobody's there."""
    ask = serve("shop", hosts=("shop",))
    assert {ask(host) for host in ("shop", "localhost", None)} == {NOBODY}


@pytest.mark.parametrize(
    ("names", "idle", "found"),
    [(("web",), (), "web"), (("web",), ("old",), NOBODY), ((), ("web",), NOBODY), ((), (), NOBODY)],
    ids=str,
)
def test_an_only_upstream_gets_every_host(
    names: tuple[str, ...], idle: tuple[str, ...], found: str, serve: Serve
) -> None:
    """So that a first container answers at once; with a second, which may be down just now, nobody guesses."""
    ask = serve(*names, idle=idle)
    assert {ask(host) for host in ("localhost", "10.0.0.1", None)} == {found}
    assert [ask(name) for name in names] == [*names]


@given(names=st.sets(any_upstream_name.map(str.lower), max_size=6))
@example(names={"n" * 255, "m" * 255})
@settings(max_examples=25)
def test_nginx_takes_a_map_of_any_upstreams(names: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file that nginx refuses blocks everybody's changes."""
    need("nginx", root=False)
    folder = tmp_path_factory.mktemp("nginx")
    nginx = RealNginx(folder)
    nginx.output.write_text(written(sorted(names)[::2], idle=sorted(names)[1::2]))
    argv = ["nginx", "-t", "-q", "-p", str(folder), "-c", str(nginx.conf)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + nginx.output.read_text()

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


OUTPUT = "/n/conf.d/lbwatch.conf"
CATCH_ALL = "server { listen 80; listen [::]:80; server_name _; return 503; }"
FOO = "server { listen 80; listen [::]:80; server_name foo.tld *.bar.tld; location / { proxy_pass http://web; } }"


def clashes(*, before: str = "", after: str = "", output: str = f"{CATCH_ALL} {FOO}") -> list[tuple[object, ...]]:
    """Which server blocks of the user's clash with those of the output, that stand in files before and after it."""
    files = {"/n/conf.d/a.conf": before, OUTPUT: output, "/n/conf.d/z.conf": after}
    main = "# configuration file /n/nginx.conf:\nhttp { include conf.d/*.conf; }\n"
    printed = main + "".join(f"# configuration file {path}:\n{text}\n" for path, text in files.items())
    found = sites_in(printed, upstreams={"web"}, is_output=lambda path: path == OUTPUT).clashes
    return [(each.theirs.path, each.name, each.places, each.wins, each.is_said) for each in found]


def test_a_default_server_of_the_users_gets_the_hosts_that_nobody_has() -> None:
    """Wherever it stands: what lbwatch writes says default_server nowhere, so that the user may."""
    default = "server { listen 80 default_server; root /x; }"
    for place, path in (("before", "/n/conf.d/a.conf"), ("after", "/n/conf.d/z.conf")):
        assert clashes(**{place: default}) == [(path, "", ("port 80",), True, True)]


def test_one_that_is_read_first_is_the_default_without_a_word() -> None:
    """Of each address the first."""
    theirs = "server { listen 80; listen [::]:80; server_name own.tld; }"
    assert clashes(before=theirs) == [("/n/conf.d/a.conf", "", ("port 80", "[::]:80"), True, False)]
    assert clashes(after=theirs) == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("foo.tld", "foo.tld"),
        ("FOO.tld", "foo.tld"),
        ("a.tld foo.tld", "foo.tld"),
        (".foo.tld", "foo.tld"),
        (".bar.tld", "*.bar.tld"),
        ("www.foo.tld", None),
        ("a.bar.tld", None),
        ("_", None),
        ('""', None),
    ],
)
def test_a_name_that_both_have_is_answered_by_the_first(name: str, found: str | None) -> None:
    """nginx says so in its log at each test, "conflicting server name", where nobody looks."""
    theirs = f"server {{ listen 80; server_name {name}; }}"
    named = [each for each in clashes(before=theirs) if each[1]]
    assert named == ([] if found is None else [("/n/conf.d/a.conf", found, ("port 80",), True, False)])
    assert clashes(after=theirs) == ([] if found is None else [("/n/conf.d/z.conf", found, ("port 80",), False, False)])


@pytest.mark.parametrize("listen", ["8080", "127.0.0.1:80", "443 quic", "unix:/run/x.sock"])
def test_at_another_address_nothing_clashes(listen: str) -> None:
    """A status page for this machine alone is no mistake."""
    theirs = f"server {{ listen {listen} default_server; server_name foo.tld; }}"
    written = CATCH_ALL + FOO + "server { listen 443 ssl; server_name foo.tld; }"
    assert clashes(before=theirs, output=written) == []


def test_where_lbwatch_writes_no_server_block_nothing_clashes() -> None:
    """The output of upstreams alone is what most people have."""
    assert clashes(before="server { listen 80 default_server; }", output="upstream web { server 127.0.0.1:1; }") == []


def ask(port: int, host: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/", headers={"Host": host})
    answer = connection.getresponse().read().decode()
    connection.close()
    return answer


@pytest.mark.parametrize("theirs_first", [True, False])
@pytest.mark.parametrize("option", ["", " default_server"])
@pytest.mark.parametrize("name", ["foo.tld", ".foo.tld", "_"])
def test_nginx_answers_as_is_said_of_a_clash(real_nginx: RealNginx, theirs_first: bool, option: str, name: str) -> None:
    """For a name that both have, and for one that nobody has: the rule is nginx's, and it is asked."""
    port = 18_198
    theirs = f'server {{ listen 127.0.0.1:{port}{option}; server_name {name}; return 200 "theirs"; }}'
    written = [
        f'server {{ listen 127.0.0.1:{port}; server_name {host}; return 200 "ours"; }}' for host in ("_", "foo.tld")
    ]
    folder = real_nginx.conf.parent / "clash.d"
    folder.mkdir(exist_ok=True)
    (folder / "m.conf").write_text("\n".join(written))
    for other, text in (("a.conf", theirs if theirs_first else ""), ("z.conf", "" if theirs_first else theirs)):
        (folder / other).write_text(text)
    real_nginx.rewrite(http=f"include {folder}/*.conf;")
    real_nginx.stop()
    real_nginx.start()
    files = (real_nginx.conf, *sorted(folder.iterdir()))
    printed = "".join(f"# configuration file {path}:\n{path.read_text()}\n" for path in files)
    found = sites_in(printed, upstreams=(), is_output=lambda path: path.endswith("/m.conf")).clashes
    taken = {each.name for each in found if each.wins}
    assert ask(port, "foo.tld") == ("theirs" if "foo.tld" in taken else "ours")
    assert ask(port, "nobody.tld") == ("theirs" if "" in taken else "ours")
    assert {each.name for each in found} >= ({"foo.tld"} if name != "_" else set())

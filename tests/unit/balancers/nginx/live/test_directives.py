"""What stands in nginx's file so that its workers follow, and which change takes a reload."""

from dataclasses import replace

import pytest

from lbwatch.balancers.nginx.live import directives
from lbwatch.core.model import Method, Server, Sticky, Upstream

ONE = Server(address="192.0.2.1", port=80, container="one", started_ns=1)
WEB = Upstream(name="web", servers=(ONE,))


@pytest.mark.parametrize(
    ("upstream", "why"),
    [
        (replace(WEB, method=Method(name="hash", key="$host")), "its method is hash"),
        (replace(WEB, method=Method(name="ip_hash")), "its method is ip_hash"),
        (replace(WEB, sticky=Sticky(cookie="c")), "its clients stay with their servers"),
        (replace(WEB, servers=(replace(ONE, max_conns=3),)), "max_conns holds for all workers together"),
    ],
)
def test_what_workers_cannot_do_as_nginx_does_it_takes_a_reload(upstream: Upstream, why: str) -> None:
    """Another implementation of a hash would send every client elsewhere at each switch between the two."""
    assert directives.reload_reason(upstream) == why
    assert directives.line(upstream) is None
    assert not directives.is_same_shape(upstream, replace(upstream, servers=(replace(ONE, port=81),)))


@pytest.mark.parametrize("method", [None, "least_conn", "random"])
@pytest.mark.parametrize("servers", [(), (ONE,), (ONE, replace(ONE, port=81, weight=7, backup=True))])
def test_servers_come_and_go_within_a_shape(method: str | None, servers: tuple[Server, ...]) -> None:
    """From no server to one and back is what each recreated container does."""
    web = replace(WEB, method=None if method is None else Method(name=method), keepalive_per_server=2)
    other = replace(web, servers=servers, hold_s=3.0, paused=True)
    assert directives.is_same_shape(web, other)
    assert directives.shape_of([web], program="p") == directives.shape_of([other], program="p")
    line = directives.line(other)
    assert line is not None
    assert f'live.balance("web", {len(servers)})' in line


@pytest.mark.parametrize(
    "other",
    [replace(WEB, name="api"), replace(WEB, keepalive=3), replace(WEB, method=Method(name="least_conn"))],
)
def test_all_else_is_another_shape(other: Upstream) -> None:
    """A worker that has not read it would serve otherwise than it says."""
    assert not directives.is_same_shape(WEB, other)
    assert directives.shape_of([WEB], program="p") != directives.shape_of([other], program="p")


def test_another_program_is_another_shape_and_another_life_of_a_server_is_none() -> None:
    """After an upgrade of lbwatch the workers run the old one until they are started anew."""
    hashed = replace(WEB, method=Method(name="ip_hash"))
    again = replace(hashed, servers=(replace(ONE, started_ns=2),))
    assert directives.shape_of([WEB], program="p") != directives.shape_of([WEB], program="q")
    assert directives.shape_of([hashed], program="p") == directives.shape_of([again], program="p")


def test_what_was_written_is_found_in_a_text() -> None:
    """By it a start of lbwatch knows whether nginx's workers will ask, and each worker which file it has read."""
    text = f"upstream web {{\n    {directives.line(WEB)}\n}}\nupstream api {{\n}}\n"
    assert directives.names_with_line(text) == {"web"}
    assert directives.shape_in(text) is None
    assert directives.shape_in(text + directives.lines_for_all("0123456789ab", folder="/f")) == "0123456789ab"


@pytest.mark.parametrize(
    ("printed", "is_so"),
    [
        ('unknown directive "init_worker_by_lua_block" in /etc/nginx/conf.d/lbwatch.conf:9', True),
        ('unknown directive "balancer_by_lua_block" in /etc/nginx/conf.d/lbwatch.conf:4', True),
        ('"rewrite_by_lua_block" directive is duplicate in /etc/nginx/conf.d/mine.conf:1', True),
        ("failed to load the 'resty.core' module (https://github.com/openresty/lua-resty-core)", True),
        ('invalid number of arguments in "server" directive in /etc/nginx/conf.d/lbwatch.conf:4', False),
        ('host not found in upstream "lua"', False),
    ],
)
def test_a_refusal_of_the_directives_is_told_from_any_other(printed: str, *, is_so: bool) -> None:
    """Of the former no upstream is to blame, and all of them can be written without the lines."""
    assert directives.is_blamed(printed) is is_so


def text_of(*servers: str, name: str = "web", live: bool = True, more: str = "", shape: str = "0" * 12) -> str:
    upstream = Upstream(name=name, servers=(ONE,) * len(servers))
    lines = [f"server {each};" for each in servers or ("127.0.0.1:1 down",)]
    block = [*lines, *([str(directives.line(upstream))] if live else []), "keepalive 2;"]
    once = directives.lines_for_all(shape, folder="/f")
    return f"\nupstream {name} {{\n" + "".join(f"    {each}\n" for each in block) + f"}}\n{more}{once}"


def test_what_a_template_writes_by_who_serves_is_no_matter_for_workers_alone() -> None:
    """A map of the upstreams that have a server would stay as nginx has read it."""
    plain = directives.rest_of(text_of("192.0.2.1:80", more="map $host $up {\n    web web;\n}\n"))
    for same in (
        text_of(more="map $host $up {\n    web web;\n}\n", shape="1" * 12),
        text_of("192.0.2.1:80", "192.0.2.2:80 weight=2", more="map $host $up {\n    web web;\n}\n").replace(
            "    ", "\t"
        ),
        text_of("192.0.2.9:80", name="other", more="map $host $up {\n    web web;\n}\n"),
    ):
        assert [line.strip() for line in directives.rest_of(same)] == [line.strip() for line in plain]
    for other in (
        text_of("192.0.2.1:80", more="map $host $up {\n}\n"),
        text_of("192.0.2.1:80"),
        text_of("192.0.2.1:80", live=False, more="map $host $up {\n    web web;\n}\n"),
    ):
        assert directives.rest_of(other) != plain

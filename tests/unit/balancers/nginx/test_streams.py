"""What nginx takes of a port that goes to an upstream as it is."""

from dataclasses import replace
from pathlib import Path

import pytest
from strategies import container, planned, snapshot

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.outputs import SEPARATOR, split
from lbwatch.balancers.nginx.quoting import settled
from lbwatch.balancers.nginx.streams import BothRenderer, StreamLimits, StreamRenderer, stream_block
from lbwatch.balancers.template import shipped_templates
from lbwatch.core.errors import RenderError
from lbwatch.core.model import Method, NoticeKind, Plan, Route, Server, Sticky, Stream, Upstream

ONE = Server(address="192.0.2.1", port=80, container="one")
TWO = Server(address="2001:db8::2", port=80, container="two", max_conns=3)


def stream(*servers: Server, **words: object) -> Stream:
    return Stream(port=5432, protocol="tcp", upstream=Upstream(name="db", servers=servers, **words))  # type: ignore[arg-type]


def limited(one: Stream) -> tuple[Stream, tuple[str, ...]]:
    """What is written of it, and what its first server's container is told."""
    routes = tuple(Route(container=each.container, upstream="db", server=each) for each in one.upstream.servers)
    plan = StreamLimits().limited(Plan(upstreams=(one.upstream,), routes=routes, streams=(one,)))
    assert plan.upstreams == (one.upstream,), "its upstream is for requests too"
    notices = {each.detail for route in plan.routes for each in route.notices if route.container == "one"}
    assert all(each.kind is NoticeKind.VALUE_NOT_USED for route in plan.routes for each in route.notices)
    return plan.streams[0], tuple(sorted(notices))


def test_clients_that_should_stay_do_so_by_a_hash_of_their_address() -> None:
    """There is no ip_hash, and nginx would refuse the file for it."""
    written, told = limited(stream(ONE, TWO, method=Method(name="ip_hash")))
    assert str(written.upstream.method) == "hash $remote_addr consistent"
    assert told == ("port 5432/tcp has no method ip_hash: it has hash $remote_addr consistent",)


@pytest.mark.parametrize("key", ["$host", "$remote_addr$arg_x", "${cookie_sid}", "$HTTP_X"])
def test_a_key_of_a_request_is_left_out_and_told(key: str) -> None:
    """There is none."""
    written, told = limited(stream(ONE, TWO, method=Method(name="hash", key=key)))
    assert written.upstream.method is None
    assert len(told) == 1
    assert "of a connection, so that servers take turns" in told[0]


@pytest.mark.parametrize("key", ["$remote_addr", "fixed", "$Server_Port:${remote_port}"])
def test_a_key_of_a_connection_is_taken(key: str) -> None:
    """As it is."""
    asked = stream(ONE, TWO, method=Method(name="hash", key=key))
    assert limited(asked) == (asked, ())


def test_what_is_there_for_requests_alone_is_not_written() -> None:
    """An upstream is for both: what its labels say of requests holds there."""
    drains = replace(TWO, draining=True)
    written, told = limited(stream(ONE, drains, keepalive=8, sticky=Sticky(cookie="sid")))
    assert written == stream(ONE)
    assert told == ()
    assert stream_block(stream(ONE, drains, keepalive=8, sticky=Sticky(cookie="sid"))) == stream_block(stream(ONE))


def test_backups_are_dropped_where_nginx_refuses_them() -> None:
    """With a hash that came in the place of another method too."""
    spare = replace(ONE, backup=True)
    for method in (Method(name="random"), Method(name="ip_hash"), Method(name="hash", key="$remote_addr")):
        written, _ = limited(stream(spare, TWO, method=method))
        assert not any(each.backup for each in written.upstream.servers)
    assert limited(stream(spare, TWO)) == (stream(spare, TWO), ())
    assert limited(stream(spare)) == (stream(ONE), ())


def test_what_would_cost_nginx_too_much_is_scaled_down() -> None:
    """A hash that is consistent takes memory for each unit of weight (facts, nginx 9)."""
    heavy = [replace(ONE, weight=1000, port=port) for port in range(1, 9)]
    asked = stream(*heavy, method=Method(name="ip_hash"))
    plan = StreamLimits().limited(Plan(streams=(asked,)))
    assert sum(each.weight for each in plan.streams[0].upstream.servers) <= 2000


def test_the_same_plan_gives_the_same_object_and_what_is_equal_stays() -> None:
    """Identity tells what changed."""
    one = StreamLimits()
    plain = Plan(upstreams=(Upstream(name="web"),))
    assert one.limited(plain) is plain
    asked = stream(ONE, TWO, method=Method(name="ip_hash"))
    plan = Plan(streams=(asked,))
    first = one.limited(plan)
    assert one.limited(plan) is first
    assert one.limited(Plan(upstreams=(Upstream(name="web"),), streams=(asked,))).streams[0] is first.streams[0]


# -- text


def renderer(folder: Path | None = None) -> BothRenderer:
    folders = [*([folder] if folder else []), shipped_templates()]
    words = {"folders": folders, "block": limits.block, "filters": limits.FILTERS, "settled": settled}
    stream_renderer = StreamRenderer("nginx/streams.conf.j2", **words)  # type: ignore[arg-type]
    return BothRenderer("nginx/upstreams.conf.j2", stream=stream_renderer, **words)


def test_both_files_are_written_of_one_plan() -> None:
    """An upstream stands in the first whether it has a port or not."""
    http, text = split(renderer().text((Upstream(name="db", servers=(ONE,)), stream(ONE, TWO))))
    assert "upstream db {" in http
    assert "5432" not in http
    assert text == (
        "# Written by lbwatch, which will overwrite any change made here.\n"
        "\n"
        "# stream 5432/tcp\n"
        "upstream db@5432-tcp {\n"
        "    zone lbwatch/db@5432-tcp 64k;\n"
        "    server 192.0.2.1:80;\n"
        "    server [2001:db8::2]:80 max_conns=3;\n"
        "}\n"
        "server {\n"
        "    listen 5432 so_keepalive=on;\n"
        "    proxy_socket_keepalive on;\n"
        "    proxy_timeout 1h;\n"
        "    proxy_connect_timeout 3s;\n"
        "    proxy_pass db@5432-tcp;\n"
        "}\n"
    )


def test_datagrams_have_lines_of_their_own_and_nobody_leaves_a_placeholder() -> None:
    """A port of an upstream without a server stays nginx's."""
    _, text = split(renderer().text((Stream(port=53, protocol="udp", upstream=Upstream(name="dns")),)))
    assert text is not None
    assert "    listen 53 udp reuseport;\n    proxy_timeout 30s;\n" in text
    assert "    server 127.0.0.1:1 down;\n" in text
    assert "so_keepalive" not in text


def test_a_template_with_the_line_between_the_files_is_an_error(tmp_path: Path) -> None:
    """A label's text that is written as it is could bring it."""
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx/upstreams.conf.j2").write_text(SEPARATOR)
    with pytest.raises(RenderError, match="lbwatch's own line"):
        renderer(tmp_path).text(())


def test_a_wrong_template_of_ports_is_found_when_it_is_read(tmp_path: Path) -> None:
    """Not at the first container that asks for one."""
    (tmp_path / "nginx").mkdir()
    for wrong in ("{{ streams[0].nonsense }}", "{{ upstreams }}", "{% for stream in streams %}"):
        (tmp_path / "nginx/streams.conf.j2").write_text(wrong)
        with pytest.raises(RenderError, match=r"streams\.conf\.j2"):
            renderer(tmp_path).load()


def test_a_plan_of_labels_is_written_whole() -> None:
    """From the label to the line."""
    labels = {"lbwatch.upstream": "db", "lbwatch.listen": "5432/tcp", "lbwatch.method": "ip_hash"}
    plan = StreamLimits().limited(planned([snapshot([container("db1", labels=labels)])]))
    _, text = split(renderer().text(plan.parts))
    assert "    hash $remote_addr consistent;\n" in (text or "")

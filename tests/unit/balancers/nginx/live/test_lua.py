"""The pure parts of the workers' program, by themselves; tests/real/test_live_choice.py has them beside nginx's own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luascript import lua_output
from needs import need
from strategies import upstream_lists

from lbwatch.balancers.nginx.live.directives import reload_reason
from lbwatch.balancers.nginx.live.protocol import line_of
from lbwatch.core.model import Upstream


@pytest.fixture(autouse=True)
def _lua() -> None:
    need("lua5.1", root=False)


_TAKEN = """
local known = {}
for line in io.lines() do
    local name, upstream = protocol.upstream(line, known)
    print(name and name .. " " .. upstream.tries .. " " .. upstream.hold_ms or "refused: " .. protocol.shown(line))
end
"""


@settings(max_examples=30, deadline=None)
@given(upstream_lists())
def test_every_upstream_that_is_said_is_understood(upstreams: tuple[Upstream, ...]) -> None:
    """A set with one line that the worker refuses would never be in force, whatever else is in it."""
    said = [each for each in upstreams if reload_reason(each) is None]
    lines = lua_output(_TAKEN, text="".join(f"{line_of(each)}\n" for each in said))
    assert lines == [f"{each.name} {len(each.servers)} {round(each.hold_s * 1000)}" for each in said]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\n\r")), max_size=20))
def test_no_line_makes_the_reader_fail(lines: list[str]) -> None:
    """An error would end the light thread that follows, and with it all that this worker hears."""
    text = "".join(f"{line}\n" for line in lines)
    assert len(lua_output(_TAKEN, text=text)) == len(lines)


def test_turns_are_smooth() -> None:
    """nginx's way to weigh: a server of weight 5 gets no five requests in a row."""
    script = """
    local _, web = protocol.upstream("web d round_robin 0 0 1.1.1.1:1,5,1,10,0,1 1.1.1.1:2,1,1,10,0,1 1.1.1.1:3,1,1,10,0,1", {})
    for _ = 1, 7 do print(balance.choose(web, balance.flight(), 1000).port) end
    """
    assert "".join(lua_output(script)) == "1121311"


def test_what_is_the_same_server_stays_the_same_object() -> None:
    """By it a change keeps what is known of the servers that stay; another life, or another weight, begins anew."""
    script = """
    local _, old = protocol.upstream("web d1 round_robin 0 0 1.1.1.1:1,1,1,10,0,1 1.1.1.1:2,1,1,10,0,1", {})
    local _, new = protocol.upstream(
        "web d2 round_robin 0 0 1.1.1.1:2,1,1,10,0,1 1.1.1.1:1,1,1,10,0,2 1.1.1.1:2,2,1,10,0,1", { web = old })
    print(new.primary[1] == old.primary[2], new.primary[2] == old.primary[1], new.primary[3] == old.primary[2])
    local _, same = protocol.upstream("web d2 what ever", { web = new })
    print(same == new)
    """
    assert lua_output(script) == ["true\tfalse\tfalse", "true"]


def test_a_single_server_is_never_left_out() -> None:
    """nginx's rule: where there is no other, a failure only means that this request failed."""
    script = """
    local _, web = protocol.upstream("web d round_robin 0 0 1.1.1.1:1,1,1,10,0,1", {})
    for _ = 1, 3 do
        local flight = balance.flight()
        local server = balance.choose(web, flight, 1000)
        balance.settle_tried(flight, true, 1000)
        print(server.port, server.fails, server.connections, balance.choose(web, flight, 1000) == server)
        balance.settle(flight, true, 1000)
    end
    """
    assert lua_output(script) == ["1\t0\t0\ttrue"] * 3

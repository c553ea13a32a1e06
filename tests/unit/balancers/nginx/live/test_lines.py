"""Whether nginx's file has the lines by which its workers follow."""

from pathlib import Path

import pytest

from lbwatch.balancers.nginx.live.directives import line, shape_in
from lbwatch.balancers.nginx.live.lines import LiveLines
from lbwatch.core.errors import ReloadError
from lbwatch.core.model import Method, Upstream

WEB = Upstream(name="web")
TEXT = f"upstream web {{\n    {line(WEB)}\n}}\n"


def lines(folder: str = "/etc/nginx/conf.d", *, required: bool = False, refusal: str | None = None) -> LiveLines:
    async def folder_there() -> Path:
        if not folder:
            raise ReloadError("there is no container")
        return Path(folder)

    return LiveLines(program="p", folder_there=folder_there, required=required, refusal=refusal)


async def test_they_stand_in_a_text_for_its_shape_and_where_nginx_sees_them() -> None:
    """A path of our own means nothing in another container."""
    one = lines("/there")
    assert not one.wanted, "before it is known where"
    await one.prepare(running="nginx")
    assert one.wanted
    text = one.in_text(TEXT, upstreams=[WEB])
    assert text.startswith(TEXT)
    assert "/there/.lbwatch/live.sock" in text
    assert shape_in(text) == one.shape([WEB])
    assert one.reason is None


async def test_a_template_without_the_line_is_left_as_it_is() -> None:
    """It is the user's; a reload serves it as ever."""
    one = lines()
    await one.prepare(running="nginx")
    assert one.in_text("upstream web {\n}\n", upstreams=[WEB]) == "upstream web {\n}\n"
    assert one.reason == "the template writes no {{ upstream.live }}"
    hashed = Upstream(name="web", method=Method(name="ip_hash"))
    assert shape_in(one.in_text("upstream web {\n}\n", upstreams=[hashed])), "it needs none in that one"


@pytest.mark.parametrize("folder", ["", '/a b"c', "/" + "x" * 100, "/a$b", "/a{b"])
async def test_where_nginx_cannot_see_them_they_are_not_written(folder: str) -> None:
    """Nothing of a path is read as Lua or as nginx' own."""
    one = lines(folder)
    await one.prepare(running="nginx")
    assert not one.wanted
    assert one.reason


async def test_what_nobody_tested_is_written_only_on_demand() -> None:
    """An nginx without the module would not start from it."""
    one = lines()
    await one.prepare(running="nginx")
    assert not one.tested(took=False)
    assert one.reason is not None
    assert "live = on" in one.reason
    assert lines(required=True).tested(took=False)
    assert one.tested(took=True)
    assert one.tested(took=False), "it took them a moment ago, and is down just now"


async def test_an_nginx_that_refused_them_is_asked_again_once_it_is_another_one() -> None:
    """The user installed the module and restarted it."""
    one = lines()
    await one.prepare(running="nginx")
    one.refused('unknown directive "init_worker_by_lua_block"', by="nginx")
    for running in ("nginx", None):
        await one.prepare(running=running)
        assert not one.wanted
        assert one.reason is not None
        assert "unknown directive" in one.reason
    await one.prepare(running="another nginx")
    assert one.wanted
    one.refused("no", by=None)
    await one.prepare(running=None)
    assert not one.wanted, "none ran, and none runs"
    one.ask_again()
    await one.prepare(running=None)
    assert one.wanted


async def test_settings_may_rule_them_out() -> None:
    """A test command may ask any nginx."""
    one = lines(refusal="test_command tests")
    await one.prepare(running="nginx")
    one.ask_again()
    assert not one.wanted
    assert one.reason == "test_command tests"


async def test_another_container_has_not_taken_them_yet() -> None:
    """It may be of an image without Lua, and while it cannot start nothing can test: they have to go by themselves."""
    one = lines()
    await one.prepare(running="nginx", container="a")
    assert one.tested(took=True)
    await one.prepare(running=None, container="a")
    assert one.tested(took=False), "it is down, and what it took it takes again"
    await one.prepare(running=None, container="b")
    assert not one.tested(took=False)


async def test_they_are_suspected_only_if_no_worker_asked_by_them() -> None:
    """With live = on an nginx without Lua takes the reload back, and no upstream is to blame for that."""
    one = lines(required=True)
    await one.prepare(running="nginx")
    one.in_text(TEXT, upstreams=[WEB])
    assert one.suspected("nginx took the reload back", by="nginx")
    assert not one.wanted
    assert one.reason == "nginx does not take the directives: nginx took the reload back"
    assert not one.suspected("again", by="nginx"), "they are not there"
    one.ask_again()
    await one.prepare(running="nginx")
    one.tested(took=True)
    one.followed()
    assert not one.suspected("nginx took the reload back", by="nginx")


async def test_on_demand_they_go_too_while_another_container_cannot_start() -> None:
    """It runs in circles, and only a file that it can start from ends that; one that had taken them has them still."""
    one = lines(required=True)
    await one.prepare(running="nginx", container="a")
    assert one.tested(took=False)
    one.followed()
    await one.prepare(running=None, container="a")
    assert one.tested(took=False)
    await one.prepare(running=None, container="b")
    assert not one.tested(took=False)
    assert one.reason is not None
    assert "does not run" in one.reason
    await one.prepare(running="nginx", container="b")
    assert one.tested(took=False)

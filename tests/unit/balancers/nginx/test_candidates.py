"""From upstreams to a text that nginx takes, with the lines by which its workers follow, or without."""

from pathlib import Path

import pytest
import structlog
from strategies import make_renderer

from lbwatch.balancers.nginx import limits
from lbwatch.balancers.nginx.candidates import Candidates
from lbwatch.balancers.nginx.live.lines import LiveLines
from lbwatch.balancers.nginx.outputs import split
from lbwatch.balancers.nginx.quoting import settled
from lbwatch.balancers.nginx.streams import BothRenderer, StreamRenderer
from lbwatch.balancers.template import Renderer, shipped_templates
from lbwatch.core.errors import ConfigRejectedError, NotTestedError, UserConfigError
from lbwatch.core.model import Level, Server, Stream, Upstream

ONE = Server(address="192.0.2.1", port=80, container="one")
UPSTREAMS = (Upstream(name="api", servers=(ONE,)), Upstream(name="web", servers=(ONE,)))


class Nginx:
    """Takes a text, or says what is wrong with it, by words in it."""

    def __init__(self, **refusals: str) -> None:
        self.refusals = refusals
        self.tests = True
        self.tried = 0
        self.error: ConfigRejectedError | None = None

    async def test(self, text: str) -> bool:
        self.tried += 1
        if self.error is not None:
            raise self.error
        for word, said in self.refusals.items():
            if word in text:
                raise ConfigRejectedError(said)
        return self.tests


def renderer(folder: Path | None = None) -> Renderer:
    return make_renderer("nginx/upstreams.conf.j2", folders=[*([folder] if folder else []), shipped_templates()])


def candidates(nginx: Nginx, *, required: bool = False, renderer: Renderer = renderer()) -> Candidates:  # noqa: B008
    async def folder_there() -> Path:
        return Path("/etc/nginx/conf.d")

    renderer.load()
    lines = LiveLines(program="p", folder_there=folder_there, required=required)
    return Candidates(renderer, test=nginx.test, lines=lines, running=lambda: nginx)


async def text_of(some: Candidates) -> str:
    return (await some.candidate(UPSTREAMS, names_before=tuple)).text


async def test_what_takes_the_lines_is_given_them() -> None:
    """Then changes of servers need no reload."""
    some = candidates(Nginx())
    text = await text_of(some)
    assert text.count("balancer_by_lua_block") == 2
    assert text.count("init_worker_by_lua_block") == 1
    assert some.lines is not None
    assert some.lines.reason is None


async def test_the_lines_stand_in_the_file_for_requests() -> None:
    """nginx has no such directive in `stream {}`, and all ports would be refused for it."""
    words = {"folders": [shipped_templates()], "block": limits.block, "filters": limits.FILTERS, "settled": settled}
    stream = StreamRenderer("nginx/streams.conf.j2", **words)  # type: ignore[arg-type]
    some = candidates(Nginx(), renderer=BothRenderer("nginx/upstreams.conf.j2", stream=stream, **words))
    port = Stream(port=5432, protocol="tcp", upstream=UPSTREAMS[0])
    http, other = split((await some.candidate((*UPSTREAMS, port), names_before=tuple)).text)
    assert http == await text_of(candidates(Nginx()))
    assert other is not None
    assert "listen 5432 " in other
    assert "lua" not in other


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("init_worker_by_lua_block", 'unknown directive "init_worker_by_lua_block"'),
        ("balancer_by_lua_block", 'unknown directive "balancer_by_lua_block" in lbwatch.conf:5'),
        ("log_by_lua_block", '"log_by_lua_block" directive is duplicate in mine.conf:1'),
    ],
)
async def test_what_does_not_is_given_the_same_without_them_and_no_upstream_is_blamed(word: str, said: str) -> None:
    """Most nginxes have no Lua; they are to be served as ever, and asked once."""
    nginx = Nginx(**{word: said})
    some = candidates(nginx)
    with structlog.testing.capture_logs() as logs:
        assert "_by_lua" not in await text_of(some)
    assert logs == []
    assert some.degraded == ()
    assert some.lines is not None
    assert some.lines.reason is not None
    assert said in some.lines.reason
    tried = nginx.tried
    assert "_by_lua" not in await text_of(some)
    assert nginx.tried == tried + 1


async def test_an_upstream_that_is_refused_is_degraded_beside_the_lines() -> None:
    """One that is wrong keeps none of the others from following."""
    some = candidates(Nginx(**{"upstream api": 'invalid "api"'}))
    found = await some.candidate(UPSTREAMS, names_before=tuple)
    assert found.text.count("balancer_by_lua_block") == 1
    assert [(each.upstream, each.level) for each in some.degraded] == [("api", Level.OUT)]
    assert [each.name for each in found.written] == ["web"]
    assert some.written(UPSTREAMS) == found.written


async def test_what_is_wrong_with_the_users_own_files_is_no_word_against_the_lines() -> None:
    """Once that is mended they are written."""
    nginx = Nginx()
    some = candidates(nginx)
    nginx.error = UserConfigError('unknown directive "access_by_lua_blok"', starts=False)
    with pytest.raises(UserConfigError):
        await text_of(some)
    nginx.error = NotTestedError("lua_x: no answer in time")
    with pytest.raises(NotTestedError):
        await text_of(some)
    nginx.error = None
    assert "init_worker_by_lua_block" in await text_of(some)


@pytest.mark.parametrize("required", [False, True])
async def test_where_nothing_can_test_they_are_written_only_on_demand(*, required: bool) -> None:
    """An nginx without the module would not start from them."""
    nginx = Nginx()
    nginx.tests = False
    some = candidates(nginx, required=required)
    assert ("_by_lua" in await text_of(some)) is required


async def test_one_that_took_them_keeps_them_while_it_is_down() -> None:
    """Another shape would cost a reload when it is back."""
    nginx = Nginx()
    some = candidates(nginx)
    await text_of(some)
    nginx.tests = False
    assert "_by_lua" in await text_of(some)


async def test_a_template_that_is_read_again_has_nginx_asked_again() -> None:
    """An operator who installed the module sends SIGHUP."""
    nginx, template = Nginx(init_worker_by_lua_block='unknown directive "init_worker_by_lua_block"'), renderer()
    some = candidates(nginx, renderer=template)
    assert "_by_lua" not in await text_of(some)
    nginx.refusals.clear()
    assert "_by_lua" not in await text_of(some)
    template.load()
    assert not some.has_same_template
    assert "_by_lua" in await text_of(some)
    assert some.has_same_template

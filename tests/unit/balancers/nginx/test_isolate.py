"""What is written when nginx or the template refuses the whole: who falls back, how far, and that all others stay."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from localnginx import balancer
from realnginx import RealNginx
from strategies import make_renderer

from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.balancers.nginx.isolate import MAX_TRIES, AcceptedConfig, accepted
from lbwatch.balancers.template import shipped_templates
from lbwatch.core.errors import ConfigRejectedError, NotTestedError, RenderError, UserConfigError
from lbwatch.core.model import Degraded, Level, Server, Sticky, Upstream
from lbwatch.core.parts import Parts
from lbwatch.core.site import Certificate, Location, Site, SitePath

FORMS = (Level.FULL, Level.PLAIN, Level.EMPTY, Level.OUT)


def upstream(name: str, *, number: int = 1, **parameters: object) -> Upstream:
    server = Server(address=f"192.0.2.{number}", port=80, container=f"{name}-1", weight=2, **parameters)  # type: ignore[arg-type]
    return Upstream(name=name, servers=(server,), method="least_conn")


def form_of(written: Upstream | None, whole: Upstream) -> Level:
    """Tell how much of it was written, without asking the code that wrote it."""
    if written is None:
        return Level.OUT
    if written == whole:
        return Level.FULL
    assert (written.name, written.method, written.keepalive) == (whole.name, None, None)
    if not written.servers:
        return Level.EMPTY
    assert [(s.address, s.port, s.container) for s in written.servers] == [
        (s.address, s.port, s.container) for s in whole.servers
    ]
    assert all((s.weight, s.vars, s.backup, s.max_conns) == (1, {}, False, None) for s in written.servers)
    return Level.PLAIN


class Judge:
    """Refuses any upstream above what it bears; names it or not, by the template or by nginx."""

    def __init__(
        self,
        whole: tuple[Upstream, ...],
        *,
        bears: Mapping[str, Level],
        talks: bool = True,
        renders: bool = True,
        word: str = "some",
    ) -> None:
        self.whole = {each.name: each for each in whole}
        self.bears = bears
        self.talks = talks
        self.word = word
        self.renders = renders
        self.tries = 0

    def render(self, upstreams: tuple[Upstream, ...]) -> str:
        written = {each.name: each for each in upstreams}
        levels = {name: form_of(written.get(name), whole) for name, whole in self.whole.items()}
        if not self.renders and (bad := self.bad(levels)) and set(written) & {bad}:
            raise RenderError("'dict object' has no attribute 'domain'", path="mine.j2", line=1)
        return "".join(f"{name} {level}\n" for name, level in levels.items())

    async def test(self, text: str) -> bool:
        self.tries += 1
        if bad := self.bad(dict(line.split() for line in text.splitlines())):
            raise ConfigRejectedError(f'[emerg] {self.word} "{bad}" in mine.conf:1' if self.talks else "[emerg] no")
        return True

    def bad(self, levels: Mapping[str, str]) -> str | None:
        over = (name for name, most in self.bears.items() if FORMS.index(Level(levels[name])) < FORMS.index(most))
        return next(over, None)

    async def outcome(self, *, known: tuple[Degraded, ...] = ()) -> tuple[AcceptedConfig, dict[str, Level]]:
        found = await accepted(tuple(self.whole.values()), render=self.render, test=self.test, known=known)
        return found, {name: Level(level) for name, level in (line.split() for line in found.text.splitlines())}


NAMES = [f"u{number:02}" for number in range(12)]
WHOLE = tuple(upstream(name) for name in NAMES)
bears = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(FORMS), max_size=3)


@given(bears=bears, talks=st.booleans(), renders=st.booleans())
@settings(max_examples=200)
async def test_just_those_that_are_refused_fall_back_and_no_further_than_they_must(
    bears: dict[str, Level], talks: bool, renders: bool
) -> None:
    """One bad upstream must not cost the others anything, and itself as little as can be."""
    judge = Judge(WHOLE, bears=bears, talks=talks, renders=renders)
    found, levels = await judge.outcome()
    assert levels == dict.fromkeys(NAMES, Level.FULL) | bears
    named = {item.upstream: item.level for item in found.degraded}
    assert named == {name: level for name, level in bears.items() if level is not Level.FULL}
    assert found.tested
    assert all(item.error for item in found.degraded)


@given(bears=bears, before=bears, talks=st.booleans())
async def test_what_was_found_before_is_a_help_and_never_a_burden(
    bears: dict[str, Level], before: dict[str, Level], talks: bool
) -> None:
    """The cause of yesterday may be gone, and another one there."""
    known = tuple(Degraded(upstream=name, level=level, error="yesterday's") for name, level in before.items())
    _, levels = await Judge(WHOLE, bears=bears, talks=talks).outcome(known=known)
    assert levels == dict.fromkeys(NAMES, Level.FULL) | bears


async def test_what_was_found_before_is_found_again_at_once() -> None:
    """Each later change of any container pays for it."""
    judge = Judge(WHOLE, bears={"u07": Level.PLAIN}, talks=False)
    found, _ = await judge.outcome()
    judge.tries = 0
    await judge.outcome(known=found.degraded)
    assert judge.tries == 2


async def test_one_of_a_thousand_is_found_in_few_tries() -> None:
    """Each is a test by nginx, of 10 ms at this size, and meanwhile nothing else is brought in force."""
    whole = tuple(upstream(f"u{number:03}") for number in range(1000))
    silent = Judge(whole, bears={"u617": Level.PLAIN}, talks=False)
    found, _ = await silent.outcome()
    assert [item.upstream for item in found.degraded] == ["u617"]
    assert silent.tries <= 16
    talking = Judge(whole, bears={"u617": Level.PLAIN})
    await talking.outcome()
    assert talking.tries == 3, "in full, plain, and in full once more: a cause may have passed"


async def test_a_refusal_that_no_upstream_is_to_blame_for_is_the_whole_ones() -> None:
    """The user's own mistake must be told as it is, and the old file stays."""
    tries = 0

    async def test(text: str) -> bool:
        nonlocal tries
        tries += 1
        raise ConfigRejectedError('[emerg] unknown directive "u01" in nginx.conf:3')

    with pytest.raises(ConfigRejectedError, match="unknown directive"):
        await accepted(WHOLE, render=lambda upstreams: "", test=test)
    assert tries < 10


async def test_with_too_many_culprits_all_are_plain_that_are_not_cleared_in_time() -> None:
    """The search must not hold up everything for minutes, nor many culprits everybody's changes."""
    whole = tuple(upstream(f"u{number:03}") for number in range(300))
    bad = {each.name: Level.PLAIN for each in whole if int(each.name[1:]) % 2}
    judge = Judge(whole, bears=bad, talks=False)
    _, levels = await judge.outcome()
    assert {name for name, level in levels.items() if level is not Level.PLAIN} <= set(levels) - set(bad)
    assert set(levels.values()) == {Level.FULL, Level.PLAIN}
    assert judge.tries < 4 * MAX_TRIES


async def test_all_the_names_that_one_container_may_claim_are_found_to_be_taken() -> None:
    """Each of them could be one of the user's own."""
    whole = tuple(upstream(f"u{number:03}") for number in range(200))
    judge = Judge(whole, bears={f"u{number:03}": Level.OUT for number in range(64)}, word="duplicate upstream")
    found, levels = await judge.outcome()
    assert [item.level for item in found.degraded] == [Level.OUT] * 64
    assert list(levels.values()).count(Level.FULL) == 136


@pytest.mark.parametrize(("talks", "renders"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("most", [Level.EMPTY, Level.OUT])
async def test_a_mistake_that_most_upstreams_would_have_to_go_for_is_refused_as_a_whole(
    talks: bool, renders: bool, most: Level
) -> None:
    """A template that is wrong for all would empty the whole site; the last good file serves."""
    judge = Judge(WHOLE, bears=dict.fromkeys(NAMES[:7], most), talks=talks, renders=renders)
    with pytest.raises((ConfigRejectedError, RenderError)):
        await judge.outcome()
    half = Judge(WHOLE, bears=dict.fromkeys(NAMES[:6], most), talks=talks, renders=renders)
    assert len((await half.outcome())[0].degraded) == 6


@pytest.mark.parametrize("most", [Level.EMPTY, Level.OUT])
async def test_upstreams_without_a_server_are_no_reason_to_empty_the_others(most: Level) -> None:
    """Names of stopped containers are many on some hosts; it is the servers that a site lives of."""
    full, empty = WHOLE[:3], tuple(Upstream(name=f"z{number:02}") for number in range(40))
    judge = Judge((*full, *empty), bears=dict.fromkeys(NAMES[:2], most))
    with pytest.raises(ConfigRejectedError):
        await judge.outcome()
    assert (await Judge((*full, *empty), bears={NAMES[0]: most}).outcome())[0].degraded


async def test_a_test_that_cannot_be_run_blames_nobody() -> None:
    """A full /tmp must not take out the upstream whose text is the longest."""
    tries = 0

    async def test(text: str) -> bool:
        nonlocal tries
        tries += 1
        raise NotTestedError('No space left on device: "u01"')

    with pytest.raises(NotTestedError):
        await accepted(WHOLE, render=lambda upstreams: "", test=test)
    assert tries == 1


async def test_a_mistake_of_the_user_s_own_ends_the_search_and_is_what_is_told() -> None:
    """One upstream is refused too, but it is the user's file that keeps nginx from taking anything."""
    tries = 0

    async def test(text: str) -> bool:
        nonlocal tries
        tries += 1
        if "u01" in text:
            raise ConfigRejectedError('duplicate upstream "u01" in site.conf:1', stderr='duplicate upstream "u01"')
        raise UserConfigError('unknown directive "x" in nginx.conf:9', starts=False)

    with pytest.raises(UserConfigError, match=r"nginx\.conf:9; nginx could not start now"):
        await accepted(WHOLE, render=lambda upstreams: " ".join(each.name for each in upstreams), test=test)
    assert tries == 2


@pytest.mark.parametrize("words", ['something about "u01"', "something"])
async def test_a_refusal_that_passes_leaves_everything_whole(words: str) -> None:
    """A certificate that was just being written, or a test command that was slow to come up."""
    judge, tries = Judge(WHOLE, bears={}), 0

    async def test(text: str) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConfigRejectedError(words)
        return await judge.test(text)

    assert not (await accepted(WHOLE, render=judge.render, test=test)).degraded


async def test_a_stop_in_the_middle_of_a_search_is_obeyed_at_once() -> None:
    """SIGTERM has 2 s, a search ten."""
    tries = asyncio.Semaphore(0)

    async def test(text: str) -> bool:
        tries.release()
        await asyncio.sleep(0.05)
        raise ConfigRejectedError("[emerg] no")

    search = asyncio.create_task(accepted(WHOLE, render=lambda upstreams: "", test=test))
    for _ in range(3):
        await tries.acquire()
    search.cancel()
    async with asyncio.timeout(0.5):
        with pytest.raises(asyncio.CancelledError):
            await search


# -- names that nginx's own files use


class UsersNames(Judge):
    """
    An nginx whose own files pass requests to names: one at a time, it misses those that are not written.

    It looks for them last, as nginx does: after it has read, and may have refused, everything else.
    """

    def __init__(self, whole: tuple[Upstream, ...], *, uses: Sequence[str], bears: Mapping[str, Level], **how: bool):
        super().__init__(whole, bears=bears, **how)
        self.uses = uses

    def render(self, upstreams: tuple[Upstream, ...]) -> str:
        known = "".join(f"extra {each.name} {len(each.servers)}\n" for each in upstreams if each.name not in self.whole)
        return super().render(tuple(each for each in upstreams if each.name in self.whole)) + known

    async def test(self, text: str) -> bool:
        lines = text.splitlines()
        await super().test("\n".join(line for line in lines if not line.startswith("extra ")))
        written = {line.split()[1] for line in lines if line.startswith("extra ")}
        written |= {line.split()[0] for line in lines if not line.endswith(f" {Level.OUT}")}
        if missing := next((name for name in self.uses if name.lower() not in written), None):
            raise ConfigRejectedError(
                f'nginx: [emerg] host not found in upstream "{missing}" in /etc/nginx/conf.d/site.conf:4\n'
                "nginx: configuration file /etc/nginx/nginx.conf test failed\n"
            )
        return True

    async def found(self, *, before: Collection[str]) -> AcceptedConfig:
        return await accepted(tuple(self.whole.values()), render=self.render, test=self.test, before=lambda: before)


def extras(candidate: AcceptedConfig) -> dict[str, int]:
    """The upstreams that nobody asks for any more, with their numbers of servers."""
    lines = (line.split() for line in candidate.text.splitlines() if line.startswith("extra "))
    return {name: int(servers) for _, name, servers in lines}


@pytest.mark.parametrize(
    "directive",
    ["proxy_pass http://", "fastcgi_pass ", "grpc_pass grpc://", "uwsgi_pass ", "scgi_pass ", "memcached_pass "],
)
async def test_whatever_way_nginx_s_files_use_it_it_is_kept(
    real_nginx: RealNginx, tmp_path: Path, directive: str
) -> None:
    """nginx has other words for what it misses where no port can be guessed."""
    real_nginx.rewrite(
        http=f"server {{ listen unix:{tmp_path}/s; location / {{ set $memcached_key x; {directive}gone; }} }}"
    )
    folder = tmp_path / "copy"
    folder.mkdir()
    tester = CopyTester(("nginx",), main=real_nginx.conf, output=real_nginx.output, folder=folder)
    renderer = make_renderer("nginx/upstreams.conf.j2", folders=[shipped_templates()])
    found = await accepted((), render=renderer.text, test=tester.test, before=lambda: ["gone", "other"])
    assert [(each.upstream, each.level, each.kept) for each in found.degraded] == [("gone", Level.EMPTY, True)]
    with pytest.raises(ConfigRejectedError):
        await accepted((), render=renderer.text, test=tester.test, before=lambda: ["other"])


async def test_an_upstream_that_is_gone_but_still_used_is_kept_as_a_placeholder() -> None:
    """Its last container was removed; nginx would refuse everybody's changes and, worse, not start any more."""
    found = await UsersNames(WHOLE, uses=["web"], bears={}).found(before=["web", "old", *NAMES])
    assert extras(found) == {"web": 0}
    (degraded,) = found.degraded
    assert (degraded.upstream, degraded.level) == ("web", Level.EMPTY)
    assert 'host not found in upstream "web"' in degraded.error
    assert found.tested


async def test_several_that_are_gone_are_each_kept_and_those_not_used_are_not() -> None:
    """`docker compose down` removes a whole stack, and nginx names one at a time."""
    found = await UsersNames(WHOLE, uses=["web", "api", "Db"], bears={}).found(before=["db", "web", "old", "api"])
    assert extras(found) == {"api": 0, "db": 0, "web": 0}
    assert list(extras(found)) == ["api", "db", "web"], "in order: the same world gives the same file"
    assert [item.upstream for item in found.degraded] == ["api", "db", "web"]


@pytest.mark.parametrize("before", [(), ("old",), NAMES])
async def test_a_name_that_was_never_an_upstream_of_ours_is_the_user_s_own_mistake(before: Sequence[str]) -> None:
    """Such as a DNS name that does not resolve just now: a placeholder in its place would send it nowhere for good."""
    site = UsersNames(WHOLE, uses=["db.example.com"], bears={})
    with pytest.raises(ConfigRejectedError, match=r"host not found in upstream \"db\.example\.com\""):
        await site.found(before=before)


async def test_one_that_is_kept_and_one_that_was_never_ours_are_refused_as_a_whole() -> None:
    """What remains wrong after the name was kept is still the user's."""
    site = UsersNames(WHOLE, uses=["web", "db.example.com"], bears={})
    with pytest.raises(ConfigRejectedError, match="host not found"):
        await site.found(before=["web"])


@given(bears=bears, used=st.sets(st.sampled_from(["web", "api", "a"])), talks=st.booleans(), renders=st.booleans())
async def test_what_is_kept_and_what_is_refused_are_found_together(
    bears: dict[str, Level], used: set[str], talks: bool, renders: bool
) -> None:
    """A bad weight and a stack that goes down on the same day."""
    site = UsersNames(WHOLE, uses=sorted(used), bears=bears, talks=talks, renders=renders)
    found = await site.found(before=["web", "api", "a", "old"])
    levels = {name: level for name, level in (line.split()[:2] for line in found.text.splitlines()) if name != "extra"}
    assert levels == dict.fromkeys(NAMES, Level.FULL) | bears
    assert extras(found) == dict.fromkeys(sorted(used), 0)
    reduced = {name: level for name, level in bears.items() if level is not Level.FULL}
    assert {item.upstream: item.level for item in found.degraded} == reduced | dict.fromkeys(used, Level.EMPTY)
    assert [item.upstream for item in found.degraded] == sorted(item.upstream for item in found.degraded)


async def test_a_large_stack_that_is_gone_at_once_is_kept_or_refused_and_never_ends_the_daemon() -> None:
    """Each name costs a test; what is too much for one search must be told in the words of the refusal."""
    gone = [f"gone{number:03}" for number in range(2 * MAX_TRIES)]
    site = UsersNames(WHOLE, uses=gone, bears={})
    try:
        found = await site.found(before=gone)
    except ConfigRejectedError as error:
        assert "host not found" in str(error)
    else:
        assert extras(found) == dict.fromkeys(gone, 0)


# -- with a real nginx

FREE = """\
{% for upstream in upstreams %}
upstream {{ upstream.name }} {
{% for server in upstream.servers %}
    server {{ server.address }}:{{ server.port }} {{ server.vars.get("extra", "") }};
{% else %}
    server 127.0.0.1:1 down;
{% endfor %}
}
{% endfor %}
"""

STRICT = """\
{% for upstream in upstreams %}
upstream {{ upstream.name }} {
    server 127.0.0.1:1 down;
}
{% for server in upstream.servers %}
# share {{ 12 // (server.address.split(".")[3] | int - 3) }}
{% endfor %}
{% endfor %}
"""


def written(nginx: RealNginx) -> str:
    return " ".join(nginx.output.read_text().split())


async def test_an_upstream_with_a_parameter_that_nginx_refuses_is_written_plain(
    real_nginx: RealNginx, tmp_path: Path
) -> None:
    """A user's template may write what we cannot check: one container's label then breaks one upstream at most."""
    (tmp_path / "free.j2").write_text(FREE)
    one = balancer(real_nginx, tmp_path, template=str(tmp_path / "free.j2"))
    bad, good = upstream("bad", vars={"extra": "nonsense"}), upstream("good", number=2, vars={"extra": "weight=7"})
    with structlog.testing.capture_logs() as logs:
        applied = await one.apply((bad, good))
        await one.apply((bad, good))
        assert "upstream bad { server 192.0.2.1:80 ; }" in written(real_nginx)
        assert "upstream good { server 192.0.2.2:80 weight=7; }" in written(real_nginx)
        assert [(item.upstream, item.level) for item in applied.degraded] == [("bad", Level.PLAIN)]
        assert 'invalid parameter "nonsense"' in applied.degraded[0].error
        mended = upstream("bad", vars={"extra": "weight=3"})
        assert not (await one.apply((mended, good))).degraded
    assert "192.0.2.1:80 weight=3;" in written(real_nginx)
    told = [(log["event"], log["upstream"]) for log in logs if log["event"].startswith("upstream.")]
    assert told == [("upstream.degraded", "bad"), ("upstream.restored", "bad")], "once each, not at every pass"


async def test_an_upstream_that_the_template_fails_on_keeps_its_name(real_nginx: RealNginx, tmp_path: Path) -> None:
    """A user's template meets a server that its author did not think of: everybody else's changes go on."""
    (tmp_path / "strict.j2").write_text(STRICT)
    one = balancer(real_nginx, tmp_path, template=str(tmp_path / "strict.j2"))
    applied = await one.apply((upstream("bad", number=3), upstream("good", number=5)))
    assert "# share 6" in written(real_nginx)
    assert "upstream bad { server 127.0.0.1:1 down; }" in written(real_nginx)
    assert [(item.upstream, item.level) for item in applied.degraded] == [("bad", Level.EMPTY)]


async def test_an_upstream_that_the_user_has_too_is_left_out_until_the_user_has_it_no_more(
    real_nginx: RealNginx, tmp_path: Path
) -> None:
    """Any container may call itself by a name of the user's: it must not keep nginx from its next start."""
    mine = real_nginx.output.parent / "mine.conf"
    mine.write_text("upstream web { server 192.0.2.9:80; }\n")
    one = balancer(real_nginx, tmp_path)
    applied = await one.apply((upstream("api"), upstream("web", number=2)))
    assert [(item.upstream, item.level) for item in applied.degraded] == [("web", Level.OUT)]
    assert "upstream api" in written(real_nginx)
    assert "upstream web" not in written(real_nginx)
    mine.unlink()
    assert not (await one.apply((upstream("api"), upstream("web", number=2)))).degraded
    assert "upstream web" in written(real_nginx)


async def test_a_file_that_became_wrong_by_a_change_of_the_user_s_is_mended_before_nginx_starts(
    real_nginx: RealNginx, tmp_path: Path
) -> None:
    """nginx, stopped meanwhile, could not start from the file that was right an hour ago."""
    one = balancer(real_nginx, tmp_path)
    both = (upstream("api"), upstream("web", number=2))
    await one.apply(both)
    real_nginx.stop()
    (real_nginx.output.parent / "mine.conf").write_text("upstream web { server 192.0.2.9:80; }\n")
    with pytest.raises(Exception, match="not running"):
        await one.apply(both)
    assert "upstream web" not in written(real_nginx)
    real_nginx.start()
    assert (await one.apply(both)).reloaded


@pytest.mark.parametrize("mistake", ["no_such_directive on;", "server { location / { proxy_pass http://web:8080; } }"])
async def test_a_mistake_of_the_user_s_own_leaves_the_file_as_it_is(
    real_nginx: RealNginx, tmp_path: Path, mistake: str
) -> None:
    """Leaving upstreams out would mend nothing, and take out what works."""
    one = balancer(real_nginx, tmp_path)
    await one.apply((upstream("web"),))
    before = written(real_nginx)
    real_nginx.rewrite(http=mistake)
    with pytest.raises(ConfigRejectedError, match=r"no_such_directive|may not have port"):
        await one.apply((upstream("web"), upstream("web2", number=2)))
    assert written(real_nginx) == before


async def test_an_upstream_that_the_user_s_files_use_outlives_its_last_container(
    real_nginx: RealNginx, tmp_path: Path
) -> None:
    """`docker rm` must not keep nginx from its next start; it goes once the user's files use it no more."""
    one = balancer(real_nginx, tmp_path)
    await one.apply((upstream("api"), upstream("web", number=2)))
    real_nginx.rewrite(http="server { listen 127.0.0.1:1; location / { proxy_pass http://web; } }")
    kept = await one.apply((upstream("api"),))
    assert "upstream web { server 127.0.0.1:1 down; }" in written(real_nginx)
    assert [(item.upstream, item.level) for item in kept.degraded] == [("web", Level.EMPTY)]
    assert not (await one.apply((upstream("api"), upstream("web", number=2)))).degraded
    assert "server 192.0.2.2:80" in written(real_nginx)
    await one.apply((upstream("api"),))
    real_nginx.rewrite(http="")
    assert not (await one.apply((upstream("api"),))).degraded
    assert "upstream web" not in written(real_nginx)


async def test_a_template_that_nginx_refuses_for_every_upstream_leaves_the_file_as_it_is(
    real_nginx: RealNginx, tmp_path: Path
) -> None:
    """Without this rule ten upstreams would be ten placeholders, and the site gone."""
    (tmp_path / "free.j2").write_text(FREE.replace("{{ server.vars", "resolve {{ server.vars"))
    ten = tuple(upstream(f"u{number}", number=number) for number in range(1, 11))
    await balancer(real_nginx, tmp_path).apply(ten)
    before = written(real_nginx)
    with pytest.raises(ConfigRejectedError, match="resolve"):
        await balancer(real_nginx, tmp_path, template=str(tmp_path / "free.j2")).apply(ten)
    assert written(real_nginx) == before


async def test_who_drains_is_not_written_where_it_cannot_be_told_apart() -> None:
    """Without its parameters it would get new clients, and it takes none any more."""
    whole = upstream("web")
    drains = Server(address="192.0.2.9", port=80, container="web-9", draining=True)
    whole = replace(whole, servers=(*whole.servers, drains), sticky=Sticky(cookie="sid"))

    async def test(text: str) -> bool:
        if "weight=2" in text:
            raise ConfigRejectedError("[emerg] no")
        return True

    found = await accepted((whole,), render=make_renderer().text, test=test)
    assert [(each.upstream, each.level) for each in found.degraded] == [("web", Level.PLAIN)]
    assert "192.0.2.1:80;" in found.text
    assert "192.0.2.9" not in found.text


HOSTS = ("a.example", "b.example", "c.example")


def site(host: str, *files: str) -> Site:
    return Site(
        host=host,
        locations=(Location(path=SitePath(), upstream="u00"),),
        certificate=Certificate(name=host, path=f"/certs/{host}.crt", key=f"/certs/{host}.key"),
        files=tuple((path, "digest") for path in (f"/certs/{host}.crt", *files)),
    )


class SiteJudge:
    """Has some sites refused at some levels, and says so in nginx's ways."""

    def __init__(self, *refuses: str, words: str, least: Level = Level.PLAIN) -> None:
        self.refuses, self.words, self.least = refuses, words, least
        self.tries = 0

    def render(self, parts: Parts) -> str:
        lines = []
        for each in parts:
            if isinstance(each, Upstream):
                lines += [f"upstream {each.name} {{", "}"]
            elif isinstance(each, Site):
                level = "full" if each.closed is None else "plain" if each.certificate else "empty"
                lines += [f"# site {each.host}".strip(), "server {", f"  # {level} {each.host}", "}", "server {", "}"]
        return "\n".join(lines) + "\n"

    async def test(self, text: str) -> bool:
        self.tries += 1
        lines = text.splitlines()
        for host in self.refuses:
            for bad in [f"  # full {host}", *([f"  # plain {host}"] if self.least is Level.EMPTY else [])]:
                if bad in lines:
                    line = lines.index(bad) + 4  # in the second block
                    raise ConfigRejectedError(
                        self.words.format(host=host, line=line), line=line if "{line}" in self.words else None
                    )
        return True


MESSAGES = (
    "[emerg] no such thing in /out.conf:{line}",
    '[emerg] cannot load certificate "/certs/{host}.crt": PEM_read_bio_X509_AUX() failed',
    "[emerg] no",
)


@pytest.mark.parametrize("words", MESSAGES)
@pytest.mark.parametrize("least", [Level.PLAIN, Level.EMPTY])
async def test_a_site_that_nginx_refuses_is_closed_and_no_other_is(words: str, least: Level) -> None:
    """The unit is the host: one certificate that does not fit its key must not take the proxy down."""
    judge = SiteJudge("b.example", words=words, least=least)
    parts = (*WHOLE, Site(host=""), *map(site, HOSTS))
    found = await accepted(parts, render=judge.render, test=judge.test)
    assert [(each.upstream, each.level) for each in found.degraded] == [("~host b.example", least)]
    assert "  # full a.example" in found.text
    assert "  # full c.example" in found.text
    assert f"  # {least} b.example" in found.text


async def test_all_sites_that_a_broken_file_is_read_for_are_closed_at_once() -> None:
    """A hundred may share one file of the operator's, and nginx takes its time for each test."""
    hosts = [f"h{number:03}.example" for number in range(100)]
    judge = SiteJudge(*hosts, words="[emerg] unknown directive in /vhost.d/default:7")
    parts = (*WHOLE, Site(host=""), site("fine.example"), *(site(host, "/vhost.d/default") for host in hosts))
    found = await accepted(tuple(sorted(parts, key=lambda each: each.name)), render=judge.render, test=judge.test)
    assert {each.upstream for each in found.degraded} == {f"~host {host}" for host in hosts}
    assert "  # full fine.example" in found.text
    assert judge.tries < 120


async def test_that_every_site_is_closed_takes_no_upstream_along() -> None:
    """An nginx without TLS refuses them all; what others include serves on."""
    judge = SiteJudge(*HOSTS, words="[emerg] no", least=Level.EMPTY)
    found = await accepted((*WHOLE[:1], *map(site, HOSTS)), render=judge.render, test=judge.test)
    assert {each.level for each in found.degraded} == {Level.EMPTY}
    assert len(found.degraded) == len(HOSTS)

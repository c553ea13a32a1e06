"""What is pushed to the workers of a real nginx, by the balancer alone: answers, file and proof, without a reload."""

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random, randrange

import pytest
from backendserver import dead_address
from livestage import LiveStage, live_stage, web
from luanginx import lua_program
from needs import NGINX_NEEDS, need, obtained

from lbwatch.balancers.nginx.limits import limited
from lbwatch.balancers.nginx.live import directives
from lbwatch.balancers.nginx.live.push import LATE_S
from lbwatch.balancers.template import shipped_templates
from lbwatch.core.errors import OutputError, ReloadRefusedError
from lbwatch.core.model import Method, Plan, Server, Upstream


@pytest.fixture(params=["1.22", "1.26"])
def version(request: pytest.FixtureRequest) -> str:
    """Each nginx that has the module."""
    need(*NGINX_NEEDS)
    version = str(request.param)
    obtained(lua_program, version)
    return version


@pytest.fixture
async def stage(version: str) -> AsyncIterator[LiveStage]:
    """One whose workers follow, and which serves `one` as web."""
    folder = Path(tempfile.mkdtemp(prefix="lbl", dir="/tmp"))  # short: a socket's path is
    folder.chmod(0o755)
    try:
        async with live_stage(folder, version=version) as stage:
            await stage.apply(web(stage.servers["one"]))
            await stage.followed(web(stage.servers["one"]))
            yield stage
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def test_other_servers_need_no_reload(stage: LiveStage) -> None:
    """The promise: the same workers answer for other servers as soon as `apply` returns, and the file says the same."""
    servers, workers = stage.servers, stage.nginx.worker_pids()
    steps = (("one", "two"), ("three",), (), ("two",), ("one", "two", "three"))
    for names in steps:
        wanted = web(*(servers[name] for name in names))
        applied = await stage.apply(wanted)
        assert (applied.reloaded, applied.event) == (False, "nginx.pushed")
        assert 0 < applied.verified_s < 0.5
        assert await stage.answers() == (set(names) or {"status 502"})
        assert not (await stage.settled(wanted)).reloaded
        text = stage.nginx.output.read_text()
        assert text == stage.balancer._candidates.text(wanted)
        assert stage.balancer.confirmed()
    assert stage.nginx.worker_pids() == workers


async def test_a_file_that_cannot_be_replaced_is_owed_and_so_is_the_way_back(
    stage: LiveStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers have been told by then: to want again what the file says is no reason to believe that it is in force."""
    one, two = (web(stage.servers[name]) for name in ("one", "two"))

    async def full(text: str) -> None:
        raise OutputError(stage.nginx.output, error=OSError(28, "No space left on device"))

    with monkeypatch.context() as patch:
        patch.setattr(stage.balancer.file, "rewrite", full)
        with pytest.raises(OutputError):
            await stage.settled(two)
    assert await stage.answers() == {"two"}
    assert not stage.balancer.confirmed()
    await stage.settled(one)
    assert await stage.answers() == {"one"}
    assert stage.balancer.confirmed()


async def test_a_worker_that_hangs_holds_up_nothing_and_is_replaced_though_changes_go_on(stage: LiveStage) -> None:
    """It may serve who left long ago: other changes must not put off the reload that ends it."""
    servers, clock = stage.servers, asyncio.get_running_loop().time
    await stage.apply(web(servers["two"]))
    hung = min(stage.nginx.worker_pids())
    (well,) = stage.nginx.worker_pids() - {hung}
    os.kill(hung, signal.SIGSTOP)
    try:
        began = clock()
        for name in itertools.cycle(("one", "two")):
            before = clock()
            try:
                applied = await stage.apply(web(servers[name]))
            except ReloadRefusedError:  # the old one cannot end
                break
            assert not applied.reloaded
            assert applied.live_s < 1
            assert not stage.balancer.confirmed()
            assert {have.version for pid, have in stage.push._workers.all().items() if pid == well} == {
                stage.push._versions.version
            }
            await asyncio.sleep(0.2)
        assert LATE_S - 0.5 < before - began < LATE_S + 4  # not 10 s, when its connection is given up
    finally:
        os.kill(hung, signal.SIGCONT)
    await stage.until(lambda: hung not in stage.nginx.worker_pids())
    await stage.settled(web(servers["one"]))  # what was not verified is reloaded once more
    await stage.followed(web(servers["three"]))
    assert not (await stage.settled(web(servers["three"]))).reloaded
    assert await stage.answers() == {"three"}


async def test_names_that_go_and_come_back_need_no_reload(stage: LiveStage) -> None:
    """A stack that is taken down and put up again while nginx has its upstream still costs nobody a connection."""
    one, two = stage.servers["one"], stage.servers["two"]
    both = (*web(one, name="a"), *web(two, name="b"))
    assert (await stage.settled(both)).reloaded
    await stage.followed(both)
    workers = stage.nginx.worker_pids()
    assert not (await stage.settled(web(one, name="a"))).reloaded
    assert await stage.answers("b") == {"status 502"}
    assert "upstream b" not in stage.nginx.output.read_text()
    assert not (await stage.settled(both)).reloaded
    assert await stage.answers("b") == {"two"}
    assert "upstream b" in stage.nginx.output.read_text()
    assert stage.nginx.worker_pids() == workers


async def test_a_name_that_went_before_a_reload_by_others_is_asked_for_by_another_one(stage: LiveStage) -> None:
    """The new workers read a file without it: nobody can tell them of its servers."""
    one, two = stage.servers["one"], stage.servers["two"]
    both = (*web(one, name="a"), *web(two, name="b"))
    await stage.settled(both)
    await stage.followed(both)
    await stage.settled(web(one, name="a"))
    workers = stage.nginx.worker_pids()
    stage.nginx.reload()
    await stage.until(lambda: not workers & stage.nginx.worker_pids() and len(stage.nginx.worker_pids()) == 2)
    await stage.until(stage.balancer.confirmed)
    assert not (await stage.settled(web(two, name="a"))).reloaded
    assert (await stage.settled(both)).reloaded
    assert await stage.answers("b") == {"two"}


@pytest.mark.parametrize("static", [False, True])
async def test_a_name_that_the_user_s_own_site_names_may_lose_its_last_container(
    stage: LiveStage, static: bool
) -> None:
    """nginx would not start without the upstream: it stays in the file, empty, and comes back without a reload."""
    if static:
        stage.nginx.rewrite(
            http=f"server {{ listen unix:{stage.nginx.folder}/s.sock; location / {{ proxy_pass http://web; }} }}"
        )
    workers = stage.nginx.worker_pids()
    assert not (await stage.settled(())).reloaded
    assert await stage.answers() == {"status 502"}
    assert ("upstream web" in stage.nginx.output.read_text()) == static
    other = web(stage.servers["one"], name="other")
    assert (await stage.settled(other)).reloaded
    await stage.followed(other)
    await stage.until(lambda: len(stage.nginx.worker_pids()) == stage.nginx.workers)
    workers = stage.nginx.worker_pids()
    assert not (await stage.settled(web(stage.servers["two"], name="other"))).reloaded
    assert await stage.answers("other") == {"two"}
    if not static:
        return
    assert not (await stage.settled((*other, *web(stage.servers["two"])))).reloaded
    assert await stage.answers() == {"two"}
    assert stage.nginx.worker_pids() == workers


def drawn(random: Random, servers: dict[str, Server]) -> tuple[Upstream, ...]:
    """Return three upstreams as a plan might have them, one of which may be gone."""
    upstreams = []
    for name in ("a", "b", "c"):
        if name == "c" and random.random() < 0.1:
            continue
        method = random.choice(
            (None, None, None, Method(name="least_conn"), Method(name="random"), Method(name="ip_hash"))
        )
        method = method if random.random() < 0.15 else None
        chosen = [each for each in servers.values() if random.random() < 0.6]
        lives = (replace(each, weight=random.choice((1, 1, 2, 3)), started_ns=random.choice((1, 2))) for each in chosen)
        with_backup = tuple(replace(each, backup=random.random() < 0.2) for each in lives)
        ordered = tuple(sorted(with_backup, key=lambda each: each.port))
        upstreams.append(
            Upstream(name=name, servers=ordered, method=method, keepalive=random.choice((None,) * 9 + (4,)))
        )
    return limited(Plan(upstreams=tuple(upstreams))).upstreams


def who_answers(upstream: Upstream) -> set[str]:
    first = {each.container for each in upstream.servers if not each.backup}
    return first or {each.container for each in upstream.servers} or {"status 502"}


async def test_whatever_changes_nginx_answers_as_planned(stage: LiveStage) -> None:
    """Pushed or reloaded, with nginx reloaded, workers killed or lbwatch started anew in between: it is the same truth."""
    seed = int(os.environ.get("LIVE_SEED", "0")) or randrange(1, 2**32)
    print(f"LIVE_SEED={seed} repeats it")
    random, pushed = Random(seed), 0
    for _ in range(int(os.environ.get("LIVE_STEPS", "25"))):
        upstreams = drawn(random, stage.servers)
        applied = await stage.settled(upstreams)
        print(
            *(f"{each.name}={each.method}/{each.keepalive}:{len(each.servers)}" for each in upstreams), applied.reloaded
        )
        pushed += not applied.reloaded
        text = stage.nginx.output.read_text()
        for each in upstreams:
            await answers_only(stage, each)
            block = text.partition(f"upstream {each.name} {{")[2].partition("}")[0]
            assert {server.host_port for server in each.servers} == set(
                re.findall(r"server (\S+:\d+)(?! down)\b", block)
            ) - {"127.0.0.1:1"}
        event = random.random()
        if event < 0.1:
            print("reloaded by others")
            stage.nginx.reload()
        elif event < 0.2:
            print("a worker is killed")
            killed = min(stage.nginx.worker_pids())
            with contextlib.suppress(ProcessLookupError):
                os.kill(killed, signal.SIGKILL)
            # The next one serves what nginx was started with until it is told, some milliseconds after it was begun.
            await stage.until(
                lambda killed=killed: killed not in (pids := stage.nginx.worker_pids()) and len(pids) == 2
            )
        elif event < 0.25:
            print("started anew")
            await stage.restart()
    assert pushed


async def answers_only(stage: LiveStage, upstream: Upstream) -> None:
    """Make sure that nobody else answers, and that each of those who should does before long."""
    expected, seen = who_answers(upstream), set[str]()
    async with asyncio.timeout(12):
        while seen != expected and not (seen and upstream.method == Method(name="ip_hash")):
            seen |= await stage.answers(upstream.name, 6)
            assert seen <= expected, f"{seen} instead of {expected} answer for {upstream}"


async def test_only_the_upstream_that_changed_is_sent(stage: LiveStage) -> None:
    """Of ten thousand upstreams one changes: what is said of the others would cost every worker."""
    one, two = stage.servers["one"], stage.servers["two"]
    both = (*web(one, name="a"), *web(two, name="b"))
    await stage.settled(both)
    await stage.followed(both)
    shape = directives.shape_in(stage.nginx.output.read_text())
    path = stage.nginx.output.parent / ".lbwatch" / "live.sock"
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(f"have 1 {shape} 0 2 - -\n".encode())
    _, version, kind, count = (await reader.readline()).decode().split()
    assert (kind, count) == ("whole", "2")
    assert {(await reader.readline()).split(b" ")[0] for _ in range(2)} == {b"a", b"b"}
    writer.write(f"have 1 {shape} 0 2 {version} -\n".encode())
    await stage.settled((*web(two, name="a"), *both[1:]))
    assert (await reader.readline()).decode().split()[2:] == ["delta", "1"]
    line = (await reader.readline()).decode().split()
    assert (line[0], line[5].partition(",")[0]) == ("a", two.host_port)
    writer.close()


async def test_a_container_s_next_life_at_its_address_has_no_failures(stage: LiveStage) -> None:
    """nginx would leave it alone for ten seconds, and its line is the same to the letter."""
    dead, one = dead_address().split(":"), stage.servers["one"]
    other = Server(address=dead[0], port=int(dead[1]), container="dead", started_ns=1, fail_timeout_s=3600)
    await stage.settled(web(one, other))
    while "status 502" in (answers := await stage.answers(n=24)):  # until each worker has found it dead
        assert answers <= {"one", "status 502"}
    server = await asyncio.start_server(lambda _, writer: say(writer, "alive"), *dead)
    async with server:
        assert await stage.answers(n=24) == {"one"}
        assert not (await stage.settled(web(one, replace(other, started_ns=2)))).reloaded
        assert await stage.answers(n=24) == {"one", "alive"}


def say(writer: asyncio.StreamWriter, word: str) -> None:
    """Answer, whatever was asked."""
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(word)}\r\nConnection: close\r\n\r\n{word}".encode())
    writer.close()


async def test_the_user_s_broken_files_keep_no_server_out(stage: LiveStage) -> None:
    """A typing error in a site is no reason to send requests to a container that is gone."""
    good = stage.nginx.conf.read_text()
    stage.nginx.conf.write_text(good.replace("server {", "server { nonsense;", 1))
    applied = await stage.settled(web(stage.servers["two"]))
    assert not applied.reloaded
    assert applied.unstartable is not None
    assert "nonsense" in applied.unstartable
    assert await stage.answers() == {"two"}
    assert stage.servers["two"].host_port in stage.nginx.output.read_text()
    stage.nginx.conf.write_text(good)
    assert (await stage.settled(web(stage.servers["three"]))).unstartable is None


async def test_an_upstream_that_nginx_refuses_costs_the_others_no_reload(stage: LiveStage) -> None:
    """One team's mistake must not have everybody's changes reload."""
    one, two, three = (stage.servers[name] for name in ("one", "two", "three"))
    template = stage.nginx.folder / "mine.conf.j2"
    shipped = (shipped_templates() / "nginx/upstreams.conf.j2").read_text()
    bad_line = "{% for server in upstream.servers %}\n{% if 'bad' in server.vars %}\n    nonsense;\n{% endif %}\n"
    template.write_text(shipped.replace("{% for server in upstream.servers %}\n", bad_line, 1))
    await stage.restart(template=str(template))
    bad = replace(two, vars={"bad": "yes"})
    both = (*web(bad, name="bad"), *web(one))
    assert (await stage.settled(both)).degraded
    await stage.followed(stage.push.upstreams)
    workers = stage.nginx.worker_pids()
    applied = await stage.settled((*both[:1], *web(three)))
    assert not applied.reloaded
    assert [each.upstream for each in applied.degraded] == ["bad"]
    assert await stage.answers() == {"three"}
    assert stage.nginx.worker_pids() == workers


async def test_users_own_lua_has_nginx_reloaded_and_is_told_of(stage: LiveStage) -> None:
    """nginx takes such a directive once: what the user wrote stays in force, and changes go the other way."""
    stage.nginx.rewrite(http="init_worker_by_lua_block { local mine = 1 }")
    await stage.restart()
    for name in ("two", "three"):
        assert (await stage.settled(web(stage.servers[name]))).reloaded
        assert await stage.answers() == {name}
    assert "by_lua" not in stage.nginx.output.read_text()
    assert "is duplicate" in (stage.balancer.live_refusal or "")

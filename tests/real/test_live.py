"""What is pushed to the workers of a real nginx, by the balancer alone: answers, file and proof, without a reload."""

import asyncio
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from livestage import LiveStage, live_stage, web
from luanginx import lua_program
from needs import NGINX_NEEDS, need, obtained

from lbwatch.balancers.nginx.live.push import LATE_S
from lbwatch.core.errors import OutputError, ReloadRefusedError


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
        await stage.until(stage.balancer.confirmed)
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
    workers = stage.nginx.worker_pids()
    assert not (await stage.settled(web(stage.servers["two"], name="other"))).reloaded
    assert await stage.answers("other") == {"two"}
    if not static:
        return
    assert not (await stage.settled((*other, *web(stage.servers["two"])))).reloaded
    assert await stage.answers() == {"two"}
    assert stage.nginx.worker_pids() == workers

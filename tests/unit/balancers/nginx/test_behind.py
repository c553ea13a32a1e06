"""The file of what was pushed, written behind."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from pathstage import Stage, running, trial
from waiting import eventually

from lbwatch.balancers.nginx import livepath
from lbwatch.core.errors import LbwatchError, NotTestedError, OutputError, RenderError, UserConfigError


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(livepath, "FILE_PATIENCE_S", 12.0)
    stage = Stage(tmp_path)
    with stage.lock:
        async with running(stage):
            yield stage


async def test_a_file_that_is_long_in_testing_holds_up_no_change(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """nginx reads 10,000 upstreams for more than a second."""
    await stage.apply(trial(1))
    monkeypatch.setattr(livepath, "FILE_PATIENCE_S", 0.01)
    stage.candidates.may.clear()
    for ports in ((1, 2), (2,), (2, 3)):
        pushed = await stage.apply(trial(*ports))
        assert pushed is not None
        assert pushed.written is None
        assert stage.workers.told[-1] == trial(*ports).parts
        assert not stage.path.confirmed()
        now = asyncio.get_running_loop().time()
        assert stage.path.due(trial(*ports).parts, is_same=True, now=now) == now + 0.01
    stage.candidates.error = UserConfigError("site.conf:3", starts=False)
    stage.candidates.may.set()
    await eventually(lambda: stage.says(2, 3))
    now = asyncio.get_running_loop().time()
    await eventually(lambda: stage.path.due(trial(2, 3).parts, is_same=True, now=now) == now)
    tested = len(stage.candidates.tested)
    assert not stage.path.confirmed(), "nobody was given what came of it"
    pushed = await stage.apply(trial(2, 3))
    assert pushed is not None
    assert pushed.written is not None
    assert pushed.written.unstartable is not None
    assert stage.path.confirmed()
    assert len(stage.candidates.tested) == tested
    assert stage.workers.told[-1] == trial(2, 3).parts, "nobody is told again what is long past"
    assert len(stage.candidates.tested) <= 3, "of those in between at most the one that was begun"


async def test_what_is_wrong_with_the_users_own_files_keeps_no_server_out(stage: Stage) -> None:
    """nginx serves; that it could not start is for the operator to know, once."""
    await stage.apply(trial(1))
    stage.candidates.error = UserConfigError("unexpected end of file in site.conf:3", starts=False)
    with structlog.testing.capture_logs() as logs:
        for ports in ((2,), (2, 3)):
            pushed = await stage.apply(trial(*ports))
            assert pushed is not None
            assert pushed.written is not None
            assert pushed.written.unstartable is not None
            assert "site.conf:3" in pushed.written.unstartable
            assert stage.says(*ports)
    assert [log["event"] for log in logs] == ["nginx.config_broken"]
    stage.candidates.error = None
    pushed = await stage.apply(trial(2, 3))
    assert pushed is not None
    assert pushed.written is not None
    assert pushed.written.unstartable is None


async def test_that_nothing_can_be_tested_now_keeps_none_out_either(stage: Stage) -> None:
    """Its shape was tested."""
    await stage.apply(trial(1))
    stage.candidates.error = NotTestedError("no answer in time")
    pushed = await stage.apply(trial(2))
    assert pushed is not None
    assert pushed.written is not None
    assert pushed.written.unstartable is None
    assert stage.says(2)


@pytest.mark.parametrize("error", [RenderError("no", path="t", line=1), OutputError(Path("f"), error=OSError("full"))])
async def test_a_file_that_cannot_be_written_is_an_error_until_it_is(stage: Stage, error: LbwatchError) -> None:
    """The workers have it; a start of nginx would not."""
    await stage.apply(trial(1))
    stage.candidates.error = error
    for _ in range(2):
        with pytest.raises(type(error)):
            await stage.apply(trial(2))
        assert not stage.path.confirmed()
    assert stage.says(1)
    assert stage.workers.told[-1] == trial(2).parts
    stage.candidates.error = None
    await stage.apply(trial(2))
    assert stage.says(2)
    assert stage.path.confirmed()


async def test_what_takes_a_reload_after_all_is_left_to_one(stage: Stage) -> None:
    """The test degraded an upstream, say: the workers have read another file."""
    await stage.apply(trial(1))
    stage.workers.same_shape = False
    assert await stage.apply(trial(2)) is None
    assert stage.says(1)
    assert not stage.path.confirmed()


async def test_what_a_template_writes_by_who_serves_takes_a_reload(stage: Stage) -> None:
    """A map of the upstreams that have a server, say: workers are not told of it."""
    await stage.apply(trial(1))
    stage.output.write_text(stage.output.read_text() + "map $host $up { web web; }\n")
    assert await stage.apply(trial(2)) is None


async def test_where_a_test_is_dear_there_is_one_now_and_then(stage: Stage) -> None:
    """By exec in nginx's container each costs a fifth of a second of its CPU."""
    await stage.apply(trial(1))
    tested = len(stage.candidates.tested)
    stage.candidates.tested_since = True
    await stage.apply(trial(2))
    assert stage.says(2)
    assert len(stage.candidates.tested) == tested


async def test_at_a_stop_the_file_says_what_the_workers_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts nginx then has no lbwatch to ask."""
    monkeypatch.setattr(livepath, "FILE_PATIENCE_S", 0.01)
    stage = Stage(tmp_path)
    with stage.lock:
        async with running(stage):
            stage.candidates.may.clear()
            pushed = await stage.apply(trial(7))
            assert pushed is not None
            assert pushed.written is None
        assert stage.says(7)


async def test_what_a_reload_replaces_is_not_written_behind_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file would say again what was before."""
    await stage.apply(trial(1))
    monkeypatch.setattr(livepath, "FILE_PATIENCE_S", 0.01)
    stage.candidates.may.clear()
    await stage.apply(trial(2))
    await stage.path.before_reload(trial(3).parts, text="plain")
    assert stage.path.behind.wanted is None
    stage.candidates.may.set()
    async with stage.path.behind.turn:
        assert stage.path.behind.result_of is None
